//! Opening of inputs: their encoding, compression, format and layout.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use fanweave_core::closest;

use super::container::Container;
use super::encoding::Encoding;
use super::line_ends;
use super::lines::{LineReader, MAX_LINE, TextLine};
use super::options::InputOptions;
use super::table::{Table, TableForm};
use super::values::ValueReader;
use super::{BYTE_ORDER_MARK, InputFormat, Rows, Source, compression, delimiter, encoding, format};
use crate::{Advice, Error, Result};

/// Returns true for the extension of a file that must not be read as lines of prompts. Pages of HTML are
/// often called `.xls`.
fn is_of_another_kind(extension: &str) -> bool {
    matches!(extension, "xls" | "xlsb" | "ods" | "numbers" | "html" | "htm" | "xml" | "yaml" | "yml")
}

impl Source {
    pub(super) fn read(
        name: String,
        paths: Vec<PathBuf>,
        reader: Box<dyn BufRead + Send>,
        options: InputOptions,
    ) -> Result<Self> {
        let invalid = |why: &dyn std::fmt::Display| Error::usage(format!("{name}: {why}"));
        let failed = |e: io::Error| match e.kind() {
            kind if is_of_contents(kind) => invalid(&e),
            _ => Error::io("read the input", Path::new(&name), e),
        };
        let (reader, is_plain) = text(reader, options.encoding).map_err(failed)?;
        let (mut reader, has_returns) = line_ends::open(reader).map_err(failed)?;
        let is_plain = is_plain && !has_returns;
        let encoding_error = encoding::look_ahead(&mut reader).map_err(failed)?;
        let mut begin = begin(&mut reader, MAX_LINE).map_err(failed)?;
        let first = begin.trim_ascii();
        if first.is_empty() {
            return Err(invalid(&"the input is empty"));
        }
        if first.starts_with(b"\xD0\xCF\x11\xE0") {
            let message =
                "this is an old or encrypted workbook; save it as .xlsx without a password, or as CSV";
            return Err(invalid(&message));
        }
        let path = paths.first().map(PathBuf::as_path);
        let extension = path.and_then(format::extension);
        let is_json = matches!(options.format, Some(InputFormat::Jsonl | InputFormat::OpenAi))
            || (options.format.is_none()
                && matches!(extension.as_deref(), Some("json" | "jsonl" | "ndjson")));
        if let (None, Some(other)) = (options.format, extension.as_deref())
            && is_of_another_kind(other)
        {
            let why = format!(
                "files called .{other} are not read: save its rows as CSV, JSON Lines, Parquet or .xlsx"
            );
            return Err(invalid(&why).advising([Advice::SetFormat]));
        }
        // Only these need the bytes after the first line.
        let container = match first {
            [b'{'] | [b'[', ..] if is_json || options.format.is_none() => {
                Container::detect(first, buffered(&mut reader).map_err(failed)?, is_json)
            }
            _ => Container::Lines,
        };
        let format = match (options.format, container) {
            (Some(format), _) => format,
            (None, Container::Lines) => InputFormat::detect(path, first),
            (None, container) => {
                let sample = [&begin[..], buffered(&mut reader).map_err(failed)?].concat();
                InputFormat::detect(path, &first_value(container, &sample))
            }
        };
        let (is_parquet, is_archive) = (first.starts_with(b"PAR1"), first.starts_with(b"PK\x03\x04"));
        if is_parquet && format == InputFormat::Parquet {
            return Err(invalid(&"a Parquet file must be a regular file, because it is read from its end"));
        }
        if is_archive {
            return Err(invalid(
                &"this is a zip archive or a workbook, which must be a regular file, because it is read from its end",
            ));
        }
        // The first read from a pipe may have returned less than a byte order mark.
        if let Some(why) = encoding_error.or_else(|| encoding::encoding_error(&begin)) {
            return Err(invalid(&why.message).advising(why.advice));
        }
        if let InputFormat::Parquet | InputFormat::Xlsx = format {
            let kind = if format == InputFormat::Xlsx { "a workbook" } else { "a Parquet file" };
            let why = format!("not {kind}, as its name or format says: it contains text");
            return Err(invalid(&why).advising([Advice::SetFormat]));
        }
        let mut notes = Vec::new();
        let is_checked = options.encoding.is_none();
        let not_utf8 = |line: u64| {
            invalid(&format!("line {line} {}", encoding::NOT_UTF8)).advising([Advice::SetEncoding])
        };
        if is_checked && let Some(line) = encoding::invalid_line(&begin) {
            return Err(not_utf8(line as u64));
        }
        let rows = if format.is_table() {
            let mut form = TableForm { delimiter: b'\t', lines_before: 0, max_len: MAX_LINE };
            let named = delimiter::of_line(begin.trim_ascii());
            if named.is_some() {
                form.lines_before = begin.iter().filter(|byte| **byte == b'\n').count() as u64;
                begin = self::begin(&mut reader, MAX_LINE).map_err(failed)?;
            }
            let sample = [&begin[..], buffered(&mut reader).map_err(failed)?].concat();
            if is_checked && let Some(line) = encoding::invalid_line(&sample) {
                return Err(not_utf8(form.lines_before + line as u64));
            }
            form.delimiter = match (options.delimiter, named) {
                (Some(delimiter), _) => {
                    u8::try_from(delimiter).ok().filter(u8::is_ascii).ok_or_else(|| {
                        invalid(&format!("the delimiter must be an ASCII character, got `{delimiter}`"))
                    })?
                }
                (None, Some(named)) => named,
                (None, None) if format == InputFormat::Tsv => b'\t',
                (None, None) => delimiter::infer(&sample),
            };
            let reader = Box::new(Cursor::new(begin).chain(reader));
            let mut table = Table::new(reader, form).map_err(|e| invalid(&e))?;
            notes = table.take_notes();
            Rows::Table(Box::new(table))
        } else {
            let reader: Box<dyn BufRead + Send> = Box::new(Cursor::new(begin).chain(reader));
            match container {
                Container::Lines => Rows::Lines(LineReader::new(reader, MAX_LINE)),
                Container::List => Rows::Values(ValueReader::list(reader, MAX_LINE)),
                Container::Values => Rows::Values(ValueReader::plain(reader, MAX_LINE)),
            }
        };
        let source = Self::over(name, paths, Some(format), rows);
        Self { options, is_plain, notes, ..source }.checked()
    }

