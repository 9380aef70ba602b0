//! A pool of connections, for all hosts that one client talks to.
//!
//! A call takes a [`Lease`] on a connection and holds it until its answer has been read. Over HTTP/1.1 a connection
//! carries one call. Over HTTP/2 it carries as many as the server takes, often a hundred, and a further connection
//! is opened only when all are full: 400 calls of 500 ms would take 2 s on one.
//!
//! Until a server has shown which version it speaks, a burst waits for its first connection: opening one for each
//! call would be a hundred times too many.
//!
//! All pools of the process share one budget of sockets (`descriptors`): calls beyond it wait for a connection. What a
//! server sends beyond its answers closes a connection (`wire`).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use fanweave_core::{Error, ErrorKind, Result};
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use tokio::runtime::{self, Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::IDEMPOTENCY_KEY;
use super::connect::{Connector, Opened, Sent, Streams};
use super::descriptors::{self, Share};
use super::exchange::{broken, causes};
use super::pace::Pace;
use super::proxy::Proxy;
use super::unsent::{is_out_of_descriptors, unsent};
use super::wire::{Record, Trust, Unfit, is_unexpected};

mod lease;

use lease::Connection;
pub(crate) use lease::Lease;

/// How long an unused connection is kept. Common load balancers close theirs after 100 s and more.
const IDLE: Duration = Duration::from_secs(90);

/// How long after its last use a connection may be closed without this thread having heard of it.
const RESTED: Duration = Duration::from_millis(10);

/// A used connection that closes within this time of a request, before a byte of an answer, was closing when the request
/// came. Later the server has worked on it.
const CROSSED: Duration = Duration::from_secs(1);

/// Requests of a host that are sent again in a second because of that. More of them are no coincidence: the server resets
/// what it is asked.
const MAX_CROSSED: u32 = 2;

/// How often a request is sent again that no server has begun to work on, before that counts as a failed try.
const RESENDS: usize = 3;

/// Connections to every host that was called, with the settings of one client.
pub(crate) struct Pool {
    connector: Arc<Connector>,
    hosts: Mutex<HashMap<(Scheme, Authority, Home), Arc<Host>>>,
}

/// Where connections live, as far as that matters. The one thread of a runtime may block, and then none of its connections
/// goes on: only its own requests are sent on them. `None` for runtimes of several threads.
type Home = Option<runtime::Id>;

fn home() -> Home {
    let runtime = Handle::current();
    (runtime.runtime_flavor() == RuntimeFlavor::CurrentThread).then(|| runtime.id())
}

impl Pool {
    pub(crate) fn new(connector: Connector) -> Self {
        Self { connector: Arc::new(connector), hosts: Mutex::default() }
    }

    /// A connection that is free, for one call to the host of `uri`.
    pub(crate) fn free_lease(&self, uri: &Uri) -> Option<Lease> {
        self.host(uri).free_lease()
    }

    /// A connection for one call to the host of `uri`: one that is free or a new one.
    ///
    /// # Errors
    /// As [`Connector::open`].
    pub(crate) async fn lease(&self, uri: &Uri) -> Result<Lease> {
        self.host(uri).lease().await
    }

    /// Sends `request` on the connection of the lease `held`, or on another one if that has ended or there is none. Leaves
    /// the lease of the answer in `held`, to be kept until its body has been read.
    ///
    /// # Errors
    /// As [`Connector::open`], and [`ErrorKind::Connection`] where no answer comes.
    pub(crate) async fn send(
        &self,
        mut request: Request<Sent>,
        held: &mut Option<Lease>,
    ) -> Result<Response<Incoming>> {
        let uri = request.uri().clone();
        let host = held.as_ref().map_or_else(|| self.host(&uri), |lease| lease.host.clone());
        let mut sent = 0;
        loop {
            let lease = match &mut *held {
                Some(lease) => lease,
                // In a box, for it is rare, and each call would have room for it.
                None => held.insert(Box::pin(host.lease()).await?),
            };
            sent += 1;
            let failed = match &mut lease.connection {
                Some(Connection::One { sender, record, is_used }) => {
                    host.address_http1(&mut request, &uri);
                    let may_cross = *is_used && request.headers().contains_key(IDEMPOTENCY_KEY);
                    let copy = request.clone();
                    let began = Instant::now();
                    record.arm();
                    match sender.try_send_request(request).await {
                        Ok(answer) => {
                            lease.answered(answer.status(), began);
                            return Ok(answer);
                        }
                        Err(failed) if Unfit::of(failed.error()).is_some() => {
                            // Nothing was written, and the connection has gone.
                            sent -= 1;
                            request = copy;
                            *held = None;
                            continue;
                        }
                        Err(failed)
                            if may_cross
                                && sent <= RESENDS
                                && began.elapsed() < CROSSED
                                && is_closed(failed.error())
                                && host.state().may_resend(Instant::now()) =>
                        {
                            request = copy;
                            *held = None;
                            continue;
                        }
                        Err(failed) => {
                            if is_unexpected(failed.error()) {
                                record.surplus();
                            }
                            failed
                        }
                    }
                }
                Some(Connection::Many(shared)) => {
                    address_http2(&mut request, &uri);
                    let copy = request.clone();
                    match shared.sender.clone().try_send_request(request).await {
                        Ok(answer) => return Ok(answer),
                        Err(failed) if sent <= RESENDS && is_unprocessed(failed.error()) => {
                            request = copy;
                            *held = None;
                            continue;
                        }
                        Err(failed) => failed,
                    }
                }
                None => unreachable!("a lease holds its connection until it is dropped"),
            };
            *held = None;
            request = resend(failed, sent, &host.authority)?;
        }
    }

    fn host(&self, uri: &Uri) -> Arc<Host> {
        let scheme = uri.scheme().cloned().expect("a checked URL has a scheme");
        let authority = uri.authority().cloned().expect("a checked URL names a host");
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (scheme, authority, home());
        if let Some(host) = hosts.get(&key) {
            return host.clone();
        }
        // Runtimes come and go.
        hosts.retain(|_, host| Arc::strong_count(host) > 1 || host.state().is_connected());
        let host = Arc::new(Host::new(&self.connector, uri, &key.0, &key.1));
        let weak: Weak<Host> = Arc::downgrade(&host);
        self.connector.budget.register(weak);
        hosts.insert(key, host.clone());
        host
    }
}

/// The request, where it has not left this machine and may be sent once more.
fn resend(mut failed: TrySendError<Request<Sent>>, sent: usize, host: &Authority) -> Result<Request<Sent>> {
    let request = failed.take_message();
    let broken = || broken(&format!("no answer from {host}"), failed.error());
    match request {
        Some(request) if sent <= RESENDS => Ok(request),
        Some(_) => Err(unsent(broken())),
        None => Err(broken()),
    }
}

/// Whether the server has said that it did not and will not work on the request: it is going away, and named the
/// last one that it answers, or it refused this one.
fn is_unprocessed(error: &hyper::Error) -> bool {
    causes(error).filter_map(|cause| cause.downcast_ref::<h2::Error>()).any(|error| {
        let reason = error.reason();
        reason == Some(h2::Reason::REFUSED_STREAM)
            || (error.is_go_away() && error.is_remote() && reason == Some(h2::Reason::NO_ERROR))
    })
}

/// Whether the server closed the connection instead of an answer.
fn is_closed(error: &hyper::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    let closes =
        |error: &std::io::Error| matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset);
    error.is_incomplete_message()
        || causes(error).filter_map(|cause| cause.downcast_ref::<std::io::Error>()).any(closes)
}

