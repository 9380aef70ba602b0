//! Anthropic's dialect: `/messages/batches`.
//!
//! A batch carries no mark of its caller's but the names of its requests. So these begin with a fingerprint of the tag, and a
//! batch whose id never came back is found by them: in its results, once it has ended.

use std::time::Duration;

use fanweave_core::{Error, ErrorKind, Message, Result};
use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::sleep;

use super::wire::{Body, Repeat, beginning, lines, send};
use super::{BatchStatus, Batches, checked, id_of, read, unreadable};
use crate::protocol::HttpRequest;
use crate::transport::call::HttpModel;

/// What a line begins with, up to the name of its request.
const OPENING: &str = r#"{"custom_id":""#;

/// Most characters of a request's name. Source: Anthropic's limit.
const MAX_NAME_LEN: usize = 64;

/// Sixteen digits and a dash.
const FINGERPRINT: usize = 17;

/// Between the first two looks at a batch that may be the one that is looked for; it doubles each time, up to a minute.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LAST_LOOK: Duration = Duration::from_secs(60);

/// A batch, as far as it is read.
#[derive(Deserialize)]
struct Batch {
    id: String,
    processing_status: String,
    #[serde(default)]
    request_counts: Counts,
    /// Since when its results are gone.
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
        let most = MAX_NAME_LEN - FINGERPRINT;
        if id.is_empty() || id.len() > most || !id.chars().all(is_plain) {
            let message = format!(
                "{id:?} cannot name a request of Anthropic's batches: write up to {most} letters, digits, - and _"
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
            let line = line.ok_or_else(|| Error::new(ErrorKind::Input, "a line that `line` did not make"))?;
            body.push_str(if i > 0 { "," } else { "" });
            body.push_str(OPENING);
            body.push_str(&fingerprint);
            body.push_str(line);
        }
        body.push_str("]}");
        drop(lines);
        id_of(&send(model, &Method::POST, "/v1/messages/batches", &Body::json(body), Repeat::No).await?)
    }

    /// Looks at the batches of that many requests. One that has not ended tells no names yet, and is waited for.
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
                // Not to know whose it is must not look like not to be there.
                let name = first_name(&results).ok_or_else(|| {
                    let message = format!("the results of the batch {id} do not say whose they are");
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

/// What the names of all requests of a batch begin with. The same in every run: FNV-1a.
fn fingerprint(tag: &str) -> String {
    let hash = tag.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}-")
}

/// The name of the first request in the beginning of some results.
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

/// Whose result a line is, and the result.
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
        ("expired", ..) => {
            Err(Error::new(ErrorKind::Timeout, "the batch expired before the provider came to this request"))
        }
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
        reply.raw = serde_json::from_str(body).ok();
    }
    Ok(message)
}

/// The error of a request. Its status is not told, and follows from its type.
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
