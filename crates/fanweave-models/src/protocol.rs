//! Dialects of providers: encoding of requests and decoding of responses. No I/O.
//!
//! A [`Protocol`] is one dialect, such as OpenAI's chat completions. A call passes through it as follows:
//!
//! ```text
//! Call ──request()──▶ HttpRequest ──▶ transport ──▶ server
//!                                         │
//!   a plain answer      body   ──response()──▶ Message
//!   a streamed answer   events ──decoder()───▶ Delta, Delta, .. ──Fold──▶ Message
//!   an error   status, headers, body ──error()─────▶ Error
//! ```
//!
//! Everything else is the same for all dialects and belongs to the transport: connections, keys, limits,
//! timeouts, retries, request ids, and the status, `Retry-After` and redacted body that it adds to every
//! error. A dialect is therefore a few pure functions, tested on recorded bytes alone. To add one, write a
//! directory next to [`providers::openai`](crate::providers::openai) and name it in a row of
//! [`providers::compatible`](crate::providers::compatible).

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use fanweave_core::{Delta, Error, Message, Parameters, Result};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

pub(crate) use crate::transport::sse::SseEvent;

/// A provider's dialect.
pub(crate) trait Protocol: Send + Sync + 'static {
    /// Encodes the request for `call`. Called once per call, regardless of retries.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](fanweave_core::ErrorKind::Input) if the dialect does not support the call.
    fn request(&self, call: &Call<'_>) -> Result<HttpRequest>;

    /// Decodes the whole body of a successful response.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](fanweave_core::ErrorKind::Decode) if the body does not match the provider's
    /// documentation, or the error that the provider wrapped into a success.
    fn response(&self, body: &[u8]) -> Result<Message>;

    /// Framing of a streamed answer.
    fn framing(&self) -> Framing {
        Framing::Events
    }

    /// A decoder for one streamed answer.
    fn decoder(&self) -> Box<dyn StreamDecoder>;

    /// Classifies a response with an error status and keeps the provider's message.
    ///
    /// `body` is at most the first 64 KiB, with keys already redacted.
    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error;
}

/// Framing of the events in a streamed answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events.
    Events,
    /// Each line is one JSON object.
    Lines,
}

/// Decodes one streamed answer, event by event.
pub(crate) trait StreamDecoder: Send {
    /// Adds the deltas of `event` to `deltas`: none, one or several.
    ///
    /// # Errors
    /// Like [`Protocol::response`].
    fn event(&mut self, event: &SseEvent<'_>, deltas: &mut Vec<Delta>) -> Result<()>;

    /// Returns true after the end marker of the dialect: the rest of the stream is not read.
    fn is_done(&self) -> bool;

    /// Returns true if the answer is complete when the stream ends here. Otherwise it was truncated.
    fn is_complete(&self) -> bool {
        self.is_done()
    }
}

/// Input of a dialect for writing a request.
pub(crate) struct Call<'a> {
    /// Name of the model as the provider knows it.
    pub(crate) model: &'a str,
    /// The conversation so far.
    pub(crate) messages: &'a [Message],
    /// Parameters of the call.
    pub(crate) parameters: &'a Parameters,
    /// Set if the answer is to be streamed.
    pub(crate) stream: bool,
    /// Maximum time that the transport waits for the first byte. A dialect whose servers send nothing until
    /// the answer is complete requests a stream if the answer may take longer, even without a delta
    /// subscriber.
    pub(crate) idle_timeout: Duration,
}

/// A request without host, key and connection, which the transport adds.
#[derive(Clone)]
pub(crate) struct HttpRequest {
    pub(crate) method: Method,
    /// Appended to the base URL, as in `/chat/completions`.
    pub(crate) path: Cow<'static, str>,
    /// Set if the answer is streamed.
    pub(crate) streams: bool,
    /// Headers of this call, in addition to those of the transport.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Encoded once and shared by all attempts.
    pub(crate) body: Bytes,
}
