//! A call's lease on a connection: from the request to the verdict on its response.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use hyper::client::conn::http1;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep, sleep_until};

use super::failures::is_suspect;
use super::{Free, HostPool, Shared};
use crate::transport::pace::Hold;
use crate::transport::wire::{Record, Sent, Unfit};

/// Connections of a host with many concurrent calls.
const MANY_CALLS: usize = 8;

/// Maximum wait after the end of a response until the task of its connection reports whether more bytes have
/// arrived. It takes microseconds, unless the server has responded without reading the request.
const MAX_VERDICT_WAIT: Duration = Duration::from_millis(50);

/// Time after which an HTTP/2 request that was given up without a response counts as a failure that its
/// connection may have caused. Callers give up sooner for reasons of their own.
const MIN_UNANSWERED: Duration = Duration::from_secs(1);

/// A call's lease on a connection.
///
/// # Cancellation
/// If dropped before its response has been read, it closes an HTTP/1.1 connection, or a single HTTP/2 stream.
pub(crate) struct Lease {
    pub(super) host: Arc<HostPool>,
    pub(super) connection: Option<Connection>,
    /// Breaches of trust of its host when the lease began.
    breaches: usize,
    /// Set for a response with a success status.
    is_success: bool,
    /// Set if the connection may have caused a failure of the call.
    is_discarded: bool,
    /// Set once the body of the response has begun.
    has_body: bool,
    /// Time at which an HTTP/2 request without a response was sent.
    unanswered: Option<Instant>,
    /// Time from the request to the head of the response.
    took: Duration,
    /// Set for a response that is held.
    held: Option<Box<Held>>,
    /// Time until which a response may be held.
    max_hold: Option<Instant>,
    /// Limits the wait for the verdict on the connection.
    verdict: Option<Pin<Box<Sleep>>>,
}

/// A response that is held, because it may belong to an earlier request.
struct Held {
    until: Instant,
    /// Set if the response to this request would have arrived by then.
    is_certain: bool,
}

pub(super) enum Connection {
    One { sender: http1::SendRequest<Sent>, record: Arc<Record>, is_used: bool },
    Many(Arc<Shared>),
}

impl Lease {
    pub(super) fn new(host: &Arc<HostPool>, connection: Connection) -> Self {
        Self {
            host: host.clone(),
            connection: Some(connection),
            breaches: host.trust.breaches(),
            is_success: false,
            is_discarded: false,
            has_body: false,
            unanswered: None,
            took: Duration::ZERO,
            held: None,
            max_hold: None,
            verdict: None,
        }
    }

    /// Returns true if the connection has carried an earlier request.
    pub(super) fn is_reused(&self) -> bool {
        match &self.connection {
            Some(Connection::One { is_used, .. }) => *is_used,
            Some(Connection::Many(shared)) => shared.is_used.load(Ordering::Relaxed),
            None => false,
        }
    }

    /// Records that an HTTP/2 request is sent.
    pub(super) fn sent(&mut self, began: Instant) {
        self.unanswered = Some(began);
    }

    /// Records that the call failed in a way that the connection may have caused: it is not used for further
    /// calls. An HTTP/2 connection is replaced only after several such failures.
    pub(crate) fn discard(&mut self) {
        self.is_discarded = true;
    }

    /// Records the head of the response to a request that was sent at `began`.
    pub(super) fn answered(&mut self, status: StatusCode, began: Instant) {
        self.unanswered = None;
        self.is_success = status.is_success();
        self.is_discarded = is_suspect(status);
        let Some(Connection::One { record, is_used, .. }) = &self.connection else {
            if let Some(Connection::Many(shared)) = &self.connection {
                shared.is_used.store(true, Ordering::Relaxed);
            }
            return;
        };
        record.head();
        // Rejections take no time.
        if !self.is_success {
            return;
        }
        self.took = began.elapsed();
        if *is_used {
            let hold = self.host.pace.hold(self.took, self.host.share.open() >= MANY_CALLS);
            self.hold(hold);
        } else {
            self.host.pace.add(self.took);
        }
    }

    /// Records the first bytes of the body. If they equal those of the previous response on the connection,
    /// they may be a copy of it.
    pub(crate) fn began(&mut self, body: &[u8]) {
        if std::mem::replace(&mut self.has_body, true) || !self.is_success {
            return;
        }
        let Some(Connection::One { record, is_used, .. }) = &self.connection else { return };
        if record.repeats(body) && *is_used {
            let hold = self.host.pace.hold_repeat(self.took);
            self.hold(hold);
        }
    }

