//! Answers as real servers send them, in every dialect: odd ones must be read like their plain originals, and
//! nothing that failed may be read as an answer.

mod calls;
mod events;
mod extras;
mod finished;
mod framing;
mod json;
mod mutations;
mod names;
mod shapes;
mod streams;

use std::sync::Arc;

use fanweave_core::{FinishReason, Message, Part, Result};

use self::streams::{DIALECTS, Original, USAGE, events, rich, text, whole, wire};
use super::testing::decode;
use crate::protocol::Protocol;
use crate::vendor::Vendor;

fn protocol(dialect: &str) -> Arc<dyn Protocol> {
    let vendor = Vendor::of(&format!("{dialect}/m")).expect("a vendor of the table").0;
    vendor.versioned_protocol(None).expect("every dialect has a version of its own")
}

/// The contents of an answer.
#[derive(Debug, PartialEq)]
struct Seen {
    reasoning: String,
    text: String,
    /// Name and arguments.
    calls: Vec<(String, String)>,
    finish: Option<FinishReason>,
    usage: (u64, u64),
}

fn seen(message: &Message) -> Seen {
    let reply = message.reply.clone().unwrap_or_default();
    let reasoning = message.parts.iter().filter_map(|part| match part {
        Part::Reasoning { text, .. } => Some(&**text),
        _ => None,
    });
    Seen {
        reasoning: reasoning.collect(),
        text: message.text(),
        calls: message.tool_calls().map(|call| (call.name.clone(), call.arguments.clone())).collect(),
        finish: reply.finish_reason,
        usage: (reply.usage.input_tokens, reply.usage.output_tokens),
    }
}

/// The contents that `original` must have.
fn expected(original: &Original) -> Seen {
    let call = |(_, name, fragments): &(&str, &str, Vec<&str>)| (name.to_string(), fragments.concat());
    Seen {
        reasoning: original.reasoning.concat(),
        text: original.text.concat(),
        calls: original.calls.iter().map(call).collect(),
        finish: Some(if original.calls.is_empty() { FinishReason::Stop } else { FinishReason::ToolCalls }),
        usage: USAGE,
    }
}

/// Reads a stream.
fn streamed(dialect: &str, stream: &str) -> Result<Seen> {
    decode(&*protocol(dialect), &[stream.as_bytes()]).map(|message| seen(&message))
}

#[test]
fn a_plain_original_is_read_in_every_dialect() {
    for dialect in DIALECTS {
        for original in [text(), rich(dialect)] {
            let stream = wire(dialect, &events(dialect, &original));
            assert_eq!(streamed(dialect, &stream).unwrap(), expected(&original), "{dialect}: {stream}");
            let body = whole(dialect, &original);
            let message = protocol(dialect).response(body.as_bytes()).unwrap();
            assert_eq!(seen(&message), expected(&original), "{dialect}: {body}");
        }
    }
}
