//! The body of a chat completion request, as OpenAI documents it, read as a [`Prompt`].
//!
//! A body is kept as it is, beside its prompt. Unknown parts of a message become [`Part::Other`], and fields
//! of the body that are unknown, or not of their documented type, [`Parameters::extra`]. Only fields of
//! messages that a prompt cannot represent, and a few of the others, are not in the prompt: they are named,
//! because they cannot be translated into another dialect.

use std::borrow::Cow;
use std::collections::BTreeMap;

use fanweave_core::prompt::{Endpoint, RequestBody};
use fanweave_core::{Media, Message, Parameters, Part, Prompt, ResponseFormat, Role};
use fanweave_core::{ToolCall, ToolChoice, ToolResult, ToolSpec};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value};

use super::json_error;
use super::numbers::{in_range, is_out_of_range};
use super::request_fields::RequestFields;

/// A body that was read.
pub(crate) struct Chat {
    /// Without its body.
    pub(crate) prompt: Prompt,
    /// Fields that the prompt does not represent.
    unmapped: Vec<String>,
    /// Set if the prompt has a value in place of one that it cannot represent: it does not identify the body.
    pub(crate) is_lossy: bool,
}

impl Chat {
    /// The prompt with its body.
    ///
    /// # Errors
    /// If `json` is not an object.
    pub(crate) fn with_body(self, json: &str) -> Result<Prompt, String> {
        let body = RequestBody::new(Endpoint::ChatCompletions, json).map_err(|e| e.message().to_owned())?;
        Ok(self.prompt.with_body(body.with_unmapped(self.unmapped)))
    }
}

/// Reads the JSON of a body.
pub(crate) fn parse(json: &str) -> Result<Chat, String> {
    let read_json = |json: &str| serde_json::from_str::<Value>(json);
    let mut is_in_range = true;
    let body = read_json(json).or_else(|error| match is_out_of_range(&error) {
        true => {
            is_in_range = false;
            read_json(&in_range(json))
        }
        false => Err(error),
    });
    let body = body.map_err(|e| format!("`body`: {}", json_error(&e, json)))?;
    let Value::Object(body) = body else { return Err("`body`: expected an object".to_owned()) };
    let mut chat = read(body)?;
    if !is_in_range {
        // The body has it as it is written.
        chat.unmapped.push("a number out of range".to_owned());
        chat.is_lossy = true;
    }
    Ok(chat)
}

/// Reads a body. An error names the field that is invalid: only a conversation is required.
fn read(mut body: Map<String, Value>) -> Result<Chat, String> {
    let messages = match body.shift_remove("messages") {
        None => return Err("missing field `messages`".to_owned()),
        Some(Value::Array(messages)) => messages,
        Some(_) => return Err("`messages`: expected a list".to_owned()),
    };
    if messages.is_empty() {
        return Err("`messages` is empty: a chat needs at least one message".to_owned());
    }
    let mut lost = Lost::default();
    let mut read = Vec::with_capacity(messages.len());
    for (i, message) in messages.into_iter().enumerate() {
        let Value::Object(message) = message else {
            return Err(format!("messages[{i}]: expected an object"));
        };
        read.push(self::message(message, &format!("messages[{i}]"), &mut lost));
    }
    body.shift_remove("stream");
    body.shift_remove("stream_options");
    let parameters = parameters(body, &mut lost);
    let prompt = Prompt { messages: read, parameters, ..Prompt::default() };
    Ok(Chat { prompt, unmapped: lost.unmapped, is_lossy: lost.is_lossy })
}

/// Reads the request of a row that may have other fields, which are data.
pub(crate) fn read_row(mut row: Map<String, Value>, fields: RequestFields) -> Result<Prompt, String> {
    let stores = row.get("store").is_some_and(|stores| *stores == true);
    row.retain(|name, value| fields.takes(name, value, stores));
    tidy(&mut row);
    let json = serde_json::to_string(&row).map_err(|e| e.to_string())?;
    read(row)?.with_body(&json)
}

