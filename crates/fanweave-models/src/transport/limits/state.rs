//! The state of an account, for people and programs.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::outage::rounded;
use super::{Account, AccountKey, Accounts, RateLimits, lock};

/// State of an account: sending requests, or the reason why it is not.
///
/// `Display` formats it as one line: `the provider is failing: status 502: Bad Gateway, for 14s; next probe
/// in 2s`.
///
/// ```
/// use std::time::Duration;
/// use fanweave::models::AccountStatus;
///
/// let waiting = AccountStatus::Waiting { left: Duration::from_secs(12) };
/// assert_eq!(waiting.to_string(), "the provider asked to wait: 12s left");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AccountStatus {
    /// Requests are sent as calls arrive.
    #[default]
    Open,
    /// Requests are sent at the rate of a limit set by the caller or named by the server.
    Paced,
    /// The maximum number of requests is in flight, as the server takes or the caller allows.
    Full,
    /// The server requested a wait.
    Waiting {
        /// Time until sending resumes.
        left: Duration,
    },
    /// The provider fails or is unreachable: calls are held, and single probes test when the outage is over.
    Outage {
        /// Time since the first failure.
        lasts: Duration,
        /// The last failure.
        failure: String,
        /// Time until the next probe. `None` while one is in flight.
        next_probe: Option<Duration>,
    },
}

impl AccountStatus {
    /// Returns true if no request other than probes is sent at present.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Waiting { .. } | Self::Outage { .. })
    }
}

impl fmt::Display for AccountStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => f.write_str("open"),
            Self::Paced => f.write_str("paced by a limit"),
            Self::Full => f.write_str("full: the maximum number of requests is in flight"),
            Self::Waiting { left } => write!(f, "the provider asked to wait: {} left", rounded_up(*left)),
            Self::Outage { lasts, failure, next_probe } => {
                write!(f, "the provider is failing: {failure}, for {}; ", rounded_up(*lasts))?;
                match next_probe {
                    Some(next) => write!(f, "next probe in {}", rounded_up(*next)),
                    None => f.write_str("probing"),
                }
            }
        }
    }
}

/// Formats a duration in whole seconds, so that it changes once per second.
fn rounded_up(time: Duration) -> String {
    humanized(Duration::from_secs(time.as_secs_f64().ceil() as u64))
}

fn humanized(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => rounded(Duration::from_secs(seconds)),
    }
}

/// Snapshot of one account of the process. Returned by [`account_states`].
///
/// Contains no key, only a hash of it.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct AccountState {
    /// Base URL of its requests.
    pub base_url: String,
    /// Model name at the provider.
    pub model: String,
    /// Hash of the API key, as in a [`LimitedRequest`](crate::LimitedRequest). `None` without a key.
    pub key: Option<u64>,
    /// Current state: sending requests, or the reason why not.
    pub status: AccountStatus,
    /// Limits set by the caller.
    pub limits: RateLimits,
    /// Current maximum requests per minute: a limit that was set or reported, or a rate learnt from
    /// rejections. `None` if no limit is known.
    pub requests_per_minute: Option<f64>,
    /// Limit of requests per minute, set by the caller or named by the server. The current rate is lower
    /// after a 429.
    pub request_limit: Option<f64>,
    /// Current maximum tokens per minute, known in the same ways. `None` if no limit is known.
    pub tokens_per_minute: Option<f64>,
    /// Limit of tokens per minute, set by the caller or named by the server.
    pub token_limit: Option<f64>,
    /// Requests sent in the last minute.
    pub requests_last_minute: u64,
    /// Tokens of the responses received in the last minute, including input.
    pub tokens_last_minute: u64,
    /// Requests in flight.
    pub in_flight: usize,
    /// Maximum requests in flight that the server was found to take. `None` until there is a sign of a bound.
    pub capacity: Option<usize>,
    /// Queued calls.
    pub waiting: usize,
    /// Time during which nothing is sent, because the server requested it.
    pub closed_for: Option<Duration>,
    /// Requests so far.
    pub requests: u64,
    /// Permits given up before the end of their requests, so far: the readers of their responses were not
    /// polled while other calls waited. At most this many requests may have exceeded the limits.
    pub over_limit: u64,
    /// Requests rejected so far, with 429 or because the server was overloaded.
    pub refused: u64,
}

/// Returns all accounts used by calls of this process, in no particular order, except those of a separate set
/// of [`Accounts`].
///
/// ```
/// for account in fanweave::models::account_states() {
///     println!("{}: {} in flight, {} waiting", account.model, account.in_flight, account.waiting);
/// }
/// ```
pub fn account_states() -> Vec<AccountState> {
    Accounts::default().states()
}

impl AccountState {
    pub(super) fn of(key: &AccountKey, account: &Account, now: Instant) -> Self {
        let limiter = lock(&account.limiter);
        let [requests, tokens] = limiter.rates();
        let (requests_last_minute, tokens_last_minute) = limiter.minute(now);
        Self {
            base_url: key.base_url.clone(),
            model: key.model.clone(),
            key: key.key,
            status: limiter.status(now),
            limits: limiter.limits(),
            requests_per_minute: requests.map(|(rate, _)| rate),
            request_limit: requests.and_then(|(_, limit)| limit),
            tokens_per_minute: tokens.map(|(rate, _)| rate),
            token_limit: tokens.and_then(|(_, limit)| limit),
            requests_last_minute,
            tokens_last_minute,
            in_flight: limiter.in_flight,
            capacity: limiter.capacity.bound(),
            waiting: limiter.queue.waiting().iter().sum(),
            closed_for: limiter
                .gate()
                .map(|gate| gate.saturating_duration_since(now))
                .filter(|left| !left.is_zero()),
            requests: limiter.admitted,
            over_limit: limiter.over_limit,
            refused: limiter.refused,
        }
    }
}
