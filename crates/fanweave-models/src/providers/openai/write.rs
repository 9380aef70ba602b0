//! Encoding of calls as request bodies. Strings are borrowed from the prompt.

use std::borrow::Cow;

use fanweave_core::prompt::{Endpoint, RequestBody};
use fanweave_core::{
    Error, ErrorKind, Media, Message, Parameters, Part, ResponseFormat, Result, Role, ToolCall, ToolChoice,
    ToolResult, ToolSpec,
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::signed::{self, Written};
use super::{Quirks, SendBack};
use crate::protocol::Call;
use crate::providers::foreign::Target;
use crate::providers::splice::Splice;
use crate::providers::{foreign, media, reasoning, schema};

/// The two names of the maximum number of tokens. Servers do not take both.
const MAX_TOKENS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

#[derive(Serialize)]
pub(super) struct Request<'a> {
    model: &'a str,
    messages: Vec<WireMessage<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    random_seed: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip)]
    reasoning: Map<String, Value>,
    #[serde(skip)]
    extra: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl<'a> Request<'a> {
    pub(super) fn new(call: &Call<'a>, quirks: Quirks) -> Result<Self> {
        let p = call.parameters;
        // An extra field of either name is in place of the parameter.
        let has_own = !p.extra.is_empty() && MAX_TOKENS.iter().any(|name| p.extra.contains_key(*name));
        let max_tokens = p.max_tokens.filter(|_| !has_own);
        let (max_tokens, max_completion_tokens) =
            if quirks.max_completion_tokens { (None, max_tokens) } else { (max_tokens, None) };
        let (seed, random_seed) = if quirks.random_seed { (None, p.seed) } else { (p.seed, None) };
        let with_usage = call.stream && !quirks.no_stream_options;
        Ok(Self {
            model: call.model,
            messages: messages(call.messages, quirks.send_back)?,
            temperature: p.temperature,
            top_p: p.top_p,
            max_tokens,
            max_completion_tokens,
            stop: &p.stop,
            seed,
            random_seed,
            tools: p.tools.iter().map(Tool::from).collect(),
            tool_choice: p.tool_choice.as_ref().map(tool_choice).transpose()?,
            response_format: p.format.as_ref().map(response_format).transpose()?,
            stream: call.stream.then_some(true),
            stream_options: with_usage.then_some(StreamOptions { include_usage: true }),
            reasoning: reasoning_fields(p, quirks, call.model)?,
            extra: &p.extra,
        })
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        let json = if self.extra.is_empty() && self.reasoning.is_empty() {
            serde_json::to_vec(self)
        } else {
            serde_json::to_value(self).and_then(|mut body| {
                for (name, value) in self.reasoning.iter().chain(self.extra) {
                    body[name] = value.clone();
                }
                serde_json::to_vec(&body)
            })
        };
        json.map_err(|e| Error::new(ErrorKind::Input, "the prompt cannot be written as JSON").with_source(e))
    }
}

/// The fields of chat completions that requests of other vendors may have.
const TARGET: Target = Target {
    name: "the Chat Completions API",
    has_seed: true,
    fields: &[
        ("user", &["user"], foreign::unchanged),
        ("top_k", &["top_k"], foreign::unchanged),
        ("n", &["n"], foreign::unchanged),
        ("presence_penalty", &["presence_penalty"], foreign::unchanged),
        ("frequency_penalty", &["frequency_penalty"], foreign::unchanged),
        ("logprobs", &["logprobs"], foreign::unchanged),
        ("top_logprobs", &["top_logprobs"], foreign::unchanged),
    ],
    hints: None,
};

/// The request of a row in the dialect of another vendor.
///
/// # Errors
/// [`ErrorKind::Input`] with the names of all fields that are lost.
pub(super) fn translated(call: &Call<'_>, quirks: Quirks) -> Result<Vec<u8>> {
    let translated = foreign::translate(call, &TARGET)?;
    Request::new(&translated.call(), quirks)?.to_json()
}

/// The request of a row in this dialect, with everything that has changed since it was read.
///
/// # Errors
/// [`ErrorKind::Input`] if messages were changed that the prompt does not represent completely.
pub(super) fn own(call: &Call<'_>, body: &RequestBody, quirks: Quirks) -> Result<Vec<u8>> {
    if body.endpoint() != Endpoint::ChatCompletions {
        return Err(unsupported(&format!("requests for {}", body.endpoint())));
    }
    let mut request = Splice::new(body.json())?;
    request.set("model", Some(call.model))?;
    if call.stream {
        request.set("stream", Some(true))?;
        if !quirks.no_stream_options {
            request.set("stream_options", Some(StreamOptions { include_usage: true }))?;
        }
    } else if request.get("stream") == Some("true") {
        request.set("stream", None::<()>)?;
        request.set("stream_options", None::<()>)?;
    }
    own_messages(call, body, &mut request, quirks.send_back)?;
    own_parameters(call.parameters, body.parameters(), &mut request, quirks, call.model)?;
    Ok(request.finish())
}

