//! Outages of a provider: failures that are not caused by the calls. Pure: the caller passes the time.
//!
//! ```text
//!          8 failures in a row             an answer
//! Answers ────────────────────▶ Holding ──────────────▶ Reopening ──2 s──▶ Answers
//!    ▲  an answer                 │   ▲
//!    └──────────── failures       ▼   │ the probe fails
//!                               Probing
//! ```
//!
//! Consecutive failures form a *run*, which ends with the next answer. Until then the run is undecided. A run
//! of fewer than 8 is charged to its calls, as soon as a request that was sent after it has been answered. A
//! longer one is an outage: no call is charged, and each that took part gets a mark. The same holds for
//! shorter runs at its beginning, which were ended only by answers to earlier requests.

use std::collections::VecDeque;
use std::time::Duration;

use fanweave_core::{Error, ErrorKind};
use tokio::time::Instant;

use crate::transport::unsent::is_out_of_descriptors;

/// Consecutive failures that make an outage and are charged to no call.
const OUTAGE: u32 = 8;

/// Maximum probability of bad luck: an account that fails often is held only after a run of failures that is
/// less likely than this. Held too soon, it would be idle half of the time.
const BAD_LUCK: f64 = 1e-5;

/// Weight of the latest request in the share of failures.
const WEIGHT: f64 = 0.005;

/// Share of failures from which an account counts as failing often.
const FLAKY: f64 = 0.15;

/// Pause before the first probe. It doubles with each probe that fails.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Maximum pause between probes during the first [`SOON`] of an outage: the time that a short outage may cost
/// after its end.
pub(super) const MAX_PAUSE: Duration = Duration::from_millis(2500);

/// Duration of such frequent probes.
const SOON: Duration = Duration::from_secs(120);

/// Maximum pause between probes of a longer outage.
const MAX_LATER_PAUSE: Duration = Duration::from_secs(30);

/// Requests in flight at the end of an outage, and the time in which that number doubles: a thousand after
/// 1.2 s.
const REOPEN_WITH: f64 = 16.0;
const REOPEN_DOUBLES: Duration = Duration::from_millis(200);

/// Time after which the limit on reopening ends.
const REOPENED: Duration = Duration::from_secs(2);

/// A shorter outage is reopened immediately: it was bad luck.
const STREAK: Duration = Duration::from_millis(500);

/// Number of outages to remember. The calls of an older one are not charged either.
const MAX_REMEMBERED: usize = 1024;

/// A run of failures.
pub(crate) type RunOfFailures = u64;

/// Verdict on a run of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureRunVerdict {
    /// No answer has arrived since.
    Undecided,
    /// The calls' own failures: others were answered meanwhile.
    Charged,
    /// An outage: not caused by any call.
    Outage,
}

/// Evidence that an error gives about the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The provider answered, whatever the answer.
    Answer,
    /// It failed, or was unreachable.
    Failure,
    /// The provider reports overload: a failure only if it accepts no request at all.
    Overload,
    /// None: a rate limit, or an error of the caller.
    Nothing,
}

impl Evidence {
    pub(super) fn of(error: &Error) -> Self {
        use ErrorKind::*;
        if is_out_of_descriptors(error) {
            return Self::Nothing;
        }
        match error.kind() {
            Server | Timeout | Connection | StreamIncomplete | Decode if error.is_retryable() => {
                Self::Failure
            }
            Overloaded if error.is_retryable() => Self::Overload,
            Authentication | Permission | NotFound | BadRequest | ContextLength | ContentFilter
            | QuotaExhausted | Decode | Server | Overloaded => Self::Answer,
            _ => Self::Nothing,
        }
    }
}

