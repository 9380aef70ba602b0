//! Texts to vectors, in each dialect: how texts become a request, and a body vectors. No I/O.

mod read;
mod write;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use fanweave_core::{Embedded, Error, Result};
use http::{HeaderMap, Method, StatusCode};

use super::failure::classify;
use super::gemini;
use crate::once::Reader;
use crate::protocol::HttpRequest;

/// Who embeds how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    OpenAi,
    Gemini,
    Ollama,
}

impl Dialect {
    /// Most texts, and most bytes of all together, in one request.
    pub(crate) fn limits(self) -> (usize, usize) {
        match self {
            // Source: 2048 inputs and 300,000 tokens, which have two bytes at least nearly always.
            Self::OpenAi => (2048, 600_000),
            // Source: the limit of `batchEmbedContents`.
            Self::Gemini => (100, 1 << 20),
            // It has no limit, but works through a request as one.
            Self::Ollama => (256, 1 << 20),
        }
    }

    /// The name of the vendor whose dialect it is, for refusals.
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
    /// [`ErrorKind::Input`](fanweave_core::ErrorKind::Input) where they cannot be written.
    pub(crate) fn request(
        self,
        model: &str,
        texts: Vec<String>,
        dimensions: Option<u32>,
    ) -> Result<HttpRequest> {
        let path = match self {
            Self::OpenAi => "/embeddings".into(),
            Self::Gemini => gemini::path(model, "batchEmbedContents"),
            Self::Ollama => "/api/embed".into(),
        };
        let body = Bytes::from(write::request(self, model, texts, dimensions)?);
        Ok(HttpRequest { method: Method::POST, path, headers: Vec::new(), body, streams: false })
    }
}

/// Reads the vectors of so many texts.
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
