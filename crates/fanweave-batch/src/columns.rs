//! The input's own columns or fields beside the answers.
//!
//! Results do not contain their input, and a row that was answered in an earlier run has only its key. The
//! rows that are read for a run therefore put their columns in a temporary file, and the output takes them
//! from there. It checks the key of each row, so that no answer can be beside the columns of another row.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fanweave_core::closest;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::disk::{Disk, DiskFile};
use crate::key::Key;
use crate::output::OutputFormat;
use crate::rows::InputRow;
use crate::source::{FILE_COLUMN, InputFormat, Source};
use crate::{Error, ErrorKind, Input, Result};

/// Maximum columns that are collected from JSON rows for a table.
const MAX_COLUMNS: usize = 2_000;

/// The input's own columns or fields that come out beside the answers.
///
/// ```
/// use fanweave::batch::Columns;
///
/// assert_eq!("all".parse::<Columns>()?, Columns::All);
/// assert_eq!("name, city".parse::<Columns>()?, Columns::Only(vec!["name".into(), "city".into()]));
/// # Ok::<_, fanweave::batch::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Columns {
    /// All columns.
    All,
    /// No columns.
    None,
    /// The columns with these names, in this order.
    Only(Vec<String>),
}

impl std::str::FromStr for Columns {
    type Err = Error;

    /// `all`, `none`, or names with commas between them.
    fn from_str(text: &str) -> Result<Self> {
        match text.trim() {
            "all" => Ok(Self::All),
            "none" => Ok(Self::None),
            names => {
                let names: Vec<_> = names.split(',').map(|name| name.trim().to_owned()).collect();
                if names.iter().any(String::is_empty) {
                    return Err(Error::usage(format!("`{text}` is not a list of column names")));
                }
                Ok(Self::Only(names))
            }
        }
    }
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::None => f.write_str("none"),
            Self::Only(names) => f.write_str(&names.join(",")),
        }
    }
}

impl Columns {
    /// The columns unless they are chosen: those of a table beside the answers in a table.
    pub(crate) fn default_of(source: &Source, output: OutputFormat) -> Self {
        let is_table = source.format().is_some_and(InputFormat::has_records);
        if is_table && matches!(output, OutputFormat::Csv | OutputFormat::Tsv | OutputFormat::Xlsx) {
            Self::All
        } else {
            Self::None
        }
    }

    /// Checks the choice. Returns the names of the columns for a table. `None` without columns; an
    /// empty list if each row has its own.
    pub(crate) fn names(&self, source: &Source, output: OutputFormat) -> Result<Option<Vec<String>>> {
        let invalid = |why: &str| Err(Error::usage(format!("columns: {why}")));
        if *self == Self::None {
            return Ok(None);
        }
        if source.format() == Some(InputFormat::OpenAi) {
            return invalid("the lines of an OpenAI batch have no columns of their own");
        }
        if output == OutputFormat::OpenAi {
            return invalid(
                "OpenAI batch results have no columns: choose another output format, such as jsonl",
            );
        }
        let known = match source.format() {
            Some(InputFormat::Text) => Some(vec!["input".to_owned()]),
            _ => source.columns(),
        };
        let known = known.map(|names| with_file(names, source));
        match (self, known) {
            (Self::Only(names), Some(known)) => {
                let Some(unknown) = names.iter().find(|name| !known.contains(name)) else {
                    return Ok(Some(names.clone()));
                };
                let near = closest(unknown, &known).map(|near| format!("; did you mean `{near}`?"));
                invalid(&format!("{} has no column `{unknown}`{}", source.name(), near.unwrap_or_default()))
            }
            (Self::Only(names), None) => Ok(Some(names.clone())),
            (_, Some(known)) => Ok(Some(known)),
            (_, None) if output == OutputFormat::Jsonl => Ok(Some(Vec::new())),
            (_, None) => match source.reopened()? {
                Some(rows) => names_of(rows).map(|names| Some(with_file(names, source))),
                None => {
                    invalid("the rows have different fields: name those that become columns of the table")
                }
            },
        }
    }
}

/// Adds the name of the file in front, if there are several, unless the rows have a field of this name.
fn with_file(mut names: Vec<String>, source: &Source) -> Vec<String> {
    if source.paths().len() > 1 && !names.iter().any(|name| name == FILE_COLUMN) {
        names.insert(0, FILE_COLUMN.to_owned());
    }
    names
}

/// Names of the fields of all rows, in the order in which they appear first.
fn names_of(rows: Source) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for row in rows {
        let row = row?;
        let Ok(Input::Vars(vars)) = &row.input else { continue };
        for name in vars.names() {
            if !seen.contains(name) {
                seen.insert(name.to_owned());
                names.push(name.to_owned());
            }
        }
        if names.len() > MAX_COLUMNS {
            let message =
                format!("columns: the rows have more than {MAX_COLUMNS} different fields: name some");
            return Err(Error::usage(message));
        }
    }
    Ok(names)
}

