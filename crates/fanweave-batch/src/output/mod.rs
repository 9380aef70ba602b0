//! Destinations and formats of results.

mod csv;
mod flat;
mod format;
mod openai;
#[cfg(feature = "parquet")]
mod parquet;
mod plain;
mod shape;
mod shown;
#[cfg(feature = "xlsx")]
mod xlsx;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use shown::Shown;

use crate::columns::OwnColumns;
pub(crate) use crate::disk::journal_path;
use crate::disk::{Disk, DiskFile, with_suffix};
use crate::finished::FinishedRow;
use crate::journal::Record;
use crate::memory::{self, RowStream};
use crate::recorder::Driver;
use crate::records::{DynRecords, Records, RowSink};
use crate::{Advice, Error, ErrorKind, Result};

pub(crate) use csv::{guarded_record, write as csv_record};
pub(crate) use flat::ColumnType;
pub use format::OutputFormat;
pub(crate) use shape::Shape;
#[cfg(feature = "xlsx")]
pub(crate) use xlsx::MAX_ROWS as MAX_SHEET_ROWS;

/// Destination of results.
///
/// ```
/// use fanweave::batch::Output;
///
/// let output = Output::File("answers.jsonl".into());
/// assert_eq!(format!("{output:?}"), r#"File("answers.jsonl")"#);
/// ```
#[non_exhaustive]
pub enum Output {
    /// A file, which is created when the run ends. Its journal is in the same directory, with `.journal`
    /// appended to the name.
    File(PathBuf),
    /// Standard output: each row as soon as all earlier rows are written. Has no journal, so the run cannot
    /// be resumed.
    Stdout,
    /// Any writer. Behaves like standard output.
    Writer(Box<dyn Write + Send>),
    /// Records or a sink of another crate: see [`records`](Self::records) and [`sink`](Self::sink).
    Own(OwnOutput),
}

/// An output of another crate, made by [`Output::records`], [`Output::blocking_records`],
/// [`Output::sink`] or [`Output::direct`].
///
/// ```
/// use fanweave::batch::{FinishedRow, Output, Result, RowSink};
///
/// struct Nothing;
///
/// impl RowSink for Nothing {
///     fn write(&mut self, _: FinishedRow) -> Result<()> {
///         Ok(())
///     }
/// }
///
/// assert!(matches!(Output::sink("rows.journal", Nothing), Output::Own(_)));
/// ```
pub struct OwnOutput(pub(crate) OwnKind);

pub(crate) enum OwnKind {
    Records { records: Box<dyn DynRecords>, driver: Driver },
    Sink { journal: PathBuf, sink: Box<dyn RowSink> },
    Rows(Box<dyn RowSink>),
    Direct(Box<dyn RowSink>),
}

impl Output {
    /// Records in place of a journal and an output file, such as a table of a database. They may wait, but
    /// must not block a thread: a task of the runtime writes them. If the run is dropped, that task still
    /// records the rows that have ended. For an example, see [`Records`].
    pub fn records(records: impl Records) -> Self {
        Self::Own(OwnOutput(OwnKind::Records { records: Box::new(records), driver: Driver::Task }))
    }

    /// Records that may block: a thread of its own writes them. Their futures run without a runtime, so they
    /// must not wait for timers, sockets or tasks of one. Dropping the run waits for the thread, which
    /// records the rows that have ended.
    pub fn blocking_records(records: impl Records) -> Self {
        Self::Own(OwnOutput(OwnKind::Records { records: Box::new(records), driver: Driver::Thread }))
    }

    /// Results to memory. The stream holds at most `buffer` of them, from 1 to 65,536: a slow reader delays
    /// rows. Results that wait for an earlier row are in a temporary file. Has no journal, so the run cannot
    /// be resumed.
    pub fn rows(buffer: usize) -> (Self, RowStream) {
        let (sink, rows) = memory::rows(buffer);
        (Self::Own(OwnOutput(OwnKind::Rows(sink))), rows)
    }

    /// Results to a sink that does not block, on a thread of the runtime. Has no journal, so the run cannot
    /// be resumed. Costs least if the run is [unordered](crate::Settings::unordered): results that wait for
    /// an earlier row, or may be those of equal requests, are in a temporary file.
    ///
    /// ```
    /// use std::sync::{Arc, Mutex};
    ///
    /// use fanweave::batch::{BatchJob, FinishedRow, Output, Render, Result, RowSink, Settings, Source};
    /// use fanweave::{chain, testing::Fake};
    ///
    /// struct Keep(Arc<Mutex<Vec<FinishedRow>>>);
    ///
    /// impl RowSink for Keep {
    ///     fn write(&mut self, row: FinishedRow) -> Result<()> {
    ///         self.0.lock().unwrap().push(row);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # fn main() -> Result<()> { fanweave::blocking::wait(async {
    /// let rows = Arc::default();
    /// let output = Output::direct(Keep(Arc::clone(&rows)));
    /// let source = Source::rows("cities", ["Oslo", "Rome"]);
    /// let job = BatchJob::new(source, Render::default(), chain(Fake::echo()), output);
    /// job.settings(Settings::new().unordered(true)).run().await?;
    /// assert_eq!(rows.lock().unwrap().len(), 2);
    /// # Ok(())
    /// # }) }
    /// ```
    pub fn direct(sink: impl RowSink) -> Self {
        Self::Own(OwnOutput(OwnKind::Direct(Box::new(sink))))
    }

