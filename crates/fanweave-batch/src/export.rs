//! Export of failed rows as the input of another run.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use fanweave_core::blocking;
use serde_json::Value;

use crate::feed::KeyedRows;
use crate::input::Input;
use crate::output::csv_record;
use crate::recorded::RunRecord;
use crate::rows::{InputRow, RowKey};
use crate::source::Source;
use crate::{Error, Result};

/// Number of exported rows.
///
/// ```
/// let exported = fanweave::batch::ExportedRows::default();
/// assert_eq!((exported.written, exported.unreadable), (0, 0));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportedRows {
    /// Rows that were written.
    pub written: u64,
    /// Failed rows that cannot be read, and are not written.
    pub unreadable: u64,
    /// Failed rows that the input does not have any more.
    pub missing: u64,
}

/// Form of the exported rows.
enum Form {
    Json,
    /// Records with these columns.
    Table {
        delimiter: u8,
        columns: Vec<String>,
    },
    /// Lines of text.
    Text,
}

impl RunRecord {
    /// Writes the rows of the input that failed to the file at `path`, as an input: CSV or TSV if it has that
    /// extension, lines of text if it ends with `.txt` and the rows are texts, and JSON lines otherwise.
    /// Lines of an OpenAI batch stay what they are. `source` is the input of the run.
    ///
    /// ```no_run
    /// use fanweave::batch::{RunRecord, Source};
    ///
    /// let run = RunRecord::open("answers.csv", 100)?;
    /// let failed = run.write_failed(Source::open("questions.csv", None)?, "failed.csv")?;
    /// println!("{} rows", failed.written);
    /// # Ok::<_, fanweave::batch::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Usage`](crate::ErrorKind::Usage) if rows of an OpenAI batch are to be written as a table;
    /// [`Io`](crate::ErrorKind::Io) if the input cannot be read or the file cannot be written.
    pub fn write_failed(&self, source: Source, path: impl AsRef<Path>) -> Result<ExportedRows> {
        let path = path.as_ref();
        let failed = self.rows.iter().filter(|row| row.error.is_some());
        let mut failed: HashSet<RowKey> = failed.filter_map(|row| row.key).collect();
        let form = Form::of(path, &source)?;
        let file = File::create(path).map_err(|e| Error::io("create the file", path, e))?;
        let mut to = BufWriter::new(file);
        let mut exported = ExportedRows::default();
        let mut line = Vec::new();
        if let Form::Table { delimiter, columns } = &form {
            csv_record(columns, *delimiter, &mut line);
        }
        let mut rows = KeyedRows::new(source, None);
        while !failed.is_empty()
            && let Some(row) = blocking::wait(rows.next())
        {
            let (key, row) = row?;
            if !failed.remove(&key) {
                continue;
            }
            let is_written = row.input.as_ref().is_ok_and(|input| form.write(&row, input, &mut line));
            exported.written += u64::from(is_written);
            exported.unreadable += u64::from(!is_written);
            to.write_all(&line).map_err(|e| Error::io("write rows", path, e))?;
            line.clear();
        }
        exported.missing = failed.len() as u64;
        to.write_all(&line).and_then(|()| to.flush()).map_err(|e| Error::io("write rows", path, e))?;
        Ok(exported)
    }
}

impl Form {
    fn of(path: &Path, source: &Source) -> Result<Self> {
        let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        let delimiter = match extension.as_deref() {
            Some("csv") => b',',
            Some("tsv" | "tab") => b'\t',
            Some("txt") => return Ok(Self::Text),
            Some("parquet" | "xlsx") => {
                let message =
                    format!("{}: failed rows are written as CSV, TSV or JSON lines", path.display());
                return Err(Error::usage(message));
            }
            _ => return Ok(Self::Json),
        };
        let columns = match (source.columns(), source.format()) {
            (Some(columns), _) => columns,
            (None, Some(crate::InputFormat::Text)) => vec!["input".to_owned()],
            (None, _) => {
                let message =
                    format!("{}: the rows are not records of a table; write JSON lines", path.display());
                return Err(Error::usage(message));
            }
        };
        Ok(Self::Table { delimiter, columns })
    }

    /// Appends a row. Returns false for a prompt of another source, which no file has.
    fn write(&self, row: &InputRow, input: &Input, line: &mut Vec<u8>) -> bool {
        if let Self::Table { delimiter, columns } = self {
            let fields: Vec<String> = columns.iter().map(|name| cell(input, name)).collect();
            csv_record(&fields, *delimiter, line);
            return true;
        }
        match input {
            Input::Text(text) if matches!(self, Self::Text) => line.extend_from_slice(text.as_bytes()),
            Input::Text(text) => write_json(text, line),
            Input::Vars(vars) => write_json(vars.as_map(), line),
            Input::Prompt(prompt) => {
                let Some(body) = &prompt.body else { return false };
                let id = serde_json::to_string(&row.id).expect("a text is JSON");
                let endpoint = body.endpoint();
                let head = format!(r#"{{"custom_id":{id},"method":"POST","url":"/v1{endpoint}","body":"#);
                line.extend_from_slice(head.as_bytes());
                line.extend_from_slice(body.json().as_bytes());
                line.push(b'}');
            }
        }
        line.push(b'\n');
        true
    }
}

fn write_json(value: &impl serde::Serialize, line: &mut Vec<u8>) {
    serde_json::to_writer(line, value).expect("rows have string keys, and writing to a Vec cannot fail");
}

/// A field as the cell of a table.
fn cell(input: &Input, name: &str) -> String {
    match input {
        Input::Text(text) => text.clone(),
        Input::Vars(vars) => match vars.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        },
        Input::Prompt(_) => String::new(),
    }
}
