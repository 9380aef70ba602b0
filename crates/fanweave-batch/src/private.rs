//! Functions for crates of the workspace that run rows on several machines.

use std::path::PathBuf;

use crate::Result;
use crate::disk::Disk;
use crate::finished::FinishedRow;
use crate::journal;
use crate::output::{OutputFormat, Sink};
use crate::rows::{InputRow, RowKey};

/// Replaces the contents of `line` with the line of a row in a journal, including its checksum and the
/// newline.
pub fn encode_row(row: &FinishedRow, line: &mut Vec<u8>) {
    journal::encode_row(&row.record, line);
}

/// The row of a line of a journal. `None` if the line is not a row, or its checksum is wrong.
pub fn decode_row(line: &[u8]) -> Option<FinishedRow> {
    journal::row(line).map(|record| FinishedRow::new(record, None))
}

/// Appends a record of CSV. Texts that begin like a formula get an apostrophe before them; numbers are texts
/// that do not.
pub fn csv_record(fields: &[String], bytes: &mut Vec<u8>) {
    crate::output::guarded_record(fields, bytes);
}

/// Key of a row before equal rows are distinguished.
pub fn content_key(row: &InputRow) -> RowKey {
    RowKey(row.content())
}

/// An output file, which appears at `path` when it is complete. A file that was marked is kept when it is
/// dropped: see [`resume_output`].
///
/// # Errors
/// The file cannot be created.
pub fn create_output(path: impl Into<PathBuf>, format: OutputFormat) -> Result<Sink> {
    Sink::file(&Disk::default(), path.into(), format)
}

/// An output file that is continued after the rows that were written before `mark`. Rows after it are
/// removed.
///
/// # Errors
/// The file does not exist or is shorter than `mark`, or the format cannot be continued.
pub fn resume_output(path: impl Into<PathBuf>, format: OutputFormat, mark: u64) -> Result<Sink> {
    Sink::resume(&Disk::default(), path.into(), format, mark)
}
