//! Messages to and from a model, independent of any provider's format.

mod build;
mod forms;
mod reply;
mod result;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use reply::{Citation, FinishReason, Reply, ReplyBody, Usage};
pub use result::ToolResult;

/// The author of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// The user, or a program that acts for the user.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

/// One message: a role and the parts it consists of.
///
/// ```
/// use fanweave::Message;
///
/// let question = Message::user("What is the capital of France?");
/// assert_eq!(question.text(), "What is the capital of France?");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The author of the message.
    pub role: Role,
    /// The content, in order.
    pub parts: Vec<Part>,
    /// The name of the author, where several authors have the same role. Default: none. Sent to the providers
    /// whose messages have a name, and omitted for the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Box<str>>,
    /// The reply of the provider. Only on messages that a model produced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Box<Reply>>,
}

impl Message {
    /// A message of one text.
    pub fn new(role: Role, text: impl Into<String>) -> Self {
        Self::from_parts(role, vec![Part::Text(text.into())])
    }

    /// A message of these parts.
    pub const fn from_parts(role: Role, parts: Vec<Part>) -> Self {
        Self { role, parts, name: None, reply: None }
    }

    /// An instruction for the whole conversation.
    pub fn system(text: impl Into<String>) -> Self {
        Self::new(Role::System, text)
    }

    /// A message of the user.
    pub fn user(text: impl Into<String>) -> Self {
        Self::new(Role::User, text)
    }

    /// A message of the model.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new(Role::Assistant, text)
    }

    /// The text parts, concatenated. Empty without text parts.
    pub fn text(&self) -> String {
        let mut texts = self.parts.iter().filter_map(Part::as_text);
        let mut all = texts.next().unwrap_or_default().to_owned();
        texts.for_each(|text| all.push_str(text));
        all
    }

    /// Like [`text`](Self::text), without a copy if the message is a single text.
    pub fn into_text(mut self) -> String {
        match self.parts.as_mut_slice() {
            [Part::Text(text)] => std::mem::take(text),
            _ => self.text(),
        }
    }

    /// The tool calls of the model, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| match part {
            Part::ToolCall(call) => Some(call),
            _ => None,
        })
    }

    /// Tokens that the call used. Zero if the provider did not report them.
    pub fn usage(&self) -> Usage {
        self.reply.as_ref().map(|reply| reply.usage).unwrap_or_default()
    }

    /// The same answer as one from a [store](crate::Model::cached): it cost nothing, because it was paid for
    /// before.
    #[must_use]
    pub fn without_cost(mut self) -> Self {
        let reply = self.reply.get_or_insert_default();
        reply.cached = true;
        reply.usage = Usage::default();
        reply.attempts = 0;
        self
    }

    /// The finish reason, if a model produced this message.
    pub fn finish_reason(&self) -> Option<&FinishReason> {
        self.reply.as_ref()?.finish_reason.as_ref()
    }
}

/// One part of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Part {
    /// Plain text.
    Text(String),
    /// An image.
    Image(Media),
    /// Audio.
    Audio(Media),
    /// A document.
    File(Media),
    /// A tool call of the model.
    ToolCall(ToolCall),
    /// The result of a tool call.
    ToolResult(ToolResult),
    /// The model's reasoning.
    Reasoning {
        /// The text, if the provider shows it.
        text: String,
        /// The provider's opaque token, which must be sent back unchanged with the next request.
        signature: Option<String>,
    },
    /// A part unknown to fanweave, passed through unchanged.
    Other(Value),
}

impl Part {
    /// The text of a text part.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Part::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Estimated tokens of an image, a sound or a file, whatever its size: 1,000, or 85 for an image with low
    /// detail, as OpenAI documents it. `None` for other parts.
    ///
    /// ```
    /// use fanweave::messages::{Media, Part};
    ///
    /// let image = Part::Image(Media::Url("https://example.com/a.png".into()));
    /// assert_eq!((image.media_tokens(), Part::text("a").media_tokens()), (Some(1_000), None));
    /// ```
    pub fn media_tokens(&self) -> Option<usize> {
        // Source: between the 765 tokens of OpenAI for a square image in high detail and the 1,600 of
        // Anthropic for its largest.
        const MEDIA: usize = 1_000;
        const LOW_DETAIL: usize = 85;
        match self {
            Part::Image(_) | Part::Audio(_) | Part::File(_) => Some(MEDIA),
            // In the form of OpenAI, with fields that other parts do not have.
            Part::Other(value) => match value.get("type")?.as_str()? {
                "image_url" if value["image_url"]["detail"] == "low" => Some(LOW_DETAIL),
                "image_url" | "input_audio" | "file" | "video_url" | "image" | "document" => Some(MEDIA),
                _ => None,
            },
            _ => None,
        }
    }
}

