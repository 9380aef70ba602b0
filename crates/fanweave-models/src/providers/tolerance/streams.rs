//! Answers in the bytes of each dialect, written from the published formats. Shares no code with the
//! dialects.

use serde_json::{Value, json};

/// Dialects, by the name of a vendor.
pub(super) const DIALECTS: [&str; 6] =
    ["openai", "openai-completions", "openai-responses", "anthropic", "gemini", "ollama"];

/// An answer to write.
#[derive(Clone, Default)]
pub(super) struct Original {
    pub(super) reasoning: Vec<&'static str>,
    pub(super) text: Vec<&'static str>,
    /// Id, name, and fragments of the arguments.
    pub(super) calls: Vec<(&'static str, &'static str, Vec<&'static str>)>,
}

/// The text "Hello there.".
pub(super) fn text() -> Original {
    Original { text: vec!["Hello ", "there."], ..Original::default() }
}

/// Everything that a dialect can say. The completions API has only text.
pub(super) fn rich(dialect: &str) -> Original {
    if dialect == "openai-completions" {
        return text();
    }
    Original {
        reasoning: vec!["Hm, ", "well."],
        text: vec!["Hello ", "there."],
        calls: vec![
            ("call_a", "weather", vec!["{\"city\":", "\"Paris\"}"]),
            ("call_b", "time", vec!["{\"zone\":\"CET\"}"]),
        ],
    }
}

/// Input and output tokens of every answer.
pub(super) const USAGE: (u64, u64) = (11, 7);

/// One event.
#[derive(Clone)]
pub(super) struct Event {
    pub(super) name: &'static str,
    pub(super) data: String,
}

fn event(name: &'static str, data: &impl ToString) -> Event {
    Event { name, data: data.to_string() }
}

/// The events of a streamed answer.
pub(super) fn events(dialect: &str, original: &Original) -> Vec<Event> {
    match dialect {
        "openai" => chat(original),
        "openai-completions" => completions(original),
        "openai-responses" => responses(original),
        "anthropic" => anthropic(original),
        "gemini" => gemini(original),
        _ => ollama(original),
    }
}

/// The bytes of a stream.
pub(super) fn wire(dialect: &str, events: &[Event]) -> String {
    let one = |Event { name, data }: &Event| match (dialect, *name) {
        ("ollama", _) => format!("{data}\n"),
        (_, "") => format!("data: {data}\n\n"),
        (_, name) => format!("event: {name}\ndata: {data}\n\n"),
    };
    events.iter().map(one).collect()
}

fn chat_usage() -> Value {
    json!({ "prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18 })
}

fn chat(original: &Original) -> Vec<Event> {
    let chunk = |delta: Value, finish: Option<&str>| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
        event(
            "",
            &json!({ "id": "c1", "object": "chat.completion.chunk", "model": "m", "choices": [choice] }),
        )
    };
    let mut events = vec![chunk(json!({ "role": "assistant", "content": "" }), None)];
    for reasoning in &original.reasoning {
        events.push(chunk(json!({ "reasoning_content": reasoning }), None));
    }
    for text in &original.text {
        events.push(chunk(json!({ "content": text }), None));
    }
    for (at, (id, name, fragments)) in original.calls.iter().enumerate() {
        let function = json!({ "name": name, "arguments": "" });
        let start = json!({ "index": at, "id": id, "type": "function", "function": function });
        events.push(chunk(json!({ "tool_calls": [start] }), None));
        for fragment in fragments {
            let more = json!({ "index": at, "function": { "arguments": fragment } });
            events.push(chunk(json!({ "tool_calls": [more] }), None));
        }
    }
    events.push(chunk(json!({}), Some(if original.calls.is_empty() { "stop" } else { "tool_calls" })));
    events.push(event("", &json!({ "id": "c1", "model": "m", "choices": [], "usage": chat_usage() })));
    events.push(event("", &"[DONE]"));
    events
}

fn completions(original: &Original) -> Vec<Event> {
    let chunk = |text: &str, finish: Option<&str>| {
        let choice = json!({ "index": 0, "text": text, "finish_reason": finish, "logprobs": null });
        event("", &json!({ "id": "c1", "object": "text_completion", "model": "m", "choices": [choice] }))
    };
    let mut events: Vec<_> = original.text.iter().map(|text| chunk(text, None)).collect();
    events.push(chunk("", Some("stop")));
    events.push(event("", &json!({ "id": "c1", "model": "m", "choices": [], "usage": chat_usage() })));
    events.push(event("", &"[DONE]"));
    events
}

/// The output items of a response.
fn items(original: &Original) -> Vec<Value> {
    let mut items = Vec::new();
    if !original.reasoning.is_empty() {
        let summary = json!([{ "type": "summary_text", "text": original.reasoning.concat() }]);
        items.push(json!({ "id": "rs_1", "type": "reasoning", "summary": summary }));
    }
    if !original.text.is_empty() {
        let content = json!([{ "type": "output_text", "text": original.text.concat(), "annotations": [] }]);
        items.push(json!({
            "id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content,
        }));
    }
    for (id, name, fragments) in &original.calls {
        items.push(json!({
            "id": format!("fc_{id}"), "type": "function_call", "status": "completed", "call_id": id,
            "name": name, "arguments": fragments.concat(),
        }));
    }
    items
}

fn response(original: &Original) -> Value {
    json!({
        "id": "r1", "object": "response", "status": "completed", "model": "m", "error": null,
        "incomplete_details": null, "output": items(original),
        "usage": { "input_tokens": 11, "output_tokens": 7, "total_tokens": 18 },
    })
}

fn responses(original: &Original) -> Vec<Event> {
    fn named(name: &'static str, mut data: Value) -> Event {
        data["type"] = name.into();
        event(name, &data)
    }
    let mut begun = response(original);
    begun["status"] = "in_progress".into();
    begun["output"] = json!([]);
    begun["usage"] = Value::Null;
    let mut events = vec![named("response.created", json!({ "response": begun }))];
    for (at, item) in items(original).into_iter().enumerate() {
        let mut start = item.clone();
        let (fragments, delta, key) = match item["type"].as_str() {
            Some("reasoning") => {
                start["summary"] = json!([]);
                (&original.reasoning, "response.reasoning_summary_text.delta", "summary_index")
            }
            Some("message") => {
                start["content"] = json!([]);
                (&original.text, "response.output_text.delta", "content_index")
            }
            _ => {
                start["arguments"] = "".into();
                let calls = at - items(&Original { calls: Vec::new(), ..original.clone() }).len();
                (&original.calls[calls].2, "response.function_call_arguments.delta", "output_index")
            }
        };
        events.push(named("response.output_item.added", json!({ "output_index": at, "item": start })));
        for fragment in fragments {
            let mut more = json!({ "item_id": item["id"], key: 0, "delta": fragment });
            more["output_index"] = at.into();
            events.push(named(delta, more));
        }
        let done = match delta {
            "response.reasoning_summary_text.delta" => "response.reasoning_summary_text.done",
            "response.output_text.delta" => "response.output_text.done",
            _ => "response.function_call_arguments.done",
        };
        let field = if done.contains("arguments") { "arguments" } else { "text" };
        let mut all = json!({ "item_id": item["id"], key: 0, field: fragments.concat() });
        all["output_index"] = at.into();
        events.push(named(done, all));
        events.push(named("response.output_item.done", json!({ "output_index": at, "item": item })));
    }
    events.push(named("response.completed", json!({ "response": response(original) })));
    events
}

fn anthropic_blocks(original: &Original) -> Vec<Value> {
    let mut blocks = Vec::new();
    if !original.reasoning.is_empty() {
        blocks.push(json!({
            "type": "thinking", "thinking": original.reasoning.concat(), "signature": "c2ln",
        }));
    }
    if !original.text.is_empty() {
        blocks.push(json!({ "type": "text", "text": original.text.concat() }));
    }
    for (id, name, fragments) in &original.calls {
        let input: Value = serde_json::from_str(&fragments.concat()).expect("the arguments are JSON");
        blocks.push(json!({ "type": "tool_use", "id": id, "name": name, "input": input }));
    }
    blocks
}

fn anthropic(original: &Original) -> Vec<Event> {
    fn named(name: &'static str, mut data: Value) -> Event {
        data["type"] = name.into();
        event(name, &data)
    }
    let message = json!({
        "id": "m1", "type": "message", "role": "assistant", "model": "m", "content": [], "stop_reason": null,
        "usage": { "input_tokens": 11, "output_tokens": 1 },
    });
    let mut events = vec![named("message_start", json!({ "message": message })), named("ping", json!({}))];
    let mut calls = original.calls.iter();
    for (at, block) in anthropic_blocks(original).into_iter().enumerate() {
        let mut start = block.clone();
        let (fragments, kind, field) = match block["type"].as_str() {
            Some("thinking") => {
                start["thinking"] = "".into();
                start["signature"] = "".into();
                (&original.reasoning, "thinking_delta", "thinking")
            }
            Some("text") => {
                start["text"] = "".into();
                (&original.text, "text_delta", "text")
            }
            _ => {
                start["input"] = json!({});
                (&calls.next().expect("one block for each call").2, "input_json_delta", "partial_json")
            }
        };
        events.push(named("content_block_start", json!({ "index": at, "content_block": start })));
        for fragment in fragments {
            let delta = json!({ "type": kind, field: fragment });
            events.push(named("content_block_delta", json!({ "index": at, "delta": delta })));
        }
        if kind == "thinking_delta" {
            let delta = json!({ "type": "signature_delta", "signature": "c2ln" });
            events.push(named("content_block_delta", json!({ "index": at, "delta": delta })));
        }
        events.push(named("content_block_stop", json!({ "index": at })));
    }
    let reason = if original.calls.is_empty() { "end_turn" } else { "tool_use" };
    let delta = json!({ "stop_reason": reason, "stop_sequence": null });
    events.push(named("message_delta", json!({ "delta": delta, "usage": { "output_tokens": 7 } })));
    events.push(named("message_stop", json!({})));
    events
}

fn gemini_parts(original: &Original) -> Vec<Value> {
    let mut parts: Vec<_> =
        original.reasoning.iter().map(|text| json!({ "text": text, "thought": true })).collect();
    parts.extend(original.text.iter().map(|text| json!({ "text": text })));
    for (id, name, fragments) in &original.calls {
        let args: Value = serde_json::from_str(&fragments.concat()).expect("the arguments are JSON");
        parts.push(json!({ "functionCall": { "id": id, "name": name, "args": args } }));
    }
    parts
}

fn gemini_response(parts: &[Value], finish: bool) -> Value {
    let content = json!({ "role": "model", "parts": parts });
    let mut candidate = json!({ "content": content, "index": 0 });
    if finish {
        candidate["finishReason"] = "STOP".into();
    }
    json!({
        "candidates": [candidate],
        "usageMetadata": { "promptTokenCount": 11, "candidatesTokenCount": 7, "totalTokenCount": 18 },
        "modelVersion": "m", "responseId": "g1",
    })
}

fn gemini(original: &Original) -> Vec<Event> {
    let parts = gemini_parts(original);
    let last = parts.len().saturating_sub(1);
    let chunk =
        |(at, part): (usize, &Value)| event("", &gemini_response(std::slice::from_ref(part), at == last));
    parts.iter().enumerate().map(chunk).collect()
}

fn ollama_response(message: &Value, done: bool) -> Value {
    let mut response =
        json!({ "model": "m", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": done });
    if done {
        response["done_reason"] = "stop".into();
        response["prompt_eval_count"] = 11.into();
        response["eval_count"] = 7.into();
    }
    response
}

fn ollama_calls(original: &Original) -> Vec<Value> {
    let call = |(id, name, fragments): &(&str, &str, Vec<&str>)| {
        let arguments: Value = serde_json::from_str(&fragments.concat()).expect("the arguments are JSON");
        json!({ "id": id, "function": { "name": name, "arguments": arguments } })
    };
    original.calls.iter().map(call).collect()
}

fn ollama(original: &Original) -> Vec<Event> {
    let message = |fields: Value| {
        let mut message = json!({ "role": "assistant", "content": "" });
        for (name, value) in fields.as_object().expect("fields of a message") {
            message[name] = value.clone();
        }
        message
    };
    let mut events = Vec::new();
    for thinking in &original.reasoning {
        events.push(event("", &ollama_response(&message(json!({ "thinking": thinking })), false)));
    }
    for text in &original.text {
        events.push(event("", &ollama_response(&message(json!({ "content": text })), false)));
    }
    for call in ollama_calls(original) {
        events.push(event("", &ollama_response(&message(json!({ "tool_calls": [call] })), false)));
    }
    events.push(event("", &ollama_response(&message(json!({})), true)));
    events
}

/// The body of an answer that is not streamed.
pub(super) fn whole(dialect: &str, original: &Original) -> String {
    let has_calls = !original.calls.is_empty();
    match dialect {
        "openai" => {
            let mut message = json!({ "role": "assistant", "content": original.text.concat() });
            if !original.reasoning.is_empty() {
                message["reasoning_content"] = original.reasoning.concat().into();
            }
            let call = |(id, name, fragments): &(&str, &str, Vec<&str>)| {
                let function = json!({ "name": name, "arguments": fragments.concat() });
                json!({ "id": id, "type": "function", "function": function })
            };
            if has_calls {
                message["tool_calls"] = original.calls.iter().map(call).collect();
            }
            let finish = if has_calls { "tool_calls" } else { "stop" };
            let choice = json!({ "index": 0, "message": message, "finish_reason": finish });
            json!({
                "id": "c1", "object": "chat.completion", "model": "m", "choices": [choice],
                "usage": chat_usage(),
            })
        }
        "openai-completions" => {
            let choice = json!({ "index": 0, "text": original.text.concat(), "finish_reason": "stop" });
            json!({
                "id": "c1", "object": "text_completion", "model": "m", "choices": [choice],
                "usage": chat_usage(),
            })
        }
        "openai-responses" => response(original),
        "anthropic" => json!({
            "id": "m1", "type": "message", "role": "assistant", "model": "m",
            "content": anthropic_blocks(original), "stop_reason": if has_calls { "tool_use" } else { "end_turn" },
            "stop_sequence": null, "usage": { "input_tokens": 11, "output_tokens": 7 },
        }),
        "gemini" => gemini_response(&gemini_parts(original), true),
        _ => {
            let mut message = json!({ "role": "assistant", "content": original.text.concat() });
            if !original.reasoning.is_empty() {
                message["thinking"] = original.reasoning.concat().into();
            }
            if has_calls {
                message["tool_calls"] = ollama_calls(original).into();
            }
            ollama_response(&message, true)
        }
    }
    .to_string()
}
