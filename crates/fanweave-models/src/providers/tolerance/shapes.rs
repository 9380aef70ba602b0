//! Contents, calls and counts in the shapes of other dialects and servers.

use fanweave_core::{FinishReason, Message};
use serde_json::{Value, json};

use super::{protocol, seen, streamed};

fn read(dialect: &str, body: &Value) -> Message {
    protocol(dialect).response(body.to_string().as_bytes()).unwrap_or_else(|error| panic!("{error}: {body}"))
}

fn chat(message: &Value) -> Value {
    json!({ "id": "c", "choices": [{ "index": 0, "message": message, "finish_reason": "stop" }] })
}

fn data(events: &[Value]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

/// The usage of a whole answer and of a stream of the dialect, with `usage` in their usual field.
fn counted(dialect: &str, usage: &Value) -> Vec<(u64, u64)> {
    let (whole, stream) = match dialect {
        "openai" => {
            let mut whole = chat(&json!({ "content": "a" }));
            whole["usage"] = usage.clone();
            let choice = json!({ "index": 0, "delta": { "content": "a" }, "finish_reason": "stop" });
            let chunk = json!({ "id": "c", "choices": [choice], "usage": usage });
            (whole, data(&[chunk]))
        }
        "openai-completions" => {
            let choice = json!({ "index": 0, "text": "a", "finish_reason": "stop" });
            let whole = json!({ "id": "c", "choices": [choice], "usage": usage });
            (whole.clone(), data(&[whole]))
        }
        "openai-responses" => {
            let item = json!({ "type": "message", "content": "a" });
            let whole = json!({ "status": "completed", "output": [item], "usage": usage });
            (whole.clone(), data(&[json!({ "type": "response.completed", "response": whole })]))
        }
        "anthropic" => {
            let block = json!({ "type": "text", "text": "a" });
            let whole =
                json!({ "type": "message", "content": [block], "stop_reason": "end_turn", "usage": usage });
            (whole.clone(), data(&[whole]))
        }
        _ => {
            let candidate = json!({ "content": { "parts": [{ "text": "a" }] }, "finishReason": "STOP" });
            let whole = json!({ "candidates": [candidate], "usageMetadata": usage });
            (whole.clone(), data(&[whole]))
        }
    };
    vec![seen(&read(dialect, &whole)).usage, streamed(dialect, &stream).expect(&stream).usage]
}

#[test]
fn counts_under_the_names_of_any_dialect_are_read() {
    let usages = [
        json!({ "prompt_tokens": 11, "completion_tokens": 7 }),
        json!({ "input_tokens": 11, "output_tokens": 7 }),
        json!({ "prompt_tokens": 0, "completion_tokens": 0, "input_tokens": 11, "output_tokens": 7 }),
        json!({ "inputTokens": 11, "outputTokens": 7 }),
        json!({ "promptTokens": 11, "completionTokens": 7, "totalTokens": 18 }),
    ];
    for dialect in ["openai", "openai-completions", "openai-responses", "anthropic", "gemini"] {
        // Anthropic's own names count, even if they are zero.
        for usage in usages.iter().filter(|usage| dialect != "anthropic" || usage["prompt_tokens"] != 0) {
            assert_eq!(counted(dialect, usage), [(11, 7); 2], "{dialect} {usage}");
        }
    }
    for dialect in ["openai", "openai-completions", "openai-responses"] {
        for usage in [
            json!([{ "prompt_tokens": 11, "completion_tokens": 7 }]),
            json!({ "tokens": { "input_tokens": 11, "output_tokens": 7 } }),
        ] {
            let counted = counted(dialect, &usage);
            // The usage of a final response is an object.
            assert_eq!(counted[0], (11, 7), "{dialect} {usage}");
        }
    }
    let mut cohere = chat(&json!({ "content": "a" }));
    cohere["meta"] = json!({ "tokens": { "input_tokens": 11, "output_tokens": 7 } });
    assert_eq!(seen(&read("openai", &cohere)).usage, (11, 7));
    let choice = json!({ "text": "a", "finish_reason": "stop", "usage": { "prompt_tokens": 11, "completion_tokens": 7 } });
    assert_eq!(seen(&read("openai-completions", &json!({ "choices": [choice] }))).usage, (11, 7));
}

#[test]
fn a_total_that_is_larger_than_the_counts_is_the_usage() {
    let snake = json!({ "prompt_tokens": 11, "completion_tokens": 0, "total_tokens": 18 });
    for dialect in ["openai", "openai-completions", "openai-responses"] {
        assert_eq!(counted(dialect, &snake), [(11, 7); 2], "{dialect}");
    }
    for more in [json!(null), json!(3)] {
        let usage = json!({ "promptTokenCount": 11, "candidatesTokenCount": more, "totalTokenCount": 18 });
        assert_eq!(counted("gemini", &usage), [(11, 7); 2]);
    }
}

#[test]
fn a_zero_later_in_a_stream_replaces_nothing() {
    let start = json!({ "type": "message_start", "message": { "usage": { "input_tokens": 25, "output_tokens": 1 } } });
    let block =
        json!({ "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "a" } });
    let end = json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" },
        "usage": { "input_tokens": 0, "cache_read_input_tokens": 100, "output_tokens": 7 } });
    assert_eq!(streamed("anthropic", &data(&[start, block, end])).unwrap().usage, (125, 7));
    let line =
        json!({ "message": { "content": "a" }, "done": false, "prompt_eval_count": 11, "eval_count": 7 });
    let stream = format!("{line}\n{}\n", json!({ "done": true, "prompt_eval_count": 0 }));
    assert_eq!(streamed("ollama", &stream).unwrap().usage, (11, 7));
}

#[test]
fn a_content_is_read_in_any_shape() {
    let anthropic = |content: Value| json!({ "content": content, "stop_reason": "end_turn" });
    let gemini = |content: Value| json!({ "candidates": [{ "content": content, "finishReason": "STOP" }] });
    let ollama = |content: Value| json!({ "message": { "content": content }, "done": true });
    let responses = |output: Value| json!({ "status": "completed", "output": output });
    let choice = |choice: Value| json!({ "choices": [choice] });
    let cases = [
        ("openai", chat(&json!({ "content": ["Hel", "lo."] })), "Hello."),
        ("openai", chat(&json!({ "content": [{ "text": "Hello." }] })), "Hello."),
        ("openai", chat(&json!({ "content": { "title": "T" } })), r#"{"title":"T"}"#),
        ("openai", chat(&json!({ "content": 12_345_678_901_234_567_890_u64 })), "12345678901234567890"),
        ("openai", chat(&json!({ "content": 1.0 })), "1.0"),
        ("anthropic", anthropic(json!(["Hello."])), "Hello."),
        ("anthropic", anthropic(json!([{ "text": "Hello." }])), "Hello."),
        ("gemini", gemini(json!("Hello.")), "Hello."),
        ("gemini", gemini(json!([{ "parts": [{ "text": "Hel" }] }, { "parts": "lo." }])), "Hello."),
        ("gemini", json!({ "response": gemini(json!({ "parts": [{ "text": "Hello." }] })) }), "Hello."),
        ("openai-responses", responses(json!([{ "content": [{ "text": "Hello." }] }])), "Hello."),
        ("openai-responses", json!({ "output": null, "output_text": "Hello." }), "Hello."),
        ("openai-responses", json!({ "output": [], "output_text": "Hello." }), "Hello."),
        ("ollama", json!({ "response": "Hello.", "done": true }), "Hello."),
        ("ollama", ollama(json!([{ "type": "text", "text": "Hel" }, "lo."])), "Hello."),
        (
            "openai-completions",
            choice(json!({ "message": { "content": "Hello." }, "finish_reason": "stop" })),
            "Hello.",
        ),
        (
            "openai-completions",
            choice(json!({ "delta": { "content": "Hello." }, "finish_reason": "stop" })),
            "Hello.",
        ),
    ];
    for (dialect, body, text) in cases {
        assert_eq!(seen(&read(dialect, &body)).text, text, "{dialect} {body}");
        // The same as the only event of a stream.
        let stream =
            if dialect == "ollama" { format!("{body}\n") } else { data(std::slice::from_ref(&body)) };
        if !["anthropic", "openai-responses"].contains(&dialect) {
            let read = streamed(dialect, &stream).expect(&stream);
            assert_eq!((&*read.text, read.finish), (text, Some(FinishReason::Stop)), "{stream}");
        }
    }
    let delta = json!({ "type": "content_block_delta", "index": 0, "delta": { "text": "Hello." } });
    let end = json!({ "type": "message_delta", "delta": { "stop_reason": "end_turn" } });
    assert_eq!(streamed("anthropic", &data(&[delta, end])).unwrap().text, "Hello.");
    let snake = json!({ "candidates": [{ "content": { "parts": [{ "text": "a" }] }, "finish_reason": "STOP" }],
        "usage_metadata": { "prompt_token_count": 11, "candidates_token_count": 7 } });
    let snake = seen(&read("gemini", &snake));
    assert_eq!((snake.usage, snake.finish), ((11, 7), Some(FinishReason::Stop)));
}

#[test]
fn a_call_in_pieces_of_any_size_is_one_call() {
    let chunk =
        |call: Value| json!({ "id": "c", "choices": [{ "index": 0, "delta": { "tool_calls": [call] } }] });
    let part = |name: &str, arguments: &str| {
        chunk(json!({ "index": 0, "function": { "name": name, "arguments": arguments } }))
    };
    let end = json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "tool_calls" }] });
    let paris = r#"{"city":"Paris"}"#;
    let nested = r#"{"a":{"a":1}}"#;
    let cases: [(Vec<Value>, &str, &str); 7] = [
        (vec![part("get_", ""), part("weather", ""), part("", paris)], "get_weather", paris),
        (vec![part("get_", ""), part("get_weather", ""), part("", paris)], "get_weather", paris),
        (vec![part("f", ""), part("f", paris)], "f", paris),
        (
            vec![part("f", r#"{"ci"#), part("", r#"{"city":"Pa"#), part("", paris), part("", paris)],
            "f",
            paris,
        ),
        (vec![part("f", r#"{"ci"#), part("f", paris)], "f", paris),
        (vec![part("f", r#"{"a":"#), part("", r#"{"a":1}}"#)], "f", nested),
        (vec![chunk(json!({ "index": 0, "id": "x", "name": "f", "arguments": paris }))], "f", paris),
    ];
    for (mut events, name, arguments) in cases {
        events.push(end.clone());
        let read = streamed("openai", &data(&events)).unwrap_or_else(|error| panic!("{error}: {events:?}"));
        assert_eq!(read.calls, [(name.to_owned(), arguments.to_owned())], "{events:?}");
    }
    let flat = chat(&json!({ "tool_calls": [{ "id": "x", "name": "f", "arguments": paris }] }));
    assert_eq!(seen(&read("openai", &flat)).calls, [("f".to_owned(), paris.to_owned())]);
}
