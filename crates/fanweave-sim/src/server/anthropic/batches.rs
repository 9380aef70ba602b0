//! `/v1/messages/batches`: batches of thousands of requests, answered later.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use hyper::Uri;
use hyper::header::HeaderMap;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::Messages;
use crate::draw::{self, Purpose};
use crate::faults::Fault;
use crate::server::dialect::Dialect;
use crate::server::endpoint::{Endpoint, Request as _, ResponseContext};
use crate::server::openai::{find, parse, query};
use crate::server::problem::Problem;
use crate::settings::Settings;

/// Maximum requests per batch. Source: Anthropic's limit.
const MAX_REQUESTS: usize = 100_000;
/// Default number of batches per page of the list. Source: Anthropic's default.
const PAGE: usize = 20;

/// The message batches of the account.
#[derive(Debug, Default)]
pub(in crate::server) struct Batches(Mutex<Vec<Batch>>);

#[derive(Debug)]
struct Batch {
    body: Bytes,
    requests: usize,
    created: SystemTime,
    ready: Instant,
    canceled: bool,
    /// Set when it has ended.
    outcome: Option<Outcome>,
}

/// Result of a batch.
#[derive(Debug, Default)]
struct Outcome {
    results: Vec<u8>,
    succeeded: usize,
    errored: usize,
    canceled: usize,
    expired: usize,
}

#[derive(Deserialize)]
struct Create<'a> {
    #[serde(borrow)]
    requests: Option<Vec<Request<'a>>>,
}

#[derive(Deserialize)]
struct Request<'a> {
    custom_id: String,
    #[serde(borrow)]
    params: &'a RawValue,
}

impl Batches {
    fn lock(&self) -> MutexGuard<'_, Vec<Batch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `POST /v1/messages/batches`.
    pub(in crate::server) fn create(&self, body: &Bytes, settings: &Settings) -> Result<Vec<u8>, Problem> {
        let requests = read(body)?;
        if requests.is_empty() || requests.len() > MAX_REQUESTS {
            let message = format!("requests: a batch holds from 1 to {MAX_REQUESTS} requests");
            return Err(Problem::invalid(&message, Some("requests")));
        }
        let mut names: Vec<_> = requests.iter().map(|request| request.custom_id.as_str()).collect();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if names.iter().any(|name| name.is_empty() || name.len() > 64 || !name.chars().all(is_plain)) {
            let message = "custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'";
            return Err(Problem::invalid(message, Some("custom_id")));
        }
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Problem::invalid("custom_id: must be unique within a batch", Some("custom_id")));
        }
        let mut batches = self.lock();
        batches.push(Batch {
            body: body.clone(),
            requests: requests.len(),
            created: SystemTime::now(),
            ready: Instant::now() + settings.batch_time,
            canceled: false,
            outcome: None,
        });
        let at = batches.len() - 1;
        Ok(to_vec(&batches[at].json(at)))
    }

    /// `GET /v1/messages/batches/{id}`.
    pub(in crate::server) fn batch(&self, id: &str, settings: &Settings) -> Result<Vec<u8>, Problem> {
        let mut batches = self.lock();
        let at = find_batch(id, batches.len())?;
        batches[at].advance(at, settings);
        Ok(to_vec(&batches[at].json(at)))
    }

    /// `POST /v1/messages/batches/{id}/cancel`.
    pub(in crate::server) fn cancel(&self, id: &str, settings: &Settings) -> Result<Vec<u8>, Problem> {
        let mut batches = self.lock();
        let at = find_batch(id, batches.len())?;
        let batch = &mut batches[at];
        batch.advance(at, settings);
        batch.canceled |= batch.outcome.is_none();
        batch.advance(at, settings);
        Ok(to_vec(&batch.json(at)))
    }

    /// `GET /v1/messages/batches/{id}/results`.
    pub(in crate::server) fn results(&self, id: &str, settings: &Settings) -> Result<Bytes, Problem> {
        let mut batches = self.lock();
        let at = find_batch(id, batches.len())?;
        batches[at].advance(at, settings);
        match &batches[at].outcome {
            Some(outcome) => Ok(outcome.results.clone().into()),
            None => Err(Problem::invalid("The batch has not ended: it has no results yet.", None)),
        }
    }

    /// `GET /v1/messages/batches`: the newest first.
    pub(in crate::server) fn list(&self, uri: &Uri, settings: &Settings) -> Result<Vec<u8>, Problem> {
        let limit = query(uri, "limit").and_then(|text| text.parse().ok()).unwrap_or(PAGE).clamp(1, 1000);
        let mut batches = self.lock();
        let end = match query(uri, "after_id") {
            Some(id) => find_batch(id, batches.len())?,
            None => batches.len(),
        };
        let start = end.saturating_sub(limit);
        let page: Vec<_> = (start..end)
            .rev()
            .map(|at| {
                batches[at].advance(at, settings);
                batches[at].json(at)
            })
            .collect();
        let id = |batch: Option<&Value>| batch.map_or(Value::Null, |batch| batch["id"].clone());
        Ok(to_vec(&json!({
            "first_id": id(page.first()),
            "last_id": id(page.last()),
            "has_more": start > 0,
            "data": page,
        })))
    }
}

