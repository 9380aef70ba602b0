//! Exit codes and fatal errors.

use std::process::ExitCode;

use fanweave::batch::{self, Advice};
use fanweave::{Error, ErrorKind, errors};

use crate::misplaced::{ADVICE, Slips};

/// Exit code of the program. The numbers are part of the interface.
///
/// ```
/// use fanweave_cli::Exit;
///
/// assert_eq!(Exit::RowsFailed.code(), 3);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// Success.
    Ok = 0,
    /// The command failed.
    Error = 1,
    /// An argument, file or setting is invalid; no calls were made.
    Usage = 2,
    /// The batch completed, and some rows failed; or an assertion of a chain does not hold.
    RowsFailed = 3,
    /// There was nothing to do, and `--fail-if-done` was given.
    NothingToDo = 4,
    /// Stopped early. Rerunning the same command resumes.
    Stopped = 5,
    /// Interrupted by a second signal.
    Interrupted = 130,
    /// Ended by SIGQUIT (Ctrl-\\).
    Quit = 131,
}

impl Exit {
    /// The code as a number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// A fatal error: a message and an optional hint.
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

    /// An error about an argument or a setting.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { exit: Exit::Usage, ..Self::new(message) }
    }

    pub(crate) fn with_exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Adds another way to the hint.
    pub(crate) fn with_hint_also(self, hint: &str) -> Self {
        let all = self.hint.as_ref().map_or_else(|| hint.to_owned(), |first| format!("{first}, or {hint}"));
        self.with_hint(all)
    }

    /// Hides keys that were given as arguments.
    pub(crate) fn without(self, slips: &Slips) -> Self {
        let message = slips.hide(&self.message);
        let hint = self.hint.as_deref().and_then(|hint| slips.hide(hint));
        if message.is_none() && hint.is_none() {
            return self;
        }
        let hint = hint.or(self.hint).map_or_else(|| ADVICE.to_owned(), |hint| format!("{hint}\n  {ADVICE}"));
        Self { message: message.unwrap_or(self.message), hint: Some(hint), ..self }
    }

    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Config | ErrorKind::Input => Exit::Usage,
            // As for a row of several.
            ErrorKind::Parse if error.code() == Some("assertion_failed") => Exit::RowsFailed,
            _ => Exit::Error,
        };
        Self { exit, message: spelled(error).to_string(), hint: None }
    }
}

/// The error with its advice as flags.
pub(crate) fn spelled(error: Error) -> Error {
    error.spelling_advice(|advice| match advice {
        errors::Advice::Adapt { parameter } => {
            format!("remove {parameter}, or add --adapt, which drops what the server refuses")
        }
        errors::Advice::RaiseRunMemory => {
            "raise --run-memory, and `run_memory_mib` if the chain file sets it".to_owned()
        }
        other => other.to_string(),
    })
}

/// The message of a failed row, with its advice as flags.
pub(crate) fn spelled_message(message: &str) -> String {
    spelled(Error::new(ErrorKind::Input, message).with_advice_of_message()).message().to_owned()
}

/// Message of an error of a batch, with its advice as flags.
pub(crate) fn with_flags(error: &batch::Error) -> String {
    match error.hint_as(flags) {
        Some(hint) => format!("{}; {hint}", error.message()),
        None => error.message().to_owned(),
    }
}

fn flags(advice: &Advice) -> String {
    let flags = match advice {
        Advice::StartOver => "start over with --fresh (discards its answers)",
        Advice::Overwrite => "overwrite it with --fresh",
        Advice::ResumeChanged => "resume with --resume-changed (rows still in the input keep their answers)",
        Advice::Resubmit => "rerun the command to resubmit the missing rows",
        Advice::FixRows => "fix the rows and resume with --resume-changed",
        Advice::OriginalAccount => {
            "rerun the command with the API key and base URL that it was submitted with"
        }
        Advice::DiscardLost => "if the batch is lost, with --retry-failed to discard it",
        Advice::FreeDiskSpace => "free some space, then rerun the same command",
        Advice::SetEncoding => {
            "set its encoding, such as --encoding windows-1252 (with --encoding utf-8, such rows fail)"
        }
        Advice::SetEncodingTo { name } => return format!("set its encoding with --encoding {name}"),
        Advice::SetFormat => "set its format with --input-format, such as csv or jsonl",
        Advice::SetOutputFormat => "name the format of the file with --output-format",
        Advice::DropLastAssistant => "drop it from all rows with --drop-last-assistant",
        Advice::RunAllRows => "to run the rows as they are, add --keep-going",
        Advice::SpecifyRun => "specify the output of `fanweave batch` or `fanweave run --rows`",
        other => return other.to_string(),
    };
    flags.to_owned()
}
