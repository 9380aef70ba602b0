//! Conversations with memory: earlier messages are loaded before each call, and new ones are saved after it.

use super::SessionHistory;
use super::retrieval::written;
use crate::prompt::Window;
use crate::session::{Session, Sessions};
use crate::{
    Chain, Context, IntoChain, Message, Model, Node, Prompt, Result, Runnable, Streaming, Vars, chain,
    prompt, vars,
};

/// The default prompt for summaries. Its variables are `summary`, the previous summary, and `lines`, the
/// messages since then.
pub const SUMMARY_PROMPT: &str =
    "Summarise the conversation in a few sentences. Keep names, numbers and decisions.

Summary so far: {{ summary }}

Conversation since:
{{ lines }}

New summary:";

/// Maximum tokens of messages in the prompt for a summary.
const MAX_SUMMARY_TOKENS: usize = 8000;

/// Memory policy of a conversation.
///
/// ```
/// use fanweave::chains::ConversationMemory;
///
/// let short = ConversationMemory::window(3);
/// # let _ = short;
/// ```
#[derive(Debug, Clone)]
pub struct ConversationMemory(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Buffer,
    Window(Window),
    Summary { model: Model, keep: usize, prompt: Chain<Vars, Prompt> },
}

impl ConversationMemory {
    /// Remembers all messages.
    pub fn buffer() -> Self {
        Self(Kind::Buffer)
    }

    /// Remembers the last `turns`: messages of the user with all that answers them. The store keeps all
    /// messages.
    pub fn window(turns: usize) -> Self {
        Self::windowed(Window::exchanges(turns))
    }

    /// Remembers the turns at the end that have at most `max` tokens together, and at least the last one. The
    /// store keeps all messages.
    pub fn tokens(max: usize) -> Self {
        Self::windowed(Window::tokens(max))
    }

    /// Remembers a [`Window`]. The store keeps all messages.
    pub fn windowed(window: Window) -> Self {
        Self(Kind::Window(window))
    }

    /// Remembers the last `turns` verbatim, and earlier messages as a summary by `model`. In the store, the
    /// summary replaces the messages that it summarises. It is updated whenever `turns` more have
    /// accumulated.
    pub fn summary(model: Model, turns: usize) -> Self {
        Self(Kind::Summary { model, keep: turns, prompt: prompt(SUMMARY_PROMPT) })
    }

    /// Replaces [`SUMMARY_PROMPT`]. Its variables are `summary` and `lines`. No effect without summaries.
    #[must_use]
    pub fn summary_prompt(mut self, prompt: Chain<Vars, Prompt>) -> Self {
        if let Kind::Summary { prompt: own, .. } = &mut self.0 {
            *own = prompt;
        }
        self
    }

    /// The remembered messages of a session.
    pub(super) fn recall(&self, session: Session) -> Vec<Message> {
        let Session { summary, messages } = session;
        let messages = match &self.0 {
            Kind::Window(window) => window.apply(messages),
            Kind::Buffer | Kind::Summary { .. } => Window::all().apply(messages),
        };
        let summary = summary.map(|summary| Message::system(format!("What was said before: {summary}")));
        summary.into_iter().chain(messages).collect()
    }

    /// The part of a diagram that summarises.
    pub(super) fn summary_node(&self) -> Option<Node> {
        match &self.0 {
            Kind::Summary { model, .. } => Some(Node::around("summary", [model.describe()])),
            Kind::Buffer | Kind::Window(_) => None,
        }
    }

    /// Summarises older messages if there are too many.
    pub(super) async fn tidy(&self, sessions: &Sessions, id: &str, cx: &Context) -> Result<()> {
        let Kind::Summary { model, keep, prompt } = &self.0 else { return Ok(()) };
        let mut old = sessions.load(id).await?;
        // Nothing is summarised before twice as many turns as are kept have accumulated.
        if Window::exchanges(keep.saturating_mul(2).saturating_sub(1)).start(&old.messages) == 0 {
            return Ok(());
        }
        old.messages.truncate(Window::exchanges(*keep).start(&old.messages));
        let lines = written(&old.messages, MAX_SUMMARY_TOKENS);
        let summary = old.summary.as_deref().unwrap_or("none");
        let message = model.run(prompt.run(vars! { summary: summary, lines: lines }, cx).await?, cx).await?;
        // If concurrent turns summarise, the first summary is kept.
        sessions.summarise(id, &old, message.into_text().trim().to_owned()).await
    }
}

/// A user message in a session.
///
/// ```
/// use fanweave::chains::ConversationInput;
///
/// let input = ConversationInput::new("ada", "hello");
/// assert_eq!(input.session, "ada");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationInput {
    /// Id of the session.
    pub session: String,
    /// Text of the user message.
    pub text: String,
}

impl ConversationInput {
    /// The message `text` in `session`.
    pub fn new(session: impl Into<String>, text: impl Into<String>) -> Self {
        Self { session: session.into(), text: text.into() }
    }
}

