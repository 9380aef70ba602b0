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
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwapOption;
use fanweave_core::__private::PerProcess;
use fanweave_core::{ChatModel, Context, Error, ErrorKind, Message, Model, Prompt, Result, runtime};
use futures::{FutureExt, StreamExt, stream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
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

/// A log, and the task that writes it. A forked child that makes calls has a queue, a task and counts of its
/// own; the calls in the queue of its parent are written by the parent.
///
/// # Cancellation
/// Dropping the log ends the task and discards queued calls. [`close`](Self::close) records them first.
#[derive(Debug)]
pub struct RequestLog {
    shared: Arc<Shared>,
    tags: Arc<[String]>,
}

/// State shared by a log and its models.
struct Shared {
    writer: PerProcess<Writer>,
    /// Starts a writer on a runtime. It has the sink, so it is `None` once the log is closed.
    start: ArcSwapOption<Start>,
}

type Start = Box<dyn Fn(&Handle) -> Writer + Send + Sync>;

/// The queue of a log in one process, and the task that drains it.
struct Writer {
    queue: mpsc::Sender<CallRecord>,
    counts: Arc<Counts>,
    /// `None` once the log is closed.
    task: Mutex<Option<Task>>,
}

/// The task ends when it has drained the queue after `end` is dropped.
struct Task {
    end: oneshot::Sender<()>,
    handle: JoinHandle<()>,
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
        let sink = Arc::new(sink);
        let start: Start = Box::new(move |runtime| Writer::start(runtime, sink.clone(), calls.get()));
        let writer = PerProcess::new();
        writer.get(|| start(&runtime));
        let shared = Shared { writer, start: ArcSwapOption::from_pointee(start) };
        Ok(Self { shared: Arc::new(shared), tags: Arc::default() })
    }

    /// Tags added to every call. Default: none.
    #[must_use]
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// Wraps a model so that its calls are logged. Calls dropped before their end are not logged.
    pub fn wrap(&self, model: Model) -> Model {
        Model::new(Logged { model, log: self.shared.clone(), tags: self.tags.clone() })
    }

    /// Counts of the calls of this process so far.
    pub fn summary(&self) -> LogSummary {
        self.shared.writer.current().map(|writer| writer.counts.summary()).unwrap_or_default()
    }

    /// Records the queued calls, then closes the log. Calls that end later are dropped.
    pub async fn close(self) -> LogSummary {
        if let Some(Task { end, handle }) = self.shared.close() {
            drop(end);
            let _ = handle.await;
        }
        self.summary()
    }
}

impl Drop for RequestLog {
    fn drop(&mut self) {
        if let Some(task) = self.shared.close() {
            task.handle.abort();
        }
    }
}

impl Shared {
    /// Enqueues a call. A log that is closed or full drops and counts it.
    fn record(&self, record: CallRecord) {
        let writer = match &*self.start.load() {
            // Only in a forked child there may be none yet.
            Some(start) => {
                self.writer.get(|| start(&Handle::try_current().unwrap_or_else(|_| runtime::handle())))
            }
            None => match self.writer.current() {
                Some(writer) => writer,
                None => return,
            },
        };
        if writer.queue.try_send(record).is_err() {
            writer.counts.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Closes the log. Returns the task that drains the queue of this process, if there is one.
    fn close(&self) -> Option<Task> {
        self.start.store(None);
        self.writer.current()?.task.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("is_closed", &self.start.load().is_none()).finish_non_exhaustive()
    }
}

impl Writer {
    fn start<S: LogSink>(runtime: &Handle, sink: Arc<S>, calls: usize) -> Self {
        let (queue, waiting) = mpsc::channel(calls);
        let (end, ended) = oneshot::channel();
        let counts = Arc::new(Counts::default());
        let handle = runtime.spawn(write(waiting, ended, sink, counts.clone()));
        Self { queue, counts, task: Mutex::new(Some(Task { end, handle })) }
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

/// Writes the calls of the queue, until it is drained after `ended`.
async fn write<S: LogSink>(
    mut waiting: mpsc::Receiver<CallRecord>,
    ended: oneshot::Receiver<()>,
    sink: Arc<S>,
    counts: Arc<Counts>,
) {
    let mut ended = ended.fuse();
    let records = stream::poll_fn(move |cx| {
        if ended.poll_unpin(cx).is_ready() {
            waiting.close();
        }
        waiting.poll_recv(cx)
    });
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
    log: Arc<Shared>,
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
        self.log.record(CallRecord {
            model: self.model.name().to_owned(),
            prompt: logged_prompt,
            result: result.clone(),
            tags: self.tags.iter().cloned().chain(cx.tags().map(str::to_owned)).collect(),
            began,
            ended: SystemTime::now(),
        });
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
