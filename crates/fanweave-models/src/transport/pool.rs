//! A connection pool for all hosts of one client.
//!
//! A call takes a [`Lease`] on a connection and holds it until its response has been read. An HTTP/1.1
//! connection carries one call. An HTTP/2 connection carries as many as the server allows, often a hundred,
//! and another connection is opened only when all are full: on a single connection, 400 calls of 500 ms would
//! take 2 s.
//!
//! Until a server has shown which version it supports, a burst of calls waits for the first connection: one
//! connection per call could be a hundred times too many.
//!
//! All pools of the process share one budget of sockets (`descriptors`): calls beyond it wait for a
//! connection. Surplus bytes from a server close the connection (`wire`).
//!
//! # Failures of a connection
//! A connection may be the cause of a failure: behind a load balancer, each leads to one of several servers.
//! An HTTP/1.1 connection is closed after a response that indicates this ([`failures::is_suspect`]), so that
//! neither a retry nor a probe uses it again. An HTTP/2 connection is replaced after several of them in a row
//! ([`Shared::failed`]). [`Closings`] limits how many are closed in a second.
//!
//! # Closed connections
//! A server may close an idle connection at any time. A closing that has arrived before a request is written
//! is noticed (`wire`), and the request goes to another connection. If the server closes a *used* connection
//! within [`CROSSED`] of a request and without the head of a response, the request has probably crossed the
//! closing (RFC 9112, 9.3.1). It is resent once, immediately, on a new connection. That is not another
//! attempt, nor evidence of an outage.
//!
//! A POST is not idempotent, and the server could have processed the request: a provider may then bill it
//! twice, like any request whose connection is lost. Go's `net/http` resends under the same conditions if the
//! request has an `Idempotency-Key`, as every request of a call has here. hyper resends only requests that
//! were not written, and httpx leaves all others to the SDKs, which resend them after a backoff. A host that
//! closes most used connections gets one request per connection for a while ([`Reuse`]). One that answers no
//! resent request is down: few are resent then ([`Resends`]), and the others are failed attempts.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
use super::connect::{Connector, Opened, Streams};
use super::descriptors::{self, Share};
use super::failure::{broken, causes};
use super::pace::Pace;
use super::proxy::Proxy;
use super::unsent::{is_out_of_descriptors, unsent};
use super::wire::{Record, Sent, Trust, Unfit, is_unexpected};

mod failures;
mod lease;

use failures::{Closings, Resends, Reuse};
use lease::Connection;
pub(crate) use lease::Lease;

/// Maximum idle time of a connection. Common load balancers close theirs after 100 s or more.
const MAX_IDLE: Duration = Duration::from_secs(90);

/// Time since the last use after which a connection may be closed without this thread having noticed.
const RESTED: Duration = Duration::from_millis(10);

/// Time after a request within which the closing of a used connection, before the head of a response, counts
/// as a race with the request. Later the server has worked on it.
const CROSSED: Duration = Duration::from_secs(1);

/// Maximum consecutive failures of an HTTP/2 connection, whatever the number of its requests in flight.
const MAX_FAILURES: usize = 8;

/// Maximum resends of a request that no server has started to process, before it counts as a failed attempt.
/// A request that crossed the closing of its connection is resent more than once only if there is no
/// descriptor for a new connection.
const MAX_RESENDS: usize = 3;

/// Connections to every host that was called, with the settings of one client.
pub(crate) struct Pool {
    connector: Arc<Connector>,
    hosts: Mutex<Hosts>,
}

#[derive(Default)]
struct Hosts {
    pools: HashMap<HostKey, Arc<HostPool>>,
    /// The last one that was looked up: nearly all calls of a client go to the same host, and a hash of its
    /// name takes longer than a comparison.
    last: Option<(HostKey, Arc<HostPool>)>,
    /// Kept when a pool is dropped: a host that has sent surplus bytes may do so again.
    trusts: HashMap<(Scheme, Authority), Arc<Trust>>,
}

/// Key of the connections to one host.
type HostKey = (Scheme, Authority, Home);