/// A conversation with a model, with memory.
///
/// Messages are loaded before the call and saved after it. A failed or dropped call does not change the
/// session, and neither does an answer without text: providers reject a history with one.
///
/// ```
/// use fanweave::chains::{ConversationMemory, ConversationInput, Conversation};
/// use fanweave::{stores::MemorySessions, testing::Fake};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let sessions = MemorySessions::sessions();
/// let memory = ConversationMemory::window(10);
/// let conversation = Conversation::new(Fake::echo().model(), sessions.clone(), memory).chain();
/// conversation.invoke(ConversationInput::new("ada", "hello")).await?;
/// conversation.invoke(ConversationInput::new("ada", "and now?")).await?;
/// assert_eq!(sessions.load("ada").await?.messages.len(), 4);
/// # Ok(())
/// # }) }
/// ```
///
/// # Errors
/// Those of the model and of the store. If only the summary fails, the answer has been saved, and the next
/// call retries the summary.
#[derive(Debug, Clone)]
pub struct Conversation {
    model: Chain<Prompt, Message>,
    history: SessionHistory,
    system: Option<String>,
}

impl Conversation {
    /// A conversation with `model`, stored in `sessions`, with the memory policy `memory`.
    ///
    /// The model may be any chain from [`Prompt`] to [`Message`], such as a tool loop, whose calls and
    /// results are then part of the session. For other chains, use [`SessionHistory`].
    pub fn new<M>(
        model: impl IntoChain<Prompt, Message, M>,
        sessions: Sessions,
        memory: ConversationMemory,
    ) -> Self {
        Self { model: model.into_chain(), history: SessionHistory::new(sessions, memory), system: None }
    }

    /// System message before all others. Default: none.
    #[must_use]
    pub fn system(self, text: impl Into<String>) -> Self {
        Self { system: Some(text.into()), ..self }
    }

    /// The chain, to invoke, stream, batch and compose.
    pub fn chain(self) -> Chain<ConversationInput, String> {
        chain(self).named("talk")
    }
}

impl Runnable for Conversation {
    type Input = ConversationInput;
    type Output = String;

