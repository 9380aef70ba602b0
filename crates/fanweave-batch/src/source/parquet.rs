//! Parquet input: every row is an object of variables.

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::path::Path;

use bytes::Bytes;
use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::schema::types::Type;
use serde_json::{Map, Value};

use super::density;
use super::lines::MAX_LINE;
use super::logical::Logical;
use super::positional::PositionalFile;
use crate::output::ColumnType;
use crate::{Error, Result};

/// Reads the rows of a file.
pub(super) struct Rows {
    columns: Vec<String>,
    types: HashMap<String, ColumnType>,
    logical: Logical,
    rows: RowIter<'static>,
}

impl Rows {
    pub(super) fn open(file: PositionalFile, path: &Path) -> Result<Self> {
        let reader = reader(file, path)?;
        check_size(&reader).map_err(|why| Error::usage(format!("{}: {why}", path.display())))?;
        // Check the headers of all row groups here, before any call.
        for group in 0..reader.num_row_groups() {
            let opened = guarded(|| reader.get_row_group(group).map(drop));
            opened.map_err(|why| damaged(path, &why))?;
        }
        let schema = reader.metadata().file_metadata().schema();
        let columns = schema.get_fields().iter().map(|field| field.name().to_owned()).collect();
        let types = schema.get_fields().iter();
        let types = types.filter_map(|field| Some((field.name().to_owned(), type_of(field)?))).collect();
        let logical = Logical::of(schema);
        Ok(Self { columns, types, logical, rows: RowIter::from_file_into(Box::new(reader)) })
    }

    /// Names of the columns.
    pub(super) fn columns(&self) -> Vec<String> {
        self.columns.clone()
    }

    /// Types of the columns that are not texts.
    pub(super) fn column_types(&self) -> HashMap<String, ColumnType> {
        self.types.clone()
    }

    /// The next row, or the error after which nothing can be read. `None` at the end.
    pub(super) fn next(&mut self) -> Option<Result<Map<String, Value>, String>> {
        let row = guarded(|| self.rows.next().map(|row| row.map(|row| row.to_json_value())).transpose());
        Some(match row {
            Ok(None) => return None,
            Ok(Some(Value::Object(mut map))) => {
                self.logical.apply(&mut map);
                Ok(map)
            }
            Ok(Some(other)) => Err(format!("expected columns, found {other}; nothing after it can be read")),
            Err(why) => Err(format!("{why}; nothing after it can be read")),
        })
    }
}

/// Type of a column for an output. `None` for a text, and for values that no column of another type has.
fn type_of(field: &Type) -> Option<ColumnType> {
    let info = field.get_basic_info();
    if !field.is_primitive() || (info.has_repetition() && info.repetition() == Repetition::REPEATED) {
        return None;
    }
    match (field.get_physical_type(), info.logical_type_ref(), info.converted_type()) {
        (Physical::BOOLEAN, ..) => Some(ColumnType::Bool),
        (Physical::FLOAT | Physical::DOUBLE, ..) => Some(ColumnType::Number),
        (_, Some(LogicalType::Date | LogicalType::Timestamp(_)), _)
        | (_, _, ConvertedType::DATE | ConvertedType::TIMESTAMP_MILLIS | ConvertedType::TIMESTAMP_MICROS) => {
            Some(ColumnType::Date)
        }
        (Physical::INT96, ..) => Some(ColumnType::Date),
        (Physical::INT32, Some(LogicalType::Integer(_)) | None, kind) | (Physical::INT64, None, kind)
            if kind != ConvertedType::DECIMAL && kind != ConvertedType::TIME_MILLIS =>
        {
            (!matches!(kind, ConvertedType::UINT_64 | ConvertedType::TIME_MICROS))
                .then_some(ColumnType::Whole)
        }
        (Physical::INT64, Some(LogicalType::Integer(kind)), _) if kind.is_signed => Some(ColumnType::Whole),
        _ => None,
    }
}

/// Maximum number of columns, each of which has a reader with buffers of its own.
const MAX_COLUMNS: usize = 10_000;

/// Maximum bytes of a value, on average over the rows of a group: a page is decompressed as a whole.
const MAX_VALUE_BYTES: i64 = MAX_LINE as i64;

/// Maximum values of a list, on average over the rows of a group.
const MAX_LIST: i64 = density::MAX_VALUES as i64;

/// Maximum bytes of a page, which is decompressed as a whole. 256 MiB. Source: DuckDB writes pages of up to
/// 100 MB, other writers of about 1 MiB.
const MAX_PAGE_BYTES: u64 = 256 << 20;

/// Refuses a page that is too large once it is decompressed, as in a file of 1 kB with one large value among
/// a million empty ones. `bytes` are those at an offset from which the reader reads, such as the header of a
/// page.
fn check_page(bytes: &[u8]) -> Result<(), ParquetError> {
    match page_bytes(bytes).filter(|size| *size > MAX_PAGE_BYTES) {
        Some(size) => Err(ParquetError::General(format!(
            "a page has {} MiB, and at most {} MiB are read",
            size.div_ceil(1 << 20),
            MAX_PAGE_BYTES >> 20
        ))),
        None => Ok(()),
    }
}

