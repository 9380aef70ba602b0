//! Sources of rows: a file or standard input, read lazily, one row at a time, or rows from outside.
//!
//! A row that cannot be read is an [`InputRow`] with an error as its input: it fails, and the rows after it
//! run.

mod chat;
mod compression;
mod container;
mod delimiter;
mod density;
mod encoding;
mod files;
mod format;
mod ids;
mod line;
mod line_ends;
mod lines;
#[cfg(feature = "parquet")]
mod logical;
mod numbers;
mod openai;
mod opening;
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
#[cfg(feature = "xlsx")]
mod xlsx;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use fanweave_core::blocking;

pub(crate) use chat::{parse as parse_chat, read_exact_row, read_row};
pub use encoding::Encoding;
pub(crate) use files::FILE_COLUMN;
pub use format::InputFormat;
pub use lines::MAX_LINE;
pub(crate) use numbers::read as read_json;
pub use options::InputOptions;
pub use request_fields::RequestFields;
pub(crate) use scan::{InputScan, refuse};
pub(crate) use vendor_rows::{parse_vendor, read as read_vendor_row};

use crate::input::Input;
use crate::output::ColumnType;
use crate::rows::{DynRowSource, InputRow, Listed, RowKey, RowSource};
use crate::{Error, ErrorKind, Result};
use files::Files;
use ids::Ids;
use line::json_error;
use lines::LineReader;
use opening::{buffered, is_of_contents, open_file};
use positional::PositionalFile;
use sample::Sample;
use table::Table;
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
    /// The files. Empty for other sources.
    paths: Vec<PathBuf>,
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
    /// See [`without_filled_lines`](Self::without_filled_lines).
    skips_filled: bool,
    index: u64,
    /// The ids of an OpenAI batch.
    ids: Ids,
}

