//! Workbooks of Excel: the rows of one sheet, whose first row names the columns.
//!
//! A sheet is decoded once, when it is opened, into a temporary file, because its texts are in another part
//! of the archive, which has to be in memory. Checks and the run read that file.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;
use std::sync::Arc;

use calamine::{DataRef, ExcelDateTime, Reader, SheetType, SheetVisible, Xlsx, XlsxError};
use csv::StringRecord;
use serde_json::{Map, Number, Value};
use zip::ZipArchive;

use super::lines::MAX_LINE;
use super::positional::PositionalFile;
use super::table::columns;
use crate::{Error, Result};

/// Maximum bytes of XML of the sheets, and of the other parts, of which the texts are in memory.
const MAX_SHEETS: u64 = 1 << 30;
const MAX_TEXTS: u64 = 512 << 20;
/// Maximum bytes of the rows as JSON: one text may be in many cells.
const MAX_ROWS: u64 = 4 << 30;
/// Maximum columns. Source: the limit of Excel.
const MAX_COLUMNS: u32 = 16_384;
/// Maximum names of sheets in a message.
const MAX_SHOWN: usize = 20;

type Archive = BufReader<PositionalFile>;

/// The rows of a sheet.
pub(super) struct Rows {
    columns: Arc<[String]>,
    /// Names of the columns whose cells are all dates.
    dates: Arc<[String]>,
    /// The temporary file: lines with the number of a row and its fields as JSON.
    lines: BufReader<PositionalFile>,
    line: String,
}

impl Rows {
    /// Reads the sheet with this name or number. Returns notes on it.
    pub(super) fn open(
        file: PositionalFile,
        path: &Path,
        sheet: Option<&str>,
    ) -> Result<(Self, Vec<String>)> {
        let invalid = |why: String| Error::usage(format!("{}: {why}", path.display()));
        check_size(file.clone(), MAX_SHEETS, MAX_TEXTS).map_err(invalid)?;
        // The reader may panic on corrupt files.
        let read = std::panic::catch_unwind(|| read(file, sheet));
        let read = read.unwrap_or_else(|_| Err(Failed::Invalid("the workbook is corrupt".to_owned())));
        read.map_err(|failed| match failed {
            Failed::Invalid(why) => invalid(why),
            Failed::Io(e) => Error::io("write a temporary file", &std::env::temp_dir(), e),
        })
    }

    /// The same rows from the first one, without decoding the workbook again.
    pub(super) fn rewound(&self) -> Self {
        let lines = BufReader::with_capacity(1 << 16, self.lines.get_ref().at(0));
        Self { columns: self.columns.clone(), dates: self.dates.clone(), lines, line: String::new() }
    }

    /// Names of the columns.
    pub(super) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Names of the columns whose cells are all dates.
    pub(super) fn dates(&self) -> &[String] {
        &self.dates
    }

    /// The next row that is not blank, and its number in the sheet, from 1. `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Map<String, Value>)>> {
        self.line.clear();
        if self.lines.read_line(&mut self.line)? == 0 {
            return Ok(None);
        }
        let (number, json) = self.line.split_once('\t').unwrap_or_default();
        let number = number.parse().map_err(io::Error::other)?;
        Ok(Some((number, serde_json::from_str(json)?)))
    }
}

/// The reason why a sheet cannot be read.
enum Failed {
    Invalid(String),
    /// The temporary file cannot be written.
    Io(io::Error),
}

impl From<XlsxError> for Failed {
    fn from(error: XlsxError) -> Self {
        Self::Invalid(match error {
            XlsxError::Password => "the workbook has a password: save it without one".to_owned(),
            XlsxError::FileNotFound(part) => {
                format!("not a workbook: it has no {part}; extract other zip archives first")
            }
            error => format!("not a valid workbook: {error}"),
        })
    }
}