/// An image, audio or a document, by URL or inline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Media {
    /// A URL that the provider fetches, or a `data:` URL.
    Url(String),
    /// The bytes, in base64.
    Inline {
        /// Media type, such as `image/png`. The name of a document is its parameter `name`, as
        /// [`with_name`](Media::with_name) sets it.
        media_type: String,
        /// Base64 with padding.
        base64: String,
    },
}

impl Media {
    /// Parameter of a media type that has the name of a file.
    const NAME: &str = ";name=";

    /// Sets the name of inline media, which providers may show to the model. A URL stays as it is.
    ///
    /// ```
    /// use fanweave::messages::Media;
    ///
    /// let pdf = Media::Inline { media_type: "application/pdf".into(), base64: "JVBERi0=".into() };
    /// let pdf = pdf.with_name("a b.pdf");
    /// assert_eq!((pdf.name().as_deref(), pdf.media_type()), (Some("a b.pdf"), Some("application/pdf")));
    /// ```
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        if let Media::Inline { media_type, .. } = &mut self {
            let end = media_type.find(Self::NAME).unwrap_or(media_type.len());
            media_type.truncate(end);
            media_type.push_str(Self::NAME);
            for byte in name.bytes() {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => {
                        media_type.push(byte.into());
                    }
                    other => media_type.push_str(&format!("%{other:02X}")),
                }
            }
        }
        self
    }

    /// The [name](Self::with_name), if it is set.
    pub fn name(&self) -> Option<String> {
        let Media::Inline { media_type, .. } = self else { return None };
        let (_, name) = media_type.split_once(Self::NAME)?;
        let (mut bytes, mut rest) = (Vec::with_capacity(name.len()), name.as_bytes());
        while let [first, more @ ..] = rest {
            let hex = more.get(..2).filter(|_| *first == b'%').and_then(|hex| str::from_utf8(hex).ok());
            let (byte, used) = match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                Some(byte) => (byte, 2),
                None => (*first, 0),
            };
            bytes.push(byte);
            rest = &more[used..];
        }
        String::from_utf8(bytes).ok()
    }

    /// The media type of inline media, without a name.
    pub fn media_type(&self) -> Option<&str> {
        match self {
            Media::Inline { media_type, .. } => media_type.split(Self::NAME).next(),
            Media::Url(_) => None,
        }
    }
}

/// A tool call of the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The provider's id, which the result must name.
    pub id: String,
    /// Name of the tool.
    pub name: String,
    /// The arguments as the model wrote them: usually a JSON object, not yet validated.
    pub arguments: String,
}

impl ToolCall {
    /// The arguments as JSON.
    ///
    /// # Errors
    /// The parser's error if the arguments are not valid JSON.
    pub fn parse_arguments(&self) -> serde_json::Result<Value> {
        // Some providers send an empty text for a tool without parameters.
        let arguments = if self.arguments.trim().is_empty() { "{}" } else { &self.arguments };
        serde_json::from_str(arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_joins_text_parts_and_skips_the_rest() {
        let mut message = Message::assistant("one ");
        message.parts.push(Part::Reasoning { text: "hidden".into(), signature: None });
        message.parts.push(Part::Text("two".into()));
        assert_eq!(message.text(), "one two");
        assert_eq!(message.into_text(), "one two");
    }

    #[test]
    fn a_message_survives_json() {
        let mut message = Message::assistant("hi");
        message.reply = Some(Box::new(Reply {
            finish_reason: Some(FinishReason::Other("pause_turn".into())),
            usage: Usage::new(3, 1),
            ..Reply::default()
        }));
        let json = serde_json::to_string(&message).unwrap();
        assert_eq!(serde_json::from_str::<Message>(&json).unwrap(), message);
    }

    #[test]
    fn empty_tool_arguments_are_an_empty_object() {
        let call = ToolCall { id: "1".into(), name: "now".into(), arguments: String::new() };
        assert_eq!(call.parse_arguments().unwrap(), serde_json::json!({}));
    }
}
