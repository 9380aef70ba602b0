//! Decoding of responses: a list of items, or the events that build one.

use std::collections::{HashMap, HashSet};

use fanweave_core::{Delta, FinishReason, Message, Part, Reply, Result, Role, Usage};
use serde_json::{Value, json};

use crate::protocol::{SseEvent, StreamDecoder};
use crate::providers::assemble::{Calls, Fragment};
use crate::providers::extras::Citations;
use crate::providers::failure::{self, ProviderError};
use crate::providers::finish;
use crate::providers::json::{count, list, parse, some_text, text, written};

/// Name of the vendor, for its errors.
pub(super) const VENDOR: &str = "openai";

/// Decodes an answer that was not streamed.
pub(super) fn message(body: &[u8]) -> Result<Message> {
    let response = parse(body, "response")?;
    if let Some(error) = failure::inside(&response, VENDOR) {
        return Err(error);
    }
    let Some(output) = response.get("output") else {
        return Err(failure::instead(&response, VENDOR, "the response has no `output`"));
    };
    let mut calls = Calls::default();
    let mut parts = Vec::new();
    for item in list(output) {
        if item["type"] == "function_call" {
            parts.extend(calls.part(Fragment {
                index: None,
                id: &call_id(item),
                name: &text(&item["name"]),
                arguments: &written(&item["arguments"]),
            })?);
        } else {
            parts.extend(parts_of(item));
        }
    }
    if parts.is_empty() {
        // The field that the SDKs add, from gateways that send it alone.
        parts.extend(some_text(&response["output_text"]).map(Part::Text));
    }
    let has_calls = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let refused = list(output).flat_map(|item| list(&item["content"])).any(is_refusal);
    let mut reply = Reply::new();
    reply.id = some_text(&response["id"]);
    reply.model = some_text(&response["model"]);
    reply.finish_reason = finish_reason(&response, has_calls, refused);
    reply.usage = usage(&response["usage"]);
    let mut citations = Citations::default();
    list(output).for_each(|item| add_citations(item, &mut citations));
    reply.citations = citations.into_vec();
    let message = Message::from_parts(Role::Assistant, parts);
    finish::checked(message.with_reply(reply))
}

/// Adds the citations of an item.
fn add_citations(item: &Value, citations: &mut Citations) {
    list(&item["content"]).for_each(|content| citations.add(&content["annotations"]));
}

fn is_refusal(content: &Value) -> bool {
    content["type"] == "refusal"
}

/// The parts of an item other than a call.
fn parts_of(item: &Value) -> Vec<Part> {
    match item["type"].as_str() {
        Some("message") => match &item["content"] {
            Value::String(text) => vec![Part::Text(text.clone())],
            content => {
                list(content).map(content_text).filter(|text| !text.is_empty()).map(Part::Text).collect()
            }
        },
        Some("reasoning") => {
            vec![Part::Reasoning { text: thought(item), signature: signature(item) }]
        }
        _ => vec![Part::Other(item.clone())],
    }
}

/// The text of one content part, under any of its names.
fn content_text(content: &Value) -> String {
    [&content["text"], &content["refusal"]].into_iter().find_map(some_text).unwrap_or_default()
}

/// The id that a result must refer to. Falls back to the item's own id.
fn call_id(item: &Value) -> String {
    [&item["call_id"], &item["id"]].into_iter().find_map(some_text).unwrap_or_default()
}

/// The summary, or the reasoning itself if the server sends it.
fn thought(item: &Value) -> String {
    let texts = |value| list(value).map(|part| text(&part["text"])).collect::<Vec<_>>();
    let summary = texts(&item["summary"]);
    if summary.is_empty() { texts(&item["content"]).concat() } else { summary.join("\n\n") }
}

/// The data to send back with the reasoning: its id, and its encrypted content if that was requested.
fn signature(item: &Value) -> Option<String> {
    let id = some_text(&item["id"])?;
    let mut signature = json!({ "id": id });
    if let Some(encrypted) = some_text(&item["encrypted_content"]) {
        signature["encrypted_content"] = encrypted.into();
    }
    Some(signature.to_string())
}