/// The runtime that drives a connection. The single thread of a current-thread runtime may block, and then
/// its connections make no progress: only its own requests are sent on them. `None` for multi-threaded
/// runtimes.
type Home = Option<runtime::Id>;

fn home() -> Home {
    let runtime = Handle::current();
    (runtime.runtime_flavor() == RuntimeFlavor::CurrentThread).then(|| runtime.id())
}

impl Pool {
    pub(crate) fn new(connector: Connector) -> Self {
        Self { connector: Arc::new(connector), hosts: Mutex::default() }
    }

    /// Returns a free connection for one call to the host of `uri`.
    pub(crate) fn free_lease(&self, uri: &Uri) -> Option<Lease> {
        self.host(uri).free_lease()
    }

    /// Returns a free or new connection for one call to the host of `uri`.
    ///
    /// # Errors
    /// The same as [`Connector::open`].
    pub(crate) async fn lease(&self, uri: &Uri) -> Result<Lease> {
        self.host(uri).lease().await
    }

    /// Sends `request` on the connection of the lease `held`, or on another one if that connection has ended
    /// or there is no such connection. Leaves the lease of the response in `held`; keep it until the body has
    /// been read.
    ///
    /// # Errors
    /// The same as [`Connector::open`], and [`ErrorKind::Connection`] without a response.
    pub(crate) async fn send(
        &self,
        mut request: Request<Sent>,
        held: &mut Option<Lease>,
    ) -> Result<Response<Incoming>> {
        let uri = request.uri().clone();
        let host = held.as_ref().map_or_else(|| self.host(&uri), |lease| lease.host.clone());
        let mut sent = 0;
        // Number of times that the request crossed the closing of its connection.
        let mut crossed = 0;
        loop {
            let lease = match &mut *held {
                Some(lease) => lease,
                // Boxed because it is rare: otherwise every call would reserve space for it.
                None if crossed > 0 => held.insert(Box::pin(host.new_lease()).await?),
                None => held.insert(Box::pin(host.lease()).await?),
            };
            sent += 1;
            let began = Instant::now();
            let is_reused = lease.is_reused();
            let may_cross =
                is_reused && crossed < MAX_RESENDS && request.headers().contains_key(IDEMPOTENCY_KEY);
            let crosses = |error: &hyper::Error| {
                may_cross && began.elapsed() < CROSSED && is_closed(error) && host.resends.admit()
            };
            let failed = match &mut lease.connection {
                Some(Connection::One { sender, record, .. }) => {
                    host.address_http1(&mut request, &uri);
                    let copy = request.clone();
                    record.arm();
                    match sender.try_send_request(request).await {
                        Ok(answer) => {
                            host.reuse.answered(is_reused, crossed > 0);
                            if crossed > 0 {
                                host.resends.answered();
                            }
                            lease.answered(answer.status(), began);
                            return Ok(answer);
                        }
                        Err(failed) if Unfit::of(failed.error()).is_some() => {
                            // Nothing was written: the connection is gone.
                            sent -= 1;
                            request = copy;
                            *held = None;
                            continue;
                        }
                        Err(failed) if crosses(failed.error()) => {
                            crossed += 1;
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
                    let mut sender = shared.sender.clone();
                    lease.sent(began);
                    match sender.try_send_request(request).await {
                        Ok(answer) => {
                            if crossed > 0 {
                                host.resends.answered();
                            }
                            lease.answered(answer.status(), began);
                            return Ok(answer);
                        }
                        Err(failed) if sent <= MAX_RESENDS && is_unprocessed(failed.error()) => {
                            request = copy;
                            *held = None;
                            continue;
                        }
                        Err(failed) if crosses(failed.error()) => {
                            crossed += 1;
                            request = copy;
                            *held = None;
                            continue;
                        }
                        Err(failed) => {
                            lease.discard();
                            failed
                        }
                    }
                }
                None => unreachable!("a lease holds its connection until it is dropped"),
            };
            *held = None;
            request = resend(failed, sent, &host.authority)?;
        }
    }

    fn host(&self, uri: &Uri) -> Arc<HostPool> {
        let scheme = uri.scheme().expect("a checked URL has a scheme");
        let authority = uri.authority().expect("a checked URL has a host");
        let home = home();
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(((last_scheme, last_authority, last_home), host)) = &hosts.last
            && (last_authority, last_scheme, last_home) == (authority, scheme, &home)
        {
            return host.clone();
        }
        let key = (scheme.clone(), authority.clone(), home);
        if let Some(host) = hosts.pools.get(&key).cloned() {
            hosts.last = Some((key, host.clone()));
            return host;
        }
        // Runtimes come and go.
        hosts.last = None;
        hosts.pools.retain(|_, host| Arc::strong_count(host) > 1 || host.state().is_connected());
        hosts.trusts.retain(|_, trust| Arc::strong_count(trust) > 1 || !trust.is_kept());
        let trust = hosts.trusts.entry((key.0.clone(), key.1.clone()));
        let trust = trust.or_insert_with(|| Trust::of(key.1.as_str())).clone();
        let host = Arc::new(HostPool::new(&self.connector, uri, &key.0, &key.1, trust));
        let weak: Weak<HostPool> = Arc::downgrade(&host);
        self.connector.budget.register(weak);
        hosts.pools.insert(key, host.clone());
        host
    }
}

/// Returns the request if it has not left this machine and may be resent.
fn resend(mut failed: TrySendError<Request<Sent>>, sent: usize, host: &Authority) -> Result<Request<Sent>> {
    let request = failed.take_message();
    let broken = || broken(&format!("no response from {host}"), failed.error());
    match request {
        Some(request) if sent <= MAX_RESENDS => Ok(request),
        Some(_) => Err(unsent(broken())),
        None => Err(broken()),
    }
}

/// Returns true if the server has announced that it did not and will not process the request: it is shutting
/// down and named the last request that it answers, or it refused this stream.
fn is_unprocessed(error: &hyper::Error) -> bool {
    causes(error).filter_map(|cause| cause.downcast_ref::<h2::Error>()).any(|error| {
        let reason = error.reason();
        reason == Some(h2::Reason::REFUSED_STREAM)
            || (error.is_go_away() && error.is_remote() && reason == Some(h2::Reason::NO_ERROR))
    })
}

/// Returns true if the server closed the connection instead of responding.
fn is_closed(error: &hyper::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    // Many servers close TLS connections without announcing it.
    let closes = |error: &std::io::Error| {
        matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
    };
    error.is_incomplete_message()
        || causes(error).any(|cause| {
            cause.downcast_ref().is_some_and(closes)
                || cause.downcast_ref::<h2::Error>().and_then(h2::Error::get_io).is_some_and(closes)
        })
}

fn address_http2(request: &mut Request<Sent>, uri: &Uri) {
    request.uri_mut().clone_from(uri);
    request.headers_mut().remove(HOST);
    *request.version_mut() = Version::HTTP_2;
}

/// The connections to one host, for one runtime.
struct HostPool {
    connector: Arc<Connector>,
    /// Scheme and authority only.
    uri: Uri,
    authority: Authority,
    /// Value of the `Host` header.
    name: HeaderValue,
    /// The proxy for requests without TLS.
    proxy: Option<Proxy>,
    /// The host's share of the socket budget.
    share: Arc<Share>,
    trust: Arc<Trust>,
    reuse: Reuse,
    resends: Resends,
    closings: Closings,
    pace: Pace,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Idle HTTP/1.1 connections; the most recently used one is last.
    free: Vec<Free>,
    /// HTTP/2 connections, and the time since which each has been idle.
    shared: Vec<(Arc<Shared>, Instant)>,
    /// Calls waiting for a connection, in order of arrival.
    waiting: VecDeque<Waiting>,
    /// Connections that are being opened.
    opening: usize,
    /// Known HTTP version of the server.
    version: HttpVersion,
    /// Set while a task closes idle connections.
    swept: bool,
    /// The most recent such task.
    sweeper: Option<AbortHandle>,
}

/// An idle HTTP/1.1 connection.
struct Free {
    sender: http1::SendRequest<Sent>,
    record: Arc<Record>,
    /// Set if it has carried a call; otherwise it was only just opened.
    is_used: bool,
    since: Instant,
}

impl Free {
    fn used(sender: http1::SendRequest<Sent>, record: Arc<Record>) -> Self {
        Self { sender, record, is_used: true, since: Instant::now() }
    }
}

/// A call waiting for a connection.
struct Waiting {
    caller: oneshot::Sender<Result<Lease>>,
    /// Runtime that is to drive its connection.
    runtime: Handle,
}

#[derive(Default, Clone, Copy)]
enum HttpVersion {
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
    /// Set once a response has arrived.
    is_used: AtomicBool,
    /// Consecutive failures that the connection may have caused.
    failures: AtomicUsize,
}

impl HostPool {
    fn new(
        connector: &Arc<Connector>,
        uri: &Uri,
        scheme: &Scheme,
        authority: &Authority,
        trust: Arc<Trust>,
    ) -> Self {
        let https = *scheme == Scheme::HTTPS;
        // Plain HTTP is always version 1.1.
        let version = if https { HttpVersion::Unknown } else { HttpVersion::Http1 };
        let name = HeaderValue::from_str(authority.as_str()).expect("an authority is plain ASCII");
        Self {
            connector: connector.clone(),
            uri: uri.clone(),
            authority: authority.clone(),
            name,
            proxy: connector.proxies.of(uri).filter(|_| !https),
            share: Arc::default(),
            trust,
            reuse: Reuse::default(),
            resends: Resends::default(),
            closings: Closings::default(),
            pace: Pace::default(),
            state: Mutex::new(State { version, ..State::default() }),
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
                // A proxy needs the host in the request.
                request.uri_mut().clone_from(uri);
            }
            None => {
                let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
                *request.uri_mut() = path.into();
            }
        }
    }

    /// Returns a free connection that was used recently.
    fn free_lease(self: &Arc<Self>) -> Option<Lease> {
        let mut state = self.state();
        if state.has_rested() {
            return None;
        }
        state.take(self.may_reuse()).map(|connection| Lease::new(self, connection))
    }

    /// Returns a connection for one call.
    async fn lease(self: &Arc<Self>) -> Result<Lease> {
        if self.state().has_rested() {
            // A thread that was busy learns only now which connections the server has closed. Yields twice:
            // the first yield may end before the connection's task has run.
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
        }
        let (caller, granted) = oneshot::channel();
        let missing = {
            let mut state = self.state();
            if let Some(connection) = state.take(self.may_reuse()) {
                return Ok(Lease::new(self, connection));
            }
            state.waiting.push_back(Waiting { caller, runtime: Handle::current() });
            state.missing(self.connector.budget.limit())
        };
        self.open(missing);
        granted
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorKind::Connection, "the connection pool was closed")))
    }

    /// Returns a new connection for one call, if the socket budget allows. Otherwise any connection.
    async fn new_lease(self: &Arc<Self>) -> Result<Lease> {
        let mut permit = self.connector.budget.try_acquire(&self.share);
        if permit.is_some() {
            match self.connector.open(&self.uri, &mut permit, &self.trust).await {
                Ok(Opened::One { sender, record }) => {
                    return Ok(Lease::new(self, Connection::One { sender, record, is_used: false }));
                }
                Ok(opened) => {
                    self.state().take_in(opened);
                    self.sweep_later();
                    self.serve();
                }
                Err(error) if !is_out_of_descriptors(&error) => return Err(error),
                Err(_) => {}
            }
            drop(permit);
        }
        self.lease().await
    }

    /// Returns true if connections may carry more than one request.
    fn may_reuse(&self) -> bool {
        self.trust.is_kept() && self.reuse.is_kept()
    }

    /// Opens connections that have been counted already. Must not be called under the lock: a runtime that
    /// has been shut down drops the task immediately.
    fn open(self: &Arc<Self>, missing: Option<(usize, Handle)>) {
        let Some((count, runtime)) = missing else { return };
        for _ in 0..count {
            // A separate task, since another call may get its connection. It ends within the connect
            // timeouts.
            runtime.spawn(Opening { host: self.clone(), outcome: None, is_over: false }.run());
        }
    }

    /// Opens a connection as soon as the socket budget allows. `None` if it is no longer wanted by then.
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
                // No call fails because of this: other connections or files of this process will be closed.
                (Err(error), Some(permit)) if is_out_of_descriptors(error) => {
                    if !budget.ran_out(permit) {
                        return Some(opened);
                    }
                }
                _ => return Some(opened),
            }
        }
    }

    /// Adds a connection that was opened, or reports why it could not be opened.
    fn opened(self: &Arc<Self>, outcome: Result<Opened>) {
        let mut refused = Vec::new();
        {
            let mut state = self.state();
            // The calls that would have got it receive the error. No call is left without a connection being
            // opened for it.
            let share = state.waiting.len().div_ceil(state.opening.max(1));
            state.opening -= 1;
            match outcome {
                Ok(opened) => state.take_in(opened),
                Err(error) => {
                    let gone = state.waiting.drain(..share).map(|waiting| (waiting.caller, error.clone()));
                    refused.extend(gone);
                }
            }
        }
        for (caller, error) in refused {
            let _ = caller.send(Err(error));
        }
        self.sweep_later();
        self.serve();
    }

    /// Ends a connection attempt that no call waits for.
    fn is_unneeded(&self) -> bool {
        let mut state = self.state();
        let is_unneeded = state.waiting.iter().all(|waiting| waiting.caller.is_closed());
        if is_unneeded {
            state.opening -= 1;
        }
        is_unneeded
    }

    /// Assigns connections to waiting calls, as far as available, and opens more.
    fn serve(self: &Arc<Self>) {
        loop {
            let (caller, lease) = {
                let mut state = self.state();
                while state.waiting.front().is_some_and(|waiting| waiting.caller.is_closed()) {
                    state.waiting.pop_front();
                }
                if state.waiting.is_empty() {
                    drop(state);
                    if self.connector.budget.wants_back(&self.share, true) {
                        descriptors::Host::close_idle(&**self);
                    }
                    return;
                }
                let Some(connection) = state.take(self.may_reuse()) else {
                    let missing = state.missing(self.connector.budget.limit());
                    drop(state);
                    return self.open(missing);
                };
                let waiting = state.waiting.pop_front().expect("the queue was checked above");
                (waiting.caller, Lease::new(self, connection))
            };
            // A caller that is gone drops its lease again: outside of the lock.
            drop(caller.send(Ok(lease)));
        }
    }

    /// Closes connections that have been idle for long. The task exists only while there are connections.
    fn sweep_later(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if std::mem::replace(&mut self.state().swept, true) {
            return;
        }
        let mut sweeper = Sweeper(Arc::downgrade(self));
        // Never under the lock, as in `open`.
        let task = runtime.spawn(async move {
            loop {
                sleep(MAX_IDLE).await;
                if !sweeper.sweep() {
                    return;
                }
            }
        });
        self.state().sweeper = Some(task.abort_handle());
    }
}

