//! Recognises which field of a request a server refuses. The sentences are those of `providers/errors.toml`.

use fanweave_core::{Error, ErrorKind};
use serde_json::Value;

use super::schema::SchemaField;
use super::{Facts, NESTED, SAMPLING};
use crate::protocol::HttpRequest;
use crate::providers::failure::REFUSALS;
use crate::providers::splice::Splice;

/// A field that the server refuses, and the fact that follows.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) field: &'static str,
    pub(super) fact: Facts,
    /// Maximum output tokens that the server names. 0 if it names none.
    pub(super) max_output: u32,
}

/// Statuses of a refused field. 501: llama.cpp; 405: gateways without streams.
const STATUSES: [u16; 6] = [400, 404, 405, 415, 422, 501];

/// Names that are words as well: a sentence must quote them.
const WORDS: [&str; 3] = ["stop", "seed", "stream"];

impl Refused {
    /// The field of `request` that the error refuses. `None` for any other error.
    pub(super) fn by(error: &Error, request: &HttpRequest) -> Option<Self> {
        let is_status = |status| STATUSES.contains(&status) || status == 200 || status == 500;
        let is_refusal =
            matches!(error.kind(), ErrorKind::BadRequest | ErrorKind::NotFound | ErrorKind::Server)
                && error.status().is_none_or(is_status);
        if !is_refusal {
            return None;
        }
        let text = error.message().to_lowercase();
        // Gateways that call an SDK with fields which it does not know.
        if error.status() == Some(500) && !text.contains("unexpected keyword") {
            return None;
        }
        let body = Splice::new(std::str::from_utf8(&request.body).ok()?).ok()?;
        let refused = |field, fact| Some(Self { field, fact, max_output: 0 });
        let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));

        let has_stream = body.get("stream") == Some("true");
        if !request.streams && !has_stream && body.get("model").is_some() && says(REFUSALS.stream_only) {
            return refused("stream", Facts::STREAMED);
        }
        if request.streams && has_stream && says(REFUSALS.not_streamed) && !text.contains("stream_options") {
            return refused("stream", Facts::NOT_STREAMED);
        }
        if let Some(max_output) = above_maximum(&text).filter(|_| body.get("max_tokens").is_some()) {
            return Some(Self { field: "max_tokens", fact: Facts::MAX_OUTPUT, max_output });
        }
        let param = param(error);
        let names = |field: &str| body.get(field).is_some() && is_named(&text, param.as_deref(), field);
        if has_stream && names("stream") && text.contains("unsupported value") {
            return refused("stream", Facts::NOT_STREAMED);
        }
        // No value of the caller is in it: whatever the sentence says of it, the request is better without.
        if names("stream_options") {
            return refused("stream_options", Facts::NO_STREAM_OPTIONS);
        }
        let schema = SchemaField::of(&body).filter(|field| field.is_named(&text, param.as_deref()));
        if let Some(schema) = schema.filter(|_| says(REFUSALS.format)) {
            return refused(schema.field, Facts::JSON_OBJECT);
        }
        if !says(REFUSALS.parameter) {
            return None;
        }
        let own =
            [("max_completion_tokens", Facts::MAX_TOKENS), ("max_tokens", Facts::MAX_COMPLETION_TOKENS)];
        if let Some((field, fact)) = own.into_iter().find(|(field, _)| names(field)) {
            return refused(field, fact);
        }
        // Ollama: "\"gemma3\" does not support thinking", of the field `think`.
        let names_thinking =
            |field: &str| field == "think" && body.get(field).is_some() && text.contains("thinking");
        let refused_field = |(_, field): &(usize, &&str)| names(field) || names_thinking(field);
        if let Some((at, field)) = SAMPLING.iter().enumerate().find(refused_field) {
            return refused(field, Facts::sampling(at));
        }
        if let Some(at) = nested(&body, &text, param.as_deref()) {
            return refused(SAMPLING[at], Facts::sampling(at));
        }
        refused(schema?.field, Facts::JSON_OBJECT)
    }
}

/// The position in [`SAMPLING`] of a refused field that the dialect keeps in an object of the request.
fn nested(body: &Splice<'_>, text: &str, param: Option<&str>) -> Option<usize> {
    let (container, names) = NESTED
        .iter()
        .find(|(container, _)| body.get(container).is_some_and(|inner| inner.starts_with('{')))?;
    let inner = Splice::new(body.get(container)?).ok()?;
    names.iter().enumerate().position(|(at, name)| {
        let is_said = |name: &str| is_named(text, param, &name.to_lowercase());
        !name.is_empty() && inner.get(name).is_some() && (is_said(name) || is_said(SAMPLING[at]))
    })
}

/// The field that a body names as `param`.
fn param(error: &Error) -> Option<String> {
    let body: Value = serde_json::from_str(error.body()?).ok()?;
    let param = body.pointer("/error/param").or(body.get("param"))?;
    param.as_str().map(str::to_lowercase)
}

/// Returns true if the body names the field, or the sentence does so with a word of its own.
fn is_named(text: &str, param: Option<&str>, field: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let is_quote = |c: char| matches!(c, '\'' | '"' | '`' | '’' | '“' | '”');
    let needs_quotes = WORDS.contains(&field);
    param == Some(field)
        || text.match_indices(field).any(|(at, _)| {
            let before = text[..at].chars().next_back();
            let after = text[at + field.len()..].chars().next();
            match needs_quotes {
                true => before.is_some_and(is_quote) && after.is_some_and(is_quote),
                false => !before.is_some_and(is_part) && !after.is_some_and(is_part),
            }
        })
}

/// The maximum in Anthropic's sentence "max_tokens: 8192 > 4096, which is the maximum allowed number of
/// output tokens for m".
fn above_maximum(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("max_tokens: ")?;
    let (_, maximum) = rest.split_once(" > ")?;
    let digits = maximum.find(|c: char| !c.is_ascii_digit()).unwrap_or(maximum.len());
    maximum[..digits].parse().ok().filter(|maximum| *maximum > 0)
}
