//! What an account is doing, for people and programs to look at.

use std::time::Duration;

use tokio::time::Instant;

use super::{RateLimits, accounts, lock};

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
        let line = lock(&account.line);
        let [requests, tokens] = line.rates();
        let (requests_last_minute, tokens_last_minute) = line.minute(now);
        AccountState {
            base_url: key.base_url.clone(),
            model: key.model.clone(),
            limits: line.limits(),
            requests_per_minute: requests.map(|(rate, _)| rate),
            request_limit: requests.and_then(|(_, limit)| limit),
            tokens_per_minute: tokens.map(|(rate, _)| rate),
            token_limit: tokens.and_then(|(_, limit)| limit),
            requests_last_minute,
            tokens_last_minute,
            in_flight: line.in_flight,
            capacity: line.capacity.bound(),
            waiting: line.queue.waiting().iter().sum(),
            closed_for: line
                .gate()
                .map(|gate| gate.saturating_duration_since(now))
                .filter(|left| !left.is_zero()),
            requests: line.admitted,
            refused: line.refused,
        }
    };
    accounts().iter().map(state).collect()
}
