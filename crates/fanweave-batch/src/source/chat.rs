//! The body of a chat completion request, as OpenAI documents it, read as a [`Prompt`].
//!
//! Everything that a [`Prompt`] cannot represent is kept: unknown parts of a message in [`Part::Other`],
//! unknown fields of the body in [`Parameters::extra`]. Only `stream` (a batch does not stream) and the
//! `name` of a message are dropped.

use fanweave_core::{Media, Message, Parameters, Part, Prompt, ResponseFormat, Role};
use fanweave_core::{ToolCall, ToolChoice, ToolResult, ToolSpec};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A request body. All other fields are collected in `extra`.
#[derive(Deserialize)]
pub(crate) struct Body {
    messages: Vec<WireMessage>,
    model: Option<String>,
    temperature: Option<f64>,
    top_p: Option<f64>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    stop: Option<Value>,
    seed: Option<i64>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    response_format: Option<Value>,
    #[serde(flatten)]
    extra: Map<String, Value>,
}

#[derive(Deserialize)]
struct WireMessage {
    role: String,
    #[serde(default)]
    content: Value,
    #[serde(default)]
    tool_calls: Option<Vec<WireToolCall>>,
    tool_call_id: Option<String>,
    reasoning_content: Option<String>,
}

#[derive(Deserialize)]
struct WireToolCall {
    id: String,
    function: WireFunction,
}

#[derive(Deserialize)]
struct WireFunction {
    name: String,
    #[serde(default)]
    arguments: String,
}

impl Body {
    /// Converts the body to a prompt. An error names the field that is invalid.
    pub(crate) fn into_prompt(self) -> Result<Prompt, String> {
        if self.messages.is_empty() {
            return Err("`messages` is empty: a chat needs at least one message".to_owned());
        }
        let mut messages = Vec::with_capacity(self.messages.len());
        for (i, message) in self.messages.into_iter().enumerate() {
            messages.push(message.into_message().map_err(|e| format!("messages[{i}]: {e}"))?);
        }
        let mut extra = self.extra;
        extra.shift_remove("stream");
        extra.shift_remove("stream_options");
        let mut parameters = Parameters::new();
        parameters.model = self.model;
        parameters.temperature = self.temperature;
        parameters.top_p = self.top_p;
        parameters.max_tokens = self.max_completion_tokens.or(self.max_tokens);
        parameters.stop = stop(self.stop)?;
        parameters.seed = self.seed;
        parameters.tools = known(self.tools, "tools", tools, &mut extra).unwrap_or_default();
        parameters.tool_choice = known(self.tool_choice, "tool_choice", tool_choice, &mut extra);
        parameters.format = known(self.response_format, "response_format", response_format, &mut extra);
        parameters.extra = extra;
        Ok(Prompt { messages, parameters })
    }

    /// Drops fields that are not request parameters, for a row that has other fields.
    pub(crate) fn without_extra(mut self) -> Self {
        self.extra.clear();
        self
    }
}

/// Converts a field with `read`. If that returns `None`, the field is kept in `extra`.
fn known<W: Clone + Into<Value>, T>(
    wire: Option<W>,
    name: &str,
    read: impl Fn(&W) -> Option<T>,
    extra: &mut Map<String, Value>,
) -> Option<T> {
    let wire = wire?;
    let value = read(&wire);
    if value.is_none() {
        extra.insert(name.to_owned(), wire.into());
    }
    value
}

fn stop(stop: Option<Value>) -> Result<Vec<String>, String> {
    let expected = || "`stop`: expected a string or a list of strings".to_owned();
    match stop {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one]),
        Some(many) => serde_json::from_value(many).map_err(|_| expected()),
    }
}

/// Converts the tools. `None` unless each is a function that [`ToolSpec`] represents completely.
#[expect(clippy::ptr_arg, reason = "`known` passes a reference to this type")]
fn tools(wire: &Vec<Value>) -> Option<Vec<ToolSpec>> {
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
    wire.iter().map(tool).collect()
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

impl WireMessage {
    fn into_message(self) -> Result<Message, String> {
        let role = match self.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            other => {
                return Err(format!(
                    "unknown role `{other}`: expected system, developer, user, assistant or tool"
                ));
            }
        };
        let mut parts = Vec::new();
        if let Some(text) = self.reasoning_content.filter(|text| !text.is_empty()) {
            parts.push(Part::Reasoning { text, signature: None });
        }
        let content = content(self.content)?;
        if role == Role::Tool {
            let id = self.tool_call_id.ok_or("a tool message needs `tool_call_id`")?;
            let content = if content.is_empty() { vec![Part::text("")] } else { content };
            parts.push(Part::ToolResult(ToolResult { id, parts: content, is_error: false }));
        } else {
            parts.extend(content);
        }
        parts.extend(self.tool_calls.into_iter().flatten().map(|call| {
            let WireFunction { name, arguments } = call.function;
            Part::ToolCall(ToolCall { id: call.id, name, arguments })
        }));
        if parts.is_empty() && role != Role::Assistant {
            return Err("`content` is missing".to_owned());
        }
        Ok(Message::from_parts(role, parts))
    }
}

fn content(content: Value) -> Result<Vec<Part>, String> {
    match content {
        Value::Null => Ok(Vec::new()),
        Value::String(text) => Ok(vec![Part::Text(text)]),
        Value::Array(parts) => Ok(parts.into_iter().map(part).collect()),
        _ => Err("`content`: expected a string or a list of parts".to_owned()),
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

    fn read(body: Value) -> Result<Prompt, String> {
        serde_json::from_value::<Body>(body).map_err(|e| e.to_string())?.into_prompt()
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
        assert_eq!(error(json!([{"role": "user"}])), "messages[0]: `content` is missing");
        assert_eq!(
            error(json!([{"role": "user", "content": "x"}, {"role": "bot", "content": "y"}])),
            "messages[1]: unknown role `bot`: expected system, developer, user, assistant or tool"
        );
        assert_eq!(
            error(json!([{"role": "user", "content": 3}])),
            "messages[0]: `content`: expected a string or a list of parts"
        );
    }
}
