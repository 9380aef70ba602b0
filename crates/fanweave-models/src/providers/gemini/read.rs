//! Decoding of responses: one response, or one per chunk of a stream.

use fanweave_core::{Delta, Error, ErrorKind, FinishReason, Fold, Message, Result, Usage};
use serde_json::Value;

use super::GENERATED;
use crate::protocol::{SseEvent, StreamDecoder};
use crate::providers::assemble::{Calls, Fragment};
use crate::providers::extras::{self, Citations};
use crate::providers::failure::{self, ProviderError};
use crate::providers::json::{count, is_empty, list, parse, some_text, text, written};
use crate::providers::triage::DialectDecoder;
use crate::providers::usage::Counts;
use crate::providers::{finish, usage};

/// Name of the vendor, for its errors.
pub(super) const VENDOR: &str = "gemini";

/// Decodes an answer that was not streamed, as a stream of one chunk.
pub(super) fn message(body: &[u8]) -> Result<Message> {
    let response = parse(body, "response")?;
    // A stream that was not requested as events is a list of responses.
    let list = match &response {
        Value::Array(list) if !list.is_empty() => &**list,
        one => std::slice::from_ref(one),
    };
    let (mut deltas, mut decoder) = (Vec::new(), Decoder::default());
    list.iter().try_for_each(|response| decoder.response(response, &mut deltas))?;
    if list.iter().all(|response| unwrapped(response).get("candidates").is_none()) {
        return Err(failure::instead(&response, VENDOR, "the response has no `candidates`"));
    }
    let mut fold = Fold::default();
    deltas.iter().for_each(|delta| fold.push(delta));
    finish::checked(fold.into_message()).map_err(|error| finish::saying(error, decoder.finish_words()))
}

/// The response in an object of a gateway, or the object itself.
fn unwrapped(response: &Value) -> &Value {
    match &response["response"] {
        inner @ Value::Object(_) if response.get("candidates").is_none() => inner,
        _ => response,
    }
}

/// Decodes one stream.
pub(super) struct Decoder {
    started: bool,
    /// The current part, and the number of parts so far.
    open: Option<Open>,
    parts: u32,
    calls: Calls,
    citations: Citations,
    /// The index of the candidate that is the answer: the lowest of the first response.
    candidate: Option<u64>,
    /// The sentence beside the finish reason.
    finish_words: String,
    /// Set if the last response had no calls.
    is_plain: bool,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            started: false,
            open: None,
            parts: 0,
            calls: Calls::with_prefix(GENERATED),
            citations: Citations::default(),
            candidate: None,
            finish_words: String::new(),
            is_plain: false,
        }
    }
}

/// Fields of a part with contents other than text.
const CONTENTS: [&str; 5] =
    ["inlineData", "fileData", "executableCode", "codeExecutionResult", "functionResponse"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Text,
    Thought,
}

impl StreamDecoder for Decoder {
    fn event(&mut self, event: &SseEvent<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        let response = parse(event.data.as_bytes(), "response")?;
        self.response(&response, deltas)
    }

    /// The stream has no end marker: the usage follows the finish reason.
    fn is_done(&self) -> bool {
        false
    }
}

impl DialectDecoder for Decoder {
    fn may_repeat(&self) -> bool {
        self.is_plain
    }

    fn finish_words(&self) -> &str {
        &self.finish_words
    }

    fn usage(&self, json: &str) -> Option<Usage> {
        parse(json.as_bytes(), "usage").ok().map(|usage| counted(&usage))
    }
}

impl Decoder {
    fn response(&mut self, response: &Value, deltas: &mut Vec<Delta>) -> Result<()> {
        self.is_plain = true;
        if response.is_array() {
            return Err(ProviderError::of(response).into_error(VENDOR));
        }
        if let Some(error) = failure::inside(response, VENDOR) {
            return Err(error);
        }
        let outer = response;
        let response = unwrapped(outer);
        if !std::ptr::eq(outer, response)
            && let Some(error) = failure::inside(response, VENDOR)
        {
            return Err(error);
        }
        if !self.started {
            let (id, model) = (some_text(&response["responseId"]), some_text(&response["modelVersion"]));
            if id.is_some() || model.is_some() {
                self.started = true;
                deltas.push(Delta::Started { id, model });
            }
        }
        // The answer is the first of several candidates.
        let all = &response["candidates"];
        let candidates = || list(all);
        let lowest = || candidates().map(|candidate| count(&candidate["index"])).min();
        self.candidate = self.candidate.or_else(lowest);
        let first = candidates().find(|candidate| Some(count(&candidate["index"])) == self.candidate);
        if first.is_none()
            && let Some(reason) = some_text(&response["promptFeedback"]["blockReason"])
        {
            let words = some_text(&response["promptFeedback"]["blockReasonMessage"]);
            let words = words.map(|words| format!(": {words}")).unwrap_or_default();
            let message = format!("the prompt was blocked: {reason}{words}");
            return Err(Error::new(ErrorKind::ContentFilter, message).with_code(reason));
        }
        if let Some(candidate) = first {
            self.content(&candidate["content"], deltas)?;
        }
        let cites = |name: &String| matches!(name.as_str(), "groundingMetadata" | "citationMetadata");
        if let Some(candidate) = first
            && candidate.as_object().is_some_and(|fields| fields.keys().any(cites))
        {
            self.citations.add(&candidate["groundingMetadata"]["groundingChunks"]);
            self.citations.add(&candidate["citationMetadata"]["citationSources"]);
            self.citations.add(&candidate["citationMetadata"]["citations"]);
            self.citations.emit(deltas);
        }
        let counts = either(response, "usageMetadata", "usage_metadata");
        if counts.is_object() {
            deltas.push(Delta::Usage(counted(counts)));
        }
        let mut reason = None;
        for (name, value) in first.and_then(Value::as_object).into_iter().flatten() {
            match name.as_str() {
                "finishReason" | "finish_reason" => reason = reason.or_else(|| some_text(value)),
                "finishMessage" | "finish_message" => self.finish_words = text(value),
                _ => {}
            }
        }
        if let Some(reason) = reason {
            deltas.extend(self.finish_reason(&reason).map(Delta::Finished));
        }
        Ok(())
    }

