//! A model behind HTTP: one call, from the prompt to the message.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use fanweave_core::__private::{Made, PerProcess};
use fanweave_core::{
    ChatModel, Context, Delta, EXCERPT_BYTES, Error, ErrorKind, EventKind, Message, Part, Prompt, Reply,
    ReplyBody, Result, RetryPolicy, excerpt,
};
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri};
use tokio::time::Instant;

use super::IDEMPOTENCY_KEY;
use super::adapt::{Adapt, Adapter, Shape};
use super::client::{Client, Connections};
use super::endpoint::Endpoint;
use super::exchange::{Exchange, MAX_FINISH_SILENCE};
use super::hints::{reported, retry_after, should_retry, time_of};
use super::keys::{KeyInUse, KeySource};
use super::limits::{Account, AccountKey, AccountPermit, Accounts, RateLimits, Refusal, Report, RequestSize};
use super::reader::{AnswerReader, read_whole};
use super::redact::{Redactor, known};
use super::retry_loop::{Attempt, CallOptions, send_with_retries};
use super::secret::Secret;
use super::sse::{BYTE_ORDER_MARK, without_mark};
use super::unsent::never_sent;
use super::watch::Timeouts;
use crate::limiter::{Limited, LimitedRequest, Limiter};
use crate::protocol::{Call, Framing, HttpRequest, Protocol};
use crate::providers::failure::ProviderError;

/// Maximum bytes read of an error response. The error keeps an excerpt.
pub(crate) const MAX_ERROR_BODY_BYTES: usize = 64 << 10;

/// Maximum time after the finish reason of a stream with further events, such as endless keep-alives.
const MAX_AFTER_FINISH: Duration = Duration::from_secs(20);

/// A model behind HTTP.
#[derive(Clone)]
pub(crate) struct HttpModel {
    /// As the caller wrote it: `openai/gpt-5-mini`.
    pub(crate) name: String,
    pub(crate) provider: Arc<str>,
    /// The name that the provider uses: `gpt-5-mini`.
    pub(crate) model: String,
    pub(crate) protocol: Arc<dyn Protocol>,
    pub(crate) endpoint: Endpoint,
    /// Headers of every request, including the key.
    pub(crate) headers: HeaderMap,
    /// Source of the key, unless it is a fixed header.
    pub(crate) keys: Option<KeySource>,
    /// Texts that must never appear in an error.
    pub(crate) secrets: Vec<Secret>,
    /// Signs requests, in place of a key.
    #[cfg(feature = "bedrock")]
    pub(crate) signer: Option<Arc<super::sign::SigV4>>,
    pub(crate) client: Client,
    pub(crate) timeouts: Timeouts,
    pub(crate) retry: RetryPolicy,
    /// The set that has the account.
    pub(crate) accounts: Accounts,
    pub(crate) account: AccountKey,
    /// Limits set on this handle.
    pub(crate) limits: Option<RateLimits>,
    /// An additional limit.
    pub(crate) limiter: Option<Arc<dyn Limiter>>,
    pub(crate) in_use: Arc<PerProcess<InUse>>,
    pub(crate) keep_raw: bool,
    /// Changes to requests that the server refuses.
    pub(crate) adapt: Adapt,
}

/// The part of a model that belongs to this process. A forked child has its own.
pub(crate) struct InUse {
    pub(crate) account: Arc<Account>,
    pub(crate) connections: Connections,
    shape: Arc<Shape>,
    idempotency_keys: IdempotencyKeys,
    /// The path of the first request and its URL: nearly all requests of a model have the same.
    url: OnceLock<(String, Uri)>,
}

impl InUse {
    /// The URL of `path`.
    ///
    /// # Errors
    /// Those of [`Endpoint::uri`].
    fn uri(&self, endpoint: &Endpoint, path: &str) -> Result<Uri> {
        if let Some((known, uri)) = self.url.get()
            && known == path
        {
            return Ok(uri.clone());
        }
        let uri = endpoint.uri(path)?;
        // Only the first path is kept.
        let _ = self.url.set((path.to_owned(), uri.clone()));
        Ok(uri)
    }
}