/// The uncompressed size of a page, from its header: a Thrift structure that begins with the fields type,
/// size and compressed size, which are 32-bit integers. `None` for other bytes.
fn page_bytes(header: &[u8]) -> Option<u64> {
    /// The mark of a 32-bit integer whose field follows the one before it.
    const NEXT_I32: u8 = 0x15;
    let [NEXT_I32, 0 | 2 | 4 | 6, NEXT_I32, rest @ ..] = header else { return None };
    let end = rest.iter().take(5).position(|byte| byte & 0x80 == 0)?;
    rest.get(end + 1).filter(|next| **next == NEXT_I32)?;
    let encoded = rest[..=end].iter().rev().fold(0, |all, byte| (all << 7) | u64::from(byte & 0x7f));
    // The sign is the lowest bit. Negative sizes are left to the reader, which refuses them.
    (encoded & 1 == 0).then_some(encoded >> 1)
}

/// Refuses files that take more memory for a row than lines of text may have: a file of 1 kB can contain a
/// list of 10^8 numbers.
fn check_size(reader: &SerializedFileReader<PositionalFile>) -> Result<(), String> {
    for group in reader.metadata().row_groups() {
        let rows = group.num_rows().max(1);
        if group.num_columns() > MAX_COLUMNS {
            return Err(format!(
                "the file has {} columns, and at most {MAX_COLUMNS} are read",
                group.num_columns()
            ));
        }
        for column in group.columns() {
            let name = column.column_path();
            if column.uncompressed_size() / rows > MAX_VALUE_BYTES {
                return Err(format!("the values of `{name}` have more than {} MiB", MAX_VALUE_BYTES >> 20));
            }
            if column.num_values() / rows > MAX_LIST {
                return Err(format!("the lists of `{name}` have more than {MAX_LIST} values"));
            }
        }
    }
    Ok(())
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
        let mut reader = std::io::BufReader::new(self.at(start));
        check_page(reader.fill_buf()?)?;
        Ok(reader)
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

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::fs::File;
    use std::path::PathBuf;
    use std::sync::Arc;

    use parquet::data_type::Int32Type;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    /// Writes one row. The repetition levels are those of the only column, if its row is a list.
    fn write(schema: &str, levels: Option<&[i16]>) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.parquet");
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut writer =
            SerializedFileWriter::new(File::create(&path).unwrap(), schema, Arc::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        while let Some(mut column) = group.next_column().unwrap() {
            let values = vec![0; levels.map_or(1, <[i16]>::len)];
            let ones = levels.map(|levels| vec![1; levels.len()]);
            column.typed::<Int32Type>().write_batch(&values, ones.as_deref(), levels).unwrap();
            column.close().unwrap();
        }
        group.close().unwrap();
        writer.close().unwrap();
        (folder, path)
    }

    fn error(path: &Path) -> String {
        Rows::open(PositionalFile::new(File::open(path).unwrap()), path)
            .err()
            .expect("it is refused")
            .to_string()
    }

    #[test]
    fn a_row_with_a_list_of_millions_is_refused() {
        let mut levels = vec![1; 2 << 20];
        levels[0] = 0;
        let (_folder, path) = write("message m { repeated int32 x; }", Some(&levels));
        assert!(std::fs::metadata(&path).unwrap().len() < 10_000);
        assert!(
            error(&path).contains("the lists of `\"x\"` have more than 1048576 values"),
            "{}",
            error(&path)
        );
        let (_folder, path) = write("message m { repeated int32 x; }", Some(&[0, 1, 1]));
        let mut rows = Rows::open(PositionalFile::new(File::open(&path).unwrap()), &path).unwrap();
        assert_eq!(rows.next().unwrap().unwrap()["x"], serde_json::json!([0, 0, 0]));
    }

    #[test]
    fn the_size_of_a_page_is_read_from_its_header_and_large_ones_are_refused() {
        let (_folder, path) = write("message m { repeated int32 x; }", Some(&[0; 100_000]));
        let file = PositionalFile::new(File::open(&path).unwrap());
        let chunk = reader(file, &path).unwrap();
        let (column, mut size) = (chunk.metadata().row_group(0).column(0).clone(), 0);
        let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
        let bytes = std::fs::read(&path).unwrap();
        for page in [start, column.data_page_offset()] {
            size += page_bytes(&bytes[usize::try_from(page).unwrap()..]).expect("a header");
        }
        // The rest of the column are the headers.
        let all = u64::try_from(column.uncompressed_size()).unwrap();
        assert!(size < all && size + 200 > all, "{size} of {all}");

        // Type 0, 300 MiB, 1 KiB.
        let header = [0x15, 0, 0x15, 0x80, 0x80, 0x80, 0xac, 0x02, 0x15, 0x80, 0x10];
        assert_eq!(page_bytes(&header), Some(300 << 20));
        let error = check_page(&header).unwrap_err().to_string();
        assert!(error.contains("a page has 300 MiB, and at most 256 MiB are read"), "{error}");
        for other in [&bytes[bytes.len() - 8..], b"PAR1", &[0x15, 0, 0x15, 0xff], &[]] {
            assert_eq!(page_bytes(other), None);
            check_page(other).unwrap();
        }
    }

    #[test]
    fn a_file_with_too_many_columns_is_refused() {
        let mut schema = "message m {".to_owned();
        for n in 0..=MAX_COLUMNS {
            write!(schema, " required int32 c{n};").unwrap();
        }
        let (_folder, path) = write(&(schema + " }"), None);
        assert!(error(&path).contains("10001 columns, and at most 10000"), "{}", error(&path));
    }
}
