//! Tests of the dialect on recorded bytes: encoding of calls and decoding of answers.

use fanweave_core::{
    ErrorKind, FinishReason, Media, Parameters, Part, ResponseFormat, Role, ToolChoice, ToolSpec,
};
use serde_json::{Value, json};

use super::super::testing::{
    call, calls, decode, holds_for_a_stream, inline, request, result, results_with_an_image, with_parts,
};
use super::*;

const PLAIN: &str = include_str!("fixtures/plain.json");
const STREAM: &str = include_str!("fixtures/stream.ndjson");
const STREAM_TOOLS: &str = include_str!("fixtures/stream_tools.ndjson");

fn written(messages: &[Message], parameters: &Parameters) -> Result<Value> {
    let (request, body) = request(&Chat, messages, parameters, false)?;
    assert_eq!(&*request.path, "/api/chat");
    Ok(body)
}

fn weather() -> ToolSpec {
    ToolSpec {
        name: "weather".into(),
        description: "The weather in a city".into(),
        parameters: json!({ "type": "object" }),
    }
}

#[test]
fn a_plain_call_says_that_it_wants_no_stream() {
    let messages = [Message::system("Be brief."), Message::user("hi")];
    assert_eq!(
        written(&messages, &Parameters::default()).unwrap(),
        json!({ "model": "m", "stream": false, "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "hi" },
        ] })
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
        .tools([weather()])
        .format(ResponseFormat::JsonSchema {
            name: "city".into(),
            schema: json!({ "type": "string" }),
            strict: true,
        });
    parameters.extra =
        serde_json::from_value(json!({ "think": true, "options": { "num_ctx": 8192 } })).unwrap();
    let (_, body) = request(&Chat, &[], &parameters, true).unwrap();
    assert_eq!(
        body,
        json!({
            "model": "m",
            "messages": [],
            "stream": true,
            "tools": [{ "type": "function", "function": {
                "name": "weather",
                "description": "The weather in a city",
                "parameters": { "type": "object" },
            } }],
            "format": { "type": "string" },
            "options": {
                "temperature": 0.5, "top_p": 0.9, "num_predict": 64, "stop": ["END"], "seed": 7,
                "num_ctx": 8192,
            },
            "think": true,
        })
    );
}

#[test]
fn an_unsupported_tool_choice_is_rejected_and_none_omits_the_tools() {
    let with = |choice| Parameters::new().tools([weather()]).tool_choice(choice);
    assert!(written(&[], &with(ToolChoice::None)).unwrap().get("tools").is_none());
    assert_eq!(written(&[], &with(ToolChoice::Required)).unwrap_err().kind(), ErrorKind::Input);
}

#[test]
fn a_round_of_tools_goes_back_by_name() {
    let answer = decode(&Chat, &[STREAM_TOOLS.as_bytes()]).unwrap();
    let thought = Part::Reasoning { text: "hm".into(), signature: Some("of another".into()) };
    let messages = [
        answer,
        with_parts(Role::Tool, vec![result("unnamed_call_0", false), result("call_x1", true)]),
        with_parts(Role::Assistant, vec![thought, Part::Text("ok".into()), call("c", "{oops")]),
        with_parts(Role::User, vec![Part::Image(inline("image/png"))]),
    ];
    assert_eq!(
        written(&messages, &Parameters::default()).unwrap()["messages"],
        json!([
            { "role": "assistant", "content": "", "tool_calls": [
                { "function": { "name": "weather", "arguments": { "city": "Paris" } } },
                { "function": { "name": "weather", "arguments": { "city": "Rome" } }, "id": "call_x1" },
            ] },
            { "role": "tool", "content": "sunny", "tool_name": "weather" },
            { "role": "tool", "content": "sunny", "tool_name": "weather", "tool_call_id": "call_x1" },
            { "role": "assistant", "content": "ok", "thinking": "hm", "tool_calls": [
                { "function": { "name": "weather", "arguments": { "invalid_arguments": "{oops" } }, "id": "c" },
            ] },
            { "role": "user", "content": "", "images": ["aGk="] },
        ])
    );
}

#[test]
fn unsupported_media_are_rejected_before_they_are_sent() {
    for part in [
        Part::Image(Media::Url("https://x/y.png".into())),
        Part::Audio(inline("audio/wav")),
        Part::File(inline("application/pdf")),
    ] {
        let error = written(&[with_parts(Role::User, vec![part])], &Parameters::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.message().starts_with("Ollama does not support "), "{error}");
    }
}

#[test]
fn a_plain_answer_and_a_streamed_one_say_the_same() {
    let plain = Chat.response(PLAIN.as_bytes()).unwrap();
    assert_eq!(plain.text(), "Hello there.");
    assert_eq!((plain.usage().input_tokens, plain.usage().output_tokens), (26, 282));
    let streamed = decode(&Chat, &[STREAM.as_bytes()]).unwrap();
    assert_eq!(streamed.text(), "Hello thére 😀");
    for message in [plain, streamed] {
        assert_eq!(message.parts[0], Part::Reasoning { text: "A greeting.".into(), signature: None });
        assert_eq!(message.finish_reason(), Some(&FinishReason::Stop));
        assert_eq!(message.reply.unwrap().model.as_deref(), Some("qwen3"));
    }
}

#[test]
fn parallel_tool_calls_are_all_returned_and_have_ids() {
    let message = decode(&Chat, &[STREAM_TOOLS.as_bytes()]).unwrap();
    assert_eq!(
        calls(&message),
        [
            ("unnamed_call_0", "weather", "{\"city\":\"Paris\"}"),
            ("call_x1", "weather", "{\"city\":\"Rome\"}"),
        ]
    );
    assert_eq!(message.finish_reason(), Some(&FinishReason::ToolCalls));
}

#[test]
fn a_near_answer_is_read_all_the_same() {
    for (body, text) in [
        (r#"{"message":{"content":"a"}}"#, "a"),
        (
            r#"{"model":null,"message":{"content":"a","tool_calls":null,"new":1},"done":true,"done_reason":"new"}"#,
            "a",
        ),
        (r#"{"message":null,"error":null,"done":true}"#, ""),
    ] {
        assert_eq!(Chat.response(body.as_bytes()).unwrap().text(), text, "{body}");
    }
    for empty in [&b"{}"[..], br#"{"message":null,"error":null}"#] {
        assert_eq!(Chat.response(empty).unwrap_err().kind(), ErrorKind::Decode);
    }
}

#[test]
fn any_split_gives_the_same_message_and_no_beginning_is_whole() {
    for stream in [STREAM, STREAM_TOOLS] {
        holds_for_a_stream(&Chat, stream);
    }
}

#[test]
fn a_failure_is_reported_with_the_message_of_the_server() {
    let error = decode(&Chat, &[b"{\"error\":\"an error was encountered\"}\n"]).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Server, "an error was encountered"));
    let error = Chat.error(StatusCode::NOT_FOUND, &HeaderMap::new(), r#"{"error":"model 'x' not found"}"#);
    assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, "model 'x' not found"));
}

#[test]
fn a_tool_result_with_an_image_goes_back_as_the_dialect_wants_it() {
    let body = written(&results_with_an_image(), &Parameters::default()).unwrap();
    assert_eq!(
        body["messages"][2],
        json!({
            "role": "tool", "content": "a map", "images": ["aGk="], "tool_name": "weather", "tool_call_id": "b",
        })
    );
}
