//! Decoding of responses: a message of content blocks, or the events that build one.

use std::collections::BTreeMap;

use fanweave_core::{Delta, Message, Part, Reply, Result, Role, ToolCall, Usage};
use serde_json::Value;

use crate::protocol::{SseEvent, StreamDecoder};
use crate::providers::assemble::{Calls, Fragment};
use crate::providers::extras::Citations;
use crate::providers::json::{count, list, parse, some_text, text, written};
use crate::providers::triage::DialectDecoder;
use crate::providers::{failure, finish, usage};

/// Name of the vendor, for its errors.
pub(super) const VENDOR: &str = "anthropic";

/// Decodes an answer that was not streamed.
pub(super) fn message(body: &[u8]) -> Result<Message> {
    let answer = parse(body, "message")?;
    if let Some(error) = failure::inside(&answer, VENDOR) {
        return Err(error);
    }
    let Some(content) = answer.get("content") else {
        return Err(failure::instead(&answer, VENDOR, "the response has no `content`"));
    };
    let mut calls = Calls::default();
    let parts = match content {
        Value::String(text) => vec![Part::Text(text.clone())],
        blocks => list(blocks)
            .filter_map(|block| match tool_use(block) {
                Some(ToolCall { id, name, arguments }) => {
                    let call = Fragment { index: None, id: &id, name: &name, arguments: &arguments };
                    calls.part(call).transpose()
                }
                None => Some(Ok(part(block))),
            })
            .collect::<Result<_>>()?,
    };
    let mut usage = Counts::default();
    usage.update(&answer["usage"]);
    let mut reply = Reply::new();
    reply.id = some_text(&answer["id"]);
    reply.model = some_text(&answer["model"]);
    reply.finish_reason = finish::reason_in(&answer["stop_reason"]);
    reply.usage = usage.sum();
    let mut citations = Citations::default();
    list(content).for_each(|block| citations.add(&block["citations"]));
    reply.citations = citations.into_vec();
    let parts = parts.into_iter().filter(|part| !matches!(part, Part::Text(text) if text.is_empty()));
    let message = Message::from_parts(Role::Assistant, parts.collect());
    finish::checked(message.with_reply(reply))
}

/// The call of a block, if it is one.
fn tool_use(block: &Value) -> Option<ToolCall> {
    (block["type"] == "tool_use").then(|| ToolCall {
        id: text(&block["id"]),
        name: text(&block["name"]),
        arguments: written(&block["input"]),
    })
}

/// Any other block.
fn part(block: &Value) -> Part {
    match block["type"].as_str() {
        None if block.is_string() => Part::Text(text(block)),
        Some("text") => Part::Text(text(&block["text"])),
        None if block["text"].is_string() => Part::Text(text(&block["text"])),
        Some("thinking") => {
            Part::Reasoning { text: text(&block["thinking"]), signature: some_text(&block["signature"]) }
        }
        // Redacted thinking, server-side tools, and unknown blocks are sent back verbatim.
        _ => Part::Other(block.clone()),
    }
}

/// Token counts of the provider. In a stream, some come at the start and the totals at the end.
#[derive(Default)]
struct Counts {
    fresh: u64,
    written: u64,
    cached: u64,
    output: u64,
    reasoning: u64,
}

impl Counts {
    /// A zero replaces nothing.
    fn update(&mut self, usage: &Value) {
        let (mut written, mut cached, mut fresh, mut reasoning) = (0, 0, None, 0);
        for (name, value) in usage.as_object().into_iter().flatten() {
            match name.as_str() {
                "cache_creation_input_tokens" => written = count(value),
                "cache_read_input_tokens" => cached = count(value),
                "input_tokens" if !value.is_null() => fresh = Some(count(value)),
                "output_tokens_details" => reasoning = count(&value["thinking_tokens"]),
                _ => {}
            }
        }
        // The names of another dialect, whose input includes what is cached, and whose total may be larger.
        let (counts, other) = usage::counted(usage);
        let fresh =
            fresh.unwrap_or_else(|| other.input_tokens.saturating_sub(written.saturating_add(cached)));
        let reasoning = reasoning.max(other.reasoning_tokens);
        for (field, value) in [
            (&mut self.fresh, fresh),
            (&mut self.written, written),
            (&mut self.cached, cached),
            (&mut self.output, counts.output),
            (&mut self.reasoning, reasoning),
        ] {
            if value > 0 {
                *field = value;
            }
        }
    }

    /// The provider's `input_tokens` excludes cache reads and writes; ours includes them.
    fn sum(&self) -> Usage {
        Usage::new(self.fresh.saturating_add(self.written).saturating_add(self.cached), self.output)
            .cached_tokens(self.cached)
            .cache_write_tokens(self.written)
            .reasoning_tokens(self.reasoning)
    }
}

/// Decodes one stream.
#[derive(Default)]
pub(super) struct Decoder {
    usage: Counts,
    /// Blocks that are emitted whole, with the input received for them so far.
    opaque: BTreeMap<u32, (Value, String)>,
    calls: Calls,
    citations: Citations,
    done: bool,
}

