//! The memory of a conversation: the earlier messages that a call receives, and their summary.

use super::retrieval::written;
use crate::prompt::Window;
use crate::session::{Session, Sessions};
use crate::{Chain, Context, Message, Model, Node, Prompt, Result, Runnable, Vars, prompt, vars};

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