fn own_messages(
    call: &Call<'_>,
    body: &RequestBody,
    request: &mut Splice<'_>,
    send_back: SendBack,
) -> Result<()> {
    let all = call.messages;
    if let Some(own) = body.messages_in(all) {
        let (before, after) =
            (messages(&all[..own.start], send_back)?, messages(&all[own.end..], send_back)?);
        if before.is_empty() && after.is_empty() {
            return Ok(());
        }
        return request.extend("messages", &before, &after);
    }
    match body.unmapped().iter().find(|field| field.starts_with("messages[")) {
        None => request.set("messages", Some(messages(all, send_back)?)),
        Some(lost) => {
            let message = format!("the messages of the row were changed, and `{lost}` would be lost");
            Err(Error::new(ErrorKind::Input, message))
        }
    }
}

/// Sets the parameters that differ from those of the row.
fn own_parameters(
    now: &Parameters,
    before: &Parameters,
    request: &mut Splice<'_>,
    quirks: Quirks,
    model: &str,
) -> Result<()> {
    if now == before {
        return Ok(());
    }
    // A row may have a field of this name that `Parameters` cannot represent.
    let is_unread = |name: &str| before.extra.contains_key(name);
    let mut set = |name: &str, is_equal: bool, value: Result<Option<Value>>| match is_equal || is_unread(name)
    {
        true => Ok(()),
        false => request.set(name, value?),
    };
    set("temperature", now.temperature == before.temperature, Ok(now.temperature.map(Into::into)))?;
    set("top_p", now.top_p == before.top_p, Ok(now.top_p.map(Into::into)))?;
    set("stop", now.stop == before.stop, Ok((!now.stop.is_empty()).then(|| now.stop.clone().into())))?;
    let seed = if quirks.random_seed { "random_seed" } else { "seed" };
    set(seed, now.seed == before.seed, Ok(now.seed.map(Into::into)))?;
    let tools =
        || now.tools.iter().map(|tool| serde_json::to_value(Tool::from(tool))).collect::<Result<_, _>>();
    let tools = match now.tools.is_empty() {
        true => Ok(None),
        false => tools().map(Some).map_err(|_| unsupported("a tool that is not JSON")),
    };
    set("tools", now.tools == before.tools, tools)?;
    let choice = now.tool_choice.as_ref().map(tool_choice).transpose();
    set("tool_choice", now.tool_choice == before.tool_choice, choice)?;
    let format = now.format.as_ref().map(response_format).transpose();
    set("response_format", now.format == before.format, format)?;
    let asks = |p: &Parameters| (p.reasoning_effort.clone(), p.reasoning_budget, p.reasoning_summary);
    if asks(now) != asks(before) {
        let fields = reasoning_fields(now, quirks, model)?;
        let own = reasoning_fields(before, quirks, model).unwrap_or_default();
        let own = own.keys().map(String::as_str).chain(["reasoning_effort"]);
        for name in own.filter(|name| !fields.contains_key(*name) && !before.extra.contains_key(*name)) {
            request.set(name, None::<()>)?;
        }
        for (name, value) in fields.iter().filter(|(name, _)| !before.extra.contains_key(*name)) {
            request.set(name, Some(value))?;
        }
    }
    for (name, value) in &now.extra {
        if before.extra.get(name) != Some(value) {
            // Servers do not take both names of the limit. That of the row is kept.
            if MAX_TOKENS.contains(&name.as_str()) && before.max_tokens.is_some() {
                continue;
            }
            request.set(name, Some(value))?;
        }
    }
    for name in before.extra.keys().filter(|name| !now.extra.contains_key(*name)) {
        request.set(name, None::<()>)?;
    }
    if now.max_tokens != before.max_tokens {
        let names = MAX_TOKENS;
        let own = names.into_iter().find(|name| request.get(name).is_some());
        let default = if quirks.max_completion_tokens { names[0] } else { names[1] };
        for name in names.into_iter().filter(|name| *name != own.unwrap_or(default)) {
            request.set(name, None::<()>)?;
        }
        request.set(own.unwrap_or(default), now.max_tokens)?;
    }
    Ok(())
}

/// The fields of the reasoning in the form of the server.
fn reasoning_fields(p: &Parameters, quirks: Quirks, model: &str) -> Result<Map<String, Value>> {
    // Servers that refuse reasoning in messages send none.
    reasoning::chat_fields(p, quirks.reasoning, model, quirks.send_back != SendBack::Nothing)
}

#[derive(Serialize)]
struct WireMessage<'a> {
    role: &'static str,
    content: Option<WireContent<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<WireToolCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_details: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_blocks: Option<Value>,
}

