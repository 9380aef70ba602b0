//! Work in a separate task that a future owns, with a bounded buffer between the two.
//!
//! A future that its reader does not poll makes no progress. A call that holds a permit therefore runs in a
//! task: it ends, and returns its permit, even if the future is never polled. Deltas and events wait in the
//! buffer meanwhile.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll};

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::RunPermit;
use crate::{Delta, Error, ErrorKind, Event, EventKind, Media, Part, Result, task_locals};

/// Maximum bytes that wait for a reader, approximately. A reader that is further behind slows the work down.
/// 4 MiB: more than nearly all answers have, so that a request ends at the server's pace.
const BUFFER_BYTES: usize = 4 << 20;

/// Estimated bytes of a delta or an event in addition to its text.
const ITEM_BYTES: usize = 64;

/// State shared by a task and its owner.
pub(crate) struct Work {
    /// The permit that the task holds for its call.
    permit: Mutex<Option<RunPermit>>,
    buffer: Mutex<Buffer>,
    /// Notified when the owner has items to read.
    filled: Notify,
    /// Notified when a full buffer has room again.
    drained: Notify,
    /// The enclosing work.
    around: Option<Arc<Work>>,
}

#[derive(Default)]
struct Buffer {
    items: VecDeque<Item>,
    bytes: usize,
    has_ended: bool,
}

/// Output of the work, in order.
pub(super) enum Item {
    Delta(Delta),
    Event(Event),
}

impl Work {
    pub(super) fn new(around: Option<Arc<Work>>) -> Arc<Self> {
        Arc::new(Self {
            permit: Mutex::default(),
            buffer: Mutex::default(),
            filled: Notify::new(),
            drained: Notify::new(),
            around,
        })
    }

    pub(super) fn hold(&self, permit: RunPermit) {
        let before = lock(&self.permit).replace(permit);
        drop(before);
    }

    /// Takes the permit of this work, or that of the enclosing work.
    pub(super) fn take_permit(&self) -> Option<RunPermit> {
        let own = lock(&self.permit).take();
        own.or_else(|| self.around.as_ref()?.take_permit())
    }

    // Outlined, to keep it out of the futures of streams without a task.
    #[inline(never)]
    pub(crate) fn push_delta(&self, delta: Delta) -> Option<BoxFuture<'_, bool>> {
        let full = self.push(Item::Delta(delta))?;
        Some(Box::pin(async move {
            full.await;
            // The owner forwards it.
            false
        }))
    }

    /// Adds an item. If the buffer is full, the returned future adds it.
    pub(super) fn push(&self, item: Item) -> Option<BoxFuture<'_, ()>> {
        let item = self.try_push(item)?;
        Some(Box::pin(self.push_when_drained(item)))
    }

    /// Returns the item if the buffer is full.
    fn try_push(&self, item: Item) -> Option<Item> {
        let mut buffer = lock(&self.buffer);
        if buffer.bytes >= BUFFER_BYTES {
            return Some(item);
        }
        buffer.bytes += item.bytes();
        buffer.items.push_back(item);
        drop(buffer);
        self.filled.notify_one();
        None
    }

    /// Waits for room. Returns the permit once another call waits for one.
    async fn push_when_drained(&self, mut item: Item) {
        loop {
            let mut drained = pin!(self.drained.notified());
            drained.as_mut().enable();
            item = match self.try_push(item) {
                None => return,
                Some(item) => item,
            };
            let wanted = lock(&self.permit).as_ref().map(RunPermit::wanted);
            let Some(wanted) = wanted else {
                drained.await;
                continue;
            };
            tokio::select! {
                () = drained => {}
                () = wanted => {
                    let permit = lock(&self.permit).take();
                    if let Some(permit) = permit {
                        permit.give_up();
                    }
                }
            }
        }
    }

    /// The next item. `None` once the work has ended and all items are read.
    pub(super) async fn next(&self) -> Option<Item> {
        loop {
            {
                let mut buffer = lock(&self.buffer);
                if let Some(item) = buffer.items.pop_front() {
                    let was_full = buffer.bytes >= BUFFER_BYTES;
                    buffer.bytes -= item.bytes();
                    if was_full {
                        self.drained.notify_waiters();
                    }
                    return Some(item);
                }
                if buffer.has_ended {
                    return None;
                }
            }
            self.filled.notified().await;
        }
    }
}

impl Item {
    fn bytes(&self) -> usize {
        let content = match self {
            Item::Delta(delta) | Item::Event(Event { kind: EventKind::Delta(delta), .. }) => {
                delta_bytes(delta)
            }
            Item::Event(_) => 0,
        };
        content + ITEM_BYTES
    }
}

fn delta_bytes(delta: &Delta) -> usize {
    match delta {
        Delta::Text { text, .. } => text.len(),
        Delta::Reasoning { text, signature, .. } => text.len() + signature.as_ref().map_or(0, String::len),
        Delta::ToolCall { arguments, .. } => arguments.len(),
        Delta::Other { value, .. } | Delta::Value(value) => value_bytes(value),
        Delta::Part { content, .. } => match &**content {
            Part::Image(media) | Part::Audio(media) | Part::File(media) => match media {
                Media::Url(url) => url.len(),
                Media::Inline { base64, .. } => base64.len(),
            },
            _ => 0,
        },
        Delta::Citation(citation) => value_bytes(&citation.source),
        Delta::Branch { delta, .. } => delta_bytes(delta),
        Delta::Started { .. } | Delta::Finished(_) | Delta::Usage(_) => 0,
    }
}

fn value_bytes(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(value_bytes).sum(),
            Value::Object(fields) => fields.iter().map(|(name, value)| name.len() + value_bytes(value)).sum(),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

/// A task that is aborted when this is dropped.
pub(super) struct Owned<T>(JoinHandle<T>);

/// Marks the end of the work, also if it panics or is aborted.
struct End(Arc<Work>);

impl Drop for End {
    fn drop(&mut self) {
        let permit = lock(&self.0.permit).take();
        drop(permit);
        lock(&self.0.buffer).has_ended = true;
        self.0.filled.notify_one();
    }
}

impl<T: Send + 'static> Owned<Result<T>> {
    /// Spawns `future` on the current runtime, or on the background runtime without one.
    pub(super) fn start(work: Arc<Work>, future: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        let end = End(work);
        let future = task_locals::propagate(task_locals::here(), async move {
            let _end = end;
            future.await
        });
        let runtime = Handle::try_current().unwrap_or_else(|_| crate::runtime::handle());
        Self(runtime.spawn(future))
    }
}

impl<T> Future for Owned<Result<T>> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Result<T>> {
        let ended = std::task::ready!(Pin::new(&mut self.0).poll(task));
        Poll::Ready(ended.unwrap_or_else(|lost| match lost.try_into_panic() {
            // The caller receives the panic of its own call.
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(lost) => {
                let message = "the runtime that the call ran on has ended";
                Err(Error::new(ErrorKind::Cancelled, message).with_source(lost))
            }
        }))
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
