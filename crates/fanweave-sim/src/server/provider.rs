//! State shared by all connections, and the tickets of requests in flight and of open connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use super::problem::Problem;
use super::stats::{self, Counters};
use super::{anthropic, openai};
use crate::faults::FaultRates;
use crate::limits::{self, Exhausted, LimitDecision, Limits};
use crate::settings::Settings;
use crate::trouble::{FaultSchedule, OutageKind};

/// The account used by all requests.
#[derive(Debug)]
pub(super) struct Provider {
    pub(super) settings: Settings,
    pub(super) faults: FaultRates,
    pub(super) trouble: FaultSchedule,
    pub(super) counters: Counters,
    pub(super) batches: openai::Batches,
    pub(super) message_batches: anthropic::Batches,
    limits: Limits,
    /// Requests that count towards `max_in_flight`.
    permits_taken: AtomicUsize,
}

impl Provider {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            limits: Limits::new(settings.rpm, settings.tpm, settings.quantum, Instant::now()),
            faults: settings.fault_rates(),
            trouble: FaultSchedule::new(&settings),
            counters: Counters::default(),
            batches: openai::Batches::default(),
            message_batches: anthropic::Batches::default(),
            permits_taken: AtomicUsize::new(0),
            settings,
        }
    }

    pub(super) fn reset(&self) {
        self.counters.reset();
        self.limits.refill();
        self.trouble.reset();
    }

    /// Returns true if a model has this name.
    pub(super) fn knows_model(&self, name: &str) -> bool {
        self.settings.models.is_empty() || self.settings.models.iter().any(|model| model == name)
    }
}

/// A request in flight. It lives until its answer is sent completely, or the client has disconnected.
#[derive(Debug)]
pub(super) struct InFlightRequest {
    provider: Arc<Provider>,
    /// Number of the request, which determines its latency and fault.
    pub(super) seq: u64,
    holds_permit: bool,
    is_complete: bool,
    tokens_charged: u64,
    /// Tokens of the created answer. Default: as charged.
    tokens_used: u64,
}

impl InFlightRequest {
    pub(super) fn new(provider: Arc<Provider>) -> Self {
        let seq = provider.counters.requests.fetch_add(1, Relaxed);
        provider.counters.in_flight.enter();
        Self { provider, seq, holds_permit: false, is_complete: false, tokens_charged: 0, tokens_used: 0 }
    }

    /// Takes a permit and charges the request, or returns the reason for rejecting it.
    pub(super) fn admit(
        &mut self,
        input_tokens: u64,
        max_tokens: Option<u64>,
    ) -> Result<limits::State, Problem> {
        if let Some(retry_after) = self.provider.trouble.first_429() {
            stats::count(&self.provider.counters.first_429);
            let state = limits::State::default();
            return Err(Problem::RateLimited { exhausted: Exhausted::Start, retry_after, state });
        }
        if let Some(max_in_flight) = self.provider.settings.max_in_flight {
            let taken = self.provider.permits_taken.fetch_add(1, Relaxed);
            self.holds_permit = true;
            if taken >= max_in_flight {
                return Err(Problem::Overloaded);
            }
        }
        let charge = Limits::estimate(input_tokens, max_tokens);
        match self.provider.limits.admit(charge, Instant::now()) {
            LimitDecision::Admitted(state) => {
                self.tokens_charged = charge;
                self.tokens_used = charge;
                Ok(state)
            }
            LimitDecision::Rejected { exhausted, retry_after, state } => {
                Err(Problem::RateLimited { exhausted, retry_after, state })
            }
        }
    }

    /// Records the tokens of the answer, to be settled when it is complete.
    pub(super) fn use_tokens(&mut self, input: u64, output: u64) {
        self.tokens_used = input + output;
        self.provider.counters.input_tokens.fetch_add(input, Relaxed);
        self.provider.counters.output_tokens.fetch_add(output, Relaxed);
    }

    /// Records that the client has received everything that it will get.
    pub(super) fn complete(&mut self) {
        self.is_complete = true;
    }
}

impl Drop for InFlightRequest {
    fn drop(&mut self) {
        let Provider { counters, limits, permits_taken, trouble, .. } = &*self.provider;
        counters.in_flight.leave();
        if self.holds_permit {
            permits_taken.fetch_sub(1, Relaxed);
        }
        if self.tokens_charged != self.tokens_used {
            limits.settle(self.tokens_charged, self.tokens_used);
        }
        if !self.is_complete {
            let is_cut = trouble.outage_now() == Some(OutageKind::Refuse);
            stats::count(if is_cut { &counters.outage_cut } else { &counters.client_disconnects });
        }
    }
}

/// Counts a connection as open for as long as it lives.
pub(super) struct OpenConnection(Arc<Provider>);

impl OpenConnection {
    pub(super) fn new(provider: Arc<Provider>) -> Self {
        stats::count(&provider.counters.connections_opened);
        provider.counters.connections.enter();
        Self(provider)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.counters.connections.leave();
    }
}
