//! The dialects of the provider.

use hyper::Uri;
use hyper::header::HeaderMap;

/// Wire format of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    OpenAi,
    Anthropic,
    Gemini,
    Ollama,
    Bedrock,
}

impl Dialect {
    /// The dialect of the path; Anthropic's if its version header is present.
    pub(super) fn of(uri: &Uri, headers: &HeaderMap) -> Self {
        let is_anthropic =
            uri.path().starts_with("/v1/messages") || headers.contains_key("anthropic-version");
        match uri.path() {
            _ if is_anthropic => Self::Anthropic,
            path if path.starts_with("/v1beta/") || path.starts_with("/v1/projects/") => Self::Gemini,
            path if path.starts_with("/model/") => Self::Bedrock,
            path if path.starts_with("/api/") => Self::Ollama,
            _ => Self::OpenAi,
        }
    }
}
