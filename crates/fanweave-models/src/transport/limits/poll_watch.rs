//! Tracks whether the owner of an undriven call that holds a permit still polls it.
//!
//! A call without its own task makes no progress while it is not polled. Without a limit on the account, this
//! is harmless. Once others wait for a permit, the permits of calls that were woken but not polled are given
//! up.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::time::Instant;

/// Maximum time that a woken call may stay unpolled before its permit is given up for a waiting call: longer
/// than a busy runtime takes to poll it.
pub(super) const MAX_UNPOLLED: Duration = Duration::from_millis(100);

/// Time of the last wake-up of a call, and the waker of its owner.
#[derive(Debug)]
pub(crate) struct PollWatch {
    began: Instant,
    /// Microseconds from `began` to the first wake-up since the last poll, plus 1. 0 for none.
    woken: AtomicU64,
    reader: AtomicWaker,
}

impl PollWatch {
    pub(super) fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self { began: now, woken: AtomicU64::new(0), reader: AtomicWaker::new() })
    }

    /// Returns true if it has been ready for so long that its owner appears to have stopped polling it.
    pub(super) fn is_absent(&self, now: Instant) -> bool {
        let woken = self.woken.load(Ordering::Acquire);
        woken > 0 && now.duration_since(self.began + Duration::from_micros(woken - 1)) >= MAX_UNPOLLED
    }

    /// Wraps `work` and records its polls.
    pub(crate) fn of<F: Future + Unpin>(self: Arc<Self>, work: F) -> Watched<F> {
        Watched { work, waker: Waker::from(self.clone()), poll_watch: self }
    }
}

impl Wake for PollWatch {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let now = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX - 1) + 1;
        let _ = self.woken.compare_exchange(0, now, Ordering::AcqRel, Ordering::Relaxed);
        self.reader.wake();
    }
}

/// Work whose polls are recorded.
pub(crate) struct Watched<F> {
    work: F,
    waker: Waker,
    poll_watch: Arc<PollWatch>,
}

impl<F: Future + Unpin> Future for Watched<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        this.poll_watch.woken.store(0, Ordering::Release);
        this.poll_watch.reader.register(task.waker());
        Pin::new(&mut this.work).poll(&mut Context::from_waker(&this.waker))
    }
}

#[cfg(test)]
mod tests;
