//! Faults by time or request: outages, flaky answers, a limit for the first requests, a poison prompt.
//!
//! Times are measured from the first request, so that a client that starts late still meets them.
//! `server::outage` writes the responses.

mod first_429;
mod flaky;
mod outage;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

pub use first_429::First429;
pub use flaky::{Flake, Flaky};
pub use outage::{Outage, OutageKind};

use crate::settings::Settings;

/// The faults of one server, and their clock.
#[derive(Debug)]
pub(crate) struct FaultSchedule {
    outages: Vec<Outage>,
    first_429: Option<First429>,
    /// Time of the first request. `None` before it, and after a reset.
    started: watch::Sender<Option<Instant>>,
    /// Number of requests checked against the limit for the first requests.
    checked: AtomicU64,
    poison: Option<String>,
}

impl FaultSchedule {
    pub(crate) fn new(settings: &Settings) -> Self {
        Self {
            outages: settings.outages.clone(),
            first_429: settings.first_429,
            started: watch::Sender::new(None),
            checked: AtomicU64::new(0),
            poison: settings.poison.clone(),
        }
    }

    /// Records a request; the first one starts the clock. Returns the outage that it meets.
    pub(crate) fn request_arrives(&self) -> Option<OutageKind> {
        if self.outages.is_empty() && self.first_429.is_none() {
            return None;
        }
        self.started.send_if_modified(|started| {
            let is_first = started.is_none();
            started.get_or_insert_with(Instant::now);
            is_first
        });
        self.outage_now()
    }

    /// The kind of the current outage.
    pub(crate) fn outage_now(&self) -> Option<OutageKind> {
        self.outage_at(self.elapsed()?)
    }

    /// Waits until the current outage, `None` without one, satisfies the condition.
    pub(crate) async fn wait_for(&self, is_wanted: impl Fn(Option<OutageKind>) -> bool) {
        let mut started = self.started.subscribe();
        loop {
            let start = *started.borrow_and_update();
            let elapsed = start.map(|start| start.elapsed());
            if is_wanted(elapsed.and_then(|elapsed| self.outage_at(elapsed))) {
                return;
            }
            let next_edge = elapsed.and_then(|elapsed| {
                let edges = self.outages.iter().flat_map(|outage| [outage.from, outage.until]);
                edges.filter(|edge| *edge > elapsed).min()
            });
            let edge = start.zip(next_edge).map(|(start, edge)| start + edge);
            let wait_for_edge = async {
                match edge {
                    Some(edge) => tokio::time::sleep_until(edge).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wait_for_edge => {}
                // A reset, or the first request.
                _ = started.changed() => {}
            }
        }
    }

    /// Returns true if any outage has this kind.
    pub(crate) fn has(&self, kind: OutageKind) -> bool {
        self.outages.iter().any(|outage| outage.kind == kind)
    }

    /// The wait imposed by the limit for the first requests, if it still applies to this request.
    pub(crate) fn first_429(&self) -> Option<Duration> {
        let limit = self.first_429?;
        let number = self.checked.fetch_add(1, Relaxed);
        let is_limited = match limit.requests {
            Some(requests) => number < requests,
            None => self.elapsed().is_none_or(|elapsed| elapsed < limit.wait),
        };
        is_limited.then_some(limit.wait)
    }

    /// Returns true if any string in the body of a request contains the poison.
    pub(crate) fn is_poisoned(&self, body: &[u8]) -> bool {
        let Some(poison) = &self.poison else { return false };
        serde_json::from_slice(body).is_ok_and(|body| contains(&body, poison))
    }

    /// Restarts the clock: the next request is the first one.
    pub(crate) fn reset(&self) {
        self.checked.store(0, Relaxed);
        self.started.send_replace(None);
    }

    fn elapsed(&self) -> Option<Duration> {
        self.started.borrow().map(|started| started.elapsed())
    }

    fn outage_at(&self, elapsed: Duration) -> Option<OutageKind> {
        self.outages.iter().find(|outage| outage.covers(elapsed)).map(|outage| outage.kind)
    }
}

/// Returns true if a string within `value` contains `text`.
fn contains(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => string.contains(text),
        Value::Array(values) => values.iter().any(|value| contains(value, text)),
        Value::Object(fields) => fields.values().any(|value| contains(value, text)),
        _ => false,
    }
}

/// An invalid description of an outage, of flaky requests or of a limit for the first requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseFaultError {
    text: String,
    advice: String,
}

impl ParseFaultError {
    fn new(text: &str, advice: impl Into<String>) -> Self {
        Self { text: text.to_owned(), advice: advice.into() }
    }
}

impl std::fmt::Display for ParseFaultError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invalid value `{}`: {}", self.text, self.advice)
    }
}

impl std::error::Error for ParseFaultError {}

#[cfg(test)]
mod tests;
