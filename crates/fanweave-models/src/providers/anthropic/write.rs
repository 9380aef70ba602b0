//! Encoding of requests.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fanweave_core::prompt::{Endpoint, RequestBody};
use fanweave_core::{
    Error, ErrorKind, Media, Message, Parameters, Part, ResponseFormat, Result, Role, ToolChoice, ToolSpec,
};
use serde_json::{Map, Value, json};

use crate::protocol::Call;
use crate::providers::foreign::{self, Target};
use crate::providers::openai::signed;
use crate::providers::reasoning::{self, Amount};
use crate::providers::schema::Subset;
use crate::providers::splice::Splice;
use crate::providers::{json, media, own, schema};

/// Name of the dialect in messages.
const DIALECT: &str = "Anthropic's Messages API";

/// Field of the tool choice that allows at most one call of a tool. It is a field of the request until the
/// tool choice is known.
const NO_PARALLEL: &str = "disable_parallel_tool_use";

/// The fields of chat completions that the dialect has.
const TARGET: Target = Target {
    name: DIALECT,
    has_seed: false,
    fields: &[
        ("user", &["metadata", "user_id"], foreign::unchanged),
        ("top_k", &["top_k"], foreign::unchanged),
        ("thinking", &["thinking"], foreign::unchanged),
        ("parallel_tool_calls", &[NO_PARALLEL], |allowed: &Value| Some(Value::Bool(!allowed.as_bool()?))),
    ],
    hints: None,
};

/// Default maximum of output tokens: the field is required. Every model since 2024 accepts this value.
const MAX_TOKENS: u32 = 8192;

/// The first version that rejects sampling parameters with status 400.
const WITHOUT_SAMPLING: &str = "2026-10-21";

/// Maximum time per token. Source: the official SDKs expect an hour for 128,000.
const TIME_PER_TOKEN: Duration = Duration::from_micros(3_600_000_000 / 128_000);

/// Subset supported by structured output. Source: the provider's list of limitations.
const SUBSET: Subset = Subset {
    constraints: &["format", "allOf"],
    formats: &["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"],
    closed: true,
    all_required: false,
};

/// Default maximum of output tokens of a call that sets its reasoning, which is part of them. Every model
/// that reasons accepts this value.
const MAX_TOKENS_WITH_REASONING: u32 = 32_000;

/// Minimum of tokens to think with. Source: the provider's guide on extended thinking.
const MIN_BUDGET: u32 = 1024;

/// Maximum of output tokens.
pub(in crate::providers) fn max_tokens(p: &Parameters) -> u32 {
    let reasons = reasoning::is_set(p);
    p.max_tokens.unwrap_or_else(|| match p.reasoning_budget {
        Some(budget) => MAX_TOKENS.saturating_add(budget),
        None if reasons => MAX_TOKENS_WITH_REASONING,
        None => MAX_TOKENS,
    })
}

/// Maximum time that the answer to a call may take.
pub(super) fn expected_time(parameters: &Parameters) -> Duration {
    TIME_PER_TOKEN * max_tokens(parameters)
}

pub(super) fn request(call: &Call<'_>, version: &str, streams: bool) -> Result<Vec<u8>> {
    if let Some(body) = call.body.filter(|body| body.endpoint() == Endpoint::Messages) {
        return own(call, body, version, streams);
    }
    let translated = foreign::translate(call, &TARGET)?;
    let mut fields = fields(&translated.call(), version)?;
    if streams {
        fields.insert("stream".to_owned(), true.into());
    }
    json::write(&fields)
}

/// The request of a row in this dialect, with what has changed since it was read.
fn own(call: &Call<'_>, body: &RequestBody, version: &str, streams: bool) -> Result<Vec<u8>> {
    let mut request = Splice::new(body.json())?;
    request.set("model", Some(call.model))?;
    if streams {
        request.set("stream", Some(true))?;
    } else if request.get("stream") == Some("true") {
        request.set("stream", None::<()>)?;
    }
    own_messages(call, body, &mut request)?;
    own::set_parameters(call, body, &mut request, |call| {
        let mut fields = fields(call, version)?;
        // That of the row was extended above.
        fields.shift_remove("system");
        Ok(fields)
    })?;
    if request.get("max_tokens").is_none() {
        request.set("max_tokens", Some(max_tokens(call.parameters)))?;
    }
    Ok(request.finish())
}

