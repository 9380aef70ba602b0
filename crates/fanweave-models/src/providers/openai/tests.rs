//! Tests of the dialect on recorded bytes: encoding of calls and decoding of answers.

use std::time::Duration;

use fanweave_core::{
    ErrorKind, Fold, Media, Parameters, ResponseFormat, ToolChoice, ToolResult, ToolSpec, Usage,
};
use serde_json::{Map, Value, json};

use http::Method;

use super::super::testing::{call, calls, holds_for_a_stream, results_with_an_image, with_parts};
use super::*;
use crate::protocol::StreamEnd;

const PLAIN: &str = include_str!("fixtures/plain.json");
const TOOLS: &str = include_str!("fixtures/parallel_tools.json");
const STREAM: &str = include_str!("fixtures/stream.sse");
const STREAM_TOOLS: &str = include_str!("fixtures/stream_parallel_tools.sse");
const STREAM_DEEPSEEK: &str = include_str!("fixtures/stream_reasoning.sse");

fn openai() -> ChatCompletions {
    ChatCompletions { quirks: Quirks { max_completion_tokens: true, ..Quirks::default() } }
}

fn written(
    protocol: &ChatCompletions,
    messages: &[Message],
    parameters: &Parameters,
    stream: bool,
) -> Result<Value> {
    let call = Call::new("m", messages, parameters).streamed(stream);
    let request = protocol.request(&call)?;
    assert_eq!((request.method, &*request.path), (Method::POST, "/chat/completions"));
    Ok(serde_json::from_slice(&request.body).expect("a request is JSON"))
}

fn wire(messages: &[Message]) -> Value {
    let mut body =
        written(&openai(), messages, &Parameters::default(), false).expect("the dialect can say it");
    body["messages"].take()
}

/// Decodes a recorded stream, whose events are `data:` lines.
fn decode(protocol: &ChatCompletions, stream: &str) -> Result<(Message, bool)> {
    let mut decoder = protocol.decoder();
    let mut deltas = Vec::new();
    for data in stream.lines().filter_map(|line| line.strip_prefix("data: ")) {
        decoder.event(&SseEvent { name: "", data }, &mut deltas)?;
    }
    let mut fold = Fold::default();
    deltas.iter().for_each(|delta| fold.push(delta));
    let how = if decoder.is_done() { StreamEnd::Marker } else { StreamEnd::Closed };
    Ok((fold.into_message(), decoder.end(how).is_ok()))
}

mod requests {
    use super::*;

