//! Results of rows that ran elsewhere: recorded and written as those of a run on this machine.

use std::collections::HashMap;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::answer::IntoAnswer;
use crate::feed::KeyedRows;
use crate::key::Key;
use crate::location::RowLocation;
use crate::open::{Open, Opened};
use crate::progress::Progress;
use crate::recorded_rows::RecordedRows;
use crate::recorder::{Entry, Recorder};
use crate::rows::RowKey;
use crate::run::{BatchJob, JobParts};
use crate::summary::Summary;
use crate::window::Stopped;
use crate::{Error, ErrorKind, Result};

/// Maximum number of [`RecordedRows`] that wait for the journal.
const MAX_QUEUED: usize = 2;

/// Records and writes results of rows that ran elsewhere.
pub struct Collector {
    recorder: Recorder,
    /// Permits of rows to wait for the journal.
    queued: Arc<Semaphore>,
    /// Rows that the journal has.
    done: HashMap<Key, RowLocation>,
    notes: Vec<String>,
    progress: Arc<Progress>,
    began: Instant,
    keeps_columns: bool,
}

impl<I: Send + 'static, O: IntoAnswer> BatchJob<I, O> {
    /// Opens the journal and the output of the job for results of rows that run elsewhere. Returns the rows
    /// as well.
    ///
    /// # Errors
    /// Those of [`run`](BatchJob::run) before its first call.
    #[doc(hidden)]
    pub async fn collect(self) -> Result<(Collector, KeyedRows)> {
        let (disk, began) = (self.disk.clone(), Instant::now());
        let progress = self.progress.clone();
        let JobParts { source, output, settings, fingerprint, .. } = self.into_rows();
        let (limit, samples) = (settings.limit, settings.samples);
        let open = Open { output, settings, fingerprint, progress: progress.clone(), disk };
        let (Opened { recording, driver, previous, columns, .. }, source) = open.run(source).await?;
        let recorder = Recorder::spawn(recording, driver)?;
        let keeps_columns = columns.is_some();
        let mut rows = KeyedRows::new(source, limit).with_samples(samples).with_columns(columns);
        if progress.snapshot().total.is_none()
            && let Some(total) = rows.total().await?
        {
            progress.set_total(total);
        }
        let (done, notes) = (previous.done, previous.notes);
        let queued = Arc::new(Semaphore::new(MAX_QUEUED));
        Ok((Collector { recorder, queued, done, notes, progress, began, keeps_columns }, rows))
    }
}

impl Collector {
    /// Number of rows that the journal has and that were not [added](Self::add).
    pub fn known_rows(&self) -> usize {
        self.done.len()
    }

    /// Returns true if the output has columns of the rows: each row must be read before its result is added.
    pub fn keeps_columns(&self) -> bool {
        self.keeps_columns
    }

    /// Progress of the batch.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Number of rows of the input, if it is known.
    pub fn total(&self) -> Option<u64> {
        self.progress.snapshot().total
    }

    /// Returns true if the journal has all rows of the input, whose number is known.
    pub fn is_complete(&self) -> bool {
        self.total().is_some_and(|total| self.done.len() as u64 >= total)
    }

    /// Records results and writes them in input order. Those that the journal has are only written.
    ///
    /// # Errors
    /// The journal or the output cannot be written.
    pub async fn add(&mut self, recorded: RecordedRows) -> Result<()> {
        if self.done.is_empty() {
            return self.record(recorded).await;
        }
        let mut new = RecordedRows::default();
        let RecordedRows { rows, lines } = recorded;
        for (row, line) in rows.into_iter().zip(lines.split(|byte| *byte == b'\n')) {
            if self.done.contains_key(&row.record.key) {
                self.record(take(&mut new)).await?;
                self.add_known(row.key(), row.index(), row.line()).await?;
            } else {
                new.push(row, line);
            }
        }
        self.record(new).await
    }

    async fn record(&mut self, recorded: RecordedRows) -> Result<()> {
        if recorded.rows.is_empty() {
            return Ok(());
        }
        let queued = self.queued.clone().acquire_owned().await.expect("the semaphore is never closed");
        for row in &recorded.rows {
            self.progress.row_started(row.index(), row.line(), None);
            if let Some(answer) = row.answer() {
                self.progress.add_usage(&answer.usage);
            }
        }
        self.send(Entry::Recorded { recorded, queued }).await
    }

    /// Writes a row that the journal has.
    ///
    /// # Errors
    /// The journal does not have it, or the output cannot be written.
    pub async fn add_known(&mut self, key: RowKey, index: u64, line: u64) -> Result<()> {
        let location = self.done.remove(&key.0);
        let location = location.ok_or_else(|| Error::new(ErrorKind::Journal, "the journal lacks a row"))?;
        self.send(Entry::Resumed { index, line, location }).await
    }

    async fn send(&mut self, entry: Entry) -> Result<()> {
        if self.recorder.send(entry).await {
            return Ok(());
        }
        // `end` returns the reason.
        Err(Error::new(ErrorKind::Io, "the journal or the output cannot be written any more"))
    }

    /// Completes the output. `stopped` says why rows are left without a result, if they are.
    ///
    /// # Errors
    /// The output cannot be written.
    pub async fn end(self, stopped: Stopped) -> Result<Summary> {
        let Self { recorder, notes, progress, began, .. } = self;
        let failures = recorder.end(stopped.is_cut_short).await?;
        let wall = began.elapsed().max(Duration::from_millis(1));
        Ok(Summary { wall, failures, notes, ..stopped.into_summary(&progress.snapshot()) })
    }
}
