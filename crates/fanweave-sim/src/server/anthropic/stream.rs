//! A message as a stream of events.
//!
//! `message_start`; for each block its start, its deltas and its stop; then `message_delta` with the stop
//! reason and the usage, and `message_stop`. A `ping` follows the start of the first block, as in the real
//! API.

use bytes::Bytes;
use serde::Serialize;
use serde_json::json;

use super::{Usage, stop_reason, tool_use_id};
use crate::answer::{Answer, Content, ToolCall, pieces};
use crate::server::events::Events;

/// A delta of a block: the most frequent event.
#[derive(Serialize)]
struct BlockDelta<'a> {
    r#type: &'static str,
    index: usize,
    delta: Delta<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Delta<'a> {
    TextDelta { text: &'a str },
    InputJsonDelta { partial_json: &'a str },
}

pub(super) fn write(
    id: &str,
    model: &str,
    answer: &Answer,
    usage: Usage,
    chunks: usize,
) -> (Bytes, Vec<usize>) {
    let mut events = Events::default();
    let message = json!({
        "id": id, "type": "message", "role": "assistant", "model": model, "content": [],
        "stop_reason": null, "stop_sequence": null, "usage": Usage { output_tokens: 1, ..usage },
    });
    events.named("message_start", &json!({ "type": "message_start", "message": message }));
    match &answer.content {
        Content::Text(text) => write_text(&mut events, text, chunks),
        Content::Calls(calls) => {
            for (index, call) in calls.iter().enumerate() {
                write_call(&mut events, index, call, chunks);
            }
        }
    }
    let (stop_reason, stop_sequence) = stop_reason(&answer.finish);
    events.named(
        "message_delta",
        &json!({
            "type": "message_delta",
            "delta": { "stop_reason": stop_reason, "stop_sequence": stop_sequence },
            "usage": usage,
        }),
    );
    events.named("message_stop", &json!({ "type": "message_stop" }));
    events.finish()
}

fn write_text(events: &mut Events, text: &str, chunks: usize) {
    start_block(events, 0, &json!({ "type": "text", "text": "" }));
    for text in pieces(text, chunks) {
        push_delta(events, 0, Delta::TextDelta { text });
    }
    stop_block(events, 0);
}

fn write_call(events: &mut Events, index: usize, call: &ToolCall, chunks: usize) {
    start_block(
        events,
        index,
        &json!({ "type": "tool_use", "id": tool_use_id(&call.id), "name": call.name, "input": {} }),
    );
    push_delta(events, index, Delta::InputJsonDelta { partial_json: "" });
    for partial_json in pieces(&call.arguments, if chunks == 0 { 4 } else { chunks }) {
        push_delta(events, index, Delta::InputJsonDelta { partial_json });
    }
    stop_block(events, index);
}

fn start_block(events: &mut Events, index: usize, block: &serde_json::Value) {
    events.named(
        "content_block_start",
        &json!({ "type": "content_block_start", "index": index, "content_block": block }),
    );
    if index == 0 {
        events.named("ping", &json!({ "type": "ping" }));
    }
}

fn push_delta(events: &mut Events, index: usize, delta: Delta<'_>) {
    events.named("content_block_delta", &BlockDelta { r#type: "content_block_delta", index, delta });
}

fn stop_block(events: &mut Events, index: usize) {
    events.named("content_block_stop", &json!({ "type": "content_block_stop", "index": index }));
}