/// Rejects archives that would take too much memory, also if their sizes are false.
fn check_size(file: PositionalFile, max_sheets: u64, max_texts: u64) -> Result<(), String> {
    let invalid = |e: &dyn std::fmt::Display| format!("not a valid workbook: {e}");
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| invalid(&e))?;
    let (mut sheets, mut texts) = (0, 0);
    for at in 0..archive.len() {
        let part = archive.by_index(at).map_err(|e| invalid(&e))?;
        let name = part.name().map_err(|e| invalid(&e))?.to_ascii_lowercase();
        if name.starts_with("xl/media/") {
            continue;
        }
        let (sum, max, what) = match name.starts_with("xl/worksheets/") {
            true => (&mut sheets, max_sheets, "its sheets have"),
            false => (&mut texts, max_texts, "its texts have"),
        };
        let left = max - *sum;
        *sum += io::copy(&mut part.take(left + 1), &mut io::sink()).map_err(|e| invalid(&e))?;
        if *sum > max {
            return Err(format!(
                "the workbook is too large: {what} more than {} MiB; save the sheet as CSV, which is read row by row",
                max >> 20
            ));
        }
    }
    Ok(())
}

fn read(file: PositionalFile, sheet: Option<&str>) -> Result<(Rows, Vec<String>), Failed> {
    let mut book: Xlsx<Archive> = Xlsx::new(BufReader::with_capacity(1 << 16, file))?;
    let name = sheet_named(&book, sheet).map_err(Failed::Invalid)?;
    let others = other_sheets(&book, &name);
    let mut cells = book.worksheet_cells_reader(&name)?;
    let file = tempfile::tempfile().map_err(Failed::Io)?;
    let mut rows = Writer {
        lines: BufWriter::with_capacity(1 << 16, file),
        written: 0,
        names: None,
        columns: Vec::new(),
        notes: Vec::new(),
        errors: 0,
        nameless: 0,
        unsaved: 0,
        header_row: 0,
        dates: HashMap::new(),
    };
    let (mut row, mut current, mut bytes) = (Vec::new(), 0, 0);
    while let Some(cell) = cells.next_cell_with_formula_metadata()? {
        let (number, column) = cell.pos;
        if number != current {
            rows.put(current, &mut row)?;
            (current, bytes) = (number, 0);
        }
        if column >= MAX_COLUMNS {
            return Err(Failed::Invalid(format!("a row has more than {MAX_COLUMNS} columns")));
        }
        rows.note_kind(column, &cell.value);
        let value = match (&cell.value, cell.formula) {
            (DataRef::Empty, Some(_)) => {
                rows.unsaved += 1;
                Value::Null
            }
            (value, _) => rows.value(value),
        };
        if let Value::String(text) = &value {
            bytes += text.len();
        }
        if bytes > MAX_LINE {
            let message = format!("row {} is longer than {} MiB", u64::from(number) + 1, MAX_LINE >> 20);
            return Err(Failed::Invalid(message));
        }
        if value != Value::String(String::new()) {
            row.push((column, value));
        }
    }
    rows.put(current, &mut row)?;
    if rows.names.is_none() {
        let others = others.map(|others| format!("; the workbook also has {others}")).unwrap_or_default();
        return Err(Failed::Invalid(format!("the sheet `{name}` is empty{others}")));
    }
    if sheet.is_none()
        && let Some(others) = others
    {
        rows.notes.push(format!("the sheet `{name}` is read; the workbook also has {others}"));
    }
    rows.finish()
}

/// Writes the rows of a sheet.
struct Writer {
    lines: BufWriter<std::fs::File>,
    written: u64,
    /// Names of the columns by their positions, once the header is known.
    names: Option<HashMap<u32, String>>,
    columns: Vec<String>,
    notes: Vec<String>,
    /// Number of cells with an error such as `#N/A`.
    errors: u64,
    /// Number of cells in columns without a name.
    nameless: u64,
    /// Number of cells with a formula whose value is not in the file.
    unsaved: u64,
    /// Number of the row with the header, from 1.
    header_row: u64,
    /// For each column below the header, whether all its cells are dates.
    dates: HashMap<u32, bool>,
}

