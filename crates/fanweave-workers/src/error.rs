//! Errors of runs on several machines.

use std::fmt;

/// Result of an operation on a run on several machines.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Category of an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is invalid, or the run does not exist.
    Usage,
    /// The broker cannot be reached, refused an operation, or did not answer in time. Whether the operation
    /// was carried out is unknown.
    Broker,
    /// The broker does not permit an operation to this user.
    Denied,
    /// The run was cancelled.
    Cancelled,
    /// A message was written by a newer version of fanweave.
    Newer,
    /// A message of the broker cannot be read.
    Invalid,
    /// The source of the rows, the journal or the output failed.
    Rows,
}

/// Error of a run on several machines.
///
/// ```
/// use fanweave::workers::{Error, ErrorKind};
///
/// let error = Error::new(ErrorKind::Usage, "rows-1: there is no such run");
/// assert_eq!(error.to_string(), error.message());
/// ```
///
/// `Display` says what failed, and what to do about it if that is known.
#[derive(Debug, Clone)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// An error of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Category of the error.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The failure.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
