//! Runs of a broker: their state, and operations on them.

use std::collections::HashSet;

use futures::StreamExt;
use futures::stream::iter;
use serde::Serialize;

use crate::broker::Broker;
use crate::error::{Error, ErrorKind, Result};
use crate::manifests::{change, existing, key};
use crate::patience::patiently;
use crate::pause::open;
use crate::status::{WorkerStatus, forget_workers, workers_of};
use crate::wire::{Kind, Manifest, Record, RunState, ShardId};

/// Tickets that are issued at the same time.
const PIPELINE: usize = 64;

/// State of a run: its manifest, and what the logs of its shards say.
///
/// Counts are those of the last record of each log. They may be wrong for a moment after a fault of the
/// broker; the results that are collected are not.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct RunStatus {
    /// The manifest.
    pub manifest: Manifest,
    /// Rows that have a result.
    pub done: u64,
    /// Rows of them that failed.
    pub failed: u64,
    /// Shards whose rows all have a result that counts.
    pub complete_shards: u64,
    /// Shards that a worker has.
    pub owned_shards: u64,
    /// The last report of each worker.
    pub workers: Vec<WorkerStatus>,
}

impl RunStatus {
    /// Returns true if all rows have a result that counts.
    pub fn is_complete(&self) -> bool {
        self.manifest.sealed && self.complete_shards >= self.manifest.shards
    }

    /// State of the run in one word: `submitting`, `open`, `done` or `cancelled`.
    pub fn state(&self) -> &'static str {
        match self.manifest.state {
            RunState::Cancelled => "cancelled",
            RunState::Open if self.is_complete() => "done",
            RunState::Open if self.manifest.sealed => "open",
            RunState::Open => "submitting",
        }
    }
}

/// Names of the runs of a broker, in alphabetical order.
///
/// # Errors
/// The broker did not answer.
///
/// ```
/// use fanweave::workers::{Memory, runs};
///
/// # fanweave::blocking::wait(async {
/// assert!(runs(&Memory::default()).await?.is_empty());
/// # Ok::<_, fanweave::workers::Error>(())
/// # }).unwrap();
/// ```
pub async fn runs(broker: &dyn Broker) -> Result<Vec<String>> {
    let keys = broker.keys(key("")).await?;
    let mut runs: Vec<_> = keys.iter().filter_map(|name| name.strip_prefix(&key(""))).collect();
    runs.sort_unstable();
    let mut named = Vec::new();
    for run in runs {
        // A key whose value was deleted is still listed.
        if broker.value(key(run)).await?.is_some() {
            named.push(run.to_owned());
        }
    }
    Ok(named)
}

/// State of a run.
///
/// ```
/// use fanweave::workers::{ErrorKind, Memory, cancel, remove, retry, status_of};
///
/// # fanweave::blocking::wait(async {
/// let broker = Memory::default();
/// for missing in [
///     status_of(&broker, "cities-1").await.map(|_| ()),
///     cancel(&broker, "cities-1").await.map(|_| ()),
///     retry(&broker, "cities-1").await.map(|_| ()),
///     remove(&broker, "cities-1").await,
/// ] {
///     assert_eq!(missing.unwrap_err().kind(), ErrorKind::Usage);
/// }
/// # });
/// ```
///
/// # Errors
/// [`Usage`](ErrorKind::Usage) if there is no such run; the broker did not answer.
pub async fn status_of(broker: &dyn Broker, run: &str) -> Result<RunStatus> {
    let (manifest, _) = existing(broker, run).await?;
    let workers = workers_of(broker, run).await?;
    let mut status = RunStatus { manifest, done: 0, failed: 0, complete_shards: 0, owned_shards: 0, workers };
    for (_, message) in broker.last_records(run.to_owned()).await? {
        let last = Record::decode(message)?;
        status.done += last.done;
        status.failed += last.failed;
        let is_complete = is_complete(&last, status.manifest.generation);
        status.complete_shards += u64::from(is_complete);
        // A shard whose failed rows are to be retried has an owner from before.
        let has_missing = last.done < last.rows;
        status.owned_shards += u64::from(!is_complete && has_missing && last.kind != Kind::Release);
    }
    Ok(status)
}

