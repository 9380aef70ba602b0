//! Finds the number of concurrent requests that a server takes, which providers do not announce.
//!
//! ```text
//! Open ──rejected─▶ Bisect ──▶ Beyond ◀──▶ Rest        a server that rejects excess requests
//!   └───slower────▶ Held  ◀──▶ Probe                   a server that slows down instead
//! ```
//!
//! The number is not bounded until there is a sign of a limit, but the first wave is sent in steps that
//! double: a server that rejects does so within a round trip, before the rest has been sent.

use std::time::Duration;

use tokio::time::Instant;

/// Requests in the first step.
const START: usize = 64;

/// Maximum requests sent before any answer has shown how the server copes.
const BLIND: f64 = 2048.0;

/// Interval between two steps of the first wave. Two thousand are on their way after five.
const STEP: Duration = Duration::from_millis(10);

/// Factor applied to a bound that was too high.
const BACKOFF_FACTOR: f64 = 0.92;

/// Minimum answers in a round: fewer are not significant.
const ROUND: usize = 16;

/// Mean latency of a round, relative to an idle server, from which the server counts as full.
const SLOW: f64 = 2.0;

/// Maximum pause of an account while nothing is accepted. It is back at full rate soon after the server.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(3);

/// The search for a server's capacity.
#[derive(Debug, Clone)]
pub(super) struct Capacity {
    /// Maximum requests in flight.
    max: f64,
    mode: Mode,
    /// Incremented with each cut. Rejections of requests from before the last cut provide no new evidence.
    epoch: u32,
    /// Requests that have succeeded since the last cut: they were accepted, although they are no longer in
    /// flight.
    done_since_cut: usize,
    /// Bound that a whole round has shown to be possible.
    good: f64,
    /// Bound reached before nothing was accepted any more.
    before: f64,
    /// Rounds until more is tried, after a failed probe.
    remaining_rounds: u32,
    /// Rejections since the last success.
    refusals: u32,
    /// Time since which the first wave has filled its step.
    full: Option<Instant>,
    /// Sum and number of the latencies of an idle server.
    rest: (f64, u32),
    round: Round,
}

/// Pause between probes: 50 ms, doubled `doublings` times, at most `max`.
pub(super) fn pause(doublings: u32, max: Duration) -> Duration {
    (Duration::from_millis(50) * 2u32.pow(doublings.min(6))).min(max)
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    /// No sign of a bound.
    Open,
    /// Bisects between `good` and `too_much`.
    Bisect { too_much: f64 },
    /// Back at the bound from before an outage.
    Back,
    /// Adds a step in each round.
    Beyond { step: f64 },
    /// Keeps the bound for this number of rounds.
    Rest { rounds: u32 },
    /// Holds the knee of a server that gets slower.
    Held { rounds: u32 },
    /// Tests whether a higher bound increases the rate. The first round still contains earlier answers.
    Probe { back: f64, rate: f64, settled: bool },
}

#[derive(Debug, Clone, Default)]
struct Round {
    began: Option<Instant>,
    done: usize,
    peak: usize,
    latency: f64,
    refused: bool,
}

impl Default for Capacity {
    fn default() -> Self {
        Self {
            max: START as f64,
            mode: Mode::Open,
            epoch: 0,
            done_since_cut: 0,
            good: 0.0,
            before: 0.0,
            remaining_rounds: 4,
            refusals: 0,
            full: None,
            rest: (0.0, 0),
            round: Round::default(),
        }
    }
}

impl Capacity {
    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Returns the state at that epoch, with a new round.
    pub(super) fn at_epoch(self, epoch: u32) -> Self {
        Self { epoch, full: None, round: Round::default(), ..self }
    }

    /// Maximum requests in flight. `None` while no bound is known.
    pub(super) fn bound(&self) -> Option<usize> {
        (self.mode != Mode::Open).then(|| self.now())
    }

    /// Returns true if only answers can free capacity.
    pub(super) fn waits_for_answers(&self) -> bool {
        self.mode != Mode::Open || self.max >= BLIND
    }

    /// Returns true if one more may be sent in addition to `in_flight`, without looking at the clock.
    pub(super) fn has_room(&self, in_flight: usize) -> bool {
        in_flight < self.now()
    }

    /// Without free capacity: returns when there may be some without an answer.
    pub(super) fn grow(&mut self, in_flight: usize, now: Instant) -> Option<Result<(), Instant>> {
        if self.waits_for_answers() {
            return None;
        }
        let next = *self.full.get_or_insert(now) + STEP;
        if now < next {
            return Some(Err(next));
        }
        self.full = None;
        self.max = (in_flight as f64 * 2.0).max(self.max);
        Some(Ok(()))
    }

