//! `POST /v1/chat/completions`.

mod plain;
mod request;
mod stream;

use hyper::header::HeaderMap;
use serde::Serialize;

use crate::answer::{ChatRequest, ToolCall, answer};
use crate::server::endpoint::{Endpoint, PreparedResponse, Request, ResponseContext};
use crate::server::problem::Problem;

/// Build of the model, as reported by OpenAI.
const FINGERPRINT: &str = "fp_sim";

/// A chat request.
#[derive(Debug)]
pub(in crate::server) struct Chat<'a> {
    chat_request: ChatRequest<'a>,
    is_stream: bool,
    wants_usage: bool,
}

impl<'a> Endpoint<'a> for Chat<'a> {
    fn read(_headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Problem> {
        request::read(body)
    }
}

impl Request for Chat<'_> {
    fn model(&self) -> &str {
        &self.chat_request.model
    }

    fn estimate(&self) -> (u64, Option<u64>) {
        (self.chat_request.input_tokens(), self.chat_request.max_tokens)
    }

    fn answer(&self, context: &ResponseContext) -> PreparedResponse {
        let reply = answer(&self.chat_request);
        let (bytes, events) = if self.is_stream {
            let (bytes, lengths) = stream::write(self, &reply, context);
            (bytes, Some(lengths))
        } else {
            (plain::write(self, &reply, context).into(), None)
        };
        PreparedResponse {
            bytes,
            events,
            input_tokens: reply.input_tokens,
            output_tokens: reply.output_tokens,
        }
    }
}

/// A tool call; in a stream also the start of one.
#[derive(Debug, Serialize)]
struct Call<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<usize>,
    id: String,
    r#type: &'static str,
    function: Function<'a>,
}

#[derive(Debug, Serialize)]
struct Function<'a> {
    name: &'a str,
    arguments: &'a str,
}

impl<'a> Call<'a> {
    fn new(call: &'a ToolCall) -> Self {
        Self {
            index: None,
            id: format!("call_{}", call.id),
            r#type: "function",
            function: Function { name: &call.name, arguments: &call.arguments },
        }
    }
}
