//! `POST /v1/completions`: several prompts in one request, each with its own candidates.

use std::borrow::Cow;

use hyper::header::HeaderMap;
use serde::{Deserialize, Serialize};

use super::{StreamOptions, Usage, candidates, finish_reason, parse};
use crate::answer::{Answer, ChatRequest, Content, answer, pieces};
use crate::server::content::{Text, Texts};
use crate::server::endpoint::{Endpoint, PreparedResponse, Request as Call, ResponseContext};
use crate::server::events::Events;
use crate::server::problem::Problem;

/// A completions request.
#[derive(Debug)]
pub(in crate::server) struct Completions<'a> {
    /// One per prompt, at least one.
    chat_requests: Vec<ChatRequest<'a>>,
    is_stream: bool,
    wants_usage: bool,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    model: Option<Text<'a>>,
    #[serde(borrow)]
    prompt: Option<Texts<'a>>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u64>,
    #[serde(borrow)]
    stop: Option<Texts<'a>>,
    n: Option<usize>,
    seed: Option<i64>,
    echo: Option<bool>,
}

/// A complete completion, or a chunk of one.
#[derive(Serialize)]
struct Completion<'a> {
    id: &'a str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: usize,
    text: &'a str,
    logprobs: Option<()>,
    finish_reason: Option<&'static str>,
}

impl<'a> Endpoint<'a> for Completions<'a> {
    fn read(_headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Problem> {
        let request: Request<'_> = parse(body)?;
        let model =
            request.model.filter(|model| !model.0.is_empty()).ok_or(Problem::Missing { param: "model" })?;
        let prompts = request.prompt.ok_or(Problem::Missing { param: "prompt" })?.0;
        if prompts.is_empty() {
            return Err(Problem::invalid(
                "Invalid 'prompt': there must be at least one prompt.",
                Some("prompt"),
            ));
        }
        if request.echo == Some(true) {
            return Err(Problem::invalid("The simulator does not support 'echo'.", Some("echo")));
        }
        let stop = request.stop.map(|stop| stop.0).unwrap_or_default();
        let candidates = candidates(request.n)?;
        let chat_request = |prompt: Cow<'a, str>| {
            let mut chat_request = ChatRequest::new(model.0.clone(), prompt);
            chat_request.max_tokens = request.max_tokens;
            chat_request.stop.clone_from(&stop);
            chat_request.candidates = candidates;
            chat_request.seed = request.seed.map(i64::cast_unsigned);
            chat_request
        };
        Ok(Self {
            chat_requests: prompts.into_iter().map(chat_request).collect(),
            is_stream: request.stream.unwrap_or(false),
            wants_usage: request.stream_options.unwrap_or_default().include_usage,
        })
    }
}

impl Call for Completions<'_> {
    fn model(&self) -> &str {
        self.chat_requests.first().map_or("", |chat_request| &chat_request.model)
    }

    fn estimate(&self) -> (u64, Option<u64>) {
        let input = self.chat_requests.iter().map(ChatRequest::input_tokens).sum();
        let output = |chat_request: &ChatRequest<'_>| {
            Some(chat_request.max_tokens?.saturating_mul(chat_request.candidates as u64))
        };
        let sum = |sum: Option<u64>, chat_request| Some(sum?.saturating_add(output(chat_request)?));
        (input, self.chat_requests.iter().fold(Some(0), sum))
    }

    fn answer(&self, context: &ResponseContext) -> PreparedResponse {
        let replies: Vec<_> = self.chat_requests.iter().map(answer).collect();
        let input_tokens = replies.iter().map(|reply| reply.input_tokens).sum();
        let output_tokens = replies.iter().map(|reply| reply.output_tokens).sum();
        let answers: Vec<Answer> = replies.into_iter().flat_map(|reply| reply.answers).collect();
        let usage = Usage::new(input_tokens, output_tokens, 0);
        let (bytes, events) = if self.is_stream {
            let (bytes, lengths) = self.stream(&answers, usage, context);
            (bytes, Some(lengths))
        } else {
            let choices = answers.iter().enumerate();
            let choices = choices.map(|(index, answer)| choice(index, text(answer), Some(answer))).collect();
            let id = id(context);
            let completion = self.completion(&id, context, choices, Some(usage));
            (serde_json::to_vec(&completion).expect("an answer has string keys only").into(), None)
        };
        PreparedResponse { bytes, events, input_tokens, output_tokens }
    }
}

impl Completions<'_> {
    /// The chunks of all answers, interleaved. The last chunk of each answer is empty and has the finish
    /// reason.
    fn stream(
        &self,
        answers: &[Answer],
        usage: Usage,
        context: &ResponseContext,
    ) -> (bytes::Bytes, Vec<usize>) {
        let id = id(context);
        let mut events = Events::default();
        let mut texts: Vec<_> =
            answers.iter().map(|answer| Some(pieces(text(answer), context.chunks))).collect();
        while texts.iter().any(Option::is_some) {
            for (index, pieces) in texts.iter_mut().enumerate() {
                let Some(rest) = pieces else { continue };
                let choice = match rest.next() {
                    Some(piece) => choice(index, piece, None),
                    None => {
                        *pieces = None;
                        choice(index, "", Some(&answers[index]))
                    }
                };
                events.data(&self.completion(&id, context, vec![choice], None));
            }
        }
        if self.wants_usage {
            events.data(&self.completion(&id, context, Vec::new(), Some(usage)));
        }
        events.done();
        events.finish()
    }

    fn completion<'a>(
        &'a self,
        id: &'a str,
        context: &ResponseContext,
        choices: Vec<Choice<'a>>,
        usage: Option<Usage>,
    ) -> Completion<'a> {
        Completion {
            id,
            object: "text_completion",
            created: context.created,
            model: self.model(),
            choices,
            usage,
        }
    }
}

fn id(context: &ResponseContext) -> String {
    format!("cmpl-{:016x}", context.id)
}

fn choice<'a>(index: usize, text: &'a str, finished: Option<&Answer>) -> Choice<'a> {
    Choice {
        index,
        text,
        logprobs: None,
        finish_reason: finished.map(|answer| finish_reason(&answer.finish)),
    }
}

/// The text of an answer. Completions have no tools.
fn text(answer: &Answer) -> &str {
    match &answer.content {
        Content::Text(text) => text,
        Content::Calls(_) => "",
    }
}
