//! A rate that a server enforces and does not name: its refusals say neither a limit nor a wait.
//!
//! ```text
//!           refused                 with far fewer in flight than before
//! Unknown ──────────▶ Suspected ────────────────────────────────────────▶ Rate
//!                         │  only with as many in flight as before         │
//!                         └───────────────▶ Crowd ◀────────────────────────┘
//! ```
//!
//! A refusal without a reason means one of two things: too many requests in flight, which [`Capacity`] searches, or too
//! many in a time, which is learned here. They differ in the number in flight when the next one is refused: a limit of
//! concurrency refuses nothing below what it took before. A rate is measured by what was accepted between two refusals.

use std::time::Duration;

use tokio::time::Instant;

use super::capacity::Capacity;

/// Rate at the beginning of a suspicion, and the time in which it doubles, unless four requests take longer.
const SLOW_START: f64 = 16.0;
const DOUBLES: f64 = 0.25;
const REQUESTS_TO_DOUBLE: f64 = 4.0;

/// Doublings after which nothing is left of a limit.
const DOUBLINGS: f64 = 12.0;

/// Requests that have to be accepted between two refusals to measure a rate.
const MEASURED: u64 = 8;

/// Share of what was in flight at once, at which a refusal is none for concurrency.
const FEWER: f64 = 0.8;
/// The same, where concurrency was found to be the limit.
const FAR_FEWER: f64 = 0.5;

/// Waves in a row that were refused with no more in flight than were accepted before, after which concurrency is not the
/// limit. Up to so many in flight are counted exactly.
const TIES: u32 = 4;
const FEW: usize = 8;

/// Share of a measured rate that is sent, and how that grows in the time that it was measured in.
const USED_SHARE: f64 = 0.97;
const GROWTH: f64 = 0.05;

/// Limits in seconds of the time that a rate counts as measured in.
const HORIZON: (f64, f64) = (1.0, 60.0);

/// Growth after which a rate that was never refused again is forgotten.
const FORGOTTEN: f64 = 4.0;

/// Measured rates that differ by less belong together.
const SAME: f64 = 0.15;

/// What can go out at once, as time. Less than any provider allows.
const BURST: f64 = 0.1;

/// Rate after a refusal that follows the last cut too soon for a measurement.
const CUT: f64 = 0.9;

/// Measurements in a row that each are lower, after which the limit was none of a rate.
const FALLS: u32 = 4;

/// How long a suspicion waits before it tries whether more fit in flight. A bucket of 120 a minute has filled by two.
const PROBE_AFTER: Duration = Duration::from_secs(1);

/// How long nothing of such a try may be refused: round trips, and at least so long.
const PROOF_TRIPS: u32 = 5;
const PROOF: Duration = Duration::from_millis(100);

/// Tries that are refused, after which concurrency is the limit.
const PROBES: u32 = 3;

/// Maximum pause where nothing gets through.
const MAX_PAUSE: Duration = Duration::from_secs(3);

/// A request that was sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sent {
    /// Its number on the account.
    pub(super) nth: u64,
    pub(super) at: Instant,
    /// Requests in flight with it.
    pub(super) crowd: usize,
}

/// What a refusal without a reason is for.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) enum Cause {
    Capacity,
    Rate,
}

/// Whether one more may go out than the capacity allows.
#[derive(Debug, PartialEq)]
pub(super) enum Probe {
    No,
    Go,
    Wait(Instant),
    /// The capacity is no limit: it was searched for nothing.
    Free,
}

/// The search for a rate that nobody names.
#[derive(Debug, Default)]
pub(super) struct Unnamed {
    model: Model,
    pace: Option<Pace>,
    /// The last request that was refused.
    last: Option<Sent>,
    /// The refused one that the present measurement began with, and the requests that were accepted since.
    anchor: Option<Sent>,
    accepted: u64,
    /// Requests of the account at the last cut. Those before it say nothing new.
    cut_at: u64,
    /// Requests in flight that were not refused, at the end of the last wave of refusals before which any was accepted.
    taken: usize,
    /// Whether the present wave is one.
    is_behind_answers: bool,
    /// Maximum in flight with a request that was answered, of those sent since the last wave.
    peak: usize,
    /// Waves in a row that began with no more in flight than was accepted since the one before.
    ties: u32,
    /// Waves since the last success behind which nothing was accepted.
    shut: u32,
    sent_at: Option<Instant>,
    /// Refusals since the last success.
    in_a_row: u32,
    /// The longest time that a refusal took.
    trip: Duration,
    /// What was known of the capacity before the suspicion.
    before: Option<Capacity>,
    openings: Openings,
    window: Option<Window>,
}

