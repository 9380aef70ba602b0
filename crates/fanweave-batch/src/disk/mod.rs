//! All disk operations of this crate, so that a test can make each of them fail.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

#[cfg(test)]
pub(crate) mod faults;
#[cfg(test)]
mod tests;

/// The disk. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    #[cfg(test)]
    pub(crate) faults: Option<std::sync::Arc<faults::Faults>>,
}

impl Disk {
    /// Opens a file for reading and appending. Creates it if it is missing.
    pub(crate) fn open(&self, path: &Path) -> io::Result<DiskFile> {
        self.step("open")?;
        self.file(OpenOptions::new().read(true).append(true).create(true).open(path)?)
    }

    /// Creates a file, or truncates an existing one.
    pub(crate) fn create(&self, path: &Path) -> io::Result<DiskFile> {
        self.step("create")?;
        self.file(File::create(path)?)
    }

    /// Creates a file without a name, which is deleted when it is closed.
    pub(crate) fn temporary(&self) -> io::Result<DiskFile> {
        self.step("create")?;
        self.file(tempfile::tempfile()?)
    }

    /// Creates a file without a name in a folder, which is deleted when it is closed.
    pub(crate) fn temporary_in(&self, folder: &Path) -> io::Result<DiskFile> {
        self.step("create")?;
        self.file(tempfile::tempfile_in(folder)?)
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename")?;
        std::fs::rename(from, to)
    }

    #[expect(clippy::unnecessary_wraps, reason = "callers chain it with calls that fail")]
    fn file(&self, file: File) -> io::Result<DiskFile> {
        Ok(DiskFile { file, disk: self.clone() })
    }

    /// Called before every operation; a test can make it fail.
    #[cfg(test)]
    fn step(&self, what: &'static str) -> io::Result<()> {
        self.faults.as_ref().map_or(Ok(()), |faults| faults.step(what))
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests can make a step fail")]
    fn step(&self, _what: &'static str) -> io::Result<()> {
        Ok(())
    }

    /// Prefix of `bytes` that the disk accepts. Less than all of them, followed by an error, is a torn write.
    #[cfg(test)]
    fn take<'a>(&self, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        self.faults.as_ref().map_or(Ok(bytes), |faults| faults.take(bytes))
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests can make a write fail")]
    fn take<'a>(&self, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        Ok(bytes)
    }
}

/// A file on the disk. Writes are not buffered.
#[derive(Debug)]
pub(crate) struct DiskFile {
    file: File,
    disk: Disk,
}

impl DiskFile {
    pub(crate) fn try_lock(&self) -> Result<(), TryLockError> {
        self.file.try_lock()
    }

    pub(crate) fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }

    /// Another handle to the same file.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, disk: self.disk.clone() })
    }

    pub(crate) fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.step("truncate")?;
        self.file.set_len(length)
    }

    /// Offset of the end of the file.
    pub(crate) fn end(&mut self) -> io::Result<u64> {
        self.file.seek(SeekFrom::End(0))
    }

    /// Syncs the contents of the file to the disk.
    pub(crate) fn sync_data(&self) -> io::Result<()> {
        self.disk.step("sync")?;
        self.file.sync_data()
    }

    /// Syncs the file, including its metadata, to the disk.
    pub(crate) fn sync_all(&self) -> io::Result<()> {
        self.disk.step("sync")?;
        self.file.sync_all()
    }

    /// Fills `buffer` from `offset`.
    #[cfg(unix)]
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset)
    }

    /// Fills `buffer` from `offset`.
    #[cfg(windows)]
    pub(crate) fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            let n = std::os::windows::fs::FileExt::seek_read(&self.file, buffer, offset)?;
            if n == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer = &mut buffer[n..];
            offset += n as u64;
        }
        Ok(())
    }
}

impl Read for &DiskFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }
}

impl Write for DiskFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.disk.take(bytes)?;
        self.file.write(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Path of the journal of an output file.
pub(crate) fn journal_path(path: &Path) -> PathBuf {
    with_suffix(path, ".journal")
}

pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
