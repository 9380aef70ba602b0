//! CSV output: one record per result, for spreadsheets.
//!
//! A spreadsheet computes a cell that begins like a formula, and a formula can send other cells elsewhere.
//! Texts of models, servers and inputs therefore begin with an apostrophe in that case.

use super::OutputEncoder;
use super::flat::{COLUMNS, Cell, cells};
use crate::journal::Record;

/// Writes a header and one record per result. A field without a value is empty.
pub(super) struct Table {
    /// Set to write texts that begin like a formula unchanged.
    pub(super) keeps_formulas: bool,
}

impl OutputEncoder for Table {
    fn begin(&mut self, bytes: &mut Vec<u8>) {
        write(&COLUMNS.map(|(name, _)| name.to_owned()), bytes);
    }

    fn row(&mut self, record: &Record, bytes: &mut Vec<u8>) {
        let fields = cells(record).map(|cell| match cell {
            Cell::Text(text) if self.keeps_formulas => text,
            Cell::Text(text) => text.map(plain),
            Cell::Whole(n) => n.map(|n| n.to_string()),
            Cell::Number(n) => n.map(|n| n.to_string()),
        });
        write(&fields.map(Option::unwrap_or_default), bytes);
    }
}

/// Returns `text` with an apostrophe before it if it begins like a formula.
fn plain(mut text: String) -> String {
    let begins = text.trim_start_matches([' ', '\u{a0}', '\u{feff}']).chars().next();
    if matches!(begins, Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠')) {
        text.insert(0, '\'');
    }
    text
}

fn write(fields: &[String], bytes: &mut Vec<u8>) {
    let mut writer = csv::Writer::from_writer(bytes);
    // Writes to memory, and records may have any length: neither call can fail.
    let written = writer.write_record(fields).and_then(|()| writer.flush().map_err(Into::into));
    written.expect("writing to a Vec cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_begins_like_a_formula_is_text_in_a_spreadsheet() {
        for text in ["=1+1", "+1", "-3.5", "@sum", "\t=1", "\r=1", "\n=1", "  =1", "\u{feff}=1", "＝1", "＠x"]
        {
            assert_eq!(plain(text.into()), format!("'{text}"));
        }
        for text in ["", "a=1", "1+1", "'=1", " text", "(=1)"] {
            assert_eq!(plain(text.into()), text);
        }
    }
}
