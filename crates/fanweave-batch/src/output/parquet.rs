//! Parquet output: results as row groups of columns.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int64Type};
use parquet::errors::Result;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::OutputEncoder;
use super::flat::{Cell, ColumnType, ItemType};
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
            ColumnType::Text | ColumnType::Date => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
            ColumnType::Whole => (Physical::INT64, None),
            ColumnType::Number => (Physical::DOUBLE, None),
            ColumnType::Bool => (Physical::BOOLEAN, None),
            ColumnType::List(items) => return list(name, items).map(Arc::new),
        };
        let column = Type::primitive_type_builder(name, physical).with_logical_type(logical);
        Ok(Arc::new(column.with_repetition(Repetition::OPTIONAL).build()?))
    });
    let schema = Type::group_type_builder("answers").with_fields(columns.collect::<Result<_>>()?).build()?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    SerializedFileWriter::new(written, Arc::new(schema), Arc::new(properties))
}

/// A column of lists, which may be null, and so may be their items other than numbers of 32 bits.
fn list(name: &str, items: ItemType) -> Result<Type> {
    let (physical, logical) = match items {
        ItemType::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        ItemType::Whole => (Physical::INT64, None),
        ItemType::Number => (Physical::DOUBLE, None),
        ItemType::Bool => (Physical::BOOLEAN, None),
        ItemType::Float => (Physical::FLOAT, None),
    };
    let repetition = if items == ItemType::Float { Repetition::REQUIRED } else { Repetition::OPTIONAL };
    let element = Type::primitive_type_builder("element", physical).with_logical_type(logical);
    let element = element.with_repetition(repetition).build()?;
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
            ColumnType::Text | ColumnType::Date => {
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
            ColumnType::Bool => {
                let (levels, values) = split(cells, |cell| match cell {
                    Cell::Bool(is) => is,
                    _ => None,
                });
                column.typed::<BoolType>().write_batch(&values, Some(&levels), None)?;
            }
            ColumnType::List(items) => {
                let column = &mut column;
                match items {
                    ItemType::Text => {
                        Lists::of(cells, true, |text: String| ByteArray::from(text.into_bytes()))
                            .write::<ByteArrayType>(column)
                    }
                    ItemType::Whole => Lists::of(cells, true, |n: i64| n).write::<Int64Type>(column),
                    ItemType::Number => Lists::of(cells, true, |n: f64| n).write::<DoubleType>(column),
                    ItemType::Bool => Lists::of(cells, true, |is: bool| is).write::<BoolType>(column),
                    ItemType::Float => Lists::of(cells, false, |n: f32| n).write::<FloatType>(column),
                }?;
            }
        }
        column.close()?;
    }
    group.close().map(drop)
}

/// Lists as a column.
struct Lists<T> {
    /// Definition levels: 0 for null, 1 for an empty list, and 2 for an item; where items may be null, 2 for
    /// null and 3 for another item.
    levels: Vec<i16>,
    /// Repetition levels: 0 for the first item of a list, and 1 for the others.
    repetitions: Vec<i16>,
    items: Vec<T>,
}

impl<T> Lists<T> {
    /// Reads the lists of cells. An item of another type is null.
    fn of<J: DeserializeOwned>(cells: Vec<Cell>, has_nulls: bool, convert: impl Fn(J) -> T) -> Self {
        let mut all = Self { levels: Vec::new(), repetitions: Vec::new(), items: Vec::new() };
        for cell in cells {
            let list: Option<Vec<Option<J>>> = match &cell {
                Cell::Text(Some(json)) if has_nulls => {
                    let items: Option<Vec<Value>> = serde_json::from_str(json).ok();
                    items.map(|items| items.into_iter().map(|item| J::deserialize(item).ok()).collect())
                }
                Cell::Text(Some(json)) => {
                    let items: Option<Vec<J>> = serde_json::from_str(json).ok();
                    items.map(|items| items.into_iter().map(Some).collect())
                }
                _ => None,
            };
            let is_empty = list.as_ref().is_none_or(Vec::is_empty);
            if is_empty {
                all.levels.push(i16::from(list.is_some()));
                all.repetitions.push(0);
            }
            for (at, item) in list.into_iter().flatten().enumerate() {
                all.levels.push(2 + i16::from(has_nulls && item.is_some()));
                all.repetitions.push(i16::from(at > 0));
                all.items.extend(item.map(&convert));
            }
        }
        all
    }

    fn write<D: DataType<T = T>>(self, column: &mut SerializedColumnWriter<'_>) -> Result<usize> {
        column.typed::<D>().write_batch(&self.items, Some(&self.levels), Some(&self.repetitions))
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
