//! Recorder: records results and writes them to the output, one after the other.
//!
//! A journal and an output are written by a thread of its own, because writing blocks, which the threads of
//! the runtime must not do. Records that wait are written by a task.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use fanweave_core::__private::park_until_done;
use fanweave_core::runtime::generation;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use crate::arranger::Arranger;
use crate::dedupe::{Dedupe, Follower};
use crate::finished::FinishedRow;
use crate::journal::{CallRecord, Part};
use crate::key::Key;
use crate::location::RowLocation;
use crate::origin::Origin;
use crate::progress::Progress;
use crate::recorded_rows::RecordedRows;
use crate::records::{RowPermit, RunEnd};
use crate::store::RecordStore;
use crate::summary::FailureGroup;
use crate::{Error, ErrorKind, Result};

/// Maximum results waiting to be written. When the queue is full, a slow disk delays rows.
const MAX_QUEUED: usize = 256;

/// Message to the recorder.
pub(crate) enum Entry {
    /// A row has a result from a previous run.
    Resumed { index: u64, line: u64, location: RowLocation },
    /// A row has ended.
    Finished(Finished),
    /// Rows have ended elsewhere, and their lines are there. They are in the queue as long as `queued` lives.
    Recorded { recorded: RecordedRows, queued: OwnedSemaphorePermit },
    /// A call was answered, and its row has not ended.
    Called(Box<CallRecord>),
    /// A follower gets the answer of another row.
    Duplicate { follower: Follower, of: RowLocation },
    /// The state of a part of a run through a provider's batch API. `known` is notified once it is on the
    /// disk.
    Noted { part: Part, known: oneshot::Sender<()> },
    /// The last message: complete the output. If the run was cut short, the output lacks the rows without a
    /// result.
    End { cut_short: bool },
}

/// A row that has ended with a result.
pub struct Finished {
    /// The origin of the row.
    pub origin: Origin,
    /// The row, with its answer or its error.
    pub row: FinishedRow,
    /// Time at which it started.
    pub(crate) began: Instant,
    /// Time from its start to its end.
    pub latency: Duration,
    /// Its row permit, held until the row is recorded, so that a kill repeats at most as many calls as there
    /// are permits. Empty if it was released for other rows.
    pub permit: RowPermit,
    /// Key of its request, if other rows may have an equal one.
    pub(crate) request: Option<Key>,
    /// Set when any of its calls was answered. If not, its cost counts as zero.
    pub(crate) is_paid: bool,
    /// Cost of its calls in this run, in US dollars. `None` if it is not known.
    pub new_cost_usd: Option<f64>,
    /// Notified once the row is recorded, or with the reason why it cannot be.
    pub(crate) recorded: Option<oneshot::Sender<Result<(), String>>>,
}

impl Finished {
    /// Counts the row in `progress`. Call it once, after the row is recorded.
    pub fn count(&self, progress: &Progress) {
        progress.row_cost(self.new_cost_usd);
        count(progress, &self.row, self.latency);
    }
}

/// Counts a row that is recorded.
fn count(progress: &Progress, row: &FinishedRow, latency: Duration) {
    progress.row_finished(row.index(), row.is_ok(), latency);
    if row.is_empty() {
        progress.answer_was_empty();
    }
    if row.is_cut() {
        progress.answer_was_cut();
    }
}

/// Takes the results of rows in flight: a recorder. While it takes one, no row starts.
pub trait RowRecorder: Send {
    /// Records a row that has ended. Returns false if the recorder has ended.
    fn finished(&mut self, row: Finished) -> impl Future<Output = bool> + Send;

    /// Records a row that has the same request as the row at `of`. Returns false if the recorder has ended.
    /// Called only if requests are deduplicated.
    fn duplicate(&mut self, row: Follower, of: RowLocation) -> impl Future<Output = bool> + Send;

    /// Resolves if the recorder ends early: all rows in flight are then aborted.
    fn ended_early(&self) -> BoxFuture<'static, ()>;
}

impl RowRecorder for Recorder {
    fn finished(&mut self, row: Finished) -> impl Future<Output = bool> + Send {
        self.send(Entry::Finished(row))
    }

    fn duplicate(&mut self, row: Follower, of: RowLocation) -> impl Future<Output = bool> + Send {
        self.send(Entry::Duplicate { follower: row, of })
    }

    fn ended_early(&self) -> BoxFuture<'static, ()> {
        let sender = self.sender().clone();
        async move { sender.closed().await }.boxed()
    }
}

/// Handle to the recorder, for sending messages to it.
///
/// Dropping it ends the recorder. If that is a thread, the drop waits until all messages are recorded, so the
/// next run can start immediately; a task records them afterwards.
///
/// It belongs to the process that started it: a forked child has no thread that records, and the lock of the
/// journal is that of its parent. There, every use is an error, and a drop does nothing.
pub(crate) struct Recorder {
    generation: u64,
    entries: Option<mpsc::Sender<Entry>>,
    ended: Option<oneshot::Receiver<Result<Vec<FailureGroup>>>>,
    thread: Option<JoinHandle<()>>,
}

