//! Anthropic's dialect.

use serde_json::{Value, json};

use crate::client::{Client, calm, stable};

fn message(prompt: &str) -> Value {
    json!({ "model": "writer", "max_tokens": 300, "messages": [{ "role": "user", "content": prompt }] })
}

fn with(mut body: Value, more: &Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn weather_tool() -> Value {
    json!([{
        "name": "get_weather", "description": "Current weather of a city",
        "input_schema": { "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] }
    }])
}

#[tokio::test]
async fn a_plain_message() {
    let server = calm();
    let answer = Client::connect_anthropic(&server)
        .await
        .message(&message("Name a company that makes toothpaste"))
        .await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("request-id").starts_with("req_"));
    insta::assert_snapshot!(stable(&answer.body));
}

#[tokio::test]
async fn a_streamed_message() {
    let server = calm();
    let body = with(message("Name a company that makes toothpaste"), &json!({ "stream": true }));
    let answer = Client::connect_anthropic(&server).await.message(&body).await;
    insta::assert_snapshot!(stable(&answer.body));
}

#[tokio::test]
async fn a_tool_is_used_plain_and_streamed() {
    let server = calm();
    let mut client = Client::connect_anthropic(&server).await;
    let body = with(message("What is the weather in Paris?"), &json!({ "tools": weather_tool() }));
    let plain = client.message(&body).await.json();
    assert_eq!(plain["stop_reason"], "tool_use");
    assert_eq!(plain["content"][0]["input"], json!({ "city": "Paris" }));
    assert!(plain["content"][0]["id"].as_str().unwrap().starts_with("toolu_"));

    let events = client.message(&with(body.clone(), &json!({ "stream": true }))).await.events();
    let pieces = events.iter().filter_map(|event| event["delta"]["partial_json"].as_str());
    assert_eq!(pieces.collect::<String>(), r#"{"city":"Paris"}"#);

    let messages = json!([
        { "role": "user", "content": "What is the weather in Paris?" },
        { "role": "assistant", "content": plain["content"] },
        { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": plain["content"][0]["id"], "content": [{ "type": "text", "text": "18 degrees" }] }] }
    ]);
    let answer = client.message(&with(body, &json!({ "messages": messages }))).await.json();
    assert_eq!(answer["content"][0]["text"], "Here is what I found: 18 degrees.");
    assert_eq!(answer["stop_reason"], "end_turn");
}

#[tokio::test]
async fn the_limit_and_the_stop_sequences_are_named_as_reasons() {
    let server = calm();
    let mut client = Client::connect_anthropic(&server).await;
    let body = with(message("one two three"), &json!({ "model": "echo", "stop_sequences": ["two"] }));
    let answer = client.message(&body).await.json();
    assert_eq!((&answer["stop_reason"], &answer["stop_sequence"]), (&json!("stop_sequence"), &json!("two")));
    let answer = client.message(&with(body, &json!({ "max_tokens": 1 }))).await.json();
    assert_eq!(
        (&answer["stop_reason"], &answer["usage"]["output_tokens"]),
        (&json!("max_tokens"), &json!(1))
    );
}

#[tokio::test]
async fn structured_output_conforms_to_its_schema() {
    let server = calm();
    let year = json!({ "type": "integer", "description": "From 1900 on." });
    let schema = json!({ "type": "object", "properties": { "year": year }, "required": ["year"], "additionalProperties": false });
    let more = json!({ "output_config": { "format": { "type": "json_schema", "schema": schema } } });
    let answer =
        Client::connect_anthropic(&server).await.message(&with(message("When?"), &more)).await.json();
    let instance: Value = serde_json::from_str(answer["content"][0]["text"].as_str().unwrap()).unwrap();
    assert!(jsonschema::is_valid(&schema, &instance), "{instance}");
}

#[tokio::test]
async fn what_the_real_one_requires_is_required() {
    let server = calm();
    let without_version = Client::connect(&server).await.message(&message("hello")).await;
    assert_eq!(without_version.status, 400);
    assert_eq!(without_version.json()["error"]["message"], "anthropic-version: header is required");

    let body = json!({ "model": "writer", "messages": [{ "role": "user", "content": "hello" }] });
    let without_limit = Client::connect_anthropic(&server).await.message(&body).await;
    let error = without_limit.json();
    assert_eq!((&error["type"], &error["error"]["type"]), (&json!("error"), &json!("invalid_request_error")));
    assert_eq!(error["error"]["message"], "max_tokens: Field required");
    assert_eq!(error["request_id"], without_limit.header("request-id"));
}
