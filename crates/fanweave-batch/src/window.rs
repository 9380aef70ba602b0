//! Rows in flight: never more than the concurrency, started as places come free.
//!
//! Not [`Chain::batch`]: that takes its rows from an iterator, which would hold up every finished row while it
//! waits for the next line of a pipe. Here rows arrive on a channel, and answers are written down meanwhile.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use fanweave_core::__private::carried;
use fanweave_core::{Chain, Context, Error, ErrorKind};
use futures::FutureExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::answer::IntoAnswer;
use crate::cost::Purse;
use crate::journal::{Outcome, Record};
use crate::key::Key;
use crate::progress::Progress;
use crate::reader::Job;
use crate::recorder::{Entry, Recorder};
use crate::same::{Role, Same, Twin};
use crate::source::Input;
use crate::tally::Tally;
use crate::{Costs, Result};

/// Makes a chain's input of what a row holds.
pub(crate) type Prepare<I> = dyn Fn(Input) -> fanweave_core::Result<I> + Send + Sync;

/// What a request is known by.
pub(crate) type RequestKey<I> = fn(&I) -> Key;

/// How one row is run.
pub(crate) struct RowRun<I, O> {
    pub(crate) prepare: Arc<Prepare<I>>,
    pub(crate) chain: Chain<I, O>,
    pub(crate) cx: Context,
    pub(crate) progress: Arc<Progress>,
    pub(crate) costs: Costs,
    /// Where equal requests are called once.
    pub(crate) same: Option<(Arc<Same>, RequestKey<I>)>,
}

impl<I, O> Clone for RowRun<I, O> {
    fn clone(&self) -> Self {
        let Self { prepare, chain, cx, progress, costs, same } = self;
        Self {
            prepare: prepare.clone(),
            chain: chain.clone(),
            cx: cx.clone(),
            progress: progress.clone(),
            costs: costs.clone(),
            same: same.clone(),
        }
    }
}

impl<I: Send + 'static, O: IntoAnswer> RowRun<I, O> {
    /// Runs a row to its end. One that is not `affordable` may not ask anything.
    async fn run(self, job: Job, mut place: OwnedSemaphorePermit, affordable: bool) -> Ended {
        let Job { key, index, line, id, input } = job;
        let tally = Arc::new(Tally::new(self.progress.clone(), self.costs.clone()));
        let cx = self.cx.clone().with_observer(tally.clone()).driven();
        self.progress.row_started(index, line, id.clone());
        let input = std::panic::catch_unwind(AssertUnwindSafe(|| (self.prepare)(input?)));
        let input = input.unwrap_or_else(|panic| Err(Error::from_panic(&*panic)));
        let mut request = None;
        if let (Some((same, request_key)), Ok(input)) = (&self.same, &input) {
            let asked = request_key(input);
            match same.join(asked, Twin { key, index, line, id: id.clone(), place }) {
                Role::Leads(back) => place = back,
                Role::Waits => return Ended::Waits,
                Role::Answered(twin, of) => return Ended::Done(Entry::Again { twin, of }),
            }
            request = Some(asked);
        }
        if input.is_ok() && !affordable {
            // The request that it was to share has failed meanwhile.
            self.progress.row_cancelled(index);
            self.leave_undone(request.as_ref());
            return Ended::Unaffordable;
        }
        let work = async {
            let input = input?;
            let mut answer = self.chain.invoke_in(input, &cx).await?.into_answer();
            tally.add_to(&mut answer);
            Ok(answer)
        };
        let began = Instant::now();
        let result = AssertUnwindSafe(work).catch_unwind().await;
        let latency = began.elapsed();
        tally.close();
        let result = result.unwrap_or_else(|panic| Err(Error::from_panic(&*panic)));
        let error = result.as_ref().err().cloned();
        if error.as_ref().is_some_and(|error| error.kind() == ErrorKind::Cancelled) {
            self.progress.row_cancelled(index);
            self.leave_undone(request.as_ref());
            return Ended::Cancelled;
        }
        let result = match result {
            Ok(answer) => Outcome::Answer(Box::new(answer)),
            Err(error) => Outcome::Error(Box::new((&error).into())),
        };
        let latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        let (cost_usd, time) = (tally.cost(), Some(tally.timeline()));
        let record = Box::new(Record { key, index, line, id, latency_ms, cost_usd, time, result });
        let entry = Entry::Finished { record, latency, place, request };
        match error {
            Some(error) if is_about_all_rows(&error) => Ended::Refused { entry, error },
            Some(_) if !tally.is_answered() => Ended::Unanswered(entry),
            _ => Ended::Done(entry),
        }
    }
}

impl<I, O> RowRun<I, O> {
    /// Whether a row costs nothing: it cannot be asked, or asks what another one does.
    fn is_free(&self, job: &Job) -> bool {
        let Ok(input) = &job.input else { return true };
        let prepared = std::panic::catch_unwind(AssertUnwindSafe(|| (self.prepare)(input.clone())));
        let Ok(Ok(input)) = prepared else { return true };
        self.same.as_ref().is_some_and(|(same, request_key)| same.knows(&request_key(&input)))
    }

    /// Rows that wait for a request that has no result stay undone.
    fn leave_undone(&self, request: Option<&Key>) {
        if let (Some((same, _)), Some(request)) = (&self.same, request) {
            same.undone(request).into_iter().for_each(|twin| self.progress.row_cancelled(twin.index));
        }
    }
}