/// State of a recorder: the records and the output.
pub(crate) struct Recording {
    pub(crate) store: RecordStore,
    pub(crate) arranger: Arranger,
    pub(crate) progress: Arc<Progress>,
    /// Deduplication of requests, if enabled.
    pub(crate) dedupe: Option<Arc<Dedupe>>,
}

/// Thread or task that runs a recorder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// A thread, which may block.
    Thread,
    /// A task of the runtime, which may wait.
    Task,
}

impl Recording {
    async fn run(mut self, mut entries: mpsc::Receiver<Entry>) -> Result<Vec<FailureGroup>> {
        // Read with rows before it, but not one of them.
        let mut next = None;
        loop {
            let entry = match next.take().map_or_else(|| entries.try_recv(), Ok) {
                Ok(entry) => Some(entry),
                Err(_) => {
                    // The queue is empty: flush, so that the reader of a pipe sees all results.
                    self.arranger.flush()?;
                    self.store.idle().await?;
                    entries.recv().await
                }
            };
            match entry {
                Some(Entry::Resumed { index, line, location }) => {
                    self.progress.row_resumed(location.is_ok());
                    self.arranger.resumed(index, line, location, &mut self.store).await?;
                }
                Some(Entry::Finished(first)) => {
                    let mut rows = VecDeque::from([first]);
                    while let Ok(entry) = entries.try_recv() {
                        match entry {
                            Entry::Finished(row) => rows.push_back(row),
                            other => {
                                next = Some(other);
                                break;
                            }
                        }
                    }
                    self.finished(rows, &mut entries).await?;
                }
                Some(Entry::Recorded { recorded, queued }) => {
                    self.add(recorded).await?;
                    drop(queued);
                }
                Some(Entry::Called(call)) => self.store.call(&call)?,
                Some(Entry::Duplicate { mut follower, of }) => {
                    let row = follower.row(&self.store.read(of).await?);
                    self.record(row, Duration::ZERO, &mut follower.permit).await?;
                }
                Some(Entry::Noted { part, known }) => {
                    self.store.note(&part)?;
                    // If the run was dropped in the meantime, the next one finds it in the journal.
                    let _ = known.send(());
                }
                Some(Entry::End { cut_short }) => return self.end(cut_short).await,
                // The run was dropped. Recorded results are kept; an output would be incomplete.
                None => {
                    self.store.finish(RunEnd::Dropped).await?;
                    return Ok(Vec::new());
                }
            }
        }
    }

    /// Records rows that waited together. After an error, no other row starts, because it could not be
    /// recorded.
    async fn finished(
        &mut self,
        mut rows: VecDeque<Finished>,
        entries: &mut mpsc::Receiver<Entry>,
    ) -> Result<()> {
        while !rows.is_empty() {
            let mut locations = match rows.len() {
                1 => VecDeque::new(),
                _ => match self.store.record_first(rows.iter().map(|finished| &finished.row)) {
                    Ok(locations) => locations.into(),
                    Err(error) => {
                        // Before the permits are released with the rows.
                        entries.close();
                        return Err(error);
                    }
                },
            };
            for finished in rows.drain(..locations.len().max(1)) {
                let Finished { row, latency, mut permit, request, new_cost_usd, recorded, .. } = finished;
                self.progress.row_cost(new_cost_usd);
                let location = locations.pop_front();
                let done = self.record_all(row, location, latency, &mut permit, request.as_ref()).await;
                if done.is_err() {
                    entries.close();
                }
                if let Some(recorded) = recorded {
                    let _ = recorded.send(done.as_ref().copied().map_err(ToString::to_string));
                }
                done?;
            }
        }
        Ok(())
    }

    /// Records a row, unless it is at `location`, and its followers.
    async fn record_all(
        &mut self,
        row: FinishedRow,
        location: Option<RowLocation>,
        latency: Duration,
        permit: &mut RowPermit,
        request: Option<&Key>,
    ) -> Result<()> {
        let location = self.keep(&row, location, latency, permit).await?;
        let followers = match (&self.dedupe, request) {
            (Some(dedupe), Some(request)) => dedupe.ended(request, location),
            _ => Vec::new(),
        };
        let leader = (!followers.is_empty()).then(|| row.clone());
        self.arranger.finished(row, location, &mut self.store).await?;
        for (mut follower, leader) in followers.into_iter().zip(leader.iter().cycle()) {
            self.record(follower.row(leader), Duration::ZERO, &mut follower.permit).await?;
        }
        Ok(())
    }

    async fn record(&mut self, row: FinishedRow, latency: Duration, permit: &mut RowPermit) -> Result<()> {
        let location = self.keep(&row, None, latency, permit).await?;
        self.arranger.finished(row, location, &mut self.store).await
    }

