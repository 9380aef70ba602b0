//! Documents: a text and its metadata.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A text and its metadata.
///
/// ```
/// use fanweave::retrieval::Document;
///
/// let document = Document::new("Tides follow the moon.").with("source", "tides.md").with("page", 3);
/// assert_eq!(document.source(), Some("tides.md"));
/// assert_eq!(document.metadata["page"], 3);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Document {
    /// The text.
    pub text: String,
    /// Metadata: its origin, as `source`, and anything else.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

impl Document {
    /// A document without metadata.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), metadata: Map::new() }
    }

    /// Adds a metadata entry.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.into(), value.into());
        self
    }

    /// The origin of the document, if known: the text under `source`.
    pub fn source(&self) -> Option<&str> {
        self.metadata.get("source")?.as_str()
    }
}

impl From<&str> for Document {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Document {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}
