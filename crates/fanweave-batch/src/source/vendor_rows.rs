//! Requests of rows in the forms of other vendors and of data sets: batches of Anthropic, Bedrock and Gemini,
//! and rows of ShareGPT, Alpaca and TRL.
//!
//! They become prompts for any provider. A field that a prompt cannot represent is an error that names it, so
//! that nothing is lost silently.

use fanweave_core::{Media, Message, Parameters, Part, Prompt, Role, ToolChoice, ToolSpec};
use serde_json::{Map, Value};

use crate::input::field;

type Result<T> = std::result::Result<T, String>;

/// The prompt of a row in one of these forms. `None` for other rows.
pub(crate) fn read(row: &Map<String, Value>) -> Option<Result<Prompt>> {
    let object = |name: &str| field(row, name).and_then(Value::as_object);
    if let (Some(params), true) = (object("params"), field(row, "custom_id").is_some()) {
        return Some(anthropic(params).map_err(|why| format!("`params`: {why}")));
    }
    if let (Some(input), true) = (object("modelInput"), field(row, "recordId").is_some()) {
        return Some(match input.contains_key("anthropic_version") {
            true => anthropic(input).map_err(|why| format!("`modelInput`: {why}")),
            false => Err("`modelInput`: only requests for models of Anthropic can be read".to_owned()),
        });
    }
    if let (Some(request), true) = (object("request"), field(row, "key").is_some()) {
        return Some(gemini(request).map_err(|why| format!("`request`: {why}")));
    }
    if let Some(Value::Array(dialogue)) = field(row, "conversations") {
        return Some(sharegpt(dialogue).map_err(|why| format!("`conversations`: {why}")));
    }
    if let (Some(Value::String(instruction)), None) = (field(row, "instruction"), field(row, "prompt")) {
        return Some(alpaca(instruction, field(row, "input")));
    }
    None
}

/// The field that identifies a row in one of these forms.
pub(super) fn id_field(row: &Map<String, Value>) -> Option<&Value> {
    [("key", "request"), ("recordId", "modelInput")].into_iter().find_map(|(id, request)| {
        field(row, request)?.as_object()?;
        field(row, id)
    })
}

/// Fields of an object that are taken one by one. The others are an error.
struct Fields<'a> {
    object: &'a Map<String, Value>,
    taken: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    fn of(object: &'a Map<String, Value>) -> Self {
        Self { object, taken: Vec::new() }
    }

    /// The value of a field, unless it is missing or null.
    fn take(&mut self, name: &'static str) -> Option<&'a Value> {
        self.taken.push(name);
        self.object.get(name).filter(|value| !value.is_null())
    }

    /// A field converted by `read`.
    fn read<T>(
        &mut self,
        name: &'static str,
        what: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| format!("`{name}` must be {what}"))
    }

    /// Rejects the fields that were not taken.
    fn end(self) -> Result<()> {
        let is_left = |name: &&String| !self.object[*name].is_null() && !self.taken.contains(&name.as_str());
        let left: Vec<_> = self.object.keys().filter(is_left).map(|name| format!("`{name}`")).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("cannot represent {}", left.join(", "))) }
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn whole(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|n| u32::try_from(n).ok())
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(text).collect()
}

