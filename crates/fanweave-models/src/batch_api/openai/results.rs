//! Lines of a batch's output and error files.

use fanweave_core::{Error, ErrorKind, Message, ReplyBody, Result};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::super::unreadable;
use crate::transport::call::HttpModel;
use crate::transport::redact::Redactor;

#[derive(Deserialize)]
struct Line<'a> {
    custom_id: String,
    #[serde(borrow, default)]
    response: Option<Response<'a>>,
    #[serde(default)]
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Response<'a> {
    status_code: u16,
    request_id: Option<String>,
    #[serde(borrow)]
    body: &'a RawValue,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// The id and the result of a line.
///
/// # Errors
/// If the line names no row.
pub(super) fn read(model: &HttpModel, line: &[u8]) -> Result<(String, Result<Message>)> {
    let line: Line<'_> = match serde_json::from_slice(line) {
        Ok(read) => read,
        Err(error) => return unreadable(model, line, &error),
    };
    let result = match (line.response, line.error) {
        (Some(response), _) if response.status_code == 200 => answer(model, &response),
        (Some(response), _) => Err(refused(model, &response)),
        (None, error) => Err(without_response(model, error)),
    };
    Ok((line.custom_id, result.map_err(|error| model.named(error).with_attempts(1))))
}

fn answer(model: &HttpModel, response: &Response<'_>) -> Result<Message> {
    let mut message = model.protocol.response(response.body.get().as_bytes())?;
    let reply = message.reply.get_or_insert_default();
    reply.attempts = 1;
    reply.request_id = response.request_id.as_deref().map(|id| model.redact(id).into_owned());
    if model.keep_raw || has_choices(response.body.get()) {
        reply.raw = Some(ReplyBody::new(response.body.get()));
    }
    Redactor::new().message(&mut message);
    Ok(message)
}

/// Returns true if the answer is not all of a chat completion: it has several choices, or the probabilities
/// of tokens.
fn has_choices(body: &str) -> bool {
    #[derive(Deserialize)]
    struct Body {
        choices: Vec<Choice>,
    }
    #[derive(Deserialize)]
    struct Choice {
        logprobs: Option<IgnoredAny>,
    }
    serde_json::from_str::<Body>(body).is_ok_and(|Body { choices }| {
        choices.len() > 1 || choices.iter().any(|choice| choice.logprobs.is_some())
    })
}

fn refused(model: &HttpModel, response: &Response<'_>) -> Error {
    let body = model.redact(response.body.get());
    let status = StatusCode::from_u16(response.status_code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let error = model.protocol.error(status, &HeaderMap::new(), &body);
    let error = model.scrub(error).with_status(response.status_code).with_body(&body);
    match &response.request_id {
        Some(id) => error.with_request_id(model.redact(id)),
        None => error,
    }
}

/// The error of a request that was not processed.
fn without_response(model: &HttpModel, error: Option<Refusal>) -> Error {
    let Refusal { code, message } = error.unwrap_or(Refusal { code: None, message: None });
    let kind = match code.as_deref() {
        Some("batch_expired") => ErrorKind::Timeout,
        _ => ErrorKind::Server,
    };
    let message = message.unwrap_or_else(|| "the batch ended without an answer to this request".to_owned());
    let error = Error::new(kind, model.redact(&message));
    match code {
        Some(code) => error.with_code(model.redact(&code)),
        None => error,
    }
}
