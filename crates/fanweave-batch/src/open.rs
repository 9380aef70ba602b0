//! Everything that a run checks and opens before its first call. It blocks, so it has a thread of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::disk::Disk;
use crate::journal::{Journal, Manifest, PreviousRun};
use crate::key::Key;
use crate::output::{self, Output, OutputFormat, Sink};
use crate::progress::Progress;
use crate::recorder::JournalWriter;
use crate::settings::Settings;
use crate::source::{InputScan, Source};
use crate::{Error, Result};

/// What opening needs to know.
pub(crate) struct Open {
    pub(crate) output: Output,
    pub(crate) settings: Settings,
    pub(crate) fingerprint: BTreeMap<String, String>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) disk: Disk,
}

/// Opening, under way. Dropping it waits for the end, so that nothing stays locked behind a dropped run.
struct Opening(Option<JoinHandle<()>>);

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // What it found was dropped or handed over; that it panicked shows in what was not handed over.
            let _ = thread.join();
        }
    }
}

impl Open {
    /// Does all of it on a thread of its own, and hands the source back.
    pub(crate) async fn run(self, source: Source) -> Result<(JournalWriter, PreviousRun, Source)> {
        let (tell, opened) = oneshot::channel();
        let work = move || {
            let opened = self.open(&source).map(|(writer, left)| (writer, left, source));
            // Nobody listens where the run was dropped.
            let _ = tell.send(opened);
        };
        let thread = std::thread::Builder::new().name("fanweave-open".into()).spawn(work);
        let _opening = Opening(Some(thread.map_err(|e| Error::io("start it", "thread".as_ref(), e))?));
        opened.await.expect("opening says what it found")
    }

    /// Looks through the input, opens the journal and the output, and finds what an earlier run left.
    fn open(self, source: &Source) -> Result<(JournalWriter, PreviousRun)> {
        let Self { output, settings, .. } = &self;
        if let Output::File(path) = output {
            output::check(path, source.path(), settings.fresh)?;
        }
        let hash = self.scan(source)?;
        let (journal, mut left) = match output {
            Output::File(path) => self.journal(&output::journal_path(path), source, hash)?,
            _ => (Journal::temporary(&self.disk)?, PreviousRun::default()),
        };
        if settings.retry_failed {
            left.done.retain(|_, location| location.ok);
        }
        let unordered = settings.unordered;
        let path = match &self.output {
            Output::File(path) => Some(path.as_path()),
            _ => None,
        };
        let form = settings.output_format.unwrap_or_else(|| OutputFormat::detect(path, source.format()));
        let sink = Sink::open(&self.disk, self.output, form)?;
        Ok((JournalWriter::new(journal, sink, unordered, self.progress), left))
    }

    /// Counts the rows of a file and hashes it. Standard input can be read only once, and has neither.
    fn scan(&self, source: &Source) -> Result<Option<Key>> {
        let Some(path) = source.path() else { return Ok(None) };
        let limit = self.settings.limit.unwrap_or(u64::MAX);
        // Rows that are not run need not be readable.
        let strict = if self.settings.strict { limit } else { 0 };
        let InputScan { rows, hash } = InputScan::of(path, source.format(), strict)?;
        if rows == 0 {
            return Err(Error::usage(format!(
                "{}: no rows: there is nothing behind the header",
                source.name()
            )));
        }
        self.progress.set_total(limit.min(rows));
        Ok(Some(hash))
    }

    fn journal(&self, path: &Path, source: &Source, hash: Option<Key>) -> Result<(Journal, PreviousRun)> {
        let mut fingerprint = self.fingerprint.clone();
        fingerprint.insert("input format".to_owned(), source.format().to_string());
        let manifest = Manifest::new(fingerprint, hash).of_file(source.path());
        let Settings { fresh, changed_input, .. } = self.settings;
        let (journal, mut left) = Journal::open(&self.disk, path, &manifest, fresh, changed_input)?;
        if hash.is_none() && !left.done.is_empty() {
            left.notes.push(format!(
                "{} is compared row by row: whether it is the input of the first run cannot be checked",
                source.name()
            ));
        }
        Ok((journal, left))
    }
}
