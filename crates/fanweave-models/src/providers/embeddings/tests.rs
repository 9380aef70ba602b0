//! Tests of the dialects on bodies written from the published formats.

use fanweave_core::ErrorKind;
use serde_json::{Value, json};

use super::*;

fn written(dialect: Dialect, dimensions: Option<u32>) -> (String, Value) {
    let extra = Map::from_iter([("task".to_owned(), json!({ "kind": 1 }))]);
    let parameters = VectorParameters { dimensions, extra };
    let request = dialect.request("m", &["a".into(), "b".into()], &parameters).unwrap();
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
        ("/embeddings", json!({ "model": "m", "input": ["a", "b"], "dimensions": 2, "task": { "kind": 1 } }))
    );
    let (path, body) = written(Dialect::Ollama, None);
    assert_eq!(
        (&*path, body),
        (
            "/api/embed",
            json!({ "model": "m", "input": ["a", "b"], "truncate": false, "task": { "kind": 1 } })
        )
    );
    let (path, body) = written(Dialect::Gemini, Some(2));
    let request = |text: &str| json!({ "model": "models/m", "content": { "parts": [{ "text": text }] }, "outputDimensionality": 2, "task": { "kind": 1 } });
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
fn vectors_are_found_in_the_shapes_of_other_servers() {
    for body in [
        // Text Embeddings Inference.
        json!([[1, 2], [3, 4]]),
        json!([{ "embedding": [1, 2], "index": 0 }, { "embedding": [3, 4], "index": 1 }]),
        // Cohere, with one list for each type.
        json!({ "embeddings": { "float": [[1, 2], [3, 4]] }, "usage": null }),
        // llama.cpp, with one vector for each sequence.
        json!({ "data": [{ "embedding": [[1, 2]] }, { "embedding": [[3, 4]] }] }),
        json!({ "data": [{ "embedding": ["1", "2.0"] }, { "embedding": ["3", "4"] }] }),
        json!({ "data": [{ "embedding": [3, 4], "index": "1" }, { "embedding": [1, 2], "index": "0" }] }),
        json!({ "data": [{ "embedding": { "float": [1, 2] } }, { "embedding": { "values": [3, 4] } }] }),
    ] {
        let answer = read(Dialect::OpenAi, 2, &body).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert_eq!(answer.vectors, [[1.0, 2.0], [3.0, 4.0]], "{body}");
    }
    let old = json!({ "embedding": [1, 2] });
    assert_eq!(read(Dialect::Ollama, 1, &old).unwrap().vectors, [[1.0, 2.0]]);
    let wrapped = br#"{"data":[{"embedding":[1,2],"embedding":null}]}"#;
    let vectors = Vectors { dialect: Dialect::OpenAi, texts: 1 };
    assert_eq!(vectors.response(wrapped).unwrap().vectors, [[1.0, 2.0]], "the last that is not null");
}

#[test]
fn a_vector_that_cannot_be_used_is_named() {
    for (body, says) in [
        (r#"{"data":[{"embedding":[1]},{"embedding":null},{"embedding":[1]}]}"#, "embedding 2 of 3 is null"),
        (
            r#"{"data":[{"embedding":[1]},{"embedding":[1]},{"embedding":[NaN]}]}"#,
            "embedding 3 of 3 has a value that is not a number",
        ),
        (r#"[[1],["x"],[1]]"#, "embedding 2 of 3 has a value that is not a number"),
        (r#"[[1,2],[1],[1,2]]"#, "embedding 2 of 3 has 1 numbers, and the first one 2"),
        (r#"[[1,2],[],[1,2]]"#, "embedding 2 of 3 has no numbers"),
        (r#"[[1,2],[1,1]]"#, "expected 3 embeddings, got 2"),
    ] {
        let error = Vectors { dialect: Dialect::OpenAi, texts: 3 }.response(body.as_bytes()).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Decode, says), "{body}");
        assert!(!error.is_retryable(), "the same request would be billed again: {body}");
    }
}

#[test]
fn the_maximum_number_of_texts_is_read_from_refusals() {
    for (message, at_most) in [
        ("batch size is invalid, it should not be larger than 10.: input.contents", Some(10)),
        ("batch size 64 > maximum allowed batch size 32", Some(32)),
        ("at most 100 requests can be in one batch", Some(100)),
        ("'$.input' is invalid: array too long. Expected an array with maximum length 96", Some(96)),
        ("Too many inputs: maximum 50", Some(50)),
        ("too many inputs", Some(100)),
        ("Requested 400000 tokens, max 300000 tokens per request", Some(100)),
        ("the model does not exist", None),
        ("input 3 must not be empty", None),
    ] {
        let error = fanweave_core::Error::new(ErrorKind::BadRequest, message).with_status(400);
        assert_eq!(max_inputs(&error, 200), at_most, "{message}");
        assert_eq!(max_inputs(&error, 1), None, "a single text: {message}");
    }
    let error = fanweave_core::Error::new(ErrorKind::BadRequest, "should not be larger than 10");
    assert_eq!(max_inputs(&error, 3), None, "the limit was kept");
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

#[test]
fn numbers_that_are_too_large_and_repeated_indices_are_rejected() {
    let data = |datums: Value| json!({ "data": datums });
    let one = |index: Value, vector: Value| json!({ "index": index, "embedding": vector });
    for (texts, datums) in [
        (1, json!([one(json!(0), json!([1.0, 1e300]))])),
        (3, json!([one(json!(0), json!([1])), one(json!(2), json!([2])), one(json!(0), json!([3]))])),
    ] {
        let error = read(Dialect::OpenAi, texts, &data(datums)).unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Decode, false), "{error}");
    }
    // One index for all says nothing.
    let equal = json!([one(json!(0), json!([1])), one(json!(0), json!([2]))]);
    assert_eq!(read(Dialect::OpenAi, 2, &data(equal)).unwrap().vectors, [[1.0], [2.0]]);
}

#[test]
fn vectors_of_another_name_and_text_after_the_body_cost_nothing() {
    let vectors = json!({ "vectors": [[1, 2]] });
    assert_eq!(read(Dialect::OpenAi, 1, &vectors).unwrap().vectors, [[1.0, 2.0]]);
    let body = format!("{}\n<!-- x -->", json!({ "data": [{ "embedding": [1, 2] }] }));
    let answer = Vectors { dialect: Dialect::OpenAi, texts: 1 }.response(body.as_bytes()).unwrap();
    assert_eq!(answer.vectors, [[1.0, 2.0]]);
}

#[test]
fn a_parameter_that_the_request_has_already_is_refused() {
    let builder = || crate::ModelBuilder::new("openai/m").api_key("k");
    let error = builder().vector_parameter("input", "x").build_embedder().unwrap_err();
    assert!(error.message().contains("`input` cannot be set as a parameter"), "{error}");
    assert!(
        builder().vector_parameter("user", "x").build().unwrap_err().message().contains("`user` is only")
    );
    builder().vector_parameter("user", "x").build_embedder().unwrap();
}
