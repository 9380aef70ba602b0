//! Limits that the workers of a broker share, for the calls of a worker.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fanweave::Usage;
use fanweave::models::{LimitedRequest, Limiter, LimiterPermit, RequestOutcome, account_states};
use fanweave::workers::{Broker, Rates, SharedLimit};
use tokio::time::sleep;

/// Time between two looks at the limits that providers name.
const LOOK_PERIOD: Duration = Duration::from_secs(5);

/// An account: a provider's URL, a model, and the hash of a key.
type Account = (String, String, Option<u64>);

/// The shared limits of all accounts that a run calls.
pub(super) struct SharedLimits {
    broker: Arc<dyn Broker>,
    worker: String,
    rates: Rates,
    limits: Mutex<HashMap<Account, SharedLimit>>,
}

impl SharedLimits {
    /// Limits of a run, which are `rates` for each account, and those that providers name.
    pub(super) fn new(broker: Arc<dyn Broker>, worker: &str, rates: Rates) -> Self {
        Self { broker, worker: worker.to_owned(), rates, limits: Mutex::default() }
    }

    fn of(&self, account: Account) -> SharedLimit {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limit) = limits.get(&account) {
            return limit.clone();
        }
        let (base_url, model, key) = &account;
        let name = match key {
            Some(key) => format!("{base_url} {model} {key:016x}"),
            None => format!("{base_url} {model}"),
        };
        let limit = SharedLimit::start(self.broker.clone(), &name, &self.worker, self.rates);
        limits.entry(account).or_insert(limit).clone()
    }

    fn of_request(&self, request: &LimitedRequest) -> SharedLimit {
        self.of((request.base_url.clone(), request.model.clone(), request.key))
    }

    /// Reports the limits that providers name, for ever.
    pub(super) async fn report(&self) {
        loop {
            sleep(LOOK_PERIOD).await;
            for state in account_states() {
                let (mut named, own) = (Rates::new(), state.limits);
                // A limit of the flags is not one of the provider.
                if let (Some(limit), None) = (state.request_limit, own.requests_per_minute) {
                    named = named.requests(limit);
                }
                if let (Some(limit), None) = (state.token_limit, own.tokens_per_minute) {
                    named = named.tokens(limit);
                }
                let account = (state.base_url.clone(), state.model.clone(), state.key);
                let known = self.limits.lock().unwrap_or_else(PoisonError::into_inner).get(&account).cloned();
                if let Some(limit) = known.filter(|_| named != Rates::new()) {
                    limit.report(named);
                }
            }
        }
    }
}

impl Limiter for SharedLimits {
    fn try_admit(&self, request: &LimitedRequest) -> Option<LimiterPermit> {
        let limit = self.of_request(request);
        let output = request.max_tokens.unwrap_or(Usage::EXPECTED_OUTPUT);
        let tokens = request.input_tokens.saturating_add(output);
        limit.try_take(tokens).then(|| {
            LimiterPermit::new(move |outcome| match outcome {
                RequestOutcome::Succeeded(Some(usage)) => {
                    limit.give_back(tokens.cast_signed().saturating_sub(usage.total_tokens().cast_signed()));
                }
                RequestOutcome::NotSent => limit.give_back_request(tokens),
                _ => {}
            })
        })
    }

    fn ready<'a>(
        &'a self,
        request: &'a LimitedRequest,
    ) -> Pin<Box<dyn Future<Output = fanweave::Result<()>> + Send + 'a>> {
        let limit = self.of_request(request);
        Box::pin(async move {
            limit.ready().await;
            Ok(())
        })
    }
}
