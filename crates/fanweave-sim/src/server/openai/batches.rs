//! `/v1/files` and `/v1/batches`: batches of thousands of requests, answered later.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::Uri;
use hyper::header::HeaderMap;
use memchr::memmem;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{Chat, parse};
use crate::draw::{self, Purpose};
use crate::faults::{Fault, FaultRates};
use crate::server::dialect::Dialect;
use crate::server::endpoint::{Endpoint, Request, ResponseContext};
use crate::server::problem::Problem;
use crate::settings::Settings;

/// Maximum requests per batch. Source: OpenAI's limit.
const MAX_REQUESTS: usize = 50_000;
/// Default number of batches per page of the list. Source: OpenAI's default.
const PAGE: usize = 20;

/// The files and batches of the account.
#[derive(Debug, Default)]
pub(in crate::server) struct Batches(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    files: Vec<File>,
    batches: Vec<Batch>,
}

#[derive(Debug)]
struct File {
    name: String,
    purpose: String,
    bytes: Bytes,
    created: u64,
}

#[derive(Debug)]
struct Batch {
    input: usize,
    endpoint: String,
    metadata: Value,
    created: u64,
    ready: Instant,
    cancelled: bool,
    /// Set when it has ended.
    outcome: Option<Outcome>,
}

/// Result of a batch.
#[derive(Debug)]
struct Outcome {
    output: Option<usize>,
    errors: Option<usize>,
    completed: usize,
    failed: usize,
    expired: bool,
    /// Reason for rejecting the whole batch.
    refused: Option<String>,
}

/// A line of the input file.
#[derive(Deserialize)]
struct Line<'a> {
    custom_id: String,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// Contents of a result line.
#[derive(Serialize)]
struct ResultLine<'a> {
    id: String,
    custom_id: &'a str,
    response: Option<Value>,
    error: Option<Value>,
}

impl Batches {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `POST /v1/files`.
    pub(in crate::server) fn upload(&self, headers: &HeaderMap, body: &Bytes) -> Result<Vec<u8>, Problem> {
        let form = Form::read(headers, body)?;
        let mut state = self.lock();
        let file = File {
            name: form.name.unwrap_or_else(|| "file.jsonl".to_owned()),
            purpose: form.purpose.ok_or(Problem::Missing { param: "purpose" })?,
            bytes: form.file.ok_or(Problem::Missing { param: "file" })?,
            created: now(),
        };
        state.files.push(file);
        Ok(state.file_json(state.files.len() - 1))
    }

    /// `GET /v1/files/{id}`.
    pub(in crate::server) fn file(&self, id: &str) -> Result<Vec<u8>, Problem> {
        let state = self.lock();
        state.find_file(id).map(|at| state.file_json(at))
    }

    /// `GET /v1/files/{id}/content`.
    pub(in crate::server) fn content(&self, id: &str) -> Result<Bytes, Problem> {
        let state = self.lock();
        Ok(state.files[state.find_file(id)?].bytes.clone())
    }

    /// `POST /v1/batches`.
    pub(in crate::server) fn create(&self, body: &[u8], settings: &Settings) -> Result<Vec<u8>, Problem> {
        #[derive(Deserialize)]
        struct Request {
            input_file_id: Option<String>,
            endpoint: Option<String>,
            completion_window: Option<String>,
            #[serde(default)]
            metadata: Value,
        }
        let request: Request = parse(body)?;
        let input = request.input_file_id.ok_or(Problem::Missing { param: "input_file_id" })?;
        let endpoint = request.endpoint.ok_or(Problem::Missing { param: "endpoint" })?;
        if request.completion_window.as_deref() != Some("24h") {
            return Err(Problem::invalid(
                "Invalid 'completion_window': expected '24h'.",
                Some("completion_window"),
            ));
        }
        let mut state = self.lock();
        let input = state.find_file(&input)?;
        state.batches.push(Batch {
            input,
            endpoint,
            metadata: request.metadata,
            created: now(),
            ready: Instant::now() + settings.batch_time,
            cancelled: false,
            outcome: None,
        });
        let at = state.batches.len() - 1;
        Ok(to_vec(&state.batch_json(at)))
    }

    /// `GET /v1/batches/{id}`.
    pub(in crate::server) fn batch(&self, id: &str, settings: &Settings) -> Result<Vec<u8>, Problem> {
        let mut state = self.lock();
        let at = state.find_batch(id)?;
        state.advance(at, settings);
        Ok(to_vec(&state.batch_json(at)))
    }

    /// `POST /v1/batches/{id}/cancel`.
    pub(in crate::server) fn cancel(&self, id: &str, settings: &Settings) -> Result<Vec<u8>, Problem> {
        let mut state = self.lock();
        let at = state.find_batch(id)?;
        state.advance(at, settings);
        let batch = &mut state.batches[at];
        batch.cancelled |= batch.outcome.is_none();
        Ok(to_vec(&state.batch_json(at)))
    }

