//! Streamed answers: a task reads them into a bounded buffer, whether or not they have a reader.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use bytes::Bytes;
use fanweave_core::{Context, Error, ErrorKind, EventKind, Result};
use futures::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc};

use super::call::RawCall;
use super::{Inner, RawBody, RawResponse};
use crate::limiter::Limited;
use crate::transport::exchange::Exchange;
use crate::transport::keys::KeyInUse;
use crate::transport::limits::AccountPermit;
use crate::transport::retry::Attempts;
use crate::transport::retry_loop::{Attempt, CallOptions, drive};
use crate::transport::unsent::never_sent;

/// Maximum bytes of a streamed answer that wait for their reader.
const BUFFER_BYTES: u32 = 4 << 20;

/// Estimated bytes of a chunk in addition to its content.
const CHUNK_BYTES: usize = 64;

/// A call whose answer is handed on while it arrives.
struct Piped {
    call: RawCall,
    parts: mpsc::UnboundedSender<Part>,
    /// Room in the buffer, in bytes.
    room: Arc<Semaphore>,
}

/// A part of a streamed answer.
pub(super) enum Part {
    /// Always the first one, once the body has begun.
    Head(Box<RawResponse>),
    /// A chunk, and the room that it takes in the buffer.
    Chunk(Bytes, u32),
}

impl Piped {
    /// Hands a chunk on, when there is room.
    async fn push(&self, chunk: Bytes) {
        let bytes = u32::try_from(chunk.len() + CHUNK_BYTES).unwrap_or(u32::MAX).min(BUFFER_BYTES);
        if let Ok(room) = self.room.acquire_many(bytes).await {
            room.forget();
        }
        // Without a reader, this task is about to be aborted.
        let _ = self.parts.send(Part::Chunk(chunk, bytes));
    }

    /// Hands the body on. Sets `emitted` once it has begun.
    async fn pump(
        &self,
        answer: &mut Exchange,
        permit: &mut AccountPermit,
        emitted: &mut bool,
        cx: &Context,
    ) -> Result<()> {
        let mut next = answer.chunk().await.map_err(incomplete)?;
        *emitted = true;
        permit.while_held(pin!(cx.emit(EventKind::FirstChunk))).await;
        let head = self.call.response(answer, RawBody(Inner::Whole(None)));
        let _ = self.parts.send(Part::Head(Box::new(head)));
        while let Some(chunk) = next {
            permit.while_held(pin!(self.push(chunk))).await;
            next = answer.chunk().await.map_err(incomplete)?;
        }
        Ok(())
    }
}

/// The error of a stream whose connection broke.
fn incomplete(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Connection => Error::new(ErrorKind::StreamIncomplete, error.message()),
        _ => error,
    }
}

impl Attempt for Piped {
    type Ready = Option<KeyInUse>;
    type Answer = ();

    async fn prepare(&self) -> Result<Self::Ready> {
        self.call.model.key().await
    }

    async fn send(
        &self,
        key: Self::Ready,
        permit: &mut AccountPermit,
        emitted: &mut bool,
        cx: &Context,
    ) -> Result<()> {
        let call = &self.call;
        let mut answer = call.begin(key.as_ref(), permit, cx).await?;
        match self.pump(&mut answer, permit, emitted, cx).await {
            Ok(()) => {
                permit.succeeded(None);
                Ok(())
            }
            Err(error) => {
                let request_id = call.model.request_id(&answer.head.headers);
                Err(call.failed(&mut answer, request_id, error))
            }
        }
    }

    fn named(&self, error: Error) -> Error {
        self.call.model.named(error)
    }

    fn never_sent(&self, error: &Error) -> bool {
        never_sent(error)
    }

    fn limited(&self) -> Option<&Limited> {
        self.call.limited.as_deref()
    }
}

/// The reader of a streamed answer, and the owner of its task.
pub(super) struct Streamed {
    /// Waits for the end of the task and forwards its events. `None` once it has ended.
    call: Option<BoxFuture<'static, Result<()>>>,
    parts: mpsc::UnboundedReceiver<Part>,
    room: Arc<Semaphore>,
    /// The failure that ended the stream.
    failure: Option<Error>,
}

impl Streamed {
    /// Sends the request in a task of its own: nothing that the reader does or leaves undone keeps a permit.
    pub(super) fn start(call: RawCall, attempts: Attempts, options: CallOptions, cx: &Context) -> Self {
        let (sender, parts) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(BUFFER_BYTES as usize));
        let (piped, cx) = (Piped { call, parts: sender, room: room.clone() }, cx.clone());
        let call = async move {
            let drive = move |cx: Context| async move {
                Box::pin(cx.guard(drive(&piped, attempts, &options, &cx))).await.map(|((), _)| ())
            };
            cx.in_task(drive).await
        };
        Self { call: Some(Box::pin(call)), parts, room, failure: None }
    }

    /// Waits for the beginning of the answer.
    pub(super) async fn answer(mut self) -> Result<RawResponse> {
        match std::future::poll_fn(|task| self.poll_part(task)).await {
            Some(Ok(Part::Head(head))) => {
                Ok(RawResponse { body: RawBody(Inner::Streamed(Box::new(self))), ..*head })
            }
            Some(Err(error)) => Err(error),
            Some(Ok(Part::Chunk(..))) | None => unreachable!("an answer begins with its head"),
        }
    }

    pub(super) fn poll_part(&mut self, task: &mut TaskContext<'_>) -> Poll<Option<Result<Part>>> {
        if let Some(call) = &mut self.call
            && let Poll::Ready(ended) = call.as_mut().poll(task)
        {
            self.call = None;
            self.failure = ended.err();
        }
        match self.parts.poll_recv(task) {
            Poll::Ready(Some(part)) => {
                if let Part::Chunk(_, bytes) = part {
                    self.room.add_permits(bytes as usize);
                }
                Poll::Ready(Some(Ok(part)))
            }
            // The task wakes this reader when it has ended.
            Poll::Ready(None) if self.call.is_some() => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(self.failure.take().map(Err)),
            Poll::Pending => Poll::Pending,
        }
    }
}
