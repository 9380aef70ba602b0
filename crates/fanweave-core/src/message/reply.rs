//! Metadata of an answer.

use std::borrow::Cow;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::{Error, ErrorKind, Result};

/// Metadata of an answer, as the provider reports it.
///
/// ```
/// use fanweave::{Message, Usage, messages::Reply};
///
/// let reply = Reply::new().model("tiny-1").usage(Usage::new(12, 3)).attempts(1);
/// let answer = Message::assistant("Oslo").with_reply(reply);
/// assert_eq!(answer.usage().output_tokens, 3);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reply {
    /// The provider's id of the answer.
    pub id: Option<String>,
    /// The provider's id of the request, from its headers.
    pub request_id: Option<String>,
    /// The model that answered, verbatim.
    pub model: Option<String>,
    /// The finish reason.
    pub finish_reason: Option<FinishReason>,
    /// Tokens used.
    pub usage: Usage,
    /// Number of attempts for this answer. 0 if no request was sent. A hedged request is part of the same
    /// attempt: see [`EventKind::Hedged`](crate::EventKind::Hedged).
    pub attempts: u32,
    /// Set if the answer comes from a [store](crate::Model::cached) and cost nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
    /// Sources that the answer cites, in order. Empty for most models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub citations: Vec<Citation>,
    /// The provider's own body, if the model is configured to keep it, or the request
    /// [asks for more than one text](crate::Parameters::asks_for_choices).
    pub raw: Option<ReplyBody>,
    /// Calls of a tool loop, with the model that answered and the tokens of each. Empty for one call.
    #[serde(skip)]
    pub(crate) rounds: Box<[(Option<String>, Usage)]>,
}

impl Reply {
    /// A reply that says nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the provider's id of the answer.
    #[must_use]
    pub fn id(self, id: impl Into<String>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// Sets the provider's id of the request.
    #[must_use]
    pub fn request_id(self, id: impl Into<String>) -> Self {
        Self { request_id: Some(id.into()), ..self }
    }

    /// Sets the model that answered.
    #[must_use]
    pub fn model(self, model: impl Into<String>) -> Self {
        Self { model: Some(model.into()), ..self }
    }

    /// Sets the finish reason.
    #[must_use]
    pub fn finish_reason(self, reason: impl Into<Option<FinishReason>>) -> Self {
        Self { finish_reason: reason.into(), ..self }
    }

    /// Sets the tokens used.
    #[must_use]
    pub fn usage(self, usage: Usage) -> Self {
        Self { usage, ..self }
    }

    /// Sets the number of attempts.
    #[must_use]
    pub fn attempts(self, attempts: u32) -> Self {
        Self { attempts, ..self }
    }

    /// Says whether the answer comes from a store.
    #[must_use]
    pub fn cached(self, cached: bool) -> Self {
        Self { cached, ..self }
    }

    /// Sets the sources that the answer cites.
    #[must_use]
    pub fn citations(self, citations: impl IntoIterator<Item = Citation>) -> Self {
        Self { citations: citations.into_iter().collect(), ..self }
    }

    /// The model that answered and the tokens of each call: those of each round of a
    /// [tool loop](crate::tool::WithTools::run_tools), as long as the reply is not read from JSON, and of the
    /// only call otherwise. Prices that depend on the length of a prompt are those of one call.
    ///
    /// ```
    /// use fanweave::{Usage, messages::Reply};
    ///
    /// let reply = Reply::new().model("tiny-1").usage(Usage::new(12, 3));
    /// assert_eq!(reply.calls().collect::<Vec<_>>(), [(Some("tiny-1"), Usage::new(12, 3))]);
    /// ```
    pub fn calls(&self) -> impl Iterator<Item = (Option<&str>, Usage)> {
        let only = self.rounds.is_empty().then_some((self.model.as_deref(), self.usage));
        let rounds = self.rounds.iter().map(|(model, usage)| (model.as_deref(), *usage));
        only.into_iter().chain(rounds)
    }

    /// Sets the provider's own body.
    #[must_use]
    pub fn raw(self, body: ReplyBody) -> Self {
        Self { raw: Some(body), ..self }
    }
}

/// The body of an answer, byte for byte as the provider sent it: JSON, or the events of a stream.
///
/// In JSON it is written as the JSON itself, with spaces in place of line breaks, or as a string if it is not
/// JSON; bytes that are not UTF-8 are replaced. Read back from JSON, except from a journal, it means the same
/// but may spell numbers and spaces in another way.
///
/// ```
/// use fanweave::crates::serde_json::Value;
/// use fanweave::messages::ReplyBody;
///
/// let body = ReplyBody::new(r#"{"id": "a", "score": 1.00}"#);
/// assert_eq!(body.bytes(), br#"{"id": "a", "score": 1.00}"#);
/// assert_eq!(body.json::<Value>()?["id"], "a");
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ReplyBody(Arc<[u8]>);

impl ReplyBody {
    /// The body with these bytes.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(bytes.as_ref().into())
    }

