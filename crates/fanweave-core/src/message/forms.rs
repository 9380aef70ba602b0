//! Messages in the forms of other programs, read whole.
//!
//! Nothing is guessed and nothing is lost silently: a field that is neither content nor listed metadata is an
//! error that names it.

mod calls;
mod parts;

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{FinishReason, Message, Part, Reply, Role, ToolResult, Usage};
use crate::{Error, ErrorKind, Result, excerpt};

/// Maximum bytes of a value in the text of an error. 60: it fits on a line with its path.
const EXCERPT: usize = 60;

/// Fields without content for a model: ids, logs and hints of the program that wrote the message.
const METADATA: [&str; 14] = [
    "annotations",
    "artifact",
    "cache_control",
    "chunk_position",
    "created_at",
    "example",
    "id",
    "index",
    "lc_attributes",
    "metadata",
    "response_metadata",
    "timestamp",
    "tool_call_chunks",
    "type",
];

impl Message {
    /// Reads messages in any of the forms that programs and providers write.
    ///
    /// - Lists of messages with a `role`: those of OpenAI, Anthropic, Gemini (`parts`) and fanweave itself,
    ///   with their tool calls, tool results, media and reasoning.
    /// - The items of OpenAI's Responses API.
    /// - LangChain's messages: of `messages_to_dict`, `dumpd` and `model_dump`, their chunks and content
    ///   blocks.
    /// - ShareGPT's `from` and `value`; pairs of a role and its content, such as `["human", "Hello"]`; pairs
    ///   of a question and its answer; texts, each a message of the user.
    /// - `null` is an empty list, and a text is one message of the user.
    ///
    /// Roles are `system`, `developer`, `user`, `human`, `assistant`, `ai`, `model`, `gpt`, `tool`,
    /// `function` and `observation`. Fields that are only metadata, such as `id` and `response_metadata`, are
    /// dropped, and so is every field that is `null`. Content parts of an unknown type become
    /// [`Part::Other`].
    ///
    /// ```
    /// use fanweave::crates::serde_json::json;
    /// use fanweave::{Message, messages::Role};
    ///
    /// # fn main() -> fanweave::Result<()> {
    /// let call = json!({ "name": "add", "args": { "a": 1, "b": 2 }, "id": "c1" });
    /// let messages = Message::read_all(&json!([
    ///     ["human", "1 + 2?"],
    ///     { "type": "ai", "content": "", "tool_calls": [call] },
    ///     { "role": "tool", "tool_call_id": "c1", "content": "3" },
    /// ]))?;
    /// assert_eq!(messages[1].tool_calls().next().unwrap().name, "add");
    /// assert_eq!(messages[2].role, Role::Tool);
    /// let unknown = json!([{ "role": "user", "content": "x", "colour": "red" }]);
    /// let error = Message::read_all(&unknown).unwrap_err();
    /// assert_eq!(error.to_string(), "messages[0].colour: unknown field");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Input`] with the path of the first value that is not a message, and of the first unknown
    /// field.
    pub fn read_all(value: &Value) -> Result<Vec<Self>> {
        let mut reader = Reader::default();
        let messages = reader.list(value, &At::Root)?;
        match reader.unknown.into_iter().next() {
            Some(path) => Err(input(format!("{path}: unknown field"))),
            None => Ok(messages),
        }
    }
}

/// The path of a value. It is written only for errors.
#[derive(Clone, Copy)]
enum At<'a> {
    Root,
    Key(&'a At<'a>, &'a str),
    Index(&'a At<'a>, usize),
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Root => f.write_str("messages"),
            At::Key(parent, key) => write!(f, "{parent}.{key}"),
            At::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

fn input(message: String) -> Error {
    Error::new(ErrorKind::Input, message)
}

fn wrong(at: &At<'_>, expected: &str, got: &Value) -> Error {
    input(format!("{at}: expected {expected}, got {}", excerpt(&got.to_string(), EXCERPT)))
}

/// The text of a field. `None` if it is missing or `null`.
fn text(map: &Map<String, Value>, key: &str, at: &At<'_>) -> Result<Option<String>> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(wrong(&At::Key(at, key), "a string", other)),
    }
}

fn required(map: &Map<String, Value>, key: &str, at: &At<'_>) -> Result<String> {
    text(map, key, at)?.ok_or_else(|| input(format!("{at}: `{key}` is missing")))
}

/// The author of a message, in the forms' own words.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Author {
    Role(Role),
    /// The result of a legacy function call, which has a name but no id.
    Function,
}

