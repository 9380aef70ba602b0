//! Requests that are sent as they are, and answers as the bytes of the provider, through the same transport:
//! the same limits, retries, timeouts and keys apply.

mod call;
mod stream;

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll};

use bytes::{Bytes, BytesMut};
use fanweave_core::{Context, Result};
use futures::Stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use self::call::{RawCall, Refusal, Whole};
use self::stream::{Part, Streamed};
use crate::protocol::HttpRequest;
use crate::transport::call::{HttpModel, SharedModel};
use crate::transport::limits::RequestSize;
use crate::transport::retry::Attempts;
use crate::transport::retry_loop::{CallOptions, send_with_retries};

/// Headers that belong to the connection, which the transport writes.
const CONNECTION_HEADERS: [HeaderName; 9] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::HOST,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A model for requests and answers as bytes: for front ends of other libraries, and for endpoints that have
/// no other type. Built by [`ModelBuilder::build_raw`](crate::ModelBuilder::build_raw). Cheap to clone.
///
/// Requests are sent through the limits, retries, timeouts and connections of the account, and are never
/// rewritten: no parameter is added, renamed or dropped. Budgets, caches, logs and call hooks belong to
/// [`Model`](fanweave_core::Model)s and do not see them.
///
/// ```no_run
/// use fanweave::Context;
/// use fanweave::models::{ModelBuilder, RawRequest};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let model = ModelBuilder::new("openai/omni-moderation-latest").build_raw()?;
/// let body = r#"{"model":"omni-moderation-latest","input":"Bears."}"#;
/// let answer = model.send(RawRequest::post("/moderations", body), &Context::new()).await?;
/// println!("{}", String::from_utf8_lossy(&answer.body.whole().await?));
/// # Ok(())
/// # }) }
/// ```
#[derive(Clone)]
pub struct RawModel(SharedModel);

/// A request of a [`RawModel`], without host and key.
///
/// ```
/// use fanweave::crates::http::{HeaderName, HeaderValue};
/// use fanweave::models::RawRequest;
///
/// let beta = (HeaderName::from_static("openai-beta"), HeaderValue::from_static("assistants=v2"));
/// let request = RawRequest::post("/chat/completions", r#"{"messages":[]}"#).header(beta.0, beta.1);
/// let list = RawRequest::get("/models");
/// ```
#[derive(Clone)]
#[must_use]
pub struct RawRequest {
    http: HttpRequest,
    max_tokens: Option<u64>,
    returns_refusals: bool,
}

impl RawRequest {
    /// A `POST` of `body` to `path`, which is appended to the base URL and begins with `/`.
    pub fn post(path: impl Into<Cow<'static, str>>, body: impl Into<Bytes>) -> Self {
        Self { http: HttpRequest::post(path, body), max_tokens: None, returns_refusals: false }
    }

    /// A `GET` of `path`.
    pub fn get(path: impl Into<Cow<'static, str>>) -> Self {
        Self::post(path, Bytes::new()).method(Method::GET)
    }

    /// Sets the method.
    pub fn method(mut self, method: Method) -> Self {
        self.http.method = method;
        self
    }

    /// Adds a header. The headers of the model win: its key, its user agent, and those set by
    /// [`ModelBuilder::header`](crate::ModelBuilder::header). Headers of the connection, such as `host` and
    /// `content-length`, are ignored.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if !CONNECTION_HEADERS.contains(&name) {
            self.http.headers.push((name, value));
        }
        self
    }

    /// Sets whether the answer is streamed. Default false: the answer is complete when
    /// [`send`](RawModel::send) returns.
    ///
    /// The body must ask the provider for a stream as well: it is not rewritten.
    pub fn streamed(mut self, streams: bool) -> Self {
        self.http.streams = streams;
        self
    }

    /// Maximum output tokens that the body asks for, so that limits of tokens per minute count them. Default:
    /// as many as earlier answers of the account had.
    pub fn max_tokens(mut self, tokens: u64) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Sets whether an answer with an error status is returned as a response, once retries have ended.
    /// Default false: it is an error. Redirects are always errors.
    ///
    /// The response has the last answer of the provider: the first 64 KiB of its body, with keys redacted.
    /// Failures without an answer remain errors.
    pub fn return_errors(mut self, returned: bool) -> Self {
        self.returns_refusals = returned;
        self
    }
}

/// Shows no header and no body.
impl fmt::Debug for RawRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRequest").field("http", &self.http).finish_non_exhaustive()
    }
}

/// An answer of a [`RawModel`].
#[derive(Debug)]
#[non_exhaustive]
pub struct RawResponse {
    /// Status: a success, unless the request [returns errors](RawRequest::return_errors).
    pub status: StatusCode,
    /// The headers of the provider, without `content-length` and `content-encoding`: the body is
    /// decompressed.
    pub headers: HeaderMap,
    /// The body.
    pub body: RawBody,
    /// Number of requests that were sent for this answer.
    pub attempts: u32,
}