/// The failures of one account.
#[derive(Debug, Default)]
pub(super) struct Outage {
    run: RunOfFailures,
    /// Consecutive failures.
    failures: u32,
    /// Time of the first of them.
    began: Option<Instant>,
    last: Option<Error>,
    /// The call that failed last, which should not be used as a probe.
    last_failed: Option<u64>,
    /// Set if all calls of this run have failed before, while others were sent and answered since.
    are_bad: bool,
    /// Time at which the most recent answered request was sent.
    answered_sent: Option<Instant>,
    hold: Option<Hold>,
    /// Short runs ended only by answers to requests from before them, and the time of their last failure:
    /// they may be the beginning of an outage.
    tentative: VecDeque<(RunOfFailures, Instant)>,
    /// Time of the last failure of the current run.
    failed_at: Option<Instant>,
    /// Runs that were outages.
    past: VecDeque<RunOfFailures>,
    /// The last of them, and when it ended.
    ended: Option<(RunOfFailures, Instant)>,
    /// Time at which the account was reopened after an outage that was not bad luck.
    reopened: Option<Instant>,
    /// Share of the requests that failed, excluding outages.
    share: f64,
    /// Failures not yet followed by an answer to a later request, and the time of the last: answers at the
    /// beginning of an outage belong to requests from before it.
    doubtful: Option<(u32, Instant)>,
    /// Failures that came after those.
    more_doubtful: u32,
    answers: u64,
    answered_at: Option<Instant>,
}

/// State while only probes are sent.
#[derive(Debug)]
struct Hold {
    since: Instant,
    pause: Duration,
    next: Instant,
    is_probing: bool,
}

impl Outage {
    /// Records a failure of `call`, whose request was sent at `sent`. `is_outage` is set if a run that is
    /// long enough is an outage, and `is_bad` if the call [was bad](Self::was_bad) before. Returns the run
    /// that the failure belongs to.
    pub(super) fn failed(
        &mut self,
        call: u64,
        error: &Error,
        sent: Instant,
        (is_outage, is_bad): (bool, bool),
        now: Instant,
    ) -> RunOfFailures {
        if let Some((run, ended)) = self.ended
            && sent <= ended
            && self.hold.is_none()
        {
            // It was in flight during that outage.
            return run;
        }
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(now);
        self.began.get_or_insert(now);
        self.are_bad = is_bad && (self.failures == 1 || self.are_bad);
        self.last_failed = Some(call);
        self.last = Some(error.clone());
        if self.failures >= self.needed() && is_outage && !self.are_bad && self.hold.is_none() {
            let next = now + FIRST_PAUSE;
            self.hold = Some(Hold { since: now, pause: FIRST_PAUSE, next, is_probing: false });
            self.remember_tentative();
        }
        self.run
    }

    /// Number of consecutive failures from which only probes are sent.
    fn needed(&self) -> u32 {
        let unlikely = BAD_LUCK.ln() / self.share.clamp(0.01, 0.75).ln();
        OUTAGE.max(unlikely.ceil() as u32)
    }

    /// Records an answer of any kind to a request that was sent at `sent`.
    pub(super) fn answered(&mut self, sent: Instant, now: Instant) {
        self.answers += 1;
        self.answered_at = Some(now);
        self.answered_sent = self.answered_sent.max(Some(sent));
        self.share *= 1.0 - WEIGHT;
        if let Some((failures, _)) = self.doubtful.filter(|(_, since)| *since <= sent) {
            let answered = (1.0 - WEIGHT).powi(failures.min(1000) as i32);
            self.share = 1.0 - (1.0 - self.share) * answered;
            self.doubtful = (self.more_doubtful > 0).then_some((self.more_doubtful, now));
            self.more_doubtful = 0;
        }
        // Requests sent after these failures are answered.
        while self.tentative.front().is_some_and(|(_, failed)| *failed <= sent) {
            self.tentative.pop_front();
        }
        // An answer to a request sent before the run of failures does not end it.
        if self.failures == 0 || self.hold.as_ref().is_some_and(|hold| sent < hold.since) {
            return;
        }
        let was_held = self.hold.take().is_some();
        match self.doubtful {
            _ if was_held => (self.doubtful, self.more_doubtful) = (None, 0),
            Some(_) => self.more_doubtful += self.failures,
            None => self.doubtful = Some((self.failures, now)),
        }
        if was_held || (self.failures >= OUTAGE && !self.are_bad) {
            self.remember_tentative();
            push_remembered(&mut self.past, self.run);
            self.ended = Some((self.run, now));
            if was_held && self.began.is_some_and(|began| now.duration_since(began) >= STREAK) {
                self.reopened = Some(now);
            }
        } else if let Some(failed) = self.failed_at.filter(|failed| *failed > sent) {
            push_remembered(&mut self.tentative, (self.run, failed));
        }
        self.run += 1;
        self.failures = 0;
        self.began = None;
        self.last = None;
        self.last_failed = None;
    }