#[derive(Debug, Default)]
enum Model {
    #[default]
    Unknown,
    Suspected(Suspicion),
    Rate {
        /// Measurements in a row that each were lower.
        falls: u32,
    },
    Crowd,
}

#[derive(Debug, Clone, Copy)]
struct Suspicion {
    /// When more are tried in flight, and the pause after one that is refused.
    probe: Instant,
    pause: Duration,
    refused: u32,
    /// When as many were in flight as are tried.
    reached: Option<Instant>,
    /// Whether more were in flight than concurrency would have allowed.
    is_disproved: bool,
}

impl Unnamed {
    /// Whether it holds anything back.
    pub(super) fn is_active(&self) -> bool {
        self.pace.is_some() || self.window.is_some() || self.shut > 1
    }

    /// Requests a second that are sent at most.
    pub(super) fn rate(&self, now: Instant) -> Option<f64> {
        self.pace.as_ref().filter(|pace| pace.is_steady()).map(|pace| pace.rate(now))
    }

    /// When the next request may be sent.
    pub(super) fn ready(&mut self, now: Instant) -> Option<Instant> {
        if let Some(window) = &mut self.window {
            return window.ready(now).err();
        }
        if self.shut > 1
            && let Some(sent) = self.sent_at
            && now < sent + self.proof()
        {
            // One alone finds out whether anything gets through.
            return Some(sent + self.proof());
        }
        let pace = self.pace.as_mut()?;
        if pace.is_over(now) {
            self.pace = None;
            if !matches!(self.model, Model::Crowd) {
                self.model = Model::Unknown;
                self.before = None;
            }
            return None;
        }
        pace.ready(now).err()
    }

