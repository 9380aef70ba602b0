//! A bucket that fills steadily and may be overdrawn.

use std::time::{Duration, Instant};

use super::Level;

/// Units left of one limit.
#[derive(Debug)]
pub(super) struct Bucket {
    limit: u32,
    /// Units per second.
    rate: f64,
    /// Most units that can be saved up.
    capacity: f64,
    /// Units left; negative while more was used than estimated.
    level: f64,
    updated: Instant,
}

impl Bucket {
    /// A full bucket of what `limit` per minute gives in a `quantum`, at least one unit.
    pub(super) fn new(limit: u32, quantum: Duration, now: Instant) -> Self {
        let rate = f64::from(limit) / 60.0;
        let capacity = (rate * quantum.as_secs_f64()).max(1.0);
        Self { limit, rate, capacity, level: capacity, updated: now }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// How long until `units` can be taken. A request for more than the bucket holds waits until it is full.
    pub(super) fn wait_for(&mut self, units: u64, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.updated).as_secs_f64();
        self.level = (self.level + passed * self.rate).min(self.capacity);
        self.updated = self.updated.max(now);
        let missing = (units as f64).min(self.capacity) - self.level;
        // A billionth of a unit is the error of the arithmetic, not a reason to wait.
        if missing <= 1e-9 { Duration::ZERO } else { self.time_for(missing) }
    }

    pub(super) fn take(&mut self, units: u64) {
        self.level -= units as f64;
    }

    /// Returns units, or takes more if negative.
    pub(super) fn give_back(&mut self, units: f64) {
        self.level = (self.level + units).min(self.capacity);
    }

    pub(super) fn fill(&mut self) {
        self.level = self.capacity;
    }

    pub(super) fn level(&self) -> Level {
        let used = self.capacity - self.level;
        Level {
            limit: self.limit,
            remaining: (f64::from(self.limit) - used).max(0.0).floor() as u32,
            reset: self.time_for(used),
        }
    }

    /// Time in which so many units are filled in, as far as a clock can count it.
    fn time_for(&self, units: f64) -> Duration {
        Duration::try_from_secs_f64(units / self.rate).unwrap_or(Duration::MAX)
    }
}
