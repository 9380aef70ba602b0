//! A bucket that fills evenly, at a rate that may change while it is used.

use std::time::Duration;

use tokio::time::Instant;

/// Share of a rate limit that is used: clocks differ, and a 429 costs more than it wins.
const USED_SHARE: f64 = 0.995;

/// What can go out at once after a pause, as time. Providers enforce 60 a minute as one a second.
const BURST: f64 = 1.0;

/// How long nothing may be refused before a rate that was cut grows again.
const CLEAN: Duration = Duration::from_secs(2);

/// How long nothing may be refused before a limit that nobody names is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Growth a second of a rate that was cut: where the limit is known, and where it is not.
const GROWTH: f64 = 0.05;
const CAREFUL_GROWTH: f64 = 0.02;

/// Rate right after a first refusal whose limit nobody names, and the time in which it doubles: 500 a second after 1.25 s.
/// One refusal tells neither a limit nor whether it still holds.
const SLOW_START: f64 = 16.0;
const DOUBLES: f64 = 0.25;

/// How long a rate may double. By then nothing is left of the limit.
const SLOW_START_LASTS: Duration = Duration::from_secs(3);

/// Lowest rate: a bucket that stood still would never learn better.
const SLOWEST: f64 = 1.0 / 120.0;

/// Whether a window of so many seconds is a quota rather than a rate.
pub(super) fn is_long(window: f64) -> bool {
    window > 120.0
}

/// A bucket. Whoever takes more than it holds leaves a debt, and others wait until it is paid.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    /// Most a second. Infinite where nobody has said it.
    ceiling: f64,
    /// What flows in a second now.
    rate: f64,
    /// What it may save up, as time.
    burst: f64,
    level: f64,
    at: Instant,
    /// When the rate was last cut, or when a slow start began.
    cut: Option<Instant>,
    /// Whether the rate doubles, because one refusal alone has told of a limit.
    is_slow_start: bool,
}

impl Bucket {
    /// A full bucket for `limit` in each `window` of seconds.
    pub(super) fn new(limit: f64, window: f64, now: Instant) -> Self {
        let rate = (USED_SHARE * limit / window).max(f64::MIN_POSITIVE);
        // A quota of a day is there to be used at any time of the day.
        let burst = if is_long(window) { window } else { BURST };
        let mut bucket =
            Self { ceiling: rate, rate, burst, level: 0.0, at: now, cut: None, is_slow_start: false };
        bucket.level = bucket.most();
        bucket
    }

    /// An empty bucket for a limit that nobody has named, and that one refusal tells of. From `opens` on its rate doubles,
    /// beginning with at least `rate` a second, until the next refusal or until nothing limits it any more.
    pub(super) fn slow_start(rate: f64, opens: Instant, now: Instant) -> Self {
        let rate = rate.max(SLOW_START);
        let cut = Some(opens.max(now));
        Self { ceiling: f64::INFINITY, rate, burst: BURST, level: 0.0, at: now, cut, is_slow_start: true }
    }

    /// Whether one refusal alone has told of the limit.
    pub(super) fn is_slow_start(&self) -> bool {
        self.is_slow_start
    }

    /// The same, with nothing in it.
    pub(super) fn drained(self) -> Self {
        // A window of a day has more in it than one answer can tell.
        let level = if self.burst > BURST { self.level } else { self.level.min(0.0) };
        Self { level, ..self }
    }

    /// Goes on with the limit that is now in force. What it holds stays, as far as there is room.
    pub(super) fn limit(&mut self, limit: f64, window: f64, now: Instant) {
        self.advance(now);
        let fresh = Self::new(limit, window, now);
        // One reading of a window differs from the next by its rounding.
        if (fresh.ceiling / self.ceiling - 1.0).abs() < 0.02 {
            return;
        }
        let is_cut = self.rate < self.ceiling && !self.is_slow_start;
        self.is_slow_start = false;
        let is_quota = fresh.burst > self.burst;
        self.burst = fresh.burst;
        self.rate = if is_cut { self.rate.min(fresh.rate) } else { fresh.rate };
        self.ceiling = fresh.ceiling;
        // A quota is as full as the server says, whatever a rate that it was taken for had saved up.
        self.level = if is_quota { fresh.level } else { self.level.min(self.most()) };
    }

