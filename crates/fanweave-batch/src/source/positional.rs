//! A file that is read at positions of the reader, not at that of the handle: a forked child has the same
//! handle, and each of the two would miss what the other has read.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;

/// A reader of a regular file. Clones read from their own positions.
#[derive(Debug, Clone)]
pub(super) struct PositionalFile {
    file: Arc<File>,
    position: u64,
}

impl PositionalFile {
    /// Reads `file` from its beginning.
    pub(super) fn new(file: File) -> Self {
        Self { file: Arc::new(file), position: 0 }
    }

    /// Reads from `position`.
    #[cfg(any(feature = "parquet", feature = "xlsx"))]
    pub(super) fn at(&self, position: u64) -> Self {
        Self { file: self.file.clone(), position }
    }

    /// Length of the file, in bytes.
    #[cfg(any(feature = "parquet", feature = "xlsx"))]
    pub(super) fn length(&self) -> u64 {
        self.file.metadata().map(|file| file.len()).unwrap_or_default()
    }
}

impl Read for PositionalFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        let n = std::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.position)?;
        #[cfg(windows)]
        let n = std::os::windows::fs::FileExt::seek_read(&*self.file, buffer, self.position)?;
        self.position += n as u64;
        Ok(n)
    }
}

#[cfg(feature = "xlsx")]
impl io::Seek for PositionalFile {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        let position = match to {
            io::SeekFrom::Start(position) => Some(position),
            io::SeekFrom::End(offset) => self.length().checked_add_signed(offset),
            io::SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a position before the file"))?;
        Ok(self.position)
    }
}
