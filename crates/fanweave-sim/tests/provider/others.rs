//! Gemini's and Ollama's dialects, and OpenAI's responses.

use hyper::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Client, calm, start};
use fanweave_sim::Settings;

async fn post(client: &mut Client, path: &str, body: &Value) -> Answer {
    client.send(Method::POST, path, body.to_string()).await.unwrap()
}

fn gemini(prompt: &str) -> Value {
    json!({ "contents": [{ "role": "user", "parts": [{ "text": prompt }] }] })
}

#[tokio::test]
async fn gemini_answers_whole_and_in_events_that_end_in_crlf() {
    let server = calm();
    let mut client = Client::connect(&server).await;
    let plain = post(&mut client, "/v1beta/models/echo:generateContent", &gemini("123456789")).await.json();
    let candidate = &plain["candidates"][0];
    assert_eq!(candidate["content"]["parts"], json!([{ "text": "cbf43926 123456789" }]));
    assert_eq!((&candidate["finishReason"], &plain["modelVersion"]), (&json!("STOP"), &json!("echo")));
    let stream = post(&mut client, "/v1beta/models/echo:streamGenerateContent?alt=sse", &gemini("a b")).await;
    assert!(stream.header("content-type").starts_with("text/event-stream"));
    let events: Vec<Value> = stream
        .body
        .split_terminator("\r\n\r\n")
        .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    assert_eq!(events.len(), 3);
    let ends: Vec<_> = events.iter().map(|event| event["candidates"][0]["finishReason"].as_str()).collect();
    assert_eq!(ends, [None, None, Some("STOP")]);
}

#[tokio::test]
async fn gemini_says_in_the_body_how_long_to_wait() {
    let server = start(Settings { rpm: Some(1), ..Settings::default() });
    let mut client = Client::connect(&server).await;
    post(&mut client, "/v1beta/models/echo:generateContent", &gemini("x")).await;
    let refused = post(&mut client, "/v1beta/models/echo:generateContent", &gemini("x")).await;
    assert_eq!(refused.status, 429);
    assert!(!refused.headers.contains_key("retry-after"));
    let error = &refused.json()["error"];
    assert_eq!(error["status"], "RESOURCE_EXHAUSTED");
    assert!(error["details"][0]["retryDelay"].as_str().unwrap().ends_with('s'), "{error}");
}

#[tokio::test]
async fn ollama_streams_lines_unless_told_not_to() {
    let server = calm();
    let mut client = Client::connect(&server).await;
    let mut body = json!({ "model": "echo", "messages": [{ "role": "user", "content": "a b" }] });
    let stream = post(&mut client, "/api/chat", &body).await;
    assert_eq!(stream.header("content-type"), "application/x-ndjson");
    let lines: Vec<Value> = stream.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text: String = lines.iter().filter_map(|line| line["message"]["content"].as_str()).collect();
    assert!(text.ends_with(" a b"), "{text}");
    let done: Vec<_> = lines.iter().map(|line| line["done"].as_bool().unwrap()).collect();
    assert_eq!(done, [false, false, false, true]);
    body["stream"] = false.into();
    let plain = post(&mut client, "/api/chat", &body).await.json();
    assert_eq!((&plain["message"]["content"], &plain["done_reason"]), (&json!(text), &json!("stop")));
}

#[tokio::test]
async fn responses_number_their_events_and_end_as_they_would_whole() {
    let server = calm();
    let mut client = Client::connect(&server).await;
    let mut body = json!({ "model": "echo", "input": "a b", "max_output_tokens": 1 });
    let plain = post(&mut client, "/v1/responses", &body).await.json();
    assert_eq!(plain["status"], "incomplete");
    assert_eq!(plain["incomplete_details"]["reason"], "max_output_tokens");
    body["stream"] = true.into();
    let events = post(&mut client, "/v1/responses", &body).await.events();
    let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.incomplete");
    assert_eq!(last["response"]["output"][0]["content"], plain["output"][0]["content"]);
}
