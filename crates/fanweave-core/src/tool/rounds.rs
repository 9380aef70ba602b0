//! The tool loop: call the model, call the tools, repeat.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Tools, Transcript, WithTools};
use crate::chain::{Chain, chain};
use crate::context::memory;
use crate::prompt::Window;
use crate::run::run_streamed;
use crate::runnable::DeltaMap;
use crate::{
    Context, Delta, Error, ErrorKind, Message, Node, Parameters, Part, Prompt, Result, Role, Runnable,
    Streaming, ToolChoice, ToolResult, Usage,
};

/// Default maximum number of consecutive rounds in which every tool call fails. 3: an error, a failed
/// correction, and one more.
pub const DEFAULT_MAX_FAILURES: NonZeroU32 = NonZeroU32::new(3).expect("3 is not 0");

/// Default maximum bytes of the answers and results of a tool loop. 64 MiB: more than the largest context of
/// a model by far.
pub const DEFAULT_MAX_TRANSCRIPT_BYTES: u64 = 64 << 20;

/// Calls a model, runs the tools that it calls, sends it their results and repeats, until it answers without
/// a tool call: a step from [`Prompt`] to [`Message`]. Made by [`WithTools::run_tools`].
///
/// The answer is the model's last message. Its reply counts the tokens and the requests of all rounds; each
/// model call and each tool call emits events as a separate step. [`transcript`](Self::transcript) returns
/// the whole conversation.
///
/// # Streaming
/// Text and reasoning of every round are emitted as they arrive, because a model may still call a tool after
/// its text. Each round has its own part numbers, which tell the text before a tool call from the answer.
/// Tool calls and their results are not deltas; the run's [`events`](Chain::events) contain them.
///
/// # Cancellation
/// Dropping the future ends the call of the model and those of the tools. A retry around the loop starts from
/// the first round, and so calls the tools again.
///
/// # Errors
/// [`ErrorKind::RecursionLimit`] if the model still calls tools in its last round, [`ErrorKind::Input`] if
/// the answers and results are longer than [`max_transcript_bytes`](Self::max_transcript_bytes),
/// [`ErrorKind::Step`] if all tool calls failed in too many consecutive rounds, that of a tool with
/// [`ToolErrors::Raise`](super::ToolErrors::Raise), or the model's own error. [`Transcript::of`] returns the
/// conversation until then.
#[derive(Debug, Clone)]
pub struct RunTools {
    with: WithTools,
    max_rounds: u32,
    max_failures: NonZeroU32,
    window: Option<Window>,
    at_limit: AtLimit,
    max_transcript_bytes: u64,
}

/// The end of a tool loop whose model still calls tools in its last round, or whose tools fail in too many
/// rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum AtLimit {
    /// The run fails.
    #[default]
    Error,
    /// The model is asked for an answer without a tool call, from the results so far: its last request has
    /// [`ToolChoice::None`]. A model that calls tools all the same fails the run.
    Answer,
}

/// The round of a tool loop that calls a model.
#[derive(Debug)]
pub(crate) struct ToolRound {
    /// Set in every round but the first.
    is_later: bool,
    tools: Tools,
}

impl ToolRound {
    /// Returns true if a choice that forces a tool call no longer applies: it is of the loop's own tools, and
    /// they have been called.
    pub(crate) fn frees(&self, parameters: &Parameters) -> bool {
        self.is_later && parameters.tools.iter().map(|tool| &*tool.name).eq(self.tools.names())
    }
}

impl WithTools {
    /// Runs the tools that the model calls and sends it their results, with at most `max_rounds` requests to
    /// the model. 0 fails every run with [`ErrorKind::Config`].
    ///
    /// A [`ToolChoice`] that forces a call applies to the first round, whether the prompt, a model or a model
    /// within fallbacks sets it; after it the model decides.
    ///
    /// ```
    /// use fanweave::{Context, Result, Tools, chain, testing::Fake, text, tools::TypedTool};
    /// use fanweave::crates::serde_json::{Value, json};
    ///
    /// #[fanweave::schema]
    /// struct Now {}
    ///
    /// impl TypedTool for Now {
    ///     const NAME: &'static str = "now";
    ///     const DESCRIPTION: &'static str = "Says what time it is.";
    ///
    ///     fn parameters() -> Value {
    ///         json!({ "type": "object", "properties": {} })
    ///     }
    ///
    ///     async fn run_tool(self, _cx: &Context) -> Result<String> {
    ///         Ok("12:00".into())
    ///     }
    /// }
    ///
    /// # fn main() -> Result<()> { fanweave::blocking::wait(async {
    /// let agent = Fake::echo().model().with_tools(Tools::new().with::<Now>()).run_tools(5) | text();
    /// assert_eq!(agent.invoke("No tool needed.").await?, "No tool needed.");
    /// # Ok(())
    /// # }) }
    /// ```
    pub fn run_tools(self, max_rounds: u32) -> RunTools {
        RunTools {
            with: self,
            max_rounds,
            max_failures: DEFAULT_MAX_FAILURES,
            window: None,
            at_limit: AtLimit::default(),
            max_transcript_bytes: DEFAULT_MAX_TRANSCRIPT_BYTES,
        }
    }
}

