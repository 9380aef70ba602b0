//! A conversation with a model, with memory.

use super::{ConversationMemory, SessionHistory};
use crate::session::Sessions;
use crate::{Chain, Context, IntoChain, Message, Node, Prompt, Result, Runnable, Streaming, chain};

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
    use crate::session::Session;
    use crate::stores::MemorySessions;
    use crate::{ChatModel, Error, ErrorKind, Model, Part, Role, ToolCall, ToolResult, prompt};

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
