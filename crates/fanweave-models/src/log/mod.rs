//! Request logging: every call of a model, told to a service, without delaying or failing the call.
//!
//! A [`RequestLog`] owns a bounded queue and the one task that empties it into a [`LogSink`]. Models that it
//! [wraps](RequestLog::wrap) put each call into the queue when it has ended. A call that finds the queue full is not
//! logged: it is [counted](LogSummary::dropped).

mod promptlayer;

use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use fanweave_core::{ChatModel, Context, Error, ErrorKind, Message, Model, Prompt, Result};
use futures::{FutureExt, StreamExt, stream};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use promptlayer::PromptLayer;

/// Calls that may wait to be told where the caller says nothing.
const QUEUE: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not 0");

/// One call of a model, as it is told to a [`LogSink`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallRecord {
    /// `provider/model`.
    pub model: String,
    /// What was asked, with the parameters of the call.
    pub prompt: Prompt,
    /// What came back. The ids of the answer and of its request are in its
    /// [`reply`](fanweave_core::Message::reply).
    pub result: Result<Message>,
    /// The tags of the log, then those of the run.
    pub tags: Vec<String>,
    /// When the call began.
    pub began: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
}

/// Where calls are told: what the author of a logging service writes.
///
/// ```
/// use fanweave_core::{Result, model::fake::Fake};
/// use fanweave_models::log::{CallRecord, LogSink, RequestLog};
///
/// struct Print;
///
/// impl LogSink for Print {
///     async fn tell(&self, record: CallRecord) -> Result<()> {
///         println!("{} {:?}", record.model, record.result);
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// let log = RequestLog::new(Print)?;
/// let model = log.wrap(Fake::echo().model());
/// model.invoke("hello").await?;
/// assert_eq!(log.close().await.told, 1);
/// # Ok(())
/// # }
/// ```
pub trait LogSink: Send + Sync + 'static {
    /// Most calls that it is told of at the same time. Default 8. A sink of 1 is told of them in the order of their ends.
    const CONCURRENCY: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not 0");

    /// Tells of one call. An error is counted, and the call is not told again.
    fn tell(&self, record: CallRecord) -> impl Future<Output = Result<()>> + Send;
}

/// A log, and the task that writes it.
///
/// # Cancellation
/// Dropping it ends the task: calls that still wait in the queue are not told. [`close`](Self::close) tells them first.
#[derive(Debug)]
pub struct RequestLog {
    queue: mpsc::Sender<CallRecord>,
    counts: Arc<Counts>,
    tags: Arc<[String]>,
    task: JoinHandle<()>,
}

/// What has become of the calls of a log.
///
/// ```
/// use fanweave_models::log::LogSummary;
///
/// assert_eq!(LogSummary::default().dropped, 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogSummary {
    /// Calls that the sink was told of.
    pub told: u64,
    /// Calls that the sink failed to take.
    pub failed: u64,
    /// Calls that found the queue full, or the log gone.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Counts {
    told: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl RequestLog {
    /// A log that tells `sink`, with room for 1024 calls that wait to be told.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] outside of a tokio runtime.
    pub fn new(sink: impl LogSink) -> Result<Self> {
        Self::with_queue(sink, QUEUE)
    }

    /// As [`new`](Self::new), with room for `calls`. Each holds its prompt and its answer in memory.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_queue(sink: impl LogSink, calls: NonZeroUsize) -> Result<Self> {
        let runtime = Handle::try_current().map_err(|_| {
            Error::new(ErrorKind::Config, "a request log needs a tokio runtime: make it within one")
        })?;
        let (queue, waiting) = mpsc::channel(calls.get());
        let counts = Arc::new(Counts::default());
        let task = runtime.spawn(write(waiting, sink, counts.clone()));
        Ok(Self { queue, counts, tags: Arc::default(), task })
    }

    /// Tags that every call is told with. Default none.
    #[must_use]
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// A model that answers as `model` does, and whose calls are told. A call that is dropped before its end is none.
    pub fn wrap(&self, model: Model) -> Model {
        let (queue, counts, tags) = (self.queue.downgrade(), self.counts.clone(), self.tags.clone());
        Model::new(Logged { model, queue, counts, tags })
    }

    /// What has become of the calls so far.
    pub fn summary(&self) -> LogSummary {
        self.counts.summary()
    }

    /// Tells what waits in the queue, and ends. Calls of its models that end later are dropped.
    pub async fn close(mut self) -> LogSummary {
        // The task ends when it has read to the end of a queue that nobody can write to any more.
        self.queue = mpsc::channel(1).0;
        let _ = (&mut self.task).await;
        self.counts.summary()
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Counts {
    fn summary(&self) -> LogSummary {
        LogSummary {
            told: self.told.load(Relaxed),
            failed: self.failed.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
        }
    }
}

async fn write<S: LogSink>(mut waiting: mpsc::Receiver<CallRecord>, sink: S, counts: Arc<Counts>) {
    let records = stream::poll_fn(move |cx| waiting.poll_recv(cx));
    let told = records.for_each_concurrent(S::CONCURRENCY.get(), |record| async {
        // One that panics must not end the log of all others.
        let told = AssertUnwindSafe(async { sink.tell(record).await }).catch_unwind();
        let count = match told.await {
            Ok(Ok(())) => &counts.told,
            Ok(Err(_)) | Err(_) => &counts.failed,
        };
        count.fetch_add(1, Relaxed);
    });
    told.await;
}

/// A model whose calls are told.
struct Logged {
    model: Model,
    /// Weak: the log alone decides how long its queue is open.
    queue: mpsc::WeakSender<CallRecord>,
    counts: Arc<Counts>,
    tags: Arc<[String]>,
}

impl ChatModel for Logged {
    const DRIVES_CALLS: bool = true;

    fn name(&self) -> &str {
        self.model.name()
    }

    fn identity(&self) -> String {
        self.model.identity()
    }

    async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let began = SystemTime::now();
        let asked = prompt.clone();
        let result = self.model.generate_in(prompt, cx).await;
        let record = CallRecord {
            model: self.model.name().to_owned(),
            prompt: asked,
            result: result.clone(),
            tags: self.tags.iter().cloned().chain(cx.tags().map(str::to_owned)).collect(),
            began,
            ended: SystemTime::now(),
        };
        let told = self.queue.upgrade().is_some_and(|queue| queue.try_send(record).is_ok());
        if !told {
            self.counts.dropped.fetch_add(1, Relaxed);
        }
        result
    }
}

impl fmt::Display for LogSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { told, failed, dropped } = self;
        write!(f, "{told} calls logged, {failed} failed, {dropped} dropped")
    }
}

#[cfg(test)]
mod tests;