impl HttpModel {
    /// The account and the connections of this process. Costs a system call: once for each call of the model.
    pub(crate) fn in_use(&self) -> Arc<Made<InUse>> {
        self.in_use.get(|| {
            let account = self.accounts.account(self.account.clone());
            if let Some(limits) = self.limits {
                account.set_limits(limits);
            }
            InUse {
                account,
                connections: self.client.connections(),
                shape: Shape::of(&self.account.base_url, &self.account.model),
                idempotency_keys: IdempotencyKeys::new(),
                url: OnceLock::new(),
            }
        })
    }
}

/// Shared by the calls in flight, which may outlive a handle.
#[derive(Clone)]
pub(crate) struct SharedModel(pub(crate) Arc<HttpModel>);

impl std::ops::Deref for SharedModel {
    type Target = HttpModel;

    fn deref(&self) -> &HttpModel {
        &self.0
    }
}

impl ChatModel for SharedModel {
    const DRIVES_CALLS: bool = true;

    fn name(&self) -> &str {
        &self.name
    }

    fn identity(&self) -> String {
        let shape = match self.adapt {
            Adapt::Parameters => self.in_use().shape.identity(),
            Adapt::Never | Adapt::Added => String::new(),
        };
        format!("{} at {}{shape}", self.name, self.endpoint)
    }

    // An `async fn` would keep the prompt, and thousands of calls may be waiting.
    fn generate(&self, prompt: Prompt, cx: &Context) -> impl Future<Output = Result<Message>> + Send {
        let sending = self.sending(&prompt, cx);
        async move {
            let (sending, options) = sending?;
            let account = sending.in_use.account.clone();
            let (mut message, attempts) = send_with_retries(sending, &account, options, cx).await?;
            reply(&mut message).attempts = attempts;
            Ok(message)
        }
    }
}

impl SharedModel {
    /// Builds the request for a prompt and its options.
    fn sending(&self, prompt: &Prompt, cx: &Context) -> Result<(Sending, CallOptions)> {
        // The raw body is kept only for complete responses.
        let Timeouts { first_byte, total, .. } = self.timeouts;
        let idle_timeout = if self.keep_raw { Duration::MAX } else { first_byte.min(total) };
        let mut request = self.protocol.request(&Call {
            model: prompt.parameters.model.as_deref().unwrap_or(&self.model),
            messages: &prompt.messages,
            parameters: &prompt.parameters,
            body: prompt.body.as_deref(),
            stream: cx.wants_deltas(),
            idle_timeout,
        })?;
        let in_use = self.in_use();
        let uri = in_use.uri(&self.endpoint, &request.path)?;
        self.identify(&mut request, &in_use);
        let ask = ask(prompt, &request);
        // A caller without retries expects a single request.
        let hedge = cx.hedges() && !request.streams && self.retry.max_attempts.get() > 1;
        let options = CallOptions { retry: self.retry, ask, hedge };
        let limited = self.limited(ask, cx);
        let shape = match prompt.parameters.model.as_deref().filter(|model| **model != *self.model) {
            Some(other) => Shape::of(&self.account.base_url, other),
            None => in_use.shape.clone(),
        };
        let adapter = Adapter::new(shape, self.adapt, prompt);
        let keep_raw = self.keep_raw || prompt.parameters.asks_for_choices();
        Ok((Sending { model: self.clone(), in_use, uri, request, adapter, limited, keep_raw }, options))
    }
}

/// A request of a model, sent until it succeeds.
#[derive(Clone)]
struct Sending {
    model: SharedModel,
    in_use: Arc<Made<InUse>>,
    uri: Uri,
    request: HttpRequest,
    adapter: Adapter,
    /// Boxed: few models have an additional limit.
    limited: Option<Box<Limited>>,
    /// Set to keep the body of a complete response.
    keep_raw: bool,
}

impl Attempt for Sending {
    type Ready = Option<KeyInUse>;
    type Answer = Message;

    async fn prepare(&self) -> Result<Self::Ready> {
        self.model.key().await
    }