    async fn run(&self, input: ConversationInput, cx: &Context) -> Result<String> {
        let ConversationInput { session, text } = input;
        let remembered = self.history.load(&session).await?;
        let system = self.system.iter().map(Message::system);
        let question = Message::user(text);
        let messages: Vec<_> = system.chain(remembered).chain([question.clone()]).collect();
        let prompt = Prompt::new(messages);
        Ok(self.history.save((&self.model, prompt), &session, vec![question], cx).await?.into_text())
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        Node::sequence([self.model.describe()].into_iter().chain(self.history.summary()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;
    use crate::model::fake::{Answer, Asked, Fake};
    use crate::stores::MemorySessions;
    use crate::{ChatModel, Error, ErrorKind, Part, Role, ToolCall, ToolResult};

    /// Answers with the number of messages, and records them.
    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<Vec<Vec<String>>>>);

    impl ChatModel for Recorder {
        fn name(&self) -> &str {
            "test/recorder"
        }

        async fn generate(&self, prompt: Prompt, _: &Context) -> Result<Message> {
            if prompt.last_user_text() == "fail" {
                return Err(Error::new(ErrorKind::Server, "down"));
            }
            let texts: Vec<_> = prompt.messages.iter().map(Message::text).collect();
            let answer = format!("a{}", texts.len());
            self.0.lock().unwrap().push(texts);
            Ok(Message::assistant(answer))
        }
    }

    async fn received(memory: ConversationMemory, texts: &[&str]) -> (Vec<Vec<String>>, Session) {
        let recorder = Recorder::default();
        let sessions = MemorySessions::sessions();
        let conversation = Conversation::new(Model::new(recorder.clone()), sessions.clone(), memory)
            .system("be kind")
            .chain();
        for text in texts {
            let _ = conversation.invoke(ConversationInput::new("s", *text)).await;
        }
        let received = recorder.0.lock().unwrap().clone();
        (received, sessions.load("s").await.unwrap())
    }

    #[tokio::test]
    async fn a_buffer_remembers_everything() {
        let (received, session) = received(ConversationMemory::buffer(), &["1", "2", "3"]).await;
        assert_eq!(received[2], ["be kind", "1", "a2", "2", "a4", "3"]);
        assert_eq!(session.messages.len(), 6);
    }

    #[tokio::test]
    async fn a_window_remembers_the_last_turns_and_keeps_all() {
        let (received, session) = received(ConversationMemory::window(1), &["1", "2", "3"]).await;
        assert_eq!(received[2], ["be kind", "2", "a4", "3"]);
        assert_eq!(session.messages.len(), 6);
    }

    #[tokio::test]
    async fn a_summary_replaces_earlier_messages() {
        let writer = Fake::script([Ok("they counted")]).model();
        let memory =
            ConversationMemory::summary(writer, 1).summary_prompt(prompt("{{ summary }}: {{ lines }}"));
        let (received, session) = received(memory, &["1", "2", "3"]).await;
        assert_eq!(received[2], ["be kind", "What was said before: they counted", "2", "a4", "3"]);
        assert_eq!(session.summary.as_deref(), Some("they counted"));
    }

    #[tokio::test(start_paused = true)]
    async fn concurrent_turns_lose_no_message_that_no_summary_has() {
        let writer = Fake::echo().latency(Duration::from_secs(1)).model();
        let memory =
            ConversationMemory::summary(writer, 1).summary_prompt(prompt("{{ summary }}; {{ lines }}"));
        let sessions = MemorySessions::sessions();
        sessions.append("s", vec![Message::user("one"), Message::assistant("1")]).await.unwrap();
        let conversation = Conversation::new(Fake::echo().model(), sessions.clone(), memory).chain();
        let say = |text| conversation.invoke(ConversationInput::new("s", text));
        tokio::try_join!(say("two"), say("three")).unwrap();
        let Session { summary, messages } = sessions.load("s").await.unwrap();
        let found = messages.iter().map(Message::text).chain(summary).collect::<Vec<_>>().join("; ");
        assert!(["one", "two", "three"].iter().all(|text| found.contains(text)), "{found}");
        say("four").await.unwrap();
        let Session { summary, messages } = sessions.load("s").await.unwrap();
        assert!(summary.unwrap().contains("three") && messages.len() == 2, "the next turn retries");
    }

    #[tokio::test]
    async fn a_window_of_any_width_is_one() {
        let (received, _) = received(ConversationMemory::window(usize::MAX), &["1", "2"]).await;
        assert_eq!(received[1], ["be kind", "1", "a2", "2"]);
    }

    #[tokio::test]
    async fn a_failed_call_does_not_change_the_session() {
        let (received, session) = received(ConversationMemory::buffer(), &["1", "fail", "2"]).await;
        assert_eq!(received[1], ["be kind", "1", "a2", "2"]);
        assert_eq!(session.messages.len(), 4);
    }

    #[tokio::test]
    async fn an_empty_answer_poisons_no_session() {
        let sessions = MemorySessions::sessions();
        let model = Fake::script([
            Answer::text("one"),
            Answer::text(" "),
            Answer::thinking("Hm."),
            Answer::text("four"),
        ]);
        let asked = Asked::default();
        let model = model.record_in(&asked).model();
        let conversation = Conversation::new(model, sessions.clone(), ConversationMemory::buffer()).chain();
        let mut answers = Vec::new();
        for text in ["1", "2", "3", "4"] {
            answers.push(conversation.invoke(ConversationInput::new("s", text)).await.unwrap());
        }
        assert_eq!(answers, ["one", " ", "", "four"]);
        let texts = |messages: Vec<Message>| messages.iter().map(Message::text).collect::<Vec<_>>();
        assert_eq!(texts(asked.last().unwrap().messages), ["1", "one", "4"]);
        assert_eq!(texts(sessions.load("s").await.unwrap().messages), ["1", "one", "4", "four"]);
    }

    #[tokio::test]
    async fn a_window_of_a_session_keeps_tool_calls_with_their_results() {
        let sessions = MemorySessions::sessions();
        let call = ToolCall::new("c1", "look", serde_json::json!({}));
        let calls = Message::from_parts(Role::Assistant, vec![Part::ToolCall(call)]);
        let result = Message::from_parts(Role::Tool, vec![Part::ToolResult(ToolResult::new("c1", "rain"))]);
        let turn = [Message::user("Rain?"), calls, result, Message::assistant("Yes.")];
        let stored = [vec![Message::user("Hello"), Message::assistant("Hi!")], turn.to_vec()].concat();
        sessions.append("s", stored).await.unwrap();
        for memory in [ConversationMemory::window(1), ConversationMemory::tokens(40)] {
            let asked = Asked::default();
            let model = Fake::script(["Bye!"]).record_in(&asked).model();
            let conversation = Conversation::new(model, sessions.clone(), memory).chain();
            conversation.invoke(ConversationInput::new("s", "And tomorrow?")).await.unwrap();
            let messages = asked.last().unwrap().messages;
            assert_eq!(messages[..4], turn);
            sessions.clear("s").await.unwrap();
            sessions.append("s", turn.to_vec()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn sessions_are_independent() {
        let model = Model::new(Recorder::default());
        let conversation =
            Conversation::new(model, MemorySessions::sessions(), ConversationMemory::buffer()).chain();
        let rows = conversation
            .batch((0..20).map(|n| ConversationInput::new(n.to_string(), "hello")))
            .collect()
            .await;
        assert!(rows.iter().all(|row| row.as_ref().unwrap() == "a1"));
    }
}
