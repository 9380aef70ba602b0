//! How a provider talks: what goes over the wire, and how to read what comes back. No I/O.
//!
//! A [`Protocol`] is one dialect, such as OpenAI's chat completions. One call passes through it like this:
//!
//! ```text
//! Call ──request()──▶ HttpRequest ──▶ transport ──▶ server
//!                                         │
//!   a plain answer      body   ──response()──▶ Message
//!   a streamed answer   events ──decoder()───▶ Delta, Delta, .. ──Fold──▶ Message
//!   a refusal    status, headers, body ──error()─────▶ Error
//! ```
//!
//! The transport owns everything else, the same for all dialects: connections, keys, limits, timeouts, retries,
//! request ids, and the status, `Retry-After` and redacted body that it adds to every error. A dialect is
//! therefore a few pure functions, tested on recorded bytes alone. To add one, write a folder beside
//! [`providers::openai`](crate::providers::openai) and name it in a row of
//! [`providers::compatible`](crate::providers::compatible).

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use fanweave_core::{Delta, Error, Message, Parameters, Result};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

pub(crate) use crate::transport::sse::SseEvent;

/// A provider's dialect.
pub(crate) trait Protocol: Send + Sync + 'static {
    /// Writes the request for `call`. Called once for a call, however often it is then sent.
    ///
    /// # Errors
    /// [`ErrorKind::Input`](fanweave_core::ErrorKind::Input) where the dialect cannot say what the call asks for.
    fn request(&self, call: &Call<'_>) -> Result<HttpRequest>;

    /// Reads the whole body of a successful answer.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`](fanweave_core::ErrorKind::Decode) where it is not what the provider documents, or the
    /// error that the provider wrapped into a success.
    fn response(&self, body: &[u8]) -> Result<Message>;

    /// How the events of a streamed answer are told apart.
    fn framing(&self) -> Framing {
        Framing::Events
    }

    /// A reader for one streamed answer.
    fn decoder(&self) -> Box<dyn StreamDecoder>;

    /// Says what kind of failure an answer with an error status is, in the provider's words.
    ///
    /// `body` is at most the first 64 KiB, and holds no key any more.
    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error;
}

/// How the events of a streamed answer are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Server-sent events.
    Events,
    /// Each line is one JSON object.
    Lines,
}

/// Reads one streamed answer, event by event.
pub(crate) trait StreamDecoder: Send {
    /// Adds what `event` says to `deltas`: nothing, one piece or several.
    ///
    /// # Errors
    /// As [`Protocol::response`].
    fn event(&mut self, event: &SseEvent<'_>, deltas: &mut Vec<Delta>) -> Result<()>;

    /// Whether the end marker of the dialect has arrived: nothing that follows is read.
    fn is_done(&self) -> bool;

    /// Whether the answer is whole if the stream ends here. One that is not was cut off.
    fn is_complete(&self) -> bool {
        self.is_done()
    }
}

/// What a dialect writes a request from.
pub(crate) struct Call<'a> {
    /// The model, in the provider's words.
    pub(crate) model: &'a str,
    /// The conversation so far.
    pub(crate) messages: &'a [Message],
    /// What the call sets beside its messages.
    pub(crate) parameters: &'a Parameters,
    /// Whether the answer is wanted in pieces.
    pub(crate) stream: bool,
    /// How long the transport waits for the first byte. A dialect whose servers say nothing until the answer is
    /// whole asks for a stream where the answer may take longer, and nobody sees its pieces.
    pub(crate) idle_timeout: Duration,
}

/// A request, without what only the transport knows: host, key and connection.
#[derive(Clone)]
pub(crate) struct HttpRequest {
    pub(crate) method: Method,
    /// Appended to the base URL, as in `/chat/completions`.
    pub(crate) path: Cow<'static, str>,
    /// Whether the answer comes in pieces.
    pub(crate) streams: bool,
    /// Headers that this call needs beside the transport's own.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Written once and shared between all tries.
    pub(crate) body: Bytes,
}
