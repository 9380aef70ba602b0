//! Encoding of requests: contents of parts, and a configuration.

use fanweave_core::prompt::{Endpoint, RequestBody};
use fanweave_core::{
    Error, ErrorKind, Media, Message, Part, ResponseFormat, Result, Role, ToolChoice, ToolResult,
};
use serde_json::{Map, Value, json};

use super::GENERATED;
use crate::protocol::Call;
use crate::providers::foreign::{self, Target};
use crate::providers::openai::signed;
use crate::providers::reasoning::{self, Amount};
use crate::providers::schema::{self, Subset};
use crate::providers::splice::Splice;
use crate::providers::{json, media, own};

/// Name of the dialect in messages.
const DIALECT: &str = "Gemini";

/// The fields of chat completions that the dialect has.
const TARGET: Target = Target {
    name: DIALECT,
    has_seed: true,
    fields: &[
        ("presence_penalty", &["generationConfig", "presencePenalty"], foreign::unchanged),
        ("frequency_penalty", &["generationConfig", "frequencyPenalty"], foreign::unchanged),
        ("top_k", &["generationConfig", "topK"], foreign::unchanged),
    ],
    hints: None,
};

/// Subset supported by response schemas. Source: the documentation of `responseJsonSchema`.
const SUBSET: Subset = Subset {
    constraints: &[
        "format",
        "prefixItems",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "oneOf",
        "propertyOrdering",
    ],
    formats: &["date-time", "date", "time"],
    closed: false,
    all_required: false,
};

pub(super) fn request(call: &Call<'_>) -> Result<Vec<u8>> {
    if let Some(body) = call.body.filter(|body| body.endpoint() == Endpoint::GenerateContent) {
        return own(call, body);
    }
    let translated = foreign::translate(call, &TARGET)?;
    json::write(&fields(&translated.call())?)
}

/// The request of a row in this dialect, with what has changed since it was read.
fn own(call: &Call<'_>, body: &RequestBody) -> Result<Vec<u8>> {
    let mut request = Splice::new(body.json())?;
    // It is part of the URL.
    request.set("model", None::<()>)?;
    let system_name = own::spelling(&request, "systemInstruction");
    let parts = |system: Vec<Value>| json!({ "parts": system });
    match own::added(call, body, &["contents", "system"])? {
        None => {
            let system = system(call.messages);
            request.set(&system_name, (!system.is_empty()).then(|| parts(system)))?;
            request.set("contents", Some(contents(call.messages)?))?;
        }
        Some((before, after)) => {
            let (mut first, last) = (system(before), system(after));
            if !first.is_empty() || !last.is_empty() {
                let given = request.get(&system_name).and_then(|own| serde_json::from_str(own).ok());
                match given {
                    Some(Value::Object(mut given)) => {
                        if let Some(Value::Array(own)) = given.shift_remove("parts") {
                            first.extend(own);
                        }
                    }
                    Some(Value::String(text)) => first.push(json!({ "text": text })),
                    _ => {}
                }
                first.extend(last);
                request.set(&system_name, Some(parts(first)))?;
            }
            let (before, after) = (contents(before)?, contents(after)?);
            if !before.is_empty() || !after.is_empty() {
                request.extend("contents", &before, &after)?;
            }
        }
    }
    own::set_parameters(call, body, &mut request, fields)?;
    Ok(request.finish())
}

/// The system messages at any position: the dialect has a single field for them.
fn system(messages: &[Message]) -> Vec<Value> {
    let system = messages.iter().filter(|message| message.role == Role::System);
    system.map(|message| json!({ "text": message.text() })).collect()
}

/// The fields of a request.
fn fields(call: &Call<'_>) -> Result<Map<String, Value>> {
    let p = call.parameters;
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| _ = body.insert(name.to_owned(), value);
    let system = system(call.messages);
    if !system.is_empty() {
        set("systemInstruction", json!({ "parts": system }));
    }
    set("contents", contents(call.messages)?.into());
    let config = config(call)?;
    if !config.is_empty() {
        set("generationConfig", config.into());
    }
    if !p.tools.is_empty() {
        let functions = p.tools.iter().map(|tool| {
            json!({
                "name": tool.name, "description": tool.description, "parametersJsonSchema": tool.parameters,
            })
        });
        set("tools", json!([{ "functionDeclarations": functions.collect::<Vec<_>>() }]));
    }
    if let Some(choice) = &p.tool_choice {
        set("toolConfig", json!({ "functionCallingConfig": tool_choice(choice)? }));
    }
    Ok(json::merged(body, &p.extra))
}

fn config(call: &Call<'_>) -> Result<Map<String, Value>> {
    let p = call.parameters;
    let mut config = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(name.to_owned(), value);
        }
    };
    set("temperature", p.temperature.map(Into::into));
    set("topP", p.top_p.map(Into::into));
    set("maxOutputTokens", p.max_tokens.map(Into::into));
    set("stopSequences", (!p.stop.is_empty()).then(|| p.stop.clone().into()));
    set("seed", p.seed.map(Into::into));
    set("thinkingConfig", thinking(call)?);
    let json_type = || Some("application/json".into());
    match &p.format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonObject) => set("responseMimeType", json_type()),
        Some(ResponseFormat::JsonSchema { schema, .. }) => {
            set("responseMimeType", json_type());
            set("responseJsonSchema", Some(schema::within(schema, &SUBSET)));
        }
        Some(other) => return Err(unsupported(&format!("the response format {other:?}"))),
    }
    Ok(config)
}