    async fn send(
        &self,
        key: Self::Ready,
        permit: &mut AccountPermit,
        emitted: &mut bool,
        cx: &Context,
    ) -> Result<Message> {
        let Self { model, in_use, uri, adapter, .. } = self;
        let facts = adapter.facts();
        let adapted = adapter.apply(facts, &self.request)?;
        let request = adapted.as_ref().unwrap_or(&self.request);
        let stream = request.streams;
        let mut answer = Exchange::begin(
            &in_use.connections,
            model.http_request(uri, request, key.as_ref()),
            model.timeouts,
            cx.deadline().map(Instant::from_std),
        )
        .await?;
        cx.emit(EventKind::FirstByte).await;
        if answer.head.status.is_success() {
            adapter.accepted(facts);
        }

        let request_id = model.request_id(&answer.head.headers);
        let message = if !answer.head.status.is_success() {
            let error = model.refusal(&mut answer, Some(permit)).await;
            Err(model.with_url_advice(error, &request.path))
        } else {
            let headers = &answer.head.headers;
            if let Some(report) = Report::find(headers, || time_of(headers, SystemTime::now())) {
                permit.report(&report);
            }
            if stream && !matches!(&*answer.media_type(), "application/json" | "text/html") {
                // Boxed: other answers should not reserve space for it.
                Box::pin(model.streamed(&mut answer, None, model.keep_raw, permit, emitted, cx)).await
            } else {
                // Also if the server does not support streaming: the complete response is then the only
                // chunk. Its first bytes decide, and not its label.
                match model.first(&mut answer, stream).await {
                    Ok(First::Whole(first)) => model.plain(&mut answer, first, self.keep_raw).await,
                    Ok(First::Events(first)) => {
                        let first = Some(first);
                        Box::pin(model.streamed(&mut answer, first, self.keep_raw, permit, emitted, cx)).await
                    }
                    Err(error) => Err(error),
                }
            }
        };
        if message.as_ref().is_err_and(may_be_the_connection) {
            answer.discard();
        }
        match (message, request_id) {
            (Ok(mut message), id) => {
                Redactor::new().message(&mut message);
                adapter.answered(facts);
                permit.succeeded(message.reply.as_ref().map(|reply| reply.usage));
                reply(&mut message).request_id = id;
                Ok(message)
            }
            (Err(error), id) => {
                let error = without_keys(error);
                if answer.head.status.is_success() {
                    model.limited_inside(&error, &answer.head.headers, permit);
                }
                let error =
                    if *emitted { error } else { adapter.failed(error, facts, request, permit.sent()) };
                Err(match id {
                    Some(id) => error.with_request_id(id),
                    None => error,
                })
            }
        }
    }

    fn adapts(&self, error: &Error) -> bool {
        Adapter::is_adapted(error)
    }

    async fn adapted(&self, error: &Error) {
        self.adapter.tried(error).await;
    }

    fn named(&self, error: Error) -> Error {
        self.model.named(error)
    }

    fn never_sent(&self, error: &Error) -> bool {
        never_sent(error)
    }

    fn limited(&self) -> Option<&Limited> {
        self.limited.as_deref()
    }
}

/// The beginning of an answer that should be complete.
enum First {
    /// The first chunk of a body that is read whole.
    Whole(Option<bytes::Bytes>),
    /// The first events of a stream.
    Events(bytes::Bytes),
}

/// Form of an answer, by its first bytes.
#[derive(Debug, PartialEq, Eq)]
enum Begins {
    /// The field of an event, or a comment.
    Events,
    Object,
    Other,
    /// Too few bytes to decide.
    Nothing,
}

fn begins(start: &[u8]) -> Begins {
    const FIELDS: [&[u8]; 4] = [b"data:", b"event:", b"id:", b"retry:"];
    let start = without_mark(start.trim_ascii_start()).trim_ascii_start();
    match start {
        [] => Begins::Nothing,
        [b'{', ..] => Begins::Object,
        [b':', ..] => Begins::Events,
        _ if FIELDS.iter().any(|field| start.starts_with(field)) => Begins::Events,
        _ if BYTE_ORDER_MARK.starts_with(start) || FIELDS.iter().any(|field| field.starts_with(start)) => {
            Begins::Nothing
        }
        _ => Begins::Other,
    }
}

/// The part of a text from a server that is searched for keys: more than an error keeps.
fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_ERROR_BODY_BYTES)]
}

/// Redacts keys in the answer so far of a failed call.
fn without_keys(error: Error) -> Error {
    match error.partial().cloned() {
        Some(mut partial) => {
            Redactor::new().message(&mut partial);
            error.with_partial(partial)
        }
        None => error,
    }
}

/// Returns true if the same request might succeed on another connection.
pub(crate) fn may_be_the_connection(error: &Error) -> bool {
    use ErrorKind::*;
    matches!(error.kind(), Server | Overloaded | Timeout | Connection | StreamIncomplete | Decode)
        && error.status().is_none_or(|status| !(400..500).contains(&status))
}

