//! A batch whose rows run at workers, and whose journal and output are on this machine.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use fanweave_batch::__private::{Collector, KeyedRows, Stopped};
use fanweave_batch::{BatchJob, CancellationToken, IntoAnswer, Progress, Summary};
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep};

use crate::broker::Broker;
use crate::collect::Results;
use crate::error::{Error, ErrorKind, Result};
use crate::manifests::{change, manifest_of};
use crate::patience::patiently;
use crate::status::{Refusal, WorkerStatus, workers_of};
use crate::submit::{Submitted, submit};
use crate::wire::{Manifest, RunState, rows_per_shard};

/// Time without a worker after which that is said.
const IDLE_WAIT: Duration = Duration::from_secs(10);

/// Time between two looks at what the workers say.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// A batch whose rows run at workers.
///
/// ```no_run
/// use std::sync::Arc;
///
/// use fanweave::batch::{BatchJob, Output, Render, Source};
/// use fanweave::crates::serde_json::json;
/// use fanweave::workers::{Access, Attached, Manifest, Nats};
/// use fanweave::{chain, testing::Fake};
///
/// # fanweave::blocking::wait(async {
/// let broker = Nats::connect("nats://127.0.0.1:4222", "fw", &Access::new()).await?;
/// let work = json!({ "prompts": { "model": "sim/echo" } });
/// let attached = Attached::new(Arc::new(broker), Manifest::new("cities-1", work)).patient(true);
/// let source = Source::open("cities.jsonl", None)?;
/// let job = BatchJob::new(source, Render::default(), chain(Fake::echo()), Output::File("out.jsonl".into()));
/// let summary = attached.run(job).await?;
/// # drop(summary);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
pub struct Attached {
    broker: Arc<dyn Broker>,
    manifest: Manifest,
    stop: CancellationToken,
    submitted: Box<dyn FnMut(&Submitted) + Send>,
    /// Resolves if no worker is left, with the reason.
    workers_ended: BoxFuture<'static, Error>,
    note: Box<dyn FnMut(String) + Send>,
    /// Set to continue while all workers wait for their provider, or without a worker.
    is_patient: bool,
    retries_failed: bool,
    /// Set to collect what is there without waiting for the rest.
    is_partial: bool,
    /// Set if the rows are at the broker: none are submitted.
    is_submitted: bool,
}

/// Reason for which results are not collected to the end.
enum Cut {
    Stopped,
    Refused(Refusal),
    OverBudget,
}

impl Attached {
    /// A batch of the run with this manifest.
    pub fn new(broker: Arc<dyn Broker>, manifest: Manifest) -> Self {
        Self {
            broker,
            manifest,
            stop: CancellationToken::new(),
            submitted: Box::new(|_| {}),
            workers_ended: Box::pin(std::future::pending()),
            note: Box::new(|_| {}),
            is_patient: false,
            retries_failed: false,
            is_partial: false,
            is_submitted: false,
        }
    }

    /// Collects no more results once `stop` is cancelled. The run continues at the workers.
    #[must_use]
    pub fn stop(self, stop: CancellationToken) -> Self {
        Self { stop, ..self }
    }

    /// Calls `submitted` when all rows were submitted.
    #[must_use]
    pub fn on_submitted(self, submitted: impl FnMut(&Submitted) + Send + 'static) -> Self {
        Self { submitted: Box::new(submitted), ..self }
    }

    /// Calls `note` with what holds the run up, such as a provider that refuses all workers.
    #[must_use]
    pub fn on_note(self, note: impl FnMut(String) + Send + 'static) -> Self {
        Self { note: Box::new(note), ..self }
    }

    /// Continues while all workers wait for their provider, or without a worker. Default: ends the batch if
    /// the provider refuses all workers, as a run on this machine does.
    #[must_use]
    pub fn patient(self, is_patient: bool) -> Self {
        Self { is_patient, ..self }
    }

    /// Retries the failed rows of the run. Default: false.
    #[must_use]
    pub fn retry_failed(self, retry: bool) -> Self {
        Self { retries_failed: retry, ..self }
    }

    /// Collects the results that are there, and waits for no others. Default: false.
    #[must_use]
    pub fn partial(self, is_partial: bool) -> Self {
        Self { is_partial, ..self }
    }

    /// Collects a run whose rows were all submitted, and submits nothing: the source of the batch must have
    /// its rows, such as [`ShardRows`](crate::ShardRows).
    #[must_use]
    pub fn submitted(self) -> Self {
        Self { is_submitted: true, ..self }
    }

