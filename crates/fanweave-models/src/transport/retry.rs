//! Decides whether and when a failed request is retried. The loop itself, the only one of the stack, is in
//! [`send_with_retries`](super::retry_loop::send_with_retries).

use std::sync::Arc;
use std::time::Duration;

use fanweave_core::{Context, Error, ErrorKind, Priority, RetryPolicy};
use tokio::time::Instant;

use super::limits::{Account, FailureRunVerdict, Health, MARKS, RequestSize, RunOfFailures, Waiter};

/// Minimum time that a wait for a rate limit counts as: a server that always requests a wait of zero, or
/// until a date in the past, would otherwise be called for ever.
const MIN_COUNTED_WAIT: Duration = Duration::from_millis(250);

/// Maximum backoff after a failure of undecided cause: the account holds and probes an outage, and a call
/// must not sleep past its end.
const MAX_BACKOFF: Duration = Duration::from_secs(3);

/// The same for an interactive call, which waits for a few seconds only if the account has never answered.
const MAX_INTERACTIVE_BACKOFF: Duration = Duration::from_secs(1);

/// Time without any answer after which an interactive call that failed before, while others were answered,
/// counts as the cause of its failures. Until then they may also be an outage that began since.
const CAUSE_AFTER: Duration = Duration::from_secs(5);

/// Maximum requests of one call that got no response in outages, although the server had time to work on
/// them, without being charged to the call. The provider may bill each of them.
const MAX_UNANSWERED: u32 = 2;

/// Rejections after which a call runs alone, and after which it fails, if other requests were accepted
/// between them.
const SUSPECT_REJECTIONS: u32 = 6;
const MAX_REJECTIONS: u32 = 12;

/// Rejections of a call that other requests must have been accepted between.
const MIN_ACCEPTED_BETWEEN: u32 = 3;

/// Maximum time that a call waits for the end of an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OutageTimeout {
    /// If the account has answered before.
    after_answers: Duration,
    /// If it has not: the address or the network may be wrong.
    before_answers: Duration,
}

impl OutageTimeout {
    /// From `policy`, or the default of the priority.
    pub(crate) fn new(policy: &RetryPolicy, priority: Priority) -> Self {
        let seconds = |after, before| Self {
            after_answers: Duration::from_secs(after),
            before_answers: Duration::from_secs(before),
        };
        match (policy.outage_timeout, priority) {
            (Some(timeout), _) => Self { after_answers: timeout, before_answers: timeout },
            (None, Priority::Batch) => seconds(600, 30),
            (None, Priority::Interactive) => seconds(30, 5),
        }
    }

    /// The timeout for an account that `has_answered`.
    pub(crate) fn of(self, has_answered: bool) -> Duration {
        if has_answered { self.after_answers } else { self.before_answers }
    }

    /// Returns true if the call does not wait for the end of outages.
    pub(crate) fn is_none(self) -> bool {
        self.after_answers.is_zero()
    }
}

/// The requests of one call.
#[derive(Debug)]
pub(crate) struct Attempts {
    policy: RetryPolicy,
    outage_timeout: OutageTimeout,
    is_batch: bool,
    account: Arc<Account>,
    /// Number of the call on its account.
    call: u64,
    sent: u32,
    rejections: Rejections,
    /// Time spent waiting for rate limits.
    waited: Duration,
    /// Failures charged to the call.
    charged: u32,
    /// The last run of failures that an interactive call was charged for.
    charged_for: Option<RunOfFailures>,
    /// Failures of undecided cause.
    undecided: Vec<Failure>,
    /// Requests sent without a response, among those that were not charged.
    unanswered: u32,
    /// Outages that the call took part in.
    marks: u32,
    /// The last of them, which the call has been marked for.
    marked_for: Option<RunOfFailures>,
    /// The last run of failures that the call took part in.
    last_run: Option<RunOfFailures>,
    /// Number of answers of the account when the call failed with no other request in flight.
    failed_alone_at: Option<u64>,
    /// Time of its first failure since the last answer.
    since: Option<Instant>,
    /// Time at which its first failed request was sent.
    failed_at: Option<Instant>,
    has_alternatives: bool,
}

/// The rate limit rejections of one call, compared with what happened to other requests of its account.
#[derive(Debug, Default)]
struct Rejections {
    count: u32,
    /// Rejections before which the account had answered others since the previous one.
    accepted_between: u32,
    /// Answers and rejections of the account at the first and at the last rejection.
    first: (u64, u64),
    last: (u64, u64),
}

impl Rejections {
    fn record(&mut self, health: Health) {
        let seen = (health.answers, health.refused);
        if self.count == 0 {
            self.first = seen;
        } else {
            self.accepted_between += u32::from(health.answers > self.last.0);
        }
        self.count += 1;
        self.last = seen;
    }

    /// Returns true if no request of the account was answered since the first rejection.
    fn are_common(&self) -> bool {
        self.last.0 == self.first.0
    }