    /// Records the tentative runs as outages. The runs are recorded in order.
    fn remember_tentative(&mut self) {
        for (run, _) in std::mem::take(&mut self.tentative) {
            push_remembered(&mut self.past, run);
        }
    }

    pub(super) fn verdict(&self, run: RunOfFailures) -> FailureRunVerdict {
        if self.tentative.binary_search_by_key(&run, |(run, _)| *run).is_ok() {
            return FailureRunVerdict::Undecided;
        }
        if run == self.run {
            return if self.hold.is_some() {
                FailureRunVerdict::Outage
            } else {
                FailureRunVerdict::Undecided
            };
        }
        let is_forgotten =
            self.past.len() == MAX_REMEMBERED && self.past.front().is_some_and(|first| run < *first);
        if is_forgotten || self.past.binary_search(&run).is_ok() {
            FailureRunVerdict::Outage
        } else {
            FailureRunVerdict::Charged
        }
    }

    /// Returns true if only probes are sent.
    pub(super) fn holds(&self) -> bool {
        self.hold.is_some()
    }

    /// Time at which the next probe may be sent. `None` while one is in flight, or if nothing is held.
    pub(super) fn next_probe(&self) -> Option<Instant> {
        self.hold.as_ref().filter(|hold| !hold.is_probing).map(|hold| hold.next)
    }

