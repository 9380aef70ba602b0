//! Refusals that strike at random: a server sheds load that is not this account's, whatever this account has
//! in flight.

use std::time::Duration;

use tokio::time::Instant;

use super::capacity::Capacity;

/// Answers that are remembered.
const ANSWERS: usize = 64;

/// Votes that make refusals random: three with at most half of what was answered in flight, or six with three
/// quarters.
const ENOUGH: u32 = 6;

/// Time for which refusals count as random. It doubles each time that they turn out to be so again.
const SHORT: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(600);

/// Refusals of the last answers above which something else is the matter.
const MAX_REFUSED: u32 = 52;

/// Tells random refusals from those of a limit on concurrency.
///
/// A limit refuses nothing with fewer in flight than it takes. A refusal with far fewer in flight than were
/// answered at once a moment ago is a vote for chance, as long as others are answered in between.
#[derive(Debug)]
pub(super) struct Chance {
    /// Number in flight when an answered request was sent, of the last answers. 0 for a refusal.
    crowds: [usize; ANSWERS],
    next: usize,
    votes: u32,
    /// Set by an answer, taken by a vote: a server that answers nobody votes for nothing.
    has_answered: bool,
    until: Option<Instant>,
    lasts: Duration,
    /// The capacity before the first of the refusals that are judged.
    before: Option<Capacity>,
}

impl Default for Chance {
    fn default() -> Self {
        Self {
            crowds: [1; ANSWERS],
            next: 0,
            votes: 0,
            has_answered: false,
            until: None,
            lasts: SHORT,
            before: None,
        }
    }
}

impl Chance {
    /// Takes note of an answer to a request that was sent with `crowd` in flight.
    pub(super) fn succeeded(&mut self, crowd: usize) {
        self.has_answered = true;
        self.remember(crowd.max(1));
    }

    /// Takes note of a refusal, and returns whether it is random.
    pub(super) fn refused(&mut self, crowd: usize, capacity: &Capacity, now: Instant) -> bool {
        self.remember(0);
        if let Some(until) = self.until {
            if now < until && self.share_is_plausible() {
                return true;
            }
            self.end();
        }
        if self.votes == 0 {
            self.before = Some(capacity.clone());
        }
        let peak = self.crowds.iter().copied().max().unwrap_or_default();
        if crowd > peak {
            // As a limit does it.
            self.votes = 0;
        } else if std::mem::take(&mut self.has_answered) && crowd * 4 <= peak * 3 {
            self.votes += if crowd * 2 <= peak { 2 } else { 1 };
        }
        if self.votes < ENOUGH || !self.share_is_plausible() {
            return false;
        }
        self.votes = 0;
        self.until = Some(now + self.lasts);
        self.lasts = (self.lasts * 2).min(LONG);
        true
    }

    /// The capacity before refusals were found to be random.
    pub(super) fn capacity(&mut self) -> Option<Capacity> {
        self.before.take_if(|_| self.until.is_some())
    }

    fn share_is_plausible(&self) -> bool {
        let refused = self.crowds.iter().filter(|&&crowd| crowd == 0).count();
        refused as u32 <= MAX_REFUSED
    }

    fn end(&mut self) {
        if !self.share_is_plausible() {
            self.lasts = SHORT;
        }
        self.until = None;
        self.votes = 0;
    }

    fn remember(&mut self, crowd: usize) {
        self.crowds[self.next] = crowd;
        self.next = (self.next + 1) % ANSWERS;
    }
}
