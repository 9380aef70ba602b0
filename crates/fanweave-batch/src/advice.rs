//! Advice on errors, as data: each interface spells it in its own way.

use std::fmt;

/// A step that helps with an [`Error`](crate::Error).
///
/// `Display` is neutral: it names neither flags nor arguments. An interface that has some spells them with
/// [`Error::hint_as`](crate::Error::hint_as).
///
/// ```
/// use fanweave::batch::Advice;
///
/// assert_eq!(Advice::StartOver.to_string(), "start over (discards the journal's answers)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Advice {
    /// Discard the journal and start over: [`Settings::fresh`](crate::Settings::fresh).
    StartOver,
    /// Overwrite the output: [`Settings::fresh`](crate::Settings::fresh).
    Overwrite,
    /// Write to another output.
    AnotherOutput,
    /// Resume with the changed input: [`Settings::changed_input`](crate::Settings::changed_input).
    ResumeChanged,
    /// Run the job once more: it resubmits the rows.
    Resubmit,
    /// Fix the rows, then resume with the changed input:
    /// [`Settings::changed_input`](crate::Settings::changed_input).
    FixRows,
    /// Run the job once more with the API key and base URL of its first run.
    OriginalAccount,
    /// Discard a batch that the provider has lost: [`Settings::retry_failed`](crate::Settings::retry_failed).
    DiscardLost,
    /// Finish the run with the version that wrote its journal.
    FinishWithWriter,
    /// Free space on the disk, then run the job once more.
    FreeDiskSpace,
    /// Build with a Cargo feature.
    BuildWith {
        /// Name of the feature.
        feature: &'static str,
    },
    /// Specify the output or the journal of a run.
    SpecifyRun,
    /// Set the encoding of the input: [`InputOptions::encoding`](crate::InputOptions::encoding).
    SetEncoding,
    /// Set the encoding of the input to this one: [`InputOptions::encoding`](crate::InputOptions::encoding).
    SetEncodingTo {
        /// Its name.
        name: &'static str,
    },
    /// Set the format of the input: [`InputOptions::format`](crate::InputOptions::format).
    SetFormat,
    /// Set the format of the output: [`Settings::output_format`](crate::Settings::output_format).
    SetOutputFormat,
    /// Drop the answers at the end of rows for fine-tuning:
    /// [`Render::drop_last_assistant`](crate::Render::drop_last_assistant).
    DropLastAssistant,
    /// Run all rows in any case, without the check.
    RunAllRows,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StartOver => "start over (discards the journal's answers)",
            Self::Overwrite => "overwrite it",
            Self::AnotherOutput => "choose another output",
            Self::ResumeChanged => {
                "resume although the input has changed (rows still in the input keep their answers)"
            }
            Self::Resubmit => "rerun the job to resubmit the missing rows",
            Self::FixRows => "fix the rows and resume although the input has changed",
            Self::OriginalAccount => "rerun the job with the API key and base URL that it was submitted with",
            Self::DiscardLost => "if the batch is lost, retry failed rows to discard it",
            Self::FinishWithWriter => "finish the run with that version",
            Self::FreeDiskSpace => "free some space, then rerun the job",
            Self::SetEncodingTo { name } => return write!(f, "set its encoding to {name}"),
            Self::SetFormat => "set the format of the input, such as csv or jsonl",
            Self::BuildWith { feature } => return write!(f, "rebuild with the feature `{feature}`"),
            Self::SpecifyRun => "specify the output or the journal of a run",
            Self::SetOutputFormat => "set the format of the file",
            Self::DropLastAssistant => "drop it from all rows",
            Self::RunAllRows => "to run the rows as they are, skip the check",
            Self::SetEncoding => "set its encoding, such as windows-1252 (utf-8 lets such rows fail)",
        })
    }
}

/// Joins alternatives: `a`, `a, or b`, `a, b, or c`.
pub(crate) fn alternatives(items: &[String]) -> Option<String> {
    let (last, others) = items.split_last()?;
    if others.is_empty() { Some(last.clone()) } else { Some(format!("{}, or {last}", others.join(", "))) }
}