    /// A view of the results, which each run makes again from the journal at `journal`. For an example, see
    /// [`FinishedRow`](crate::FinishedRow).
    pub fn sink(journal: impl Into<PathBuf>, sink: impl RowSink) -> Self {
        Self::Own(OwnOutput(OwnKind::Sink { journal: journal.into(), sink: Box::new(sink) }))
    }
}

impl Output {
    /// Path of the file. `None` for other outputs.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            _ => None,
        }
    }

    /// Set if the run keeps a journal that a later run resumes from.
    pub(crate) fn has_journal(&self) -> bool {
        matches!(self, Self::File(_) | Self::Own(OwnOutput(OwnKind::Sink { .. })))
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Output::File(path) => f.debug_tuple("File").field(path).finish(),
            Output::Stdout => f.write_str("Stdout"),
            Output::Writer(_) => f.write_str("Writer"),
            Output::Own(own) => own.fmt(f),
        }
    }
}

impl std::fmt::Debug for OwnOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            OwnKind::Records { records, .. } => f.debug_tuple("Records").field(&records.name()).finish(),
            OwnKind::Sink { journal, .. } => f.debug_tuple("Sink").field(journal).finish(),
            OwnKind::Rows(_) => f.write_str("Rows"),
            OwnKind::Direct(_) => f.write_str("Direct"),
        }
    }
}

/// Path of an output file until it is complete.
fn partial_path(path: &Path) -> PathBuf {
    with_suffix(path, ".partial")
}

/// Checks that the output file can be written, before any call is paid for.
pub(crate) fn check(path: &Path, inputs: &[PathBuf], has_format: bool, fresh: bool) -> Result<()> {
    let shown = path.display();
    if !has_format {
        OutputFormat::of_path(path)?;
    }
    let folder = folder_of(path);
    if !folder.is_dir() {
        let message = format!("{shown}: the folder {} does not exist; create it first", folder.display());
        return Err(Error::usage(message));
    }
    let read: Vec<_> = inputs.iter().filter_map(|path| path.canonicalize().ok()).collect();
    let is_input = |written: &PathBuf| written.canonicalize().is_ok_and(|path| read.contains(&path));
    let written = [path.to_owned(), partial_path(path), journal_path(path)];
    if let Some(written) = written.iter().find(|written| is_input(written)) {
        return Err(Error::usage(format!("{} is also the input", written.display()))
            .advising([Advice::AnotherOutput]));
    }
    let Ok(found) = std::fs::metadata(path) else { return Ok(()) };
    if found.is_dir() {
        return Err(Error::usage(format!("{shown} is a folder; specify a file in it")));
    }
    if !found.is_file() {
        let message =
            format!("{shown} is not a regular file; write to standard output and redirect it there");
        return Err(Error::usage(message));
    }
    if !fresh && !journal_path(path).exists() {
        let message = format!("{shown} already exists and was not written by this run");
        let advice = [Advice::Overwrite, Advice::AnotherOutput];
        return Err(Error::new(ErrorKind::Exists, message).advising(advice));
    }
    Ok(())
}

/// Encodes results as bytes.
trait OutputEncoder: Send {
    /// Appends the header, if there is one.
    fn begin(&mut self, _bytes: &mut Vec<u8>) {}

    /// Appends a result. An encoder may buffer it.
    fn row(&mut self, record: &Record, own: Option<&Map<String, Value>>, bytes: &mut Vec<u8>);

    /// Appends the buffered results and the footer, if there is one.
    ///
    /// # Errors
    /// A result that the format cannot represent.
    fn end(&mut self, _bytes: &mut Vec<u8>) -> io::Result<()> {
        Ok(())
    }
}

/// Encodes each result as one line of JSON, with the columns of its input.
struct JsonLines(Shape);

impl OutputEncoder for JsonLines {
    fn row(&mut self, record: &Record, own: Option<&Map<String, Value>>, bytes: &mut Vec<u8>) {
        plain::write(record, self.0.position(record.index), own, bytes);
        bytes.push(b'\n');
    }
}

