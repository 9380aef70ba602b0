//! Tool calls: split, merged, repeated and restated in the ways of real servers, in every dialect.

use fanweave_core::ErrorKind;
use serde_json::{Value, json};

use super::streams::{DIALECTS, Event, Original, events, rich, wire};
use super::{expected, protocol, streamed};
use crate::providers::testing::decode;

/// Checks that the streams of answers with calls are read like their originals after `change`.
#[track_caller]
fn costs_nothing(change: impl Fn(&str, &mut Vec<Event>)) {
    for dialect in DIALECTS {
        let twice = Original {
            calls: vec![
                ("call_a", "weather", vec!["{\"city\":", "\"Paris\"}"]),
                ("call_b", "weather", vec!["{\"city\":\"Rome\"}"]),
                ("call_c", "weather", vec!["{\"city\":\"Ro", "me\"}"]),
            ],
            ..rich(dialect)
        };
        let originals = if dialect == "openai-completions" { vec![] } else { vec![rich(dialect), twice] };
        for original in originals {
            let mut changed = events(dialect, &original);
            change(dialect, &mut changed);
            let stream = wire(dialect, &changed);
            let read = streamed(dialect, &stream).map_err(|error| error.to_string());
            assert_eq!(read, Ok(expected(&original)), "{dialect}: {stream}");
        }
    }
}

/// Changes each object of the events.
fn each_object(events: &mut [Event], change: impl Fn(&mut Value)) {
    fn walk(value: &mut Value, change: &impl Fn(&mut Value)) {
        match value {
            Value::Object(fields) => {
                fields.values_mut().for_each(|value| walk(value, change));
                change(value);
            }
            Value::Array(list) => list.iter_mut().for_each(|value| walk(value, change)),
            _ => {}
        }
    }
    for event in events {
        if let Ok(mut json) = serde_json::from_str(&event.data) {
            walk(&mut json, &change);
            event.data = json.to_string();
        }
    }
}

fn rename(event: &mut Value, field: &str, value: Option<Value>) {
    let Some(fields) = event.as_object_mut().filter(|fields| fields.contains_key(field)) else { return };
    match value {
        Some(value) => _ = fields.insert(field.to_owned(), value),
        None => _ = fields.shift_remove(field),
    }
}

#[test]
fn indices_that_are_missing_or_equal_merge_no_calls() {
    for value in [None, Some(json!(null)), Some(json!(0)), Some(json!("0"))] {
        costs_nothing(|_, events| {
            each_object(events, |object| {
                ["index", "output_index"].iter().for_each(|field| rename(object, field, value.clone()));
            });
        });
    }
}

#[test]
fn repeated_calls_are_read_once() {
    costs_nothing(|dialect, events| {
        let states_call = |event: &Event| match dialect {
            "openai" => event.data.contains("\"id\":\"call_"),
            "gemini" => event.data.contains("functionCall") && !event.data.contains("finishReason"),
            "ollama" => event.data.contains("tool_calls"),
            "anthropic" => event.name == "content_block_start" && event.data.contains("tool_use"),
            _ => event.name.ends_with(".done") || event.name == "response.output_item.added",
        };
        *events = std::mem::take(events)
            .into_iter()
            .flat_map(|event| if states_call(&event) { vec![event.clone(), event] } else { vec![event] })
            .collect();
    });
}

#[test]
fn calls_without_fragments_are_read_from_what_states_them_whole() {
    costs_nothing(|dialect, events| match dialect {
        "openai-responses" => events.retain(|event| !event.name.ends_with(".delta")),
        "anthropic" => with_input_at_start(events, false),
        "openai" => {
            let whole = whole_message(events);
            events
                .retain(|event| !event.data.contains("content\"") && !event.data.contains("\"tool_calls\":"));
            events.insert(0, whole);
        }
        _ => {}
    });
    // Only the final response.
    costs_nothing(|dialect, events| {
        if dialect == "openai-responses" {
            events.retain(|event| event.name == "response.completed");
        }
    });
}

#[test]
fn calls_that_are_stated_whole_beside_their_fragments_are_read_once() {
    costs_nothing(|dialect, events| match dialect {
        "anthropic" => with_input_at_start(events, true),
        "openai" => {
            let whole = whole_message(events);
            let end = events.len() - 2;
            events.insert(end, whole);
        }
        _ => {}
    });
}

/// Puts the input of calls into the start of their blocks.
fn with_input_at_start(events: &mut Vec<Event>, keeps_fragments: bool) {
    let mut inputs: Vec<String> = Vec::new();
    for event in events.iter() {
        let json: Value = serde_json::from_str(&event.data).unwrap();
        if json["content_block"]["type"] == "tool_use" {
            inputs.push(String::new());
        }
        if let (Some(more), Some(input)) = (json["delta"]["partial_json"].as_str(), inputs.last_mut()) {
            input.push_str(more);
        }
    }
    let mut inputs = inputs.iter();
    for event in events.iter_mut() {
        let mut json: Value = serde_json::from_str(&event.data).unwrap();
        if json["content_block"]["type"] == "tool_use" {
            json["content_block"]["input"] = serde_json::from_str(inputs.next().unwrap()).unwrap();
            event.data = json.to_string();
        }
    }
    if !keeps_fragments {
        events.retain(|event| !event.data.contains("input_json_delta"));
    }
}

