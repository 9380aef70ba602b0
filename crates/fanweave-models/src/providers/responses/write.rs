//! Encoding of requests: instructions, and a list of items.

use fanweave_core::{
    Error, ErrorKind, Message, Parameters, Part, ResponseFormat, Result, Role, ToolChoice, ToolSpec,
};
use serde_json::{Map, Value, json};

use crate::protocol::Call;
use crate::providers::foreign::{self, Hints, Target};
use crate::providers::reasoning::{self, Amount};
use crate::providers::{json, media, schema};

/// Name of the dialect in messages.
const DIALECT: &str = "OpenAI's Responses API";

/// The fields of chat completions that the dialect has.
const TARGET: Target = Target {
    name: DIALECT,
    has_seed: false,
    fields: &[
        ("metadata", &["metadata"], foreign::unchanged),
        ("user", &["user"], foreign::unchanged),
        ("safety_identifier", &["safety_identifier"], foreign::unchanged),
        ("prompt_cache_key", &["prompt_cache_key"], foreign::unchanged),
        ("service_tier", &["service_tier"], foreign::unchanged),
        ("store", &["store"], foreign::unchanged),
        ("parallel_tool_calls", &["parallel_tool_calls"], foreign::unchanged),
    ],
    hints: Some(Hints { part: part_with_hint, tools: strict_tools }),
};

pub(super) fn request(call: &Call<'_>) -> Result<Vec<u8>> {
    let translated = foreign::translate(call, &TARGET)?;
    let call = &translated.call();
    let p = call.parameters;
    if !p.stop.is_empty() {
        return Err(unsupported("stop sequences"));
    }
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| _ = body.insert(name.to_owned(), value);
    set("model", call.model.into());
    let system = call.messages.iter().filter(|message| message.role == Role::System);
    let instructions: Vec<_> = system.map(Message::text).collect();
    if !instructions.is_empty() {
        set("instructions", instructions.join("\n\n").into());
    }
    set("input", input(call.messages)?.into());
    if let Some(temperature) = p.temperature {
        set("temperature", temperature.into());
    }
    if let Some(top_p) = p.top_p {
        set("top_p", top_p.into());
    }
    if let Some(max_tokens) = p.max_tokens {
        set("max_output_tokens", max_tokens.into());
    }
    if let Some(reasoning) = reasoning_of(p)? {
        set("reasoning", reasoning);
    }
    if !p.tools.is_empty() {
        set("tools", p.tools.iter().map(tool).collect());
    }
    if let Some(choice) = &p.tool_choice {
        set("tool_choice", tool_choice(choice)?);
    }
    if let Some(format) = &p.format {
        set("text", json!({ "format": text_format(format)? }));
    }
    if call.stream {
        set("stream", true.into());
    }
    json::body(body, &p.extra)
}

/// The setting of the reasoning.
fn reasoning_of(p: &Parameters) -> Result<Option<Value>> {
    let mut fields = Map::new();
    let mut set = |name: &str, value: &str| _ = fields.insert(name.to_owned(), value.into());
    match reasoning::amount(p)? {
        None => {}
        Some(Amount::Off) => set("effort", "none"),
        Some(Amount::Level(level)) => set("effort", level),
        Some(Amount::Tokens(_)) => return Err(reasoning::no_budget(DIALECT)),
    }
    if p.reasoning_summary {
        set("summary", "auto");
    }
    Ok((!fields.is_empty()).then(|| fields.into()))
}

fn input(messages: &[Message]) -> Result<Vec<Value>> {
    let mut items = Vec::new();
    for message in messages {
        match message.role {
            Role::System => {}
            Role::Assistant => assistant_items(message, &mut items)?,
            Role::User | Role::Tool => user_items(message, &mut items)?,
            other => return Err(unsupported(&format!("the role {other:?}"))),
        }
    }
    Ok(items)
}

/// The items of an assistant message: one for each text, call and reasoning, in order.
fn assistant_items(message: &Message, items: &mut Vec<Value>) -> Result<()> {
    for part in &message.parts {
        items.push(match part {
            Part::Text(text) => json!({ "role": "assistant", "content": text }),
            Part::ToolCall(call) => json!({
                "type": "function_call",
                "call_id": call.id,
                "name": call.name,
                "arguments": if call.arguments.is_empty() { "{}" } else { &call.arguments },
            }),
            Part::Reasoning { text, signature } => match reasoning_item(text, signature.as_deref()) {
                Some(item) => item,
                None => continue,
            },
            Part::Other(item) => item.clone(),
            other => return Err(unsupported(&format!("{} in an answer", foreign::described(other)))),
        });
    }
    Ok(())
}

