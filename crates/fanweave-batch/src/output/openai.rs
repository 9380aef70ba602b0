//! Lines of an OpenAI batch output, as written by `/v1/batches` and `vllm run-batch`.

use fanweave_core::{ReplyBody, ToolCall, Usage};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::answer::{Answer, Content};
use crate::journal::{Failure, Outcome, Record};

#[derive(Serialize)]
struct Line<'a> {
    id: String,
    custom_id: Option<&'a str>,
    response: Option<Response<'a>>,
    error: Option<Error<'a>>,
}

#[derive(Serialize)]
struct Response<'a> {
    status_code: u16,
    request_id: Option<&'a str>,
    body: Body<'a>,
}

#[derive(Serialize)]
struct Error<'a> {
    code: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    /// The provider's response body.
    Raw(&'a ReplyBody),
    /// The part of a failed response's body that was kept.
    Failed(Value),
    Completion(Box<Completion<'a>>),
}

#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: [Choice<'a>; 1],
    usage: WireUsage,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    message: Message<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Value>,
}

#[derive(Serialize)]
struct WireUsage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: Value,
    completion_tokens_details: Value,
}

pub(super) fn write(record: &Record, line: &mut Vec<u8>) {
    // Derived from the row's key, so it is the same in every run.
    let id = format!("batch_req_{}", record.key);
    let completion = id.replace("batch_req", "chatcmpl");
    let (response, error) = match &record.result {
        Outcome::Answer(answer) => (Some(answered(answer, &completion)), None),
        Outcome::Error(failure) => match failure.status {
            Some(status) if status >= 400 => (Some(rejected(failure, status)), None),
            // Also without a response that says so: a status of 200 would look like an answer.
            _ => (None, Some(Error { code: &failure.kind, message: &failure.message })),
        },
    };
    let row = Line { id, custom_id: record.id.as_deref(), response, error };
    serde_json::to_writer(line, &row).expect("rows have string keys, and writing to a Vec cannot fail");
}

fn answered<'a>(answer: &'a Answer, id: &'a str) -> Response<'a> {
    let body = match &answer.raw {
        // The file's client reads the responses of the row's endpoint, also if another one has answered it.
        Some(raw) if answer.endpoint.is_some() || is_completion(raw) => Body::Raw(raw),
        _ => Body::Completion(Box::new(completion(answer, id))),
    };
    Response { status_code: 200, request_id: answer.request_id.as_deref(), body }
}

/// Returns true for a chat completion. Answers of other dialects are translated into one, also those of
/// OpenAI's responses.
fn is_completion(raw: &ReplyBody) -> bool {
    #[derive(Deserialize)]
    struct Fields {
        object: Option<String>,
        choices: Option<IgnoredAny>,
    }
    let is_own = |fields: Fields| {
        // The last two are in journals that do not name the endpoints of rows.
        let objects = ["chat.completion", "text_completion", "list"];
        fields.choices.is_some() || fields.object.is_some_and(|object| objects.contains(&&*object))
    };
    // A list would be read as the fields in their order.
    raw.is_object() && raw.json::<Fields>().is_ok_and(is_own)
}

fn rejected(failure: &Failure, status: u16) -> Response<'_> {
    let original = failure.body.as_deref().and_then(|body| serde_json::from_str(body).ok());
    let body = original.unwrap_or_else(
        || json!({"error": {"message": failure.message, "type": failure.kind, "code": failure.code}}),
    );
    Response { status_code: status, request_id: failure.request_id.as_deref(), body: Body::Failed(body) }
}