impl Writer {
    /// Writes a row, and empties it. The first one is the header; blank ones are skipped.
    fn put(&mut self, number: u32, row: &mut Vec<(u32, Value)>) -> Result<(), Failed> {
        if row.is_empty() {
            return Ok(());
        }
        let Some(names) = &self.names else {
            self.header_row = u64::from(number) + 1;
            return self.header(std::mem::take(row));
        };
        let mut fields: Map<String, Value> =
            self.columns.iter().map(|name| (name.clone(), Value::String(String::new()))).collect();
        for (column, value) in row.drain(..) {
            match names.get(&column) {
                Some(name) => fields[name] = value,
                None => self.nameless += 1,
            }
        }
        if fields.values().all(|value| value == "") {
            return Ok(());
        }
        let json = serde_json::to_vec(&fields).map_err(|e| Failed::Io(e.into()))?;
        self.written += json.len() as u64;
        if self.written > MAX_ROWS {
            let message =
                format!("the rows of the sheet have more than {} GiB; save it as CSV", MAX_ROWS >> 30);
            return Err(Failed::Invalid(message));
        }
        let mut write = || {
            write!(self.lines, "{}\t", u64::from(number) + 1)?;
            self.lines.write_all(&json)?;
            self.lines.write_all(b"\n")
        };
        write().map_err(Failed::Io)
    }

    fn header(&mut self, row: Vec<(u32, Value)>) -> Result<(), Failed> {
        let last = row.iter().map(|(column, _)| *column as usize).max().unwrap_or_default();
        let mut names = vec![String::new(); last + 1];
        for (column, value) in row {
            names[column as usize] = match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
        }
        let (named, notes) = columns(&StringRecord::from(names)).map_err(Failed::Invalid)?;
        self.notes = notes;
        self.columns = named.iter().map(|(_, name)| name.clone()).collect();
        let position = |at| u32::try_from(at).expect("a sheet has at most 16,384 columns");
        self.names = Some(named.into_iter().map(|(at, name)| (position(at), name)).collect());
        Ok(())
    }

    /// Notes whether a cell of a column is a date. Empty cells are of any kind.
    fn note_kind(&mut self, column: u32, cell: &DataRef<'_>) {
        let is_date = match cell {
            DataRef::Empty => return,
            DataRef::DateTime(time) => !time.is_duration() && time.as_f64() >= 1.0,
            DataRef::DateTimeIso(_) => true,
            _ => false,
        };
        // The cells of the header come before its names are known.
        if self.names.is_some() {
            *self.dates.entry(column).or_insert(true) &= is_date;
        }
    }

    fn finish(mut self) -> Result<(Rows, Vec<String>), Failed> {
        let cells = |n: u64| if n == 1 { "1 cell".to_owned() } else { format!("{n} cells") };
        if self.errors > 0 {
            self.notes.push(format!("{} with an error, such as #N/A: null", cells(self.errors)));
        }
        if self.unsaved > 0 {
            self.notes.push(format!(
                "{} with a formula whose value was not saved: null; open the workbook in a spreadsheet program, which \
                 computes it, and save it",
                cells(self.unsaved)
            ));
        }
        if self.nameless > 0 {
            self.notes.push(format!(
                "{} in columns without a name: ignored; the header is row {}, which names {}",
                cells(self.nameless),
                self.header_row,
                shown(&self.columns, 3)
            ));
        }
        let names = self.names.as_ref();
        let is_date = |column: &u32| self.dates.get(column).is_some_and(|is_date| *is_date);
        let dates = names.into_iter().flatten().filter(|(column, _)| is_date(column));
        let dates = dates.map(|(_, name)| name.clone()).collect();
        let file = self.lines.into_inner().map_err(|e| Failed::Io(e.into_error()))?;
        let lines = BufReader::with_capacity(1 << 16, PositionalFile::new(file));
        Ok((Rows { columns: self.columns.into(), dates, lines, line: String::new() }, self.notes))
    }

    /// The value of a cell. Whole numbers are integers, dates are texts in the form of ISO 8601, and an empty
    /// cell is an empty text, as in CSV.
    fn value(&mut self, cell: &DataRef<'_>) -> Value {
        match cell {
            DataRef::Int(n) => Value::from(*n),
            DataRef::Float(n) => number(*n),
            DataRef::String(text) => Value::from(text.as_str()),
            DataRef::SharedString(text) => Value::from(*text),
            DataRef::Bool(is) => Value::from(*is),
            DataRef::DateTime(time) => Value::from(date(time)),
            DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => Value::from(text.as_str()),
            DataRef::Error(_) => {
                self.errors += 1;
                Value::Null
            }
            DataRef::Empty => Value::String(String::new()),
        }
    }
}

