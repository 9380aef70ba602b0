//! OpenAI's chat completions: the dialect of most servers.

mod read;
pub(crate) mod signed;
mod values;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use fanweave_core::{Delta, Error, ErrorKind, FinishReason, Message, Part, Reply, Result, Role, Usage};
use http::{HeaderMap, StatusCode};
use serde_json::value::RawValue;

use self::read::{Choice, Completion, Function, Said, WireToolCall};
use self::signed::Signed;
use self::values::{Content, Text};
use self::write::Request;
use super::assemble::{Calls, Fragment};
use super::extras::{self, Audio, Citations};
use super::failure::{self, classify};
use super::reasoning::ReasoningField;
use super::triage::{DialectDecoder, Triage};
use super::{finish, foreign, json};
use crate::protocol::{Call, HttpRequest, Protocol, SseEvent, StreamDecoder, StreamEnd};
use crate::transport::caps::CHOICES;

/// Deviations of a vendor from OpenAI's own dialects. The default is common to compatible servers.
///
/// ```
/// use fanweave::models::{Quirks, Vendor};
///
/// let vendor = Vendor::new("acme", "https://api.acme.example/v1").quirks(Quirks::new().random_seed(true));
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[must_use]
pub struct Quirks {
    /// Name of the vendor in the table, for vendor-specific errors. Default: none.
    pub(crate) vendor: &'static str,
    pub(crate) max_completion_tokens: bool,
    pub(crate) random_seed: bool,
    pub(crate) no_stream_options: bool,
    pub(crate) no_finish_reason: bool,
    pub(crate) think_tags: bool,
    pub(crate) send_back: SendBack,
    pub(crate) reasoning: ReasoningField,
}

/// Reasoning that is sent back to a server of chat completions with the messages of a conversation.
///
/// Fields that came with a signature, such as `reasoning_details`, are sent back as they came in every case
/// but [`Nothing`](Self::Nothing).
///
/// ```
/// use fanweave::models::{Quirks, SendBack, Vendor};
///
/// let quirks = Quirks::new().send_back(SendBack::ReasoningContent);
/// let vendor = Vendor::new("acme", "https://api.acme.example/v1").quirks(quirks);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SendBack {
    /// No reasoning: the server refuses it.
    Nothing,
    /// Only what has a signature.
    #[default]
    Signed,
    /// Also its text, as `reasoning_content`.
    ReasoningContent,
    /// Also its text, as `reasoning`.
    Reasoning,
    /// Also its text, as a part of the content with the type `thinking`.
    ThinkingPart,
}

impl Quirks {
    /// No deviations from what compatible servers have in common.
    pub const fn new() -> Self {
        Self {
            vendor: "",
            max_completion_tokens: false,
            random_seed: false,
            no_stream_options: false,
            no_finish_reason: false,
            think_tags: false,
            send_back: SendBack::Signed,
            reasoning: ReasoningField::Effort,
        }
    }

    /// The output limit is called `max_completion_tokens`: OpenAI's newer models reject `max_tokens`, and
    /// most other servers support only that. Default false.
    pub const fn max_completion_tokens(self, is_called_so: bool) -> Self {
        Self { max_completion_tokens: is_called_so, ..self }
    }

    /// The seed is called `random_seed`. Default false.
    pub const fn random_seed(self, is_called_so: bool) -> Self {
        Self { random_seed: is_called_so, ..self }
    }

    /// The server rejects `stream_options`, and always reports usage. Default false.
    pub const fn no_stream_options(self, rejects: bool) -> Self {
        Self { no_stream_options: rejects, ..self }
    }

    /// The server never sends a finish reason: the end marker alone completes a stream. Default false.
    pub const fn no_finish_reason(self, never_sends: bool) -> Self {
        Self { no_finish_reason: never_sends, ..self }
    }

    /// Thinking that a model writes at the beginning of its text, such as `<think>..</think>`, is reasoning.
    /// For servers that do not separate it, in any dialect. Default false.
    pub const fn think_tags(self, are_reasoning: bool) -> Self {
        Self { think_tags: are_reasoning, ..self }
    }

    /// Field that sets the amount of reasoning. Default [`ReasoningField::Effort`].
    pub const fn reasoning(self, reasoning: ReasoningField) -> Self {
        Self { reasoning, ..self }
    }

