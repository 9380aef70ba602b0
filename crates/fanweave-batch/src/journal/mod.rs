//! The journal: finished rows on disk, one line each, written before the result is reported.
//!
//! The journal lets a killed run resume without paying for a call twice. It has one owner, the recorder; a
//! lock excludes other processes. Each line is a single unbuffered `write`, so killing the process loses no
//! line. The file is synced within 64 rows or 250 ms.

mod manifest;
mod record;
mod sync;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::TryLockError;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;

pub(crate) use manifest::Manifest;
pub(crate) use record::{CallRecord, Failure, Outcome, Part, PartState, Record};

use crate::columns::Columns;
use crate::disk::{Disk, DiskFile};
use crate::finished::FinishedRow;
use crate::key::Key;
use crate::location::RowLocation;
use crate::tally::Calls;
use crate::{Advice, Error, ErrorKind, Result};
use record::LineKind;
use sync::Syncer;

/// Results of previous runs.
#[derive(Debug, Default)]
pub(crate) struct PreviousRun {
    /// Finished rows.
    pub(crate) done: HashMap<Key, RowLocation>,
    /// Cost of all its calls in US dollars, as far as known. Includes failed calls that were retried.
    pub(crate) spent_usd: f64,
    /// Number of answers whose cost is unknown.
    pub(crate) unpriced: u64,
    /// Answered calls of rows that have no answer.
    pub(crate) calls: HashMap<Key, EarlierCalls>,
    /// State of the parts that were submitted to a provider's batch API.
    pub(crate) parts: Vec<Part>,
    /// The input's columns in the output, of this run from now on.
    pub(crate) columns: Option<Columns>,
    /// Set if a table has columns of cached tokens and of reasoning.
    pub(crate) has_token_details: bool,
    /// Problems found while reading, one sentence each.
    pub(crate) notes: Vec<String>,
    /// Those of answered rows.
    pub(crate) latencies: Latencies,
}

/// Latencies of rows, as a sum.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Latencies {
    total_ms: u64,
    rows: u64,
}

impl Latencies {
    fn add(&mut self, latency_ms: Option<u64>) {
        let Some(latency_ms) = latency_ms else { return };
        self.total_ms = self.total_ms.saturating_add(latency_ms);
        self.rows += 1;
    }

    /// Their mean. `None` without rows.
    pub(crate) fn mean(self) -> Option<Duration> {
        self.total_ms.checked_div(self.rows).map(Duration::from_millis)
    }
}

impl PreviousRun {
    /// Keeps what the next run does not do: the finished rows, or only the answered ones if failed rows are
    /// rerun, and the answered calls of the others.
    pub(crate) fn resume(&mut self, reruns_failed: bool) {
        if reruns_failed {
            self.done.retain(|_, location| location.is_ok());
        }
        self.calls.retain(|row, _| !self.done.contains_key(row));
    }

    /// Returns true if nothing was answered, so that a run with other settings loses nothing.
    fn has_nothing_paid(&self) -> bool {
        let is_free = self.spent_usd <= 0.0 && self.unpriced == 0;
        let is_unanswered = !self.done.values().any(|location| location.is_ok());
        // A line that cannot be read may be an answer.
        is_free && is_unanswered && self.calls.is_empty() && self.parts.is_empty() && self.notes.is_empty()
    }
}

/// Answered calls of a row that has no answer.
#[derive(Debug, Default)]
pub(crate) struct EarlierCalls {
    /// Locations of their lines, in the order in which they were answered.
    pub(crate) lines: Vec<RowLocation>,
    /// Totals of those that are not part of a failed result of the row.
    pub(crate) totals: Calls,
}

/// Reads rows and answered calls, also while the recorder writes.
pub(crate) struct JournalReader {
    path: PathBuf,
    file: DiskFile,
}

impl JournalReader {
    /// Reads the row at a location.
    ///
    /// # Errors
    /// Like [`Journal::read`].
    pub(crate) fn row(&self, location: RowLocation) -> Result<Record> {
        read_row_at(&self.file, &self.path, location)
    }