    /// The bytes that the provider sent, after decompression.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The body as text. Bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The body, read as JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Parse`] if it is not JSON, such as that of a stream, or not of this type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(&self.0).map_err(|error| {
            Error::new(ErrorKind::Parse, "the body of the reply is not as expected").with_source(error)
        })
    }

    /// Returns true if the body is a JSON object.
    pub fn is_object(&self) -> bool {
        self.0.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<&RawValue>(&self.0).is_ok()
    }

    /// The body as JSON in one line. `None` if it is a string, or not JSON.
    fn one_line(&self) -> Option<Box<RawValue>> {
        let text = str::from_utf8(&self.0).ok()?;
        // In JSON, line ends are only between tokens. Journals have one record a line.
        let text =
            if text.contains(['\n', '\r']) { text.replace(['\n', '\r'], " ") } else { text.to_owned() };
        let json = RawValue::from_string(text).ok()?;
        (!json.get().starts_with('"')).then_some(json)
    }
}

impl std::fmt::Debug for ReplyBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ReplyBody").field(&self.text()).finish()
    }
}

impl Serialize for ReplyBody {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match self.one_line() {
            Some(json) => json.serialize(serializer),
            None => self.text().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ReplyBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        // Not a `RawValue`: fields of flattened and untagged types have no text any more.
        Ok(match Value::deserialize(deserializer)? {
            Value::String(text) => Self::new(text),
            json => Self::new(json.to_string()),
        })
    }
}

/// A source that an answer cites: a page, a document or a file.
///
/// ```
/// use fanweave::messages::{Citation, Reply};
///
/// let page = Citation::new().url("https://example.com/tides").title("Tides");
/// assert_eq!(Reply::new().citations([page]).citations[0].title.as_deref(), Some("Tides"));
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Citation {
    /// URL of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its title, or the name of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The text that is cited from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quote: Option<String>,
    /// The provider's own object, with positions in the answer or in the source. Null if it has no other
    /// fields.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub source: Value,
}

impl Citation {
    /// A citation that names nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the URL of the source.
    #[must_use]
    pub fn url(self, url: impl Into<String>) -> Self {
        Self { url: Some(url.into()), ..self }
    }

    /// Sets the title of the source.
    #[must_use]
    pub fn title(self, title: impl Into<String>) -> Self {
        Self { title: Some(title.into()), ..self }
    }

    /// Sets the text that is cited.
    #[must_use]
    pub fn quote(self, quote: impl Into<String>) -> Self {
        Self { quote: Some(quote.into()), ..self }
    }

    /// Sets the provider's own object.
    #[must_use]
    pub fn source(self, source: Value) -> Self {
        Self { source, ..self }
    }
}

/// Finish reason of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FinishReason {
    /// The answer is complete, or ended at a stop sequence.
    Stop,
    /// The answer reached the token limit.
    Length,
    /// The model calls tools.
    ToolCalls,
    /// A content filter ended the answer.
    ContentFilter,
    /// The model declined to answer.
    Refusal,
    /// Any other reason, verbatim.
    #[serde(untagged)]
    Other(String),
}

