//! Answers in the form of another API or under other names, and reasons that do not end an answer.

use fanweave_core::{ErrorKind, Message, Result};
use serde_json::{Value, json};

use super::streams::{Event, events, rich, text, whole, wire};
use super::{expected, protocol, seen, streamed};
use crate::transport::reader::read_whole;
use crate::transport::sse::SseLimits;

fn read(dialect: &str, body: &Value) -> Result<Message> {
    read_whole(&*protocol(dialect), body.to_string().as_bytes(), SseLimits::default())
}

/// The same JSON with the names of all fields in snake case. Arguments of tools stay as they are.
fn snake_case(json: &str) -> String {
    fn renamed(value: Value) -> Value {
        match value {
            Value::Object(fields) => Value::Object(
                fields
                    .into_iter()
                    .map(|(name, value)| {
                        let value = if name == "args" { value } else { renamed(value) };
                        let snake = name.chars().fold(String::new(), |snake, letter| match letter {
                            'A'..='Z' => snake + "_" + &letter.to_lowercase().to_string(),
                            _ => snake + &letter.to_string(),
                        });
                        (snake, value)
                    })
                    .collect(),
            ),
            Value::Array(list) => list.into_iter().map(renamed).collect(),
            other => other,
        }
    }
    renamed(serde_json::from_str(json).expect("an event is JSON")).to_string()
}

#[test]
fn fields_of_gemini_are_read_under_the_names_of_its_sdks() {
    for original in [text(), rich("gemini")] {
        let events: Vec<_> = events("gemini", &original)
            .into_iter()
            .map(|Event { name, data }| Event { name, data: snake_case(&data) })
            .collect();
        assert_eq!(streamed("gemini", &wire("gemini", &events)).unwrap(), expected(&original));
        let body = snake_case(&whole("gemini", &original));
        let message = protocol("gemini").response(body.as_bytes()).unwrap();
        assert_eq!(seen(&message), expected(&original), "{body}");
    }
}

#[test]
fn completions_in_the_form_of_chat_completions_keep_their_text() {
    let body = whole("openai", &text());
    let message = protocol("openai-completions").response(body.as_bytes()).unwrap();
    assert_eq!(seen(&message), expected(&text()));
    let stream = wire("openai", &events("openai", &text()));
    assert_eq!(streamed("openai-completions", &stream).unwrap(), expected(&text()));
}

#[test]
fn a_response_may_have_its_text_alone() {
    let response =
        json!({ "object": "response", "status": "completed", "output": [], "output_text": "Hello" });
    assert_eq!(read("openai-responses", &response).unwrap().text(), "Hello");
    let event = json!({ "type": "response.completed", "response": response });
    assert_eq!(streamed("openai-responses", &format!("data: {event}\n\n")).unwrap().text, "Hello");
}

#[test]
fn an_empty_finish_reason_does_not_end_an_answer() {
    for (dialect, field) in
        [("openai", "finish_reason"), ("openai-completions", "finish_reason"), ("anthropic", "stop_reason")]
    {
        let emptied = |Event { name, data }: Event| {
            let data = match data.split_once(&format!("\"{field}\":\"")) {
                Some((before, rest)) => {
                    let (_, after) = rest.split_once('"').expect("the end of the reason");
                    format!("{before}\"{field}\":\"\"{after}")
                }
                None => data,
            };
            Event { name, data }
        };
        let events: Vec<_> = events(dialect, &text()).into_iter().map(emptied).collect();
        let error = streamed(dialect, &wire(dialect, &events)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StreamIncomplete, "{dialect}: {error}");
    }
}

#[test]
fn a_response_that_is_not_finished_is_not_an_answer() {
    for (status, kind) in [
        ("queued", ErrorKind::StreamIncomplete),
        ("in_progress", ErrorKind::StreamIncomplete),
        ("cancelled", ErrorKind::Server),
    ] {
        let body = json!({ "object": "response", "status": status, "output": [] });
        assert_eq!(read("openai-responses", &body).unwrap_err().kind(), kind, "{status}");
    }
    let cancelled = json!({ "object": "response", "status": "cancelled", "output": [] });
    let event = json!({ "type": "response.cancelled", "response": cancelled });
    let error = streamed("openai-responses", &format!("data: {event}\n\n")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Server, "{error}");
}

#[test]
fn the_first_chunk_of_a_stream_alone_is_not_an_answer() {
    let line = json!({ "model": "m", "message": { "role": "assistant", "content": "Half" }, "done": false });
    let choice = json!({ "index": 0, "delta": { "content": "Half" }, "finish_reason": null });
    for (dialect, chunk) in [("ollama", line), ("openai", json!({ "choices": [choice] }))] {
        let error = read(dialect, &chunk).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StreamIncomplete, "{dialect}");
        assert_eq!(error.partial().expect("what was said").text(), "Half", "{dialect}");
    }
    let done = json!({ "model": "m", "message": { "content": "All" }, "done": true, "done_reason": "" });
    assert_eq!(seen(&read("ollama", &done).unwrap()).finish, Some(fanweave_core::FinishReason::Stop));
}
