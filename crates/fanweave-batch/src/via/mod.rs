//! Runs rows through a provider's batch API: submitted by the thousand, answered within a day, at half the
//! price.
//!
//! ```text
//! rows -> minus journalled -> parts within the limits -> intent, submit, id -> poll -> collect -> recorder
//! ```
//!
//! The journal records for every part that it is about to be submitted, its id once it was submitted, and
//! that it was collected. A run that is killed between any two of these resumes with the parts that the
//! provider has, and never submits a part twice: if the journal has the intent but not the id, the run first
//! looks for the batch at the provider.

mod api;
mod failed_parts;
mod hooks;
mod parts;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use fanweave_core::context::CancellationToken;
use fanweave_core::{Chain, Context, ErrorKind as RowErrorKind, Message, Prompt, Runnable};
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use api::{BatchApi, BatchLimits, BatchState};

use crate::answer::IntoAnswer;
use crate::feed::{Feed, Job, JobFields, KeyedRows};
use crate::finished::FinishedRow;
use crate::journal::{Failure, Outcome, Part, PartState, PreviousRun, Record};
use crate::key::Key;
use crate::open::{Open, Opened};
use crate::origin::Origin;
use crate::progress::Progress;
use crate::recorder::{Entry, Finished, Recorder};
use crate::records::RowPermit;
use crate::row::check_choices;
use crate::run::{AHEAD, BatchJob};
use crate::summary::Summary;
use crate::tally::{Calls, Tally};
use crate::{Advice, Costs, Error, ErrorKind, Result};
use failed_parts::{FailedParts, line_ranges};
use parts::{Parts, PendingPart};

/// First wait between two polls; it doubles each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Maximum wait between polls. Source: batches take minutes to hours, and providers recommend at most one
/// poll per minute.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Maximum time that the provider may be unreachable before the run gives up. A batch may take a day.
const MAX_OUTAGE: Duration = Duration::from_secs(3600);

/// State of a row until its answer arrives. The prompt is not kept, because the provider has it.
struct Waiting {
    index: u64,
    line: u64,
    id: Option<String>,
}

