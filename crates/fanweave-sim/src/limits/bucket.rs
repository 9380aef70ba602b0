//! A token bucket with a steady refill, which may be overdrawn.

use std::time::{Duration, Instant};

use super::Level;

/// Remaining units of one limit.
#[derive(Debug)]
pub(super) struct Bucket {
    limit: u32,
    /// Units per second.
    rate: f64,
    /// Maximum units that can accumulate.
    capacity: f64,
    /// Remaining units. Negative after more was used than estimated.
    level: f64,
    updated: Instant,
}

impl Bucket {
    /// A full bucket with the units that `limit` per minute yields in a `quantum`, at least one.
    pub(super) fn new(limit: u32, quantum: Duration, now: Instant) -> Self {
        let rate = f64::from(limit) / 60.0;
        let capacity = (rate * quantum.as_secs_f64()).max(1.0);
        Self { limit, rate, capacity, level: capacity, updated: now }
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// Time until `units` are available. A request for more than the capacity waits until the bucket is full.
    pub(super) fn wait_for(&mut self, units: u64, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.updated).as_secs_f64();
        self.level = (self.level + passed * self.rate).min(self.capacity);
        self.updated = self.updated.max(now);
        let missing = (units as f64).min(self.capacity) - self.level;
        // Tolerate rounding errors.
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

    /// Time in which this number of units is refilled, within the range of the clock.
    fn time_for(&self, units: f64) -> Duration {
        Duration::try_from_secs_f64(units / self.rate).unwrap_or(Duration::MAX)
    }
}
