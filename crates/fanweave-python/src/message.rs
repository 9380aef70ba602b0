//! Messages, prompts, usage and deltas as Python classes.

mod methods;

use pyo3::prelude::*;

/// A message of a conversation: of the system, the user, a model or a tool. `Message(other)` is a copy.
#[pyclass(frozen, subclass, module = "fanweave")]
pub(crate) struct Message(fanweave::Message);

impl From<fanweave::Message> for Message {
    fn from(message: fanweave::Message) -> Self {
        Self(message)
    }
}

impl Message {
    pub(crate) fn inner(&self) -> &fanweave::Message {
        &self.0
    }
}

/// A call of a tool that a model asks for.
#[pyclass(frozen, module = "fanweave")]
pub(crate) struct ToolCall(fanweave::messages::ToolCall);

/// Tokens that a call used.
#[pyclass(frozen, eq, module = "fanweave")]
#[derive(PartialEq)]
pub(crate) struct Usage(fanweave::Usage);

impl From<fanweave::Usage> for Usage {
    fn from(usage: fanweave::Usage) -> Self {
        Self(usage)
    }
}

/// The input of a model: messages and parameters.
#[pyclass(frozen, module = "fanweave")]
pub(crate) struct Prompt(fanweave::Prompt);

impl From<fanweave::Prompt> for Prompt {
    fn from(prompt: fanweave::Prompt) -> Self {
        Self(prompt)
    }
}

impl Prompt {
    pub(crate) fn inner(&self) -> &fanweave::Prompt {
        &self.0
    }
}

/// A piece of a streamed answer.
#[pyclass(frozen, module = "fanweave")]
pub(crate) struct Delta(fanweave::Delta);

impl From<fanweave::Delta> for Delta {
    fn from(delta: fanweave::Delta) -> Self {
        Self(delta)
    }
}