    /// Reads the call at a location.
    ///
    /// # Errors
    /// Like [`Journal::read`].
    pub(crate) fn call(&self, location: RowLocation) -> Result<CallRecord> {
        let line = read_line(&self.file, &self.path, location)?;
        let record = record::decode(LineKind::Call, &line).and_then(|body| serde_json::from_slice(body).ok());
        record.ok_or_else(|| modified(&self.path))
    }
}

/// Bytes of rows after which a write of several ends. Source: a write of 64 KiB took 13 us, and one of a row
/// of 450 bytes 0.5 us, so that more rows in a write gain little.
const MAX_WRITE: usize = 1 << 16;

/// An open journal, locked against other processes.
pub(crate) struct Journal {
    path: PathBuf,
    file: DiskFile,
    length: u64,
    /// Set when a torn line at the end could not be truncated.
    torn: bool,
    line: Vec<u8>,
    /// `None` for a temporary journal.
    sync: Option<Syncer>,
}

impl Journal {
    /// Opens or creates the journal of a run. With `fresh`, its contents are discarded.
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
                format!("{}: another process is using this journal; wait until it ends", path.display()),
            ),
            TryLockError::Error(e) => Error::io("lock the journal", path, e),
        })?;
        if fresh {
            let mut start = Vec::new();
            let opening = (&file).take(record::OPENING.len() as u64).read_to_end(&mut start);
            opening.map_err(failed("read the journal"))?;
            // Never empty a file that is not a journal.
            if !is_beginning(&start) {
                return Err(not_a_journal(path));
            }
            file.set_len(0).map_err(failed("empty the journal"))?;
        }
        let (before, mut previous) = recover(&mut file, path, now, changed_input)?;
        let mut now = now.clone();
        if let Some(before) = &before {
            now.keep_columns(before);
        }
        previous.columns.clone_from(&now.columns);
        previous.has_token_details = now.has_token_details;
        let now = &now;
        let length = file.end().map_err(failed("read the journal"))?;
        let sync = file.try_clone().and_then(Syncer::spawn).map_err(failed("sync the journal"))?;
        let mut journal = Self::new(path.to_owned(), file, length, Some(sync));
        // A changed input, and a fingerprint of a later version, are those of the journal from here on.
        if before.is_none_or(|before| before.is_outdated(now)) {
            record::encode(LineKind::Manifest, now, &mut journal.line);
            journal.write()?;
        }
        Ok((journal, previous))
    }

    /// Creates a journal for this run only. It holds results until they can be written in order.
    pub(crate) fn temporary(disk: &Disk) -> Result<Self> {
        let folder = std::env::temp_dir();
        let file = disk.temporary().map_err(|e| Error::io("create a temporary file", &folder, e))?;
        Ok(Self::new(folder, file, 0, None))
    }

    fn new(path: PathBuf, file: DiskFile, length: u64, sync: Option<Syncer>) -> Self {
        Self { path, file, length, torn: false, line: Vec::new(), sync }
    }

    /// Appends a row. The result may be reported once this has returned its location.
    ///
    /// # Errors
    /// [`ErrorKind::Io`]; all previous lines are then intact.
    pub(crate) fn append(&mut self, record: &Record) -> Result<RowLocation> {
        record::encode(LineKind::Row, record, &mut self.line);
        let length = length(self.line.len(), record.line)?;
        let location = RowLocation::of_line(self.length, length, record.result.is_ok());
        self.write()?;
        self.lines_written(1)?;
        Ok(location)
    }

    /// Appends the first of these rows with one write: as many as have [`MAX_WRITE`] bytes, and at least one
    /// if there is one. Returns no locations if the disk is full: then none of them is in the journal, and
    /// fewer may fit.
    ///
    /// # Errors
    /// Like [`append`](Self::append).
    pub(crate) fn append_first<'a>(
        &mut self,
        records: impl Iterator<Item = &'a Record>,
    ) -> Result<Vec<RowLocation>> {
        let mut locations = Vec::new();
        self.line.clear();
        for record in records {
            let at = self.length + self.line.len() as u64;
            let length = length(record::encode_next(LineKind::Row, record, &mut self.line), record.line)?;
            locations.push(RowLocation::of_line(at, length, record.result.is_ok()));
            if self.line.len() >= MAX_WRITE {
                break;
            }
        }
        match self.try_write() {
            Err(e) if e.kind() == io::ErrorKind::StorageFull => return Ok(Vec::new()),
            written => written.map_err(|e| self.failed(e))?,
        }
        self.lines_written(locations.len() as u64)?;
        Ok(locations)
    }

    /// Appends rows whose lines exist, each with its newline. Another place has them: they are synced as one
    /// row is.
    ///
    /// # Errors
    /// Like [`append`](Self::append).
    pub(crate) fn append_lines(&mut self, rows: &[FinishedRow], lines: Vec<u8>) -> Result<Vec<RowLocation>> {
        let mut at = self.length;
        let mut locations = Vec::with_capacity(rows.len());
        for (row, line) in rows.iter().zip(lines.split_inclusive(|byte| *byte == b'\n')) {
            locations.push(RowLocation::of_line(at, length(line.len(), row.line())?, row.is_ok()));
            at += line.len() as u64;
        }
        self.line = lines;
        self.write()?;
        self.lines_written(1)?;
        Ok(locations)
    }

    /// Appends an answered call of a row that has not ended.
    ///
    /// # Errors
    /// Like [`append`](Self::append).
    pub(crate) fn call(&mut self, call: &CallRecord) -> Result<()> {
        record::encode(LineKind::Call, call, &mut self.line);
        self.write()?;
        self.lines_written(1)
    }

    /// A reader of the journal for another thread.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub(crate) fn reader(&self) -> Result<JournalReader> {
        let file = self.file.try_clone().map_err(|e| Error::io("read the journal", &self.path, e))?;
        Ok(JournalReader { path: self.path.clone(), file })
    }

    fn lines_written(&self, lines: u64) -> Result<()> {
        let Some(sync) = &self.sync else { return Ok(()) };
        sync.rows_written(lines).map_err(|e| Error::io("sync the journal", &self.path, e))
    }

    /// Appends the state of a part and syncs it to the disk, because submitted requests are billed.
    ///
    /// # Errors
    /// Like [`append`](Self::append).
    pub(crate) fn note(&mut self, part: &Part) -> Result<()> {
        record::encode(LineKind::Part, part, &mut self.line);
        self.write()?;
        self.file.sync_data().map_err(|e| Error::io("sync the journal", &self.path, e))
    }

    fn write(&mut self) -> Result<()> {
        self.try_write().map_err(|e| self.failed(e))
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io("write the journal", &self.path, error).adding("rows finished so far are kept")
    }

    fn try_write(&mut self) -> io::Result<()> {
        let written = match self.torn {
            // Nothing may follow a torn line: it would be read as the rest of that line.
            true => self.file.set_len(self.length).inspect(|()| self.torn = false),
            false => Ok(()),
        };
        if let Err(e) = written.and_then(|()| self.file.write_all(&self.line)) {
            // If this fails, the next open truncates the torn line.
            self.torn = self.file.set_len(self.length).is_err();
            return Err(e);
        }
        self.length += self.line.len() as u64;
        Ok(())
    }

    /// Reads the row at a location that this journal returned.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], or [`ErrorKind::Journal`] if the file was modified by another process.
    pub(crate) fn read(&self, location: RowLocation) -> Result<Record> {
        read_row_at(&self.file, &self.path, location)
    }

    /// Syncs everything to the disk.
    ///
    /// # Errors
    /// [`ErrorKind::Io`].
    pub(crate) fn finish(&mut self) -> Result<()> {
        let Some(sync) = &mut self.sync else { return Ok(()) };
        sync.finish().map_err(|e| Error::io("sync the journal", &self.path, e))
    }
}

