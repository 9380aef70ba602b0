//! A message that is not streamed.

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Usage, stop_reason, tool_use_id};
use crate::answer::{Answer, Content};

#[derive(Serialize)]
struct Message<'a> {
    id: &'a str,
    r#type: &'static str,
    role: &'static str,
    model: &'a str,
    content: Vec<Block<'a>>,
    stop_reason: &'static str,
    stop_sequence: Option<&'a str>,
    usage: Usage,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block<'a> {
    Text { text: &'a str },
    ToolUse { id: String, name: &'a str, input: &'a RawValue },
}

pub(super) fn write(id: &str, model: &str, answer: &Answer, usage: Usage) -> Vec<u8> {
    let content = match &answer.content {
        Content::Text(text) => vec![Block::Text { text }],
        Content::Calls(calls) => calls
            .iter()
            .map(|call| Block::ToolUse {
                id: tool_use_id(&call.id),
                name: &call.name,
                input: serde_json::from_str(&call.arguments).expect("arguments were written as JSON"),
            })
            .collect(),
    };
    let (stop_reason, stop_sequence) = stop_reason(&answer.finish);
    let message = Message {
        id,
        r#type: "message",
        role: "assistant",
        model,
        content,
        stop_reason,
        stop_sequence,
        usage,
    };
    serde_json::to_vec(&message).expect("an answer has string keys only")
}