    /// Reasoning that is sent back with the messages of a conversation. Default [`SendBack::Signed`].
    pub const fn send_back(self, send_back: SendBack) -> Self {
        Self { send_back, ..self }
    }
}

/// The dialect.
pub(crate) struct ChatCompletions {
    pub(crate) quirks: Quirks,
}

impl Protocol for ChatCompletions {
    fn request(&self, call: &Call<'_>) -> Result<HttpRequest> {
        let body = match call.body {
            Some(body) if foreign::is_of_other_vendor(body) => write::translated(call, self.quirks)?,
            Some(body) => write::own(call, body, self.quirks)?,
            None => Request::new(call, self.quirks)?.to_json()?,
        };
        Ok(HttpRequest::post("/chat/completions", body).streamed(call.stream))
    }

    fn response(&self, body: &[u8]) -> Result<Message> {
        let mut space = String::new();
        let mut completion = Completion::parse(body, &mut space)?;
        let vendor = self.quirks.vendor;
        if let Some(error) = completion.failure_instead(body, vendor) {
            return Err(error);
        }
        let usage = completion.take_usage();
        let mut reply = Reply::new();
        reply.id = completion.id.into_option();
        reply.model = completion.model.into_option();
        reply.usage = usage.unwrap_or_default();
        // The answer is the first of several candidates, in any position of the list.
        let mut choices = completion.choices.into_vec();
        let first = choices.iter().position(|choice| choice.index.0 == 0).unwrap_or_default();
        if choices.is_empty() {
            let body = json::read(body).unwrap_or_default();
            return Err(failure::instead(&body, vendor, "the response has no `choices`"));
        }
        let choice = choices.swap_remove(first);
        let mut citations = Citations::default();
        let failed = choice.failure(vendor);
        reply.finish_reason = finish::reason(choice.finish_reason.as_str());
        let is_chunk = choice.message.0.is_none() && choice.delta.0.is_some();
        let mut said = choice.message.0.or(choice.delta.0).unwrap_or_default();
        said.or_text(choice.text);
        if !said.refusal.is_empty() {
            reply.finish_reason = Some(FinishReason::Refusal);
        }
        citations.add_raw(said.annotations);
        citations.add_raw(completion.search_results);
        citations.add_raw(completion.citations);
        reply.citations = citations.into_vec();
        let message = Message::from_parts(Role::Assistant, parts(said)?).with_reply(reply);
        match failed {
            Some(error) if message.parts.is_empty() => Err(error),
            Some(error) => Err(error.with_partial(message)),
            None if is_chunk && !self.quirks.no_finish_reason => finish::checked_chunk(message),
            None => finish::checked(message),
        }
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        let decoder = Decoder { quirks: self.quirks, ..Decoder::default() };
        Box::new(Triage::new(self.quirks.vendor, decoder).no_finish_reason(self.quirks.no_finish_reason))
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error {
        classify(status, headers, body, self.quirks.vendor)
    }
}

/// The parts of an answer that was not streamed.
fn parts(mut said: Said<'_>) -> Result<Vec<Part>> {
    let wire_calls = said.take_calls();
    let mut parts = Vec::new();
    let mut signed = Signed::default();
    said.sign(&mut signed);
    let mut reasoning = said.reasoning().into_string();
    if reasoning.is_empty() {
        reasoning = signed.text();
    }
    let signature = signed.signature();
    if !reasoning.is_empty() || signature.is_some() {
        parts.push(Part::Reasoning { text: reasoning, signature });
    }
    match said.content {
        Content::Text(text) if text.is_empty() => {}
        Content::Text(text) => parts.push(Part::Text(text.into_string())),
        Content::Parts(content) => parts.extend(content.into_iter().map(read::part)),
    }
    if !said.refusal.is_empty() {
        parts.push(Part::Text(said.refusal.into_string()));
    }
    let mut audio = Audio::default();
    let transcript = audio.add(said.audio).filter(|_| parts.iter().all(|part| part.as_text().is_none()));
    parts.extend(transcript.map(Part::Text));
    parts.extend(audio.take());
    parts.extend(extras::media_raw(said.images));
    let mut calls = Calls::default();
    for wire in wire_calls {
        let signature = wire.signature().map(Some);
        parts.extend(signature.map(|signature| Part::Reasoning { text: String::new(), signature }));
        let WireToolCall { id, function, .. } = wire;
        let function = function.0.unwrap_or_default();
        parts.extend(calls.part(fragment(None, &id, &function))?);
    }
    Ok(parts)
}

fn fragment<'a>(index: Option<u32>, id: &'a Text<'_>, function: &'a Function<'_>) -> Fragment<'a> {
    let (name, arguments) = (function.name.as_str(), function.arguments.0.as_str());
    Fragment { index, id: id.as_str(), name, arguments }
}

/// Decodes one stream.
#[derive(Default)]
struct Decoder {
    quirks: Quirks,
    started: bool,
    refused: bool,
    calls: Calls,
    /// Set once a delta has said something: a whole message after it states the same once more.
    has_deltas: bool,
    has_text: bool,
    has_reasoning: bool,
    /// The fields that the server wants back with the message. Complete when the answer is finished.
    signed: Signed,
    /// Number of calls with signatures.
    signed_calls: u32,
    citations: Citations,
    audio: Audio,
    /// Number of images and other parts.
    others: u32,
    /// The index of the candidate that is the answer: the lowest of the first chunk.
    candidate: Option<u64>,
    /// The other candidates that were started and not finished, and those that were finished.
    open: BTreeSet<u64>,
    closed: BTreeSet<u64>,
    /// Set if the last chunk had only text and usage.
    is_plain: bool,
}

impl StreamDecoder for Decoder {
    fn event(&mut self, event: &SseEvent<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        let mut space = String::new();
        let mut chunk = Completion::parse_chunk(event.data, &mut space)?;
        if let Some(error) = chunk.failure(event.data.as_bytes(), self.quirks.vendor) {
            return Err(error);
        }
        self.is_plain = true;
        let usage = chunk.take_usage();
        let names_itself = !chunk.id.is_empty() || !chunk.model.is_empty();
        if names_itself && !self.started {
            self.started = true;
            deltas.push(Delta::Started { id: chunk.id.into_option(), model: chunk.model.into_option() });
        }
        if chunk.citations.is_some() || chunk.search_results.is_some() {
            self.citations.add_raw(chunk.search_results);
            self.citations.add_raw(chunk.citations);
            self.citations.emit(deltas);
        }
        // The answer is the first of several candidates.
        let choices = chunk.choices.into_vec();
        let lowest = || choices.iter().map(|choice| choice.index.0).min();
        self.candidate = self.candidate.or_else(lowest);
        for choice in choices {
            if self.candidate != Some(choice.index.0) {
                self.other(&choice);
                continue;
            }
            let failed = choice.failure(self.quirks.vendor);
            let delta = choice.delta.0.filter(|delta| !delta.is_empty());
            let has_delta = delta.is_some();
            let (mut said, restated) = match (delta, choice.message.0) {
                (Some(delta), message) => (delta, message),
                (None, message) if self.has_deltas => (Said::default(), message),
                (None, message) => (message.unwrap_or_default(), None),
            };
            said.or_text(choice.text);
            self.said(said, false, deltas)?;
            self.has_deltas |= has_delta;
            if let Some(restated) = restated {
                self.said(restated, true, deltas)?;
            }
            if let Some(error) = failed {
                return Err(error);
            }
            if let Some(reason) = finish::reason(choice.finish_reason.as_str()) {
                // A whole message after this one states the same once more.
                self.has_deltas |= self.has_text || !self.calls.is_empty();
                if let signature @ Some(_) = std::mem::take(&mut self.signed).signature() {
                    deltas.push(Delta::Reasoning { part: 0, text: String::new(), signature });
                }
                if let Some(content) = self.audio.take() {
                    deltas.push(self.part(content));
                }
                deltas.extend(self.calls.finish());
                let reason = if self.refused { FinishReason::Refusal } else { reason };
                deltas.push(Delta::Finished(reason));
            }
        }
        deltas.extend(usage.map(Delta::Usage));
        Ok(())
    }

