//! A limit per minute that can be used up in a burst: by the clock, or over the last sixty seconds.
//!
//! Such a server accepts everything for a while and then rejects everything until the minute is over. Two
//! such minutes with the same number of answers reveal the limit. From then on that number is sent at the
//! start of each minute, plus one request.

use std::time::Duration;

use tokio::time::Instant;

use super::Sent;

/// A minute, of the clock or of the last requests, plus the jitter of requests on their way.
const MINUTE: Duration = Duration::from_millis(60_100);

/// Minimum time of rejections that counts as the rest of a minute.
const CLOSED: Duration = Duration::from_secs(5);

/// Minimum and maximum time between the starts of two detected minutes.
const BETWEEN: (Duration, Duration) = (Duration::from_secs(57), Duration::from_secs(66));

/// Periods in which requests are accepted, each followed by a period in which all are rejected.
#[derive(Debug, Default)]
pub(super) struct Openings {
    /// Start of the current period, and the number of answers to its requests.
    began: Option<Instant>,
    answers: u64,
    /// Time of the first rejection after answers.
    pub(super) closed: Option<Instant>,
    /// Answers of the previous period, if it lasted for a minute.
    before: Option<u64>,
}

impl Openings {
    /// Counts an answer to a request sent at `sent`. `is_after` is set if it was sent after all rejections.
    /// Returns the limit per minute once two consecutive periods had about the same number of answers.
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

/// Share of a minute over which its limit is sent. A burst would come earlier than the use of the previous
/// minute.
const SPREAD: f64 = 0.1;

/// Delay of the next minute after a rejection before its limit was reached.
const EARLY: Duration = Duration::from_millis(250);

/// A limit per minute, sent at the start of each minute.
#[derive(Debug)]
pub(super) struct Minute {
    limit: u64,
    /// Additional requests probed once per minute.
    extra: u64,
    began: Instant,
    /// Number of the first request of the minute, and the requests sent so far, except for those rejected too
    /// early.
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
            // After a pause the minute starts with the next request.
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

    /// Position of the request within the minute, starting with 1.
    pub(super) fn ordinal(&self, nth: u64) -> Option<u64> {
        Some((nth + 1).checked_sub(self.first)?.saturating_sub(self.early)).filter(|ordinal| *ordinal > 0)
    }

    /// A request beyond the limit was answered: the limit is higher.
    pub(super) fn succeeded(&mut self, nth: u64) {
        if self.ordinal(nth) == Some(self.limit + self.extra) {
            self.limit += self.extra;
            self.extra *= 2;
        }
    }

    /// Returns true if the rejection fits the limit: a request beyond it, or one of a few that came slightly
    /// too early.
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
