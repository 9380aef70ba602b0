//! What is finished, on disk: one line for each row, written before anybody hears of its result.
//!
//! The journal is what makes a killed run resume without paying for a call twice. It has one owner, the
//! recorder; a lock keeps other processes out. A line is one `write` without a buffer in between, so killing
//! the process loses none; the disk is asked to keep up within 64 rows or a quarter of a second.

mod manifest;
mod record;
mod sync;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs::TryLockError;
use std::io::{BufRead, BufReader, Read, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

pub(crate) use manifest::Manifest;
pub(crate) use record::{Failure, Outcome, Part, PartState, Record};

use crate::disk::{Disk, DiskFile};
use crate::key::Key;
use crate::{Error, ErrorKind, Result};
use record::Kind;
use sync::Syncer;

/// Where in the journal a row's line is, and how the row ended. 16 bytes, also as an `Option`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    offset: u64,
    length: NonZeroU32,
    /// Whether the row has an answer.
    pub(crate) ok: bool,
}

/// What an earlier run left.
#[derive(Debug, Default)]
pub(crate) struct PreviousRun {
    /// The rows that are finished.
    pub(crate) done: HashMap<Key, Location>,
    /// US dollars that all of its calls cost, as far as that is known. Calls that failed and were repeated count.
    pub(crate) spent_usd: f64,
    /// Answers whose cost is unknown.
    pub(crate) unpriced: u64,
    /// What became of parts that were submitted to a provider's batch API.
    pub(crate) parts: Vec<Part>,
    /// What was not as it should be, each a sentence.
    pub(crate) notes: Vec<String>,
}

/// An open journal, locked against other processes.
pub(crate) struct Journal {
    path: PathBuf,
    file: DiskFile,
    length: u64,
    /// Whether half a line lies behind its end, which could not be taken away.
    torn: bool,
    line: Vec<u8>,
    /// `None` for a journal that ends with the run.
    sync: Option<Syncer>,
}

