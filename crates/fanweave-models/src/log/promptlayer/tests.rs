use std::time::{Duration, SystemTime};

use fanweave_core::{Part, Prompt, Reply, ToolCall, Usage};
use serde_json::json;

use super::*;

#[test]
fn the_form_is_that_of_promptlayer() {
    let mut answer = Message::assistant("Paris");
    answer.parts.push(Part::ToolCall(ToolCall {
        id: "c".into(),
        name: "map".into(),
        arguments: "{}".into(),
    }));
    let reply = Reply::new().id("chatcmpl-1").request_id("req_1").usage(Usage::new(3, 2));
    answer.reply = Some(Box::new(reply));
    let record = CallRecord {
        model: "openai/gpt-5-mini".into(),
        prompt: Prompt::from("The capital of France?"),
        result: Ok(answer),
        tags: vec!["a".into()],
        began: SystemTime::UNIX_EPOCH,
        ended: SystemTime::UNIX_EPOCH + Duration::from_millis(1500),
    };
    let text = |text: &str| json!([{ "type": "text", "text": text }]);
    assert_eq!(
        form(&record),
        json!({
            "provider": "openai",
            "model": "gpt-5-mini",
            "input": { "type": "chat", "messages": [
                { "role": "user", "content": text("The capital of France?") },
            ] },
            "parameters": {},
            "tags": ["a"],
            "request_start_time": "1970-01-01T00:00:00.000Z",
            "request_end_time": "1970-01-01T00:00:01.500Z",
            "status": "SUCCESS",
            "output": { "type": "chat", "messages": [{
                "role": "assistant", "content": text("Paris"),
                "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "map", "arguments": "{}" } }],
            }] },
            "input_tokens": 3,
            "output_tokens": 2,
            "metadata": { "id": "chatcmpl-1", "request_id": "req_1" },
        })
    );
}

#[test]
fn debug_shows_no_key() {
    let sink = PromptLayer::new("pl_canary_1234").unwrap();
    assert!(!format!("{sink:?}").contains("canary"));
    assert_eq!(PromptLayer::new(" ").unwrap_err().kind(), ErrorKind::Authentication);
}
