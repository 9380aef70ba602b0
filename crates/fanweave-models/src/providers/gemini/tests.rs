//! Tests of the dialect on recorded bytes: encoding of calls and decoding of answers.

use std::time::Duration;

use fanweave_core::{
    ErrorKind, FinishReason, Media, Parameters, Part, ResponseFormat, Role, ToolChoice, ToolSpec, Usage,
};
use serde_json::{Value, json};

use super::super::testing::{
    call, calls, decode, holds_for_a_stream, inline, request, result, results_with_an_image, with_parts,
};
use super::*;

const GEMINI: GenerateContent = GenerateContent { is_vertex: false };

const PLAIN: &str = include_str!("fixtures/plain.json");
const TOOLS: &str = include_str!("fixtures/parallel_tools.json");
const STREAM: &str = include_str!("fixtures/stream.sse");
const STREAM_TOOLS: &str = include_str!("fixtures/stream_thoughts_tools.sse");

fn written(messages: &[Message], parameters: &Parameters) -> Result<Value> {
    Ok(request(&GEMINI, messages, parameters, false)?.1)
}

#[test]
fn the_model_and_the_verb_are_part_of_the_path() {
    let (plain, _) = request(&GEMINI, &[], &Parameters::default(), false).unwrap();
    assert_eq!(&*plain.path, "/v1beta/models/m:generateContent");
    let (stream, _) = request(&GEMINI, &[], &Parameters::default(), true).unwrap();
    assert_eq!(&*stream.path, "/v1beta/models/m:streamGenerateContent?alt=sse");
    assert_eq!(path("tunedModels/a b?", "x"), "/v1beta/tunedModels/a%20b%3F:x");
}

#[test]
fn a_plain_call_says_no_more_than_it_must() {
    let messages = [Message::system("Be brief."), Message::user("hi")];
    assert_eq!(
        written(&messages, &Parameters::default()).unwrap(),
        json!({
            "systemInstruction": { "parts": [{ "text": "Be brief." }] },
            "contents": [{ "role": "user", "parts": [{ "text": "hi" }] }],
        })
    );
}

#[test]
fn every_parameter_has_its_field() {
    let mut parameters = Parameters::new()
        .temperature(0.5)
        .top_p(0.9)
        .max_tokens(64)
        .stop(["END"])
        .seed(7)
        .tools([ToolSpec {
            name: "weather".into(),
            description: "The weather in a city".into(),
            parameters: json!({ "type": "object" }),
        }])
        .tool_choice(ToolChoice::Tool("weather".into()))
        .format(ResponseFormat::JsonSchema {
            name: "city".into(),
            schema: json!({ "type": "string", "pattern": "^x", "$schema": "x" }),
            strict: true,
        });
    parameters.extra = serde_json::from_value(json!({
        "generationConfig": { "topK": 3, "seed": 8 }, "safetySettings": [],
    }))
    .unwrap();
    assert_eq!(
        written(&[], &parameters).unwrap(),
        json!({
            "contents": [],
            "generationConfig": {
                "temperature": 0.5,
                "topP": 0.9,
                "maxOutputTokens": 64,
                "stopSequences": ["END"],
                "seed": 8,
                "responseMimeType": "application/json",
                "responseJsonSchema": { "type": "string", "description": "(pattern: \"^x\")" },
                "topK": 3,
            },
            "tools": [{ "functionDeclarations": [{
                "name": "weather",
                "description": "The weather in a city",
                "parametersJsonSchema": { "type": "object" },
            }] }],
            "toolConfig": { "functionCallingConfig": { "mode": "ANY", "allowedFunctionNames": ["weather"] } },
            "safetySettings": [],
        })
    );
}

#[test]
fn a_round_of_tools_goes_back_with_signatures_where_they_stood() {
    let answer = GEMINI.response(TOOLS.as_bytes()).unwrap();
    let generated = answer.tool_calls().next().unwrap().id.clone();
    let plain = GEMINI.response(PLAIN.as_bytes()).unwrap();
    let late = with_parts(
        Role::Assistant,
        vec![Part::Text("so".into()), Part::Reasoning { text: String::new(), signature: Some("z".into()) }],
    );
    let messages = [
        Message::user("weather?"),
        answer,
        with_parts(Role::Tool, vec![result(&generated, false)]),
        with_parts(Role::Tool, vec![result("abc", true)]),
        plain,
        late,
    ];
    assert_eq!(
        written(&messages, &Parameters::default()).unwrap()["contents"],
        json!([
            { "role": "user", "parts": [{ "text": "weather?" }] },
            { "role": "model", "parts": [
                { "functionCall": { "name": "weather", "args": { "city": "Paris" } }, "thoughtSignature": "CpcBAQ" },
                { "functionCall": { "name": "weather", "args": { "city": "Rome" }, "id": "abc" } },
            ] },
            { "role": "user", "parts": [
                { "functionResponse": { "name": "weather", "response": { "output": "sunny" } } },
                { "functionResponse": { "name": "weather", "response": { "error": "sunny" }, "id": "abc" } },
            ] },
            { "role": "model", "parts": [
                { "text": "Hello! How can I help?", "thoughtSignature": "CtYBAXLI2nx" },
                { "text": "so" },
                { "text": "", "thoughtSignature": "z" },
            ] },
        ])
    );
}