/// Gives up idle connections for hosts without one.
impl descriptors::Host for HostPool {
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

impl Drop for HostPool {
    fn drop(&mut self) {
        // After the last handle on the client is dropped, there is nothing left to close.
        let sweeper = self.state().sweeper.take();
        if let Some(sweeper) = sweeper {
            sweeper.abort();
        }
    }
}

impl State {
    /// Returns how many connections to open for waiting calls, and on which runtime. They count as being
    /// opened from now on. At most `max` are opened concurrently: those beyond the socket budget would only
    /// wait too.
    fn missing(&mut self, max: usize) -> Option<(usize, Handle)> {
        // Calls dropped in the meantime need no connection.
        let first = self.waiting.iter().find(|waiting| !waiting.caller.is_closed())?;
        let wanted = match self.version {
            HttpVersion::Unknown => 1,
            HttpVersion::Http1 => self.waiting.len(),
            HttpVersion::Http2(streams) => self.waiting.len().div_ceil(streams),
        };
        let missing = wanted.min(max.max(1)).saturating_sub(self.opening);
        self.opening += missing;
        (missing > 0).then(|| (missing, first.runtime.clone()))
    }

    fn take_in(&mut self, opened: Opened) {
        let now = Instant::now();
        match opened {
            Opened::One { sender, record } => {
                self.version = HttpVersion::Http1;
                self.free.push(Free { sender, record, is_used: false, since: now });
            }
            Opened::Many { sender, streams } => {
                self.version = HttpVersion::Http2(streams());
                self.shared.push((Arc::new(Shared::new(sender, streams)), now));
            }
        }
    }