/// Reads the request of a row from its JSON, whose numbers are sent as they are written.
pub(crate) fn read_exact_row(
    json: &str,
    row: &Map<String, Value>,
    fields: RequestFields,
) -> Result<Prompt, String> {
    let stores = row.get("store").is_some_and(|stores| *stores == true);
    let raw: BTreeMap<String, &RawValue> = serde_json::from_str(json).map_err(|e| json_error(&e, json))?;
    let is_sent = |name: &str| row.get(name).is_some_and(|value| fields.takes(name, value, stores));
    let mut sent: BTreeMap<_, Cow<'_, RawValue>> = raw
        .into_iter()
        .filter(|(name, _)| is_sent(name))
        .map(|(name, value)| (name, Cow::Borrowed(value)))
        .collect();
    let mut tidied = Map::new();
    for name in ["messages", "tools"] {
        tidied.extend(row.get(name).map(|value| (name.to_owned(), value.clone())));
    }
    tidy(&mut tidied);
    for name in ["messages", "tools"] {
        match tidied.get(name) {
            Some(value) if row.get(name) == Some(value) => {}
            Some(value) => {
                _ = sent.insert(name.to_owned(), Cow::Owned(to_raw_value(value).map_err(|e| e.to_string())?));
            }
            None => _ = sent.remove(name),
        }
    }
    let body = serde_json::to_string(&sent).map_err(|e| e.to_string())?;
    parse(&body)?.with_body(&body)
}

/// Undoes what tables do to a request: a text in place of a list of tools, whose items have no common form,
/// and null for a field that a message does not have.
fn tidy(row: &mut Map<String, Value>) {
    if let Some(tools) = row.get("tools").filter(|tools| tools.is_string()) {
        match tools_of(tools) {
            // The server says what is wrong with it.
            Some(Err(_)) => {}
            Some(Ok(tools)) => _ = row.insert("tools".to_owned(), tools),
            None => _ = row.shift_remove("tools"),
        }
    }
    let messages = row.get_mut("messages").and_then(Value::as_array_mut).into_iter().flatten();
    for message in messages.filter_map(Value::as_object_mut) {
        message.retain(|name, value| !value.is_null() || name == "content");
        let parts = message.get_mut("content").and_then(Value::as_array_mut).into_iter().flatten();
        parts.filter_map(Value::as_object_mut).for_each(|part| part.retain(|_, value| !value.is_null()));
    }
}

/// The tools of a row: a list, also as a text of JSON, as in tables. `None` without tools.
pub(super) fn tools_of(tools: &Value) -> Option<Result<Value, ()>> {
    let tools = match tools {
        Value::Null => return None,
        Value::String(text) if text.trim().is_empty() => return None,
        Value::String(text) => match serde_json::from_str(text) {
            Ok(Value::Null) => return None,
            Ok(tools) => tools,
            Err(_) => return Some(Err(())),
        },
        tools => tools.clone(),
    };
    match &tools {
        Value::Array(all) if all.is_empty() => None,
        Value::Array(_) => Some(Ok(tools)),
        _ => Some(Err(())),
    }
}

/// Fields that a prompt does not represent.
#[derive(Default)]
struct Lost {
    unmapped: Vec<String>,
    is_lossy: bool,
}

impl Lost {
    /// A field that is in the prompt in no way.
    fn field(&mut self, at: &str, name: &str) {
        let field = format!("{at}.{name}");
        if self.unmapped.last() != Some(&field) {
            self.unmapped.push(field);
        }
    }

    /// A field that has a value in the prompt, but not its own.
    fn value(&mut self, at: &str, name: &str) {
        self.field(at, name);
        self.is_lossy = true;
    }
}

