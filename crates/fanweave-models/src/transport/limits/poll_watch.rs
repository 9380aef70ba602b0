//! Calls that hold a permit in a future of somebody else's, and whether that somebody still polls it.
//!
//! A call without a task of its own makes no progress while nobody polls it. Where nothing limits the account
//! that harms nobody. Once others wait for a permit, those of calls that were woken and not polled are given
//! up.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::time::Instant;

/// How long a call may be left alone that could go on, before its permit is given up for one that waits:
/// longer than a busy runtime takes to poll it.
pub(super) const MAX_UNPOLLED: Duration = Duration::from_millis(100);

/// When a call was woken and by whom it is polled.
#[derive(Debug)]
pub(crate) struct PollWatch {
    began: Instant,
    /// Microseconds from `began` to the first waking since the last poll, and 1 more. 0 for none.
    woken: AtomicU64,
    reader: AtomicWaker,
}

impl PollWatch {
    pub(super) fn new(now: Instant) -> Arc<Self> {
        Arc::new(Self { began: now, woken: AtomicU64::new(0), reader: AtomicWaker::new() })
    }

    /// Whether it could have gone on for so long that nobody seems to poll it.
    pub(super) fn is_absent(&self, now: Instant) -> bool {
        let woken = self.woken.load(Ordering::Acquire);
        woken > 0 && now.duration_since(self.began + Duration::from_micros(woken - 1)) >= MAX_UNPOLLED
    }

    /// `work`, with note taken of when it is polled.
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

/// Work whose polls are noted.
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
