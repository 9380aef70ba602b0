//! Sources of rows: a file or standard input, read lazily, one row at a time, or rows from outside.
//!
//! A row that cannot be read is an [`InputRow`] with an error as its input: it fails, and the rows after it
//! run.

mod chat;
mod compression;
mod container;
mod delimiter;
mod encoding;
mod format;
mod lines;
mod openai;
mod options;
#[cfg(feature = "parquet")]
mod parquet;
mod positional;
mod request_fields;
mod sample;
mod scan;
mod table;
mod values;
mod vendor_rows;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::fs::File;
use std::hash::BuildHasher;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use fanweave_core::{ErrorKind as RowErrorKind, blocking, closest};
use serde_json::{Map, Value};

pub(crate) use chat::{parse as parse_chat, read_row};
pub use encoding::Encoding;
pub use format::InputFormat;
pub use lines::MAX_LINE;
pub use options::InputOptions;
pub(crate) use scan::{InputScan, refuse};
pub(crate) use vendor_rows::read as read_vendor_row;

use crate::input::Input;
use crate::key::Key;
use crate::rows::{DynRowSource, InputRow, Listed, RowKey, RowSource};
use crate::{Advice, Error, Result};
use container::Container;
use lines::{LineReader, TextLine};
use positional::PositionalFile;
use sample::Sample;
use table::{Table, TableForm};
use values::ValueReader;

/// Name of standard input in messages.
const STDIN: &str = "standard input";
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The rows of a batch, one by one: those of a file or of standard input, of an iterator, or of a
/// [`RowSource`]. Memory does not grow with their number.
///
/// In files, a byte order mark, CR LF line ends, blank lines and a last line without a newline are accepted.
/// Files may be compressed with gzip or Zstandard. Text is UTF-8, UTF-16 with a byte order mark, or of the
/// [encoding](InputOptions::encoding) that is given; binary data is rejected.
///
/// ```
/// use fanweave::batch::{InputFormat, Input, Source};
///
/// let mut rows = Source::from_reader("example", "What is rain?\n\nAnd snow?".as_bytes(), None)?;
/// assert_eq!(rows.format(), Some(InputFormat::Text));
/// let row = rows.nth(1).expect("two rows")?;
/// assert_eq!((row.index, row.line), (1, 3));
/// assert_eq!(row.input.unwrap(), Input::Text("And snow?".into()));
/// # Ok::<_, fanweave::batch::Error>(())
/// ```
pub struct Source {
    name: String,
    path: Option<PathBuf>,
    /// `None` for rows from outside.
    format: Option<InputFormat>,
    options: InputOptions,
    rows: Rows,
    /// Set if the text is read as it is in the file.
    is_plain: bool,
    /// Problems of the input that concern all rows, one sentence each.
    notes: Vec<String>,
    /// The rows to return. `None` for all.
    sample: Option<Sample>,
    /// Set unless the rows are only checked: their keys are hashes, which cost more than reading them.
    has_keys: bool,
    index: u64,
    /// Hash and line of each `custom_id` seen. The hashes have 64 bits and a random key: with a million ids,
    /// a false duplicate occurs once in 10^7 runs. They take 35 MB, while the ids could take 100 MB.
    ids: HashMap<u64, u64>,
    hasher: RandomState,
}

enum Rows {
    Lines(LineReader<Box<dyn BufRead + Send>>),
    Values(ValueReader<Box<dyn BufRead + Send>>),
    Table(Box<Table>),
    #[cfg(feature = "parquet")]
    Parquet(Box<parquet::Rows>),
    /// Rows from outside.
    Own {
        source: Box<dyn DynRowSource>,
        /// Set if reading a row may block its thread.
        may_block: bool,
    },
    /// The source ended with a record after which nothing can be read.
    Ended,
}

impl Source {
    /// Opens a file. Unless `format` is given, its format is inferred from its name and first line.
    ///
    /// A named pipe is read as a stream, like standard input.
    ///
    /// # Errors
    /// [`Usage`](crate::ErrorKind::Usage) if the file does not exist, is a folder, is empty, is not text
    /// according to its first bytes, or has an invalid CSV header; [`Io`](crate::ErrorKind::Io) if it cannot
    /// be read.
    pub fn open(path: impl AsRef<Path>, format: Option<InputFormat>) -> Result<Self> {
        Self::open_with(path, format.into())
    }