    #[test]
    fn a_plain_call_says_no_more_than_it_must() {
        let body = written(&openai(), &[Message::user("hi")], &Parameters::default(), false).unwrap();
        assert_eq!(body, json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] }));
    }

    #[test]
    fn every_parameter_has_its_field() {
        let parameters = Parameters::new()
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
                schema: json!({ "type": "object", "properties": {} }),
                strict: true,
            });
        let body = written(&openai(), &[Message::user("hi")], &parameters, true).unwrap();
        assert_eq!(
            body,
            json!({
                "model": "m",
                "messages": [{ "role": "user", "content": "hi" }],
                "temperature": 0.5,
                "top_p": 0.9,
                "max_completion_tokens": 64,
                "stop": ["END"],
                "seed": 7,
                "tools": [{ "type": "function", "function": {
                    "name": "weather",
                    "description": "The weather in a city",
                    "parameters": { "type": "object" },
                } }],
                "tool_choice": { "type": "function", "function": { "name": "weather" } },
                "response_format": { "type": "json_schema", "json_schema": {
                    "name": "city", "schema": { "type": "object", "properties": {}, "additionalProperties": false, "required": [] }, "strict": true,
                } },
                "stream": true,
                "stream_options": { "include_usage": true },
            })
        );
    }

    #[test]
    fn quirks_change_names_and_leave_things_out() {
        let quirks = Quirks { random_seed: true, no_stream_options: true, ..Quirks::default() };
        let parameters = Parameters::new().max_tokens(64).seed(7);
        let body = written(&ChatCompletions { quirks }, &[], &parameters, true).unwrap();
        assert_eq!(
            body,
            json!({ "model": "m", "messages": [], "max_tokens": 64, "random_seed": 7, "stream": true })
        );
    }

    #[test]
    fn extra_fields_win() {
        let extra = json!({ "temperature": 0, "logit_bias": { "1": -100 }, "model": "n" });
        let extra: Map<_, _> = serde_json::from_value(extra).unwrap();
        let mut parameters = Parameters::new().temperature(1.0);
        parameters.extra = extra;
        let body = written(&openai(), &[], &parameters, false).unwrap();
        assert_eq!(
            body,
            json!({ "model": "n", "messages": [], "temperature": 0, "logit_bias": { "1": -100 } })
        );
    }

    #[test]
    fn the_maximum_of_tokens_is_sent_under_one_name() {
        for name in ["max_tokens", "max_completion_tokens"] {
            let parameters = Parameters::new().max_tokens(7).extra(name, 4);
            for max_completion_tokens in [false, true] {
                let quirks = Quirks { max_completion_tokens, ..Quirks::default() };
                let body = written(&ChatCompletions { quirks }, &[], &parameters, false).unwrap();
                assert_eq!(body, json!({ "model": "m", "messages": [], name: 4 }));
            }
        }
    }

    #[test]
    fn texts_alone_stay_a_string_and_media_make_a_list() {
        let texts = with_parts(Role::User, vec![Part::Text("a".into()), Part::Text("b".into())]);
        assert_eq!(wire(&[texts]), json!([{ "role": "user", "content": "ab" }]));
        let inline =
            |media_type: &str| Media::Inline { media_type: media_type.into(), base64: "AAAA".into() };
        let media = with_parts(
            Role::User,
            vec![
                Part::Text("look".into()),
                Part::Image(Media::Url("https://x/y.png".into())),
                Part::Image(inline("image/png")),
                Part::Audio(inline("audio/mpeg")),
                Part::Audio(Media::Url("data:audio/wav;base64,BBBB".into())),
                Part::File(inline("application/pdf")),
                Part::Other(json!({ "type": "video_url" })),
            ],
        );
        assert_eq!(
            wire(&[media])[0]["content"],
            json!([
                { "type": "text", "text": "look" },
                { "type": "image_url", "image_url": { "url": "https://x/y.png" } },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } },
                { "type": "input_audio", "input_audio": { "data": "AAAA", "format": "mp3" } },
                { "type": "input_audio", "input_audio": { "data": "BBBB", "format": "wav" } },
                { "type": "file", "file": {
                    "filename": "file.pdf", "file_data": "data:application/pdf;base64,AAAA",
                } },
                { "type": "video_url" },
            ])
        );
    }

    #[test]
    fn a_recording_by_url_is_refused_before_it_is_sent() {
        let audio = with_parts(Role::User, vec![Part::Audio(Media::Url("https://x/y.mp3".into()))]);
        let error = written(&openai(), &[audio], &Parameters::default(), false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.message().contains("send its bytes inline"), "{error}");
    }

    #[test]
    fn a_round_of_tools_goes_back_as_the_dialect_wants_it() {
        let result = |id: &str| Part::ToolResult(ToolResult::new(id, "sunny"));
        let reasoning = Part::Reasoning { text: "hm".into(), signature: Some("s".into()) };
        let messages = [
            with_parts(Role::Assistant, vec![reasoning, call("a", "{\"x\":1}"), call("b", "")]),
            with_parts(Role::Tool, vec![result("a"), result("b")]),
            with_parts(Role::User, vec![result("c"), Part::Text("and now?".into())]),
        ];
        let function = |arguments: &str| json!({ "name": "weather", "arguments": arguments });
        assert_eq!(
            wire(&messages),
            json!([
                { "role": "assistant", "content": null, "tool_calls": [
                    { "id": "a", "type": "function", "function": function("{\"x\":1}") },
                    { "id": "b", "type": "function", "function": function("{}") },
                ] },
                { "role": "tool", "content": "sunny", "tool_call_id": "a" },
                { "role": "tool", "content": "sunny", "tool_call_id": "b" },
                { "role": "tool", "content": "sunny", "tool_call_id": "c" },
                { "role": "user", "content": "and now?" },
            ])
        );
    }

    #[test]
    fn a_message_of_nothing_is_an_empty_text() {
        assert_eq!(wire(&[with_parts(Role::User, vec![])]), json!([{ "role": "user", "content": "" }]));
    }
}

mod answers {
    use super::*;

