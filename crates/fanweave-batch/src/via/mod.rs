//! Rows through a provider's batch API: handed over by the thousand, answered within a day, at half the price.
//!
//! ```text
//! rows -> minus journalled -> parts within the API's limits -> intent, submit, id -> poll -> collect -> recorder
//! ```
//!
//! The journal says of every part that it is about to be submitted, under which id it was, and when it has been
//! collected. A run that is killed between any two of these goes on with the parts that the provider has, and
//! never submits a part twice: where the intent is there and the id is not, it asks the provider first.

mod api;
mod failed_parts;
mod parts;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use fanweave_core::{ErrorKind as RowErrorKind, Message, Prompt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use api::{BatchApi, BatchLimits, BatchState};

use crate::answer::IntoAnswer;
use crate::journal::{Failure, Outcome, Part, PartState, PreviousRun, Record};
use crate::key::Key;
use crate::open::Open;
use crate::reader::{Job, Reader};
use crate::recorder::{Entry, Recorder};
use crate::run::{AHEAD, BatchJob};
use crate::summary::Summary;
use crate::{Costs, Error, ErrorKind, Result};
use failed_parts::{FailedParts, places};
use parts::{Parts, PendingPart};

/// First wait between two looks at what the provider has done; it doubles each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Longest such wait. Source: batches take minutes to hours, and providers ask for no more than a look a minute.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Longest that a provider may be out of reach before the run gives up: of the day that a batch may take, not all of it.
const MAX_OUTAGE: Duration = Duration::from_secs(3600);

/// What of a row is needed once its answer comes. The prompt itself is the provider's to keep.
struct Waiting {
    index: u64,
    line: u64,
    id: Option<String>,
}

impl BatchJob<Prompt, Message> {
    /// Runs the job through a provider's batch API instead of one call a row. The job's chain is not used.
    ///
    /// Rows are submitted in parts within the API's limits. All parts are then waited for, which may take a day;
    /// memory holds about 150 bytes for each row meanwhile. Stopping the run, or killing it, leaves the parts
    /// with the provider: the same job collects them later, and submits none of them again.
    ///
    /// A row that the provider refused or did not get to in time is a failed row. A provider that is out of reach while its
    /// parts are waited for is asked again for up to an hour.
    ///
    /// A part that the provider refuses as a whole, or no longer has, holds up no other: these are submitted and collected
    /// first, and written to the output. The run then ends with an error that names the lines of its rows. Those of a part
    /// that was refused are submitted anew by the next run. Those of one that is gone were paid for, and are submitted anew
    /// only once a run with [`Settings::retry_failed`](crate::Settings::retry_failed) has let go of it.
    ///
    /// ```no_run
    /// # async fn run(
    /// #     job: fanweave_batch::BatchJob<fanweave_core::Prompt, fanweave_core::Message>,
    /// #     api: impl fanweave_batch::BatchApi,
    /// # ) -> fanweave_batch::Result<()> {
    /// let summary = job.run_via(&api).await?;
    /// println!("{} answered, {} failed", summary.ok, summary.failed);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`ErrorKind::Provider`] where the API cannot be used or fails as a whole.
    /// [`ErrorKind::Usage`] also for an output that is no file, for a cap of [`Costs`], and for [`Settings::dedupe`](crate::Settings::dedupe).
    ///
    /// # Cancellation
    /// Dropping the future leaves what was submitted with the provider.
    pub async fn run_via<A: BatchApi>(self, api: &A) -> Result<Summary> {
        let began = Instant::now();
        let Self { source, prepare, output, settings, fingerprint, progress, stop, costs, disk, .. } = self;
        if !matches!(output, crate::Output::File(_)) {
            return Err(Error::usage(
                "a provider's batch API needs an output file: its journal remembers what was submitted",
            ));
        }
        // Rather than pay for what the caller asked not to.
        if settings.dedupe {
            return Err(Error::usage(
                "a provider's batch API answers every row: equal requests cannot be called once",
            ));
        }
        if costs.most().is_some() {
            return Err(Error::usage(
                "a cap cannot hold with a provider's batch API: what was submitted is paid for",
            ));
        }
        let open = Open { output, settings: settings.clone(), fingerprint, progress: progress.clone(), disk };
        let (writer, left, source) = open.run(source).await?;
        let PreviousRun { done, mut notes, parts, .. } = left;
        let recorder = Recorder::spawn(writer)?;
        let (jobs, inbox) = mpsc::channel(AHEAD);
        let is_file = source.path().is_some();
        let reader = Reader {
            source,
            done,
            limit: settings.limit.unwrap_or(u64::MAX),
            strict: settings.strict,
            jobs,
            recorder: recorder.weak(),
            answered: Arc::default(),
        };
        let read = reader.spawn()?;
        let (waiting, parts) = (HashMap::new(), Parts::new(parts));
        let mut run = Run {
            api,
            recorder,
            costs,
            waiting,
            parts,
            is_limited: settings.limit.is_some(),
            drop_lost: settings.retry_failed,
            failed_parts: FailedParts::default(),
        };
        let prepare = |job: &mut Job| {
            let input = std::mem::replace(&mut job.input, Ok(crate::Input::Text(String::new())));
            prepare(input?)
        };
        let work = async {
            run.confirm().await?;
            Ok(run.submit_all(inbox, prepare, &stop).await? && run.collect_all(&stop).await?)
        };
        let collected: Result<bool> = work.await;
        let Run { recorder, failed_parts, .. } = run;
        let complete = match collected {
            Ok(complete) => complete,
            // The recorder's own error says more than that it has gone.
            Err(error) if error.kind() == ErrorKind::Io => {
                recorder.end(true).await?;
                return Err(error);
            }
            Err(error) if failed_parts.is_empty() => return Err(error),
            Err(error) => return Err(error.adding(&failed_parts.told())),
        };
        if is_file {
            // Rows behind the place where it was stopped may have results of an earlier run.
            let _ = read.await;
        }
        // Parts that came to nothing left their rows without a result.
        let failures = recorder.end(!complete || !failed_parts.is_empty()).await?;
        match failed_parts.is_empty() {
            true => {}
            false if complete => return Err(failed_parts.error()),
            // Stopped meanwhile: the end of the run is another one.
            false => notes.push(failed_parts.told()),
        }
        let end = progress.snapshot();
        Ok(Summary {
            rows: end.done,
            ok: end.ok,
            failed: end.failed,
            resumed: end.resumed,
            left: end.total.map(|total| total.saturating_sub(end.done)),
            interrupted: !complete,
            usage: end.usage,
            cost_usd: end.cost_usd,
            unanswered: end.unanswered,
            maybe_billed_usd: end.maybe_billed_usd,
            wall: began.elapsed(),
            failures,
            notes,
            ..Summary::default()
        })
    }
}

/// A run through a batch API.
struct Run<'a, A> {
    api: &'a A,
    recorder: Recorder,
    costs: Costs,
    waiting: HashMap<Key, Waiting>,
    parts: Parts,
    /// Whether rows may have been left unread, which the provider has from an earlier run.
    is_limited: bool,
    /// Whether batches are let go of that the provider no longer has.
    drop_lost: bool,
    failed_parts: FailedParts,
}

