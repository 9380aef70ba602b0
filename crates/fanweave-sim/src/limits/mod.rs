//! The account's limits: requests and tokens per minute, and a hidden capacity.
//!
//! An admitted request is charged one request and its estimated tokens. The actual usage is settled when the
//! answer is complete. Rejected requests cost nothing. The time is an argument of every function.

mod bucket;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bucket::Bucket;

/// Estimated tokens of an answer if the request sets no maximum.
///
/// Source: the default `max_tokens` of OpenAI's completions.
const DEFAULT_OUTPUT: u64 = 16;

/// The two limits of an account, shared by all its requests.
#[derive(Debug)]
pub(crate) struct Limits {
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
}

/// Decision about a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum LimitDecision {
    Admitted(State),
    Rejected { exhausted: Exhausted, retry_after: Duration, state: State },
}

/// The limit that rejected a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    Requests {
        limit: u32,
    },
    /// The limit for the first requests, which reports no figures.
    Start,
    Tokens {
        limit: u32,
        requested: u64,
    },
}

/// State of both limits at one moment, as reported by response headers. `None` without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct State {
    pub(crate) requests: Option<Level>,
    pub(crate) tokens: Option<Level>,
}

/// One limit at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    /// Units per minute.
    pub(crate) limit: u32,
    /// The limit minus the usage that has not been refilled yet.
    ///
    /// With a quantum below a minute, more can remain than is available immediately: an account with 60
    /// requests per minute that has used the one request of this second has 59 remaining. Real providers
    /// report the same, and `limit * reset / (limit - remaining)` is one minute.
    pub(crate) remaining: u32,
    /// Time until all usage is refilled.
    pub(crate) reset: Duration,
}

impl Limits {
    /// Full buckets of `quantum` times the limits.
    pub(crate) fn new(rpm: Option<u32>, tpm: Option<u32>, quantum: Duration, now: Instant) -> Self {
        let bucket = |limit: Option<u32>| limit.map(|limit| Bucket::new(limit, quantum, now));
        Self { buckets: Mutex::new(Buckets { requests: bucket(rpm), tokens: bucket(tpm) }) }
    }

    /// The tokens charged to a request until its answer is complete: its input and its maximum output.
    pub(crate) fn estimate(input_tokens: u64, max_tokens: Option<u64>) -> u64 {
        input_tokens.saturating_add(max_tokens.unwrap_or(DEFAULT_OUTPUT))
    }

    /// Charges a request, or returns when to retry.
    pub(crate) fn admit(&self, tokens: u64, now: Instant) -> LimitDecision {
        let mut buckets = self.lock();
        let Buckets { requests, tokens: token_bucket } = &mut *buckets;
        let wait_for_request = requests.as_mut().map_or(Duration::ZERO, |bucket| bucket.wait_for(1, now));
        let wait_for_tokens =
            token_bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.wait_for(tokens, now));
        let retry_after = wait_for_request.max(wait_for_tokens);
        if retry_after.is_zero() {
            requests.iter_mut().for_each(|bucket| bucket.take(1));
            token_bucket.iter_mut().for_each(|bucket| bucket.take(tokens));
            return LimitDecision::Admitted(buckets.state());
        }
        let limit = |bucket: &Option<Bucket>| bucket.as_ref().map_or(0, Bucket::limit);
        let exhausted = if wait_for_request >= wait_for_tokens {
            Exhausted::Requests { limit: limit(requests) }
        } else {
            Exhausted::Tokens { limit: limit(token_bucket), requested: tokens }
        };
        LimitDecision::Rejected { exhausted, retry_after, state: buckets.state() }
    }

    /// Corrects the charged tokens once the answer is complete.
    pub(crate) fn settle(&self, estimated: u64, actual: u64) {
        if let Some(bucket) = &mut self.lock().tokens {
            bucket.give_back(estimated as f64 - actual as f64);
        }
    }

    /// Fills both buckets.
    pub(crate) fn refill(&self) {
        let mut buckets = self.lock();
        let Buckets { requests, tokens } = &mut *buckets;
        [requests, tokens].into_iter().flatten().for_each(Bucket::fill);
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        // Every update leaves the buckets consistent, so a panic elsewhere does no harm.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buckets {
    fn state(&self) -> State {
        State {
            requests: self.requests.as_ref().map(Bucket::level),
            tokens: self.tokens.as_ref().map(Bucket::level),
        }
    }
}

#[cfg(test)]
mod tests;
