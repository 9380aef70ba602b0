//! Appends records to the log of a shard, until each is known to be accepted or the shard is lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::broker::{Appended, Broker};
use crate::error::Result;
use crate::log::{Refused, ShardLog};
use crate::wire::{Kind, Record, ShardId};

/// Pause before a record is published again, if it is unknown whether the broker has it.
const PAUSE: Duration = Duration::from_millis(100);

/// Pause before the log is read again from a replica that lags.
const LAG_PAUSE: Duration = Duration::from_millis(50);

/// Time after which a replica that lags is taken for a log that was removed.
const STALE_WAIT: Duration = Duration::from_secs(30);

/// A claim of a shard, and the state of its log.
pub(crate) struct ShardWriter {
    broker: Arc<dyn Broker>,
    pub(crate) shard: ShardId,
    /// Name of the claim.
    writer: String,
    rows: u64,
    /// Rows that have a result, and those of them that failed.
    counts: Counts,
    generation: u64,
    last: u64,
    physical: u64,
}

/// Number of results, and of those that are failures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) done: u64,
    pub(crate) failed: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, is_ok: bool) {
        self.done += 1;
        self.failed += u64::from(!is_ok);
    }
}

/// Reason for which a record cannot be appended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The shard is owned by another claim.
    Elsewhere,
    /// The broker does not permit records to this user.
    Denied(String),
}

/// Reads the log of a shard.
pub(crate) async fn read_log(broker: &dyn Broker, shard: &ShardId) -> Result<(ShardLog, Option<u64>)> {
    let mut log = ShardLog::default();
    let mut rows = None;
    for stored in broker.read(shard.clone()).await? {
        let record = Record::decode(stored.message)?;
        rows = Some(record.rows);
        log.apply(stored.sequence, &record);
    }
    Ok((log, rows))
}

impl ShardWriter {
    /// Claims a shard whose log is `log`, as the claim `writer`. The shard has `rows` rows.
    pub(crate) async fn claim(
        broker: Arc<dyn Broker>,
        shard: ShardId,
        writer: String,
        log: &ShardLog,
        rows: u64,
        generation: u64,
    ) -> Result<Self, Lost> {
        let (last, physical) = (log.last, log.physical);
        let mut counts = Counts::default();
        // A claim of a later generation discards the failures.
        let kept = log.done.values().filter(|done| done.is_ok || generation <= log.generation);
        kept.for_each(|done| counts.add(done.is_ok));
        let mut claimed = Self { broker, shard, writer, rows, counts, generation, last, physical };
        claimed.append(Kind::Claim, Bytes::new()).await?;
        Ok(claimed)
    }

    /// Appends results, of which there are as many as `counts` says.
    ///
    /// # Cancellation
    /// As [`append`](Self::append).
    pub(crate) async fn append_rows(&mut self, lines: Bytes, counts: Counts) -> Result<(), Lost> {
        self.counts.done += counts.done;
        self.counts.failed += counts.failed;
        self.append(Kind::Rows, lines).await
    }

    /// Appends a record. Waits for the broker for as long as it takes.
    ///
    /// # Cancellation
    /// The record may be in the log.
    pub(crate) async fn append(&mut self, kind: Kind, body: Bytes) -> Result<(), Lost> {
        let Self { writer, rows, counts, generation, last, .. } = self;
        let record = Record {
            kind,
            writer: writer.clone(),
            previous: *last,
            rows: *rows,
            done: counts.done,
            failed: counts.failed,
            generation: *generation,
            body,
        };
        loop {
            match self.broker.append(self.shard.clone(), record.encode(), self.physical).await {
                Appended::At(sequence) => {
                    (self.last, self.physical) = (sequence, sequence);
                    return Ok(());
                }
                Appended::Unknown(_) => sleep(PAUSE).await,
                Appended::Denied(why) => return Err(Lost::Denied(why)),
                Appended::Fenced => {
                    if self.resolve(&record).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Finds out why a record was refused. Returns true if it is in the log, and false if it is to be
    /// published again.
    async fn resolve(&mut self, record: &Record) -> Result<bool, Lost> {
        let end = Instant::now() + STALE_WAIT;
        loop {
            let Ok((log, _)) = read_log(&*self.broker, &self.shard).await else {
                sleep(PAUSE).await;
                continue;
            };
            match log.refused(record, self.physical) {
                Refused::IsThere => {
                    (self.last, self.physical) = (log.last, log.physical);
                    return Ok(true);
                }
                Refused::Republish => {
                    self.physical = log.physical;
                    return Ok(false);
                }
                // The log is gone, such as that of a run that was removed.
                Refused::Stale if Instant::now() >= end => return Err(Lost::Elsewhere),
                Refused::Stale => sleep(LAG_PAUSE).await,
                Refused::Lost => return Err(Lost::Elsewhere),
            }
        }
    }
}
