//! Decoding of responses: one response, or the events of a stream.

use fanweave_core::{Delta, Error, Fold, Message, Result, Usage};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::protocol::{SseEvent, StreamDecoder};
use crate::providers::assemble::{Calls, Fragment};
use crate::providers::failure::{self, classify};
use crate::providers::json::{count, list, parse, some_text, text, written};
use crate::providers::triage::DialectDecoder;
use crate::providers::usage::Counts;
use crate::providers::{finish, usage};

/// Name of the vendor, for its errors.
pub(super) const VENDOR: &str = "bedrock";

/// Decodes an answer that was not streamed.
pub(super) fn message(body: &[u8]) -> Result<Message> {
    let response = parse(body, "response")?;
    if let Some(error) = failure::inside(&response, VENDOR) {
        return Err(error);
    }
    if !response["output"]["message"].is_object() {
        return Err(failure::instead(&response, VENDOR, "the response has no `output.message`"));
    }
    let (mut deltas, mut decoder) = (Vec::new(), Decoder::default());
    decoder.response(&response, &mut deltas)?;
    let mut fold = Fold::default();
    deltas.iter().for_each(|delta| fold.push(delta));
    finish::checked(fold.into_message())
}

/// Decodes one stream.
#[derive(Default)]
pub(super) struct Decoder {
    calls: Calls,
}

impl StreamDecoder for Decoder {
    fn event(&mut self, event: &SseEvent<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        let json = parse(event.data.as_bytes(), "event")?;
        if let Some(error) = failure::inside(&json, VENDOR) {
            return Err(error);
        }
        let index = (!json["contentBlockIndex"].is_null()).then(|| count(&json["contentBlockIndex"]) as u32);
        match event.name {
            "contentBlockStart" => {
                let tool = &json["start"]["toolUse"];
                if tool.is_object() {
                    let (id, name) = (text(&tool["toolUseId"]), text(&tool["name"]));
                    let call = Fragment { index, id: &id, name: &name, arguments: "" };
                    deltas.extend(self.calls.start(call)?);
                }
            }
            "contentBlockDelta" => self.more(index, &json["delta"], deltas)?,
            "messageStop" => self.finish(&json["stopReason"], deltas),
            "metadata" if json["usage"].is_object() => deltas.push(Delta::Usage(counted(&json["usage"]))),
            // The whole response, of servers that do not stream.
            _ if json["output"]["message"].is_object() => self.response(&json, deltas)?,
            _ => {}
        }
        Ok(())
    }

    /// The stream has no end marker: the usage follows the finish reason.
    fn is_done(&self) -> bool {
        false
    }
}

impl DialectDecoder for Decoder {}

impl Decoder {
    /// A whole response.
    fn response(&mut self, response: &Value, deltas: &mut Vec<Delta>) -> Result<()> {
        for (block, at) in list(&response["output"]["message"]["content"]).zip(0..) {
            self.whole(at, block, deltas)?;
        }
        if response["usage"].is_object() {
            deltas.push(Delta::Usage(counted(&response["usage"])));
        }
        self.finish(&response["stopReason"], deltas);
        Ok(())
    }

    fn more(&mut self, index: Option<u32>, delta: &Value, deltas: &mut Vec<Delta>) -> Result<()> {
        let part = index.unwrap_or_default();
        if let Some(text) = some_text(&delta["text"]) {
            deltas.push(Delta::Text { part, text });
        }
        let input = &delta["toolUse"]["input"];
        if !input.is_null() {
            let arguments = written(input);
            let fragment = Fragment { index, arguments: &arguments, ..Fragment::default() };
            deltas.extend(self.calls.add(fragment)?);
        }
        let reasoning = &delta["reasoningContent"];
        if let Some(value) = some_text(&reasoning["redactedContent"]) {
            let value = json!({ "reasoningContent": { "redactedContent": value } });
            deltas.push(Delta::Other { part, value });
        } else if reasoning.is_object() {
            let signature = some_text(&reasoning["signature"]);
            deltas.push(Delta::Reasoning { part, text: text(&reasoning["text"]), signature });
        }
        Ok(())
    }

    /// A block that is not streamed.
    fn whole(&mut self, part: u32, block: &Value, deltas: &mut Vec<Delta>) -> Result<()> {
        let (call, reasoning) = (&block["toolUse"], &block["reasoningContent"]["reasoningText"]);
        if call.is_object() {
            let (id, name, arguments) =
                (text(&call["toolUseId"]), text(&call["name"]), written(&call["input"]));
            let call = Fragment { index: None, id: &id, name: &name, arguments: &arguments };
            deltas.extend(self.calls.whole(call)?);
        } else if reasoning.is_object() {
            let signature = some_text(&reasoning["signature"]);
            deltas.push(Delta::Reasoning { part, text: text(&reasoning["text"]), signature });
        } else if let Some(text) = block.get("text").map(text) {
            if !text.is_empty() {
                deltas.push(Delta::Text { part, text });
            }
        } else {
            deltas.push(Delta::Other { part, value: block.clone() });
        }
        Ok(())
    }

    fn finish(&mut self, reason: &Value, deltas: &mut Vec<Delta>) {
        let Some(reason) = finish::reason_in(reason) else { return };
        deltas.extend(self.calls.finish());
        deltas.push(Delta::Finished(reason));
    }
}

/// The error of an exception in a stream. The statuses are those of the API outside of streams.
pub(super) fn exception(event: &SseEvent<'_>) -> Error {
    let body = serde_json::from_str::<Value>(event.data).unwrap_or_default();
    let status = match event.name {
        "throttlingException" => StatusCode::TOO_MANY_REQUESTS,
        "validationException" => StatusCode::BAD_REQUEST,
        "serviceUnavailableException" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    let error = classify(status, &HeaderMap::new(), &body.to_string(), VENDOR);
    if error.code().is_none() { error.with_code(event.name) } else { error }
}

/// The provider's `inputTokens` excludes cache reads and writes; ours includes them.
fn counted(usage: &Value) -> Usage {
    let (read, wrote) = (count(&usage["cacheReadInputTokens"]), count(&usage["cacheWriteInputTokens"]));
    let Counts { input, output, total, .. } = Counts::of(usage);
    usage::with_total(input.saturating_add(read).saturating_add(wrote), output, total)
        .cached_tokens(read)
        .cache_write_tokens(wrote)
}
