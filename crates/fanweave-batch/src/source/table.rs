//! Delimited values: the first record names the columns, every other one is a row of variables.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufRead, Read};

use csv::{ByteRecord, StringRecord};
use fanweave_core::Vars;
use serde_json::{Map, Value};

use super::encoding::NOT_UTF8;

/// Reads records.
pub(super) struct Table {
    reader: csv::Reader<Capped>,
    header: StringRecord,
    /// Positions and names of the columns that have one.
    columns: Vec<(usize, String)>,
    record: ByteRecord,
    /// Lines before the header.
    lines_before: u64,
    notes: Vec<String>,
}

/// The form of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct TableForm {
    pub(super) delimiter: u8,
    /// Lines of the file before the header.
    pub(super) lines_before: u64,
    pub(super) max_len: usize,
}

/// One record.
pub(super) struct Record<'a> {
    /// Line on which it begins.
    pub(super) line: u64,
    /// Its fields by column name, or an error message.
    pub(super) vars: Result<Vars, String>,
    /// Its raw fields.
    pub(super) fields: &'a ByteRecord,
}

/// Returns true for the only field of a blank line that ends with CR LF, of which the reader takes the LF
/// alone as the end. A line with an empty text in quotes, which is a row, has the bytes of two quotes more.
fn is_blank(field: &[u8], line_length: u64) -> bool {
    let is_carriage_return = !field.is_empty() && field.iter().all(|byte| *byte == b'\r');
    is_carriage_return && line_length != field.len() as u64 + b"\"\"\n".len() as u64
}

impl Table {
    /// Reads the header. An error describes what is wrong with it.
    pub(super) fn new(reader: Box<dyn BufRead + Send>, form: TableForm) -> Result<Self, String> {
        let TableForm { delimiter, lines_before, max_len } = form;
        let capped = Capped {
            reader,
            max_len: max_len as u64,
            remaining: max_len as u64,
            last: b'\n',
            ended: InputEnd::No,
        };
        // With exactly one line feed after every record, line numbers follow from the number of line feeds
        // read.
        let newline = csv::Terminator::Any(b'\n');
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .delimiter(delimiter)
            .terminator(newline)
            .from_reader(capped);
        let header = reader.headers().map_err(|e| format!("cannot read the header: {e}"))?;
        let header: StringRecord = header.iter().map(|name| name.trim_end_matches('\r')).collect();
        let (columns, notes) = columns(&header)?;
        Ok(Self { reader, header, columns, record: ByteRecord::new(), lines_before, notes })
    }

    /// Names of the columns of rows.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(_, name)| name.as_str())
    }

    /// Problems of the header, one sentence each.
    pub(super) fn take_notes(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notes)
    }

    /// The names in the file.
    pub(super) fn header(&self) -> &StringRecord {
        &self.header
    }

    /// Line on which the last record ends.
    pub(super) fn line(&self) -> u64 {
        self.lines_before + self.reader.position().line() - 1
    }

    /// The next record. `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Record<'_>>> {
        loop {
            let capped = self.reader.get_mut();
            capped.remaining = capped.max_len;
            let start = self.reader.position().byte();
            if !self.reader.read_byte_record(&mut self.record).map_err(into_io)? {
                return Ok(None);
            }
            let end = self.reader.position().byte();
            if self.record.len() != 1 || !is_blank(&self.record[0], end - start) {
                break;
            }
        }
        self.strip_carriage_return();
        let inside = self.record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
        // Every record ends with a line feed, unless it was still inside quotes at the end of the file.
        let (line, vars) = if self.reader.get_ref().ended == InputEnd::Reported {
            let message = "the quote that starts here is never closed; the rest of the file cannot be read";
            (self.line() + 1 - inside, Err(message.to_owned()))
        } else {
            (self.line() - inside, self.vars())
        };
        Ok(Some(Record { line, vars, fields: &self.record }))
    }

    fn strip_carriage_return(&mut self) {
        if self.record.as_slice().ends_with(b"\r") {
            let last = self.record.len() - 1;
            let field = &self.record[last];
            // A file that was converted twice has several.
            let end = field.iter().rposition(|byte| *byte != b'\r').map_or(0, |at| at + 1);
            let field = field[..end].to_owned();
            self.record.truncate(last);
            self.record.push_field(&field);
        }
    }

    fn vars(&self) -> Result<Vars, String> {
        let (expected, found) = (self.header.len(), self.record.len());
        // Spreadsheets may write a delimiter after the last field.
        let is_wider = found > expected && self.record.iter().skip(expected).all(<[u8]>::is_empty);
        if expected != found && !is_wider {
            let fields = |n: usize| if n == 1 { "1 field".to_owned() } else { format!("{n} fields") };
            return Err(format!("expected {} as in the header, found {}", fields(expected), fields(found)));
        }
        let mut map = Map::with_capacity(self.columns.len());
        for (at, name) in &self.columns {
            let text =
                str::from_utf8(&self.record[*at]).map_err(|_| format!("column `{name}` {NOT_UTF8}"))?;
            map.insert(name.clone(), Value::String(text.to_owned()));
        }
        Ok(map.into())
    }
}

