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

    /// Checks the choice. Returns the names of the columns for a table. `None` without columns.
    pub(crate) fn names(&self, source: &Source, output: OutputFormat) -> Result<Option<ColumnNames>> {
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
        let known = known.map(|names| ColumnNames::with_file(names, source));
        match (self, known) {
            (Self::Only(names), Some(ColumnNames { names: known, file })) => {
                let Some(unknown) = names.iter().find(|name| !known.contains(name)) else {
                    return Ok(Some(ColumnNames { names: names.clone(), file }));
                };
                let near = closest(unknown, &known).map(|near| format!("; did you mean `{near}`?"));
                invalid(&format!("{} has no column `{unknown}`{}", source.name(), near.unwrap_or_default()))
            }
            (Self::Only(names), None) => Ok(Some(ColumnNames { names: names.clone(), file: None })),
            (_, Some(known)) => Ok(Some(known)),
            (_, None) if output == OutputFormat::Jsonl => Ok(Some(ColumnNames::default())),
            (_, None) => match source.reopened()? {
                Some(rows) => names_of(rows).map(|names| Some(ColumnNames::with_file(names, source))),
                None => {
                    invalid("the rows have different fields: name those that become columns of the table")
                }
            },
        }
    }
}

/// Names of the columns to keep.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ColumnNames {
    /// Empty if each row has its own.
    pub(crate) names: Vec<String>,
    /// Name of the column with the file of a row. `None` if it depends on the row's own fields.
    file: Option<String>,
}

impl ColumnNames {
    /// Adds the name of the file in front, if there are several.
    fn with_file(mut names: Vec<String>, source: &Source) -> Self {
        let file = (source.paths().len() > 1).then(|| {
            let file = file_column(|name| names.iter().any(|own| own == name));
            names.insert(0, file.clone());
            file
        });
        Self { names, file }
    }
}

/// Name of the column with the file of a row: the first one that its own fields do not have.
fn file_column(is_taken: impl Fn(&str) -> bool) -> String {
    let other = (1..).map(|n| if n == 1 { "input_file".to_owned() } else { format!("input_file_{n}") });
    let mut names = std::iter::once(FILE_COLUMN.to_owned()).chain(other);
    names.find(|name| !is_taken(name)).expect("there are more numbers than columns")
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
    columns: ColumnNames,
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
    /// Keeps `columns` in a temporary file in `folder`.
    pub(crate) fn new(disk: &Disk, folder: &Path, columns: ColumnNames) -> Result<Self> {
        let file = disk.temporary_in(folder).map_err(|e| Error::io("create a temporary file", folder, e))?;
        let rows = Mutex::new(Rows { file, end: 0, locations: HashMap::new(), line: Vec::new() });
        Ok(Self { columns, folder: folder.to_owned(), rows })
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
            Ok(Input::Vars(vars)) if self.columns.names.is_empty() => serde_json::to_writer(line, vars),
            Ok(Input::Vars(vars)) => {
                let chosen = self.columns.names.iter().filter_map(|name| Some((name, vars.get(name)?)));
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
            let has = |name: &str| matches!(&row.input, Ok(Input::Vars(vars)) if vars.get(name).is_some());
            let name = self.columns.file.clone().unwrap_or_else(|| file_column(has));
            all.insert(name, file.into());
        }
        match &row.input {
            Ok(Input::Vars(vars)) => {
                all.extend(vars.as_map().iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            Ok(Input::Text(text)) => _ = all.insert("input".to_owned(), text.as_str().into()),
            _ => {}
        }
        if !self.columns.names.is_empty() {
            all.retain(|name, _| self.columns.names.contains(name));
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
        let columns = ColumnNames { names: vec!["b".into(), "x".into()], file: None };
        let own = OwnColumns::new(&Disk::default(), folder.path(), columns).unwrap();
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

    #[test]
    fn the_name_of_a_file_takes_the_next_free_name() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let fields = |name: &str, texts: [&str; 2]| {
            let paths = [0, 1].map(|at| write(&format!("{at}.{name}"), texts[at]));
            let source = Source::open_all(paths, crate::InputOptions::new()).unwrap();
            let columns = Columns::All.names(&source, OutputFormat::Jsonl).unwrap().unwrap();
            let own = OwnColumns::new(&Disk::default(), folder.path(), columns).unwrap();
            let of = |row: Result<InputRow>| {
                let row = own.with_file(&row.unwrap());
                row.keys().map(String::as_str).collect::<Vec<_>>().join(" ")
            };
            source.map(of).collect::<Vec<_>>()
        };
        assert_eq!(fields("csv", ["a\n1\n", "a\n2\n"]), ["file a"; 2]);
        assert_eq!(
            fields("csv", ["file,input_file\n1,2\n", "a\n2\n"]),
            ["input_file_2 file input_file", "input_file_2 a"]
        );
        assert_eq!(fields("jsonl", ["{\"file\":1}", "{\"a\":2}"]), ["input_file file", "file a"]);
    }
}