impl<O: IntoAnswer> BatchJob<Prompt, O> {
    /// Runs the job through a provider's batch API instead of one call per row.
    ///
    /// The chain must call one model once per row: `model | parser`, for example. It runs up to the call
    /// before a row is submitted, and from the answer on when that is collected. The API is that of `api`; of
    /// the chain's model, only its parameters apply.
    ///
    /// Rows are submitted in parts within the API's limits. The job then waits for all parts, which may take
    /// a day. Takes about 150 bytes of memory for each waiting row. Stopping or killing the run leaves the
    /// parts with the provider: the same job collects them later, without submitting them again.
    ///
    /// A row that the provider rejects or does not process in time is a failed row. If the provider is
    /// unreachable while the job waits for parts, it keeps polling for up to an hour.
    ///
    /// If the provider rejects a part as a whole, or no longer has it, the other parts are still submitted
    /// and collected, and written to the output. The run then ends with an error that names the lines of the
    /// part's rows. Rows of a rejected part are resubmitted by the next run. Rows of a missing part were paid
    /// for: they are resubmitted only after a run with
    /// [`Settings::retry_failed`](crate::Settings::retry_failed) has discarded the batch.
    ///
    /// ```no_run
    /// # async fn run(
    /// #     job: fanweave::batch::BatchJob<fanweave::Prompt, fanweave::Message>,
    /// #     api: impl fanweave::batch::BatchApi,
    /// # ) -> fanweave::batch::Result<()> {
    /// let summary = job.run_via(&api).await?;
    /// println!("{} answered, {} failed", summary.ok, summary.failed);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`run`](Self::run), and [`ErrorKind::Provider`] if the API cannot be used or fails as a
    /// whole. Also [`ErrorKind::Usage`] if the output has no journal, for a budget in [`Costs`], and for
    /// [`Settings::dedupe`](crate::Settings::dedupe) and a chain of several models.
    ///
    /// # Cancellation
    /// Dropping the future leaves submitted parts with the provider.
    pub async fn run_via<A: BatchApi>(self, api: &A) -> Result<Summary> {
        let began = Instant::now();
        let Self {
            source,
            prepare,
            chain,
            output,
            settings,
            fingerprint,
            progress,
            stop,
            cx,
            costs,
            disk,
            ..
        } = self;
        if !output.has_journal() {
            return Err(Error::usage(
                "a provider's batch API needs an output file, because submitted requests are recorded in its journal",
            ));
        }
        // Fail rather than pay for requests that the caller wanted to avoid.
        if settings.dedupe {
            return Err(Error::usage(
                "duplicate requests cannot be merged when using a provider's batch API",
            ));
        }
        if costs.max_usd().is_some() {
            return Err(Error::usage(
                "a budget cannot be enforced with a provider's batch API: submitted requests are billed",
            ));
        }
        let graph = Runnable::describe(&chain);
        if graph.models() > 1 {
            return Err(Error::usage(format!(
                "a provider's batch API makes one call per row, and this chain has {} models: {}",
                graph.models(),
                graph.title()
            )));
        }
        let open = Open { output, settings: settings.clone(), fingerprint, progress: progress.clone(), disk };
        let (opened, source) = open.run(source).await?;
        let Opened { recording, driver, previous, columns, has_one_choice, .. } = opened;
        let PreviousRun { done, mut notes, parts, .. } = previous;
        let recorder = Recorder::spawn(recording, driver)?;
        let (jobs, inbox) = mpsc::channel(AHEAD);
        let is_file = !source.paths().is_empty();
        let is_limited = settings.limit.is_some() || source.sampled().is_some();
        let feed = Feed {
            rows: KeyedRows::new(source, settings.limit).with_columns(columns).with_samples(settings.samples),
            done,
            strict: settings.strict,
            calls: None,
            jobs,
            recorder: recorder.weak(),
            answered: Arc::default(),
            progress: progress.clone(),
        };
        let reading = feed.start()?;
        let (waiting, parts) = (HashMap::new(), Parts::new(parts));
        let mut run = Run {
            api,
            chain,
            steps: cx.clone().with_cancellation(CancellationToken::new()),
            cx,
            recorder,
            progress: progress.clone(),
            costs,
            waiting,
            parts,
            is_limited,
            drop_lost: settings.retry_failed,
            failed_parts: FailedParts::default(),
        };
        let prepare = |job: &mut Job| -> fanweave_core::Result<Prompt> {
            let prompt = prepare(job.take_input()?).finish_here()?;
            if has_one_choice {
                check_choices(&prompt)?;
            }
            Ok(prompt)
        };
        let work = async {
            run.confirm().await?;
            Ok(run.submit_all(inbox, prepare, &stop).await? && run.collect_all(&stop).await?)
        };
        let (collected, read): (Result<bool>, _) = reading.during(pin!(work)).await;
        let Run { recorder, failed_parts, .. } = run;
        let complete = match collected {
            Ok(complete) => complete,
            // The recorder's own error is more specific.
            Err(error) if error.kind() == ErrorKind::Io => {
                recorder.end(true).await?;
                return Err(error);
            }
            Err(error) if failed_parts.is_empty() => return Err(error),
            Err(error) => return Err(failed_parts.add_to(error)),
        };
        if is_file && let Some(read) = read {
            // Rows after the position at which the run was stopped may have results of a previous run.
            let _ = read.await;
        }
        // Rows of failed parts have no result.
        let failures = recorder.end(!complete || !failed_parts.is_empty()).await?;
        match failed_parts.is_empty() {
            true => {}
            false if complete => return Err(failed_parts.error()),
            // The run was stopped, which is not an error.
            false => notes.push(failed_parts.note()),
        }
        Ok(Summary {
            interrupted: !complete,
            wall: began.elapsed(),
            failures,
            notes,
            ..Summary::of(&progress.snapshot())
        })
    }
}

/// State of a run through a batch API.
struct Run<'a, A, O> {
    api: &'a A,
    chain: Chain<Prompt, O>,
    cx: Context,
    /// Context of the steps around the calls, which are short: they end even if the run is cancelled.
    steps: Context,
    recorder: Recorder,
    progress: Arc<Progress>,
    costs: Costs,
    waiting: HashMap<Key, Waiting>,
    parts: Parts,
    /// Set when the run may not read all rows that the provider has from a previous run.
    is_limited: bool,
    /// Set when batches that the provider no longer has are discarded.
    drop_lost: bool,
    failed_parts: FailedParts,
}

