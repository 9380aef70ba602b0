//! Requests of rows in another dialect: translated by their prompts, with the fields that have a counterpart.
//!
//! Three hints are not sent to dialects without them: the `detail` of an image, the `filename` of a file, and
//! `strict` of a tool. Everything else that a dialect cannot express is an error that names it, because an
//! answer to another question is worse than none.

use std::borrow::Cow;

use fanweave_core::prompt::{Endpoint, RequestBody};
use fanweave_core::{
    Error, ErrorKind, Media, Message, Parameters, Part, Result, ToolChoice, ToolResult, ToolSpec,
};
use serde_json::{Map, Value, json};

use crate::protocol::Call;

/// A dialect, and the fields of chat completions that it has under these names.
pub(super) struct Target {
    /// Name in messages.
    pub(super) name: &'static str,
    /// Set if the dialect has a random seed.
    pub(super) has_seed: bool,
    pub(super) fields: &'static [Field],
    /// The dialect's hints of parts and tools. Default: none.
    pub(super) hints: Option<Hints>,
}

/// Conversions to a dialect of what has a hint that a prompt does not represent. `None` without one.
pub(super) struct Hints {
    /// A part of this type, by its object.
    pub(super) part: fn(&str, &Value) -> Option<Value>,
    /// The tools of a request.
    pub(super) tools: fn(&[Value]) -> Option<Value>,
}

/// A field of chat completions, its path in the dialect, and its value there.
pub(super) type Field = (&'static str, &'static [&'static str], fn(&Value) -> Option<Value>);

/// The same value.
pub(super) fn unchanged(value: &Value) -> Option<Value> {
    Some(value.clone())
}

/// The messages and parameters of a call in terms that a dialect can write.
pub(super) struct Translated<'a> {
    call: Call<'a>,
    messages: Cow<'a, [Message]>,
    parameters: Cow<'a, Parameters>,
}

impl Translated<'_> {
    pub(super) fn call(&self) -> Call<'_> {
        Call { messages: &self.messages, parameters: &self.parameters, ..self.call }
    }
}

/// Fields of Anthropic's messages that chat completions have under these names.
const OF_MESSAGES: &[(&str, &str)] =
    &[("metadata.user_id", "user"), ("top_k", "top_k"), ("service_tier", "service_tier")];

/// Fields of Gemini's `generateContent` that chat completions have under these names.
const OF_GENERATE_CONTENT: &[(&str, &str)] = &[
    ("generationConfig.topK", "top_k"),
    ("generationConfig.candidateCount", "n"),
    ("generationConfig.presencePenalty", "presence_penalty"),
    ("generationConfig.frequencyPenalty", "frequency_penalty"),
    ("generationConfig.responseLogprobs", "logprobs"),
    ("generationConfig.logprobs", "top_logprobs"),
];

/// Returns true for a request in the dialect of Anthropic or Gemini.
pub(super) fn is_of_other_vendor(body: &RequestBody) -> bool {
    matches!(body.endpoint(), Endpoint::Messages | Endpoint::GenerateContent)
}

/// Extra fields of a request in the dialect of another vendor, under their names in chat completions. Those
/// without one have their paths as names.
fn in_words_of_chat(endpoint: Endpoint, extra: &Map<String, Value>) -> Map<String, Value> {
    let known = if endpoint == Endpoint::Messages { OF_MESSAGES } else { OF_GENERATE_CONTENT };
    let mut fields = Map::new();
    let mut add = |path: String, value: &Value| {
        let name = known.iter().find(|(own, _)| *own == path).map(|(_, chat)| (*chat).to_owned());
        fields.insert(name.unwrap_or(path), value.clone());
    };
    for (name, value) in extra {
        match value {
            Value::Object(inner) if known.iter().any(|(own, _)| own.split('.').next() == Some(name)) => {
                inner.iter().for_each(|(field, value)| add(format!("{name}.{field}"), value));
            }
            _ => add(name.clone(), value),
        }
    }
    fields
}

