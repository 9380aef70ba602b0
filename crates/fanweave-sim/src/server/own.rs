//! The simulator's own pages: index, counts, reset.

use std::time::SystemTime;

use bytes::Bytes;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};

use super::body::{JSON, Payload};
use super::dialect::Dialect;
use super::problem::Problem;
use super::provider::Provider;
use super::refusal::refusal;
use super::route::Route;
use super::tokens;

/// Text of `GET /`.
const INDEX_PAGE: &str = "fanweave sim: a simulated LLM provider.\n\n\
    POST /v1/chat/completions  /v1/completions  /v1/embeddings   as OpenAI\n\
    POST /v1/responses                                           as OpenAI\n\
    POST /v1/messages  /v1/messages/batches                      as Anthropic\n\
    POST /v1beta/models/{id}:generateContent  (and its stream)   as Gemini\n\
    POST /v1beta/models/{id}:batchEmbedContents                  as Gemini\n\
    POST /v1/projects/{id}/locations/{id}/publishers/google/..   as Vertex AI\n\
    POST /model/{id}/converse  /model/{id}/converse-stream       as Bedrock\n\
    POST /token  GET /computeMetadata/v1/instance/..             tokens for Vertex AI\n\
    POST /api/chat  /api/embed                                   as Ollama\n\
    POST /v1/files  /v1/batches  GET /v1/batches/{id}            as OpenAI\n\
    GET  /v1/models  /v1/models/{id}\n\
    GET  /stats      counts so far\n\
    POST /reset      reset the counts\n";

/// Answers requests to the simulator itself.
pub(super) fn answer(
    provider: &Provider,
    route: Result<Route, Problem>,
    dialect: Dialect,
) -> Response<Payload> {
    let (content_type, body) = match route {
        Ok(Route::Stats) => {
            let stats =
                serde_json::to_vec(&provider.counters.snapshot()).expect("numbers can be written as JSON");
            (JSON, Bytes::from(stats))
        }
        Ok(Route::Token) => {
            let key = provider.settings.api_key.as_deref().unwrap_or_default();
            (JSON, Bytes::from(tokens::issue(key, SystemTime::now())))
        }
        Ok(Route::Reset) => {
            provider.reset();
            (JSON, Bytes::from_static(b"{}"))
        }
        Ok(_) => {
            (HeaderValue::from_static("text/plain; charset=utf-8"), Bytes::from_static(INDEX_PAGE.as_bytes()))
        }
        Err(problem) => return refusal(&problem, dialect, "req_none"),
    };
    let mut response = Response::new(Payload::whole(body));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
