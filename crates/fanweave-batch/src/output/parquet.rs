//! Parquet output: results as row groups of columns.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

use super::OutputEncoder;
use super::flat::{COLUMNS, Cell, ColumnType, cells};
use crate::journal::Record;

/// Maximum rows, and maximum bytes of text, of a row group. A group is kept in memory until it is written.
const GROUP_ROWS: usize = 10_000;
const GROUP_BYTES: usize = 8 << 20;

/// Writes row groups. Every column is nullable.
pub(super) struct Columns {
    writer: Option<SerializedFileWriter<Shared>>,
    written: Shared,
    /// Buffered cells of each column.
    buffered: [Vec<Cell>; COLUMNS.len()],
    bytes: usize,
    /// The first error.
    failed: Option<io::Error>,
}

/// Bytes that the Parquet writer has written and that were not taken yet.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Columns {
    pub(super) fn new() -> Self {
        let written = Shared::default();
        let (writer, failed) = match open(written.clone()) {
            Ok(writer) => (Some(writer), None),
            Err(error) => (None, Some(io::Error::other(error))),
        };
        Self { writer, written, buffered: Default::default(), bytes: 0, failed }
    }

    fn take(&mut self, bytes: &mut Vec<u8>) {
        bytes.append(&mut self.written.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn write_group(&mut self) {
        let buffered = std::mem::take(&mut self.buffered);
        self.bytes = 0;
        let Some(writer) = &mut self.writer else { return };
        if let Err(error) = write(writer, buffered) {
            self.failed.get_or_insert(io::Error::other(error));
            self.writer = None;
        }
    }
}

impl OutputEncoder for Columns {
    fn begin(&mut self, bytes: &mut Vec<u8>) {
        self.take(bytes);
    }

    fn row(&mut self, record: &Record, bytes: &mut Vec<u8>) {
        for (column, cell) in self.buffered.iter_mut().zip(cells(record)) {
            if let Cell::Text(Some(text)) = &cell {
                self.bytes += text.len();
            }
            column.push(cell);
        }
        if self.buffered[0].len() >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
            self.write_group();
            self.take(bytes);
        }
    }

    fn end(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        if !self.buffered[0].is_empty() {
            self.write_group();
        }
        if let Some(writer) = self.writer.take() {
            writer.close().map_err(io::Error::other)?;
        }
        self.take(bytes);
        self.failed.take().map_or(Ok(()), Err)
    }
}

fn open(written: Shared) -> Result<SerializedFileWriter<Shared>> {
    let columns = COLUMNS.iter().map(|(name, kind)| {
        let (physical, logical) = match kind {
            ColumnType::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            ColumnType::Whole => (Physical::INT64, None),
            ColumnType::Number => (Physical::DOUBLE, None),
        };
        let column = Type::primitive_type_builder(name, physical).with_logical_type(logical);
        Ok(Arc::new(column.with_repetition(Repetition::OPTIONAL).build()?))
    });
    let schema = Type::group_type_builder("answers").with_fields(columns.collect::<Result<_>>()?).build()?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    SerializedFileWriter::new(written, Arc::new(schema), Arc::new(properties))
}

fn write(writer: &mut SerializedFileWriter<Shared>, buffered: [Vec<Cell>; COLUMNS.len()]) -> Result<()> {
    let mut group = writer.next_row_group()?;
    for ((_, kind), cells) in COLUMNS.iter().zip(buffered) {
        let mut column = group.next_column()?.expect("the schema has as many columns");
        match kind {
            ColumnType::Text => {
                let (levels, values) = split(cells, |cell| match cell {
                    Cell::Text(text) => text.map(|text| ByteArray::from(text.into_bytes())),
                    _ => None,
                });
                column.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None)?;
            }
            ColumnType::Whole => {
                let (levels, values) = split(cells, |cell| match cell {
                    Cell::Whole(n) => n.map(|n| i64::try_from(n).unwrap_or(i64::MAX)),
                    _ => None,
                });
                column.typed::<Int64Type>().write_batch(&values, Some(&levels), None)?;
            }
            ColumnType::Number => {
                let (levels, values) = split(cells, |cell| match cell {
                    Cell::Number(n) => n,
                    _ => None,
                });
                column.typed::<DoubleType>().write_batch(&values, Some(&levels), None)?;
            }
        }
        column.close()?;
    }
    group.close().map(drop)
}

/// Definition level of each cell (1 if it has a value), and the values.
fn split<T>(cells: Vec<Cell>, value: impl Fn(Cell) -> Option<T>) -> (Vec<i16>, Vec<T>) {
    let mut values = Vec::with_capacity(cells.len());
    let levels = cells.into_iter().map(|cell| {
        let value = value(cell);
        let level = i16::from(value.is_some());
        values.extend(value);
        level
    });
    (levels.collect(), values)
}