    #[test]
    fn a_plain_answer_keeps_all_that_was_said_about_it() {
        let message = openai().response(PLAIN.as_bytes()).unwrap();
        assert_eq!(message.text(), "Hello! How can I assist you today?");
        let reply = message.reply.expect("the reply");
        assert_eq!(reply.id.as_deref(), Some("chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT"));
        assert_eq!(reply.model.as_deref(), Some("gpt-4.1-2025-04-14"));
        assert_eq!(reply.finish_reason, Some(FinishReason::Stop));
        let usage = Usage::new(19, 10).cached_tokens(8).reasoning_tokens(4);
        assert_eq!(reply.usage, usage);
    }

    #[test]
    fn parallel_tool_calls_are_all_returned() {
        let message = openai().response(TOOLS.as_bytes()).unwrap();
        assert_eq!(
            calls(&message),
            [("call_abc", "weather", "{\"city\":\"Paris\"}"), ("call_def", "weather", "{\"city\":\"Rome\"}")]
        );
        assert_eq!(message.finish_reason(), Some(&FinishReason::ToolCalls));
        assert_eq!(message.parts.len(), 2, "an empty content is no part");
    }

    #[test]
    fn a_nearly_compatible_answer_is_read() {
        for (body, text) in [
            (r#"{"choices":[{"message":{"content":"a"}}]}"#, "a"),
            (
                r#"{"id":7,"model":null,"choices":[{"index":null,"message":{"role":"odd","content":"a","tool_calls":null},"finish_reason":null,"logprobs":{}}],"usage":null,"error":null}"#,
                "a",
            ),
            (
                r#"{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}],"usage":{"prompt_tokens":1.0,"completion_tokens":null,"prompt_tokens_details":null}}"#,
                "ab",
            ),
            (r#"{"choices":[{"message":{"content":null},"finish_reason":"stop"}],"usage":{}}"#, ""),
            (r#"{"choices":[{"message":null,"finish_reason":"length"}]}"#, ""),
            (r#"{"choices":[{"message":{"content":5}}]}"#, "5"),
            (r#"{"choices":[{"message":{"content":"a"}}],"usage":"unknown"}"#, "a"),
            (r#"{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens_details":"none"}}"#, "a"),
            (r#"{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":1e999,"a":{}}}"#, "a"),
            (
                r#"{"choices":[{"message":{"content":"a"}}],"usage":{"prompt_tokens":1,"prompt_tokens":[2]}}"#,
                "a",
            ),
            (r#"{"choices":[{"message":{"content":"a"}}],"usage":[{"prompt_tokens":{"a":1}}]}"#, "a"),
            (
                r#"{"choices":[{"index":1,"message":{"content":"b"}},{"index":0,"message":{"content":"a"}}]}"#,
                "a",
            ),
        ] {
            let message = openai().response(body.as_bytes()).unwrap_or_else(|e| panic!("{e}: {body}"));
            assert_eq!(message.text(), text, "{body}");
        }
        for (empty, is_retryable) in [
            (r#"{"choices":[{"message":{"content":null}}],"usage":{}}"#, true),
            (r#"{"choices":[{"message":{"content":""}}],"usage":{"completion_tokens":3}}"#, false),
        ] {
            let error = openai().response(empty.as_bytes()).unwrap_err();
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Decode, is_retryable));
        }
    }

    #[test]
    fn usage_is_read_from_any_place_and_under_any_name() {
        let usage = |input_tokens, output_tokens| Usage::new(input_tokens, output_tokens);
        for (fields, choice, wanted) in [
            (r#","usage":{"prompt_tokens":11,"completion_tokens":7}"#, "", usage(11, 7)),
            (r#","usage":{"input_tokens":11,"output_tokens":7}"#, "", usage(11, 7)),
            (
                r#","usage":{"prompt_tokens":0,"completion_tokens":0,"input_tokens":11,"output_tokens":7}"#,
                "",
                usage(11, 7),
            ),
            (r#","usage":{"total_tokens":18}"#, "", usage(0, 18)),
            (r#","usage":{"prompt_tokens":11,"completion_tokens":2,"total_tokens":18}"#, "", usage(11, 7)),
            (
                r#","usage":null,"x_groq":{"id":"r","usage":{"prompt_tokens":11,"completion_tokens":7}}"#,
                "",
                usage(11, 7),
            ),
            ("", r#","usage":{"prompt_tokens":11,"completion_tokens":7}"#, usage(11, 7)),
        ] {
            let whole = format!(
                r#"{{"choices":[{{"message":{{"content":"a"}},"finish_reason":"stop"{choice}}}]{fields}}}"#
            );
            assert_eq!(openai().response(whole.as_bytes()).unwrap().usage(), wanted, "{whole}");
            let (streamed, is_complete) = decode(&openai(), &format!("data: {whole}\n")).unwrap();
            assert!(is_complete && streamed.usage() == wanted, "{whole}");
        }
    }

    #[test]
    fn reasoning_and_refusals_have_their_place() {
        let body =
            r#"{"choices":[{"message":{"content":"a","reasoning_content":"hm"},"finish_reason":"eos"}]}"#;
        let message = openai().response(body.as_bytes()).unwrap();
        assert_eq!(message.parts[0], Part::Reasoning { text: "hm".into(), signature: None });
        assert_eq!((message.text().as_str(), message.finish_reason()), ("a", Some(&FinishReason::Stop)));
        let body =
            r#"{"choices":[{"message":{"content":null,"refusal":"I cannot"},"finish_reason":"stop"}]}"#;
        let message = openai().response(body.as_bytes()).unwrap();
        assert_eq!(
            (message.text().as_str(), message.finish_reason()),
            ("I cannot", Some(&FinishReason::Refusal))
        );
    }

    #[test]
    fn arguments_that_are_json_and_calls_without_id_are_read() {
        let body = r#"{"choices":[{"message":{"tool_calls":[{"function":{"name":"weather","arguments":{"x":1}}},{"function":{"name":"weather"}}]}}]}"#;
        let message = openai().response(body.as_bytes()).unwrap();
        assert_eq!(calls(&message), [("call_0", "weather", "{\"x\":1}"), ("call_1", "weather", "")]);
    }

    #[test]
    fn unknown_reasons_are_kept_in_the_providers_words() {
        let body = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"pause_turn"}]}"#;
        let message = openai().response(body.as_bytes()).unwrap();
        assert_eq!(message.finish_reason(), Some(&FinishReason::Other("pause_turn".into())));
    }

    #[test]
    fn a_body_without_a_completion_is_a_decode_error() {
        for body in ["", "{", "[]", "\"hi\"", "<html>", r#"{"choices":[]}"#, r#"{"ok":true}"#] {
            let error = openai().response(body.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Decode, "{body}");
        }
    }
}

mod streams {
    use super::*;

    #[test]
    fn a_stream_folds_to_the_message() {
        let (message, complete) = decode(&openai(), STREAM).unwrap();
        assert!(complete);
        assert_eq!(message.text(), "Hello there");
        assert_eq!(message.finish_reason(), Some(&FinishReason::Stop));
        assert_eq!(message.usage(), Usage::new(9, 2));
        let reply = message.reply.expect("the reply");
        assert_eq!(
            (reply.id.as_deref(), reply.model.as_deref()),
            (Some("chatcmpl-123"), Some("gpt-4o-mini"))
        );
    }

    #[test]
    fn interleaved_tool_calls_several_in_one_chunk_stay_apart() {
        let (message, _) = decode(&openai(), STREAM_TOOLS).unwrap();
        assert_eq!(
            calls(&message),
            [("call_a", "weather", "{\"city\":\"Paris\"}"), ("call_b", "time", "{\"zone\":\"CET\"}")]
        );
    }

    #[test]
    fn one_index_for_all_calls_does_not_mix_them() {
        let chunk = |id: &str, arguments: &str| {
            let call = json!({ "index": 0, "id": id, "function": { "name": "f", "arguments": arguments } });
            format!("data: {}\n", json!({ "choices": [{ "delta": { "tool_calls": [call] } }] }))
        };
        let stream = [chunk("a", "1"), chunk("b", "2"), chunk("", "3"), chunk("b", "4")].concat();
        let (message, _) = decode(&openai(), &stream).unwrap();
        assert_eq!(calls(&message), [("a", "f", "1"), ("b", "f", "234")]);
    }

    #[test]
    fn calls_without_index_go_by_their_ids() {
        let chunk = |id: Option<&str>, arguments: &str| {
            let call = json!({ "id": id, "function": { "name": "f", "arguments": arguments } });
            format!("data: {}\n", json!({ "choices": [{ "delta": { "tool_calls": [call] } }] }))
        };
        let stream = [chunk(Some("a"), "1"), chunk(None, "2"), chunk(Some("b"), "3")].concat();
        let (message, _) = decode(&openai(), &stream).unwrap();
        assert_eq!(calls(&message), [("a", "f", "12"), ("b", "f", "3")]);
    }

    /// Vendors on vLLM sent a new id with every chunk, and some servers name a call only after its arguments
    /// have started.
    #[test]
    fn pieces_of_a_call_stay_together_whatever_id_they_bring() {
        let chunk = |id: Option<&str>, name: Option<&str>, arguments: &str| {
            let call = json!({ "index": 0, "id": id, "function": { "name": name, "arguments": arguments } });
            format!("data: {}\n", json!({ "choices": [{ "delta": { "tool_calls": [call] } }] }))
        };
        let stream =
            [chunk(Some("a"), Some("f"), ""), chunk(Some("b"), None, "{"), chunk(Some("c"), None, "}")];
        let (message, _) = decode(&openai(), &stream.concat()).unwrap();
        assert_eq!(calls(&message), [("a", "f", "{}")]);

        let stream = [chunk(None, None, "{"), chunk(Some("a"), Some("f"), "}")];
        let (message, _) = decode(&openai(), &stream.concat()).unwrap();
        assert_eq!(calls(&message), [("a", "f", "{}")]);
        let stream = [chunk(None, Some("f"), "{"), chunk(Some("a"), None, "}"), chunk(None, None, " ")];
        let (message, _) = decode(&openai(), &stream.concat()).unwrap();
        assert_eq!(calls(&message), [("a", "f", "{} ")]);
    }

    #[test]
    fn reasoning_comes_apart_from_the_text() {
        let (message, complete) = decode(&openai(), STREAM_DEEPSEEK).unwrap();
        assert!(complete);
        assert_eq!(message.parts[0], Part::Reasoning { text: "2+2=4".into(), signature: None });
        assert_eq!((message.text(), message.usage().reasoning_tokens), ("Four".to_owned(), 5));
    }

    #[test]
    fn a_stream_without_its_finish_reason_is_whole_only_where_the_vendor_never_sends_it() {
        let without_reason = STREAM.replace("\"finish_reason\":\"stop\"", "\"finish_reason\":null");
        assert!(!decode(&openai(), &without_reason).unwrap().1);
        let lax = ChatCompletions { quirks: Quirks { no_finish_reason: true, ..Quirks::default() } };
        assert!(decode(&lax, &without_reason).unwrap().1);
        assert!(!decode(&lax, &without_reason.replace("data: [DONE]", "")).unwrap().1);
    }

    #[test]
    fn any_split_gives_the_same_message_and_no_beginning_is_whole() {
        for stream in [STREAM, STREAM_TOOLS, STREAM_DEEPSEEK] {
            holds_for_a_stream(&openai(), stream);
        }
    }

    /// Servers that split text by UTF-16 units send the halves of a character in separate chunks.
    #[test]
    fn half_a_character_fails_no_call() {
        let piece =
            |text: &str| format!(r#"data: {{"choices":[{{"delta":{{"content":"{text}"}}}}]}}"#) + "\n";
        let stream = [piece(r"a\\ud83d\ud83d"), piece(r"\ude00b"), piece(r"\ud83d\ude00")].concat();
        assert_eq!(decode(&openai(), &stream).unwrap().0.text(), "a\\ud83d\u{fffd}\u{fffd}b😀");
        let whole = br#"{"choices":[{"message":{"content":"a\ud83dX"}}]}"#;
        assert_eq!(openai().response(whole).unwrap().text(), "a\u{fffd}X");
        let whole = crate::providers::json::parse(br#"{"a":"\uDE00\uD83D\u0041\ud83d"}"#, "x").unwrap();
        assert_eq!(whole["a"], "\u{fffd}\u{fffd}A\u{fffd}");
    }

    #[test]
    fn only_the_first_candidate_is_the_answer() {
        let stream = r#"data: {"choices":[{"index":1,"delta":{"content":"no"}},{"index":0,"delta":{"content":"yes"}}]}"#;
        assert_eq!(decode(&openai(), stream).unwrap().0.text(), "yes");
    }

    #[test]
    fn an_error_in_the_stream_is_an_error() {
        let failed =
            decode(&openai(), r#"data: {"error":{"type":"overloaded_error","message":"Overloaded"}}"#);
        let error = failed.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Overloaded, "Overloaded"));
        let mut decoder = openai().decoder();
        let event = SseEvent { name: "error", data: r#"{"message":"gone","code":502}"# };
        let error = decoder.event(&event, &mut Vec::new()).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Server, "gone"));
    }

    #[test]
    fn a_stream_error_without_json_keeps_the_message_of_the_server() {
        for (data, says) in [("upstream timed out", "upstream timed out"), ("\"gone\"", "gone")] {
            let error =
                openai().decoder().event(&SseEvent { name: "error", data }, &mut Vec::new()).unwrap_err();
            assert_eq!((error.kind(), error.message()), (ErrorKind::Server, says));
        }
    }

    #[test]
    fn an_unwrapped_error_in_the_stream_is_not_an_answer() {
        let stream = "data: {\"object\":\"error\",\"message\":\"out of memory\",\"type\":\"InternalServerError\",\"code\":500}\ndata: [DONE]\n";
        let error = decode(&openai(), stream).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Server, "out of memory"));
        let error = openai().response(br#"{"object":"error","message":"no","code":404}"#).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::NotFound, "no"));
    }
}

mod refusals {
    use super::*;

    fn refused(status: u16, body: &str) -> Error {
        openai().error(StatusCode::from_u16(status).expect("a status"), &HeaderMap::new(), body)
    }

    #[test]
    fn the_name_of_a_failure_wins_over_its_status() {
        use ErrorKind::*;
        for (status, code, kind) in [
            (401, "invalid_api_key", Authentication),
            (403, "", Permission),
            (404, "model_not_found", NotFound),
            (400, "invalid_value", BadRequest),
            (400, "context_length_exceeded", ContextLength),
            (400, "content_filter", ContentFilter),
            (400, "content_policy_violation", ContentFilter),
            (429, "rate_limit_exceeded", RateLimited),
            (429, "insufficient_quota", QuotaExhausted),
            (429, "credit_balance_exhausted", QuotaExhausted),
            (402, "", QuotaExhausted),
            (408, "", Timeout),
            (500, "server_error", Server),
            (502, "", Server),
            (503, "", Overloaded),
            (529, "", Overloaded),
            (500, "overloaded_error", Overloaded),
        ] {
            let body = json!({ "error": { "message": "m", "type": "t", "code": code } }).to_string();
            assert_eq!(refused(status, &body).kind(), kind, "{status} {code}");
            let body = json!({ "error": { "message": "m", "type": code, "code": null } }).to_string();
            assert_eq!(refused(status, &body).kind(), kind, "{status} {code} as type");
        }
    }

    #[test]
    fn the_message_is_found_wherever_the_server_puts_it() {
        for (body, message) in [
            (r#"{"error":{"message":"no"}}"#, "no"),
            (r#"{"error":"no"}"#, "no"),
            (r#"[{"error":{"message":"no"}}]"#, "no"),
            (r#"{"object":"error","message":"no","type":"BadRequestError"}"#, "no"),
            (r#"{"detail":"no"}"#, "no"),
            (r#"{"message":{"detail":[{"msg":"no"}]}}"#, r#"{"detail":[{"msg":"no"}]}"#),
            (r#"{"detail":[{"msg":"no"}]}"#, r#"[{"msg":"no"}]"#),
            ("no\n", "no"),
            ("<html><h1>no</h1>", "no"),
            ("<html><h1></h1>", "Bad Request"),
            ("{}", "Bad Request"),
            ("", "Bad Request"),
        ] {
            assert_eq!(refused(400, body).message(), message, "{body}");
        }
    }

    #[test]
    fn a_full_context_is_known_by_its_message_where_no_code_says_so() {
        let body = r#"{"message":"This model's maximum context length is 4096 tokens.","type":"BadRequestError","code":400}"#;
        assert_eq!(refused(400, body).kind(), ErrorKind::ContextLength);
    }

    #[test]
    fn a_request_larger_than_the_limit_itself_is_not_retried() {
        let body = r#"{"error":{"message":"Request too large for gpt-4o","type":"tokens","code":"rate_limit_exceeded"}}"#;
        let error = refused(429, body);
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::RateLimited, false));
    }

    #[test]
    fn a_choice_that_failed_keeps_what_had_arrived() {
        let body = br#"{"id":"x","choices":[{"message":{"content":"Half"},"finish_reason":"error","error":{"message":"Slow down, try again in 2s","code":429}}]}"#;
        let error = openai().response(body).unwrap_err();
        assert_eq!(
            (error.kind(), error.retry_after()),
            (ErrorKind::RateLimited, Some(Duration::from_secs(2)))
        );
        assert_eq!(error.partial().map(Message::text).as_deref(), Some("Half"));
        let event = SseEvent { name: "", data: std::str::from_utf8(body).expect("text") };
        let mut deltas = Vec::new();
        let error = openai().decoder().event(&event, &mut deltas).unwrap_err();
        assert_eq!((error.kind(), deltas.len()), (ErrorKind::RateLimited, 2));
    }

    #[test]
    fn a_stream_that_ends_with_a_refusal_of_minimax_is_one() {
        let chunk = r#"data: {"id":"1","choices":null,"usage":{"total_tokens":0},"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}"#;
        let error = decode(&openai(), chunk).unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::QuotaExhausted, "insufficient balance"));
        let last = r#"data: {"id":"1","choices":[],"base_resp":{"status_code":0,"status_msg":""}}"#;
        assert!(decode(&openai(), last).is_ok());
    }

    #[test]
    fn a_failure_wrapped_into_a_success_is_a_failure() {
        let body = br#"{"error":{"message":"Provider returned error","code":502}}"#;
        let error = openai().response(body).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Server, Some("502")));
        let body = br#"{"error":{"message":"Rate limited","code":429},"choices":[]}"#;
        assert_eq!(openai().response(body).unwrap_err().kind(), ErrorKind::RateLimited);
        let body = br#"{"error":{"message":"Something broke","code":0}}"#;
        let error = openai().response(body).unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::Server, Some("0")), "0 is no status");
    }
}

#[test]
fn a_tool_result_with_an_image_goes_back_as_the_dialect_wants_it() {
    let body = wire(&results_with_an_image());
    let expected = json!([
        { "role": "tool", "content": "a map", "tool_call_id": "a" },
        { "role": "tool", "content": "a map", "tool_call_id": "b" },
        { "role": "user", "content": [
            { "type": "text", "text": "The result of the tool call a:" },
            { "type": "image_url", "image_url": { "url": "data:image/png;base64,aGk=" } },
        ] },
        { "role": "user", "content": [
            { "type": "text", "text": "The result of the tool call b:" },
            { "type": "image_url", "image_url": { "url": "data:image/png;base64,aGk=" } },
        ] },
    ]);
    assert_eq!(body.as_array().unwrap()[1..], *expected.as_array().unwrap());
}

/// The assistant's message as it is sent back to a server after it was received.
fn sent_back(message: &Message, quirks: Quirks) -> Value {
    // Stored as JSON in between, as sessions do.
    let stored = serde_json::to_string(message).unwrap();
    let messages = [Message::user("q"), serde_json::from_str(&stored).unwrap()];
    let parameters = Parameters::default();
    let request = ChatCompletions { quirks }.request(&Call::new("m", &messages, &parameters)).unwrap();
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    body["messages"][1].clone()
}

/// A message from a whole answer, and the same from a stream.
fn both(message: &Value, deltas: &[Value]) -> [Message; 2] {
    let protocol = ChatCompletions { quirks: Quirks::new() };
    let whole = json!({ "choices": [{ "message": message, "finish_reason": "stop" }] });
    let whole = protocol.response(whole.to_string().as_bytes()).unwrap();
    let mut decoder = protocol.decoder();
    let mut all = Vec::new();
    let finish = [json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }] })];
    let chunks = deltas.iter().map(|delta| json!({ "choices": [{ "delta": delta }] })).chain(finish);
    for chunk in chunks {
        let data = chunk.to_string();
        decoder.event(&SseEvent { name: "", data: &data }, &mut all).unwrap();
    }
    let mut fold = Fold::default();
    all.iter().for_each(|delta| fold.push(delta));
    [whole, fold.into_message()]
}

#[test]
fn reasoning_and_its_details_are_sent_back_as_they_came() {
    let text = |text: &str| json!({ "type": "reasoning.text", "text": text, "index": 0 });
    let encrypted = json!({ "type": "reasoning.encrypted", "data": "ENC", "id": "e", "index": 1 });
    let mut signed = text("Hmm");
    signed["signature"] = "SIG".into();
    let details = json!([signed, encrypted]);
    let whole = json!({ "content": "a", "reasoning": "Hmm", "reasoning_details": details });
    let mut end = text("");
    end["signature"] = "SIG".into();
    let deltas = [
        json!({ "reasoning": "H", "reasoning_details": [text("H")] }),
        json!({ "reasoning": "mm", "reasoning_details": [text("mm")] }),
        json!({ "reasoning_details": [end] }),
        json!({ "reasoning_details": [encrypted], "content": "a" }),
    ];
    for message in both(&whole, &deltas) {
        let back = sent_back(&message, Quirks::new().send_back(SendBack::Reasoning));
        assert_eq!((&back["reasoning"], &back["content"]), (&json!("Hmm"), &json!("a")));
        assert_eq!(back["reasoning_details"], details);
        let back = sent_back(&message, Quirks::new());
        assert_eq!((&back["reasoning"], &back["reasoning_details"]), (&Value::Null, &details));
        let back = sent_back(&message, Quirks::new().send_back(SendBack::Nothing));
        assert_eq!(back, json!({ "role": "assistant", "content": "a" }), "a server that refuses it");
    }
}

#[test]
fn the_signature_of_a_call_goes_back_with_the_call() {
    let extra = json!({ "google": { "thought_signature": "SIG" } });
    let call = |index: u32, id: &str, signed: bool| {
        let mut call = json!({ "index": index, "id": id, "function": { "name": "f", "arguments": "{}" } });
        if signed {
            call["extra_content"] = extra.clone();
        }
        call
    };
    let calls = [call(0, "a", true), call(1, "b", false)];
    for message in
        both(&json!({ "tool_calls": calls }), &calls.clone().map(|call| json!({ "tool_calls": [call] })))
    {
        let back = sent_back(&message, Quirks::new());
        assert_eq!(back["tool_calls"][0]["extra_content"], extra);
        assert_eq!(back["tool_calls"][1].get("extra_content"), None);
        let back = sent_back(&message, Quirks::new().send_back(SendBack::Nothing));
        assert_eq!(back["tool_calls"][0].get("extra_content"), None);
    }
}

#[test]
fn each_vendor_gets_reasoning_in_its_own_field() {
    let [message, _] = both(&json!({ "content": "a", "reasoning_content": "R1" }), &[]);
    let back = |send_back| sent_back(&message, Quirks::new().send_back(send_back));
    assert_eq!(back(SendBack::ReasoningContent)["reasoning_content"], "R1");
    assert_eq!(back(SendBack::Reasoning)["reasoning"], "R1");
    assert_eq!(back(SendBack::Signed), json!({ "role": "assistant", "content": "a" }));
    assert_eq!(
        back(SendBack::ThinkingPart)["content"],
        json!([
            { "type": "thinking", "thinking": [{ "type": "text", "text": "R1" }] },
            { "type": "text", "text": "a" },
        ])
    );
    // The last answer had no text: its reasoning is all there is.
    let [message, _] =
        both(&json!({ "thinking_blocks": [{ "type": "thinking", "thinking": "T", "signature": "S" }] }), &[]);
    let Part::Reasoning { text, signature: Some(signature) } = &message.parts[0] else {
        panic!("{message:?}")
    };
    let signature: Value = serde_json::from_str(signature).unwrap();
    let blocks = json!([{ "type": "thinking", "thinking": "T", "signature": "S" }]);
    assert_eq!((&**text, &signature["thinking_blocks"]), ("T", &blocks));
}

#[test]
fn signatures_of_this_dialect_reach_no_other() {
    let [message, _] = both(
        &json!({ "content": "a", "reasoning": "R", "reasoning_details": [{ "type": "reasoning.encrypted", "data": "CANARY" }] }),
        &[],
    );
    let (messages, parameters) = ([Message::user("q"), message], Parameters::default());
    for dialect in [
        crate::Dialect::Anthropic,
        crate::Dialect::Gemini,
        crate::Dialect::OpenAiResponses,
        crate::Dialect::Ollama,
    ] {
        let request =
            dialect.protocol(Quirks::new()).request(&Call::new("m", &messages, &parameters)).unwrap();
        let body = String::from_utf8(request.body.to_vec()).unwrap();
        assert!(!body.contains("CANARY"), "{dialect:?}: {body}");
    }
}
