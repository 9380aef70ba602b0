use fanweave_core::{
    ErrorKind, FinishReason, Media, Message, Parameters, Part, Prompt, Role, ToolChoice, ToolResult, ToolSpec,
};
use serde_json::{Value, json};

use super::*;
use crate::providers::testing::decode;
use crate::transport::event_stream::message as framed;

fn request(model: &str, prompt: &Prompt) -> Result<(String, Value)> {
    let call = Call::new(model, &prompt.messages, &prompt.parameters);
    let request = Converse.request(&call)?;
    Ok((request.path.into_owned(), serde_json::from_slice(&request.body).expect("JSON")))
}

fn stream(events: &[(&str, Value)]) -> Vec<u8> {
    let event = |(name, data): &(&str, Value)| {
        framed(&[(":event-type", name), (":message-type", "event")], data.to_string().as_bytes())
    };
    events.iter().flat_map(event).collect()
}

fn answered() -> Vec<(&'static str, Value)> {
    vec![
        ("messageStart", json!({ "role": "assistant", "p": "abc" })),
        (
            "contentBlockDelta",
            json!({ "contentBlockIndex": 0, "delta": { "reasoningContent": { "text": "Hm." } } }),
        ),
        (
            "contentBlockDelta",
            json!({ "contentBlockIndex": 0, "delta": { "reasoningContent": { "signature": "s" } } }),
        ),
        ("contentBlockStop", json!({ "contentBlockIndex": 0 })),
        ("contentBlockDelta", json!({ "contentBlockIndex": 1, "delta": { "text": "Hello " } })),
        ("contentBlockDelta", json!({ "contentBlockIndex": 1, "delta": { "text": "thére" } })),
        (
            "contentBlockStart",
            json!({ "contentBlockIndex": 2, "start": { "toolUse": { "toolUseId": "t1", "name": "look" } } }),
        ),
        (
            "contentBlockDelta",
            json!({ "contentBlockIndex": 2, "delta": { "toolUse": { "input": "{\"a\":" } } }),
        ),
        ("contentBlockDelta", json!({ "contentBlockIndex": 2, "delta": { "toolUse": { "input": "1}" } } })),
        ("messageStop", json!({ "stopReason": "tool_use" })),
        (
            "metadata",
            json!({ "usage": { "inputTokens": 5, "outputTokens": 7, "totalTokens": 112, "cacheReadInputTokens": 100 } }),
        ),
    ]
}

#[track_caller]
fn assert_answer(message: &Message) {
    assert_eq!(message.text(), "Hello thére");
    assert_eq!(message.parts[0], Part::Reasoning { text: "Hm.".into(), signature: Some("s".into()) });
    let calls: Vec<_> = message.tool_calls().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
    assert_eq!(calls, [("t1", "look", "{\"a\":1}")]);
    let reply = message.reply.clone().expect("a reply");
    assert_eq!(reply.finish_reason, Some(FinishReason::ToolCalls));
    assert_eq!(
        (reply.usage.input_tokens, reply.usage.cached_tokens, reply.usage.output_tokens),
        (105, 100, 7)
    );
}

#[test]
fn an_answer_is_the_same_with_and_without_streaming() {
    let bytes = stream(&answered());
    for size in [1, 7, 100, bytes.len()] {
        let chunks: Vec<_> = bytes.chunks(size).collect();
        assert_answer(&decode(&Converse, &chunks).unwrap());
    }
    let content = json!([
        { "reasoningContent": { "reasoningText": { "text": "Hm.", "signature": "s" } } },
        { "text": "Hello thére" },
        { "toolUse": { "toolUseId": "t1", "name": "look", "input": { "a": 1 } } },
    ]);
    let usage =
        json!({ "inputTokens": 5, "outputTokens": 7, "totalTokens": 112, "cacheReadInputTokens": 100 });
    let body = json!({
        "output": { "message": { "role": "assistant", "content": content } }, "stopReason": "tool_use", "usage": usage,
    });
    assert_answer(&Converse.response(body.to_string().as_bytes()).unwrap());
    // A server that does not stream.
    assert_answer(&decode(&Converse, &[body.to_string().as_bytes()]).unwrap());
}

#[test]
fn every_cut_before_the_finish_reason_is_an_error_with_the_partial_answer() {
    let events = answered();
    let bytes = stream(&events);
    let end = bytes.len() - stream(&events[events.len() - 2..]).len();
    for at in 0..end {
        let error = decode(&Converse, &[&bytes[..at]]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StreamIncomplete, "{at}: {error}");
    }
}