    /// The end marker is not an object.
    fn is_done(&self) -> bool {
        false
    }

    /// Every candidate that was started must be finished.
    fn end(&mut self, _: StreamEnd) -> Result<()> {
        let Some(open) = self.open.first() else { return Ok(()) };
        let message = format!("the stream ended without a finish reason of choice {open}");
        Err(Error::new(ErrorKind::StreamIncomplete, message))
    }
}

impl DialectDecoder for Decoder {
    fn may_repeat(&self) -> bool {
        self.is_plain
    }

    fn usage(&self, json: &str) -> Option<Usage> {
        read::usage(json)
    }
}

impl Decoder {
    /// Notes whether another candidate than the answer is finished.
    #[cold]
    fn other(&mut self, choice: &Choice<'_>) {
        if finish::reason(choice.finish_reason.as_str()).is_some() {
            self.open.remove(&choice.index.0);
            if self.closed.len() < CHOICES.max {
                self.closed.insert(choice.index.0);
            }
        } else if self.open.len() < CHOICES.max && !self.closed.contains(&choice.index.0) {
            self.open.insert(choice.index.0);
        }
    }

    /// Adds what comes beside the text.
    #[cold]
    fn extras(
        &mut self,
        annotations: Option<&RawValue>,
        images: Option<&RawValue>,
        audio: Option<&RawValue>,
        is_restated: bool,
        deltas: &mut Vec<Delta>,
    ) {
        self.citations.add_raw(annotations);
        self.citations.emit(deltas);
        if is_restated && self.others > 0 {
            return;
        }
        for content in extras::media_raw(images) {
            let content = self.part(content);
            deltas.push(content);
        }
        deltas.extend(self.audio.add(audio).map(Delta::text));
    }