/// Estimates the size of a request. Images and other media have many bytes but few tokens.
fn ask(prompt: &Prompt, request: &HttpRequest) -> RequestSize {
    let parts = || prompt.messages.iter().flat_map(|message| &message.parts);
    let media: usize = parts().filter_map(Part::media_tokens).sum();
    // The bytes of media say nothing about their tokens.
    let bytes = match media {
        0 => request.body.len(),
        tokens => parts().filter_map(Part::as_text).map(str::len).sum::<usize>() + tokens * 4,
    };
    RequestSize { bytes, max_tokens: prompt.parameters.max_tokens.map(Into::into) }
}

impl HttpModel {
    /// The key for the next request. Keep it until the response has been read, so that it is redacted from
    /// errors.
    pub(crate) async fn key(&self) -> Result<Option<KeyInUse>> {
        #[cfg(feature = "bedrock")]
        if let Some(signer) = &self.signer {
            signer.ready().await?;
        }
        match &self.keys {
            Some(keys) => keys.next().await.map(Some),
            None => Ok(None),
        }
    }

    /// Adds a key by which the server recognises the attempts of one call, unless the request has one.
    pub(crate) fn identify(&self, request: &mut HttpRequest, in_use: &InUse) {
        let is_set = request.headers.iter().any(|(name, _)| *name == IDEMPOTENCY_KEY);
        if !is_set && !self.headers.contains_key(IDEMPOTENCY_KEY) {
            request.headers.push((IDEMPOTENCY_KEY, in_use.idempotency_keys.next()));
        }
    }

    /// A request as the additional limiter sees it, if there is one.
    pub(crate) fn limited(&self, ask: RequestSize, cx: &Context) -> Option<Box<Limited>> {
        let limiter = self.limiter.as_ref()?.clone();
        let request = LimitedRequest {
            base_url: self.account.base_url.clone(),
            model: self.account.model.clone(),
            key: self.account.key,
            input_tokens: ask.usage().input_tokens,
            max_tokens: ask.max_tokens,
            priority: cx.priority(),
        };
        Some(Box::new(Limited { limiter, request }))
    }

    pub(crate) fn http_request(
        &self,
        uri: &Uri,
        request: &HttpRequest,
        key: Option<&KeyInUse>,
    ) -> Request<bytes::Bytes> {
        let mut http = Request::new(request.body.clone());
        *http.method_mut() = request.method.clone();
        *http.uri_mut() = uri.clone();
        // With room for all headers, also those of the connection: a map that grows is hashed once more.
        let mut headers = HeaderMap::with_capacity(self.headers.len() + request.headers.len() + 6);
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        let accept = match self.protocol.framing() {
            Framing::Events if request.streams => "text/event-stream",
            Framing::Lines if request.streams => "application/x-ndjson",
            #[cfg(feature = "bedrock")]
            Framing::AwsEventStream if request.streams => "application/vnd.amazon.eventstream",
            _ => "application/json",
        };
        // Headers set by the caller take precedence, then the key, then the dialect's.
        let defaults = [(ACCEPT, accept), (CONTENT_TYPE, "application/json")]
            .map(|(name, value)| (name, HeaderValue::from_static(value)));
        // A request without a body has no media type.
        let defaults = defaults.into_iter().take(if request.body.is_empty() { 1 } else { 2 });
        let key = key.map(|key| key.header.clone());
        for (name, value) in key.into_iter().chain(request.headers.iter().cloned()).chain(defaults) {
            headers.entry(name).or_insert(value);
        }
        *http.headers_mut() = headers;
        #[cfg(feature = "bedrock")]
        if let Some(signer) = &self.signer {
            signer.sign(&mut http, SystemTime::now());
        }
        http
    }

    /// The beginning of an answer that should be complete. `stream` is true if a stream was asked for.
    async fn first(&self, answer: &mut Exchange, stream: bool) -> Result<First> {
        let mut first = answer.first().await?;
        while let Some(start) = &first {
            match begins(start) {
                Begins::Events => return Ok(First::Events(first.unwrap_or_default())),
                Begins::Object if stream && self.protocol.framing() == Framing::Lines => {
                    return Ok(First::Events(first.unwrap_or_default()));
                }
                Begins::Object | Begins::Other => break,
                Begins::Nothing => {
                    let Some(more) = answer.chunk().await? else { break };
                    // White space before the answer keeps the connection alive.
                    first = Some([start.trim_ascii_start(), &more].concat().into());
                }
            }
        }
        Ok(First::Whole(first))
    }