#[test]
fn exceptions_have_their_kind_in_a_stream_and_outside() {
    for (name, status, kind) in [
        ("throttlingException", 429, ErrorKind::RateLimited),
        ("validationException", 400, ErrorKind::BadRequest),
        ("serviceUnavailableException", 503, ErrorKind::Overloaded),
        ("internalServerException", 500, ErrorKind::Server),
    ] {
        let body = json!({ "message": "the words of the server" });
        let mut bytes = stream(&answered()[..6]);
        let headers = [(":exception-type", name), (":message-type", "exception")];
        bytes.extend(framed(&headers, body.to_string().as_bytes()));
        let error = decode(&Converse, &[&bytes]).unwrap_err();
        assert!(error.to_string().contains("the words of the server"), "{name}: {error}");
        assert_eq!(error.partial().map(Message::text).as_deref(), Some("Hello thére"), "{name}");
        assert_eq!((error.kind(), error.code()), (kind, Some(name)), "{error}");
        let mut headers = HeaderMap::new();
        headers.insert("x-amzn-errortype", name.parse().unwrap());
        let error = Converse.error(StatusCode::from_u16(status).unwrap(), &headers, &body.to_string());
        assert_eq!((error.kind(), error.code()), (kind, Some(name)), "{error}");
    }
}

#[test]
fn a_request_has_the_fields_of_the_api() {
    let image = Part::Image(Media::Inline { media_type: "image/png".into(), base64: "AAAA".into() });
    let user = Message::from_parts(Role::User, vec![Part::text("What is it?"), image]);
    let tool = ToolSpec {
        name: "look".into(),
        description: "Looks".into(),
        parameters: json!({ "type": "object" }),
    };
    let parameters = Parameters::new().max_tokens(9).temperature(0.5).top_p(0.9).stop(["END"]).tools([tool]);
    let prompt = Prompt::from(user).with_system("Be brief.");
    let prompt = Prompt { parameters: parameters.tool_choice(ToolChoice::Required), ..prompt };
    let (path, body) = request("us.anthropic.claude-sonnet-4-5-20250929-v1:0", &prompt).unwrap();
    assert_eq!(path, "/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse");
    let spec =
        json!({ "name": "look", "description": "Looks", "inputSchema": { "json": { "type": "object" } } });
    let expected = json!({
        "messages": [{ "role": "user", "content": [
            { "text": "What is it?" }, { "image": { "format": "png", "source": { "bytes": "AAAA" } } },
        ] }],
        "system": [{ "text": "Be brief." }],
        "inferenceConfig": { "maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"] },
        "toolConfig": { "tools": [{ "toolSpec": spec }], "toolChoice": { "any": {} } },
    });
    assert_eq!(body, expected);
}

#[test]
fn an_answer_is_sent_back_as_it_came() {
    let answer = decode(&Converse, &[&stream(&answered())]).unwrap();
    let result = Message::from_parts(Role::Tool, vec![Part::ToolResult(ToolResult::new("t1", "42"))]);
    let prompt = Prompt::from(vec![Message::user("Hi"), answer, result]);
    let (_, body) = request("m", &prompt).unwrap();
    assert_eq!(
        body["messages"][1]["content"],
        json!([
            { "reasoningContent": { "reasoningText": { "text": "Hm.", "signature": "s" } } },
            { "text": "Hello thére" },
            { "toolUse": { "toolUseId": "t1", "name": "look", "input": { "a": 1 } } },
        ])
    );
    let expected =
        json!([{ "toolResult": { "toolUseId": "t1", "content": [{ "text": "42" }], "status": "success" } }]);
    assert_eq!(body["messages"][2], json!({ "role": "user", "content": expected }));
}

#[test]
fn reasoning_is_set_for_the_models_that_take_it() {
    let prompt =
        |effort: &str| Prompt { parameters: Parameters::new().reasoning_effort(effort), ..Prompt::from("x") };
    let (_, body) = request("anthropic.claude-sonnet-5", &prompt("low")).unwrap();
    let fields = json!({ "thinking": { "type": "adaptive" }, "output_config": { "effort": "low" } });
    assert_eq!(body["additionalModelRequestFields"], fields);
    assert_eq!(body["inferenceConfig"]["maxTokens"], 32_000);
    let error = request("amazon.nova-pro-v1:0", &prompt("low")).unwrap_err();
    assert!(error.to_string().contains("additionalModelRequestFields"), "{error}");
}
