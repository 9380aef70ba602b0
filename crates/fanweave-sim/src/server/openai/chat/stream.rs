//! A chat answer as a stream of chunks.
//!
//! Of each candidate: the role, its pieces of text or its tool calls (name first, then pieces of arguments), and why it
//! ends. The candidates take turns, and so do the tool calls where the settings say so. Then the usage, if wanted, and `[DONE]`.

use bytes::Bytes;
use serde::Serialize;

use super::{Call, Chat, FINGERPRINT, Function};
use crate::answer::{Answer, Content, Reply, ToolCall, pieces};
use crate::server::events::Events;
use crate::server::exchange::ResponseContext;
use crate::server::openai::{Usage, finish_reason};

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: &'a [Choice<'a>],
    /// Absent where no usage is wanted; null in all chunks but the last where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: usize,
    delta: Delta<'a>,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

/// What a chunk adds. A field that is there but null differs from one that is not there.
#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<Option<()>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<Vec<CallDelta<'a>>>,
}

/// The beginning of a call, or more of its arguments.
#[derive(Serialize)]
#[serde(untagged)]
enum CallDelta<'a> {
    Begin(Call<'a>),
    Arguments { index: usize, function: Arguments<'a> },
}

#[derive(Serialize)]
struct Arguments<'a> {
    arguments: &'a str,
}

pub(super) fn write(chat: &Chat<'_>, reply: &Reply, making: &ResponseContext) -> (Bytes, Vec<usize>) {
    let id = format!("chatcmpl-{:016x}", making.id);
    let mut events = Events::default();
    let mut push = |choices: &[Choice<'_>], usage: Option<Usage>| {
        events.data(&Chunk {
            id: &id,
            object: "chat.completion.chunk",
            created: making.created,
            model: &chat.ask.model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage: chat.wants_usage.then_some(usage),
        });
    };
    let mut candidates: Vec<_> = reply
        .answers
        .iter()
        .enumerate()
        .map(|(index, answer)| (index, deltas(answer, making).into_iter()))
        .collect();
    while !candidates.is_empty() {
        candidates.retain_mut(|(index, deltas)| match deltas.next() {
            Some((delta, finish_reason)) => {
                push(&[Choice { index: *index, delta, logprobs: None, finish_reason }], None);
                true
            }
            None => false,
        });
    }
    if chat.wants_usage {
        push(&[], Some(Usage::new(reply.input_tokens, reply.output_tokens)));
    }
    events.done();
    events.finish()
}

/// What the chunks of a candidate add, the last with the reason for its end.
fn deltas<'a>(answer: &'a Answer, making: &ResponseContext) -> Vec<(Delta<'a>, Option<&'static str>)> {
    let chunks = making.chunks;
    let begin = |content| Delta {
        role: Some("assistant"),
        content: Some(content),
        refusal: Some(None),
        ..Delta::default()
    };
    let mut deltas: Vec<Delta<'a>> = match &answer.content {
        Content::Text(text) => {
            let pieces =
                pieces(text, chunks).map(|piece| Delta { content: Some(Some(piece)), ..Delta::default() });
            std::iter::once(begin(Some(""))).chain(pieces).collect()
        }
        Content::Calls(calls) => {
            let calls = calls.iter().enumerate().map(|(index, call)| call_deltas(index, call, chunks));
            let calls =
                if making.interleaved_calls { in_turns(calls) } else { calls.flatten().map(one).collect() };
            let calls = calls.into_iter().map(|calls| Delta { tool_calls: Some(calls), ..Delta::default() });
            std::iter::once(begin(None)).chain(calls).collect()
        }
    };
    deltas.push(Delta::default());
    let last = deltas.len() - 1;
    let reason = finish_reason(&answer.finish);
    deltas.into_iter().enumerate().map(|(place, delta)| (delta, (place == last).then_some(reason))).collect()
}

/// The beginning of a call with its name, then its arguments piece by piece.
fn call_deltas(index: usize, call: &ToolCall, chunks: usize) -> impl Iterator<Item = CallDelta<'_>> {
    let begin = Call {
        index: Some(index),
        function: Function { name: &call.name, arguments: "" },
        ..Call::new(call)
    };
    let arguments = pieces(&call.arguments, if chunks == 0 { 4 } else { chunks })
        .map(move |arguments| CallDelta::Arguments { index, function: Arguments { arguments } });
    std::iter::once(CallDelta::Begin(begin)).chain(arguments)
}

fn one(call: CallDelta<'_>) -> Vec<CallDelta<'_>> {
    vec![call]
}

/// A chunk for the first piece of each call, one for the second of each, and so on.
fn in_turns<'a>(calls: impl Iterator<Item = impl Iterator<Item = CallDelta<'a>>>) -> Vec<Vec<CallDelta<'a>>> {
    let mut messages: Vec<Vec<_>> = Vec::new();
    for call in calls {
        for (turn, piece) in call.enumerate() {
            match messages.get_mut(turn) {
                Some(others) => others.push(piece),
                None => messages.push(vec![piece]),
            }
        }
    }
    messages
}