impl Batch {
    fn json(&self, at: usize) -> Value {
        let time = |at: SystemTime| humantime::format_rfc3339_seconds(at).to_string();
        let none = Outcome::default();
        let outcome = self.outcome.as_ref().unwrap_or(&none);
        let has_ended = self.outcome.is_some();
        let id = batch_id(at);
        json!({
            "id": id, "type": "message_batch",
            "processing_status": if has_ended { "ended" } else { "in_progress" },
            "request_counts": {
                "processing": if has_ended { 0 } else { self.requests },
                "succeeded": outcome.succeeded, "errored": outcome.errored,
                "canceled": outcome.canceled, "expired": outcome.expired,
            },
            "created_at": time(self.created),
            "expires_at": time(self.created + std::time::Duration::from_secs(86_400)),
            "ended_at": has_ended.then(|| time(SystemTime::now())),
            "cancel_initiated_at": self.canceled.then(|| time(self.created)),
            "archived_at": null,
            "results_url": has_ended.then(|| format!("/v1/messages/batches/{id}/results")),
        })
    }

    /// Answers the requests of a batch that is due, in reverse order: providers guarantee no order.
    fn advance(&mut self, at: usize, settings: &Settings) {
        if self.outcome.is_some() || !(self.canceled || Instant::now() >= self.ready) {
            return;
        }
        let mut outcome = Outcome::default();
        let requests = read(&self.body).expect("it was read when it came");
        for (n, request) in requests.iter().enumerate().rev() {
            // Each request of each batch is drawn independently.
            let seq = (1 << 63) | ((at as u64) << 32) | n as u64;
            let result = if self.canceled {
                outcome.canceled += 1;
                json!({"type": "canceled"})
            } else if draw::unit(settings.seed, seq, Purpose::Expiry) < settings.batch_expiry_rate {
                outcome.expired += 1;
                json!({"type": "expired"})
            } else {
                match answer(request.params.get().as_bytes(), seq, settings) {
                    Ok(message) => {
                        outcome.succeeded += 1;
                        json!({"type": "succeeded", "message": message})
                    }
                    Err(error) => {
                        outcome.errored += 1;
                        json!({"type": "errored", "error": error})
                    }
                }
            };
            let line = json!({"custom_id": request.custom_id, "result": result});
            serde_json::to_writer(&mut outcome.results, &line).expect("a line has string keys");
            outcome.results.push(b'\n');
        }
        self.outcome = Some(outcome);
    }
}

fn read(body: &[u8]) -> Result<Vec<Request<'_>>, Problem> {
    parse::<Create<'_>>(body)?.requests.ok_or(Problem::Missing { param: "requests" })
}

/// The message that answers one request, or the body of its error.
fn answer(params: &[u8], seq: u64, settings: &Settings) -> Result<Value, Value> {
    let id = draw::bits(settings.seed, seq, Purpose::RequestId);
    let json = |bytes: &[u8]| serde_json::from_slice(bytes).unwrap_or_default();
    let mut headers = HeaderMap::new();
    headers.insert("anthropic-version", "2023-06-01".parse().expect("plain text"));
    let request = match settings.fault_rates().draw(settings.seed, seq) {
        Some(Fault::Error(status)) => Err(Problem::Fault(status)),
        _ => Messages::read(&headers, params),
    };
    let known = |model: &str| settings.models.is_empty() || settings.models.iter().any(|name| name == model);
    match request {
        Ok(request) if known(request.model()) => Ok(json(
            &request.answer(&ResponseContext { id, created: 0, chunks: 0, interleaved_calls: false }).bytes,
        )),
        Ok(request) => {
            let problem = Problem::UnknownModel(request.model().to_owned());
            Err(json(&problem.body(Dialect::Anthropic, &format!("req_{id:016x}"))))
        }
        Err(problem) => Err(json(&problem.body(Dialect::Anthropic, &format!("req_{id:016x}")))),
    }
}

fn find_batch(id: &str, count: usize) -> Result<usize, Problem> {
    find("msgbatch_", id, count)
}

fn batch_id(at: usize) -> String {
    format!("msgbatch_{:08}", at + 1)
}

fn to_vec(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}