fn own_messages(call: &Call<'_>, body: &RequestBody, request: &mut Splice<'_>) -> Result<()> {
    let Some((before, after)) = own::added(call, body, &["messages", "system"])? else {
        let mut system = system(call.messages)?;
        system.extend(schema_block(call.parameters));
        request.set("system", (!system.is_empty()).then_some(system))?;
        return request.set("messages", Some(messages(call.messages)?));
    };
    let (mut first, mut last) = (system(before)?, system(after)?);
    if call.parameters.format != body.parameters().format {
        last.extend(schema_block(call.parameters));
    }
    if !first.is_empty() || !last.is_empty() {
        match request.get("system").map(serde_json::from_str) {
            Some(Ok(Value::String(text))) => first.push(json!({ "type": "text", "text": text })),
            Some(Ok(Value::Array(blocks))) => first.extend(blocks),
            _ => {}
        }
        first.extend(last);
        request.set("system", Some(first))?;
    }
    let (before, after) = (messages(before)?, messages(after)?);
    if before.is_empty() && after.is_empty() { Ok(()) } else { request.extend("messages", &before, &after) }
}

/// The schema of the answers as a text, for a schema that structured output does not support.
fn schema_block(p: &Parameters) -> Option<Value> {
    let Some(ResponseFormat::JsonSchema { schema, .. }) = &p.format else { return None };
    let words = || format!("Answer with JSON alone, which fits this JSON schema: {schema}");
    (!can_be_held(schema)).then(|| json!({ "type": "text", "text": words() }))
}

/// The fields of a request that is not streamed.
fn fields(call: &Call<'_>, version: &str) -> Result<Map<String, Value>> {
    let p = call.parameters;
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| _ = body.insert(name.to_owned(), value);
    set("model", call.model.into());
    set("max_tokens", max_tokens(p).into());
    let mut system = system(call.messages)?;
    system.extend(schema_block(p));
    if !system.is_empty() {
        set("system", system.into());
    }
    set("messages", messages(call.messages)?.into());
    for (name, value) in [("temperature", p.temperature), ("top_p", p.top_p)] {
        let Some(value) = value else { continue };
        // Dates in this format sort by time as strings.
        if version >= WITHOUT_SAMPLING {
            return Err(unsupported(&format!("`{name}` since version {WITHOUT_SAMPLING}: remove it")));
        }
        set(name, value.into());
    }
    if !p.stop.is_empty() {
        set("stop_sequences", p.stop.clone().into());
    }
    if !p.tools.is_empty() {
        set("tools", p.tools.iter().map(tool).collect());
    }
    if let Some(choice) = &p.tool_choice {
        set("tool_choice", tool_choice(choice)?);
    }
    let Thinking { thinking, effort } = Thinking::of(call)?;
    if let Some(thinking) = thinking {
        set("thinking", thinking);
    }
    let mut output = Map::new();
    if let Some(effort) = effort {
        output.insert("effort".to_owned(), effort.into());
    }
    match &p.format {
        None | Some(ResponseFormat::Text) => {}
        Some(ResponseFormat::JsonSchema { schema, .. }) if !can_be_held(schema) => {}
        Some(ResponseFormat::JsonSchema { schema, .. }) => {
            let schema = schema::within(schema, &SUBSET);
            output.insert("format".to_owned(), json!({ "type": "json_schema", "schema": schema }));
        }
        Some(ResponseFormat::JsonObject) => {
            return Err(unsupported("the response format `json_object`: give a schema"));
        }
        Some(other) => return Err(unsupported(&format!("the response format {other:?}"))),
    }
    if !output.is_empty() {
        set("output_config", output.into());
    }
    let mut body = json::with(body, &p.extra);
    if let Some(disabled) = body.shift_remove(NO_PARALLEL)
        && body.contains_key("tools")
    {
        let choice = body.entry("tool_choice").or_insert_with(|| json!({ "type": "auto" }));
        if choice["type"] != "none" {
            choice[NO_PARALLEL] = disabled;
        }
    }
    Ok(body)
}

