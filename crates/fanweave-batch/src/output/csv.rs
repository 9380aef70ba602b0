//! CSV and TSV output: one record per result, for spreadsheets.
//!
//! A spreadsheet computes a cell that begins like a formula, and a formula can send other cells elsewhere.
//! Texts of models, servers and inputs therefore begin with an apostrophe in that case. Numbers stay as they
//! are.

use serde_json::{Map, Value};

use super::OutputEncoder;
use super::flat::Cell;
use super::shape::Shape;
use crate::journal::Record;

/// Writes a header and one record per result. A field without a value is empty.
pub(super) struct Table {
    pub(super) delimiter: u8,
    pub(super) shape: Shape,
    /// Set to write texts that begin like a formula unchanged.
    pub(super) keeps_formulas: bool,
}

impl OutputEncoder for Table {
    fn begin(&mut self, bytes: &mut Vec<u8>) {
        // A name that an input brings may begin like a formula, too.
        let names = self.shape.columns().map(|(name, _)| match self.keeps_formulas {
            true => name.to_owned(),
            false => plain(name.to_owned()),
        });
        write(&names.collect::<Vec<_>>(), self.delimiter, bytes);
    }

    fn row(&mut self, record: &Record, own: Option<&Map<String, Value>>, bytes: &mut Vec<u8>) {
        let fields = self.shape.cells(record, own).into_iter().map(|cell| match cell {
            Cell::Text(text) if self.keeps_formulas => text,
            Cell::Text(text) => text.map(plain),
            Cell::Whole(n) => n.map(|n| n.to_string()),
            Cell::Number(n) => n.map(|n| n.to_string()),
            Cell::Bool(is) => is.map(|is| is.to_string()),
        });
        write(&fields.map(Option::unwrap_or_default).collect::<Vec<_>>(), self.delimiter, bytes);
    }
}

/// Returns `text` with an apostrophe before it if it begins like a formula and is neither a number nor a
/// dash, which often stands for no value.
fn plain(mut text: String) -> String {
    let begins = text.trim_start_matches([' ', '\u{a0}', '\u{feff}']).chars().next();
    if matches!(begins, Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠'))
        && text != "-"
        && !is_signed_number(&text)
    {
        text.insert(0, '\'');
    }
    text
}

/// Returns true for a decimal number with a sign, such as `-5.2`, `+3` or `-1e3`, without names in it.
fn is_signed_number(text: &str) -> bool {
    let Some(digits) = text.strip_prefix(['-', '+']) else { return false };
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+'))
        && digits.parse::<f64>().is_ok()
}

/// Appends a record. Texts that begin like a formula get an apostrophe before them.
pub(crate) fn guarded_record(fields: &[String], bytes: &mut Vec<u8>) {
    let fields: Vec<String> = fields.iter().map(|field| plain(field.clone())).collect();
    write(&fields, b',', bytes);
}

pub(crate) fn write(fields: &[String], delimiter: u8, bytes: &mut Vec<u8>) {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(bytes);
    // Writes to memory, and records may have any length: neither call can fail.
    let written = writer.write_record(fields).and_then(|()| writer.flush().map_err(Into::into));
    written.expect("writing to a Vec cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_begins_like_a_formula_is_text_in_a_spreadsheet() {
        for text in [
            "=1+1",
            "+1+1",
            "-3.5-A1",
            "+e",
            "-inf",
            "--1",
            "-1 ",
            "@sum",
            "\t=1",
            "\r=1",
            "\n=1",
            "  =1",
            "\u{feff}=1",
            "＝1",
            "＠x",
        ] {
            assert_eq!(plain(text.into()), format!("'{text}"));
        }
        for text in ["", "-", "a=1", "1+1", "'=1", " text", "(=1)"] {
            assert_eq!(plain(text.into()), text);
        }
    }

    #[test]
    fn a_number_with_a_sign_stays_a_number() {
        for text in ["-5.2", "+3", "-1e3", "-0", "-.5", "+1.5E-7", "-123456789012345678901234567890"] {
            assert_eq!(plain(text.into()), text);
        }
    }
}
