use std::borrow::Borrow;

use serde_json::json;

use super::*;
use crate::{Media, ToolCall};

fn read(value: impl Borrow<Value>) -> Vec<Message> {
    Message::read_all(value.borrow()).unwrap()
}

fn error(value: impl Borrow<Value>) -> String {
    Message::read_all(value.borrow()).unwrap_err().to_string()
}

fn call(id: &str, name: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall { id: id.into(), name: name.into(), arguments: arguments.into() })
}

fn result(result: ToolResult) -> Message {
    Message::from_parts(Role::Tool, vec![Part::ToolResult(result)])
}

/// The messages of fixtures/langchain.json, which fixtures/langchain.py has written.
fn of_langchain() -> Vec<Message> {
    let detail = json!({"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "low"}});
    let inline = |media_type: &str, base64: &str| Media::Inline {
        media_type: media_type.into(),
        base64: base64.into(),
    };
    let mut sum = Message::assistant("Let me see.");
    sum.parts.extend([call("c1", "add", r#"{"a":1,"b":[2]}"#), call("c2", "now", "{}")]);
    let usage = Usage::new(10, 4).cached_tokens(3).reasoning_tokens(2);
    sum.reply = Some(Box::new(Reply { usage, ..Reply::default() }));
    let of_model = |parts: Vec<Part>| Message::from_parts(Role::Assistant, parts);
    let signed = Part::Reasoning { text: "Hm.".into(), signature: Some("s1".into()) };
    vec![
        Message::system("Be brief."),
        Message::user("What is this?").with_part(Part::Other(detail)).named("ada"),
        sum,
        result(ToolResult::new("c1", "3")),
        result(ToolResult::error("c2", "no")),
        of_model(vec![signed, Part::text("It is 3.")]),
        of_model(vec![call("call_1", "old", r#"{"a":1}"#)]),
        result(ToolResult::new("call_1", "done")),
        of_model(vec![Part::reasoning("why"), call("c9", "f", "{}")]),
        of_model(vec![call("c7", "bad", r#"{"a":"#)]),
        Message::user("plain"),
        of_model(vec![Part::text("part"), call("k", "f", r#"{"a":1}"#)]),
        Message::from_parts(
            Role::User,
            vec![
                Part::Image(inline("image/png", "AAAA")),
                Part::Audio(Media::Url("https://x.test/a.wav".into())),
                Part::File(inline("application/pdf", "AAAA")),
                Part::Image(inline("image/png", "BBBB")),
            ],
        ),
        of_model(vec![Part::reasoning("v1"), Part::text("t"), call("v1c", "q", r#"{"z":1}"#)]),
    ]
}

#[test]
fn no_form_of_langchain_loses_anything() {
    let fixtures: Value = serde_json::from_str(include_str!("fixtures/langchain.json")).unwrap();
    for form in ["dicts", "lc", "dump"] {
        let messages = read(&fixtures[form]);
        for (i, (read, expected)) in messages.iter().zip(of_langchain()).enumerate() {
            assert_eq!(*read, expected, "{form}, message {i}");
        }
        assert_eq!(messages.len(), of_langchain().len(), "{form}");
    }
}

#[test]
fn chat_completions_are_read_whole() {
    let messages = read(json!([
        {"role": "developer", "content": "Be brief.", "name": null},
        {"role": "user", "name": "ada", "content": [
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "https://x.test/a.png", "detail": "auto"}},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
            {"type": "file", "file": {"file_id": "f1"}},
        ]},
        {"role": "assistant", "content": null, "refusal": null, "annotations": [], "audio": null,
         "reasoning_content": "Hm.", "function_call": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{\"a\": 1}"}},
            {"id": "c2", "type": "custom", "custom": {"name": "run", "input": "ls -l"}}]},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "a.txt"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
        {"role": "assistant", "content": "", "refusal": "No."},
        {"role": "assistant", "content": null, "function_call": {"name": "old", "arguments": "{}"}},
        {"role": "function", "name": "old", "content": "done"},
        {"role": "assistant", "content": null,
         "audio": {"id": "a1", "transcript": "Hello.", "data": "AAAA", "expires_at": 1}},
    ]));
    let mut refusal = Message::assistant("No.");
    refusal.reply = Some(Box::new(Reply { finish_reason: Some(FinishReason::Refusal), ..Reply::default() }));
    let file = json!({"type": "file", "file": {"file_id": "f1"}});
    let audio = Media::Inline { media_type: "audio/mpeg".into(), base64: "AAAA".into() };
    let expected = [
        Message::system("Be brief."),
        Message::user("look")
            .with_part(Part::image_url("https://x.test/a.png"))
            .with_part(Part::Audio(audio))
            .with_part(Part::File(Media::Url("data:application/pdf;base64,AAAA".into())))
            .with_part(Part::Other(file))
            .named("ada"),
        Message::from_parts(
            Role::Assistant,
            vec![Part::reasoning("Hm."), call("c1", "add", r#"{"a": 1}"#), call("c2", "run", "ls -l")],
        ),
        result(ToolResult::new("c2", "a.txt")),
        result(ToolResult::new("c1", "3")),
        refusal,
        Message::from_parts(Role::Assistant, vec![call("call_1", "old", "{}")]),
        result(ToolResult::new("call_1", "done")),
        Message::assistant("Hello."),
    ];
    for (i, (read, expected)) in messages.iter().zip(&expected).enumerate() {
        assert_eq!(read, expected, "message {i}");
    }
    assert_eq!(messages.len(), expected.len());
}

#[test]
fn items_of_the_responses_api_become_messages_of_their_role() {
    let messages = read(json!([
        {"role": "user", "content": [{"type": "input_text", "text": "1 + 2?"},
            {"type": "input_image", "image_url": "https://x.test/a.png"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}], "status": null},
        {"type": "function_call", "call_id": "c1", "id": "fc_1", "name": "add", "arguments": "{}", "status": "completed"},
        {"type": "function_call", "call_id": "c2", "id": "fc_2", "name": "now", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "3"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "noon"}]},
        {"type": "message", "role": "assistant", "id": "m1", "status": "completed",
         "content": [{"type": "output_text", "text": "It is 3.", "annotations": [], "logprobs": []}]},
    ]));
    let signature = Some(r#"{"id":"rs_1"}"#.to_owned());
    let reasoning = Part::Reasoning { text: "Hm.".into(), signature };
    let results = [ToolResult::new("c1", "3"), ToolResult::new("c2", "noon")].map(Part::ToolResult);
    let expected = [
        Message::user("1 + 2?").with_part(Part::image_url("https://x.test/a.png")),
        Message::from_parts(
            Role::Assistant,
            vec![reasoning, call("c1", "add", "{}"), call("c2", "now", "{}")],
        ),
        Message::from_parts(Role::Tool, results.to_vec()),
        Message::assistant("It is 3."),
    ];
    assert_eq!(messages, expected);
}

#[test]
fn blocks_of_anthropic_and_parts_of_gemini_are_read_whole() {
    let source = json!({"type": "base64", "media_type": "image/png", "data": "AAAA"});
    let of_anthropic = read(json!([
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "Hm.", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "tool_use", "id": "t1", "name": "draw", "input": {"a": 1}, "cache_control": {"type": "ephemeral"}}]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "t1", "is_error": true,
             "content": [{"type": "text", "text": "here"}, {"type": "image", "source": source}]},
            {"type": "text", "text": "And now?"}]},
    ]));
    let image = Media::Inline { media_type: "image/png".into(), base64: "AAAA".into() };
    let parts = vec![Part::text("here"), Part::Image(image.clone())];
    let hidden = Part::Other(json!({"type": "redacted_thinking", "data": "x"}));
    let signed = |text: &str| Part::Reasoning { text: text.into(), signature: Some("s".into()) };
    let expected = [
        Message::from_parts(Role::Assistant, vec![signed("Hm."), hidden, call("t1", "draw", r#"{"a":1}"#)]),
        result(ToolResult { id: "t1".into(), parts, is_error: true }),
        Message::user("And now?"),
    ];
    assert_eq!(of_anthropic, expected);

    let of_gemini = read(json!([
        {"role": "user", "parts": [{"text": "hi"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
        {"role": "model", "parts": [
            {"text": "Hm.", "thought": true, "thoughtSignature": "s"},
            {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "s"},
            {"functionCall": {"name": "g", "args": {}}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "g", "response": {"output": "2"}}},
            {"functionResponse": {"name": "f", "response": {"x": 1}}}]},
    ]));
    let results =
        [ToolResult::new("call_2", "2"), ToolResult::new("call_1", r#"{"x":1}"#)].map(Part::ToolResult);
    let calls = vec![signed("Hm."), signed(""), call("call_1", "f", r#"{"a":1}"#), call("call_2", "g", "{}")];
    let expected = [
        Message::user("hi").with_image(image),
        Message::from_parts(Role::Assistant, calls),
        Message::from_parts(Role::Tool, results.to_vec()),
    ];
    assert_eq!(of_gemini, expected);
}

#[test]
fn the_result_of_a_tool_has_a_part_in_every_form() {
    let open = json!({"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "f"}}]});
    for empty in [json!(""), json!([]), json!(null)] {
        for form in [
            json!({"role": "tool", "tool_call_id": "c1", "content": empty}),
            json!({"type": "function_call_output", "call_id": "c1", "output": empty}),
            json!({"type": "custom_tool_call_output", "call_id": "c1", "output": empty}),
            json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": empty}]}),
        ] {
            assert_eq!(read(json!([open, form]))[1], result(ToolResult::new("c1", "")), "{form}");
        }
    }
}

#[test]
fn a_call_that_is_stated_twice_has_one_result() {
    let own = serde_json::to_value(call("c1", "f", "{}")).unwrap();
    let of_openai = json!({"id": "c1", "function": {"name": "f"}});
    let of_anthropic = json!({"type": "tool_use", "id": "c1", "name": "f", "input": {}});
    for content in [json!([own]), json!([own, own]), json!([of_anthropic, own])] {
        for message in [
            json!({"role": "assistant", "content": content, "tool_calls": [of_openai]}),
            json!({"role": "assistant", "tool_calls": [of_openai], "content": content}),
        ] {
            let read = read(json!([message, {"role": "tool", "content": "3"}]));
            assert_eq!(read[1], result(ToolResult::new("c1", "3")), "{message}");
        }
    }
}

#[test]
fn what_fanweave_writes_it_reads() {
    let mut answer = Message::assistant("3").with_reasoning("Hm.").with_tool_calls([ToolCall::new(
        "c1",
        "add",
        json!({"a": 1}),
    )]);
    answer.reply = Some(Box::new(Reply { model: Some("m".into()), ..Reply::default() }));
    let chart =
        ToolResult { parts: vec![Part::image_url("u"), Part::text("t")], ..ToolResult::new("c1", "") };
    let messages = [
        Message::user("x").named("ada"),
        answer,
        result(chart),
        Message::from_parts(Role::Assistant, vec![]),
    ];
    assert_eq!(read(serde_json::to_value(&messages).unwrap()), messages);
}

#[test]
fn roles_and_short_forms_of_the_peers() {
    let expected = [Message::system("a"), Message::user("b"), Message::assistant("c")];
    for roles in [["system", "human", "ai"], ["developer", "user", "model"], ["system", "user", "gpt"]] {
        let [a, b, c] = roles;
        assert_eq!(read(json!([[a, "a"], [b, "b"], [c, "c"]])), expected);
        assert_eq!(
            read(json!([{"from": a, "value": "a"}, {"from": b, "value": "b"}, {"from": c, "value": "c"}])),
            expected
        );
    }
    assert_eq!(read(json!(["b", "d"])), [Message::user("b"), Message::user("d")]);
    assert_eq!(read(json!("[\"b\"]")), [Message::user("[\"b\"]")]);
    let rounds = read(json!([["How are you?", "Fine."], ["hello", "Hi!"]]));
    assert_eq!(rounds[1..3], [Message::assistant("Fine."), Message::user("hello")]);
    let sharegpt = read(json!([
        {"from": "function_call", "value": "{\"name\": \"f\", \"arguments\": {}}"}, {"from": "observation", "value": "3"}]));
    assert_eq!(sharegpt[1], result(ToolResult::new("call_1", "3")));
}

#[test]
fn a_null_is_an_empty_list_and_an_error_within_one() {
    assert_eq!(read(json!(null)), []);
    assert_eq!(read(json!([])), []);
    assert_eq!(error(json!(["a", null])), "messages[1]: expected a message, got null");
    assert_eq!(error(json!(5)), "messages: expected a list of messages, got 5");
}

#[test]
fn an_unknown_field_is_named() {
    for (value, expected) in [
        (json!([{"role": "user", "content": "x", "colour": 1}]), "messages[0].colour: unknown field"),
        (
            json!([{"role": "user", "content": [{"type": "text", "text": "x", "bold": true}]}]),
            "messages[0].content[0].bold: unknown field",
        ),
        (
            json!([{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "nam": 1}}]}]),
            "messages[0].tool_calls[0].function.nam: unknown field",
        ),
        (
            json!([{"type": "ai", "content": "x", "additional_kwargs": {"mood": "good"}}]),
            "messages[0].additional_kwargs.mood: unknown field",
        ),
        (
            json!([["boss", "x"]]),
            "messages[0]: unknown role `boss`: expected system, user, assistant or tool, or a name of LangChain for them",
        ),
        (json!([{"role": "user"}]), "messages[0]: `content` is missing"),
        (
            json!([{"role": "user", "content": 5}]),
            "messages[0].content: expected a string or a list of parts, got 5",
        ),
        (
            json!([{"role": "tool", "content": "3"}]),
            "messages[0]: a tool result without `tool_call_id`, and no call before it",
        ),
        (json!([{"text": "x"}]), "messages[0]: expected a message with `role`, `type` or `from`"),
    ] {
        assert_eq!(error(value), expected);
    }
}
