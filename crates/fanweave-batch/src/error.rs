//! Errors that keep a batch from starting or make it stop. A failed row is not an [`Error`]: it is that row's
//! result.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

/// Result of an operation that can fail for a whole batch.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Category of an [`Error`], for example to choose an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is invalid: a missing file, an unknown format, an output that is also the input.
    Usage,
    /// A row of the input is invalid, and the run is strict.
    Input,
    /// Reading or writing failed.
    Io,
    /// The output already exists and was not written by this run.
    Exists,
    /// The journal belongs to another run.
    Mismatch,
    /// The journal is corrupt or not a fanweave journal.
    Journal,
    /// Another process is writing the journal.
    Locked,
    /// A provider's batch API failed. Submitted requests stay with the provider, and the same job resumes.
    Provider,
}

/// Error that keeps a batch from starting or makes it stop.
///
/// `Display` names what failed, the location, and the next step.
///
/// ```
/// use fanweave_batch::{ErrorKind, Source};
///
/// let error = Source::open("no/such/questions.jsonl", None).err().expect("the file does not exist");
/// assert_eq!(error.kind(), ErrorKind::Usage);
/// assert_eq!(error.to_string(), "no/such/questions.jsonl: no such file");
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
        Self::usage("Parquet support is not compiled in: rebuild with the feature `parquet`")
    }

    /// `doing` finishes the sentence "cannot ..".
    pub(crate) fn io(doing: &str, path: &Path, source: io::Error) -> Self {
        let advice = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                ": the disk is full; free some space, then rerun the same command"
            }
            io::ErrorKind::PermissionDenied => ": no permission",
            io::ErrorKind::ReadOnlyFilesystem => ": the file system is read-only",
            _ => "",
        };
        let reason = if advice.is_empty() { format!(": {source}") } else { advice.to_owned() };
        let message = format!("{}: cannot {doing}{reason}", path.display());
        Self { kind: ErrorKind::Io, message, source: Some(source) }
    }

    /// Appends advice or context to the message.
    pub(crate) fn adding(mut self, more: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(more);
        self
    }

    /// Category of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns true if the reader of a pipe has closed it: the run ends, and there is nothing to report.
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
