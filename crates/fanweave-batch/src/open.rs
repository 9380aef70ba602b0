//! Checks and opens everything that a run needs before its first call. Blocks, so it runs on its own thread.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use crate::disk::Disk;
use crate::fingerprint::Fingerprint;
use crate::journal::{Journal, Manifest, PreviousRun};
use crate::key::Key;
use crate::output::{self, Output, OutputFormat, Sink};
use crate::progress::Progress;
use crate::recorder::JournalWriter;
use crate::settings::Settings;
use crate::source::{InputScan, Source};
use crate::{Error, Result};

/// Inputs for opening a run.
pub(crate) struct Open {
    pub(crate) output: Output,
    pub(crate) settings: Settings,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) progress: Arc<Progress>,
    pub(crate) disk: Disk,
}

/// A thread that opens a run. Dropping this joins the thread, so that a dropped run leaves nothing locked.
struct Opening(Option<JoinHandle<()>>);

impl Drop for Opening {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            // Its result was dropped or sent; a panic shows as a missing result.
            let _ = thread.join();
        }
    }
}

impl Open {
    /// Opens the run on its own thread, and returns the source.
    pub(crate) async fn run(self, source: Source) -> Result<(JournalWriter, PreviousRun, Source)> {
        let (sender, opened) = oneshot::channel();
        let work = move || {
            let opened = self.open(&source).map(|(writer, previous)| (writer, previous, source));
            // The receiver is gone if the run was dropped.
            let _ = sender.send(opened);
        };
        let thread = std::thread::Builder::new().name("fanweave-open".into()).spawn(work);
        let _opening =
            Opening(Some(thread.map_err(|e| Error::io("start the thread", "thread".as_ref(), e))?));
        opened.await.expect("opening sends its result")
    }

    /// Scans the input, opens the journal and the output, and reads the results of a previous run.
    fn open(self, source: &Source) -> Result<(JournalWriter, PreviousRun)> {
        let Self { output, settings, .. } = &self;
        if let Output::File(path) = output {
            output::check(path, source.path(), settings.fresh)?;
        }
        let hash = self.scan(source)?.or(source.identity().map(|identity| identity.0));
        let (journal, mut previous) = match output {
            Output::File(path) => self.journal(&output::journal_path(path), source, hash)?,
            _ => (Journal::temporary(&self.disk)?, PreviousRun::default()),
        };
        if settings.retry_failed {
            previous.done.retain(|_, location| location.ok);
        }
        let unordered = settings.unordered;
        let path = match &self.output {
            Output::File(path) => Some(path.as_path()),
            _ => None,
        };
        let format = settings.output_format.unwrap_or_else(|| OutputFormat::detect(path, source.format()));
        let sink = Sink::open(&self.disk, self.output, format)?;
        Ok((JournalWriter::new(journal, sink, unordered, self.progress), previous))
    }

    /// Counts and hashes the rows of a file. Returns `None` for other sources: standard input, for example,
    /// can be read only once.
    fn scan(&self, source: &Source) -> Result<Option<Key>> {
        let (Some(path), Some(format)) = (source.path(), source.format()) else { return Ok(None) };
        let limit = self.settings.limit.unwrap_or(u64::MAX);
        // Rows that will not run need not be readable.
        let strict = if self.settings.strict { limit } else { 0 };
        let InputScan { rows, hash } = InputScan::of(path, format, strict)?;
        if rows == 0 {
            return Err(Error::usage(format!("{}: the file has a header but no rows", source.name())));
        }
        self.progress.set_total(limit.min(rows));
        Ok(Some(hash))
    }

    fn journal(&self, path: &Path, source: &Source, hash: Option<Key>) -> Result<(Journal, PreviousRun)> {
        let format = source.format().map_or_else(|| "rows".to_owned(), |format| format.to_string());
        let fingerprint = self.fingerprint.clone().set("input format", format);
        let manifest = Manifest::new(fingerprint, hash).of_file(source.path());
        let Settings { fresh, changed_input, .. } = self.settings;
        let (journal, mut previous) = Journal::open(&self.disk, path, &manifest, fresh, changed_input)?;
        if hash.is_none() && !previous.done.is_empty() {
            previous.notes.push(format!(
                "cannot check that {} is the same input as in the first run; rows are matched one by one",
                source.name()
            ));
        }
        Ok((journal, previous))
    }
}