fn author(word: &str) -> Option<Author> {
    Some(Author::Role(match word {
        "system" | "developer" | "System" | "SystemMessageChunk" => Role::System,
        "user" | "human" | "Human" | "HumanMessageChunk" => Role::User,
        "assistant" | "ai" | "model" | "gpt" | "AI" | "AIMessageChunk" => Role::Assistant,
        "tool" | "observation" | "Tool" | "ToolMessageChunk" => Role::Tool,
        "function" | "Function" | "FunctionMessageChunk" => return Some(Author::Function),
        _ => return None,
    }))
}

/// A call whose result has not been read yet.
struct Open {
    id: String,
    name: String,
}

/// Reads one list of messages.
#[derive(Default)]
struct Reader {
    /// Paths of the fields that no form has.
    unknown: Vec<String>,
    open: Vec<Open>,
    /// Number of calls without an id, which are numbered.
    numbered: usize,
    /// Set while the last message consists of items of the Responses API.
    has_items: bool,
}

/// A message whose fields are being read.
#[derive(Default)]
struct Draft {
    reasoning: Vec<Part>,
    content: Vec<Part>,
    calls: Vec<Part>,
    refusal: Option<String>,
    name: Option<String>,
    call_id: Option<String>,
    is_error: bool,
    usage: Option<Usage>,
    reply: Option<Reply>,
}

impl Reader {
    fn list(&mut self, value: &Value, at: &At<'_>) -> Result<Vec<Message>> {
        let items = match value {
            Value::Null => return Ok(Vec::new()),
            Value::String(text) => return Ok(vec![Message::user(text)]),
            Value::Array(items) => items,
            other => return Err(wrong(at, "a list of messages", other)),
        };
        let mut messages = Vec::with_capacity(items.len());
        if let Some(rounds) = rounds(items) {
            for [question, answer] in rounds {
                messages.extend([Message::user(question), Message::assistant(answer)]);
            }
            return Ok(messages);
        }
        for (i, item) in items.iter().enumerate() {
            let at = At::Index(at, i);
            match item {
                Value::String(text) => messages.push(Message::user(text)),
                Value::Array(pair) => messages.push(self.pair(pair, item, &at)?),
                Value::Object(map) => self.object(map, &at, &mut messages)?,
                other => return Err(wrong(&at, "a message", other)),
            }
        }
        Ok(messages)
    }

    fn pair(&mut self, pair: &[Value], whole: &Value, at: &At<'_>) -> Result<Message> {
        let [Value::String(word), content] = pair else {
            return Err(wrong(at, "a role and its content, such as [\"user\", \"Hello\"]", whole));
        };
        let Some(Author::Role(role)) = author(word) else { return Err(unknown_role(word, at)) };
        let content = self.content(content, &At::Index(at, 1))?;
        Ok(Message::from_parts(role, content))
    }

    fn object(&mut self, map: &Map<String, Value>, at: &At<'_>, messages: &mut Vec<Message>) -> Result<()> {
        let has_items = std::mem::take(&mut self.has_items);
        let kind = map.get("type").and_then(Value::as_str).unwrap_or_default();
        let inner = |key: &'static str| map.get(key).and_then(Value::as_object);
        if let (Some(kwargs), "constructor") = (inner("kwargs"), kind) {
            self.check(map, &["lc", "kwargs"], at);
            let class = map.get("id").and_then(Value::as_array).and_then(|id| id.last()?.as_str());
            let class = class.unwrap_or_default();
            let word = class.trim_end_matches("Chunk").trim_end_matches("Message");
            return self.message(word, kwargs, &At::Key(at, "kwargs"), messages);
        }
        if let Some(data) = inner("data") {
            self.check(map, &["data"], at);
            return self.message(kind, data, &At::Key(at, "data"), messages);
        }
        if let Some(from) = text(map, "from", at)? {
            return self.sharegpt(&from, map, at, messages);
        }
        if let Some(role) = text(map, "role", at)? {
            let before = messages.len();
            self.message(&role, map, at, messages)?;
            if kind == "message" {
                self.join_items(has_items, before, messages);
            }
            return Ok(());
        }
        if author(kind).is_some() || matches!(kind, "chat" | "remove") {
            return self.message(kind, map, at, messages);
        }
        if let Some(message) = self.item(kind, map, at)? {
            messages.push(message);
            self.join_items(has_items, messages.len() - 1, messages);
            return Ok(());
        }
        if kind.is_empty() {
            return Err(input(format!("{at}: expected a message with `role`, `type` or `from`")));
        }
        Err(input(format!("{at}: unknown type `{}`", excerpt(kind, EXCERPT))))
    }

    /// Joins an item with the message before it, if that is one of items with the same role.
    fn join_items(&mut self, has_items: bool, from: usize, messages: &mut Vec<Message>) {
        self.has_items = true;
        if has_items
            && messages.len() == from + 1
            && let [.., last, new] = messages.as_mut_slice()
            && last.role == new.role
            && matches!(new.role, Role::Assistant | Role::Tool)
        {
            last.parts.append(&mut new.parts);
            messages.pop();
        }
    }