/// A request for Anthropic's Messages API.
fn anthropic(params: &Map<String, Value>) -> Result<Prompt> {
    let mut fields = Fields::of(params);
    let mut parameters = Parameters::new();
    parameters.model = fields.read("model", "a text", text)?;
    parameters.max_tokens = fields.read("max_tokens", "a whole number", whole)?;
    parameters.temperature = fields.read("temperature", "a number", Value::as_f64)?;
    parameters.top_p = fields.read("top_p", "a number", Value::as_f64)?;
    parameters.stop = fields.read("stop_sequences", "a list of texts", texts)?.unwrap_or_default();
    parameters.tools = fields.read("tools", "a list of tools", anthropic_tools)?.unwrap_or_default();
    parameters.tool_choice =
        fields.read("tool_choice", "a choice of tools", |choice| match choice.get("type")?.as_str()? {
            "auto" => Some(ToolChoice::Auto),
            "any" => Some(ToolChoice::Required),
            "none" => Some(ToolChoice::None),
            "tool" => Some(ToolChoice::Tool(choice.get("name").and_then(text)?)),
            _ => None,
        })?;
    for name in ["top_k", "metadata", "thinking", "service_tier"] {
        if let Some(value) = fields.take(name) {
            parameters.extra.insert(name.to_owned(), value.clone());
        }
    }
    let mut messages = Vec::new();
    if let Some(system) = fields.take("system") {
        messages.push(Message::from_parts(
            Role::System,
            anthropic_parts(system).map_err(|why| format!("`system`: {why}"))?,
        ));
    }
    let Some(Value::Array(dialogue)) = fields.take("messages") else {
        return Err("`messages` must be a list".to_owned());
    };
    for (i, entry) in dialogue.iter().enumerate() {
        let at = |why: String| format!("messages[{i}]: {why}");
        let role = match entry.get("role").and_then(Value::as_str) {
            Some("user") => Role::User,
            Some("assistant") => Role::Assistant,
            _ => return Err(at("`role` must be user or assistant".to_owned())),
        };
        let content = entry.get("content").ok_or_else(|| at("missing field `content`".to_owned()))?;
        messages.push(Message::from_parts(role, anthropic_parts(content).map_err(at)?));
    }
    // Versions of the API, and what is set as needed.
    for name in ["anthropic_version", "stream"] {
        fields.take(name);
    }
    fields.end()?;
    Ok(Prompt { messages, parameters, ..Prompt::default() })
}

