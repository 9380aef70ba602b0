//! A bucket that fills evenly, at a rate that may change while it is used.

use std::time::Duration;

use tokio::time::Instant;

/// Share of a rate limit that is used: clocks differ, and a 429 costs more than it gains.
const USED_SHARE: f64 = 0.995;

/// Burst allowed after a pause, as time. Providers enforce 60 per minute as one per second.
const BURST: f64 = 1.0;

/// Share of the burst that a limit named by an answer begins with: requests reach the server less evenly than
/// they are sent.
const EVEN_SHARE: f64 = 0.9;

/// Time without rejections after which a rate that was cut grows again.
const CLEAN: Duration = Duration::from_secs(2);

/// Time without rejections after which an unnamed limit is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Growth per second of a rate that was cut: for a known limit, and for an unknown one.
const GROWTH: f64 = 0.05;
const CAREFUL_GROWTH: f64 = 0.02;

/// Rate right after a first rejection by an unnamed limit, and the time in which it doubles: 500 per second
/// after 1.25 s. A single rejection reveals neither the limit nor whether it still applies.
const SLOW_START: f64 = 16.0;
const DOUBLES: f64 = 0.25;

/// Maximum time of doubling. By then the limit no longer has any effect.
const SLOW_START_LASTS: Duration = Duration::from_secs(3);

/// Minimum rate: a bucket with no inflow would never learn a better one.
const MIN_RATE: f64 = 1.0 / 120.0;

/// Returns true if a window of this many seconds is a quota rather than a rate.
pub(super) fn is_long(window: f64) -> bool {
    window > 120.0
}

/// A bucket. Taking more than it holds leaves a debt, and others wait until it is paid.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    /// Maximum per second. Infinite if unknown.
    ceiling: f64,
    /// Current inflow per second.
    rate: f64,
    /// Maximum that it may save up, as time.
    burst: f64,
    level: f64,
    at: Instant,
    /// Time at which the rate was last cut, or a slow start began.
    cut: Option<Instant>,
    /// Set while the rate doubles, because only a single rejection has revealed a limit.
    is_slow_start: bool,
}

impl Bucket {
    /// A full bucket for `limit` in each `window` of seconds.
    pub(super) fn new(limit: f64, window: f64, now: Instant) -> Self {
        let rate = (USED_SHARE * limit / window).max(f64::MIN_POSITIVE);
        // A daily quota may be used at any time of the day.
        let burst = if is_long(window) { window } else { BURST };
        let mut bucket =
            Self { ceiling: rate, rate, burst, level: 0.0, at: now, cut: None, is_slow_start: false };
        bucket.level = bucket.max_level();
        bucket
    }

    /// An empty bucket for an unnamed limit revealed by one rejection. From `opens` on its rate doubles,
    /// starting with at least `rate` per second, until the next rejection or until it no longer limits
    /// anything.
    pub(super) fn slow_start(rate: f64, opens: Instant, now: Instant) -> Self {
        let rate = rate.max(SLOW_START);
        let cut = Some(opens.max(now));
        Self { ceiling: f64::INFINITY, rate, burst: BURST, level: 0.0, at: now, cut, is_slow_start: true }
    }

    /// Returns true if only a single rejection has revealed the limit.
    pub(super) fn is_slow_start(&self) -> bool {
        self.is_slow_start
    }

    /// Returns the bucket without its content.
    pub(super) fn drained(self) -> Self {
        // The window of a day holds more than one response can use.
        let level = if self.burst > BURST { self.level } else { self.level.min(0.0) };
        Self { level, ..self }
    }

    /// Returns the bucket with what `sent` requests have left of its burst, at most the `remaining` requests
    /// that the server reports.
    pub(super) fn after(self, sent: f64, remaining: f64) -> Self {
        let left = (EVEN_SHARE * self.level - sent).min(remaining).max(0.0);
        Self { level: left, ..self }
    }

    /// Continues with the limit that now applies. The content stays, as far as there is room.
    pub(super) fn limit(&mut self, limit: f64, window: f64, now: Instant) {
        self.advance(now);
        let fresh = Self::new(limit, window, now);
        // Readings of a window differ by rounding.
        if (fresh.ceiling / self.ceiling - 1.0).abs() < 0.02 {
            return;
        }
        let is_cut = self.rate < self.ceiling && !self.is_slow_start;
        self.is_slow_start = false;
        let is_quota = fresh.burst > self.burst;
        self.burst = fresh.burst;
        self.rate = if is_cut { self.rate.min(fresh.rate) } else { fresh.rate };
        self.ceiling = fresh.ceiling;
        // A quota is as full as the server reports, regardless of what accumulated under a rate.
        self.level = if is_quota { fresh.level } else { self.level.min(self.max_level()) };
    }

    /// Lowers the level if the server reports that less of a long window remains.
    pub(super) fn lower_to(&mut self, left: f64, now: Instant) {
        self.advance(now);
        if self.burst > BURST {
            self.level = self.level.min(left);
        }
    }