/// Encodes each result as one line of an OpenAI batch.
struct OpenAiLines;

impl OutputEncoder for OpenAiLines {
    fn row(&mut self, record: &Record, _: Option<&Map<String, Value>>, bytes: &mut Vec<u8>) {
        openai::write(record, bytes);
        bytes.push(b'\n');
    }
}

/// Writes encoded results to the output.
pub struct Sink {
    target: Target,
    encoder: Box<dyn OutputEncoder>,
    bytes: Vec<u8>,
    /// Set if the encoder keeps no state between rows, so that the output can be continued.
    is_resumable: bool,
    /// Columns of the input.
    own: Option<Arc<OwnColumns>>,
    /// Set once it has a result.
    has_rows: bool,
}

enum Target {
    File {
        path: PathBuf,
        partial: PathBuf,
        file: BufWriter<DiskFile>,
        /// Set to keep the partial file: the output is complete, or can be continued.
        is_kept: bool,
        disk: Disk,
    },
    Pipe {
        name: &'static Path,
        pipe: BufWriter<Box<dyn Write + Send>>,
    },
}

impl Sink {
    /// A file, which appears at `path` when it is complete.
    pub(crate) fn file(disk: &Disk, path: PathBuf, layout: impl Into<Layout>) -> Result<Self> {
        let layout = layout.into();
        // Fail before anything is created.
        let encoder = encoder(&layout)?;
        let partial = partial_path(&path);
        let file = disk.create(&partial).map_err(|e| Error::io("create the file", &partial, e))?;
        Self::begin(Target::file(disk, path, partial, file), encoder, layout)
    }

    /// Continues a file after the rows that were written before `mark`: see [`mark`](RowSink::mark).
    pub(crate) fn resume(disk: &Disk, path: PathBuf, layout: impl Into<Layout>, mark: u64) -> Result<Self> {
        let layout = layout.into();
        let format = layout.format;
        let (encoder, partial) = (encoder(&layout)?, partial_path(&path));
        if !format.is_resumable() {
            return Err(Error::usage(format!("{}: {format} files cannot be continued", path.display())));
        }
        let open = || {
            let mut file = disk.open(&partial)?;
            if file.end()? < mark {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the file is shorter than its mark",
                ));
            }
            file.set_len(mark)?;
            Ok(file)
        };
        let file = open().map_err(|e| Error::io("continue the file", &partial, e))?;
        let target = Target::file(disk, path, partial, file);
        let has_rows = mark > 0;
        Ok(Self { target, encoder, bytes: Vec::new(), is_resumable: true, own: layout.own, has_rows })
    }

    /// Standard output.
    pub(crate) fn stdout(layout: Layout) -> Result<Self> {
        let encoder = encoder(&layout)?;
        let stdout = io::stdout();
        let is_shown =
            stdout.is_terminal() && !matches!(layout.format, OutputFormat::Parquet | OutputFormat::Xlsx);
        let pipe: Box<dyn Write + Send> =
            if is_shown { Box::new(Shown::new(stdout)) } else { Box::new(stdout) };
        Self::begin(Target::pipe("standard output", pipe), encoder, layout)
    }

    /// Any writer.
    pub(crate) fn writer(writer: Box<dyn Write + Send>, layout: Layout) -> Result<Self> {
        let encoder = encoder(&layout)?;
        Self::begin(Target::pipe("the output", writer), encoder, layout)
    }

    fn begin(target: Target, encoder: Box<dyn OutputEncoder>, layout: Layout) -> Result<Self> {
        let is_resumable = layout.format.is_resumable();
        let (bytes, has_rows) = (Vec::new(), false);
        let mut sink = Self { target, encoder, bytes, is_resumable, own: layout.own, has_rows };
        sink.encoder.begin(&mut sink.bytes);
        sink.put()?;
        Ok(sink)
    }

    /// Writes the encoded bytes.
    fn put(&mut self) -> Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        let (path, written) = match &mut self.target {
            Target::File { partial, file, .. } => (partial.as_path(), file.write_all(&self.bytes)),
            Target::Pipe { name, pipe } => (*name, pipe.write_all(&self.bytes)),
        };
        self.bytes.clear();
        written.map_err(|e| Error::io("write results", path, e))
    }
}

impl RowSink for Sink {
    fn write(&mut self, row: FinishedRow) -> Result<()> {
        let record = &row.record;
        let own = self.own.as_ref().map(|own| own.take(record.index, record.key)).transpose()?;
        self.encoder.row(record, own.as_ref(), &mut self.bytes);
        self.has_rows = true;
        self.put()
    }

