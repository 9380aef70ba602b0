//! Recorder: the thread that owns the journal and the output, and writes both.
//!
//! It has its own thread because writing blocks, which the threads of the runtime must not do.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use crate::dedupe::{Dedupe, Follower};
use crate::journal::{Journal, Location, Outcome, Part, Record};
use crate::key::Key;
use crate::order::Order;
use crate::output::Sink;
use crate::progress::Progress;
use crate::summary::{FailureGroup, Failures};
use crate::{Error, Result};

/// Maximum results waiting to be written. When the queue is full, a slow disk delays rows.
const MAX_QUEUED: usize = 256;

/// Message to the recorder.
pub(crate) enum Entry {
    /// A row has a result from a previous run.
    Resumed { index: u64, line: u64, location: Location },
    /// A row has ended.
    Finished(Finished),
    /// A follower gets the answer of another row.
    Duplicate { follower: Follower, of: Location },
    /// A row has its result from a provider's batch API.
    Collected { record: Box<Record> },
    /// The state of a part of a run through a provider's batch API. `known` is notified once it is on the
    /// disk.
    Noted { part: Part, known: oneshot::Sender<()> },
    /// The last message: complete the output. If the run was cut short, the output lacks the rows without a
    /// result.
    End { cut_short: bool },
}

/// A row that has ended with a result.
pub(crate) struct Finished {
    pub(crate) record: Box<Record>,
    /// Time at which it started.
    pub(crate) began: Instant,
    pub(crate) latency: Duration,
    /// Its row permit, held until the record is in the journal, so that a kill repeats at most as many calls
    /// as there are permits. `None` if it was released for other rows.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
    /// Key of its request, if other rows may have an equal one.
    pub(crate) request: Option<Key>,
    /// Set when any of its calls was answered. If not, its cost counts as zero.
    pub(crate) is_paid: bool,
}

/// Handle to the recorder, for sending messages to it.
///
/// Dropping it ends the recorder and waits until all messages are journalled, so the next run can start
/// immediately.
pub(crate) struct Recorder {
    entries: Option<mpsc::Sender<Entry>>,
    ended: Option<oneshot::Receiver<Result<Vec<FailureGroup>>>>,
    thread: Option<JoinHandle<()>>,
}

/// State of the recorder's thread.
pub(crate) struct JournalWriter {
    pub(crate) journal: Journal,
    pub(crate) sink: Sink,
    /// Writes results as rows finish, rather than in input order.
    pub(crate) unordered: bool,
    pub(crate) progress: Arc<Progress>,
    /// Deduplication of requests, if enabled.
    dedupe: Option<Arc<Dedupe>>,
    order: Order,
    /// Current lines of rows whose failure comes from a previous run, until these are written.
    lines: HashMap<u64, u64>,
    failures: Failures,
}

impl JournalWriter {
    pub(crate) fn new(journal: Journal, sink: Sink, unordered: bool, progress: Arc<Progress>) -> Self {
        let (order, lines, failures) = (Order::default(), HashMap::new(), Failures::default());
        Self { journal, sink, unordered, progress, dedupe: None, order, lines, failures }
    }

    /// Adds deduplication of requests.
    pub(crate) fn with_dedupe(self, dedupe: Option<Arc<Dedupe>>) -> Self {
        Self { dedupe, ..self }
    }

    fn run(mut self, mut entries: mpsc::Receiver<Entry>) -> Result<Vec<FailureGroup>> {
        loop {
            let entry = match entries.try_recv() {
                Ok(entry) => Some(entry),
                Err(_) => {
                    // The queue is empty: flush, so that the reader of a pipe sees all results.
                    self.sink.flush()?;
                    entries.blocking_recv()
                }
            };
            match entry {
                Some(Entry::Resumed { index, line, location }) => {
                    self.progress.row_resumed(location.ok);
                    if !location.ok {
                        self.lines.insert(index, line);
                    }
                    self.put(index, location)?;
                }
                Some(Entry::Finished(Finished { record, latency, permit: _permit, request, .. })) => {
                    if let Err(error) = self.record_all(&record, latency, request.as_ref()) {
                        // Do this before releasing the permit: no other row must start, because it could not
                        // be journalled.
                        entries.close();
                        return Err(error);
                    }
                }
                Some(Entry::Duplicate { follower, of }) => {
                    let record = follower.record(&self.journal.read(of)?);
                    self.record(&record, Duration::ZERO)?;
                }
                Some(Entry::Collected { record }) => {
                    self.progress.row_started(record.index, record.line, None);
                    self.record(&record, Duration::ZERO)?;
                    // The provider's calls emit no events.
                    if let Outcome::Answer(answer) = &record.result {
                        self.progress.add_usage(&answer.usage);
                    }
                }
                Some(Entry::Noted { part, known }) => {
                    self.journal.note(&part)?;
                    // If the run was dropped in the meantime, the next one finds it in the journal.
                    let _ = known.send(());
                }
                Some(Entry::End { cut_short }) => return self.end(cut_short),
                // The run was dropped. Journalled results are kept; an output would be incomplete.
                None => {
                    self.journal.finish()?;
                    return Ok(Vec::new());
                }
            }
        }
    }

