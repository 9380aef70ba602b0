//! First pass over a file, before any call: counts its rows and hashes it.

use std::io::{self, BufRead, BufReader, Read};

#[cfg(feature = "parquet")]
use super::InputFormat;
use super::encoding::NOT_UTF8;
use super::lines::{LineReader, MAX_LINE};
#[cfg(feature = "parquet")]
use super::positional::PositionalFile;
use super::{BYTE_ORDER_MARK, Source, open_file};
use crate::key::{Digest, Key};
use crate::{Advice, Error, ErrorKind, Result};

/// Result of the first pass over a file.
pub(crate) struct InputScan {
    /// Number of rows, without blank lines.
    pub(crate) rows: u64,
    /// Hash of all bytes.
    pub(crate) hash: Key,
}

impl InputScan {
    /// Reads the whole files of `source`. Its first `strict` rows must be valid, and the first `encoded` rows
    /// text of its encoding; 0 disables the checks. `None` for a source that is not a file.
    pub(crate) fn of(source: &Source, strict: u64, encoded: u64) -> Result<Option<Self>> {
        let Some(files) = source.each_file() else {
            return source.reopened()?.map(|rows| Self::of_file(rows, strict, encoded)).transpose();
        };
        let (mut total, mut hashes) = (0, Digest::default());
        for file in files {
            let Self { rows, hash } = Self::of_file(file?, 0, encoded)?;
            total += rows;
            hashes.update(hash.to_string().as_bytes());
        }
        if strict > 0
            && let Some(rows) = source.reopened()?
        {
            Self::count_good(rows, strict, 0)?;
        }
        Ok(Some(Self { rows: total, hash: hashes.finish() }))
    }

    fn of_file(rows: Source, strict: u64, encoded: u64) -> Result<Self> {
        let path = rows.path().expect("it is a file").to_owned();
        let failed = |e| Error::io("read the file", &path, e);
        let mut tee = Tee { reader: open_file(&path)?, digest: Digest::default() };
        if strict == 0 && rows.is_plain_lines() {
            let encoded = if rows.options().encoding.is_none() { encoded } else { 0 };
            let (count, not_utf8, tee) = count_lines(tee, encoded).map_err(failed)?;
            if let Some(line) = not_utf8 {
                let message = format!("{} line {line}: the line {NOT_UTF8}", rows.name());
                return Err(Error::usage(message).advising([Advice::SetEncoding]));
            }
            return Ok(Self { rows: count, hash: tee.digest.finish() });
        }
        let rows = match rows.format() {
            #[cfg(feature = "parquet")]
            Some(InputFormat::Parquet) if strict == 0 => {
                super::parquet::count(PositionalFile::new(open_file(&path)?), &path)?
            }
            _ => Self::count_good(rows, strict, encoded)?,
        };
        io::copy(&mut tee, &mut io::sink()).map_err(failed)?;
        Ok(Self { rows, hash: tee.digest.finish() })
    }

    /// The number of rows of the files, without blank lines.
    pub(super) fn count(rows: Source) -> Result<u64> {
        if let Some(mut files) = rows.each_file() {
            return files.try_fold(0, |sum, file| Ok(sum + Self::count(file?)?));
        }
        let Some(path) = rows.path() else { return Ok(0) };
        if rows.is_plain_lines() {
            let counted = count_lines(open_file(path)?, 0);
            return counted.map(|(rows, ..)| rows).map_err(|e| Error::io("read the file", path, e));
        }
        match rows.format() {
            #[cfg(feature = "parquet")]
            Some(InputFormat::Parquet) => super::parquet::count(PositionalFile::new(open_file(path)?), path),
            _ => Self::count_good(rows, 0, 0),
        }
    }

    /// Counts the rows, and rejects the file if one of the first `strict` is invalid, or one of the first
    /// `encoded` is not text: all rows with such letters would fail, and the others be paid for.
    fn count_good(source: Source, strict: u64, encoded: u64) -> Result<u64> {
        let mut rows = 0;
        let encoded = if source.options().encoding.is_none() { encoded } else { 0 };
        for row in source {
            let row = row?;
            if rows < encoded
                && let Err(error) = &row.input
                && error.message().ends_with(NOT_UTF8)
            {
                return Err(Error::usage(error.message().to_owned()).advising([Advice::SetEncoding]));
            }
            if rows < strict {
                refuse(row.input)?;
            }
            rows += 1;
        }
        Ok(rows)
    }
}

/// Counts the lines that are not blank. Returns the number of the first of `encoded` lines that is not UTF-8,
/// where the count ends, and the reader.
fn count_lines<R: Read>(reader: R, encoded: u64) -> io::Result<(u64, Option<u64>, R)> {
    let mut reader = BufReader::with_capacity(1 << 16, reader);
    // A line that contains only the mark is blank.
    if reader.fill_buf()?.starts_with(BYTE_ORDER_MARK) {
        reader.consume(BYTE_ORDER_MARK.len());
    }
    let mut lines = LineReader::new(reader, MAX_LINE);
    let (mut rows, mut not_utf8) = (0, None);
    while let Some(line) = lines.next()? {
        if rows < encoded && line.bytes.is_some_and(|line| str::from_utf8(line).is_err()) {
            not_utf8 = Some(line.number);
            break;
        }
        rows += 1;
    }
    Ok((rows, not_utf8, lines.into_inner().into_inner()))
}

/// Converts the error of a row to an error of the run.
pub(crate) fn refuse<T>(input: fanweave_core::Result<T>) -> Result<T> {
    input.map_err(|e| {
        let message = format!("{}; a strict run stops at the first invalid row", e.message());
        Error::new(ErrorKind::Input, message)
    })
}

/// Reader that hashes all bytes it passes on.
struct Tee<R> {
    reader: R,
    digest: Digest,
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.digest.update(&buffer[..n]);
        Ok(n)
    }
}
