//! Rows as a run would treat them, for estimates before it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use fanweave_core::{Prompt, blocking};
use serde::Serialize;

use crate::Result;
use crate::feed::KeyedRows;
use crate::fingerprint::Fingerprint;
use crate::journal::{self, Manifest};
use crate::key::Key;
use crate::location::RowLocation;
use crate::open::with_input;
use crate::output::journal_path;
use crate::rows::InputRow;
use crate::run::key_of_input;
use crate::settings::Settings;
use crate::source::Source;

/// The rows of a source, one by one, as a [`BatchJob`](crate::BatchJob) with the same output, settings and
/// fingerprint would treat them: with whether a row has a result already. Makes no call, and changes no file.
///
/// ```no_run
/// use fanweave::batch::{Fingerprint, PlannedRows, Settings, Source};
///
/// let source = Source::open("questions.jsonl", None)?;
/// let fingerprint = Fingerprint::new().set("model", "openai/gpt-5-mini");
/// let planned = PlannedRows::open(source, Some("answers.jsonl".as_ref()), &Settings::new(), &fingerprint)?;
/// println!("${} spent", planned.spent_usd());
/// let left = planned.filter(|row| row.as_ref().is_ok_and(|row| !row.has_result)).count();
/// println!("{left} rows to call");
/// # Ok::<_, fanweave::batch::Error>(())
/// ```
pub struct PlannedRows {
    rows: KeyedRows,
    done: HashMap<Key, RowLocation>,
    spent_usd: f64,
    mean_latency: Option<Duration>,
}

/// A row of [`PlannedRows`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PlannedRow {
    /// The row. With several samples, one of these.
    pub row: InputRow,
    /// Set if a previous run has its result, so that it is not called.
    pub has_result: bool,
}

impl PlannedRows {
    /// Reads the journal of the `output` file, if it has one. Without an output, such as with standard
    /// output, no row has a result.
    ///
    /// # Errors
    /// [`Mismatch`](crate::ErrorKind::Mismatch) if the journal belongs to another run, as in that run, but a
    /// changed input is not noticed; [`Io`](crate::ErrorKind::Io), [`Journal`](crate::ErrorKind::Journal).
    pub fn open(
        source: Source,
        output: Option<&Path>,
        settings: &Settings,
        fingerprint: &Fingerprint,
    ) -> Result<Self> {
        let manifest = Manifest::new(with_input(fingerprint, &source), None);
        let mut previous = match output.filter(|_| !settings.fresh) {
            Some(output) => journal::peek(&journal_path(output), &manifest)?,
            None => Default::default(),
        };
        previous.resume(settings.retry_failed);
        let rows = KeyedRows::new(source, settings.limit).with_samples(settings.samples);
        Ok(Self {
            rows: if previous.done.is_empty() { rows.without_keys() } else { rows },
            done: previous.done,
            spent_usd: previous.spent_usd,
            mean_latency: previous.latencies.mean(),
        })
    }

    /// Cost of the calls of previous runs in US dollars, as far as known.
    pub fn spent_usd(&self) -> f64 {
        self.spent_usd
    }

    /// Mean latency of the rows that previous runs answered. `None` if they answered none.
    pub fn mean_latency(&self) -> Option<Duration> {
        self.mean_latency
    }
}

impl Iterator for PlannedRows {
    type Item = Result<PlannedRow>;

    /// The next row. Blocks.
    fn next(&mut self) -> Option<Self::Item> {
        let row = blocking::wait(self.rows.next())?;
        Some(row.map(|(key, row)| PlannedRow { has_result: self.done.contains_key(&key.0), row }))
    }
}

/// The requests of planned rows, to find those that [`Settings::dedupe`] does not make again. Takes about 20
/// bytes per request.
///
/// ```
/// use fanweave::Prompt;
/// use fanweave::batch::PlannedRequests;
///
/// let mut requests = PlannedRequests::default();
/// let prompts = ["Name a bear.", "Name an owl.", "Name a bear."].map(Prompt::from);
/// assert_eq!(prompts.map(|prompt| requests.add(&prompt)), [true, true, false]);
/// ```
#[derive(Debug, Default)]
pub struct PlannedRequests(HashSet<Key>);

impl PlannedRequests {
    /// Adds the request of a row of [`BatchJob::new`](crate::BatchJob::new). Returns false if it is equal to
    /// an earlier one.
    pub fn add(&mut self, prompt: &Prompt) -> bool {
        self.0.insert(Key::of_request(prompt))
    }

    /// Adds the input of a row of a chain whose inputs are
    /// [compared](crate::BatchJob::comparing_inputs). Returns false if it is equal to an earlier one.
    pub fn add_input(&mut self, input: &impl Serialize) -> bool {
        self.0.insert(key_of_input(input))
    }
}

#[cfg(test)]
mod tests {
    use fanweave_core::model::fake::Fake;
    use fanweave_core::{Error, ErrorKind, chain};

    use super::*;
    use crate::{BatchJob, Costs, Output, Render};

    #[tokio::test]
    async fn rows_with_a_result_are_known_before_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("in.txt"), folder.path().join("out.jsonl"));
        std::fs::write(&input, "a\nb\nb\nc\n").unwrap();
        let source = || Source::open(&input, None).unwrap();
        let print = |name: &str| Fingerprint::new().set("model", name);
        let open =
            |settings: &Settings, name| PlannedRows::open(source(), Some(&output), settings, &print(name));
        let done = |settings: &Settings| {
            let rows = open(settings, "x").unwrap();
            rows.map(|row| row.unwrap().has_result).collect::<Vec<_>>()
        };
        assert_eq!(done(&Settings::new()), [false; 4]);

        let answers = [Ok("1"), Ok("2"), Err(Error::new(ErrorKind::BadRequest, "no"))];
        let job = BatchJob::new(
            source(),
            Render::new(),
            chain(Fake::script(answers)),
            Output::File(output.clone()),
        );
        let settings = Settings::new().limit(3).concurrency(std::num::NonZeroUsize::MIN);
        let costs = Costs::new(|_, _| Some(0.25));
        job.settings(settings).fingerprint(print("x")).costs(costs).run().await.unwrap();

        assert_eq!(done(&Settings::new()), [true, true, true, false]);
        assert_eq!(done(&Settings::new().retry_failed(true)), [true, true, false, false]);
        assert_eq!(done(&Settings::new().fresh(true)), [false; 4]);
        assert_eq!(done(&Settings::new().limit(2)), [true; 2]);
        let two = Settings::new().samples(2.try_into().unwrap());
        assert_eq!(done(&two), [true, false, true, false, true, false, false, false]);
        let planned = open(&Settings::new(), "x").unwrap();
        assert!(planned.spent_usd() >= 0.5 && planned.mean_latency().is_some());
        let other = open(&Settings::new(), "y").map(|_| ()).unwrap_err();
        assert_eq!(other.kind(), crate::ErrorKind::Mismatch, "{other}");
    }
}