    /// Rejects options that the input does not have.
    pub(super) fn checked(self) -> Result<Self> {
        let Self { name, options, .. } = &self;
        if options.delimiter.is_some() && !self.format.is_some_and(InputFormat::is_table) {
            return Err(Error::usage(format!("{name}: only rows of CSV and TSV have a delimiter")));
        }
        if options.sheet.is_some() && self.format != Some(InputFormat::Xlsx) {
            return Err(Error::usage(format!("{name}: only workbooks have sheets")));
        }
        if options.encoding.is_some() && matches!(self.format, Some(InputFormat::Xlsx | InputFormat::Parquet))
        {
            return Err(Error::usage(format!("{name}: workbooks and Parquet files have no encoding to set")));
        }
        if let Some(id) = &options.id_column {
            if self.format == Some(InputFormat::OpenAi) {
                let message =
                    "the lines of an OpenAI batch are identified by their custom_id, not by a column";
                return Err(Error::usage(format!("{name}: {message}")));
            }
            if let Some(columns) = self.columns()
                && !columns.contains(id)
            {
                let near = closest(id, &columns).map(|near| format!("; did you mean `{near}`?"));
                let message = format!("{name}: no column is named `{id}`{}", near.unwrap_or_default());
                return Err(Error::usage(message));
            }
        }
        Ok(self)
    }
}

/// Returns true if reading fails because of what is in a file, such as a compressed file that is cut.
pub(super) fn is_of_contents(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(kind, InvalidData | InvalidInput | UnexpectedEof)
}

/// Reads up to the end of the first line that is not blank, without a byte order mark.
pub(super) fn begin(reader: &mut impl BufRead, max_len: usize) -> io::Result<Vec<u8>> {
    let mut begin = Vec::new();
    loop {
        let line = begin.len();
        if reader.by_ref().take(max_len as u64).read_until(b'\n', &mut begin)? == 0 {
            return Ok(begin);
        }
        if begin.len() > max_len && begin.trim_ascii().is_empty() {
            let message = format!("only whitespace in its first {} MiB", max_len >> 20);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        if line == 0 && begin.starts_with(BYTE_ORDER_MARK) {
            begin.drain(..BYTE_ORDER_MARK.len());
        }
        if !begin[line.min(begin.len())..].trim_ascii().is_empty() {
            return Ok(begin);
        }
    }
}

/// The text of an input as UTF-8, and whether it is the same as in the input.
fn text(
    reader: Box<dyn BufRead + Send>,
    encoding: Option<Encoding>,
) -> io::Result<(Box<dyn BufRead + Send>, bool)> {
    let (reader, is_compressed) = compression::open(reader)?;
    let (begin, reader) = compression::peek(reader, 4)?;
    match encoding.or_else(|| encoding::detect(&begin)) {
        Some(encoding) if encoding != Encoding::UTF_8 => {
            let decoded = encoding::Decoded::new(reader, encoding);
            Ok((Box::new(BufReader::with_capacity(1 << 16, decoded)), false))
        }
        _ => Ok((reader, !is_compressed)),
    }
}

/// The bytes that are buffered or arrive next.
pub(super) fn buffered(reader: &mut (impl BufRead + ?Sized)) -> io::Result<&[u8]> {
    // Twice, because the buffer of a chain of readers would be borrowed in a loop.
    while let Err(e) = reader.fill_buf() {
        if e.kind() != io::ErrorKind::Interrupted {
            return Err(e);
        }
    }
    reader.fill_buf()
}

/// The text of the first value in the beginning of an input.
fn first_value(container: Container, begin: &[u8]) -> Vec<u8> {
    let mut values = match container {
        Container::List => ValueReader::list(begin, usize::MAX),
        _ => ValueReader::plain(begin, usize::MAX),
    };
    match values.next() {
        Ok(Some(Ok(TextLine { bytes: Some(bytes), .. }))) => bytes.to_vec(),
        _ => Vec::new(),
    }
}

pub(super) fn open_file(path: &Path) -> Result<File> {
    let shown = path.display();
    if path.is_dir() {
        return Err(Error::usage(format!("{shown} is a folder; specify a file in it")));
    }
    File::open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => {
            let suggestion = similar(path).map(|near| format!("; did you mean {}?", near.display()));
            Error::usage(format!("{shown}: no such file{}", suggestion.unwrap_or_default()))
        }
        _ => Error::io("open the file", path, e),
    })
}

/// A file in the same folder with a similar name.
fn similar(path: &Path) -> Option<PathBuf> {
    let folder = match path.parent()? {
        here if here.as_os_str().is_empty() => Path::new("."),
        folder => folder,
    };
    let files = std::fs::read_dir(folder).ok()?.filter_map(std::result::Result::ok);
    let names: Vec<_> = files.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    closest(path.file_name()?.to_str()?, names).map(|name| path.with_file_name(name))
}
