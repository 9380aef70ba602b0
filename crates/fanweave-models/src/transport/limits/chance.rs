//! Random rejections: a server sheds load of other accounts, regardless of what this account has in flight.

use std::time::Duration;

use tokio::time::Instant;

use super::capacity::Capacity;

/// Number of answers to remember.
const ANSWERS: usize = 64;

/// Votes needed to classify rejections as random: three with at most half of the answered number in flight,
/// or six with three quarters.
const ENOUGH: u32 = 6;

/// Time during which rejections count as random. It doubles each time they are classified so again.
const SHORT: Duration = Duration::from_secs(30);
const LONG: Duration = Duration::from_secs(600);

/// Maximum rejections among the last answers. Above it, there is another cause.
const MAX_REFUSED: u32 = 52;

/// Distinguishes random rejections from those of a concurrency limit.
///
/// A concurrency limit rejects nothing below its value. A rejection with far fewer in flight than were just
/// answered concurrently is a vote for chance, as long as other requests are answered in between.
#[derive(Debug)]
pub(super) struct Chance {
    /// Number in flight when each of the last answered requests was sent. 0 for a rejection.
    crowds: [usize; ANSWERS],
    next: usize,
    votes: u32,
    /// Set by an answer, cleared by a vote: a server that answers no request must not cause votes.
    has_answered: bool,
    until: Option<Instant>,
    lasts: Duration,
    /// The capacity before the first of the rejections being judged.
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
    /// Records an answer to a request that was sent with `crowd` in flight.
    pub(super) fn succeeded(&mut self, crowd: usize) {
        self.has_answered = true;
        self.remember(crowd.max(1));
    }

    /// Records a rejection, and returns true if it is random.
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
            // As a limit does.
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

    /// Returns the capacity from before rejections were found to be random.
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
