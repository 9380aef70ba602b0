//! Line ends of older programs: a carriage return without a line feed.

use std::io::{self, BufRead, BufReader, Read};

use memchr::memchr;

type Reader = Box<dyn BufRead + Send>;

/// The text with line feeds, and whether its lines end with carriage returns alone. They do if the bytes
/// that are buffered or arrive next contain some that are not at their end, and no line feed.
pub(super) fn open(mut reader: Reader) -> io::Result<(Reader, bool)> {
    let block = super::buffered(&mut reader)?;
    let has_returns = memchr(b'\r', block).is_some_and(|at| at + 1 < block.len());
    match has_returns && memchr(b'\n', block).is_none() {
        true => Ok((Box::new(BufReader::with_capacity(1 << 16, LineFeeds(reader))), true)),
        false => Ok((reader, false)),
    }
}

/// Replaces carriage returns by line feeds.
struct LineFeeds(Reader);

impl Read for LineFeeds {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.0.read(buffer)?;
        buffer[..read].iter_mut().filter(|byte| **byte == b'\r').for_each(|byte| *byte = b'\n');
        Ok(read)
    }
}