    /// Records a row and its followers.
    fn record_all(&mut self, record: &Record, latency: Duration, request: Option<&Key>) -> Result<()> {
        let location = self.record(record, latency)?;
        let followers = match (&self.dedupe, request) {
            (Some(dedupe), Some(request)) => dedupe.ended(request, location),
            _ => return Ok(()),
        };
        for follower in followers {
            self.record(&follower.record(record), Duration::ZERO)?;
        }
        Ok(())
    }

    fn record(&mut self, record: &Record, latency: Duration) -> Result<Location> {
        // Journal before reporting: a crash in between must not repeat a paid call.
        let location = self.journal.append(record)?;
        self.progress.row_finished(record.index, record.result.is_ok(), latency);
        self.progress.row_cost(record.cost_usd);
        if self.unordered || self.order.advance_past(record.index) {
            self.emit(record)?;
            self.emit_ready()?;
        } else {
            self.put(record.index, location)?;
        }
        Ok(location)
    }

    /// Writes a row that is in the journal to the output when all earlier rows are written.
    fn put(&mut self, index: u64, location: Location) -> Result<()> {
        if self.unordered {
            return self.emit_from_journal(index, location);
        }
        self.order.insert(index, location);
        self.emit_ready()
    }

    fn emit_ready(&mut self) -> Result<()> {
        while let Some((index, location)) = self.order.pop() {
            self.emit_from_journal(index, location)?;
        }
        self.progress.set_reorder(self.order.held());
        Ok(())
    }

    fn emit_from_journal(&mut self, index: u64, location: Location) -> Result<()> {
        let mut record = self.journal.read(location)?;
        // Rows may have been inserted before it in the input.
        record.index = index;
        if let Some(line) = self.lines.remove(&index) {
            record.move_to(line);
        }
        self.emit(&record)
    }

    fn emit(&mut self, record: &Record) -> Result<()> {
        if let Outcome::Error(failure) = &record.result {
            self.failures.add(failure, record.line);
        }
        self.sink.write(record)
    }

    fn end(mut self, cut_short: bool) -> Result<Vec<FailureGroup>> {
        while cut_short && self.order.skip_gap() {
            self.emit_ready()?;
        }
        debug_assert_eq!(self.order.held(), 0, "every row of a complete run has a result");
        self.journal.finish()?;
        self.sink.finish()?;
        Ok(self.failures.into_groups())
    }
}

impl Recorder {
    pub(crate) fn spawn(writer: JournalWriter) -> Result<Self> {
        let (entries, inbox) = mpsc::channel(MAX_QUEUED);
        let (result, ended) = oneshot::channel();
        let work = move || {
            // The receiver is gone if the run was dropped.
            let _ = result.send(writer.run(inbox));
        };
        let thread = std::thread::Builder::new().name("fanweave-recorder".into()).spawn(work);
        let thread = thread.map_err(|e| Error::io("start the thread", "thread".as_ref(), e))?;
        Ok(Self { entries: Some(entries), ended: Some(ended), thread: Some(thread) })
    }

    /// Another sender, which does not keep the recorder running.
    pub(crate) fn weak(&self) -> mpsc::WeakSender<Entry> {
        self.sender().downgrade()
    }

    /// Resolves if the recorder ends early, with an error that [`end`](Self::end) returns.
    pub(crate) fn ended_early(&self) -> impl Future<Output = ()> + use<> {
        let sender = self.sender().clone();
        async move { sender.closed().await }
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

    fn sender(&self) -> &mpsc::Sender<Entry> {
        self.entries.as_ref().expect("the sender is dropped only with the recorder")
    }

    /// Completes the output and ends the recorder.
    pub(crate) async fn end(mut self, cut_short: bool) -> Result<Vec<FailureGroup>> {
        self.send(Entry::End { cut_short }).await;
        let ended = self.ended.take().expect("a recorder ends once");
        ended.await.expect("the recorder sends its result")
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.entries = None;
        if let Some(thread) = self.thread.take() {
            // Its error was returned by `end`.
            let _ = thread.join();
        }
    }
}