/// The reasoning as it was received. Reasoning of other providers cannot be sent.
fn reasoning_item(text: &str, signature: Option<&str>) -> Option<Value> {
    let mut item: Map<String, Value> = serde_json::from_str(signature?).ok()?;
    // Other servers sign with objects as well.
    item.get("id").or(item.get("encrypted_content"))?;
    item.insert("type".to_owned(), "reasoning".into());
    let summary = if text.is_empty() { json!([]) } else { json!([{ "type": "summary_text", "text": text }]) };
    item.insert("summary".to_owned(), summary);
    Some(Value::Object(item))
}

/// The items of a user message. Each tool result is a separate item and comes first.
fn user_items(message: &Message, items: &mut Vec<Value>) -> Result<()> {
    let mut content = Vec::new();
    for part in &message.parts {
        let Part::ToolResult(result) = part else {
            content.push(input_part(part)?);
            continue;
        };
        let output = match result.is_text() {
            true => result.text().into(),
            false => Value::Array(result.parts.iter().map(input_part).collect::<Result<_>>()?),
        };
        items.push(json!({ "type": "function_call_output", "call_id": result.id, "output": output }));
    }
    match (content.as_slice(), message.parts.as_slice()) {
        ([], _) => {}
        (_, [Part::Text(text)]) => items.push(json!({ "role": "user", "content": text })),
        _ => items.push(json!({ "role": "user", "content": content })),
    }
    Ok(())
}

fn input_part(part: &Part) -> Result<Value> {
    Ok(match part {
        Part::Text(text) => json!({ "type": "input_text", "text": text }),
        Part::Image(image) => json!({ "type": "input_image", "image_url": media::url(image) }),
        Part::File(file) => match media::inline(file) {
            Some(_) => json!({
                "type": "input_file", "filename": media::file_name(file), "file_data": media::url(file),
            }),
            None => json!({ "type": "input_file", "file_url": media::url(file) }),
        },
        Part::Audio(_) => return Err(unsupported("audio")),
        Part::Other(value) => value.clone(),
        other => return Err(unsupported(&foreign::described(other))),
    })
}

fn tool(ToolSpec { name, description, parameters }: &ToolSpec) -> Value {
    // `strict` defaults to true, which rejects most schemas.
    json!({
        "type": "function", "name": name, "description": description, "parameters": parameters, "strict": false,
    })
}

/// An image with its `detail`, or a file with its name.
fn part_with_hint(kind: &str, value: &Value) -> Option<Value> {
    let text = |name: &str| value.get(name)?.as_str();
    match kind {
        "image_url" => Some(json!({
            "type": "input_image", "image_url": text("url")?, "detail": text("detail")?,
        })),
        "file" => {
            let data = text("file_data").filter(|data| data.starts_with("data:"))?;
            Some(json!({ "type": "input_file", "filename": text("filename")?, "file_data": data }))
        }
        _ => None,
    }
}

/// The functions, if one of them is strict.
fn strict_tools(tools: &[Value]) -> Option<Value> {
    let is_strict = |tool: &Value| tool["function"]["strict"] == true;
    if !tools.iter().any(is_strict) {
        return None;
    }
    let own = tools.iter().map(|wire| {
        let mut own = tool(&foreign::tool(wire)?);
        if own["parameters"].is_null() {
            own["parameters"] = foreign::no_parameters();
        }
        own["strict"] = is_strict(wire).into();
        Some(own)
    });
    own.collect()
}

fn tool_choice(choice: &ToolChoice) -> Result<Value> {
    Ok(match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Tool(name) => json!({ "type": "function", "name": name }),
        other => return Err(unsupported(&format!("the tool choice {other:?}"))),
    })
}

fn text_format(format: &ResponseFormat) -> Result<Value> {
    Ok(match format {
        ResponseFormat::Text => json!({ "type": "text" }),
        ResponseFormat::JsonObject => json!({ "type": "json_object" }),
        ResponseFormat::JsonSchema { name, schema, strict } => {
            // Schemas that the strict mode does not support are sent without it.
            let strict = *strict && schema::can_be_strict(schema);
            let schema = if strict { schema::within(schema, &schema::STRICT) } else { schema.clone() };
            json!({ "type": "json_schema", "name": name, "schema": schema, "strict": strict })
        }
        other => return Err(unsupported(&format!("the response format {other:?}"))),
    })
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Input, format!("{DIALECT} does not support {what}"))
}