    /// Opens a file with options.
    ///
    /// # Errors
    /// Those of [`open`](Self::open), and [`Usage`](crate::ErrorKind::Usage) for an option that the input
    /// does not have, such as an unknown [id column](InputOptions::id_column).
    pub fn open_with(path: impl AsRef<Path>, options: InputOptions) -> Result<Self> {
        let path = path.as_ref();
        let file = open_file(path)?;
        let format = options.format;
        // A pipe can be read only once, so not before the run and then in it.
        let is_file = file.metadata().is_ok_and(|file| file.is_file());
        if !is_file {
            let reader = Box::new(BufReader::with_capacity(1 << 16, file));
            return Self::read(path.display().to_string(), None, reader, options);
        }
        let file = PositionalFile::new(file);
        if format.is_none_or(|format| format == InputFormat::Parquet) {
            let mut magic = [0; 4];
            if format.is_some() || (file.clone().read(&mut magic).is_ok() && magic == *b"PAR1") {
                return Self::parquet(file, path, options);
            }
        }
        let reader = Box::new(BufReader::with_capacity(1 << 16, file));
        Self::read(path.display().to_string(), Some(path.to_owned()), reader, options)
    }

    /// Reads standard input. Blocks until its first line is available.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn stdin(format: Option<InputFormat>) -> Result<Self> {
        Self::stdin_with(format.into())
    }

    /// Reads standard input with options.
    ///
    /// # Errors
    /// Those of [`open_with`](Self::open_with).
    pub fn stdin_with(options: InputOptions) -> Result<Self> {
        Self::read(STDIN.to_owned(), None, Box::new(BufReader::new(io::stdin())), options)
    }

    /// Reads from any reader. `name` is its name in messages.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn from_reader(
        name: impl Into<String>,
        reader: impl Read + Send + 'static,
        format: Option<InputFormat>,
    ) -> Result<Self> {
        Self::from_reader_with(name, reader, format.into())
    }

    /// Reads from any reader with options. `name` is its name in messages.
    ///
    /// # Errors
    /// Those of [`open_with`](Self::open_with).
    pub fn from_reader_with(
        name: impl Into<String>,
        reader: impl Read + Send + 'static,
        options: InputOptions,
    ) -> Result<Self> {
        Self::read(name.into(), None, Box::new(BufReader::new(reader)), options)
    }

    #[cfg(feature = "parquet")]
    fn parquet(file: PositionalFile, path: &Path, options: InputOptions) -> Result<Self> {
        let rows = Rows::Parquet(Box::new(parquet::Rows::open(file, path)?));
        let (name, path) = (path.display().to_string(), Some(path.to_owned()));
        let source = Self::over(name, path, Some(InputFormat::Parquet), rows);
        Self { options, ..source }.checked()
    }

    #[cfg(not(feature = "parquet"))]
    fn parquet(_: PositionalFile, _: &Path, _: InputOptions) -> Result<Self> {
        Err(Error::without_parquet())
    }

    /// Rows of an iterator, from memory. `name` is their name in messages. The iterator runs on a thread of
    /// its own, ahead of the calls, and may block.
    ///
    /// ```
    /// use fanweave::batch::{BatchJob, Output, Render, Source};
    /// use fanweave::{chain, testing::Fake};
    ///
    /// # fn main() -> fanweave::batch::Result<()> { fanweave::blocking::wait(async {
    /// let source = Source::rows("bears", ["Name a bear.", "Name another bear."]);
    /// let output = Output::Writer(Box::new(std::io::sink()));
    /// let summary = BatchJob::new(source, Render::default(), chain(Fake::echo()), output).run().await?;
    /// assert_eq!((summary.ok, summary.left), (2, Some(0)));
    /// # Ok(())
    /// # }) }
    /// ```
    pub fn rows<T: Into<Input>, R>(name: impl Into<String>, rows: R) -> Self
    where
        R: IntoIterator<Item = T>,
        R::IntoIter: Send + 'static,
    {
        Self::blocking(Listed { name: name.into(), rows: rows.into_iter() })
    }

    /// Rows of a source from outside, read in the task of the run: reading a row must not block. A stopped
    /// run does not wait for further rows, also not for those that have a result.
    pub fn new(source: impl RowSource) -> Self {
        Self::own(source, false)
    }

    /// Rows of a source from outside that may block, read on a thread of their own. The futures of such a
    /// source run without a runtime: they must not wait for timers, sockets or tasks of one. A thread that
    /// blocks when the run ends continues until its row has been read.
    pub fn blocking(source: impl RowSource) -> Self {
        Self::own(source, true)
    }

    fn own(source: impl RowSource, may_block: bool) -> Self {
        let name = source.name().to_owned();
        Self::over(name, None, None, Rows::Own { source: Box::new(source), may_block })
    }

    fn over(name: String, path: Option<PathBuf>, format: Option<InputFormat>, rows: Rows) -> Self {
        let (ids, hasher) = (HashMap::new(), RandomState::new());
        let (options, notes) = (InputOptions::default(), Vec::new());
        Self {
            name,
            path,
            format,
            options,
            rows,
            is_plain: true,
            notes,
            sample: None,
            has_keys: true,
            index: 0,
            ids,
            hasher,
        }
    }

    fn read(
        name: String,
        path: Option<PathBuf>,
        reader: Box<dyn BufRead + Send>,
        options: InputOptions,
    ) -> Result<Self> {
        let invalid = |why: &dyn std::fmt::Display| Error::usage(format!("{name}: {why}"));
        let failed = |e: io::Error| match e.kind() {
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => invalid(&e),
            _ => Error::io("read the input", Path::new(&name), e),
        };
        let (mut reader, is_plain) = text(reader, options.encoding).map_err(failed)?;
        let encoding_error = encoding::look_ahead(&mut reader).map_err(failed)?;
        let mut begin = begin(&mut reader, MAX_LINE).map_err(failed)?;
        let first = begin.trim_ascii();
        if first.is_empty() {
            return Err(invalid(&"the input is empty"));
        }
        let extension = path.as_deref().and_then(format::extension);
        let is_json = matches!(options.format, Some(InputFormat::Jsonl | InputFormat::OpenAi))
            || (options.format.is_none()
                && matches!(extension.as_deref(), Some("json" | "jsonl" | "ndjson")));
        // Only these need the bytes after the first line.
        let container = match first {
            [b'{'] | [b'[', ..] if is_json || options.format.is_none() => {
                Container::detect(first, buffered(&mut reader).map_err(failed)?, is_json)
            }
            _ => Container::Lines,
        };
        let format = match (options.format, container) {
            (Some(format), _) => format,
            (None, Container::Lines) => InputFormat::detect(path.as_deref(), first),
            (None, container) => {
                let sample = [&begin[..], buffered(&mut reader).map_err(failed)?].concat();
                InputFormat::detect(path.as_deref(), &first_value(container, &sample))
            }
        };
        if format == InputFormat::Parquet {
            return Err(invalid(&"a Parquet file must be a regular file, because it is read from its end"));
        }
        if first.starts_with(b"PK\x03\x04") {
            return Err(invalid(&"this is a zip archive or a workbook, not text; save its rows as CSV"));
        }
        // The first read from a pipe may have returned less than a byte order mark.
        if let Some(why) = encoding_error.or_else(|| encoding::encoding_error(&begin)) {
            return Err(invalid(&why));
        }
        let mut notes = Vec::new();
        let rows = if format.is_table() {
            let mut form = TableForm { delimiter: b'\t', lines_before: 0, max_len: MAX_LINE };
            let named = delimiter::of_line(begin.trim_ascii());
            if named.is_some() {
                form.lines_before = begin.iter().filter(|byte| **byte == b'\n').count() as u64;
                begin = self::begin(&mut reader, MAX_LINE).map_err(failed)?;
            }
            let sample = [&begin[..], buffered(&mut reader).map_err(failed)?].concat();
            if options.encoding.is_none()
                && let Some(line) = encoding::invalid_line(&sample)
            {
                let line = form.lines_before + line as u64;
                return Err(
                    invalid(&format!("line {line} is not valid UTF-8")).advising([Advice::SetEncoding])
                );
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
        let source = Self::over(name, path, Some(format), rows);
        Self { options, is_plain, notes, ..source }.checked()
    }

    /// Rejects options that the input does not have.
    fn checked(self) -> Result<Self> {
        let Self { name, options, .. } = &self;
        if options.delimiter.is_some() && !self.format.is_some_and(InputFormat::is_table) {
            return Err(Error::usage(format!("{name}: only rows of CSV and TSV have a delimiter")));
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

    /// Takes a random sample of the rows, in input order. All rows are as likely. A larger sample with the
    /// same seed contains the smaller one, so that a run with it keeps the answers that it has.
    ///
    /// Reads the file once to count its rows, and again in the run. Do not combine it with
    /// [`Settings::limit`](crate::Settings::limit), which counts the rows of the file.
    ///
    /// ```no_run
    /// use fanweave::batch::Source;
    ///
    /// let rows = Source::open("questions.jsonl", None)?.sample(100, 0)?;
    /// assert!(rows.count() <= 100);
    /// # Ok::<_, fanweave::batch::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Usage`](crate::ErrorKind::Usage) for a source that is not a file, because its rows can be read only
    /// once; otherwise those of reading the file.
    pub fn sample(mut self, rows: u64, seed: u64) -> Result<Self> {
        let Some(all) = self.reopened()? else {
            let message = "a sample can only be taken of a file, whose rows can be counted first";
            return Err(Error::usage(format!("{}: {message}", self.name)));
        };
        self.sample = Some(Sample::new(rows, InputScan::count(all)?, seed));
        Ok(self)
    }

    /// Keeps only the rows with these indices, which are in the order of the file.
    pub(crate) fn only(mut self, indices: Vec<u64>) -> Self {
        self.sample = Some(match self.sample.take() {
            Some(sample) => sample.within(&indices),
            None => Sample::of(indices),
        });
        self
    }

    /// The rows of the file from its beginning, without a sample and without keys: for checks before the run.
    /// `None` for a source that is not a file.
    pub(crate) fn reopened(&self) -> Result<Option<Self>> {
        let (Some(path), Some(format)) = (&self.path, self.format) else { return Ok(None) };
        let rows = Self::open_with(path, self.options.clone().format(format))?;
        Ok(Some(Self { has_keys: false, ..rows }))
    }

    /// The options that were given.
    pub(crate) fn options(&self) -> &InputOptions {
        &self.options
    }

    /// Problems of the input that concern all rows, such as columns without a name. One sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Names of the columns of CSV, TSV and Parquet, in their order. `None` for other rows.
    pub fn columns(&self) -> Option<Vec<String>> {
        match &self.rows {
            Rows::Table(table) => Some(table.columns().map(str::to_owned).collect()),
            #[cfg(feature = "parquet")]
            Rows::Parquet(rows) => Some(rows.columns()),
            _ => None,
        }
    }

    /// Returns true if each row is a line of the file.
    pub(crate) fn is_plain_lines(&self) -> bool {
        self.is_plain && matches!(self.rows, Rows::Lines(_))
    }

    /// Format in which the rows are read. `None` for rows of an iterator or a [`RowSource`].
    pub fn format(&self) -> Option<InputFormat> {
        self.format
    }

    /// Name in messages: the path as it was given, or `standard input`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Path of the file. `None` for other sources.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Identity of all rows together, if it is known without reading them.
    pub(crate) fn identity(&self) -> Option<RowKey> {
        if let Rows::Own { source, .. } = &self.rows { source.identity() } else { None }
    }

    /// Returns true if reading a row may block the thread.
    pub(crate) fn may_block(&self) -> bool {
        !matches!(self.rows, Rows::Own { may_block: false, .. })
    }

    /// Number of rows, if a source from outside knows it.
    pub(crate) async fn total(&mut self) -> Result<Option<u64>> {
        if let Rows::Own { source, .. } = &mut self.rows { source.total().await } else { Ok(None) }
    }

    /// The next row. Rows of files are read without waiting.
    pub(crate) async fn next_row(&mut self) -> Option<Result<InputRow>> {
        let Rows::Own { source, .. } = &mut self.rows else { return self.next_line() };
        let row = source.next().await.transpose()?;
        if row.is_err() {
            self.rows = Rows::Ended;
        }
        let index = self.index;
        self.index += 1;
        Some(row.map(|row| row.numbered(index)))
    }

    /// Number of rows of the sample that were not read yet. `None` without a sample.
    pub(crate) fn sampled(&self) -> Option<u64> {
        self.sample.as_ref().map(|sample| sample.remaining() as u64)
    }

    /// Indices of the rows of the sample. `None` without a sample.
    pub(crate) fn sample_indices(&self) -> Option<Box<[u64]>> {
        self.sample.as_ref().map(Sample::indices)
    }

    /// The next row of a file, or of its sample.
    fn next_line(&mut self) -> Option<Result<InputRow>> {
        loop {
            if self.sampled() == Some(0) {
                return None;
            }
            let row = self.next_of_all()?;
            let is_taken = match (&mut self.sample, &row) {
                (Some(sample), Ok(row)) => sample.take(row.index),
                _ => true,
            };
            if is_taken {
                return Some(row);
            }
        }
    }

    fn next_of_all(&mut self) -> Option<Result<InputRow>> {
        let row = self.read_line().map_err(|e| {
            self.rows = Rows::Ended;
            Error::io("continue reading", Path::new(&self.name), e)
        });
        row.transpose()
    }

    fn read_line(&mut self) -> io::Result<Option<InputRow>> {
        let Some(format) = self.format else { return Ok(None) };
        let index = self.index;
        let (id_column, has_keys) = (self.options.id_column.as_deref(), self.has_keys);
        let unreadable = || has_keys.then(|| Key::of(&[b"unreadable"]));
        let read = |line: TextLine<'_>| {
            let (id, content, input) = read_line(format, id_column, line.bytes, has_keys);
            // A line that cannot be read is identified by its bytes.
            let of_bytes = || has_keys.then(|| Key::of(&[line.bytes.unwrap_or_default()]));
            (line.number, id, content.or_else(of_bytes), input)
        };
        let (line, id, content, input) = match &mut self.rows {
            Rows::Ended | Rows::Own { .. } => return Ok(None),
            Rows::Lines(lines) => {
                let Some(line) = lines.next()? else { return Ok(None) };
                read(line)
            }
            Rows::Values(values) => match values.next()? {
                None => return Ok(None),
                Some(Ok(value)) => read(value),
                Some(Err(why)) => {
                    let line = values.line();
                    self.rows = Rows::Ended;
                    (line, None, unreadable(), Err(why))
                }
            },
            #[cfg(feature = "parquet")]
            Rows::Parquet(rows) => {
                let Some(row) = rows.next() else { return Ok(None) };
                let id = row.as_ref().ok().and_then(|map| id_of(map, id_column));
                let content =
                    row.as_ref().map_or_else(|_| unreadable(), |map| has_keys.then(|| Key::of_object(map)));
                if row.is_err() {
                    self.rows = Rows::Ended;
                }
                (index + 1, id, content, row.map(|map| Input::Vars(map.into())))
            }
            Rows::Table(table) => match table.next() {
                Ok(None) => return Ok(None),
                Ok(Some(record)) => {
                    let (line, vars) = (record.line, record.vars);
                    let fields = has_keys.then(|| Key::of(&record.fields.iter().collect::<Vec<_>>()));
                    let content = fields.map(|fields| fields.and(&Key::of(&table_names(table.header()))));
                    (
                        line,
                        vars.as_ref().ok().and_then(|v| id_of(v.as_map(), id_column)),
                        content,
                        vars.map(Input::Vars),
                    )
                }
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                    let line = table.line() + 1;
                    self.rows = Rows::Ended;
                    let input = Err(format!("{e}; nothing after it can be read"));
                    (line, None, unreadable(), input)
                }
                Err(e) => return Err(e),
            },
        };
        self.index += 1;
        let input = input.and_then(|input| self.check_id(id.as_deref(), line).map(|()| input));
        let input = input.map_err(|e| {
            let unit = if format == InputFormat::Parquet { "row" } else { "line" };
            let message = format!("{} {unit} {line}: {e}", self.name);
            fanweave_core::Error::new(RowErrorKind::Input, message)
        });
        Ok(Some(InputRow { index, line, id, input, key: content.map(RowKey) }))
    }

    /// Rejects a duplicate `custom_id`: results are identified by it, and OpenAI rejects duplicates too.
    fn check_id(&mut self, id: Option<&str>, line: u64) -> Result<(), String> {
        let (Some(InputFormat::OpenAi), Some(id)) = (self.format, id) else { return Ok(()) };
        match self.ids.entry(self.hasher.hash_one(id)) {
            Entry::Vacant(free) => {
                free.insert(line);
                Ok(())
            }
            Entry::Occupied(first) => {
                let first = first.get();
                Err(format!(
                    "duplicate custom_id `{id}` (first used in line {first}); each row needs a unique one"
                ))
            }
        }
    }
}

impl Iterator for Source {
    type Item = Result<InputRow>;

    /// The next row. An error if reading fails; the source has then ended. Blocks, also for a [`RowSource`].
    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.rows, Rows::Own { .. }) {
            return blocking::wait(self.next_row());
        }
        self.next_line()
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}

