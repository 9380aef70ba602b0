//! Usage in any form, in whole answers and in streams.

use fanweave_core::Usage;
use serde_json::{Value, json};

use super::{LIMITS, dialects};
use crate::transport::reader::{read_chunks, read_whole};

/// The usage of an answer, as an object of JSON.
///
/// # Panics
/// If a stream counts something else than a whole answer.
pub fn usage(bytes: &[u8]) {
    // Line breaks between the fields would end the data of an event.
    let text = String::from_utf8_lossy(bytes).replace(['\n', '\r'], " ");
    let usage = text.trim();
    if !serde_json::from_str::<Value>(usage).is_ok_and(|usage| usage.is_object()) {
        return;
    }
    for (name, dialect) in dialects() {
        let Some((whole, stream)) = answers(name, usage) else { continue };
        let count = |read: fanweave_core::Result<fanweave_core::Message>| -> Option<Usage> {
            read.ok().map(|message| message.usage())
        };
        let whole_usage = count(read_whole(&*dialect, whole.as_bytes(), LIMITS));
        let stream_usage = count(read_chunks(&*dialect, [stream.as_bytes()], LIMITS));
        assert_eq!(whole_usage, stream_usage, "{name}: {usage}");
    }
}

/// An answer with this usage, whole and streamed.
fn answers(dialect: &str, usage: &str) -> Option<(String, String)> {
    const USAGE: &str = "\"USAGE\"";
    let data = |value: Value| format!("data: {value}\n\n");
    let (whole, stream) = match dialect {
        "openai/x" => {
            let finished =
                |kind: &str| json!([{ "index": 0, kind: { "content": "a" }, "finish_reason": "stop" }]);
            let whole = json!({ "choices": finished("message"), "usage": "USAGE" });
            (whole, data(json!({ "choices": finished("delta"), "usage": "USAGE" })) + "data: [DONE]\n\n")
        }
        "openai-completions/x" => {
            let choices = json!([{ "index": 0, "text": "a", "finish_reason": "stop" }]);
            let whole = json!({ "choices": choices, "usage": "USAGE" });
            (whole.clone(), data(whole) + "data: [DONE]\n\n")
        }
        "openai-responses/x" => {
            let text = json!([{ "type": "output_text", "text": "a" }]);
            let output = json!([{ "type": "message", "role": "assistant", "content": text }]);
            let whole = json!({ "status": "completed", "output": output, "usage": "USAGE" });
            let event = json!({ "type": "response.completed", "response": whole });
            (whole, data(event))
        }
        "gemini/x" => {
            let content = json!({ "parts": [{ "text": "a" }], "role": "model" });
            let candidates = json!([{ "content": content, "finishReason": "STOP" }]);
            let whole = json!({ "candidates": candidates, "usageMetadata": "USAGE" });
            (whole.clone(), data(whole))
        }
        _ => return None,
    };
    Some((whole.to_string().replace(USAGE, usage), stream.replace(USAGE, usage)))
}