/// Length of the line of the row on line `row` of the input.
fn length(bytes: usize, row: u64) -> Result<NonZeroU32> {
    u32::try_from(bytes)
        .ok()
        .and_then(NonZeroU32::new)
        .ok_or_else(|| Error::new(ErrorKind::Io, format!("the result of line {row} is longer than 4 GiB")))
}

fn read_row_at(file: &DiskFile, path: &Path, location: RowLocation) -> Result<Record> {
    let line = read_line(file, path, location)?;
    record::decode(LineKind::Row, &line).and_then(record::parse).ok_or_else(|| modified(path))
}

fn read_line(file: &DiskFile, path: &Path, location: RowLocation) -> Result<Vec<u8>> {
    let mut line = vec![0; location.length.get() as usize];
    let read = file.read_exact_at(&mut line, location.position());
    read.map_err(|e| Error::io("read back from the journal", path, e))?;
    Ok(line)
}

fn modified(path: &Path) -> Error {
    let message = format!("{}: the journal was modified by another process", path.display());
    Error::new(ErrorKind::Journal, message)
}

/// Returns true if these bytes can be the beginning of a journal.
pub(crate) fn is_beginning(bytes: &[u8]) -> bool {
    bytes.iter().zip(record::OPENING).all(|(a, b)| a == b)
}