    pub(super) fn is_probing(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.is_probing)
    }

    pub(super) fn probe_sent(&mut self) {
        if let Some(hold) = &mut self.hold {
            hold.is_probing = true;
        }
    }

    /// Records that the probe has ended, and the outage has not.
    pub(super) fn probe_ended(&mut self, now: Instant) {
        let lasted = self.began.map_or(Duration::ZERO, |began| now.duration_since(began));
        if let Some(hold) = self.hold.as_mut().filter(|hold| hold.is_probing) {
            hold.is_probing = false;
            let max_pause = if lasted < SOON { MAX_PAUSE } else { MAX_LATER_PAUSE };
            hold.pause = (hold.pause * 2).min(max_pause);
            hold.next = now + hold.pause;
        }
    }

    /// The maximum number of requests in flight right after an outage. `None` at all other times.
    pub(super) fn reopening(&self, now: Instant) -> Option<usize> {
        let passed = now.duration_since(self.reopened?);
        (passed < REOPENED)
            .then(|| (REOPEN_WITH * 2f64.powf(passed.div_duration_f64(REOPEN_DOUBLES))) as usize)
    }

    /// Time at which another request may be sent in addition to `in_flight`, right after an outage.
    pub(super) fn reopens(&self, in_flight: usize, now: Instant) -> Option<Instant> {
        let max = self.reopening(now)?;
        (in_flight >= max).then(|| now + REOPEN_DOUBLES / 8)
    }

    /// Returns true if a call whose first failed request was sent at `at` is itself the cause: later requests
    /// were answered.
    pub(super) fn was_bad(&self, at: Instant) -> bool {
        self.answered_sent.is_some_and(|sent| sent > at)
    }

    /// Returns true if all calls that have failed since the last answer are themselves the cause.
    pub(super) fn are_bad(&self) -> bool {
        self.failures > 0 && self.are_bad
    }

    /// Returns true if the last request that has ended was answered.
    pub(super) fn is_answering(&self) -> bool {
        self.failures == 0
    }

    /// The current run of failures.
    pub(super) fn run(&self) -> RunOfFailures {
        self.run
    }

    /// The call that failed last in this run.
    pub(super) fn last_failed(&self) -> Option<u64> {
        self.last_failed
    }

    /// Answers so far.
    pub(super) fn answers(&self) -> u64 {
        self.answers
    }

    /// Returns true if the account has answered within `time`, like one that answers most calls.
    pub(super) fn answered_within(&self, time: Duration, now: Instant) -> bool {
        self.answered_at.is_some_and(|at| now.duration_since(at) < time)
    }

    /// Returns true if it fails often, with answers in between.
    pub(super) fn is_flaky(&self) -> bool {
        self.share > FLAKY
    }

    /// Time at which a call that has waited since `since` gives up on the current run. `None` for never.
    pub(super) fn expires(
        &self,
        since: Instant,
        outage_timeout: impl FnOnce(bool) -> Duration,
    ) -> Option<Instant> {
        self.began?.max(since).checked_add(outage_timeout(self.answers > 0))
    }

    /// Time of the first failure of the current run.
    pub(super) fn began(&self) -> Option<Instant> {
        self.began
    }

    /// The last failure of the current run.
    pub(super) fn last(&self) -> Option<&Error> {
        self.last.as_ref()
    }

    /// Describes a failure.
    pub(super) fn failure(&self, error: &Error) -> String {
        match error.status() {
            // The message of some servers is no more than the status.
            Some(status) if !error.message().starts_with(&format!("status {status}")) => {
                format!("status {status}: {}", error.message())
            }
            _ => error.message().to_owned(),
        }
    }

    /// Returns the error of a call that has waited long enough.
    pub(super) fn unavailable(&self, now: Instant) -> Error {
        let lasted = self.began.map_or(Duration::ZERO, |began| now.duration_since(began));
        let error = Error::new(ErrorKind::Unavailable, "the provider is unavailable");
        match &self.last {
            Some(last) => {
                let what = self.failure(last);
                // A call with an alternative does not wait at all.
                let message = if lasted < Duration::from_secs(1) {
                    format!("the provider is failing: {what}")
                } else {
                    format!("the provider has been failing for {}: {what}", rounded(lasted))
                };
                error.with_message(message).with_source(last.clone())
            }
            None => error,
        }
    }
}

/// Adds a value, and drops the oldest one beyond [`MAX_REMEMBERED`].
fn push_remembered<T>(queue: &mut VecDeque<T>, value: T) {
    if queue.len() == MAX_REMEMBERED {
        queue.pop_front();
    }
    queue.push_back(value);
}