/// A number of a sheet, all of which have 64 bits. Those that are whole are integers, as texts if they have
/// more than 64 bits.
fn number(n: f64) -> Value {
    const TWO_POW_63: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^63")]
    match n.abs() {
        size if n.fract() == 0.0 && size < TWO_POW_63 => Value::from(n as i64),
        // Text of spreadsheets has no more digits.
        size if n.fract() == 0.0 && size < 1e21 => Value::from(format!("{n:.0}")),
        _ => Number::from_f64(n).map_or(Value::Null, Value::Number),
    }
}

/// The first names, for a message.
fn shown<T: std::fmt::Display>(names: &[T], max: usize) -> String {
    let first: Vec<_> = names.iter().take(max).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > max { ", .." } else { "" };
    format!("{}{more}", first.join(", "))
}

/// A date, a time or both in the form of ISO 8601; a duration as hours, minutes and seconds.
fn date(time: &ExcelDateTime) -> String {
    let serial = time.as_f64();
    let (year, month, day, hour, minute, second, milli) = time.to_ymd_hms_milli();
    let mut text = String::new();
    if time.is_duration() {
        #[expect(clippy::cast_possible_truncation, reason = "a duration of a sheet is below 2^53 days")]
        let millis = (serial.abs() * 86_400_000.0).round() as i64;
        let (seconds, milli) = (millis / 1_000, millis % 1_000);
        let sign = if serial < 0.0 { "-" } else { "" };
        let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        let _ = write!(text, "{sign}{hours}:{minutes:02}:{seconds:02}");
        if milli > 0 {
            let _ = write!(text, ".{milli:03}");
        }
        return text;
    }
    let is_date = serial >= 1.0;
    let is_midnight = (hour, minute, second, milli) == (0, 0, 0, 0);
    if is_date {
        let _ = write!(text, "{year:04}-{month:02}-{day:02}");
    }
    if !is_date || !is_midnight {
        let _ = write!(text, "{}{hour:02}:{minute:02}:{second:02}", if is_date { "T" } else { "" });
        if milli > 0 {
            let _ = write!(text, ".{milli:03}");
        }
    }
    text
}

/// The sheet with this name or number, or the first one that is visible.
fn sheet_named<R: Read + Seek>(book: &Xlsx<R>, sheet: Option<&str>) -> Result<String, String> {
    let all = book.sheets_metadata();
    let is_table = |sheet: &&calamine::Sheet| sheet.typ == SheetType::WorkSheet;
    let Some(wanted) = sheet else {
        let visible = all.iter().filter(is_table).find(|sheet| sheet.visible == SheetVisible::Visible);
        let first = visible.or_else(|| all.iter().find(is_table));
        return first.map(|sheet| sheet.name.clone()).ok_or_else(|| "the workbook has no sheet".to_owned());
    };
    if let Some(named) = all.iter().find(|sheet| sheet.name == wanted) {
        return Ok(named.name.clone());
    }
    let number = wanted.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
    if let Some(numbered) = number.and_then(|number| all.get(number)) {
        return Ok(numbered.name.clone());
    }
    let names: Vec<_> = all.iter().map(|sheet| sheet.name.as_str()).collect();
    Err(format!("the workbook has no sheet `{wanted}`; its sheets: {}", shown(&names, MAX_SHOWN)))
}

/// The visible sheets with cells other than the one with this name. `None` without any.
fn other_sheets<R: Read + Seek>(book: &Xlsx<R>, name: &str) -> Option<String> {
    let is_other = |sheet: &&calamine::Sheet| {
        sheet.typ == SheetType::WorkSheet && sheet.visible == SheetVisible::Visible && sheet.name != name
    };
    let names: Vec<_> =
        book.sheets_metadata().iter().filter(is_other).map(|sheet| sheet.name.as_str()).collect();
    (!names.is_empty()).then(|| shown(&names, MAX_SHOWN))
}

#[cfg(test)]
mod tests {
    use calamine::ExcelDateTimeType;

    use super::*;

    #[test]
    fn dates_times_and_durations_are_texts_that_name_no_more_than_the_cell_shows() {
        let show = |serial, kind| date(&ExcelDateTime::new(serial, kind, false));
        assert_eq!(show(45_413.0, ExcelDateTimeType::DateTime), "2024-05-01");
        assert_eq!(show(45_413.5, ExcelDateTimeType::DateTime), "2024-05-01T12:00:00");
        assert_eq!(show(0.25, ExcelDateTimeType::DateTime), "06:00:00");
        assert_eq!(show(1.5, ExcelDateTimeType::TimeDelta), "36:00:00");
        assert_eq!(show(1.0 / 86_400_000.0, ExcelDateTimeType::TimeDelta), "0:00:00.001");
    }