/// Returns true if a line is the first line of a journal.
pub(crate) fn is_manifest(line: &[u8]) -> bool {
    record::decode(LineKind::Manifest, line).is_some()
}

/// Manifest of a line. `None` if the line is not a readable manifest.
pub(crate) fn manifest(line: &[u8]) -> Option<Manifest> {
    serde_json::from_slice(record::decode(LineKind::Manifest, line)?).ok()
}

/// Returns true if the checksum of a line is correct.
pub(crate) fn is_sound(line: &[u8]) -> bool {
    [LineKind::Manifest, LineKind::Row, LineKind::Part, LineKind::Call]
        .into_iter()
        .any(|kind| record::decode(kind, line).is_some())
}

/// Row of a line. `None` if the line is not a row.
pub(crate) fn row(line: &[u8]) -> Option<Record> {
    record::parse(record::decode(LineKind::Row, line)?)
}

/// Replaces the contents of `line` with the line of a row, including the newline.
pub(crate) fn encode_row(record: &Record, line: &mut Vec<u8>) {
    record::encode(LineKind::Row, record, line);
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Closing the file would unlock it, but not while the sync thread or a child process that is just
        // being spawned has a duplicate of the handle: the next process would find the journal locked.
        self.sync = None;
        let _ = self.file.unlock();
    }
}

/// Reads the manifest and the results of previous runs, and truncates an incomplete last line. Returns no
/// manifest for a new journal.
fn recover(
    file: &mut DiskFile,
    path: &Path,
    now: &Manifest,
    changed_input: bool,
) -> Result<(Option<Manifest>, PreviousRun)> {
    let failed = |e| Error::io("read the journal", path, e);
    let Contents { manifest, previous, end, is_torn } = read(&*file, path)?;
    let Some(manifest) = manifest else {
        // The file is empty or its first line is torn: a run that was killed before its first call.
        file.set_len(0).map_err(failed)?;
        return Ok((None, PreviousRun::default()));
    };
    if let Err(mismatch) = check_manifest(&manifest, now, path.display(), changed_input) {
        if !previous.has_nothing_paid() {
            return Err(mismatch);
        }
        file.set_len(0).map_err(failed)?;
        let note = format!("{} had no answers of other settings, and was started over", path.display());
        return Ok((None, PreviousRun { notes: vec![note], ..PreviousRun::default() }));
    }
    if is_torn {
        file.set_len(end).map_err(failed)?;
    }
    Ok((Some(manifest), previous))
}

