//! Comma-separated values: the first row names the columns, every other one is a row of variables.

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
    /// The line that it begins on.
    pub(super) line: u64,
    /// Its fields by the names of their columns, or what is wrong with it.
    pub(super) vars: Result<Vars, String>,
    /// Its fields as they are.
    pub(super) fields: &'a ByteRecord,
}

impl Table {
    /// Reads the header. The error says what is wrong with it.
    pub(super) fn new(reader: Box<dyn BufRead + Send>, cap: usize) -> Result<Self, String> {
        let capped = Capped { reader, cap: cap as u64, left: cap as u64, last: b'\n', ended: Ended::No };
        // With one line feed behind every record, line numbers can be told from how many were read.
        let newline = csv::Terminator::Any(b'\n');
        let mut reader = csv::ReaderBuilder::new().flexible(true).terminator(newline).from_reader(capped);
        let header = reader.headers().map_err(|e| format!("cannot read the header: {e}"))?;
        let header: StringRecord =
            header.iter().map(|name| name.strip_suffix('\r').unwrap_or(name)).collect();
        let names: Vec<_> = header.iter().collect();
        if let Some(i) = names.iter().position(|name| name.trim().is_empty()) {
            return Err(format!("column {} of the header has no name", i + 1));
        }
        if let Some((_, name)) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
            return Err(format!("the header names the column `{name}` twice"));
        }
        Ok(Self { reader, header, record: ByteRecord::new() })
    }

    pub(super) fn header(&self) -> &StringRecord {
        &self.header
    }

    /// The line that the last record ends on.
    pub(super) fn line(&self) -> u64 {
        self.reader.position().line() - 1
    }

    /// The next record. `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Record<'_>>> {
        loop {
            let capped = self.reader.get_mut();
            capped.left = capped.cap;
            if !self.reader.read_byte_record(&mut self.record).map_err(into_io)? {
                return Ok(None);
            }
            self.strip_carriage_return();
            // What is left of a blank line that ended with CR LF.
            if self.record.len() != 1 || !self.record[0].is_empty() {
                break;
            }
        }
        let inside = self.record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
        // Every record ends with a line feed, but one that was still inside quotes when the file ended.
        let (line, vars) = if self.reader.get_ref().ended == Ended::Told {
            let message = "a quote that begins here is never closed; nothing after it can be read";
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

/// Ends with an error where a single record reads more than `cap` bytes: a quote that is never closed would
/// otherwise take the rest of the file into memory. Sees to it that the last line ends like all others.
struct Capped {
    reader: Box<dyn BufRead + Send>,
    cap: u64,
    left: u64,
    last: u8,
    ended: Ended,
}

/// Whether the input has ended.
#[derive(PartialEq, Eq)]
enum Ended {
    No,
    /// But for the line feed that it lacked.
    Yes,
    /// And whoever asked for more has heard of it.
    Told,
}

impl Read for Capped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            let message = format!("a record is longer than {} MiB; is a quote left open?", self.cap >> 20);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.ended != Ended::No {
            self.ended = Ended::Told;
            return Ok(0);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.reader.read(&mut buffer[..most])?;
        if n > 0 {
            self.left -= n as u64;
            self.last = buffer[n - 1];
            return Ok(n);
        }
        if self.last == b'\n' {
            self.ended = Ended::Told;
            return Ok(0);
        }
        self.ended = Ended::Yes;
        buffer[0] = b'\n';
        Ok(1)
    }
}
