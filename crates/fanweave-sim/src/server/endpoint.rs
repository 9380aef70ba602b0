//! The interface between `exchange` and the endpoints of the dialects.

use bytes::Bytes;
use hyper::header::HeaderMap;

use super::problem::Problem;

/// An endpoint that costs tokens: decoding of its requests and encoding of its answers.
pub(super) trait Endpoint<'a>: Request + Sized {
    /// Reads and validates a request, without the account.
    fn read(headers: &HeaderMap, body: &'a [u8]) -> Result<Self, Problem>;
}

/// A request that costs tokens.
pub(super) trait Request {
    /// The requested model.
    fn model(&self) -> &str;

    /// Input tokens, and the maximum output tokens.
    fn estimate(&self) -> (u64, Option<u64>);

    /// Creates the answer.
    fn answer(&self, context: &ResponseContext) -> PreparedResponse;
}

/// Inputs of an answer other than the request.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResponseContext {
    /// Makes the ids of this answer unique.
    pub(super) id: u64,
    /// Seconds since 1970.
    pub(super) created: u64,
    /// Chunks per stream, see [`Settings::chunks`](crate::Settings::chunks).
    pub(super) chunks: usize,
    /// See [`Settings::interleaved_calls`](crate::Settings::interleaved_calls).
    pub(super) interleaved_calls: bool,
}

/// An answer, ready to be sent.
#[derive(Debug)]
pub(super) struct PreparedResponse {
    pub(super) bytes: Bytes,
    /// Lengths of the events of a stream; `None` for a plain answer.
    pub(super) events: Option<Vec<usize>>,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
}

impl PreparedResponse {
    /// A plain answer that costs no tokens.
    pub(super) fn free(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), events: None, input_tokens: 0, output_tokens: 0 }
    }
}