    /// Flushes, so that the reader of a pipe sees all results. Does nothing for a file, which is visible only
    /// when complete.
    fn flush(&mut self) -> Result<()> {
        match &mut self.target {
            Target::File { .. } => Ok(()),
            Target::Pipe { name, pipe } => pipe.flush().map_err(|e| Error::io("write results", name, e)),
        }
    }

    fn mark(&mut self) -> Result<Option<u64>> {
        let Target::File { partial, file, is_kept, .. } = &mut self.target else { return Ok(None) };
        if !self.is_resumable {
            return Ok(None);
        }
        let mut mark = || {
            file.flush()?;
            file.get_ref().sync_data()?;
            file.get_mut().end()
        };
        let mark = mark().map_err(|e| Error::io("write results", partial, e))?;
        *is_kept = true;
        Ok(Some(mark))
    }

    /// Completes the output. A file is moved to its final path, unless the run stopped before its first
    /// result.
    fn finish(&mut self) -> Result<()> {
        if !self.has_rows && matches!(self.target, Target::File { .. }) {
            return Ok(());
        }
        let ended = self.encoder.end(&mut self.bytes);
        ended.map_err(|e| Error::io("write results", self.target.path(), e))?;
        self.put()?;
        let Target::File { path, partial, file, is_kept, disk } = &mut self.target else {
            return self.flush();
        };
        file.flush()
            .and_then(|()| file.get_ref().sync_all())
            .map_err(|e| Error::io("write results", partial, e))?;
        disk.rename(partial, path).map_err(|e| Error::io("move the output into place", path, e))?;
        *is_kept = true;
        sync_folder(path);
        Ok(())
    }
}

/// The format of an output, with its options.
#[derive(Clone)]
pub(crate) struct Layout {
    pub(crate) format: OutputFormat,
    /// Set to write texts that begin like a formula unchanged to CSV.
    pub(crate) keeps_formulas: bool,
    pub(crate) shape: Shape,
    /// Columns of the input.
    pub(crate) own: Option<Arc<OwnColumns>>,
}

impl From<OutputFormat> for Layout {
    fn from(format: OutputFormat) -> Self {
        Self { format, keeps_formulas: false, shape: Shape::default(), own: None }
    }
}

fn encoder(layout: &Layout) -> Result<Box<dyn OutputEncoder>> {
    let shape = layout.shape.clone();
    let table =
        |delimiter| csv::Table { delimiter, shape: shape.clone(), keeps_formulas: layout.keeps_formulas };
    Ok(match layout.format {
        OutputFormat::OpenAi => Box::new(OpenAiLines),
        OutputFormat::Jsonl => Box::new(JsonLines(shape)),
        OutputFormat::Csv => Box::new(table(b',')),
        OutputFormat::Tsv => Box::new(table(b'\t')),
        #[cfg(feature = "parquet")]
        OutputFormat::Parquet => Box::new(parquet::Columns::new(shape)),
        #[cfg(not(feature = "parquet"))]
        OutputFormat::Parquet => return Err(Error::without_parquet()),
        #[cfg(feature = "xlsx")]
        OutputFormat::Xlsx => Box::new(xlsx::Sheet::new(shape).map_err(|e| {
            Error::io("write a workbook to a temporary file", &std::env::temp_dir(), io::Error::other(e))
        })?),
        #[cfg(not(feature = "xlsx"))]
        OutputFormat::Xlsx => return Err(Error::without_xlsx()),
    })
}

/// Syncs the rename to the disk. Not all file systems support this; the journal has all results in any case.
fn sync_folder(path: &Path) {
    if let Ok(folder) = File::open(folder_of(path)) {
        let _ = folder.sync_all();
    }
}

/// Directory of a file. `.` for a bare file name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Target {
    fn path(&self) -> &Path {
        match self {
            Target::File { path, .. } => path,
            Target::Pipe { name, .. } => name,
        }
    }

    fn file(disk: &Disk, path: PathBuf, partial: PathBuf, file: DiskFile) -> Self {
        let file = BufWriter::with_capacity(1 << 16, file);
        Target::File { path, partial, file, is_kept: false, disk: disk.clone() }
    }

    fn pipe(name: &'static str, pipe: Box<dyn Write + Send>) -> Self {
        Target::Pipe { name: Path::new(name), pipe: BufWriter::with_capacity(1 << 16, pipe) }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Target::File { partial, is_kept: false, .. } = self {
            // All its rows are in the records.
            let _ = std::fs::remove_file(partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_bare_file_name_can_be_opened() {
        for (path, folder) in [("out.jsonl", "."), ("a/out.jsonl", "a"), ("/out.jsonl", "/")] {
            assert_eq!(folder_of(Path::new(path)), Path::new(folder));
        }
        assert!(File::open(folder_of(Path::new("out.jsonl"))).is_ok());
    }
}