impl RunTools {
    /// Ends the run after `n` consecutive rounds in which every tool call failed. Default
    /// [`DEFAULT_MAX_FAILURES`]. A round with a successful call resets the count.
    #[must_use]
    pub fn max_failures(self, n: NonZeroU32) -> Self {
        Self { max_failures: n, ..self }
    }

    /// Sends the model only a window of the conversation in each round, so that results of earlier rounds do
    /// not exceed its context. The transcript keeps all messages. Default: all messages are sent.
    ///
    /// ```
    /// use fanweave::{prompts::Window, testing::Fake, tools::Tools};
    ///
    /// let model = Fake::echo().model().with_tools(Tools::new());
    /// let agent = model.run_tools(20).window(Window::tokens(100_000).shorten_results(2000));
    /// # let _ = agent;
    /// ```
    #[must_use]
    pub fn window(self, window: Window) -> Self {
        Self { window: Some(window), ..self }
    }

    /// Sets the maximum bytes of the model's answers and the tools' results of a run, all rounds together.
    /// Default [`DEFAULT_MAX_TRANSCRIPT_BYTES`]. A run that exceeds it fails with [`ErrorKind::Input`].
    ///
    /// ```
    /// use fanweave::{Tools, testing::Fake};
    ///
    /// let agent = Fake::echo().model().with_tools(Tools::new()).run_tools(50).max_transcript_bytes(1 << 20);
    /// # let _ = agent;
    /// ```
    #[must_use]
    pub fn max_transcript_bytes(self, bytes: u64) -> Self {
        Self { max_transcript_bytes: bytes, ..self }
    }

    /// The effect of the limits of rounds and failures. Default [`AtLimit::Error`].
    ///
    /// ```
    /// use fanweave::{Tools, chain, testing::Fake, tools::AtLimit};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let model = Fake::echo().model().with_tools(Tools::new());
    /// let agent = chain(model.run_tools(5).at_limit(AtLimit::Answer));
    /// assert_eq!(agent.invoke("hello").await?.text(), "hello");
    /// # Ok(())
    /// # }) }
    /// ```
    #[must_use]
    pub fn at_limit(self, at_limit: AtLimit) -> Self {
        Self { at_limit, ..self }
    }

    /// The same loop as a step that returns the whole conversation.
    pub fn transcript(self) -> Chain<Prompt, Transcript> {
        chain(WithTranscript(self))
    }

    /// Runs the loop, and records its messages for the history of a session.
    async fn recorded(&self, prompt: Prompt, cx: &Context) -> Result<Transcript> {
        let before = prompt.messages.len();
        let transcript = self.rounds(prompt, cx).await?;
        cx.record(|| transcript.messages[before..].to_vec());
        Ok(transcript)
    }

    async fn rounds(&self, mut prompt: Prompt, cx: &Context) -> Result<Transcript> {
        self.with.tools.ready()?;
        if self.max_rounds == 0 {
            let message = "run_tools needs at least 1 round: each round is one request to the model";
            return Err(Error::new(ErrorKind::Config, message));
        }
        self.with.offer(&mut prompt);
        let choice = &prompt.parameters.tool_choice;
        let is_forced = matches!(choice, Some(ToolChoice::Required | ToolChoice::Tool(_)));
        let mut transcript = Transcript { messages: prompt.messages, ..Transcript::default() };
        let (mut parameters, body) = (prompt.parameters, prompt.body);
        let mut failed_rounds = 0;
        let mut bytes_left = self.max_transcript_bytes;
        let parts = Arc::new(AtomicU32::new(0));
        loop {
            let messages = transcript.messages.clone();
            let messages = match &self.window {
                Some(window) => window.apply(messages),
                None => messages,
            };
            let is_last =
                transcript.rounds + 1 == self.max_rounds || failed_rounds >= self.max_failures.get();
            if is_last && self.at_limit == AtLimit::Answer {
                parameters.tool_choice = Some(ToolChoice::None);
                transcript.ended_at_limit = true;
            }
            let prompt = Prompt { messages, parameters: parameters.clone(), body: body.clone() };
            let round = ToolRound { is_later: transcript.rounds > 0, tools: self.with.tools.clone() };
            let streams_as = cx.mapped(Box::new(Round::new(&transcript, parts.clone())));
            let streams_as = streams_as.with_extension(Arc::new(round));
            let message = match run_streamed(&self.with.model, prompt, &streams_as).await {
                Ok(message) => message,
                Err(error) => return Err(transcript.tool_loop_error(error)),
            };
            transcript.rounds += 1;
            transcript.usage += message.usage();
            let has_calls = message.tool_calls().next().is_some();
            let bytes = memory::of_message(&message);
            transcript.messages.push(message);
            if !has_calls {
                return Ok(transcript);
            }
            let Some(left) = bytes_left.checked_sub(bytes) else {
                return Err(transcript.tool_loop_error(too_long()));
            };
            if transcript.rounds >= self.max_rounds {
                return Err(self.too_many_rounds(transcript));
            }
            if failed_rounds >= self.max_failures.get() {
                return Err(self.too_many_failures(transcript));
            }
            let results = self.with.tools.execute_or_raise(transcript.answer(), left, cx).await?;
            let of_result = |result: &ToolResult| memory::of_parts(&result.parts);
            bytes_left = left.saturating_sub(results.iter().map(of_result).sum());
            failed_rounds = if results.iter().all(|result| result.is_error) { failed_rounds + 1 } else { 0 };
            let direct = self.with.tools.direct_answer(transcript.answer(), &results);
            let results = results.into_iter().map(Part::ToolResult).collect();
            transcript.messages.push(Message::from_parts(Role::Tool, results));
            if let Some(answer) = direct {
                let part = parts.load(Ordering::Relaxed);
                cx.delta(Delta::Text { part, text: answer.clone() }).await;
                transcript.messages.push(Message::assistant(answer));
                transcript.returned_direct = true;
                return Ok(transcript);
            }
            if failed_rounds >= self.max_failures.get() && self.at_limit == AtLimit::Error {
                return Err(self.too_many_failures(transcript));
            }
            if is_forced {
                parameters.tool_choice = Some(ToolChoice::Auto);
            }
        }
    }

