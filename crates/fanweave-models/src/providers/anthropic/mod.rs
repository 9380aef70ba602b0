//! Anthropic's messages.
//!
//! Provider-specific fields go into [`Parameters::extra`](fanweave_core::Parameters): `thinking`,
//! `cache_control`, `metadata`. To mark a single block for the cache, send it as a
//! [`Part::Other`](fanweave_core::Part::Other), which is passed through verbatim.

mod read;
mod write;

#[cfg(feature = "bedrock")]
pub(super) use self::write::{max_tokens, thinking_fields};

#[cfg(test)]
mod tests;

use fanweave_core::{Error, Message, Result};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::failure::classify;
use super::triage::Triage;
use crate::protocol::{Call, HttpRequest, Protocol, StreamDecoder};

/// Default API version: the one that the official SDKs send.
pub(crate) const VERSION: &str = "2023-06-01";

/// The dialect.
pub(crate) struct Messages {
    /// A date, which determines the supported fields.
    pub(crate) version: HeaderValue,
}

impl Protocol for Messages {
    fn request(&self, call: &Call<'_>) -> Result<HttpRequest> {
        let streams = call.stream || write::expected_time(call.parameters) > call.idle_timeout;
        let body = write::request(call, self.version.to_str().unwrap_or_default(), streams)?;
        let request = HttpRequest::post("/v1/messages", body).streamed(streams);
        Ok(request.header(HeaderName::from_static("anthropic-version"), self.version.clone()))
    }

    fn response(&self, body: &[u8]) -> Result<Message> {
        read::message(body)
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(Triage::new(read::VENDOR, read::Decoder::default()))
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error {
        classify(status, headers, body, "anthropic")
    }
}