    /// A request is sent.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent_at = Some(now);
        if let Some(window) = &mut self.window {
            window.sent += 1;
        }
        if let Some(pace) = &mut self.pace {
            pace.level -= 1.0;
        }
    }

    /// A request was answered. `admitted` were sent so far.
    pub(super) fn succeeded(&mut self, sent: Sent, admitted: u64) {
        self.in_a_row = 0;
        self.shut = 0;
        if sent.nth > self.cut_at {
            self.peak = self.peak.max(sent.crowd);
        }
        match &mut self.window {
            Some(window) => window.succeeded(sent.nth),
            None => {
                let is_after = self.last.is_none_or(|last| sent.nth > last.nth);
                if let Some(limit) = self.openings.answered(sent.at, is_after) {
                    self.window = Some(Window::new(limit, sent, admitted));
                    self.model = Model::Rate { falls: 0 };
                    self.pace = None;
                }
            }
        }
    }

    /// Whether one more may go out beside `in_flight`, which is all that the capacity allows.
    pub(super) fn probe(&mut self, in_flight: usize, now: Instant) -> Probe {
        let proof = self.proof();
        let Model::Suspected(suspicion) = &mut self.model else { return Probe::No };
        if self.taken == 0 || self.shut > 1 || suspicion.refused >= PROBES {
            return Probe::No;
        }
        if now < suspicion.probe {
            return Probe::Wait(suspicion.probe);
        }
        if (in_flight as f64) < self.taken as f64 * 1.15 + 2.0 {
            return Probe::Go;
        }
        let proven = *suspicion.reached.get_or_insert(now) + proof;
        if now < proven {
            return Probe::Wait(proven);
        }
        suspicion.is_disproved = true;
        suspicion.refused = PROBES;
        self.pace = Some(Pace::doubling(SLOW_START, now));
        Probe::Free
    }

    /// The capacity before it was taken for the limit.
    pub(super) fn capacity(&mut self) -> Option<Capacity> {
        self.before.take()
    }

    /// Takes note of a refusal without a reason, and judges what it is for. `in_flight` are left without it, `admitted` were
    /// sent so far.
    pub(super) fn refused(
        &mut self,
        sent: Sent,
        in_flight: usize,
        admitted: u64,
        capacity: &Capacity,
        now: Instant,
    ) -> Cause {
        self.in_a_row += 1;
        if let Some(window) = &mut self.window {
            if window.refused(sent.nth) {
                self.in_a_row = 0;
                return Cause::Rate;
            }
            self.window = None;
            self.openings = Openings::default();
        }
        self.trip = self.trip.max(now.saturating_duration_since(sent.at));
        let is_new = sent.nth > self.cut_at;
        let gap = self.count(sent, is_new);
        let most = self.taken.max(self.peak);
        if is_new {
            self.peak = 0;
            self.is_behind_answers = gap > 0;
            self.shut += u32::from(gap == 0);
            if gap > 0 {
                // Of many in flight, some are answered and their answers on their way.
                let is_tie = sent.crowd <= if most > FEW { most * 9 / 10 } else { most };
                self.ties = if is_tie { self.ties + 1 } else { 0 };
                self.openings.closed = Some(now);
            }
        }
        if self.is_behind_answers {
            self.taken = in_flight;
        }
        if !is_new {
            if let Some(pace) = &mut self.pace {
                pace.drain(now);
            }
            return if matches!(self.model, Model::Rate { .. }) { Cause::Rate } else { Cause::Capacity };
        }
        self.cut_at = admitted;
        let is_below = |share: f64| sent.crowd as f64 <= (share * most as f64).max(1.0);
        match &mut self.model {
            Model::Suspected(_) | Model::Crowd if gap > 0 && self.ties >= TIES => {
                self.model = Model::Rate { falls: 0 };
                self.measure(gap, now);
            }
            Model::Unknown => self.suspect(sent, capacity, now),
            Model::Crowd if gap > 0 && is_below(FAR_FEWER) => self.suspect(sent, capacity, now),
            Model::Crowd => {}
            Model::Suspected(suspicion) if self.pace.is_none() && suspicion.refused == 0 => {
                self.suspect(sent, capacity, now);
            }
            // Nothing gets through.
            _ if gap == 0 => {
                if let Some(pace) = &mut self.pace {
                    pace.restart(now);
                }
            }
            Model::Suspected(suspicion) if suspicion.is_disproved || is_below(FEWER) => {
                self.model = Model::Rate { falls: 0 };
                self.measure(gap, now);
            }
            Model::Suspected(suspicion) => {
                suspicion.refused += 1;
                suspicion.reached = None;
                suspicion.probe = now + suspicion.pause;
                suspicion.pause *= 2;
                if suspicion.refused >= PROBES {
                    self.model = Model::Crowd;
                    self.pace = None;
                } else if gap >= MEASURED {
                    self.pace = None;
                }
            }
            Model::Rate { .. } => self.measure(gap, now),
        }
        if matches!(self.model, Model::Rate { .. }) { Cause::Rate } else { Cause::Capacity }
    }

    /// Nothing is sent until then: what grows with time does not, meanwhile.
    pub(super) fn hold(&mut self, until: Instant) {
        if let Some(pace) = &mut self.pace {
            pace.since = pace.since.max(until);
        }
    }

    /// How long after a request it is certain that it is not refused.
    fn proof(&self) -> Duration {
        PROOF.max(self.trip * PROOF_TRIPS)
    }

    /// How long to send nothing, where nothing gets through beside `in_flight`.
    pub(super) fn pause(&self, in_flight: usize) -> Option<Duration> {
        (self.in_a_row > 1 && in_flight == 0).then(|| {
            let doublings = self.in_a_row.min(12) / 2;
            (Duration::from_millis(50) * 2u32.pow(doublings)).min(MAX_PAUSE)
        })
    }

    /// Counts what was accepted before a refused request, and gives what was since the one before.
    fn count(&mut self, sent: Sent, is_new: bool) -> u64 {
        let Some(last) = self.last else {
            self.last = Some(sent);
            return sent.nth.saturating_sub(1);
        };
        if sent.nth < last.nth {
            // It had been counted as accepted.
            self.accepted = self.accepted.saturating_sub(1);
            return 0;
        }
        let gap = sent.nth - last.nth - 1;
        if is_new && gap >= MEASURED {
            (self.anchor, self.accepted) = (Some(last), gap);
        } else {
            self.accepted += gap;
        }
        self.last = Some(sent);
        gap
    }

    fn suspect(&mut self, sent: Sent, capacity: &Capacity, now: Instant) {
        self.model = Model::Suspected(Suspicion {
            probe: now + PROBE_AFTER,
            pause: PROBE_AFTER * 2,
            refused: 0,
            reached: None,
            is_disproved: false,
        });
        (self.anchor, self.accepted) = (Some(sent), 0);
        self.pace = Some(Pace::doubling(SLOW_START, now));
        self.before.get_or_insert_with(|| capacity.clone());
    }

    /// Learns the rate from what was accepted since the last refusals.
    fn measure(&mut self, gap: u64, now: Instant) {
        let (Some(last), Some(anchor)) = (self.last, self.anchor) else { return };
        let seconds = last.at.saturating_duration_since(anchor.at).as_secs_f64().max(1e-3);
        let measured = self.accepted as f64 / seconds;
        let Some(pace) = &self.pace else {
            self.pace = Some(Pace::steady(measured.max(1.0 / 120.0), seconds, now));
            return;
        };
        let (estimate, horizon) = match pace.growth {
            Growth::Steady { horizon } if gap >= MEASURED => {
                if let Model::Rate { falls } = &mut self.model {
                    *falls = if measured < pace.rate * 0.985 { *falls + 1 } else { 0 };
                }
                // A bucket that was full in between has lost some: the limit is between both.
                let measured = (measured * pace.rate(now)).sqrt();
                if (measured / pace.rate - 1.0).abs() < SAME {
                    let both = horizon + seconds;
                    ((pace.rate * horizon + measured * seconds) / both, both)
                } else {
                    (measured, seconds)
                }
            }
            Growth::Steady { horizon } => (pace.rate * CUT, horizon / 2.0),
            Growth::Doubling if self.accepted >= MEASURED => {
                let is_slow = pace.rate < SLOW_START;
                let most = if is_slow { pace.rate(now).min(2.0 * measured) } else { measured };
                ((measured * most).sqrt(), seconds)
            }
            Growth::Doubling => {
                let rate = measured.min(pace.rate(now) / 4.0).max(1.0 / 120.0);
                self.pace = Some(Pace::doubling(rate, now));
                return;
            }
        };
        self.pace = Some(Pace::steady(estimate, horizon, now));
    }
}

