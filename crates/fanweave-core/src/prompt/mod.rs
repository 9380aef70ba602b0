//! Prompts: the input of a model, and the templates that render it.

mod body;
mod chat;
mod few_shot;
mod filters;
mod fstring;
mod guard;
mod limits;
mod partials;
mod straight;
mod template;
mod template_check;
mod text_filters;
mod values;
mod weight;
mod window;
mod written;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use body::{Endpoint, RequestBody};
pub use chat::{Chat, chat};
pub use few_shot::{ByLength, BySimilarity, FewShot, Selector};
pub use fstring::fstring;
pub use limits::RenderLimits;
pub use template::{Template, prompt, render_threads};
pub use window::Window;

use crate::{Message, Parameters, Part, Role, Usage};

/// The input of a model: messages, and parameters for this call only.
///
/// ```
/// use fanweave::{Message, Prompt};
///
/// let prompt = Prompt::from("Name a bear.");
/// assert_eq!(prompt.messages, [Message::user("Name a bear.")]);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Prompt {
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// Parameters of this call. They override those of the model.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters,
    /// The request that the prompt was read from, for providers of its dialect. Not part of the prompt as
    /// JSON. Default: none.
    #[serde(skip)]
    pub body: Option<Arc<RequestBody>>,
}

impl Prompt {
    /// A prompt of these messages.
    #[inline]
    pub fn new(messages: impl Into<Vec<Message>>) -> Self {
        Self { messages: messages.into(), parameters: Parameters::default(), body: None }
    }

    /// Prepends a system message.
    #[must_use]
    pub fn with_system(mut self, text: impl Into<String>) -> Self {
        self.messages.insert(0, Message::system(text));
        self
    }

    /// The text of the last user message. Empty without user messages.
    pub fn last_user_text(&self) -> String {
        self.messages.iter().rfind(|m| m.role == Role::User).map(Message::text).unwrap_or_default()
    }
}

impl From<&str> for Prompt {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for Prompt {
    fn from(text: String) -> Self {
        Self::new([Message::user(text)])
    }
}

impl From<Message> for Prompt {
    fn from(message: Message) -> Self {
        Self::new([message])
    }
}

impl From<Vec<Message>> for Prompt {
    fn from(messages: Vec<Message>) -> Self {
        Self::new(messages)
    }
}

impl Usage {
    /// Expected output tokens of an answer without a limit. A rule of thumb: a page of text.
    pub const EXPECTED_OUTPUT: u64 = 500;

    /// Estimated usage of a call before it is sent: one token for every four bytes of its prompt, four for
    /// each message, and its `max_tokens` for the answer. Without `max_tokens`:
    /// [`EXPECTED_OUTPUT`](Self::EXPECTED_OUTPUT).
    ///
    /// ```
    /// use fanweave::{Prompt, Usage};
    ///
    /// let usage = Usage::expected_of(&Prompt::from("Name a river in Spain."));
    /// assert_eq!((usage.input_tokens, usage.output_tokens), (10, 500));
    /// ```
    pub fn expected_of(prompt: &Prompt) -> Self {
        let parts = || prompt.messages.iter().flat_map(|message| &message.parts);
        let texts: usize = prompt.messages.iter().map(|message| message.text().len()).sum();
        let bytes = texts + parts().filter_map(Part::media_tokens).sum::<usize>() * 4;
        Self {
            input_tokens: (bytes as u64).div_ceil(4) + 4 * prompt.messages.len() as u64,
            output_tokens: prompt.parameters.max_tokens.map_or(Self::EXPECTED_OUTPUT, u64::from),
            ..Self::default()
        }
    }
}