fn completion<'a>(answer: &'a Answer, id: &'a str) -> Completion<'a> {
    let is_refusal = answer.finish_reason.as_deref() == Some("refusal");
    let content = match &answer.content {
        Content::Text(text) if text.is_empty() && !answer.tool_calls.is_empty() => None,
        Content::Text(text) => Some(text.clone()),
        Content::Json(value) => Some(value.to_string()),
    };
    let (content, refusal) = if is_refusal { (None, content) } else { (content, None) };
    let message = Message {
        role: "assistant",
        content,
        reasoning_content: answer.reasoning.as_deref(),
        refusal,
        tool_calls: answer.tool_calls.iter().map(tool_call).collect(),
    };
    Completion {
        id: answer.answer_id.as_deref().unwrap_or(id),
        object: "chat.completion",
        // Unknown. The current time would make equal results differ between runs.
        created: 0,
        // The types of the official SDK require a text.
        model: answer.model.as_deref().unwrap_or_default(),
        choices: [Choice {
            index: 0,
            message,
            logprobs: None,
            // OpenAI has no reason for a refusal, which is a field of the message.
            finish_reason: if is_refusal { Some("stop") } else { answer.finish_reason.as_deref() },
        }],
        usage: usage(answer.usage),
    }
}

fn tool_call(call: &ToolCall) -> Value {
    let function = json!({"name": call.name, "arguments": call.arguments});
    json!({"id": call.id, "type": "function", "function": function})
}

fn usage(usage: Usage) -> WireUsage {
    WireUsage {
        prompt_tokens: usage.input_tokens,
        completion_tokens: usage.output_tokens,
        total_tokens: usage.total_tokens(),
        prompt_tokens_details: json!({"cached_tokens": usage.cached_tokens}),
        completion_tokens_details: json!({"reasoning_tokens": usage.reasoning_tokens}),
    }
}

#[cfg(test)]
mod tests {
    use fanweave_core::ErrorKind;
    use fanweave_core::prompt::Endpoint;

    use super::*;
    use crate::key::Key;

    /// The line of a row with this result.
    fn line(result: Outcome) -> Value {
        let (key, id) = (Key::of(&[b"a"]), Some("a".to_owned()));
        let (cost_usd, maybe_billed_usd, time) = (None, None, None);
        let record =
            Record { key, index: 0, line: 1, id, latency_ms: 1, cost_usd, maybe_billed_usd, time, result };
        let mut line = Vec::new();
        write(&record, &mut line);
        serde_json::from_slice(&line).unwrap()
    }

    #[test]
    fn a_failed_row_never_looks_like_an_answer() {
        for (status, has_response) in [(Some(200), false), (Some(400), true), (None, false)] {
            let mut error = fanweave_core::Error::new(ErrorKind::Decode, "no `choices`");
            if let Some(status) = status {
                error = error.with_status(status);
            }
            let line = line(Outcome::Error(Box::new((&error).into())));
            assert_eq!((line["response"].is_object(), line["error"].is_null()), (has_response, has_response));
            assert_ne!(line["response"]["status_code"], 200);
        }
    }

    #[test]
    fn responses_of_other_dialects_have_the_form_of_openai() {
        let answer = |raw: Value| Answer {
            content: Content::Text("hi".into()),
            finish_reason: Some("stop".into()),
            usage: Usage::new(3, 4),
            raw: Some(ReplyBody::new(raw.to_string())),
            ..Answer::default()
        };
        let body = |answer| line(Outcome::Answer(Box::new(answer)))["response"]["body"].clone();
        for raw in
            [json!({"content": [{"type": "text", "text": "hi"}]}), json!({"candidates": []}), json!([])]
        {
            let body = body(answer(raw));
            assert_eq!(body["choices"][0]["message"]["content"], "hi");
            assert_eq!(body["usage"]["total_tokens"], 7);
        }
        // A chat that another of OpenAI's endpoints answered, and a row for that endpoint.
        let response = json!({"object": "response", "output": []});
        assert_eq!(body(answer(response.clone()))["choices"][0]["message"]["content"], "hi");
        let row = Answer { endpoint: Some(Endpoint::Responses), ..answer(response.clone()) };
        assert_eq!(body(row), response);
        let own = json!({"choices": [{"index": 0}], "own": 1.0});
        assert_eq!(body(answer(own.clone())), own);
        let refused = Answer { finish_reason: Some("refusal".into()), ..answer(Value::Null) };
        let choice = body(refused)["choices"][0].clone();
        assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&Value::Null, &json!("stop")));
        assert_eq!(choice["message"]["refusal"], "hi");
    }
}