fn finish_reason(response: &Value, has_calls: bool, refused: bool) -> Option<FinishReason> {
    Some(match response["status"].as_str().unwrap_or("completed") {
        "incomplete" => match response["incomplete_details"]["reason"].as_str().unwrap_or("incomplete") {
            "max_output_tokens" | "max_tokens" => FinishReason::Length,
            "content_filter" => FinishReason::ContentFilter,
            other => FinishReason::Other(other.to_owned()),
        },
        "completed" if has_calls => FinishReason::ToolCalls,
        "completed" if refused => FinishReason::Refusal,
        "completed" => FinishReason::Stop,
        other => FinishReason::Other(other.to_owned()),
    })
}

fn usage(usage: &Value) -> Usage {
    Usage::new(count(&usage["input_tokens"]), count(&usage["output_tokens"]))
        .cached_tokens(count(&usage["input_tokens_details"]["cached_tokens"]))
        .reasoning_tokens(count(&usage["output_tokens_details"]["reasoning_tokens"]))
}

/// The first number of items without an index: above any index.
const UNNUMBERED: u64 = 1 << 20;

/// Decodes one stream.
#[derive(Default)]
pub(super) struct Decoder {
    started: bool,
    done: bool,
    refused: bool,
    /// Items with at least one delta. Other items are emitted whole at their end.
    streamed: HashSet<u64>,
    calls: Calls,
    /// The number of each item by its id, and that of the last event: some servers send no indices.
    numbers: HashMap<String, u64>,
    last: u64,
    has_text: bool,
    has_reasoning: bool,
    citations: Citations,
}

