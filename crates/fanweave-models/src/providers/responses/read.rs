//! Decoding of responses: a list of items, or the events that build one.

use std::collections::{BTreeMap, HashMap, HashSet};

use fanweave_core::{Delta, FinishReason, Message, Part, Reply, Result, Role};
use serde_json::{Value, json};

use crate::protocol::{SseEvent, StreamDecoder};
use crate::providers::assemble::{Calls, Fragment};
use crate::providers::extras::Citations;
use crate::providers::failure::{self, ProviderError};
use crate::providers::json::{count, is_empty, list, parse, some_text, text, written};
use crate::providers::triage::DialectDecoder;
use crate::providers::{finish, usage};

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
    let status = response["status"].as_str().unwrap_or("completed");
    reply.finish_reason = finish_reason(status, &response, has_calls, refused);
    reply.usage = usage::read(&response["usage"]);
    let mut citations = Citations::default();
    list(output).for_each(|item| add_citations(item, &mut citations));
    reply.citations = citations.into_vec();
    let message = Message::from_parts(Role::Assistant, parts).with_reply(reply);
    if UNFINISHED.contains(&status) {
        // The same request, which may run in the background, would be billed again.
        let how = format!("the response is not finished: its status is {status}");
        return Err(finish::unfinished(how, message).with_retryable(false));
    }
    finish::checked(message)
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
    match kind(item) {
        Some("message") => {
            contents(item).map(content_text).filter(|text| !text.is_empty()).map(Part::Text).collect()
        }
        Some("reasoning") => {
            vec![Part::Reasoning { text: thought(item), signature: signature(item) }]
        }
        _ => vec![Part::Other(item.clone())],
    }
}

/// The type of an item. One with content and without a type is a message.
fn kind(item: &Value) -> Option<&str> {
    item["type"].as_str().or_else(|| (!is_empty(&item["content"])).then_some("message"))
}

/// The content parts of a message. A string counts as a list of one.
fn contents(item: &Value) -> impl Iterator<Item = &Value> {
    let content = &item["content"];
    list(content).chain(content.is_string().then_some(content))
}

