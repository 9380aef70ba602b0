//! The one owner of journal and output: a thread that is told what happened, and writes it down.
//!
//! A thread of its own, because writing blocks and the runtime's threads must not.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::dedupe::{Dedupe, Follower};
use crate::journal::{Journal, Location, Outcome, Part, Record};
use crate::key::Key;
use crate::order::Order;
use crate::output::Sink;
use crate::progress::Progress;
use crate::summary::{FailureGroup, Failures};
use crate::{Error, Result};

/// Results on their way to the disk. Beyond them a slow disk slows the rows.
const QUEUE: usize = 256;

/// What a recorder is told.
pub(crate) enum Entry {
    /// A row has its result from an earlier run.
    Resumed { index: u64, line: u64, location: Location },
    /// A row has ended.
    Finished(Finished),
    /// A row asks what another one was answered.
    Duplicate { follower: Follower, of: Location },
    /// A row has its result from a provider's batch API.
    Collected { record: Box<Record> },
    /// Something became of a part that goes to a provider's batch API. Answered once the disk knows.
    Noted { part: Part, known: oneshot::Sender<()> },
    /// All have been told: put the output in its place. Where the run was cut short, without the rows that it
    /// did not come to.
    End { cut_short: bool },
}

/// A row that has ended with a result.
pub(crate) struct Finished {
    pub(crate) record: Box<Record>,
    pub(crate) latency: Duration,
    /// Its row permit, held until the record is in the journal: a kill repeats at most as many calls as there are
    /// permits. `None` once it was released for other rows.
    pub(crate) permit: Option<OwnedSemaphorePermit>,
    /// Key of its request, if other rows may ask the same.
    pub(crate) request: Option<Key>,
    /// Whether any of its calls was answered. If not, it costs nothing that is known of.
    pub(crate) is_paid: bool,
}

/// The recorder's other end: tells it what happened.
///
/// Dropping it ends the recorder once it has journalled what it was told, and waits for that: whoever drops a
/// run can start the next one at once.
pub(crate) struct Recorder {
    entries: Option<mpsc::Sender<Entry>>,
    ended: Option<oneshot::Receiver<Result<Vec<FailureGroup>>>>,
    thread: Option<JoinHandle<()>>,
}

/// What writes it down, and in which order.
pub(crate) struct JournalWriter {
    pub(crate) journal: Journal,
    pub(crate) sink: Sink,
    /// As rows finish, rather than in input order.
    pub(crate) unordered: bool,
    pub(crate) progress: Arc<Progress>,
    /// Requests that several rows make.
    dedupe: Option<Arc<Dedupe>>,
    order: Order,
    /// The lines that failures of earlier runs are on now, until these are written.
    lines: HashMap<u64, u64>,
    failures: Failures,
}

impl JournalWriter {
    pub(crate) fn new(journal: Journal, sink: Sink, unordered: bool, progress: Arc<Progress>) -> Self {
        let (order, lines, failures) = (Order::default(), HashMap::new(), Failures::default());
        Self { journal, sink, unordered, progress, dedupe: None, order, lines, failures }
    }

    /// The same desk, where equal requests are called once.
    pub(crate) fn with_dedupe(self, dedupe: Option<Arc<Dedupe>>) -> Self {
        Self { dedupe, ..self }
    }

    fn run(mut self, mut entries: mpsc::Receiver<Entry>) -> Result<Vec<FailureGroup>> {
        loop {
            let entry = match entries.try_recv() {
                Ok(entry) => Some(entry),
                Err(_) => {
                    // Nothing to do for the moment: let the reader at the other end see what there is.
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
                        // Before places come free: no other row is to start, for it could not be written down.
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
                    // No events tell of the provider's calls.
                    if let Outcome::Answer(answer) = &record.result {
                        self.progress.add_usage(&answer.usage);
                    }
                }
                Some(Entry::Noted { part, known }) => {
                    self.journal.note(&part)?;
                    // A run that was dropped meanwhile finds it in the journal.
                    let _ = known.send(());
                }
                Some(Entry::End { cut_short }) => return self.end(cut_short),
                // The run was dropped. What is journalled is safe; an output would be half a one.
                None => {
                    self.journal.finish()?;
                    return Ok(Vec::new());
                }
            }
        }
    }

    /// Records a row, and those that asked the same.
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
        // Journal before anybody hears of it: a crash in between must not repeat a paid call.
        let location = self.journal.append(record)?;
        self.progress.row_finished(record.index, record.result.is_ok(), latency);
        self.progress.row_cost(record.cost_usd);
        if self.unordered || self.order.take_turn(record.index) {
            self.emit(record)?;
            self.emit_ready()?;
        } else {
            self.put(record.index, location)?;
        }
        Ok(location)
    }

    /// Gives a row that is in the journal its place in the output.
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
        // Rows may have been added to the input before it.
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
        debug_assert_eq!(self.order.held(), 0, "every row of a whole run has its result");
        self.journal.finish()?;
        self.sink.finish()?;
        Ok(self.failures.into_groups())
    }
}

impl Recorder {
    pub(crate) fn spawn(writer: JournalWriter) -> Result<Self> {
        let (entries, inbox) = mpsc::channel(QUEUE);
        let (tell, ended) = oneshot::channel();
        let work = move || {
            // Nobody listens where the run was dropped.
            let _ = tell.send(writer.run(inbox));
        };
        let thread = std::thread::Builder::new().name("fanweave-recorder".into()).spawn(work);
        let thread = thread.map_err(|e| Error::io("start it", "thread".as_ref(), e))?;
        Ok(Self { entries: Some(entries), ended: Some(ended), thread: Some(thread) })
    }

    /// Another way to tell it, which does not keep it waiting for more.
    pub(crate) fn weak(&self) -> mpsc::WeakSender<Entry> {
        self.sender().downgrade()
    }

    /// Resolves once it has ended early, with an error that [`end`](Self::end) gives.
    pub(crate) fn ended_early(&self) -> impl Future<Output = ()> + use<> {
        let sender = self.sender().clone();
        async move { sender.closed().await }
    }

    /// Tells it something. `false` where it has ended, with an error that [`end`](Self::end) gives.
    pub(crate) async fn tell(&self, entry: Entry) -> bool {
        self.sender().send(entry).await.is_ok()
    }

    /// Has a note written down, and waits for it. `false` where it has ended.
    pub(crate) async fn note(&self, part: Part) -> bool {
        let (known, noted) = oneshot::channel();
        self.tell(Entry::Noted { part, known }).await && noted.await.is_ok()
    }

    fn sender(&self) -> &mpsc::Sender<Entry> {
        self.entries.as_ref().expect("the sender is there until the end")
    }

    /// Has it finish the output.
    pub(crate) async fn end(mut self, cut_short: bool) -> Result<Vec<FailureGroup>> {
        self.tell(Entry::End { cut_short }).await;
        let ended = self.ended.take().expect("a recorder ends once");
        ended.await.expect("the recorder says how it ended")
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.entries = None;
        if let Some(thread) = self.thread.take() {
            // Its errors went to whoever awaited the end.
            let _ = thread.join();
        }
    }
}
