//! Everything that a run checks and opens before its first call. It blocks, so it runs on a thread of its own.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::journal::{Journal, Left, Manifest};
use crate::key::Key;
use crate::output::{self, Output, Sink};
use crate::progress::Progress;
use crate::recorder::Desk;
use crate::run::Settings;
use crate::source::{Source, Survey};
use crate::{Error, Result};

/// What opening needs to know.
pub(crate) struct Open {
    pub(crate) output: Output,
    pub(crate) settings: Settings,
    pub(crate) fingerprint: BTreeMap<String, String>,
    pub(crate) progress: Arc<Progress>,
}

impl Open {
    /// Looks through the input, opens the journal and the output, and finds what an earlier run left.
    pub(crate) fn open(self, source: &Source) -> Result<(Desk, Left)> {
        let Self { output, settings, .. } = &self;
        if let Output::File(path) = output {
            output::check(path, source.path(), settings.fresh)?;
        }
        let hash = self.survey(source)?;
        let (journal, mut left) = match output {
            Output::File(path) => self.journal(&output::journal_path(path), source, hash)?,
            _ => (Journal::temporary()?, Left::default()),
        };
        if settings.retry_failed {
            left.done.retain(|_, done| done.ok);
        }
        let unordered = settings.unordered;
        let sink = Sink::open(self.output, source.format())?;
        Ok((Desk::new(journal, sink, unordered, self.progress), left))
    }

    /// Counts the rows of a file and hashes it. Standard input can be read only once, and has neither.
    fn survey(&self, source: &Source) -> Result<Option<Key>> {
        let Some(path) = source.path() else { return Ok(None) };
        let Survey { rows, hash } = Survey::of(path, source.format(), self.settings.strict)?;
        if rows == 0 {
            return Err(Error::usage(format!(
                "{}: no rows: there is nothing behind the header",
                source.name()
            )));
        }
        self.progress.set_total(self.settings.limit.map_or(rows, |limit| limit.min(rows)));
        Ok(Some(hash))
    }

    fn journal(&self, path: &Path, source: &Source, hash: Option<Key>) -> Result<(Journal, Left)> {
        let mut fingerprint = self.fingerprint.clone();
        fingerprint.insert("input format".to_owned(), source.format().to_string());
        let manifest = Manifest::new(fingerprint, hash);
        let Settings { fresh, changed_input, .. } = self.settings;
        let (journal, mut left) = Journal::open(path, &manifest, fresh, changed_input)?;
        if hash.is_none() && !left.done.is_empty() {
            left.notes.push(format!(
                "{} is compared row by row: whether it is the input of the first run cannot be checked",
                source.name()
            ));
        }
        Ok((journal, left))
    }
}
