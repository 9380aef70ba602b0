//! Store of the results of a run: a journal file, or records of another crate.

use crate::finished::FinishedRow;
use crate::journal::{CallRecord, Journal, Part};
use crate::location::RowLocation;
use crate::records::{DynRecords, RowPermit, RunEnd};
use crate::{Error, ErrorKind, Result};

/// The records of a run. A journal blocks and never waits, so its futures resolve at once.
pub(crate) enum RecordStore {
    Journal(Journal),
    Own(Box<dyn DynRecords>),
    /// Keeps nothing: no row is read again.
    Nothing,
}

impl RecordStore {
    /// Records a row.
    pub(crate) async fn record(&mut self, row: &FinishedRow, permit: &mut RowPermit) -> Result<RowLocation> {
        match self {
            Self::Journal(journal) => journal.append(&row.record),
            Self::Own(records) => records.record(row, permit).await,
            Self::Nothing => Ok(RowLocation::new(0, row.is_ok())),
        }
    }

    /// Records the first of these rows with one write, and returns their locations. Returns none if they are
    /// to be recorded one by one.
    pub(crate) fn record_first<'a>(
        &mut self,
        rows: impl Iterator<Item = &'a FinishedRow>,
    ) -> Result<Vec<RowLocation>> {
        match self {
            Self::Journal(journal) => journal.append_first(rows.map(|row| &*row.record)),
            Self::Own(_) | Self::Nothing => Ok(Vec::new()),
        }
    }

    /// Records rows whose lines of a journal are `lines`.
    pub(crate) async fn record_lines(
        &mut self,
        rows: &[FinishedRow],
        lines: Vec<u8>,
    ) -> Result<Vec<RowLocation>> {
        match self {
            Self::Journal(journal) => journal.append_lines(rows, lines),
            Self::Own(records) => {
                let mut locations = Vec::with_capacity(rows.len());
                for row in rows {
                    locations.push(records.record(row, &mut RowPermit(None)).await?);
                }
                Ok(locations)
            }
            Self::Nothing => Ok(rows.iter().map(|row| RowLocation::new(0, row.is_ok())).collect()),
        }
    }

    /// Reads a row that was recorded.
    pub(crate) async fn read(&mut self, location: RowLocation) -> Result<FinishedRow> {
        match self {
            Self::Journal(journal) => Ok(FinishedRow::new(journal.read(location)?, None)),
            Self::Own(records) => records.read(location).await,
            Self::Nothing => Err(Error::new(ErrorKind::Io, "the results of this run are not kept")),
        }
    }

    /// Records an answered call of a row that has not ended. Records of other crates keep rows only.
    pub(crate) fn call(&mut self, call: &CallRecord) -> Result<()> {
        match self {
            Self::Journal(journal) => journal.call(call),
            Self::Own(_) | Self::Nothing => Ok(()),
        }
    }

    /// Records the state of a part, so that it survives the process.
    pub(crate) fn note(&mut self, part: &Part) -> Result<()> {
        match self {
            Self::Journal(journal) => journal.note(part),
            Self::Own(records) => Err(Error::usage(format!("{}: not a journal", records.name()))),
            Self::Nothing => Err(Error::usage("this run has no journal")),
        }
    }

    /// Called when nothing waits to be recorded.
    pub(crate) async fn idle(&mut self) -> Result<()> {
        match self {
            Self::Journal(_) | Self::Nothing => Ok(()),
            Self::Own(records) => records.idle().await,
        }
    }

    /// Makes everything that was recorded durable.
    pub(crate) async fn finish(&mut self, end: RunEnd) -> Result<()> {
        match self {
            Self::Journal(journal) => journal.finish(),
            Self::Own(records) => records.finish(end).await,
            Self::Nothing => Ok(()),
        }
    }
}
