//! Decides whether and when a failed request is retried. The loop itself, the only one of the whole stack, is in
//! [`again`](super::again).

use std::sync::Arc;
use std::time::Duration;

use fanweave_core::{Context, Error, ErrorKind, Priority, RetryPolicy};
use tokio::time::Instant;

use super::limits::{Account, RequestSize, RunOfFailures, Verdict, Waiter};

/// What a wait for a rate limit counts as at least: a server that always asks to wait for no time, or until a date
/// that is over, would otherwise be asked for ever.
const LEAST: Duration = Duration::from_millis(250);

/// Maximum backoff after a failure whose fault is undecided: an outage is held and probed by the account, and its end is not
/// to be slept through.
const MAX_BACKOFF: Duration = Duration::from_secs(3);

/// Requests of one call that got no answer in outages although the server had time to work on them, and are not charged to it.
/// The provider may bill each.
const MAX_UNANSWERED: u32 = 2;

/// How long a call waits for the end of an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OutageTimeout {
    /// Once the account has answered anything.
    after_answers: Duration,
    /// Before that: the address or the network may be wrong.
    before_answers: Duration,
}

impl OutageTimeout {
    /// That of `policy`, or what calls of that priority have.
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

    /// As it is for an account that `has_answered`.
    pub(crate) fn of(self, has_answered: bool) -> Duration {
        if has_answered { self.after_answers } else { self.before_answers }
    }

    /// Whether outages are not waited for at all.
    pub(crate) fn is_none(self) -> bool {
        self.after_answers.is_zero()
    }
}

/// The requests of one call.
#[derive(Debug)]
pub(crate) struct Attempts {
    policy: RetryPolicy,
    outage_timeout: OutageTimeout,
    account: Arc<Account>,
    /// The number of the call on its account.
    call: u64,
    sent: u32,
    /// Requests that were answered with 429.
    limited: u32,
    /// Time spent waiting for rate limits.
    waited: Duration,
    /// Failures that are charged to the call.
    charged: u32,
    /// Failures whose fault is undecided.
    undecided: Vec<Failure>,
    /// Requests that were sent and not answered, among those that were not charged.
    unanswered: u32,
    /// Outages that the call took part in.
    marks: u32,
    /// The last of them, which it is marked for.
    marked_for: Option<RunOfFailures>,
    /// The last run of failures that it took part in.
    last_run: Option<RunOfFailures>,
    /// Answers of the account when the call failed without any other beside it.
    failed_alone_at: Option<u64>,
    /// When it failed for the first time since the last answer.
    since: Option<Instant>,
    /// When its first request was sent that failed.
    failed_at: Option<Instant>,
    has_alternatives: bool,
}

#[derive(Debug, Clone, Copy)]
struct Failure {
    run: RunOfFailures,
    is_unanswered: bool,
}

/// How a request failed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Failed {
    /// The run of failures that it is part of, where it may not have been the call's own fault.
    pub(crate) run: Option<RunOfFailures>,
    /// Whether no other request was in flight beside it, because the call may be the cause of outages.
    pub(crate) is_alone: bool,
    /// Whether the server had time to work on it, and the provider may bill it.
    pub(crate) is_unanswered: bool,
    /// When it was sent. `None` where no request was admitted.
    pub(crate) sent: Option<Instant>,
}

impl Attempts {
    pub(crate) fn new(policy: RetryPolicy, priority: Priority, account: Arc<Account>) -> Self {
        Self {
            policy,
            outage_timeout: OutageTimeout::new(&policy, priority),
            call: account.begin_call(),
            account,
            sent: 0,
            limited: 0,
            waited: Duration::ZERO,
            charged: 0,
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

    /// Counts a request that is about to be sent, and gives its number.
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
            marks: self.marks,
            failed_in,
            last_run: self.last_run,
            has_alternatives: self.has_alternatives,
            outage_timeout: self.outage_timeout,
            since: self.since.unwrap_or_else(Instant::now),
            is_last: cx.last_call().cloned(),
        }
    }

