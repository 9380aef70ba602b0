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
//! error. A dialect is therefore a few pure functions, tested on recorded bytes alone.
//!
//! A dialect of another crate is used with [`ModelBuilder::protocol`](crate::ModelBuilder::protocol), or by
//! all models of a vendor with [`Vendor::protocol`](crate::Vendor::protocol). To let it differ from a dialect
//! of this crate in a few points, delegate to [`Dialect::protocol`](crate::Dialect::protocol). To add one to
//! this crate, write a directory next to `providers/openai` and name it in [`Dialect`](crate::Dialect).
//!
//! ```
//! use fanweave::models::ModelBuilder;
//! use fanweave::models::protocol::{Call, Framing, HttpRequest, Protocol, SseEvent, StreamDecoder};
//! use fanweave::{Delta, Error, ErrorKind, Message, Result, messages::FinishReason};
//!
//! /// Takes and returns plain text: `POST /say` with the text of the last message.
//! struct PlainText;
//!
//! impl Protocol for PlainText {
//!     fn request(&self, call: &Call<'_>) -> Result<HttpRequest> {
//!         let text = call.messages.last().map(Message::text).unwrap_or_default();
//!         Ok(HttpRequest::post("/say", text).streamed(call.stream))
//!     }
//!
//!     fn response(&self, body: &[u8]) -> Result<Message> {
//!         let text = str::from_utf8(body).map_err(|_| Error::new(ErrorKind::Decode, "not UTF-8"))?;
//!         Ok(Message::assistant(text))
//!     }
//!
//!     fn framing(&self) -> Framing {
//!         Framing::Lines
//!     }
//!
//!     fn decoder(&self) -> Box<dyn StreamDecoder> {
//!         Box::new(Lines { is_done: false })
//!     }
//! }
//!
//! /// Each line is a chunk of the text, and `.` alone is the end.
//! struct Lines {
//!     is_done: bool,
//! }
//!
//! impl StreamDecoder for Lines {
//!     fn event(&mut self, event: &SseEvent<'_>, deltas: &mut Vec<Delta>) -> Result<()> {
//!         self.is_done = event.data == ".";
//!         deltas.push(match self.is_done {
//!             true => Delta::Finished(FinishReason::Stop),
//!             false => Delta::text(event.data),
//!         });
//!         Ok(())
//!     }
//!
//!     fn is_done(&self) -> bool {
//!         self.is_done
//!     }
//! }
//!
//! let model =
//!     ModelBuilder::new("plain/x").base_url("http://localhost:7000").protocol(PlainText).build()?;
//! # Ok::<_, Error>(())
//! ```

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use fanweave_core::prompt::RequestBody;
use fanweave_core::{Delta, Error, ErrorKind, Message, Parameters, Result};

pub use bytes::Bytes;
pub use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

pub use crate::providers::failure::classify;
pub use crate::transport::sse::SseEvent;

/// A provider's dialect. [The module](self) has an example.
///
/// Its functions run on the threads of the calls: they must not block or wait.
pub trait Protocol: Send + Sync + 'static {
    /// Encodes the request for `call`. Called once per call, regardless of retries.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] if the dialect does not support the call.
    fn request(&self, call: &Call<'_>) -> Result<HttpRequest>;

    /// Decodes the whole body of a successful response.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if the body does not match the provider's
    /// documentation, or the error that the provider wrapped into a success.
    fn response(&self, body: &[u8]) -> Result<Message>;

    /// Framing of a streamed answer. Default [`Framing::Events`].
    fn framing(&self) -> Framing {
        Framing::Events
    }

    /// A decoder for one streamed answer.
    fn decoder(&self) -> Box<dyn StreamDecoder>;

    /// Classifies a response with an error status and keeps the provider's message. Default [`classify`],
    /// without a vendor.
    ///
    /// `body` is at most the first 64 KiB, with keys already redacted.
    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error {
        classify(status, headers, body, "")
    }
}

/// Framing of the events in a streamed answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// Server-sent events.
    Events,
    /// Each line is one event without a name, such as a JSON object. Empty lines are skipped.
    Lines,
    /// Messages of `application/vnd.amazon.eventstream`. The name of an event is the type of its message.
    #[cfg(feature = "bedrock")]
    AwsEventStream,
}