fn address_http2(request: &mut Request<Sent>, uri: &Uri) {
    request.uri_mut().clone_from(uri);
    request.headers_mut().remove(HOST);
    *request.version_mut() = Version::HTTP_2;
}

/// The connections to one host, of one home.
struct Host {
    connector: Arc<Connector>,
    /// Of the host alone.
    uri: Uri,
    authority: Authority,
    /// What the `Host` header says.
    name: HeaderValue,
    /// The proxy that requests without TLS are handed to.
    proxy: Option<Proxy>,
    /// Its part of the budget of sockets.
    share: Arc<Share>,
    trust: Arc<Trust>,
    pace: Pace,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// HTTP/1.1 connections that nobody uses, the one used last at the end.
    free: Vec<Free>,
    /// HTTP/2 connections, and since when nobody has used them.
    shared: Vec<(Arc<Shared>, Instant)>,
    /// Calls without a connection, in the order they came.
    waiting: VecDeque<Waiting>,
    /// Connections that are being opened.
    opening: usize,
    /// What is known of the server.
    speaks: Speaks,
    /// Requests that were sent again in the second that began then.
    crossed: Option<(Instant, u32)>,
    /// Whether a task looks after connections that nobody uses.
    swept: bool,
    /// The last such task.
    sweeper: Option<AbortHandle>,
}

