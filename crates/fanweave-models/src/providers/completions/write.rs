//! Encoding of requests.

use fanweave_core::{Error, ErrorKind, Message, Parameters, Part, Result};
use serde_json::{Map, Value, json};

use crate::providers::foreign::{self, Target};
use crate::providers::openai::Quirks;
use crate::providers::{json, reasoning};

/// Name of the dialect in messages.
const DIALECT: &str = "the Completions API";

/// The fields of chat completions that the dialect has.
pub(super) const TARGET: Target = Target {
    name: DIALECT,
    has_seed: true,
    fields: &[
        ("presence_penalty", &["presence_penalty"], foreign::unchanged),
        ("frequency_penalty", &["frequency_penalty"], foreign::unchanged),
        ("logit_bias", &["logit_bias"], foreign::unchanged),
        ("user", &["user"], foreign::unchanged),
        ("top_k", &["top_k"], foreign::unchanged),
        ("min_p", &["min_p"], foreign::unchanged),
        ("repetition_penalty", &["repetition_penalty"], foreign::unchanged),
    ],
    hints: None,
};

pub(super) fn request(
    model: &str,
    prompt: Value,
    p: &Parameters,
    stream: bool,
    quirks: Quirks,
) -> Result<Vec<u8>> {
    if !p.tools.is_empty() {
        return Err(unsupported("tools"));
    }
    if reasoning::is_set(p) {
        return Err(unsupported("reasoning"));
    }
    if p.format.is_some() {
        return Err(unsupported("a response format"));
    }
    let fields = [
        ("model", Some(Value::from(model))),
        ("prompt", Some(prompt)),
        ("temperature", p.temperature.map(Into::into)),
        ("top_p", p.top_p.map(Into::into)),
        ("max_tokens", p.max_tokens.map(Into::into)),
        ("stop", (!p.stop.is_empty()).then(|| p.stop.clone().into())),
        ("seed", p.seed.map(Into::into)),
        ("stream", stream.then_some(Value::Bool(true))),
        ("stream_options", (stream && !quirks.no_stream_options).then(|| json!({ "include_usage": true }))),
    ];
    let set = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    json::body(set.collect::<Map<_, _>>(), &p.extra)
}

/// The messages as one text, separated by blank lines: the dialect has no roles.
pub(super) fn prompt(messages: &[Message]) -> Result<String> {
    let mut texts = Vec::with_capacity(messages.len());
    for message in messages {
        let is_text = |part: &Part| matches!(part, Part::Text(_) | Part::Reasoning { .. });
        if let Some(other) = message.parts.iter().find(|part| !is_text(part)) {
            let kind = match other {
                Part::ToolCall(_) | Part::ToolResult(_) => "tool calls",
                _ => "parts other than text",
            };
            return Err(unsupported(kind));
        }
        texts.push(message.text());
    }
    Ok(texts.join("\n\n"))
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Input, format!("{DIALECT} does not support {what}"))
}