impl Journal {
    /// Opens or begins the journal of a run. Where `fresh`, whatever is in it is forgotten.
    pub(crate) fn open(
        disk: &Disk,
        path: &Path,
        now: &Manifest,
        fresh: bool,
        changed_input: bool,
    ) -> Result<(Self, PreviousRun)> {
        let failed = |doing: &'static str| move |e| Error::io(doing, path, e);
        let mut file = disk.open(path).map_err(failed("open the journal"))?;
        file.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => Error::new(
                ErrorKind::Locked,
                format!("{}: another process is writing this journal; wait for it to end", path.display()),
            ),
            TryLockError::Error(e) => Error::io("lock the journal", path, e),
        })?;
        if fresh {
            let mut start = Vec::new();
            let opening = (&file).take(record::OPENING.len() as u64).read_to_end(&mut start);
            opening.map_err(failed("read the journal"))?;
            // Somebody else's file of that name is not forgotten.
            if !is_beginning(&start) {
                return Err(not_a_journal(path));
            }
            file.set_len(0).map_err(failed("empty the journal"))?;
        }
        let (before, left) = recover(&mut file, path, now, changed_input)?;
        let length = file.end().map_err(failed("read the journal"))?;
        let sync = file.try_clone().and_then(Syncer::spawn).map_err(failed("sync the journal"))?;
        let mut journal = Self::new(path.to_owned(), file, length, Some(sync));
        // An input that has changed is the journal's from here on.
        if before.is_none_or(|before| before.has_other_input(now)) {
            record::encode(Kind::Manifest, now, &mut journal.line);
            journal.write()?;
        }
        Ok((journal, left))
    }

    /// A journal for this run alone: it holds results until their turn comes, and ends with the run.
    pub(crate) fn temporary(disk: &Disk) -> Result<Self> {
        let folder = std::env::temp_dir();
        let file = disk.temporary().map_err(|e| Error::io("create a temporary file", &folder, e))?;
        Ok(Self::new(folder, file, 0, None))
    }

    fn new(path: PathBuf, file: DiskFile, length: u64, sync: Option<Syncer>) -> Self {
        Self { path, file, length, torn: false, line: Vec::new(), sync }
    }

    /// Writes a row down. Whoever is told its place may tell others of its result.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], after which all lines before are as they were.
    pub(crate) fn append(&mut self, record: &Record) -> Result<Location> {
        record::encode(Kind::Row, record, &mut self.line);
        let length = u32::try_from(self.line.len()).ok().and_then(NonZeroU32::new);
        let length = length.ok_or_else(|| {
            let message = format!("the result of line {} is longer than 4 GiB", record.line);
            Error::new(ErrorKind::Io, message)
        })?;
        let location = Location { offset: self.length, length, ok: record.result.is_ok() };
        self.write()?;
        if let Some(sync) = &self.sync {
            sync.row_written().map_err(|e| Error::io("sync the journal", &self.path, e))?;
        }
        Ok(location)
    }

    /// Writes down what became of a part, and waits until the disk has it: what is submitted is paid for.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub(crate) fn note(&mut self, part: &Part) -> Result<()> {
        record::encode(Kind::Part, part, &mut self.line);
        self.write()?;
        self.file.sync_data().map_err(|e| Error::io("sync the journal", &self.path, e))
    }

    fn write(&mut self) -> Result<()> {
        let written = match self.torn {
            // Nothing may stand behind half a line: it would be read as the rest of it.
            true => self.file.set_len(self.length).inspect(|()| self.torn = false),
            false => Ok(()),
        };
        if let Err(e) = written.and_then(|()| self.file.write_all(&self.line)) {
            // The next open cuts a torn line off as well.
            self.torn = self.file.set_len(self.length).is_err();
            return Err(Error::io("write the journal", &self.path, e).adding("rows finished so far are kept"));
        }
        self.length += self.line.len() as u64;
        Ok(())
    }

    /// The row at a place that this journal named.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], and [`ErrorKind::Journal`] where somebody changed the file meanwhile.
    pub(crate) fn read(&self, location: Location) -> Result<Record> {
        let mut line = vec![0; location.length.get() as usize];
        self.file
            .read_exact_at(&mut line, location.offset)
            .map_err(|e| Error::io("read back from the journal", &self.path, e))?;
        let record = record::decode(Kind::Row, &line).and_then(record::parse);
        record.ok_or_else(|| {
            let message = format!("{}: the journal was changed by somebody else", self.path.display());
            Error::new(ErrorKind::Journal, message)
        })
    }

    /// Waits until the disk has everything.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub(crate) fn finish(&mut self) -> Result<()> {
        let Some(sync) = &mut self.sync else { return Ok(()) };
        sync.finish().map_err(|e| Error::io("sync the journal", &self.path, e))
    }
}

/// Whether a file that begins with these bytes may be a journal, as far as they go.
pub(crate) fn is_beginning(bytes: &[u8]) -> bool {
    bytes.iter().zip(record::OPENING).all(|(a, b)| a == b)
}

/// Whether a line is the first one of a journal.
pub(crate) fn is_manifest(line: &[u8]) -> bool {
    record::decode(Kind::Manifest, line).is_some()
}

/// The manifest of a line. `None` where it holds none that can be read.
pub(crate) fn manifest(line: &[u8]) -> Option<Manifest> {
    serde_json::from_slice(record::decode(Kind::Manifest, line)?).ok()
}

/// Whether a line is as it was written.
pub(crate) fn is_sound(line: &[u8]) -> bool {
    [Kind::Manifest, Kind::Row, Kind::Part].into_iter().any(|kind| record::decode(kind, line).is_some())
}

/// The row of a line. `None` where it holds none.
pub(crate) fn row(line: &[u8]) -> Option<Record> {
    record::parse(record::decode(Kind::Row, line)?)
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Closing the file would do, but not while the thread that syncs it, or a process that somebody is just
        // starting, has a copy of it: whoever comes next would find the journal locked.
        self.sync = None;
        let _ = self.file.unlock();
    }
}

