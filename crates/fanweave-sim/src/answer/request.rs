//! A request, reduced to the fields that determine its answer.

use std::borrow::Cow;

use serde_json::Value;

use super::{Answer, Content, Finish, count_tokens, tokens};
use crate::draw::Fingerprint;

/// A chat request, independent of its dialect.
///
/// Build one with [`ChatRequest::new`] and set the fields that differ.
///
/// ```
/// use fanweave_sim::answer::{ChatRequest, Content, Tool, answer};
/// use serde_json::json;
///
/// let mut request = ChatRequest::new("sim/writer", "What is the weather in Paris?");
/// request.tools = vec![Tool {
///     name: "get_weather".into(),
///     description: "Current weather of a city".into(),
///     parameters: json!({ "type": "object", "properties": { "city": { "type": "string" } } }),
/// }];
/// let Content::Calls(calls) = &answer(&request).answers[0].content else { panic!("the tool fits") };
/// assert_eq!(calls[0].arguments, r#"{"city":"Paris"}"#);
/// ```
#[derive(Clone, Debug)]
pub struct ChatRequest<'a> {
    /// Name of the model, which also determines its [`Kind`](super::Kind).
    pub model: Cow<'a, str>,
    /// The conversation so far, oldest first.
    pub messages: Vec<ChatMessage<'a>>,
    /// Required format of the answer. Default [`Format::Text`].
    pub format: Format,
    /// The tools on offer. Default: none.
    pub tools: Vec<Tool>,
    /// Selection of tools. Default [`ToolChoice::Auto`].
    pub tool_choice: ToolChoice,
    /// Set if one answer may contain several tool calls. Default true.
    pub parallel_tool_calls: bool,
    /// Maximum tokens of the answer; longer text is cut. Tool calls are never cut. Default: no limit.
    pub max_tokens: Option<u64>,
    /// Stop sequences: the text ends before the first of them. Default: none.
    pub stop: Vec<Cow<'a, str>>,
    /// Number of answers. Default 1.
    pub candidates: usize,
    /// Seed: another value gives another answer to the same prompt. Default: none.
    pub seed: Option<u64>,
    /// Tokens of the model's reasoning, which are part of the output. Default 0.
    pub reasoning_tokens: u64,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage<'a> {
    /// Author of the message.
    pub role: Role,
    /// Text of the message; for a tool, its result.
    pub text: Cow<'a, str>,
}

/// Author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The application, giving instructions.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// A tool, giving its result.
    Tool,
}

/// Required format of an answer.
///
/// ```
/// use fanweave_sim::answer::{ChatRequest, Content, Format, answer};
/// use serde_json::json;
///
/// let mut request = ChatRequest::new("sim/writer", "How old is the speaker, who says she is 42?");
/// let properties = json!({ "age": { "type": "integer" } });
/// let schema = json!({ "type": "object", "properties": properties, "required": ["age"] });
/// request.format = Format::Schema(schema);
/// assert_eq!(answer(&request).answers[0].content, Content::Text(r#"{"age":42}"#.into()));
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    /// Any text.
    #[default]
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that conforms to this schema.
    Schema(Value),
}

/// A tool on offer.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Name of the tool, used in calls.
    pub name: String,
    /// Description of the tool. Empty if unknown.
    pub description: String,
    /// JSON schema of its arguments.
    pub parameters: Value,
}

/// Selection of tools.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides: it calls the tool whose name and description share the most words with the user's
    /// message, and none if they share no word.
    #[default]
    Auto,
    /// No tool may be called.
    None,
    /// At least one tool must be called.
    Required,
    /// This tool must be called.
    Named(String),
}

/// Maximum bytes of a text that the writer reads as a whole.
const MAX_READ_BYTES: usize = 256 << 10;

/// A text, or its first and last part if it is longer than the writer reads.
fn ends_of(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_READ_BYTES {
        return Cow::Borrowed(text);
    }
    let half = MAX_READ_BYTES / 2;
    let first = &text[..text.floor_char_boundary(half)];
    let last = &text[text.ceil_char_boundary(text.len() - half)..];
    Cow::Owned(format!("{first}\n{last}"))
}

impl<'a> ChatRequest<'a> {
    /// A request with a single user message.
    #[must_use]
    pub fn new(model: impl Into<Cow<'a, str>>, prompt: impl Into<Cow<'a, str>>) -> Self {
        Self::from_messages(model, vec![ChatMessage { role: Role::User, text: prompt.into() }])
    }

    /// A request that continues a conversation.
    #[must_use]
    pub fn from_messages(model: impl Into<Cow<'a, str>>, messages: Vec<ChatMessage<'a>>) -> Self {
        Self {
            model: model.into(),
            messages,
            format: Format::Text,
            tools: Vec::new(),
            tool_choice: ToolChoice::Auto,
            parallel_tool_calls: true,
            max_tokens: None,
            stop: Vec::new(),
            candidates: 1,
            seed: None,
            reasoning_tokens: 0,
        }
    }

    /// The request without the middle of its very long texts, for the writer, which searches them many times.
    /// `None` without such texts.
    pub(super) fn shortened(&self) -> Option<ChatRequest<'_>> {
        self.messages.iter().find(|message| message.text.len() > MAX_READ_BYTES)?;
        let messages = self.messages.iter();
        Some(ChatRequest {
            model: Cow::Borrowed(&self.model),
            messages: messages.map(|m| ChatMessage { role: m.role, text: ends_of(&m.text) }).collect(),
            format: self.format.clone(),
            tools: self.tools.clone(),
            tool_choice: self.tool_choice.clone(),
            stop: self.stop.clone(),
            parallel_tool_calls: self.parallel_tool_calls,
            max_tokens: self.max_tokens,
            candidates: self.candidates,
            seed: self.seed,
            reasoning_tokens: self.reasoning_tokens,
        })
    }

    /// The text of the last user message, or of the last message without one.
    #[must_use]
    pub fn last_user_text(&self) -> &str {
        let last_user = self.messages.iter().rfind(|message| message.role == Role::User);
        last_user.or(self.messages.last()).map_or("", |message| &message.text)
    }

    /// Tokens of all messages, counted per message.
    #[must_use]
    pub fn input_tokens(&self) -> u64 {
        self.messages.iter().map(|message| count_tokens(&message.text)).sum::<u64>().max(1)
    }

    /// A number that depends on the model, the messages, the seed and the candidate.
    pub(super) fn fingerprint(&self, candidate: usize) -> u64 {
        let mut hash = Fingerprint::default();
        hash.add(self.model.as_bytes());
        for message in &self.messages {
            hash.add(&[message.role as u8]);
            hash.add(message.text.as_bytes());
        }
        hash.add(&self.seed.unwrap_or_default().to_le_bytes());
        hash.add(&candidate.to_le_bytes());
        hash.value()
    }

    /// Creates an answer from `text`, cut at stop sequences and at the token limit.
    pub(super) fn finish_text(&self, mut text: String) -> Answer {
        let mut finish = Finish::Stop;
        let stops = self.stop.iter().filter(|stop| !stop.is_empty());
        if let Some((at, stop)) = stops.filter_map(|stop| Some((text.find(&**stop)?, stop))).min() {
            text.truncate(at);
            finish = Finish::Sequence(stop.to_string());
        }
        if let Some(limit) = self.max_tokens.filter(|limit| count_tokens(&text) > *limit) {
            text.truncate(tokens::longest_prefix(&text, limit));
            finish = Finish::Length;
        }
        Answer { tokens: count_tokens(&text), content: Content::Text(text), finish }
    }
}
