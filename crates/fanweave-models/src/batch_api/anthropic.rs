//! Anthropic's dialect: `/messages/batches`.
//!
//! Batches have no metadata, only names of requests. Each name therefore begins with a
//! fingerprint of the tag. A batch whose id was lost is identified by these names, which its results contain
//! once it has ended.

use std::time::Duration;

use fanweave_core::{Error, ErrorKind, Message, ReplyBody, Result};
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::wire::{Body, Repeat, beginning, lines, send};
use super::{BatchStatus, Batches, checked, id_of, read, unreadable};
use crate::protocol::HttpRequest;
use crate::transport::call::HttpModel;
use crate::transport::redact::Redactor;

/// Start of a line, up to the name of its request.
const OPENING: &str = r#"{"custom_id":""#;

/// Maximum characters in the name of a request. Source: Anthropic's limit.
const MAX_NAME_LEN: usize = 64;

/// Sixteen digits and a dash.
const FINGERPRINT: usize = 17;

/// First interval between polls of a candidate batch. It doubles each time, up to [`LAST_LOOK`].
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(60);

/// The fields of a batch that are used.
#[derive(Deserialize)]
struct Batch {
    id: String,
    processing_status: String,
    #[serde(default)]
    request_counts: Counts,
    /// Time at which its results were deleted.
    #[serde(default)]
    archived_at: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Counts {
    processing: usize,
    succeeded: usize,
    errored: usize,
    canceled: usize,
    expired: usize,
}

impl Counts {
    fn sum(&self) -> usize {
        self.processing + self.succeeded + self.errored + self.canceled + self.expired
    }
}

impl Batch {
    fn has_ended(&self) -> bool {
        self.processing_status == "ended"
    }
}

/// Batches of Anthropic's dialect.
pub(super) struct Anthropic;

impl Batches for Anthropic {
    fn line(&self, id: &str, request: &HttpRequest) -> Result<Vec<u8>> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let max_len = MAX_NAME_LEN - FINGERPRINT;
        if id.is_empty() || id.len() > max_len || !id.chars().all(is_plain) {
            let message = format!(
                "{id:?} is not a valid id for Anthropic's batches; use at most {max_len} letters, digits, - and _"
            );
            return Err(Error::new(ErrorKind::Input, message));
        }
        let mut line = Vec::with_capacity(request.body.len() + 128);
        line.extend_from_slice(format!(r#"{OPENING}{id}","params":"#).as_bytes());
        line.extend_from_slice(&request.body);
        line.push(b'}');
        Ok(line)
    }

    async fn submit(&self, model: &HttpModel, tag: &str, lines: Vec<Vec<u8>>) -> Result<String> {
        let fingerprint = fingerprint(tag);
        let length: usize = lines.iter().map(|line| line.len() + FINGERPRINT + 1).sum();
        let mut body = String::with_capacity(length + 32);
        body.push_str(r#"{"requests":["#);
        for (i, line) in lines.iter().enumerate() {
            let line = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix(OPENING));
            let line = line
                .ok_or_else(|| Error::new(ErrorKind::Input, "not a line created by `BatchClient::line`"))?;
            body.push_str(if i > 0 { "," } else { "" });
            body.push_str(OPENING);
            body.push_str(&fingerprint);
            body.push_str(line);
        }
        body.push_str("]}");
        drop(lines);
        id_of(&send(model, &Method::POST, "/v1/messages/batches", &Body::json(body), Repeat::No).await?)
    }

    /// Polls the batches with this number of requests. A batch reveals its names only after it has ended, so
    /// wait for it.
    async fn find(&self, model: &HttpModel, tag: &str, requests: usize) -> Result<Option<String>> {
        #[derive(Deserialize)]
        struct Page {
            data: Vec<Batch>,
            #[serde(default)]
            has_more: bool,
        }
        let fingerprint = fingerprint(tag);
        let mut path = "/v1/messages/batches?limit=100".to_owned();
        loop {
            let page: Page = read(&send(model, &Method::GET, &path, &Body::none(), Repeat::Yes).await?)?;
            let as_many =
                |batch: &&Batch| batch.request_counts.sum() == requests && batch.archived_at.is_none();
            for batch in page.data.iter().filter(as_many) {
                let id = checked(&batch.id)?;
                let (mut has_ended, mut wait) = (batch.has_ended(), FIRST_LOOK);
                while !has_ended {
                    sleep(wait).await;
                    wait = (wait * 2).min(LAST_LOOK);
                    has_ended = get(model, &id).await?.has_ended();
                }
                let results = beginning(model, &format!("/v1/messages/batches/{id}/results"), 1024).await?;
                // An unidentified batch must not count as absent.
                let name = first_name(&results).ok_or_else(|| {
                    let message = format!("the results of the batch {id} name no request");
                    model.named(Error::new(ErrorKind::Decode, message))
                })?;
                if name.starts_with(&fingerprint) {
                    return Ok(Some(id));
                }
            }
            match page.data.last() {
                Some(last) if page.has_more => {
                    path = format!("/v1/messages/batches?limit=100&after_id={}", checked(&last.id)?);
                }
                _ => return Ok(None),
            }
        }
    }

    async fn poll(&self, model: &HttpModel, batch: &str) -> Result<BatchStatus> {
        let batch = get(model, batch).await?;
        Ok(if batch.has_ended() { BatchStatus::Ended } else { BatchStatus::Running })
    }

    async fn collect(&self, model: &HttpModel, batch: &str) -> Result<Vec<(String, Result<Message>)>> {
        let path = format!("/v1/messages/batches/{}/results", checked(batch)?);
        lines(model, &path, |line| result(model, line)).await
    }
}

async fn get(model: &HttpModel, id: &str) -> Result<Batch> {
    let path = format!("/v1/messages/batches/{}", checked(id)?);
    read(&send(model, &Method::GET, &path, &Body::none(), Repeat::Yes).await?)
}

/// Prefix of all request names of a batch: an FNV-1a hash, stable across runs.
fn fingerprint(tag: &str) -> String {
    let hash = tag.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}-")
}

/// The name of the first request at the start of some results.
fn first_name(results: &str) -> Option<&str> {
    let (_, rest) = results.split_once(r#""custom_id""#)?;
    let name = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    (name.len() > FINGERPRINT).then_some(name)
}

#[derive(Deserialize)]
struct Line<'a> {
    custom_id: String,
    #[serde(borrow)]
    result: Outcome<'a>,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    r#type: String,
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

/// The id and the result of a line.
fn result(model: &HttpModel, line: &[u8]) -> Result<(String, Result<Message>)> {
    let line: Line<'_> = match serde_json::from_slice(line) {
        Ok(read) => read,
        Err(error) => {
            let (name, result) = unreadable(model, line, &error)?;
            return Ok((without_fingerprint(&name), result));
        }
    };
    let Outcome { r#type, message, error } = line.result;
    let result = match (r#type.as_str(), message, error) {
        ("succeeded", Some(message), _) => answer(model, message.get()),
        (_, _, Some(error)) => Err(refused(model, error.get())),
        ("expired", ..) => Err(Error::new(
            ErrorKind::Timeout,
            "the batch expired before the provider processed this request",
        )),
        _ => Err(Error::new(ErrorKind::Server, "the batch ended without an answer to this request")),
    };
    let id = without_fingerprint(&line.custom_id);
    Ok((id, result.map_err(|error| model.named(error).with_attempts(1))))
}

fn without_fingerprint(name: &str) -> String {
    name.get(FINGERPRINT..).unwrap_or(name).to_owned()
}

fn answer(model: &HttpModel, body: &str) -> Result<Message> {
    let mut message = model.protocol.response(body.as_bytes())?;
    let reply = message.reply.get_or_insert_default();
    reply.attempts = 1;
    if model.keep_raw {
        reply.raw = Some(ReplyBody::new(body));
    }
    Redactor::new().message(&mut message);
    Ok(message)
}

/// The error of a request. The line has no status; it is inferred from the error type.
fn refused(model: &HttpModel, body: &str) -> Error {
    #[derive(Deserialize)]
    struct Body {
        error: Typed,
    }
    #[derive(Deserialize)]
    struct Typed {
        r#type: String,
    }
    let kind = serde_json::from_str::<Body>(body).map(|body| body.error.r#type).unwrap_or_default();
    let status = match kind.as_str() {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 500,
    };
    let body = model.redact(body);
    let code = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    model.scrub(model.protocol.error(code, &HeaderMap::new(), &body)).with_status(status).with_body(&body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_is_read_from_a_beginning_and_never_guessed() {
        let name = "cbf29ce484222325-row";
        for line in
            [format!(r#"{{"custom_id":"{name}","result":{{"#), format!(r#"{{ "custom_id" : "{name}" "#)]
        {
            assert!(first_name(&line).unwrap().starts_with(name));
        }
        for text in ["", "{\"custom_", "{\"custom_id\":\"cbf29", "{\"id\":\"cbf29ce484222325-row\"}"] {
            assert_eq!(first_name(text), None, "{text}");
        }
    }

    #[test]
    fn a_fingerprint_is_the_same_in_every_run_and_has_its_length() {
        assert_eq!(fingerprint(""), "cbf29ce484222325-");
        assert_eq!(fingerprint("a"), "af63dc4c8601ec8c-");
        assert_eq!(fingerprint("a tag of any length").len(), FINGERPRINT);
    }
}