/// Reads which run the journal belongs to and what that left, and cuts off a line that it did not finish. Nothing where it
/// has not begun.
fn recover(
    file: &mut DiskFile,
    path: &Path,
    now: &Manifest,
    changed_input: bool,
) -> Result<(Option<Manifest>, PreviousRun)> {
    let failed = |e| Error::io("read the journal", path, e);
    let mut reader = BufReader::with_capacity(1 << 16, &*file);
    let mut line = Vec::new();
    // Somebody else's file may be one line without an end: its beginning tells whose it is.
    reader.by_ref().take(record::OPENING.len() as u64).read_to_end(&mut line).map_err(failed)?;
    if !is_beginning(&line) {
        return Err(not_a_journal(path));
    }
    reader.read_until(b'\n', &mut line).map_err(failed)?;
    if line.last() != Some(&b'\n') {
        // Nothing, or the first line torn: a run that was killed before it had asked anything.
        file.set_len(0).map_err(failed)?;
        return Ok((None, PreviousRun::default()));
    }
    let mut manifest = first_manifest(&line, path)?;

    let mut left = PreviousRun::default();
    let mut offset = line.len() as u64;
    for number in 2_u64.. {
        line.clear();
        reader.by_ref().read_until(b'\n', &mut line).map_err(failed)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        match read_row(&line, offset) {
            Some((key, location, cost)) => {
                left.spent_usd += cost.unwrap_or_default();
                left.unpriced += u64::from(cost.is_none());
                left.done.insert(key, location);
            }
            None if let Some(part) = read_part(&line) => left.parts.push(part),
            None if let Some(changed) = self::manifest(&line) => manifest = changed,
            None => left.notes.push(format!(
                "{} line {number} is damaged and was left out; its row runs again",
                path.display()
            )),
        }
        offset += line.len() as u64;
    }
    belongs_to(&manifest, path, now, changed_input)?;
    if !line.is_empty() {
        file.set_len(offset).map_err(failed)?;
    }
    Ok((Some(manifest), left))
}

fn first_manifest(line: &[u8], path: &Path) -> Result<Manifest> {
    let shown = path.display();
    let Some(body) = record::decode(Kind::Manifest, line) else {
        let message = format!(
            "{shown}: the first line is damaged, and nothing else says which run this journal belongs to; \
             start over with --fresh, or write to another file"
        );
        return Err(Error::new(ErrorKind::Journal, message));
    };
    let writer = match serde_json::from_slice::<Manifest>(body) {
        Ok(manifest) if manifest.is_readable() => return Ok(manifest),
        Ok(manifest) => manifest.writer(),
        Err(_) => "another version of fanweave".to_owned(),
    };
    let message = format!(
        "{shown}: the journal was written by {writer}, and this version reads format {}; \
         finish the run with that version, or start over with --fresh",
        manifest::VERSION
    );
    Err(Error::new(ErrorKind::Journal, message))
}

fn belongs_to(manifest: &Manifest, path: &Path, now: &Manifest, changed_input: bool) -> Result<()> {
    let shown = path.display();
    let differences = manifest.differences(now, changed_input);
    if differences.is_empty() {
        return Ok(());
    }
    let only_input = manifest.differences(now, true).is_empty();
    let go_on = if only_input {
        "go on with --resume-changed (rows that are still in it keep their answers), "
    } else {
        ""
    };
    let message = format!(
        "{shown} belongs to another run: {}; {go_on}start over with --fresh (its answers are then lost), \
         or write to another file",
        differences.join("; ")
    );
    Err(Error::new(ErrorKind::Mismatch, message))
}

fn not_a_journal(path: &Path) -> Error {
    let message = format!("{}: this file is no journal of fanweave; move it away", path.display());
    Error::new(ErrorKind::Journal, message)
}

fn read_part(line: &[u8]) -> Option<Part> {
    serde_json::from_slice(record::decode(Kind::Part, line)?).ok()
}

/// What resuming needs to know of a row: of its cost nothing where it has called something, and nobody knows the price.
fn read_row(line: &[u8], offset: u64) -> Option<(Key, Location, Option<f64>)> {
    #[derive(Deserialize)]
    struct Row {
        key: Key,
        #[serde(default)]
        cost_usd: Option<f64>,
        #[serde(default)]
        maybe_billed_usd: f64,
        /// A row that got another one's answer has none.
        #[serde(default)]
        time: Option<IgnoredAny>,
        result: Ended,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Ended {
        Answer(IgnoredAny),
        Error(IgnoredAny),
    }
    let row: Row = serde_json::from_slice(record::decode(Kind::Row, line)?).ok()?;
    let length = NonZeroU32::new(u32::try_from(line.len()).ok()?)?;
    let ok = matches!(row.result, Ended::Answer(_));
    let is_unknown = ok && row.time.is_some();
    let cost = row.cost_usd.or((!is_unknown).then_some(0.0)).map(|cost| cost + row.maybe_billed_usd);
    Some((row.key, Location { offset, length, ok }, cost))
}
