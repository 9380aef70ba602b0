//! A rate that a server enforces without naming it: its rejections contain neither a limit nor a wait.
//!
//! ```text
//!           rejected                with far fewer in flight than before
//! Unknown ──────────▶ Suspected ────────────────────────────────────────▶ Rate
//!                         │  only with as many in flight as before         │
//!                         └───────────────▶ Crowd ◀────────────────────────┘
//! ```
//!
//! A rejection without a reason has one of two causes: too many requests in flight, which [`Capacity`]
//! searches for, or too many requests in a period, which is learned here. They differ in the number in flight
//! at the next rejection: a concurrency limit rejects nothing below what it accepted before. A rate is
//! measured by the requests accepted between two rejections.

use std::time::Duration;

use tokio::time::Instant;

use self::minute::{Minute, Openings};
use self::pace::{Growth, Pace};
use super::capacity::{Capacity, MAX_PAUSE, pause};

mod minute;
mod pace;

/// Initial rate of a suspicion.
const SLOW_START: f64 = 16.0;

/// Accepted requests between two rejections that are needed to measure a rate.
const MEASURED: u64 = 8;

/// A rejection with at most this share of the requests that were in flight before indicates a rate.
const FEWER: f64 = 0.8;
/// Like [`FEWER`], after concurrency was found to be the limit.
const FAR_FEWER: f64 = 0.5;

/// Waves of rejections that began with no more in flight than was accepted before, after which concurrency is
/// not the limit. Half of them if at most [`FEW`] are in flight, which are counted exactly.
const TIES: u32 = 4;
const FEW: usize = 8;

/// Measured rates that differ by less count as equal.
const TOLERANCE: f64 = 0.15;

/// Factor for the rate after a rejection that follows the last cut too soon for a measurement.
const CUT: f64 = 0.9;

/// Consecutive falling measurements after which the limit was not a rate.
const FALLS: u32 = 4;

/// Time before a suspicion probes whether more requests fit in flight. A bucket of 120 per minute gains two
/// in that time.
const PROBE_AFTER: Duration = Duration::from_secs(1);

/// Time without rejections that such a probe needs, in round trips, within these bounds.
const PROOF_TRIPS: u32 = 5;
const PROOF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// Rejected probes after which concurrency is the limit.
const PROBES: u32 = 3;

/// A request that was sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sent {
    /// Request number on the account.
    pub(super) nth: u64,
    pub(super) at: Instant,
    /// Requests in flight, including this one.
    pub(super) crowd: usize,
}

/// Cause of a rejection without a reason.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub(super) enum Cause {
    Capacity,
    Rate,
}

/// Decision on one more request than the capacity allows.
#[derive(Debug, PartialEq)]
pub(super) enum Probe {
    No,
    Go,
    Wait(Instant),
    /// The capacity is not a limit: the search for it was unnecessary.
    Free,
}

/// The search for an unnamed rate.
#[derive(Debug, Default)]
pub(super) struct Unnamed {
    model: Model,
    pace: Option<Pace>,
    /// The last rejected request.
    last: Option<Sent>,
    /// The rejected request at which the current measurement began, and the requests accepted since.
    anchor: Option<Sent>,
    accepted: u64,
    /// Request number of the account at the last cut. Earlier requests provide no new evidence.
    cut_at: u64,
    /// Requests in flight that were not rejected, at the end of the last wave of rejections with accepted
    /// requests before it.
    taken: usize,
    /// Set if the current wave is such a wave.
    is_behind_answers: bool,
    /// Maximum in flight among answered requests sent since the last wave.
    peak: usize,
    /// Waves that began with no more in flight than was accepted since the previous wave, minus the other
    /// waves.
    ties: u32,
    /// Waves since the last success after which nothing was accepted.
    shut: u32,
    sent_at: Option<Instant>,
    /// Rejections since the last success.
    in_a_row: u32,
    /// Maximum time that a rejection took.
    trip: Duration,
    /// Capacity known before the suspicion.
    before: Option<Capacity>,
    openings: Openings,
    minute: Option<Minute>,
}