/// A rate that grows while nothing is refused.
#[derive(Debug, Clone)]
struct Pace {
    /// Requests a second: at the beginning, or as measured.
    rate: f64,
    growth: Growth,
    since: Instant,
    level: f64,
    at: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Growth {
    Doubling,
    Steady {
        /// Seconds in which the rate was measured.
        horizon: f64,
    },
}

impl Pace {
    fn doubling(rate: f64, now: Instant) -> Self {
        Self { rate, growth: Growth::Doubling, since: now, level: 0.0, at: now }
    }

    fn steady(rate: f64, horizon: f64, now: Instant) -> Self {
        let growth = Growth::Steady { horizon: horizon.clamp(HORIZON.0, HORIZON.1) };
        Self { rate, growth, since: now, level: 0.0, at: now }
    }

    fn is_steady(&self) -> bool {
        matches!(self.growth, Growth::Steady { .. })
    }

    /// Begins to grow anew.
    fn restart(&mut self, now: Instant) {
        self.since = now;
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        self.advance(now);
        self.level = self.level.min(0.0);
    }

    /// Times that it has grown.
    fn grown(&self, now: Instant) -> f64 {
        let clean = now.saturating_duration_since(self.since).as_secs_f64();
        match self.growth {
            Growth::Doubling => clean / DOUBLES.max(REQUESTS_TO_DOUBLE / self.rate),
            Growth::Steady { horizon } => clean / horizon,
        }
    }

    fn rate(&self, now: Instant) -> f64 {
        let grown = self.grown(now);
        match self.growth {
            Growth::Doubling => self.rate * 2f64.powf(grown.min(DOUBLINGS)),
            Growth::Steady { .. } => self.rate * (USED_SHARE + GROWTH * grown * grown),
        }
    }

