//! A send rate that grows while nothing is rejected.

use std::time::Duration;

use tokio::time::Instant;

/// The time in which a rate doubles, unless four requests take longer.
const DOUBLES: f64 = 0.25;
const REQUESTS_TO_DOUBLE: f64 = 4.0;

/// Doublings after which a limit no longer has any effect.
const DOUBLINGS: f64 = 12.0;

/// Share of a measured rate that is used, and its growth in the time of a measurement.
const USED_SHARE: f64 = 0.97;
const GROWTH: f64 = 0.05;

/// Minimum and maximum measurement time of a rate in seconds, and the number of requests that it must cover.
const HORIZON: (f64, f64) = (1.0, 60.0);
const REQUESTS: f64 = 16.0;

/// Growth after which a rate without further rejections is forgotten.
const FORGOTTEN: f64 = 4.0;

/// Burst, as time. Less than any provider allows.
const BURST: f64 = 0.1;

/// A rate that grows while nothing is rejected.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    /// Requests per second: initial or measured.
    pub(super) rate: f64,
    pub(super) growth: Growth,
    pub(super) since: Instant,
    pub(super) level: f64,
    at: Instant,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Growth {
    Doubling,
    Steady {
        /// Seconds in which the rate was measured.
        horizon: f64,
    },
}

impl Pace {
    pub(super) fn doubling(rate: f64, now: Instant) -> Self {
        Self { rate, growth: Growth::Doubling, since: now, level: 0.0, at: now }
    }

    pub(super) fn steady(rate: f64, horizon: f64, now: Instant) -> Self {
        let growth = Growth::Steady { horizon: horizon.max(REQUESTS / rate).clamp(HORIZON.0, HORIZON.1) };
        Self { rate, growth, since: now, level: 0.0, at: now }
    }

    pub(super) fn is_steady(&self) -> bool {
        matches!(self.growth, Growth::Steady { .. })
    }

    /// Restarts the growth.
    pub(super) fn restart(&mut self, now: Instant) {
        self.since = now;
        self.drain(now);
    }

    pub(super) fn drain(&mut self, now: Instant) {
        self.advance(now);
        self.level = self.level.min(0.0);
    }

    /// Factor by which it has grown.
    pub(super) fn grown(&self, now: Instant) -> f64 {
        let clean = now.saturating_duration_since(self.since).as_secs_f64();
        match self.growth {
            Growth::Doubling => clean / DOUBLES.max(REQUESTS_TO_DOUBLE / self.rate),
            Growth::Steady { horizon } => clean / horizon,
        }
    }

    pub(super) fn rate(&self, now: Instant) -> f64 {
        let grown = self.grown(now);
        match self.growth {
            Growth::Doubling => self.rate * 2f64.powf(grown.min(DOUBLINGS)),
            Growth::Steady { .. } => self.rate * (USED_SHARE + GROWTH * grown * grown),
        }
    }

    /// Returns true if it has grown so far that it no longer limits anything.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        match self.growth {
            Growth::Doubling => self.grown(now) >= DOUBLINGS,
            Growth::Steady { .. } => self.rate(now) > FORGOTTEN * self.rate,
        }
    }

    pub(super) fn ready(&mut self, now: Instant) -> Result<(), Instant> {
        self.advance(now);
        let missing = 1.0 - self.level;
        if missing <= 1e-6 {
            return Ok(());
        }
        let wait = (missing / self.rate(now)).min(60.0);
        Err(now + Duration::from_secs_f64(wait).max(Duration::from_micros(1)))
    }

    pub(super) fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        if passed.is_zero() {
            return;
        }
        let rate = self.rate(self.at + passed / 2);
        self.level = (self.level + rate * passed.as_secs_f64()).min((rate * BURST).max(1.0));
        self.at = now;
    }
}