#[derive(Debug, Default)]
enum Model {
    #[default]
    Unknown,
    Suspected(Suspicion),
    Rate {
        /// Consecutive falling measurements.
        falls: u32,
    },
    Crowd,
}

#[derive(Debug, Clone, Copy)]
struct Suspicion {
    /// Time at which more requests are probed in flight, and the pause after a rejected probe.
    probe: Instant,
    pause: Duration,
    refused: u32,
    /// Time at which the probed number of requests was in flight.
    reached: Option<Instant>,
    /// Set if more requests were in flight than a concurrency limit would have allowed.
    is_disproved: bool,
}

impl Unnamed {
    /// Returns true if it holds anything back.
    pub(super) fn is_active(&self) -> bool {
        self.pace.is_some() || self.minute.is_some() || self.shut > 1
    }

    /// The measured requests per second.
    pub(super) fn rate(&self) -> Option<f64> {
        self.pace.as_ref().filter(|pace| pace.is_steady()).map(|pace| pace.rate)
    }

    /// Returns when the next request may be sent.
    pub(super) fn ready(&mut self, now: Instant) -> Option<Instant> {
        if let Some(minute) = &mut self.minute {
            return minute.ready(now).err();
        }
        if self.shut > 1
            && let Some(sent) = self.sent_at
            && now < sent + self.proof()
        {
            // A single request tests whether anything is accepted.
            return Some(sent + self.proof());
        }
        let pace = self.pace.as_mut()?;
        if pace.is_over(now) {
            self.pace = None;
            match &self.model {
                Model::Crowd => {}
                Model::Suspected(suspicion) if suspicion.refused > 0 => self.model = Model::Crowd,
                _ => (self.model, self.before, self.ties) = (Model::Unknown, None, 0),
            }
            return None;
        }
        pace.ready(now).err()
    }

    /// Records a sent request.
    pub(super) fn sent(&mut self, now: Instant) {
        self.sent_at = Some(now);
        if let Some(minute) = &mut self.minute {
            minute.sent += 1;
        }
        if let Some(pace) = &mut self.pace {
            pace.level -= 1.0;
        }
    }

    /// Records an answer after `admitted` requests were sent so far. Returns true if it shows that the limit
    /// is not the capacity.
    pub(super) fn succeeded(&mut self, sent: Sent, admitted: u64) -> bool {
        self.in_a_row = 0;
        // Requests sent before the last rejection do not show what is accepted now.
        if self.last.is_none_or(|last| sent.nth > last.nth) {
            self.shut = 0;
        }
        if sent.nth > self.cut_at {
            self.peak = self.peak.max(sent.crowd);
        }
        match &mut self.minute {
            Some(minute) => minute.succeeded(sent.nth),
            None => {
                let is_after = self.last.is_none_or(|last| sent.nth > last.nth);
                if let Some(limit) = self.openings.answered(sent.at, is_after) {
                    self.minute = Some(Minute::new(limit, sent, admitted));
                    self.model = Model::Rate { falls: 0 };
                    self.pace = None;
                    return true;
                }
            }
        }
        false
    }

    /// Decides on one more request in addition to `in_flight`, which is all that the capacity allows.
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

    /// Returns the capacity from before it was taken for the limit.
    pub(super) fn capacity(&mut self) -> Option<Capacity> {
        self.before.take()
    }