/// The parameters of a body. Fields that they cannot represent are extra fields.
fn parameters(mut body: Map<String, Value>, lost: &mut Lost) -> Parameters {
    let model = take(&mut body, "model", |value| Some(value.as_str()?.to_owned()));
    let temperature = take(&mut body, "temperature", Value::as_f64);
    let top_p = take(&mut body, "top_p", Value::as_f64);
    let max_tokens = take(&mut body, "max_tokens", whole);
    let max_completion_tokens = take(&mut body, "max_completion_tokens", whole);
    let stop = take(&mut body, "stop", stop).unwrap_or_default();
    let seed = take(&mut body, "seed", Value::as_i64);
    let reasoning_effort = take(&mut body, "reasoning_effort", |value| Some(value.as_str()?.to_owned()));
    let tools = take(&mut body, "tools", tools).unwrap_or_default();
    let tool_choice = take(&mut body, "tool_choice", tool_choice);
    let schema = body.get("response_format").and_then(|format| format.get("json_schema"));
    for name in schema.and_then(Value::as_object).into_iter().flat_map(Map::keys) {
        if !matches!(&**name, "name" | "schema" | "strict" | "description") {
            lost.field("response_format.json_schema", name);
        }
    }
    let format = take(&mut body, "response_format", response_format);
    let mut parameters = Parameters::new();
    parameters.model = model;
    parameters.temperature = temperature;
    parameters.top_p = top_p;
    parameters.max_tokens = max_completion_tokens.or(max_tokens);
    parameters.stop = stop;
    parameters.seed = seed;
    parameters.reasoning_effort = reasoning_effort;
    parameters.tools = tools;
    parameters.tool_choice = tool_choice;
    parameters.format = format;
    parameters.extra = body;
    parameters
}

/// Takes a field out of a body and converts it. It stays there if `read` returns `None`. Null counts as
/// missing.
fn take<T>(body: &mut Map<String, Value>, name: &str, read: impl Fn(&Value) -> Option<T>) -> Option<T> {
    let value = body.get(name)?;
    let read = read(value);
    if read.is_some() || value.is_null() {
        body.shift_remove(name);
    }
    read
}

/// A whole number, also one that is written as `100.0`.
pub(super) fn whole(value: &Value) -> Option<u32> {
    if let Some(number) = value.as_u64() {
        return u32::try_from(number).ok();
    }
    let number = value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(n))?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Some(number as u32)
}

fn stop(stop: &Value) -> Option<Vec<String>> {
    match stop {
        Value::String(one) => Some(vec![one.clone()]),
        many => Vec::deserialize(many).ok(),
    }
}

/// Converts the tools. `None` unless each is a function that [`ToolSpec`] represents completely.
fn tools(wire: &Value) -> Option<Vec<ToolSpec>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Function {
        name: String,
        #[serde(default)]
        description: String,
        #[serde(default)]
        parameters: Value,
    }
    let tool = |tool: &Value| {
        if tool.get("type").is_none_or(|kind| kind != "function") {
            return None;
        }
        let Function { name, description, parameters } = Function::deserialize(tool.get("function")?).ok()?;
        Some(ToolSpec { name, description, parameters })
    };
    wire.as_array()?.iter().map(tool).collect()
}

fn tool_choice(wire: &Value) -> Option<ToolChoice> {
    match wire.as_str() {
        Some("auto") => Some(ToolChoice::Auto),
        Some("none") => Some(ToolChoice::None),
        Some("required") => Some(ToolChoice::Required),
        Some(_) => None,
        None => Some(ToolChoice::Tool(wire.get("function")?.get("name")?.as_str()?.to_owned())),
    }
}

fn response_format(wire: &Value) -> Option<ResponseFormat> {
    match wire.get("type")?.as_str()? {
        "text" => Some(ResponseFormat::Text),
        "json_object" => Some(ResponseFormat::JsonObject),
        "json_schema" => {
            let schema = wire.get("json_schema")?;
            Some(ResponseFormat::JsonSchema {
                name: schema.get("name")?.as_str()?.to_owned(),
                schema: schema.get("schema")?.clone(),
                strict: schema.get("strict").and_then(Value::as_bool).unwrap_or_default(),
            })
        }
        _ => None,
    }
}