/// The settings of the thinking.
#[derive(Default)]
struct Thinking<'a> {
    thinking: Option<Value>,
    effort: Option<&'a str>,
}

impl<'a> Thinking<'a> {
    fn of(call: &Call<'a>) -> Result<Self> {
        let p = call.parameters;
        let amount = reasoning::amount(p)?;
        if amount.is_none() && !p.reasoning_summary {
            return Ok(Self::default());
        }
        let is_adaptive = is_adaptive(call.model);
        let display = (p.reasoning_summary && is_adaptive).then_some("summarized");
        let budget = match amount {
            Some(Amount::Off) => {
                return Ok(Self { thinking: Some(json!({ "type": "disabled" })), effort: None });
            }
            Some(Amount::Tokens(tokens)) => tokens,
            _ if is_adaptive => {
                let mut thinking = json!({ "type": "adaptive" });
                if let Some(display) = display {
                    thinking["display"] = display.into();
                }
                let effort = p.reasoning_effort.as_deref();
                return Ok(Self { thinking: Some(thinking), effort });
            }
            // A level is a share of what may be written at all.
            Some(Amount::Level(level)) => {
                let max = max_tokens(p);
                reasoning::tokens(level, DIALECT)?.min((max / 4 * 3).max(MIN_BUDGET))
            }
            None => {
                let message = format!("{DIALECT} sends no summary without thinking: set `reasoning_effort`");
                return Err(Error::new(ErrorKind::Input, message));
            }
        };
        if budget < MIN_BUDGET || budget >= max_tokens(p) {
            let message = format!(
                "{DIALECT} takes from {MIN_BUDGET} tokens of reasoning to less than the maximum output tokens \
                 ({}), not {budget}",
                max_tokens(p)
            );
            return Err(Error::new(ErrorKind::Input, message));
        }
        let mut thinking = json!({ "type": "enabled", "budget_tokens": budget });
        if let Some(display) = display {
            thinking["display"] = display.into();
        }
        Ok(Self { thinking: Some(thinking), effort: None })
    }
}

/// The settings of the thinking, as fields of a request of another API. `None` if the call sets none.
///
/// # Errors
/// [`ErrorKind::Input`] for models of other vendors.
#[cfg(feature = "bedrock")]
pub(in crate::providers) fn thinking_fields(
    call: &Call<'_>,
    api: &str,
) -> Result<Option<Map<String, Value>>> {
    let p = call.parameters;
    if !reasoning::is_set(p) {
        return Ok(None);
    }
    if !call.model.contains("claude") {
        let message = format!(
            "{api} has no field for the reasoning of {}: set its own fields in `additionalModelRequestFields`",
            call.model
        );
        return Err(Error::new(ErrorKind::Input, message));
    }
    let Thinking { thinking, effort } = Thinking::of(call)?;
    let mut fields = Map::new();
    fields.extend(thinking.map(|thinking| ("thinking".to_owned(), thinking)));
    fields.extend(effort.map(|effort| ("output_config".to_owned(), json!({ "effort": effort }))));
    Ok(Some(fields))
}

/// Returns true for a model that decides how much it thinks. Claude 4.6 and later do; all others take a
/// number of tokens.
fn is_adaptive(model: &str) -> bool {
    const OLDER: [&str; 10] = [
        "claude-2",
        "claude-3",
        "opus-4-0",
        "opus-4-1",
        "opus-4-5",
        "sonnet-4-0",
        "sonnet-4-5",
        "haiku-4-5",
        "opus-4-2025",
        "sonnet-4-2025",
    ];
    // Other separators: Vertex AI's `claude-sonnet-4@20250514`, and dots of routers.
    let name = model.replace(['@', '.'], "-");
    name.contains("claude")
        && !OLDER.iter().any(|older| name.contains(older))
        && !["opus-4", "sonnet-4"].iter().any(|first| name.ends_with(first))
}

/// Returns true if structured output supports a schema.
fn can_be_held(schema: &Value) -> bool {
    schema::is_closed(schema) && !schema::is_recursive(schema)
}

/// The system messages at any position: the dialect has a single field for them.
fn system(messages: &[Message]) -> Result<Vec<Value>> {
    let system = messages.iter().filter(|message| message.role == Role::System);
    system.flat_map(|message| &message.parts).filter(|part| !is_empty(part)).map(block).collect()
}

