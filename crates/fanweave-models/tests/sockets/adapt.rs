//! Requests that adapt to what a server refuses.

use std::time::Duration;

use fanweave_core::{ErrorKind, Message, Model, Parameters, ResponseFormat, chain};
use fanweave_models::{ModelBuilder, RetryPolicy, adaptations};
use serde_json::{Value, json};

use crate::server::{Act, Seen, Server, answer, completion, stream};

fn refusal(message: &str) -> Vec<Act> {
    answer(400, "", &json!({"error": {"message": message, "type": "invalid_request_error"}}).to_string())
}

fn answered(seen: &Seen) -> Vec<Act> {
    if seen.body["stream"] == true { stream(&["ok"]) } else { completion("ok") }
}

/// A server that refuses requests with any of these fields, as OpenAI does.
async fn refusing(fields: &'static [&'static str]) -> Server {
    Server::start(move |seen| match fields.iter().find(|field| !seen.body[**field].is_null()) {
        Some(field) => {
            refusal(&format!("Unsupported parameter: '{field}' is not supported with this model."))
        }
        None => answered(seen),
    })
    .await
}

fn built(builder: ModelBuilder) -> Model {
    builder.retry(RetryPolicy::never()).build().unwrap()
}

fn fields(server: &Server, field: &str) -> Vec<bool> {
    server.requests().iter().map(|seen| !seen.body[field].is_null()).collect()
}

async fn streamed(model: &Model) -> fanweave_core::Result<Message> {
    chain(model.clone()).stream("x").output().await
}

#[tokio::test]
async fn a_refused_field_of_ours_is_omitted_once_and_remembered() {
    let server = refusing(&["stream_options"]).await;
    let model = built(server.model());
    for _ in 0..2 {
        assert_eq!(streamed(&model).await.unwrap().text(), "ok");
    }
    // Another handle in the same process knows it as well.
    assert_eq!(streamed(&built(server.model())).await.unwrap().text(), "ok");
    assert_eq!(fields(&server, "stream_options"), [true, false, false, false]);
    let url = format!("http://{}/v1", server.address);
    let noted: Vec<_> = adaptations().into_iter().filter(|change| change.server == url).collect();
    let [noted] = noted.as_slice() else { panic!("{noted:?}") };
    assert_eq!((noted.refused, noted.changed), (1, 3));
    let line = format!("test at {url} (1 request refused, 3 changed): sent without `stream_options`");
    assert_eq!(noted.to_string(), line);
}

#[tokio::test]
async fn the_spelling_of_max_tokens_follows_the_server() {
    for (refused, sent) in [("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")]
    {
        let server = if refused == "max_tokens" {
            refusing(&["max_tokens"]).await
        } else {
            refusing(&["max_completion_tokens"]).await
        };
        for vendor in ["openai", "vllm"] {
            let builder =
                ModelBuilder::new(format!("{vendor}/m")).base_url(format!("http://{}/v1", server.address));
            let model = built(builder).with(Parameters::new().max_tokens(50));
            assert_eq!(model.invoke("x").await.unwrap().text(), "ok", "{vendor} {refused}");
        }
        let requests = server.requests();
        assert_eq!(requests.last().unwrap().body[sent], 50);
        assert_eq!(requests.len(), 3, "one refusal for both");
    }
}

#[tokio::test]
async fn both_spellings_refused_is_the_error_of_the_server() {
    let server = refusing(&["max_tokens", "max_completion_tokens"]).await;
    let model = built(server.model()).with(Parameters::new().max_tokens(50));
    for _ in 0..2 {
        let error = model.invoke("x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BadRequest);
        assert!(error.message().contains("is not supported"), "{error}");
    }
    assert_eq!(server.requests().len(), 3, "two spellings, then one request a call");
}

#[tokio::test]
async fn calls_in_flight_with_the_old_shape_are_retried_uncharged() {
    let server = Server::start(|seen| match seen.body["stream_options"].is_null() {
        true => answered(seen),
        false => {
            let mut acts = vec![Act::Wait(Duration::from_millis(50))];
            acts.extend(refusal("extra_forbidden: ('body', 'stream_options')"));
            acts
        }
    })
    .await;
    let model = built(server.model());
    let calls = (0..16).map(|_| streamed(&model));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.unwrap().text(), "ok");
    }
    let refused = fields(&server, "stream_options").into_iter().filter(|sent| *sent).count();
    assert!((1..=16).contains(&refused), "{refused}");
    assert_eq!(server.requests().len(), 16 + refused);
}

