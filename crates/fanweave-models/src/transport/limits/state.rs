//! What an account is doing, for people and programs to look at.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::outage::rounded;
use super::{RateLimits, accounts, lock};

/// Whether an account sends requests, and if not, why.
///
/// `Display` says it in a line for people: `the provider is failing: status 502: Bad Gateway, for 14s; next probe in 2s`.
///
/// ```
/// use std::time::Duration;
/// use fanweave_models::AccountStatus;
///
/// let waiting = AccountStatus::Waiting { left: Duration::from_secs(12) };
/// assert_eq!(waiting.to_string(), "the provider asked to wait: 12s left");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AccountStatus {
    /// Requests are sent as calls come.
    #[default]
    Open,
    /// Requests are sent at the pace of a limit that the caller set or the server named.
    Paced,
    /// The server has as many requests in flight as it takes, or as the caller allows.
    Full,
    /// The server asked to wait.
    Waiting {
        /// Time until requests are sent again.
        left: Duration,
    },
    /// The provider fails or cannot be reached: calls are held, and one probe at a time finds out when that is over.
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
    /// Whether no request is sent at present, but for probes.
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
            Self::Waiting { left } => write!(f, "the provider asked to wait: {} left", whole(*left)),
            Self::Outage { lasts, failure, next_probe } => {
                write!(f, "the provider is failing: {failure}, for {}; ", whole(*lasts))?;
                match next_probe {
                    Some(next) => write!(f, "next probe in {}", whole(*next)),
                    None => f.write_str("probing"),
                }
            }
        }
    }
}

/// A time for people, in seconds that change once a second.
fn whole(time: Duration) -> String {
    humanly(Duration::from_secs(time.as_secs_f64().ceil() as u64))
}

fn humanly(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds => rounded(Duration::from_secs(seconds)),
    }
}

/// What one account of the process is doing right now. Made by [`account_states`].
///
/// Shows no key.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct AccountState {
    /// Where its requests go.
    pub base_url: String,
    /// The model, in the provider's words.
    pub model: String,
    /// Whether it sends requests, and if not, why.
    pub status: AccountStatus,
    /// The ceilings that the caller has set.
    pub limits: RateLimits,
    /// Requests a minute that are sent at most now. `None` where no limit is known.
    pub requests_per_minute: Option<f64>,
    /// The limit of requests a minute that the caller or the server named. The rate is below it after a 429.
    pub request_limit: Option<f64>,
    /// Tokens a minute that are sent at most now. `None` where no limit is known.
    pub tokens_per_minute: Option<f64>,
    /// The limit of tokens a minute that the caller or the server named.
    pub token_limit: Option<f64>,
    /// Requests that were sent in the last minute.
    pub requests_last_minute: u64,
    /// Tokens of answers that came in the last minute, prompts included.
    pub tokens_last_minute: u64,
    /// Requests in flight.
    pub in_flight: usize,
    /// Most requests in flight that the server was found to take. `None` as long as nothing points to a bound.
    pub capacity: Option<usize>,
    /// Calls that wait for their turn.
    pub waiting: usize,
    /// How long nothing is sent, because the server asked for it.
    pub closed_for: Option<Duration>,
    /// Requests so far.
    pub requests: u64,
    /// Permits that were given up before the end of their requests, so far: the readers of their answers were away, and other
    /// calls waited. So many requests may have been in flight beyond the limits.
    pub over_limit: u64,
    /// Requests so far that were refused with 429, or because the server was too busy.
    pub refused: u64,
}

/// All accounts that calls of this process have used, in no order.
///
/// ```
/// for account in fanweave_models::account_states() {
///     println!("{}: {} in flight, {} waiting", account.model, account.in_flight, account.waiting);
/// }
/// ```
pub fn account_states() -> Vec<AccountState> {
    let now = Instant::now();
    let state = |(key, account): (&super::AccountKey, &std::sync::Arc<super::Account>)| {
        let limiter = lock(&account.limiter);
        let [requests, tokens] = limiter.rates();
        let (requests_last_minute, tokens_last_minute) = limiter.minute(now);
        AccountState {
            base_url: key.base_url.clone(),
            model: key.model.clone(),
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
    };
    accounts().iter().map(state).collect()
}