    /// How long to wait before the next request. `left` is the time until the deadline of the run.
    ///
    /// # Errors
    /// The error itself where there is to be no other request, and why. [`ErrorKind::Unavailable`] where an outage has
    /// lasted for too long.
    pub(crate) fn after(
        &mut self,
        error: Error,
        failed: Failed,
        left: Option<Duration>,
    ) -> Result<Duration, Error> {
        let is_limited = error.kind() == ErrorKind::RateLimited;
        self.limited += u32::from(is_limited);
        if !error.is_retryable() {
            return Err(error.with_attempts(self.sent));
        }
        let wait =
            if is_limited { self.after_limit(error.clone())? } else { self.after_failure(&error, failed)? };
        if left.is_some_and(|left| wait >= left) {
            return self.give_up(error, &format!("the run ends before the wait of {wait:?} does"));
        }
        if is_limited {
            self.waited += wait.max(LEAST);
        }
        Ok(wait)
    }

    fn give_up(&self, error: Error, why: &str) -> Result<Duration, Error> {
        let message = format!("{}; not retried: {why}", error.message());
        Err(error.with_message(message).with_attempts(self.sent))
    }

    /// The wait that the server asked for, if it is not longer than the policy allows.
    fn within_limit(&self, error: &Error, asked: Duration) -> Result<Duration, Error> {
        let max = self.policy.max_retry_after;
        if asked > max {
            return self.give_up(error.clone(), &format!("the wait asked for is longer than {max:?}"));
        }
        Ok(asked)
    }

    fn after_limit(&self, error: Error) -> Result<Duration, Error> {
        let wait = match error.retry_after() {
            Some(asked) => self.within_limit(&error, asked)?,
            None => self.policy.backoff(self.limited - 1),
        };
        if self.waited + wait.max(LEAST) > self.policy.max_rate_limit_wait {
            return match self.policy.max_rate_limit_wait {
                Duration::ZERO => Err(error.with_attempts(self.sent)),
                most => self.give_up(error, &format!("its waits for rate limits would exceed {most:?}")),
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
            // Others were answered before and after, and this one never: it is the request.
            if self.failed_alone_at.is_some_and(|before| before < health.answers) {
                return Err(error.clone().with_attempts(self.sent));
            }
            self.failed_alone_at = Some(health.answers);
        }
        let undecided = u32::try_from(self.undecided.len()).unwrap_or(u32::MAX);
        // Who has another model to use, or no patience, does not wait for the verdict.
        let is_hasty = self.has_alternatives || self.outage_timeout.is_none();
        // Others were asked after it had failed, and answered. There may be none left to prove it once more.
        let is_bad = health.are_bad;
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
        match error.retry_after() {
            Some(asked) => self.within_limit(error, asked),
            None => {
                let n = (self.charged + undecided).saturating_sub(1);
                let billed = self.undecided.iter().filter(|failure| failure.is_unanswered).count();
                if billed > MAX_UNANSWERED as usize {
                    // More of them would be charged, and may be paid for.
                    let most = self
                        .policy
                        .initial_backoff
                        .saturating_mul(2u32.saturating_pow(n))
                        .min(self.policy.max_backoff);
                    return Ok(upper_half(most));
                }
                if health.answers_most && error.kind() != ErrorKind::Overloaded {
                    // Where others are answered, nobody is helped by a long wait.
                    let most = self.policy.initial_backoff.min(self.policy.max_backoff)
                        / if health.is_flaky { 8 } else { 1 };
                    return Ok(upper_half(most));
                }
                Ok(RetryPolicy { max_backoff: self.policy.max_backoff.min(MAX_BACKOFF), ..self.policy }
                    .backoff(n))
            }
        }
    }

    /// Charges the failures that have turned out to be the call's own, and notes the outages that it took part in.
    fn settle(&mut self) {
        let mut undecided = std::mem::take(&mut self.undecided);
        undecided.retain(|failure| match self.account.verdict(failure.run) {
            Verdict::Undecided => true,
            Verdict::Charged => {
                self.charged += 1;
                false
            }
            // Who wants no patience wants to hear of each failure.
            Verdict::Outage if self.outage_timeout.is_none() => {
                self.charged += 1;
                false
            }
            Verdict::Outage => {
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

/// A random wait between half of `most` and all of it.
fn upper_half(most: Duration) -> Duration {
    most / 2 + (most / 2).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests;