#[tokio::test]
async fn a_parameter_of_the_caller_is_named_or_dropped() {
    let server = refusing(&["temperature"]).await;
    let parameters = Parameters::new().temperature(0.2);
    let model = built(server.model()).with(parameters.clone());
    let error = model.invoke("x").await.unwrap_err();
    assert!(error.message().ends_with("remove `temperature`, or let requests adapt (`adapt`)"), "{error}");
    assert_eq!(server.requests().len(), 1);

    let model = built(server.model().adapt(true)).with(parameters);
    let before = model.identity();
    for _ in 0..2 {
        assert_eq!(model.invoke("x").await.unwrap().text(), "ok");
    }
    assert_eq!(fields(&server, "temperature"), [true, true, false, false]);
    assert_eq!(model.identity(), format!("{before}, sent without `temperature`"), "a cache keeps them apart");
}

#[tokio::test]
async fn a_model_that_only_streams_is_streamed() {
    let server = Server::start(|seen| match seen.body["stream"] == true {
        true => answered(seen),
        false => refusal("This model only support stream mode, please enable the stream parameter."),
    })
    .await;
    let model = built(server.model());
    for _ in 0..2 {
        assert_eq!(model.invoke("x").await.unwrap().text(), "ok");
    }
    assert_eq!(fields(&server, "stream"), [false, true, true]);
}

#[tokio::test]
async fn a_schema_that_the_server_refuses_goes_into_the_prompt_if_allowed() {
    let refuses = |seen: &Seen| match seen.body["response_format"]["type"] == "json_schema" {
        true => refusal("This response_format type is unavailable now"),
        false => completion("{}"),
    };
    let schema = json!({"type": "object", "title": "CANARY"});
    let format = ResponseFormat::JsonSchema { name: "n".to_owned(), schema, strict: true };
    let server = Server::start(refuses).await;
    let parameters = Parameters::new().format(format);
    let error = built(server.model()).with(parameters.clone()).invoke("x").await.unwrap_err();
    assert!(error.message().contains("remove `response_format`"), "{error}");
    built(server.model().adapt(true)).with(parameters.clone()).invoke("x").await.unwrap();
    let last = server.requests().last().unwrap().body.clone();
    assert_eq!(last["response_format"], json!({"type": "json_object"}));
    assert!(last["messages"][0]["content"].as_str().unwrap().contains("CANARY"));

    // Never after an answer that followed the schema.
    let server =
        Server::start(move |seen| if seen.number == 0 { completion("{}") } else { refuses(seen) }).await;
    let model = built(server.model().adapt(true)).with(parameters);
    model.invoke("x").await.unwrap();
    assert_eq!(model.invoke("x").await.unwrap_err().kind(), ErrorKind::BadRequest);
}

/// Answers of the dialects to requests that are not streamed.
fn said(name: &str) -> Value {
    match name {
        "openai-responses" => {
            json!({ "output": [{ "type": "message", "content": [{ "type": "output_text", "text": "{}" }] }] })
        }
        "anthropic" => json!({ "content": [{ "type": "text", "text": "{}" }], "stop_reason": "end_turn" }),
        "gemini" => {
            json!({ "candidates": [{ "content": { "parts": [{ "text": "{}" }] }, "finishReason": "STOP" }] })
        }
        _ => json!({ "message": { "content": "{}" }, "done": true }),
    }
}