    /// Returns true if the account rejects this call and accepts others, at least `count` times. A limit that
    /// rejects many requests at random never looks like this.
    fn are_own(&self, count: u32) -> bool {
        let (answers, refused) = (self.last.0 - self.first.0, self.last.1 - self.first.1);
        let others = refused.saturating_sub(u64::from(self.count.saturating_sub(1)));
        self.count >= count && self.accepted_between >= MIN_ACCEPTED_BETWEEN && others * 4 <= answers
    }
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    run: RunOfFailures,
    is_unanswered: bool,
}

/// Details of a failed request.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Failed {
    /// The run of failures that it belongs to, unless it was certainly the call's own fault.
    pub(crate) run: Option<RunOfFailures>,
    /// Set if no other request was in flight: the call may then be the cause of outages.
    pub(crate) is_alone: bool,
    /// Set if the server had time to work on the request, so that the provider may bill it.
    pub(crate) is_unanswered: bool,
    /// Time at which it was sent. `None` if no request was admitted.
    pub(crate) sent: Option<Instant>,
}

impl Attempts {
    pub(crate) fn new(policy: RetryPolicy, priority: Priority, account: Arc<Account>) -> Self {
        Self {
            policy,
            outage_timeout: OutageTimeout::new(&policy, priority),
            is_batch: priority == Priority::Batch,
            call: account.begin_call(),
            account,
            sent: 0,
            rejections: Rejections::default(),
            waited: Duration::ZERO,
            charged: 0,
            charged_for: None,
            undecided: Vec::new(),
            unanswered: 0,
            marks: 0,
            marked_for: None,
            last_run: None,
            failed_alone_at: None,
            since: None,
            failed_at: None,
            has_alternatives: false,
        }
    }

    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Counts a request that is about to be sent, and returns its number.
    pub(crate) fn begin(&mut self) -> u32 {
        self.sent += 1;
        self.sent
    }

    /// The call as its account queues it.
    pub(crate) fn waiter(&mut self, ask: RequestSize, cx: &Context) -> Waiter {
        self.settle();
        self.has_alternatives = cx.has_alternatives();
        let failed_in = self.undecided.last().map(|failure| failure.run);
        Waiter {
            ask,
            priority: cx.priority(),
            call: self.call,
            failed_at: self.failed_at,
            is_retry: self.charged > 0,
            marks: if self.rejections.are_own(SUSPECT_REJECTIONS) { MARKS } else { self.marks },
            failed_in,
            last_run: self.last_run,
            has_alternatives: self.has_alternatives,
            outage_timeout: self.outage_timeout,
            since: self.since.unwrap_or_else(Instant::now),
            is_last: cx.last_call().cloned(),
        }
    }

    /// Returns how long to wait before the next request. `left` is the time until the deadline of the run.
    ///
    /// # Errors
    /// The error itself, with the reason, unless there is a further request. [`ErrorKind::Unavailable`] if an
    /// outage has lasted too long.
    pub(crate) fn after(
        &mut self,
        error: Error,
        failed: Failed,
        left: Option<Duration>,
    ) -> Result<Duration, Error> {
        let is_limited = error.kind() == ErrorKind::RateLimited;
        if is_limited {
            self.rejections.record(self.account.health());
        }
        if !error.is_retryable() {
            return Err(error.with_attempts(self.sent));
        }
        let wait =
            if is_limited { self.after_limit(error.clone())? } else { self.after_failure(&error, failed)? };
        if left.is_some_and(|left| wait >= left) {
            return self.give_up(error, &format!("the run would end before the wait of {wait:.1?}"));
        }
        if is_limited {
            self.waited += wait.max(MIN_COUNTED_WAIT);
        }
        Ok(wait)
    }

    fn give_up(&self, error: Error, why: &str) -> Result<Duration, Error> {
        let message = format!("{}; not retried: {why}", error.message());
        Err(error.with_message(message).with_attempts(self.sent))
    }

    fn after_limit(&self, error: Error) -> Result<Duration, Error> {
        let wait = match error.retry_after() {
            Some(asked) if asked > self.policy.max_retry_after => {
                let max = self.policy.max_retry_after;
                return self.give_up(error, &format!("the requested wait is longer than {max:?}"));
            }
            Some(asked) => asked,
            None => self.policy.backoff(self.rejections.count - 1),
        };
        if self.rejections.are_own(MAX_REJECTIONS) {
            return self.give_up(error, "other requests were accepted meanwhile");
        }
        if self.waited + wait.max(MIN_COUNTED_WAIT) > self.policy.max_rate_limit_wait {
            return match self.policy.max_rate_limit_wait {
                Duration::ZERO => Err(error.with_attempts(self.sent)),
                // The account accepts nothing: not a failure of this call, nor of the rows after it.
                max if self.is_batch && self.rejections.are_common() => {
                    let message =
                        format!("the provider has rejected every request for {max:?}: {}", error.message());
                    Err(Error::new(ErrorKind::Unavailable, message)
                        .with_source(error)
                        .with_attempts(self.sent))
                }
                max => self.give_up(error, &format!("waiting for rate limits would exceed {max:?}")),
            };
        }
        Ok(wait)
    }