    /// `GET /v1/batches`: the newest first.
    pub(in crate::server) fn list(&self, uri: &Uri, settings: &Settings) -> Result<Vec<u8>, Problem> {
        let limit = query(uri, "limit").and_then(|text| text.parse().ok()).unwrap_or(PAGE).clamp(1, 100);
        let mut state = self.lock();
        let end = match query(uri, "after") {
            Some(id) => state.find_batch(id)?,
            None => state.batches.len(),
        };
        let start = end.saturating_sub(limit);
        let page: Vec<_> = (start..end)
            .rev()
            .map(|at| {
                state.advance(at, settings);
                state.batch_json(at)
            })
            .collect();
        let id = |batch: Option<&Value>| batch.map_or(Value::Null, |batch| batch["id"].clone());
        Ok(to_vec(&json!({
            "object": "list",
            "first_id": id(page.first()),
            "last_id": id(page.last()),
            "has_more": start > 0,
            "data": page,
        })))
    }
}

impl State {
    fn find_file(&self, id: &str) -> Result<usize, Problem> {
        find("file-", id, self.files.len())
    }

    fn find_batch(&self, id: &str) -> Result<usize, Problem> {
        find("batch_", id, self.batches.len())
    }

    fn file_json(&self, at: usize) -> Vec<u8> {
        let File { name, purpose, bytes, created } = &self.files[at];
        to_vec(&json!({
            "id": file_id(at), "object": "file", "bytes": bytes.len(), "created_at": created,
            "filename": name, "purpose": purpose, "status": "processed",
        }))
    }

    fn batch_json(&self, at: usize) -> Value {
        let batch = &self.batches[at];
        let outcome = batch.outcome.as_ref();
        let status = match outcome {
            None if batch.cancelled => "cancelled",
            None => "in_progress",
            Some(Outcome { refused: Some(_), .. }) => "failed",
            Some(Outcome { expired: true, .. }) => "expired",
            Some(_) => "completed",
        };
        let lines = memchr::memchr_iter(b'\n', &self.files[batch.input].bytes).count();
        let errors = outcome.and_then(|outcome| outcome.refused.as_ref()).map(|why| {
            json!({"object": "list", "data": [{"code": "invalid_request", "message": why, "param": null, "line": null}]})
        });
        let at_end = |wanted: &str| (status == wanted).then(now);
        json!({
            "id": batch_id(at), "object": "batch", "endpoint": batch.endpoint, "errors": errors,
            "input_file_id": file_id(batch.input), "completion_window": "24h", "status": status,
            "output_file_id": outcome.and_then(|o| o.output).map(file_id),
            "error_file_id": outcome.and_then(|o| o.errors).map(file_id),
            "created_at": batch.created, "in_progress_at": batch.created, "expires_at": batch.created + 86_400,
            "completed_at": at_end("completed"), "failed_at": at_end("failed"), "expired_at": at_end("expired"),
            "cancelled_at": at_end("cancelled"),
            "request_counts": {
                "total": lines,
                "completed": outcome.map_or(0, |o| o.completed),
                "failed": outcome.map_or(0, |o| o.failed),
            },
            "metadata": batch.metadata,
        })
    }

    /// Answers the requests of a batch that is due.
    fn advance(&mut self, at: usize, settings: &Settings) {
        let batch = &self.batches[at];
        if batch.outcome.is_some() || batch.cancelled || Instant::now() < batch.ready {
            return;
        }
        let input = self.files[batch.input].bytes.clone();
        let answered = answer_all(&input, at as u64, settings);
        let outcome = match answered {
            Err(why) => Outcome {
                output: None,
                errors: None,
                completed: 0,
                failed: 0,
                expired: false,
                refused: Some(why),
            },
            Ok(Answered { output, errors, completed, failed, expired }) => Outcome {
                output: self.keep(output, "output"),
                errors: self.keep(errors, "error"),
                completed,
                failed,
                expired,
                refused: None,
            },
        };
        self.batches[at].outcome = Some(outcome);
    }

    /// Creates a file of lines. `None` without lines.
    fn keep(&mut self, lines: Vec<u8>, what: &str) -> Option<usize> {
        if lines.is_empty() {
            return None;
        }
        let name = format!("batch_{what}.jsonl");
        self.files.push(File {
            name,
            purpose: "batch_output".to_owned(),
            bytes: lines.into(),
            created: now(),
        });
        Some(self.files.len() - 1)
    }
}

#[derive(Default)]
struct Answered {
    output: Vec<u8>,
    errors: Vec<u8>,
    completed: usize,
    failed: usize,
    expired: bool,
}

