//! A chat answer that is not streamed.

use serde::Serialize;

use super::{Call, Chat, FINGERPRINT};
use crate::answer::{Answer, Content, Reply};
use crate::server::endpoint::ResponseContext;
use crate::server::openai::{Usage, finish_reason};

#[derive(Serialize)]
struct Completion<'a> {
    id: String,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<Choice<'a>>,
    usage: Usage,
    system_fingerprint: &'static str,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: usize,
    message: Message<'a>,
    logprobs: Option<()>,
    finish_reason: &'static str,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: Option<&'a str>,
    refusal: Option<()>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
}

pub(super) fn write(chat: &Chat<'_>, reply: &Reply, context: &ResponseContext) -> Vec<u8> {
    let completion = Completion {
        id: format!("chatcmpl-{:016x}", context.id),
        object: "chat.completion",
        created: context.created,
        model: &chat.chat_request.model,
        choices: reply.answers.iter().enumerate().map(choice).collect(),
        usage: Usage::new(reply.input_tokens, reply.output_tokens, reply.reasoning_tokens),
        system_fingerprint: FINGERPRINT,
    };
    serde_json::to_vec(&completion).expect("an answer has string keys only")
}

fn choice((index, answer): (usize, &Answer)) -> Choice<'_> {
    let (content, tool_calls) = match &answer.content {
        Content::Text(text) => (Some(&**text), Vec::new()),
        Content::Calls(calls) => (None, calls.iter().map(Call::new).collect()),
    };
    Choice {
        index,
        message: Message { role: "assistant", content, refusal: None, tool_calls },
        logprobs: None,
        finish_reason: finish_reason(&answer.finish),
    }
}
