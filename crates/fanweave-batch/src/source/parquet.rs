//! Parquet input: every row is an object of variables.

use std::fs::File;
use std::path::Path;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use serde_json::{Map, Value};

use crate::{Error, Result};

/// Reads the rows of a file.
pub(super) struct Rows {
    rows: RowIter<'static>,
}

impl Rows {
    pub(super) fn open(file: File, path: &Path) -> Result<Self> {
        let reader = reader(file, path)?;
        // Check the headers of all row groups here, before any call.
        for group in 0..reader.num_row_groups() {
            let opened = guarded(|| reader.get_row_group(group).map(drop));
            opened.map_err(|why| damaged(path, &why))?;
        }
        Ok(Self { rows: RowIter::from_file_into(Box::new(reader)) })
    }

    /// The next row, or the error after which nothing can be read. `None` at the end.
    pub(super) fn next(&mut self) -> Option<Result<Map<String, Value>, String>> {
        let row = guarded(|| self.rows.next().map(|row| row.map(|row| row.to_json_value())).transpose());
        Some(match row {
            Ok(None) => return None,
            Ok(Some(Value::Object(map))) => Ok(map),
            Ok(Some(other)) => Err(format!("expected columns, found {other}; nothing after it can be read")),
            Err(why) => Err(format!("{why}; nothing after it can be read")),
        })
    }
}

/// Number of rows according to the footer of the file.
pub(super) fn count(file: File, path: &Path) -> Result<u64> {
    let rows = reader(file, path)?.metadata().file_metadata().num_rows();
    Ok(rows.try_into().unwrap_or_default())
}

fn reader(file: File, path: &Path) -> Result<SerializedFileReader<File>> {
    guarded(|| SerializedFileReader::new(file)).map_err(|why| damaged(path, &why))
}

/// Calls `work` and returns its error message. The Parquet reader panics on some corrupt files.
fn guarded<T>(work: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
    done.unwrap_or_else(|_| Err(ParquetError::General("the file is corrupt".to_owned()))).map_err(|e| {
        let text = e.to_string();
        text.split_once(": ").map_or(text.clone(), |(_, rest)| rest.to_owned())
    })
}

fn damaged(path: &Path, why: &str) -> Error {
    Error::usage(format!("{}: not a valid Parquet file: {why}", path.display()))
}
