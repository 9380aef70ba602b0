//! The error type of the project: the failure, its path in the chain, and whether a retry may help.

mod advice;
mod json;

pub use advice::Advice;

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Message;

/// A rate limit that asks for a longer wait counts as a daily one. Equal to the default
/// maximum wait that a server may ask for.
const LONG: Duration = Duration::from_secs(120);

/// The result type of fanweave.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Maximum bytes of a provider's body or an answer that an error keeps. 2 KiB: a screenful.
pub const EXCERPT_BYTES: usize = 2048;

/// The kind of a failure, for callers to match on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The provider rejected the API key, or no key is set.
    Authentication,
    /// The key is valid but lacks permission.
    Permission,
    /// The model, endpoint or resource does not exist.
    NotFound,
    /// The provider rejected the request as malformed.
    BadRequest,
    /// The prompt and the answer exceed the model's context window.
    ContextLength,
    /// Rejected by a content filter.
    ContentFilter,
    /// The rate limit for requests or tokens is exceeded.
    RateLimited,
    /// The account has run out of credit or of its daily quota: waiting will not help.
    QuotaExhausted,
    /// The provider is temporarily out of capacity.
    Overloaded,
    /// The provider failed with an internal error.
    Server,
    /// A deadline passed.
    Timeout,
    /// The network failed: name resolution, connect, TLS, reset.
    Connection,
    /// The provider has been failing for longer than the outage timeout. A state of the account, not of this
    /// request: the failures are not counted as attempts of the call, and the same call may succeed later.
    Unavailable,
    /// The answer could not be parsed in the documented format of the provider: an empty body, incomplete
    /// JSON, the HTML page of a proxy. Retried, unless the answer is complete and only unusable.
    Decode,
    /// The stream ended without a finish reason, or was cut. [`Error::partial`] holds what had arrived.
    StreamIncomplete,
    /// The run was cancelled.
    Cancelled,
    /// A setting is invalid: unknown model, bad URL, concurrency 0.
    Config,
    /// The input of a step is invalid: a missing variable, a value of the wrong type.
    Input,
    /// A parser could not parse a model's answer.
    Parse,
    /// A custom step of the caller failed.
    Step,
    /// A stream ended without a single delta.
    Empty,
    /// Dynamic steps or the tool loop exceeded their limit.
    RecursionLimit,
    /// A step panicked. The panic ended only that row.
    Panic,
}

impl ErrorKind {
    /// Returns true if the same request may succeed when it is retried: `RateLimited`, `Overloaded`,
    /// `Server`, `Timeout`, `Connection`, `StreamIncomplete` and `Decode`.
    pub fn is_retryable(self) -> bool {
        use ErrorKind::*;
        matches!(self, RateLimited | Overloaded | Server | Timeout | Connection | StreamIncomplete | Decode)
    }

