//! Messages, prompts, usage and deltas as Python classes.

mod image;
mod methods;

use pyo3::prelude::*;

/// A message of a conversation: of the system, the user, a model or a tool. `Message(other)` is a copy.
///
/// >>> from fanweave.testing import echo
/// >>> answer = echo().invoke([fw.Message.system("Be brief."), fw.Message.user("Hello")])
/// >>> answer.role, answer.text, answer.finish_reason
/// ('assistant', 'Hello', 'stop')
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
///
/// >>> from fanweave.testing import script, tool_call
/// >>> [call] = script(tool_call("weather", city="Oslo")).invoke("Is it raining?").tool_calls
/// >>> call.name, call.arguments
/// ('weather', '{"city":"Oslo"}')
#[pyclass(frozen, module = "fanweave")]
pub(crate) struct ToolCall(fanweave::messages::ToolCall);

/// Tokens that a call used.
///
/// >>> usage = fw.model("sim/echo").invoke("one two three").usage
/// >>> usage.total_tokens == usage.input_tokens + usage.output_tokens
/// True
#[pyclass(frozen, eq, module = "fanweave")]
#[derive(PartialEq)]
pub(crate) struct Usage(fanweave::Usage);

impl From<fanweave::Usage> for Usage {
    fn from(usage: fanweave::Usage) -> Self {
        Self(usage)
    }
}

/// The input of a model: messages and parameters.
///
/// >>> prompt = fw.prompt("A joke about {{ topic }}.").invoke({"topic": "bears"})
/// >>> prompt.messages[0].text
/// 'A joke about bears.'
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
///
/// >>> from fanweave.testing import echo
/// >>> [delta.text for delta in echo().stream("one two") if delta.text]
/// ['one ', 'two']
#[pyclass(frozen, module = "fanweave")]
pub(crate) struct Delta(fanweave::Delta);

impl From<fanweave::Delta> for Delta {
    fn from(delta: fanweave::Delta) -> Self {
        Self(delta)
    }
}
