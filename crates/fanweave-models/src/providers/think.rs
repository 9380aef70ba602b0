//! Thinking that models write into their text, such as `<think>..</think>`, for servers that do not separate
//! it: a protocol that wraps the one of any dialect.

use std::sync::Arc;

use fanweave_core::think::{ThinkSplitter, split_unopened};
use fanweave_core::{Delta, Error, Message, Part, Result};
use http::{HeaderMap, StatusCode};

use crate::protocol::{Call, Framing, HttpRequest, Protocol, SseEvent, StreamDecoder, StreamEnd};

/// Reads thinking at the beginning of the text as reasoning. An answer with reasoning of its own stays as it
/// is: its server separates thinking.
///
/// Thinking without an opening tag, which the template of some models writes into the prompt, is recognised
/// by its end. It is reasoning in a whole answer, and remains text in a stream: its deltas have been emitted
/// before the closing tag arrives, and holding all text back would defeat the stream.
pub(crate) struct ThinkTags(pub(crate) Arc<dyn Protocol>);

impl Protocol for ThinkTags {
    fn request(&self, call: &Call<'_>) -> Result<HttpRequest> {
        self.0.request(call)
    }

    fn response(&self, body: &[u8]) -> Result<Message> {
        match self.0.response(body) {
            Ok(message) => Ok(separated(message)),
            Err(error) => Err(match error.partial().cloned() {
                Some(partial) => error.with_partial(separated(partial)),
                None => error,
            }),
        }
    }

    fn framing(&self) -> Framing {
        self.0.framing()
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(Decoder { inner: self.0.decoder(), splitter: Some(ThinkSplitter::default()), part: None })
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error {
        self.0.error(status, headers, body)
    }
}

/// Separates the thinking at the beginning of the first text of a message.
fn separated(mut message: Message) -> Message {
    let first = message.parts.iter().position(|part| matches!(part, Part::Text(_) | Part::Reasoning { .. }));
    let Some((at, Part::Text(text))) = first.map(|at| (at, &message.parts[at])) else { return message };
    let Some((thinking, text)) = opened(text).or_else(|| {
        let (thinking, text) = split_unopened(text)?;
        Some((thinking.to_owned(), text.to_owned()))
    }) else {
        return message;
    };
    let parts = [Part::Reasoning { text: thinking, signature: None }, Part::Text(text)];
    let is_empty =
        |part: &Part| matches!(part, Part::Text(text) | Part::Reasoning { text, .. } if text.is_empty());
    message.parts.splice(at..=at, parts.into_iter().filter(|part| !is_empty(part)));
    message
}

/// The thinking and the answer of a text that begins with thinking.
fn opened(text: &str) -> Option<(String, String)> {
    if !text.trim_start().starts_with(['<', '[', '◁']) {
        return None;
    }
    let mut splitter = ThinkSplitter::default();
    let (start, end) = (splitter.push(text), splitter.finish());
    let thinking = start.reasoning + end.reasoning;
    let answer = start.text + end.text;
    (!thinking.is_empty()).then(|| (thinking.into_owned(), answer.into_owned()))
}

/// Decodes one stream.
struct Decoder {
    inner: Box<dyn StreamDecoder>,
    /// `None` once thinking cannot follow.
    splitter: Option<ThinkSplitter>,
    /// The first text part.
    part: Option<u32>,
}

impl StreamDecoder for Decoder {
    fn event(&mut self, event: &SseEvent<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
        let before = deltas.len();
        let read = self.inner.event(event, deltas);
        if self.splitter.is_some() {
            for delta in deltas.split_off(before) {
                self.separate(delta, deltas);
            }
            if self.inner.is_done() {
                self.finish(deltas);
            }
        }
        read
    }

    fn is_done(&self) -> bool {
        self.inner.is_done()
    }

    fn end(&mut self, how: StreamEnd) -> Result<()> {
        self.inner.end(how)
    }
}

impl Decoder {
    fn separate(&mut self, delta: Delta, deltas: &mut Vec<Delta>) {
        match delta {
            Delta::Text { part, text } if *self.part.get_or_insert(part) == part => {
                let Some(splitter) = &mut self.splitter else {
                    deltas.push(Delta::Text { part, text });
                    return;
                };
                let split = splitter.push(&text);
                if splitter.is_answer() {
                    // The rest is passed on as it is.
                    self.splitter = None;
                }
                add(part, split.reasoning.into_owned(), split.text.into_owned(), deltas);
            }
            // Text that follows is part of the answer.
            delta @ (Delta::Text { .. }
            | Delta::ToolCall { .. }
            | Delta::Other { .. }
            | Delta::Finished(_)) => {
                self.finish(deltas);
                deltas.push(delta);
            }
            Delta::Reasoning { text, part, signature } => {
                // The server separates thinking itself.
                if !text.is_empty() {
                    self.finish(deltas);
                }
                deltas.push(Delta::Reasoning { part, text, signature });
            }
            delta => deltas.push(delta),
        }
    }

    /// Emits what was held back.
    fn finish(&mut self, deltas: &mut Vec<Delta>) {
        if let Some(mut splitter) = self.splitter.take() {
            let split = splitter.finish();
            let part = self.part.unwrap_or_default();
            add(part, split.reasoning.into_owned(), split.text.into_owned(), deltas);
        }
    }
}

fn add(part: u32, reasoning: String, text: String, deltas: &mut Vec<Delta>) {
    if !reasoning.is_empty() {
        deltas.push(Delta::Reasoning { part: 0, text: reasoning, signature: None });
    }
    if !text.is_empty() {
        deltas.push(Delta::Text { part, text });
    }
}

#[cfg(test)]
mod tests {
    use super::super::dialect::Dialect;
    use super::super::openai::Quirks;
    use super::super::testing::{decode, holds_for_a_stream};
    use super::*;

