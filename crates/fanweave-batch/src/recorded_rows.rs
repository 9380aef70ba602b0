//! Results of rows with their lines of a journal.

use crate::finished::FinishedRow;

/// Results of rows that were recorded elsewhere, and their lines of a journal.
#[derive(Default)]
pub struct RecordedRows {
    /// The results.
    pub rows: Vec<FinishedRow>,
    /// The lines of these rows in the same order, each with its newline.
    pub lines: Vec<u8>,
}

impl RecordedRows {
    /// Adds a row, and its line without the newline.
    pub fn push(&mut self, row: FinishedRow, line: &[u8]) {
        self.rows.push(row);
        self.lines.extend_from_slice(line);
        self.lines.push(b'\n');
    }
}