#[test]
fn a_result_without_its_call_is_refused_before_it_is_sent() {
    let orphan = with_parts(Role::Tool, vec![result("x", false)]);
    let error = written(&[orphan, with_parts(Role::Assistant, vec![call("x", "")])], &Parameters::default());
    let error = error.unwrap_err();
    assert_eq!(error.message(), "the result of the tool call `x` follows no such call");
}

#[test]
fn media_of_every_kind_have_their_parts() {
    let media = vec![
        Part::Image(inline("image/png")),
        Part::Audio(inline("audio/wav")),
        Part::File(Media::Url("https://x/y.pdf".into())),
    ];
    assert_eq!(
        written(&[with_parts(Role::User, media)], &Parameters::default()).unwrap()["contents"][0]["parts"],
        json!([
            { "inlineData": { "mimeType": "image/png", "data": "aGk=" } },
            { "inlineData": { "mimeType": "audio/wav", "data": "aGk=" } },
            { "fileData": { "fileUri": "https://x/y.pdf" } },
        ])
    );
}

#[test]
fn a_plain_answer_keeps_all_that_was_said_about_it() {
    let message = GEMINI.response(PLAIN.as_bytes()).unwrap();
    assert_eq!(message.text(), "Hello! How can I help?");
    assert_eq!(message.parts[0], Part::Reasoning { text: "A greeting. ".into(), signature: None });
    let reply = message.reply.expect("the reply");
    assert_eq!(reply.id.as_deref(), Some("mAIcaYzWD5mN"));
    assert_eq!(reply.model.as_deref(), Some("gemini-2.5-flash"));
    assert_eq!(reply.finish_reason, Some(FinishReason::Stop));
    let usage = Usage::new(8, 34).cached_tokens(4).reasoning_tokens(24);
    assert_eq!(reply.usage, usage);
}

#[test]
fn parallel_tool_calls_are_all_returned_and_have_ids() {
    let message = GEMINI.response(TOOLS.as_bytes()).unwrap();
    assert_eq!(
        calls(&message),
        [("unnamed_call_0", "weather", "{\"city\":\"Paris\"}"), ("abc", "weather", "{\"city\":\"Rome\"}"),]
    );
    assert_eq!(message.finish_reason(), Some(&FinishReason::ToolCalls));
}

#[test]
fn a_near_answer_is_read_all_the_same() {
    for (body, text) in [
        (r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#, "a"),
        (
            r#"{"candidates":[{"content":{"parts":[{"text":"a"},{"new":1}]},"finishReason":"NEW"}],"usageMetadata":null}"#,
            "a",
        ),
        (r#"{"candidates":[{"content":{},"finishReason":"MAX_TOKENS"}]}"#, ""),
    ] {
        assert_eq!(GEMINI.response(body.as_bytes()).unwrap().text(), text, "{body}");
    }
    for empty in [&b"{}"[..], br#"{"candidates":[]}"#, br#"{"candidates":[{"content":{}}]}"#] {
        assert_eq!(GEMINI.response(empty).unwrap_err().kind(), ErrorKind::Decode);
    }
}

#[test]
fn the_sentences_beside_a_finish_reason_and_a_block_reach_the_person() {
    for (body, kind, words) in [
        (
            r#"{"candidates":[{"content":{},"finishReason":"MALFORMED_FUNCTION_CALL","finishMessage":"Malformed function call: print("}]}"#,
            ErrorKind::Decode,
            "(finish reason MALFORMED_FUNCTION_CALL): Malformed function call: print(",
        ),
        (
            r#"{"candidates":[{"content":{"parts":[{"text":"Hel"}]},"finish_reason":"SERVER_ERROR","finish_message":"the sky fell"}]}"#,
            ErrorKind::Server,
            "(finish reason SERVER_ERROR): the sky fell",
        ),
        (
            r#"{"promptFeedback":{"blockReason":"OTHER","blockReasonMessage":"Not in this region."}}"#,
            ErrorKind::ContentFilter,
            "the prompt was blocked: OTHER: Not in this region.",
        ),
    ] {
        let streamed = decode(&GEMINI, &[format!("data: {body}\n\n").as_bytes()]).unwrap_err();
        let whole = GEMINI.response(body.as_bytes()).unwrap_err();
        for error in [streamed, whole] {
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().ends_with(words), "{error}");
        }
    }
}

#[test]
fn a_prompt_that_was_blocked_is_an_error() {
    let body = br#"{"promptFeedback":{"blockReason":"PROHIBITED_CONTENT"},"usageMetadata":{}}"#;
    let error = GEMINI.response(body).unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::ContentFilter, Some("PROHIBITED_CONTENT")));
}

