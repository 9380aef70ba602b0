//! Conversations that remember: what was said before is loaded before each call, and what is said is saved after it.

use futures::TryFutureExt;

use super::retrieval::written;
use crate::session::{Session, Sessions};
use crate::{Chain, Context, Message, Model, Prompt, Result, Runnable, Streaming, Vars, chain, prompt, vars};

/// The prompt that summarises what was said, unless another one is given. Its variables are `summary`, the one so far,
/// and `lines`, what was said since.
pub const SUMMARY_PROMPT: &str =
    "Summarise the conversation in a few sentences. Keep names, numbers and decisions.

Summary so far: {{ summary }}

Conversation since:
{{ lines }}

New summary:";

/// Tokens of messages that go into one summary.
const MAX_SUMMARY_TOKENS: usize = 8000;

/// How much of a conversation is remembered.
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
    Window(usize),
    Summary { model: Model, keep: usize, prompt: Chain<Vars, Prompt> },
}

impl ConversationMemory {
    /// All of it.
    pub fn buffer() -> Self {
        Self(Kind::Buffer)
    }

    /// The last `turns`: a turn is what the user said and what the model answered. All are kept in the store.
    pub fn window(turns: usize) -> Self {
        Self(Kind::Window(turns))
    }

    /// The last `turns` as they were said, and what came before in a summary that `model` writes. The store then keeps
    /// the summary in place of what it summarises. It is written once as many turns again have come together.
    pub fn summary(model: Model, turns: usize) -> Self {
        Self(Kind::Summary { model, keep: turns, prompt: prompt(SUMMARY_PROMPT) })
    }

    /// Another prompt in place of [`SUMMARY_PROMPT`], where there is one. Its variables are `summary` and `lines`.
    #[must_use]
    pub fn summary_prompt(mut self, prompt: Chain<Vars, Prompt>) -> Self {
        if let Kind::Summary { prompt: own, .. } = &mut self.0 {
            *own = prompt;
        }
        self
    }

    /// What is remembered of a session, as messages.
    fn recall(&self, session: Session) -> Vec<Message> {
        let Session { summary, mut messages } = session;
        if let Kind::Window(turns) = self.0 {
            messages.drain(..messages.len().saturating_sub(turns.saturating_mul(2)));
        }
        let summary = summary.map(|summary| Message::system(format!("What was said before: {summary}")));
        summary.into_iter().chain(messages).collect()
    }

    /// Summarises what has grown too long.
    async fn tidy(&self, sessions: &Sessions, id: &str, cx: &Context) -> Result<()> {
        let Kind::Summary { model, keep, prompt } = &self.0 else { return Ok(()) };
        let mut old = sessions.load(id).await?;
        if old.messages.len() < keep.saturating_mul(4).max(2) {
            return Ok(());
        }
        old.messages.truncate(old.messages.len() - keep * 2);
        let lines = written(&old.messages, MAX_SUMMARY_TOKENS);
        let summary = old.summary.as_deref().unwrap_or("none");
        let message = model.run(prompt.run(vars! { summary: summary, lines: lines }, cx).await?, cx).await?;
        // Of turns at the same time, the first one that has summarised counts.
        sessions.summarise(id, &old, message.into_text().trim().to_owned()).await
    }
}

/// Something said in a session.
///
/// ```
/// use fanweave::chains::ConversationInput;
///
/// let say = ConversationInput::new("ada", "hello");
/// assert_eq!(say.session, "ada");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationInput {
    /// In which session.
    pub session: String,
    /// What the user says.
    pub text: String,
}

impl ConversationInput {
    /// `text`, said in `session`.
    pub fn new(session: impl Into<String>, text: impl Into<String>) -> Self {
        Self { session: session.into(), text: text.into() }
    }
}

/// A conversation with a model, which remembers.
///
/// What was said is loaded before the call and saved after it: a call that fails leaves no trace in the session, nor
/// does one that is dropped.
///
/// ```
/// use fanweave::chains::{ConversationMemory, ConversationInput, Conversation};
/// use fanweave::{model::fake::Fake, stores::MemorySessions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> fanweave::Result<()> {
/// let sessions = MemorySessions::sessions();
/// let talk = Conversation::new(Fake::echo().model(), sessions.clone(), ConversationMemory::window(10)).chain();
/// talk.invoke(ConversationInput::new("ada", "hello")).await?;
/// talk.invoke(ConversationInput::new("ada", "again")).await?;
/// assert_eq!(sessions.load("ada").await?.messages.len(), 4);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The model's, and those of the store. Where a summary cannot be written, the answer has been saved already, and the
/// next call tries again.
#[derive(Debug, Clone)]
pub struct Conversation {
    model: Model,
    sessions: Sessions,
    memory: ConversationMemory,
    system: Option<String>,
}

impl Conversation {
    /// A conversation with `model`, kept in `sessions` and remembered as `memory` says.
    pub fn new(model: Model, sessions: Sessions, memory: ConversationMemory) -> Self {
        Self { model, sessions, memory, system: None }
    }

    /// Instructions that stand before everything. Default none.
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