/// Final state of a batch.
enum End {
    Ended,
    /// The provider rejected the whole batch, for this reason.
    Rejected(String),
    /// The provider reports that the batch does not exist.
    Gone(fanweave_core::Error),
}

impl<A: BatchApi, O: IntoAnswer> Run<'_, A, O> {
    /// Looks for the batches of parts whose id was not received.
    async fn confirm(&mut self) -> Result<()> {
        for _ in 0..self.parts.len() {
            let Some(mut part) = self.parts.next() else { break };
            let tag = part.tag.clone();
            if part.batch.is_none() {
                part.batch = self.api.find(&tag, part.keys.len()).await.map_err(failed)?;
                let Some(batch) = part.batch.clone() else {
                    // It did not arrive: its rows can be submitted.
                    self.note(Part { tag, state: PartState::Dropped }).await?;
                    continue;
                };
                self.note(Part { tag, state: PartState::Submitted { batch } }).await?;
            }
            self.parts.add(part);
        }
        Ok(())
    }

    /// Submits all rows that the provider does not have yet. Returns false if the run was stopped.
    async fn submit_all(
        &mut self,
        mut jobs: mpsc::Receiver<Result<Job>>,
        prepare: impl Fn(&mut Job) -> fanweave_core::Result<Prompt>,
        stop: &CancellationToken,
    ) -> Result<bool> {
        let (limits, around) = (self.api.limits(), self.cx.clone());
        let (mut keys, mut lines, mut bytes) = (Vec::new(), Vec::new(), 0);
        loop {
            let job = tokio::select! {
                biased;
                () = stopped(stop, &around) => return Ok(false),
                job = jobs.recv() => job,
            };
            let Some(job) = job else { break };
            let mut job = job?;
            let submitted = self.parts.has(&job.key);
            let prepared = match prepare(&mut job) {
                Ok(prompt) if !submitted => hooks::captured(&self.chain, prompt, &self.steps).await,
                other => other,
            };
            let prepared = prepared.and_then(|prompt| self.api.line(&job.key.to_string(), prompt));
            let JobFields { key, index, line, id, .. } = *job.0;
            let waiting = Waiting { index, line, id };
            match prepared {
                _ if submitted => {}
                Ok(text) => {
                    if !keys.is_empty()
                        && (keys.len() >= limits.requests || bytes + text.len() > limits.bytes)
                    {
                        self.submit(std::mem::take(&mut keys), std::mem::take(&mut lines)).await?;
                        bytes = 0;
                    }
                    bytes += text.len();
                    keys.push(key);
                    lines.push(text);
                }
                Err(error) => {
                    self.record(key, waiting, Err(error)).await?;
                    continue;
                }
            }
            self.waiting.insert(key, waiting);
        }
        if !keys.is_empty() {
            self.submit(keys, lines).await?;
        }
        Ok(true)
    }

    /// Submits one part: intent, submission, id.
    async fn submit(&mut self, keys: Vec<Key>, lines: Vec<Vec<u8>>) -> Result<()> {
        // Include random bytes: a batch of an earlier attempt with the same rows is not this one.
        let random = RandomState::new().hash_one(Instant::now()).to_le_bytes();
        let tag = Key::of(&[&random, &(keys.len() as u64).to_le_bytes()]).to_string();
        self.note(Part { tag: tag.clone(), state: PartState::Intended { keys: keys.clone() } }).await?;
        let batch = match self.api.submit(&tag, lines).await {
            Ok(batch) => batch,
            Err(error) if blames_the_rows(&error) => {
                // Keep the intent: the next run looks for the batch, rather than assume that nothing arrived.
                let rows = self.line_ranges(&keys);
                let message = format!("the provider rejected the batch part with {rows}: {error}");
                self.failed_parts.add(message, [Advice::Resubmit, Advice::FixRows]);
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        };
        self.note(Part { tag: tag.clone(), state: PartState::Submitted { batch: batch.clone() } }).await?;
        self.parts.add(PendingPart { tag, keys, batch: Some(batch) });
        Ok(())
    }

    /// Waits for all parts and records their results. Returns false if the run was stopped.
    async fn collect_all(&mut self, stop: &CancellationToken) -> Result<bool> {
        let around = self.cx.clone();
        while let Some(part) = self.parts.next() {
            tokio::select! {
                biased;
                () = stopped(stop, &around) => return Ok(false),
                collected = self.collect(part) => collected?,
            }
        }
        Ok(true)
    }

    /// Waits for one part and records its results.
    async fn collect(&mut self, part: PendingPart) -> Result<()> {
        let PendingPart { tag, keys, batch } = part;
        let batch = batch.expect("parts without an id were confirmed or dropped before");
        let is_wanted = |key| self.waiting.contains_key(key);
        let is_for_later = self.is_limited && !keys.iter().all(is_wanted);
        if is_for_later && !keys.iter().any(is_wanted) {
            return Ok(());
        }
        match self.wait_for(&batch).await? {
            End::Ended => {}
            End::Rejected(why) => {
                // The provider will not reconsider this batch: the next run resubmits these rows.
                self.note(Part { tag, state: PartState::Dropped }).await?;
                let rows = self.line_ranges(&keys);
                let message = format!("the provider rejected batch {batch} with {rows}: {why}");
                self.failed_parts.add(message, [Advice::Resubmit, Advice::FixRows]);
                return Ok(());
            }
            End::Gone(error) => {
                // A wrong base URL would not have the batch either. Search for it to confirm that only this
                // one is missing.
                let is_gone = self.drop_lost && matches!(self.api.find(&tag, keys.len()).await, Ok(None));
                return self.gone(tag, &batch, &keys, &error, is_gone).await;
            }
        }
        let mut interval = PollInterval::default();
        let results = loop {
            match self.api.collect(&batch).await {
                Ok(results) => break results,
                Err(error) if error.kind() == RowErrorKind::NotFound => {
                    return self.gone(tag, &batch, &keys, &error, self.drop_lost).await;
                }
                Err(error) => interval.failed(error).await?,
            }
        };
        let mut remaining: HashMap<String, Key> = keys.iter().map(|key| (key.to_string(), *key)).collect();
        for (id, result) in results {
            if let Some(key) = remaining.remove(&id)
                && let Some(waiting) = self.waiting.remove(&key)
            {
                self.record(key, waiting, result).await?;
            }
        }
        for key in remaining.into_values() {
            if let Some(waiting) = self.waiting.remove(&key) {
                let message = "the provider's batch ended without a result for this row";
                let error = fanweave_core::Error::new(RowErrorKind::Server, message);
                self.record(key, waiting, Err(error)).await?;
            }
        }
        if is_for_later {
            // It has results of rows after the limit: a run that reads these collects it as well.
            return Ok(());
        }
        self.note(Part { tag, state: PartState::Collected }).await
    }

    /// Handles a batch that the provider, or its results, no longer has. Its rows were paid for: they are
    /// resubmitted only if the user asked for it.
    async fn gone(
        &mut self,
        tag: String,
        batch: &str,
        keys: &[Key],
        error: &fanweave_core::Error,
        drop_lost: bool,
    ) -> Result<()> {
        let rows = self.line_ranges(keys);
        let what = format!("the provider does not have batch {batch} with {rows}: {error}");
        if drop_lost {
            self.note(Part { tag, state: PartState::Dropped }).await?;
            let message =
                format!("{what}; the batch was discarded, and its rows are billed again when resubmitted");
            self.failed_parts.add(message, [Advice::Resubmit]);
        } else {
            self.failed_parts.add(what, [Advice::OriginalAccount, Advice::DiscardLost]);
        }
        Ok(())
    }

    /// Lines of rows in the input.
    fn line_ranges(&self, keys: &[Key]) -> String {
        line_ranges(keys.iter().filter_map(|key| self.waiting.get(key)).map(|row| row.line).collect())
    }

    async fn wait_for(&self, batch: &str) -> Result<End> {
        let mut interval = PollInterval::default();
        loop {
            match self.api.poll(batch).await {
                Ok(BatchState::Ended) => return Ok(End::Ended),
                Ok(BatchState::Running) => interval.succeeded().await,
                Ok(BatchState::Failed(why)) => return Ok(End::Rejected(why)),
                Err(error) if error.kind() == RowErrorKind::NotFound => return Ok(End::Gone(error)),
                Err(error) => interval.failed(error).await?,
            }
        }
    }

    async fn note(&self, part: Part) -> Result<()> {
        if self.recorder.note(part).await {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Io, "the journal cannot be written"))
    }

    async fn record(&self, key: Key, waiting: Waiting, result: fanweave_core::Result<Message>) -> Result<()> {
        let Waiting { index, line, id } = waiting;
        let mut cost_usd = None;
        self.progress.row_started(index, line, id.clone());
        // Its price is that of the batch API, not of the chain's model.
        let tally = Arc::new(Tally::new(self.progress.clone(), Costs::default(), Calls::default()));
        let result = match result {
            Ok(message) => {
                cost_usd = self.costs.of(self.api.model(), &message.usage());
                let cx = self.steps.clone().with_observer(tally.clone());
                hooks::replayed(&self.chain, message, &cx).await
            }
            Err(error) => Err(error),
        };
        tally.close();
        let error = result.as_ref().err().cloned();
        let result = match result {
            Ok(output) => {
                let mut answer = output.into_answer();
                tally.add_to(&mut answer);
                Outcome::Answer(Box::new(answer))
            }
            Err(error) => {
                let mut failure = Failure::from(&error);
                tally.add_to_failure(&mut failure.attempts, &mut failure.usage);
                Outcome::Error(Box::new(failure))
            }
        };
        let record = Record {
            key,
            index,
            line,
            id,
            latency_ms: 0,
            cost_usd,
            maybe_billed_usd: None,
            time: None,
            result,
        };
        let row = Finished {
            origin: Origin::default(),
            row: FinishedRow::new(record, error),
            began: Instant::now(),
            latency: Duration::ZERO,
            permit: RowPermit(None),
            request: None,
            is_paid: cost_usd.is_some(),
            new_cost_usd: cost_usd,
            recorded: None,
        };
        if self.recorder.send(Entry::Finished(row)).await {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Io, "the journal cannot be written"))
    }
}