    /// The name in logs and journals, such as `rate_limited`.
    pub fn as_str(self) -> &'static str {
        use ErrorKind::*;
        match self {
            Authentication => "authentication",
            Permission => "permission",
            NotFound => "not_found",
            BadRequest => "bad_request",
            ContextLength => "context_length",
            ContentFilter => "content_filter",
            RateLimited => "rate_limited",
            QuotaExhausted => "quota_exhausted",
            Overloaded => "overloaded",
            Server => "server",
            Timeout => "timeout",
            Connection => "connection",
            Unavailable => "unavailable",
            Decode => "decode",
            StreamIncomplete => "stream_incomplete",
            Cancelled => "cancelled",
            Config => "config",
            Input => "input",
            Parse => "parse",
            Step => "step",
            Empty => "empty",
            RecursionLimit => "recursion_limit",
            Panic => "panic",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error of a step. Cheap to clone, so that one failure can be reported in several places.
///
/// `Display` finishes the sentence "failed to run":
/// `step outline: openai answered 429 (request req_7f), asked to wait 20s: Rate limit reached`. It never
/// holds a key or a URL's query string: code that builds an error from a provider's text redacts them first.
///
/// ```
/// use fanweave::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::RateLimited, "Rate limit reached")
///     .with_provider("openai")
///     .with_status(429)
///     .with_step("outline");
/// assert!(error.is_retryable());
/// assert_eq!(error.to_string(), "step outline: openai answered 429: Rate limit reached");
/// ```
///
/// An error serialises as an object of its `kind`, its `message` and what else is known of it. Its source and
/// its payload exist in this process alone and are not part of the object.
///
/// ```
/// use fanweave::crates::serde_json;
/// use fanweave::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Timeout, "no answer within 5s").with_step("outline");
/// let json = serde_json::json!({
///     "kind": "timeout",
///     "message": "no answer within 5s",
///     "path": ["outline"],
/// });
/// assert_eq!(serde_json::to_value(&error).unwrap(), json);
/// assert_eq!(serde_json::from_value::<Error>(json).unwrap().to_string(), error.to_string());
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    /// Advice at the end of the message, with the length of the message before it.
    advice: Option<(usize, Advice)>,
    provider: Option<Arc<str>>,
    status: Option<u16>,
    code: Option<String>,
    request_id: Option<String>,
    retry_after: Option<Duration>,
    retryable: Option<bool>,
    attempts: u32,
    /// The model has judged that it sends the request no more.
    is_retried: bool,
    body: Option<String>,
    /// Innermost step first.
    path: Vec<Arc<str>>,
    partial: Option<Box<Message>>,
    /// Name and value of response headers, in their order.
    headers: Box<[(Box<str>, Box<str>)]>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
    payload: Option<Arc<dyn Any + Send + Sync>>,
    outputs: Option<Arc<Map<String, Value>>>,
}

impl Error {
    /// An error of `kind`. `message` is a sentence without a full stop that says how to fix the problem, if
    /// possible.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            advice: None,
            provider: None,
            status: None,
            code: None,
            request_id: None,
            retry_after: None,
            retryable: None,
            attempts: 0,
            is_retried: false,
            body: None,
            path: Vec::new(),
            partial: None,
            headers: Box::default(),
            source: None,
            payload: None,
            outputs: None,
        }))
    }

    /// A failure of custom code inside a step.
    pub fn step(source: impl StdError + Send + Sync + 'static) -> Self {
        Self::new(ErrorKind::Step, source.to_string()).with_source(source)
    }

    /// A failure of custom code inside a step that carries a value of any type, such as an exception of
    /// another language. [`payload`](Self::payload) returns that very value wherever the error ends up.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use fanweave::Error;
    ///
    /// let exception = Arc::new(("KeyError", 17));
    /// let error = Error::foreign(exception.clone(), "KeyError: 17").with_step("lookup");
    /// let payload = error.payload().unwrap().clone().downcast::<(&str, i32)>().unwrap();
    /// assert!(Arc::ptr_eq(&payload, &exception));
    /// ```
    pub fn foreign(payload: Arc<dyn Any + Send + Sync>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Step, message).with(|e| e.payload = Some(payload))
    }

    /// The error of a panic in a step, from the payload of [`catch_unwind`](std::panic::catch_unwind).
    pub fn from_panic(panic: &(dyn std::any::Any + Send)) -> Self {
        let text =
            panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
        let message = format!("a step panicked: {}", text.unwrap_or("no message"));
        Self::new(ErrorKind::Panic, message)
    }

    /// The kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message alone, without path, status or provider.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns true if the same request may succeed when it is retried: as the provider says, otherwise as
    /// the kind implies.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable.unwrap_or(self.0.kind.is_retryable())
    }

    /// The wait before the next attempt that the provider asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Returns true if the failure affects the whole account, so that every other request with the same key
    /// would fail too: an invalid key, no credit left, or a rate limit that asks to wait for more than two
    /// minutes, such as a daily one. The wait may also be that of the source error, as when all alternatives
    /// of a fallback failed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use fanweave::{Error, ErrorKind};
    ///
    /// let limited = Error::new(ErrorKind::RateLimited, "slow down");
    /// assert!(!limited.clone().with_retry_after(Duration::from_secs(20)).is_account_level());
    /// assert!(limited.with_retry_after(Duration::from_secs(3600)).is_account_level());
    /// ```
    pub fn is_account_level(&self) -> bool {
        match self.kind() {
            ErrorKind::Authentication | ErrorKind::QuotaExhausted => true,
            ErrorKind::RateLimited => self.wait().is_some_and(|wait| wait > LONG),
            _ => false,
        }
    }

    fn wait(&self) -> Option<Duration> {
        self.retry_after().or_else(|| StdError::source(self)?.downcast_ref::<Self>()?.wait())
    }

    /// The HTTP status, if the provider answered.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The provider that failed, such as `openai`.
    pub fn provider(&self) -> Option<&str> {
        self.0.provider.as_deref()
    }

    /// The provider's own error code, such as `insufficient_quota`.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The provider's id of the failed request, for its support.
    pub fn request_id(&self) -> Option<&str> {
        self.0.request_id.as_deref()
    }

    /// Number of requests that were sent before giving up.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// The beginning of the provider's body, at most [`EXCERPT_BYTES`].
    pub fn body(&self) -> Option<&str> {
        self.0.body.as_deref()
    }

    /// Names of the enclosing steps, outermost first.
    pub fn path(&self) -> impl Iterator<Item = &str> {
        self.0.path.iter().rev().map(AsRef::as_ref)
    }

    /// The part of an interrupted answer that had arrived.
    pub fn partial(&self) -> Option<&Message> {
        self.0.partial.as_deref()
    }

    /// Headers of the provider's response that concern support and limits: request ids, retry and rate-limit
    /// headers. Names are in lower case. A header may occur several times.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.headers.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The value given to [`foreign`](Self::foreign), of this error or of the error that caused it.
    pub fn payload(&self) -> Option<&Arc<dyn Any + Send + Sync>> {
        self.0.payload.as_ref().or_else(|| StdError::source(self)?.downcast_ref::<Self>()?.payload())
    }

    /// Outputs of the steps of a [`Dag`](crate::Dag) or a chain file that had ended when it failed, by name:
    /// they may have been paid for. The output of a step that failed an assertion is among them. `None` for
    /// failures outside of one, and for outputs that no JSON can hold. Not part of the serialised error.
    ///
    /// ```
    /// use fanweave::{ChainFile, model, vars};
    ///
    /// let text = "
    /// steps:
    ///   a: { template: one }
    ///   b: { template: '{{ steps.a.output }} two', assert: 'output == \"three\"' }
    /// ";
    /// # fanweave::blocking::wait(async {
    /// let chain = ChainFile::parse("a.yaml", text)?.chain(|name| model(name.unwrap_or("sim/echo")))?;
    /// let error = chain.invoke(vars! {}).await.unwrap_err();
    /// let outputs = error.outputs().expect("a step has ended");
    /// assert_eq!((&outputs["a"], &outputs["b"]), (&"one".into(), &"one two".into()));
    /// # Ok::<_, fanweave::Error>(())
    /// # })?;
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    pub fn outputs(&self) -> Option<&Map<String, Value>> {
        self.0.outputs.as_deref().or_else(|| StdError::source(self)?.downcast_ref::<Self>()?.outputs())
    }

    /// Adds outputs of steps to those that it has.
    #[doc(hidden)]
    #[must_use]
    pub fn with_outputs(self, more: Map<String, Value>) -> Self {
        if more.is_empty() {
            return self;
        }
        let mut all = self.outputs().cloned().unwrap_or_default();
        all.extend(more);
        self.with(|e| e.outputs = Some(Arc::new(all)))
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Sets the provider.
    pub fn with_provider(self, provider: impl Into<Arc<str>>) -> Self {
        self.with(|e| e.provider = Some(provider.into()))
    }

    /// Sets the HTTP status.
    pub fn with_status(self, status: u16) -> Self {
        self.with(|e| e.status = Some(status))
    }

    /// Sets the provider's own error code.
    pub fn with_code(self, code: impl Into<String>) -> Self {
        self.with(|e| e.code = Some(code.into()))
    }

    /// Sets the provider's request id.
    pub fn with_request_id(self, id: impl Into<String>) -> Self {
        self.with(|e| e.request_id = Some(id.into()))
    }

    /// Sets the wait that the provider asked for.
    pub fn with_retry_after(self, wait: Duration) -> Self {
        self.with(|e| e.retry_after = Some(wait))
    }

    /// Overrides whether the error is retryable.
    pub fn with_retryable(self, retryable: bool) -> Self {
        self.with(|e| e.retryable = Some(retryable))
    }

    /// Sets the number of requests that were sent.
    pub fn with_attempts(self, attempts: u32) -> Self {
        self.with(|e| e.attempts = attempts)
    }

    /// Records that the model has retried the request as often as its settings allow.
    #[doc(hidden)]
    pub fn with_retried(self) -> Self {
        self.with(|e| e.is_retried = true)
    }

    /// Returns true if the model has retried the request as often as its settings allow.
    #[doc(hidden)]
    pub fn is_retried(&self) -> bool {
        self.0.is_retried
    }

    /// Keeps the beginning of a body. The caller must have redacted it.
    pub fn with_body(self, body: &str) -> Self {
        let body = excerpt(body, EXCERPT_BYTES);
        self.with(|e| e.body = Some(body))
    }

    /// Adds the name of an enclosing step. Called from the inside out.
    pub fn with_step(self, name: impl Into<Arc<str>>) -> Self {
        self.with(|e| e.path.push(name.into()))
    }

    /// Sets the [`headers`](Self::headers). The caller must have redacted them, and must have limited their
    /// number and size.
    pub fn with_headers<N: Into<Box<str>>, V: Into<Box<str>>>(
        self,
        headers: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let headers = headers.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        self.with(|e| e.headers = headers)
    }

    /// Keeps the part of an interrupted answer that had arrived.
    pub fn with_partial(self, message: Message) -> Self {
        self.with(|e| e.partial = Some(Box::new(message)))
    }

    /// Replaces the message. Its advice is kept if the message still ends with it.
    pub fn with_message(self, message: impl Into<String>) -> Self {
        self.with(|e| {
            e.message = message.into();
            e.advice = e.advice.take().and_then(|_| Advice::at_end(&e.message));
        })
    }

    /// Sets the source error.
    pub fn with_source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.with(|e| e.source = Some(Arc::new(source)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = &*self.0;
        if !e.path.is_empty() {
            f.write_str("step ")?;
            for (i, name) in self.path().enumerate() {
                if i > 0 {
                    f.write_str(" > ")?;
                }
                f.write_str(name)?;
            }
            f.write_str(": ")?;
        }
        match (&e.provider, e.status) {
            (Some(provider), Some(status)) => write!(f, "{provider} answered {status}")?,
            (Some(provider), None) => f.write_str(provider)?,
            (None, Some(status)) => write!(f, "status {status}")?,
            (None, None) => return self.write_message(f),
        }
        if let Some(id) = &e.request_id {
            write!(f, " (request {id})")?;
        }
        if let Some(wait) = e.retry_after {
            write!(f, ", asked to wait {wait:?}")?;
        }
        f.write_str(": ")?;
        self.write_message(f)
    }
}

impl Error {
    fn write_message(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if self.0.attempts > 1 {
            write!(f, " (after {} attempts)", self.0.attempts)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}

/// At most `max` bytes of `text`, cut at a character boundary, with `…` if it was cut.
///
/// ```
/// assert_eq!(fanweave::errors::excerpt("naïve", 3), "na…");
/// ```
pub fn excerpt(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_path_provider_request_and_wait() {
        let error = Error::new(ErrorKind::RateLimited, "Rate limit reached")
            .with_provider("openai")
            .with_status(429)
            .with_request_id("req_7f")
            .with_retry_after(Duration::from_secs(20))
            .with_attempts(3)
            .with_step("openai/gpt-5-mini")
            .with_step("outline");
        assert_eq!(
            error.to_string(),
            "step outline > openai/gpt-5-mini: openai answered 429 (request req_7f), asked to wait 20s: \
             Rate limit reached (after 3 attempts)"
        );
    }

    #[test]
    fn a_clone_that_gains_a_step_leaves_the_first_alone() {
        let first = Error::new(ErrorKind::Timeout, "no answer within 5s");
        let second = first.clone().with_step("outline");
        assert_eq!(first.to_string(), "no answer within 5s");
        assert_eq!(second.to_string(), "step outline: no answer within 5s");
    }

    #[test]
    fn a_body_is_kept_as_a_bounded_excerpt() {
        let error = Error::new(ErrorKind::Server, "failed").with_body(&"é".repeat(5000));
        let body = error.body().expect("a body was given");
        assert!(body.len() <= EXCERPT_BYTES + '…'.len_utf8());
        assert!(body.ends_with('…'));
    }

    #[test]
    fn the_providers_word_on_retrying_wins_over_the_kind() {
        assert!(!Error::new(ErrorKind::Server, "x").with_retryable(false).is_retryable());
        assert!(Error::new(ErrorKind::BadRequest, "x").with_retryable(true).is_retryable());
    }

    #[test]
    fn a_step_error_keeps_its_source() {
        let error = Error::step(std::io::Error::other("disk on fire"));
        assert_eq!(error.to_string(), "disk on fire");
        assert!(StdError::source(&error).is_some());
    }

    #[tokio::test]
    async fn a_foreign_payload_comes_back_as_that_very_object() {
        use crate::{Chain, Context, parallel_map, step};

        let exception: Arc<dyn Any + Send + Sync> = Arc::new("KeyError");
        let raised = exception.clone();
        let failing = move || -> Chain<u64, u64> {
            let raised = raised.clone();
            step(move |_, _: Context| {
                std::future::ready(Err(Error::foreign(raised.clone(), "KeyError: 17").with_retryable(true)))
            })
        };
        let retries = crate::RetryPolicy { initial_backoff: Duration::ZERO, ..crate::RetryPolicy::default() };
        let branches = || [("a", failing()), ("b", failing())];
        let errors = [
            failing().invoke(1_u64).await.expect_err("it fails"),
            failing().retry(retries).named("lookup").invoke(1_u64).await.expect_err("it fails"),
            failing().fallback([failing()]).invoke(1_u64).await.expect_err("both fail"),
            failing().timeout(Duration::from_secs(9)).invoke(1_u64).await.expect_err("it fails"),
            parallel_map(branches()).invoke(1_u64).await.expect_err("both branches fail"),
            failing().batch([1_u64]).collect().await.remove(0).expect_err("the row fails"),
        ];
        for error in errors {
            let payload = error.payload().unwrap_or_else(|| panic!("{error:?} has no payload"));
            assert!(Arc::ptr_eq(payload, &exception), "{error:?}");
        }
    }
}
