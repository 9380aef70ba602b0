//! Decoding of responses: one object, or one per chunk of a stream.

use fanweave_core::{Delta, FinishReason, Fold, Message, Result, Usage};
use serde_json::Value;

use super::GENERATED;
use crate::protocol::{SseEvent, StreamDecoder};
use crate::providers::assemble::{Calls, Fragment};
use crate::providers::json::{content, count, list, parse, some_text, text, written};
use crate::providers::triage::DialectDecoder;
use crate::providers::{failure, finish};

/// Name of the vendor, for its errors.
pub(super) const VENDOR: &str = "ollama";

/// Decodes an answer that was not streamed, as a stream of one chunk.
pub(super) fn message(body: &[u8]) -> Result<Message> {
    let answer = parse(body, "Ollama response")?;
    let mut deltas = Vec::new();
    Decoder::default().answer(&answer, &mut deltas)?;
    if answer.get("message").is_none_or(Value::is_string) && !answer["response"].is_string() {
        return Err(failure::instead(&answer, VENDOR, "the response has no `message`"));
    }
    let mut fold = Fold::default();
    deltas.iter().for_each(|delta| fold.push(delta));
    match is_done(&answer) || answer["done"].is_null() {
        true => finish::checked(fold.into_message()),
        false => finish::checked_chunk(fold.into_message()),
    }
}

/// Returns true for the last object: `done` is true, in any form, or a reason is named.
fn is_done(answer: &Value) -> bool {
    match &answer["done"] {
        Value::Bool(is_done) => *is_done,
        Value::String(is_done) => is_done.eq_ignore_ascii_case("true"),
        Value::Number(is_done) => is_done.as_u64() == Some(1),
        _ => finish::reason_in(&answer["done_reason"]).is_some(),
    }
}

/// Decodes one stream.
pub(super) struct Decoder {
    started: bool,
    done: bool,
    calls: Calls,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { started: false, done: false, calls: Calls::with_prefix(GENERATED) }
    }
}

impl StreamDecoder for Decoder {
    fn event(&mut self, event: &SseEvent<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        let answer = parse(event.data.as_bytes(), "Ollama response")?;
        self.answer(&answer, deltas)
    }

    fn is_done(&self) -> bool {
        self.done
    }
}

impl DialectDecoder for Decoder {}

impl Decoder {
    fn answer(&mut self, answer: &Value, deltas: &mut Vec<Delta>) -> Result<()> {
        if let Some(error) = failure::inside(answer, VENDOR) {
            return Err(error);
        }
        if let Some(model) = some_text(&answer["model"])
            && !self.started
        {
            self.started = true;
            deltas.push(Delta::Started { id: None, model: Some(model) });
        }
        let message = &answer["message"];
        if let Some(text) = some_text(&message["thinking"]) {
            deltas.push(Delta::Reasoning { part: 0, text, signature: None });
        }
        // The second is the field of `/api/generate`.
        for said in [&message["content"], &answer["response"]].map(content) {
            if !said.is_empty() {
                deltas.push(Delta::text(said));
            }
        }
        for call in list(&message["tool_calls"]) {
            let function = &call["function"];
            deltas.extend(self.calls.whole(Fragment {
                index: None,
                id: &text(&call["id"]),
                name: &text(&function["name"]),
                arguments: &written(&function["arguments"]),
            })?);
        }
        // The counts of the last object, or earlier ones of servers that omit them there.
        let usage = Usage::new(count(&answer["prompt_eval_count"]), count(&answer["eval_count"]));
        if usage != Usage::default() {
            deltas.push(Delta::Usage(usage));
        }
        if is_done(answer) {
            self.done = true;
            deltas.push(Delta::Finished(self.finish_reason(&answer["done_reason"])));
        }
        Ok(())
    }

    fn finish_reason(&self, reason: &Value) -> FinishReason {
        match finish::reason_in(reason).unwrap_or(FinishReason::Stop) {
            FinishReason::Stop if !self.calls.is_empty() => FinishReason::ToolCalls,
            reason => reason,
        }
    }
}
