//! Tests of the dialect on recorded bytes: encoding of calls and decoding of answers.

use fanweave_core::{ErrorKind, FinishReason, Parameters, Part, ResponseFormat, Role, ToolSpec};
use serde_json::{Value, json};

use super::super::testing::{call, decode, holds_for_a_stream, inline, request, with_parts};
use super::*;

const SEVERAL: &str = include_str!("fixtures/several.json");
const STREAM: &str = include_str!("fixtures/stream.sse");

fn completions() -> Completions {
    Completions { quirks: Quirks::default() }
}

#[test]
fn messages_become_one_text() {
    let messages = [Message::system("Be brief."), Message::user("hi")];
    let mut parameters = Parameters::new().temperature(0.5).top_p(0.9).max_tokens(64).stop(["END"]).seed(7);
    parameters.extra = serde_json::from_value(json!({ "echo": true })).unwrap();
    let (request, body) = request(&completions(), &messages, &parameters, true).unwrap();
    assert_eq!(&*request.path, "/completions");
    assert_eq!(
        body,
        json!({
            "model": "m", "prompt": "Be brief.\n\nhi", "temperature": 0.5, "top_p": 0.9, "max_tokens": 64,
            "stop": ["END"], "seed": 7, "stream": true, "stream_options": { "include_usage": true },
            "echo": true,
        })
    );
}

#[test]
fn parts_other_than_text_are_rejected_before_they_are_sent() {
    let tool = ToolSpec { name: "x".into(), description: String::new(), parameters: json!({}) };
    let plain = Parameters::default();
    let tools = Parameters::new().tools([tool]);
    let format = Parameters::new().format(ResponseFormat::JsonObject);
    let image = with_parts(Role::User, vec![Part::Image(inline("image/png"))]);
    let called = with_parts(Role::Assistant, vec![call("a", "")]);
    for (messages, parameters, what) in [
        (vec![], &tools, "tools"),
        (vec![], &format, "a response format"),
        (vec![image], &plain, "parts other than text"),
        (vec![called], &plain, "tool calls"),
    ] {
        let error = request(&completions(), &messages, parameters, false).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Input);
        assert_eq!(error.message(), format!("the Completions API does not support {what}"));
    }
}

#[test]
fn several_prompts_are_one_request_and_their_answers_come_in_order() {
    let prompts = ["Italy?".to_owned(), "France?".to_owned()];
    let request = several("m", prompts.into(), &Parameters::default(), Quirks::default()).unwrap();
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body, json!({ "model": "m", "prompt": ["Italy?", "France?"] }));
    let messages = Several(2).response(SEVERAL.as_bytes()).unwrap();
    let texts: Vec<_> = messages.iter().map(Message::text).collect();
    assert_eq!(texts, [" Rome", " Paris"]);
    assert_eq!(messages[1].finish_reason(), Some(&FinishReason::Length));
    assert_eq!((messages[0].usage().output_tokens, messages[1].usage().output_tokens), (7, 0));
}

#[test]
fn an_answer_to_fewer_prompts_is_an_error() {
    let error = completions().response(br#"{"choices":[]}"#).unwrap_err();
    assert_eq!(error.message(), "expected 1 `choices`, got 0: {\"choices\":[]}");
}

#[test]
fn of_several_candidates_for_each_prompt_the_first_is_the_answer() {
    let choices: Vec<_> = (0..4).map(|i| json!({ "index": i, "text": i.to_string() })).collect();
    let messages = Several(2).response(json!({ "choices": choices }).to_string().as_bytes()).unwrap();
    assert_eq!(messages.iter().map(Message::text).collect::<Vec<_>>(), ["0", "2"]);
}

#[test]
fn a_near_answer_is_read_all_the_same() {
    for body in [
        r#"{"choices":[{"text":"a"}]}"#,
        r#"{"id":7,"model":null,"error":null,"choices":[{"text":"a","index":null,"finish_reason":"new"}],"usage":null}"#,
    ] {
        assert_eq!(completions().response(body.as_bytes()).unwrap().text(), "a", "{body}");
    }
}

#[test]
fn a_stream_folds_to_its_message_and_no_beginning_of_it_is_whole() {
    let message = decode(&completions(), &[STREAM.as_bytes()]).unwrap();
    assert_eq!((message.text().as_str(), message.usage().output_tokens), ("This is å test", 4));
    holds_for_a_stream(&completions(), STREAM);
}

#[test]
fn an_error_in_the_stream_is_an_error() {
    let error =
        decode(&completions(), &[b"data: {\"error\":{\"message\":\"m\",\"code\":503}}\n\n"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Overloaded);
}
