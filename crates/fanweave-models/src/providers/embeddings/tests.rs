//! Tests of the dialects on bodies written from the published formats.

use fanweave_core::ErrorKind;
use serde_json::{Value, json};

use super::*;

fn written(dialect: Dialect, dimensions: Option<u32>) -> (String, Value) {
    let request = dialect.request("m", vec!["a".into(), "b".into()], dimensions).unwrap();
    (request.path.into_owned(), serde_json::from_slice(&request.body).unwrap())
}

fn read(dialect: Dialect, texts: usize, body: &Value) -> Result<Embedded> {
    Vectors { dialect, texts }.response(body.to_string().as_bytes())
}

#[test]
fn each_dialect_has_its_request() {
    let (path, body) = written(Dialect::OpenAi, Some(2));
    assert_eq!(
        (&*path, body),
        ("/embeddings", json!({ "model": "m", "input": ["a", "b"], "dimensions": 2 }))
    );
    let (path, body) = written(Dialect::Ollama, None);
    assert_eq!(
        (&*path, body),
        ("/api/embed", json!({ "model": "m", "input": ["a", "b"], "truncate": false }))
    );
    let (path, body) = written(Dialect::Gemini, Some(2));
    let request = |text: &str| json!({ "model": "models/m", "content": { "parts": [{ "text": text }] }, "outputDimensionality": 2 });
    assert_eq!(
        (&*path, body),
        ("/v1beta/models/m:batchEmbedContents", json!({ "requests": [request("a"), request("b")] }))
    );
}

#[test]
fn each_answer_gives_its_vectors_in_order() {
    let openai = json!({ "object": "list", "model": "m", "usage": { "prompt_tokens": 8, "total_tokens": 8 },
        "data": [
            { "object": "embedding", "index": 1, "embedding": [3, 4.5] },
            { "object": "embedding", "index": 0, "embedding": [1.0, 2.0] },
        ] });
    let ollama = json!({ "model": "m", "embeddings": [[1.0, 2.0], [3, 4.5]], "prompt_eval_count": 8 });
    let gemini = json!({ "embeddings": [{ "values": [1.0, 2.0] }, { "values": [3, 4.5] }] });
    for (dialect, body, tokens) in
        [(Dialect::OpenAi, openai, 8), (Dialect::Ollama, ollama, 8), (Dialect::Gemini, gemini, 0)]
    {
        let answer = read(dialect, 2, &body).unwrap();
        assert_eq!(answer.vectors, [[1.0, 2.0], [3.0, 4.5]], "{dialect:?}");
        assert_eq!(answer.usage.input_tokens, tokens, "{dialect:?}");
    }
}

#[test]
fn near_answers_are_read_all_the_same() {
    let base64 = json!({ "data": [{ "index": null, "embedding": "AACAPwAAAEA=" }], "usage": null, "new": 1 });
    assert_eq!(read(Dialect::OpenAi, 1, &base64).unwrap().vectors, [[1.0, 2.0]]);
    let unordered = json!({ "data": [{ "embedding": [1] }, { "embedding": [2] }] });
    assert_eq!(read(Dialect::OpenAi, 2, &unordered).unwrap().vectors, [[1.0], [2.0]]);
}

#[test]
fn an_answer_that_does_not_match_its_texts_is_an_error() {
    for body in [
        json!({}),
        json!({ "data": [] }),
        json!({ "data": [{ "embedding": [] }] }),
        json!({ "data": [{ "embedding": "AAA=" }] }),
        json!({ "data": [{ "embedding": [1] }, { "embedding": [2] }] }),
    ] {
        assert_eq!(read(Dialect::OpenAi, 1, &body).unwrap_err().kind(), ErrorKind::Decode, "{body}");
    }
}

#[test]
fn a_failure_wrapped_into_a_success_is_a_failure() {
    let body = json!({ "error": { "code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED" } });
    assert_eq!(read(Dialect::Gemini, 1, &body).unwrap_err().kind(), ErrorKind::RateLimited);
    let body = json!({ "error": { "message": "m", "type": "rate_limit_error" } });
    assert_eq!(read(Dialect::OpenAi, 1, &body).unwrap_err().kind(), ErrorKind::RateLimited);
}
