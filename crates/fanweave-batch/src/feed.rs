//! Feed: reads the source ahead of the calls, so that a slow disk, pipe or database does not delay answers.
//!
//! Files and blocking sources are read on a thread, other sources in the task of the run: no task of a run
//! outlives it, and the recorder's thread can be joined when a run is dropped.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::thread;

use fanweave_core::__private::park_until_done;
use futures::FutureExt;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use crate::answers::EarlierAnswer;
use crate::columns::OwnColumns;
use crate::input::Input;
use crate::journal::{EarlierCalls, JournalReader};
use crate::key::{Key, Occurrences};
use crate::location::RowLocation;
use crate::origin::Origin;
use crate::progress::Progress;
use crate::recorder::Entry;
use crate::rows::{InputRow, RowKey};
use crate::source::{InputFormat, Source, refuse};
use crate::tally::Calls;
use crate::{Error, ErrorKind, Result};

/// A row to run. Boxed, because it passes from hand to hand.
#[derive(Clone)]
pub struct Job(pub(crate) Box<JobFields>);

/// The fields of a [`Job`].
#[derive(Clone)]
pub struct JobFields {
    pub(crate) origin: Origin,
    pub(crate) key: Key,
    pub(crate) index: u64,
    pub(crate) line: u64,
    pub(crate) id: Option<String>,
    pub(crate) input: fanweave_core::Result<Input>,
    /// Number of times that it was requeued after an interrupted stream.
    pub(crate) requeues: u8,
    /// Totals of its earlier calls.
    pub(crate) earlier: Calls,
    /// The part of them that previous runs paid for.
    pub(crate) paid_before: Calls,
    /// Answers of its earlier calls, if it makes several.
    pub(crate) answers: Vec<EarlierAnswer>,
}

/// Reads rows from the source: sends finished ones to the recorder, and the others to the window.
pub(crate) struct Feed {
    pub(crate) rows: KeyedRows,
    pub(crate) done: HashMap<Key, RowLocation>,
    pub(crate) strict: bool,
    /// Answered calls of rows without an answer, and their reader.
    pub(crate) calls: Option<(HashMap<Key, EarlierCalls>, JournalReader)>,
    pub(crate) jobs: mpsc::Sender<Result<Job>>,
    pub(crate) recorder: mpsc::WeakSender<Entry>,
    /// Set to the first row that a previous run answered.
    pub(crate) answered: Arc<OnceLock<Job>>,
    pub(crate) progress: Arc<Progress>,
}

/// The rows of a source with their keys, apart from their hand-over to a window.
pub struct KeyedRows {
    source: Source,
    seen: Occurrences,
    limit: u64,
    /// Keeps the columns of rows for the output.
    columns: Option<Arc<OwnColumns>>,
    /// Number of times that each row is returned.
    samples: u32,
    /// A row that is returned again: its key, and the number of times that it was returned.
    repeated: Option<(Key, InputRow, u32)>,
    /// Set if all rows have the same key, because nothing is done.
    is_keyless: bool,
}

impl KeyedRows {
    /// The first `limit` rows of a source.
    pub fn new(source: Source, limit: Option<u64>) -> Self {
        let (seen, limit) = (Occurrences::default(), limit.unwrap_or(u64::MAX));
        Self { source, seen, limit, columns: None, samples: 1, repeated: None, is_keyless: false }
    }

    /// Gives all rows the same key, which takes no memory for each row.
    pub(crate) fn without_keys(self) -> Self {
        Self { source: self.source.without_keys(), is_keyless: true, ..self }
    }

    /// Returns each row `samples` times, with a key and an index for each.
    #[must_use]
    pub fn with_samples(self, samples: NonZeroU32) -> Self {
        Self { samples: samples.get(), ..self }
    }

    /// Keeps the columns of rows for the output.
    pub(crate) fn with_columns(self, columns: Option<Arc<OwnColumns>>) -> Self {
        Self { columns, ..self }
    }

    /// Number of rows, if it is known.
    ///
    /// # Errors
    /// Those of [`RowSource::total`](crate::RowSource::total).
    pub async fn total(&mut self) -> Result<Option<u64>> {
        let samples = u64::from(self.samples);
        Ok(self.source.total().await?.map(|rows| rows.min(self.limit).saturating_mul(samples)))
    }