impl StreamDecoder for Decoder {
    fn event(&mut self, event: &SseEvent<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        let json = parse(event.data.as_bytes(), "response event")?;
        if let Some(error) = failure::inside(&json, VENDOR) {
            return Err(error);
        }
        let item = self.number(&json);
        let is_whole = json["type"].is_null() && json["object"] == "response";
        match json["type"].as_str().unwrap_or(if is_whole { "response.done" } else { event.name }) {
            "response.failed" => return Err(ProviderError::of(&json["response"]).into_error(VENDOR)),
            "response.created" | "response.in_progress" if !self.started => {
                self.start(&json["response"], deltas);
            }
            "response.output_item.added" if json["item"]["type"] == "function_call" => {
                let call = &json["item"];
                deltas.extend(self.calls.start(Fragment {
                    index: Some(item as u32),
                    id: &call_id(call),
                    name: &text(&call["name"]),
                    arguments: &written(&call["arguments"]),
                })?);
            }
            "response.output_text.delta" => self.text(item, &json, "delta", deltas),
            "response.refusal.delta" => {
                self.refused = true;
                self.text(item, &json, "delta", deltas);
            }
            "response.output_text.annotation.added" => {
                self.citations.add(&json["annotation"]);
                self.citations.emit(deltas);
            }
            // Some servers send no deltas.
            "response.output_text.done" if !self.streamed.contains(&item) => {
                self.text(item, &json, "text", deltas);
            }
            "response.refusal.done" if !self.streamed.contains(&item) => {
                self.refused = true;
                self.text(item, &json, "refusal", deltas);
            }
            "response.function_call_arguments.done" => deltas.extend(self.calls.restated(Fragment {
                index: Some(item as u32),
                name: &text(&json["name"]),
                arguments: &written(&json["arguments"]),
                ..Fragment::default()
            })?),
            "response.function_call_arguments.delta" => deltas.extend(self.calls.add(Fragment {
                index: Some(item as u32),
                arguments: &text(&json["delta"]),
                ..Fragment::default()
            })?),
            "response.reasoning_summary_part.added" if count(&json["summary_index"]) > 0 => {
                let text = "\n\n".to_owned();
                deltas.push(Delta::Reasoning { part: item as u32, text, signature: None });
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                self.streamed.insert(item);
                self.has_reasoning = true;
                let text = text(&json["delta"]);
                deltas.push(Delta::Reasoning { part: item as u32, text, signature: None });
            }
            "response.output_item.done" => self.end(item, &json["item"], deltas)?,
            "response.completed" | "response.incomplete" | "response.cancelled" | "response.done" => {
                let response = if is_whole { &json } else { &json["response"] };
                if !self.started {
                    self.start(response, deltas);
                }
                self.restated(response, deltas)?;
                if response["usage"].is_object() {
                    deltas.push(Delta::Usage(usage(&response["usage"])));
                }
                deltas.extend(self.calls.finish());
                let has_calls = !self.calls.is_empty();
                deltas.extend(finish_reason(response, has_calls, self.refused).map(Delta::Finished));
                self.done = true;
            }
            // Starts and ends of parts, which add nothing to their deltas; progress of tools; and unknown
            // events.
            _ => {}
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

impl Decoder {
    /// The number of the item that an event is about: its index, or else one for each id.
    fn number(&mut self, event: &Value) -> u64 {
        let index = &event["output_index"];
        let id = [&event["item_id"], &event["item"]["id"]].into_iter().find_map(Value::as_str);
        self.last = match (index.is_null(), id) {
            (true, None) => self.last,
            (true, Some(id)) => match self.numbers.get(id) {
                Some(number) => *number,
                None => self.numbered(id, UNNUMBERED + self.numbers.len() as u64),
            },
            (false, Some(id)) if event["item"].is_object() => self.numbered(id, count(index)),
            (false, _) => count(index),
        };
        self.last
    }

    fn numbered(&mut self, id: &str, number: u64) -> u64 {
        self.numbers.insert(id.to_owned(), number);
        number
    }

    fn start(&mut self, response: &Value, deltas: &mut Vec<Delta>) {
        self.started = true;
        let (id, model) = (some_text(&response["id"]), some_text(&response["model"]));
        deltas.push(Delta::Started { id, model });
    }

    fn text(&mut self, item: u64, json: &Value, field: &str, deltas: &mut Vec<Delta>) {
        self.streamed.insert(item);
        self.has_text = true;
        let part = text_part(item, count(&json["content_index"]));
        deltas.push(Delta::Text { part, text: text(&json[field]) });
    }

    /// Adds what only the final response has: some servers send no other events.
    fn restated(&mut self, response: &Value, deltas: &mut Vec<Delta>) -> Result<()> {
        let (has_text, has_reasoning) = (self.has_text, self.has_reasoning);
        for (item, at) in list(&response["output"]).zip(0..) {
            match item["type"].as_str() {
                Some("message") if !has_text => self.end(at, item, deltas)?,
                Some("reasoning") if !has_reasoning => self.end(at, item, deltas)?,
                Some("function_call") => self.end(at, item, deltas)?,
                _ => {}
            }
        }
        if list(&response["output"]).next().is_none()
            && !self.has_text
            && self.calls.is_empty()
            && let Some(text) = some_text(&response["output_text"])
        {
            self.has_text = true;
            deltas.push(Delta::text(text));
        }
        Ok(())
    }

    fn end(&mut self, item: u64, whole: &Value, deltas: &mut Vec<Delta>) -> Result<()> {
        let part = item as u32;
        let streamed = self.streamed.contains(&item);
        add_citations(whole, &mut self.citations);
        self.citations.emit(deltas);
        match whole["type"].as_str() {
            Some("message") if streamed => {}
            Some("message") => {
                self.has_text = true;
                for (content, at) in list(&whole["content"]).zip(0..) {
                    self.refused |= is_refusal(content);
                    deltas.push(Delta::Text { part: text_part(item, at), text: content_text(content) });
                }
            }
            Some("function_call") => {
                deltas.extend(self.calls.restated(Fragment {
                    index: Some(item as u32),
                    id: &call_id(whole),
                    name: &text(&whole["name"]),
                    arguments: &written(&whole["arguments"]),
                })?);
            }
            Some("reasoning") => {
                self.has_reasoning = true;
                let text = if streamed { String::new() } else { thought(whole) };
                deltas.push(Delta::Reasoning { part, text, signature: signature(whole) });
            }
            _ => deltas.push(Delta::Other { part, value: whole.clone() }),
        }
        Ok(())
    }
}

/// The part index of a text, of which an item may have several.
fn text_part(item: u64, content: u64) -> u32 {
    item.wrapping_mul(256).wrapping_add(content.min(255)) as u32
}
