//! The conversation of a tool loop.

use std::error::Error as StdError;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::excerpt;
use crate::{EXCERPT_BYTES, Error, Message, Part, Usage};

/// Maximum bytes of one call or result in the text of an error. 120: a line.
const LINE_BYTES: usize = 120;

/// The whole conversation of a run of [`run_tools`](super::WithTools::run_tools), from the prompt to the
/// answer.
///
/// ```
/// use fanweave::{Tools, testing::Fake};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let agent = Fake::echo().model().with_tools(Tools::new()).run_tools(5);
/// let transcript = agent.transcript().invoke("hello").await?;
/// assert_eq!(transcript.messages.len(), 2);
/// assert_eq!(transcript.answer().text(), "hello");
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Transcript {
    /// The messages of the prompt, those of the model, and the tools' results, in order. Each message of the
    /// model has the usage of its own call.
    pub messages: Vec<Message>,
    /// Number of requests to the model.
    pub rounds: u32,
    /// Tokens of all rounds.
    pub usage: Usage,
    /// Set if the answer was asked for at a limit: see [`AtLimit::Answer`](super::AtLimit::Answer).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended_at_limit: bool,
    /// Set if the answer is the result of a tool: see [`Tools::return_direct`](super::Tools::return_direct).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub returned_direct: bool,
}

impl Transcript {
    /// The conversation before a run of [`run_tools`](super::WithTools::run_tools) failed, if `error` is of
    /// such a run.
    ///
    /// Also found if steps around the loop have added to the error.
    pub fn of(error: &Error) -> Option<&Transcript> {
        let mut source = StdError::source(error);
        while let Some(error) = source {
            if let Some(broken) = error.downcast_ref::<ToolLoopError>() {
                return Some(&broken.transcript);
            }
            source = error.source();
        }
        None
    }

    /// The last message: the model's answer, if the run succeeded. An empty message without messages.
    pub fn answer(&self) -> &Message {
        static NOTHING: Message = Message::from_parts(crate::Role::Assistant, Vec::new());
        self.messages.last().unwrap_or(&NOTHING)
    }

    /// The answer, with the tokens and requests of all rounds in its reply.
    pub fn into_answer(mut self) -> Message {
        let attempts = self.replies().map(|reply| reply.attempts).fold(0, u32::saturating_add);
        let all_cached = self.replies().all(|reply| reply.cached);
        let paid = self.replies().filter(|reply| !reply.cached && self.rounds > 1);
        let mut rounds: Box<[_]> = paid.map(|reply| (reply.model.clone(), reply.usage)).collect();
        rounds.reverse();
        let Some(mut answer) = self.messages.pop() else { return self.answer().clone() };
        if self.returned_direct {
            answer.reply = Some(Box::default());
        }
        if let Some(reply) = &mut answer.reply {
            reply.usage = self.usage;
            reply.attempts = attempts;
            reply.cached = all_cached;
            reply.rounds = rounds;
        }
        answer
    }

    /// The replies to the model's messages of this run.
    fn replies(&self) -> impl Iterator<Item = &crate::Reply> {
        let of_model = self.messages.iter().rev().filter(|message| message.role == crate::Role::Assistant);
        let answers = self.rounds as usize + usize::from(self.returned_direct);
        of_model.take(answers).filter_map(|message| message.reply.as_deref())
    }

    /// `error`, with this transcript attached.
    pub(super) fn tool_loop_error(self, error: Error) -> Error {
        error.clone().with_source(ToolLoopError { transcript: self, error })
    }
}

/// The calls and results, one per line.
impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for message in &self.messages {
            for part in &message.parts {
                match part {
                    Part::ToolCall(call) => {
                        writeln!(f, "call {}({})", call.name, excerpt(&call.arguments, LINE_BYTES))?;
                    }
                    Part::ToolResult(result) => {
                        let kind = if result.is_error { "error" } else { "result" };
                        writeln!(f, "{kind} {}", excerpt(&result.text(), LINE_BYTES))?;
                    }
                    Part::Text(text) => {
                        let role = format!("{:?}", message.role).to_lowercase();
                        writeln!(f, "{role}: {}", excerpt(text, LINE_BYTES))?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

impl Transcript {
    /// The end of the conversation for the text of an error: at most [`EXCERPT_BYTES`], whole lines.
    pub(super) fn summary(&self) -> String {
        let all = self.to_string();
        let lines: Vec<_> = all.lines().collect();
        let mut size = 0;
        let fits = lines.iter().rev().take_while(|line| {
            size += line.len() + 1;
            size <= EXCERPT_BYTES
        });
        let from = lines.len() - fits.count();
        let mut summary = lines[from..].join("\n");
        if from > 0 {
            summary.insert_str(0, "…\n");
        }
        summary
    }
}

/// The error of a loop that failed.
#[derive(Debug)]
struct ToolLoopError {
    transcript: Transcript,
    error: Error,
}

impl fmt::Display for ToolLoopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the tool loop failed after {} rounds: {}", self.transcript.rounds, self.error)
    }
}

impl StdError for ToolLoopError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}