fn messages(messages: &[Message]) -> Result<Vec<Value>> {
    let mut chat = messages.iter().filter(|message| message.role != Role::System).peekable();
    let is_asked = chat.peek().is_some();
    let sent = chat.filter(|message| !message.parts.iter().all(is_empty)).map(|message| {
        let role = match message.role {
            Role::Assistant => "assistant",
            // Tool results are sent in the user role.
            Role::User | Role::Tool => "user",
            other => return Err(unsupported(&format!("the role {other:?}"))),
        };
        if let [Part::Text(text)] = message.parts.as_slice() {
            return Ok(json!({ "role": role, "content": text }));
        }
        let parts = message.parts.iter().filter(|part| !is_empty(part));
        // Results must come first.
        let (results, rest): (Vec<_>, Vec<_>) = parts.partition(|part| matches!(part, Part::ToolResult(_)));
        let content = results.into_iter().chain(rest).map(block).collect::<Result<Vec<_>>>()?;
        Ok(json!({ "role": role, "content": content }))
    });
    let sent = sent.collect::<Result<Vec<_>>>()?;
    if sent.is_empty() && is_asked {
        let message = "the prompt is empty: this API rejects messages without text";
        return Err(Error::new(ErrorKind::Input, message));
    }
    Ok(sent)
}

/// Returns true if a part cannot be sent: the API rejects text of white space only and unsigned reasoning.
fn is_empty(part: &Part) -> bool {
    match part {
        Part::Text(text) => text.trim().is_empty(),
        Part::Reasoning { signature, .. } => signature.as_deref().is_none_or(signed::is_foreign_object),
        _ => false,
    }
}

fn block(part: &Part) -> Result<Value> {
    Ok(match part {
        Part::Text(text) => json!({ "type": "text", "text": text }),
        Part::Image(image) => json!({ "type": "image", "source": source(image) }),
        Part::File(file) => json!({ "type": "document", "source": document(file)? }),
        Part::Audio(_) => return Err(unsupported("audio")),
        Part::ToolCall(call) => json!({
            "type": "tool_use", "id": call.id, "name": call.name, "input": json::arguments(&call.arguments),
        }),
        Part::ToolResult(result) => {
            let content = match result.is_text() {
                true => result.text().into(),
                false => Value::Array(result.parts.iter().map(self::block).collect::<Result<_>>()?),
            };
            let mut block = json!({ "type": "tool_result", "tool_use_id": result.id, "content": content });
            if result.is_error {
                block["is_error"] = true.into();
            }
            block
        }
        Part::Reasoning { text, signature } => {
            json!({ "type": "thinking", "thinking": text, "signature": signature })
        }
        Part::Other(value) => value.clone(),
        other => return Err(unsupported(&foreign::described(other))),
    })
}

fn source(media: &Media) -> Value {
    match media::inline(media) {
        Some((media_type, data)) => json!({ "type": "base64", "media_type": media_type, "data": data }),
        None => json!({ "type": "url", "url": media::url(media) }),
    }
}

/// Plain text is sent as text, other documents, which are PDF, as base64.
fn document(file: &Media) -> Result<Value> {
    match media::inline(file) {
        Some((media_type, data)) if media_type.starts_with("text/") => {
            let text = STANDARD.decode(data).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let text = text.ok_or_else(|| unsupported("a text file that is not UTF-8 in base64"))?;
            Ok(json!({ "type": "text", "media_type": "text/plain", "data": text }))
        }
        _ => Ok(source(file)),
    }
}

fn tool(ToolSpec { name, description, parameters }: &ToolSpec) -> Value {
    json!({ "name": name, "description": description, "input_schema": parameters })
}

fn tool_choice(choice: &ToolChoice) -> Result<Value> {
    Ok(match choice {
        ToolChoice::Auto => json!({ "type": "auto" }),
        ToolChoice::None => json!({ "type": "none" }),
        ToolChoice::Required => json!({ "type": "any" }),
        ToolChoice::Tool(name) => json!({ "type": "tool", "name": name }),
        other => return Err(unsupported(&format!("the tool choice {other:?}"))),
    })
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Input, format!("{DIALECT} does not support {what}"))
}