/// Reads a message. What it cannot represent is in `lost`.
fn message(mut wire: Map<String, Value>, at: &str, lost: &mut Lost) -> Message {
    let mut role = match wire.shift_remove("role").as_ref().and_then(Value::as_str) {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool") => Role::Tool,
        _ => {
            lost.value(at, "role");
            Role::User
        }
    };
    let mut parts = Vec::new();
    match wire.shift_remove("reasoning_content") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) if text.is_empty() => {}
        Some(Value::String(text)) => parts.push(Part::Reasoning { text, signature: None }),
        Some(_) => lost.value(at, "reasoning_content"),
    }
    let content = content(wire.shift_remove("content"), at, lost);
    let id = wire.shift_remove("tool_call_id");
    if role == Role::Tool {
        if let Some(Value::String(id)) = id {
            let content = if content.is_empty() { vec![Part::text("")] } else { content };
            parts.push(Part::ToolResult(ToolResult { id, parts: content, is_error: false }));
            // The call with the id has the name.
            wire.shift_remove("name");
        } else {
            lost.value(at, "tool_call_id");
            role = Role::User;
            parts.extend(content);
        }
    } else {
        parts.extend(content);
        if id.is_some_and(|id| !id.is_null()) {
            lost.field(at, "tool_call_id");
        }
    }
    match wire.shift_remove("tool_calls") {
        None | Some(Value::Null) => {}
        Some(Value::Array(calls)) => {
            for (i, call) in calls.into_iter().enumerate() {
                let at = format!("{at}.tool_calls[{i}]");
                match tool_call(&call, &at, lost) {
                    Some(call) => parts.push(Part::ToolCall(call)),
                    None => lost.value(&at, "function"),
                }
            }
        }
        Some(_) => lost.value(at, "tool_calls"),
    }
    if parts.is_empty() && role != Role::Assistant {
        lost.value(at, "content");
        parts.push(Part::text(""));
    }
    for (name, value) in wire {
        let is_nothing = match &value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        if !is_nothing {
            lost.field(at, &name);
        }
    }
    Message::from_parts(role, parts)
}

fn tool_call(wire: &Value, at: &str, lost: &mut Lost) -> Option<ToolCall> {
    let function = wire.get("function")?;
    for (object, known) in [(wire, &["id", "type", "function"][..]), (function, &["name", "arguments"])] {
        let names = object.as_object().into_iter().flat_map(Map::keys);
        names.filter(|name| !known.contains(&&***name)).for_each(|name| lost.field(at, name));
    }
    let arguments = match function.get("arguments") {
        None => String::new(),
        Some(arguments) => arguments.as_str()?.to_owned(),
    };
    let text = |value: &Value, field: &str| Some(value.get(field)?.as_str()?.to_owned());
    Some(ToolCall { id: text(wire, "id")?, name: text(function, "name")?, arguments })
}

fn content(content: Option<Value>, at: &str, lost: &mut Lost) -> Vec<Part> {
    match content {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(text)) => vec![Part::Text(text)],
        Some(Value::Array(parts)) => parts.into_iter().map(part).collect(),
        Some(_) => {
            lost.value(at, "content");
            Vec::new()
        }
    }
}