    /// Records a rejection without a reason and determines its cause. `in_flight` requests remain without it,
    /// and `admitted` were sent so far.
    pub(super) fn refused(
        &mut self,
        sent: Sent,
        in_flight: usize,
        admitted: u64,
        capacity: &Capacity,
        now: Instant,
    ) -> Cause {
        self.in_a_row += 1;
        if let Some(minute) = &mut self.minute {
            if minute.refused(sent.nth) {
                self.in_a_row = 0;
                return Cause::Rate;
            }
            self.minute = None;
            self.openings = Openings::default();
        }
        self.trip = self.trip.max(now.saturating_duration_since(sent.at));
        let is_new = sent.nth > self.cut_at;
        let gap = self.count(sent, is_new);
        let max = self.taken.max(self.peak);
        // A suspicion deliberately exceeds the capacity.
        let is_crowd = matches!(self.model, Model::Crowd);
        if is_new {
            self.peak = 0;
            self.is_behind_answers = gap > 0;
            self.shut += u32::from(gap == 0);
            if gap > 0 {
                // If many are in flight, some are answered with their responses still on the way.
                let is_tie = sent.crowd <= if max > FEW { max * 9 / 10 } else { max };
                self.ties = match is_tie {
                    true => self.ties + 1,
                    false => self.ties.saturating_sub((is_crowd && max > FEW).into()),
                };
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
        let is_below = |share: f64| sent.crowd as f64 <= (share * max as f64).max(1.0);
        match &mut self.model {
            Model::Suspected(_) | Model::Crowd
                if gap > 0 && self.ties >= (if max > FEW { TIES } else { TIES / 2 }) =>
            {
                self.model = Model::Rate { falls: 0 };
                self.measure(gap, now);
            }
            Model::Unknown => self.suspect(sent, capacity, now),
            Model::Crowd if gap > 0 && is_below(FAR_FEWER) => self.suspect(sent, capacity, now),
            Model::Crowd => {}
            Model::Suspected(suspicion) if self.pace.is_none() && suspicion.refused == 0 => {
                self.suspect(sent, capacity, now);
            }
            // Nothing is accepted.
            _ if gap == 0 => {
                if let Some(pace) = &mut self.pace {
                    pace.restart(now);
                }
                if let Model::Suspected(suspicion) = &mut self.model {
                    suspicion.probe = now + suspicion.pause;
                    suspicion.reached = None;
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
            Model::Rate { falls } if *falls >= FALLS && !is_below(FEWER) => {
                self.model = Model::Crowd;
                self.pace = None;
                self.ties = 0;
            }
            Model::Rate { .. } => self.measure(gap, now),
        }
        if matches!(self.model, Model::Rate { .. }) { Cause::Rate } else { Cause::Capacity }
    }

    /// Holds back all requests until then. Values that grow with time stay the same meanwhile.
    pub(super) fn hold(&mut self, until: Instant) {
        if let Some(pace) = &mut self.pace {
            pace.since = pace.since.max(until);
        }
    }

    /// Returns the time after which a request is certain not to be rejected.
    fn proof(&self) -> Duration {
        self.trip.min(PROOF.1).saturating_mul(PROOF_TRIPS).clamp(PROOF.0, PROOF.1)
    }

    /// Returns the pause while nothing is accepted in addition to `in_flight`.
    pub(super) fn pause(&self, in_flight: usize) -> Option<Duration> {
        (self.in_a_row > 1 && in_flight == 0).then(|| pause((self.in_a_row / 2).max(self.shut), MAX_PAUSE))
    }

    /// Counts the requests accepted before a rejected one, and returns the number since the previous
    /// rejection.
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

    /// Learns the rate from the requests accepted since the last rejections.
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
                // A bucket that was full in between has lost some: the limit lies between both.
                let measured = (measured * pace.rate(now)).sqrt();
                if (measured / pace.rate - 1.0).abs() < TOLERANCE {
                    let both = horizon + seconds;
                    ((pace.rate * horizon + measured * seconds) / both, both)
                } else {
                    (measured, seconds)
                }
            }
            Growth::Steady { horizon } => (pace.rate * CUT, horizon / 2.0),
            Growth::Doubling if self.accepted >= MEASURED => {
                let is_slow = pace.rate < SLOW_START;
                let max = if is_slow { pace.rate(now).min(2.0 * measured) } else { measured };
                ((measured * max).sqrt(), seconds)
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