/// The text of one content part, under any of its names.
fn content_text(content: &Value) -> String {
    if let Value::String(text) = content {
        return text.clone();
    }
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

/// Statuses of a response that is not finished.
const UNFINISHED: [&str; 2] = ["in_progress", "queued"];

fn finish_reason(status: &str, response: &Value, has_calls: bool, refused: bool) -> Option<FinishReason> {
    Some(match status {
        _ if UNFINISHED.contains(&status) => return None,
        "incomplete" => {
            let reason = response["incomplete_details"]["reason"].as_str().unwrap_or("incomplete");
            return finish::reason(reason);
        }
        "completed" if has_calls => FinishReason::ToolCalls,
        "completed" if refused => FinishReason::Refusal,
        "completed" => FinishReason::Stop,
        other => FinishReason::Other(other.to_owned()),
    })
}

/// The first number of items without an index: above any index.
const UNNUMBERED: u64 = 1 << 20;

/// Decodes one stream.
#[derive(Default)]
pub(super) struct Decoder {
    started: bool,
    done: bool,
    refused: bool,
    /// Items of reasoning with at least one delta. Other items are emitted whole at their end.
    streamed: HashSet<u64>,
    /// The texts so far, by the number of their item and their index in it: events at the end state them once
    /// more, or more of them.
    texts: BTreeMap<(u64, u64), String>,
    /// The text that the last event continued.
    said_at: (u64, u64),
    /// Set if the last event was a piece of text or reasoning.
    is_piece: bool,
    /// Set if a piece of text came without an index or a known item: events at the end may have another one.
    is_vague: bool,
    calls: Calls,
    /// The number of each item by its id, and that of the last event: some servers send no indices.
    numbers: HashMap<String, u64>,
    /// The id of the first item at each index: some servers send one index for all items.
    owners: HashMap<u64, String>,
    last: u64,
    has_reasoning: bool,
    has_others: bool,
    citations: Citations,
}

impl StreamDecoder for Decoder {
    fn event(&mut self, event: &SseEvent<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        let json = parse(event.data.as_bytes(), "response event")?;
        if let Some(error) = failure::inside(&json, VENDOR) {
            return Err(error);
        }
        let is_whole = json["type"].is_null() && json["object"] == "response";
        let name = json["type"].as_str().unwrap_or(if is_whole { "response.done" } else { event.name });
        let item = self.number(name, &json);
        self.is_piece = name.ends_with("text.delta") || name == "response.refusal.delta";
        match name {
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
            "response.output_text.delta" => self.text(item, &json, deltas),
            "response.refusal.delta" => {
                self.refused = true;
                self.text(item, &json, deltas);
            }
            "response.output_text.annotation.added" => {
                self.citations.add(&json["annotation"]);
                self.citations.emit(deltas);
            }
            // Some servers send no deltas, or not all.
            "response.output_text.done" => {
                self.whole_text((item, count(&json["content_index"])), &text(&json["text"]), deltas);
            }
            "response.refusal.done" => {
                self.refused = true;
                self.whole_text((item, count(&json["content_index"])), &text(&json["refusal"]), deltas);
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
                    deltas.push(Delta::Usage(usage::read(&response["usage"])));
                }
                if let Some(error) = failure::inside(response, VENDOR) {
                    return Err(error);
                }
                deltas.extend(self.calls.finish());
                let has_calls = !self.calls.is_empty();
                // The event's name counts where the status is missing, or that of its beginning.
                let otherwise = if name == "response.incomplete" { "incomplete" } else { "completed" };
                let status = response["status"].as_str().filter(|status| !UNFINISHED.contains(status));
                let status = status.unwrap_or(otherwise);
                let reason = finish_reason(status, response, has_calls, self.refused);
                deltas.extend(reason.map(Delta::Finished));
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

impl DialectDecoder for Decoder {
    fn may_repeat(&self) -> bool {
        self.is_piece
    }

    fn repeat(&mut self, delta: &Delta) {
        if let Delta::Text { text, .. } = delta {
            self.texts.entry(self.said_at).or_default().push_str(text);
        }
    }
}

impl Decoder {
    /// The number of the item that an event is about: its index, or else one for each id.
    fn number(&mut self, name: &str, event: &Value) -> u64 {
        let index = &event["output_index"];
        let id = [&event["item_id"], &event["item"]["id"]].into_iter().find_map(Value::as_str);
        self.last = match (index.is_null(), id) {
            (true, None) => self.last,
            (true, Some(id)) => match self.numbers.get(id) {
                Some(number) => *number,
                None => {
                    self.is_vague |= !event["item"].is_object();
                    self.numbered(id, UNNUMBERED + self.numbers.len() as u64)
                }
            },
            (false, Some(id)) => self.number_at(count(index), id, name, event),
            (false, None) => count(index),
        };
        self.last
    }

    /// The number of the item with an index and an id. Some servers send one index for all items, and others
    /// another id with each event.
    fn number_at(&mut self, index: u64, id: &str, name: &str, event: &Value) -> u64 {
        let is_item = event["item"].is_object();
        match self.owners.get(&index) {
            Some(owner) if owner == id => index,
            Some(_) => match self.numbers.get(id).filter(|number| **number >= UNNUMBERED) {
                Some(number) => *number,
                None if name == "response.output_item.added" || self.contradicts(index, event) => {
                    self.numbered(id, UNNUMBERED + self.numbers.len() as u64)
                }
                None => index,
            },
            None if is_item => {
                self.owners.insert(index, id.to_owned());
                self.numbered(id, index)
            }
            None => index,
        }
    }

    /// Returns true if an event at the end states another text than that of the item with this number.
    fn contradicts(&self, item: u64, event: &Value) -> bool {
        let differs = |content: u64, whole: &str| {
            let said = self.texts.get(&(item, content));
            said.is_some_and(|said| !whole.starts_with(&**said) && !said.contains(whole))
        };
        let whole = [&event["text"], &event["refusal"]].into_iter().find_map(Value::as_str);
        whole.is_some_and(|whole| differs(count(&event["content_index"]), whole))
            || (0..).zip(contents(&event["item"])).any(|(at, content)| differs(at, &content_text(content)))
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

    fn text(&mut self, item: u64, json: &Value, deltas: &mut Vec<Delta>) {
        let content = &json["content_index"];
        self.is_vague |= content.is_null();
        self.say((item, count(content)), text(&json["delta"]), deltas);
    }

    /// Adds the next piece of a text.
    fn say(&mut self, at: (u64, u64), text: String, deltas: &mut Vec<Delta>) {
        self.said_at = at;
        self.texts.entry(at).or_default().push_str(&text);
        deltas.push(Delta::Text { part: text_part(at.0, at.1), text });
    }

    /// Adds what an event at the end states of a text, if deltas have not said it.
    fn whole_text(&mut self, at: (u64, u64), whole: &str, deltas: &mut Vec<Delta>) {
        let more = match self.texts.get(&at) {
            // A contradiction: what has been emitted stays.
            Some(said) => whole.strip_prefix(&**said).unwrap_or_default(),
            None if self.is_vague => {
                let said = self.said();
                if said.contains(whole) { "" } else { whole.strip_prefix(&*said).unwrap_or(whole) }
            }
            None => whole,
        };
        if !more.is_empty() {
            self.say(at, more.to_owned(), deltas);
        }
    }

    /// All text so far.
    fn said(&self) -> String {
        self.texts.values().map(String::as_str).collect()
    }

    /// Adds what only the final response has: some servers send no other events.
    fn restated(&mut self, response: &Value, deltas: &mut Vec<Delta>) -> Result<()> {
        let (has_others, has_reasoning) = (self.has_others, self.has_reasoning);
        let mut texts = Vec::new();
        for (item, at) in list(&response["output"]).zip(0..) {
            match kind(item) {
                Some("message") => {
                    add_citations(item, &mut self.citations);
                    self.citations.emit(deltas);
                    let number = item["id"].as_str().and_then(|id| self.numbers.get(id)).copied();
                    for (content, nth) in contents(item).zip(0..) {
                        self.refused |= is_refusal(content);
                        texts.push((number, (number.unwrap_or(at), nth), content_text(content)));
                    }
                }
                Some("reasoning") if !has_reasoning => self.end(at, item, deltas)?,
                Some("function_call") => self.end(at, item, deltas)?,
                Some("reasoning") => {}
                _ if !has_others => self.end(at, item, deltas)?,
                _ => {}
            }
        }
        if texts.is_empty() {
            texts.extend(some_text(&response["output_text"]).map(|text| (None, (0, 0), text)));
        }
        self.restated_texts(&texts, deltas);
        Ok(())
    }

    /// Adds what the texts of the final response have in addition to those so far. Each has the number of its
    /// item, if its id is known, and its position.
    fn restated_texts(&mut self, texts: &[(Option<u64>, (u64, u64), String)], deltas: &mut Vec<Delta>) {
        let said = self.said();
        let all: String = texts.iter().map(|(_, _, text)| text.as_str()).collect();
        if !all.starts_with(&said) {
            for (number, at, text) in texts {
                // The text of an unknown item may have been said in another one.
                if number.is_some() || !said.contains(text.as_str()) {
                    self.whole_text(*at, text, deltas);
                }
            }
            return;
        }
        let mut rest = said.len();
        for (_, at, text) in texts {
            let more = &text[rest.min(text.len())..];
            let is_begun = rest > 0;
            rest -= rest.min(text.len());
            if more.is_empty() {
                continue;
            }
            let last = self.texts.last_key_value().map(|(last, _)| *last).filter(|_| is_begun);
            let free = (at.0.max(UNNUMBERED + (self.numbers.len() + self.texts.len()) as u64), at.1);
            let at = last.unwrap_or(if self.texts.contains_key(at) { free } else { *at });
            self.say(at, more.to_owned(), deltas);
        }
    }

    fn end(&mut self, item: u64, whole: &Value, deltas: &mut Vec<Delta>) -> Result<()> {
        let part = item as u32;
        let streamed = self.streamed.contains(&item);
        add_citations(whole, &mut self.citations);
        self.citations.emit(deltas);
        match kind(whole) {
            Some("message") => {
                for (content, at) in contents(whole).zip(0..) {
                    self.refused |= is_refusal(content);
                    self.whole_text((item, at), &content_text(content), deltas);
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
            _ => {
                self.has_others = true;
                deltas.push(Delta::Other { part, value: whole.clone() });
            }
        }
        Ok(())
    }
}

/// The part index of a text, of which an item may have several.
fn text_part(item: u64, content: u64) -> u32 {
    item.wrapping_mul(256).wrapping_add(content.min(255)) as u32
}