    /// Returns a connection with capacity for a call.
    fn take(&mut self, may_reuse: bool) -> Option<Connection> {
        self.remove_shared(|shared| shared.sender.is_closed());
        // The first one with capacity: use as few connections as possible.
        for (shared, _) in &self.shared {
            let streams = (shared.streams)();
            if shared.taken.load(Ordering::Relaxed) < streams {
                shared.taken.fetch_add(1, Ordering::Relaxed);
                self.version = HttpVersion::Http2(streams);
                return Some(Connection::Many(shared.clone()));
            }
        }
        while let Some(Free { sender, record, is_used, since }) = self.free.pop() {
            if sender.is_ready() && since.elapsed() < MAX_IDLE && (!is_used || may_reuse) {
                return Some(Connection::One { sender, record, is_used });
            }
        }
        None
    }

    /// Removes HTTP/2 connections. Their requests in flight are not affected.
    fn remove_shared(&mut self, is_removed: impl Fn(&Arc<Shared>) -> bool) {
        let before = self.shared.len();
        self.shared.retain(|(shared, _)| !is_removed(shared));
        if before > 0 && self.shared.is_empty() && self.opening == 0 {
            // The server may be a different one when it comes back.
            self.version = HttpVersion::Unknown;
        }
    }

    /// Returns true if any of its connections is open.
    fn is_connected(&self) -> bool {
        self.free.iter().any(|free| !free.sender.is_closed())
            || self.shared.iter().any(|(shared, _)| !shared.sender.is_closed())
    }

