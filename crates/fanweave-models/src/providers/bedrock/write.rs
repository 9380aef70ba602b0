//! Encoding of requests.

use fanweave_core::{
    Error, ErrorKind, Media, Message, Parameters, Part, ResponseFormat, Result, Role, ToolChoice, ToolSpec,
};
use serde_json::{Map, Value, json};

use crate::protocol::Call;
use crate::providers::foreign::{self, Target};
use crate::providers::openai::signed;
use crate::providers::{anthropic, json, media};

/// Name of the dialect in messages.
const DIALECT: &str = "Bedrock's Converse API";

/// The fields of chat completions that the dialect has.
const TARGET: Target = Target {
    name: DIALECT,
    has_seed: false,
    fields: &[
        ("top_k", &["additionalModelRequestFields", "top_k"], foreign::unchanged),
        ("metadata", &["requestMetadata"], foreign::unchanged),
    ],
    hints: None,
};

pub(super) fn request(call: &Call<'_>) -> Result<Vec<u8>> {
    let translated = foreign::translate(call, &TARGET)?;
    let call = &translated.call();
    let p = call.parameters;
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| _ = body.insert(name.to_owned(), value);
    set("messages", messages(call.messages)?.into());
    let mut system: Vec<Value> = Vec::new();
    for message in call.messages.iter().filter(|message| message.role == Role::System) {
        system.push(json!({ "text": message.text() }));
    }
    match &p.format {
        None | Some(ResponseFormat::Text) => {}
        // Few of the models follow a schema by themselves.
        Some(ResponseFormat::JsonSchema { schema, .. }) => {
            let words = format!("Answer with JSON alone, which fits this JSON schema: {schema}");
            system.push(json!({ "text": words }));
        }
        Some(_) => return Err(unsupported("the response format `json_object`: give a schema")),
    }
    if !system.is_empty() {
        set("system", system.into());
    }
    let reasoning = anthropic::thinking_fields(call, DIALECT)?;
    let config = config(p, reasoning.as_ref().map(|_| anthropic::max_tokens(p)));
    if !config.is_empty() {
        set("inferenceConfig", config.into());
    }
    let tools = match p.tool_choice {
        Some(ToolChoice::None) => &[][..],
        _ => &p.tools,
    };
    if !tools.is_empty() {
        let mut tool_config = json!({ "tools": tools.iter().map(tool).collect::<Value>() });
        if let Some(choice) = p.tool_choice.as_ref().map(tool_choice).transpose()? {
            tool_config["toolChoice"] = choice;
        }
        set("toolConfig", tool_config);
    }
    if let Some(fields) = reasoning {
        set("additionalModelRequestFields", fields.into());
    }
    json::write(&json::merged(body, &p.extra))
}

fn config(p: &Parameters, max_tokens: Option<u32>) -> Map<String, Value> {
    let stop = (!p.stop.is_empty()).then(|| p.stop.clone().into());
    let fields = [
        ("maxTokens", p.max_tokens.or(max_tokens).map(Value::from)),
        ("temperature", p.temperature.map(Into::into)),
        ("topP", p.top_p.map(Into::into)),
        ("stopSequences", stop),
    ];
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// The conversation. Consecutive messages of the same role are merged: roles have to alternate.
fn messages(messages: &[Message]) -> Result<Vec<Value>> {
    let mut merged: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in messages {
        let role = match message.role {
            Role::System => continue,
            Role::Assistant => "assistant",
            // Tool results are sent in the user role.
            Role::User | Role::Tool => "user",
            other => return Err(unsupported(&format!("the role {other:?}"))),
        };
        let blocks = message.parts.iter().filter_map(|part| block(part).transpose());
        let blocks = blocks.collect::<Result<Vec<_>>>()?;
        match merged.last_mut() {
            Some((last, all)) if *last == role => all.extend(blocks),
            _ => merged.push((role, blocks)),
        }
    }
    Ok(merged.into_iter().map(|(role, content)| json!({ "role": role, "content": content })).collect())
}

/// A part as a block. `None` for what cannot be sent: empty text, and unsigned reasoning.
fn block(part: &Part) -> Result<Option<Value>> {
    Ok(Some(match part {
        Part::Text(text) if text.trim().is_empty() => return Ok(None),
        Part::Text(text) => json!({ "text": text }),
        Part::Image(image) => {
            let (media_type, bytes) = inline(image, "an image")?;
            let format = media_type.trim_start_matches("image/");
            let format = if format == "jpg" { "jpeg" } else { format };
            json!({ "image": { "format": format, "source": { "bytes": bytes } } })
        }
        Part::File(file) => {
            let (media_type, bytes) = inline(file, "a file")?;
            json!({ "document": { "format": format_of(media_type), "name": "document", "source": { "bytes": bytes } } })
        }
        Part::Audio(_) => return Err(unsupported("audio")),
        Part::ToolCall(call) => json!({
            "toolUse": { "toolUseId": call.id, "name": call.name, "input": json::arguments(&call.arguments) },
        }),
        Part::ToolResult(result) => {
            let content = match result.is_text() {
                true => vec![json!({ "text": result.text() })],
                false => {
                    result.parts.iter().filter_map(|part| block(part).transpose()).collect::<Result<_>>()?
                }
            };
            let status = if result.is_error { "error" } else { "success" };
            json!({ "toolResult": { "toolUseId": result.id, "content": content, "status": status } })
        }
        Part::Reasoning { text, signature: Some(signature) } if !signed::is_foreign_object(signature) => {
            json!({ "reasoningContent": { "reasoningText": { "text": text, "signature": signature } } })
        }
        Part::Reasoning { .. } => return Ok(None),
        Part::Other(value) => value.clone(),
        other => return Err(unsupported(&foreign::described(other))),
    }))
}

fn inline<'a>(media: &'a Media, what: &str) -> Result<(&'a str, &'a str)> {
    media::inline(media).ok_or_else(|| unsupported(&format!("{what} by its URL: send its bytes inline")))
}

/// The format of a document, by its media type.
fn format_of(media_type: &str) -> &str {
    match media_type {
        "text/plain" => "txt",
        "text/markdown" => "md",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        other => other.rsplit('/').next().unwrap_or(other),
    }
}

fn tool(ToolSpec { name, description, parameters }: &ToolSpec) -> Value {
    let mut spec = json!({ "name": name, "inputSchema": { "json": parameters } });
    if !description.is_empty() {
        spec["description"] = description.as_str().into();
    }
    json!({ "toolSpec": spec })
}

fn tool_choice(choice: &ToolChoice) -> Result<Value> {
    Ok(match choice {
        ToolChoice::Auto => json!({ "auto": {} }),
        ToolChoice::Required => json!({ "any": {} }),
        ToolChoice::Tool(name) => json!({ "tool": { "name": name } }),
        other => return Err(unsupported(&format!("the tool choice {other:?}"))),
    })
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Input, format!("{DIALECT} does not support {what}"))
}
