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
const STREAM_TOOLS: &str = include_str!("fixtures/stream_reasoning_tools.sse");

fn written(messages: &[Message], parameters: &Parameters) -> Result<Value> {
    let (request, body) = request(&Responses, messages, parameters, false)?;
    assert_eq!(&*request.path, "/responses");
    Ok(body)
}

#[test]
fn a_plain_call_says_no_more_than_it_must() {
    let messages = [Message::system("Be brief."), Message::user("hi")];
    assert_eq!(
        written(&messages, &Parameters::default()).unwrap(),
        json!({ "model": "m", "instructions": "Be brief.", "input": [{ "role": "user", "content": "hi" }] })
    );
}

#[test]
fn every_parameter_has_its_field() {
    let mut parameters = Parameters::new()
        .temperature(0.5)
        .top_p(0.9)
        .max_tokens(64)
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
    parameters.extra = serde_json::from_value(json!({ "store": false })).unwrap();
    let (_, body) = request(&Responses, &[], &parameters, true).unwrap();
    assert_eq!(
        body,
        json!({
            "model": "m",
            "input": [],
            "temperature": 0.5,
            "top_p": 0.9,
            "max_output_tokens": 64,
            "tools": [{
                "type": "function",
                "name": "weather",
                "description": "The weather in a city",
                "parameters": { "type": "object" },
                "strict": false,
            }],
            "tool_choice": { "type": "function", "name": "weather" },
            "text": { "format": {
                "type": "json_schema", "name": "city", "strict": true,
                "schema": { "type": "object", "properties": {}, "additionalProperties": false, "required": [] },
            } },
            "stream": true,
            "store": false,
        })
    );
}

#[test]
fn a_round_of_tools_and_reasoning_goes_back_as_it_came() {
    let answer = Responses.response(PLAIN.as_bytes()).unwrap();
    let searched = Responses.response(TOOLS.as_bytes()).unwrap();
    let messages = [
        answer,
        searched,
        with_parts(Role::Tool, vec![result("call_abc", false), result("call_def", false)]),
        with_parts(
            Role::Assistant,
            vec![
                Part::Reasoning { text: "of another provider".into(), signature: Some("x".into()) },
                call("c", ""),
            ],
        ),
    ];
    let output = |id: &str| json!({ "type": "function_call_output", "call_id": id, "output": "sunny" });
    let function = |id: &str, arguments: &str| json!({ "type": "function_call", "call_id": id, "name": "weather", "arguments": arguments });
    assert_eq!(
        written(&messages, &Parameters::default()).unwrap()["input"],
        json!([
            {
                "id": "rs_01", "encrypted_content": "gAAAAABo", "type": "reasoning",
                "summary": [{ "type": "summary_text", "text": "A story.\n\nA short one." }],
            },
            { "role": "assistant", "content": "Once upon a time." },
            {
                "type": "web_search_call", "id": "ws_01", "status": "completed",
                "action": { "type": "search", "query": "weather" },
            },
            function("call_abc", "{\"city\":\"Paris\"}"),
            function("call_def", "{\"city\":\"Rome\"}"),
            output("call_abc"),
            output("call_def"),
            function("c", "{}"),
        ])
    );
}

#[test]
fn media_have_their_parts_and_audio_is_rejected() {
    let media = vec![
        Part::Text("look".into()),
        Part::Image(inline("image/png")),
        Part::File(inline("application/pdf")),
        Part::File(Media::Url("https://x/y.pdf".into())),
    ];
    assert_eq!(
        written(&[with_parts(Role::User, media)], &Parameters::default()).unwrap()["input"][0]["content"],
        json!([
            { "type": "input_text", "text": "look" },
            { "type": "input_image", "image_url": "data:image/png;base64,aGk=" },
            { "type": "input_file", "filename": "file.pdf", "file_data": "data:application/pdf;base64,aGk=" },
            { "type": "input_file", "file_url": "https://x/y.pdf" },
        ])
    );
    let stop = Parameters::new().stop(["x"]);
    let audio = with_parts(Role::User, vec![Part::Audio(inline("audio/wav"))]);
    for (messages, parameters) in [(vec![audio], Parameters::default()), (vec![], stop)] {
        let error = written(&messages, &parameters).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(error.message().starts_with("OpenAI's Responses API does not support "), "{error}");
    }
}