    /// ShareGPT's form: calls and results are texts.
    fn sharegpt(
        &mut self,
        from: &str,
        map: &Map<String, Value>,
        at: &At<'_>,
        messages: &mut Vec<Message>,
    ) -> Result<()> {
        self.check(map, &["from", "value", "weight"], at);
        let value = required(map, "value", at)?;
        if from == "function_call" {
            let call: Value = serde_json::from_str(&value)
                .map_err(|e| input(format!("{at}.value: the call is not valid JSON: {e}")))?;
            let call = self.call(&call, &At::Key(at, "value"))?;
            messages.push(Message::from_parts(Role::Assistant, vec![call]));
            return Ok(());
        }
        let Some(author) = author(from) else { return Err(unknown_role(from, at)) };
        let draft = Draft { content: vec![Part::Text(value)], ..Draft::default() };
        self.finish(author, draft, at, messages)
    }

    /// Reads the fields of a message with a role.
    fn message(
        &mut self,
        word: &str,
        map: &Map<String, Value>,
        at: &At<'_>,
        messages: &mut Vec<Message>,
    ) -> Result<()> {
        let role;
        let author = match word {
            "remove" | "Remove" => {
                return Err(input(format!(
                    "{at}: a message that removes another cannot be part of a prompt"
                )));
            }
            "chat" | "Chat" | "ChatMessageChunk" => {
                role = required(map, "role", at)?;
                author(&role).ok_or_else(|| unknown_role(&role, at))?
            }
            word => author(word).ok_or_else(|| unknown_role(word, at))?,
        };
        let mut draft = Draft::default();
        for (key, value) in map {
            if !value.is_null() {
                self.field(&mut draft, key, value, map, at)?;
            }
        }
        self.finish(author, draft, at, messages)
    }

    fn field(
        &mut self,
        draft: &mut Draft,
        key: &str,
        value: &Value,
        map: &Map<String, Value>,
        at: &At<'_>,
    ) -> Result<()> {
        let here = At::Key(at, key);
        match key {
            "content" | "parts" => draft.content.extend(self.content(value, &here)?),
            "name" => draft.name = text(map, key, at)?,
            "tool_call_id" => draft.call_id = text(map, key, at)?,
            "refusal" => draft.refusal = text(map, key, at)?.filter(|text| !text.is_empty()),
            "tool_calls" | "invalid_tool_calls" => {
                let Value::Array(calls) = value else { return Err(wrong(&here, "a list of calls", value)) };
                for (i, call) in calls.iter().enumerate() {
                    let call = self.call(call, &At::Index(&here, i))?;
                    draft.calls.push(call);
                }
            }
            "function_call" => {
                let call = self.call(value, &here)?;
                draft.calls.push(call);
            }
            "reasoning_content" | "reasoning" | "thinking" => {
                let text = text(map, key, at)?.filter(|text| !text.is_empty());
                if draft.reasoning.is_empty() {
                    draft.reasoning.extend(text.map(Part::reasoning));
                }
            }
            "reasoning_details" => {
                let Value::Array(details) = value else { return Err(wrong(&here, "a list", value)) };
                if !details.is_empty() {
                    draft.reasoning = details.iter().map(parts::reasoning_detail).collect();
                }
            }
            "audio" => {
                let transcript = value.get("transcript").and_then(Value::as_str);
                let transcript =
                    transcript.ok_or_else(|| input(format!("{here}: audio without `transcript`")))?;
                draft.content.push(Part::text(transcript));
            }
            "additional_kwargs" => self.additional(draft, value, map, &here)?,
            "usage_metadata" => draft.usage = Some(usage(value)),
            "status" => draft.is_error |= value == "error",
            "is_error" => draft.is_error |= value == true,
            "reply" => {
                let reply = Reply::deserialize(value).map_err(|e| input(format!("{here}: {e}")))?;
                draft.reply = Some(reply);
            }
            "role" | "lc" => {}
            key if METADATA.contains(&key) => {}
            _ => self.unknown.push(here.to_string()),
        }
        Ok(())
    }

