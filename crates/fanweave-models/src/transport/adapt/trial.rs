//! The first request with a change that was just learned: other refused requests wait for it, so that a
//! server which refuses several fields refuses the second one once, and not for every call in flight.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Bounds of the wait. A refusal comes as fast as the one before it; an answer may take minutes.
const MIN_WAIT: Duration = Duration::from_millis(20);
const MAX_WAIT: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Trial {
    is_on: AtomicBool,
    /// When the server would have refused the request.
    until: Mutex<Option<Instant>>,
    over: Notify,
}

impl Trial {
    fn until(&self) -> MutexGuard<'_, Option<Instant>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins with the refusal of a request that was sent at `sent`. It ends by itself after twice the time
    /// which that refusal took.
    pub(super) fn begin(&self, sent: Instant) {
        let wait = (sent.elapsed() * 2).clamp(MIN_WAIT, MAX_WAIT);
        *self.until() = Some(Instant::now() + wait);
        self.is_on.store(true, Ordering::Release);
    }

    /// Ends it: a request with the change was accepted, or failed for another reason.
    pub(super) fn end(&self) {
        if self.is_on.load(Ordering::Relaxed) && self.is_on.swap(false, Ordering::AcqRel) {
            *self.until() = None;
            self.over.notify_waiters();
        }
    }

    /// Completes when no trial is on.
    pub(super) async fn ended(&self) {
        loop {
            // Before the check: a trial that ends after it is noticed.
            let over = self.over.notified();
            let until = *self.until();
            match until {
                // Either way, another trial may have begun.
                Some(until) if until > Instant::now() => _ = timeout_at(until, over).await,
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_trial_ends_with_its_request_or_after_twice_the_time_of_the_refusal() {
        let trial = Arc::new(Trial::default());
        let waited = |from: Instant| from.elapsed().as_millis();
        let now = Instant::now();
        trial.ended().await;
        assert_eq!(waited(now), 0, "none is on");

        for (took, waits) in [(0, 20), (100, 200), (60_000, 2_000)] {
            let sent = Instant::now();
            tokio::time::sleep(Duration::from_millis(took)).await;
            let refused = Instant::now();
            trial.begin(sent);
            trial.ended().await;
            assert!((waits..waits + 3).contains(&waited(refused)), "{took}: {}", waited(refused));
        }

        let sent = Instant::now();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let refused = Instant::now();
        trial.begin(sent);
        let ends = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            trial.end();
        };
        tokio::join!(ends, trial.ended(), trial.ended());
        assert!(waited(refused) < 10);
    }
}
