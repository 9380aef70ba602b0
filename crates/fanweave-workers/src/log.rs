//! The log of a shard: it decides who owns the shard and which result of a row counts.
//!
//! Each record names the record that it follows. A record that does not follow the last accepted one is a
//! fork, and ignored, whatever the broker did; so is one of a writer that does not own the shard. The same
//! fold serves workers, the collector and the keeper.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use fanweave_batch::__private::decode_row;
use fanweave_batch::FinishedRow;

use crate::wire::{Kind, Record};

/// Number of claims without a release after which the rows of a shard run one by one.
pub(crate) const CAREFUL_DEATHS: u64 = 3;

/// Number of times that a row is tried alone.
pub(crate) const MAX_ALONE: u32 = 2;

/// State of a shard, folded from its records.
///
/// ```
/// use fanweave::workers::{Kind, Record, ShardLog};
///
/// let claim = |writer: &str, previous| Record {
///     kind: Kind::Claim,
///     writer: writer.into(),
///     previous,
///     rows: 1,
///     done: 0,
///     failed: 0,
///     generation: 0,
///     body: Default::default(),
/// };
/// // The second claim does not follow the first one: it is a fork, whatever the broker did.
/// let log = ShardLog::of([(7, &claim("a.1", 0)), (8, &claim("b.1", 0))]);
/// assert_eq!(log.owner.as_deref(), Some("a.1"));
/// assert!(!log.is_complete(1, 0));
/// ```
#[derive(Debug, Clone, Default)]
pub struct ShardLog {
    /// Sequence of the last accepted record.
    pub last: u64,
    /// Sequence of the last record, accepted or not.
    pub physical: u64,
    /// The claim that owns the shard.
    pub owner: Option<String>,
    /// Generation of the last claim.
    pub generation: u64,
    /// Lines of the rows that have a result, by index.
    pub done: BTreeMap<u64, Done>,
    /// Claims without a release.
    pub deaths: u64,
    /// Number of times that a row was tried alone.
    pub alone: HashMap<u64, u32>,
    /// Writer and predecessor of the last accepted record.
    accepted: Option<(String, u64)>,
}

/// Result of a row. Equal if the lines are.
#[derive(Debug, Clone)]
pub struct Done {
    /// Its line of a journal, without the newline.
    pub line: Bytes,
    /// Set if the row has an answer.
    pub is_ok: bool,
    /// The row of the line.
    pub(crate) row: FinishedRow,
}

impl PartialEq for Done {
    fn eq(&self, other: &Self) -> bool {
        self.line == other.line
    }
}

impl Eq for Done {}

/// Decision about a record that the broker refused, because it expected another last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The record is in the log: only the broker's answer was lost.
    IsThere,
    /// Forks are on top of the last accepted record: publish again, after the last record.
    Republish,
    /// The log was read from a replica that lags: read it again.
    Stale,
    /// Another claim owns the shard.
    Lost,
}

impl ShardLog {
    /// The state after these records.
    pub fn of<'a>(records: impl IntoIterator<Item = (u64, &'a Record)>) -> Self {
        let mut log = Self::default();
        records.into_iter().for_each(|(sequence, record)| log.apply(sequence, record));
        log
    }

    /// Applies the next record.
    pub fn apply(&mut self, sequence: u64, record: &Record) {
        self.physical = sequence;
        if record.previous != self.last {
            return;
        }
        let is_owner = self.owner.as_deref() == Some(&record.writer);
        match record.kind {
            Kind::Claim => {
                self.owner = Some(record.writer.clone());
                self.deaths += 1;
                if record.generation > self.generation {
                    self.generation = record.generation;
                    self.done.retain(|_, done| done.is_ok);
                    self.deaths = 1;
                    self.alone.clear();
                }
            }
            _ if !is_owner => return,
            Kind::Rows => {
                for (index, done) in lines(&record.body) {
                    self.done.entry(index).or_insert(done);
                }
            }
            Kind::Try => {
                let index = std::str::from_utf8(&record.body).ok().and_then(|index| index.parse().ok());
                if let Some(index) = index {
                    *self.alone.entry(index).or_default() += 1;
                }
            }
            Kind::Release => {
                self.deaths = self.deaths.saturating_sub(1);
                self.owner = None;
            }
        }
        self.last = sequence;
        self.accepted = Some((record.writer.clone(), record.previous));
    }

    /// Returns true if all `rows` rows of the shard have a result that counts in `generation`.
    pub fn is_complete(&self, rows: u64, generation: u64) -> bool {
        self.done.len() as u64 == rows
            && (self.generation >= generation || self.done.values().all(|done| done.is_ok))
    }

    /// Decides about `record`, which the broker refused when `physical` was expected to be the last record.
    pub fn refused(&self, record: &Record, physical: u64) -> Refused {
        // A writer publishes one record after each of its own.
        let is_there = self.accepted.as_ref().is_some_and(|(writer, previous)| {
            *writer == record.writer && *previous == record.previous && self.physical > physical
        });
        if is_there {
            Refused::IsThere
        } else if self.physical <= physical {
            Refused::Stale
        } else if self.last == record.previous {
            Refused::Republish
        } else {
            Refused::Lost
        }
    }
}

/// The rows of a record. Lines that are damaged have no result, so their rows are rerun.
fn lines(body: &Bytes) -> impl Iterator<Item = (u64, Done)> {
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.filter_map(|line| {
        let row = decode_row(line)?;
        Some((row.index(), Done { line: body.slice_ref(line), is_ok: row.is_ok(), row }))
    })
}
