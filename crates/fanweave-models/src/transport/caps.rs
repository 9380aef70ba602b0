//! Maximum numbers of the parts of an answer.
//!
//! A part takes more memory than the few bytes that a server needs to send it, so the limit on the size of a
//! body alone would allow about 24 times as much memory.

use fanweave_core::{Error, ErrorKind};

/// Maximum of one kind of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cap {
    pub(crate) max: usize,
    /// Name of the parts in messages.
    pub(crate) what: &'static str,
}

/// Tool calls of one answer. Real answers have fewer than a hundred. It bounds the search for the call of a
/// fragment.
pub(crate) const CALLS: Cap = Cap { max: 1 << 10, what: "tool calls" };

/// Choices of one answer. Source: OpenAI allows 128.
pub(crate) const CHOICES: Cap = Cap { max: 1 << 10, what: "choices" };

/// Parts of the content of one answer. Source: an answer of 64,000 tokens with a part for each four of them.
pub(crate) const PARTS: Cap = Cap { max: 1 << 14, what: "parts" };

/// Sources of one answer. Real answers have fewer than a hundred.
pub(crate) const CITATIONS: Cap = Cap { max: 1 << 14, what: "citations" };

/// Elements of any other list, such as the probabilities of each token. Source: answers have at most 128,000
/// tokens.
pub(crate) const ELEMENTS: Cap = Cap { max: 1 << 17, what: "elements in a list" };

const PREFIX: &str = "the answer has more than ";

impl Cap {
    /// The cap of a list with this name, in an answer of any dialect.
    pub(crate) fn of_field(name: &str) -> Option<Self> {
        match name {
            "choices" | "candidates" => Some(CHOICES),
            "tool_calls" => Some(CALLS),
            "content" | "parts" | "output" | "summary" | "reasoning_details" | "thinking_blocks" => {
                Some(PARTS)
            }
            "annotations" | "citations" | "citationSources" | "groundingChunks" | "groundingSupports"
            | "search_results" => Some(CITATIONS),
            _ => Some(ELEMENTS),
        }
    }

    /// The message of an answer that has more.
    pub(crate) fn message(self) -> String {
        format!("{PREFIX}{} {}", self.max, self.what)
    }

    /// The error of an answer that has more. The same request would be answered in the same way.
    pub(crate) fn exceeded(self) -> Error {
        Error::new(ErrorKind::Decode, self.message()).with_retryable(false)
    }

    /// The same from the error of a parser, which adds a position to the message.
    pub(crate) fn exceeded_in(error: &serde_json::Error) -> Option<Error> {
        let text = error.to_string();
        let message = text.starts_with(PREFIX).then(|| text.split(" at line ").next().unwrap_or_default())?;
        Some(Error::new(ErrorKind::Decode, message).with_retryable(false))
    }
}