/// How a row ended.
enum Ended {
    /// Not yet: it gets the answer of another row.
    Waits,
    /// With a result.
    Done(Entry),
    /// With an error, before anything was answered: it costs nothing that is known of.
    Unanswered(Entry),
    /// Not at all: that says nothing about the row, which is to run another time.
    Cancelled,
    /// Not at all: there is no money left for it.
    Unaffordable,
    /// With an error that may well be that of every row.
    Refused { entry: Entry, error: Error },
}

/// Whether what failed one row is likely to fail all: a wrong key, an empty account, a model that is not there.
fn is_about_all_rows(error: &Error) -> bool {
    error.refuses_account() || error.kind() == ErrorKind::NotFound
}

/// Rows in flight.
pub(crate) struct Window<I, O> {
    pub(crate) row: RowRun<I, O>,
    pub(crate) recorder: Recorder,
    jobs: mpsc::Receiver<Result<Job>>,
    flights: JoinSet<Ended>,
    /// Free places among the rows in flight.
    places: Arc<Semaphore>,
    /// What the account was refused with. The rows that heard it stay undone.
    pub(crate) refused: Option<Error>,
    purse: Purse,
    /// Whether rows were left out because they might have cost more than the cap.
    pub(crate) over_budget: bool,
    /// Whether rows were left out, because the run was stopped or a row was cancelled.
    pub(crate) cut_short: bool,
}

impl<I: Send + 'static, O: IntoAnswer> Window<I, O> {
    pub(crate) fn new(
        row: RowRun<I, O>,
        recorder: Recorder,
        jobs: mpsc::Receiver<Result<Job>>,
        most: usize,
        purse: Purse,
    ) -> Self {
        Self {
            purse,
            over_budget: false,
            row,
            recorder,
            jobs,
            flights: JoinSet::new(),
            places: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            refused: None,
            cut_short: false,
        }
    }

    /// Runs rows until there are no more, or `stop` is cancelled; then until none is in flight.
    ///
    /// # Errors
    /// Where the source cannot be read on. The rows in flight have ended by then.
    pub(crate) async fn run(&mut self, stop: &CancellationToken) -> Result<()> {
        let mut admitting = true;
        let mut free = None;
        let mut broken = Ok(());
        let stopped = stop.cancelled();
        let ended_early = self.recorder.ended_early();
        tokio::pin!(stopped, ended_early);
        while admitting || !self.flights.is_empty() {
            let affordable = self.purse.allows(self.flights.len());
            // One more row than can be paid for is asked for where nothing in flight can come out cheaper than was
            // feared: whether there is one that costs anything decides how the run ended.
            let ready = free.is_some() && (affordable || self.flights.is_empty());
            tokio::select! {
                biased;
                () = &mut ended_early => {
                    // Nothing that runs now could be written down.
                    self.jobs.close();
                    self.flights.abort_all();
                    return Ok(());
                }
                () = &mut stopped, if admitting => {
                    admitting = false;
                    self.cut_short = true;
                    // The reader learns of it by its next row.
                    self.jobs.close();
                }
                Some(ended) = self.flights.join_next() => {
                    let ended = ended.expect("a row catches its panics, and only a drop aborts it");
                    if matches!(ended, Ended::Waits) {
                        continue;
                    }
                    if matches!(ended, Ended::Unaffordable) {
                        (admitting, self.cut_short, self.over_budget) = (false, true, true);
                        self.jobs.close();
                        continue;
                    }
                    let is_answered = matches!(ended, Ended::Done(_));
                    let Some(entry) = self.entry_of(ended) else {
                        self.cut_short = true;
                        if self.refused.is_some() && admitting {
                            admitting = false;
                            self.jobs.close();
                        }
                        continue;
                    };
                    if let Entry::Finished { record, .. } = &entry
                        && (is_answered || record.cost_usd.is_some())
                    {
                        self.purse.pay(record.cost_usd);
                    }
                    // Where it has ended, the next turn of this loop does too.
                    self.recorder.tell(entry).await;
                }
                place = self.places.clone().acquire_owned(), if admitting && free.is_none() => {
                    free = Some(place.expect("nobody closes the places"));
                }
                job = self.jobs.recv(), if admitting && ready => match job {
                    Some(Ok(job)) if !affordable && !self.row.is_free(&job) => {
                        (admitting, self.cut_short, self.over_budget) = (false, true, true);
                        self.jobs.close();
                    }
                    Some(Ok(job)) => {
                        let place = free.take().expect("a job is taken only with a place for it");
                        let row = self.row.clone().run(job, place, affordable);
                        self.flights.spawn(carried::along(carried::here(), row));
                    }
                    Some(Err(error)) => {
                        admitting = false;
                        broken = Err(error);
                    }
                    None => admitting = false,
                },
            }
        }
        broken
    }

    /// What is to be written down of a row. Nothing where it stays undone.
    fn entry_of(&mut self, ended: Ended) -> Option<Entry> {
        let (entry, error) = match ended {
            Ended::Done(entry) | Ended::Unanswered(entry) => return Some(entry),
            Ended::Cancelled | Ended::Waits | Ended::Unaffordable => return None,
            Ended::Refused { entry, error } => (entry, error),
        };
        // Where another row has been answered, what was not found was this row's own.
        if error.kind() == ErrorKind::NotFound && self.row.progress.any_answered() {
            return Some(entry);
        }
        if let Entry::Finished { record, request, .. } = &entry {
            self.row.progress.row_cancelled(record.index);
            self.row.leave_undone(request.as_ref());
        }
        self.refused.get_or_insert(error);
        None
    }
}