/// The results of all requests, in reverse order: providers guarantee no order.
fn answer_all(input: &[u8], batch: u64, settings: &Settings) -> Result<Answered, String> {
    let mut requests: Vec<Line<'_>> = Vec::new();
    for (i, line) in input.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        requests.push(serde_json::from_slice(line).map_err(|e| format!("line {}: {e}", i + 1))?);
    }
    if requests.is_empty() || requests.len() > MAX_REQUESTS {
        return Err(format!("a batch holds from 1 to {MAX_REQUESTS} requests"));
    }
    let faults = settings.fault_rates();
    let mut answered = Answered::default();
    for (n, Line { custom_id, body }) in requests.iter().enumerate().rev() {
        // Each request of each batch is drawn independently.
        let seq = (batch << 32) | n as u64;
        let id = draw::bits(settings.seed, seq, Purpose::RequestId);
        let (response, error) = result(body.get().as_bytes(), id, seq, &faults, settings);
        answered.expired |= error.is_some();
        let ok = response.as_ref().is_some_and(|response| response["status_code"] == 200);
        let (lines, count) = if ok {
            (&mut answered.output, &mut answered.completed)
        } else {
            (&mut answered.errors, &mut answered.failed)
        };
        *count += 1;
        let line = ResultLine { id: format!("batch_req_{id:016x}"), custom_id, response, error };
        serde_json::to_writer(&mut *lines, &line).expect("a line has string keys");
        lines.push(b'\n');
    }
    Ok(answered)
}

/// The response to one request, or its error.
fn result(
    body: &[u8],
    id: u64,
    seq: u64,
    faults: &FaultRates,
    settings: &Settings,
) -> (Option<Value>, Option<Value>) {
    if draw::unit(settings.seed, seq, Purpose::Expiry) < settings.batch_expiry_rate {
        let message = "This request could not be executed before the completion window expired.";
        return (None, Some(json!({"code": "batch_expired", "message": message})));
    }
    let request_id = format!("req_{id:016x}");
    let answer = match faults.draw(settings.seed, seq) {
        Some(Fault::Error(status)) => Err(Problem::Fault(status)),
        _ => Chat::read(&HeaderMap::new(), body),
    };
    let known = |chat: &Chat<'_>| {
        settings.models.is_empty() || settings.models.iter().any(|name| name == chat.model())
    };
    let answer = answer.and_then(|chat| {
        if known(&chat) { Ok(chat) } else { Err(Problem::UnknownModel(chat.model().to_owned())) }
    });
    let (status, body) = match answer {
        Ok(chat) => (
            200,
            chat.answer(&ResponseContext { id, created: now(), chunks: 0, interleaved_calls: false }).bytes,
        ),
        Err(problem) => {
            (problem.status(Dialect::OpenAi).as_u16(), problem.body(Dialect::OpenAi, &request_id).into())
        }
    };
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    (Some(json!({"status_code": status, "request_id": request_id, "body": body})), None)
}

/// The fields of an upload.
#[derive(Default)]
struct Form {
    purpose: Option<String>,
    name: Option<String>,
    file: Option<Bytes>,
}

impl Form {
    /// Reads `multipart/form-data`.
    fn read(headers: &HeaderMap, body: &Bytes) -> Result<Self, Problem> {
        let content_type =
            headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let boundary = content_type.split(';').find_map(|part| part.trim().strip_prefix("boundary="));
        let Some(boundary) = boundary.filter(|_| content_type.starts_with("multipart/form-data")) else {
            return Err(Problem::invalid(
                "Expected the content type multipart/form-data with a boundary.",
                None,
            ));
        };
        let delimiter = format!("--{}", boundary.trim_matches('"'));
        let mut form = Self::default();
        let delimiters: Vec<_> = memmem::find_iter(body, delimiter.as_bytes()).collect();
        for pair in delimiters.windows(2) {
            let part = body.slice(pair[0] + delimiter.len()..pair[1]);
            let Some(head_end) = memmem::find(&part, b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&part[..head_end]).into_owned();
            let content = part.slice(head_end + 4..part.len().saturating_sub(2).max(head_end + 4));
            let field = |name: &str| {
                let (_, rest) = head.split_once(&format!("{name}=\""))?;
                rest.split_once('"').map(|(value, _)| value.to_owned())
            };
            match field(" name").as_deref() {
                Some("purpose") => form.purpose = Some(String::from_utf8_lossy(&content).into_owned()),
                Some("file") => (form.name, form.file) = (field("filename"), Some(content)),
                _ => {}
            }
        }
        Ok(form)
    }
}

/// A parameter of a list.
pub(in crate::server) fn query<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let pairs = uri.query().unwrap_or_default().split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// Index of the item named by `prefix` and a number from 1 to `count`.
pub(in crate::server) fn find(prefix: &str, id: &str, count: usize) -> Result<usize, Problem> {
    let at = id.strip_prefix(prefix).and_then(|number| number.parse::<usize>().ok());
    at.and_then(|at| at.checked_sub(1))
        .filter(|at| *at < count)
        .ok_or_else(|| Problem::UnknownResource(id.to_owned()))
}

fn file_id(at: usize) -> String {
    format!("file-{:08}", at + 1)
}

fn batch_id(at: usize) -> String {
    format!("batch_{:08}", at + 1)
}

fn to_vec(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
