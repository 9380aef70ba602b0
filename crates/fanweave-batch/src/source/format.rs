//! Input formats and their detection.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;

use fanweave_core::closest;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::delimiter;
use crate::{Error, Result};

/// Format of an input file.
///
/// ```
/// use fanweave::batch::InputFormat;
///
/// assert_eq!("csv".parse::<InputFormat>()?, InputFormat::Csv);
/// assert_eq!(
///     "jsnl".parse::<InputFormat>().unwrap_err().to_string(),
///     "`jsnl` is not a valid input format; did you mean `jsonl`? \
///      Valid formats: openai, jsonl, csv, tsv, parquet, xlsx, text",
/// );
/// # Ok::<_, fanweave::batch::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InputFormat {
    /// Lines of an OpenAI batch: `custom_id`, `method`, `url`, `body`.
    OpenAi,
    /// One JSON object per line: `prompt`, `messages`, or variables of a template. A JSON string is a prompt.
    /// Also the items of a list of objects.
    Jsonl,
    /// Comma-separated values. The first record names the columns. Other delimiters are inferred.
    Csv,
    /// Tab-separated values. Otherwise like CSV.
    Tsv,
    /// A Parquet file, whose columns are variables. Needs the feature `parquet`.
    Parquet,
    /// A workbook of Excel, of which one sheet is read; its first row names the columns. Needs the feature
    /// `xlsx`.
    Xlsx,
    /// One prompt per line.
    Text,
}

impl InputFormat {
    /// All formats.
    pub const ALL: [InputFormat; 7] = [
        InputFormat::OpenAi,
        InputFormat::Jsonl,
        InputFormat::Csv,
        InputFormat::Tsv,
        InputFormat::Parquet,
        InputFormat::Xlsx,
        InputFormat::Text,
    ];

    /// Name of the format on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            InputFormat::OpenAi => "openai",
            InputFormat::Jsonl => "jsonl",
            InputFormat::Csv => "csv",
            InputFormat::Tsv => "tsv",
            InputFormat::Parquet => "parquet",
            InputFormat::Xlsx => "xlsx",
            InputFormat::Text => "text",
        }
    }

    /// Returns true for rows that are records under a header.
    pub(crate) fn is_table(self) -> bool {
        matches!(self, InputFormat::Csv | InputFormat::Tsv)
    }

    /// Returns true for the formats of spreadsheets, whose columns come out beside the answers.
    pub(crate) fn has_records(self) -> bool {
        self.is_table() || self == InputFormat::Xlsx
    }

    /// Infers the format from a file's extension and its first line that is not blank.
    pub(super) fn detect(path: Option<&Path>, first: &[u8]) -> Self {
        let extension = path.and_then(extension);
        match extension.as_deref() {
            Some("csv") => return InputFormat::Csv,
            Some("tsv" | "tab") => return InputFormat::Tsv,
            Some("parquet") => return InputFormat::Parquet,
            Some("xlsx") => return InputFormat::Xlsx,
            Some("txt" | "md") => return InputFormat::Text,
            _ if delimiter::of_line(first).is_some() => return InputFormat::Csv,
            _ if first.starts_with(b"PAR1") => return InputFormat::Parquet,
            _ => {}
        }
        let is_json = serde_json::from_slice::<IgnoredAny>(first).is_ok();
        if is_batch_line(first) || (!is_json && names_a_batch(first)) {
            return InputFormat::OpenAi;
        }
        let named = matches!(extension.as_deref(), Some("jsonl" | "ndjson" | "json"));
        let is_row = first.starts_with(b"{")
            || serde_json::from_slice::<String>(first).is_ok()
            || serde_json::from_slice::<(HashMap<String, IgnoredAny>, IgnoredAny)>(first).is_ok();
        if named || is_row { InputFormat::Jsonl } else { InputFormat::Text }
    }
}

/// The extension in lower case, before that of a compressed file.
pub(super) fn extension(path: &Path) -> Option<String> {
    let of = |path: &Path| path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
    match of(path)?.as_str() {
        "gz" | "zst" | "zstd" => of(Path::new(path.file_stem()?)),
        plain => Some(plain.to_owned()),
    }
}

/// Returns true if a malformed line is probably one of an OpenAI batch, so that it does not change the
/// detected format.
fn names_a_batch(line: &[u8]) -> bool {
    let has = |name: &[u8]| line.windows(name.len()).any(|part| part == name);
    line.starts_with(b"{") && has(b"\"custom_id\"") && has(b"\"body\"")
}

/// Returns true for a line of an OpenAI batch: it has a `body`, and an id or an endpoint.
fn is_batch_line(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Fields {
        custom_id: Option<IgnoredAny>,
        url: Option<IgnoredAny>,
        #[expect(dead_code, reason = "only its presence matters")]
        body: IgnoredAny,
    }
    // A list would be read as the fields in their order.
    let fields = line.starts_with(b"{").then(|| serde_json::from_slice::<Fields>(line));
    fields.is_some_and(|fields| fields.is_ok_and(|f| f.custom_id.is_some() || f.url.is_some()))
}

impl fmt::Display for InputFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for InputFormat {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        if let Some(format) = Self::ALL.into_iter().find(|f| f.as_str().eq_ignore_ascii_case(name)) {
            return Ok(format);
        }
        let names = Self::ALL.map(InputFormat::as_str);
        let suggestion =
            closest(name, names).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        let end = if suggestion.is_empty() { "." } else { "" };
        let all = names.join(", ");
        Err(Error::usage(format!(
            "`{name}` is not a valid input format{suggestion}{end} Valid formats: {all}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_inferred_from_the_name_and_the_first_line() {
        let detect = |path: &str, first: &str| InputFormat::detect(Some(Path::new(path)), first.as_bytes());
        let batch = r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}"#;
        assert_eq!(detect("a.CSV", "x,y"), InputFormat::Csv);
        assert_eq!(detect("a.csv.gz", "x,y"), InputFormat::Csv);
        assert_eq!(detect("a.tsv.zst", "x"), InputFormat::Tsv);
        assert_eq!(detect("a.gz", "x"), InputFormat::Text);
        assert_eq!(detect("a.md", r#"{"a":1}"#), InputFormat::Text);
        assert_eq!(detect("a.jsonl", batch), InputFormat::OpenAi);
        assert_eq!(detect("a.jsonl", r#"{"method":"POST","url":"/v1/x","body":{}}"#), InputFormat::OpenAi);
        assert_eq!(detect("a.jsonl", r#"["a","/v1/x",{}]"#), InputFormat::Jsonl);
        assert_eq!(detect("a.jsonl", "oops"), InputFormat::Jsonl);
        assert_eq!(detect("a.jsonl", &batch[..batch.len() - 1]), InputFormat::OpenAi);
        assert_eq!(detect("a.jsonl", r#"{"custom_id":"a","bo"#), InputFormat::Jsonl);
        assert_eq!(detect("a", r#"{"a":1}"#), InputFormat::Jsonl);
        assert_eq!(detect("a", r#""a prompt""#), InputFormat::Jsonl);
        assert_eq!(detect("a", r#""Quoted," she said"#), InputFormat::Text);
        assert_eq!(detect("a", r#"[{"messages":[]},{"row":1}]"#), InputFormat::Jsonl);
        assert_eq!(detect("a", "[1, 2]"), InputFormat::Text);
    }

    #[test]
    fn an_unknown_name_unlike_all_others_gets_no_suggestion() {
        let error = "spreadsheet".parse::<InputFormat>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`spreadsheet` is not a valid input format. Valid formats: openai, jsonl, csv, tsv, parquet, xlsx, text"
        );
    }
}