#[test]
fn a_plain_answer_keeps_all_that_was_said_about_it() {
    let message = Responses.response(PLAIN.as_bytes()).unwrap();
    assert_eq!(message.text(), "Once upon a time.");
    let reply = message.reply.expect("the reply");
    assert_eq!(reply.model.as_deref(), Some("gpt-5-mini-2025-08-07"));
    assert_eq!(reply.finish_reason, Some(FinishReason::Stop));
    let usage = Usage::new(36, 87).cached_tokens(30).reasoning_tokens(64);
    assert_eq!(reply.usage, usage);
}

#[test]
fn parallel_tool_calls_are_known_by_the_id_that_results_name() {
    let message = Responses.response(TOOLS.as_bytes()).unwrap();
    assert_eq!(
        calls(&message),
        [("call_abc", "weather", "{\"city\":\"Paris\"}"), ("call_def", "weather", "{\"city\":\"Rome\"}")]
    );
    assert_eq!(message.finish_reason(), Some(&FinishReason::ToolCalls));
}

#[test]
fn a_near_answer_is_read_all_the_same() {
    for (body, text) in [
        (r#"{"output":[{"type":"message","content":"a"}]}"#, "a"),
        (
            r#"{"output":[{"type":"message","content":[{"text":"a","new":1}]}],"usage":null,"status":null}"#,
            "a",
        ),
        (r#"{"id":7,"error":null,"output":[{"type":"news"},{"type":"message","content":null}]}"#, ""),
        (r#"{"output":null}"#, ""),
    ] {
        assert_eq!(Responses.response(body.as_bytes()).unwrap().text(), text, "{body}");
    }
    assert_eq!(Responses.response(b"{}").unwrap_err().kind(), ErrorKind::Decode);
}

#[test]
fn every_end_is_told() {
    let finish = |more: &str| {
        let body = format!(
            r#"{{"output":[{{"type":"message","content":[{{"type":"refusal","refusal":"no"}}]}}],{more}}}"#
        );
        let message = Responses.response(body.as_bytes()).unwrap();
        assert_eq!(message.text(), "no");
        message.finish_reason().cloned()
    };
    let incomplete =
        |why: &str| format!(r#""status":"incomplete","incomplete_details":{{"reason":"{why}"}}"#);
    assert_eq!(finish(r#""status":"completed""#), Some(FinishReason::Refusal));
    assert_eq!(finish(&incomplete("max_output_tokens")), Some(FinishReason::Length));
    assert_eq!(finish(&incomplete("content_filter")), Some(FinishReason::ContentFilter));
    assert_eq!(finish(&incomplete("new")), Some(FinishReason::Other("new".into())));
    let failed = br#"{"status":"failed","error":{"code":"rate_limit_exceeded","message":"m"},"output":[]}"#;
    assert_eq!(Responses.response(failed).unwrap_err().kind(), ErrorKind::RateLimited);
}

#[test]
fn a_stream_folds_to_its_message() {
    let message = decode(&Responses, &[STREAM.as_bytes()]).unwrap();
    assert_eq!((message.text().as_str(), message.parts.len()), ("Hi there 😀", 1));
    assert_eq!(message.finish_reason(), Some(&FinishReason::Stop));
    assert_eq!((message.usage().input_tokens, message.usage().output_tokens), (37, 11));
}

#[test]
fn interleaved_tools_and_reasoning_come_out_whole() {
    let message = decode(&Responses, &[STREAM_TOOLS.as_bytes()]).unwrap();
    let plain = Part::Reasoning {
        text: "Two cities.\n\nTwo calls.".into(),
        signature: Some(r#"{"id":"rs_01","encrypted_content":"gAAAAABo"}"#.into()),
    };
    assert_eq!(message.parts[0], plain);
    assert_eq!(
        calls(&message),
        [("call_abc", "weather", "{\"city\":\"Paris\"}"), ("call_def", "weather", "{\"city\":\"Rome\"}")]
    );
    assert_eq!(message.finish_reason(), Some(&FinishReason::ToolCalls));
}

#[test]
fn items_that_only_come_whole_are_not_lost() {
    let stream = concat!(
        "data: {\"type\":\"response.output_item.done\",\"output_index\":0,\"item\":{\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"a\"}]}}\n\n",
        "data: {\"type\":\"response.output_item.done\",\"output_index\":1,\"item\":{\"type\":\"function_call\",\"call_id\":\"c\",\"name\":\"weather\",\"arguments\":\"{}\"}}\n\n",
        "data: {\"type\":\"response.output_item.done\",\"output_index\":2,\"item\":{\"type\":\"image_generation_call\",\"result\":\"AA\"}}\n\n",
        "data: {\"type\":\"response.completed\",\"response\":{}}\n\n",
    );
    let message = decode(&Responses, &[stream.as_bytes()]).unwrap();
    assert_eq!((message.text().as_str(), calls(&message)), ("a", vec![("c", "weather", "{}")]));
    assert!(matches!(&message.parts[2], Part::Other(item) if item["result"] == "AA"));
    assert_eq!(message.finish_reason(), Some(&FinishReason::ToolCalls));
}

#[test]
fn an_index_of_maximum_size_does_not_overflow() {
    let index = u64::MAX;
    let data = format!(
        "data: {{\"type\":\"response.output_text.delta\",\"output_index\":{index},\"delta\":\"a\"}}\n\n"
    );
    let error = decode(&Responses, &[data.as_bytes()]).unwrap_err();
    assert_eq!(error.partial().map(Message::text).as_deref(), Some("a"));
}

#[test]
fn any_split_gives_the_same_message_and_no_beginning_is_whole() {
    for stream in [STREAM, STREAM_TOOLS] {
        holds_for_a_stream(&Responses, stream);
    }
}

#[test]
fn a_failure_in_the_stream_is_an_error() {
    for (data, kind) in [
        (r#"{"type":"error","code":"server_error","message":"m","param":null}"#, ErrorKind::Server),
        (
            r#"{"type":"error","error":{"type":"tokens","code":"rate_limit_exceeded","message":"m"}}"#,
            ErrorKind::RateLimited,
        ),
        (
            r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"m"}}}"#,
            ErrorKind::Server,
        ),
        (
            r#"{"type":"response.failed","response":{"error":{"code":"insufficient_quota","message":"m"}}}"#,
            ErrorKind::QuotaExhausted,
        ),
    ] {
        let error = decode(&Responses, &[format!("data: {data}\n\n").as_bytes()]).unwrap_err();
        assert_eq!((error.kind(), error.message()), (kind, "m"), "{data}");
    }
}

#[test]
fn a_tool_result_with_an_image_goes_back_as_the_dialect_wants_it() {
    let body = written(&results_with_an_image(), &Parameters::default()).unwrap();
    assert_eq!(
        body["input"][3],
        json!({
            "type": "function_call_output", "call_id": "b", "output": [
                { "type": "input_text", "text": "a map" },
                { "type": "input_image", "image_url": "data:image/png;base64,aGk=" },
            ],
        })
    );
}

/// Some servers send the ends of parts, or the final response, and no deltas.
#[test]
fn a_final_event_adds_only_what_is_missing() {
    let message = r#"{"id":"m1","type":"message","content":[{"type":"output_text","text":"Hello there."}]}"#;
    let call = r#"{"id":"f1","type":"function_call","call_id":"c1","name":"f","arguments":"{\"a\":1}"}"#;
    let text_done =
        r#"{"type":"response.output_text.done","output_index":0,"content_index":0,"text":"Hello there."}"#;
    let text_delta =
        r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"Hello there."}"#;
    let call_added = format!(
        r#"{{"type":"response.output_item.added","output_index":1,"item":{}}}"#,
        call.replace(r#"{\"a\":1}"#, "")
    );
    let call_done =
        r#"{"type":"response.function_call_arguments.done","output_index":1,"arguments":"{\"a\":1}"}"#;
    let item_done = |at: u8, item: &str| {
        format!(r#"{{"type":"response.output_item.done","output_index":{at},"item":{item}}}"#)
    };
    let (message_done, call_item_done) = (item_done(0, message), item_done(1, call));
    let all = [text_delta, text_done, &message_done, &call_added, call_done, &call_item_done];
    let final_event = |name: &str| {
        format!(r#"{{"type":"{name}","response":{{"status":"completed","output":[{message},{call}]}}}}"#)
    };
    // Any subset of the events in their order.
    for chosen in 0u8..1 << all.len() {
        let events = (0..).zip(all).filter(|(n, _)| chosen >> n & 1 == 1).map(|(_, event)| event.to_owned());
        // Arguments without a call, and a call without arguments, are completed by the final response.
        for name in ["response.completed", "response.done"] {
            let events = events.clone().chain([final_event(name)]);
            let stream: String = events.map(|event| format!("data: {event}\n\n")).collect();
            let message =
                decode(&Responses, &[stream.as_bytes()]).unwrap_or_else(|e| panic!("{e}: {stream}"));
            assert_eq!(message.text(), "Hello there.", "{stream}");
            assert_eq!(calls(&message), [("c1", "f", r#"{"a":1}"#)], "{stream}");
            assert_eq!(message.finish_reason(), Some(&FinishReason::ToolCalls));
        }
    }
}
