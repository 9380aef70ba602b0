//! Comma-separated values: the first record names the columns, every other one is a row of variables.

use std::collections::HashSet;
use std::io::{self, BufRead, Read};

use csv::{ByteRecord, StringRecord};
use fanweave_core::Vars;
use serde_json::{Map, Value};

/// Reads records.
pub(super) struct Table {
    reader: csv::Reader<Capped>,
    header: StringRecord,
    record: ByteRecord,
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

impl Table {
    /// Reads the header. An error describes what is wrong with it.
    pub(super) fn new(reader: Box<dyn BufRead + Send>, max_len: usize) -> Result<Self, String> {
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
        let mut reader = csv::ReaderBuilder::new().flexible(true).terminator(newline).from_reader(capped);
        let header = reader.headers().map_err(|e| format!("cannot read the header: {e}"))?;
        let header: StringRecord =
            header.iter().map(|name| name.strip_suffix('\r').unwrap_or(name)).collect();
        if let Some(i) = header.iter().position(|name| name.trim().is_empty()) {
            return Err(format!("column {} of the header has no name", i + 1));
        }
        // A set: a hostile file may have 100,000 columns.
        let mut seen = HashSet::with_capacity(header.len());
        if let Some(name) = header.iter().find(|name| !seen.insert(*name)) {
            return Err(format!("the header names the column `{name}` twice"));
        }
        Ok(Self { reader, header, record: ByteRecord::new() })
    }

    pub(super) fn header(&self) -> &StringRecord {
        &self.header
    }

    /// Line on which the last record ends.
    pub(super) fn line(&self) -> u64 {
        self.reader.position().line() - 1
    }

    /// The next record. `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Record<'_>>> {
        loop {
            let capped = self.reader.get_mut();
            capped.remaining = capped.max_len;
            if !self.reader.read_byte_record(&mut self.record).map_err(into_io)? {
                return Ok(None);
            }
            self.strip_carriage_return();
            // The remainder of a blank line that ended with CR LF.
            if self.record.len() != 1 || !self.record[0].is_empty() {
                break;
            }
        }
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
            let field = field[..field.len() - 1].to_owned();
            self.record.truncate(last);
            self.record.push_field(&field);
        }
    }

    fn vars(&self) -> Result<Vars, String> {
        let (expected, found) = (self.header.len(), self.record.len());
        if expected != found {
            let fields = if found == 1 { "field" } else { "fields" };
            return Err(format!("expected {expected} fields as in the header, found {found} {fields}"));
        }
        let mut map = Map::with_capacity(expected);
        for (name, field) in self.header.iter().zip(self.record.iter()) {
            let text = str::from_utf8(field).map_err(|_| format!("column `{name}` is not valid UTF-8"))?;
            map.insert(name.to_owned(), Value::String(text.to_owned()));
        }
        Ok(map.into())
    }
}

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