    /// Limits the time that the response is held: no timeout may expire because of it.
    pub(crate) fn hold_until(&mut self, end: Instant) {
        self.max_hold = Some(end);
    }

    fn hold(&mut self, hold: Option<Hold>) {
        let Some(Hold { time, is_certain }) = hold else { return };
        self.held = Some(Box::new(Held { until: Instant::now() + time, is_certain }));
    }

    /// Decides, at the end of a response, whether it belongs to the request.
    ///
    /// That is certain for the first request of a connection, and over HTTP/2. After that, surplus bytes of
    /// an earlier response could have been taken for this one, and the real one would follow.
    pub(crate) fn poll_verdict(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Unfit>> {
        if let Some(Connection::One { record, .. }) = &self.connection {
            record.read();
        }
        let Some(Connection::One { sender, record, is_used: true }) = &mut self.connection else {
            return Poll::Ready(Ok(()));
        };
        if record.is_early() && self.is_success {
            record.surplus();
        }
        if self.host.trust.breaches() != self.breaches {
            return Poll::Ready(Err(Unfit::Surplus));
        }
        let is_over = match sender.poll_ready(task) {
            Poll::Ready(Ok(())) if self.held.is_none() => return Poll::Ready(Ok(())),
            Poll::Pending if !sender.is_closed() => Poll::Pending,
            _ => record.poll_ended(task),
        };
        if let Poll::Ready(is_clean) = is_over {
            return Poll::Ready(if is_clean { Ok(()) } else { Err(Unfit::Surplus) });
        }
        let now = Instant::now();
        let max_hold = self.max_hold;
        let end = self.held.as_mut().map_or(now + MAX_VERDICT_WAIT, |held| {
            let end = max_hold.map_or(held.until, |max| max.min(held.until));
            held.is_certain &= end == held.until;
            end.max(now)
        });
        ready!(self.verdict.get_or_insert_with(|| Box::pin(sleep_until(end))).as_mut().poll(task));
        if let Some(held) = self.held.take() {
            self.host.pace.add_proven(self.took);
            // If the response to this request is still on its way, it must not meet the next request.
            self.is_discarded |= !held.is_certain;
        }
        if !sender.is_ready() {
            self.connection = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        match connection {
            Connection::One { sender, record, .. } => {
                let budget = &self.host.connector.budget;
                if sender.is_closed() {
                    return;
                }
                let is_excess = self.is_discarded && !self.host.closings.admit();
                if (self.is_discarded && !is_excess)
                    || !self.host.may_reuse()
                    || budget.wants_back(&self.host.share, false)
                {
                    drop(sender);
                    return self.host.serve();
                }
                if !sender.is_ready() {
                    return self.host.finish_later(sender, record);
                }
                let is_swept = {
                    let mut state = self.host.state();
                    let free = Free::used(sender, record);
                    if is_excess {
                        // All others are used before it.
                        state.free.insert(0, free);
                    } else {
                        state.free.push(free);
                    }
                    state.swept
                };
                if !is_swept {
                    self.host.sweep_later();
                }
            }
            Connection::Many(shared) => {
                let is_given_up = self.unanswered.is_some_and(|sent| sent.elapsed() >= MIN_UNANSWERED);
                let has_failed = self.is_discarded || is_given_up;
                let mut state = self.host.state();
                let is_bad = has_failed && shared.failed();
                if !has_failed && self.unanswered.is_none() && shared.is_used.load(Ordering::Relaxed) {
                    shared.failures.store(0, Ordering::Relaxed);
                }
                shared.taken.fetch_sub(1, Ordering::Relaxed);
                let known = state.shared.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &shared));
                if let Some((_, since)) = known {
                    *since = Instant::now();
                    if is_bad && self.host.closings.admit() {
                        state.remove_shared(|other| Arc::ptr_eq(other, &shared));
                    }
                }
            }
        }
        self.host.serve();
    }
}

impl HostPool {
    /// Takes back a connection that another thread is about to finish with. A connection whose response was
    /// not read never becomes ready and is closed.
    fn finish_later(self: &Arc<Self>, mut sender: http1::SendRequest<Sent>, record: Arc<Record>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let host = self.clone();
        runtime.spawn(async move {
            if sender.ready().await.is_ok() {
                host.state().free.push(Free::used(sender, record));
                host.sweep_later();
                host.serve();
            }
        });
    }
}
