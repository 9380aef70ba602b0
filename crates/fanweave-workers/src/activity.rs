//! Rows that a worker has run, and those that it runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanweave_batch::Progress;

/// Counts of the rows of a worker since it was started, for health checks and metrics. Clones share it.
///
/// ```
/// use fanweave::workers::Activity;
///
/// assert_eq!(Activity::default().counts().ok, 0);
/// ```
#[derive(Clone, Default)]
pub struct Activity(Arc<Mutex<State>>);

/// Counts of an [`Activity`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActivityCounts {
    /// Rows that have an answer.
    pub ok: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows in flight.
    pub in_flight: u64,
}

#[derive(Default)]
struct State {
    /// Rows of runs that this worker has left.
    ended: ActivityCounts,
    current: Option<Arc<Progress>>,
}

impl Activity {
    /// The counts so far.
    pub fn counts(&self) -> ActivityCounts {
        let state = self.lock();
        let mut counts = state.ended;
        if let Some(progress) = &state.current {
            let now = progress.snapshot();
            (counts.ok, counts.failed) = (counts.ok + now.ok, counts.failed + now.failed);
            counts.in_flight = now.in_flight;
        }
        counts
    }

    /// Counts the rows of another run from now on.
    pub(crate) fn begin(&self, progress: &Arc<Progress>) {
        self.end();
        self.lock().current = Some(progress.clone());
    }

    /// Counts the rows of no run from now on.
    pub(crate) fn end(&self) {
        let counts = ActivityCounts { in_flight: 0, ..self.counts() };
        let mut state = self.lock();
        state.ended = counts;
        state.current = None;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
