//! Lines of an OpenAI batch output, as written by `/v1/batches` and `vllm run-batch`.

use fanweave_core::{ReplyBody, ToolCall, Usage};
use serde::Serialize;
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
    model: Option<&'a str>,
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
    refusal: Option<()>,
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
            Some(status) => (Some(rejected(failure, status)), None),
            None => (None, Some(Error { code: &failure.kind, message: &failure.message })),
        },
    };
    let row = Line { id, custom_id: record.id.as_deref(), response, error };
    serde_json::to_writer(line, &row).expect("rows have string keys, and writing to a Vec cannot fail");
}

fn answered<'a>(answer: &'a Answer, id: &'a str) -> Response<'a> {
    let body = match &answer.raw {
        Some(raw) if raw.is_object() => Body::Raw(raw),
        _ => Body::Completion(Box::new(completion(answer, id))),
    };
    Response { status_code: 200, request_id: answer.request_id.as_deref(), body }
}

fn rejected(failure: &Failure, status: u16) -> Response<'_> {
    let original = failure.body.as_deref().and_then(|body| serde_json::from_str(body).ok());
    let body = original.unwrap_or_else(
        || json!({"error": {"message": failure.message, "type": failure.kind, "code": failure.code}}),
    );
    Response { status_code: status, request_id: failure.request_id.as_deref(), body: Body::Failed(body) }
}

fn completion<'a>(answer: &'a Answer, id: &'a str) -> Completion<'a> {
    let content = match &answer.content {
        Content::Text(text) if text.is_empty() && !answer.tool_calls.is_empty() => None,
        Content::Text(text) => Some(text.clone()),
        Content::Json(value) => Some(value.to_string()),
    };
    let message = Message {
        role: "assistant",
        content,
        reasoning_content: answer.reasoning.as_deref(),
        refusal: None,
        tool_calls: answer.tool_calls.iter().map(tool_call).collect(),
    };
    Completion {
        id: answer.answer_id.as_deref().unwrap_or(id),
        object: "chat.completion",
        // Unknown. The current time would make equal results differ between runs.
        created: 0,
        model: answer.model.as_deref(),
        choices: [Choice {
            index: 0,
            message,
            logprobs: None,
            finish_reason: answer.finish_reason.as_deref(),
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
