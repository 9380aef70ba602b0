//! Conversion of a chain's output to a row's result.

use fanweave_core::prompt::Endpoint;
use fanweave_core::{FinishReason, Message, Part, ReplyBody, ToolCall, Usage};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

/// A row's result, as stored in journals and outputs.
///
/// ```
/// use fanweave::batch::{Answer, Content, IntoAnswer};
/// use fanweave::Message;
///
/// let answer: Answer = Message::assistant("Oslo").into_answer();
/// assert_eq!(answer.content, Content::Text("Oslo".into()));
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Answer {
    /// The answer itself.
    pub content: Content,
    /// The model's reasoning, if the provider returns it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The finish reason: `stop`, `length`, ..
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Tools that the model wants to call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Tokens of all calls of the row.
    pub usage: Usage,
    /// The model that answered, verbatim as the provider names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The provider's id of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_id: Option<String>,
    /// The provider's id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Number of attempts. 0 if no request was made.
    pub attempts: u32,
    /// The provider's response body, if the model is configured to keep it, or the request asks for several
    /// choices or for `logprobs`.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "exact")]
    pub raw: Option<ReplyBody>,
    /// The endpoint of the row's request, if it is one of OpenAI's other than chat completions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
}

/// Reads a body from the text of a journal, with its numbers and spaces as they were written.
fn exact<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ReplyBody>, D::Error> {
    let json = Option::<Box<RawValue>>::deserialize(deserializer)?;
    Ok(json.map(|json| match serde_json::from_str::<String>(json.get()) {
        Ok(text) => ReplyBody::new(text),
        Err(_) => ReplyBody::new(json.get()),
    }))
}

impl Answer {
    /// An answer without anything but its content.
    pub fn new(content: Content) -> Self {
        Self { content, ..Self::default() }
    }
}

/// Content of an answer: text, or any other JSON value.
///
/// ```
/// use fanweave::crates::serde_json;
/// use fanweave::batch::Content;
///
/// assert_eq!(serde_json::to_string(&Content::Text("Oslo".into())).unwrap(), r#""Oslo""#);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Text.
    Text(String),
    /// Any other value, such as the output of a chain that ends with a parser.
    Json(Value),
}

impl std::fmt::Display for Content {
    /// The text, or the value as JSON.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Content::Text(text) => f.write_str(text),
            Content::Json(value) => value.fmt(f),
        }
    }
}

impl Default for Content {
    fn default() -> Self {
        Content::Text(String::new())
    }
}

/// Output of a chain that a batch can record.
///
/// ```
/// use fanweave::batch::{Answer, Content, IntoAnswer};
///
/// struct Score(u8);
///
/// impl IntoAnswer for Score {
///     fn into_answer(self) -> Answer {
///         Answer::new(Content::Json(self.0.into()))
///     }
/// }
/// assert_eq!(Score(7).into_answer().content, Content::Json(7.into()));
/// ```
pub trait IntoAnswer: Send + 'static {
    /// Converts the output to an answer.
    fn into_answer(self) -> Answer;
}

impl IntoAnswer for Message {
    fn into_answer(mut self) -> Answer {
        let reply = self.reply.take().unwrap_or_default();
        let reasoning: String = self.parts.iter().filter_map(reasoning).collect();
        Answer {
            reasoning: (!reasoning.is_empty()).then_some(reasoning),
            finish_reason: reply.finish_reason.as_ref().map(FinishReason::as_str).map(str::to_owned),
            tool_calls: self.tool_calls().cloned().collect(),
            usage: reply.usage,
            model: reply.model,
            answer_id: reply.id,
            request_id: reply.request_id,
            attempts: reply.attempts,
            raw: reply.raw,
            endpoint: None,
            content: Content::Text(self.into_text()),
        }
    }
}

fn reasoning(part: &Part) -> Option<&str> {
    match part {
        Part::Reasoning { text, .. } => Some(text),
        _ => None,
    }
}

impl IntoAnswer for Answer {
    fn into_answer(self) -> Answer {
        self
    }
}

impl IntoAnswer for String {
    fn into_answer(self) -> Answer {
        Answer { content: Content::Text(self), ..Answer::default() }
    }
}

impl IntoAnswer for Value {
    fn into_answer(self) -> Answer {
        match self {
            Value::String(text) => text.into_answer(),
            value => Answer { content: Content::Json(value), ..Answer::default() },
        }
    }
}