    fn after_failure(&mut self, error: &Error, failed: Failed) -> Result<Duration, Error> {
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        self.failed_at = self.failed_at.or(failed.sent);
        match failed.run {
            Some(run) => {
                self.last_run = Some(run);
                self.undecided.push(Failure { run, is_unanswered: failed.is_unanswered });
            }
            None => self.charged += 1,
        }
        self.settle();
        let health = self.account.health();
        if failed.is_alone {
            // Other requests were answered before and after, and this one never: the request is the cause.
            if self.failed_alone_at.is_some_and(|before| before < health.answers) {
                return Err(error.clone().with_attempts(self.sent));
            }
            self.failed_alone_at = Some(health.answers);
        }
        let undecided = u32::try_from(self.undecided.len()).unwrap_or(u32::MAX);
        // A call with an alternative model, or without an outage timeout, does not wait for the verdict.
        let is_hasty = self.has_alternatives || self.outage_timeout.is_none();
        // Other requests were sent after it had failed, and were answered. There may be none left to prove it
        // again.
        let is_bad = health.are_bad && (self.is_batch || health.failing_for >= CAUSE_AFTER);
        let counted = if is_hasty || is_bad { self.charged + undecided } else { self.charged };
        if counted >= self.policy.max_attempts.get() {
            return Err(error.clone().with_attempts(self.sent));
        }
        if !self.outage_timeout.is_none()
            && undecided > 0
            && let Some(unavailable) = self.account.gives_up(self.outage_timeout, since)
        {
            return Err(unavailable.with_attempts(self.sent));
        }
        if self.has_alternatives
            && let Some(unavailable) = self.account.unavailable()
        {
            return Err(unavailable.with_attempts(self.sent));
        }
        let wait = self.backoff(error, undecided, health);
        // A wish: a server that fails does not know when it will recover. It never fails the call.
        Ok(error
            .retry_after()
            .filter(|asked| *asked <= self.policy.max_retry_after)
            .map_or(wait, |asked| asked.max(wait)))
    }

    /// The wait after a failure, without regard to what the server asked for.
    fn backoff(&self, error: &Error, undecided: u32, health: Health) -> Duration {
        let n = (self.charged + undecided).saturating_sub(1);
        let billed = self.undecided.iter().filter(|failure| failure.is_unanswered).count();
        if billed > MAX_UNANSWERED as usize {
            // More of them would be charged, and may be billed.
            let factor = 2u32.saturating_pow(n);
            return upper_half(
                self.policy.initial_backoff.saturating_mul(factor).min(self.policy.max_backoff),
            );
        }
        if health.mostly_answers && error.kind() != ErrorKind::Overloaded {
            // If other requests are answered, a long wait helps no one.
            let max = self.policy.initial_backoff.min(self.policy.max_backoff);
            return upper_half(max / if health.is_flaky { 8 } else { 1 });
        }
        let max = if self.is_batch { MAX_BACKOFF } else { MAX_INTERACTIVE_BACKOFF };
        self.policy.max_backoff(self.policy.max_backoff.min(max)).backoff(n)
    }

    /// Charges the failures that turned out to be the call's own, and records the outages that it took part
    /// in.
    fn settle(&mut self) {
        let mut undecided = std::mem::take(&mut self.undecided);
        undecided.retain(|failure| match self.account.verdict(failure.run) {
            FailureRunVerdict::Undecided => true,
            FailureRunVerdict::Charged => {
                // Without an answer in between, the failures of an interactive call are evidence of one
                // fault: too few calls may be in flight for the failures that make an outage.
                let waits = !self.is_batch && !self.has_alternatives && !self.outage_timeout.is_none();
                let is_counted = waits && self.charged_for == Some(failure.run);
                self.charged_for = Some(failure.run);
                self.charged += u32::from(!is_counted);
                false
            }
            // A call without an outage timeout reports every failure.
            FailureRunVerdict::Outage if self.outage_timeout.is_none() => {
                self.charged += 1;
                false
            }
            FailureRunVerdict::Outage => {
                self.unanswered += u32::from(failure.is_unanswered);
                // The provider may bill each of them.
                self.charged += u32::from(failure.is_unanswered && self.unanswered > MAX_UNANSWERED);
                if self.marked_for != Some(failure.run) {
                    self.marked_for = Some(failure.run);
                    self.marks += 1;
                }
                false
            }
        });
        self.undecided = undecided;
    }
}

/// A random wait between half of `max` and all of it.
fn upper_half(max: Duration) -> Duration {
    max / 2 + (max / 2).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests;