/// Reads the journal at `path` as a run with the manifest `now` would. Changes nothing, and takes no lock.
///
/// # Errors
/// [`ErrorKind::Mismatch`] as in that run, apart from a changed input; [`ErrorKind::Io`].
pub(crate) fn peek(path: &Path, now: &Manifest) -> Result<PreviousRun> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(PreviousRun::default()),
        Err(e) => return Err(Error::io("open the journal", path, e)),
    };
    let Contents { manifest: Some(manifest), previous, .. } = read(file, path)? else {
        return Ok(PreviousRun::default());
    };
    match check_manifest(&manifest, now, path.display(), true) {
        Err(_) if previous.has_nothing_paid() => Ok(PreviousRun::default()),
        checked => checked.map(|()| previous),
    }
}

/// Contents of a journal.
struct Contents {
    /// `None` for a file that is empty, or whose first line is incomplete.
    manifest: Option<Manifest>,
    previous: PreviousRun,
    /// End of the last complete line.
    end: u64,
    /// Set if an incomplete line follows it.
    is_torn: bool,
}

fn read(file: impl Read, path: &Path) -> Result<Contents> {
    let failed = |e| Error::io("read the journal", path, e);
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    // A file that is not a journal may be one endless line, so check its beginning first.
    reader.by_ref().take(record::OPENING.len() as u64).read_to_end(&mut line).map_err(failed)?;
    if !is_beginning(&line) {
        return Err(not_a_journal(path));
    }
    reader.read_until(b'\n', &mut line).map_err(failed)?;
    let mut previous = PreviousRun::default();
    if line.last() != Some(&b'\n') {
        return Ok(Contents { manifest: None, previous, end: 0, is_torn: !line.is_empty() });
    }
    let mut manifest = first_manifest(&line, path)?;
    let mut offset = line.len() as u64;
    for number in 2_u64.. {
        line.clear();
        reader.by_ref().read_until(b'\n', &mut line).map_err(failed)?;
        if line.last() != Some(&b'\n') {
            break;
        }
        match read_row(&line, offset) {
            Some(row) => {
                previous.spent_usd += row.cost.unwrap_or_default();
                previous.unpriced += u64::from(row.cost.is_none());
                previous.latencies.add(row.latency_ms);
                previous.done.insert(row.key, row.location);
                match previous.calls.get_mut(&row.key) {
                    // Its cost is that of all its calls.
                    Some(calls) if row.keeps_calls => calls.totals = Calls::default(),
                    _ => drop(previous.calls.remove(&row.key)),
                }
            }
            None if let Some((row, location, totals)) = read_call(&line, offset) => {
                let calls = previous.calls.entry(row).or_default();
                calls.lines.push(location);
                calls.totals.add(&totals);
            }
            None if let Some(part) = read_part(&line) => previous.parts.push(part),
            None if let Some(changed) = self::manifest(&line) => manifest = changed,
            None => previous.notes.push(format!(
                "{} line {number} is corrupt and was skipped; its row will be rerun",
                path.display()
            )),
        }
        offset += line.len() as u64;
    }
    for calls in previous.calls.values() {
        previous.spent_usd += calls.totals.known_cost();
        previous.unpriced += u64::from(calls.totals.unpriced());
    }
    Ok(Contents { manifest: Some(manifest), previous, end: offset, is_torn: !line.is_empty() })
}

fn first_manifest(line: &[u8], path: &Path) -> Result<Manifest> {
    let shown = path.display();
    let Some(body) = record::decode(LineKind::Manifest, line) else {
        let message =
            format!("{shown}: the first line is corrupt, so the run that this journal belongs to is unknown");
        return Err(
            Error::new(ErrorKind::Journal, message).advising([Advice::StartOver, Advice::AnotherOutput])
        );
    };
    parse_manifest(body, &shown)
}

/// Parses the JSON of a manifest. `name` is that of the journal or the records in messages.
///
/// # Errors
/// [`ErrorKind::Journal`] if it is not a manifest of this version.
pub(crate) fn parse_manifest(json: &[u8], name: impl Display) -> Result<Manifest> {
    let writer = match serde_json::from_slice::<Manifest>(json) {
        Ok(manifest) if manifest.is_readable() => return Ok(manifest),
        Ok(manifest) => manifest.writer(),
        Err(_) => "another version of fanweave".to_owned(),
    };
    let message = format!(
        "{name}: the journal was written by {writer}, and this version reads format {}",
        manifest::VERSION
    );
    Err(Error::new(ErrorKind::Journal, message).advising([Advice::FinishWithWriter, Advice::StartOver]))
}