    /// Records rows by their lines.
    async fn add(&mut self, RecordedRows { rows, lines }: RecordedRows) -> Result<()> {
        let locations = self.store.record_lines(&rows, lines).await?;
        for (row, location) in rows.into_iter().zip(locations) {
            self.progress.row_cost(row.cost_usd());
            count(&self.progress, &row, row.latency());
            self.arranger.finished(row, location, &mut self.store).await?;
        }
        Ok(())
    }

    /// Adds a row to the records, unless it is at `location`, and only then to the progress: a crash in
    /// between must not repeat a paid call.
    async fn keep(
        &mut self,
        row: &FinishedRow,
        location: Option<RowLocation>,
        latency: Duration,
        permit: &mut RowPermit,
    ) -> Result<RowLocation> {
        let location = match location {
            Some(location) => location,
            None => self.store.record(row, permit).await?,
        };
        count(&self.progress, row, latency);
        Ok(location)
    }

    async fn end(mut self, cut_short: bool) -> Result<Vec<FailureGroup>> {
        if cut_short {
            self.arranger.close_gaps(&mut self.store).await?;
        }
        self.store.finish(if cut_short { RunEnd::Stopped } else { RunEnd::Complete }).await?;
        self.arranger.finish()
    }
}

impl Recorder {
    /// Starts recording.
    ///
    /// # Panics
    /// A task outside of a runtime.
    pub(crate) fn spawn(recording: Recording, driver: Driver) -> Result<Self> {
        let (entries, inbox) = mpsc::channel(MAX_QUEUED);
        let (result, ended) = oneshot::channel();
        let work = async move {
            // Records and sinks of other crates may panic.
            let recorded = AssertUnwindSafe(recording.run(inbox)).catch_unwind().await;
            // The receiver is gone if the run was dropped.
            let _ = result.send(recorded.unwrap_or_else(|panic| Err(panicked(&*panic))));
        };
        let thread = match driver {
            Driver::Thread => {
                let thread = std::thread::Builder::new().name("fanweave-recorder".into());
                let thread = thread.spawn(|| park_until_done(work));
                Some(thread.map_err(|e| Error::io("start the thread", "thread".as_ref(), e))?)
            }
            Driver::Task => {
                // If the run is dropped, the task still records what is in its queue.
                tokio::spawn(work);
                None
            }
        };
        Ok(Self { generation: generation(), entries: Some(entries), ended: Some(ended), thread })
    }

    /// Another sender, which does not keep the recorder running.
    pub(crate) fn weak(&self) -> mpsc::WeakSender<Entry> {
        self.sender().downgrade()
    }

    /// Returns an error in a forked child of the process that started the recorder.
    pub(crate) fn check(&self) -> Result<()> {
        if self.generation == generation() {
            return Ok(());
        }
        let message = "the run was started, and its journal opened, before this process was forked: start a run \
                       with another journal in this process";
        Err(Error::new(ErrorKind::Journal, message))
    }

    /// Sends a message. Returns false if the recorder has ended, with an error that [`end`](Self::end)
    /// returns.
    pub(crate) async fn send(&self, entry: Entry) -> bool {
        self.sender().send(entry).await.is_ok()
    }

    /// Journals the state of a part and waits until it is on the disk. Returns false if the recorder has
    /// ended.
    pub(crate) async fn note(&self, part: Part) -> bool {
        let (known, noted) = oneshot::channel();
        self.send(Entry::Noted { part, known }).await && noted.await.is_ok()
    }

    /// Records a row and waits until it is recorded.
    ///
    /// # Errors
    /// The reason why it cannot be recorded.
    pub(crate) async fn record(&self, row: Finished) -> Result<(), String> {
        let (done, recorded) = oneshot::channel();
        self.send(Entry::Finished(Finished { recorded: Some(done), ..row })).await;
        recorded.await.unwrap_or_else(|_| Err("the journal cannot be written any more".to_owned()))
    }

    fn sender(&self) -> &mpsc::Sender<Entry> {
        self.entries.as_ref().expect("the sender is dropped only with the recorder")
    }

    /// Completes the output and ends the recorder.
    pub(crate) async fn end(mut self, cut_short: bool) -> Result<Vec<FailureGroup>> {
        self.check()?;
        self.send(Entry::End { cut_short }).await;
        let ended = self.ended.take().expect("a recorder ends once");
        ended.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Io, "the runtime was shut down before all results were recorded"))
        })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if self.check().is_err() {
            // Closing the channel would wake a thread of the parent, and joining it would wait for ever.
            std::mem::forget((self.entries.take(), self.ended.take(), self.thread.take()));
            return;
        }
        self.entries = None;
        if let Some(thread) = self.thread.take() {
            // Its error was returned by `end`.
            let _ = thread.join();
        }
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> Error {
    let why = fanweave_core::Error::from_panic(panic);
    Error::new(ErrorKind::Io, format!("cannot record results: {}", why.message()))
}
