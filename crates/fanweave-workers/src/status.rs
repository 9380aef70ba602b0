//! Status of workers: what each of them says about a run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fanweave_batch::Progress;
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::broker::Broker;
use crate::error::Result;
use crate::patience::patiently;

/// Time between two reports.
const PERIOD: Duration = Duration::from_secs(1);

/// Pause before the last report is repeated.
const PAUSE: Duration = Duration::from_millis(200);

/// Time between two reports of a worker whose rows take longer.
const ALIVE_PERIOD: Duration = Duration::from_secs(5);

/// Status of a worker in a run. Counts what this worker did since it started on the run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct WorkerStatus {
    /// Name of the worker.
    pub worker: String,
    /// Number of reports, which grows while the worker lives.
    pub beat: u64,
    /// Time of the last report by the worker's clock, in seconds of Unix time.
    pub at: u64,
    /// Rows that have an answer.
    pub ok: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows in flight.
    pub in_flight: u64,
    /// Set if another row could exceed the budget of the run.
    pub is_over_budget: bool,
    /// Set when the worker has stopped working on the run.
    pub has_ended: bool,
    /// Reason for which the worker does not take rows of the run for now.
    pub refusal: Option<Refusal>,
}

/// Reason for which a worker does not take rows of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Refusal {
    /// The error that the provider answered with.
    pub error: fanweave_core::Error,
    /// Number of rows that were rejected with the same error. 0 if the account was rejected.
    pub rows: u64,
    /// Set if the provider failed for longer than the outage timeout.
    pub is_outage: bool,
}

/// Publishes the status of a worker.
pub(crate) struct Publisher {
    status: Arc<Mutex<WorkerStatus>>,
    task: JoinHandle<()>,
    broker: Arc<dyn Broker>,
    key: String,
    progress: Arc<Progress>,
}

impl Publisher {
    pub(crate) fn start(broker: Arc<dyn Broker>, run: &str, worker: &str, progress: &Arc<Progress>) -> Self {
        let status = WorkerStatus { worker: worker.to_owned(), ..WorkerStatus::default() };
        let status = Arc::new(Mutex::new(status));
        let key = format!("stat.{run}.{worker}");
        let task = {
            let (broker, key, status, progress) =
                (broker.clone(), key.clone(), status.clone(), progress.clone());
            tokio::spawn(async move {
                let mut ticks = interval(PERIOD);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                let (mut before, mut reported) = ((u64::MAX, 0, 0), Instant::now());
                loop {
                    ticks.tick().await;
                    let now = progress.snapshot();
                    let counts = (now.ok, now.failed, now.in_flight);
                    let has_refused = lock(&status).refusal.is_some();
                    // Slow calls change no count.
                    let is_due = now.in_flight > 0 && reported.elapsed() >= ALIVE_PERIOD;
                    if counts != before || has_refused || is_due {
                        (before, reported) = (counts, Instant::now());
                        publish(&*broker, &key, &status, &progress).await;
                    }
                }
            })
        };
        Self { status, task, broker, key, progress: progress.clone() }
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        lock(&self.status).refusal = Some(refusal);
    }

    pub(crate) fn over_budget(&self) {
        lock(&self.status).is_over_budget = true;
    }

    /// Publishes the last status.
    pub(crate) async fn end(self) {
        self.task.abort();
        lock(&self.status).has_ended = true;
        let publishing = async {
            // A report of the task that was just aborted may arrive in between.
            while !publish(&*self.broker, &self.key, &self.status, &self.progress).await {
                sleep(PAUSE).await;
            }
        };
        let _ = timeout(PERIOD * 5, publishing).await;
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reports that cannot be published are lost: the next one has all that they had. Returns false for such a
/// report.
async fn publish(broker: &dyn Broker, key: &str, status: &Mutex<WorkerStatus>, progress: &Progress) -> bool {
    let now = progress.snapshot();
    let bytes = {
        let mut status = lock(status);
        status.beat += 1;
        status.at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        (status.ok, status.failed, status.in_flight) = (now.ok, now.failed, now.in_flight);
        serde_json::to_vec(&*status).expect("a status has string keys")
    };
    let Ok(value) = broker.value(key.to_owned()).await else { return false };
    let revision = value.map_or(0, |(_, revision)| revision);
    matches!(broker.value_cas(key.to_owned(), bytes.into(), revision).await, Ok(Some(_)))
}

fn lock(status: &Mutex<WorkerStatus>) -> std::sync::MutexGuard<'_, WorkerStatus> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Status of each worker of a run.
///
/// # Errors
/// The broker did not answer.
pub async fn workers_of(broker: &dyn Broker, run: &str) -> Result<Vec<WorkerStatus>> {
    let keys = broker.keys(format!("stat.{run}.")).await?;
    let values = try_join_all(keys.into_iter().map(|key| broker.value(key))).await?;
    let statuses = values.into_iter().flatten();
    // A status is for display: one of another version is skipped.
    Ok(statuses.filter_map(|(value, _)| serde_json::from_slice(&value).ok()).collect())
}

/// Removes the reports of the workers of a run: those that work report again.
pub(crate) async fn forget_workers(broker: &dyn Broker, run: &str) -> Result<()> {
    for key in patiently(|| broker.keys(format!("stat.{run}."))).await? {
        patiently(|| broker.value_delete(key.clone())).await?;
    }
    Ok(())
}