/// Formats a duration for people: `1.4s`, `12s`, `3m 20s`.
pub(super) fn rounded(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn down() -> Error {
        Error::new(ErrorKind::Server, "Bad Gateway").with_status(502)
    }

    fn fail(outage: &mut Outage, times: u32, now: Instant) -> RunOfFailures {
        (0..times)
            .map(|call| outage.failed(call.into(), &down(), now, (true, false), now))
            .last()
            .expect("some")
    }

    #[test]
    fn a_run_is_undecided_until_an_answer_and_charged_if_it_is_short() {
        let (mut outage, now) = (Outage::default(), Instant::now());
        let run = fail(&mut outage, 7, now);
        assert_eq!((outage.verdict(run), outage.holds()), (FailureRunVerdict::Undecided, false));
        outage.answered(now, now);
        assert_eq!(outage.verdict(run), FailureRunVerdict::Charged);
    }

    #[test]
    fn failures_among_the_last_answers_before_an_outage_belong_to_it() {
        let (mut outage, began) = (Outage::default(), Instant::now());
        let ms = Duration::from_millis;
        let first = fail(&mut outage, 3, began + ms(10));
        // Sent before the failures, and answered after them.
        outage.answered(began, began + ms(20));
        let second = fail(&mut outage, 2, began + ms(30));
        outage.answered(began + ms(10), began + ms(40));
        assert_eq!(outage.verdict(first), FailureRunVerdict::Charged, "the second answer shows it");
        assert_eq!(outage.verdict(second), FailureRunVerdict::Undecided);
        let third = fail(&mut outage, 8, began + ms(50));
        assert_eq!([second, third].map(|run| outage.verdict(run)), [FailureRunVerdict::Outage; 2]);

        outage.answered(began + ms(60), began + ms(70));
        let short = fail(&mut outage, 7, began + ms(80));
        outage.answered(began + ms(75), began + ms(90));
        assert_eq!(outage.verdict(short), FailureRunVerdict::Undecided);
        outage.answered(began + ms(85), began + ms(100));
        assert_eq!(outage.verdict(short), FailureRunVerdict::Charged);
    }

    #[test]
    fn eight_consecutive_failures_are_an_outage_that_charges_no_call() {
        let (mut outage, now) = (Outage::default(), Instant::now());
        let run = fail(&mut outage, 8, now);
        assert!(outage.holds());
        outage.answered(now + MAX_PAUSE, now + MAX_PAUSE);
        assert_eq!((outage.verdict(run), outage.holds()), (FailureRunVerdict::Outage, false));
        // A request in flight during the outage that fails only now was part of it.
        assert_eq!(outage.failed(1, &down(), now, (true, false), now + MAX_PAUSE * 2), run);
        let later = now + MAX_PAUSE * 2;
        assert_eq!(outage.verdict(outage.run), FailureRunVerdict::Undecided);
        let next = outage.failed(1, &down(), later, (true, false), later);
        outage.answered(later, later);
        assert_eq!(outage.verdict(next), FailureRunVerdict::Charged);
    }

    #[test]
    fn probes_follow_each_other_within_three_seconds_for_two_minutes_and_then_within_thirty() {
        let (mut outage, began) = (Outage::default(), Instant::now());
        fail(&mut outage, 8, began);
        let (mut now, mut pauses) = (began, Vec::new());
        while now < began + Duration::from_secs(600) {
            let next = outage.next_probe().expect("none is in flight");
            pauses.push(next.duration_since(now));
            now = next;
            outage.probe_sent();
            assert_eq!(outage.next_probe(), None);
            outage.probe_ended(now);
        }
        assert_eq!(
            pauses[..5].iter().map(Duration::as_millis).collect::<Vec<_>>(),
            [100, 200, 400, 800, 1600]
        );
        assert_eq!(pauses.last().expect("some").as_secs(), 30);
        assert!(pauses.len() < 80, "{} probes in ten minutes", pauses.len());
    }

    #[test]
    fn an_account_reopens_in_steps_and_is_open_after_two_seconds() {
        let (mut outage, now) = (Outage::default(), Instant::now());
        assert_eq!(outage.reopening(now), None);
        fail(&mut outage, 8, now);
        outage.answered(now, now);
        assert_eq!(outage.reopening(now), None, "a streak of bad luck");
        let now = now + Duration::from_secs(1);
        fail(&mut outage, 8, now);
        let now = now + Duration::from_secs(3);
        outage.answered(now, now);
        assert_eq!(outage.reopening(now), Some(16));
        assert_eq!(outage.reopening(now + Duration::from_secs(1)), Some(512));
        assert_eq!(outage.reopening(now + Duration::from_secs(2)), None);
    }

    #[test]
    fn old_outages_are_forgotten_in_favour_of_their_calls() {
        let (mut outage, now) = (Outage::default(), Instant::now());
        let first = fail(&mut outage, 8, now);
        outage.answered(now, now);
        for second in 1..2000 {
            let now = now + Duration::from_secs(second);
            fail(&mut outage, 8, now);
            outage.answered(now, now);
        }
        assert_eq!(outage.verdict(first), FailureRunVerdict::Outage);
        assert!(outage.past.len() <= MAX_REMEMBERED);
    }
}
