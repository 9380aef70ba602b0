//! Request logging: reports every call of a model to a service, without delaying or failing the call.
//!
//! A [`RequestLog`] owns a bounded queue and the task that drains it into a [`LogSink`]. Models that it
//! [wraps](RequestLog::wrap) enqueue each call when it has ended. If the queue is full, the call is dropped
//! and [counted](LogSummary::dropped).

#[cfg(feature = "promptlayer")]
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

#[cfg(feature = "promptlayer")]
pub use promptlayer::PromptLayer;

/// Default capacity of the queue, in calls.
const QUEUE: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not 0");

/// One call of a model, as recorded by a [`LogSink`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallRecord {
    /// `provider/model`.
    pub model: String,
    /// The prompt, with the parameters of the call.
    pub prompt: Prompt,
    /// The answer or the error. The ids of the answer and of its request are in its
    /// [`reply`](fanweave_core::Message::reply).
    pub result: Result<Message>,
    /// The tags of the log, then those of the run.
    pub tags: Vec<String>,
    /// Start of the call.
    pub began: SystemTime,
    /// End of the call.
    pub ended: SystemTime,
}

/// Destination of logged calls, implemented for each logging service.
///
/// ```
/// use fanweave::{Result, testing::Fake};
/// use fanweave::models::log::{CallRecord, LogSink, RequestLog};
///
/// struct Print;
///
/// impl LogSink for Print {
///     async fn record(&self, record: CallRecord) -> Result<()> {
///         println!("{} {:?}", record.model, record.result);
///         Ok(())
///     }
/// }
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// let log = RequestLog::new(Print)?;
/// let model = log.wrap(Fake::echo().model());
/// model.invoke("hello").await?;
/// assert_eq!(log.close().await.recorded, 1);
/// # Ok(())
/// # }) }
/// ```
pub trait LogSink: Send + Sync + 'static {
    /// Maximum concurrent calls of `record`. Default 8. With 1, calls are recorded in the order in which they
    /// ended.
    const CONCURRENCY: NonZeroUsize = NonZeroUsize::new(8).expect("8 is not 0");

    /// Records one call. An error is counted and not retried.
    fn record(&self, record: CallRecord) -> impl Future<Output = Result<()>> + Send;
}

/// A log, and the task that writes it.
///
/// # Cancellation
/// Dropping the log ends the task and discards queued calls. [`close`](Self::close) records them first.
#[derive(Debug)]
pub struct RequestLog {
    queue: mpsc::Sender<CallRecord>,
    counts: Arc<Counts>,
    tags: Arc<[String]>,
    task: JoinHandle<()>,
}

/// Counts of the calls of a log.
///
/// ```
/// use fanweave::models::log::LogSummary;
///
/// assert_eq!(LogSummary::default().dropped, 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct LogSummary {
    /// Calls recorded by the sink.
    pub recorded: u64,
    /// Calls that the sink failed to record.
    pub failed: u64,
    /// Calls dropped because the queue was full or the log closed.
    pub dropped: u64,
}

#[derive(Debug, Default)]
struct Counts {
    recorded: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl RequestLog {
    /// A log that writes to `sink`, with a queue for 1024 calls.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] outside of a tokio runtime.
    pub fn new(sink: impl LogSink) -> Result<Self> {
        Self::with_queue(sink, QUEUE)
    }

    /// Like [`new`](Self::new), with a queue for `calls` calls. Each holds its prompt and its answer in
    /// memory.
    ///
    /// # Errors
    /// Those of `new`.
    pub fn with_queue(sink: impl LogSink, calls: NonZeroUsize) -> Result<Self> {
        let runtime = Handle::try_current().map_err(|_| {
            Error::new(ErrorKind::Config, "a request log must be created within a tokio runtime")
        })?;
        let (queue, waiting) = mpsc::channel(calls.get());
        let counts = Arc::new(Counts::default());
        let task = runtime.spawn(write(waiting, sink, counts.clone()));
        Ok(Self { queue, counts, tags: Arc::default(), task })
    }

    /// Tags added to every call. Default: none.
    #[must_use]
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// Wraps a model so that its calls are logged. Calls dropped before their end are not logged.
    pub fn wrap(&self, model: Model) -> Model {
        let (queue, counts, tags) = (self.queue.downgrade(), self.counts.clone(), self.tags.clone());
        Model::new(Logged { model, queue, counts, tags })
    }

    /// Counts of the calls so far.
    pub fn summary(&self) -> LogSummary {
        self.counts.summary()
    }

    /// Records the queued calls, then closes the log. Calls that end later are dropped.
    pub async fn close(mut self) -> LogSummary {
        // The task ends when it has drained a queue without senders.
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
            recorded: self.recorded.load(Relaxed),
            failed: self.failed.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
        }
    }
}

async fn write<S: LogSink>(mut waiting: mpsc::Receiver<CallRecord>, sink: S, counts: Arc<Counts>) {
    let records = stream::poll_fn(move |cx| waiting.poll_recv(cx));
    let writes = records.for_each_concurrent(S::CONCURRENCY.get(), |record| async {
        // A panic in the sink must not end the log.
        let write = AssertUnwindSafe(async { sink.record(record).await }).catch_unwind();
        let count = match write.await {
            Ok(Ok(())) => &counts.recorded,
            Ok(Err(_)) | Err(_) => &counts.failed,
        };
        count.fetch_add(1, Relaxed);
    });
    writes.await;
}

/// A model whose calls are logged.
struct Logged {
    model: Model,
    /// Weak: only the log keeps its queue open.
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
        let logged_prompt = prompt.clone();
        let result = self.model.generate_in(prompt, cx).await;
        let record = CallRecord {
            model: self.model.name().to_owned(),
            prompt: logged_prompt,
            result: result.clone(),
            tags: self.tags.iter().cloned().chain(cx.tags().map(str::to_owned)).collect(),
            began,
            ended: SystemTime::now(),
        };
        let is_queued = self.queue.upgrade().is_some_and(|queue| queue.try_send(record).is_ok());
        if !is_queued {
            self.counts.dropped.fetch_add(1, Relaxed);
        }
        result
    }
}

impl fmt::Display for LogSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { recorded, failed, dropped } = self;
        write!(f, "{recorded} calls logged, {failed} failed, {dropped} dropped")
    }
}

#[cfg(test)]
mod tests;
