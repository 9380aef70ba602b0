//! A limit of a minute that can be used up at once: by the clock, or of the last sixty seconds.
//!
//! Such a server accepts all for a time, and then refuses all until the minute is over. Two such minutes with
//! the same number of answers show the limit. From then on it is sent at the beginning of each, and one
//! request beyond it.

use std::time::Duration;

use tokio::time::Instant;

use super::Sent;

/// A minute, of the clock or of the last requests, and what requests differ by on their way.
const MINUTE: Duration = Duration::from_millis(60_100);

/// How long everything is refused at least before that shows the rest of a minute.
const CLOSED: Duration = Duration::from_secs(5);

/// Between the beginnings of two minutes, as they are found out.
const BETWEEN: (Duration, Duration) = (Duration::from_secs(57), Duration::from_secs(66));

/// Times in which requests are accepted, each of which ends with one in which all are refused.
#[derive(Debug, Default)]
pub(super) struct Openings {
    /// When the present one began, and the answers to its requests.
    began: Option<Instant>,
    answers: u64,
    /// When the first refusal behind answers came.
    pub(super) closed: Option<Instant>,
    /// Answers of the one before, where it lasted for a minute.
    before: Option<u64>,
}

impl Openings {
    /// Counts an answer to a request sent at `sent`: `is_after` all refusals. Gives the limit of a minute
    /// where two in a row had as many.
    pub(super) fn answered(&mut self, sent: Instant, is_after: bool) -> Option<u64> {
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

/// Share of a minute in which its limit is sent. All at once would be sooner than the minute before was used.
const SPREAD: f64 = 0.1;

/// What a minute begins later by after a refusal that came before its limit was reached.
const EARLY: Duration = Duration::from_millis(250);

/// A limit of a minute, which is sent at its beginning.
#[derive(Debug)]
pub(super) struct Minute {
    limit: u64,
    /// Requests that are tried beyond it, once a minute.
    extra: u64,
    began: Instant,
    /// Number of the first request of the minute, and how many have been sent, but for those that were
    /// refused too early.
    first: u64,
    pub(super) sent: u64,
    early: u64,
    is_full: bool,
}

impl Minute {
    pub(super) fn new(limit: u64, opened: Sent, admitted: u64) -> Self {
        let sent = admitted + 1 - opened.nth;
        Self { limit, extra: 1, began: opened.at, first: opened.nth, sent, early: 0, is_full: false }
    }

    pub(super) fn ready(&mut self, now: Instant) -> Result<(), Instant> {
        let passed = now.saturating_duration_since(self.began);
        if passed >= MINUTE {
            // After a pause the minute begins with the next request.
            self.began = if passed < MINUTE * 2 { self.began + MINUTE } else { now };
            self.first += self.sent + self.early;
            (self.sent, self.extra, self.early, self.is_full) = (0, 1, 0, false);
        }
        if self.is_full || self.sent >= self.limit + self.extra {
            return Err(self.began + MINUTE);
        }
        let share = self.sent as f64 / self.limit.max(1) as f64;
        let next = self.began + MINUTE.mul_f64(SPREAD * share);
        if next > now { Err(next) } else { Ok(()) }
    }

    /// Which request of the minute it is, beginning with 1.
    pub(super) fn ordinal(&self, nth: u64) -> Option<u64> {
        Some((nth + 1).checked_sub(self.first)?.saturating_sub(self.early)).filter(|ordinal| *ordinal > 0)
    }

    /// One that was tried beyond the limit was answered: there is more.
    pub(super) fn succeeded(&mut self, nth: u64) {
        if self.ordinal(nth) == Some(self.limit + self.extra) {
            self.limit += self.extra;
            self.extra *= 2;
        }
    }

    /// Whether the refusal fits the limit: of what was tried beyond it, or one of few that came a little too
    /// early.
    pub(super) fn refused(&mut self, nth: u64) -> bool {
        let Some(ordinal) = self.ordinal(nth) else { return true };
        if ordinal >= self.limit {
            self.is_full = true;
            return true;
        }
        self.sent = self.sent.saturating_sub(1);
        self.early += 1;
        self.began += EARLY;
        self.early <= 3 + self.limit / 20
    }
}