/// What became of a batch that was waited for.
enum End {
    Ended,
    /// The provider took none of it, for this reason.
    Refused(String),
    /// The provider says that there is no such batch.
    Gone(fanweave_core::Error),
}

impl<A: BatchApi> Run<'_, A> {
    /// Asks the provider about the parts whose id never came back.
    async fn confirm(&mut self) -> Result<()> {
        for _ in 0..self.parts.len() {
            let Some(mut part) = self.parts.next() else { break };
            let tag = part.tag.clone();
            if part.batch.is_none() {
                part.batch = self.api.find(&tag, part.keys.len()).await.map_err(failed)?;
                let Some(batch) = part.batch.clone() else {
                    // It never arrived: its rows are as good as new.
                    self.note(Part { tag, state: PartState::Dropped }).await?;
                    continue;
                };
                self.note(Part { tag, state: PartState::Submitted { batch } }).await?;
            }
            self.parts.add(part);
        }
        Ok(())
    }

    /// Hands all rows over that the provider does not have yet. `false` where the run was stopped meanwhile.
    async fn submit_all(
        &mut self,
        mut jobs: mpsc::Receiver<Result<Job>>,
        prepare: impl Fn(&mut Job) -> fanweave_core::Result<Prompt>,
        stop: &CancellationToken,
    ) -> Result<bool> {
        let limits = self.api.limits();
        let (mut keys, mut lines, mut bytes) = (Vec::new(), Vec::new(), 0);
        loop {
            let job = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(false),
                job = jobs.recv() => job,
            };
            let Some(job) = job else { break };
            let mut job = job?;
            let submitted = self.parts.has(&job.key);
            let prepared = prepare(&mut job).and_then(|prompt| self.api.line(&job.key.to_string(), prompt));
            let Job { key, index, line, id, .. } = job;
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

    /// Hands one part over: intent, submission, id.
    async fn submit(&mut self, keys: Vec<Key>, lines: Vec<Vec<u8>>) -> Result<()> {
        // Not the same one for the same rows: a batch of an earlier try is not this one.
        let random = RandomState::new().hash_one(Instant::now()).to_le_bytes();
        let tag = Key::of(&[&random, &(keys.len() as u64).to_le_bytes()]).to_string();
        self.note(Part { tag: tag.clone(), state: PartState::Intended { keys: keys.clone() } }).await?;
        let batch = match self.api.submit(&tag, lines).await {
            Ok(batch) => batch,
            Err(error) if blames_the_rows(&error) => {
                // Its intent stays: the next run asks the provider, rather than believe that nothing arrived.
                let rows = self.places(&keys);
                self.failed_parts.add(format!(
                    "the provider refused the part with {rows}: {error}; run the same command again to submit it anew, \
                     or mend its rows first and go on with --resume-changed"
                ));
                return Ok(());
            }
            Err(error) => return Err(failed(error)),
        };
        self.note(Part { tag: tag.clone(), state: PartState::Submitted { batch: batch.clone() } }).await?;
        self.parts.add(PendingPart { tag, keys, batch: Some(batch) });
        Ok(())
    }

    /// Waits for all parts and records what comes of them. `false` where the run was stopped meanwhile.
    async fn collect_all(&mut self, stop: &CancellationToken) -> Result<bool> {
        while let Some(part) = self.parts.next() {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(false),
                collected = self.collect(part) => collected?,
            }
        }
        Ok(true)
    }

    /// Waits for one part and records what comes of it.
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
            End::Refused(why) => {
                // It will not change its mind about this batch: the next run submits these rows anew.
                self.note(Part { tag, state: PartState::Dropped }).await?;
                let rows = self.places(&keys);
                self.failed_parts.add(format!(
                    "the provider refused batch {batch} with {rows}: {why}; run the same command again to submit it anew, \
                     or mend its rows first and go on with --resume-changed"
                ));
                return Ok(());
            }
            End::Gone(error) => {
                // A wrong address knows no batches either. That there are others, and not this one, is known by asking.
                let is_gone = self.drop_lost && matches!(self.api.find(&tag, keys.len()).await, Ok(None));
                return self.gone(tag, &batch, &keys, &error, is_gone).await;
            }
        }
        let mut looks = PollInterval::default();
        let results = loop {
            match self.api.collect(&batch).await {
                Ok(results) => break results,
                Err(error) if error.kind() == RowErrorKind::NotFound => {
                    return self.gone(tag, &batch, &keys, &error, self.drop_lost).await;
                }
                Err(error) => looks.failed(error).await?,
            }
        };
        let mut left: HashMap<String, Key> = keys.iter().map(|key| (key.to_string(), *key)).collect();
        for (id, result) in results {
            if let Some(key) = left.remove(&id)
                && let Some(waiting) = self.waiting.remove(&key)
            {
                self.record(key, waiting, result).await?;
            }
        }
        for key in left.into_values() {
            if let Some(waiting) = self.waiting.remove(&key) {
                let message = "the provider's batch ended without a result for this row";
                let error = fanweave_core::Error::new(RowErrorKind::Server, message);
                self.record(key, waiting, Err(error)).await?;
            }
        }
        if is_for_later {
            // It has results of rows behind the limit: a run that reads them collects it as well.
            return Ok(());
        }
        self.note(Part { tag, state: PartState::Collected }).await
    }

    /// Takes note of a batch that the provider no longer has, or whose results. Its rows were paid for: they are submitted
    /// anew only where somebody has said so.
    async fn gone(
        &mut self,
        tag: String,
        batch: &str,
        keys: &[Key],
        error: &fanweave_core::Error,
        drop_lost: bool,
    ) -> Result<()> {
        let rows = self.places(keys);
        let what = format!("the provider does not have batch {batch} with {rows}: {error}");
        if drop_lost {
            self.note(Part { tag, state: PartState::Dropped }).await?;
            self.failed_parts.add(format!(
                "{what}; it was let go of: run the same command again to submit its rows anew, which pays for them again"
            ));
        } else {
            self.failed_parts.add(format!(
                "{what}; run the same command again with the key and address that it was submitted with, or, where it is \
                 gone for good, with --retry-failed, which lets go of it"
            ));
        }
        Ok(())
    }

    /// Where rows are in the input.
    fn places(&self, keys: &[Key]) -> String {
        places(keys.iter().filter_map(|key| self.waiting.get(key)).map(|row| row.line).collect())
    }

    async fn wait_for(&self, batch: &str) -> Result<End> {
        let mut looks = PollInterval::default();
        loop {
            match self.api.poll(batch).await {
                Ok(BatchState::Ended) => return Ok(End::Ended),
                Ok(BatchState::Running) => looks.succeeded().await,
                Ok(BatchState::Failed(why)) => return Ok(End::Refused(why)),
                Err(error) if error.kind() == RowErrorKind::NotFound => return Ok(End::Gone(error)),
                Err(error) => looks.failed(error).await?,
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
        let result = match result {
            Ok(message) => {
                let answer = message.into_answer();
                cost_usd = self.costs.of(self.api.model(), &answer.usage);
                Outcome::Answer(Box::new(answer))
            }
            Err(error) => Outcome::Error(Box::new(Failure::from(&error))),
        };
        let record = Box::new(Record {
            key,
            index,
            line,
            id,
            latency_ms: 0,
            cost_usd,
            maybe_billed_usd: None,
            time: None,
            result,
        });
        if self.recorder.tell(Entry::Collected { record }).await {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Io, "the journal cannot be written"))
    }
}

/// The waits between looks at what the provider has done.
struct PollInterval {
    wait: Duration,
    /// Since when it has been out of reach.
    down: Option<Instant>,
}

impl Default for PollInterval {
    fn default() -> Self {
        Self { wait: FIRST_WAIT, down: None }
    }
}

impl PollInterval {
    /// Waits after a look that showed nothing new.
    async fn succeeded(&mut self) {
        self.down = None;
        self.pause().await;
    }

    /// Waits after a look that failed.
    ///
    /// # Errors
    /// Where it will not pass, or has lasted too long.
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

/// Whether a part was refused for what is in it: another one may be taken.
fn blames_the_rows(error: &fanweave_core::Error) -> bool {
    use RowErrorKind::{BadRequest, ContentFilter, ContextLength, Input};
    matches!(error.kind(), BadRequest | ContentFilter | ContextLength | Input)
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn failed(error: fanweave_core::Error) -> Error {
    Error::new(ErrorKind::Provider, error.to_string())
}
