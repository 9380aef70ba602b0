//! Output formats.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use crate::{Advice, Error, InputFormat, Result};
use fanweave_core::closest;

/// Extensions of other kinds of files.
const OTHERS: [&str; 17] = [
    "gz", "zst", "bz2", "xz", "zip", "npz", "npy", "feather", "arrow", "orc", "html", "pdf", "yaml",
    "sqlite", "xls", "xlsb", "ods",
];

/// Output format of results.
///
/// ```
/// use fanweave::batch::OutputFormat;
///
/// assert_eq!("csv".parse::<OutputFormat>()?, OutputFormat::Csv);
/// # Ok::<_, fanweave::batch::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OutputFormat {
    /// Lines of an OpenAI batch output, as written by `/v1/batches` and `vllm run-batch`.
    OpenAi,
    /// One JSON object per line.
    Jsonl,
    /// Comma-separated values with a header.
    Csv,
    /// Tab-separated values with a header.
    Tsv,
    /// A Parquet file with the columns of CSV. Needs the feature `parquet`.
    Parquet,
    /// A workbook of Excel with the columns of CSV in its only sheet. Needs the feature `xlsx`.
    Xlsx,
}

impl OutputFormat {
    /// All formats.
    pub const ALL: &[OutputFormat] = &[
        OutputFormat::OpenAi,
        OutputFormat::Jsonl,
        OutputFormat::Csv,
        OutputFormat::Tsv,
        OutputFormat::Parquet,
        OutputFormat::Xlsx,
    ];

    /// Name of the format on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            OutputFormat::OpenAi => "openai",
            OutputFormat::Jsonl => "jsonl",
            OutputFormat::Csv => "csv",
            OutputFormat::Tsv => "tsv",
            OutputFormat::Parquet => "parquet",
            OutputFormat::Xlsx => "xlsx",
        }
    }

    /// Returns true if results are rows of columns.
    pub(crate) fn is_table(self) -> bool {
        !matches!(self, OutputFormat::OpenAi | OutputFormat::Jsonl)
    }

    /// Returns true if a file of this format can be continued after any row.
    pub(crate) fn is_resumable(self) -> bool {
        !matches!(self, OutputFormat::Parquet | OutputFormat::Xlsx)
    }

    /// Format that the extension of a file names. `None` for other extensions: the file gets JSON lines, or
    /// lines of an OpenAI batch if the input has them.
    ///
    /// ```
    /// use fanweave::batch::OutputFormat;
    ///
    /// assert_eq!(OutputFormat::of_path("out/answers.TSV")?, Some(OutputFormat::Tsv));
    /// assert_eq!(OutputFormat::of_path("answers")?, None);
    /// let error = OutputFormat::of_path("answers.csv.gz").unwrap_err();
    /// assert!(error.message().contains(".gz is not an output format"), "{error}");
    /// # Ok::<_, fanweave::batch::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Usage`](crate::ErrorKind::Usage) for the extension of another kind of file, such as `.gz` or `.ods`,
    /// which would get lines of JSON.
    pub fn of_path(path: impl AsRef<Path>) -> Result<Option<Self>> {
        let path = path.as_ref();
        let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        Ok(Some(match extension.as_deref() {
            Some("csv") => OutputFormat::Csv,
            Some("tsv" | "tab") => OutputFormat::Tsv,
            Some("parquet") => OutputFormat::Parquet,
            Some("xlsx") => OutputFormat::Xlsx,
            Some(other) if OTHERS.contains(&other) => {
                let message = format!(
                    "{}: .{other} is not an output format; write .jsonl, .csv, .tsv, .parquet or .xlsx",
                    path.display()
                );
                return Err(Error::usage(message).advising([Advice::SetOutputFormat]));
            }
            _ => return Ok(None),
        }))
    }

    /// Format inferred from the output's file extension, or from the input format.
    pub(crate) fn detect(output: Option<&Path>, input: Option<InputFormat>) -> Self {
        match output.and_then(|path| Self::of_path(path).ok().flatten()) {
            Some(format) => format,
            None if input == Some(InputFormat::OpenAi) => OutputFormat::OpenAi,
            None => OutputFormat::Jsonl,
        }
    }
}

impl fmt::Display for OutputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OutputFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        if let Some(format) = Self::ALL.iter().find(|f| f.as_str().eq_ignore_ascii_case(name)) {
            return Ok(*format);
        }
        let names: Vec<_> = Self::ALL.iter().map(|format| format.as_str()).collect();
        let suggestion =
            closest(name, names.iter()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        let end = if suggestion.is_empty() { "." } else { "" };
        let all = names.join(", ");
        Err(Error::usage(format!(
            "`{name}` is not a valid output format{suggestion}{end} Valid formats: {all}"
        )))
    }
}