    /// Adds a content: parts in a list, a single one, or a text.
    fn content(&mut self, content: &Value, deltas: &mut Vec<Delta>) -> Result<()> {
        match content {
            Value::String(_) => self.part(content, deltas),
            Value::Array(contents) => contents.iter().try_for_each(|content| self.content(content, deltas)),
            content => match &content["parts"] {
                text @ Value::String(_) => self.part(text, deltas),
                parts => list(parts).try_for_each(|part| self.part(part, deltas)),
            },
        }
    }

    fn part(&mut self, part: &Value, deltas: &mut Vec<Delta>) -> Result<()> {
        let is_text_alone = part
            .as_object()
            .is_some_and(|fields| fields.len() == 1 && fields.get("text").is_some_and(Value::is_string));
        if is_text_alone {
            let said = text(&part["text"]);
            if !said.is_empty() {
                deltas.push(Delta::Text { part: self.continues(Open::Text), text: said });
            }
            return Ok(());
        }
        if part.is_string() {
            let said = text(part);
            deltas.push(Delta::Text { part: self.continues(Open::Text), text: said });
            return Ok(());
        }
        let signature = some_text(either(part, "thoughtSignature", "thought_signature"));
        let is_draft = CONTENTS.iter().any(|name| !is_empty(&part[*name]));
        if part["thought"] == true && !is_draft {
            let index = self.continues(Open::Thought);
            deltas.push(Delta::Reasoning { part: index, text: text(&part["text"]), signature });
            return Ok(());
        }
        if signature.is_some() {
            let text = String::new();
            deltas.push(Delta::Reasoning { part: self.next(), text, signature });
        }
        let call = either(part, "functionCall", "function_call");
        if call.is_object() && !is_empty(call) {
            self.is_plain = false;
            self.open = None;
            deltas.extend(self.calls.whole(Fragment {
                index: None,
                id: &text(&call["id"]),
                name: &text(&call["name"]),
                arguments: &written(&call["args"]),
            })?);
            return Ok(());
        }
        let said = part.get("text");
        if let Some(said) = said.map(text).filter(|text| !text.is_empty()) {
            deltas.push(Delta::Text { part: self.continues(Open::Text), text: said });
        }
        if part["thought"] != true
            && let Some(content) = extras::media(part)
        {
            deltas.push(Delta::Part { part: self.next(), content: Box::new(content) });
        } else if said.is_none() || CONTENTS.iter().any(|name| !is_empty(&part[*name])) {
            let mut value = part.clone();
            value.as_object_mut().map(|fields| fields.shift_remove("text"));
            deltas.push(Delta::Other { part: self.next(), value });
        }
        Ok(())
    }

    /// The index of the current part if it has this kind, or else of a new part.
    fn continues(&mut self, kind: Open) -> u32 {
        if self.open == Some(kind) {
            return self.parts - 1;
        }
        let index = self.next();
        self.open = Some(kind);
        index
    }

    /// The index of a new part.
    fn next(&mut self) -> u32 {
        self.open = None;
        self.parts += 1;
        self.parts - 1
    }

    fn finish_reason(&self, reason: &str) -> Option<FinishReason> {
        Some(match finish::reason(reason)? {
            FinishReason::Stop if !self.calls.is_empty() => FinishReason::ToolCalls,
            reason => reason,
        })
    }
}

fn counted(usage: &Value) -> Usage {
    let (mut thoughts, mut of_tools, mut cached) = (0, 0, 0);
    for (name, value) in usage.as_object().into_iter().flatten() {
        let field = match name.as_str() {
            "thoughtsTokenCount" | "thoughts_token_count" => &mut thoughts,
            "toolUsePromptTokenCount" | "tool_use_prompt_token_count" => &mut of_tools,
            "cachedContentTokenCount" | "cached_content_token_count" => &mut cached,
            _ => continue,
        };
        *field = count(value).max(*field);
    }
    let Counts { input, output, total, .. } = Counts::of(usage);
    usage::with_total(input.saturating_add(of_tools), output.saturating_add(thoughts), total)
        .cached_tokens(cached)
        .reasoning_tokens(thoughts)
}

/// A field under its name, or under that of gateways which write the names of Google's SDKs.
fn either<'a>(object: &'a Value, camel: &str, snake: &str) -> &'a Value {
    match &object[camel] {
        Value::Null => &object[snake],
        value => value,
    }
}
