//! Decoding of responses: one choice per prompt, or chunks of one.

use fanweave_core::{Delta, Error, Message, Part, Reply, Result, Role, Usage};
use serde_json::{Value, json};

use crate::protocol::{SseEvent, StreamDecoder};
use crate::providers::json::{content, count, list, parse, some_text};
use crate::providers::openai::Quirks;
use crate::providers::triage::{DialectDecoder, largest};
use crate::providers::{failure, finish, usage};

/// Decodes an answer to `prompts` prompts, in their order. The provider counts the tokens of all prompts
/// together; they are reported on the first message.
pub(super) fn messages(body: &[u8], prompts: usize, vendor: &str) -> Result<Vec<Message>> {
    let answer = parse(body, "completion")?;
    if let Some(error) = failure::inside(&answer, vendor) {
        return Err(error);
    }
    let choices: Vec<_> = list(&answer["choices"]).collect();
    // The choices of a prompt are adjacent; the first one is the answer.
    let each = (choices.len() / prompts.max(1)).max(1) as u64;
    let choice = |prompt: u64| {
        let by_index = |choice: &&&Value| count(&choice["index"]) == prompt * each;
        choices.iter().find(by_index).or_else(|| choices.get((prompt * each) as usize))
    };
    (0..prompts as u64)
        .map(|prompt| {
            let Some(choice) = choice(prompt) else {
                let message = format!("expected {prompts} `choices`, got {}", choices.len());
                return Err(failure::instead(&answer, vendor, &message));
            };
            let mut reply = Reply::new();
            reply.id = some_text(&answer["id"]);
            reply.model = some_text(&answer["model"]);
            reply.finish_reason = finish::reason_in(&choice["finish_reason"]);
            reply.usage = usage_of(&answer).filter(|_| prompt == 0).unwrap_or_default();
            let text_part = Some(said(choice)).filter(|text| !text.is_empty()).map(Part::Text);
            let message = Message::from_parts(Role::Assistant, text_part.into_iter().collect());
            let message = message.with_reply(reply);
            match failed(choice, vendor) {
                Some(error) if message.parts.is_empty() => Err(error),
                Some(error) => Err(error.with_partial(message)),
                None => finish::checked(message),
            }
        })
        .collect()
}

/// The text of a choice, also of servers that send those of chat completions.
fn said(choice: &Value) -> String {
    let of_chat = ["delta", "message"].into_iter().map(|name| &choice[name]["content"]);
    let mut texts = std::iter::once(&choice["text"]).chain(of_chat).map(content);
    texts.find(|text| !text.is_empty()).unwrap_or_default()
}

/// The failure that ended a choice.
fn failed(choice: &Value, vendor: &str) -> Option<Error> {
    let error = choice.get("error")?;
    failure::inside(&json!({ "error": error }), vendor)
}

/// The usage of a body, or else of its choices.
fn usage_of(body: &Value) -> Option<Usage> {
    let own = std::iter::once(&body["usage"]);
    let all = own.chain(list(&body["choices"]).map(|choice| &choice["usage"])).chain([&body["meta"]]);
    all.filter(|usage| usage.is_object() || usage.is_array()).map(usage::read).reduce(largest)
}

/// Decodes one stream.
pub(super) struct Decoder {
    quirks: Quirks,
    started: bool,
    /// The index of the candidate that is the answer: the lowest of the first chunk.
    candidate: Option<u64>,
}

impl Decoder {
    pub(super) fn new(quirks: Quirks) -> Self {
        Self { quirks, started: false, candidate: None }
    }
}

impl StreamDecoder for Decoder {
    fn event(&mut self, event: &SseEvent<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        let chunk = parse(event.data.as_bytes(), "completion")?;
        if let Some(error) = failure::inside(&chunk, self.quirks.vendor) {
            return Err(error);
        }
        let (id, model) = (some_text(&chunk["id"]), some_text(&chunk["model"]));
        if !self.started && (id.is_some() || model.is_some()) {
            self.started = true;
            deltas.push(Delta::Started { id, model });
        }
        // The answer is the first of several candidates.
        let index = |choice: &Value| count(&choice["index"]);
        self.candidate = self.candidate.or_else(|| list(&chunk["choices"]).map(index).min());
        for choice in list(&chunk["choices"]).filter(|choice| Some(index(choice)) == self.candidate) {
            let text_part = said(choice);
            if !text_part.is_empty() {
                deltas.push(Delta::text(text_part));
            }
            if let Some(error) = failed(choice, self.quirks.vendor) {
                return Err(error);
            }
            if let Some(reason) = finish::reason_in(&choice["finish_reason"]) {
                deltas.push(Delta::Finished(reason));
            }
        }
        deltas.extend(usage_of(&chunk).map(Delta::Usage));
        Ok(())
    }

    /// The end marker is not an object.
    fn is_done(&self) -> bool {
        false
    }
}

impl DialectDecoder for Decoder {}
