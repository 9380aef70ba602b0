//! The account's limits: requests and tokens per minute, and a hidden capacity.
//!
//! A request is charged one request and its estimated tokens when it is admitted; what it really used is settled when
//! its answer is complete. Rejected requests cost nothing. Time is passed in, never read.

mod bucket;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bucket::Bucket;

/// Tokens an answer is expected to have where the request sets no maximum.
///
/// Source: the default `max_tokens` of OpenAI's completions.
const USUAL_OUTPUT: u64 = 16;

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

/// What the limits say about a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Verdict {
    Admitted(State),
    Rejected { exhausted: Exhausted, retry_after: Duration, state: State },
}

/// The limit that a request ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exhausted {
    Requests {
        limit: u32,
    },
    /// The limit that holds at the start only, and names no figure.
    Start,
    Tokens {
        limit: u32,
        requested: u64,
    },
}

/// Both limits at one moment, as the headers of an answer tell them. `None` where there is no limit.
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
    /// The limit less what was used and has not yet been refilled.
    ///
    /// With a quantum under a minute more can remain than may be used at once: an account of 60 requests per minute that
    /// has just used its one request of this second has 59 left. Providers report it so, and `limit * reset / (limit -
    /// remaining)` is the minute.
    pub(crate) remaining: u32,
    /// Time until nothing used is left to refill.
    pub(crate) reset: Duration,
}

impl Limits {
    /// Full buckets of `quantum` times the limits.
    pub(crate) fn new(rpm: Option<u32>, tpm: Option<u32>, quantum: Duration, now: Instant) -> Self {
        let bucket = |limit: Option<u32>| limit.map(|limit| Bucket::new(limit, quantum, now));
        Self { buckets: Mutex::new(Buckets { requests: bucket(rpm), tokens: bucket(tpm) }) }
    }

    /// The tokens that a request is charged until its answer is complete: its input and the most it may put out.
    pub(crate) fn estimate(input_tokens: u64, max_tokens: Option<u64>) -> u64 {
        input_tokens.saturating_add(max_tokens.unwrap_or(USUAL_OUTPUT))
    }

    /// Charges a request, or says when to try again.
    pub(crate) fn admit(&self, tokens: u64, now: Instant) -> Verdict {
        let mut buckets = self.lock();
        let Buckets { requests, tokens: token_bucket } = &mut *buckets;
        let wait_for_request = requests.as_mut().map_or(Duration::ZERO, |bucket| bucket.wait_for(1, now));
        let wait_for_tokens =
            token_bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.wait_for(tokens, now));
        let retry_after = wait_for_request.max(wait_for_tokens);
        if retry_after.is_zero() {
            requests.iter_mut().for_each(|bucket| bucket.take(1));
            token_bucket.iter_mut().for_each(|bucket| bucket.take(tokens));
            return Verdict::Admitted(buckets.state());
        }
        let limit = |bucket: &Option<Bucket>| bucket.as_ref().map_or(0, Bucket::limit);
        let exhausted = if wait_for_request >= wait_for_tokens {
            Exhausted::Requests { limit: limit(requests) }
        } else {
            Exhausted::Tokens { limit: limit(token_bucket), requested: tokens }
        };
        Verdict::Rejected { exhausted, retry_after, state: buckets.state() }
    }

    /// Corrects the charge for tokens once the answer is complete.
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
        // Every update leaves the buckets consistent, so a panic elsewhere does not spoil them.
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
