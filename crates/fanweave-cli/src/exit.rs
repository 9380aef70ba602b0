//! How the program ends: exit codes, and errors as a person reads them.

use std::io::Write;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use fanweave::{Error, ErrorKind};

use crate::out::tell;

/// How the program ended. The numbers are part of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All went well.
    Ok = 0,
    /// The work could not be done.
    Error = 1,
    /// The command line, a file or a setting is wrong; nothing was called.
    Usage = 2,
    /// The batch ran to its end, and some rows failed.
    RowsFailed = 3,
    /// There was nothing to do, and the caller asked to be told of it.
    NothingToDo = 4,
    /// Stopped before the end. The same command resumes.
    Stopped = 5,
    /// Ended at once by a second signal.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why the program cannot go on: one sentence, and what to do.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { exit: Exit::Error, message: message.into(), hint: None }
    }

    /// The command line or a setting is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::new(message) }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Tells the person on stderr, and gives the exit code.
    pub(crate) fn report(&self) -> Exit {
        let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        let _ = write!(anstream::stderr(), "{red}error:{red:#} ");
        tell!("{}", self.message);
        if let Some(hint) = &self.hint {
            tell!("  {hint}");
        }
        self.exit
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Config | ErrorKind::Input => Exit::Usage,
            _ => Exit::Error,
        };
        Self { exit, message: error.to_string(), hint: None }
    }
}