    /// Fails with the error that `ended` resolves to, if it does.
    #[must_use]
    pub fn unless(self, ended: impl Future<Output = Error> + Send + 'static) -> Self {
        Self { workers_ended: Box::pin(ended), ..self }
    }

    /// Submits the rows of `job`, and writes the results to its journal and its output. Its chain is not
    /// used: the workers make theirs of the manifest.
    ///
    /// Rows whose results the journal has are not collected again. The results of a run that is stopped stay
    /// at the broker, and the same call continues.
    ///
    /// # Errors
    /// Those of [`BatchJob::run`]; the journal has results that were not collected from this run; the run was
    /// removed. A run that is cancelled ends as one that is stopped.
    pub async fn run<I: Send + 'static, O: IntoAnswer>(
        self,
        job: BatchJob<I, O>,
    ) -> fanweave_batch::Result<Summary> {
        let (mut collector, mut rows) = job.collect().await?;
        if collector.is_complete() {
            while let Some(row) = rows.next().await {
                let (key, row) = row?;
                collector.add_known(key, row.index, row.line).await?;
            }
            return collector.end(Stopped::default()).await;
        }
        let cut = match self.follow(&mut collector, rows).await {
            Ok(cut) => cut,
            Err(error) => {
                // The journal keeps what was collected. Its error is the better one, if it failed.
                let stopped = Stopped { is_cut_short: true, ..Stopped::default() };
                collector.end(stopped).await?;
                return Err(error.into());
            }
        };
        let mut stopped = Stopped { is_cut_short: cut.is_some(), ..Stopped::default() };
        if let Some(Cut::OverBudget) = cut {
            stopped.over_budget = true;
        }
        if let Some(Cut::Refused(refusal)) = cut {
            let error = Some(refusal.error);
            stopped.refused_rows = refusal.rows;
            if refusal.is_outage { stopped.unavailable = error } else { stopped.refused = error }
        }
        collector.end(stopped).await
    }

    /// Submits the rows and collects the results. Returns the reason if some are missing.
    async fn follow(mut self, collector: &mut Collector, rows: KeyedRows) -> Result<Option<Cut>> {
        let broker = self.broker.clone();
        let run = self.manifest.run.clone();
        if collector.known_rows() > 0 {
            let is_known = patiently(|| manifest_of(&*broker, &run)).await?.is_some();
            if !is_known {
                let message = format!(
                    "the journal has {} results of a run on this machine; continue without workers, or start over",
                    collector.known_rows()
                );
                return Err(Error::new(ErrorKind::Usage, message));
            }
        }
        if self.retries_failed && manifest_of(&*broker, &run).await?.is_some() {
            reopen(&*broker, &run).await?;
        }
        let mut reading = None;
        let manifest = match self.is_submitted {
            true => {
                reading = collector.keeps_columns().then_some(Reading { rows, next: 0 });
                self.manifest.clone()
            }
            false => {
                let shard_rows = rows_per_shard(collector.total());
                let submitted = tokio::select! {
                    submitted = submit(&broker, self.manifest.clone(), rows, shard_rows) => submitted?,
                    () = self.stop.cancelled() => return Ok(Some(Cut::Stopped)),
                    error = &mut self.workers_ended => return Err(error),
                };
                (self.submitted)(&submitted);
                submitted.manifest
            }
        };
        let mut results = Results::new(broker.clone(), manifest);
        if self.is_partial {
            results.skip_missing();
        }
        let Self { stop, mut workers_ended, mut note, is_patient, mut is_partial, .. } = self;
        let progress = collector.progress();
        let watched = watch(&*broker, &run, is_patient, &progress, &mut note);
        tokio::pin!(watched);
        loop {
            let part = tokio::select! {
                biased;
                part = results.next_part() => part,
                () = stop.cancelled() => return Ok(Some(Cut::Stopped)),
                cut = &mut watched => return Ok(Some(cut)),
                error = &mut workers_ended => return Err(error),
            };
            match part {
                Ok(Some(part)) => {
                    if let (Some(reading), Some(row)) = (&mut reading, part.rows.last()) {
                        reading.up_to(row.index()).await?;
                    }
                    let added = collector.add(part).await;
                    added.map_err(|e| Error::new(ErrorKind::Rows, e.to_string()))?;
                }
                Ok(None) => return Ok(is_partial.then_some(Cut::Stopped)),
                Err(error) if error.kind() == ErrorKind::Cancelled => {
                    // The results that are there are collected.
                    is_partial = true;
                    results.skip_missing();
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Begins the next generation of a run.
async fn reopen(broker: &dyn Broker, run: &str) -> Result<()> {
    let changed = change(broker, run, |manifest| {
        manifest.generation += 1;
        manifest.state = RunState::Open;
    });
    changed.await.map(|_| ())
}

/// Rows that are read beside their results, for the columns of the output.
struct Reading {
    rows: KeyedRows,
    /// Index after that of the last row.
    next: u64,
}

impl Reading {
    /// Reads the rows up to the one with this index.
    async fn up_to(&mut self, index: u64) -> Result<()> {
        while self.next <= index {
            let Some(row) = self.rows.next().await else { return Ok(()) };
            let (_, row) = row.map_err(|e| Error::new(ErrorKind::Rows, e.to_string()))?;
            self.next = row.index + 1;
        }
        Ok(())
    }
}

/// Looks at what the workers of a run say, until there is a reason to collect no more results. A patient
/// command says what holds the run up, and waits unless the budget is spent.
async fn watch(
    broker: &dyn Broker,
    run: &str,
    is_patient: bool,
    progress: &Progress,
    note: &mut (dyn FnMut(String) + Send),
) -> Cut {
    let mut beats = HashMap::new();
    let mut delays =
        Delays { done: 0, since: Instant::now(), reported: String::new(), is_idle_reported: false };
    loop {
        sleep(LOOK_PERIOD).await;
        // A look that fails is repeated.
        let Ok(workers) = workers_of(broker, run).await else { continue };
        progress.set_at_workers(in_flight(&workers, &mut beats));
        let is_over = workers.iter().any(|worker| worker.is_over_budget);
        if is_over && workers.iter().all(|worker| worker.is_over_budget || worker.has_ended) {
            return Cut::OverBudget;
        }
        if is_patient {
            delays.explain(run, &workers, progress.snapshot().done, note);
            continue;
        }
        let refusals: Vec<_> = workers.iter().filter_map(|worker| worker.refusal.as_ref()).collect();
        if !workers.is_empty() && refusals.len() == workers.len() {
            return Cut::Refused(refusals[0].clone());
        }
    }
}

/// Rows in flight at workers whose reports continue. `beats` has the last report of each, and when it was
/// seen first.
fn in_flight(workers: &[WorkerStatus], beats: &mut HashMap<String, (u64, Instant)>) -> u64 {
    let mut rows = 0;
    for worker in workers.iter().filter(|worker| !worker.has_ended) {
        let last = beats.entry(worker.worker.clone()).or_insert((worker.beat, Instant::now()));
        if last.0 != worker.beat {
            *last = (worker.beat, Instant::now());
        }
        if last.1.elapsed() < IDLE_WAIT {
            rows += worker.in_flight;
        }
    }
    rows
}

/// Reasons for which a run waits, as far as they were reported.
struct Delays {
    /// Rows that have a result, and the time at which they became as many.
    done: u64,
    since: Instant,
    /// The last reason.
    reported: String,
    is_idle_reported: bool,
}

impl Delays {
    /// Says what holds a run up, once.
    fn explain(
        &mut self,
        run: &str,
        workers: &[WorkerStatus],
        done: u64,
        note: &mut (dyn FnMut(String) + Send),
    ) {
        if done != self.done {
            (self.done, self.since) = (done, Instant::now());
        }
        let working: Vec<_> = workers.iter().filter(|worker| !worker.has_ended).collect();
        let refusals: Vec<_> = working.iter().filter_map(|worker| worker.refusal.as_ref()).collect();
        if working.is_empty() && !self.is_idle_reported && self.since.elapsed() >= IDLE_WAIT {
            self.is_idle_reported = true;
            note(format!("{run}: no worker takes rows now; see `fanweave worker --help`"));
        }
        if !working.is_empty() && refusals.len() == working.len() {
            let why = refusals[0].error.to_string();
            if why != self.reported {
                note(format!("{run}: all workers wait: {why}"));
                self.reported = why;
            }
        }
    }
}

impl From<Error> for fanweave_batch::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Usage | ErrorKind::Newer | ErrorKind::Denied => fanweave_batch::ErrorKind::Usage,
            _ => fanweave_batch::ErrorKind::Io,
        };
        Self::of(kind, error.message())
    }
}
