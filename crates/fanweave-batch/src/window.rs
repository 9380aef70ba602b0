//! Rows in flight: at most as many as the concurrency allows, started as row permits become free.
//!
//! This does not use [`Chain::batch`](fanweave_core::Chain::batch), which takes its rows from an iterator:
//! finished rows would be delayed while it waits for the next line of a pipe. Here rows arrive on a channel,
//! and answers are recorded in the meantime.
//!
//! If a provider fails for all rows in flight, either the provider is down or these rows cause the failures.
//! As soon as all of them wait and probes fail, one more row is started, and then further ones from further
//! ahead in the input, as long as each fails too. If all rows have been started, a row that was answered
//! before is rerun. If it is answered, the account charges the failures to the rows that failed; if not, the
//! provider is down.

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fanweave_core::__private::flights::Flights;
use fanweave_core::context::CancellationToken;
use fanweave_core::{Context, Error, ErrorKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::sleep;

use crate::Result;
use crate::answer::IntoAnswer;
use crate::budget::{Allowance, NeededBudget, RowBudget};
use crate::coalesce::coalesced;
use crate::feed::Job;
use crate::max_errors::{ErrorCount, MaxErrors};
use crate::progress::Snapshot;
use crate::queue::Queue;
use crate::recorder::{Finished, RowRecorder};
use crate::records::RowPermit;
use crate::refusals::Refusals;
use crate::row::{Failed, Rerun, RowEnd, RowRun, Start};
use crate::summary::Summary;

/// Maximum number of rows in flight beyond the concurrency. The number of concurrent calls is limited
/// separately.
const MAX_EXTRA: usize = 16;

/// Pause before a row is rerun whose last rerun failed. Source: the pauses between probes are as long.
const RERUN_PAUSE: Duration = Duration::from_secs(2);

/// Rows in flight.
pub struct Window<I, O, R> {
    pub(crate) row: Arc<RowRun<I, O>>,
    pub(crate) recorder: R,
    queue: Queue,
    flights: Flights<u64, RowEnd>,
    /// Maximum number of rows in flight.
    concurrency: usize,
    /// A permit for each row that may be in flight.
    permits: Arc<Semaphore>,
    /// A permit for the next row.
    free: Option<OwnedSemaphorePermit>,
    /// Rows that may be in flight beyond the concurrency.
    extra: usize,
    /// Set when the next permit is for one of them.
    next_is_extra: bool,
    /// Number of rows started ahead since the last answer.
    looked_ahead: u32,
    /// The answered row that used the fewest tokens, and their number.
    sample: Option<(Job, u64)>,
    /// A row that a previous run answered.
    answered_before: Arc<OnceLock<Job>>,
    /// The rerun in progress, if any.
    reruns: Flights<(), Rerun>,
    /// Set when the last rerun got no answer.
    is_down: bool,
    /// Cancelled when the run stops: rows that only wait end immediately.
    drain: CancellationToken,
    is_admitting: bool,
    /// Not set once the recorder has ended early. Its queue says so first.
    has_recorder: bool,
    keeps_going: bool,
    /// Set when any row was answered, in this run or a previous one.
    is_answered: bool,
    refusals: Refusals,
    errors: ErrorCount,
    /// The last row in flight, if the provider is failing for it: it is not known yet whether it is the last
    /// one of the run.
    suspect: Option<Box<Failed>>,
    /// Set while a single row of the run remains. Its calls read it.
    is_last: Arc<AtomicBool>,
    budget: Box<dyn RowBudget>,
    /// A row that waits for money. The permit is free.
    lacks_budget: Option<Job>,
    /// Error of the source, which ends the run.
    source_error: Result<()>,
    pub(crate) stopped: Stopped,
}

/// Event that a window handles.
enum RowEvent {
    /// The recorder has ended early, with an error.
    RecorderEnded,
    StopRequested,
    /// A row has ended. `None` if its task was dropped.
    Ended(Option<RowEnd>),
    /// A row permit is free.
    Permit(OwnedSemaphorePermit),
    /// A rerun has ended. `None` if it panicked.
    Rerun(Option<Rerun>),
    /// Calls of the run fail, or wait for a provider that does.
    Failing,
    /// More money may be there for the row that waits for it.
    BudgetGrown,
    /// The next row to start, or the error of the source. `None` if nothing is left.
    Job(Option<Result<Job>>),
}

/// Effect of an event on the run.
#[derive(PartialEq, Eq)]
enum Flow {
    Continue,
    /// The run ends without waiting for the rows in flight.
    Abort,
}

/// Events from outside of a window.
struct Signals<'a> {
    recorder_ended: Signal<'a>,
    stopped: Signal<'a>,
    failing: Signal<'a>,
}

