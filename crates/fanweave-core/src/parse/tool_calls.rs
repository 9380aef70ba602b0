//! Returns the tool calls of an answer.

use serde_json::Value;

use crate::{Context, Message, Node, Result, Runnable, ToolCall};

/// The step that [`tool_calls`] makes.
#[derive(Debug, Clone, Copy, Default)]
pub struct ToolCalls;

/// A tool call with parsed arguments.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ParsedToolCall {
    /// The call as the model wrote it.
    pub call: ToolCall,
    /// The arguments, or the error if they are not valid JSON.
    pub arguments: std::result::Result<Value, String>,
}

/// Returns the tool calls of a message, in order. A call with invalid JSON is kept, with its error.
///
/// ```
/// use fanweave::{Message, chain, parsers::tool_calls};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// assert!(chain(tool_calls()).invoke(Message::assistant("No tool needed.")).await?.is_empty());
/// # Ok(())
/// # }) }
/// ```
pub fn tool_calls() -> ToolCalls {
    ToolCalls
}

impl Runnable for ToolCalls {
    const DRIVES_CALLS: bool = true;

    type Input = Message;
    type Output = Vec<ParsedToolCall>;

    async fn run(&self, message: Message, _: &Context) -> Result<Vec<ParsedToolCall>> {
        let parsed = message.tool_calls().map(|call| ParsedToolCall {
            arguments: call.parse_arguments().map_err(|error| error.to_string()),
            call: call.clone(),
        });
        Ok(parsed.collect())
    }

    fn describe(&self) -> Node {
        Node::step("tool calls")
    }
}

#[cfg(test)]
mod tests {
    use crate::{Message, Part, ToolCall, chain, tool_calls};

    #[tokio::test]
    async fn a_call_with_invalid_arguments_is_kept() {
        let call = |arguments: &str| {
            Part::ToolCall(ToolCall { id: "1".into(), name: "book".into(), arguments: arguments.into() })
        };
        let mut message = Message::assistant("");
        message.parts = vec![call("{\"a\":"), call("{\"a\":1}")];
        let calls = chain(tool_calls()).invoke(message).await.unwrap();
        assert!(calls[0].arguments.is_err());
        assert_eq!(calls[0].call.arguments, "{\"a\":");
        assert_eq!(calls[1].arguments, Ok(serde_json::json!({"a": 1})));
    }
}
