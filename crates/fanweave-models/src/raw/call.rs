//! One raw request: sent, and answered as a whole or refused.

use std::borrow::Cow;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use fanweave_core::__private::Made;
use fanweave_core::{Context, Error, ErrorKind, EventKind, Result};
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use tokio::time::Instant;

use super::{Inner, RawBody, RawResponse};
use crate::limiter::Limited;
use crate::protocol::HttpRequest;
use crate::transport::call::{InUse, MAX_ERROR_BODY_BYTES, SharedModel, may_be_the_connection};
use crate::transport::exchange::Exchange;
use crate::transport::hints::time_of;
use crate::transport::keys::KeyInUse;
use crate::transport::limits::{AccountPermit, Report};
use crate::transport::retry_loop::Attempt;
use crate::transport::unsent::never_sent;

/// A request and its retries.
pub(super) struct RawCall {
    pub(super) model: SharedModel,
    pub(super) in_use: Arc<Made<InUse>>,
    pub(super) uri: Uri,
    pub(super) request: HttpRequest,
    pub(super) limited: Option<Box<Limited>>,
    /// The refusal of the last request, if it is to be returned.
    pub(super) refusal: Option<Arc<Mutex<Option<Refusal>>>>,
    /// Requests sent so far.
    pub(super) sent: AtomicU32,
}

/// The answer to a refused request.
pub(super) struct Refusal {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    sent: u32,
}

impl Refusal {
    /// The refusal that a call ended with, as a response.
    pub(super) fn after(error: &Error, last: &Mutex<Option<Self>>) -> Option<RawResponse> {
        let Self { status, headers, body, sent } =
            last.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        // The call may have ended for another reason while it waited for its next attempt.
        let is_cause = error.kind() == ErrorKind::Unavailable || error.status() == Some(status.as_u16());
        let body = RawBody(Inner::Whole(Some(body)));
        is_cause.then_some(RawResponse { status, headers, body, attempts: sent })
    }
}

impl RawCall {
    /// Sends the request once, and reads the head of a successful response.
    pub(super) async fn begin(
        &self,
        key: Option<&KeyInUse>,
        permit: &mut AccountPermit,
        cx: &Context,
    ) -> Result<Exchange> {
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.keep(None);
        let model = &self.model;
        let request = model.http_request(&self.uri, &self.request, key);
        let deadline = cx.deadline().map(Instant::from_std);
        let mut answer = Exchange::begin(&self.in_use.connections, request, model.timeouts, deadline).await?;
        permit.while_held(pin!(cx.emit(EventKind::FirstByte))).await;
        let headers = &answer.head.headers;
        if answer.head.status.is_success() {
            if let Some(report) = Report::find(headers, || time_of(headers, SystemTime::now())) {
                permit.report(&report);
            }
            return Ok(answer);
        }
        let request_id = model.request_id(headers);
        let error = self.refusal(&mut answer, permit).await;
        Err(self.failed(&mut answer, request_id, error))
    }

    /// The error of a refused request, which is kept if it is to be returned.
    async fn refusal(&self, answer: &mut Exchange, permit: &mut AccountPermit) -> Error {
        if self.refusal.is_none() || answer.head.status.is_redirection() {
            return self.model.refusal(answer, Some(permit)).await;
        }
        let body = match answer.beginning(MAX_ERROR_BODY_BYTES).await {
            Ok(body) => body,
            Err(foreign) => return foreign,
        };
        let text = String::from_utf8_lossy(&body);
        let error = self.model.refused(&answer.head, &text, Some(permit));
        let redacted = match self.model.redact(&text) {
            Cow::Borrowed(_) => None,
            Cow::Owned(redacted) => Some(redacted),
        };
        let mut headers = headers_of(answer);
        for value in headers.values_mut() {
            let text = String::from_utf8_lossy(value.as_bytes());
            if let Cow::Owned(redacted) = self.model.redact(&text) {
                *value = HeaderValue::try_from(redacted).unwrap_or(HeaderValue::from_static(""));
            }
        }
        self.keep(Some(Refusal {
            status: answer.head.status,
            headers,
            body: redacted.map_or(Bytes::from(body), Bytes::from),
            sent: self.sent.load(Ordering::Relaxed),
        }));
        error
    }

    fn keep(&self, refusal: Option<Refusal>) {
        if let Some(last) = &self.refusal {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
        }
    }

    /// Adds details of a failed response to its error.
    pub(super) fn failed(&self, answer: &mut Exchange, request_id: Option<String>, error: Error) -> Error {
        if may_be_the_connection(&error) {
            answer.discard();
        }
        match request_id {
            Some(id) => error.with_request_id(id),
            None => error,
        }
    }

    /// The response, without its body.
    pub(super) fn response(&self, answer: &Exchange, body: RawBody) -> RawResponse {
        let (status, headers) = (answer.head.status, headers_of(answer));
        RawResponse { status, headers, body, attempts: self.sent.load(Ordering::Relaxed) }
    }
}

/// The headers of an answer, without those that describe its transfer: the body is decompressed.
fn headers_of(answer: &Exchange) -> HeaderMap {
    let mut headers = answer.head.headers.clone();
    headers.remove(CONTENT_LENGTH);
    headers.remove(CONTENT_ENCODING);
    headers
}

/// A call whose answer is read whole.
#[derive(Clone)]
pub(super) struct Whole(pub(super) Arc<RawCall>);

impl Attempt for Whole {
    type Ready = Option<KeyInUse>;
    type Answer = RawResponse;

    async fn prepare(&self) -> Result<Self::Ready> {
        self.0.model.key().await
    }

    async fn send(
        &self,
        key: Self::Ready,
        permit: &mut AccountPermit,
        _: &mut bool,
        cx: &Context,
    ) -> Result<RawResponse> {
        let call = &*self.0;
        let mut answer = call.begin(key.as_ref(), permit, cx).await?;
        match answer.whole().await {
            Ok(body) => {
                permit.succeeded(None);
                Ok(call.response(&answer, RawBody(Inner::Whole(Some(body)))))
            }
            Err(error) => {
                let request_id = call.model.request_id(&answer.head.headers);
                Err(call.failed(&mut answer, request_id, error))
            }
        }
    }

    fn named(&self, error: Error) -> Error {
        self.0.model.named(error)
    }

    fn never_sent(&self, error: &Error) -> bool {
        never_sent(error)
    }

    fn limited(&self) -> Option<&Limited> {
        self.0.limited.as_deref()
    }
}