/// Translates the request of a row. A call without one is not changed.
///
/// # Errors
/// [`ErrorKind::Input`] with the names of all fields that are lost.
pub(super) fn translate<'a>(call: &Call<'a>, target: &Target) -> Result<Translated<'a>> {
    let (messages, parameters) = (Cow::Borrowed(call.messages), Cow::Borrowed(call.parameters));
    let mut translated = Translated { call: *call, messages, parameters };
    let Some(body) = call.body else { return Ok(translated) };
    let wrong =
        |what: String| Error::new(ErrorKind::Input, format!("{} does not support {what}", target.name));
    let endpoint = body.endpoint();
    if endpoint != Endpoint::ChatCompletions && !is_of_other_vendor(body) {
        return Err(wrong(format!("requests for {endpoint}")));
    }
    let mut lost = body.unmapped().to_vec();
    let first = body.messages_in(call.messages).map_or(0, |own| own.start);
    if has_other(call.messages) {
        let messages = call.messages.iter().enumerate();
        let translated_messages = messages.map(|(i, message)| {
            let at = format!("messages[{}].content", i.saturating_sub(first));
            let parts = parts(&message.parts, &at, target, &mut lost);
            Message { parts, ..message.clone() }
        });
        translated.messages = Cow::Owned(translated_messages.collect());
    }
    let given = body.parameters();
    if is_of_other_vendor(body) {
        let (given, now) = (in_words(endpoint, given, given), in_words(endpoint, call.parameters, given));
        translated.parameters = Cow::Owned(parameters_of(&now, &given, target, &mut lost));
    } else if !given.is_empty() {
        translated.parameters = Cow::Owned(parameters_of(call.parameters, given, target, &mut lost));
    }
    if lost.is_empty() {
        return Ok(translated);
    }
    let lost: Vec<_> = lost.iter().map(|field| format!("`{field}`")).collect();
    Err(wrong(format!("{} of the row's request", lost.join(", "))))
}

/// Parameters of a request of another vendor, as those of chat completions. Extra fields that are not `given`
/// by the request are in the words of the dialect.
fn in_words(endpoint: Endpoint, parameters: &Parameters, given: &Parameters) -> Parameters {
    let mut parameters = parameters.clone();
    let all = std::mem::take(&mut parameters.extra).into_iter();
    let (own, set): (Vec<_>, Vec<_>) = all.partition(|(name, value)| given.extra.get(name) == Some(value));
    parameters.extra = in_words_of_chat(endpoint, &own.into_iter().collect());
    parameters.extra.extend(set);
    if endpoint == Endpoint::Messages && parameters.reasoning_budget == Some(0) {
        // The default of other models.
        parameters.reasoning_budget = None;
    }
    parameters
}

/// A part in words, without its content, which may be megabytes.
pub(super) fn described(part: &Part) -> String {
    let kind = match part {
        Part::Text(_) => "text",
        Part::Image(_) => "an image",
        Part::Audio(_) => "audio",
        Part::File(_) => "a file",
        Part::ToolCall(_) => "a tool call",
        Part::ToolResult(_) => "a tool result",
        Part::Reasoning { .. } => "reasoning",
        Part::Other(value) => match value.get("type").and_then(Value::as_str) {
            Some(kind) => {
                return format!("a part of the type `{}`", kind.chars().take(40).collect::<String>());
            }
            None => "a part without a type",
        },
        _ => "a part of this kind",
    };
    kind.to_owned()
}

fn has_other(messages: &[Message]) -> bool {
    let is_other = |part: &Part| match part {
        Part::Other(_) => true,
        Part::ToolResult(result) => result.parts.iter().any(|part| matches!(part, Part::Other(_))),
        _ => false,
    };
    messages.iter().flat_map(|message| &message.parts).any(is_other)
}

/// The parts of a message, with those of chat completions that a prompt has no part for.
fn parts(parts: &[Part], at: &str, target: &Target, lost: &mut Vec<String>) -> Vec<Part> {
    let mut translated = Vec::with_capacity(parts.len());
    for (i, part) in parts.iter().enumerate() {
        let at = format!("{at}[{i}]");
        translated.push(match part {
            Part::Other(value) => other(value, &at, target, lost).unwrap_or_else(|| Part::text("")),
            Part::ToolResult(result) if !result.is_text() => Part::ToolResult(ToolResult {
                parts: self::parts(&result.parts, &at, target, lost),
                ..result.clone()
            }),
            other => other.clone(),
        });
    }
    translated
}

