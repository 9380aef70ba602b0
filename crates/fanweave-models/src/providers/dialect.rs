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
    /// Amazon Bedrock's Converse.
    #[cfg(feature = "bedrock")]
    BedrockConverse,
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
            Self::Gemini => Arc::new(GenerateContent { is_vertex: quirks.vendor == "vertex" }),
            Self::Ollama => Arc::new(ollama::Chat),
            #[cfg(feature = "bedrock")]
            Self::BedrockConverse => Arc::new(super::bedrock::Converse),
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
            #[cfg(feature = "bedrock")]
            Self::BedrockConverse => None,
        }
    }

    /// Strips the API's paths from a base URL without a query: some users include them.
    pub(crate) fn base(self, url: &str) -> &str {
        let mut url = url.trim().trim_end_matches('/');
        // A model of Gemini: `/v1beta/models/g:generateContent`.
        if let (Self::Gemini, Some((base, _))) = (self, url.rsplit_once("/models/")) {
            url = base;
        }
        let own: &[&str] = match self {
            Self::OpenAiChat | Self::OpenAiResponses | Self::OpenAiCompletions => &[],
            Self::Anthropic => &["/v1"],
            // The first is the prefix of its OpenAI-compatible API.
            Self::Gemini => &["/openai", "/models", "/v1beta", "/v1"],
            Self::Ollama => &["/api", "/v1"],
            #[cfg(feature = "bedrock")]
            Self::BedrockConverse => &["/openai/v1"],
        };
        // Never a host that is called like a path.
        let host = url.find("://").map_or(0, |at| at + "://".len());
        let strip = |url: &'_ str, path: &str| url.strip_suffix(path).map(str::len).filter(|end| *end > host);
        while let Some(base) = ENDPOINTS.iter().find_map(|path| strip(url, path)).map(|end| &url[..end]) {
            url = base.trim_end_matches('/');
        }
        // Lists of resources, whose names may also be part of a base URL: `/v1/models`.
        if let Some((base, name)) = url.rsplit_once('/')
            && RESOURCES.contains(&name)
            && ["/v1", "/v1beta"].iter().any(|version| base.ends_with(version))
        {
            url = base;
        }
        for prefix in own {
            url = url[..strip(url, prefix).unwrap_or(url.len())].trim_end_matches('/');
        }
        url
    }
}

/// Paths of single endpoints of all dialects.
const ENDPOINTS: [&str; 10] = [
    "/chat/completions",
    "/completions",
    "/responses",
    "/messages",
    "/embeddings",
    "/images/generations",
    "/api/chat",
    "/api/generate",
    "/api/tags",
    "/api/embed",
];

/// Names of the lists of an API.
const RESOURCES: [&str; 3] = ["models", "batches", "files"];

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

    #[test]
    fn a_base_url_may_end_in_any_path_of_the_api() {
        for (dialect, base, ends) in [
            (
                Dialect::OpenAiChat,
                "http://h/x/v1",
                &["/chat/completions", "/completions", "/responses/", "/models", "/files", "/embeddings"][..],
            ),
            (Dialect::OpenAiResponses, "http://h/v1", &["/responses", "/chat/completions"]),
            (Dialect::Anthropic, "http://h/anthropic", &["/v1", "/v1/messages", "/v1/models", "/messages"]),
            (
                Dialect::Gemini,
                "http://h",
                &["/v1beta", "/v1", "/v1beta/models", "/v1beta/models/g:generateContent", "/v1beta/openai"],
            ),
            (
                Dialect::Ollama,
                "http://h",
                &["/api", "/api/chat", "/api/generate", "/api/embeddings", "/v1", "/v1/chat/completions"],
            ),
        ] {
            for end in ends {
                assert_eq!(dialect.base(&format!("{base}{end}")), base, "{dialect:?} {end}");
            }
        }
        // A base URL of Azure, and hosts that are called like a path.
        for url in ["https://r.services.ai.azure.com/models", "https://messages", "https://h/chat-v1"] {
            assert_eq!(Dialect::OpenAiChat.base(url), url);
        }
    }
}
