//! Number of rows that a worker has taken and that have not ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Number of rows that a worker has taken and that have not ended.
#[derive(Clone, Default)]
pub(crate) struct InHand(Arc<Counts>);

#[derive(Default)]
struct Counts {
    rows: AtomicUsize,
    /// Number of rows of the last shard. 0 before the first one.
    shard: AtomicUsize,
    changed: Notify,
}

/// Rows of a shard that have not ended. Dropping it removes them.
pub(crate) struct Reservation {
    in_hand: InHand,
    rows: usize,
}

impl InHand {
    pub(crate) fn rows(&self) -> usize {
        self.0.rows.load(Ordering::Relaxed)
    }

    /// Resolves when rows have ended since it was last called.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    /// Reserves room for a shard whose rows are not known yet.
    pub(crate) fn reserve(&self, unless_known: usize) -> Reservation {
        let rows = match self.0.shard.load(Ordering::Relaxed) {
            0 => unless_known,
            rows => rows,
        };
        self.0.rows.fetch_add(rows, Ordering::Relaxed);
        Reservation { in_hand: self.clone(), rows }
    }
}

impl Reservation {
    /// Sets the number of rows of the shard.
    pub(crate) fn learn(&mut self, rows: usize) {
        self.in_hand.0.shard.store(rows, Ordering::Relaxed);
        self.set(rows);
    }

    /// Sets the number of rows that have not ended.
    pub(crate) fn set(&mut self, rows: usize) {
        let counts = &self.in_hand.0;
        if rows > self.rows {
            counts.rows.fetch_add(rows - self.rows, Ordering::Relaxed);
        } else {
            counts.rows.fetch_sub(self.rows - rows, Ordering::Relaxed);
            counts.changed.notify_one();
        }
        self.rows = rows;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.set(0);
    }
}
