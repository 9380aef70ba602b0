//! A history for any chain: the messages of its session are added to its input, and those of the run are
//! saved.

use std::any::Any;
use std::sync::Arc;

use fanweave_core::context::Recording;
use serde_json::Value;

use super::ConversationMemory;
use crate::session::Sessions;
use crate::{
    Chain, Context, Error, ErrorKind, IntoChain, Message, Node, Part, Prompt, Result, Role, Runnable,
    Streaming, Vars, chain,
};

/// Gives chains a history: the earlier messages of a session precede the input, and the messages of each
/// successful run are saved.
///
/// The session is that of the context ([`Context::with_session`]). Chains from [`Prompt`] get the messages
/// after the system messages of the prompt; chains from [`Vars`] get them as a [variable](Self::variable),
/// for [`Chat::history`](crate::prompts::Chat::history).
///
/// Saved are the messages of the user, and those of the last model call of the run: of a tool loop all calls
/// and results. If the output is a text or a message, it is saved as the answer. A run that fails or is
/// dropped saves nothing, and neither does a run with an empty answer, because providers reject a history
/// with one. Concurrent runs of a session lose no messages. Within a chain with a history, a chain with its
/// own saves its messages there only.
///
/// ```
/// use fanweave::chains::{ConversationMemory, SessionHistory};
/// use fanweave::prompts::chat;
/// use fanweave::{Context, stores::MemorySessions, testing::Fake, text, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let sessions = MemorySessions::sessions();
/// let history = SessionHistory::new(sessions.clone(), ConversationMemory::window(10)).question("question");
/// let answer = chat().system("Be kind.").history("history").user("{{ question }}") | Fake::echo() | text();
/// let answer = history.over(answer);
///
/// let ada = Context::new().with_session("ada");
/// answer.invoke_in(vars! { question: "hello" }, &ada).await?;
/// answer.invoke_in(vars! { question: "and now?" }, &ada).await?;
/// assert_eq!(sessions.load("ada").await?.messages.len(), 4);
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug, Clone)]
pub struct SessionHistory {
    sessions: Sessions,
    memory: ConversationMemory,
    variable: Arc<str>,
    question: Arc<str>,
    session: Option<Arc<str>>,
}

impl SessionHistory {
    /// Histories in `sessions`, remembered by the policy `memory`.
    pub fn new(sessions: Sessions, memory: ConversationMemory) -> Self {
        Self { sessions, memory, variable: "history".into(), question: "input".into(), session: None }
    }

    /// The variable that receives the messages. Default `history`. Chains from [`Vars`] only.
    #[must_use]
    pub fn variable(self, name: impl Into<Arc<str>>) -> Self {
        Self { variable: name.into(), ..self }
    }

    /// The variable that is saved as the message of the user: a text, or messages in any form that
    /// [`Message::read_all`] reads. Default `input`. Chains from [`Vars`] only.
    #[must_use]
    pub fn question(self, name: impl Into<Arc<str>>) -> Self {
        Self { question: name.into(), ..self }
    }

    /// Takes the id of the session from a variable, such as for the rows of a batch. Default: that of the
    /// context, which is also used for rows without the variable. Chains from [`Vars`] only.
    #[must_use]
    pub fn session_from(self, name: impl Into<Arc<str>>) -> Self {
        Self { session: Some(name.into()), ..self }
    }

    /// The chain with a history.
    ///
    /// # Errors
    /// A run fails with [`ErrorKind::Config`] without a session, and with [`ErrorKind::Input`] if the input
    /// has no message of the user. The errors of the chain and of the store fail it too. If only a summary
    /// fails, the messages have been saved, and the next run retries it.
    pub fn over<I, O, M>(self, of: impl IntoChain<I, O, M>) -> Chain<I, O>
    where
        I: HistoryInput,
        O: Send + 'static,
    {
        chain(WithHistory { history: self, inner: of.into_chain() })
    }

    /// The remembered messages of a session.
    pub(super) async fn load(&self, id: &str) -> Result<Vec<Message>> {
        Ok(self.memory.recall(self.sessions.load(id).await?))
    }

    /// Runs a chain, and saves the messages `new` and those that it adds.
    pub(super) async fn save<I: Send + 'static, O: Send + 'static>(
        &self,
        (chain, input): (&Chain<I, O>, I),
        id: &str,
        mut new: Vec<Message>,
        cx: &Context,
    ) -> Result<O> {
        let recording = Arc::new(Recording::default());
        let output = chain.run(input, &cx.clone().with_extension(recording.clone())).await?;
        let answers = with_answer(recording.take(), &output);
        if answers.last().is_none_or(is_blank) {
            return Ok(output);
        }
        new.extend(answers);
        for message in &mut new {
            message.reply = None;
        }
        self.sessions.append(id, new).await?;
        let cx = cx.without_deltas().without_extension::<Recording>();
        self.memory.tidy(&self.sessions, id, &cx).await?;
        Ok(output)
    }

    pub(super) fn summary(&self) -> Option<Node> {
        self.memory.summary_node()
    }
}

