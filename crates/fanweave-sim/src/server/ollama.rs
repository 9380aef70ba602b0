//! Ollama's dialect: chat, plain and streamed as lines of JSON, and embeddings.

use hyper::header::HeaderMap;
use serde_json::{Value, json};

use super::endpoint::{Endpoint, PreparedResponse, Request, ResponseContext};
use super::events::Events;
use super::openai::parse;
use super::problem::Problem;
use super::{images, reasoning};
use crate::answer::{
    Answer, ChatMessage, ChatRequest, Content, Finish, Format, Role, Tool, answer, count_tokens,
    default_dimensions, embed, pieces,
};

/// A request to `POST /api/chat`.
#[derive(Debug)]
pub(super) struct Chat {
    chat_request: ChatRequest<'static>,
    is_stream: bool,
}

impl<'a> Endpoint<'a> for Chat {
    fn read(_headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Problem> {
        let request: Value = parse(body)?;
        let model = request["model"].as_str().filter(|model| !model.is_empty());
        let model = model.ok_or_else(|| Problem::invalid("model is required", None))?;
        images::ollama(&request)?;
        let messages = request["messages"].as_array().into_iter().flatten();
        let messages = messages.map(chat_message).collect::<Result<Vec<_>, _>>()?;
        let mut chat_request = ChatRequest::from_messages(model.to_owned(), messages);
        chat_request.reasoning_tokens = reasoning::ollama(&request["think"])?;
        let options = &request["options"];
        chat_request.max_tokens = options["num_predict"].as_u64();
        let stop = options["stop"].as_array().into_iter().flatten();
        chat_request.stop = stop.filter_map(|stop| Some(stop.as_str()?.to_owned().into())).collect();
        chat_request.seed = options["seed"].as_i64().map(i64::cast_unsigned);
        chat_request.format = match &request["format"] {
            Value::String(json) if json == "json" => Format::JsonObject,
            schema @ Value::Object(_) => Format::Schema(schema.clone()),
            Value::Null => Format::Text,
            other => return Err(Problem::invalid(format!("invalid format: {other}"), None)),
        };
        let tools = request["tools"].as_array().into_iter().flatten();
        chat_request.tools = tools.map(|tool| self::tool(&tool["function"])).collect();
        // Streaming is the default.
        Ok(Self { chat_request, is_stream: request["stream"] != false })
    }
}

fn chat_message(message: &Value) -> Result<ChatMessage<'static>, Problem> {
    let role = match message["role"].as_str() {
        Some("system") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        _ => return Err(Problem::invalid("invalid role: must be system, user, assistant or tool", None)),
    };
    Ok(ChatMessage { role, text: message["content"].as_str().unwrap_or_default().to_owned().into() })
}

fn tool(function: &Value) -> Tool {
    let text = |name: &str| function[name].as_str().unwrap_or_default().to_owned();
    let parameters = Some(&function["parameters"]).filter(|schema| schema.is_object()).cloned();
    Tool {
        name: text("name"),
        description: text("description"),
        parameters: parameters.unwrap_or_else(|| json!({ "type": "object" })),
    }
}

impl Request for Chat {
    fn model(&self) -> &str {
        &self.chat_request.model
    }

    fn estimate(&self) -> (u64, Option<u64>) {
        (self.chat_request.input_tokens(), self.chat_request.max_tokens)
    }

    fn answer(&self, context: &ResponseContext) -> PreparedResponse {
        let reply = answer(&self.chat_request);
        let first = reply.answers.first().expect("a reply has at least one answer");
        let piece = |message: Value| json!({ "model": self.chat_request.model, "created_at": "2026-01-01T00:00:00Z", "message": message, "done": false });
        let end = |mut last: Value| {
            last["done"] = true.into();
            last["done_reason"] = if first.finish == Finish::Length { "length" } else { "stop" }.into();
            last["prompt_eval_count"] = reply.input_tokens.into();
            last["eval_count"] = reply.output_tokens.into();
            last
        };
        let (bytes, events) = if self.is_stream {
            let mut lines = Events::default();
            for message in streamed(first, context.chunks) {
                lines.line(&piece(message));
            }
            lines.line(&end(piece(json!({ "role": "assistant", "content": "" }))));
            let (bytes, lengths) = lines.finish();
            (bytes, Some(lengths))
        } else {
            (end(piece(whole(first))).to_string().into_bytes().into(), None)
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
        Content::Text(text) => json!({ "role": "assistant", "content": text }),
        Content::Calls(calls) => {
            let call = |call: &crate::answer::ToolCall| {
                let arguments: Value =
                    serde_json::from_str(&call.arguments).expect("arguments were written as JSON");
                json!({ "function": { "name": call.name, "arguments": arguments } })
            };
            json!({ "role": "assistant", "content": "", "tool_calls": calls.iter().map(call).collect::<Value>() })
        }
    }
}

/// The message of each chunk. Tool calls are not split.
fn streamed(answer: &Answer, chunks: usize) -> Vec<Value> {
    match &answer.content {
        Content::Text(text) => {
            pieces(text, chunks).map(|text| json!({ "role": "assistant", "content": text })).collect()
        }
        Content::Calls(_) => vec![whole(answer)],
    }
}

/// A request to `POST /api/embed`.
#[derive(Debug)]
pub(super) struct Embed {
    model: String,
    texts: Vec<String>,
    dimensions: usize,
}

impl<'a> Endpoint<'a> for Embed {
    fn read(_headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Problem> {
        let request: Value = parse(body)?;
        let model = request["model"].as_str().filter(|model| !model.is_empty());
        let model = model.ok_or_else(|| Problem::invalid("model is required", None))?.to_owned();
        let texts = match &request["input"] {
            Value::String(text) => vec![text.clone()],
            texts => texts
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|text| Some(text.as_str()?.to_owned()))
                .collect(),
        };
        let dimensions = request["dimensions"].as_u64().map(|n| n as usize);
        let dimensions = dimensions.unwrap_or_else(|| default_dimensions(&model)).clamp(1, 8192);
        Ok(Self { model, texts, dimensions })
    }
}

impl Request for Embed {
    fn model(&self) -> &str {
        &self.model
    }

    fn estimate(&self) -> (u64, Option<u64>) {
        (self.texts.iter().map(|text| count_tokens(text)).sum(), Some(0))
    }

    fn answer(&self, _context: &ResponseContext) -> PreparedResponse {
        let (input_tokens, _) = self.estimate();
        let embeddings: Value = self.texts.iter().map(|text| json!(embed(text, self.dimensions))).collect();
        let body =
            json!({ "model": self.model, "embeddings": embeddings, "prompt_eval_count": input_tokens });
        PreparedResponse {
            bytes: body.to_string().into_bytes().into(),
            events: None,
            input_tokens,
            output_tokens: 0,
        }
    }
}
