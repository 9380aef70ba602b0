//! Options for reading an input.

use super::InputFormat;
use super::encoding::Encoding;

/// Options for reading an input.
///
/// ```
/// use fanweave::batch::{InputOptions, Source};
///
/// let options = InputOptions::new().format("csv".parse()?).delimiter(';').encoding("latin-1".parse()?);
/// let text = b"name;city\nJos\xe9;Lima\n";
/// let mut rows = Source::from_reader_with("people", &text[..], options)?;
/// assert_eq!(rows.columns().unwrap(), ["name", "city"]);
/// assert!(rows.next().unwrap()?.input.is_ok());
/// # Ok::<_, fanweave::batch::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct InputOptions {
    /// Format. Default: inferred from the name and the first line.
    pub format: Option<InputFormat>,
    /// Character between the columns of CSV, an ASCII character. Default: inferred from the first records, a
    /// comma if they do not tell; a tab for TSV.
    pub delimiter: Option<char>,
    /// Encoding of the text. Default: UTF-8, or UTF-16 if the text begins with its byte order mark.
    pub encoding: Option<Encoding>,
    /// Field that identifies a row in the output. Default: `custom_id`, or else `id`. Not for the lines of an
    /// OpenAI batch, which have a `custom_id`.
    pub id_column: Option<String>,
    /// Sheet of a workbook: its name, or its number from 1. Default: the first one.
    pub sheet: Option<String>,
}

/// Each method sets the field of its name.
impl InputOptions {
    /// The default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the format.
    #[must_use]
    pub fn format(self, format: InputFormat) -> Self {
        Self { format: Some(format), ..self }
    }

    /// Sets the character between columns.
    #[must_use]
    pub fn delimiter(self, delimiter: char) -> Self {
        Self { delimiter: Some(delimiter), ..self }
    }

    /// Sets the encoding.
    #[must_use]
    pub fn encoding(self, encoding: Encoding) -> Self {
        Self { encoding: Some(encoding), ..self }
    }

    /// Sets the field that identifies a row.
    #[must_use]
    pub fn id_column(self, name: impl Into<String>) -> Self {
        Self { id_column: Some(name.into()), ..self }
    }

    /// Sets the sheet of a workbook.
    #[must_use]
    pub fn sheet(self, name: impl Into<String>) -> Self {
        Self { sheet: Some(name.into()), ..self }
    }
}

impl From<Option<InputFormat>> for InputOptions {
    fn from(format: Option<InputFormat>) -> Self {
        Self { format, ..Self::default() }
    }
}
