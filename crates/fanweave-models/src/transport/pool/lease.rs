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

use super::{Free, HostPool, Shared};
use crate::transport::connect::Sent;
use crate::transport::wire::{Record, Unfit};

/// Connections of a host with many concurrent calls.
const MANY_CALLS: usize = 8;

/// Maximum wait after the end of a response until the task of its connection reports whether more bytes have
/// arrived. It takes microseconds, unless the server has responded without reading the request.
const MAX_VERDICT_WAIT: Duration = Duration::from_millis(50);

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
    /// Set for a response that is held: the time it took, and when it may be used.
    held: Option<Box<(Duration, Instant)>>,
    /// Limits the wait for the verdict on the connection.
    verdict: Option<Pin<Box<Sleep>>>,
}

pub(super) enum Connection {
    One { sender: http1::SendRequest<Sent>, record: Arc<Record>, is_used: bool },
    Many(Arc<Shared>),
}

impl Lease {
    pub(super) fn new(host: &Arc<HostPool>, connection: Connection) -> Self {
        let breaches = host.trust.breaches();
        let (is_success, held, verdict) = (false, None, None);
        Self { host: host.clone(), connection: Some(connection), breaches, is_success, held, verdict }
    }

    /// Records the head of the response to an HTTP/1.1 request that was sent at `began`.
    pub(super) fn answered(&mut self, status: StatusCode, began: Instant) {
        self.is_success = status.is_success();
        // Rejections take no time.
        if !self.is_success {
            return;
        }
        let took = began.elapsed();
        match &self.connection {
            Some(Connection::One { is_used: true, .. }) => {
                let hold = self.host.pace.hold(took, self.host.share.open() >= MANY_CALLS);
                self.held = hold.map(|hold| Box::new((took, began + took + hold)));
            }
            _ => self.host.pace.add(took),
        }
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
        let end = self.held.as_ref().map_or(now + MAX_VERDICT_WAIT, |held| held.1.max(now));
        ready!(self.verdict.get_or_insert_with(|| Box::pin(sleep_until(end))).as_mut().poll(task));
        if let Some(held) = self.held.take() {
            self.host.pace.add_proven(held.0);
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
                if !self.host.trust.is_kept() || budget.wants_back(&self.host.share, false) {
                    drop(sender);
                    return self.host.serve();
                }
                if !sender.is_ready() {
                    return self.host.finish_later(sender, record);
                }
                let is_swept = {
                    let mut state = self.host.state();
                    state.free.push(Free::used(sender, record));
                    state.swept
                };
                if !is_swept {
                    self.host.sweep_later();
                }
            }
            Connection::Many(shared) => {
                let mut state = self.host.state();
                shared.taken.fetch_sub(1, Ordering::Relaxed);
                if let Some((_, since)) =
                    state.shared.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &shared))
                {
                    *since = Instant::now();
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
