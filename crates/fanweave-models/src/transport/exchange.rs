//! One request and its response.

use std::error::Error as StdError;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fanweave_core::{Error, ErrorKind, Result};
use http::response::Parts;
use http::{Request, header};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::time::{Instant, timeout, timeout_at};

use super::body::Body;
use super::client::Connections;
use super::failure::broken;
use super::inflate::Inflate;
use super::watch::{Phase, Timeouts, Watch};
use super::wire::Unfit;

/// Maximum wait for the end of a body after its content is complete.
const MAX_FINISH_WAIT: Duration = Duration::from_millis(50);

/// Maximum silence after the content of a body that its server does not end: the answer is complete then.
pub(crate) const MAX_FINISH_SILENCE: Duration = Duration::from_secs(10);

/// A response whose headers have arrived. Its body is read under the timeouts of the request.
///
/// # Cancellation
/// Dropping it before the end of the body closes the connection.
pub(crate) struct Exchange {
    pub(crate) head: Parts,
    body: Body,
    watch: Watch,
    /// Maximum bytes of the decompressed body.
    max_bytes: usize,
    read: usize,
    inflate: Inflate,
}

impl Exchange {
    /// Sends `request` and waits for the response headers.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] or [`ErrorKind::Timeout`].
    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` keeps a second copy of each argument across an await"
    )]
    pub(crate) fn begin(
        connections: &Connections,
        request: Request<Bytes>,
        timeouts: Timeouts,
        deadline: Option<Instant>,
    ) -> impl Future<Output = Result<Self>> {
        async move {
            // Connecting has its own timeout. Waiting for a connection held by another call does not count
            // against the server.
            let mut lease = match connections.free_lease(request.uri()) {
                Some(lease) => Some(lease),
                // Boxed: most calls find a free connection and should not reserve space for this.
                None => Box::pin(until(deadline, connections.lease(request.uri()))).await??,
            };
            let mut watch = Watch::start(timeouts, deadline);
            // Pinned here and passed by reference: passed by value, it would take space in two futures of
            // every call.
            let sent = pin!(connections.request(request, &mut lease));
            let (head, mut body) = watch.during(Phase::FirstByte, sent).await??.into_parts();
            body.hold_until(watch.max_delay());
            Ok(Self {
                head,
                body,
                watch,
                max_bytes: connections.client().max_body_bytes(),
                read: 0,
                inflate: Inflate::new(),
            })
        }
    }

    /// The media type of the body, in lower case. Empty if the server does not send one.
    pub(crate) fn media_type(&self) -> String {
        let value = self.head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = value.and_then(|value| value.split(';').next()).unwrap_or_default();
        media_type.trim().to_ascii_lowercase()
    }

    /// The compression that the server announces, in lower case. Empty for none.
    fn coding(&self) -> String {
        let value = self.head.headers.get(header::CONTENT_ENCODING);
        value
            .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase())
            .unwrap_or_default()
    }

    /// The next chunk of the decompressed body. `None` at its end.
    ///
    /// # Errors
    /// The same as [`begin`](Self::begin), also if the body ends before its announced length or is damaged,
    /// and [`ErrorKind::Decode`] if it is longer than the client allows, or compressed in an unknown way.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let chunk = self.chunk_of_any_body().await?;
        self.read += chunk.as_ref().map_or(0, Bytes::len);
        if self.read > self.max_bytes { Err(too_long(self.max_bytes)) } else { Ok(chunk) }
    }

    /// The next chunk of a body of any length, for a caller that limits what it keeps.
    ///
    /// # Errors
    /// The same as [`chunk`](Self::chunk), except for the length.
    pub(crate) async fn chunk_of_any_body(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(content) = self.inflate.next()? {
                return Ok(Some(content));
            }
            let frame = self.watch.during(Phase::Body, self.body.frame()).await?;
            let Some(frame) = frame else {
                let coding = self.coding();
                return self.inflate.finish(&coding);
            };
            // Trailers carry nothing that is used.
            if let Ok(bytes) = frame.map_err(|e| broken_off(&*e))?.into_data() {
                let coding = if self.inflate.is_decided() { String::new() } else { self.coding() };
                self.inflate.feed(bytes, &coding)?;
            }
        }
    }

    /// Records that the response was not usable, although its status announced success, and that the
    /// connection may be the cause. The connection is not used again.
    pub(crate) fn discard(&mut self) {
        self.body.discard();
    }

    /// The complete body.
    ///
    /// # Errors
    /// The same as [`chunk`](Self::chunk).
    pub(crate) async fn whole(&mut self) -> Result<Bytes> {
        let first = self.first().await?;
        self.rest(first, |_| false).await
    }

    /// The first chunk of a body that is read whole.
    ///
    /// # Errors
    /// The same as [`chunk`](Self::chunk), also if the announced length is above the maximum.
    pub(crate) async fn first(&mut self) -> Result<Option<Bytes>> {
        if self.body.size_hint().lower() > self.max_bytes as u64 {
            return Err(too_long(self.max_bytes));
        }
        self.chunk().await
    }

    /// The complete body, after its first chunk. A body without an announced length also ends after a
    /// silence of [`MAX_FINISH_SILENCE`] if its content so far `is_complete`: the server may keep the
    /// connection open.
    ///
    /// # Errors
    /// The same as [`chunk`](Self::chunk).
    pub(crate) async fn rest(
        &mut self,
        first: Option<Bytes>,
        is_complete: impl Fn(&[u8]) -> bool,
    ) -> Result<Bytes> {
        let announced = self.body.size_hint().lower();
        let is_open = self.body.size_hint().exact().is_none();
        let Some(first) = first else { return Ok(Bytes::new()) };
        // Nearly every response arrives in one chunk, which then need not be copied.
        let mut all = BytesMut::new();
        let mut one = Some(first);
        loop {
            let next = match is_open {
                // Boxed: other bodies should not reserve space for it.
                true => Box::pin(self.chunk_unless(|| is_complete(one.as_deref().unwrap_or(&all)))).await?,
                false => self.chunk().await?,
            };
            let Some(more) = next else { break };
            if let Some(first) = one.take() {
                // Do not allocate the whole announced length: a server may announce more than it sends.
                all.reserve((announced as usize).min(1 << 20).max(first.len() + more.len()));
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&more);
        }
        Ok(one.unwrap_or_else(|| all.freeze()))
    }

    /// The next chunk. `None` at the end of the body, and after a silence if `is_complete` then: whatever
    /// comes later belongs to this answer, so the connection is not used again.
    ///
    /// # Errors
    /// The same as [`chunk`](Self::chunk).
    async fn chunk_unless(&mut self, is_complete: impl Fn() -> bool) -> Result<Option<Bytes>> {
        let next = {
            let mut next = pin!(self.chunk());
            match timeout(MAX_FINISH_SILENCE, next.as_mut()).await {
                Err(_) if is_complete() => None,
                Err(_) => Some(next.await),
                Ok(next) => Some(next),
            }
        };
        match next {
            Some(Err(error)) if error.kind() != ErrorKind::Timeout || !is_complete() => Err(error),
            Some(Ok(next)) => Ok(next),
            _ => {
                self.discard();
                Ok(None)
            }
        }
    }

    /// Reads the rest of a body whose content is complete, so that its connection can be reused. Gives up
    /// quickly: a server that keeps the stream open only loses the connection.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] if the response may belong to another request.
    pub(crate) async fn finish(&mut self) -> Result<()> {
        let rest = async {
            loop {
                match self.chunk().await {
                    Ok(Some(_)) => {}
                    Err(error) if is_foreign(&error) => return Err(error),
                    _ => return Ok(()),
                }
            }
        };
        timeout(MAX_FINISH_WAIT, rest).await.unwrap_or(Ok(()))
    }

    /// The beginning of the body, as far as it arrives, for a response whose status is already known to be an
    /// error.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] if the response may belong to another request.
    pub(crate) async fn beginning(&mut self, max_bytes: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while all.len() < max_bytes {
            match self.chunk().await {
                Ok(Some(more)) => all.extend_from_slice(&more[..more.len().min(max_bytes - all.len())]),
                Err(error) if is_foreign(&error) => return Err(error),
                _ => break,
            }
        }
        Ok(all)
    }
}

/// Waits for `work`, at most until the end of the run.
async fn until<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Result<T> {
    let Some(deadline) = deadline else { return Ok(work.await) };
    timeout_at(deadline, work).await.map_err(|_| {
        let message = "the run ended before the request had a connection";
        Error::new(ErrorKind::Timeout, message).with_retryable(false)
    })
}

fn too_long(max_bytes: usize) -> Error {
    let message = format!("the response is longer than {max_bytes} bytes");
    Error::new(ErrorKind::Decode, message).with_retryable(false)
}

fn broken_off(error: &(dyn StdError + 'static)) -> Error {
    let broken = broken("the connection closed before the response was complete", error);
    match error.downcast_ref::<Unfit>() {
        Some(unfit) => broken.with_source(*unfit),
        None => broken,
    }
}

/// Returns true if a response was rejected because it may belong to another request.
fn is_foreign(error: &Error) -> bool {
    StdError::source(error).is_some_and(<dyn StdError>::is::<Unfit>)
}
