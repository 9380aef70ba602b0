//! Tests of the dialect on recorded bytes: encoding of calls and decoding of answers.

use fanweave_core::{
    ErrorKind, FinishReason, Media, Parameters, Part, ResponseFormat, Role, ToolChoice, ToolSpec, Usage,
};
use serde_json::{Value, json};

use super::super::testing::{
    call, calls, decode, holds_for_a_stream, inline, request, result, results_with_an_image, with_parts,
};
use super::*;

const PLAIN: &str = include_str!("fixtures/plain.json");
const TOOLS: &str = include_str!("fixtures/parallel_tools.json");
const STREAM: &str = include_str!("fixtures/stream.sse");
const STREAM_TOOLS: &str = include_str!("fixtures/stream_thinking_tools.sse");

fn anthropic() -> Messages {
    Messages { version: HeaderValue::from_static(VERSION) }
}

fn written(messages: &[Message], parameters: &Parameters) -> Result<Value> {
    let (request, body) = request(&anthropic(), messages, parameters, false)?;
    assert_eq!((request.path.as_ref(), request.headers.len()), ("/v1/messages", 1));
    assert_eq!(request.headers[0].1, VERSION);
    Ok(body)
}

fn wire(messages: &[Message]) -> Value {
    written(messages, &Parameters::default()).expect("the dialect can say it")["messages"].take()
}

mod requests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_plain_call_says_no_more_than_it_must() {
        let messages = [Message::user("hi"), Message::system("Be brief.")];
        assert_eq!(
            written(&messages, &Parameters::default()).unwrap(),
            json!({
                "model": "m", "max_tokens": 8192,
                "system": [{ "type": "text", "text": "Be brief." }],
                "messages": [{ "role": "user", "content": "hi" }],
            })
        );
    }

    #[test]
    fn every_parameter_has_its_field() {
        let mut parameters = Parameters::new().temperature(0.5).top_p(0.9).max_tokens(64).stop(["END"]).tools([ToolSpec {
                name: "weather".into(),
                description: "The weather in a city".into(),
                parameters: json!({ "type": "object" }),
            }]).tool_choice(ToolChoice::Required).format(ResponseFormat::JsonSchema {
                name: "city".into(),
                schema: json!({ "type": "object", "properties": { "n": { "type": "integer", "minimum": 1 } } }),
                strict: true,
            });
        parameters.extra = serde_json::from_value(json!({ "thinking": { "type": "adaptive" } })).unwrap();
        let (_, body) = request(&anthropic(), &[Message::user("hi")], &parameters, true).unwrap();
        assert_eq!(
            body,
            json!({
                "model": "m",
                "max_tokens": 64,
                "messages": [{ "role": "user", "content": "hi" }],
                "temperature": 0.5,
                "top_p": 0.9,
                "stop_sequences": ["END"],
                "tools": [{
                    "name": "weather",
                    "description": "The weather in a city",
                    "input_schema": { "type": "object" },
                }],
                "tool_choice": { "type": "any" },
                "output_config": { "format": { "type": "json_schema", "schema": {
                    "type": "object", "additionalProperties": false,
                    "properties": { "n": { "type": "integer", "description": "(minimum: 1)" } },
                } } },
                "stream": true,
                "thinking": { "type": "adaptive" },
            })
        );
    }

    #[test]
    fn newer_versions_refuse_parameters_that_choose_words() {
        let parameters = Parameters::new().temperature(0.0);
        for (version, taken) in [("2023-06-01", true), ("2026-10-21", false), ("2027-01-01", false)] {
            let protocol = Messages { version: HeaderValue::from_static(version) };
            let written = request(&protocol, &[], &parameters, false);
            assert_eq!(written.is_ok(), taken, "{version}");
            if let Err(error) = written {
                assert_eq!(error.kind(), ErrorKind::Input);
                assert!(error.message().contains("does not support `temperature`"), "{error}");
            }
        }
    }

    #[test]
    fn an_answer_that_may_outlast_the_patience_is_asked_for_as_a_stream() {
        let streams = |max_tokens, seconds| {
            let parameters = Parameters::new().max_tokens(max_tokens);
            let idle_timeout = Duration::from_secs(seconds);
            let call = Call { idle_timeout, ..Call::new("m", &[], &parameters) };
            let request = anthropic().request(&call).unwrap();
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(request.streams, body["stream"] == true);
            request.streams
        };
        assert!(!streams(4096, 120));
        assert!(streams(4096, 60));
        assert!(streams(32_000, 120));
    }

    #[test]
    fn a_round_of_tools_goes_back_as_it_came() {
        let hidden = json!({ "type": "redacted_thinking", "data": "x" });
        let messages = [
            with_parts(
                Role::Assistant,
                vec![
                    Part::Reasoning { text: "hm".into(), signature: Some("s".into()) },
                    Part::Reasoning { text: "of another provider".into(), signature: None },
                    Part::Other(hidden.clone()),
                    Part::Text(String::new()),
                    call("a", "{\"x\":1}"),
                    call("b", ""),
                    call("c", "{oops"),
                ],
            ),
            with_parts(Role::Tool, vec![result("a", false), result("b", true)]),
            with_parts(Role::User, vec![Part::Text("and now?".into()), result("c", false)]),
        ];
        let tool_use = |id: &str, input: Value| json!({ "type": "tool_use", "id": id, "name": "weather", "input": input });
        let result = |id: &str| json!({ "type": "tool_result", "tool_use_id": id, "content": "sunny" });
        let mut failed = result("b");
        failed["is_error"] = true.into();
        assert_eq!(
            wire(&messages),
            json!([
                { "role": "assistant", "content": [
                    { "type": "thinking", "thinking": "hm", "signature": "s" },
                    hidden,
                    tool_use("a", json!({ "x": 1 })),
                    tool_use("b", json!({})),
                    tool_use("c", json!({ "invalid_arguments": "{oops" })),
                ] },
                { "role": "user", "content": [result("a"), failed] },
                { "role": "user", "content": [result("c"), { "type": "text", "text": "and now?" }] },
            ])
        );
    }

    #[test]
    fn media_have_their_blocks_and_audio_is_rejected() {
        let media = vec![
            Part::Image(Media::Url("https://x/y.png".into())),
            Part::Image(inline("image/png")),
            Part::File(inline("application/pdf")),
            Part::File(inline("text/markdown")),
            Part::Other(json!({ "type": "text", "text": "x", "cache_control": { "type": "ephemeral" } })),
        ];
        let base64 = |kind: &str| json!({ "type": "base64", "media_type": kind, "data": "aGk=" });
        assert_eq!(
            wire(&[with_parts(Role::User, media)])[0]["content"],
            json!([
                { "type": "image", "source": { "type": "url", "url": "https://x/y.png" } },
                { "type": "image", "source": base64("image/png") },
                { "type": "document", "source": base64("application/pdf") },
                { "type": "document", "source": { "type": "text", "media_type": "text/plain", "data": "hi" } },
                { "type": "text", "text": "x", "cache_control": { "type": "ephemeral" } },
            ])
        );
        let audio = with_parts(Role::User, vec![Part::Audio(inline("audio/mpeg"))]);
        let error = written(&[audio], &Parameters::default()).unwrap_err();
        assert_eq!(error.message(), "Anthropic's Messages API does not support audio");
    }

    #[test]
    fn a_format_without_schema_is_refused_before_it_is_sent() {
        let parameters = Parameters::new().format(ResponseFormat::JsonObject);
        assert!(written(&[], &parameters).unwrap_err().message().ends_with("give a schema"));
    }
}

