//! Response bodies: from the pool's connections, or from a custom transport.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::pool::Lease;

/// Error type of a body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a response returned by an [`HttpTransport`](crate::HttpTransport).
///
/// ```
/// use fanweave::models::Body;
///
/// let whole = Body::from(r#"{"choices":[]}"#);
/// let streamed = Body::new(whole); // any `http_body::Body` of `Bytes`
/// ```
pub struct Body(Inner);

enum Inner {
    /// From the pool. The connection returns to the pool when the body is dropped: only the reader knows
    /// whether the response was usable.
    Pooled {
        body: Incoming,
        lease: Option<Lease>,
        is_over: bool,
    },
    Own(UnsyncBoxBody<Bytes, BoxError>),
}

impl Body {
    /// Creates a body that arrives in chunks.
    pub fn new<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        Self(Inner::Own(body.map_err(Into::into).boxed_unsync()))
    }

    pub(crate) fn pooled(body: Incoming, lease: Option<Lease>) -> Self {
        Self(Inner::Pooled { body, lease, is_over: false })
    }

    /// Limits the time that the response is held at its end, in case it belongs to another request.
    pub(crate) fn hold_until(&mut self, end: Instant) {
        if let Inner::Pooled { lease: Some(lease), .. } = &mut self.0 {
            lease.hold_until(end);
        }
    }

    /// Records that the response was not usable and that the connection may be the cause.
    pub(crate) fn discard(&mut self) {
        if let Inner::Pooled { lease: Some(lease), .. } = &mut self.0 {
            lease.discard();
        }
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(whole: T) -> Self {
        Self::new(Full::new(whole.into()))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Inner::Pooled { body, lease, is_over } => {
                let frame = Pin::new(body).poll_frame(task);
                match (&frame, &mut *lease) {
                    (Poll::Ready(Some(Ok(frame))), Some(held)) => {
                        if let Some(bytes) = frame.data_ref() {
                            held.began(bytes);
                        }
                    }
                    (Poll::Ready(None), Some(held)) if !*is_over => {
                        let verdict = ready!(held.poll_verdict(task));
                        *is_over = true;
                        if let Err(unfit) = verdict {
                            *lease = None;
                            return Poll::Ready(Some(Err(unfit.into())));
                        }
                    }
                    _ => {}
                }
                frame.map_err(Into::into)
            }
            Inner::Own(body) => Pin::new(body).poll_frame(task),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Pooled { body, .. } => body.is_end_stream(),
            Inner::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Pooled { body, .. } => body.size_hint(),
            Inner::Own(body) => body.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("size_hint", &self.size_hint()).finish_non_exhaustive()
    }
}
