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

/// The shared limits of all accounts that a run calls. An account is a provider's URL and a model.
pub(super) struct SharedLimits {
    broker: Arc<dyn Broker>,
    worker: String,
    rates: Rates,
    limits: Mutex<HashMap<(String, String), SharedLimit>>,
}

impl SharedLimits {
    /// Limits of a run, which are `rates` for each account, and those that providers name.
    pub(super) fn new(broker: Arc<dyn Broker>, worker: &str, rates: Rates) -> Self {
        Self { broker, worker: worker.to_owned(), rates, limits: Mutex::default() }
    }

    fn of(&self, base_url: &str, model: &str) -> SharedLimit {
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let account = (base_url.to_owned(), model.to_owned());
        let start = || {
            let account = format!("{base_url} {model}");
            SharedLimit::start(self.broker.clone(), &account, &self.worker, self.rates)
        };
        limits.entry(account).or_insert_with(start).clone()
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
                let is_known = {
                    let limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
                    limits.contains_key(&(state.base_url.clone(), state.model.clone()))
                };
                if is_known && named != Rates::new() {
                    self.of(&state.base_url, &state.model).report(named);
                }
            }
        }
    }
}

impl Limiter for SharedLimits {
    fn try_admit(&self, request: &LimitedRequest) -> Option<LimiterPermit> {
        let limit = self.of(&request.base_url, &request.model);
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
        let limit = self.of(&request.base_url, &request.model);
        Box::pin(async move {
            limit.ready().await;
            Ok(())
        })
    }
}