    fn chat() -> ThinkTags {
        ThinkTags(Dialect::OpenAiChat.protocol(Quirks::new()))
    }

    /// Reasoning and text of an answer whose message has these fields: whole, and in chunks of so many
    /// characters.
    fn read(reasoning: &str, content: &str, width: usize) -> (String, String) {
        let seen = |message: &Message| {
            let reasoning = message.parts.iter().filter_map(|part| match part {
                Part::Reasoning { text, .. } => Some(&**text),
                _ => None,
            });
            (reasoning.collect::<String>(), message.text())
        };
        let said = serde_json::json!({ "reasoning_content": reasoning, "content": content });
        let body = serde_json::json!({ "choices": [{ "message": said, "finish_reason": "stop" }] });
        let whole = chat().response(body.to_string().as_bytes()).unwrap();
        let chunk = |delta, reason: Option<&str>| {
            let choice = serde_json::json!({ "delta": delta, "finish_reason": reason });
            format!("data: {}\n\n", serde_json::json!({ "choices": [choice] }))
        };
        let chars: Vec<char> = content.chars().collect();
        let mut stream = chunk(serde_json::json!({ "reasoning_content": reasoning }), None);
        for text in chars.chunks(width) {
            stream += &chunk(serde_json::json!({ "content": text.iter().collect::<String>() }), None);
        }
        stream += &chunk(serde_json::json!({}), Some("stop"));
        let streamed = decode(&chat(), &[stream.as_bytes()]).unwrap();
        assert_eq!(seen(&whole), seen(&streamed), "{content} in chunks of {width}");
        seen(&whole)
    }

    #[test]
    fn thinking_at_the_beginning_of_an_answer_is_reasoning() {
        for (reasoning, content, thinking, text) in [
            ("", "<think>Hm.</think>\n\nHello.", "Hm.", "Hello."),
            ("", "<think>Hm.</think>", "Hm.", ""),
            ("", "<think>Hm", "Hm", ""),
            ("", "Hello. <think>Hm.</think>", "", "Hello. <think>Hm.</think>"),
            ("", "<th", "", "<th"),
            ("", "[1, 2]", "", "[1, 2]"),
            ("", "", "", ""),
            // The server separates thinking: the tags are what the answer is about.
            ("Hm.", "<think> begins it.", "Hm.", "<think> begins it."),
        ] {
            if reasoning.is_empty() && content.is_empty() {
                continue;
            }
            for width in [1, 3, 100] {
                assert_eq!(
                    read(reasoning, content, width),
                    (thinking.to_owned(), text.to_owned()),
                    "{content}"
                );
            }
        }
    }

    #[test]
    fn thinking_without_an_opening_tag_is_reasoning_in_a_whole_answer_of_every_dialect() {
        let said = "2 + 2 is 4.\n</think>\n\n4";
        let message = serde_json::json!({ "role": "assistant", "content": said });
        let output = serde_json::json!([
            { "type": "message", "content": [{ "type": "output_text", "text": said }] }
        ]);
        let candidate =
            serde_json::json!({ "content": { "parts": [{ "text": said }] }, "finishReason": "STOP" });
        let bodies = [
            (
                Dialect::OpenAiChat,
                serde_json::json!({ "choices": [{ "message": message, "finish_reason": "stop" }] }),
            ),
            (
                Dialect::OpenAiCompletions,
                serde_json::json!({ "choices": [{ "text": said, "finish_reason": "stop" }] }),
            ),
            (Dialect::OpenAiResponses, serde_json::json!({ "status": "completed", "output": output })),
            (
                Dialect::Anthropic,
                serde_json::json!({
                    "type": "message", "content": [{ "type": "text", "text": said }], "stop_reason": "end_turn",
                }),
            ),
            (Dialect::Gemini, serde_json::json!({ "candidates": [candidate] })),
            (Dialect::Ollama, serde_json::json!({ "message": message, "done": true, "done_reason": "stop" })),
        ];
        for (dialect, body) in bodies {
            let protocol = ThinkTags(dialect.protocol(Quirks::new()));
            let message = protocol.response(body.to_string().as_bytes()).unwrap();
            let reasoning = Part::Reasoning { text: "2 + 2 is 4.".into(), signature: None };
            assert_eq!(message.parts, [reasoning, Part::Text("4".into())], "{dialect:?}");
        }
        for text in ["The tag </think> ends it.", "<think>a", "a\n</think>\n", "a/b"] {
            assert_eq!(split_unopened(text), None, "{text}");
        }
        // Its deltas have been emitted.
        let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"Hm.\\n</think>\\n\"}}]}\n\n\
            data: {\"choices\":[{\"delta\":{\"content\":\"4\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        assert_eq!(decode(&chat(), &[stream.as_bytes()]).unwrap().text(), "Hm.\n</think>\n4");
        holds_for_a_stream(&chat(), stream);
    }

    #[test]
    fn a_stream_with_thinking_obeys_the_laws_of_streams() {
        let stream = "data: {\"choices\":[{\"delta\":{\"content\":\"<think>Hm.</think> He\"}}]}\n\n\
            data: {\"choices\":[{\"delta\":{\"content\":\"llo.\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
        holds_for_a_stream(&chat(), stream);
    }
}
