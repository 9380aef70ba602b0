//! Collects the results of a run in input order, shard by shard, and issues tickets that were lost.

use std::sync::Arc;
use std::time::Duration;

use fanweave_batch::__private::decode_row;
use fanweave_batch::FinishedRow;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use tokio::time::{Instant, sleep};

use crate::append::read_log;
use crate::broker::Broker;
use crate::error::{Error, ErrorKind, Result};
use crate::log::ShardLog;
use crate::manifests::manifest_of;
use crate::patience::patiently;
use crate::wire::{Manifest, RunState, ShardId};

/// Shards that are read ahead of the one that is next.
const AHEAD: usize = 4;

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
    /// The next shard to read.
    next: u64,
    ready: std::collections::VecDeque<FinishedRow>,
    kept_at: Instant,
    /// Set if rows without a result are skipped.
    is_partial: bool,
}

impl Results {
    /// The results of the run with this manifest.
    pub fn new(broker: Arc<dyn Broker>, manifest: Manifest) -> Self {
        let ready = std::collections::VecDeque::new();
        // Tickets of this submission have just been issued.
        Self { broker, manifest, next: 0, ready, kept_at: Instant::now(), is_partial: false }
    }

    /// Waits for no rows from now on: those that have no result yet are skipped.
    pub fn skip_missing(&mut self) {
        self.is_partial = true;
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
            if let Some(row) = self.ready.pop_front() {
                return Ok(Some(row));
            }
            if self.next == self.manifest.shards {
                return Ok(None);
            }
            self.read_ahead().await?;
        }
    }

    /// Reads the next shards, as far as they are complete.
    async fn read_ahead(&mut self) -> Result<()> {
        let mut pause = PAUSE.0;
        loop {
            let end = self.manifest.shards.min(self.next + AHEAD as u64);
            let mut reading: FuturesOrdered<_> = (self.next..end).map(|number| self.read(number)).collect();
            let mut rows = Vec::new();
            while let Some(log) = reading.next().await {
                let Some(log) = log? else { break };
                rows.push(log);
            }
            drop(reading);
            if !rows.is_empty() {
                for log in rows {
                    self.next += 1;
                    let decoded = log.done.into_values().map(|done| decode_row(&done.line));
                    self.ready.extend(decoded.map(|row| row.expect("the log has checked the line")));
                }
                return Ok(());
            }
            if self.kept_at.elapsed() >= KEEPER_PERIOD {
                self.kept_at = Instant::now();
                self.keep().await?;
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// The log of a shard, if it is complete.
    async fn read(&self, number: u64) -> Result<Option<ShardLog>> {
        let shard = ShardId { run: self.manifest.run.clone(), number };
        let (log, rows) = patiently(|| read_log(&*self.broker, &shard)).await?;
        let is_complete = rows.is_some_and(|rows| log.is_complete(rows, self.manifest.generation));
        Ok((is_complete || self.is_partial).then_some(log))
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
