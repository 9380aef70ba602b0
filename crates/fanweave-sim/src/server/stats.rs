//! Counts of requests, faults and connections.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::Serialize;

/// Counts since the start or the last reset. `GET /stats` returns the same as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Requests under `/v1`, valid or not.
    pub requests: u64,
    /// Requests whose answer was sent, or started, without a fault.
    pub ok: u64,
    /// Requests rejected by a limit or for lack of capacity: status 429, or 529 in Anthropic's dialect.
    pub rejected_429: u64,
    /// Invalid requests: status 400 to 413.
    pub invalid: u64,
    /// Requests that met an injected error status, excluding outages.
    pub errors: u64,
    /// Answers interrupted or replaced by an injected reset, excluding outages.
    pub resets: u64,
    /// Requests that were deliberately not answered.
    pub hangs: u64,
    /// Answers that were deliberately truncated.
    pub truncated: u64,
    /// Requests that met an injected status 500 because they contain the poison. Also counted as `errors`.
    pub poisoned: u64,
    /// Requests rejected by the limit for the first requests. Also counted as `rejected_429`.
    pub first_429: u64,
    /// Requests that an outage answered with an error status.
    pub outage_status: u64,
    /// Requests that an outage answered with a reset.
    pub outage_reset: u64,
    /// Requests that an outage held before they were answered.
    pub outage_hang: u64,
    /// Requests that an outage never answered.
    pub outage_silence: u64,
    /// Requests that an outage answered with garbage.
    pub outage_garbage: u64,
    /// Requests in flight when an outage closed their connection. Refused connections cannot be counted.
    pub outage_cut: u64,
    /// Answers that were duplicated.
    pub surplus: u64,
    /// Batches that were created.
    pub batches: u64,
    /// Answers that were streamed, faulty ones included.
    pub streams: u64,
    /// Requests in flight, whose answer is not complete yet.
    pub in_flight: u64,
    /// Maximum concurrent requests in flight.
    pub peak_in_flight: u64,
    /// Connections accepted.
    pub connections_opened: u64,
    /// Connections open now.
    pub connections_open: u64,
    /// Maximum concurrent connections.
    pub peak_connections: u64,
    /// Requests whose client disconnected before the answer was complete.
    pub client_disconnects: u64,
    /// Tokens of prompts that were answered or met an injected error.
    pub input_tokens: u64,
    /// Tokens of the answers.
    pub output_tokens: u64,
}

/// The counters behind [`Stats`]. They are independent, so relaxed ordering suffices.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) requests: AtomicU64,
    pub(super) ok: AtomicU64,
    pub(super) rejected_429: AtomicU64,
    pub(super) invalid: AtomicU64,
    pub(super) errors: AtomicU64,
    pub(super) resets: AtomicU64,
    pub(super) hangs: AtomicU64,
    pub(super) truncated: AtomicU64,
    pub(super) poisoned: AtomicU64,
    pub(super) first_429: AtomicU64,
    pub(super) outage_status: AtomicU64,
    pub(super) outage_reset: AtomicU64,
    pub(super) outage_hang: AtomicU64,
    pub(super) outage_silence: AtomicU64,
    pub(super) outage_garbage: AtomicU64,
    pub(super) outage_cut: AtomicU64,
    pub(super) surplus: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) streams: AtomicU64,
    pub(super) in_flight: Gauge,
    pub(super) connections_opened: AtomicU64,
    pub(super) connections: Gauge,
    pub(super) client_disconnects: AtomicU64,
    pub(super) input_tokens: AtomicU64,
    pub(super) output_tokens: AtomicU64,
}

impl Counters {
    pub(super) fn snapshot(&self) -> Stats {
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        Stats {
            requests: read(&self.requests),
            ok: read(&self.ok),
            rejected_429: read(&self.rejected_429),
            invalid: read(&self.invalid),
            errors: read(&self.errors),
            resets: read(&self.resets),
            hangs: read(&self.hangs),
            truncated: read(&self.truncated),
            poisoned: read(&self.poisoned),
            first_429: read(&self.first_429),
            outage_status: read(&self.outage_status),
            outage_reset: read(&self.outage_reset),
            outage_hang: read(&self.outage_hang),
            outage_silence: read(&self.outage_silence),
            outage_garbage: read(&self.outage_garbage),
            outage_cut: read(&self.outage_cut),
            surplus: read(&self.surplus),
            batches: read(&self.batches),
            streams: read(&self.streams),
            in_flight: read(&self.in_flight.now),
            peak_in_flight: read(&self.in_flight.peak),
            connections_opened: read(&self.connections_opened),
            connections_open: read(&self.connections.now),
            peak_connections: read(&self.connections.peak),
            client_disconnects: read(&self.client_disconnects),
            input_tokens: read(&self.input_tokens),
            output_tokens: read(&self.output_tokens),
        }
    }

    /// Resets the counts. Requests and connections in progress stay counted.
    pub(super) fn reset(&self) {
        let counts = [
            &self.requests,
            &self.ok,
            &self.rejected_429,
            &self.invalid,
            &self.errors,
            &self.resets,
            &self.hangs,
            &self.truncated,
            &self.poisoned,
            &self.first_429,
            &self.outage_status,
            &self.outage_reset,
            &self.outage_hang,
            &self.outage_silence,
            &self.outage_garbage,
            &self.outage_cut,
            &self.surplus,
            &self.batches,
            &self.streams,
            &self.connections_opened,
            &self.client_disconnects,
            &self.input_tokens,
            &self.output_tokens,
        ];
        counts.iter().for_each(|count| count.store(0, Relaxed));
        self.in_flight.reset_peak();
        self.connections.reset_peak();
    }
}

/// Adds one to a counter.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// Current and maximum number of something.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    now: AtomicU64,
    peak: AtomicU64,
}

impl Gauge {
    pub(super) fn enter(&self) {
        let now = self.now.fetch_add(1, Relaxed) + 1;
        self.peak.fetch_max(now, Relaxed);
    }

    pub(super) fn leave(&self) {
        self.now.fetch_sub(1, Relaxed);
    }

    fn reset_peak(&self) {
        self.peak.store(self.now.load(Relaxed), Relaxed);
    }
}
