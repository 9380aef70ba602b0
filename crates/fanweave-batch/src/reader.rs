//! Reads the source ahead of the calls, on its own thread, so that a slow disk or pipe does not delay
//! answers.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use crate::journal::Location;
use crate::key::{Key, Occurrences};
use crate::recorder::Entry;
use crate::source::{Input, InputFormat, Item, Source, refuse};
use crate::tally::Calls;
use crate::{Error, ErrorKind, Result};

/// A row to run.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) key: Key,
    pub(crate) index: u64,
    pub(crate) line: u64,
    pub(crate) id: Option<String>,
    pub(crate) input: fanweave_core::Result<Input>,
    /// Number of times that it was requeued after an interrupted stream.
    pub(crate) requeues: u8,
    /// Totals of its earlier calls.
    pub(crate) earlier: Calls,
}

/// Reads rows from the source: sends finished ones to the recorder, and the others to the window.
pub(crate) struct Reader {
    pub(crate) source: Source,
    pub(crate) done: HashMap<Key, Location>,
    pub(crate) limit: u64,
    pub(crate) strict: bool,
    pub(crate) jobs: mpsc::Sender<Result<Job>>,
    pub(crate) recorder: mpsc::WeakSender<Entry>,
    /// Set to the first row that a previous run answered.
    pub(crate) answered: Arc<OnceLock<Job>>,
}

impl Reader {
    /// Starts the thread. The receiver resolves when the last row has been read.
    ///
    /// The thread ends with the source, or soon after the receiver of its rows is dropped. A thread that
    /// waits for a pipe ends with the pipe.
    pub(crate) fn spawn(self) -> Result<oneshot::Receiver<()>> {
        let (ended, end) = oneshot::channel();
        let (jobs, name) = (self.jobs.clone(), self.source.name().to_owned());
        let work = move || {
            // A panic must not look like the end of the source.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.run())) {
                let why = fanweave_core::Error::from_panic(&*panic);
                let message = format!("{name}: cannot continue reading: {}", why.message());
                let _ = jobs.blocking_send(Err(Error::new(ErrorKind::Io, message)));
            }
            drop(ended);
        };
        let thread = thread::Builder::new().name("fanweave-reader".into()).spawn(work);
        thread.map_err(|e| Error::io("start the thread", "thread".as_ref(), e))?;
        Ok(end)
    }

    fn run(mut self) {
        let mut seen = Occurrences::default();
        let mut admitting = true;
        // A stopped run still needs the finished rows, because its output contains them all.
        while admitting || !self.done.is_empty() {
            let Some(item) = self.source.next() else { return };
            match item {
                Ok(item) if item.index >= self.limit => return,
                Ok(item) => {
                    let key = self.key(&mut seen, &item);
                    if let Some(location) = self.done.remove(&key) {
                        let entry = Entry::Resumed { index: item.index, line: item.line, location };
                        if location.ok && item.input.is_ok() && self.answered.get().is_none() {
                            let _ = self.answered.set(job(key, item));
                        }
                        let Some(recorder) = self.recorder.upgrade() else { return };
                        if recorder.blocking_send(entry).is_err() {
                            return;
                        }
                    } else if admitting {
                        admitting = self.admit(key, item);
                    } else if self.recorder.strong_count() == 0 {
                        return;
                    }
                }
                Err(error) => {
                    let _ = self.jobs.blocking_send(Err(error));
                    return;
                }
            }
        }
    }

    fn key(&self, seen: &mut Occurrences, item: &Item) -> Key {
        match (self.source.format(), &item.input) {
            // Rows of an OpenAI batch have unique ids, so no two are equal, and no table of them is needed.
            (InputFormat::OpenAi, Ok(_)) => item.content,
            // An invalid row, however, may have the same content as a valid one.
            (InputFormat::OpenAi, Err(_)) => seen.next(item.content.and(&Key::of(&[b"refused"]))),
            _ => seen.next(item.content),
        }
    }

    /// Sends a row to the window. Returns false if it takes no more.
    fn admit(&self, key: Key, item: Item) -> bool {
        let job = job(key, item);
        let job = if self.strict { strict(job) } else { Ok(job) };
        let refused = job.is_err();
        self.jobs.blocking_send(job).is_ok() && !refused
    }
}

/// Rejects a row whose input is invalid.
fn strict(job: Job) -> Result<Job> {
    let Job { key, index, line, id, input, requeues, earlier } = job;
    Ok(Job { key, index, line, id, input: Ok(refuse(input)?), requeues, earlier })
}

fn job(key: Key, item: Item) -> Job {
    let Item { index, line, id, input, .. } = item;
    Job { key, index, line, id, input, requeues: 0, earlier: Calls::default() }
}
