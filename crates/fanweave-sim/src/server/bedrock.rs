//! Bedrock's dialect: Converse, plain and streamed.
//!
//! The model is part of the path. A request is signed, or has a bearer token.

use serde_json::{Value, json};

use super::content::push_with_results;
use super::endpoint::{PreparedResponse, Request, ResponseContext};
use super::event_stream::Frames;
use super::openai::parse;
use super::problem::Problem;
use super::reasoning;
use crate::answer::{
    Answer, ChatMessage, ChatRequest, Content, Finish, Role, Tool, ToolCall, ToolChoice, answer, pieces,
};

/// Default maximum of output tokens.
const MAX_TOKENS: u64 = 4096;

/// A request to `/converse` or `/converse-stream`.
#[derive(Debug)]
pub(super) struct Converse {
    chat_request: ChatRequest<'static>,
    is_stream: bool,
}

/// Reads a request for `model`.
pub(super) fn converse(model: String, is_stream: bool, body: &[u8]) -> Result<Converse, Problem> {
    let request: Value = parse(body)?;
    let Some(given) = request["messages"].as_array().filter(|given| !given.is_empty()) else {
        return Err(Problem::invalid("The messages field must have at least one message.", None));
    };
    let mut messages = Vec::new();
    let system = texts(&request["system"]);
    if !system.is_empty() {
        messages.push(ChatMessage { role: Role::System, text: system.into() });
    }
    let mut last = "assistant";
    for message in given {
        let role = message["role"].as_str().unwrap_or_default();
        if role == last {
            let message =
                "A conversation must alternate between user and assistant roles, and start with user.";
            return Err(Problem::invalid(message, None));
        }
        last = if role == "user" { "user" } else { "assistant" };
        push_messages(role, &message["content"], &mut messages)?;
    }
    let config = &request["inferenceConfig"];
    let mut chat_request = ChatRequest::from_messages(model, messages);
    chat_request.max_tokens = config["maxTokens"].as_u64();
    let stop = config["stopSequences"].as_array().into_iter().flatten();
    chat_request.stop = stop.filter_map(|stop| Some(stop.as_str()?.to_owned().into())).collect();
    let more = &request["additionalModelRequestFields"];
    let max_tokens = chat_request.max_tokens.unwrap_or(MAX_TOKENS);
    chat_request.reasoning_tokens =
        reasoning::anthropic(&more["thinking"], &more["output_config"]["effort"], max_tokens)?;
    let tools = request["toolConfig"]["tools"].as_array().into_iter().flatten();
    chat_request.tools = tools.map(|tool| self::tool(&tool["toolSpec"])).collect();
    let choice = &request["toolConfig"]["toolChoice"];
    chat_request.tool_choice = match choice["tool"]["name"].as_str() {
        Some(name) => ToolChoice::Named(name.to_owned()),
        None if choice["any"].is_object() => ToolChoice::Required,
        None => ToolChoice::Auto,
    };
    Ok(Converse { chat_request, is_stream })
}

/// The texts of a list of blocks.
fn texts(blocks: &Value) -> String {
    blocks.as_array().into_iter().flatten().filter_map(|block| block["text"].as_str()).collect()
}

fn tool(spec: &Value) -> Tool {
    let text = |name: &str| spec[name].as_str().unwrap_or_default().to_owned();
    Tool {
        name: text("name"),
        description: text("description"),
        parameters: spec["inputSchema"]["json"].clone(),
    }
}

/// Adds the messages in a message: the results of tools first, then its text.
fn push_messages(
    role: &str,
    content: &Value,
    messages: &mut Vec<ChatMessage<'static>>,
) -> Result<(), Problem> {
    let role = match role {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        other => {
            return Err(Problem::invalid(
                format!("`{other}` is not a role: must be user or assistant"),
                None,
            ));
        }
    };
    let blocks = content.as_array().filter(|blocks| !blocks.is_empty());
    let blocks = blocks.ok_or_else(|| Problem::invalid("The content field is empty.", None))?;
    let results = blocks.iter().filter_map(|block| block.get("toolResult")).map(|result| {
        let texts = result["content"].as_array().into_iter().flatten().map(|part| match &part["text"] {
            Value::String(text) => text.clone(),
            _ => part["json"].to_string(),
        });
        texts.collect()
    });
    push_with_results(role, results, texts(content), messages);
    Ok(())
}

impl Request for Converse {
    fn model(&self) -> &str {
        &self.chat_request.model
    }

    fn estimate(&self) -> (u64, Option<u64>) {
        (self.chat_request.input_tokens(), self.chat_request.max_tokens)
    }

    fn answer(&self, context: &ResponseContext) -> PreparedResponse {
        let reply = answer(&self.chat_request);
        let first = reply.answers.first().expect("a reply has at least one answer");
        let usage = json!({
            "inputTokens": reply.input_tokens, "outputTokens": reply.output_tokens,
            "totalTokens": reply.input_tokens + reply.output_tokens,
        });
        let stop_reason = stop_reason(&first.finish);
        let (bytes, events) = if self.is_stream {
            let mut frames = Frames::default();
            frames.event("messageStart", &json!({ "role": "assistant" }));
            stream(first, context.chunks, &mut frames);
            frames.event("messageStop", &json!({ "stopReason": stop_reason }));
            frames.event("metadata", &json!({ "usage": usage, "metrics": { "latencyMs": 1 } }));
            let (bytes, lengths) = frames.finish();
            (bytes, Some(lengths))
        } else {
            let message = json!({ "role": "assistant", "content": whole(first) });
            let body = json!({
                "output": { "message": message }, "stopReason": stop_reason, "usage": usage,
                "metrics": { "latencyMs": 1 },
            });
            (body.to_string().into_bytes().into(), None)
        };
        PreparedResponse {
            bytes,
            events,
            input_tokens: reply.input_tokens,
            output_tokens: reply.output_tokens,
        }
    }
}

fn whole(answer: &Answer) -> Value {
    match &answer.content {
        Content::Text(text) => json!([{ "text": text }]),
        Content::Calls(calls) => calls
            .iter()
            .map(|call| {
                let input: Value =
                    serde_json::from_str(&call.arguments).expect("arguments were written as JSON");
                json!({ "toolUse": { "toolUseId": call_id(call), "name": call.name, "input": input } })
            })
            .collect(),
    }
}

fn stream(answer: &Answer, chunks: usize, frames: &mut Frames) {
    let delta = |frames: &mut Frames, at: usize, delta: Value| {
        frames.event("contentBlockDelta", &json!({ "contentBlockIndex": at, "delta": delta }));
    };
    match &answer.content {
        Content::Text(text) => {
            for piece in pieces(text, chunks) {
                delta(frames, 0, json!({ "text": piece }));
            }
            frames.event("contentBlockStop", &json!({ "contentBlockIndex": 0 }));
        }
        Content::Calls(calls) => {
            for (at, call) in calls.iter().enumerate() {
                let start = json!({ "toolUse": { "toolUseId": call_id(call), "name": call.name } });
                frames.event("contentBlockStart", &json!({ "contentBlockIndex": at, "start": start }));
                for piece in pieces(&call.arguments, 2) {
                    delta(frames, at, json!({ "toolUse": { "input": piece } }));
                }
                frames.event("contentBlockStop", &json!({ "contentBlockIndex": at }));
            }
        }
    }
}

fn call_id(call: &ToolCall) -> String {
    format!("tooluse_{}", call.id.trim_start_matches("call_"))
}

fn stop_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::Sequence(_) => "stop_sequence",
        Finish::ToolCalls => "tool_use",
        Finish::Length => "max_tokens",
    }
}
