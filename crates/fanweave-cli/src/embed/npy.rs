//! A matrix of vectors in the format of NumPy.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fanweave::batch::{Content, Error, FinishedRow, Result, RowSink};
use serde_json::Value;

/// Length of the header with its padding. Enough for any shape.
const HEADER: usize = 128;

/// Writes one row for each result. A failed row is one of NaN.
pub(super) struct Matrix {
    path: PathBuf,
    file: Option<BufWriter<File>>,
    rows: u64,
    /// Length of the vectors, once there is one.
    columns: Option<usize>,
    /// Failed rows before the first vector.
    waiting: u64,
}

impl Matrix {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, file: None, rows: 0, columns: None, waiting: 0 }
    }

    fn partial(&self) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".partial");
        name.into()
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::external(format!("cannot write {}", self.path.display()), error)
    }

    fn put(&mut self, vector: &[f32]) -> io::Result<()> {
        let file = self.file.as_mut().expect("the matrix has begun");
        vector.iter().try_for_each(|n| file.write_all(&n.to_le_bytes()))
    }

    fn put_row(&mut self, vector: Option<&[f32]>) -> io::Result<()> {
        self.rows += 1;
        match (vector, self.columns) {
            (None, None) => {
                self.waiting += 1;
                Ok(())
            }
            (None, Some(columns)) => self.put(&vec![f32::NAN; columns]),
            (Some(vector), None) => {
                self.columns = Some(vector.len());
                let missing = vec![f32::NAN; vector.len()];
                for _ in 0..std::mem::take(&mut self.waiting) {
                    self.put(&missing)?;
                }
                self.put(vector)
            }
            (Some(vector), Some(columns)) if vector.len() == columns => self.put(vector),
            (Some(vector), Some(columns)) => {
                let message = format!("a vector has {} numbers, and others have {columns}", vector.len());
                Err(io::Error::new(io::ErrorKind::InvalidData, message))
            }
        }
    }

    fn end(&mut self) -> io::Result<()> {
        let (rows, columns) = (self.rows, self.columns.unwrap_or_default());
        let mut file = self
            .file
            .take()
            .expect("the matrix has begun")
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&header(rows, columns))?;
        file.sync_all()?;
        std::fs::rename(self.partial(), &self.path)
    }
}

impl RowSink for Matrix {
    fn begin(&mut self) -> Result<()> {
        let partial = self.partial();
        let mut create = |path: &Path| {
            let mut file = BufWriter::new(File::create(path)?);
            file.write_all(&[0; HEADER])?;
            self.file = Some(file);
            Ok(())
        };
        create(&partial).map_err(|e| self.failed(e))
    }

    fn write(&mut self, row: FinishedRow) -> Result<()> {
        let vector = row.answer().map(|answer| match &answer.content {
            Content::Json(Value::Array(numbers)) => numbers.iter().filter_map(number).collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        self.put_row(vector.as_deref()).map_err(|e| self.failed(e))
    }

    fn finish(&mut self) -> Result<()> {
        self.end().map_err(|e| self.failed(e))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "it was a number of 32 bits")]
fn number(value: &Value) -> Option<f32> {
    value.as_f64().map(|n| n as f32)
}

/// The header of version 1.0 of the format.
fn header(rows: u64, columns: usize) -> Vec<u8> {
    let shape = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    let length = u16::try_from(HEADER - 10).expect("the header is short");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(shape.as_bytes());
    bytes.resize(HEADER - 1, b' ');
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_names_the_shape_and_ends_at_a_multiple_of_64_bytes() {
        let bytes = header(3, 2);
        assert_eq!(bytes.len(), HEADER);
        assert!(bytes.starts_with(
            b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }"
        ));
        assert_eq!(bytes[HEADER - 1], b'\n');
        assert_eq!(header(u64::MAX, usize::MAX).len(), HEADER);
    }

    #[test]
    fn failed_rows_are_nan_also_before_the_first_vector() {
        let folder = tempfile::tempdir().unwrap();
        let mut matrix = Matrix::new(folder.path().join("a.npy"));
        matrix.begin().unwrap();
        matrix.put_row(None).unwrap();
        matrix.put_row(Some(&[1.0, 2.0])).unwrap();
        matrix.put_row(None).unwrap();
        assert!(matrix.put_row(Some(&[1.0])).unwrap_err().to_string().contains("a vector has 1 numbers"));
        matrix.rows -= 1;
        matrix.end().unwrap();
        let bytes = std::fs::read(folder.path().join("a.npy")).unwrap();
        let numbers: Vec<f32> =
            bytes[HEADER..].chunks_exact(4).map(|n| f32::from_le_bytes(n.try_into().unwrap())).collect();
        assert_eq!(numbers.len(), 6);
        assert!(numbers[0].is_nan() && numbers[1].is_nan() && numbers[4].is_nan());
        assert_eq!(numbers[2..4], [1.0, 2.0]);
        assert_eq!(bytes[..HEADER], header(3, 2));
    }
}
