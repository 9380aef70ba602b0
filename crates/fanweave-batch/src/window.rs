//! Rows in flight: never more than the concurrency, started as row permits come free.
//!
//! Not [`Chain::batch`](fanweave_core::Chain::batch): that takes its rows from an iterator, which would hold up every
//! finished row while it waits for the next line of a pipe. Here rows arrive on a channel, and answers are written down
//! meanwhile.
//!
//! A provider that fails for all rows in flight may be down, or these rows are what it fails for. As soon as they all wait, and
//! probes fail, one more row is started, and further ones from further behind, as long as each fails too. Where no row is left
//! to start, one that was answered before is asked again. If it is answered, the account charges the failures to the rows that
//! failed; if not, the provider is down.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanweave_core::__private::task_locals;
use fanweave_core::{Context, Error, ErrorKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::Result;
use crate::answer::IntoAnswer;
use crate::cost::RemainingBudget;
use crate::journal::Outcome;
use crate::queue::Queue;
use crate::reader::Job;
use crate::recorder::{Entry, Finished, Recorder};
use crate::refusals::{MIN_ROWS, Refusals};
use crate::row::{AskedAgain, Ended, Failed, RowRun, Start};

/// Maximum number of rows in flight beyond the concurrency. They wait as all others do: calls at once are limited apart.
const MAX_EXTRA: usize = 16;

/// Pause before a row is asked again that has just failed. Source: the pauses between probes are as long.
const ASK_PAUSE: Duration = Duration::from_secs(2);

/// Rows in flight.
pub(crate) struct Window<I, O> {
    pub(crate) row: RowRun<I, O>,
    pub(crate) recorder: Recorder,
    queue: Queue,
    flights: JoinSet<Ended>,
    /// Maximum of rows in flight.
    concurrency: usize,
    /// A permit for each row that may be in flight.
    permits: Arc<Semaphore>,
    /// A permit for the next row.
    free: Option<OwnedSemaphorePermit>,
    /// Rows that may be in flight beyond the concurrency.
    extra: usize,
    /// Whether the next permit is for one of them.
    looks_ahead: bool,
    /// Rows that were started so since the last answer.
    looked_ahead: u32,
    /// The answered row that used the fewest tokens, and their number.
    sample: Option<(Box<Job>, u64)>,
    /// A row that an earlier run answered.
    answered: Arc<OnceLock<Job>>,
    /// The answered row that is asked again, while it is.
    asked: JoinSet<AskedAgain>,
    /// Set when the last answered row that was asked again got no answer.
    is_down: bool,
    /// Cancelled when the run stops: rows that only wait end at once.
    drain: CancellationToken,
    is_admitting: bool,
    keeps_going: bool,
    /// Whether any row was answered, in this run or an earlier one.
    is_answered: bool,
    refusals: Refusals,
    /// The last row in flight, which the provider is failing for: whether it is the last one of the run is not known yet.
    suspect: Option<Box<Failed>>,
    /// Set while a single row of the run is left. Its calls know of it.
    is_last: Arc<AtomicBool>,
    budget: RemainingBudget,
    pub(crate) stopped: Stopped,
}

/// Why the run stopped before its end.
#[derive(Default)]
pub(crate) struct Stopped {
    /// The refusal that ended it. The rows that got it have no result.
    pub(crate) refused: Option<Error>,
    /// Number of rows that got the same refusal. 0 for a refusal of the account.
    pub(crate) refused_rows: u64,
    /// Set when the provider was failing for longer than the outage timeout.
    pub(crate) unavailable: Option<Error>,
    /// Set when more rows might have cost more than the budget.
    pub(crate) over_budget: bool,
    /// Set when rows are left, for whatever reason.
    pub(crate) is_cut_short: bool,
}

/// How a window starts.
pub(crate) struct Terms {
    pub(crate) concurrency: usize,
    pub(crate) budget: RemainingBudget,
    pub(crate) drain: CancellationToken,
    pub(crate) keeps_going: bool,
    /// Whether an earlier run answered any row.
    pub(crate) is_answered: bool,
    /// Gets a row that an earlier run answered.
    pub(crate) answered: Arc<OnceLock<Job>>,
    /// Set while a single row of the run is left.
    pub(crate) is_last: Arc<AtomicBool>,
}

impl<I: Send + 'static, O: IntoAnswer> Window<I, O> {
    pub(crate) fn new(
        row: RowRun<I, O>,
        recorder: Recorder,
        jobs: mpsc::Receiver<Result<Job>>,
        terms: Terms,
    ) -> Self {
        let Terms { concurrency, budget, drain, keeps_going, is_answered, answered, is_last } = terms;
        let concurrency = concurrency.min(Semaphore::MAX_PERMITS);
        Self {
            row,
            recorder,
            queue: Queue::new(jobs, concurrency),
            flights: JoinSet::new(),
            concurrency,
            permits: Arc::new(Semaphore::new(concurrency)),
            free: None,
            extra: 0,
            looks_ahead: false,
            looked_ahead: 0,
            sample: None,
            answered,
            asked: JoinSet::new(),
            is_down: false,
            drain,
            is_admitting: true,
            keeps_going,
            is_answered,
            refusals: Refusals::new(!keeps_going && !is_answered),
            suspect: None,
            is_last,
            budget,
            stopped: Stopped::default(),
        }
    }

    /// Runs rows until there are no more, or until `stop` is cancelled or the run `around` winds down; then until none is in
    /// flight.
    ///
    /// # Errors
    /// Where the source cannot be read on. The rows in flight have ended by then.
    pub(crate) async fn run(&mut self, stop: &CancellationToken, around: &Context) -> Result<()> {
        let mut broken = Ok(());
        let ended_early = self.recorder.ended_early();
        let stopped = async {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = around.draining() => {}
            }
        };
        tokio::pin!(stopped, ended_early);
        while self.may_start() || !self.flights.is_empty() || self.suspect.is_some() {
            let is_affordable = self.is_affordable();
            // One more row than can be paid for is taken if nothing in flight can come out cheaper than was feared: whether
            // there is one that costs anything decides how the run ended.
            let is_ready = self.free.is_some() && (is_affordable || self.flights.is_empty());
            let takes = self.may_start() && (is_ready || self.suspect.is_some());
            tokio::select! {
                biased;
                () = &mut ended_early => {
                    // Nothing that runs now could be written down.
                    self.queue.close();
                    self.flights.abort_all();
                    return Ok(());
                }
                () = &mut stopped, if self.is_admitting => self.stop(),
                Some(ended) = self.flights.join_next() => {
                    self.settle(ended.expect("a row catches its panics, and only a drop aborts it")).await;
                }
                permit = self.permits.clone().acquire_owned(), if self.may_start() && self.free.is_none() => {
                    let permit = permit.expect("nobody closes the permits");
                    if self.extra > 0 && !self.looks_ahead {
                        // Rows end again: as many as before are enough.
                        permit.forget();
                        self.extra -= 1;
                    } else {
                        self.looks_ahead = false;
                        self.free = Some(permit);
                    }
                }
                Some(asked) = self.asked.join_next() => self.settle_asked(asked.ok()),
                () = self.row.progress.failing().changed(), if self.is_admitting => self.look_ahead(),
                job = self.queue.next(), if takes => match job {
                    // It is not the last row that cannot be answered.
                    Some(Ok(_)) if self.suspect.is_some() => self.unavailable(),
                    Some(Ok(job)) if !is_affordable && !self.row.is_free(&job) => {
                        self.stopped.over_budget = true;
                        self.stop_admitting();
                    }
                    Some(Ok(job)) => {
                        let permit = self.free.take();
                        self.start(Start { job, permit, is_affordable, leads: None });
                    }
                    Some(Err(error)) => {
                        self.is_admitting = false;
                        broken = Err(error);
                    }
                    // There was no row to start.
                    None => self.look_ahead(),
                },
            }
            if !self.may_start()
                && let Some(suspect) = self.suspect.take()
            {
                self.settle_suspect(suspect).await;
            }
            self.judge_refusals();
            let is_last = !self.may_start() && self.flights.len() == 1 && self.sample().is_none();
            self.is_last.store(is_last, Ordering::Relaxed);
        }
        self.end_refusals().await;
        broken
    }

    /// Starts another row if all in flight stand still: see the [module](self).
    fn look_ahead(&mut self) {
        let progress = &self.row.progress;
        let rows = self.flights.len();
        if !self.is_admitting
            || rows == 0
            || progress.requests_unanswered() > 0
            || !progress.failing().stand_still(rows)
        {
            return;
        }
        if self.may_start() && self.extra < MAX_EXTRA {
            // With a free permit the next row starts as soon as the reader has it.
            if self.free.is_none() && !self.looks_ahead {
                self.looks_ahead = true;
                self.permits.add_permits(1);
                self.extra += 1;
                // Rows that the provider fails for may come in blocks of any length.
                self.queue.skip((1 << self.looked_ahead.min(16)) / 2);
                self.looked_ahead += 1;
            }
        } else if self.asked.is_empty()
            && let Some(job) = self.sample().cloned()
        {
            // A model without an account does not pace it.
            let pause = if self.is_down { ASK_PAUSE } else { Duration::ZERO };
            let row = self.row.clone();
            let row = async move {
                sleep(pause).await;
                row.ask_again(job).await
            };
            self.asked.spawn(task_locals::propagate(task_locals::here(), row));
        }
    }

    /// An answered row that can be asked again, and paid.
    fn sample(&self) -> Option<&Job> {
        let sample = self.sample.as_ref().map(|(job, _)| &**job).or_else(|| self.answered.get());
        sample.filter(|_| self.is_affordable())
    }

    /// Keeps a row that was answered for few tokens.
    fn keep_sample(&mut self, entry: &Entry, job: Option<Box<Job>>) {
        let (Some(job), Entry::Finished(row)) = (job, entry) else { return };
        let Outcome::Answer(answer) = &row.record.result else { return };
        let tokens = answer.usage.total_tokens();
        if self.sample.as_ref().is_none_or(|(_, fewest)| tokens < *fewest) {
            self.sample = Some((job, tokens));
        }
    }

    /// Takes note of what became of a row that was asked again. `None` where it panicked.
    fn settle_asked(&mut self, asked: Option<AskedAgain>) {
        let Some(AskedAgain { has_failed, is_paid, cost_usd }) = asked else { return };
        if is_paid {
            self.budget.pay(cost_usd);
        }
        self.is_down = has_failed;
        if !has_failed {
            // The account can decide now. Only further failures say that it could not.
            self.row.progress.failing().start_over();
        } else {
            // Rows that have failed say nothing, so the next probe is another answered one.
            self.look_ahead();
        }
    }

    /// Whether rows may still be started, as far as is known.
    fn may_start(&self) -> bool {
        self.is_admitting && !self.queue.is_exhausted()
    }

    fn start(&mut self, start: Start) {
        let (row, held) = (self.row.clone().run(start), self.queue.hold());
        let row = async move {
            let ended = row.await;
            drop(held);
            ended
        };
        self.flights.spawn(task_locals::propagate(task_locals::here(), row));
    }

    fn is_affordable(&self) -> bool {
        self.budget.allows(self.flights.len(), self.row.progress.maybe_billed_usd())
    }

    /// Starts no more rows.
    fn stop_admitting(&mut self) {
        self.is_admitting = false;
        self.stopped.is_cut_short = true;
        self.queue.close();
    }

    /// Starts no more rows, and ends those that only wait.
    fn stop(&mut self) {
        self.stop_admitting();
        self.drain.cancel();
    }

    /// Takes note of how a row ended.
    async fn settle(&mut self, ended: Ended) {
        match ended {
            Ended::Waits => {}
            Ended::Cancelled => self.stopped.is_cut_short = true,
            Ended::Unaffordable => {
                self.stopped.over_budget = true;
                self.stop_admitting();
            }
            Ended::Answered(entry, job) => {
                self.is_answered = true;
                self.is_down = false;
                self.looked_ahead = 0;
                self.keep_sample(&entry, job);
                self.refusals.end();
                self.flush_refusals().await;
                match entry {
                    Entry::Finished(row) => self.record(row).await,
                    entry => self.tell(entry).await,
                }
            }
            Ended::Failed(failed) => self.settle_failed(failed).await,
        }
    }

    async fn settle_failed(&mut self, failed: Box<Failed>) {
        if failed.error.kind() == ErrorKind::Unavailable {
            self.suspect = Some(failed);
            if !self.flights.is_empty() || self.stopped.is_cut_short || !self.is_poison() {
                self.unavailable();
            }
            return;
        }
        if failed.job.is_some() && is_broken_off(&failed.error) {
            return self.put_back(*failed);
        }
        if self.is_about_all_rows(&failed.error) {
            self.stop();
            self.leave(&failed.row);
            self.stopped.refused.get_or_insert(failed.error);
            return;
        }
        if let Some(row) = self.refusals.withhold(failed.row, &failed.error) {
            if !self.refusals.is_watching() {
                self.flush_refusals().await;
            }
            self.record(row).await;
        }
    }

    /// Runs a row another time, whose answer broke off after its reader had some of it: no model could send the request
    /// again by itself.
    fn put_back(&mut self, failed: Failed) {
        let Failed { row, job, .. } = failed;
        let Some(mut job) = job.filter(|_| self.is_admitting) else { return self.leave(&row) };
        job.put_back += 1;
        self.row.progress.row_cancelled(row.record.index);
        match row.request {
            // Rows that wait for its answer hold their permits: it keeps its own, or none might be left for it.
            Some(request) => {
                let is_affordable = self.is_affordable();
                self.start(Start { job, permit: row.permit, is_affordable, leads: Some(request) });
            }
            None => self.queue.put_back(job),
        }
    }

    /// Whether what failed one row is likely to fail all: a wrong key, an empty account, a model that is not there.
    fn is_about_all_rows(&self, error: &Error) -> bool {
        // If another row has been answered, what was not found was this row's own.
        error.is_account_level()
            || error.kind() == ErrorKind::NotFound && !self.keeps_going && !self.row.progress.any_answered()
    }

    /// Whether the suspect may be the cause of the provider's failures itself: others were answered, and it gets an HTTP
    /// answer.
    fn is_poison(&self) -> bool {
        let cause = self.suspect.as_ref().and_then(|failed| last_failure(&failed.error));
        self.is_answered && !self.is_down && cause.is_some_and(|cause| cause.status().is_some())
    }

    /// Stops the run because the provider is failing for longer than the outage timeout.
    fn unavailable(&mut self) {
        if let Some(failed) = self.suspect.take() {
            self.leave(&failed.row);
            self.stopped.unavailable.get_or_insert(failed.error);
        }
        self.stop();
    }

    /// The suspect is the last row of the run, or the run was stopped meanwhile.
    async fn settle_suspect(&mut self, mut failed: Box<Failed>) {
        match last_failure(&failed.error) {
            // Left, it would fail every later run in the same way, and none could finish.
            Some(cause) if !self.stopped.is_cut_short => {
                failed.row.record.result = Outcome::Error(Box::new(cause.into()));
                self.record(failed.row).await;
            }
            _ => {
                self.suspect = Some(failed);
                self.unavailable();
            }
        }
    }

    async fn record(&mut self, row: Finished) {
        if row.is_paid || row.record.cost_usd.is_some() {
            self.budget.pay(row.record.cost_usd);
        }
        self.tell(Entry::Finished(row)).await;
    }

    async fn tell(&mut self, entry: Entry) {
        // If the recorder has ended, the next turn of the loop ends the run.
        self.recorder.tell(entry).await;
    }

    /// Leaves a row without a result.
    fn leave(&mut self, row: &Finished) {
        self.row.leave_unfinished(row.record.index, row.request.as_ref());
        self.stopped.is_cut_short = true;
    }

    /// Stops the run if the first rows all got the same refusal, and makes room for more rows if they are too few to tell.
    fn judge_refusals(&mut self) {
        if self.refusals.is_empty() || !self.is_admitting {
            return;
        }
        let rows = self.refusals.rows(self.row.dedupe());
        let in_flight = self.flights.len().saturating_sub(self.row.progress.calls_held());
        if rows >= MIN_ROWS && in_flight == 0 {
            self.stop_refused(rows);
        } else if rows < MIN_ROWS && self.refusals.permits(self.row.dedupe()) >= self.concurrency {
            self.refusals.release(MIN_ROWS - rows, self.row.dedupe());
        }
    }

    fn stop_refused(&mut self, rows: usize) {
        self.stopped.refused = self.refusals.error().cloned();
        self.stopped.refused_rows = rows as u64;
        self.stop();
        self.drop_refusals();
    }

    fn drop_refusals(&mut self) {
        for row in self.refusals.take() {
            self.leave(&row);
        }
    }

    /// No row runs any more: what is withheld is dropped or recorded.
    async fn end_refusals(&mut self) {
        let rows = self.refusals.rows(self.row.dedupe());
        if self.stopped.is_cut_short {
            self.drop_refusals();
        } else if rows >= MIN_ROWS {
            self.stop_refused(rows);
        } else {
            self.flush_refusals().await;
        }
    }

    async fn flush_refusals(&mut self) {
        for row in self.refusals.take() {
            self.record(row).await;
        }
    }
}

/// Whether an answer broke off after its reader had some of it.
fn is_broken_off(error: &Error) -> bool {
    error.is_retryable() && error.partial().is_some()
}

/// The failure behind an error of the kind [`Unavailable`](ErrorKind::Unavailable).
fn last_failure(error: &Error) -> Option<&Error> {
    let source = std::error::Error::source(error)?.downcast_ref::<Error>()?;
    if source.kind() == ErrorKind::Unavailable { last_failure(source) } else { Some(source) }
}