/// The conversation. Consecutive messages of the same role are merged: the results of parallel calls must be
/// in one.
fn contents(messages: &[Message]) -> Result<Vec<Value>> {
    let mut contents: Vec<(&str, Vec<Value>)> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let role = match message.role {
            Role::System => continue,
            Role::Assistant => "model",
            Role::User | Role::Tool => "user",
            other => return Err(unsupported(&format!("the role {other:?}"))),
        };
        let parts = parts(message, &messages[..at])?;
        match contents.last_mut() {
            Some((last, all)) if *last == role => all.extend(parts),
            _ => contents.push((role, parts)),
        }
    }
    Ok(contents.into_iter().map(|(role, parts)| json!({ "role": role, "parts": parts })).collect())
}

fn parts(message: &Message, before: &[Message]) -> Result<Vec<Value>> {
    let mut parts = Vec::new();
    // The signature of the part that follows.
    let mut signature: Option<&str> = None;
    for part in &message.parts {
        let mut written = match part {
            // Reasoning text is not sent back.
            Part::Reasoning { signature: signed, .. } => {
                let own = signed.as_deref().filter(|signed| !signed::is_foreign_object(signed));
                signature = own.or(signature);
                continue;
            }
            Part::Text(text) => json!({ "text": text }),
            Part::Image(media) | Part::Audio(media) | Part::File(media) => data(media),
            Part::ToolCall(call) => {
                let mut function = json!({ "name": call.name, "args": json::arguments(&call.arguments) });
                name_itself(&mut function, &call.id);
                json!({ "functionCall": function })
            }
            Part::ToolResult(result) => json!({ "functionResponse": response(result, before)? }),
            Part::Other(value) => value.clone(),
            other => return Err(unsupported(&foreign::described(other))),
        };
        if let Some(signature) = signature.take() {
            written["thoughtSignature"] = signature.into();
        }
        parts.push(written);
    }
    parts.extend(signature.map(|signature| json!({ "text": "", "thoughtSignature": signature })));
    Ok(parts)
}

fn data(media: &Media) -> Value {
    match media::inline(media) {
        Some((media_type, data)) => json!({ "inlineData": { "mimeType": media_type, "data": data } }),
        None => json!({ "fileData": { "fileUri": media::url(media) } }),
    }
}

/// A tool result, which must name its tool: that of the call with its id.
fn response(result: &ToolResult, before: &[Message]) -> Result<Value> {
    let called = before.iter().rev().flat_map(Message::tool_calls).find(|call| call.id == result.id);
    let Some(called) = called else {
        let message = format!("the result of the tool call `{}` follows no such call", result.id);
        return Err(Error::new(ErrorKind::Input, message));
    };
    let text = result.text();
    let content = match serde_json::from_str(&text) {
        _ if result.is_error => json!({ "error": text }),
        Ok(object @ Value::Object(_)) => object,
        _ => json!({ "output": text }),
    };
    let mut response = json!({ "name": called.name, "response": content });
    let media = result.parts.iter().filter(|part| part.as_text().is_none());
    let media: Vec<_> = media
        .map(|part| match part {
            Part::Image(media) | Part::Audio(media) | Part::File(media) => Ok(data(media)),
            other => Err(unsupported(&format!("{} in a tool result", foreign::described(other)))),
        })
        .collect::<Result<_>>()?;
    if !media.is_empty() {
        response["parts"] = media.into();
    }
    name_itself(&mut response, &result.id);
    Ok(response)
}

fn name_itself(function: &mut Value, id: &str) {
    if !id.starts_with(GENERATED) {
        function["id"] = id.into();
    }
}

fn tool_choice(choice: &ToolChoice) -> Result<Value> {
    Ok(match choice {
        ToolChoice::Auto => json!({ "mode": "AUTO" }),
        ToolChoice::None => json!({ "mode": "NONE" }),
        ToolChoice::Required => json!({ "mode": "ANY" }),
        ToolChoice::Tool(name) => json!({ "mode": "ANY", "allowedFunctionNames": [name] }),
        other => return Err(unsupported(&format!("the tool choice {other:?}"))),
    })
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Input, format!("{DIALECT} does not support {what}"))
}

/// The setting of the thinking. Models before Gemini 3 take a number of tokens only.
fn thinking(call: &Call<'_>) -> Result<Option<Value>> {
    let p = call.parameters;
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| _ = fields.insert(name.to_owned(), value);
    match reasoning::amount(p)? {
        None => {}
        Some(Amount::Off) => set("thinkingBudget", 0.into()),
        Some(Amount::Tokens(tokens)) => set("thinkingBudget", tokens.into()),
        Some(Amount::Level(level)) if call.model.contains("gemini-2") => {
            set("thinkingBudget", reasoning::tokens(level, DIALECT)?.into());
        }
        Some(Amount::Level(level)) => set("thinkingLevel", level.into()),
    }
    if p.reasoning_summary {
        set("includeThoughts", true.into());
    }
    Ok((!fields.is_empty()).then(|| fields.into()))
}
