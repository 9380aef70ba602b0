//! Answers of the simulated model: a pure function of the request, without sockets, clocks or randomness.
//!
//! [`answer`] maps a [`ChatRequest`], the common form of all dialects, to a [`Reply`]. The same request
//! always gets the same reply. Latency, limits and faults are decided elsewhere.

mod echo;
mod embedding;
mod extract;
mod form;
mod pieces;
mod prose;
mod request;
mod schema;
mod steps;
mod stock;
mod tokens;
mod tools;
mod topic;
mod words;
mod writer;

pub use embedding::{default_dimensions, embed};
pub use pieces::pieces;
pub use request::{ChatMessage, ChatRequest, Format, Role, Tool, ToolChoice};
pub use tokens::count_tokens;

use crate::draw::Rng;

/// Kind of a simulated model, determined by its name.
///
/// ```
/// use fanweave_sim::answer::{ChatRequest, Content, Kind, answer};
///
/// assert_eq!(Kind::of_model("sim/echo"), Kind::Echo);
/// assert_eq!(Kind::of_model("gpt-5-mini"), Kind::Writer);
/// let echo = answer(&ChatRequest::new("echo", "123456789"));
/// assert_eq!(echo.answers[0].content, Content::Text("cbf43926 123456789".into()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Readable English that follows the prompt as far as it recognises the task. Obeys schemas and calls
    /// tools.
    Writer,
    /// `"{crc32 of the last user message as 8 hex digits} {that message}"`: cheap, and reveals answers that
    /// are assigned to the wrong question. Ignores schemas and tools.
    Echo,
}

impl Kind {
    /// [`Kind::Echo`] for `echo`, `sim/echo` and every other name that starts with `echo`; else
    /// [`Kind::Writer`].
    #[must_use]
    pub fn of_model(name: &str) -> Self {
        if name.strip_prefix("sim/").unwrap_or(name).starts_with("echo") { Self::Echo } else { Self::Writer }
    }
}

/// The complete reply to one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// One answer per requested candidate, at least one.
    pub answers: Vec<Answer>,
    /// Tokens of the prompt, see [`count_tokens`].
    pub input_tokens: u64,
    /// Total tokens of all answers, with the reasoning.
    pub output_tokens: u64,
    /// Tokens of the reasoning of all answers.
    pub reasoning_tokens: u64,
}

/// One candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The text or the tool calls.
    pub content: Content,
    /// Finish reason.
    pub finish: Finish,
    /// Tokens of the content, see [`count_tokens`].
    pub tokens: u64,
}

/// Content of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Plain text, or JSON if the request requires it.
    Text(String),
    /// At least one tool call.
    Calls(Vec<ToolCall>),
}

/// A tool call requested by the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolCall {
    /// 24 hex digits, unique within a conversation. Dialects add their own prefix.
    pub id: String,
    /// Name of the tool.
    pub name: String,
    /// A JSON object that conforms to the tool's schema.
    pub arguments: String,
}

/// Finish reason of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It is complete.
    Stop,
    /// It reached this stop sequence, which is not part of it.
    Sequence(String),
    /// It reached the token limit.
    Length,
    /// It waits for the results of its tool calls.
    ToolCalls,
}

/// Answers a request.
///
/// ```
/// use fanweave_sim::answer::{ChatRequest, Content, answer};
///
/// let reply = answer(&ChatRequest::new("sim/writer", "List 3 titles for an article about tidal power."));
/// let Content::Text(text) = &reply.answers[0].content else { unreachable!("no tools were offered") };
/// assert_eq!(text.lines().count(), 3);
/// assert!(text.contains("Tidal Power"));
/// ```
#[must_use]
pub fn answer(request: &ChatRequest<'_>) -> Reply {
    let answers: Vec<Answer> = match Kind::of_model(&request.model) {
        Kind::Echo => {
            let text = echo::answer(request.last_user_text());
            vec![request.finish_text(text); request.candidates.max(1)]
        }
        Kind::Writer => {
            let shortened = request.shortened();
            let read = shortened.as_ref().unwrap_or(request);
            (0..request.candidates.max(1)).map(|candidate| write(request, read, candidate)).collect()
        }
    };
    let reasoning_tokens = request.reasoning_tokens * answers.len() as u64;
    Reply {
        input_tokens: request.input_tokens(),
        output_tokens: answers.iter().map(|answer| answer.tokens).sum::<u64>() + reasoning_tokens,
        reasoning_tokens,
        answers,
    }
}

/// The writer's answer: tool calls if required, else an instance of the schema, else prose. It reads `read`,
/// the request or its shortened form.
fn write(request: &ChatRequest<'_>, read: &ChatRequest<'_>, candidate: usize) -> Answer {
    let mut rng = Rng::new(request.fingerprint(candidate));
    if let Some(calls) = tools::calls(read, &mut rng) {
        let tokens = calls.iter().map(|call| count_tokens(&call.name) + count_tokens(&call.arguments)).sum();
        return Answer { content: Content::Calls(calls), finish: Finish::ToolCalls, tokens };
    }
    let text = match &request.format {
        Format::Text => writer::write(read, &mut rng),
        Format::JsonObject => writer::write_json_object(read, &mut rng),
        Format::Schema(schema) => schema::instance(schema, &schema::Hints::of(read), &mut rng).to_string(),
    };
    request.finish_text(text)
}

#[cfg(test)]
mod tests;
