//! Gemini's generateContent.
//!
//! What the neutral model has no field for goes into [`Parameters::extra`](fanweave_core::Parameters):
//! `safetySettings`, `cachedContent`, or more of `generationConfig`, which is merged with the fields that are set.
//!
//! A thought signature belongs to the part that it stands on. In the neutral model it is a
//! [`Part::Reasoning`](fanweave_core::Part::Reasoning) before that part, and goes back onto it.

mod read;
mod write;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use bytes::Bytes;
use fanweave_core::{Error, Message, Result};
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::failure::classify;
use crate::protocol::{Call, HttpRequest, Protocol, StreamDecoder};

/// What may stand in the name of a model as it is.
const NAME: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// What the ids of tool calls begin with that the provider gave none. They mean nothing to it, and are not sent.
const GENERATED: &str = "unnamed_call_";

/// The dialect.
pub(crate) struct GenerateContent;

impl Protocol for GenerateContent {
    fn request(&self, call: &Call<'_>) -> Result<HttpRequest> {
        let verb = if call.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        Ok(HttpRequest {
            method: Method::POST,
            path: path(call.model, verb),
            headers: Vec::new(),
            body: Bytes::from(write::request(call)?),
            streams: call.stream,
        })
    }

    fn response(&self, body: &[u8]) -> Result<Message> {
        read::message(body)
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::<read::Decoder>::default()
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error {
        classify(status, headers, body, "gemini")
    }
}

/// The path of a model and a verb. Tuned models have a collection of their own.
pub(super) fn path(model: &str, verb: &str) -> Cow<'static, str> {
    let collection = if model.contains('/') { "" } else { "models/" };
    format!("/v1beta/{collection}{}:{verb}", utf8_percent_encode(model, &NAME)).into()
}
