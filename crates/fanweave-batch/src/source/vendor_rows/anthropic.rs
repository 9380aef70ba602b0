//! Requests for Anthropic's Messages API.

use fanweave_core::{
    Media, Message, Parameters, Part, Prompt, ResponseFormat, Role, ToolCall, ToolChoice, ToolResult,
    ToolSpec,
};
use serde_json::{Map, Value};

use super::{Result, Unmapped, list, take, text, texts, whole};

/// Reads a request. What a prompt does not represent is in `unmapped`, or in its extra parameters.
pub(super) fn read(request: &Map<String, Value>, unmapped: &mut Unmapped) -> Result<Prompt> {
    let mut rest = request.clone();
    let mut messages = Vec::new();
    match rest.shift_remove("system") {
        None | Some(Value::Null) => {}
        Some(system) => {
            let parts = blocks(&system, "system", unmapped).into_iter().map(|block| match block {
                Block::Part(part) => part,
                Block::Result(_) => {
                    unmapped.push("system (tool_result)".to_owned());
                    Part::text("")
                }
            });
            messages.push(Message::from_parts(Role::System, parts.collect()));
        }
    }
    let dialogue = list(rest.shift_remove("messages"), "messages")?;
    for (i, entry) in dialogue.iter().enumerate() {
        let at = format!("messages[{i}]");
        let Value::Object(entry) = entry else { return Err(format!("{at}: expected an object")) };
        self::messages(entry, &at, &mut messages, unmapped);
    }
    rest.shift_remove("stream");
    Ok(Prompt { messages, parameters: parameters(rest), ..Prompt::default() })
}

/// The parameters of a request. Fields that they cannot represent are extra fields.
fn parameters(mut rest: Map<String, Value>) -> Parameters {
    let mut parameters = Parameters::new();
    parameters.model = take(&mut rest, "model", text);
    parameters.max_tokens = take(&mut rest, "max_tokens", whole);
    parameters.temperature = take(&mut rest, "temperature", Value::as_f64);
    parameters.top_p = take(&mut rest, "top_p", Value::as_f64);
    parameters.stop = take(&mut rest, "stop_sequences", texts).unwrap_or_default();
    parameters.tools = take(&mut rest, "tools", tools).unwrap_or_default();
    parameters.tool_choice = take(&mut rest, "tool_choice", tool_choice);
    parameters.reasoning_budget = take(&mut rest, "thinking", budget);
    if let Some((effort, format)) = take(&mut rest, "output_config", output_config) {
        parameters.reasoning_effort = effort;
        parameters.format = format;
        let is_adaptive = rest
            .get("thinking")
            .is_some_and(|thinking| *thinking == serde_json::json!({ "type": "adaptive" }));
        if is_adaptive && parameters.reasoning_effort.is_some() {
            rest.shift_remove("thinking");
        }
    }
    parameters.extra = rest;
    parameters
}

/// The tokens of `thinking`. 0 if it is disabled.
fn budget(thinking: &Value) -> Option<u32> {
    let fields = thinking.as_object()?;
    match (fields.get("type")?.as_str()?, fields.len()) {
        ("enabled", 2) => whole(fields.get("budget_tokens")?),
        ("disabled", 1) => Some(0),
        _ => None,
    }
}

fn output_config(config: &Value) -> Option<(Option<String>, Option<ResponseFormat>)> {
    let fields = config.as_object()?;
    let is_known = fields.keys().all(|name| name == "effort" || name == "format");
    let effort = fields.get("effort").map(|effort| text(effort).ok_or(())).transpose().ok()?;
    let format = match fields.get("format") {
        None => None,
        Some(format) if format.get("type")? == "json_schema" => {
            let schema = format.get("schema")?.clone();
            Some(ResponseFormat::JsonSchema { name: "answer".to_owned(), schema, strict: true })
        }
        Some(_) => return None,
    };
    is_known.then_some((effort, format))
}

fn tool_choice(choice: &Value) -> Option<ToolChoice> {
    let fields = choice.as_object()?;
    match (fields.get("type")?.as_str()?, fields.len()) {
        ("auto", 1) => Some(ToolChoice::Auto),
        ("any", 1) => Some(ToolChoice::Required),
        ("none", 1) => Some(ToolChoice::None),
        ("tool", 2) => Some(ToolChoice::Tool(text(fields.get("name")?)?)),
        _ => None,
    }
}

