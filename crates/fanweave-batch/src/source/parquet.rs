//! Parquet input: every row is an object of variables.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::record::reader::RowIter;
use serde_json::{Map, Value};

use super::positional::PositionalFile;
use crate::{Error, Result};

/// Reads the rows of a file.
pub(super) struct Rows {
    columns: Vec<String>,
    rows: RowIter<'static>,
}

impl Rows {
    pub(super) fn open(file: PositionalFile, path: &Path) -> Result<Self> {
        let reader = reader(file, path)?;
        // Check the headers of all row groups here, before any call.
        for group in 0..reader.num_row_groups() {
            let opened = guarded(|| reader.get_row_group(group).map(drop));
            opened.map_err(|why| damaged(path, &why))?;
        }
        let fields = reader.metadata().file_metadata().schema().get_fields();
        let columns = fields.iter().map(|field| field.name().to_owned()).collect();
        Ok(Self { columns, rows: RowIter::from_file_into(Box::new(reader)) })
    }

    /// Names of the columns.
    pub(super) fn columns(&self) -> Vec<String> {
        self.columns.clone()
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
pub(super) fn count(file: PositionalFile, path: &Path) -> Result<u64> {
    let rows = reader(file, path)?.metadata().file_metadata().num_rows();
    Ok(rows.try_into().unwrap_or_default())
}

fn reader(file: PositionalFile, path: &Path) -> Result<SerializedFileReader<PositionalFile>> {
    guarded(|| SerializedFileReader::new(file)).map_err(|why| damaged(path, &why))
}

impl Length for PositionalFile {
    fn len(&self) -> u64 {
        self.length()
    }
}

impl ChunkReader for PositionalFile {
    type T = std::io::BufReader<Self>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(std::io::BufReader::new(self.at(start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        // The length is that of the footer, which may be corrupt.
        let capacity = usize::try_from(self.length()).unwrap_or(usize::MAX).min(length);
        let mut bytes = Vec::with_capacity(capacity);
        self.at(start).take(length as u64).read_to_end(&mut bytes)?;
        if bytes.len() != length {
            return Err(ParquetError::EOF(format!(
                "expected {length} bytes at {start}, found {}",
                bytes.len()
            )));
        }
        Ok(bytes.into())
    }
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