type Signal<'a> = Pin<&'a mut (dyn Future<Output = ()> + Send + 'a)>;

/// Reason for which the run stopped before its end.
#[derive(Debug, Default)]
pub struct Stopped {
    /// The error that ended it. The rows that got it have no result.
    pub refused: Option<Error>,
    /// Number of rows that got the same error. 0 if the account was rejected.
    pub refused_rows: u64,
    /// Set when the provider was failing for longer than the outage timeout.
    pub unavailable: Option<Error>,
    /// Set when starting more rows could have exceeded the budget.
    pub over_budget: bool,
    /// Set when too many rows had failed.
    pub too_many_errors: bool,
    /// Set when rows have no result, for whatever reason.
    pub is_cut_short: bool,
}

impl Stopped {
    /// The summary of the run: its counts at the end, and why it stopped, if it did.
    pub(crate) fn into_summary(self, end: &Snapshot) -> Summary {
        let Self { refused, refused_rows, unavailable, over_budget, too_many_errors, is_cut_short } = self;
        Summary {
            interrupted: is_cut_short,
            refused,
            refused_rows,
            unavailable,
            retries: end.retries,
            hedged: end.hedged,
            over_budget,
            too_many_errors,
            p50: end.p50,
            p95: end.p95,
            ..Summary::of(end)
        }
    }
}

/// Settings of a window.
pub(crate) struct Terms {
    pub(crate) concurrency: usize,
    pub(crate) budget: Box<dyn RowBudget>,
    pub(crate) drain: CancellationToken,
    pub(crate) keeps_going: bool,
    pub(crate) max_errors: Option<MaxErrors>,
    /// Set when a previous run answered any row.
    pub(crate) is_answered: bool,
    /// Set by the reader to a row that a previous run answered.
    pub(crate) answered: Arc<OnceLock<Job>>,
    /// Set while a single row of the run remains.
    pub(crate) is_last: Arc<AtomicBool>,
}

impl<I: Send + 'static, O: IntoAnswer, R: RowRecorder> Window<I, O, R> {
    pub(crate) fn new(
        row: RowRun<I, O>,
        recorder: R,
        jobs: mpsc::Receiver<Result<Job>>,
        terms: Terms,
    ) -> Self {
        let Terms { concurrency, budget, drain, keeps_going, max_errors, is_answered, answered, is_last } =
            terms;
        let concurrency = concurrency.min(Semaphore::MAX_PERMITS);
        Self {
            row: Arc::new(row),
            recorder,
            queue: Queue::new(jobs, concurrency),
            flights: Flights::new(),
            concurrency,
            permits: Arc::new(Semaphore::new(concurrency)),
            free: None,
            extra: 0,
            next_is_extra: false,
            looked_ahead: 0,
            sample: None,
            answered_before: answered,
            reruns: Flights::new(),
            is_down: false,
            drain,
            is_admitting: true,
            has_recorder: true,
            keeps_going,
            is_answered,
            refusals: Refusals::new(!keeps_going, is_answered),
            errors: ErrorCount::new(max_errors),
            suspect: None,
            is_last,
            budget,
            lacks_budget: None,
            source_error: Ok(()),
            stopped: Stopped::default(),
        }
    }

    /// Runs rows until there are no more, `stop` is cancelled, or the run `around` is draining; then waits
    /// until no row is in flight.
    ///
    /// # Errors
    /// The source cannot be read any further. The rows in flight have ended by then.
    pub async fn run(&mut self, stop: &CancellationToken, around: &Context) -> Result<()> {
        let recorder_ended = self.recorder.ended_early();
        let stopped = async {
            tokio::select! {
                () = stop.cancelled() => {}
                _ = around.draining() => {}
            }
        };
        let progress = self.row.progress.clone();
        let failing = progress.failing().changed();
        tokio::pin!(recorder_ended, stopped, failing);
        while self.has_work() {
            let signals = Signals {
                recorder_ended: recorder_ended.as_mut(),
                stopped: stopped.as_mut(),
                failing: failing.as_mut(),
            };
            let event = coalesced(self.next_event(signals)).await;
            if matches!(event, RowEvent::Failing) {
                failing.set(progress.failing().changed());
            }
            if self.handle(event).await == Flow::Abort {
                return Ok(());
            }
        }
        self.end_refusals().await;
        std::mem::replace(&mut self.source_error, Ok(()))
    }

    /// Ends the window. Returns its recorder, and why it ended early.
    pub fn into_recorder(self) -> (R, Stopped) {
        (self.recorder, self.stopped)
    }

    /// Returns true if a row is in flight, or one may start.
    fn has_work(&self) -> bool {
        self.may_start() || !self.flights.is_empty() || self.suspect.is_some()
    }

    /// Waits for the next event.
    ///
    /// # Cancellation
    /// No event is lost.
    async fn next_event(&mut self, signals: Signals<'_>) -> RowEvent {
        let may_start = self.may_start();
        // One more row than the budget allows is taken if no row in flight can turn out cheaper than
        // assumed: whether there is a row that costs anything decides how the run ends.
        // With leases, the next row is taken as well: whether there is one decides whether money is needed.
        let is_ready =
            self.free.is_some() && (self.flights.is_empty() || self.allowance() != Allowance::Never);
        let takes = may_start && self.lacks_budget.is_none() && (is_ready || self.suspect.is_some());
        tokio::select! {
            biased;
            () = signals.recorder_ended => RowEvent::RecorderEnded,
            () = signals.stopped, if self.is_admitting => RowEvent::StopRequested,
            Some((_, ended)) = self.flights.next() => RowEvent::Ended(ended.ok()),
            permit = self.permits.clone().acquire_owned(), if may_start && self.free.is_none() => {
                RowEvent::Permit(permit.expect("the semaphore is never closed"))
            }
            Some(((), rerun)) = self.reruns.next() => RowEvent::Rerun(rerun.ok()),
            () = signals.failing, if self.is_admitting => RowEvent::Failing,
            () = changed(&mut *self.budget), if self.lacks_budget.is_some() => RowEvent::BudgetGrown,
            job = self.queue.next(), if takes => RowEvent::Job(job),
        }
    }

    /// Handles an event.
    async fn handle(&mut self, event: RowEvent) -> Flow {
        match event {
            RowEvent::RecorderEnded => self.has_recorder = false,
            RowEvent::StopRequested => self.stop(),
            RowEvent::Ended(Some(ended)) => self.settle(ended).await,
            // Its task was dropped with the runtime.
            RowEvent::Ended(None) => self.stopped.is_cut_short = true,
            RowEvent::Permit(permit) => self.keep_permit(permit),
            RowEvent::Rerun(rerun) => self.settle_rerun(rerun),
            RowEvent::Failing => self.look_ahead(),
            RowEvent::BudgetGrown => {}
            RowEvent::Job(job) => self.admit(job),
        }
        if !self.has_recorder {
            // Nothing that runs now could be recorded.
            self.queue.close();
            self.flights.abort_all();
            return Flow::Abort;
        }
        if let Some(job) = self.lacks_budget.take() {
            self.admit_waiting(job);
        }
        if !self.may_start()
            && let Some(suspect) = self.suspect.take()
        {
            self.settle_suspect(suspect).await;
        }
        self.judge_refusals();
        let is_last = !self.may_start() && self.flights.len() == 1 && self.sample().is_none();
        self.is_last.store(is_last, Ordering::Relaxed);
        Flow::Continue
    }

    fn keep_permit(&mut self, permit: OwnedSemaphorePermit) {
        if self.extra > 0 && !self.next_is_extra {
            // Rows end again, so the normal concurrency is enough.
            permit.forget();
            self.extra -= 1;
        } else {
            self.next_is_extra = false;
            self.free = Some(permit);
        }
    }

    /// Starts the next row. `None` if nothing is left to start.
    fn admit(&mut self, job: Option<Result<Job>>) {
        let job = match job {
            Some(Ok(job)) => job,
            Some(Err(error)) => {
                self.is_admitting = false;
                self.source_error = Err(error);
                return;
            }
            None => return self.look_ahead(),
        };
        if self.suspect.is_some() {
            // The suspect is not the last row of the run.
            return self.unavailable();
        }
        if job.origin.is_fenced() {
            return;
        }
        let allowance = self.allowance();
        // A row whose templates take long counts as one that makes calls.
        let prepared = match allowance {
            Allowance::Now => None,
            _ => self.row.prepare(job.input.clone()).now().filter(|input| self.row.is_free(input)),
        };
        match allowance {
            Allowance::Now => self.start_next(job, prepared, true),
            _ if prepared.is_some() => self.start_next(job, prepared, false),
            Allowance::Later => self.lacks_budget = Some(job),
            Allowance::Never => self.stop_over_budget(),
        }
    }

    /// Starts the row that waits for money, if there is enough, and stops the run if there will not be.
    fn admit_waiting(&mut self, job: Job) {
        if !self.is_admitting || job.origin.is_fenced() {
            return;
        }
        if self.suspect.is_some() {
            return self.unavailable();
        }
        match self.allowance() {
            Allowance::Now => self.start_next(job, None, true),
            // Rows in flight may turn out cheaper than assumed.
            Allowance::Never if self.flights.is_empty() => self.stop_over_budget(),
            Allowance::Never | Allowance::Later => self.lacks_budget = Some(job),
        }
    }

    /// Starts a row with the free permit.
    fn start_next(&mut self, job: Job, prepared: Option<fanweave_core::Result<I>>, is_affordable: bool) {
        let permit = RowPermit(self.free.take());
        self.start(Start { job, prepared: prepared.map(Box::new), permit, is_affordable, leads: None });
    }

    fn stop_over_budget(&mut self) {
        self.stopped.over_budget = true;
        self.stop_admitting();
    }

    /// Starts another row if all rows in flight are stalled: see the [module](self).
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
            // With a free permit, the next row starts as soon as the reader has it.
            if self.free.is_none() && !self.next_is_extra {
                self.next_is_extra = true;
                self.permits.add_permits(1);
                self.extra += 1;
                // Rows that the provider fails for may come in blocks of any length.
                self.queue.skip((1 << self.looked_ahead.min(16)) / 2);
                self.looked_ahead += 1;
            }
        } else if self.reruns.is_empty()
            && let Some(job) = self.sample().cloned()
        {
            // Models without an account are not paced otherwise.
            let pause = if self.is_down { RERUN_PAUSE } else { Duration::ZERO };
            let row = self.row.clone();
            let row = async move {
                sleep(pause).await;
                row.rerun(job).await
            };
            self.reruns.start((), row);
        }
    }

    /// An answered row that can be rerun within the budget.
    fn sample(&self) -> Option<&Job> {
        let sample = self.sample.as_ref().map(|(job, _)| job).or_else(|| self.answered_before.get());
        sample.filter(|_| self.allowance() == Allowance::Now)
    }

    /// Keeps an answered row as the sample if it used the fewest tokens.
    fn keep_sample(&mut self, row: &Finished, job: Option<Job>) {
        let Some(job) = job else { return };
        let Some(answer) = row.row.answer() else { return };
        let tokens = answer.usage.total_tokens();
        if self.sample.as_ref().is_none_or(|(_, fewest)| tokens < *fewest) {
            self.sample = Some((job, tokens));
        }
    }

    /// Handles the result of a rerun. `None` if it panicked.
    fn settle_rerun(&mut self, rerun: Option<Rerun>) {
        let Some(Rerun { has_failed, is_paid, cost_usd }) = rerun else { return };
        if is_paid {
            self.budget.pay(cost_usd);
        }
        self.is_down = has_failed;
        if !has_failed {
            // The account can now decide. Only further failures show that it could not.
            self.row.progress.failing().start_over();
        } else {
            // Rows that have failed prove nothing, so the next probe is another answered row.
            self.look_ahead();
        }
    }

    /// Returns true if rows may still be started, as far as is known.
    fn may_start(&self) -> bool {
        self.is_admitting && (self.lacks_budget.is_some() || !self.queue.is_exhausted())
    }

    fn start(&mut self, start: Start<I>) {
        let index = start.job.index;
        // Boxed: the future is several KiB, and spawning a task moves it four times.
        let (row, held) = (Box::pin(self.row.clone().run(start)), self.queue.hold());
        let row = async move {
            let ended = row.await;
            drop(held);
            ended
        };
        self.flights.start(index, row);
    }

    fn allowance(&self) -> Allowance {
        self.budget.allows(self.flights.len(), self.row.progress.maybe_billed_usd())
    }

    /// The budget that the rows which are left need, if the run stopped over budget.
    pub(crate) fn needed_budget(&self) -> Option<NeededBudget> {
        let end = self.stopped.over_budget.then(|| self.row.progress.snapshot())?;
        let left = end.total.map(|total| total.saturating_sub(end.done));
        self.budget.needed_usd(left, end.maybe_billed_usd)
    }

    /// Starts no more rows.
    fn stop_admitting(&mut self) {
        self.is_admitting = false;
        self.lacks_budget = None;
        self.stopped.is_cut_short = true;
        self.queue.close();
    }

    /// Starts no more rows, and ends those that only wait.
    fn stop(&mut self) {
        self.stop_admitting();
        self.drain.cancel();
    }

    /// Handles the end of a row.
    async fn settle(&mut self, ended: RowEnd) {
        match ended {
            RowEnd::Waits => {}
            RowEnd::Cancelled => self.stopped.is_cut_short = true,
            RowEnd::Unaffordable => self.stop_over_budget(),
            RowEnd::Fenced { is_paid, new_cost_usd } => {
                self.pay(is_paid, new_cost_usd);
                self.row.progress.row_cost(new_cost_usd);
            }
            RowEnd::Answered(row, job) => {
                self.answered();
                self.keep_sample(&row, job);
                for row in self.refusals.answered(row.began) {
                    self.record(row).await;
                }
                self.record(row).await;
            }
            RowEnd::Duplicate(follower, of) => {
                self.answered();
                self.has_recorder &= self.recorder.duplicate(follower, of).await;
            }
            RowEnd::Failed(failed) => self.settle_failed(failed).await,
        }
    }

    /// Notes that a row has an answer: the provider answers.
    fn answered(&mut self) {
        self.is_answered = true;
        self.is_down = false;
        self.looked_ahead = 0;
    }

    async fn settle_failed(&mut self, failed: Box<Failed>) {
        if failed.error.kind() == ErrorKind::Unavailable {
            self.suspect = Some(failed);
            if !self.flights.is_empty() || self.stopped.is_cut_short || !self.is_poison() {
                self.unavailable();
            }
            return;
        }
        if failed.job.is_some() && is_interrupted(&failed.error) {
            return self.requeue(*failed);
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

    /// Requeues a row whose response was interrupted after deltas had been emitted: a model could not retry
    /// the request.
    fn requeue(&mut self, failed: Failed) {
        let Failed { row, job, .. } = failed;
        let Some(mut job) = job.filter(|_| self.is_admitting) else { return self.leave(&row) };
        job.requeues += 1;
        self.row.progress.row_cancelled(row.row.index());
        match row.request {
            // Followers hold their permits while they wait for its answer. It keeps its own, because there
            // might be none free.
            Some(request) => {
                let is_affordable = self.allowance() != Allowance::Never;
                self.start(Start {
                    job,
                    prepared: None,
                    permit: row.permit,
                    is_affordable,
                    leads: Some(request),
                });
            }
            None => self.queue.requeue(job),
        }
    }

    /// Returns true if the error of one row is likely to affect all: an invalid key, no credit, an unknown
    /// model.
    fn is_about_all_rows(&self, error: &Error) -> bool {
        // If another row has been answered, the missing resource is specific to this row.
        error.is_account_level()
            || error.kind() == ErrorKind::NotFound && !self.keeps_going && !self.row.progress.any_answered()
    }

    /// Returns true if the suspect itself may be the cause of the provider's failures: others were answered,
    /// and it gets an HTTP response.
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

    /// Handles the suspect when it is the last row of the run, or the run was stopped.
    async fn settle_suspect(&mut self, mut failed: Box<Failed>) {
        match last_failure(&failed.error) {
            // Without a result, it would fail every later run in the same way, and none could finish.
            Some(cause) if !self.stopped.is_cut_short => {
                failed.row.row.fail(cause.clone());
                self.record(failed.row).await;
            }
            _ => {
                self.suspect = Some(failed);
                self.unavailable();
            }
        }
    }

    /// Deducts the cost of the calls of a row.
    fn pay(&mut self, is_paid: bool, new_cost_usd: Option<f64>) {
        if is_paid || new_cost_usd.is_some() {
            self.budget.pay(new_cost_usd);
        }
    }

    async fn record(&mut self, row: Finished) {
        self.pay(row.is_paid, row.new_cost_usd);
        if row.origin.is_fenced() {
            // Another machine has recorded the row, or will.
            self.row.progress.row_cost(row.new_cost_usd);
            self.row.leave_unfinished(row.row.index(), row.request.as_ref());
            return;
        }
        if self.errors.is_exceeded_by(row.row.is_ok()) && self.may_start() {
            self.stopped.too_many_errors = true;
            self.stop();
        }
        self.has_recorder &= self.recorder.finished(row).await;
    }

    /// Leaves a row without a result.
    fn leave(&mut self, row: &Finished) {
        self.row.leave_unfinished(row.row.index(), row.request.as_ref());
        self.stopped.is_cut_short = true;
    }

    /// Stops the run if the rows since the last answer all got the same error, and lets more rows run if they
    /// are too few to decide.
    fn judge_refusals(&mut self) {
        if self.refusals.is_empty() || !self.is_admitting {
            return;
        }
        let (rows, min_rows) = (self.refusals.rows(self.row.dedupe()), self.refusals.min_rows());
        let in_flight = self.flights.len().saturating_sub(self.row.progress.calls_held());
        if rows >= min_rows && in_flight == 0 {
            self.stop_refused(rows);
        } else if rows < min_rows && self.refusals.permits(self.row.dedupe()) >= self.concurrency {
            self.refusals.release(min_rows - rows, self.row.dedupe());
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

    /// Drops or records the withheld rows when no row is running any more.
    async fn end_refusals(&mut self) {
        let rows = self.refusals.rows(self.row.dedupe());
        if self.stopped.is_cut_short {
            self.drop_refusals();
        } else if rows >= self.refusals.min_rows() {
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

/// Resolves when there may be more money. Boxes nothing until it is polled.
async fn changed(budget: &mut dyn RowBudget) {
    budget.changed().await;
}

/// Returns true if a response was interrupted after deltas had been emitted. A model that could retry the
/// request has done so.
fn is_interrupted(error: &Error) -> bool {
    error.is_retryable() && error.partial().is_some() && !error.is_retried()
}

/// The cause of an error of the kind [`Unavailable`](ErrorKind::Unavailable).
fn last_failure(error: &Error) -> Option<&Error> {
    let source = std::error::Error::source(error)?.downcast_ref::<Error>()?;
    if source.kind() == ErrorKind::Unavailable { last_failure(source) } else { Some(source) }
}