/// The tools. `None` unless each is a function that [`ToolSpec`] represents completely.
fn tools(tools: &Value) -> Option<Vec<ToolSpec>> {
    let tool = |tool: &Value| {
        let name = text(tool.get("name")?)?;
        let description = tool.get("description").and_then(text).unwrap_or_default();
        let known = ["name", "description", "input_schema", "type"];
        let is_known = tool.as_object()?.keys().all(|field| known.contains(&field.as_str()));
        let is_custom = tool.get("type").is_none_or(|kind| kind == "custom");
        (is_known && is_custom).then(|| ToolSpec {
            name,
            description,
            parameters: tool.get("input_schema").cloned().unwrap_or_default(),
        })
    };
    tools.as_array()?.iter().map(tool).collect()
}

/// Adds the messages of an entry: one for each tool result, and one for the rest.
fn messages(entry: &Map<String, Value>, at: &str, to: &mut Vec<Message>, unmapped: &mut Unmapped) {
    let role = match entry.get("role").and_then(Value::as_str) {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        _ => {
            unmapped.push(format!("{at}.role"));
            Role::User
        }
    };
    unmapped.fields(entry, &["role", "content"], at);
    let content = entry.get("content").unwrap_or(&Value::Null);
    let mut parts = Vec::new();
    let before = to.len();
    for block in blocks(content, &format!("{at}.content"), unmapped) {
        match block {
            Block::Part(part) => parts.push(part),
            Block::Result(result) => to.push(Message::from_parts(Role::Tool, vec![Part::ToolResult(result)])),
        }
    }
    if !parts.is_empty() || to.len() == before {
        to.push(Message::from_parts(role, parts));
    }
}

enum Block {
    Part(Part),
    Result(ToolResult),
}

fn blocks(content: &Value, at: &str, unmapped: &mut Unmapped) -> Vec<Block> {
    match content {
        Value::String(text) => vec![Block::Part(Part::text(text.as_str()))],
        Value::Array(blocks) => {
            let blocks = blocks.iter().enumerate();
            blocks.map(|(i, block)| self::block(block, &format!("{at}[{i}]"), unmapped)).collect()
        }
        _ => {
            unmapped.push(at.to_owned());
            Vec::new()
        }
    }
}

fn block(block: &Value, at: &str, unmapped: &mut Unmapped) -> Block {
    let empty = Map::new();
    let fields = block.as_object().unwrap_or(&empty);
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or("without a type");
    let of = |name: &str| fields.get(name).and_then(text);
    let source = || media(fields.get("source")?);
    let (read, known): (_, &[&str]) = match kind {
        "text" => (of("text").map(Part::Text), &["type", "text"]),
        "image" => (source().map(Part::Image), &["type", "source"]),
        "document" => (source().map(Part::File), &["type", "source"]),
        "thinking" => {
            let read = of("thinking").map(|text| Part::Reasoning { text, signature: of("signature") });
            (read, &["type", "thinking", "signature"])
        }
        "tool_use" => {
            let arguments = fields.get("input").map(Value::to_string).unwrap_or_default();
            let call = of("id").zip(of("name")).map(|(id, name)| ToolCall { id, name, arguments });
            (call.map(Part::ToolCall), &["type", "id", "name", "input"])
        }
        "tool_result" => {
            let Some(id) = of("tool_use_id") else { return Block::Part(unmapped.part(at, kind)) };
            unmapped.fields(fields, &["type", "tool_use_id", "content", "is_error"], at);
            let content = match fields.get("content") {
                None | Some(Value::Null) => Vec::new(),
                Some(content) => blocks(content, &format!("{at}.content"), unmapped),
            };
            let mut parts: Vec<_> = content
                .into_iter()
                .map(|block| match block {
                    Block::Part(part) => part,
                    Block::Result(_) => unmapped.part(at, "tool_result"),
                })
                .collect();
            if parts.is_empty() {
                parts.push(Part::text(""));
            }
            let is_error = fields.get("is_error").and_then(Value::as_bool).unwrap_or_default();
            return Block::Result(ToolResult { id, parts, is_error });
        }
        _ => (None, &[]),
    };
    Block::Part(match read {
        Some(part) => {
            unmapped.fields(fields, known, at);
            part
        }
        None => unmapped.part(at, kind),
    })
}

/// The source of an image or a document. `None` if anything of it would be lost.
fn media(source: &Value) -> Option<Media> {
    let fields = source.as_object()?;
    let of = |name: &str| fields.get(name).and_then(text);
    match (of("type")?.as_str(), fields.len()) {
        ("url", 2) => Some(Media::Url(of("url")?)),
        ("base64", 3) => Some(Media::Inline { media_type: of("media_type")?, base64: of("data")? }),
        _ => None,
    }
}