/// Starts no more rows of a run. Rows in flight end and are recorded. Returns false if it was cancelled
/// before.
///
/// # Errors
/// As [`status_of`].
pub async fn cancel(broker: &dyn Broker, run: &str) -> Result<bool> {
    let changed = change(broker, run, |manifest| {
        let is_open = manifest.state == RunState::Open;
        manifest.state = RunState::Cancelled;
        is_open
    });
    let (manifest, is_changed) = changed.await?;
    patiently(|| broker.remove_tickets(manifest.pool.clone(), run.to_owned())).await?;
    Ok(is_changed)
}

/// Retries the failed rows of a run, and runs those that have no result. Opens a run that was cancelled.
/// Returns the number of shards that have such rows.
///
/// # Errors
/// As [`status_of`]; the run is still being submitted.
pub async fn retry(broker: &dyn Broker, run: &str) -> Result<u64> {
    let (manifest, _) = existing(broker, run).await?;
    if !manifest.sealed {
        let message = format!("{run}: not all rows were submitted; submit it again first");
        return Err(Error::new(ErrorKind::Usage, message));
    }
    let (manifest, _) = change(broker, run, |manifest| {
        manifest.generation += 1;
        manifest.state = RunState::Open;
        true
    })
    .await?;
    open(broker, run).await;
    issue(broker, &manifest).await
}

/// Numbers of the shards that are complete.
pub(crate) async fn complete_shards(broker: &dyn Broker, manifest: &Manifest) -> Result<HashSet<u64>> {
    let records = patiently(|| broker.last_records(manifest.run.clone())).await?;
    let mut complete = HashSet::new();
    for (number, message) in records {
        if is_complete(&Record::decode(message)?, manifest.generation) {
            complete.insert(number);
        }
    }
    Ok(complete)
}

/// Issues a ticket for each shard that is not complete. Returns their number.
pub(crate) async fn issue(broker: &dyn Broker, manifest: &Manifest) -> Result<u64> {
    let complete = complete_shards(broker, manifest).await?;
    let open = (0..manifest.shards).filter(|number| !complete.contains(number));
    let issuing = iter(open).map(|number| {
        let shard = ShardId { run: manifest.run.clone(), number };
        async move { patiently(|| broker.ticket_once(manifest.pool.clone(), shard.clone())).await }
    });
    let issued: Vec<_> = issuing.buffer_unordered(PIPELINE).collect().await;
    issued.into_iter().try_fold(0, |count, issued| issued.map(|_| count + 1))
}

/// Removes a run: its rows, its results and its tickets.
///
/// # Errors
/// [`Usage`](ErrorKind::Usage) if there is no such run, or if workers may still run it: cancel it first.
pub async fn remove(broker: &dyn Broker, run: &str) -> Result<()> {
    let status = status_of(broker, run).await?;
    if status.manifest.state == RunState::Open && !status.is_complete() {
        let message = format!("{run}: the run is {}; cancel it first", status.state());
        return Err(Error::new(ErrorKind::Usage, message));
    }
    let pool = status.manifest.pool;
    patiently(|| broker.remove_tickets(pool.clone(), run.to_owned())).await?;
    patiently(|| broker.remove_shards(run.to_owned())).await?;
    forget_workers(broker, run).await?;
    for kept in ["pause", "money"] {
        patiently(|| broker.value_delete(format!("{kept}.{run}"))).await?;
    }
    // Last, so that a removal that was cut short can be repeated.
    patiently(|| broker.value_delete(key(run))).await
}

/// Returns true if the shard of this record has all results of a generation.
fn is_complete(last: &Record, generation: u64) -> bool {
    last.done == last.rows && (last.generation >= generation || last.failed == 0)
}