    /// The next row and its key in a journal, which differs from those of equal rows before it. `None` at
    /// the end.
    ///
    /// # Errors
    /// The source cannot be read any further. A row that is invalid by itself is a row.
    pub async fn next(&mut self) -> Option<Result<(RowKey, InputRow)>> {
        let row = self.next_row().await?;
        Some(row.map(|(key, row)| (RowKey(key), row)))
    }

    async fn next_row(&mut self) -> Option<Result<(Key, InputRow)>> {
        if let Some(sample) = self.next_sample() {
            return Some(sample);
        }
        match self.source.next_row().await? {
            Ok(row) if row.index >= self.limit => None,
            Ok(mut row) => {
                let key = self.key(&row);
                if self.samples > 1 {
                    row.index *= u64::from(self.samples);
                    self.repeated = Some((key, row.clone(), 1));
                }
                let kept = self.columns.as_ref().map_or(Ok(()), |columns| columns.put(key, &row));
                Some(kept.map(|()| (key, row)))
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// The row that was returned before, if it has further samples. The first sample has the key of the row
    /// itself, so that a run with more samples keeps its answers.
    fn next_sample(&mut self) -> Option<Result<(Key, InputRow)>> {
        let (key, row, n) = self.repeated.as_mut()?;
        let (key, mut row, n) = match *n + 1 < self.samples {
            true => {
                *n += 1;
                (*key, row.clone(), *n - 1)
            }
            false => self.repeated.take()?,
        };
        row.index += u64::from(n);
        let key = key.and(&Key::of(&[b"sample", &n.to_le_bytes()]));
        let kept = self.columns.as_ref().map_or(Ok(()), |columns| columns.put(key, &row));
        Some(kept.map(|()| (key, row)))
    }

    fn key(&mut self, row: &InputRow) -> Key {
        if self.is_keyless {
            return Key::of(&[]);
        }
        match (self.source.format(), &row.input) {
            // Rows of an OpenAI batch have unique ids, so no two are equal, and no table of them is needed.
            (Some(InputFormat::OpenAi), Ok(_)) => row.content(),
            // An invalid row, however, may have the same content as a valid one.
            (Some(InputFormat::OpenAi), Err(_)) => self.seen.next(row.content().and(&Key::of(&[b"refused"]))),
            _ => self.seen.next(row.content()),
        }
    }
}

impl Job {
    /// A row to run, with its key in the records.
    pub fn new(origin: Origin, key: RowKey, row: InputRow) -> Self {
        let mut job = job(key.0, row);
        job.origin = origin;
        job
    }

    /// Takes the input, and leaves an empty text.
    pub(crate) fn take_input(&mut self) -> fanweave_core::Result<Input> {
        std::mem::replace(&mut self.input, Ok(Input::Text(String::new())))
    }
}

impl Deref for Job {
    type Target = JobFields;

    fn deref(&self) -> &JobFields {
        &self.0
    }
}

impl DerefMut for Job {
    fn deref_mut(&mut self) -> &mut JobFields {
        &mut self.0
    }
}

/// A feed that was started.
pub(crate) enum Reading {
    /// Runs on its thread. Resolves when the last row has been read.
    Thread(oneshot::Receiver<()>),
    /// Runs in the task of the run.
    InTask(Box<Feed>),
}

impl Feed {
    /// Starts the thread, if the source is read on one.
    ///
    /// The thread ends with the source, or soon after the receiver of its rows is dropped. A thread that
    /// waits for a pipe ends with the pipe.
    pub(crate) fn start(self) -> Result<Reading> {
        if !self.rows.source.may_block() {
            return Ok(Reading::InTask(Box::new(self)));
        }
        let (ended, end) = oneshot::channel();
        let (jobs, name) = (self.jobs.clone(), self.rows.source.name().to_owned());
        let work = move || {
            // A panic must not look like the end of the source.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| park_until_done(self.run()))) {
                let _ = jobs.blocking_send(Err(panicked(&name, &*panic)));
            }
            drop(ended);
        };
        let thread = thread::Builder::new().name("fanweave-reader".into()).spawn(work);
        thread.map_err(|e| Error::io("start the thread", "thread".as_ref(), e))?;
        Ok(Reading::Thread(end))
    }

    async fn run(mut self) {
        match self.rows.total().await {
            Ok(Some(rows)) => self.progress.set_total(rows),
            Ok(None) => {}
            Err(error) => {
                let _ = self.jobs.send(Err(error)).await;
                return;
            }
        }
        let mut admitting = true;
        // A stopped run still needs the finished rows, because its output contains them all.
        while admitting || !self.done.is_empty() {
            let Some(row) = self.rows.next_row().await else { return };
            match row {
                Ok((key, row)) => {
                    if let Some(location) = self.done.remove(&key) {
                        let entry = Entry::Resumed { index: row.index, line: row.line, location };
                        if location.is_ok() && row.input.is_ok() && self.answered.get().is_none() {
                            let _ = self.answered.set(job(key, row));
                        }
                        let Some(recorder) = self.recorder.upgrade() else { return };
                        if recorder.send(entry).await.is_err() {
                            return;
                        }
                    } else if admitting {
                        admitting = self.admit(key, row).await;
                    } else if self.recorder.strong_count() == 0 {
                        return;
                    }
                }
                Err(error) => {
                    let _ = self.jobs.send(Err(error)).await;
                    return;
                }
            }
        }
    }

    /// Sends a row to the window. Returns false if it takes no more.
    async fn admit(&mut self, key: Key, row: InputRow) -> bool {
        let job = self.with_answers(job(key, row));
        let job = if self.strict { job.and_then(strict) } else { job };
        let refused = job.is_err();
        self.send(job).await && !refused
    }

    /// Sends a row. A window that has enough of them is waited for until it has taken half: one wake-up for
    /// many rows. Returns false if the window takes no more.
    async fn send(&mut self, job: Result<Job>) -> bool {
        let job = match self.jobs.try_send(job) {
            Ok(()) => return true,
            Err(TrySendError::Closed(_)) => return false,
            Err(TrySendError::Full(job)) => job,
        };
        let half = (self.jobs.max_capacity() / 2).max(1);
        let Ok(mut permits) = self.jobs.reserve_many(half).await else { return false };
        if let Some(permit) = permits.next() {
            permit.send(job);
        }
        true
    }

    /// Adds the answers of calls of a previous run.
    fn with_answers(&mut self, mut job: Job) -> Result<Job> {
        let Some((calls, reader)) = &mut self.calls else { return Ok(job) };
        let Some(calls) = calls.remove(&job.key) else { return Ok(job) };
        (job.earlier, job.paid_before) = (calls.totals, calls.totals);
        job.answers = EarlierAnswer::read(&calls, reader)?;
        Ok(job)
    }
}

impl Reading {
    /// Completes `work`, and reads rows meanwhile. Returns the end of the thread, if there is one; a feed
    /// without a thread has ended.
    pub(crate) async fn during<T>(
        self,
        mut work: Pin<&mut impl Future<Output = T>>,
    ) -> (T, Option<oneshot::Receiver<()>>) {
        let feed = match self {
            Self::Thread(end) => return (work.await, Some(end)),
            Self::InTask(feed) => feed,
        };
        let (jobs, name) = (feed.jobs.clone(), feed.rows.source.name().to_owned());
        // Boxed, because runs over files do not have it.
        let mut feed = Box::pin(async move {
            if let Err(panic) = AssertUnwindSafe(feed.run()).catch_unwind().await {
                let _ = jobs.send(Err(panicked(&name, &*panic))).await;
            }
        });
        let mut has_ended = false;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return (done, None),
                () = &mut feed, if !has_ended => has_ended = true,
            }
        }
    }
}

fn panicked(source: &str, panic: &(dyn std::any::Any + Send)) -> Error {
    let why = fanweave_core::Error::from_panic(panic);
    Error::new(ErrorKind::Io, format!("{source}: cannot continue reading: {}", why.message()))
}

/// Rejects a row whose input is invalid.
fn strict(mut job: Job) -> Result<Job> {
    if job.input.is_err() {
        refuse(job.take_input())?;
    }
    Ok(job)
}

fn job(key: Key, row: InputRow) -> Job {
    let InputRow { index, line, id, input, .. } = row;
    let (earlier, paid_before) = (Calls::default(), Calls::default());
    let origin = Origin::default();
    let answers = Vec::new();
    Job(Box::new(JobFields {
        origin,
        key,
        index,
        line,
        id,
        input,
        requeues: 0,
        earlier,
        paid_before,
        answers,
    }))
}