#[test]
fn every_finish_reason_is_mapped() {
    for (reason, finish) in [
        ("STOP", FinishReason::Stop),
        ("MAX_TOKENS", FinishReason::Length),
        ("SAFETY", FinishReason::ContentFilter),
        ("RECITATION", FinishReason::ContentFilter),
        ("MALFORMED_FUNCTION_CALL", FinishReason::Other("MALFORMED_FUNCTION_CALL".into())),
    ] {
        let content = json!({ "parts": [{ "text": "a" }] });
        let body = json!({ "candidates": [{ "content": content, "finishReason": reason }] }).to_string();
        let message = GEMINI.response(body.as_bytes()).unwrap();
        assert_eq!(message.finish_reason(), Some(&finish));
    }
}

#[test]
fn a_stream_folds_to_its_message() {
    let message = decode(&GEMINI, &[STREAM_TOOLS.as_bytes()]).unwrap();
    assert_eq!(message.parts[0], Part::Reasoning { text: "Two cities.".into(), signature: None });
    assert_eq!(message.parts[1], Part::Text("Let me look 😀".into()));
    let signed = Part::Reasoning { text: String::new(), signature: Some("CpcBAQ".into()) };
    assert_eq!(message.parts[2], signed);
    assert_eq!(
        calls(&message),
        [
            ("unnamed_call_0", "weather", "{\"city\":\"Paris\"}"),
            ("unnamed_call_1", "weather", "{\"city\":\"Rome\"}"),
        ]
    );
    assert_eq!(message.finish_reason(), Some(&FinishReason::ToolCalls));
    assert_eq!((message.usage().output_tokens, message.usage().reasoning_tokens), (33, 12));
}

#[test]
fn any_split_gives_the_same_message_and_no_beginning_is_whole() {
    for stream in [STREAM, STREAM_TOOLS] {
        holds_for_a_stream(&GEMINI, stream);
    }
}

#[test]
fn a_failure_in_the_stream_is_an_error_whether_wrapped_in_a_list_or_not() {
    let error = r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#;
    for data in [error.to_owned(), format!("[{error}]")] {
        let error = decode(&GEMINI, &[format!("data: {data}\n\n").as_bytes()]).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Overloaded, "The model is overloaded."));
    }
}

#[test]
fn refusals_are_known_by_their_status_and_details() {
    use ErrorKind::*;
    let retry = json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "45.8s" });
    let quota = |id: &str| json!({ "violations": [{ "quotaMetric": "m", "quotaId": id }] });
    let minute = quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier");
    let day = quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier");
    for (status, name, details, kind, wait) in [
        (429, "RESOURCE_EXHAUSTED", json!([minute, retry]), RateLimited, Some(45.8)),
        (429, "RESOURCE_EXHAUSTED", json!([day, retry]), QuotaExhausted, None),
        (429, "RESOURCE_EXHAUSTED", json!(null), RateLimited, None),
        (400, "INVALID_ARGUMENT", json!([]), BadRequest, None),
        (400, "INVALID_ARGUMENT", json!([{ "reason": "API_KEY_INVALID" }]), Authentication, None),
        (400, "FAILED_PRECONDITION", json!([]), BadRequest, None),
        (403, "PERMISSION_DENIED", json!([]), Permission, None),
        (404, "NOT_FOUND", json!([]), NotFound, None),
        (500, "INTERNAL", json!([]), Server, None),
        (503, "UNAVAILABLE", json!([]), Overloaded, None),
        (504, "DEADLINE_EXCEEDED", json!([]), Timeout, None),
        (418, "NEW", json!([]), BadRequest, None),
    ] {
        let body = json!({ "error": { "code": status, "message": "m", "status": name, "details": details } });
        let body = serde_json::to_string_pretty(&body).unwrap();
        let error = GEMINI.error(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), &body);
        assert_eq!((error.kind(), error.message(), error.code()), (kind, "m", Some(name)), "{body}");
        assert_eq!(error.retry_after(), wait.map(Duration::from_secs_f64), "{body}");
    }
    let long = r#"{"error":{"code":400,"message":"The input token count (2000000) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}"#;
    assert_eq!(GEMINI.error(StatusCode::BAD_REQUEST, &HeaderMap::new(), long).kind(), ContextLength);
}

#[test]
fn a_tool_result_with_an_image_goes_back_as_the_dialect_wants_it() {
    let body = written(&results_with_an_image(), &Parameters::default()).unwrap();
    assert_eq!(
        body["contents"][1]["parts"][1]["functionResponse"],
        json!({
            "name": "weather", "id": "b", "response": { "output": "a map" },
            "parts": [{ "inlineData": { "mimeType": "image/png", "data": "aGk=" } }],
        })
    );
}