    /// Whether it has grown so far that it is no limit any more.
    fn is_over(&self, now: Instant) -> bool {
        match self.growth {
            Growth::Doubling => self.grown(now) >= DOUBLINGS,
            Growth::Steady { .. } => self.rate(now) > FORGOTTEN * self.rate,
        }
    }

    fn ready(&mut self, now: Instant) -> Result<(), Instant> {
        self.advance(now);
        let missing = 1.0 - self.level;
        if missing <= 1e-6 {
            return Ok(());
        }
        let wait = (missing / self.rate(now)).min(60.0);
        Err(now + Duration::from_secs_f64(wait).max(Duration::from_micros(1)))
    }

    fn advance(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        if passed.is_zero() {
            return;
        }
        let rate = self.rate(self.at + passed / 2);
        self.level = (self.level + rate * passed.as_secs_f64()).min((rate * BURST).max(1.0));
        self.at = now;
    }
}

/// A minute, of the clock or of the last requests.
const MINUTE: Duration = Duration::from_secs(60);

/// How long everything is refused at least before that shows the rest of a minute.
const CLOSED: Duration = Duration::from_secs(5);

/// Between the beginnings of two minutes, as they are found out.
const BETWEEN: (Duration, Duration) = (Duration::from_secs(57), Duration::from_secs(66));

/// Times in which requests are accepted, each of which ends with one in which all are refused.
#[derive(Debug, Default)]
struct Openings {
    /// When the present one began, and the answers to its requests.
    began: Option<Instant>,
    answers: u64,
    /// When the first refusal behind answers came.
    closed: Option<Instant>,
    /// Answers of the one before, where it lasted for a minute.
    before: Option<u64>,
}

impl Openings {
    /// Counts an answer to a request sent at `sent`: `is_after` all refusals. Gives the limit of a minute where two in a
    /// row had as many.
    fn answered(&mut self, sent: Instant, is_after: bool) -> Option<u64> {
        let began = *self.began.get_or_insert(sent);
        let mut limit = None;
        if is_after
            && let Some(closed) = self.closed.take()
            && sent.saturating_duration_since(closed) >= CLOSED
        {
            let period = sent.duration_since(began);
            let is_minute = (BETWEEN.0..BETWEEN.1).contains(&period);
            let answers = std::mem::take(&mut self.answers);
            limit = self.before.filter(|before| is_minute && before.abs_diff(answers) <= 2 + answers / 20);
            self.before = is_minute.then_some(answers);
            self.began = Some(sent);
        }
        self.answers += 1;
        limit
    }
}

/// A limit of a minute, of which all is sent at once.
#[derive(Debug)]
struct Window {
    limit: u64,
    /// Requests that are tried beyond it, once a minute.
    extra: u64,
    began: Instant,
    /// Number of the first request of the minute, and how many have been sent.
    first: u64,
    sent: u64,
    is_full: bool,
}

impl Window {
    fn new(limit: u64, opened: Sent, admitted: u64) -> Self {
        let sent = admitted + 1 - opened.nth;
        Self { limit, extra: 1, began: opened.at, first: opened.nth, sent, is_full: false }
    }

    fn ready(&mut self, now: Instant) -> Result<(), Instant> {
        let passed = now.saturating_duration_since(self.began);
        if passed >= MINUTE {
            let minutes = u32::try_from(passed.as_secs() / 60).unwrap_or(u32::MAX);
            self.began += MINUTE * minutes;
            self.first += self.sent;
            (self.sent, self.extra, self.is_full) = (0, 1, false);
        }
        let is_full = self.is_full || self.sent >= self.limit + self.extra;
        if is_full { Err(self.began + MINUTE) } else { Ok(()) }
    }

    /// One that was tried beyond the limit was answered: there is more.
    fn succeeded(&mut self, nth: u64) {
        if nth >= self.first && nth - self.first + 1 == self.limit + self.extra {
            self.limit += self.extra;
            self.extra *= 2;
        }
    }

    /// Whether the refusal is one of what was tried beyond the limit. Otherwise the limit is none any more.
    fn refused(&mut self, nth: u64) -> bool {
        let is_known = nth < self.first || nth - self.first + 1 >= self.limit;
        self.is_full |= nth >= self.first;
        is_known
    }
}