    async fn plain(
        &self,
        answer: &mut Exchange,
        first: Option<bytes::Bytes>,
        keep_raw: bool,
    ) -> Result<Message> {
        let read = |body: &[u8]| read_whole(&*self.protocol, body, self.client.sse_limits());
        let is_complete = |body: &[u8]| match read(body) {
            Ok(_) => true,
            Err(error) => !matches!(error.kind(), ErrorKind::Decode | ErrorKind::StreamIncomplete),
        };
        let body = answer.rest(first, is_complete).await?;
        let read = read(&body);
        let mut message = read.map_err(|error| {
            let text = String::from_utf8_lossy(&body);
            self.unreadable(answer, error, &text)
        })?;
        if keep_raw {
            reply(&mut message).raw = Some(ReplyBody::new(&body));
        }
        Ok(message)
    }

    async fn streamed(
        &self,
        answer: &mut Exchange,
        mut first: Option<bytes::Bytes>,
        keep_raw: bool,
        permit: &mut AccountPermit,
        emitted: &mut bool,
        cx: &Context,
    ) -> Result<Message> {
        let unreadable = |answer: &Exchange, error, event: &str| self.unreadable(answer, error, event);
        let mut reader =
            AnswerReader::new(&*self.protocol, self.client.sse_limits()).redacting(Redactor::new());
        let mut begun = false;
        let mut raw = keep_raw.then(Vec::new);
        let mut end = None;
        let ended = loop {
            if end.is_none() && reader.is_finished() {
                end = Some(Instant::now() + MAX_AFTER_FINISH);
            }
            let next = match first.take() {
                Some(first) => Ok(Some(first)),
                None => self.next_chunk(answer, end).await,
            };
            let chunk = match next {
                Ok(Some(chunk)) => chunk,
                Ok(None) => {
                    let closed = reader.close(|error, event| unreadable(answer, error, event));
                    emit_content(&mut reader, &mut begun, permit, emitted, cx).await;
                    break closed;
                }
                Err(error) if error.kind() == ErrorKind::Connection => {
                    break Err(Error::new(ErrorKind::StreamIncomplete, error.message()));
                }
                Err(error) => break Err(error),
            };
            if let Some(raw) = &mut raw {
                raw.extend_from_slice(&chunk);
            }
            let read = reader.feed(&chunk, |error, event| unreadable(answer, error, event));
            // Deltas received before a failure are emitted before it.
            emit_content(&mut reader, &mut begun, permit, emitted, cx).await;
            if reader.is_done() {
                break answer.finish().await;
            }
            if let Err(error) = read {
                break Err(error);
            }
        };
        if let Err(error) = ended {
            return Err(reader.failed(error));
        }
        // An answer without content can be retried until something of it has been emitted.
        if begun {
            emit(reader.take_deltas(), permit, emitted, cx).await;
        }
        let rest: Vec<_> = reader.take_deltas().collect();
        // A key may be split over several events of the body.
        let raw = raw.filter(|_| !reader.has_redacted());
        let mut message = reader.end(|error, event| unreadable(answer, error, event))?;
        emit(rest.into_iter(), permit, emitted, cx).await;
        if let Some(raw) = raw {
            reply(&mut message).raw = Some(ReplyBody::new(raw));
        }
        Ok(message)
    }

    /// The next chunk of a stream. `None` at its end, and if nothing more comes after the finish reason.
    /// `end` is set after the finish reason, to the time until which further events are read.
    async fn next_chunk(&self, answer: &mut Exchange, end: Option<Instant>) -> Result<Option<bytes::Bytes>> {
        let Some(end) = end else { return answer.chunk().await };
        let end = end.min(Instant::now() + MAX_FINISH_SILENCE);
        match tokio::time::timeout_at(end, answer.chunk()).await {
            Ok(Err(error)) if error.kind() != ErrorKind::Timeout => Err(error),
            Ok(Ok(chunk)) => Ok(chunk),
            // Whatever comes later belongs to this answer.
            _ => {
                answer.discard();
                Ok(None)
            }
        }
    }

