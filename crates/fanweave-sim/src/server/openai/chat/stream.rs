//! A chat answer as a stream of chunks.
//!
//! For each candidate: the role, its text or its tool calls in chunks (name first, then arguments), and the
//! finish reason. Candidates are interleaved, and so are tool calls if the settings require it. Then follow
//! the usage, if requested, and `[DONE]`.

use bytes::Bytes;
use serde::Serialize;

use super::{Call, Chat, FINGERPRINT, Function};
use crate::answer::{Answer, Content, Reply, ToolCall, pieces};
use crate::server::endpoint::ResponseContext;
use crate::server::events::Events;
use crate::server::openai::{Usage, finish_reason};

#[derive(Serialize)]
struct Chunk<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    system_fingerprint: &'static str,
    choices: &'a [Choice<'a>],
    /// Absent without `include_usage`. With it, null in all chunks except the last.
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

/// Contents of a chunk. A null field differs from an absent one.
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

/// The start of a call, or more of its arguments.
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

pub(super) fn write(chat: &Chat<'_>, reply: &Reply, context: &ResponseContext) -> (Bytes, Vec<usize>) {
    let id = format!("chatcmpl-{:016x}", context.id);
    let mut events = Events::default();
    let mut push = |choices: &[Choice<'_>], usage: Option<Usage>| {
        events.data(&Chunk {
            id: &id,
            object: "chat.completion.chunk",
            created: context.created,
            model: &chat.chat_request.model,
            system_fingerprint: FINGERPRINT,
            choices,
            usage: chat.wants_usage.then_some(usage),
        });
    };
    let mut candidates: Vec<_> = reply
        .answers
        .iter()
        .enumerate()
        .map(|(index, answer)| (index, deltas(answer, context).into_iter()))
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
        push(&[], Some(Usage::new(reply.input_tokens, reply.output_tokens, reply.reasoning_tokens)));
    }
    events.done();
    events.finish()
}

/// The deltas of a candidate. The last one has the finish reason.
fn deltas<'a>(answer: &'a Answer, context: &ResponseContext) -> Vec<(Delta<'a>, Option<&'static str>)> {
    let chunks = context.chunks;
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
            let calls = if context.interleaved_calls {
                interleaved(calls)
            } else {
                calls.flatten().map(one).collect()
            };
            let calls = calls.into_iter().map(|calls| Delta { tool_calls: Some(calls), ..Delta::default() });
            std::iter::once(begin(None)).chain(calls).collect()
        }
    };
    deltas.push(Delta::default());
    let last = deltas.len() - 1;
    let reason = finish_reason(&answer.finish);
    deltas.into_iter().enumerate().map(|(index, delta)| (delta, (index == last).then_some(reason))).collect()
}

/// The start of a call with its name, then its arguments in pieces.
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

/// One chunk for the first piece of each call, one for the second of each, and so on.
fn interleaved<'a>(
    calls: impl Iterator<Item = impl Iterator<Item = CallDelta<'a>>>,
) -> Vec<Vec<CallDelta<'a>>> {
    let mut chunks: Vec<Vec<_>> = Vec::new();
    for call in calls {
        for (index, piece) in call.enumerate() {
            match chunks.get_mut(index) {
                Some(others) => others.push(piece),
                None => chunks.push(vec![piece]),
            }
        }
    }
    chunks
}
