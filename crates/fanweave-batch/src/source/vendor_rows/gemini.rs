//! Requests for Gemini's `generateContent`. Names of fields may be in `camelCase` or `snake_case`.

use std::collections::HashMap;

use fanweave_core::{
    Media, Message, Parameters, Part, Prompt, ResponseFormat, Role, ToolCall, ToolChoice, ToolResult,
    ToolSpec,
};
use serde_json::{Map, Value};

use super::{Result, Unmapped, list, take, text, texts, whole};

/// Reads a request. What a prompt does not represent is in `unmapped`, or in its extra parameters.
pub(super) fn read(request: &Map<String, Value>, unmapped: &mut Unmapped) -> Result<Prompt> {
    let mut rest = camel(request);
    let mut messages = Vec::new();
    let mut calls = Calls::default();
    match rest.shift_remove("systemInstruction") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) => messages.push(Message::system(text)),
        Some(system) => {
            let empty = Map::new();
            let fields = system.as_object().unwrap_or(&empty);
            unmapped.fields(fields, &["role", "parts"], "systemInstruction");
            let at = "systemInstruction.parts";
            let parts = parts(fields.get("parts"), at, &mut calls, unmapped);
            messages.push(Message::from_parts(Role::System, parts));
        }
    }
    let contents = list(rest.shift_remove("contents"), "contents")?;
    for (i, content) in contents.iter().enumerate() {
        let at = format!("contents[{i}]");
        let Value::Object(content) = content else { return Err(format!("{at}: expected an object")) };
        let role = match content.get("role").and_then(Value::as_str) {
            None | Some("user" | "function") => Role::User,
            Some("model") => Role::Assistant,
            Some(_) => {
                unmapped.push(format!("{at}.role"));
                Role::User
            }
        };
        unmapped.fields(content, &["role", "parts"], &at);
        let parts = parts(content.get("parts"), &format!("{at}.parts"), &mut calls, unmapped);
        let (results, rest): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| matches!(part, Part::ToolResult(_)));
        let is_rest = !rest.is_empty() || results.is_empty();
        messages.extend(results.into_iter().map(|result| Message::from_parts(Role::Tool, vec![result])));
        if is_rest {
            messages.push(Message::from_parts(role, rest));
        }
    }
    Ok(Prompt { messages, parameters: parameters(rest), ..Prompt::default() })
}

/// The fields of an object with names in `camelCase`.
fn camel(fields: &Map<String, Value>) -> Map<String, Value> {
    fields.iter().map(|(name, value)| (camel_case(name), value.clone())).collect()
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |mut name, word| {
        let mut letters = word.chars();
        name.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        name.push_str(letters.as_str());
        name
    })
}

/// The parameters of a request. Fields that they cannot represent are extra fields.
fn parameters(mut rest: Map<String, Value>) -> Parameters {
    let mut parameters = Parameters::new();
    let model = |model: &Value| Some(model.as_str()?.trim_start_matches("models/").to_owned());
    parameters.model = take(&mut rest, "model", model);
    parameters.tools = take(&mut rest, "tools", tools).unwrap_or_default();
    parameters.tool_choice = take(&mut rest, "toolConfig", tool_choice);
    if let Some(Value::Object(config)) = rest.get("generationConfig") {
        let mut config = camel(config);
        parameters.temperature = take(&mut config, "temperature", Value::as_f64);
        parameters.top_p = take(&mut config, "topP", Value::as_f64);
        parameters.max_tokens = take(&mut config, "maxOutputTokens", whole);
        parameters.seed = take(&mut config, "seed", Value::as_i64);
        parameters.stop = take(&mut config, "stopSequences", texts).unwrap_or_default();
        if let Some(thinking) = take(&mut config, "thinkingConfig", thinking) {
            (parameters.reasoning_effort, parameters.reasoning_budget, parameters.reasoning_summary) =
                thinking;
        }
        if config.get("responseMimeType").is_some_and(|mime| mime == "application/json") {
            let schema = ["responseJsonSchema", "responseSchema"]
                .into_iter()
                .find_map(|name| config.shift_remove(name));
            parameters.format = Some(match schema {
                Some(schema) => {
                    let schema = json_schema(&schema);
                    ResponseFormat::JsonSchema { name: "answer".to_owned(), schema, strict: true }
                }
                None => ResponseFormat::JsonObject,
            });
            config.shift_remove("responseMimeType");
        }
        match config.is_empty() {
            true => _ = rest.shift_remove("generationConfig"),
            false => _ = rest.insert("generationConfig".to_owned(), config.into()),
        }
    }
    parameters.extra = rest;
    parameters
}

fn thinking(config: &Value) -> Option<(Option<String>, Option<u32>, bool)> {
    let mut fields = camel(config.as_object()?);
    let level = take(&mut fields, "thinkingLevel", |level| Some(level.as_str()?.to_ascii_lowercase()));
    let budget = take(&mut fields, "thinkingBudget", whole);
    let summary = take(&mut fields, "includeThoughts", Value::as_bool).unwrap_or_default();
    fields.is_empty().then_some((level, budget, summary))
}