    /// Returns the error for a response with a status other than success.
    pub(crate) async fn refusal(&self, answer: &mut Exchange, permit: Option<&mut AccountPermit>) -> Error {
        let status = answer.head.status;
        if status.is_redirection() {
            return self.redirected(&answer.head.headers, status);
        }
        match answer.beginning(MAX_ERROR_BODY_BYTES).await {
            Ok(body) => self.refused(&answer.head, &String::from_utf8_lossy(&body), permit),
            Err(foreign) => foreign,
        }
    }

    /// Returns the error for a refused request, whose answer begins with `body`.
    pub(crate) fn refused(&self, head: &Parts, body: &str, permit: Option<&mut AccountPermit>) -> Error {
        let (status, headers) = (head.status, &head.headers);
        let body = self.redact(body);
        let mut error = self.scrub(self.protocol.error(status, headers, &body));
        error = error.with_status(status.as_u16()).with_body(&body);
        error = error.with_headers(reported(headers).map(|(name, value)| (name, self.redact(value))));
        let now = time_of(headers, SystemTime::now());
        let hint = retry_after(headers, now).or(error.retry_after());
        if let Some(retry) = should_retry(headers) {
            error = error.with_retryable(retry);
        }
        let is_rate = error.kind() == ErrorKind::RateLimited;
        if !error.is_retryable() || !(is_rate || error.kind() == ErrorKind::Overloaded) {
            return match hint {
                Some(wait) => error.with_retry_after(wait),
                None => error,
            };
        }
        // An overloaded server does not know when it will recover. A wait of zero says nothing, and one
        // beyond the maximum would outlast the overload: the account's own pauses apply instead.
        let max = self.retry.max_retry_after;
        let hint = hint.filter(|wait| is_rate || (!wait.is_zero() && *wait <= max));
        // The wait applies to the whole account. A wait beyond the maximum is reported to each call
        // separately.
        let shared = hint.map(|wait| wait.min(max));
        let refusal = Refusal::new(Report::read(headers, now), shared, is_rate);
        match permit {
            Some(permit) => permit.refused(&refusal),
            None => refusal.hint().into_iter().for_each(|wait| self.in_use().account.close_for(wait)),
        }
        match hint.filter(|_| refusal.hint().is_some()) {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }

    /// Reports a rate limit in the body of a success or in a stream to the account, like one with a status.
    fn limited_inside(&self, error: &Error, headers: &HeaderMap, permit: &mut AccountPermit) {
        if error.kind() == ErrorKind::RateLimited && error.is_retryable() {
            let wait = error.retry_after().map(|wait| wait.min(self.retry.max_retry_after));
            let report = Report::read(headers, time_of(headers, SystemTime::now()));
            permit.refused(&Refusal::new(report, wait, true));
        }
    }

    /// Adds advice to the error of a server that does not know the path of the request.
    fn with_url_advice(&self, error: Error, path: &str) -> Error {
        if !matches!(error.status(), Some(404 | 405)) || error.message().contains("model") {
            return error;
        }
        match self.endpoint.advice(path) {
            Some(advice) => {
                let message = format!("{}: {advice}", error.message().trim_end_matches('.'));
                error.with_message(message)
            }
            None => error,
        }
    }

    fn redirected(&self, headers: &HeaderMap, status: StatusCode) -> Error {
        let target = headers.get(LOCATION).and_then(|target| target.to_str().ok()).unwrap_or("nowhere");
        let target = target.split(['?', '#']).next().unwrap_or_default();
        let message = format!(
            "the server redirects to {}: the key is not sent there; set the base URL to the final address",
            self.redact(target)
        );
        Error::new(ErrorKind::Config, message).with_status(status.as_u16())
    }

    /// Returns the error for an unreadable body, with the details that the user needs.
    fn unreadable(&self, answer: &Exchange, error: Error, body: &str) -> Error {
        let error = self.scrub(error);
        let beginning = self.redact(beginning(body));
        let error = error.with_status(answer.head.status.as_u16()).with_body(&beginning);
        if error.kind() != ErrorKind::Decode {
            return error;
        }
        if body.trim().is_empty() {
            return error.with_message("the server answered with an empty body");
        }
        let said = ProviderError::read(&beginning).words();
        let media_type = answer.media_type();
        if media_type.is_empty() || media_type.ends_with("json") || media_type == "text/event-stream" {
            let message = match error.message().contains(&said) {
                true => return error,
                false => format!("{}: {said}", error.message()),
            };
            return error.with_message(message);
        }
        // The base URL may be wrong, but a proxy sends such pages too while its server is down.
        let message =
            format!("the server answered with {media_type} instead of JSON: is the base URL right?");
        error.with_message(if said.is_empty() { message } else { format!("{message} It says: {said}") })
    }

    pub(crate) fn request_id(&self, headers: &HeaderMap) -> Option<String> {
        let id = ["x-request-id", "request-id", "x-amzn-requestid"]
            .into_iter()
            .find_map(|name| headers.get(name))?;
        Some(self.redact(id.to_str().ok()?).into_owned())
    }

    /// Adds the name of the provider to `error` and redacts secrets, whatever its origin.
    pub(crate) fn named(&self, error: Error) -> Error {
        self.scrub(error).with_provider(self.provider.clone())
    }

    /// Redacts secrets in the texts that came from a server and shortens them: an error message may be as
    /// long as a response and is stored for every row.
    pub(crate) fn scrub(&self, error: Error) -> Error {
        let scrubbed = |text: &str| excerpt(&self.redact(beginning(text)), EXCERPT_BYTES);
        let message = scrubbed(error.message());
        let code = error.code().map(scrubbed);
        let error = error.with_message(message);
        match code {
            Some(code) => error.with_code(code),
            None => error,
        }
    }

    pub(crate) fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let changing = self.keys.as_ref().map(KeySource::secrets).unwrap_or_default();
        let mut others = known();
        others.retain(|other| !self.secrets.iter().chain(&changing).any(|secret| secret.is_handle_to(other)));
        let secrets = self.secrets.iter().chain(&changing).chain(&others);
        secrets.fold(Cow::Borrowed(text), |text, secret| match secret.redact(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(redacted) => Cow::Owned(redacted),
        })
    }
}

