//! OpenAI's completions: the model continues a text. The dialect of models without chat.

mod read;
mod write;

#[cfg(test)]
mod tests;

use fanweave_core::{Error, Message, Parameters, Result};
use http::{HeaderMap, StatusCode};

use super::failure::classify;
use super::foreign;
use super::openai::Quirks;
use super::triage::Triage;
use crate::once::Reader;
use crate::protocol::{Call, HttpRequest, Protocol, StreamDecoder};

/// The dialect.
pub(crate) struct Completions {
    pub(crate) quirks: Quirks,
}

impl Protocol for Completions {
    fn request(&self, call: &Call<'_>) -> Result<HttpRequest> {
        let translated = foreign::translate(call, &write::TARGET)?;
        let call = &translated.call();
        let prompt = write::prompt(call.messages)?;
        let body = write::request(call.model, prompt.into(), call.parameters, call.stream, self.quirks)?;
        Ok(post(body, call.stream))
    }

    fn response(&self, body: &[u8]) -> Result<Message> {
        read::messages(body, 1, self.quirks.vendor).map(|mut messages| messages.remove(0))
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        let decoder = read::Decoder::new(self.quirks);
        Box::new(Triage::new(self.quirks.vendor, decoder).no_finish_reason(self.quirks.no_finish_reason))
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error {
        classify(status, headers, body, self.quirks.vendor)
    }
}

fn post(body: Vec<u8>, streams: bool) -> HttpRequest {
    HttpRequest::post("/completions", body).streamed(streams)
}

/// The request for several prompts.
///
/// # Errors
/// Those of [`Protocol::request`].
pub(crate) fn several(
    model: &str,
    prompts: Vec<String>,
    parameters: &Parameters,
    quirks: Quirks,
) -> Result<HttpRequest> {
    Ok(post(write::request(model, prompts.into(), parameters, false, quirks)?, false))
}

/// Decodes the answer to this number of prompts.
pub(crate) struct Several(pub(crate) usize);

impl Several {
    /// Vendor of the dialect, for errors.
    const VENDOR: &str = "openai";
}

impl Reader for Several {
    type Answer = Vec<Message>;

    fn response(&self, body: &[u8]) -> Result<Vec<Message>> {
        read::messages(body, self.0, Self::VENDOR)
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error {
        classify(status, headers, body, Self::VENDOR)
    }
}