/// A part of chat completions. `None` if something of it is lost, which is then named.
fn other(value: &Value, at: &str, target: &Target, lost: &mut Vec<String>) -> Option<Part> {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or("without a type");
    let read = match kind {
        "text" => {
            let text = value.get("text").and_then(Value::as_str);
            text.map(|text| (Part::text(text), value, &["type", "text"][..]))
        }
        "image_url" => value.get(kind).and_then(|image| {
            let url = image.get("url")?.as_str()?.to_owned();
            Some((Part::Image(Media::Url(url)), image, &["url", "detail"][..]))
        }),
        "file" => value.get(kind).and_then(|file| {
            let url = file.get("file_data")?.as_str()?.to_owned();
            Some((Part::File(Media::Url(url)), file, &["file_data", "filename"][..]))
        }),
        _ => None,
    };
    let Some((part, object, known)) = read else {
        // The type only: the part may have megabytes.
        lost.push(format!("{at} ({})", kind.chars().take(40).collect::<String>()));
        return None;
    };
    let before = lost.len();
    let names =
        |value: &Value| value.as_object().into_iter().flat_map(Map::keys).cloned().collect::<Vec<_>>();
    lost.extend(
        names(object).iter().filter(|name| !known.contains(&&***name)).map(|name| format!("{at}.{name}")),
    );
    if kind != "text" {
        let more = names(value).into_iter().filter(|name| name != "type" && name != kind);
        lost.extend(more.map(|name| format!("{at}.{name}")));
    }
    if lost.len() > before {
        return None;
    }
    let own = target.hints.as_ref().and_then(|hints| (hints.part)(kind, object));
    Some(own.map_or(part, Part::Other))
}

fn parameters_of(
    now: &Parameters,
    given: &Parameters,
    target: &Target,
    lost: &mut Vec<String>,
) -> Parameters {
    let mut parameters = now.clone();
    if given.seed.is_some() && now.seed == given.seed && !target.has_seed {
        lost.push("seed".to_owned());
    }
    for (name, value) in &given.extra {
        // Fields that were set since are in the words of the dialect.
        if now.extra.get(name) != Some(value) {
            continue;
        }
        parameters.extra.shift_remove(name);
        if is_default(name, value) {
            continue;
        }
        if name == "tools" {
            match value.as_array().and_then(|tools| tools.iter().map(tool).collect()) {
                Some(tools) => {
                    parameters.tools = tools;
                    let own = target.hints.as_ref().zip(value.as_array());
                    if let Some(own) = own.and_then(|(hints, tools)| (hints.tools)(tools)) {
                        parameters.extra.insert(name.clone(), own);
                    }
                }
                None => lost.push(name.clone()),
            }
            continue;
        }
        let field = target.fields.iter().find(|(known, ..)| known == name);
        match field.and_then(|(_, path, convert)| Some((*path, convert(value)?))) {
            Some((path, value)) => set(&mut parameters.extra, path, value),
            None => lost.push(name.clone()),
        }
    }
    for tool in &mut parameters.tools {
        if tool.parameters.is_null() {
            tool.parameters = no_parameters();
        }
    }
    if parameters.tools.is_empty()
        && matches!(parameters.tool_choice, Some(ToolChoice::Auto | ToolChoice::None))
    {
        parameters.tool_choice = None;
    }
    parameters
}

/// Returns true for a value that means the same as no field.
fn is_default(name: &str, value: &Value) -> bool {
    let is_zero = value.as_f64() == Some(0.0);
    match name {
        _ if value.is_null() => true,
        "n" => value.as_f64() == Some(1.0),
        "frequency_penalty" | "presence_penalty" | "top_logprobs" => is_zero,
        "logprobs" | "store" => *value == false,
        "parallel_tool_calls" => *value == true,
        "logit_bias" | "metadata" => value.as_object().is_some_and(Map::is_empty),
        "modalities" => *value == json!(["text"]),
        "service_tier" => *value == "auto",
        "functions" => value.as_array().is_some_and(Vec::is_empty),
        _ => false,
    }
}

/// The schema of the arguments of a function without parameters.
pub(super) fn no_parameters() -> Value {
    json!({ "type": "object", "properties": {} })
}

/// A function that a prompt does not represent completely.
pub(super) fn tool(value: &Value) -> Option<ToolSpec> {
    let function = value.get("function").filter(|_| value["type"] == "function")?;
    let known = ["name", "description", "parameters", "strict"];
    if !function.as_object()?.keys().all(|name| known.contains(&name.as_str())) {
        return None;
    }
    Some(ToolSpec {
        name: function.get("name")?.as_str()?.to_owned(),
        description: function.get("description").and_then(Value::as_str).unwrap_or_default().to_owned(),
        parameters: function.get("parameters").cloned().unwrap_or_default(),
    })
}