impl StreamDecoder for Decoder {
    fn event(&mut self, event: &SseEvent<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        let json = parse(event.data.as_bytes(), "message event")?;
        if let Some(error) = failure::inside(&json, VENDOR) {
            return Err(error);
        }
        let index = (!json["index"].is_null()).then(|| count(&json["index"]) as u32);
        match json["type"].as_str().unwrap_or(event.name) {
            "message_start" => {
                let message = &json["message"];
                deltas.push(Delta::Started {
                    id: some_text(&message["id"]),
                    model: some_text(&message["model"]),
                });
                self.count(&message["usage"], deltas);
            }
            "content_block_start" => self.start(index, &json["content_block"], deltas)?,
            "content_block_delta" => self.more(index, &json["delta"], deltas)?,
            "content_block_stop" => self.stop(index.unwrap_or_default(), deltas),
            "message_delta" => {
                self.count(&json["usage"], deltas);
                self.finish(&json["delta"], deltas);
            }
            // A whole message, of servers that do not stream.
            "message" => {
                deltas.push(Delta::Started { id: some_text(&json["id"]), model: some_text(&json["model"]) });
                for (block, at) in list(&json["content"]).zip(0..) {
                    self.start(Some(at), block, deltas)?;
                    self.stop(at, deltas);
                }
                self.count(&json["usage"], deltas);
                self.finish(&json, deltas);
            }
            "message_stop" => self.done = true,
            // `ping`, and unknown events.
            _ => {}
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

impl DialectDecoder for Decoder {}

impl Decoder {
    fn count(&mut self, usage: &Value, deltas: &mut Vec<Delta>) {
        if usage.is_object() {
            self.usage.update(usage);
            deltas.push(Delta::Usage(self.usage.sum()));
        }
    }

    fn finish(&mut self, message: &Value, deltas: &mut Vec<Delta>) {
        if let Some(reason) = finish::reason_in(&message["stop_reason"]) {
            // Blocks without an end.
            while let Some((part, _)) = self.opaque.first_key_value() {
                self.stop(*part, deltas);
            }
            deltas.extend(self.calls.finish());
            deltas.push(Delta::Finished(reason));
        }
    }

    fn start(&mut self, index: Option<u32>, block: &Value, deltas: &mut Vec<Delta>) -> Result<()> {
        if let Some(ToolCall { id, name, arguments }) = tool_use(block) {
            // The input, usually an empty object, is a placeholder until its fragments arrive.
            let call = Fragment { index, id: &id, name: &name, arguments: &arguments };
            deltas.extend(self.calls.start(call)?);
            return Ok(());
        }
        let index = index.unwrap_or_default();
        if !block["citations"].is_null() {
            self.citations.add(&block["citations"]);
            self.citations.emit(deltas);
        }
        match part(block) {
            Part::Text(text) if text.is_empty() => {}
            Part::Text(text) => deltas.push(Delta::Text { part: index, text }),
            Part::Reasoning { text, signature } => {
                deltas.push(Delta::Reasoning { part: index, text, signature });
            }
            _ => _ = self.opaque.insert(index, (block.clone(), String::new())),
        }
        Ok(())
    }

    fn stop(&mut self, part: u32, deltas: &mut Vec<Delta>) {
        if let Some((mut value, input)) = self.opaque.remove(&part) {
            if !input.is_empty() {
                value["input"] = serde_json::from_str(&input).unwrap_or(Value::String(input));
            }
            deltas.push(Delta::Other { part, value });
        }
    }

    fn more(&mut self, index: Option<u32>, delta: &Value, deltas: &mut Vec<Delta>) -> Result<()> {
        let part = index.unwrap_or_default();
        // Some servers omit the type.
        let by_field = || {
            let fields = [
                ("text", "text_delta"),
                ("partial_json", "input_json_delta"),
                ("thinking", "thinking_delta"),
            ];
            fields.into_iter().find(|(field, _)| delta[*field].is_string()).map(|(_, kind)| kind)
        };
        match delta["type"].as_str().or_else(by_field) {
            Some("text_delta") => deltas.push(Delta::Text { part, text: text(&delta["text"]) }),
            Some("input_json_delta") => {
                let input = text(&delta["partial_json"]);
                match self.opaque.get_mut(&part) {
                    Some((_, so_far)) => so_far.push_str(&input),
                    None => deltas.extend(self.calls.add(Fragment {
                        index,
                        arguments: &input,
                        ..Fragment::default()
                    })?),
                }
            }
            Some("thinking_delta") => {
                deltas.push(Delta::Reasoning { part, text: text(&delta["thinking"]), signature: None });
            }
            Some("signature_delta") => deltas.push(Delta::Reasoning {
                part,
                text: String::new(),
                signature: some_text(&delta["signature"]),
            }),
            Some("citations_delta") => {
                self.citations.add(&delta["citation"]);
                self.citations.emit(deltas);
            }
            _ => {}
        }
        Ok(())
    }
}
