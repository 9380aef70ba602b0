//! OpenAI's dialect: chat completions, completions, embeddings, models.

mod batches;
mod chat;
mod completions;
mod embeddings;
mod models;
mod responses;

pub(super) use batches::{Batches, find, query};
pub(super) use chat::Chat;
pub(super) use completions::Completions;
pub(super) use embeddings::Embeddings;
pub(super) use models::{EXAMPLES, model, models};
pub(super) use responses::Responses;

use serde::{Deserialize, Serialize};

use super::problem::Problem;
use crate::answer::Finish;

/// Maximum candidates per prompt. Source: OpenAI's limit on `n`.
const MAX_CANDIDATES: usize = 128;

/// Parses a body, or returns its problem.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let message = if error.is_data() {
            format!("Invalid request: {error}.")
        } else {
            format!("We could not parse the JSON body of your request: {error}.")
        };
        Problem::invalid(message, None)
    })
}

/// Number of candidates requested by `n`.
fn candidates(n: Option<usize>) -> Result<usize, Problem> {
    match n.unwrap_or(1) {
        n @ 1..=MAX_CANDIDATES => Ok(n),
        n => Err(Problem::invalid(
            format!("Invalid 'n': must be from 1 to {MAX_CANDIDATES} (got {n})."),
            Some("n"),
        )),
    }
}

/// OpenAI's finish reason.
fn finish_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop | Finish::Sequence(_) => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
    }
}

/// Fields of `stream_options`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// Token usage, as reported by chat and plain completions.
#[derive(Clone, Copy, Debug, Serialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl Usage {
    fn new(prompt_tokens: u64, completion_tokens: u64, reasoning_tokens: u64) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: PromptDetails { cached_tokens: 0 },
            completion_tokens_details: CompletionDetails { reasoning_tokens },
        }
    }
}
