//! A batch whose rows run at workers, and whose journal and output are on this machine.

use std::sync::Arc;
use std::time::Duration;

use fanweave_batch::__private::{Collector, KeyedRows, Stopped};
use fanweave_batch::{BatchJob, CancellationToken, IntoAnswer, Summary};
use futures::future::BoxFuture;
use tokio::time::sleep;

use crate::broker::Broker;
use crate::collect::Results;
use crate::error::{Error, ErrorKind, Result};
use crate::status::{Refusal, workers_of};
use crate::submit::{Submitted, manifest_of, patiently, submit};
use crate::wire::{Manifest, rows_per_shard};

/// Time between two looks at what the workers say.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// A batch whose rows run at workers.
pub struct Attached {
    broker: Arc<dyn Broker>,
    manifest: Manifest,
    stop: CancellationToken,
    submitted: Box<dyn FnMut(&Submitted) + Send>,
    /// Resolves if no worker is left, with the reason.
    workers_ended: BoxFuture<'static, Error>,
}

/// Reason for which results are not collected to the end.
enum Cut {
    Stopped,
    Refused(Refusal),
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
    /// cancelled or removed.
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
        let submitted = tokio::select! {
            submitted = submit(&broker, self.manifest.clone(), rows, rows_per_shard(collector.total())) => submitted?,
            () = self.stop.cancelled() => return Ok(Some(Cut::Stopped)),
            error = &mut self.workers_ended => return Err(error),
        };
        (self.submitted)(&submitted);
        let mut results = Results::new(broker.clone(), submitted.manifest);
        let refused = refused(&*broker, &run);
        tokio::pin!(refused);
        loop {
            let row = tokio::select! {
                biased;
                row = results.next() => row?,
                () = self.stop.cancelled() => return Ok(Some(Cut::Stopped)),
                refusal = &mut refused => return Ok(Some(Cut::Refused(refusal))),
                error = &mut self.workers_ended => return Err(error),
            };
            let Some(row) = row else { return Ok(None) };
            let added = collector.add(row).await;
            added.map_err(|e| Error::new(ErrorKind::Rows, e.to_string()))?;
        }
    }
}

/// Waits until each worker of a run is refused by its provider.
async fn refused(broker: &dyn Broker, run: &str) -> Refusal {
    loop {
        sleep(LOOK_PERIOD).await;
        // A look that fails is repeated.
        let Ok(workers) = workers_of(broker, run).await else { continue };
        let refusals = workers.iter().filter_map(|worker| worker.refusal.clone());
        let refusals: Vec<_> = refusals.collect();
        if !workers.is_empty() && refusals.len() == workers.len() {
            return refusals.into_iter().next().expect("there is one for each worker");
        }
    }
}

impl From<Error> for fanweave_batch::Error {
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Usage | ErrorKind::Newer => fanweave_batch::ErrorKind::Usage,
            _ => fanweave_batch::ErrorKind::Io,
        };
        Self::of(kind, error.message())
    }
}
