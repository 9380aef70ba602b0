//! Parquet output: results as row groups of columns.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, FloatType, Int64Type};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use serde_json::{Map, Value};

use super::OutputEncoder;
use super::flat::{Cell, ColumnType};
use super::shape::Shape;
use crate::journal::Record;

/// Maximum rows, and maximum bytes of text, of a row group. A group is kept in memory until it is written.
const GROUP_ROWS: usize = 10_000;
const GROUP_BYTES: usize = 8 << 20;

/// Writes row groups. Every column is nullable.
pub(super) struct Columns {
    writer: Option<SerializedFileWriter<Shared>>,
    written: Shared,
    /// Buffered cells of each column.
    buffered: Vec<Vec<Cell>>,
    shape: Shape,
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
    pub(super) fn new(shape: Shape) -> Self {
        let written = Shared::default();
        let (writer, failed) = match open(written.clone(), &shape) {
            Ok(writer) => (Some(writer), None),
            Err(error) => (None, Some(io::Error::other(error))),
        };
        let buffered = vec![Vec::new(); shape.columns().count()];
        Self { writer, written, buffered, shape, bytes: 0, failed }
    }

    fn take(&mut self, bytes: &mut Vec<u8>) {
        bytes.append(&mut self.written.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn write_group(&mut self) {
        let empty = vec![Vec::new(); self.buffered.len()];
        let buffered = std::mem::replace(&mut self.buffered, empty);
        self.bytes = 0;
        let Some(writer) = &mut self.writer else { return };
        if let Err(error) = write(writer, &self.shape, buffered) {
            self.failed.get_or_insert(io::Error::other(error));
            self.writer = None;
        }
    }
}

impl OutputEncoder for Columns {
    fn begin(&mut self, bytes: &mut Vec<u8>) {
        self.take(bytes);
    }

    fn row(&mut self, record: &Record, own: Option<&Map<String, Value>>, bytes: &mut Vec<u8>) {
        for (column, cell) in self.buffered.iter_mut().zip(self.shape.cells(record, own)) {
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

fn open(written: Shared, shape: &Shape) -> Result<SerializedFileWriter<Shared>> {
    let columns = shape.columns().map(|(name, kind)| {
        let (physical, logical) = match kind {
            ColumnType::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            ColumnType::Whole => (Physical::INT64, None),
            ColumnType::Number => (Physical::DOUBLE, None),
            ColumnType::Vector => return vector(name).map(Arc::new),
        };
        let column = Type::primitive_type_builder(name, physical).with_logical_type(logical);
        Ok(Arc::new(column.with_repetition(Repetition::OPTIONAL).build()?))
    });
    let schema = Type::group_type_builder("answers").with_fields(columns.collect::<Result<_>>()?).build()?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    SerializedFileWriter::new(written, Arc::new(schema), Arc::new(properties))
}

/// A column of lists of numbers, which may be null.
fn vector(name: &str) -> Result<Type> {
    let element = Type::primitive_type_builder("element", Physical::FLOAT);
    let element = element.with_repetition(Repetition::REQUIRED).build()?;
    let list = Type::group_type_builder("list").with_repetition(Repetition::REPEATED);
    let list = list.with_fields(vec![Arc::new(element)]).build()?;
    let column = Type::group_type_builder(name).with_repetition(Repetition::OPTIONAL);
    column.with_logical_type(Some(LogicalType::List)).with_fields(vec![Arc::new(list)]).build()
}

fn write(writer: &mut SerializedFileWriter<Shared>, shape: &Shape, buffered: Vec<Vec<Cell>>) -> Result<()> {
    let mut group = writer.next_row_group()?;
    for ((_, kind), cells) in shape.columns().zip(buffered) {
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
                    Cell::Whole(n) => n,
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
            ColumnType::Vector => {
                let Vectors { levels, repetitions, numbers } = cells.into_iter().collect();
                column.typed::<FloatType>().write_batch(&numbers, Some(&levels), Some(&repetitions))?;
            }
        }
        column.close()?;
    }
    group.close().map(drop)
}

/// Lists of numbers as a column.
#[derive(Default)]
struct Vectors {
    /// Definition levels: 0 for null, 1 for an empty list, and 2 for a number.
    levels: Vec<i16>,
    /// Repetition levels: 0 for the first number of a list, and 1 for the others.
    repetitions: Vec<i16>,
    numbers: Vec<f32>,
}

impl FromIterator<Cell> for Vectors {
    fn from_iter<C: IntoIterator<Item = Cell>>(cells: C) -> Self {
        let mut all = Self::default();
        for cell in cells {
            let numbers: Option<Vec<f32>> = match &cell {
                Cell::Text(Some(json)) => serde_json::from_str(json).ok(),
                _ => None,
            };
            let count = numbers.as_ref().map_or(0, Vec::len);
            all.levels.extend(std::iter::repeat_n(2, count));
            all.repetitions.extend((0..count).map(|at| i16::from(at > 0)));
            if count == 0 {
                all.levels.push(i16::from(numbers.is_some()));
                all.repetitions.push(0);
            }
            all.numbers.extend(numbers.into_iter().flatten());
        }
        all
    }
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