/// The tools. `None` unless all are functions that [`ToolSpec`] represents completely.
fn tools(tools: &Value) -> Option<Vec<ToolSpec>> {
    let mut specs = Vec::new();
    for tool in tools.as_array()? {
        let fields = camel(tool.as_object().filter(|tool| tool.len() == 1)?);
        for function in fields.get("functionDeclarations")?.as_array()? {
            let mut function = camel(function.as_object()?);
            let name = take(&mut function, "name", text)?;
            let description = take(&mut function, "description", text).unwrap_or_default();
            let schema = take(&mut function, "parametersJsonSchema", |schema| Some(schema.clone()));
            let schema =
                schema.or_else(|| take(&mut function, "parameters", |schema| Some(json_schema(schema))));
            if !function.is_empty() {
                return None;
            }
            specs.push(ToolSpec { name, description, parameters: schema.unwrap_or_default() });
        }
    }
    Some(specs)
}

fn tool_choice(config: &Value) -> Option<ToolChoice> {
    let config = camel(config.as_object().filter(|config| config.len() == 1)?);
    let calling = camel(config.get("functionCallingConfig")?.as_object()?);
    let allowed = match calling.get("allowedFunctionNames") {
        None => Vec::new(),
        Some(names) => texts(names)?,
    };
    let is_known = calling.keys().all(|name| name == "mode" || name == "allowedFunctionNames");
    match (calling.get("mode")?.as_str()?, allowed.as_slice()) {
        _ if !is_known => None,
        ("AUTO", []) => Some(ToolChoice::Auto),
        ("NONE", []) => Some(ToolChoice::None),
        ("ANY", []) => Some(ToolChoice::Required),
        ("ANY", [name]) => Some(ToolChoice::Tool(name.clone())),
        _ => None,
    }
}

/// A JSON schema of a schema whose types may be in capitals, as in OpenAPI.
fn json_schema(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                let value = match value {
                    Value::String(kind) if name == "type" => kind.to_ascii_lowercase().into(),
                    value => json_schema(value),
                };
                (name.clone(), value)
            };
            Value::Object(fields.iter().map(field).collect())
        }
        Value::Array(items) => items.iter().map(json_schema).collect(),
        other => other.clone(),
    }
}

/// Calls of functions, which may have no ids.
#[derive(Default)]
struct Calls {
    /// Number of calls.
    count: usize,
    /// Ids of calls without a result, by the names of their functions.
    open: HashMap<String, Vec<String>>,
}

fn parts(parts: Option<&Value>, at: &str, calls: &mut Calls, unmapped: &mut Unmapped) -> Vec<Part> {
    let Some(Value::Array(parts)) = parts else {
        unmapped.push(at.to_owned());
        return Vec::new();
    };
    let parts = parts.iter().enumerate();
    parts.map(|(i, part)| self::part(part, &format!("{at}[{i}]"), calls, unmapped)).collect()
}

fn part(part: &Value, at: &str, calls: &mut Calls, unmapped: &mut Unmapped) -> Part {
    let fields = part.as_object().map(camel).unwrap_or_default();
    let kinds = ["text", "inlineData", "fileData", "functionCall", "functionResponse"];
    let kind = kinds.into_iter().find(|kind| fields.contains_key(*kind));
    let read = kind.and_then(|kind| {
        let value = &fields[kind];
        match kind {
            "text" => text(value).map(Part::Text),
            "inlineData" => {
                let data = camel(value.as_object()?);
                let (media_type, base64) = (text(data.get("mimeType")?)?, text(data.get("data")?)?);
                Some(media(&media_type.clone(), Media::Inline { media_type, base64 }))
            }
            "fileData" => {
                let data = camel(value.as_object()?);
                let media_type = data.get("mimeType").and_then(text).unwrap_or_default();
                Some(media(&media_type, Media::Url(text(data.get("fileUri")?)?)))
            }
            "functionCall" => calls.call(value.as_object()?),
            _ => calls.result(value.as_object()?),
        }
    });
    match (read, kind) {
        (Some(part), Some(kind)) => {
            unmapped.fields(&fields, &[kind], at);
            part
        }
        _ => unmapped.part(at, fields.keys().next().map_or("empty", String::as_str)),
    }
}

fn media(media_type: &str, media: Media) -> Part {
    match media_type.split('/').next() {
        Some("image") => Part::Image(media),
        Some("audio") => Part::Audio(media),
        _ => Part::File(media),
    }
}

impl Calls {
    fn call(&mut self, fields: &Map<String, Value>) -> Option<Part> {
        let name = text(fields.get("name")?)?;
        let id = fields.get("id").and_then(text).unwrap_or_else(|| format!("call_{}", self.count));
        self.count += 1;
        self.open.entry(name.clone()).or_default().push(id.clone());
        let arguments = fields.get("args").map_or_else(|| "{}".to_owned(), Value::to_string);
        let is_known = fields.keys().all(|field| ["id", "name", "args"].contains(&field.as_str()));
        is_known.then_some(Part::ToolCall(ToolCall { id, name, arguments }))
    }

    /// The result of the first call of its function without a result.
    fn result(&mut self, fields: &Map<String, Value>) -> Option<Part> {
        let name = text(fields.get("name")?)?;
        let open = self.open.entry(name).or_default();
        let id = match fields.get("id").and_then(text) {
            Some(id) => {
                open.retain(|known| *known != id);
                id
            }
            None if open.is_empty() => return None,
            None => open.remove(0),
        };
        let is_known = fields.keys().all(|field| ["id", "name", "response"].contains(&field.as_str()));
        let response = fields.get("response").map(Value::to_string).unwrap_or_default();
        is_known.then_some(Part::ToolResult(ToolResult::new(id, response)))
    }
}
