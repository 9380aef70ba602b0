//! Rows in flight: never more than the concurrency, started as places come free.
//!
//! Not [`Chain::batch`]: that takes its rows from an iterator, which would hold up every finished row while it
//! waits for the next line of a pipe. Here rows arrive on a channel, and answers are written down meanwhile.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use fanweave_core::{Chain, Context, Error, ErrorKind};
use futures::FutureExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::answer::{Answer, IntoAnswer};
use crate::journal::{Outcome, Record};
use crate::progress::Progress;
use crate::reader::Job;
use crate::recorder::{Entry, Recorder};
use crate::source::Input;
use crate::tally::Tally;

/// Makes a chain's input of what a row holds.
pub(crate) type Prepare<I> = dyn Fn(Input) -> fanweave_core::Result<I> + Send + Sync;

/// How one row is run.
pub(crate) struct RowRun<I, O> {
    pub(crate) prepare: Arc<Prepare<I>>,
    pub(crate) chain: Chain<I, O>,
    pub(crate) cx: Context,
    pub(crate) progress: Arc<Progress>,
}

impl<I, O> Clone for RowRun<I, O> {
    fn clone(&self) -> Self {
        let Self { prepare, chain, cx, progress } = self;
        Self { prepare: prepare.clone(), chain: chain.clone(), cx: cx.clone(), progress: progress.clone() }
    }
}

impl<I: Send + 'static, O: IntoAnswer> RowRun<I, O> {
    /// Runs a row to its end. `None` where it was cancelled, and is to run another time.
    async fn run(self, job: Job) -> Option<Entry> {
        let Job { key, index, line, id, input } = job;
        let tally = Arc::new(Tally::new(self.progress.clone()));
        let cx = self.cx.with_observer(tally.clone());
        let work = async {
            let input = (self.prepare)(input?)?;
            let mut answer = self.chain.invoke_in(input, &cx).await?.into_answer();
            tally.add_to(&mut answer);
            Ok(answer)
        };
        self.progress.row_started();
        let began = Instant::now();
        let result = AssertUnwindSafe(work).catch_unwind().await;
        let latency = began.elapsed();
        let result = outcome(result.unwrap_or_else(|panic| Err(panicked(&*panic))));
        let Some(result) = result else {
            self.progress.row_cancelled();
            return None;
        };
        let latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        let record = Box::new(Record { key, index, line, id, latency_ms, result });
        Some(Entry::Finished { record, latency })
    }
}

/// How a row ended. `None` where it was cancelled: that says nothing about the row.
fn outcome(result: fanweave_core::Result<Answer>) -> Option<Outcome> {
    match result {
        Ok(answer) => Some(Outcome::Answer(Box::new(answer))),
        Err(error) if error.kind() == ErrorKind::Cancelled => None,
        Err(error) => Some(Outcome::Error(Box::new((&error).into()))),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    let message = format!("a step panicked: {}", text.unwrap_or("no message"));
    Error::new(ErrorKind::Panic, message).with_retryable(false)
}

/// Rows in flight.
pub(crate) struct Window<I, O> {
    pub(crate) row: RowRun<I, O>,
    pub(crate) recorder: Recorder,
    jobs: mpsc::Receiver<Result<Job>>,
    flights: JoinSet<Option<Entry>>,
    most: usize,
    /// Whether rows were left out, because the run was stopped or a row was cancelled.
    pub(crate) cut_short: bool,
}

impl<I: Send + 'static, O: IntoAnswer> Window<I, O> {
    pub(crate) fn new(
        row: RowRun<I, O>,
        recorder: Recorder,
        jobs: mpsc::Receiver<Result<Job>>,
        most: usize,
    ) -> Self {
        Self { row, recorder, jobs, flights: JoinSet::new(), most, cut_short: false }
    }

    /// Runs rows until there are no more, or `stop` is cancelled; then until none is in flight.
    ///
    /// # Errors
    /// Where the source cannot be read on. The rows in flight have ended by then.
    pub(crate) async fn run(&mut self, stop: &CancellationToken) -> Result<()> {
        let mut admitting = true;
        let mut broken = Ok(());
        let stopped = stop.cancelled();
        tokio::pin!(stopped);
        loop {
            let free = admitting && self.flights.len() < self.most;
            tokio::select! {
                biased;
                () = &mut stopped, if admitting => {
                    admitting = false;
                    self.cut_short = true;
                    // The reader learns of it by its next row.
                    self.jobs.close();
                }
                Some(ended) = self.flights.join_next() => {
                    let Some(entry) = ended.expect("a row catches its panics, and only a drop aborts it") else {
                        self.cut_short = true;
                        continue;
                    };
                    if !self.recorder.tell(entry).await {
                        // It has ended with an error, and nothing that runs now could be written down.
                        self.jobs.close();
                        self.flights.abort_all();
                        return Ok(());
                    }
                }
                job = self.jobs.recv(), if free => match job {
                    Some(Ok(job)) => {
                        self.flights.spawn(self.row.clone().run(job));
                    }
                    Some(Err(error)) => {
                        admitting = false;
                        broken = Err(error);
                    }
                    None => admitting = false,
                },
                else => return broken,
            }
        }
    }
}