    #[test]
    fn an_archive_is_measured_by_what_is_in_it() {
        let mut zip = zip::ZipWriter::new(tempfile::tempfile().unwrap());
        let options = zip::write::SimpleFileOptions::default();
        for (name, size) in [("xl/sharedStrings.xml", 5_000), ("xl/worksheets/sheet1.xml", 9_000)] {
            zip.start_file(name, options).unwrap();
            zip.write_all(&vec![b' '; size]).unwrap();
        }
        let file = PositionalFile::new(zip.finish().unwrap());
        let check = |sheets, texts| check_size(file.clone(), sheets, texts);
        assert_eq!(check(9_000, 5_000), Ok(()));
        let why = check(9_000, 4_999).unwrap_err();
        assert!(why.contains("its texts have more than 0 MiB; save the sheet as CSV"), "{why}");
        assert!(check(8_999, 5_000).unwrap_err().contains("its sheets have more than"));
    }

    #[test]
    fn whole_numbers_are_integers() {
        assert_eq!(number(3.0).to_string(), "3");
        assert_eq!(number(-0.5).to_string(), "-0.5");
        assert_eq!(number(12_345_678_901_234_568.0).to_string(), "12345678901234568");
        assert_eq!(number(-1e18).to_string(), "-1000000000000000000");
        assert_eq!(number(1e20), "100000000000000000000");
        assert_eq!(number(1e300).to_string(), "1e+300");
        assert_eq!(number(f64::NAN), Value::Null);
    }
    #[test]
    fn formulas_without_a_saved_value_are_null_and_noted() {
        let main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
        let office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
        let relations = |target: &str, kind: &str| {
            format!(
                r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r1" Type="{office}/{kind}" Target="{target}"/></Relationships>"#
            )
        };
        let text = |at: &str, text: &str| format!(r#"<c r="{at}" t="inlineStr"><is><t>{text}</t></is></c>"#);
        let rows = [
            format!(r#"<row r="1">{}{}</row>"#, text("A1", "text"), text("B1", "sum")),
            format!(r#"<row r="2">{}<c r="B2"><f>1+1</f><v></v></c></row>"#, text("A2", "a")),
            format!(r#"<row r="3">{}<c r="B3"><f>1+1</f><v>2</v></c></row>"#, text("A3", "b")),
            format!(r#"<row r="4">{}<c r="B4" t="str"><f>""</f><v></v></c></row>"#, text("A4", "c")),
        ];
        let parts = [
            (
                "[Content_Types].xml",
                r#"<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>"#.to_owned(),
            ),
            ("_rels/.rels", relations("xl/workbook.xml", "officeDocument")),
            ("xl/_rels/workbook.xml.rels", relations("worksheets/sheet1.xml", "worksheet")),
            (
                "xl/workbook.xml",
                format!(
                    r#"<workbook xmlns="{main}" xmlns:r="{office}"><sheets><sheet name="s" sheetId="1" r:id="r1"/></sheets></workbook>"#
                ),
            ),
            (
                "xl/worksheets/sheet1.xml",
                format!(r#"<worksheet xmlns="{main}"><sheetData>{}</sheetData></worksheet>"#, rows.concat()),
            ),
        ];
        let mut zip = zip::ZipWriter::new(tempfile::tempfile().unwrap());
        for (name, content) in parts {
            zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
        let file = PositionalFile::new(zip.finish().unwrap());
        let (mut rows, notes) = Rows::open(file, Path::new("in.xlsx"), None).unwrap();
        let values: Vec<_> =
            std::iter::from_fn(|| rows.next().unwrap()).map(|(_, row)| row["sum"].clone()).collect();
        assert_eq!(values, [Value::Null, 2.into(), "".into()]);
        let [note] = notes.as_slice() else { panic!("{notes:?}") };
        assert!(
            note.starts_with("1 cell with a formula whose value was not saved: null; open the workbook"),
            "{note}"
        );
    }
}