mod answers {
    use super::*;

    #[test]
    fn a_plain_answer_keeps_all_that_was_said_about_it() {
        let message = anthropic().response(PLAIN.as_bytes()).unwrap();
        assert_eq!(message.text(), "The tide turns at noon.");
        assert_eq!(
            message.parts[0],
            Part::Reasoning {
                text: "A greeting.".into(),
                signature: Some("EqQBCgIYAhIM1gbcDa9GJwZA2b3h".into())
            }
        );
        assert!(matches!(&message.parts[1], Part::Other(hidden) if hidden["type"] == "redacted_thinking"));
        let reply = message.reply.expect("the reply");
        assert_eq!(reply.id.as_deref(), Some("msg_01XFDUDYJgAACzvnptvVoYEL"));
        assert_eq!(reply.model.as_deref(), Some("claude-sonnet-4-5-20250929"));
        assert_eq!(reply.finish_reason, Some(FinishReason::Stop));
        let usage = Usage::new(330, 25).cached_tokens(300).cache_write_tokens(20);
        assert_eq!(reply.usage, usage);
    }

    #[test]
    fn parallel_tool_calls_are_all_returned() {
        let message = anthropic().response(TOOLS.as_bytes()).unwrap();
        assert_eq!(
            calls(&message),
            [
                ("toolu_01A", "weather", "{\"city\":\"Paris\"}"),
                ("toolu_01B", "weather", "{\"city\":\"Rome\"}")
            ]
        );
        assert_eq!(message.finish_reason(), Some(&FinishReason::ToolCalls));
    }