fn anthropic_tools(tools: &Value) -> Option<Vec<ToolSpec>> {
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

fn anthropic_parts(content: &Value) -> Result<Vec<Part>> {
    let blocks = match content {
        Value::String(text) => return Ok(vec![Part::text(text.as_str())]),
        Value::Array(blocks) => blocks,
        _ => return Err("the content must be a text or a list".to_owned()),
    };
    blocks.iter().map(anthropic_part).collect()
}

fn anthropic_part(block: &Value) -> Result<Part> {
    let kind = block.get("type").and_then(Value::as_str).unwrap_or_default();
    let unknown = || format!("cannot represent a block of type `{kind}` with these fields");
    let of = |value: &Value, name: &str| value.get(name).and_then(text);
    // `cache_control` would be lost.
    let has_only = |names: &[&str]| {
        block.as_object().is_some_and(|block| block.keys().all(|name| names.contains(&name.as_str())))
    };
    let part = match kind {
        "text" if has_only(&["type", "text"]) => of(block, "text").map(Part::Text),
        "image" if has_only(&["type", "source"]) => {
            block.get("source").and_then(|source| match of(source, "type")?.as_str() {
                "url" => Some(Part::Image(Media::Url(of(source, "url")?))),
                "base64" => {
                    let (media_type, base64) = (of(source, "media_type")?, of(source, "data")?);
                    Some(Part::Image(Media::Inline { media_type, base64 }))
                }
                _ => None,
            })
        }
        _ => None,
    };
    part.ok_or_else(unknown)
}

/// A request for Gemini's `generateContent`.
fn gemini(request: &Map<String, Value>) -> Result<Prompt> {
    let mut fields = Fields::of(request);
    let mut messages = Vec::new();
    let system = fields.take("systemInstruction").or_else(|| fields.take("system_instruction"));
    if let Some(system) = system {
        messages.push(Message::from_parts(
            Role::System,
            gemini_parts(system).map_err(|why| format!("`systemInstruction`: {why}"))?,
        ));
    }
    let Some(Value::Array(contents)) = fields.take("contents") else {
        return Err("`contents` must be a list".to_owned());
    };
    for (i, content) in contents.iter().enumerate() {
        let role = match content.get("role").and_then(Value::as_str) {
            None | Some("user") => Role::User,
            Some("model") => Role::Assistant,
            Some(role) => return Err(format!("contents[{i}]: cannot represent the role `{role}`")),
        };
        messages.push(Message::from_parts(
            role,
            gemini_parts(content).map_err(|why| format!("contents[{i}]: {why}"))?,
        ));
    }
    let mut parameters = Parameters::new();
    parameters.model =
        fields.read("model", "a text", text)?.map(|model| model.trim_start_matches("models/").to_owned());
    let config = fields.take("generationConfig").or_else(|| fields.take("generation_config"));
    if let Some(Value::Object(config)) = config {
        let mut config = Fields::of(config);
        parameters.temperature = config.read("temperature", "a number", Value::as_f64)?;
        parameters.top_p = config.read("topP", "a number", Value::as_f64)?;
        parameters.max_tokens = config.read("maxOutputTokens", "a whole number", whole)?;
        parameters.seed = config.read("seed", "a whole number", Value::as_i64)?;
        parameters.stop = config.read("stopSequences", "a list of texts", texts)?.unwrap_or_default();
        if let Some(Value::Object(thinking)) =
            config.take("thinkingConfig").or_else(|| config.take("thinking_config"))
        {
            let mut thinking = Fields::of(thinking);
            parameters.reasoning_effort =
                thinking.read("thinkingLevel", "a text", text)?.map(|level| level.to_ascii_lowercase());
            parameters.reasoning_budget = thinking.read("thinkingBudget", "a whole number", whole)?;
            parameters.reasoning_summary =
                thinking.read("includeThoughts", "true or false", Value::as_bool)?.unwrap_or_default();
            thinking.end().map_err(|why| format!("`generationConfig.thinkingConfig`: {why}"))?;
        }
        config.end().map_err(|why| format!("`generationConfig`: {why}"))?;
    }
    fields.end()?;
    Ok(Prompt { messages, parameters, ..Prompt::default() })
}

fn gemini_parts(content: &Value) -> Result<Vec<Part>> {
    let Some(Value::Array(parts)) = content.get("parts") else {
        return Err("`parts` must be a list".to_owned());
    };
    let part = |part: &Value| {
        let fields = part.as_object().filter(|fields| fields.len() == 1)?;
        if let Some(text) = fields.get("text").and_then(text) {
            return Some(Part::Text(text));
        }
        let data = fields.get("inlineData").or_else(|| fields.get("inline_data"))?;
        let of = |name: &str, other: &str| data.get(name).or_else(|| data.get(other)).and_then(text);
        let (media_type, base64) = (of("mimeType", "mime_type")?, of("data", "data")?);
        media_type.starts_with("image/").then(|| Part::Image(Media::Inline { media_type, base64 }))
    };
    let parts = parts
        .iter()
        .map(|given| part(given).ok_or("cannot represent a part that is neither a text nor an image"));
    parts.collect::<std::result::Result<_, _>>().map_err(str::to_owned)
}

/// The dialogue of a conversation of ShareGPT. The answer at the end is what the model is to write.
fn sharegpt(dialogue: &[Value]) -> Result<Prompt> {
    let mut messages = Vec::with_capacity(dialogue.len());
    for (i, entry) in dialogue.iter().enumerate() {
        let of =
            |name: &str, other: &str| entry.get(name).or_else(|| entry.get(other)).and_then(Value::as_str);
        let (Some(from), Some(text)) = (of("from", "role"), of("value", "content")) else {
            return Err(format!("item {} has no `from` and `value`", i + 1));
        };
        messages.push(match from {
            "human" | "user" => Message::user(text),
            "gpt" | "assistant" | "chatgpt" | "bot" | "model" => Message::assistant(text),
            "system" => Message::system(text),
            other => return Err(format!("item {}: cannot represent the speaker `{other}`", i + 1)),
        });
    }
    if messages.is_empty() {
        return Err("the list is empty".to_owned());
    }
    Ok(Prompt { messages, ..Prompt::default() })
}

/// A task of Alpaca: an instruction, and what it applies to.
fn alpaca(instruction: &str, input: Option<&Value>) -> Result<Prompt> {
    match input {
        None | Some(Value::Null) => Ok(Prompt::from(instruction)),
        Some(Value::String(input)) if input.trim().is_empty() => Ok(Prompt::from(instruction)),
        Some(Value::String(input)) => Ok(Prompt::from(format!("{instruction}\n\n{input}").as_str())),
        Some(_) => Err("`input` must be a text".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn prompt(row: Value) -> Result<Prompt> {
        let Value::Object(row) = row else { panic!("an object") };
        read(&row).expect("a known form")
    }

    #[test]
    fn requests_for_anthropic_are_prompts() {
        let params = json!({
            "model": "claude-x", "max_tokens": 10, "system": "Be brief.", "stop_sequences": ["END"], "top_k": 3,
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}]},
                {"role": "assistant", "content": "b"},
            ],
            "tools": [{"name": "f", "input_schema": {"type": "object"}}], "tool_choice": {"type": "any"},
        });
        let read = prompt(json!({"custom_id": "a", "params": params})).unwrap();
        let image = Part::Image(Media::Inline { media_type: "image/png".into(), base64: "AA==".into() });
        let first = Message::from_parts(Role::User, vec![Part::text("a"), image]);
        assert_eq!(read.messages, [Message::system("Be brief."), first, Message::assistant("b")]);
        let tool =
            ToolSpec { name: "f".into(), description: String::new(), parameters: json!({"type": "object"}) };
        let expected = Parameters::new().model("claude-x").max_tokens(10).stop(["END"]).tools([tool]);
        assert_eq!(read.parameters, expected.tool_choice(ToolChoice::Required).extra("top_k", 3));
        let bedrock = json!({"anthropic_version": "v", "messages": [{"role": "user", "content": "a"}]});
        assert_eq!(
            prompt(json!({"recordId": "R", "modelInput": bedrock})).unwrap().messages,
            [Message::user("a")]
        );
    }

    #[test]
    fn requests_for_gemini_are_prompts() {
        let request = json!({
            "contents": [{"parts": [{"text": "a"}]}, {"role": "model", "parts": [{"text": "b"}]}],
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "generationConfig": {"temperature": 0.5, "maxOutputTokens": 9},
        });
        let read = prompt(json!({"key": "k", "request": request})).unwrap();
        assert_eq!(
            read.messages,
            [Message::system("Be brief."), Message::user("a"), Message::assistant("b")]
        );
        assert_eq!(read.parameters, Parameters::new().temperature(0.5).max_tokens(9));
    }

    #[test]
    fn rows_of_data_sets_are_prompts() {
        let dialogue = json!([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]);
        let read = prompt(json!({"conversations": dialogue})).unwrap();
        assert_eq!(read.messages, [Message::user("a"), Message::assistant("b")]);
        let task =
            |input: Value| prompt(json!({"instruction": "Sum", "input": input, "output": ""})).unwrap();
        assert_eq!(task(json!("1 2")).last_user_text(), "Sum\n\n1 2");
        assert_eq!(task(json!("")).last_user_text(), "Sum");
        assert!(super::read(json!({"prompt": "a", "params": {}}).as_object().unwrap()).is_none());
    }

    #[test]
    fn what_a_prompt_cannot_represent_is_an_error_that_names_it() {
        let why = |row: Value| prompt(row).unwrap_err();
        let user = json!([{"role": "user", "content": "a"}]);
        assert_eq!(
            why(json!({"custom_id": 1, "params": {"messages": user, "mcp_servers": [], "container": "x"}})),
            "`params`: cannot represent `mcp_servers`, `container`"
        );
        let cached =
            json!([{"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {}}]}]);
        assert_eq!(
            why(json!({"custom_id": 1, "params": {"messages": cached}})),
            "`params`: messages[0]: cannot represent a block of type `text` with these fields"
        );
        assert_eq!(why(json!({"custom_id": 1, "params": {}})), "`params`: `messages` must be a list");
        let file = json!({"contents": [{"parts": [{"fileData": {}}]}]});
        assert!(
            why(json!({"key": 1, "request": file}))
                .starts_with("`request`: contents[0]: cannot represent a part")
        );
        assert!(
            why(json!({"recordId": 1, "modelInput": {"inputText": "a"}})).contains("models of Anthropic")
        );
        assert!(
            why(json!({"conversations": [{"from": "tool", "value": "x"}]})).contains("the speaker `tool`")
        );
    }
}