    /// A part of the content as a delta.
    fn part(&mut self, content: Part) -> Delta {
        match content {
            Part::Text(text) => Delta::text(text),
            Part::Reasoning { text, signature } => Delta::Reasoning { part: 0, text, signature },
            content => {
                self.others += 1;
                match content {
                    Part::Other(value) => Delta::Other { part: self.others, value },
                    content => Delta::Part { part: self.others, content: Box::new(content) },
                }
            }
        }
    }

    /// Adds a message, or the next part of it. If it is restated, only what is missing is added.
    fn said(&mut self, mut said: Said<'_>, is_restated: bool, deltas: &mut Vec<Delta>) -> Result<()> {
        if is_restated && self.has_text {
            said.content = Content::default();
            said.refusal = Text::default();
        }
        if is_restated && self.has_reasoning {
            said.without_reasoning();
        }
        let calls = said.take_calls();
        said.sign(&mut self.signed);
        self.is_plain &= calls.is_empty() && !said.is_signed();
        let mut reasoning = said.reasoning().into_string();
        if reasoning.is_empty() {
            let mut signed = Signed::default();
            said.sign(&mut signed);
            reasoning = signed.text();
        }
        if !reasoning.is_empty() {
            self.has_reasoning = true;
            deltas.push(Delta::Reasoning { part: 0, text: reasoning, signature: None });
        }
        let (annotations, images, audio) = (said.annotations, said.images, said.audio);
        match said.content {
            Content::Text(text) if text.is_empty() => {}
            Content::Text(text) => {
                self.has_text = true;
                deltas.push(Delta::text(text.into_string()));
            }
            Content::Parts(parts) => {
                self.has_text |= !parts.is_empty();
                for content in parts {
                    let content = self.part(read::part(content));
                    deltas.push(content);
                }
            }
        }
        if annotations.is_some() || images.is_some() || audio.is_some() {
            self.is_plain = false;
            self.extras(annotations, images, audio, is_restated, deltas);
        }
        if !said.refusal.is_empty() {
            self.refused = true;
            self.has_text = true;
            deltas.push(Delta::text(said.refusal.into_string()));
        }
        for wire in calls {
            if let signature @ Some(_) = wire.signature().filter(|_| !is_restated) {
                self.signed_calls += 1;
                deltas.push(Delta::Reasoning { part: self.signed_calls, text: String::new(), signature });
            }
            let WireToolCall { index, id, function, .. } = wire;
            let function = function.0.unwrap_or_default();
            let fragment = fragment(index.0, &id, &function);
            deltas.extend(match is_restated {
                true => self.calls.restated(fragment)?,
                false => self.calls.add(fragment)?,
            });
        }
        Ok(())
    }
}