    /// Records a success of a request that was sent in `epoch` and took `latency`. `crowd` requests were in
    /// flight when it was sent, `in_flight` before it ended.
    pub(super) fn succeeded(
        &mut self,
        epoch: u32,
        latency: Duration,
        crowd: usize,
        in_flight: usize,
        now: Instant,
    ) {
        let latency = latency.as_secs_f64();
        if self.refusals > 1 && epoch == self.epoch && self.max * 4.0 < self.before {
            // The bound from before an outage is likely to be possible again.
            self.max = (BACKOFF_FACTOR * self.before).floor();
            self.mode = Mode::Back;
        }
        self.refusals = 0;
        self.done_since_cut += 1;
        if crowd <= START && self.mode == Mode::Open {
            self.rest = (self.rest.0 + latency, self.rest.1.saturating_add(1));
        }
        let round = &mut self.round;
        let began = *round.began.get_or_insert(now);
        round.done += 1;
        round.peak = round.peak.max(in_flight);
        round.latency += latency;
        let whole = if self.mode == Mode::Open { round.peak } else { self.max as usize };
        let is_measured = matches!(self.mode, Mode::Open | Mode::Held { .. } | Mode::Probe { .. });
        if round.done >= whole.max(if is_measured { ROUND } else { 1 }) {
            let round = std::mem::replace(&mut self.round, Round { began: Some(now), ..Round::default() });
            self.end(&round, now.duration_since(began).as_secs_f64().max(1e-3));
        }
    }

    /// Records a rejection without a reason. `in_flight` requests remain without the rejected one.
    ///
    /// Returns the pause while nothing is accepted.
    pub(super) fn refused(&mut self, epoch: u32, in_flight: usize) -> Option<Duration> {
        self.refusals += 1;
        self.round.refused = true;
        // The last rejection of a wave shows how much was accepted: those still in flight, and those answered
        // since.
        let taken = (in_flight + self.done_since_cut) as f64;
        if epoch == self.epoch {
            self.epoch += 1;
            self.done_since_cut = 0;
            self.before = match self.mode {
                Mode::Open => self.before.max(self.good),
                // It is no longer possible.
                Mode::Back => taken,
                _ => self.before.max(self.good).max(self.max),
            };
            let was_proven = self.good > 0.0 && self.max > self.good;
            if was_proven {
                self.max = self.good;
                self.remaining_rounds = (self.remaining_rounds * 2).min(64);
                self.mode = Mode::Rest { rounds: self.remaining_rounds };
            } else {
                self.good = 0.0;
                self.remaining_rounds = 4;
                self.bisect(in_flight as f64);
            }
        } else if let Mode::Bisect { .. } = self.mode
            && self.good == 0.0
        {
            self.bisect(taken);
        }
        self.round = Round { refused: true, ..Round::default() };
        // A few may be rejected at the same time. After all were rejected, the next one tests the server.
        (self.refusals > 1 && in_flight == 0).then(|| pause(self.refusals / 2, MAX_PAUSE))
    }

    fn bisect(&mut self, taken: f64) {
        self.max = (BACKOFF_FACTOR * taken).floor().max(1.0);
        self.mode = Mode::Bisect { too_much: taken.max(1.0) };
    }

    fn end(&mut self, round: &Round, seconds: f64) {
        let rate = round.done as f64 / seconds;
        let mean = round.latency / round.done as f64;
        let saturated = round.peak as f64 >= 0.9 * self.max;
        if round.refused || (!saturated && self.mode != Mode::Open) {
            return;
        }
        match self.mode {
            Mode::Open => {
                let (sum, n) = self.rest;
                let rest = sum / f64::from(n.max(1));
                if round.peak > START && n >= ROUND as u32 && mean > SLOW * rest {
                    // The requests that an idle server would have in flight at this rate, plus a margin.
                    self.max = (1.25 * rate * rest).floor().clamp(ROUND as f64, round.peak as f64);
                    self.mode = Mode::Held { rounds: 0 };
                } else if saturated {
                    self.max *= 2.0;
                }
            }
            Mode::Bisect { too_much } => {
                self.good = self.max;
                if self.max + 1.0 >= too_much {
                    self.mode = Mode::Rest { rounds: self.remaining_rounds };
                } else {
                    self.max = ((self.max + too_much) / 2.0).floor().max(self.max + 1.0);
                }
            }
            Mode::Beyond { step } => {
                self.good = self.max;
                self.max += step;
                // The bound from before an outage is likely to be possible again.
                let quick = if self.max * 4.0 <= self.before { self.max * 3.0 } else { 1.0 };
                self.mode =
                    Mode::Beyond { step: (step * 2.0).min(self.max / 4.0).max(quick).floor().max(1.0) };
            }
            Mode::Back => {
                self.good = self.max;
                self.mode = Mode::Rest { rounds: 0 };
            }
            Mode::Rest { rounds: 0 } => self.mode = Mode::Beyond { step: 1.0 },
            Mode::Rest { rounds } => {
                self.good = self.max;
                self.mode = Mode::Rest { rounds: rounds - 1 };
            }
            Mode::Held { rounds } if rounds < 5 => self.mode = Mode::Held { rounds: rounds + 1 },
            Mode::Held { .. } => {
                self.mode = Mode::Probe { back: self.max, rate, settled: false };
                self.max = (self.max * 1.6).ceil();
            }
            Mode::Probe { back, rate, settled: false } => {
                self.mode = Mode::Probe { back, rate, settled: true };
            }
            Mode::Probe { rate: before, .. } if rate >= 1.25 * before => {
                self.mode = Mode::Probe { back: self.max, rate, settled: false };
                self.max = (self.max * 1.6).ceil();
            }
            Mode::Probe { back, .. } => {
                self.max = back;
                self.mode = Mode::Held { rounds: 0 };
            }
        }
    }

    fn now(&self) -> usize {
        self.max as usize
    }
}
