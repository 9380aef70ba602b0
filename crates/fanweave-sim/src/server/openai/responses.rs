//! `POST /v1/responses`.

use hyper::header::HeaderMap;
use serde_json::{Value, json};

use super::parse;
use crate::answer::{
    Answer, ChatMessage, ChatRequest, Content, Finish, Format, Role, Tool, ToolChoice, answer, pieces,
};
use crate::server::endpoint::{Endpoint, PreparedResponse, Request, ResponseContext};
use crate::server::events::Events;
use crate::server::problem::Problem;
use crate::server::{images, reasoning, schema_rules};

/// A responses request.
#[derive(Debug)]
pub(in crate::server) struct Responses {
    chat_request: ChatRequest<'static>,
    is_stream: bool,
}

impl<'a> Endpoint<'a> for Responses {
    fn read(_headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Problem> {
        let request: Value = parse(body)?;
        let model = request["model"].as_str().filter(|model| !model.is_empty());
        let model = model.ok_or(Problem::Missing { param: "model" })?;
        let mut messages = Vec::new();
        if let Some(instructions) = request["instructions"].as_str() {
            messages.push(ChatMessage { role: Role::System, text: instructions.to_owned().into() });
        }
        match &request["input"] {
            Value::String(text) => messages.push(ChatMessage { role: Role::User, text: text.clone().into() }),
            Value::Array(items) => messages.extend(items.iter().filter_map(message)),
            _ => return Err(Problem::Missing { param: "input" }),
        }
        images::responses(&request)?;
        let mut chat_request = ChatRequest::from_messages(model.to_owned(), messages);
        chat_request.max_tokens = request["max_output_tokens"].as_u64();
        chat_request.reasoning_tokens = reasoning::responses(&request["reasoning"])?;
        chat_request.parallel_tool_calls = request["parallel_tool_calls"] != false;
        let format = &request["text"]["format"];
        chat_request.format = match format["type"].as_str() {
            Some("json_object") => Format::JsonObject,
            Some("json_schema") => {
                if format["strict"] == true {
                    schema_rules::STRICT.check(&format["schema"], "text.format.schema")?;
                }
                Format::Schema(format["schema"].clone())
            }
            _ => Format::Text,
        };
        let tools = request["tools"].as_array().into_iter().flatten();
        chat_request.tools = tools.filter(|tool| tool["type"] == "function").map(tool).collect();
        chat_request.tool_choice = match &request["tool_choice"] {
            Value::String(choice) if choice == "none" => ToolChoice::None,
            Value::String(choice) if choice == "required" => ToolChoice::Required,
            Value::Object(named) => ToolChoice::Named(named["name"].as_str().unwrap_or_default().to_owned()),
            _ => ToolChoice::Auto,
        };
        Ok(Self { chat_request, is_stream: request["stream"] == true })
    }
}

/// The message in an item. Calls and reasoning do not affect the answer.
fn message(item: &Value) -> Option<ChatMessage<'static>> {
    let text = |content: &Value| match content {
        Value::String(text) => text.clone(),
        parts => parts.as_array().into_iter().flatten().filter_map(|part| part["text"].as_str()).collect(),
    };
    let (role, text) = match (item["type"].as_str(), item["role"].as_str()) {
        (Some("function_call_output"), _) => (Role::Tool, text(&item["output"])),
        (_, Some("system" | "developer")) => (Role::System, text(&item["content"])),
        (_, Some("assistant")) => (Role::Assistant, text(&item["content"])),
        (_, Some("user")) => (Role::User, text(&item["content"])),
        _ => return None,
    };
    Some(ChatMessage { role, text: text.into() })
}

fn tool(tool: &Value) -> Tool {
    let text = |name: &str| tool[name].as_str().unwrap_or_default().to_owned();
    let parameters = Some(&tool["parameters"]).filter(|schema| schema.is_object()).cloned();
    Tool {
        name: text("name"),
        description: text("description"),
        parameters: parameters.unwrap_or_else(|| json!({ "type": "object" })),
    }
}

impl Request for Responses {
    fn model(&self) -> &str {
        &self.chat_request.model
    }

    fn estimate(&self) -> (u64, Option<u64>) {
        (self.chat_request.input_tokens(), self.chat_request.max_tokens)
    }