    async fn run(&self, say: ConversationInput, cx: &Context) -> Result<String> {
        let ConversationInput { session, text } = say;
        let remembered = self.memory.recall(self.sessions.load(&session).await?);
        let system = self.system.iter().map(Message::system);
        let said = Message::user(text);
        let messages: Vec<_> = system.chain(remembered).chain([said.clone()]).collect();
        let answer = self.model.run(Prompt::new(messages), cx).await?.into_text();
        self.sessions
            .append(&session, vec![said, Message::assistant(&*answer)])
            .and_then(|()| async { self.memory.tidy(&self.sessions, &session, &cx.without_deltas()).await })
            .await?;
        Ok(answer)
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;
    use crate::model::fake::Fake;
    use crate::stores::MemorySessions;
    use crate::{ChatModel, Error, ErrorKind};

    /// Answers with how many messages came, and keeps them.
    #[derive(Clone, Default)]
    struct Listener(Arc<Mutex<Vec<Vec<String>>>>);

    impl ChatModel for Listener {
        fn name(&self) -> &str {
            "test/listener"
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

    async fn heard(memory: ConversationMemory, says: &[&str]) -> (Vec<Vec<String>>, Session) {
        let listener = Listener::default();
        let sessions = MemorySessions::sessions();
        let talk = Conversation::new(Model::new(listener.clone()), sessions.clone(), memory)
            .system("be kind")
            .chain();
        for say in says {
            let _ = talk.invoke(ConversationInput::new("s", *say)).await;
        }
        let heard = listener.0.lock().unwrap().clone();
        (heard, sessions.load("s").await.unwrap())
    }

    #[tokio::test]
    async fn a_buffer_remembers_everything() {
        let (heard, session) = heard(ConversationMemory::buffer(), &["1", "2", "3"]).await;
        assert_eq!(heard[2], ["be kind", "1", "a2", "2", "a4", "3"]);
        assert_eq!(session.messages.len(), 6);
    }

    #[tokio::test]
    async fn a_window_remembers_the_last_turns_and_keeps_all() {
        let (heard, session) = heard(ConversationMemory::window(1), &["1", "2", "3"]).await;
        assert_eq!(heard[2], ["be kind", "2", "a4", "3"]);
        assert_eq!(session.messages.len(), 6);
    }

    #[tokio::test]
    async fn a_summary_takes_the_place_of_what_came_before() {
        let writer = Fake::script([Ok("they counted")]).model();
        let memory =
            ConversationMemory::summary(writer, 1).summary_prompt(prompt("{{ summary }}: {{ lines }}"));
        let (heard, session) = heard(memory, &["1", "2", "3"]).await;
        assert_eq!(heard[2], ["be kind", "What was said before: they counted", "2", "a4", "3"]);
        assert_eq!(session.summary.as_deref(), Some("they counted"));
    }

    #[tokio::test(start_paused = true)]
    async fn of_turns_at_the_same_time_nothing_is_forgotten_that_no_summary_has() {
        let writer = Fake::echo().latency(Duration::from_secs(1)).model();
        let memory =
            ConversationMemory::summary(writer, 1).summary_prompt(prompt("{{ summary }}; {{ lines }}"));
        let sessions = MemorySessions::sessions();
        sessions.append("s", vec![Message::user("one"), Message::assistant("1")]).await.unwrap();
        let talk = Conversation::new(Fake::echo().model(), sessions.clone(), memory).chain();
        let say = |text| talk.invoke(ConversationInput::new("s", text));
        tokio::try_join!(say("two"), say("three")).unwrap();
        let Session { summary, messages } = sessions.load("s").await.unwrap();
        let kept = messages.iter().map(Message::text).chain(summary).collect::<Vec<_>>().join("; ");
        assert!(["one", "two", "three"].iter().all(|said| kept.contains(said)), "{kept}");
        say("four").await.unwrap();
        let Session { summary, messages } = sessions.load("s").await.unwrap();
        assert!(summary.unwrap().contains("three") && messages.len() == 2, "the next turn tries again");
    }

    #[tokio::test]
    async fn a_window_of_any_width_is_one() {
        let (heard, _) = heard(ConversationMemory::window(usize::MAX), &["1", "2"]).await;
        assert_eq!(heard[1], ["be kind", "1", "a2", "2"]);
    }

    #[tokio::test]
    async fn a_failed_call_leaves_no_trace() {
        let (heard, session) = heard(ConversationMemory::buffer(), &["1", "fail", "2"]).await;
        assert_eq!(heard[1], ["be kind", "1", "a2", "2"]);
        assert_eq!(session.messages.len(), 4);
    }

    #[tokio::test]
    async fn sessions_are_apart() {
        let listener = Listener::default();
        let model = Model::new(listener.clone());
        let talk = Conversation::new(model, MemorySessions::sessions(), ConversationMemory::buffer()).chain();
        let rows =
            talk.batch((0..20).map(|n| ConversationInput::new(n.to_string(), "hello"))).collect().await;
        assert!(rows.iter().all(|row| row.as_ref().unwrap() == "a1"));
    }
}