/// Reads up to the end of the first line that is not blank, without a byte order mark.
fn begin(reader: &mut impl BufRead, max_len: usize) -> io::Result<Vec<u8>> {
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

fn table_names(header: &csv::StringRecord) -> Vec<&[u8]> {
    header.iter().map(str::as_bytes).collect()
}

/// Reads a line: its id, the key of its content, if that is wanted and not the key of its bytes, and its
/// input.
fn read_line(
    format: InputFormat,
    id_column: Option<&str>,
    bytes: Option<&[u8]>,
    has_key: bool,
) -> (Option<String>, Option<Key>, Result<Input, String>) {
    let Some(bytes) = bytes else {
        return (None, None, Err(format!("the line is longer than {} MiB", MAX_LINE >> 20)));
    };
    let Ok(line) = str::from_utf8(bytes) else {
        return (None, None, Err("the line is not valid UTF-8".to_owned()));
    };
    match format {
        InputFormat::OpenAi => {
            let openai::Line { id, request } = openai::read(line, has_key);
            match request {
                Ok((prompt, key)) => (id, key, Ok(Input::Prompt(Box::new(prompt)))),
                Err(why) => (id, None, Err(why)),
            }
        }
        InputFormat::Text => (None, None, Ok(Input::Text(line.to_owned()))),
        InputFormat::Jsonl | InputFormat::Csv | InputFormat::Tsv | InputFormat::Parquet => {
            match serde_json::from_str(line) {
                Ok(Value::Object(map)) => {
                    let key = has_key.then(|| Key::of_object(&map));
                    (id_of(&map, id_column), key, Ok(Input::Vars(map.into())))
                }
                Ok(Value::String(text)) => (None, None, Ok(Input::Text(text))),
                Ok(_) => (None, None, Err("expected a JSON object or string".to_owned())),
                Err(e) => (None, None, Err(format!("expected a JSON object: {}", json_error(&e, line)))),
            }
        }
    }
}

fn id_of(map: &Map<String, Value>, column: Option<&str>) -> Option<String> {
    let id = match column {
        Some(column) => map.get(column),
        None => map.get("custom_id").or_else(|| map.get("id")).or_else(|| vendor_rows::id_field(map)),
    };
    match id? {
        Value::String(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

/// Formats the error of a JSON text with its column first, and its line if the text has several. Names the
/// cause of frequent mistakes.
fn json_error(error: &serde_json::Error, json: &str) -> String {
    let position = format!(" at line {} column {}", error.line(), error.column());
    let text = error.to_string();
    let text = text.strip_suffix(&position).unwrap_or(&text);
    let line = json.lines().nth(error.line().saturating_sub(1)).unwrap_or_default();
    let at = |column: usize| line.get(column.saturating_sub(1)..).unwrap_or_default();
    let (from, inside) = (at(error.column()), at(error.column().saturating_sub(10)));
    let cause = if text.contains("surrogate") || text.contains("hex escape") {
        "; an escape such as \\ud83d is half a character: was the text cut in the middle of an emoji?"
    } else if ["NaN", "Infinity", "-Infinity", "nan"].iter().any(|word| from.starts_with(word)) {
        "; NaN and Infinity are not JSON: write null"
    } else if text == "trailing characters" && from.starts_with(',') {
        "; a comma follows the value: write one value per line without commas, or a list in brackets"
    } else if text.starts_with("key must be a string") && inside.contains('\'') {
        "; JSON needs double quotes: was a Python dict printed?"
    } else {
        ""
    };
    match error.line() {
        0 | 1 => format!("column {}: {text}{cause}", error.column()),
        line => format!("line {line} of the value, column {}: {text}{cause}", error.column()),
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
fn buffered(reader: &mut (impl BufRead + ?Sized)) -> io::Result<&[u8]> {
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

fn open_file(path: &Path) -> Result<File> {
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
