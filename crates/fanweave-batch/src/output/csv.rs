//! CSV output: one record per result, for spreadsheets.

use super::OutputEncoder;
use super::flat::{COLUMNS, Cell, cells};
use crate::journal::Record;

/// Writes a header and one record per result. A field without a value is empty.
pub(super) struct Table;

impl OutputEncoder for Table {
    fn begin(&mut self, bytes: &mut Vec<u8>) {
        write(&COLUMNS.map(|(name, _)| name.to_owned()), bytes);
    }

    fn row(&mut self, record: &Record, bytes: &mut Vec<u8>) {
        let fields = cells(record).map(|cell| match cell {
            Cell::Text(text) => text,
            Cell::Whole(n) => n.map(|n| n.to_string()),
            Cell::Number(n) => n.map(|n| n.to_string()),
        });
        write(&fields.map(Option::unwrap_or_default), bytes);
    }
}

fn write(fields: &[String], bytes: &mut Vec<u8>) {
    let mut writer = csv::Writer::from_writer(bytes);
    // Writes to memory, and records may have any length: neither call can fail.
    let written = writer.write_record(fields).and_then(|()| writer.flush().map_err(Into::into));
    written.expect("writing to a Vec cannot fail");
}
