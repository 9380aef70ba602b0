//! What a chain's output comes to as a row's result.

use fanweave_core::{FinishReason, Message, Part, ToolCall, Usage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A row's result, in the form that journals and outputs keep.
///
/// ```
/// use fanweave_batch::{Answer, Content, IntoAnswer};
/// use fanweave_core::Message;
///
/// let answer: Answer = Message::assistant("Oslo").into_answer();
/// assert_eq!(answer.content, Content::Text("Oslo".into()));
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Answer {
    /// What was answered.
    pub content: Content,
    /// The model's reasoning, where the provider shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Why the model stopped: `stop`, `length`, ..
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// Tools that the model wants called.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Tokens of all calls of the row.
    pub usage: Usage,
    /// The model that answered, in the provider's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The provider's id of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_id: Option<String>,
    /// The provider's id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Tries that it took. 0 where no request was made.
    pub attempts: u32,
    /// The provider's own body, where the model was told to keep it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<Value>,
}

/// What was answered: a text, or any other JSON value.
///
/// ```
/// use fanweave_batch::Content;
///
/// assert_eq!(serde_json::to_string(&Content::Text("Oslo".into())).unwrap(), r#""Oslo""#);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// A text.
    Text(String),
    /// Any other value: what a chain with a parser at its end gives.
    Json(Value),
}

impl Default for Content {
    fn default() -> Self {
        Content::Text(String::new())
    }
}

/// An output of a chain that a batch can write down.
///
/// ```
/// use fanweave_batch::{Answer, Content, IntoAnswer};
///
/// struct Score(u8);
///
/// impl IntoAnswer for Score {
///     fn into_answer(self) -> Answer {
///         Answer { content: Content::Json(self.0.into()), ..Answer::default() }
///     }
/// }
/// assert_eq!(Score(7).into_answer().content, Content::Json(7.into()));
/// ```
pub trait IntoAnswer: Send + 'static {
    /// The output as an answer.
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