impl FinishReason {
    /// The name in results and journals: `stop`, `length`, ..
    pub fn as_str(&self) -> &str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::ToolCalls => "tool_calls",
            FinishReason::ContentFilter => "content_filter",
            FinishReason::Refusal => "refusal",
            FinishReason::Other(reason) => reason,
        }
    }

    /// The reason for an early end, by its name in results and journals or a vendor's own: a limit, a filter,
    /// a refusal or a pause. `None` for an answer that the model has ended.
    #[doc(hidden)]
    pub fn cut_by(name: &str) -> Option<Self> {
        // The usual names first.
        if matches!(name, "stop" | "tool_calls" | "STOP" | "end_turn" | "tool_use") {
            return None;
        }
        Some(match &*name.to_ascii_lowercase() {
            "length"
            | "max_tokens"
            | "max_output_tokens"
            | "model_length"
            | "max_length"
            | "token_limit"
            | "model_context_window_exceeded"
            | "context_window_exceeded"
            | "context_length_exceeded" => Self::Length,
            "content_filter"
            | "content_filtered"
            | "sensitive"
            | "safety"
            | "blocklist"
            | "prohibited_content"
            | "spii"
            | "recitation"
            | "language"
            | "image_safety"
            | "image_other"
            | "image_recitation"
            | "image_prohibited_content"
            | "guardrail_intervened"
            | "model_armor" => Self::ContentFilter,
            "refusal" => Self::Refusal,
            "pause_turn" | "incomplete" => Self::Other(name.to_owned()),
            _ => return None,
        })
    }
}

/// Token usage of one call or of many. Missing numbers count as zero.
///
/// ```
/// use fanweave::Usage;
///
/// let usage = Usage::new(1_000, 20).cached_tokens(800);
/// assert_eq!(usage.total_tokens(), 1_020);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the prompt, including cached ones.
    pub input_tokens: u64,
    /// Tokens of the answer, including reasoning.
    pub output_tokens: u64,
    /// Tokens of the prompt that the provider had cached.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cached_tokens: u64,
    /// Tokens of the prompt that the provider wrote to its cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_tokens: u64,
    /// Tokens of the answer that are reasoning.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning_tokens: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Usage {
    /// The usage of a prompt of `input_tokens`, including cached ones, and an answer of `output_tokens`,
    /// including reasoning.
    pub fn new(input_tokens: u64, output_tokens: u64) -> Self {
        Self { input_tokens, output_tokens, ..Self::default() }
    }

    /// Sets the tokens of the prompt.
    #[must_use]
    pub fn input_tokens(self, tokens: u64) -> Self {
        Self { input_tokens: tokens, ..self }
    }

    /// Sets the tokens of the answer.
    #[must_use]
    pub fn output_tokens(self, tokens: u64) -> Self {
        Self { output_tokens: tokens, ..self }
    }

    /// Sets the tokens of the prompt that the provider had cached.
    #[must_use]
    pub fn cached_tokens(self, tokens: u64) -> Self {
        Self { cached_tokens: tokens, ..self }
    }

    /// Sets the tokens of the prompt that the provider wrote to its cache.
    #[must_use]
    pub fn cache_write_tokens(self, tokens: u64) -> Self {
        Self { cache_write_tokens: tokens, ..self }
    }

    /// Sets the tokens of the answer that are reasoning.
    #[must_use]
    pub fn reasoning_tokens(self, tokens: u64) -> Self {
        Self { reasoning_tokens: tokens, ..self }
    }

    /// Tokens of prompt and answer together.
    pub fn total_tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        self.input_tokens = self.input_tokens.saturating_add(more.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(more.output_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(more.cached_tokens);
        self.cache_write_tokens = self.cache_write_tokens.saturating_add(more.cache_write_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(more.reasoning_tokens);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_survives_json_in_one_line() {
        for body in [r#"{"b":1.5,"a":null}"#, "[]", "7", "", "data: {}\n\n", r#""a \n""#] {
            let reply = Reply::new().raw(ReplyBody::new(body));
            let json = serde_json::to_string(&reply).unwrap();
            assert!(!json.contains('\n'), "{json}");
            assert_eq!(serde_json::from_str::<Reply>(&json).unwrap(), reply, "{json}");
        }
        let body = ReplyBody::new(r#"{"a":1.00,"n":12345678901234567890123,"a":2}"#);
        assert_eq!(serde_json::to_string(&body).unwrap().as_bytes(), body.bytes());
    }

    #[test]
    fn line_breaks_between_tokens_become_spaces() {
        let json = serde_json::to_string(&ReplyBody::new("{\r\n \"a\": 1\n}\n")).unwrap();
        assert_eq!(json, r#"{   "a": 1 }"#);
        let value = serde_json::to_value(ReplyBody::new("{\n\"a\": 1}")).unwrap();
        assert_eq!(serde_json::from_value::<ReplyBody>(value).unwrap().bytes(), br#"{"a":1}"#);
    }
}
