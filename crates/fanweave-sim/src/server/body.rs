//! The body of an answer: sent whole, in chunks, or interrupted.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::HeaderValue;
use tokio::time::{Instant, Sleep};

use super::hold::Hold;
use super::provider::InFlightRequest;
use super::wire::Breaker;

pub(super) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(super) const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");
pub(super) const AWS_EVENT_STREAM: HeaderValue =
    HeaderValue::from_static("application/vnd.amazon.eventstream");
pub(super) const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream; charset=utf-8");

/// Bytes that remain to be sent, and how.
#[derive(Debug, Default)]
pub(super) struct Payload {
    rest: Bytes,
    /// Lengths of the chunks in which to send `rest`; empty means all in one.
    pieces: std::vec::IntoIter<usize>,
    /// The announced length; `None` for a stream.
    announced: Option<u64>,
    pace: Option<Pace>,
    hold: Option<Hold>,
    /// Sent again after the last byte, over this connection.
    surplus: Option<(Breaker, Bytes)>,
    ending: Ending,
    /// Keeps the request in flight until the last byte is sent.
    ticket: Option<InFlightRequest>,
}

/// Pauses between chunks.
#[derive(Debug)]
struct Pace {
    delay: Duration,
    sleep: Pin<Box<Sleep>>,
}

/// End of the body, once `rest` is sent.
#[derive(Debug, Default)]
enum Ending {
    #[default]
    Complete,
    /// Like a complete body, although it is truncated.
    Early,
    /// With an error, which closes the connection; everything sent before is flushed first.
    Broken { is_flushed: bool },
}

impl Payload {
    /// `bytes` in one chunk.
    pub(super) fn whole(bytes: impl Into<Bytes>) -> Self {
        let rest = bytes.into();
        Self { announced: Some(rest.len() as u64), rest, ..Self::default() }
    }

    /// `bytes` in chunks of these lengths, with a pause before each except the first.
    pub(super) fn stream(bytes: Bytes, pieces: Vec<usize>, delay: Duration) -> Self {
        let pace =
            (!delay.is_zero()).then(|| Pace { delay, sleep: Box::pin(tokio::time::sleep(Duration::ZERO)) });
        Self { rest: bytes, pieces: pieces.into_iter(), pace, ..Self::default() }
    }

    /// Sends `bytes` over the connection after the last byte of this body.
    pub(super) fn followed_by(mut self, bytes: Bytes, connection: &Breaker) -> Self {
        self.surplus = Some((connection.clone(), bytes));
        self
    }

    /// Delays each chunk while an outage holds answers.
    pub(super) fn held_by(mut self, hold: Option<Hold>) -> Self {
        self.hold = hold;
        self
    }

    /// Keeps the request of `ticket` in flight until this body is sent.
    pub(super) fn hold(mut self, ticket: InFlightRequest) -> Self {
        self.ticket = Some(ticket);
        self
    }

    /// Ends with a reset of the connection after half of the body.
    pub(super) fn reset_halfway(mut self, breaker: &Breaker) -> Self {
        self.keep_half();
        breaker.pull();
        self.ending = Ending::Broken { is_flushed: false };
        self
    }

    /// Ends cleanly after half of the body: a stream without its end, a plain body short of its announced
    /// length.
    pub(super) fn truncate_halfway(mut self) -> Self {
        self.keep_half();
        self.ending =
            if self.announced.is_some() { Ending::Broken { is_flushed: false } } else { Ending::Early };
        self
    }

    /// Drops the second half; of a stream, whole events.
    fn keep_half(&mut self) {
        let is_stream = self.pieces.len() > 0;
        let half_len = self.pieces.len() / 2;
        let half: Vec<usize> = self.pieces.by_ref().take(half_len).collect();
        self.rest.truncate(if is_stream { half.iter().sum() } else { self.rest.len() / 2 });
        self.pieces = half.into_iter();
    }

    /// The end of the body, after its last byte.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Ending::Broken { is_flushed } = &mut self.ending
            && !std::mem::replace(is_flushed, true)
        {
            // An error discards unwritten bytes: let the connection write them first.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.ticket.iter_mut().for_each(InFlightRequest::complete);
        Poll::Ready(match self.ending {
            Ending::Complete | Ending::Early => None,
            Ending::Broken { .. } => {
                Some(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "injected fault")))
            }
        })
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        if this.rest.is_empty() {
            return this.poll_end(cx);
        }
        if let Some(pace) = &mut this.pace {
            ready!(pace.sleep.as_mut().poll(cx));
            pace.sleep.as_mut().reset(Instant::now() + pace.delay);
        }
        if let Some(hold) = &mut this.hold {
            ready!(hold.poll(cx));
        }
        let piece = match this.pieces.next() {
            Some(length) => this.rest.split_to(length),
            None => std::mem::take(&mut this.rest),
        };
        if this.rest.is_empty()
            && let Some((connection, bytes)) = this.surplus.take()
        {
            connection.append(bytes);
        }
        if this.rest.is_empty() && matches!(this.ending, Ending::Complete) {
            // The connection does not poll for the end of a body of known length.
            this.ticket.iter_mut().for_each(InFlightRequest::complete);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && matches!(self.ending, Ending::Complete)
    }

    fn size_hint(&self) -> SizeHint {
        self.announced.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
