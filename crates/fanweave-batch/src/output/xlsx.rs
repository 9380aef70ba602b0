//! Workbooks of Excel as output: one sheet with the columns of CSV.
//!
//! Rows are written to a temporary file as they come; the archive is made of it at the end.

use std::io;

use rust_xlsxwriter::{ExcelDateTime, Format, Workbook, Worksheet, XlsxError};
use serde_json::{Map, Value};

use super::OutputEncoder;
use super::flat::{Cell, ColumnType};
use super::shape::Shape;
use crate::journal::Record;

/// Maximum rows of a sheet without its header. Source: the limit of Excel.
pub(crate) const MAX_ROWS: u64 = 1_048_575;
/// Maximum length of a text in a cell, in units of UTF-16. Source: the limit of Excel.
const MAX_TEXT: usize = 32_767;
/// Largest whole number that a cell has exactly.
const MAX_WHOLE: u64 = 1 << 53;

/// Writes the rows of a sheet.
pub(super) struct Sheet {
    book: Workbook,
    shape: Shape,
    /// Number of the next row.
    row: u32,
    /// The first error.
    failed: Option<XlsxError>,
}

impl Sheet {
    pub(super) fn new(shape: Shape) -> Result<Self, XlsxError> {
        let mut book = Workbook::new();
        book.add_worksheet_with_constant_memory()?.set_name("answers")?;
        Ok(Self { book, shape, row: 0, failed: None })
    }

    /// Writes one row with `write`, unless an earlier one has failed.
    fn put(&mut self, write: impl FnOnce(&mut Worksheet, u32, &Shape) -> Result<(), XlsxError>) {
        if self.failed.is_none() {
            let sheet = self.book.worksheet_from_index(0);
            let written = sheet.and_then(|sheet| write(sheet, self.row, &self.shape));
            self.failed = written.err();
            self.row += 1;
        }
    }
}

impl OutputEncoder for Sheet {
    fn begin(&mut self, _bytes: &mut Vec<u8>) {
        let bold = Format::new().set_bold();
        self.put(|sheet, row, shape| {
            sheet.set_freeze_panes(1, 0)?;
            for (column, (name, _)) in (0..).zip(shape.columns()) {
                sheet.write_string_with_format(row, column, cut(name), &bold)?;
            }
            Ok(())
        });
    }

    fn row(&mut self, record: &Record, own: Option<&Map<String, Value>>, _bytes: &mut Vec<u8>) {
        self.put(|sheet, row, shape| {
            let mut cells = (0..).zip(shape.cells(record, own));
            // Numbers of the input stay numbers.
            for ((field, kind), (column, _)) in shape.own_fields().zip(cells.by_ref()) {
                match (own.and_then(|own| own.get(field)), kind) {
                    (Some(Value::String(text)), ColumnType::Date) => {
                        write_date(sheet, row, column, text)?;
                    }
                    (Some(value), _) => write_value(sheet, row, column, value)?,
                    (None, _) => {}
                }
            }
            cells.try_for_each(|(column, cell)| match cell {
                Cell::Text(Some(text)) => sheet.write_string(row, column, cut(&text)).map(drop),
                Cell::Whole(Some(n)) => write_whole(sheet, row, column, n),
                Cell::Number(Some(n)) => sheet.write_number(row, column, n).map(drop),
                Cell::Bool(Some(is)) => sheet.write_boolean(row, column, is).map(drop),
                _ => Ok(()),
            })
        });
    }

    fn end(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        if u64::from(self.row) > MAX_ROWS + 1 {
            let message = format!("a sheet has at most {MAX_ROWS} rows: write CSV or Parquet");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let written = match self.failed.take() {
            Some(error) => Err(error),
            None => self.book.save_to_buffer(),
        };
        bytes.append(&mut written.map_err(io::Error::other)?);
        Ok(())
    }
}

fn write_value(sheet: &mut Worksheet, row: u32, column: u16, value: &Value) -> Result<(), XlsxError> {
    match value {
        Value::Null => Ok(()),
        Value::String(text) if text.is_empty() => Ok(()),
        Value::String(text) => sheet.write_string(row, column, cut(text)).map(drop),
        Value::Bool(is) => sheet.write_boolean(row, column, *is).map(drop),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(n), _) => write_whole(sheet, row, column, n),
            (None, Some(n)) if !number.is_u64() => sheet.write_number(row, column, n).map(drop),
            _ => sheet.write_string(row, column, number.to_string()).map(drop),
        },
        other => sheet.write_string(row, column, cut(&other.to_string())).map(drop),
    }
}

/// Writes a text in the form of ISO 8601 as a date, if a cell can hold it.
fn write_date(sheet: &mut Worksheet, row: u32, column: u16, text: &str) -> Result<(), XlsxError> {
    let form = match text.len() {
        10 => "yyyy-mm-dd",
        19 => "yyyy-mm-dd hh:mm:ss",
        _ => "yyyy-mm-dd hh:mm:ss.000",
    };
    // Seconds have at most three decimal places, and times have no zone.
    let is_exact = text.len() <= 23 && text.bytes().all(|b| b.is_ascii_digit() || b"-:.T ".contains(&b));
    match ExcelDateTime::parse_from_str(text) {
        Ok(date) if is_exact => {
            let format = Format::new().set_num_format(form);
            sheet.write_datetime_with_format(row, column, date, &format).map(drop)
        }
        _ => write_value(sheet, row, column, &Value::from(text)),
    }
}

/// Writes a whole number, as a text if a cell would round it.
fn write_whole(sheet: &mut Worksheet, row: u32, column: u16, n: i64) -> Result<(), XlsxError> {
    #[expect(clippy::cast_precision_loss, reason = "it is at most 2^53")]
    match n.unsigned_abs() <= MAX_WHOLE {
        true => sheet.write_number(row, column, n as f64).map(drop),
        false => sheet.write_string(row, column, n.to_string()).map(drop),
    }
}

/// The text, or its beginning with a note if it is too long for a cell.
fn cut(text: &str) -> String {
    if text.len() <= MAX_TEXT || text.chars().map(char::len_utf16).sum::<usize>() <= MAX_TEXT {
        return text.to_owned();
    }
    let note = format!(" .. [cut: {} characters]", text.chars().count());
    let mut room = MAX_TEXT - note.len();
    let mut kept: String = text
        .chars()
        .take_while(|c| {
            let fits = c.len_utf16() <= room;
            room = room.saturating_sub(c.len_utf16());
            fits
        })
        .collect();
    kept.push_str(&note);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_long_for_a_cell_is_cut_and_says_so() {
        assert_eq!(cut("short"), "short");
        let exact = "\u{1f600}".repeat(MAX_TEXT / 2);
        assert_eq!(cut(&exact), exact);
        let long = cut(&"\u{1f600}".repeat(20_000));
        assert!(long.ends_with(" .. [cut: 20000 characters]"), "{}", &long[long.len() - 40..]);
        assert!(long.encode_utf16().count() <= MAX_TEXT);
    }
}
