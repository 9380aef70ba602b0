//! OpenAI's dialect.

use base64::Engine as _;
use serde_json::{Value, json};

use crate::client::{Client, calm, stable, start};
use fanweave_sim::Settings;

fn chat(prompt: &str) -> Value {
    json!({ "model": "sim/writer", "messages": [{ "role": "user", "content": prompt }] })
}

fn with(mut body: Value, more: &Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn weather_tool() -> Value {
    json!([{ "type": "function", "function": {
        "name": "get_weather", "description": "Current weather of a city", "strict": true,
        "parameters": { "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"], "additionalProperties": false }
    } }])
}

#[tokio::test]
async fn a_plain_chat_answer() {
    let server = calm();
    let answer = Client::connect(&server).await.chat(&chat("Name a company that makes toothpaste")).await;
    assert_eq!(answer.status, 200);
    insta::assert_snapshot!(stable(&answer.body));
}

#[tokio::test]
async fn a_streamed_chat_answer_with_usage() {
    let server = calm();
    let more = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let answer =
        Client::connect(&server).await.chat(&with(chat("Name a company that makes toothpaste"), &more)).await;
    assert_eq!(answer.status, 200);
    insta::assert_snapshot!(stable(&answer.body));
}

#[tokio::test]
async fn a_stream_says_what_the_plain_answer_says() {
    let server = start(Settings { chunks: 3, ..Settings::default() });
    let mut client = Client::connect(&server).await;
    let body = with(chat("Write a paragraph about lighthouses."), &json!({ "n": 2 }));
    let plain = client.chat(&body).await.json();
    let events = client.chat(&with(body, &json!({ "stream": true }))).await.events();
    for candidate in 0..2 {
        let choices = || {
            events
                .iter()
                .filter_map(|event| event["choices"].get(0))
                .filter(|choice| choice["index"] == candidate)
        };
        let text: String = choices().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
        assert_eq!(plain["choices"][candidate]["message"]["content"], text);
        assert_eq!(choices().count(), 1 + 3 + 1, "the role, three pieces, the end");
        assert_eq!(choices().next_back().unwrap()["finish_reason"], "stop");
    }
    let is_usage = |event: &&Value| event.get("usage").is_some() || event["choices"] == json!([]);
    assert_eq!(events.iter().find(is_usage), None, "no usage unless asked for");
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_is_used() {
    let server = calm();
    let mut client = Client::connect(&server).await;
    let body = with(chat("What is the weather in both Paris and Oslo?"), &json!({ "tools": weather_tool() }));
    let answer = client.chat(&body).await.json();
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(answer["choices"][0]["message"]["content"], Value::Null);
    let calls = answer["choices"][0]["message"]["tool_calls"].as_array().unwrap();
    let arguments: Vec<_> =
        calls.iter().map(|call| call["function"]["arguments"].as_str().unwrap()).collect();
    assert_eq!(arguments, [r#"{"city":"Paris"}"#, r#"{"city":"Oslo"}"#]);

    let messages = json!([
        { "role": "user", "content": "What is the weather in Paris?" },
        answer["choices"][0]["message"],
        { "role": "tool", "tool_call_id": calls[0]["id"], "content": "18 degrees and clear" }
    ]);
    let answer = client.chat(&with(body, &json!({ "messages": messages }))).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "Here is what I found: 18 degrees and clear.");
}

#[tokio::test]
async fn a_streamed_call_has_its_name_first_and_then_its_arguments_in_pieces() {
    let server = calm();
    let more = json!({ "tools": weather_tool(), "tool_choice": "required", "stream": true });
    let answer =
        Client::connect(&server).await.chat(&with(chat("Look at both Paris and Oslo."), &more)).await;
    let events = answer.events();
    for index in 0..2 {
        let deltas: Vec<&Value> = events
            .iter()
            .map(|event| &event["choices"][0]["delta"]["tool_calls"][0])
            .filter(|call| !call.is_null() && call["index"] == index)
            .collect();
        assert_eq!(
            (&deltas[0]["function"]["name"], &deltas[0]["function"]["arguments"]),
            (&json!("get_weather"), &json!(""))
        );
        assert!(deltas[0]["id"].as_str().unwrap().starts_with("call_"));
        assert!(deltas.len() > 2 && deltas[1..].iter().all(|delta| delta.get("id").is_none()));
        let arguments: String =
            deltas.iter().map(|delta| delta["function"]["arguments"].as_str().unwrap()).collect();
        assert!(["{\"city\":\"Paris\"}", "{\"city\":\"Oslo\"}"].contains(&&*arguments), "{arguments}");
    }
    assert!(answer.body.ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn structured_output_conforms_to_its_schema() {
    let server = calm();
    let schema = json!({
        "type": "object", "required": ["title", "steps"], "additionalProperties": false,
        "properties": { "title": { "type": "string" }, "steps": { "type": "array", "items": { "type": "string" }, "minItems": 2 } }
    });
    let format =
        json!({ "type": "json_schema", "json_schema": { "name": "plan", "strict": true, "schema": schema } });
    let mut client = Client::connect(&server).await;
    let answer =
        client.chat(&with(chat("Plan a garden."), &json!({ "response_format": format }))).await.json();
    let instance: Value =
        serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert!(jsonschema::is_valid(&schema, &instance), "{instance}");

    let format = json!({ "type": "json_object" });
    let answer = client
        .chat(&with(chat("Plan a garden as JSON."), &json!({ "response_format": format })))
        .await
        .json();
    let object: Value =
        serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert!(object.is_object());
}

#[tokio::test]
async fn content_may_be_a_list_of_parts_and_the_limit_cuts() {
    let server = calm();
    let parts = json!([{ "type": "text", "text": "one " }, { "type": "image_url", "image_url": { "url": "x" } }, { "type": "text", "text": "two three" }]);
    let body = json!({ "model": "echo", "messages": [{ "role": "user", "content": parts }], "max_completion_tokens": 3 });
    let answer = Client::connect(&server).await.chat(&body).await.json();
    let expected = format!("{:08x} one two three", crc32fast::hash(b"one two three"));
    assert_eq!(answer["choices"][0]["message"]["content"], expected[..12]);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 3);
}

#[tokio::test]
async fn several_prompts_are_completed_in_one_request() {
    let server = calm();
    let mut client = Client::connect(&server).await;
    let body = json!({ "model": "echo", "prompt": ["first", "second"], "n": 2 });
    let answer = client.post("/v1/completions", &body).await.json();
    let echoed = |prompt: &str| format!("{:08x} {prompt}", crc32fast::hash(prompt.as_bytes()));
    let texts: Vec<_> =
        answer["choices"].as_array().unwrap().iter().map(|choice| choice["text"].as_str().unwrap()).collect();
    assert_eq!(texts, [echoed("first"), echoed("first"), echoed("second"), echoed("second")]);

    let events = client.post("/v1/completions", &with(body, &json!({ "stream": true }))).await.events();
    for (index, text) in texts.iter().enumerate() {
        let pieces =
            events.iter().map(|event| &event["choices"][0]).filter(|choice| choice["index"] == index);
        assert_eq!(&pieces.map(|choice| choice["text"].as_str().unwrap()).collect::<String>(), text);
    }
    assert_eq!(events.iter().filter(|event| event["choices"][0]["finish_reason"] == "stop").count(), 4);
}

#[tokio::test]
async fn a_limit_of_maximum_size_does_not_overflow() {
    for max_tokens in [u64::MAX, u64::MAX / 2] {
        let server = calm();
        let body = json!({ "model": "echo", "prompt": ["a", "b"], "n": 2, "max_tokens": max_tokens });
        let answer = Client::connect(&server).await.post("/v1/completions", &body).await;
        assert_eq!(answer.status, 200, "{max_tokens}");
    }
}

#[tokio::test]
async fn completions_plain_and_streamed() {
    let server = calm();
    let mut client = Client::connect(&server).await;
    let body = json!({ "model": "writer", "prompt": "List 2 colors." });
    let plain = client.post("/v1/completions", &body).await;
    let more = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let stream = client.post("/v1/completions", &with(body, &more)).await;
    insta::assert_snapshot!(format!("{}\n\n{}", stable(&plain.body), stable(&stream.body)));
}

#[tokio::test]
async fn embeddings_are_the_same_as_numbers_and_in_base64() {
    let server = calm();
    let mut client = Client::connect(&server).await;
    let body = json!({ "model": "text-embedding-3-small", "input": ["tides", "bread"], "dimensions": 64 });
    let plain = client.post("/v1/embeddings", &body).await.json();
    let packed =
        client.post("/v1/embeddings", &with(body, &json!({ "encoding_format": "base64" }))).await.json();
    for index in 0..2 {
        let numbers = plain["data"][index]["embedding"]
            .as_array()
            .unwrap()
            .iter()
            .map(|number| number.as_f64().unwrap() as f32);
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(packed["data"][index]["embedding"].as_str().unwrap())
            .unwrap();
        let unpacked = bytes.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
        assert_eq!(numbers.collect::<Vec<_>>(), unpacked.collect::<Vec<_>>());
    }
    let tokens = json!({ "model": "text-embedding-3-small", "input": [[9906, 1917], [1]] });
    assert_eq!(
        client.post("/v1/embeddings", &tokens).await.json()["data"][1]["embedding"].as_array().unwrap().len(),
        1536
    );
}

#[tokio::test]
async fn models_are_listed_and_found_by_name() {
    let server = start(Settings { models: vec!["sim/echo".into(), "writer".into()], ..Settings::default() });
    let mut client = Client::connect(&server).await;
    assert_eq!(client.get("/v1/models").await.json()["data"][1]["id"], "writer");
    for path in ["/v1/models/sim/echo", "/v1/models/sim%2Fecho"] {
        assert_eq!(client.get(path).await.json()["id"], "sim/echo");
    }
    let unknown = client.get("/v1/models/gpt-9").await;
    assert_eq!((unknown.status.as_u16(), &unknown.json()["error"]["code"]), (404, &json!("model_not_found")));
}