    /// Believes a server that says less is left of a long window.
    pub(super) fn at_most(&mut self, left: f64, now: Instant) {
        self.advance(now);
        if self.burst > BURST {
            self.level = self.level.min(left);
        }
    }

    /// When `need` can be taken. A need of more than fits waits for a full bucket.
    pub(super) fn ready(&mut self, need: f64, now: Instant) -> Result<(), Instant> {
        self.advance(now);
        let missing = need.min(self.most()) - self.level;
        // Sums of fractions end just below the whole number that they stand for.
        if missing <= 1e-6 {
            return Ok(());
        }
        let wait = (missing / self.rate).min(3600.0);
        Err(now + Duration::from_secs_f64(wait).max(Duration::from_micros(1)))
    }

    /// Takes `need` out, into debt if need be.
    pub(super) fn take(&mut self, need: f64) {
        self.level -= need;
    }

    /// Puts back what was taken and not used; what was used beyond it, below zero, is taken.
    pub(super) fn refund(&mut self, unused: f64, now: Instant) {
        self.advance(now);
        self.level = (self.level + unused).min(self.most());
    }

    /// Slows down to `rate` a second, but not below `floor` of the known limit.
    pub(super) fn cut(&mut self, rate: f64, floor: f64, now: Instant) {
        self.advance(now);
        let floor = if self.ceiling.is_finite() { floor * self.ceiling } else { SLOWEST };
        self.rate = rate.max(floor).min(self.rate);
        self.level = self.level.min(self.most());
        self.cut = Some(now);
        self.is_slow_start = false;
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Most a second, where it is known.
    pub(super) fn ceiling(&self) -> Option<f64> {
        Some(self.ceiling).filter(|ceiling| ceiling.is_finite())
    }

    /// The limit of a whole window, where it is known: of a minute, or of what a quota holds for.
    pub(super) fn limit_of_window(&self) -> Option<f64> {
        let window = if is_long(self.burst) { self.burst } else { 60.0 };
        self.ceiling().map(|ceiling| ceiling * window / USED_SHARE)
    }

    #[cfg(test)]
    pub(super) fn level(&mut self, now: Instant) -> f64 {
        self.advance(now);
        self.level
    }

    /// Whether it holds all that it can.
    pub(super) fn is_full(&self, now: Instant) -> bool {
        let mut later = self.clone();
        later.advance(now);
        later.level >= later.most() && later.rate >= later.ceiling.min(f64::MAX)
    }

    /// Whether nothing says any more that there is a limit.
    pub(super) fn is_forgotten(&self, now: Instant) -> bool {
        let lasts = if self.is_slow_start { SLOW_START_LASTS } else { FORGOTTEN };
        self.ceiling.is_infinite() && self.cut.is_none_or(|cut| now.duration_since(cut) >= lasts)
    }

    fn most(&self) -> f64 {
        (self.rate * self.burst).max(1.0)
    }

    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        if passed == 0.0 {
            return;
        }
        self.level = (self.level + passed * self.rate).min(self.most());
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
        /// Whatever is taken, given back, cut and waited for: in any window no more goes out than flows in, a burst,
        /// what was given back, and the debt of one.
        #[test]
        fn no_window_lets_out_more_than_its_rate_and_a_burst(
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

        /// The wait that is told is enough.
        #[test]
        fn what_was_waited_for_can_be_taken(limit in 1.0..6000.0_f64, needs in prop::collection::vec(0.1..500.0_f64, 1..50)) {
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