/// Checks that a manifest is that of the run `now`.
///
/// # Errors
/// [`ErrorKind::Mismatch`] with the differences.
pub(crate) fn check_manifest(
    manifest: &Manifest,
    now: &Manifest,
    name: impl Display,
    changed_input: bool,
) -> Result<()> {
    let differences = manifest.differences(now, changed_input);
    if differences.is_empty() {
        return Ok(());
    }
    let only_input = manifest.differences(now, true).is_empty();
    let message = format!("{name} belongs to another run: {}", differences.join("; "));
    let advice = only_input.then_some(Advice::ResumeChanged).into_iter();
    let advice = advice.chain([Advice::StartOver, Advice::AnotherOutput]);
    Err(Error::new(ErrorKind::Mismatch, message).advising(advice))
}

fn not_a_journal(path: &Path) -> Error {
    let message = format!("{}: not a fanweave journal; move it or choose another output", path.display());
    Error::new(ErrorKind::Journal, message)
}

fn read_part(line: &[u8]) -> Option<Part> {
    serde_json::from_slice(record::decode(LineKind::Part, line)?).ok()
}

/// A row as far as a resumed run needs it.
struct ResumedRow {
    key: Key,
    location: RowLocation,
    /// `None` if the row was called and its price is unknown.
    cost: Option<f64>,
    /// Set if the row failed because of a call that was not answered: the answers before it are good.
    keeps_calls: bool,
    /// `None` for a row without an answer of its own.
    latency_ms: Option<u64>,
}

fn read_row(line: &[u8], offset: u64) -> Option<ResumedRow> {
    #[derive(Deserialize)]
    struct Row {
        key: Key,
        #[serde(default)]
        latency_ms: u64,
        #[serde(default)]
        cost_usd: Option<f64>,
        #[serde(default)]
        maybe_billed_usd: f64,
        /// A follower, which has another row's answer, has no time.
        #[serde(default)]
        time: Option<IgnoredAny>,
        result: RowStatus,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum RowStatus {
        Answer(IgnoredAny),
        Error(RowFailure),
    }
    #[derive(Deserialize)]
    struct RowFailure {
        #[serde(default)]
        kind: String,
    }
    let row: Row = serde_json::from_slice(record::decode(LineKind::Row, line)?).ok()?;
    let length = NonZeroU32::new(u32::try_from(line.len()).ok()?)?;
    let (ok, keeps_calls) = match &row.result {
        RowStatus::Answer(_) => (true, false),
        RowStatus::Error(failure) => (false, record::is_of_unanswered_call(&failure.kind)),
    };
    let is_own = ok && row.time.is_some();
    let cost = row.cost_usd.or((!is_own).then_some(0.0)).map(|cost| cost + row.maybe_billed_usd);
    let latency_ms = is_own.then_some(row.latency_ms);
    let location = RowLocation::of_line(offset, length, ok);
    Some(ResumedRow { key: row.key, location, cost, keeps_calls, latency_ms })
}

/// The answered call of a line. `None` for other lines.
pub(crate) fn call(line: &[u8]) -> Option<CallRecord> {
    serde_json::from_slice(record::decode(LineKind::Call, line)?).ok()
}

/// Reads what resuming needs of an answered call: its row, location and totals.
fn read_call(line: &[u8], offset: u64) -> Option<(Key, RowLocation, Calls)> {
    let call: CallRecord = serde_json::from_slice(record::decode(LineKind::Call, line)?).ok()?;
    let length = NonZeroU32::new(u32::try_from(line.len()).ok()?)?;
    Some((call.row, RowLocation::of_line(offset, length, true), call.totals()))
}