/// The body of a [`RawResponse`], as the provider sent it. A stream of chunks, or [whole](Self::whole).
///
/// A streamed body need not be read for other calls to make progress: up to 4 MiB wait for the reader. If
/// more arrive and another call waits for a permit, the call gives its permit up, and
/// [`AccountState::over_limit`](crate::AccountState::over_limit) counts it.
///
/// ```
/// use fanweave::Result;
/// use fanweave::models::RawResponse;
///
/// async fn print(mut answer: RawResponse) -> Result<()> {
///     while let Some(chunk) = answer.body.next().await {
///         print!("{}", String::from_utf8_lossy(&chunk?));
///     }
///     Ok(())
/// }
/// ```
///
/// # Cancellation
/// Dropping a streamed body before its end closes the connection; the provider may still bill the call.
pub struct RawBody(Inner);

enum Inner {
    /// `None` once it is read.
    Whole(Option<Bytes>),
    Streamed(Box<Streamed>),
}

impl RawModel {
    pub(crate) fn new(http: HttpModel) -> Self {
        Self(SharedModel(Arc::new(http)))
    }

    /// The name of the model, such as `openai/gpt-5-mini`. Its account and limits are used; the model that
    /// answers is the one that the body of a request names.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Sends a request, with retries if needed. The answer is complete, or its first bytes have arrived if it
    /// is [streamed](RawRequest::streamed): a stream that breaks earlier is retried.
    ///
    /// # Errors
    /// Those of a call of a model, by the same rules, except for the content of the answer, which is not
    /// read. [`ErrorKind::Config`](fanweave_core::ErrorKind::Config) for an invalid path. Chunks of a
    /// streamed body have errors of their own:
    /// [`ErrorKind::StreamIncomplete`](fanweave_core::ErrorKind::StreamIncomplete) and
    /// [`ErrorKind::Timeout`](fanweave_core::ErrorKind::Timeout).
    ///
    /// # Cancellation
    /// Dropping the future closes the connection; the provider may still bill the call.
    pub async fn send(&self, request: RawRequest, cx: &Context) -> Result<RawResponse> {
        let RawRequest { mut http, max_tokens, returns_refusals } = request;
        let model = self.0.clone();
        let uri = model.endpoint.uri(&http.path)?;
        let in_use = model.in_use();
        if !http.method.is_safe() {
            model.identify(&mut http, &in_use);
        }
        let ask = RequestSize { bytes: http.body.len(), max_tokens };
        let options = CallOptions { retry: model.retry, ask, hedge: false };
        let refusal = returns_refusals.then(Arc::<Mutex<_>>::default);
        let limited = model.limited(ask, cx);
        let account = in_use.account.clone();
        let streams = http.streams;
        let call = RawCall {
            model,
            in_use,
            uri,
            request: http,
            limited,
            refusal: refusal.clone(),
            sent: AtomicU32::new(0),
        };
        let answer = if streams {
            let attempts = Attempts::new(options.retry, cx.priority(), account);
            Streamed::start(call, attempts, options, cx).answer().await
        } else {
            let sent = send_with_retries(Whole(Arc::new(call)), &account, options, cx);
            Box::pin(cx.guard(sent)).await.map(|(answer, _)| answer)
        };
        answer.or_else(|error| {
            let refused = refusal.and_then(|last| Refusal::after(&error, &last));
            refused.ok_or(error)
        })
    }
}

/// Shows no key.
impl fmt::Debug for RawModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RawModel").field(&self.name()).finish()
    }
}

impl RawBody {
    /// The next chunk. `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes>> {
        std::future::poll_fn(|task| Pin::new(&mut *self).poll_next(task)).await
    }

    /// All chunks that are left. At most as long as the client allows.
    ///
    /// # Errors
    /// The first error of a chunk.
    pub async fn whole(mut self) -> Result<Bytes> {
        let first = self.next().await.transpose()?.unwrap_or_default();
        let Some(second) = self.next().await.transpose()? else { return Ok(first) };
        let mut all = BytesMut::from(&first[..]);
        all.extend_from_slice(&second);
        while let Some(chunk) = self.next().await {
            all.extend_from_slice(&chunk?);
        }
        Ok(all.freeze())
    }
}

impl Stream for RawBody {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Option<Result<Bytes>>> {
        match &mut self.0 {
            Inner::Whole(body) => Poll::Ready(body.take().filter(|body| !body.is_empty()).map(Ok)),
            Inner::Streamed(body) => match task::ready!(body.poll_part(task)) {
                Some(Ok(Part::Chunk(chunk, _))) => Poll::Ready(Some(Ok(chunk))),
                Some(Err(error)) => Poll::Ready(Some(Err(error))),
                None => Poll::Ready(None),
                Some(Ok(Part::Head(_))) => unreachable!("an answer has one head, which was taken"),
            },
        }
    }
}

/// Shows no content.
impl fmt::Debug for RawBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.0 {
            Inner::Whole(_) => "Whole",
            Inner::Streamed(_) => "Streamed",
        };
        f.debug_tuple("RawBody").field(&kind).finish()
    }
}