/// An HTTP/1.1 connection that nobody uses.
struct Free {
    sender: http1::SendRequest<Sent>,
    record: Arc<Record>,
    /// Whether it has carried a call: one that has not was opened just now.
    is_used: bool,
    since: Instant,
}

impl Free {
    fn used(sender: http1::SendRequest<Sent>, record: Arc<Record>) -> Self {
        Self { sender, record, is_used: true, since: Instant::now() }
    }
}

/// A call without a connection.
struct Waiting {
    place: oneshot::Sender<Result<Lease>>,
    /// Where a connection for it is to live.
    runtime: Handle,
}

#[derive(Default, Clone, Copy)]
enum Speaks {
    #[default]
    Unknown,
    /// One call at a time.
    Http1,
    /// This many calls at a time.
    Http2(usize),
}

struct Shared {
    sender: http2::SendRequest<Sent>,
    streams: Streams,
    /// Changed only under the lock of the host.
    taken: AtomicUsize,
}

impl Host {
    fn new(connector: &Arc<Connector>, uri: &Uri, scheme: &Scheme, authority: &Authority) -> Self {
        let https = *scheme == Scheme::HTTPS;
        // Plain HTTP is version 1.1 everywhere.
        let speaks = if https { Speaks::Unknown } else { Speaks::Http1 };
        let name = HeaderValue::from_str(authority.as_str()).expect("an authority is plain ASCII");
        Self {
            connector: connector.clone(),
            uri: uri.clone(),
            authority: authority.clone(),
            name,
            proxy: connector.proxies.of(uri).filter(|_| !https),
            share: Arc::default(),
            trust: Arc::default(),
            pace: Pace::default(),
            state: Mutex::new(State { speaks, ..State::default() }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn address_http1(&self, request: &mut Request<Sent>, uri: &Uri) {
        *request.version_mut() = Version::HTTP_11;
        let headers = request.headers_mut();
        headers.insert(HOST, self.name.clone());
        match &self.proxy {
            Some(proxy) => {
                if let Some(auth) = &proxy.auth {
                    headers.insert(PROXY_AUTHORIZATION, auth.clone());
                }
                // A proxy needs to be told the host.
                request.uri_mut().clone_from(uri);
            }
            None => {
                let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
                *request.uri_mut() = path.into();
            }
        }
    }

    /// A connection that is free and was used just now.
    fn free_lease(self: &Arc<Self>) -> Option<Lease> {
        let mut state = self.state();
        if state.has_rested() {
            return None;
        }
        state.take(&self.trust).map(|connection| Lease::new(self, connection))
    }

    /// A connection for one call.
    async fn lease(self: &Arc<Self>) -> Result<Lease> {
        if self.state().has_rested() {
            // A thread that was busy with something else hears only now which of them the server has closed. Twice: the
            // first time may be over before the connection's own task has heard of it.
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
        }
        let (place, turn) = oneshot::channel();
        let missing = {
            let mut state = self.state();
            if let Some(connection) = state.take(&self.trust) {
                return Ok(Lease::new(self, connection));
            }
            state.waiting.push_back(Waiting { place, runtime: Handle::current() });
            state.missing(self.connector.budget.limit())
        };
        self.open(missing);
        turn.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Connection, "the pool was given up")))
    }

    /// Opens connections that have been counted already. Never under the lock: a runtime that has been shut down
    /// drops what it is given at once.
    fn open(self: &Arc<Self>, missing: Option<(usize, Handle)>) {
        let Some((count, runtime)) = missing else { return };
        for _ in 0..count {
            // A task of its own, since others may get its connection: it ends within the connect timeouts.
            runtime.spawn(Opening { host: self.clone(), outcome: None, is_over: false }.run());
        }
    }

    /// Opens a connection as soon as the budget of sockets has room for it. `None` if it is no longer wanted then.
    async fn dial(&self, is_wanted: impl Fn() -> bool) -> Option<Result<Opened>> {
        let budget = &self.connector.budget;
        let mut permit = budget.try_acquire(&self.share);
        loop {
            if permit.is_none() {
                permit = Some(budget.acquire(&self.share).await);
                if !is_wanted() {
                    return None;
                }
            }
            let opened = self.connector.open(&self.uri, &mut permit, &self.trust).await;
            match (&opened, permit.take()) {
                // No call fails by that: other connections will end, or files of this process.
                (Err(error), Some(permit)) if is_out_of_descriptors(error) => {
                    if !budget.ran_out(permit) {
                        return Some(opened);
                    }
                }
                _ => return Some(opened),
            }
        }
    }

