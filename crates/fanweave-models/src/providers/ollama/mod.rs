//! Ollama's chat.
//!
//! Provider-specific fields go into [`Parameters::extra`](fanweave_core::Parameters): `think`, `keep_alive`,
//! or more of `options`, which is merged with the fields that are set.

mod read;
mod write;

#[cfg(test)]
mod tests;

use fanweave_core::{Error, Message, Result};
use http::{HeaderMap, StatusCode};

use super::failure::classify;
use super::triage::Triage;
use crate::protocol::{Call, Framing, HttpRequest, Protocol, StreamDecoder};

/// Prefix of generated ids, for tool calls without one. These ids are not sent.
const GENERATED: &str = "unnamed_call_";

/// The dialect.
pub(crate) struct Chat;

impl Protocol for Chat {
    fn request(&self, call: &Call<'_>) -> Result<HttpRequest> {
        Ok(HttpRequest::post("/api/chat", write::request(call)?).streamed(call.stream))
    }

    fn response(&self, body: &[u8]) -> Result<Message> {
        read::message(body)
    }

    fn framing(&self) -> Framing {
        Framing::Lines
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(Triage::new(read::VENDOR, read::Decoder::default()))
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error {
        classify(status, headers, body, "ollama")
    }
}