/// A chunk with the whole message of a chat completion.
fn whole_message(events: &[Event]) -> Event {
    let stream = wire("openai", events);
    let answer = decode(&*protocol("openai"), &[stream.as_bytes()]).unwrap();
    let calls = answer
        .tool_calls()
        .map(|call| json!({"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}));
    let message = json!({"role": "assistant", "content": answer.text(), "reasoning_content": "Hm, well.", "tool_calls": calls.collect::<Vec<_>>()});
    Event { name: "", data: json!({"choices": [{"index": 0, "delta": {}, "message": message}]}).to_string() }
}

#[test]
fn too_many_calls_are_an_error_in_every_dialect() {
    for dialect in DIALECTS {
        if dialect == "openai-completions" {
            continue;
        }
        let of =
            |count: usize| Original { calls: vec![("", "f", vec!["{\"a\":1}"]); count], ..rich(dialect) };
        let stream = wire(dialect, &events(dialect, &of(1_024)));
        assert_eq!(streamed(dialect, &stream).unwrap().calls.len(), 1_024, "{dialect}");
        let stream = wire(dialect, &events(dialect, &of(1_025)));
        let error = streamed(dialect, &stream).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Decode, false), "{dialect}: {error}");
    }
}

/// A whole answer of `count` parts, and one of `count` choices, of the dialects that have them.
fn answers_of_many(count: usize) -> Vec<(&'static str, &'static str, Value)> {
    let many = |value: Value| Value::Array(vec![value; count]);
    let message = |content: Value| json!({"role": "assistant", "content": content});
    let choice = json!({"index": 0, "message": message("x".into()), "finish_reason": "stop"});
    vec![
        (
            "openai",
            "parts",
            json!({"choices": [{"message": message(many(json!({"type": "text", "text": "x"}))), "finish_reason": "stop"}]}),
        ),
        ("openai", "choices", json!({"choices": many(choice)})),
        (
            "openai-completions",
            "choices",
            json!({"choices": many(json!({"text": "x", "finish_reason": "stop"}))}),
        ),
        (
            "anthropic",
            "parts",
            json!({"type": "message", "role": "assistant", "content": many(json!({"type": "text", "text": "x"})), "stop_reason": "end_turn"}),
        ),
        (
            "gemini",
            "parts",
            json!({"candidates": [{"content": {"parts": many(json!({"text": "x"}))}, "finishReason": "STOP"}]}),
        ),
        (
            "gemini",
            "choices",
            json!({"candidates": many(json!({"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}))}),
        ),
        (
            "openai-responses",
            "parts",
            json!({"status": "completed", "output": [{"type": "message", "role": "assistant", "content": many(json!({"type": "output_text", "text": "x"}))}]}),
        ),
        (
            "openai-responses",
            "parts",
            json!({"status": "completed", "output": many(json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]}))}),
        ),
    ]
}

#[test]
fn too_many_parts_and_choices_are_an_error_in_every_dialect() {
    for max in [1_024, 16_384] {
        for ((dialect, what, enough), (.., more)) in
            answers_of_many(max).into_iter().zip(answers_of_many(max + 1))
        {
            if (what == "choices") != (max == 1_024) {
                continue;
            }
            protocol(dialect)
                .response(enough.to_string().as_bytes())
                .unwrap_or_else(|e| panic!("{dialect} {what}: {e}"));
            let error = protocol(dialect).response(more.to_string().as_bytes()).unwrap_err();
            assert_eq!(error.message(), format!("the answer has more than {max} {what}"), "{dialect}");
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (ErrorKind::Decode, false),
                "{dialect}: {error}"
            );
        }
    }
}

#[test]
fn too_many_parts_of_a_stream_are_an_error() {
    let event =
        |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default());
    let anthropic = |count: usize| {
        let block = |at| json!({"type": "content_block_start", "index": at, "content_block": {"type": "text", "text": "x"}});
        (0..count).map(|at| event(block(at))).collect::<String>()
    };
    let gemini = |count: usize| {
        let part = |at: usize| json!({"text": "x", "thought": at.is_multiple_of(2)});
        (0..count)
            .map(|at| event(json!({"candidates": [{"content": {"parts": [part(at)]}}]})))
            .collect::<String>()
    };
    for (dialect, stream) in [("anthropic", anthropic(16_385)), ("gemini", gemini(16_385))] {
        let error = decode(&*protocol(dialect), &[stream.as_bytes()]).unwrap_err();
        assert!(error.to_string().contains("the answer has more than 16384 parts"), "{dialect}: {error}");
    }
}

#[test]
fn lists_in_arguments_may_have_any_length() {
    let long = vec![json!({"content": [1], "choices": 2}); 20_000];
    let args = json!({"content": long, "parts": long, "choices": long});
    let body = json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": args}}]}, "finishReason": "STOP"}]});
    let message = protocol("gemini").response(body.to_string().as_bytes()).unwrap();
    let call = message.tool_calls().next().expect("a call");
    assert_eq!(serde_json::from_str::<Value>(&call.arguments).unwrap(), args);
    let body = json!({"type": "message", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": args}], "stop_reason": "tool_use"});
    let message = protocol("anthropic").response(body.to_string().as_bytes()).unwrap();
    assert_eq!(message.tool_calls().count(), 1);
}