/// Resolves when the run is to stop, or the run around it ends.
async fn stopped(stop: &CancellationToken, around: &Context) {
    tokio::select! {
        () = stop.cancelled() => {}
        _ = around.draining() => {}
        _ = around.ended() => {}
    }
}

/// Waits between polls.
struct PollInterval {
    wait: Duration,
    /// Time since which the provider has been unreachable.
    down: Option<Instant>,
}

impl Default for PollInterval {
    fn default() -> Self {
        Self { wait: FIRST_WAIT, down: None }
    }
}

impl PollInterval {
    /// Waits after a poll that reported no change.
    async fn succeeded(&mut self) {
        self.down = None;
        self.pause().await;
    }

    /// Waits after a poll that failed.
    ///
    /// # Errors
    /// The error is permanent, or the provider has been unreachable for too long.
    async fn failed(&mut self, error: fanweave_core::Error) -> Result<()> {
        let down = *self.down.get_or_insert_with(Instant::now);
        if !error.is_retryable() || down.elapsed() >= MAX_OUTAGE {
            return Err(failed(error));
        }
        self.pause().await;
        Ok(())
    }

    async fn pause(&mut self) {
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(MAX_WAIT);
    }
}

/// Returns true if a part was rejected because of its contents: another one may be accepted.
fn blames_the_rows(error: &fanweave_core::Error) -> bool {
    use RowErrorKind::{BadRequest, ContentFilter, ContextLength, Input};
    matches!(error.kind(), BadRequest | ContentFilter | ContextLength | Input)
}

#[expect(clippy::needless_pass_by_value, reason = "`map_err` passes it by value")]
fn failed(error: fanweave_core::Error) -> Error {
    Error::new(ErrorKind::Provider, error.to_string())
}