    #[test]
    fn a_near_answer_is_read_all_the_same() {
        for (body, text) in [
            (r#"{"content":"a"}"#, "a"),
            (r#"{"content":[{"type":"text","text":"a"}],"usage":null,"stop_reason":null,"id":7}"#, "a"),
            (r#"{"content":[{"type":"new","x":1},{"type":"text","text":"a"}],"model":null}"#, "a"),
            (r#"{"content":null,"stop_reason":"new"}"#, ""),
        ] {
            assert_eq!(anthropic().response(body.as_bytes()).unwrap().text(), text, "{body}");
        }
        for body in ["{}", "[]", "no"] {
            assert_eq!(anthropic().response(body.as_bytes()).unwrap_err().kind(), ErrorKind::Decode);
        }
    }

    #[test]
    fn every_stop_reason_is_mapped() {
        for (reason, finish) in [
            ("end_turn", FinishReason::Stop),
            ("stop_sequence", FinishReason::Stop),
            ("max_tokens", FinishReason::Length),
            ("tool_use", FinishReason::ToolCalls),
            ("refusal", FinishReason::Refusal),
            ("pause_turn", FinishReason::Other("pause_turn".into())),
            ("model_context_window_exceeded", FinishReason::Other("model_context_window_exceeded".into())),
        ] {
            let body = json!({ "content": [], "stop_reason": reason }).to_string();
            assert_eq!(anthropic().response(body.as_bytes()).unwrap().finish_reason(), Some(&finish));
        }
    }
}

mod streams {
    use super::*;

    #[test]
    fn a_stream_folds_to_its_message() {
        let message = decode(&anthropic(), &[STREAM.as_bytes()]).unwrap();
        assert_eq!(message.text(), "Hello! Ça va 😀");
        assert_eq!(message.finish_reason(), Some(&FinishReason::Stop));
        let usage = Usage::new(30, 15).cached_tokens(5);
        assert_eq!(message.usage(), usage);
    }

    #[test]
    fn interleaved_tools_and_what_is_opaque_come_out_whole() {
        let message = decode(&anthropic(), &[STREAM_TOOLS.as_bytes()]).unwrap();
        assert_eq!(
            message.parts[0],
            Part::Reasoning {
                text: "Two cities, two calls.".into(),
                signature: Some("EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pki".into()),
            }
        );
        assert_eq!(message.parts[1], Part::Other(json!({ "type": "redacted_thinking", "data": "EmwKAhgB" })));
        let searched = json!({
            "type": "server_tool_use", "id": "srvtoolu_01", "name": "web_search",
            "input": { "query": "weather" },
        });
        assert_eq!(message.parts[2], Part::Other(searched));
        assert_eq!(
            calls(&message),
            [
                ("toolu_01A", "weather", "{\"city\": \"Paris\"}"),
                ("toolu_01B", "weather", "{\"city\": \"Rome\"}")
            ]
        );
    }

    #[test]
    fn any_split_gives_the_same_message_and_no_beginning_is_whole() {
        for stream in [STREAM, STREAM_TOOLS] {
            holds_for_a_stream(&anthropic(), stream);
        }
    }

    #[test]
    fn an_error_in_the_stream_is_known_by_its_type() {
        let stream = b"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
        let error = decode(&anthropic(), &[stream]).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Overloaded, "Overloaded"));
    }

    #[test]
    fn events_of_a_kind_that_is_yet_to_come_are_skipped() {
        let news = "event: news\ndata: {\"type\":\"news\"}\n\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"odd\"}}\n\n";
        let stream = format!("{news}{STREAM}");
        let plain = decode(&anthropic(), &[STREAM.as_bytes()]).unwrap();
        assert_eq!(decode(&anthropic(), &[stream.as_bytes()]).unwrap(), plain);
    }
}

#[test]
fn refusals_are_known_by_their_type() {
    use ErrorKind::*;
    for (status, name, message, kind) in [
        (400, "invalid_request_error", "m", BadRequest),
        (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", ContextLength),
        (401, "authentication_error", "m", Authentication),
        (402, "billing_error", "m", QuotaExhausted),
        (403, "permission_error", "m", Permission),
        (404, "not_found_error", "m", NotFound),
        (413, "request_too_large", "m", BadRequest),
        (429, "rate_limit_error", "m", RateLimited),
        (500, "api_error", "m", Server),
        (504, "timeout_error", "m", Timeout),
        (529, "overloaded_error", "m", Overloaded),
        (529, "", "", Overloaded),
    ] {
        let body = json!({ "type": "error", "error": { "type": name, "message": message } }).to_string();
        let error = anthropic().error(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), &body);
        assert_eq!(error.kind(), kind, "{status} {name} {message}");
    }
}

#[test]
fn a_tool_result_with_an_image_goes_back_as_the_dialect_wants_it() {
    let body = written(&results_with_an_image(), &Parameters::default()).unwrap();
    assert_eq!(
        body["messages"][1]["content"][0]["content"],
        json!([
            { "type": "text", "text": "a map" },
            { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "aGk=" } },
        ])
    );
}

#[test]
fn messages_without_text_are_not_sent() {
    let chat = [
        Message::user("hi"),
        Message::assistant(""),
        Message::assistant(" \n"),
        Message::from_parts(Role::Assistant, vec![Part::text(""), Part::reasoning("hm")]),
        Message::user("still there?").with_part(Part::text("  ")),
    ];
    let sent: Vec<_> = wire(&chat).as_array().unwrap().iter().map(Value::to_string).collect();
    assert_eq!(
        sent,
        [
            r#"{"role":"user","content":"hi"}"#,
            r#"{"role":"user","content":[{"type":"text","text":"still there?"}]}"#
        ]
    );
    let empty = written(&[Message::user(" ")], &Parameters::default()).unwrap_err();
    assert_eq!(empty.kind(), ErrorKind::Input);
    assert!(empty.message().contains("rejects messages without text"), "{empty}");
}
