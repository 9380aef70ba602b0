//! Contents of a row.

use fanweave_core::{Prompt, Vars};
use serde::{Deserialize, Serialize};

use crate::key::Key;

/// Contents of a row.
///
/// ```
/// use fanweave::batch::{Input, Render};
///
/// let prompt = Render::default().render(Input::Text("Name a bear.".into()))?;
/// assert_eq!(prompt.last_user_text(), "Name a bear.");
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Input {
    /// A complete request: messages and parameters.
    Prompt(Box<Prompt>),
    /// Named values: the fields of a JSON object or of a CSV record.
    Vars(Vars),
    /// Text: a line of a text file, or a JSON string.
    Text(String),
}

impl Input {
    /// Its key, before equal rows are distinguished.
    pub(crate) fn key(&self) -> Key {
        match self {
            Input::Prompt(prompt) => Key::of_prompt(prompt),
            Input::Vars(vars) => Key::of_object(vars.as_map()),
            Input::Text(text) => Key::of(&[text.as_bytes()]),
        }
    }
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Input {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Vars> for Input {
    fn from(vars: Vars) -> Self {
        Self::Vars(vars)
    }
}

impl From<Prompt> for Input {
    fn from(prompt: Prompt) -> Self {
        Self::Prompt(Box::new(prompt))
    }
}