/// The messages of a run, ending with its output if that is an answer.
fn with_answer<O: 'static>(mut recorded: Vec<Message>, output: &O) -> Vec<Message> {
    let output: &dyn Any = output;
    let answer = match (output.downcast_ref::<String>(), output.downcast_ref::<Message>()) {
        (Some(text), _) => Message::assistant(text),
        (_, Some(message)) => message.clone(),
        _ => return recorded,
    };
    match recorded.last_mut() {
        // The model's own message keeps its reasoning.
        Some(last) if last.text().trim() == answer.text().trim() => {}
        Some(last) if last.role == Role::Assistant && last.tool_calls().next().is_none() => *last = answer,
        _ => recorded.push(answer),
    }
    recorded
}

/// Returns true if a provider would see an empty message.
fn is_blank(message: &Message) -> bool {
    message.parts.iter().all(|part| match part {
        Part::Text(text) => text.trim().is_empty(),
        Part::Reasoning { .. } => true,
        _ => false,
    })
}

/// Inputs that take a history: [`Prompt`] and [`Vars`]. Implemented by fanweave only.
pub trait HistoryInput: sealed::Input {}

impl HistoryInput for Prompt {}
impl HistoryInput for Vars {}

mod sealed {
    use super::*;

    pub trait Input: Send + 'static {
        /// The id of the session, if the input has one.
        fn session(&self, history: &SessionHistory) -> Result<Option<String>>;

        /// The messages of the user.
        fn new_messages(&self, history: &SessionHistory) -> Result<Vec<Message>>;

        /// The input after the earlier messages.
        fn with_history(self, remembered: Vec<Message>, history: &SessionHistory) -> Result<Self>
        where
            Self: Sized;
    }

    impl Input for Prompt {
        fn session(&self, _: &SessionHistory) -> Result<Option<String>> {
            Ok(None)
        }

        fn new_messages(&self, _: &SessionHistory) -> Result<Vec<Message>> {
            Ok(self.messages.iter().filter(|message| message.role != Role::System).cloned().collect())
        }

        fn with_history(mut self, remembered: Vec<Message>, _: &SessionHistory) -> Result<Self> {
            let system = self.messages.iter().take_while(|message| message.role == Role::System).count();
            self.messages.splice(system..system, remembered);
            Ok(self)
        }
    }

    impl Input for Vars {
        fn session(&self, history: &SessionHistory) -> Result<Option<String>> {
            let Some(name) = &history.session else { return Ok(None) };
            match self.get(name) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(id)) => Ok(Some(id.clone())),
                Some(Value::Number(id)) => Ok(Some(id.to_string())),
                Some(_) => Err(invalid(format!("the session `{name}` must be a text or a number"))),
            }
        }

        fn new_messages(&self, history: &SessionHistory) -> Result<Vec<Message>> {
            let name = &history.question;
            match self.get(name) {
                None | Some(Value::Null) => {
                    let advice = "name the variable of the user's message by SessionHistory::question";
                    Err(invalid(format!(
                        "the history needs the variable `{name}`, which is missing; {advice}"
                    )))
                }
                Some(Value::String(text)) => Ok(vec![Message::user(text)]),
                Some(value) => Message::read_all(value),
            }
        }

        fn with_history(mut self, remembered: Vec<Message>, history: &SessionHistory) -> Result<Self> {
            let name = &history.variable;
            let remembered = serde_json::to_value(remembered).map_err(Error::step)?;
            let before = self.insert(name.to_string(), remembered);
            if before
                .is_some_and(|before| !before.is_null() && before.as_array().is_none_or(|b| !b.is_empty()))
            {
                return Err(invalid(format!(
                    "the variable `{name}` is set both by the caller and by the history"
                )));
            }
            Ok(self)
        }
    }

    fn invalid(message: String) -> Error {
        Error::new(ErrorKind::Input, message)
    }
}

struct WithHistory<I, O> {
    history: SessionHistory,
    inner: Chain<I, O>,
}

impl<I: HistoryInput, O: Send + 'static> Runnable for WithHistory<I, O> {
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = O;

    async fn run(&self, input: I, cx: &Context) -> Result<O> {
        let id = match input.session(&self.history)? {
            Some(id) => id,
            None => cx.session().map(str::to_owned).ok_or_else(no_session)?,
        };
        let new = input.new_messages(&self.history)?;
        if new.is_empty() {
            return Err(Error::new(
                ErrorKind::Input,
                "the history needs a message of the user: add one to the input",
            ));
        }
        let input = input.with_history(self.history.load(&id).await?, &self.history)?;
        self.history.save((&self.inner, input), &id, new, cx).await
    }

    fn streaming(&self) -> Streaming {
        self.inner.streaming()
    }

    fn describe(&self) -> Node {
        let inner = self.inner.describe();
        match self.history.summary() {
            Some(summary) => Node::sequence([inner, summary]),
            None => inner,
        }
    }
}

fn no_session() -> Error {
    let message = "the history has no session: set one with Context::with_session";
    Error::new(ErrorKind::Config, message)
}

#[cfg(test)]
mod tests;