/// Converts a part. It becomes [`Part::Other`] if the conversion would lose anything.
fn part(value: Value) -> Part {
    let text = |field: &str| only(&value, field)?.as_str().map(str::to_owned);
    let known = match value.get("type").and_then(Value::as_str) {
        Some("text") => text("text").map(Part::Text),
        Some("image_url") => inner(&value, "image_url", ["url"]).map(|[url]| Part::Image(Media::Url(url))),
        Some("input_audio") => inner(&value, "input_audio", ["data", "format"]).map(|[base64, format]| {
            let media_type =
                if format == "mp3" { "audio/mpeg".to_owned() } else { format!("audio/{format}") };
            Part::Audio(Media::Inline { media_type, base64 })
        }),
        Some("file") => inner(&value, "file", ["file_data"]).map(|[url]| Part::File(Media::Url(url))),
        _ => None,
    };
    known.unwrap_or(Part::Other(value))
}

/// The field `field`, if it is the only one besides `type`.
fn only<'a>(value: &'a Value, field: &str) -> Option<&'a Value> {
    (value.as_object()?.len() == 2).then(|| value.get(field))?
}

/// The string fields `names` of the field `field`, if it has exactly these.
fn inner<const N: usize>(value: &Value, field: &str, names: [&str; N]) -> Option<[String; N]> {
    let object = only(value, field)?.as_object().filter(|object| object.len() == N)?;
    let mut strings = [const { String::new() }; N];
    for (string, name) in strings.iter_mut().zip(names) {
        *string = object.get(name)?.as_str()?.to_owned();
    }
    Some(strings)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_chat(body: Value) -> Result<Chat, String> {
        let Value::Object(body) = body else { panic!("an object") };
        super::read(body)
    }

    fn read(body: Value) -> Result<Prompt, String> {
        read_chat(body).map(|chat| chat.prompt)
    }

    #[test]
    fn known_parameters_are_converted_and_others_are_kept() {
        let prompt = read(json!({
            "model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5,
            "top_p": 1, "max_tokens": 5, "max_completion_tokens": 9, "stop": "END", "seed": 7, "stream": true,
            "logprobs": true, "tool_choice": {"type": "function", "function": {"name": "now"}},
            "tools": [{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {}, "strict": true}},
        }))
        .unwrap();
        let tool = ToolSpec {
            name: "now".into(),
            description: String::new(),
            parameters: json!({"type": "object"}),
        };
        let expected = Parameters::new()
            .model("gpt-5-mini")
            .temperature(0.5)
            .top_p(1.0)
            .max_tokens(9)
            .stop(["END"])
            .seed(7)
            .tools([tool])
            .tool_choice(ToolChoice::Tool("now".into()))
            .format(ResponseFormat::JsonSchema { name: "s".into(), schema: json!({}), strict: true })
            .extra("logprobs", true);
        assert_eq!(prompt.parameters, expected);
    }

    #[test]
    fn tools_that_cannot_be_represented_stay_in_extra() {
        let strict = json!([{"type": "function", "function": {"name": "now", "strict": true}}]);
        let prompt = read(json!({"messages": [{"role": "user", "content": "x"}], "tools": strict})).unwrap();
        assert!(prompt.parameters.tools.is_empty());
        assert_eq!(prompt.parameters.extra["tools"], strict);
    }

    #[test]
    fn parts_are_converted_unless_something_would_be_lost() {
        let detail = json!({"type": "image_url", "image_url": {"url": "http://x/y.png", "detail": "low"}});
        let prompt = read(json!({"messages": [{"role": "user", "content": [
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": "http://x/y.png"}},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}},
            detail,
        ]}]}));
        let audio = Media::Inline { media_type: "audio/wav".into(), base64: "AAAA".into() };
        let parts = [
            Part::Text("look".into()),
            Part::Image(Media::Url("http://x/y.png".into())),
            Part::Audio(audio),
            Part::File(Media::Url("data:application/pdf;base64,AAAA".into())),
            Part::Other(detail),
        ];
        assert_eq!(prompt.unwrap().messages[0].parts, parts);
    }

    #[test]
    fn a_conversation_with_tools_keeps_calls_and_results() {
        let prompt = read(json!({"messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "now", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "noon"},
        ]}))
        .unwrap();
        let [system, call, result] = &prompt.messages[..] else { panic!("three messages") };
        assert_eq!(system, &Message::system("Be brief."));
        assert_eq!(call.tool_calls().next().unwrap().name, "now");
        let noon = ToolResult::new("c1", "noon");
        assert_eq!(result.parts, [Part::ToolResult(noon)]);
    }

    #[test]
    fn errors_name_the_path_of_the_invalid_field() {
        let error = |messages: Value| read(json!({ "messages": messages })).unwrap_err();
        assert_eq!(error(json!([])), "`messages` is empty: a chat needs at least one message");
        assert_eq!(error(json!("hi")), "`messages`: expected a list");
        assert_eq!(error(json!([{"role": "user", "content": "x"}, 7])), "messages[1]: expected an object");
    }

    #[test]
    fn what_a_prompt_cannot_represent_is_named() {
        let unmapped = |message: Value| {
            let chat = read_chat(json!({ "messages": [message] })).unwrap();
            assert!(!chat.unmapped.is_empty() || !chat.is_lossy);
            (chat.unmapped.join(" "), chat.is_lossy)
        };
        for (message, names, is_lossy) in [
            (json!({"role": "user", "content": "x", "refusal": null, "annotations": []}), "", false),
            (json!({"role": "tool", "tool_call_id": "a", "name": "f", "content": "x"}), "", false),
            (json!({"role": "user", "content": "x", "name": "ann"}), "messages[0].name", false),
            (
                json!({"role": "assistant", "function_call": {"name": "f"}}),
                "messages[0].function_call",
                false,
            ),
            (
                json!({"role": "function", "name": "f", "content": "x"}),
                "messages[0].role messages[0].name",
                true,
            ),
            (json!({"role": "user"}), "messages[0].content", true),
            (json!({"role": "user", "content": 3}), "messages[0].content", true),
            (json!({"role": "tool", "content": "x"}), "messages[0].tool_call_id", true),
            (
                json!({"role": "assistant", "tool_calls": [{"id": "c", "type": "custom", "custom": {}}]}),
                "messages[0].tool_calls[0].function",
                true,
            ),
        ] {
            assert_eq!(unmapped(message), (names.to_owned(), is_lossy));
        }
    }

    #[test]
    fn values_of_another_type_are_kept_as_extra_fields() {
        let prompt = read(json!({
            "messages": [{"role": "user", "content": "x"}], "max_tokens": 100.0, "seed": u64::MAX,
            "temperature": "0.5", "stop": 3, "tools": {}, "model": null, "top_p": null,
        }))
        .unwrap();
        let extra = json!({"seed": u64::MAX, "temperature": "0.5", "stop": 3, "tools": {}});
        assert_eq!(Value::Object(prompt.parameters.extra), extra);
        assert_eq!(prompt.parameters.max_tokens, Some(100));
    }
    #[test]
    fn rows_of_tables_lose_nulls_and_have_tools_in_texts() {
        let row = |tools: Value| {
            let row = json!({
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": "a", "image_url": null}], "name": null},
                    {"role": "assistant", "content": null, "tool_calls": []},
                ],
                "tools": tools, "temperature": null, "seed": 7,
            });
            let Value::Object(row) = row else { unreachable!() };
            let prompt = read_row(row, RequestFields::Any).unwrap();
            serde_json::from_str::<Value>(prompt.body.as_deref().unwrap().json()).unwrap()
        };
        let messages = json!([
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
            {"role": "assistant", "content": null, "tool_calls": []},
        ]);
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        for text in [tools.clone(), Value::from(tools.to_string())] {
            assert_eq!(row(text), json!({"messages": messages, "tools": tools, "seed": 7}));
        }
        assert_eq!(row(json!("null")), json!({"messages": messages, "seed": 7}));
        assert_eq!(row(json!("f")), json!({"messages": messages, "tools": "f", "seed": 7}));
    }
}
