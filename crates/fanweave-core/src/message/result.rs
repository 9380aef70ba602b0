//! The result of a tool call.

use std::borrow::Cow;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Part;

/// The result of a tool call: a text, or several parts such as a text and an image.
///
/// A result of one text is written as `content`, any other as `parts`. Both are read.
///
/// ```
/// use fanweave::crates::serde_json;
/// use fanweave::messages::{Part, ToolResult};
///
/// let result = ToolResult::new("c1", "3");
/// let json = serde_json::to_string(&result).unwrap();
/// assert_eq!(json, r#"{"id":"c1","content":"3","is_error":false}"#);
/// let chart = ToolResult { parts: vec![Part::image_url("https://x.test/chart.png")], ..result };
/// assert_eq!(chart.text(), "");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// The id of the [`ToolCall`](super::ToolCall) that this is the result of.
    pub id: String,
    /// The content that the model reads, in order.
    pub parts: Vec<Part>,
    /// Set if the tool failed.
    pub is_error: bool,
}

impl ToolResult {
    /// A result of one text.
    pub fn new(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { id: id.into(), parts: vec![Part::Text(text.into())], is_error: false }
    }

    /// The failure of a tool, with the text of the error.
    pub fn error(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { is_error: true, ..Self::new(id, text) }
    }

    /// The text parts, concatenated. Empty without text parts.
    pub fn text(&self) -> Cow<'_, str> {
        match self.parts.as_slice() {
            [Part::Text(text)] => Cow::Borrowed(text),
            parts => Cow::Owned(parts.iter().filter_map(Part::as_text).collect()),
        }
    }

    /// Returns true if all parts are text.
    pub fn is_text(&self) -> bool {
        self.parts.iter().all(|part| part.as_text().is_some())
    }
}

impl Serialize for ToolResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut result = serializer.serialize_struct("ToolResult", 3)?;
        result.serialize_field("id", &self.id)?;
        match self.parts.as_slice() {
            // Programs of earlier versions read this form, and keys of caches are made of it.
            [Part::Text(text)] => result.serialize_field("content", text)?,
            parts => result.serialize_field("parts", parts)?,
        }
        result.serialize_field("is_error", &self.is_error)?;
        result.end()
    }
}

impl<'de> Deserialize<'de> for ToolResult {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Form {
            id: String,
            content: Option<String>,
            parts: Option<Vec<Part>>,
            is_error: bool,
        }
        let Form { id, content, parts, is_error } = Form::deserialize(deserializer)?;
        let parts = match (content, parts) {
            (_, Some(parts)) => parts,
            (Some(text), None) => vec![Part::Text(text)],
            (None, None) => return Err(serde::de::Error::missing_field("content")),
        };
        Ok(Self { id, parts, is_error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_one_text_and_of_parts_survive_json() {
        let yesterday = r#"{"id":"c1","content":"","is_error":true}"#;
        let read: ToolResult = serde_json::from_str(yesterday).unwrap();
        assert_eq!(read, ToolResult::error("c1", ""));
        assert_eq!(serde_json::to_string(&read).unwrap(), yesterday);
        for parts in [vec![], vec![Part::text("a"), Part::image_url("https://x.test/a.png")]] {
            let result = ToolResult { parts, ..ToolResult::new("c2", "") };
            let json = serde_json::to_string(&result).unwrap();
            assert_eq!(serde_json::from_str::<ToolResult>(&json).unwrap(), result);
        }
        assert!(serde_json::from_str::<ToolResult>(r#"{"id":"c1","is_error":true}"#).is_err());
    }
}
