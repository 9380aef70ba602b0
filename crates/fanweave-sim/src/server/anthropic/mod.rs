//! Anthropic's dialect: messages, batches of them, models.

mod batches;
mod models;
mod plain;
mod request;
mod stream;

pub(super) use batches::Batches;
pub(super) use models::{model, models};

use hyper::header::HeaderMap;
use serde::Serialize;

use super::endpoint::{Endpoint, PreparedResponse, Request, ResponseContext};
use super::problem::Problem;
use crate::answer::{ChatRequest, Finish, answer};

/// A request to `POST /v1/messages`.
#[derive(Debug)]
pub(super) struct Messages<'a> {
    chat_request: ChatRequest<'a>,
    is_stream: bool,
}

impl<'a> Endpoint<'a> for Messages<'a> {
    fn read(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Problem> {
        if !headers.contains_key("anthropic-version") {
            return Err(Problem::invalid("anthropic-version: header is required", None));
        }
        request::read(body)
    }
}

impl Request for Messages<'_> {
    fn model(&self) -> &str {
        &self.chat_request.model
    }

    fn estimate(&self) -> (u64, Option<u64>) {
        (self.chat_request.input_tokens(), self.chat_request.max_tokens)
    }

    fn answer(&self, context: &ResponseContext) -> PreparedResponse {
        let reply = answer(&self.chat_request);
        let usage = Usage {
            input_tokens: reply.input_tokens,
            cache_creation_input_tokens: 0,
            cache_read_input_tokens: 0,
            output_tokens: reply.output_tokens,
        };
        let first = reply.answers.first().expect("a reply has at least one answer");
        let id = format!("msg_{:016x}", context.id);
        let (bytes, events) = if self.is_stream {
            let (bytes, lengths) = stream::write(&id, &self.chat_request.model, first, usage, context.chunks);
            (bytes, Some(lengths))
        } else {
            (plain::write(&id, &self.chat_request.model, first, usage).into(), None)
        };
        PreparedResponse {
            bytes,
            events,
            input_tokens: reply.input_tokens,
            output_tokens: reply.output_tokens,
        }
    }
}

/// Tokens used.
#[derive(Clone, Copy, Debug, Serialize)]
struct Usage {
    input_tokens: u64,
    cache_creation_input_tokens: u64,
    cache_read_input_tokens: u64,
    output_tokens: u64,
}

/// Anthropic's stop reason, and the stop sequence that was reached.
fn stop_reason(finish: &Finish) -> (&'static str, Option<&str>) {
    match finish {
        Finish::Stop => ("end_turn", None),
        Finish::Sequence(sequence) => ("stop_sequence", Some(sequence)),
        Finish::Length => ("max_tokens", None),
        Finish::ToolCalls => ("tool_use", None),
    }
}

/// The id of a tool call, with Anthropic's prefix.
fn tool_use_id(id: &str) -> String {
    format!("toolu_{id}")
}