impl<'a> WireMessage<'a> {
    fn new(role: &'static str, content: Option<WireContent<'a>>) -> Self {
        Self {
            role,
            content,
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            reasoning_content: None,
            reasoning: None,
            reasoning_details: None,
            thinking_blocks: None,
        }
    }

    /// Adds the reasoning of a message, in the fields that its server wants.
    fn with_reasoning(mut self, message: &'a Message, send_back: SendBack) -> Self {
        let mut text = Cow::Borrowed("");
        for part in &message.parts {
            let Part::Reasoning { text: piece, signature } = part else { continue };
            text += &**piece;
            if let Some(Written::Message { details, blocks }) = signature.as_deref().and_then(signed::written)
            {
                self.reasoning_details = details.or(self.reasoning_details);
                self.thinking_blocks = blocks.or(self.thinking_blocks);
            }
        }
        let text = Some(text).filter(|text| !text.is_empty());
        match send_back {
            SendBack::Nothing | SendBack::ThinkingPart => {
                (self.reasoning_details, self.thinking_blocks) = (None, None);
            }
            SendBack::Signed => {}
            SendBack::ReasoningContent => self.reasoning_content = text,
            SendBack::Reasoning => self.reasoning = text,
        }
        self
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum WireContent<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<WirePart<'a>>),
}

#[derive(Serialize)]
#[serde(untagged)]
enum WirePart<'a> {
    Known(Known<'a>),
    Other(&'a Value),
    Made(Value),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Known<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: Url<'a> },
    InputAudio { input_audio: Audio<'a> },
    File { file: File<'a> },
}

#[derive(Serialize)]
struct Url<'a> {
    url: Cow<'a, str>,
}

#[derive(Serialize)]
struct Audio<'a> {
    data: &'a str,
    format: &'a str,
}

#[derive(Serialize)]
struct File<'a> {
    filename: String,
    file_data: Cow<'a, str>,
}

#[derive(Serialize)]
struct WireToolCall<'a> {
    id: &'a str,
    r#type: &'static str,
    function: Function<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    extra_content: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_specific_fields: Option<Value>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

#[derive(Serialize)]
struct Tool<'a> {
    r#type: &'static str,
    function: &'a ToolSpec,
}

impl<'a> From<&'a ToolSpec> for Tool<'a> {
    fn from(function: &'a ToolSpec) -> Self {
        Tool { r#type: "function", function }
    }
}

impl<'a> From<&'a ToolCall> for WireToolCall<'a> {
    fn from(ToolCall { id, name, arguments }: &'a ToolCall) -> Self {
        // Models omit the arguments of a tool without parameters; servers that parse them reject an empty
        // string.
        let arguments = if arguments.is_empty() { "{}" } else { arguments };
        WireToolCall {
            id,
            r#type: "function",
            function: Function { name, arguments },
            extra_content: None,
            provider_specific_fields: None,
        }
    }
}

fn messages(messages: &[Message], send_back: SendBack) -> Result<Vec<WireMessage<'_>>> {
    let mut wire = Vec::with_capacity(messages.len());
    // Messages with the media of results, which follow the last result of a round.
    let mut media = Vec::new();
    for message in messages {
        let results = message.parts.iter().filter_map(|part| match part {
            Part::ToolResult(result) => Some(result),
            _ => None,
        });
        // Each result is a separate message in this dialect.
        let before = wire.len();
        wire.extend(results.clone().map(|result| WireMessage {
            tool_call_id: Some(&result.id),
            ..WireMessage::new("tool", Some(WireContent::Text(result.text())))
        }));
        for result in results.filter(|result| !result.is_text()) {
            media.push(media_of(result)?);
        }
        let only_results = wire.len() - before == message.parts.len() && !message.parts.is_empty();
        if !only_results {
            wire.append(&mut media);
            let written = WireMessage {
                name: message.name.as_deref(),
                tool_calls: tool_calls(message, send_back),
                ..WireMessage::new(role(message.role)?, content(message, send_back)?)
            };
            wire.push(written.with_reasoning(message, send_back));
        }
    }
    wire.append(&mut media);
    Ok(wire)
}

/// A message of the user with the media of a tool result: in this dialect, a result is a text.
fn media_of(result: &ToolResult) -> Result<WireMessage<'_>> {
    let title = Cow::Owned(format!("The result of the tool call {}:", result.id));
    let mut content = vec![WirePart::Known(Known::Text { text: title })];
    for media in result.parts.iter().filter(|part| part.as_text().is_none()) {
        content.push(part(media)?);
    }
    Ok(WireMessage::new("user", Some(WireContent::Parts(content))))
}

fn role(role: Role) -> Result<&'static str> {
    Ok(match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
        other => return Err(unsupported(&format!("the role {other:?}"))),
    })
}

