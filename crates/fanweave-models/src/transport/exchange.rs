//! One request and its answer.

use std::error::Error as StdError;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fanweave_core::{Error, ErrorKind, Result};
use http::response::Parts;
use http::{Request, header};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::time::{Instant, timeout_at};

use super::body::Body;
use super::client::{Client, Timeouts};
use super::watch::{Phase, Watch};
use super::wire::Unfit;

/// Longest wait for the end of a body of which nothing more is expected.
const FINISH: Duration = Duration::from_millis(50);

/// An answer whose head has arrived, and whose body is read under the timeouts of its request.
///
/// # Cancellation
/// Dropping it before the end of the body closes the connection.
pub(crate) struct Exchange {
    pub(crate) head: Parts,
    body: Body,
    watch: Watch,
    most: usize,
    read: usize,
}

impl Exchange {
    /// Sends `request` and waits for the head of the answer.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] or [`ErrorKind::Timeout`].
    #[expect(
        clippy::manual_async_fn,
        reason = "an `async fn` keeps a second copy of each argument across an await"
    )]
    pub(crate) fn begin(
        client: &Client,
        request: Request<Bytes>,
        timeouts: Timeouts,
        deadline: Option<Instant>,
    ) -> impl Future<Output = Result<Self>> {
        async move {
            // Connecting has its own timeout. Waiting for a connection that another call holds is no silence of the server.
            let mut lease = match client.free_lease(request.uri()) {
                Some(lease) => Some(lease),
                // In a box: most calls find a free connection, and need no room for this.
                None => Box::pin(until(deadline, client.lease(request.uri()))).await??,
            };
            let mut watch = Watch::start(timeouts, deadline);
            // Pinned here and lent: handed over, it would have room in two futures of every call.
            let sent = pin!(client.request(request, &mut lease));
            let (head, body) = watch.during(Phase::FirstByte, sent).await??.into_parts();
            Ok(Self { head, body, watch, most: client.max_body_bytes(), read: 0 })
        }
    }

    /// The media type of the body, in lower case. Empty where the server does not say.
    pub(crate) fn media_type(&self) -> String {
        let value = self.head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = value.and_then(|value| value.split(';').next()).unwrap_or_default();
        media_type.trim().to_ascii_lowercase()
    }

    /// Makes sure that the body is as it was asked for.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] where it is compressed. It could be a thousand times as long as it looks.
    pub(crate) fn check_coding(&self) -> Result<()> {
        let Some(coding) = self.coding() else { return Ok(()) };
        let message = format!(
            "the server compressed its answer ({}), although it was asked not to: turn that off there, or in what \
             stands before it",
            coding.escape_debug()
        );
        Err(Error::new(ErrorKind::Decode, message).with_retryable(false))
    }

    fn coding(&self) -> Option<String> {
        let value = self.head.headers.get(header::CONTENT_ENCODING)?;
        let coding = String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase();
        Some(coding).filter(|coding| !matches!(coding.as_str(), "" | "identity"))
    }

    /// The next piece of the body. `None` at its end.
    ///
    /// # Errors
    /// As [`begin`](Self::begin), also where the body ends before its announced length, and
    /// [`ErrorKind::Decode`] where it is longer than the client allows.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>> {
        loop {
            let frame = self.watch.during(Phase::Body, self.body.frame()).await?;
            let Some(frame) = frame else { return Ok(None) };
            // Trailers say nothing that we read.
            if let Ok(bytes) = frame.map_err(|e| broken_off(&*e))?.into_data() {
                self.read += bytes.len();
                if self.read > self.most {
                    return Err(too_long(self.most));
                }
                return Ok(Some(bytes));
            }
        }
    }

    /// Counts the bytes of the body from here on: what came before is no longer in memory.
    pub(crate) fn begin_anew(&mut self) {
        self.read = 0;
    }

    /// The whole body.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub(crate) async fn whole(&mut self) -> Result<Bytes> {
        let announced = self.body.size_hint().lower();
        if announced > self.most as u64 {
            return Err(too_long(self.most));
        }
        let Some(first) = self.chunk().await? else { return Ok(Bytes::new()) };
        // Nearly every answer comes in one piece, which then need not be copied.
        let mut all = BytesMut::new();
        let mut one = Some(first);
        while let Some(more) = self.chunk().await? {
            if let Some(first) = one.take() {
                // The announcement is not yet memory: a server may announce what it never sends.
                all.reserve((announced as usize).min(1 << 20).max(first.len() + more.len()));
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&more);
        }
        Ok(one.unwrap_or_else(|| all.freeze()))
    }

    /// Reads what is left of a body that has said everything, so that its connection can be used again. Gives up
    /// soon: a server that keeps the stream open only loses the connection.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] where the answer may be that to another request.
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
        tokio::time::timeout(FINISH, rest).await.unwrap_or(Ok(()))
    }

    /// The beginning of the body, as much of it as comes, for an answer whose status has said the most already.
    ///
    /// # Errors
    /// [`ErrorKind::Connection`] where the answer may be that to another request.
    pub(crate) async fn beginning(&mut self, most: usize) -> Result<String> {
        let mut all = Vec::new();
        while self.coding().is_none() && all.len() < most {
            match self.chunk().await {
                Ok(Some(more)) => all.extend_from_slice(&more[..more.len().min(most - all.len())]),
                Err(error) if is_foreign(&error) => return Err(error),
                _ => break,
            }
        }
        Ok(String::from_utf8_lossy(&all).into_owned())
    }
}

/// Waits for `work`, at most to the end of the run.
async fn until<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Result<T> {
    let Some(deadline) = deadline else { return Ok(work.await) };
    timeout_at(deadline, work).await.map_err(|_| {
        let message = "the run ended before the request had a connection";
        Error::new(ErrorKind::Timeout, message).with_retryable(false)
    })
}

fn too_long(most: usize) -> Error {
    let message = format!("the answer is longer than {most} bytes");
    Error::new(ErrorKind::Decode, message).with_retryable(false)
}

fn broken_off(error: &(dyn StdError + 'static)) -> Error {
    let broken = broken("the answer broke off", error);
    match error.downcast_ref::<Unfit>() {
        Some(unfit) => broken.with_source(*unfit),
        None => broken,
    }
}

/// Whether an answer was refused since it may be that to another request.
fn is_foreign(error: &Error) -> bool {
    StdError::source(error).is_some_and(<dyn StdError>::is::<Unfit>)
}

/// A failure of the network, in the words of its innermost cause.
pub(crate) fn broken(what: &str, error: &(dyn StdError + 'static)) -> Error {
    let innermost = causes(error).last().unwrap_or(error);
    let message = format!("{what}: {innermost}");
    let broken = Error::new(ErrorKind::Connection, message);
    match causes(error).find_map(|cause| cause.downcast_ref()) {
        // It will be as wrong the next time.
        Some(rustls::Error::InvalidCertificate(_)) => broken.with_retryable(false),
        _ => broken,
    }
}

/// An error and what caused it, outermost first.
pub(crate) fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        // An I/O error does not give what it wraps as its source.
        match error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(wrapped) => Some(wrapped as &(dyn StdError + 'static)),
            None => error.source(),
        }
    })
}
