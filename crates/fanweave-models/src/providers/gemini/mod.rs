//! Gemini's generateContent.
//!
//! Provider-specific fields go into [`Parameters::extra`](fanweave_core::Parameters): `safetySettings`,
//! `cachedContent`, or more of `generationConfig`, which is merged with the fields that are set.
//!
//! A thought signature belongs to the part that carries it. The message has it as a
//! [`Part::Reasoning`](fanweave_core::Part::Reasoning) before that part, from which it is sent back on the
//! same part.

mod read;
mod write;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use fanweave_core::{Error, Message, Result};
use http::{HeaderMap, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::failure::classify;
use super::triage::Triage;
use crate::protocol::{Call, HttpRequest, Protocol, StreamDecoder};

/// Characters of a model name that are not percent-encoded.
const NAME: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Prefix of generated ids, for tool calls without one. These ids are not sent.
const GENERATED: &str = "unnamed_call_";

/// The dialect.
pub(crate) struct GenerateContent {
    /// Set on Vertex AI, whose base URL has the version and the publisher of the models.
    pub(crate) is_vertex: bool,
}

impl Protocol for GenerateContent {
    fn request(&self, call: &Call<'_>) -> Result<HttpRequest> {
        let verb = if call.stream { "streamGenerateContent?alt=sse" } else { "generateContent" };
        let path = match self.is_vertex {
            true => format!("/models/{}:{verb}", utf8_percent_encode(call.model, &NAME)).into(),
            false => path(call.model, verb),
        };
        Ok(HttpRequest::post(path, write::request(call)?).streamed(call.stream))
    }

    fn response(&self, body: &[u8]) -> Result<Message> {
        read::message(body)
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(Triage::new(read::VENDOR, read::Decoder::default()))
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error {
        classify(status, headers, body, "gemini")
    }
}

/// The path of a model and a verb. Tuned models are in a separate collection.
pub(super) fn path(model: &str, verb: &str) -> Cow<'static, str> {
    let collection = if model.contains('/') { "" } else { "models/" };
    format!("/v1beta/{collection}{}:{verb}", utf8_percent_encode(model, &NAME)).into()
}