/// Positions and names of columns, and notes.
pub(super) type Named = (Vec<(usize, String)>, Vec<String>);

/// Positions and names of the columns, and notes on those that have no name of their own.
pub(super) fn columns(header: &StringRecord) -> Result<Named, String> {
    let mut notes = Vec::new();
    // A set: a hostile file may have 100,000 columns.
    let all: HashSet<&str> = header.iter().collect();
    let mut taken = HashSet::with_capacity(header.len());
    let (mut columns, mut unnamed) = (Vec::with_capacity(header.len()), Vec::new());
    // The number of the next column with a name.
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    for (at, name) in header.iter().enumerate() {
        if name.trim().is_empty() {
            unnamed.push(at);
        } else if taken.insert(name.to_owned()) {
            columns.push((at, name.to_owned()));
        } else {
            let number = numbers.entry(name).or_insert(2);
            let new = loop {
                let new = format!("{name}_{number}");
                *number += 1;
                if !all.contains(&*new) && !taken.contains(&new) {
                    break new;
                }
            };
            if notes.len() < MAX_NOTES {
                notes.push(format!(
                    "the header names the column `{name}` twice; column {} is `{new}`",
                    at + 1
                ));
            }
            taken.insert(new.clone());
            columns.push((at, new));
        }
    }
    if columns.is_empty() {
        return Err("the header names no column".to_owned());
    }
    notes.extend(match unnamed.as_slice() {
        [] => None,
        [0] => {
            Some("the first column has no name, like the index of a data frame, and is ignored".to_owned())
        }
        [one] => Some(format!("column {} has no name and is ignored", one + 1)),
        many => Some(format!("{} columns have no name and are ignored", many.len())),
    });
    Ok((columns, notes))
}

/// Maximum notes on repeated names.
const MAX_NOTES: usize = 5;

fn into_io(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(e) => e,
        other => io::Error::new(io::ErrorKind::InvalidData, format!("{other:?}")),
    }
}

/// Returns an error when a single record is longer than `max_len` bytes: an unclosed quote would otherwise
/// read the rest of the file into memory. Adds a line feed to the last line if it is missing.
struct Capped {
    reader: Box<dyn BufRead + Send>,
    max_len: u64,
    remaining: u64,
    last: u8,
    ended: InputEnd,
}

/// State of the end of the input.
#[derive(PartialEq, Eq)]
enum InputEnd {
    No,
    /// Ended; the missing last line feed has been added.
    Yes,
    /// Ended, and a read has returned 0 bytes.
    Reported,
}

impl Read for Capped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.remaining == 0 {
            let message =
                format!("a record is longer than {} MiB; is a quote left open?", self.max_len >> 20);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.ended != InputEnd::No {
            self.ended = InputEnd::Reported;
            return Ok(0);
        }
        let max_read = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.reader.read(&mut buffer[..max_read])?;
        if n > 0 {
            self.remaining -= n as u64;
            self.last = buffer[n - 1];
            return Ok(n);
        }
        if self.last == b'\n' {
            self.ended = InputEnd::Reported;
            return Ok(0);
        }
        self.ended = InputEnd::Yes;
        buffer[0] = b'\n';
        Ok(1)
    }
}