    fn answer(&self, context: &ResponseContext) -> PreparedResponse {
        let reply = answer(&self.chat_request);
        let first = reply.answers.first().expect("a reply has at least one answer");
        let items = items(first, context.id);
        let response = |status: &str, output: &[Value], is_over: bool| {
            let cut = first.finish == Finish::Length && is_over;
            json!({
                "id": format!("resp_{:016x}", context.id),
                "object": "response",
                "created_at": context.created,
                "status": if cut { "incomplete" } else { status },
                "error": null,
                "incomplete_details": cut.then(|| json!({ "reason": "max_output_tokens" })),
                "model": self.chat_request.model,
                "output": output,
                "usage": is_over.then(|| json!({
                    "input_tokens": reply.input_tokens,
                    "input_tokens_details": { "cached_tokens": 0 },
                    "output_tokens": reply.output_tokens,
                    "output_tokens_details": { "reasoning_tokens": reply.reasoning_tokens },
                    "total_tokens": reply.input_tokens + reply.output_tokens,
                })),
            })
        };
        let whole = response("completed", &items, true);
        let (bytes, events) = if self.is_stream {
            let mut events = Numbered::default();
            events.push("response.created", json!({ "response": response("in_progress", &[], false) }));
            events.push("response.in_progress", json!({ "response": response("in_progress", &[], false) }));
            for (index, item) in items.iter().enumerate() {
                events.item(index, item, context.chunks);
            }
            let end =
                if first.finish == Finish::Length { "response.incomplete" } else { "response.completed" };
            events.push(end, json!({ "response": whole }));
            let (bytes, lengths) = events.events.finish();
            (bytes, Some(lengths))
        } else {
            (whole.to_string().into_bytes().into(), None)
        };
        PreparedResponse {
            bytes,
            events,
            input_tokens: reply.input_tokens,
            output_tokens: reply.output_tokens,
        }
    }
}

fn items(answer: &Answer, id: u64) -> Vec<Value> {
    match &answer.content {
        Content::Text(text) => vec![json!({
            "id": format!("msg_{id:016x}"),
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [{ "type": "output_text", "text": text, "annotations": [], "logprobs": [] }],
        })],
        Content::Calls(calls) => calls
            .iter()
            .map(|call| {
                json!({
                    "id": format!("fc_{}", call.id),
                    "type": "function_call",
                    "status": "completed",
                    "call_id": format!("call_{}", call.id),
                    "name": call.name,
                    "arguments": call.arguments,
                })
            })
            .collect(),
    }
}

/// Events with consecutive numbers.
#[derive(Default)]
struct Numbered {
    events: Events,
    next: u64,
}

impl Numbered {
    fn push(&mut self, kind: &str, mut data: Value) {
        data["type"] = kind.into();
        data["sequence_number"] = self.next.into();
        self.next += 1;
        self.events.named(kind, &data);
    }

    fn item(&mut self, index: usize, item: &Value, chunks: usize) {
        let mut begun = item.clone();
        begun["status"] = "in_progress".into();
        if item["type"] == "message" {
            begun["content"] = json!([]);
        } else {
            begun["arguments"] = "".into();
        }
        self.push("response.output_item.added", json!({ "output_index": index, "item": begun }));
        let at = json!({ "item_id": item["id"], "output_index": index });
        let with = |more: Value| {
            let mut data = at.clone();
            data.as_object_mut()
                .expect("it is an object")
                .extend(more.as_object().cloned().unwrap_or_default());
            data
        };
        if let Some(text) = item["content"][0]["text"].as_str() {
            let part = json!({ "type": "output_text", "text": "", "annotations": [], "logprobs": [] });
            self.push("response.content_part.added", with(json!({ "content_index": 0, "part": part })));
            for delta in pieces(text, chunks) {
                let more = json!({ "content_index": 0, "delta": delta, "logprobs": [] });
                self.push("response.output_text.delta", with(more));
            }
            let all = json!({ "content_index": 0, "text": text, "logprobs": [] });
            self.push("response.output_text.done", with(all));
            let part = &item["content"][0];
            self.push("response.content_part.done", with(json!({ "content_index": 0, "part": part })));
        } else {
            let arguments = item["arguments"].as_str().unwrap_or_default();
            for delta in pieces(arguments, if chunks == 0 { 4 } else { chunks }) {
                self.push("response.function_call_arguments.delta", with(json!({ "delta": delta })));
            }
            self.push("response.function_call_arguments.done", with(json!({ "arguments": arguments })));
        }
        self.push("response.output_item.done", json!({ "output_index": index, "item": item }));
    }
}