/// Decodes one streamed answer, event by event.
pub trait StreamDecoder: Send {
    /// Adds the deltas of `event` to `deltas`: none, one or several.
    ///
    /// # Errors
    /// Like [`Protocol::response`].
    fn event(&mut self, event: &SseEvent<'_>, deltas: &mut Vec<Delta>) -> Result<()>;

    /// Returns true after the end marker of the dialect: the rest of the stream is not read.
    fn is_done(&self) -> bool;

    /// Checks that the answer is complete once its stream has ended. Default: it is complete after the end
    /// marker only.
    ///
    /// # Errors
    /// [`ErrorKind::StreamIncomplete`] if it was truncated, or
    /// the failure that the server reported instead of an answer.
    fn end(&mut self, how: StreamEnd) -> Result<()> {
        if how == StreamEnd::Marker {
            return Ok(());
        }
        Err(Error::new(ErrorKind::StreamIncomplete, "the stream ended before its end marker"))
    }
}

/// End of a stream whose connection did not break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEnd {
    /// The end marker was read.
    Marker,
    /// The server closed the stream without an end marker.
    Closed,
}

/// Input of a dialect for writing a request.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Call<'a> {
    /// Name of the model as the provider knows it.
    pub model: &'a str,
    /// The conversation so far.
    pub messages: &'a [Message],
    /// Parameters of the call.
    pub parameters: &'a Parameters,
    /// The request that the messages and parameters were read from. Default: none.
    ///
    /// A dialect of its endpoint sends it, with what has changed since; all others write a request from the
    /// messages and parameters, and fail if these do not have everything that it has.
    pub body: Option<&'a RequestBody>,
    /// Set if the answer is to be streamed. Default false.
    pub stream: bool,
    /// Maximum time that the transport waits for the first byte. Default: unlimited.
    ///
    /// A dialect whose servers send nothing until the answer is complete requests a stream if the answer may
    /// take longer, even without a delta subscriber.
    pub idle_timeout: Duration,
}

impl<'a> Call<'a> {
    /// A call of `model` whose answer is not streamed, for tests of a dialect.
    ///
    /// ```
    /// use fanweave::models::protocol::Call;
    /// use fanweave::models::{Dialect, Quirks};
    /// use fanweave::{Message, Parameters};
    ///
    /// let (messages, parameters) = ([Message::user("Hi")], Parameters::default());
    /// let call = Call::new("gpt-5-mini", &messages, &parameters);
    /// let request = Dialect::OpenAiChat.protocol(Quirks::new()).request(&call)?;
    /// assert_eq!(request.path, "/chat/completions");
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    pub fn new(model: &'a str, messages: &'a [Message], parameters: &'a Parameters) -> Self {
        Self { model, messages, parameters, body: None, stream: false, idle_timeout: Duration::MAX }
    }

    /// Sets whether the answer is to be streamed.
    #[must_use]
    pub fn streamed(self, stream: bool) -> Self {
        Self { stream, ..self }
    }

    /// Sets the request that the messages and parameters were read from.
    #[must_use]
    pub fn with_body(self, body: &'a RequestBody) -> Self {
        Self { body: Some(body), ..self }
    }
}

/// A request without host, key and connection, which the transport adds.
///
/// Debug output has no headers and no body.
#[derive(Clone)]
#[non_exhaustive]
pub struct HttpRequest {
    /// Method of the request.
    pub method: Method,
    /// Path and query, appended to the base URL: `/chat/completions`. Begins with `/`.
    pub path: Cow<'static, str>,
    /// Set if the answer is streamed. Default false.
    pub streams: bool,
    /// Headers of this call. They replace the defaults of the transport, such as `content-type:
    /// application/json`, but neither the key nor headers of the caller.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Encoded once and shared by all attempts.
    pub body: Bytes,
}

impl HttpRequest {
    /// A `POST` of `body` to `path`, which begins with `/`.
    ///
    /// ```
    /// use fanweave::models::protocol::{HeaderName, HeaderValue, HttpRequest};
    ///
    /// let version = HeaderName::from_static("acme-version");
    /// let request = HttpRequest::post("/say", "{}").header(version, HeaderValue::from_static("2"));
    /// assert_eq!(request.headers.len(), 1);
    /// ```
    pub fn post(path: impl Into<Cow<'static, str>>, body: impl Into<Bytes>) -> Self {
        Self {
            method: Method::POST,
            path: path.into(),
            streams: false,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// Sets whether the answer is streamed.
    #[must_use]
    pub fn streamed(self, streams: bool) -> Self {
        Self { streams, ..self }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