/// Emits the deltas of `reader` once there is content. A stream that fails before that can be retried without
/// the reader seeing two beginnings.
async fn emit_content(
    reader: &mut AnswerReader<'_>,
    begun: &mut bool,
    permit: &mut AccountPermit,
    emitted: &mut bool,
    cx: &Context,
) {
    if !*begun && reader.has_content() {
        *begun = true;
        cx.emit(EventKind::FirstChunk).await;
    }
    if *begun {
        emit(reader.take_deltas(), permit, emitted, cx).await;
    }
}

async fn emit(
    deltas: impl Iterator<Item = Delta>,
    permit: &mut AccountPermit,
    emitted: &mut bool,
    cx: &Context,
) {
    for delta in deltas {
        // A stream without a delta subscriber can be retried at any time.
        *emitted = cx.wants_deltas();
        permit.while_held(pin!(cx.delta(delta))).await;
    }
}

/// Makes the keys by which a server recognises the attempts of a call. No two calls have the same key, also
/// in processes that were forked from one another: a server that remembers keys would send the answer of
/// another call.
struct IdempotencyKeys {
    /// Beginning of all keys, random for each process.
    prefix: String,
}

impl IdempotencyKeys {
    fn new() -> Self {
        static PROCESS: PerProcess<u128> = PerProcess::new();
        let random = || {
            let mut bytes = [0; 16];
            let random = rustls::crypto::ring::default_provider().secure_random;
            random.fill(&mut bytes).expect("the system has random numbers, which every TLS connection needs");
            u128::from_le_bytes(bytes)
        };
        Self { prefix: format!("fanweave-{:032x}-", **PROCESS.get(random)) }
    }

    /// The key of the next call, the same for all its attempts.
    fn next(&self) -> HeaderValue {
        static CALLS: AtomicU64 = AtomicU64::new(0);
        let call = CALLS.fetch_add(1, Ordering::Relaxed);
        // Written by hand: formatting would take as long as the rest of the request's headers.
        let mut key = String::with_capacity(self.prefix.len() + 16);
        key.push_str(&self.prefix);
        let digits = (u64::BITS - call.leading_zeros()).div_ceil(4).max(1);
        key.extend(
            (0..digits).rev().map(|at| char::from(b"0123456789abcdef"[(call >> (4 * at)) as usize % 16])),
        );
        HeaderValue::try_from(key).expect("letters, digits and dashes are valid in a header")
    }
}

fn reply(message: &mut Message) -> &mut Reply {
    message.reply.get_or_insert_default()
}
