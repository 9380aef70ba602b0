//! Amazon Bedrock's Converse API: one dialect for the models of all vendors there.
//!
//! Provider-specific fields go into [`Parameters::extra`](fanweave_core::Parameters), such as
//! `additionalModelRequestFields` and `guardrailConfig`.

mod read;
mod write;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use fanweave_core::{Delta, Error, Message, Result};
use http::{HeaderMap, StatusCode};

use super::failure::classify;
use super::triage::Triage;
use crate::protocol::{Call, Framing, HttpRequest, Protocol, SseEvent, StreamDecoder, StreamEnd};
use crate::transport::percent::encoded;

/// The dialect.
pub(crate) struct Converse;

impl Protocol for Converse {
    fn request(&self, call: &Call<'_>) -> Result<HttpRequest> {
        let verb = if call.stream { "converse-stream" } else { "converse" };
        // Names may have slashes and colons: those of inference profiles are resource names.
        let path = Cow::Owned(format!("/model/{}/{verb}", encoded(call.model)));
        Ok(HttpRequest::post(path, write::request(call)?).streamed(call.stream))
    }

    fn response(&self, body: &[u8]) -> Result<Message> {
        read::message(body)
    }

    fn framing(&self) -> Framing {
        Framing::AwsEventStream
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(Exceptions(Triage::new(read::VENDOR, read::Decoder::default())))
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error {
        let error = classify(status, headers, body, read::VENDOR);
        // The name of the exception is in a header: `ThrottlingException:http://internal.amazon.com/..`.
        let name = headers.get("x-amzn-errortype").and_then(|name| name.to_str().ok());
        match (name.and_then(|name| name.split(':').next()), error.code()) {
            (Some(name), None) => error.with_code(name),
            _ => error,
        }
    }
}

/// Reads exceptions, whose type is the name of their event, before anything else sees them as failures.
struct Exceptions(Triage<read::Decoder>);

impl StreamDecoder for Exceptions {
    fn event(&mut self, event: &SseEvent<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        if event.name.ends_with("Exception") {
            return Err(read::exception(event));
        }
        self.0.event(event, deltas)
    }

    fn is_done(&self) -> bool {
        self.0.is_done()
    }

    fn end(&mut self, how: StreamEnd) -> Result<()> {
        self.0.end(how)
    }
}
