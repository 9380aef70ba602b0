//! Decoding of responses: one choice per prompt, or chunks of one.

use fanweave_core::{Delta, FinishReason, Message, Part, Reply, Result, Role, Usage};
use serde_json::Value;

use crate::protocol::{SseEvent, StreamDecoder};
use crate::providers::json::{count, list, parse, some_text};
use crate::providers::openai::Quirks;
use crate::providers::{failure, finish};

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
            reply.finish_reason = finish_reason(&choice["finish_reason"]);
            reply.usage = if prompt == 0 { usage(&answer["usage"]) } else { Usage::default() };
            let text_part = choice_text(choice).map(Part::Text);
            let message = Message::from_parts(Role::Assistant, text_part.into_iter().collect());
            finish::checked(message.with_reply(reply))
        })
        .collect()
}

fn finish_reason(reason: &Value) -> Option<FinishReason> {
    // Empty in every chunk of some servers.
    Some(match &*some_text(reason)? {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "content_filter" => FinishReason::ContentFilter,
        other => FinishReason::Other(other.to_owned()),
    })
}

/// The text of a choice. Some servers answer in the form of chat completions.
fn choice_text(choice: &Value) -> Option<String> {
    let chat =
        || [&choice["message"]["content"], &choice["delta"]["content"]].into_iter().find_map(some_text);
    some_text(&choice["text"]).or_else(chat)
}

fn usage(usage: &Value) -> Usage {
    Usage::new(count(&usage["prompt_tokens"]), count(&usage["completion_tokens"]))
        .cached_tokens(count(&usage["prompt_tokens_details"]["cached_tokens"]))
        .reasoning_tokens(count(&usage["completion_tokens_details"]["reasoning_tokens"]))
}

/// Decodes one stream.
pub(super) struct Decoder {
    quirks: Quirks,
    started: bool,
}

impl Decoder {
    pub(super) fn new(quirks: Quirks) -> Self {
        Self { quirks, started: false }
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
        for choice in list(&chunk["choices"]).filter(|choice| count(&choice["index"]) == 0) {
            deltas.extend(choice_text(choice).map(Delta::text));
            if let Some(reason) = finish_reason(&choice["finish_reason"]) {
                deltas.push(Delta::Finished(reason));
            }
        }
        if chunk["usage"].is_object() {
            deltas.push(Delta::Usage(usage(&chunk["usage"])));
        }
        Ok(())
    }

    /// The end marker is not an object.
    fn is_done(&self) -> bool {
        false
    }
}
