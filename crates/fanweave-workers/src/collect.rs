//! Collects the results of a run in input order, shard by shard, and issues tickets that were lost.

use std::collections::VecDeque;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use fanweave_batch::__private::RecordedRows;
use fanweave_batch::FinishedRow;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::append::read_log;
use crate::broker::Broker;
use crate::error::{Error, ErrorKind, Result};
use crate::manifests::manifest_of;
use crate::patience::patiently;
use crate::wire::{Manifest, RunState, ShardId};

/// Shards that are read at the same time, and whose results are held.
const AHEAD: u64 = 4;

/// Size of the lines of results that are handed on together.
const PART_BYTES: usize = 128 << 10;

/// Pause before a shard that is not complete is read again: from the first to the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// Period in which tickets that may be lost are issued again.
const KEEPER_PERIOD: Duration = Duration::from_secs(10);

/// Number of shards after the next one whose tickets are looked after.
const KEPT_SHARDS: u64 = 256;

/// The results of a run in input order.
pub struct Results {
    broker: Arc<dyn Broker>,
    manifest: Manifest,
    /// The next shard to hand on.
    next: u64,
    /// Shards that are read, from the next one on.
    reading: VecDeque<Reading>,
    ready: VecDeque<RecordedRows>,
    /// Results of the part that is handed on row by row.
    rows: std::vec::IntoIter<FinishedRow>,
    kept_at: Instant,
    /// Set if rows without a result are skipped.
    is_partial: bool,
}

/// A shard that is read by a task, which ends with this value. `None` if the shard is not complete.
struct Reading(JoinHandle<Result<Option<VecDeque<RecordedRows>>>>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Results {
    /// The results of the run with this manifest.
    pub fn new(broker: Arc<dyn Broker>, manifest: Manifest) -> Self {
        Self {
            broker,
            manifest,
            next: 0,
            reading: VecDeque::new(),
            ready: VecDeque::new(),
            rows: Vec::new().into_iter(),
            // Tickets of this submission have just been issued.
            kept_at: Instant::now(),
            is_partial: false,
        }
    }

    /// Waits for no rows from now on: those that have no result yet are skipped.
    pub fn skip_missing(&mut self) {
        self.is_partial = true;
        self.reading.clear();
    }

    /// The next result. `None` after the last one. Waits for workers and for the broker.
    ///
    /// # Errors
    /// [`Cancelled`](ErrorKind::Cancelled) if the run was cancelled and rows are missing; the run was
    /// removed, or its log cannot be read by this version.
    ///
    /// # Cancellation
    /// No result is lost.
    pub async fn next(&mut self) -> Result<Option<FinishedRow>> {
        loop {
            if let Some(row) = self.rows.next() {
                return Ok(Some(row));
            }
            let Some(part) = self.next_part().await? else { return Ok(None) };
            self.rows = part.rows.into_iter();
        }
    }

    /// The next results, as [`next`](Self::next).
    pub(crate) async fn next_part(&mut self) -> Result<Option<RecordedRows>> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Ok(Some(part));
            }
            if self.next == self.manifest.shards {
                return Ok(None);
            }
            self.read_next().await?;
        }
    }

    /// Waits for the next shard to be complete, and reads those after it.
    async fn read_next(&mut self) -> Result<()> {
        let (mut pause, mut ahead) = (PAUSE.0, AHEAD);
        loop {
            let end = self.manifest.shards.min(self.next + ahead);
            for number in self.next + self.reading.len() as u64..end {
                self.reading.push_back(self.read(number));
            }
            let read = (&mut self.reading[0].0).await;
            self.reading.pop_front();
            let read = read.map_err(|e| {
                let message = format!("internal error (please report it): a shard was not read: {e}");
                Error::new(ErrorKind::Rows, message)
            })?;
            if let Some(parts) = read? {
                (self.next, self.ready) = (self.next + 1, parts);
                return Ok(());
            }
            // Those after it are read once it is complete: until then, most of them are not either.
            self.reading.clear();
            ahead = 1;
            if self.kept_at.elapsed() >= KEEPER_PERIOD {
                self.kept_at = Instant::now();
                self.keep().await?;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Reads a shard, if it is complete.
    fn read(&self, number: u64) -> Reading {
        let (broker, generation, is_partial) =
            (self.broker.clone(), self.manifest.generation, self.is_partial);
        let shard = ShardId { run: self.manifest.run.clone(), number };
        Reading(tokio::spawn(async move {
            let (log, rows) = patiently(|| read_log(&*broker, &shard)).await?;
            if !is_partial && !rows.is_some_and(|rows| log.is_complete(rows, generation)) {
                return Ok(None);
            }
            let mut parts = VecDeque::new();
            let mut part = RecordedRows::default();
            for done in log.done.into_values() {
                part.push(done.row, &done.line);
                if part.lines.len() >= PART_BYTES {
                    parts.push_back(take(&mut part));
                }
            }
            if !part.rows.is_empty() {
                parts.push_back(part);
            }
            Ok(Some(parts))
        }))
    }

    /// Issues tickets for shards that may have lost theirs. A worker that gets a ticket of a
    /// complete shard settles it.
    async fn keep(&mut self) -> Result<()> {
        let run = &self.manifest.run.clone();
        match manifest_of(&*self.broker, run).await {
            Ok(None) => return Err(Error::new(ErrorKind::Usage, format!("{run}: the run was removed"))),
            Ok(Some((manifest, _))) if manifest.state == RunState::Cancelled => {
                return Err(Error::new(ErrorKind::Cancelled, format!("{run}: the run was cancelled")));
            }
            Ok(Some((manifest, _))) => self.manifest.generation = manifest.generation,
            Err(error) if error.kind() == ErrorKind::Broker => return Ok(()),
            Err(error) => return Err(error),
        }
        for number in self.next..self.manifest.shards.min(self.next + KEPT_SHARDS) {
            let shard = ShardId { run: run.clone(), number };
            // The next period repeats what the broker did not answer.
            let _ = self.broker.ticket_once(self.manifest.pool.clone(), shard).await;
        }
        Ok(())
    }
}
