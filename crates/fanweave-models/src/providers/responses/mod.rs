//! OpenAI's responses.
//!
//! Provider-specific fields go into [`Parameters::extra`](fanweave_core::Parameters): `reasoning`, `store`,
//! `include`, and the provider's own tools. Items of these tools are returned as
//! [`Part::Other`](fanweave_core::Part::Other). Reasoning is returned as
//! [`Part::Reasoning`](fanweave_core::Part::Reasoning), whose signature holds the item's id and encrypted
//! content. Both are sent back verbatim.

mod read;
mod write;

#[cfg(test)]
mod tests;

use fanweave_core::{Error, Message, Result};
use http::{HeaderMap, StatusCode};

use super::failure::classify;
use super::triage::Triage;
use crate::protocol::{Call, HttpRequest, Protocol, StreamDecoder};

/// The dialect.
pub(crate) struct Responses;

impl Protocol for Responses {
    fn request(&self, call: &Call<'_>) -> Result<HttpRequest> {
        Ok(HttpRequest::post("/responses", write::request(call)?).streamed(call.stream))
    }

    fn response(&self, body: &[u8]) -> Result<Message> {
        read::message(body)
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(Triage::new(read::VENDOR, read::Decoder::default()))
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error {
        classify(status, headers, body, "openai")
    }
}