fn set(fields: &mut Map<String, Value>, path: &[&str], value: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    if rest.is_empty() {
        fields.insert((*first).to_owned(), value);
        return;
    }
    let inner = fields.entry(*first).or_insert_with(|| Map::new().into());
    if !inner.is_object() {
        *inner = Map::new().into();
    }
    set(inner.as_object_mut().expect("it was made an object"), rest, value);
}

#[cfg(test)]
mod tests {
    use fanweave_core::Prompt;

    use crate::providers::dialect::Dialect;
    use crate::providers::openai::Quirks;

    use super::*;

    const OTHERS: [Dialect; 5] = [
        Dialect::Anthropic,
        Dialect::Gemini,
        Dialect::Ollama,
        Dialect::OpenAiResponses,
        Dialect::OpenAiCompletions,
    ];

    fn body() -> RequestBody {
        RequestBody::new(Endpoint::ChatCompletions, "{}").expect("an object")
    }

    fn sent(dialect: Dialect, prompt: &Prompt) -> Result<Value> {
        let call =
            Call { body: prompt.body.as_deref(), ..Call::new("m", &prompt.messages, &prompt.parameters) };
        let request = dialect.protocol(Quirks::new()).request(&call)?;
        Ok(serde_json::from_slice(&request.body).expect("a request is JSON"))
    }

    fn with(extra: Value) -> Prompt {
        let Value::Object(extra) = extra else { panic!("an object") };
        let mut parameters = Parameters::new();
        parameters.extra = extra;
        Prompt { parameters, ..Prompt::from("x") }.with_body(body())
    }

    fn lost(dialect: Dialect, prompt: &Prompt) -> String {
        sent(dialect, prompt).expect_err("a field is lost").message().to_owned()
    }

    #[test]
    fn hints_reach_the_responses_api() {
        let image = json!({ "type": "image_url", "image_url": { "url": "http://x/a.png", "detail": "low" } });
        let data = "data:application/pdf;base64,AA==";
        let file = json!({ "type": "file", "file": { "filename": "a.pdf", "file_data": data } });
        let parts = vec![Part::text("see"), Part::Other(image), Part::Other(file)];
        let message = Message::from_parts(fanweave_core::Role::User, parts);
        let schema = json!({ "type": "object" });
        let function = |strict: bool| json!({ "type": "function", "function": { "name": "f", "parameters": schema, "strict": strict } });
        let prompt =
            with(json!({ "tools": [function(true), { "type": "function", "function": { "name": "g" } }] }));
        let prompt = Prompt { messages: vec![message], ..prompt };
        let sent = sent(Dialect::OpenAiResponses, &prompt).unwrap();
        assert_eq!(
            sent["input"][0]["content"],
            json!([
                { "type": "input_text", "text": "see" },
                { "type": "input_image", "image_url": "http://x/a.png", "detail": "low" },
                { "type": "input_file", "filename": "a.pdf", "file_data": data },
            ])
        );
        let tool = |name: &str, parameters: Value, strict: bool| json!({ "type": "function", "name": name, "description": "", "parameters": parameters, "strict": strict });
        assert_eq!(
            sent["tools"],
            json!([tool("f", schema.clone(), true), tool("g", no_parameters(), false)])
        );
    }

    #[test]
    fn anthropic_calls_one_tool_at_a_time_if_the_row_says_so() {
        let tools = json!([{ "type": "function", "function": { "name": "f", "strict": true } }]);
        let choice = |extra: Value| {
            sent(Dialect::Anthropic, &with(extra)).unwrap().get("tool_choice").cloned().unwrap_or_default()
        };
        assert_eq!(
            choice(json!({ "tools": tools, "parallel_tool_calls": false })),
            json!({ "type": "auto", "disable_parallel_tool_use": true })
        );
        assert_eq!(choice(json!({ "tools": tools, "parallel_tool_calls": true })), Value::Null);
        assert_eq!(choice(json!({ "parallel_tool_calls": false })), Value::Null);
    }

    #[test]
    fn fields_without_a_counterpart_are_all_named() {
        for dialect in OTHERS {
            let error = lost(dialect, &with(json!({ "n": 3, "prediction": {}, "x": 1 })));
            let named = "does not support `n`, `prediction`, `x` of the row's request";
            assert!(error.ends_with(named), "{dialect:?}: {error}");
        }
    }

