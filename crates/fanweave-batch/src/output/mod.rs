//! Where results go, and in what form.

mod csv;
mod flat;
mod form;
mod openai;
#[cfg(feature = "parquet")]
mod parquet;
mod plain;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::disk::{Disk, DiskFile};
use crate::journal::Record;
use crate::{Error, ErrorKind, Result};

pub use form::OutputFormat;

/// Where results go.
///
/// ```
/// use fanweave_batch::Output;
///
/// let output = Output::File("answers.jsonl".into());
/// assert_eq!(format!("{output:?}"), r#"File("answers.jsonl")"#);
/// ```
#[non_exhaustive]
pub enum Output {
    /// A file, which appears whole when the run ends; its journal is beside it, with `.journal` appended.
    File(PathBuf),
    /// Standard output: each row as soon as its turn has come. Without a journal, so it cannot be resumed.
    Stdout,
    /// Any writer, as standard output.
    Writer(Box<dyn Write + Send>),
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Output::File(path) => f.debug_tuple("File").field(path).finish(),
            Output::Stdout => f.write_str("Stdout"),
            Output::Writer(_) => f.write_str("Writer"),
        }
    }
}

/// The journal of an output file.
pub(crate) fn journal_path(path: &Path) -> PathBuf {
    with_suffix(path, ".journal")
}

/// What an output file is called until it is whole.
fn partial_path(path: &Path) -> PathBuf {
    with_suffix(path, ".partial")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Checks that a file can become the output, before anything is paid for.
pub(crate) fn check(path: &Path, input: Option<&Path>, fresh: bool) -> Result<()> {
    let shown = path.display();
    let folder = folder_of(path);
    if !folder.is_dir() {
        let message = format!("{shown}: there is no folder {}; create it first", folder.display());
        return Err(Error::usage(message));
    }
    let is_input = |written: &PathBuf| matches!((input.map(Path::canonicalize), written.canonicalize()), (Some(Ok(a)), Ok(b)) if a == b);
    let written = [path.to_owned(), partial_path(path), journal_path(path)];
    if let Some(written) = written.iter().find(|written| is_input(written)) {
        return Err(Error::usage(format!("{} is the input; write to another file", written.display())));
    }
    let Ok(found) = std::fs::metadata(path) else { return Ok(()) };
    if found.is_dir() {
        return Err(Error::usage(format!("{shown} is a folder; name a file in it")));
    }
    if !found.is_file() {
        let message = format!("{shown} is no regular file; write to standard output and redirect it there");
        return Err(Error::usage(message));
    }
    if !fresh && !journal_path(path).exists() {
        let message = format!(
            "{shown} exists, and no journal says that it is this run's; \
             overwrite it with --fresh, or write to another file"
        );
        return Err(Error::new(ErrorKind::Exists, message));
    }
    Ok(())
}

/// How results become bytes.
trait Form: Send {
    /// What stands before the first one.
    fn begin(&mut self, _bytes: &mut Vec<u8>) {}

    /// Adds one. A form may keep it back for a while.
    fn row(&mut self, record: &Record, bytes: &mut Vec<u8>);

    /// What was kept back, and what stands behind the last one.
    ///
    /// # Errors
    /// Where the form cannot say what it was given.
    fn end(&mut self, _bytes: &mut Vec<u8>) -> io::Result<()> {
        Ok(())
    }
}

/// A form of one JSON object a line.
struct Lines(fn(&Record, &mut Vec<u8>));

impl Form for Lines {
    fn row(&mut self, record: &Record, bytes: &mut Vec<u8>) {
        (self.0)(record, bytes);
        bytes.push(b'\n');
    }
}

/// Writes results.
pub(crate) struct Sink {
    target: Target,
    form: Box<dyn Form>,
    bytes: Vec<u8>,
}

enum Target {
    File { path: PathBuf, partial: PathBuf, file: BufWriter<DiskFile>, done: bool, disk: Disk },
    Pipe { name: &'static Path, pipe: BufWriter<Box<dyn Write + Send>> },
}

impl Sink {
    pub(crate) fn open(disk: &Disk, output: Output, format: OutputFormat) -> Result<Self> {
        // Before anything is created.
        let form: Box<dyn Form> = match format {
            OutputFormat::OpenAi => Box::new(Lines(openai::write)),
            OutputFormat::Jsonl => Box::new(Lines(plain::write)),
            OutputFormat::Csv => Box::new(csv::Table),
            #[cfg(feature = "parquet")]
            OutputFormat::Parquet => Box::new(parquet::Columns::new()),
            #[cfg(not(feature = "parquet"))]
            OutputFormat::Parquet => return Err(Error::without_parquet()),
        };
        let target = match output {
            Output::File(path) => {
                let partial = partial_path(&path);
                let file = disk.create(&partial).map_err(|e| Error::io("create it", &partial, e))?;
                let file = BufWriter::with_capacity(1 << 16, file);
                Target::File { path, partial, file, done: false, disk: disk.clone() }
            }
            Output::Stdout => Target::pipe("standard output", Box::new(io::stdout())),
            Output::Writer(pipe) => Target::pipe("the output", pipe),
        };
        let mut sink = Self { target, form, bytes: Vec::new() };
        sink.form.begin(&mut sink.bytes);
        sink.put()?;
        Ok(sink)
    }

    pub(crate) fn write(&mut self, record: &Record) -> Result<()> {
        self.form.row(record, &mut self.bytes);
        self.put()
    }

    /// Writes what the form has given.
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

    /// Lets a reader at the other end see what there is. Nothing for a file, which appears as a whole.
    pub(crate) fn flush(&mut self) -> Result<()> {
        match &mut self.target {
            Target::File { .. } => Ok(()),
            Target::Pipe { name, pipe } => pipe.flush().map_err(|e| Error::io("write results", name, e)),
        }
    }

    /// Puts the file in its place.
    pub(crate) fn finish(mut self) -> Result<()> {
        let ended = self.form.end(&mut self.bytes);
        ended.map_err(|e| Error::io("write results", self.target.path(), e))?;
        self.put()?;
        let Target::File { path, partial, file, done, disk } = &mut self.target else { return self.flush() };
        file.flush()
            .and_then(|()| file.get_ref().sync_all())
            .map_err(|e| Error::io("write results", partial, e))?;
        disk.rename(partial, path).map_err(|e| Error::io("put it in its place", path, e))?;
        *done = true;
        sync_folder(path);
        Ok(())
    }
}

/// Asks the disk to remember the rename. Not all file systems can, and the journal has everything anyhow.
fn sync_folder(path: &Path) {
    if let Ok(folder) = File::open(folder_of(path)) {
        let _ = folder.sync_all();
    }
}

/// The folder that a file is in. One that is named alone is here.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Target {
    fn path(&self) -> &Path {
        match self {
            Target::File { path, .. } => path,
            Target::Pipe { name, .. } => name,
        }
    }

    fn pipe(name: &'static str, pipe: Box<dyn Write + Send>) -> Self {
        Target::Pipe { name: Path::new(name), pipe: BufWriter::with_capacity(1 << 16, pipe) }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Target::File { partial, done: false, .. } = self {
            // The journal has every row of it.
            let _ = std::fs::remove_file(partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_named_alone_is_in_a_folder_that_can_be_opened() {
        for (path, folder) in [("out.jsonl", "."), ("a/out.jsonl", "a"), ("/out.jsonl", "/")] {
            assert_eq!(folder_of(Path::new(path)), Path::new(folder));
        }
        assert!(File::open(folder_of(Path::new("out.jsonl"))).is_ok());
    }
}