/// Columns of rows that were read and whose results are not written yet.
pub(crate) struct OwnColumns {
    /// The columns to keep. Empty for all.
    names: Vec<String>,
    folder: PathBuf,
    rows: Mutex<Rows>,
}

struct Rows {
    file: DiskFile,
    end: u64,
    /// By the index of the row. Grows with the rows in flight and those that wait for an earlier one.
    locations: HashMap<u64, Location>,
    line: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Location {
    key: Key,
    offset: u64,
    length: usize,
}

impl OwnColumns {
    /// Keeps the columns `names`, or all if it is empty, in a temporary file in `folder`.
    pub(crate) fn new(disk: &Disk, folder: &Path, names: Vec<String>) -> Result<Self> {
        let file = disk.temporary_in(folder).map_err(|e| Error::io("create a temporary file", folder, e))?;
        let rows = Mutex::new(Rows { file, end: 0, locations: HashMap::new(), line: Vec::new() });
        Ok(Self { names, folder: folder.to_owned(), rows })
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, e: io::Error) -> Error {
        Error::io("keep the columns of rows", &self.folder, e)
    }

    /// Keeps the columns of a row, which has this key in the journal.
    pub(crate) fn put(&self, key: Key, row: &InputRow) -> Result<()> {
        let mut rows = self.rows();
        let rows = &mut *rows;
        rows.line.clear();
        if row.file.is_some() {
            let fields = self.with_file(row);
            serde_json::to_writer(&mut rows.line, &fields).map_err(|e| self.failed(e.into()))?;
        } else {
            self.write(row, &mut rows.line).map_err(|e| self.failed(e.into()))?;
        }
        let location = Location { key, offset: rows.end, length: rows.line.len() };
        rows.file.write_all(&rows.line).map_err(|e| self.failed(e))?;
        rows.end += rows.line.len() as u64;
        rows.locations.insert(row.index, location);
        Ok(())
    }

    /// Writes the columns of a row.
    fn write(&self, row: &InputRow, line: &mut Vec<u8>) -> serde_json::Result<()> {
        match &row.input {
            Ok(Input::Vars(vars)) if self.names.is_empty() => serde_json::to_writer(line, vars),
            Ok(Input::Vars(vars)) => {
                let chosen = self.names.iter().filter_map(|name| Some((name, vars.get(name)?)));
                let chosen: Map<String, Value> =
                    chosen.map(|(name, value)| (name.clone(), value.clone())).collect();
                serde_json::to_writer(line, &chosen)
            }
            Ok(Input::Text(text)) => {
                let only = Map::from_iter([("input".to_owned(), Value::from(text.as_str()))]);
                serde_json::to_writer(line, &only)
            }
            // A row that could not be read has no columns.
            _ => {
                line.extend_from_slice(b"{}");
                Ok(())
            }
        }
    }

    /// The columns of a row of one of several files.
    fn with_file(&self, row: &InputRow) -> Map<String, Value> {
        let mut all = Map::new();
        if let Some(file) = row.file() {
            all.insert(FILE_COLUMN.to_owned(), file.into());
        }
        match &row.input {
            Ok(Input::Vars(vars)) => {
                all.extend(vars.as_map().iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            Ok(Input::Text(text)) => _ = all.insert("input".to_owned(), text.as_str().into()),
            _ => {}
        }
        if !self.names.is_empty() {
            all.retain(|name, _| self.names.contains(name));
        }
        all
    }

    /// Takes the columns of the row with this index and this key.
    pub(crate) fn take(&self, index: u64, key: Key) -> Result<Map<String, Value>> {
        let mut rows = self.rows();
        let location = rows.locations.remove(&index).filter(|location| location.key == key);
        let Some(Location { offset, length, .. }) = location else {
            let message = format!("the columns of row {index} are not those of its answer");
            return Err(Error::new(ErrorKind::Io, message));
        };
        let mut json = vec![0; length];
        rows.file.read_exact_at(&mut json, offset).map_err(|e| self.failed(e))?;
        drop(rows);
        serde_json::from_slice(&json).map_err(|e| self.failed(e.into()))
    }
}

#[cfg(test)]
mod tests {
    use fanweave_core::vars;

    use super::*;

    #[test]
    fn columns_are_taken_once_and_only_for_the_row_of_their_key() {
        let folder = tempfile::tempdir().unwrap();
        let own = OwnColumns::new(&Disk::default(), folder.path(), vec!["b".into(), "x".into()]).unwrap();
        let key = |n: u8| Key::of(&[&[n]]);
        for n in 0..3_u8 {
            let mut row = InputRow::new(Input::Vars(vars! { a: 1, b: n }));
            row.index = n.into();
            own.put(key(n), &row).unwrap();
        }
        assert_eq!(own.take(2, key(2)).unwrap(), *vars! { b: 2 }.as_map());
        assert_eq!(own.take(0, key(0)).unwrap(), *vars! { b: 0 }.as_map());
        assert!(own.take(0, key(0)).is_err(), "it was taken");
        assert!(own.take(1, key(2)).is_err(), "another row");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name");
    }
}