    #[test]
    fn defaults_need_no_counterpart() {
        let plain = |dialect| sent(dialect, &Prompt::from("x")).expect("a text is supported everywhere");
        let defaults = with(json!({
            "n": 1, "frequency_penalty": 0, "logprobs": false, "store": false, "parallel_tool_calls": true,
            "logit_bias": {}, "modalities": ["text"], "user": null,
        }));
        for dialect in OTHERS {
            assert_eq!(sent(dialect, &defaults).expect("nothing is lost"), plain(dialect), "{dialect:?}");
        }
    }

    #[test]
    fn fields_with_a_counterpart_are_sent_under_its_name() {
        let at = |dialect, extra: Value, pointer: &str| {
            let sent = sent(dialect, &with(extra)).expect("there is a counterpart");
            sent.pointer(pointer).cloned().unwrap_or_default()
        };
        assert_eq!(at(Dialect::Anthropic, json!({ "user": "u" }), "/metadata/user_id"), "u");
        assert_eq!(
            at(Dialect::Gemini, json!({ "presence_penalty": 1 }), "/generationConfig/presencePenalty"),
            1
        );
        assert_eq!(at(Dialect::OpenAiResponses, json!({ "metadata": { "a": "b" } }), "/metadata/a"), "b");
        assert_eq!(at(Dialect::Ollama, json!({ "top_k": 5 }), "/options/top_k"), 5);
        assert_eq!(at(Dialect::OpenAiCompletions, json!({ "logit_bias": { "5": 1 } }), "/logit_bias/5"), 1);
    }

    #[test]
    fn a_seed_is_not_dropped() {
        let prompt = Prompt { parameters: Parameters::new().seed(7), ..Prompt::from("x") }.with_body(body());
        for dialect in [Dialect::Anthropic, Dialect::OpenAiResponses] {
            assert!(lost(dialect, &prompt).contains("`seed`"), "{dialect:?}");
        }
        assert_eq!(sent(Dialect::Ollama, &prompt).expect("it has a seed")["options"]["seed"], 7);
    }

    #[test]
    fn tools_lose_only_their_strictness() {
        let tool = json!([{ "type": "function", "function": { "name": "f", "strict": true } }]);
        let prompt = with(json!({ "tools": tool }));
        let sent = sent(Dialect::Anthropic, &prompt).expect("a tool is supported");
        let schema = json!({ "type": "object", "properties": {} });
        assert_eq!(sent["tools"], json!([{ "name": "f", "description": "", "input_schema": schema }]));
        assert!(lost(Dialect::Gemini, &with(json!({ "tools": [{ "type": "custom" }] }))).contains("`tools`"));
    }

    #[test]
    fn images_with_detail_are_images() {
        let image = json!({ "type": "image_url", "image_url": {
            "url": "data:image/png;base64,AAAA", "detail": "low",
        } });
        let message = Message::from_parts(fanweave_core::Role::User, vec![Part::Other(image)]);
        let prompt = Prompt::from(message).with_body(body());
        let at = |dialect, pointer: &str| sent(dialect, &prompt).expect("an image").pointer(pointer).cloned();
        assert_eq!(at(Dialect::Anthropic, "/messages/0/content/0/source/data"), Some("AAAA".into()));
        assert_eq!(at(Dialect::Gemini, "/contents/0/parts/0/inlineData/data"), Some("AAAA".into()));
        assert_eq!(at(Dialect::Ollama, "/messages/0/images/0"), Some("AAAA".into()));
        assert_eq!(at(Dialect::OpenAiResponses, "/input/0/content/0/type"), Some("input_image".into()));
    }

    #[test]
    fn parts_without_a_counterpart_are_named_by_their_type() {
        let data = "A".repeat(10_000);
        for (part, named) in [
            (
                json!({ "type": "video_url", "video_url": { "url": data } }),
                "`messages[0].content[0] (video_url)`",
            ),
            (json!({ "type": "file", "file": { "file_id": "f" } }), "`messages[0].content[0] (file)`"),
            (
                json!({ "type": "text", "text": "a", "cache_control": {} }),
                "`messages[0].content[0].cache_control`",
            ),
        ] {
            let message = Message::from_parts(fanweave_core::Role::User, vec![Part::Other(part)]);
            let prompt = Prompt::from(message).with_body(body()).with_system("Be brief.");
            for dialect in OTHERS {
                let error = lost(dialect, &prompt);
                assert!(error.contains(named) && error.len() < 300, "{dialect:?}: {error}");
            }
        }
    }
}
