//! One scripted answer of a fake model.

use std::time::Duration;

use serde_json::Value;

use crate::delta;
use crate::{Delta, Error, FinishReason, Part, ToolCall, Usage};

/// One scripted answer of a [`Fake`](super::Fake): its parts, its pace, its usage, or an error.
///
/// A text and a `Result` of a text are answers too.
///
/// ```
/// use fanweave::{Error, ErrorKind, testing::{Answer, Fake}};
/// use fanweave::crates::serde_json::json;
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let model = Fake::script([
///     Answer::calls([("add", json!({ "a": 1, "b": 2 }))]),
///     Answer::thinking("One and two.").then_text("3").usage(20, 5),
///     Answer::error(Error::new(ErrorKind::Server, "on strike")),
/// ])
/// .model();
/// let calls = model.invoke("1 + 2?").await?;
/// assert_eq!(calls.tool_calls().next().unwrap().name, "add");
/// let answer = model.invoke("1 + 2?").await?;
/// assert_eq!((answer.text().as_str(), answer.usage().total_tokens()), ("3", 25));
/// assert!(model.invoke("1 + 2?").await.is_err());
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub(super) parts: Vec<Part>,
    /// The chunks of the only text. Without them, texts are streamed word by word.
    pub(super) chunks: Vec<String>,
    pub(super) error: Option<Error>,
    /// Number of deltas before the error.
    pub(super) deltas_before_error: usize,
    pub(super) usage: Option<Usage>,
    pub(super) finish_reason: Option<FinishReason>,
    pub(super) latency: Option<Duration>,
    pub(super) pause: Option<Duration>,
}

impl Answer {
    /// A text, streamed word by word.
    pub fn text(text: impl Into<String>) -> Self {
        Self::parts(vec![Part::Text(text.into())])
    }

    /// A text, streamed in these chunks.
    pub fn chunks<T: Into<String>>(chunks: impl IntoIterator<Item = T>) -> Self {
        let chunks: Vec<String> = chunks.into_iter().map(Into::into).collect();
        Self { chunks: chunks.clone(), ..Self::text(chunks.concat()) }
    }

    /// Tool calls: the name of each tool and its arguments. The ids are `call_1`, `call_2`, .. over all
    /// answers of the model. Finishes with [`FinishReason::ToolCalls`].
    pub fn calls<N: Into<String>>(calls: impl IntoIterator<Item = (N, Value)>) -> Self {
        Self::default().then_calls(calls)
    }

    /// Reasoning.
    pub fn thinking(text: impl Into<String>) -> Self {
        Self::parts(vec![Part::reasoning(text)])
    }

    /// Any parts. Tool calls with an empty id get one, as in [`calls`](Self::calls).
    pub fn parts(parts: Vec<Part>) -> Self {
        Self { parts, ..Self::default() }
    }

    /// An error.
    pub fn error(error: Error) -> Self {
        Self { error: Some(error), ..Self::default() }
    }

    /// Appends a text.
    #[must_use]
    pub fn then_text(mut self, text: impl Into<String>) -> Self {
        self.chunks.clear();
        self.parts.push(Part::Text(text.into()));
        self
    }

    /// Appends tool calls, as in [`calls`](Self::calls).
    #[must_use]
    pub fn then_calls<N: Into<String>>(mut self, calls: impl IntoIterator<Item = (N, Value)>) -> Self {
        let calls = calls.into_iter().map(|(name, arguments)| ToolCall::new("", name, arguments));
        self.parts.extend(calls.map(Part::ToolCall));
        self
    }

    /// Sets the tokens of prompt and answer. Default: the number of words of each.
    #[must_use]
    pub fn usage(self, input_tokens: u64, output_tokens: u64) -> Self {
        Self { usage: Some(Usage::new(input_tokens, output_tokens)), ..self }
    }

    /// Sets the finish reason. Default: [`FinishReason::ToolCalls`] with tool calls, otherwise
    /// [`FinishReason::Stop`].
    #[must_use]
    pub fn finish(self, reason: FinishReason) -> Self {
        Self { finish_reason: Some(reason), ..self }
    }

    /// Waits this long before the answer, instead of the model's [`latency`](super::Fake::latency).
    #[must_use]
    pub fn latency(self, latency: Duration) -> Self {
        Self { latency: Some(latency), ..self }
    }

    /// Waits this long before every delta, even if the answer is not streamed, instead of the model's
    /// [`per_word`](super::Fake::per_word).
    #[must_use]
    pub fn pause(self, pause: Duration) -> Self {
        Self { pause: Some(pause), ..self }
    }

    /// Fails with `error` after `deltas` deltas of the answer. The error has the
    /// [partial answer](Error::partial) up to then.
    ///
    /// ```
    /// use fanweave::{Error, ErrorKind, testing::{Answer, Fake}};
    ///
    /// # fn main() { fanweave::blocking::wait(async {
    /// let reset = Error::new(ErrorKind::StreamIncomplete, "connection reset");
    /// let model = Fake::script([Answer::text("one two three").fail_after(2, reset)]).model();
    /// let error = model.invoke("Count.").await.unwrap_err();
    /// assert_eq!(error.partial().unwrap().text(), "one two ");
    /// # }) }
    /// ```
    #[must_use]
    pub fn fail_after(self, deltas: usize, error: Error) -> Self {
        Self { error: Some(error), deltas_before_error: deltas, ..self }
    }

    /// The deltas of the answer, in order: texts word by word or in their chunks, arguments comma by comma.
    pub(super) fn deltas(&self) -> impl Iterator<Item = Delta> {
        delta::of_parts(&self.parts).flat_map(|whole| -> Vec<Delta> {
            match whole {
                Delta::Text { part, .. } if !self.chunks.is_empty() => {
                    self.chunks.iter().map(|chunk| Delta::Text { part, text: chunk.clone() }).collect()
                }
                Delta::Text { part, text } => {
                    words(&text).map(|word| Delta::Text { part, text: word.to_owned() }).collect()
                }
                Delta::Reasoning { part, text, signature } => {
                    let mut deltas: Vec<_> = words(&text).map(|word| reasoning(part, word, None)).collect();
                    if signature.is_some() {
                        deltas.push(reasoning(part, "", signature));
                    }
                    deltas
                }
                Delta::ToolCall { part, id, name, arguments } => {
                    let named = Delta::ToolCall { part, id, name, arguments: String::new() };
                    let arguments = arguments.split_inclusive(',').map(|arguments| Delta::ToolCall {
                        part,
                        id: None,
                        name: None,
                        arguments: arguments.to_owned(),
                    });
                    [named].into_iter().chain(arguments).collect()
                }
                other => vec![other],
            }
        })
    }

    /// The number of words of all parts.
    pub(super) fn count_words(&self) -> u64 {
        let counts = self.parts.iter().map(|part| match part {
            Part::Text(text) | Part::Reasoning { text, .. } => super::words(text),
            Part::ToolCall(call) => super::words(&call.arguments),
            _ => 0,
        });
        counts.sum()
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(' ')
}

fn reasoning(part: u32, text: &str, signature: Option<String>) -> Delta {
    Delta::Reasoning { part, text: text.to_owned(), signature }
}

impl From<&str> for Answer {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl<T: Into<String>> From<crate::Result<T>> for Answer {
    fn from(answer: crate::Result<T>) -> Self {
        answer.map_or_else(Self::error, Self::text)
    }
}