    /// LangChain's copy of what a provider sent. The fields of the message itself take precedence.
    fn additional(
        &mut self,
        draft: &mut Draft,
        value: &Value,
        message: &Map<String, Value>,
        at: &At<'_>,
    ) -> Result<()> {
        let Value::Object(map) = value else { return Err(wrong(at, "an object", value)) };
        let is_empty = |key: &str| match message.get(key) {
            None | Some(Value::Null) => true,
            Some(Value::Array(items)) => items.is_empty(),
            Some(_) => false,
        };
        let has_calls = !is_empty("tool_calls") || !is_empty("invalid_tool_calls");
        for (key, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            match key.as_str() {
                "tool_calls" | "function_call" if has_calls => {}
                "tool_calls" | "function_call" | "reasoning_content" | "reasoning" | "reasoning_details"
                | "refusal" | "audio" | "parsed" => {
                    if key != "parsed" && is_empty(key) {
                        self.field(draft, key, value, map, at)?;
                    }
                }
                _ => self.unknown.push(At::Key(at, key).to_string()),
            }
        }
        Ok(())
    }

    /// Builds the message, or two if results of tools come with other content.
    fn finish(
        &mut self,
        author: Author,
        draft: Draft,
        at: &At<'_>,
        messages: &mut Vec<Message>,
    ) -> Result<()> {
        let Draft { reasoning, content, calls, refusal, name, call_id, is_error, usage, reply } = draft;
        let mut parts = reasoning;
        let has_results = content.iter().any(|part| matches!(part, Part::ToolResult(_)));
        let role = match author {
            Author::Role(Role::Tool) if has_results => Role::Tool,
            Author::Function | Author::Role(Role::Tool) => {
                let id = self.result_id(call_id, name.as_deref(), at)?;
                let content = if content.is_empty() { vec![Part::text("")] } else { content };
                parts.push(Part::ToolResult(ToolResult { id, parts: content, is_error }));
                messages.push(Message::from_parts(Role::Tool, parts));
                return Ok(());
            }
            Author::Role(role) => role,
        };
        parts.extend(content);
        let refused = refusal.is_some();
        parts.extend(refusal.map(Part::Text));
        for call in calls {
            // Content blocks of a message may repeat its calls.
            let repeats = |part: &Part| match (part, &call) {
                (Part::ToolCall(one), Part::ToolCall(other)) => one.id == other.id,
                _ => false,
            };
            if !parts.iter().any(repeats) {
                parts.push(call);
            }
        }
        if role == Role::User && has_results {
            let (results, rest): (Vec<_>, Vec<_>) =
                parts.into_iter().partition(|part| matches!(part, Part::ToolResult(_)));
            messages.push(Message::from_parts(Role::Tool, results));
            if rest.is_empty() {
                return Ok(());
            }
            parts = rest;
        }
        if parts.is_empty() && role != Role::Assistant {
            return Err(input(format!("{at}: `content` is missing")));
        }
        let mut message = Message::from_parts(role, parts);
        message.name = name.map(Into::into);
        if reply.is_some() || usage.is_some() || refused {
            let mut reply = reply.unwrap_or_default();
            reply.usage = usage.unwrap_or(reply.usage);
            if refused {
                reply.finish_reason = Some(FinishReason::Refusal);
            }
            message.reply = Some(Box::new(reply));
        }
        messages.push(message);
        Ok(())
    }

    /// Notes the fields of an object that are neither in `known` nor metadata.
    fn check(&mut self, map: &Map<String, Value>, known: &[&str], at: &At<'_>) {
        for (key, value) in map {
            let key = key.as_str();
            if !value.is_null() && !known.contains(&key) && !METADATA.contains(&key) {
                self.unknown.push(At::Key(at, key).to_string());
            }
        }
    }
}

fn unknown_role(word: &str, at: &At<'_>) -> Error {
    input(format!(
        "{at}: unknown role `{}`: expected system, user, assistant or tool, or a name of LangChain for them",
        excerpt(word, EXCERPT)
    ))
}

/// The texts of a list of pairs of a question and its answer. `None` if its pairs may begin with roles: a
/// first text of one word that is not a role is taken for a mistake.
fn rounds(items: &[Value]) -> Option<Vec<[&str; 2]>> {
    let pairs = items.iter().map(|item| match item.as_array()?.as_slice() {
        [Value::String(question), Value::String(answer)] => Some([question.as_str(), answer.as_str()]),
        _ => None,
    });
    let pairs: Vec<_> = pairs.collect::<Option<_>>()?;
    let is_word = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let any_role = pairs.iter().any(|[first, _]| author(first).is_some());
    let any_sentence = pairs.iter().any(|[first, _]| !is_word(first));
    (!any_role && any_sentence).then_some(pairs)
}

fn usage(value: &Value) -> Usage {
    let count = |path: &str| value.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    Usage {
        input_tokens: count("/input_tokens"),
        output_tokens: count("/output_tokens"),
        cached_tokens: count("/input_token_details/cache_read"),
        cache_write_tokens: count("/input_token_details/cache_creation"),
        reasoning_tokens: count("/output_token_details/reasoning"),
    }
}

#[cfg(test)]
mod tests;