#[tokio::test]
async fn a_schema_is_loosened_in_the_other_dialects_too() {
    for (name, field, sentence) in [
        ("openai-responses", "text", "'text.format' of type 'json_schema' is not supported with this model."),
        ("anthropic", "output_config", "output_config: Extra inputs are not permitted"),
        ("gemini", "generationConfig", "JSON mode is not enabled for models/test"),
        ("ollama", "format", "format: a schema is not supported"),
    ] {
        let server = Server::start(move |seen| {
            let has_schema = seen.body[field].to_string().contains("CANARY");
            if has_schema { refusal(sentence) } else { answer(200, "", &said(name).to_string()) }
        })
        .await;
        let base = format!("http://{}", server.address);
        let builder = || ModelBuilder::new(format!("{name}/test")).base_url(&base).api_key("sk-test");
        let schema = json!({
            "type": "object",
            "properties": { "a": { "type": "string", "description": "CANARY" } },
            "required": ["a"],
            "additionalProperties": false,
        });
        let format = ResponseFormat::JsonSchema { name: "n".to_owned(), schema, strict: true };
        let parameters = Parameters::new().format(format);
        let error = built(builder()).with(parameters.clone()).invoke("x").await.unwrap_err();
        let advice = format!("remove the JSON schema, sent in `{field}`");
        assert!(error.message().contains(&advice), "{name}: {error}");
        for _ in 0..2 {
            let model = built(builder().adapt(true)).with(parameters.clone());
            assert_eq!(model.invoke("x").await.unwrap().text(), "{}", "{name}");
        }
        assert_eq!(server.requests().len(), 4, "{name}");
        assert!(server.requests()[3].body.to_string().contains("matches this JSON schema"), "{name}");
    }
}

#[tokio::test]
async fn a_server_that_takes_fewer_texts_gets_fewer() {
    let server = Server::start(|seen| {
        let texts = seen.body["input"].as_array().unwrap();
        if texts.len() > 10 {
            return refusal("batch size is invalid, it should not be larger than 10.: input.contents");
        }
        let length = |text: &Value| json!({"embedding": [text.as_str().unwrap().len()]});
        let vectors: Vec<_> = texts.iter().map(length).collect();
        answer(200, "", &json!({"data": vectors, "usage": {"prompt_tokens": 1}}).to_string())
    })
    .await;
    let texts: Vec<_> = (1..=25).map(|length| "x".repeat(length)).collect();
    for (requests, tokens) in [(4, 3), (7, 3)] {
        let embedder = server.model().retry(RetryPolicy::never()).build_embedder().unwrap();
        let answer = embedder.embed(texts.clone()).await.unwrap();
        assert_eq!(answer.vectors, (1..=25).map(|length| vec![length as f32]).collect::<Vec<_>>());
        assert_eq!((server.requests().len(), answer.usage.input_tokens), (requests, tokens));
    }
    let strict = server.model().strict_request(true).max_inputs(25.try_into().unwrap());
    assert!(strict.build_embedder().unwrap().embed(texts[..3].to_vec()).await.is_ok());
}

#[tokio::test]
async fn nothing_is_adapted_in_strict_requests() {
    let server = refusing(&["stream_options"]).await;
    let model = built(server.model().strict_request(true));
    for _ in 0..2 {
        assert_eq!(streamed(&model).await.unwrap_err().kind(), ErrorKind::BadRequest);
    }
    assert_eq!(fields(&server, "stream_options"), [true, true]);
}

#[tokio::test]
async fn a_field_that_the_caller_has_written_by_its_name_is_kept() {
    let server = refusing(&["max_tokens"]).await;
    let model = built(server.model()).with(Parameters::new().extra("max_tokens", 5));
    assert_eq!(model.invoke("x").await.unwrap_err().kind(), ErrorKind::BadRequest);
    assert_eq!(
        server.requests().iter().map(|seen| seen.body["max_tokens"].clone()).collect::<Vec<Value>>(),
        [5]
    );
}

#[tokio::test]
async fn a_server_that_refuses_several_fields_refuses_the_second_one_once() {
    let slow = Server::start(|seen| {
        let refused = ["temperature", "seed", "stream_options"].into_iter();
        let refused = refused.clone().find(|field| !seen.body[*field].is_null());
        let mut acts = vec![Act::Wait(Duration::from_millis(60))];
        acts.extend(match refused {
            Some(field) => {
                refusal(&format!("Unsupported parameter: '{field}' is not supported with this model."))
            }
            None => answered(seen),
        });
        acts
    })
    .await;
    let parameters = Parameters::new().temperature(0.2).seed(7);
    let model = built(slow.model().adapt(true)).with(parameters);
    let calls = (0..24).map(|_| streamed(&model));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.unwrap().text(), "ok");
    }
    let refused = |field| fields(&slow, field).into_iter().filter(|sent| *sent).count();
    let (first, second, third) = (refused("temperature"), refused("seed"), refused("stream_options"));
    assert!(first <= 24, "{first}");
    assert_eq!((second - first, third - second), (1, 1));
}
