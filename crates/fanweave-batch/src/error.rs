//! Why a batch could not run, or had to stop. What fails in one row is that row's result, never this.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

/// The result of what can fail for a whole batch.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it was: what a caller turns into an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// What was asked for makes no sense: a missing file, an unknown format, an output that is the input.
    Usage,
    /// A row of the input cannot be read, and the run is strict.
    Input,
    /// The system failed to read or write.
    Io,
    /// The output exists, and no journal says that it is this run's.
    Exists,
    /// The journal belongs to another run.
    Mismatch,
    /// The journal cannot be read as one.
    Journal,
    /// Another process writes to the journal.
    Locked,
    /// A provider's batch API failed. What was submitted stays with the provider, and the same job goes on.
    Provider,
}

/// Why a batch could not run, or had to stop.
///
/// `Display` says what failed, where, and what to do next.
///
/// ```
/// use fanweave_batch::{ErrorKind, Source};
///
/// let error = Source::open("no/such/questions.jsonl", None).err().expect("there is no such file");
/// assert_eq!(error.kind(), ErrorKind::Usage);
/// assert_eq!(error.to_string(), "no/such/questions.jsonl: there is no such file");
/// ```
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<io::Error>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    #[cfg(not(feature = "parquet"))]
    pub(crate) fn without_parquet() -> Self {
        Self::usage("Parquet files are not built into this program: build it with the feature `parquet`")
    }

    /// `doing` finishes the sentence "cannot ..".
    pub(crate) fn io(doing: &str, path: &Path, source: io::Error) -> Self {
        let advice = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                ": the disk is full; make room and run the same command again"
            }
            io::ErrorKind::PermissionDenied => ": no permission",
            io::ErrorKind::ReadOnlyFilesystem => ": the file system is read-only",
            _ => "",
        };
        let reason = if advice.is_empty() { format!(": {source}") } else { advice.to_owned() };
        let message = format!("{}: cannot {doing}{reason}", path.display());
        Self { kind: ErrorKind::Io, message, source: Some(source) }
    }

    /// Adds to the message what somebody should also know.
    pub(crate) fn adding(mut self, more: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(more);
        self
    }

    /// What kind of failure it was.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Whether the reader of a pipe has gone: the end of the run, and nothing to complain of.
    pub fn is_broken_pipe(&self) -> bool {
        self.source.as_ref().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}