    fn too_many_rounds(&self, transcript: Transcript) -> Error {
        let message = format!(
            "the model still calls tools in round {} of {}; raise max_rounds of run_tools, or check the calls:\n{}",
            transcript.rounds,
            self.max_rounds,
            transcript.summary()
        );
        let error = Error::new(ErrorKind::RecursionLimit, message).with_partial(transcript.answer().clone());
        transcript.tool_loop_error(error)
    }

    fn too_many_failures(&self, transcript: Transcript) -> Error {
        let message = format!(
            "every tool call failed in {} consecutive rounds; raise max_failures, or check the errors:\n{}",
            self.max_failures,
            transcript.summary()
        );
        transcript.tool_loop_error(Error::new(ErrorKind::Step, message))
    }
}

/// The error of a loop whose answers and results are too long.
pub(super) fn too_long() -> Error {
    let message = "the answers and results of the tool loop are longer than max_transcript_bytes of run_tools: \
                   raise it, or return less from the tools";
    Error::new(ErrorKind::Input, message)
}

impl Runnable for RunTools {
    const DRIVES_CALLS: bool = true;

    type Input = Prompt;
    type Output = Message;

    async fn run(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let transcript = self.recorded(prompt, cx).await?;
        Ok(transcript.into_answer())
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        let model = self.with.describe();
        let models = if self.max_rounds > 1 { model.models() } else { 0 };
        Node::around(format!("tools, at most {} rounds", self.max_rounds), [model]).with_models(models)
    }
}

/// The loop with the whole conversation as its output.
struct WithTranscript(RunTools);

impl Runnable for WithTranscript {
    const DRIVES_CALLS: bool = true;

    type Input = Prompt;
    type Output = Transcript;

    async fn run(&self, prompt: Prompt, cx: &Context) -> Result<Transcript> {
        self.0.recorded(prompt, cx).await
    }

    fn describe(&self) -> Node {
        self.0.describe()
    }
}

/// Turns deltas of one round into deltas of the whole answer.
struct Round {
    is_first: bool,
    /// Set once the model has begun a tool call. Some providers then report the finish reason of an answer.
    has_calls: bool,
    /// Tokens of the previous rounds.
    used: Usage,
    /// The first part number of this round.
    from: u32,
    /// The first part number that no earlier round uses.
    next: Arc<AtomicU32>,
}

impl Round {
    fn new(before: &Transcript, next: Arc<AtomicU32>) -> Self {
        let from = next.load(Ordering::Relaxed);
        Self { is_first: before.rounds == 0, has_calls: false, used: before.usage, from, next }
    }

    fn shift(&self, part: u32) -> u32 {
        let part = self.from.saturating_add(part);
        self.next.fetch_max(part.saturating_add(1), Ordering::Relaxed);
        part
    }
}

impl DeltaMap for Round {
    fn map(&mut self, delta: Delta) -> Option<Delta> {
        Some(match delta {
            Delta::Text { part, text } => Delta::Text { part: self.shift(part), text },
            Delta::Reasoning { part, text, signature } => {
                Delta::Reasoning { part: self.shift(part), text, signature }
            }
            Delta::Other { part, value } => Delta::Other { part: self.shift(part), value },
            Delta::Part { part, content } => Delta::Part { part: self.shift(part), content },
            Delta::Usage(usage) => {
                let mut all = self.used;
                all += usage;
                Delta::Usage(all)
            }
            Delta::ToolCall { .. } => {
                self.has_calls = true;
                return None;
            }
            // The answer continues in the next round.
            Delta::Finished(_) if self.has_calls => return None,
            Delta::Started { .. } if !self.is_first => return None,
            other => other,
        })
    }
}