enum Rows {
    Lines(LineReader<Box<dyn BufRead + Send>>),
    Values(ValueReader<Box<dyn BufRead + Send>>),
    Table(Box<Table>),
    #[cfg(feature = "parquet")]
    Parquet(Box<parquet::Rows>),
    #[cfg(feature = "xlsx")]
    Xlsx(Box<xlsx::Rows>),
    /// Several files.
    Files(Box<Files>),
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
            return Self::read(path.display().to_string(), Vec::new(), reader, options);
        }
        let file = PositionalFile::new(file);
        let mut magic = [0; 4];
        let read = file.clone().read(&mut magic).unwrap_or_default();
        let begins = |bytes: &[u8]| read == magic.len() && magic == *bytes;
        let is = |binary: InputFormat, bytes: &[u8]| match format {
            None => begins(bytes),
            Some(format) => format == binary,
        };
        if is(InputFormat::Parquet, b"PAR1") {
            return Self::parquet(file, path, options);
        }
        // Other zip archives are rejected there, too.
        if is(InputFormat::Xlsx, b"PK\x03\x04") {
            return Self::xlsx(file, path, options);
        }
        let reader = Box::new(BufReader::with_capacity(1 << 16, file));
        Self::read(path.display().to_string(), vec![path.to_owned()], reader, options)
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
        Self::read(STDIN.to_owned(), Vec::new(), Box::new(BufReader::new(io::stdin())), options)
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
        Self::read(name.into(), Vec::new(), Box::new(BufReader::new(reader)), options)
    }

    #[cfg(feature = "parquet")]
    fn parquet(file: PositionalFile, path: &Path, options: InputOptions) -> Result<Self> {
        let rows = Rows::Parquet(Box::new(parquet::Rows::open(file, path)?));
        let (name, paths) = (path.display().to_string(), vec![path.to_owned()]);
        let source = Self::over(name, paths, Some(InputFormat::Parquet), rows);
        Self { options, ..source }.checked()
    }

    #[cfg(not(feature = "parquet"))]
    fn parquet(_: PositionalFile, _: &Path, _: InputOptions) -> Result<Self> {
        Err(Error::without_parquet())
    }

    #[cfg(feature = "xlsx")]
    fn xlsx(file: PositionalFile, path: &Path, options: InputOptions) -> Result<Self> {
        let (rows, notes) = xlsx::Rows::open(file, path, options.sheet.as_deref())?;
        let (name, paths) = (path.display().to_string(), vec![path.to_owned()]);
        let source = Self::over(name, paths, Some(InputFormat::Xlsx), Rows::Xlsx(Box::new(rows)));
        Self { options, notes, ..source }.checked()
    }

    #[cfg(not(feature = "xlsx"))]
    fn xlsx(_: PositionalFile, _: &Path, _: InputOptions) -> Result<Self> {
        Err(Error::without_xlsx())
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
        Self::over(name, Vec::new(), None, Rows::Own { source: Box::new(source), may_block })
    }

    fn over(name: String, paths: Vec<PathBuf>, format: Option<InputFormat>, rows: Rows) -> Self {
        let (options, notes) = (InputOptions::default(), Vec::new());
        Self {
            name,
            paths,
            format,
            options,
            rows,
            is_plain: true,
            notes,
            sample: None,
            has_keys: true,
            skips_filled: false,
            index: 0,
            ids: Ids::default(),
        }
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

    /// Number of rows of the files, also of those that are not in a [sample](Self::sample). `None` for a
    /// source that is not a file. Reads the files.
    ///
    /// # Errors
    /// Those of reading the files.
    pub fn count_rows(&self) -> Result<Option<u64>> {
        Ok(InputScan::of(self, 0, 0)?.map(|scan| scan.rows))
    }

    /// Reads the rows for a check, without their keys.
    pub(crate) fn without_keys(self) -> Self {
        Self { has_keys: false, ..self }
    }

    /// Adds a note.
    pub(crate) fn noting(mut self, note: Option<String>) -> Self {
        self.notes.extend(note);
        self
    }

    /// The rows of the file from its beginning, without a sample and without keys: for checks before the run.
    /// `None` for a source that is not a file.
    pub(crate) fn reopened(&self) -> Result<Option<Self>> {
        let rows = match (self.paths.as_slice(), self.format, &self.rows) {
            ([], ..) | (_, None, _) => return Ok(None),
            #[cfg(feature = "xlsx")]
            (.., Rows::Xlsx(rows)) => self.with_rows(Rows::Xlsx(Box::new(rows.rewound()))),
            (.., Rows::Files(files)) => self.with_rows(Rows::Files(Box::new(files.rewound()))),
            ([path], Some(format), _) => Self::open_with(path, self.options.clone().format(format))?,
            (paths, ..) => Self::open_all(paths, self.options.clone())?,
        };
        Ok(Some(Self { has_keys: false, ..rows }))
    }

    /// The rows of the file, or of its sample, from the beginning and without keys: for checks before the
    /// run. `None` for a source that is not a file.
    #[doc(hidden)]
    pub fn rewound(&self) -> Result<Option<Self>> {
        let rows = self.reopened()?;
        Ok(rows.map(|rows| Self { sample: self.sample.clone(), ..rows }))
    }

    fn with_rows(&self, rows: Rows) -> Self {
        let source = Self::over(self.name.clone(), self.paths.clone(), self.format, rows);
        Self { options: self.options.clone(), is_plain: self.is_plain, ..source }
    }

    /// Opens each of several files for a check. `None` for other sources.
    pub(crate) fn each_file(&self) -> Option<impl Iterator<Item = Result<Self>>> {
        match &self.rows {
            Rows::Files(files) => Some(files.each()),
            _ => None,
        }
    }

    /// Without the JSON lines whose text shows that none of their fields is empty, which are then not parsed:
    /// nearly all lines. They still count in [`read_so_far`](Self::read_so_far).
    pub(crate) fn without_filled_lines(self) -> Self {
        Self { skips_filled: self.format == Some(InputFormat::Jsonl), ..self }
    }

    /// Number of rows that were read, also of those that were not returned.
    pub(crate) fn read_so_far(&self) -> u64 {
        self.index
    }

    /// Returns true if rows may have named fields, rather than being texts or requests.
    pub(crate) fn has_fields(&self) -> bool {
        !matches!(self.format, Some(InputFormat::Text | InputFormat::OpenAi))
    }

    /// The options that were given.
    pub(crate) fn options(&self) -> &InputOptions {
        &self.options
    }

    /// Problems of the input that concern all rows, such as columns without a name. One sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Names of the columns of CSV, TSV, Parquet and workbooks, in their order. `None` for other rows.
    pub fn columns(&self) -> Option<Vec<String>> {
        match &self.rows {
            Rows::Table(table) => Some(table.columns().map(str::to_owned).collect()),
            #[cfg(feature = "parquet")]
            Rows::Parquet(rows) => Some(rows.columns()),
            #[cfg(feature = "xlsx")]
            Rows::Xlsx(rows) => Some(rows.columns().to_vec()),
            Rows::Files(files) => files.columns().map(<[_]>::to_vec),
            _ => None,
        }
    }

    /// Types of the columns that are known and not texts.
    pub(crate) fn column_types(&self) -> HashMap<String, ColumnType> {
        match &self.rows {
            #[cfg(feature = "parquet")]
            Rows::Parquet(rows) => rows.column_types(),
            #[cfg(feature = "xlsx")]
            Rows::Xlsx(rows) => rows.dates().iter().map(|name| (name.clone(), ColumnType::Date)).collect(),
            Rows::Files(files) => files.column_types().clone(),
            _ => HashMap::new(),
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

    /// Name in messages: the path as it was given, or `standard input`. For several files, the first path and
    /// the number of the others.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Path of the file. `None` for several files and for other sources.
    pub fn path(&self) -> Option<&Path> {
        match self.paths.as_slice() {
            [one] => Some(one),
            _ => None,
        }
    }

    /// Paths of the files. Empty for other sources.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
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
        if let Rows::Files(files) = &mut self.rows {
            let row = files.next(self.has_keys)?;
            if row.is_err() {
                self.rows = Rows::Ended;
            }
            let index = self.index;
            self.index += 1;
            return Some(row.map(|row| InputRow { index, ..row }));
        }
        let row = self.read_line().map_err(|e| {
            let line = self.lines_read();
            self.rows = Rows::Ended;
            let kind = e.kind();
            let doing = match line {
                Some(line) => format!("continue reading after line {line}"),
                None => "continue reading".to_owned(),
            };
            let error = Error::io(&doing, Path::new(&self.name), e);
            // Rows without keys are read before any call.
            if !self.has_keys && is_of_contents(kind) { error.of_kind(ErrorKind::Usage) } else { error }
        });
        row.transpose()
    }

    /// Number of the last line that was read. `None` before the first one, and for rows that are not lines.
    fn lines_read(&self) -> Option<u64> {
        let line = match &self.rows {
            Rows::Lines(lines) => lines.number(),
            Rows::Values(values) => values.line() - 1,
            Rows::Table(table) => table.line(),
            _ => 0,
        };
        (line > 0).then_some(line)
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