    /// Takes in a connection that was opened, or hands on why it was not.
    fn opened(self: &Arc<Self>, outcome: Result<Opened>) {
        let mut refused = Vec::new();
        {
            let mut state = self.state();
            // Those who would have got it hear of the failure; none is left without anybody to wait for.
            let share = state.waiting.len().div_ceil(state.opening.max(1));
            state.opening -= 1;
            match outcome {
                Ok(opened) => state.take_in(opened),
                Err(error) => {
                    let gone = state.waiting.drain(..share).map(|waiting| (waiting.place, error.clone()));
                    refused.extend(gone);
                }
            }
        }
        for (place, error) in refused {
            let _ = place.send(Err(error));
        }
        self.sweep_later();
        self.serve();
    }

    /// Ends an attempt to open a connection that no call waits for.
    fn is_unneeded(&self) -> bool {
        let mut state = self.state();
        let is_unneeded = state.waiting.iter().all(|waiting| waiting.place.is_closed());
        if is_unneeded {
            state.opening -= 1;
        }
        is_unneeded
    }

    /// Gives connections to those who wait, as far as there are any, and opens more.
    fn serve(self: &Arc<Self>) {
        loop {
            let (place, lease) = {
                let mut state = self.state();
                while state.waiting.front().is_some_and(|waiting| waiting.place.is_closed()) {
                    state.waiting.pop_front();
                }
                if state.waiting.is_empty() {
                    drop(state);
                    if self.connector.budget.wants_back(&self.share, true) {
                        descriptors::Host::close_idle(&**self);
                    }
                    return;
                }
                let Some(connection) = state.take(&self.trust) else {
                    let missing = state.missing(self.connector.budget.limit());
                    drop(state);
                    return self.open(missing);
                };
                let waiting = state.waiting.pop_front().expect("looked at just now");
                (waiting.place, Lease::new(self, connection))
            };
            // Somebody who has gone in this moment lets go of it again: outside of the lock.
            drop(place.send(Ok(lease)));
        }
    }

    /// Closes connections that nobody has used for long. A task for that exists only while there are any.
    fn sweep_later(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if std::mem::replace(&mut self.state().swept, true) {
            return;
        }
        let mut sweeper = Sweeper(Arc::downgrade(self));
        // Never under the lock, as in `open`.
        let task = runtime.spawn(async move {
            loop {
                sleep(IDLE).await;
                if !sweeper.sweep() {
                    return;
                }
            }
        });
        self.state().sweeper = Some(task.abort_handle());
    }
}

/// Gives up idle connections for hosts that have none.
impl descriptors::Host for Host {
    fn share(&self) -> &Arc<Share> {
        &self.share
    }

    fn idle_since(&self) -> Option<Instant> {
        let state = self.state();
        let shared = state.shared.iter().filter(|(shared, _)| shared.is_idle()).map(|(_, since)| *since);
        state.free.iter().map(|free| free.since).chain(shared).min()
    }

    fn close_idle(&self) {
        let closed = {
            let mut state = self.state();
            if state.free.is_empty() {
                let idle = state.shared.iter().position(|(shared, _)| shared.is_idle());
                (None, idle.map(|at| state.shared.remove(at)))
            } else {
                (Some(state.free.remove(0)), None)
            }
        };
        drop(closed);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // With the last handle on the client there is nothing left to look after.
        let sweeper = self.state().sweeper.take();
        if let Some(sweeper) = sweeper {
            sweeper.abort();
        }
    }
}

impl State {
    /// Whether a request whose connection was closed may be sent again as one that crossed the closing.
    fn may_resend(&mut self, now: Instant) -> bool {
        let second = Duration::from_secs(1);
        let (since, count) =
            self.crossed.filter(|(at, _)| now.duration_since(*at) < second).unwrap_or((now, 0));
        self.crossed = Some((since, count + 1));
        count < MAX_CROSSED
    }

