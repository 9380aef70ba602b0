//! The dialects of this crate by their names.

use std::sync::Arc;

use fanweave_core::{Error, ErrorKind, Result};
use http::HeaderValue;

use super::anthropic::{self, Messages};
use super::completions::Completions;
use super::embeddings;
use super::gemini::GenerateContent;
use super::ollama;
use super::openai::{ChatCompletions, Quirks};
use super::responses::Responses;
use crate::protocol::Protocol;

/// A dialect of this crate: how requests are written and answers are read.
///
/// For any other dialect, implement [`Protocol`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Dialect {
    /// OpenAI's chat completions: the dialect of most servers.
    #[default]
    OpenAiChat,
    /// OpenAI's responses.
    OpenAiResponses,
    /// OpenAI's completions, for models without chat.
    OpenAiCompletions,
    /// Anthropic's messages.
    Anthropic,
    /// Gemini's generateContent.
    Gemini,
    /// Ollama's chat.
    Ollama,
}

impl Dialect {
    /// The dialect in its default version, for a [`Protocol`] that differs from it in a few points and
    /// delegates the rest.
    ///
    /// ```
    /// use fanweave::models::protocol::{Framing, Protocol};
    /// use fanweave::models::{Dialect, Quirks};
    ///
    /// let ollama = Dialect::Ollama.protocol(Quirks::new());
    /// assert_eq!(ollama.framing(), Framing::Lines);
    /// ```
    pub fn protocol(self, quirks: Quirks) -> Arc<dyn Protocol> {
        match self {
            Self::OpenAiChat => Arc::new(ChatCompletions { quirks }),
            Self::OpenAiCompletions => Arc::new(Completions { quirks }),
            Self::OpenAiResponses => Arc::new(Responses),
            Self::Gemini => Arc::new(GenerateContent),
            Self::Ollama => Arc::new(ollama::Chat),
            Self::Anthropic => Arc::new(Messages { version: HeaderValue::from_static(anthropic::VERSION) }),
        }
    }

    /// The dialect in `version`, for dialects that have versions.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the version is not a valid header value. `None` for a dialect without
    /// versions.
    pub(crate) fn versioned(self, version: &str) -> Option<Result<Arc<dyn Protocol>>> {
        let Self::Anthropic = self else { return None };
        let version = HeaderValue::try_from(version)
            .map_err(|_| Error::new(ErrorKind::Config, "the API version is not a valid header value"));
        Some(version.map(|version| Arc::new(Messages { version }) as Arc<dyn Protocol>))
    }

    /// Embeddings dialect, if the dialect supports embeddings.
    pub(crate) fn embeddings(self) -> Option<embeddings::Dialect> {
        match self {
            Self::OpenAiChat | Self::OpenAiResponses | Self::OpenAiCompletions => {
                Some(embeddings::Dialect::OpenAi)
            }
            Self::Gemini => Some(embeddings::Dialect::Gemini),
            Self::Ollama => Some(embeddings::Dialect::Ollama),
            Self::Anthropic => None,
        }
    }

    /// Strips the start of the dialect's paths from a base URL: some users include it.
    pub(crate) fn base(self, url: &str) -> &str {
        let url = url.trim().trim_end_matches('/');
        let prefixes: &[&str] = match self {
            Self::OpenAiChat | Self::OpenAiResponses | Self::OpenAiCompletions => &[],
            Self::Anthropic => &["/v1"],
            Self::Gemini => &["/v1beta"],
            // The second is the prefix of its OpenAI-compatible API.
            Self::Ollama => &["/api", "/v1"],
        };
        prefixes.iter().find_map(|prefix| url.strip_suffix(prefix)).unwrap_or(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_in_a_base_url_may_be_there_or_not() {
        for url in ["https://api.anthropic.com", "https://api.anthropic.com/v1/"] {
            assert_eq!(Dialect::Anthropic.base(url), "https://api.anthropic.com");
        }
        assert_eq!(Dialect::OpenAiChat.base("http://localhost:8000/v1/"), "http://localhost:8000/v1");
    }
}
