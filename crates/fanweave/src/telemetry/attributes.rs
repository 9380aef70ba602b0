//! The attributes of calls, named by the conventions.

use opentelemetry::{Array, KeyValue, StringValue, Value};
use serde_json::json;

use crate::{FinishReason, Message, Parameters, Part, Prompt, Reply, ResponseFormat, Role};

/// The name of a provider in the conventions.
fn provider(name: &str) -> &str {
    match name {
        "gemini" => "gcp.gemini",
        "azure" => "azure.ai.openai",
        "bedrock" => "aws.bedrock",
        "mistral" => "mistral_ai",
        "xai" => "x_ai",
        "openai-responses" | "openai-completions" => "openai",
        other => other,
    }
}

/// Operation, provider and model: part of every span and metric of a call. `model` is `provider/model`.
pub(super) fn call(operation: &'static str, model: &str) -> Vec<KeyValue> {
    let (vendor, name) = model.split_once('/').unwrap_or(("custom", model));
    vec![
        KeyValue::new("gen_ai.operation.name", operation),
        KeyValue::new("gen_ai.provider.name", provider(vendor).to_owned()),
        KeyValue::new("gen_ai.request.model", name.to_owned()),
    ]
}

/// The parameters of a request.
pub(super) fn request(parameters: &Parameters) -> Vec<KeyValue> {
    let Parameters { temperature, top_p, max_tokens, seed, stop, format, .. } = parameters;
    let mut all = Vec::new();
    let mut add = |name: &'static str, value: Option<Value>| {
        all.extend(value.map(|value| KeyValue::new(name, value)));
    };
    add("gen_ai.request.temperature", temperature.map(Value::F64));
    add("gen_ai.request.top_p", top_p.map(Value::F64));
    add("gen_ai.request.max_tokens", max_tokens.map(|n| Value::I64(n.into())));
    add("gen_ai.request.seed", seed.map(Value::I64));
    add("gen_ai.request.stop_sequences", (!stop.is_empty()).then(|| texts(stop.iter().cloned())));
    let is_json = matches!(format, Some(ResponseFormat::JsonObject | ResponseFormat::JsonSchema { .. }));
    add("gen_ai.output.type", is_json.then(|| "json".into()));
    all
}

/// The metadata of a response.
pub(super) fn response(reply: &Reply) -> Vec<KeyValue> {
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let usage = &reply.usage;
    let mut all = vec![
        KeyValue::new("gen_ai.usage.input_tokens", count(usage.input_tokens)),
        KeyValue::new("gen_ai.usage.output_tokens", count(usage.output_tokens)),
        KeyValue::new("fanweave.attempts", i64::from(reply.attempts)),
    ];
    let mut add = |name: &'static str, value: Option<Value>| {
        all.extend(value.map(|value| KeyValue::new(name, value)));
    };
    add("gen_ai.response.id", reply.id.clone().map(Value::from));
    add("gen_ai.response.model", reply.model.clone().map(Value::from));
    let reason = reply.finish_reason.as_ref().map(|reason| texts([reason.as_str().to_owned()]));
    add("gen_ai.response.finish_reasons", reason);
    let some = |n: u64| (n > 0).then(|| Value::I64(count(n)));
    add("gen_ai.usage.cache_read.input_tokens", some(usage.cached_tokens));
    add("gen_ai.usage.cache_creation.input_tokens", some(usage.cache_write_tokens));
    add("gen_ai.usage.reasoning.output_tokens", some(usage.reasoning_tokens));
    add("fanweave.cached", reply.cached.then_some(Value::Bool(true)));
    all
}

/// A list of strings.
pub(super) fn texts(all: impl IntoIterator<Item = String>) -> Value {
    Value::Array(Array::String(all.into_iter().map(StringValue::from).collect()))
}

/// The prompt, in the JSON of the conventions.
pub(super) fn prompt(prompt: &Prompt) -> Vec<KeyValue> {
    let is_system = |message: &&Message| message.role == Role::System;
    let system: Vec<_> =
        prompt.messages.iter().filter(is_system).flat_map(|m| m.parts.iter().map(part)).collect();
    let input: Vec<_> = prompt.messages.iter().filter(|message| !is_system(message)).map(message).collect();
    let mut all = vec![KeyValue::new("gen_ai.input.messages", json!(input).to_string())];
    if !system.is_empty() {
        all.push(KeyValue::new("gen_ai.system_instructions", json!(system).to_string()));
    }
    all
}

/// The answer, in the JSON of the conventions.
pub(super) fn answered(answer: &Message) -> KeyValue {
    let mut output = message(answer);
    let reason = answer.reply.as_ref().and_then(|reply| reply.finish_reason.as_ref());
    output["finish_reason"] = json!(reason.map(FinishReason::as_str));
    KeyValue::new("gen_ai.output.messages", json!([output]).to_string())
}

fn message(message: &Message) -> serde_json::Value {
    let parts: Vec<_> = message.parts.iter().map(part).collect();
    json!({ "role": message.role, "parts": parts })
}

/// A part of a message. For images and other media only their kind, without the bytes.
fn part(part: &Part) -> serde_json::Value {
    match part {
        Part::Text(text) => json!({ "type": "text", "content": text }),
        Part::Reasoning { text, .. } => json!({ "type": "reasoning", "content": text }),
        Part::ToolCall(call) => {
            json!({ "type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments })
        }
        Part::ToolResult(result) => {
            json!({ "type": "tool_call_response", "id": result.id, "response": result.text() })
        }
        Part::Image(_) => json!({ "type": "image" }),
        Part::Audio(_) => json!({ "type": "audio" }),
        Part::File(_) => json!({ "type": "file" }),
        _ => json!({ "type": "other" }),
    }
}