    /// How many connections are to be opened for those who wait, and where. They count as being opened from now. No more
    /// than `most` are opened at once: those that the budget has no room for would only wait as well.
    fn missing(&mut self, most: usize) -> Option<(usize, Handle)> {
        // Calls that were given up since are not worth a connection.
        let first = self.waiting.iter().find(|waiting| !waiting.place.is_closed())?;
        let wanted = match self.speaks {
            Speaks::Unknown => 1,
            Speaks::Http1 => self.waiting.len(),
            Speaks::Http2(streams) => self.waiting.len().div_ceil(streams),
        };
        let missing = wanted.min(most.max(1)).saturating_sub(self.opening);
        self.opening += missing;
        (missing > 0).then(|| (missing, first.runtime.clone()))
    }

    fn take_in(&mut self, opened: Opened) {
        let now = Instant::now();
        match opened {
            Opened::One { sender, record } => {
                self.speaks = Speaks::Http1;
                self.free.push(Free { sender, record, is_used: false, since: now });
            }
            Opened::Many { sender, streams } => {
                self.speaks = Speaks::Http2(streams());
                let taken = AtomicUsize::new(0);
                self.shared.push((Arc::new(Shared { sender, streams, taken }), now));
            }
        }
    }

    /// A connection with room for a call.
    fn take(&mut self, trust: &Trust) -> Option<Connection> {
        let before = self.shared.len();
        self.shared.retain(|(shared, _)| !shared.sender.is_closed());
        if before > 0 && self.shared.is_empty() && self.opening == 0 {
            // It may come back as another server.
            self.speaks = Speaks::Unknown;
        }
        // The first one with room: as few connections as will do.
        for (shared, _) in &self.shared {
            let streams = (shared.streams)();
            if shared.taken.load(Ordering::Relaxed) < streams {
                shared.taken.fetch_add(1, Ordering::Relaxed);
                self.speaks = Speaks::Http2(streams);
                return Some(Connection::Many(shared.clone()));
            }
        }
        while let Some(Free { sender, record, is_used, since }) = self.free.pop() {
            if sender.is_ready() && since.elapsed() < IDLE && (!is_used || trust.is_kept()) {
                return Some(Connection::One { sender, record, is_used });
            }
        }
        None
    }

    /// Whether any of its connections is open.
    fn is_connected(&self) -> bool {
        self.free.iter().any(|free| !free.sender.is_closed())
            || self.shared.iter().any(|(shared, _)| !shared.sender.is_closed())
    }

    /// Whether the connection that is next has not been used for a while.
    fn has_rested(&self) -> bool {
        let shared = self.shared.iter().filter(|(shared, _)| shared.taken.load(Ordering::Relaxed) == 0);
        let shared = shared.map(|(_, since)| since);
        self.free
            .last()
            .map(|free| &free.since)
            .into_iter()
            .chain(shared)
            .any(|since| since.elapsed() > RESTED)
    }
}

impl Shared {
    fn is_idle(&self) -> bool {
        self.taken.load(Ordering::Relaxed) == 0
    }
}

/// A connection being opened. It is counted until this is dropped, also where its runtime is shut down.
struct Opening {
    host: Arc<Host>,
    outcome: Option<Result<Opened>>,
    /// Whether it is no longer counted.
    is_over: bool,
}

impl Opening {
    async fn run(mut self) {
        let host = self.host.clone();
        self.outcome = host.dial(|| !host.is_unneeded()).await;
        self.is_over = self.outcome.is_none();
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let outcome = self.outcome.take().unwrap_or_else(|| {
            let message = format!("cannot connect to {}: its runtime was shut down", self.host.authority);
            Err(unsent(Error::new(ErrorKind::Connection, message)))
        });
        self.host.opened(outcome);
    }
}

/// Looks after the connections of a host that nobody uses, as long as there are any.
struct Sweeper(Weak<Host>);

impl Sweeper {
    /// Whether there is anything left to look after.
    fn sweep(&mut self) -> bool {
        let Some(host) = self.0.upgrade() else { return false };
        let mut state = host.state();
        state.free.retain(|free| !free.sender.is_closed() && free.since.elapsed() < IDLE);
        state.shared.retain(|(shared, since)| {
            let used = shared.taken.load(Ordering::Relaxed) > 0;
            !shared.sender.is_closed() && (used || since.elapsed() < IDLE)
        });
        state.swept = !(state.free.is_empty() && state.shared.is_empty());
        state.swept
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        // Whatever ended it, the next connection gets another.
        if let Some(host) = self.0.upgrade() {
            host.state().swept = false;
        }
    }
}

#[cfg(test)]
mod tests;
