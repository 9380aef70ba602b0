//! Encoding of requests.

use fanweave_core::{
    Error, ErrorKind, Media, Message, Parameters, Part, ResponseFormat, Result, Role, ToolChoice, ToolResult,
};
use serde_json::{Map, Value, json};

use super::GENERATED;
use crate::protocol::Call;
use crate::providers::foreign::{self, Target};
use crate::providers::reasoning::{self, Amount};
use crate::providers::{json, media};

/// Name of the dialect in messages.
const DIALECT: &str = "Ollama";

/// The fields of chat completions that the dialect has.
const TARGET: Target = Target {
    name: DIALECT,
    has_seed: true,
    fields: &[
        ("presence_penalty", &["options", "presence_penalty"], foreign::unchanged),
        ("frequency_penalty", &["options", "frequency_penalty"], foreign::unchanged),
        ("repetition_penalty", &["options", "repeat_penalty"], foreign::unchanged),
        ("top_k", &["options", "top_k"], foreign::unchanged),
        ("min_p", &["options", "min_p"], foreign::unchanged),
        ("keep_alive", &["keep_alive"], foreign::unchanged),
    ],
    hints: None,
};

pub(super) fn request(call: &Call<'_>) -> Result<Vec<u8>> {
    let translated = foreign::translate(call, &TARGET)?;
    let call = &translated.call();
    let p = call.parameters;
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| _ = body.insert(name.to_owned(), value);
    set("model", call.model.into());
    set("messages", messages(call.messages)?.into());
    // `stream` defaults to true.
    set("stream", call.stream.into());
    let tools = match &p.tool_choice {
        Some(ToolChoice::None) => &[][..],
        None | Some(ToolChoice::Auto) => &p.tools,
        Some(_) => return Err(unsupported("a tool choice: the model decides")),
    };
    if !tools.is_empty() {
        set("tools", tools.iter().map(|tool| json!({ "type": "function", "function": tool })).collect());
    }
    match &p.format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => set("format", "json".into()),
        Some(ResponseFormat::JsonSchema { schema, .. }) => set("format", schema.clone()),
        Some(other) => return Err(unsupported(&format!("the response format {other:?}"))),
    }
    if let Some(thinks) = thinks(p)? {
        set("think", thinks);
    }
    let options = options(call);
    if !options.is_empty() {
        set("options", options.into());
    }
    json::write(&json::merged(body, &p.extra))
}

fn options(call: &Call<'_>) -> Map<String, Value> {
    let p = call.parameters;
    let stop = (!p.stop.is_empty()).then(|| p.stop.clone().into());
    let options = [
        ("temperature", p.temperature.map(Value::from)),
        ("top_p", p.top_p.map(Into::into)),
        ("num_predict", p.max_tokens.map(Into::into)),
        ("stop", stop),
        ("seed", p.seed.map(Into::into)),
    ];
    options.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn messages(messages: &[Message]) -> Result<Vec<Value>> {
    let mut wire = Vec::with_capacity(messages.len());
    for (at, message) in messages.iter().enumerate() {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
            other => return Err(unsupported(&format!("the role {other:?}"))),
        };
        let (mut images, mut calls, mut thinking) = (Vec::new(), Vec::new(), String::new());
        let mut results = 0;
        for part in &message.parts {
            match part {
                Part::Text(_) => {}
                Part::Image(image) => images.push(base64(image)?),
                Part::Audio(_) => return Err(unsupported("audio")),
                Part::File(_) => return Err(unsupported("files")),
                Part::ToolCall(call) => {
                    let arguments = json::arguments(&call.arguments);
                    let mut wire = json!({ "function": { "name": call.name, "arguments": arguments } });
                    if !call.id.starts_with(GENERATED) {
                        wire["id"] = call.id.as_str().into();
                    }
                    calls.push(wire);
                }
                // Each result is a separate message in this dialect, and names its tool.
                Part::ToolResult(result) => {
                    results += 1;
                    let before = messages[..at].iter().rev().flat_map(Message::tool_calls);
                    let mut answer = json!({ "role": "tool", "content": result.text() });
                    let images = result_images(result)?;
                    if !images.is_empty() {
                        answer["images"] = images.into();
                    }
                    if let Some(call) = before.into_iter().find(|call| call.id == result.id) {
                        answer["tool_name"] = call.name.as_str().into();
                    }
                    if !result.id.starts_with(GENERATED) {
                        answer["tool_call_id"] = result.id.as_str().into();
                    }
                    wire.push(answer);
                }
                Part::Reasoning { text, .. } => thinking.push_str(text),
                other => return Err(unsupported(&foreign::described(other))),
            }
        }
        if results > 0 && results == message.parts.len() {
            continue;
        }
        let mut entry = json!({ "role": role, "content": message.text() });
        for (name, is_there, value) in [
            ("thinking", !thinking.is_empty(), Value::from(thinking)),
            ("images", !images.is_empty(), images.into()),
            ("tool_calls", !calls.is_empty(), calls.into()),
        ] {
            if is_there {
                entry[name] = value;
            }
        }
        wire.push(entry);
    }
    Ok(wire)
}

/// The images of a tool result. Its texts are the content.
fn result_images(result: &ToolResult) -> Result<Vec<Value>> {
    let media = result.parts.iter().filter(|part| part.as_text().is_none());
    let image = |part: &Part| match part {
        Part::Image(image) => base64(image),
        other => Err(unsupported(&format!("{} in a tool result", foreign::described(other)))),
    };
    media.map(image).collect()
}

fn base64(image: &Media) -> Result<Value> {
    let (_, data) =
        media::inline(image).ok_or_else(|| unsupported("an image by its URL: send its bytes inline"))?;
    Ok(data.into())
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Input, format!("{DIALECT} does not support {what}"))
}

/// Thinking is on, off, or at one of three levels. All thinking is sent, so that a summary needs no field.
fn thinks(p: &Parameters) -> Result<Option<Value>> {
    Ok(match reasoning::amount(p)? {
        None => p.reasoning_summary.then(|| true.into()),
        Some(Amount::Off) => Some(false.into()),
        Some(Amount::Level("minimal")) => Some("low".into()),
        Some(Amount::Level(level @ ("low" | "medium" | "high"))) => Some(level.into()),
        Some(Amount::Level(level)) => {
            return Err(reasoning::unknown_level(level, "none, minimal, low, medium or high", DIALECT));
        }
        Some(Amount::Tokens(_)) => return Err(reasoning::no_budget(DIALECT)),
    })
}
