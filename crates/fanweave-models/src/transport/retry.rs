//! Whether and when to try again. The loop itself, the only one of the whole stack, is in [`again`](super::again).

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fanweave_core::{Error, ErrorKind, RetryPolicy};

/// What a wait for a rate limit counts as at least: a server that always asks to wait for no time, or until a date
/// that is over, would otherwise be asked for ever.
const LEAST: Duration = Duration::from_millis(250);

/// The requests of one call.
#[derive(Debug)]
pub(crate) struct Tries<'a> {
    policy: RetryPolicy,
    budget: &'a Budget,
    sent: u32,
    /// Requests that were answered with 429.
    limited: u32,
    /// Time spent waiting for rate limits.
    waited: Duration,
}

impl<'a> Tries<'a> {
    pub(crate) fn new(policy: RetryPolicy, budget: &'a Budget) -> Self {
        Self { policy, budget, sent: 0, limited: 0, waited: Duration::ZERO }
    }

    /// Counts a request that is about to be sent, and gives its number.
    pub(crate) fn begin(&mut self) -> u32 {
        self.sent += 1;
        self.sent
    }

    /// Counts the success of the last request.
    pub(crate) fn succeeded(&self) {
        // The one that succeeded is among those that no rate limit stopped.
        self.budget.refund(if self.failed() <= 1 { Budget::FIRST_SUCCESS } else { Budget::COST });
    }

    /// How long to wait before the next request. `left` is the time until the deadline of the run.
    ///
    /// # Errors
    /// The error itself where there is to be no other request, and why.
    pub(crate) fn after(&mut self, error: Error, left: Option<Duration>) -> Result<Duration, Error> {
        let limited = error.kind() == ErrorKind::RateLimited;
        self.limited += u32::from(limited);
        let give_up = |error: Error, why: String| {
            let message = format!("{}; not tried again: {why}", error.message());
            Err(error.with_message(message).with_attempts(self.sent))
        };
        if !error.is_retryable() || (!limited && self.failed() >= self.policy.attempts.get()) {
            return Err(error.with_attempts(self.sent));
        }
        let wait = match error.retry_after() {
            Some(asked) if asked > self.policy.max_retry_after => {
                let most = self.policy.max_retry_after;
                return give_up(error, format!("the wait asked for is longer than {most:?}"));
            }
            Some(asked) => asked,
            None => self.policy.backoff(if limited { self.limited } else { self.failed() } - 1),
        };
        if limited && self.waited + wait.max(LEAST) > self.policy.patience {
            return match self.policy.patience {
                Duration::ZERO => Err(error.with_attempts(self.sent)),
                most => give_up(error, format!("its waits for rate limits would exceed {most:?}")),
            };
        }
        if left.is_some_and(|left| wait >= left) {
            return give_up(error, format!("the run ends before the wait of {wait:?} does"));
        }
        if limited {
            self.waited += wait.max(LEAST);
        } else if !self.budget.spend() {
            return give_up(error, "too many calls of this account fail".to_owned());
        }
        Ok(wait)
    }

    fn failed(&self) -> u32 {
        self.sent - self.limited
    }
}

/// What the retries of one account may cost: they run dry when most calls fail, and a provider in trouble is not
/// asked six times as much. Source: the standard retry mode of the AWS SDKs.
#[derive(Debug)]
pub(crate) struct Budget(AtomicU32);

impl Budget {
    const FULL: u32 = 500;
    /// Of one retry, given back when it succeeds.
    const COST: u32 = 14;
    const FIRST_SUCCESS: u32 = 1;

    /// The share that is left.
    pub(crate) fn left(&self) -> f64 {
        f64::from(self.0.load(Ordering::Relaxed)) / f64::from(Self::FULL)
    }

    fn spend(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(Self::COST)).is_ok()
    }

    fn refund(&self, tokens: u32) {
        // Nearly always full: a look costs less than a write that all threads share.
        if self.0.load(Ordering::Relaxed) < Self::FULL {
            let more = |left: u32| Some((left + tokens).min(Self::FULL));
            let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU32::new(Self::FULL))
    }
}

#[cfg(test)]
mod tests;