    /// Returns true if the next connection has been idle for a while.
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
    fn new(sender: http2::SendRequest<Sent>, streams: Streams) -> Self {
        Self {
            sender,
            streams,
            taken: AtomicUsize::new(0),
            is_used: AtomicBool::new(false),
            failures: AtomicUsize::new(0),
        }
    }

    /// Records a failure that the connection may have caused. Returns true if it should be replaced: after as
    /// many consecutive failures as it has requests in flight, at most [`MAX_FAILURES`].
    ///
    /// A connection with a single request is then replaced after each failure, like one of HTTP/1.1. A busy
    /// one of a healthy server, of whose responses a third fail, is replaced once in 10,000 requests.
    fn failed(&self) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        failures >= self.taken.load(Ordering::Relaxed).clamp(1, MAX_FAILURES)
    }

    fn is_idle(&self) -> bool {
        self.taken.load(Ordering::Relaxed) == 0
    }
}

/// A connection being opened. It is counted until this is dropped, also if its runtime is shut down.
struct Opening {
    host: Arc<HostPool>,
    outcome: Option<Result<Opened>>,
    /// Set once it is no longer counted.
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

/// Closes idle connections of a host while there are any.
struct Sweeper(Weak<HostPool>);

impl Sweeper {
    /// Returns true if connections remain.
    fn sweep(&mut self) -> bool {
        let Some(host) = self.0.upgrade() else { return false };
        let mut state = host.state();
        state.free.retain(|free| !free.sender.is_closed() && free.since.elapsed() < MAX_IDLE);
        state.shared.retain(|(shared, since)| {
            let used = shared.taken.load(Ordering::Relaxed) > 0;
            !shared.sender.is_closed() && (used || since.elapsed() < MAX_IDLE)
        });
        state.swept = !(state.free.is_empty() && state.shared.is_empty());
        state.swept
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        // However the task ended, the next connection starts another.
        if let Some(host) = self.0.upgrade() {
            host.state().swept = false;
        }
    }
}

#[cfg(test)]
mod tests;