/// The tool calls, each with the signature that came with it.
fn tool_calls(message: &Message, send_back: SendBack) -> Vec<WireToolCall<'_>> {
    let mut calls: Vec<WireToolCall<'_>> = message.tool_calls().map(Into::into).collect();
    if calls.is_empty() || send_back == SendBack::Nothing {
        return calls;
    }
    let mut next = 0;
    for part in &message.parts {
        match part {
            Part::ToolCall(_) => next += 1,
            Part::Reasoning { signature: Some(signature), .. } => {
                let Some(Written::Call { id, extra, specific }) = signed::written(signature) else {
                    continue;
                };
                let named = id.and_then(|id| calls.iter().position(|call| call.id == id));
                if let Some(call) = calls.get_mut(named.unwrap_or(next)) {
                    call.extra_content = extra;
                    call.provider_specific_fields = specific;
                }
            }
            _ => {}
        }
    }
    calls
}

/// Reasoning as a part of the content.
fn thinking(part: &Part) -> Option<WirePart<'static>> {
    let Part::Reasoning { text, .. } = part else { return None };
    let thinking = json!([{ "type": "text", "text": text }]);
    (!text.is_empty()).then(|| WirePart::Made(json!({ "type": "thinking", "thinking": thinking })))
}

fn content(message: &Message, send_back: SendBack) -> Result<Option<WireContent<'_>>> {
    if let [Part::Text(text)] = message.parts.as_slice() {
        return Ok(Some(WireContent::Text(Cow::Borrowed(text))));
    }
    if send_back == SendBack::ThinkingPart && message.parts.iter().any(|part| thinking(part).is_some()) {
        let is_content = |part: &&Part| !matches!(part, Part::ToolCall(_) | Part::ToolResult(_));
        let parts = message.parts.iter().filter(is_content).filter_map(|content| match content {
            Part::Reasoning { .. } => thinking(content).map(Ok),
            _ => Some(part(content)),
        });
        return parts.collect::<Result<_>>().map(|parts| Some(WireContent::Parts(parts)));
    }
    // Any other reasoning has fields of its own.
    let parts = || {
        message
            .parts
            .iter()
            .filter(|part| !matches!(part, Part::ToolCall(_) | Part::ToolResult(_) | Part::Reasoning { .. }))
    };
    if parts().next().is_none() {
        // The content of a message that consists of tool calls only.
        let calls = message.tool_calls().next().is_some();
        return Ok((!calls).then_some(WireContent::Text(Cow::Borrowed(""))));
    }
    // Many servers accept lists of parts only for media.
    if parts().all(|part| part.as_text().is_some()) {
        return Ok(Some(WireContent::Text(Cow::Owned(message.text()))));
    }
    parts().map(part).collect::<Result<_>>().map(|parts| Some(WireContent::Parts(parts)))
}

fn part(part: &Part) -> Result<WirePart<'_>> {
    Ok(WirePart::Known(match part {
        Part::Text(text) => Known::Text { text: Cow::Borrowed(text) },
        Part::Image(media) => Known::ImageUrl { image_url: Url { url: media::url(media) } },
        Part::Audio(media) => Known::InputAudio { input_audio: audio(media)? },
        Part::File(media) => Known::File { file: file(media) },
        Part::Other(value) => return Ok(WirePart::Other(value)),
        other => return Err(unsupported(&foreign::described(other))),
    }))
}

fn audio(media: &Media) -> Result<Audio<'_>> {
    let Some((media_type, data)) = media::inline(media) else {
        return Err(unsupported("audio by its URL: send its bytes inline"));
    };
    Ok(Audio { data, format: media::audio_format(media_type) })
}

fn file(media: &Media) -> File<'_> {
    File { filename: media::file_name(media), file_data: media::url(media) }
}

fn tool_choice(choice: &ToolChoice) -> Result<Value> {
    Ok(match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Tool(name) => json!({ "type": "function", "function": { "name": name } }),
        other => return Err(unsupported(&format!("the tool choice {other:?}"))),
    })
}

fn response_format(format: &ResponseFormat) -> Result<Value> {
    Ok(match format {
        ResponseFormat::Text => json!({ "type": "text" }),
        ResponseFormat::JsonObject => json!({ "type": "json_object" }),
        // Schemas that the strict mode does not support are sent without it.
        ResponseFormat::JsonSchema { name, schema, strict: true } if schema::can_be_strict(schema) => json!({
            "type": "json_schema",
            "json_schema": { "name": name, "schema": schema::within(schema, &schema::STRICT), "strict": true },
        }),
        ResponseFormat::JsonSchema { name, schema, .. } => json!({
            "type": "json_schema",
            "json_schema": { "name": name, "schema": schema, "strict": false },
        }),
        other => return Err(unsupported(&format!("the response format {other:?}"))),
    })
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Input, format!("the Chat Completions API does not support {what}"))
}
