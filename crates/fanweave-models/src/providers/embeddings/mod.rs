//! Embeddings in each dialect: encoding of texts and decoding of vectors. No I/O.

mod read;
mod write;

#[cfg(test)]
mod tests;

use fanweave_core::{Embedded, Error, ErrorKind, Result};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use super::failure::classify;
use super::gemini;
use crate::once::Reader;
use crate::protocol::HttpRequest;

/// Dialect of an embeddings API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    OpenAi,
    Gemini,
    Ollama,
}

impl Dialect {
    /// Maximum texts, and maximum bytes of all texts together, per request.
    pub(crate) fn limits(self) -> (usize, usize) {
        match self {
            // Source: 2048 inputs and 300,000 tokens. A token nearly always has at least two bytes.
            Self::OpenAi => (2048, 600_000),
            // Source: the limit of `batchEmbedContents`.
            Self::Gemini => (100, 1 << 20),
            // No limit, but the server processes a request as a whole.
            Self::Ollama => (256, 1 << 20),
        }
    }

    /// Name of the vendor of the dialect, for errors.
    fn vendor(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Gemini => "gemini",
            Self::Ollama => "ollama",
        }
    }

    /// The request for these texts.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](fanweave_core::ErrorKind::Input) if they cannot be encoded.
    pub(crate) fn request(
        self,
        model: &str,
        texts: &[String],
        parameters: &VectorParameters,
    ) -> Result<HttpRequest> {
        let path = match self {
            Self::OpenAi => "/embeddings".into(),
            Self::Gemini => gemini::path(model, "batchEmbedContents"),
            Self::Ollama => "/api/embed".into(),
        };
        Ok(HttpRequest::post(path, write::request(self, model, texts, parameters)?))
    }
}

/// Parameters of the requests of an embedder.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct VectorParameters {
    /// Length of each vector.
    pub(crate) dimensions: Option<u32>,
    /// Further fields.
    pub(crate) extra: Map<String, Value>,
}

impl VectorParameters {
    /// The name of a parameter that the request has already.
    pub(crate) fn own_field(&self) -> Option<&str> {
        const OWN: [&str; 4] = ["model", "input", "content", "requests"];
        OWN.into_iter().find(|name| self.extra.contains_key(*name))
    }
}

/// Sentences that refuse the number of texts, or their tokens together. In lower case. Sources: DashScope,
/// Text Embeddings Inference, Gemini, OpenAI, Cohere, Voyage, LiteLLM.
const TOO_MANY: [&str; 13] = [
    "should not be larger than",
    "batch size",
    "batch_size",
    "requests can be in one batch",
    "array too long",
    "too many inputs",
    "too many texts",
    "maximum number of inputs",
    "maximum number of texts",
    "max_batch_size",
    "tokens per request",
    "max allowed tokens per submitted batch",
    "total number of texts",
];

/// The number of texts per request to use after this refusal of a request with `sent` texts: the number that
/// the server names, or else half as many. `None` for any other error.
pub(crate) fn max_inputs(error: &Error, sent: usize) -> Option<usize> {
    let is_refusal = matches!(error.kind(), ErrorKind::BadRequest | ErrorKind::ContextLength)
        || matches!(error.status(), Some(413));
    let text = error.message().to_lowercase();
    if !is_refusal || sent < 2 || !TOO_MANY.iter().any(|phrase| text.contains(phrase)) {
        return None;
    }
    if text.contains("token") {
        return Some(sent.div_ceil(2));
    }
    let numbers = text.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse::<usize>().ok());
    // A sentence may also name the number that was sent.
    let named = numbers.filter(|number| *number > 0 && *number != sent).min();
    match named {
        Some(named) if named < sent => Some(named),
        // The request had fewer texts than that: something else is wrong.
        Some(_) => None,
        None => Some(sent.div_ceil(2)),
    }
}

/// Decodes the vectors of this number of texts.
pub(crate) struct Vectors {
    pub(crate) dialect: Dialect,
    pub(crate) texts: usize,
}

impl Reader for Vectors {
    type Answer = Embedded;

    fn response(&self, body: &[u8]) -> Result<Embedded> {
        read::vectors(self.dialect, body, self.texts)
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error {
        classify(status, headers, body, self.dialect.vendor())
    }
}