    /// Returns when `need` can be taken. A need that exceeds the bucket waits until it is full.
    pub(super) fn ready(&mut self, need: f64, now: Instant) -> Result<(), Instant> {
        self.advance(now);
        let missing = need.min(self.max_level()) - self.level;
        // Sums of fractions end just below the whole number that they represent.
        if missing <= 1e-6 {
            return Ok(());
        }
        let wait = (missing / self.rate).min(3600.0);
        Err(now + Duration::from_secs_f64(wait).max(Duration::from_micros(1)))
    }

    /// Takes `need` out, going into debt if necessary.
    pub(super) fn take(&mut self, need: f64) {
        self.level -= need;
    }

    /// Returns what was taken and not used. A negative value takes what was used in excess.
    pub(super) fn refund(&mut self, unused: f64, now: Instant) {
        self.advance(now);
        self.level = (self.level + unused).min(self.max_level());
    }

    /// Slows down to `rate` per second, but not below `floor` of the known limit.
    pub(super) fn cut(&mut self, rate: f64, floor: f64, now: Instant) {
        self.advance(now);
        let floor = if self.ceiling.is_finite() { floor * self.ceiling } else { MIN_RATE };
        self.rate = rate.max(floor).min(self.rate);
        self.level = self.level.min(self.max_level());
        self.cut = Some(now);
        self.is_slow_start = false;
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Maximum per second, if known.
    pub(super) fn ceiling(&self) -> Option<f64> {
        Some(self.ceiling).filter(|ceiling| ceiling.is_finite())
    }

    /// Limit of a whole window, if known: a minute, or the period of a quota.
    pub(super) fn limit_of_window(&self) -> Option<f64> {
        let window = if is_long(self.burst) { self.burst } else { 60.0 };
        self.ceiling().map(|ceiling| ceiling * window / USED_SHARE)
    }

    #[cfg(test)]
    pub(super) fn level(&mut self, now: Instant) -> f64 {
        self.advance(now);
        self.level
    }

    /// Returns true if it is full.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        let mut later = self.clone();
        later.advance(now);
        later.level >= later.max_level() && later.rate >= later.ceiling.min(f64::MAX)
    }

    /// Returns true if nothing indicates a limit any more.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        let lasts = if self.is_slow_start { SLOW_START_LASTS } else { FORGOTTEN };
        self.ceiling.is_infinite() && self.cut.is_none_or(|cut| now.duration_since(cut) >= lasts)
    }

    fn max_level(&self) -> f64 {
        (self.rate * self.burst).max(1.0)
    }

    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        if passed == 0.0 {
            return;
        }
        self.level = (self.level + passed * self.rate).min(self.max_level());
        if let Some(opens) = self.cut.filter(|_| self.is_slow_start) {
            let open = now.saturating_duration_since(opens.max(self.at)).as_secs_f64();
            self.rate *= 2f64.powf(open.min(SLOW_START_LASTS.as_secs_f64()) / DOUBLES);
        } else if let Some(cut) = self.cut {
            let clean = now.saturating_duration_since((cut + CLEAN).max(self.at)).as_secs_f64();
            let growth = if self.ceiling.is_finite() { GROWTH } else { CAREFUL_GROWTH };
            self.rate = (self.rate * (1.0 + growth).powf(clean.min(600.0))).min(self.ceiling);
            if self.rate >= self.ceiling {
                self.cut = None;
            }
        }
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is taken, returned, cut and waited for: in any window the outflow is at most the inflow,
        /// a burst, the returned amounts, and one debt.
        #[test]
        fn no_window_admits_more_than_its_rate_and_a_burst(
            limit in 30.0..6000.0_f64,
            steps in prop::collection::vec((0_u64..400, 0.1..20.0_f64, 0.0..1.5_f64, 0_u8..10), 1..200),
        ) {
            let began = Instant::now();
            let mut now = began;
            let mut bucket = Bucket::new(limit, 60.0, now);
            let rate = limit / 60.0;
            let mut events: Vec<(f64, f64)> = Vec::new();
            for (wait, need, unused, what) in steps {
                now += Duration::from_millis(wait);
                match what {
                    0 => bucket.refund(need * unused, now),
                    1 => bucket.cut(bucket.rate() * 0.95, 0.7, now),
                    _ if bucket.ready(need, now).is_ok() => {
                        bucket.take(need);
                        events.push((now.duration_since(began).as_secs_f64(), need));
                    }
                    _ => {}
                }
                if what == 0 {
                    events.push((now.duration_since(began).as_secs_f64(), -need * unused));
                }
            }
            for (i, (from, _)) in events.iter().enumerate() {
                let mut sum = 0.0;
                for (at, amount) in &events[i..] {
                    sum += amount;
                    prop_assert!(sum <= rate * (at - from) + rate.max(1.0) + 20.0 + 1e-6);
                }
            }
        }

        /// The returned wait is sufficient.
        #[test]
        fn an_awaited_amount_can_be_taken(limit in 1.0..6000.0_f64, needs in prop::collection::vec(0.1..500.0_f64, 1..50)) {
            let mut now = Instant::now();
            let mut bucket = Bucket::new(limit, 60.0, now);
            for need in needs {
                while let Err(when) = bucket.ready(need, now) {
                    prop_assert!(when > now);
                    now = when;
                }
                bucket.take(need);
            }
        }
    }
}
