//! Errors that keep a batch from starting or make it stop. A failed row is not an [`Error`]: it is that row's
//! result.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;

use crate::advice::{Advice, alternatives};

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
/// `Display` names what failed, the location, and the next step. The next step is also [data](Self::advice),
/// for interfaces that spell it as flags or arguments.
///
/// ```
/// use fanweave::batch::{ErrorKind, Source};
///
/// let error = Source::open("no/such/questions.jsonl", None).err().expect("the file does not exist");
/// assert_eq!(error.kind(), ErrorKind::Usage);
/// assert_eq!(error.to_string(), "no/such/questions.jsonl: no such file");
/// ```
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    advice: Vec<Advice>,
    source: Option<io::Error>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), advice: Vec::new(), source: None }
    }

    /// An error of a crate of the workspace.
    #[doc(hidden)]
    pub fn of(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self::new(kind, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    #[cfg(not(feature = "parquet"))]
    pub(crate) fn without_parquet() -> Self {
        Self::usage("Parquet support is not compiled in").advising([Advice::BuildWith { feature: "parquet" }])
    }

    #[cfg(not(feature = "xlsx"))]
    pub(crate) fn without_xlsx() -> Self {
        Self::usage("support of workbooks is not compiled in")
            .advising([Advice::BuildWith { feature: "xlsx" }])
    }

    /// `doing` finishes the sentence "cannot ..".
    pub(crate) fn io(doing: &str, path: &Path, source: io::Error) -> Self {
        let is_full = matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let reason = match source.kind() {
            _ if is_full => "the disk is full".to_owned(),
            io::ErrorKind::PermissionDenied => "no permission".to_owned(),
            io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
            _ => source.to_string(),
        };
        let message = format!("{}: cannot {doing}: {reason}", path.display());
        let advice = if is_full { vec![Advice::FreeDiskSpace] } else { Vec::new() };
        Self { kind: ErrorKind::Io, message, advice, source: Some(source) }
    }

    /// An error of a source or another part from outside. Its message is `doing: cause`, its kind
    /// [`Io`](ErrorKind::Io).
    ///
    /// ```
    /// use fanweave::batch::Error;
    ///
    /// let error = Error::external("cannot read the table users", "the server has gone away");
    /// assert_eq!(error.to_string(), "cannot read the table users: the server has gone away");
    /// ```
    pub fn external(
        doing: impl fmt::Display,
        cause: impl Into<Box<dyn StdError + Send + Sync + 'static>>,
    ) -> Self {
        let cause = cause.into();
        let error = Self::new(ErrorKind::Io, format!("{doing}: {cause}"));
        Self { source: Some(io::Error::other(cause)), ..error }
    }

    /// The same error of another kind.
    pub(crate) fn of_kind(self, kind: ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// Appends context to the message.
    pub(crate) fn adding(mut self, more: &str) -> Self {
        self.message.push_str("; ");
        self.message.push_str(more);
        self
    }

    /// Adds alternatives to what can be done about it.
    pub(crate) fn advising(mut self, advice: impl IntoIterator<Item = Advice>) -> Self {
        for advice in advice {
            if !self.advice.contains(&advice) {
                self.advice.push(advice);
            }
        }
        self
    }

    /// Category of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The failure and its location, without the next step.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Alternatives that help, the best one first. Empty if nothing in particular does.
    ///
    /// ```
    /// use fanweave::batch::{Advice, RunRecord};
    ///
    /// # let folder = std::env::temp_dir().join(module_path!().replace("::", "-"));
    /// # std::fs::create_dir_all(&folder)?;
    /// # let path = folder.join("notes.txt");
    /// # std::fs::write(&path, "no run")?;
    /// let error = RunRecord::open(path, 80).unwrap_err();
    /// assert_eq!(error.advice(), [Advice::SpecifyRun]);
    /// assert_eq!(error.hint().unwrap(), "specify the output or the journal of a run");
    /// # Ok::<_, std::io::Error>(())
    /// ```
    pub fn advice(&self) -> &[Advice] {
        &self.advice
    }

    /// The [advice](Self::advice) as one phrase without the names of flags or arguments.
    pub fn hint(&self) -> Option<String> {
        self.hint_as(ToString::to_string)
    }

    /// The [advice](Self::advice) as one phrase, with each alternative spelled by `spell`.
    pub fn hint_as(&self, spell: impl Fn(&Advice) -> String) -> Option<String> {
        alternatives(&self.advice.iter().map(spell).collect::<Vec<_>>())
    }

    /// Returns true if the same job may succeed later without any change to it: the disk or a provider
    /// failed, or another process has the journal.
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, ErrorKind::Io | ErrorKind::Locked | ErrorKind::Provider) && !self.is_broken_pipe()
    }

    /// Returns true if the reader of a pipe has closed it: the run ends, and there is nothing to report.
    pub fn is_broken_pipe(&self) -> bool {
        self.source.as_ref().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.hint().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}
