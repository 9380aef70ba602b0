//! A finished or running run, read from its journal.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use fanweave_core::{Usage, excerpt};

use crate::answer::Content;
use crate::cost::rounded_usd;
use crate::journal::{self, CallRecord, Manifest, Outcome, Record};
use crate::key::{Digest, Key};
use crate::output::journal_path;
use crate::rows::RowKey;
use crate::source::{InputOptions, MAX_LINE};
use crate::{Advice, Error, Result};

pub use crate::timeline::CallTimes;

/// Maximum length of a journal line in bytes: that of a row's answer, escaped.
const MAX_LINE_BYTES: u64 = 6 * MAX_LINE as u64;

/// The rows of a run, read from its journal. For a row that was run several times, this is the last one.
///
/// Takes about 300 bytes of memory for each row, in addition to its excerpts.
///
/// ```no_run
/// use fanweave::batch::RunRecord;
///
/// let run = RunRecord::open("answers.jsonl", 100)?;
/// let failed = run.rows.iter().filter(|row| row.error.is_some()).count();
/// println!("{failed} of {} failed", run.rows.len());
/// # Ok::<_, fanweave::batch::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RunRecord {
    /// Path of the journal.
    pub path: PathBuf,
    /// Rows in input order.
    pub rows: Vec<RowRecord>,
    /// Problems found while reading, one sentence each.
    pub notes: Vec<String>,
    /// Path of the input and the hash of its contents.
    origin: Option<(PathBuf, Key)>,
    /// Options that the input was read with.
    options: InputOptions,
}

/// One row of a run.
///
/// ```
/// let row = fanweave::batch::RowRecord::default();
/// assert_eq!((row.calls.len(), row.error), (0, None));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct RowRecord {
    /// Index of the row, from 0.
    pub index: u64,
    /// Line of the input on which the row begins.
    pub line: u64,
    /// Its `custom_id`, or otherwise its `id`.
    pub id: Option<String>,
    /// Start time in milliseconds of Unix time. `None` if the journal is from an earlier version, or the row
    /// came from a provider's batch API.
    pub began: Option<u64>,
    /// Latency in milliseconds.
    pub latency_ms: u64,
    /// Number of requests.
    pub attempts: u32,
    /// Tokens of its calls.
    pub usage: Usage,
    /// Cost in US dollars, if the prices are known.
    pub cost_usd: Option<f64>,
    /// Cost in US dollars of the input of requests whose responses were incomplete: the provider may bill
    /// them. Not included in `cost_usd`.
    pub maybe_billed_usd: Option<f64>,
    /// The model that answered, verbatim as the provider names it.
    pub model: Option<String>,
    /// Excerpt of its answer.
    pub answer: String,
    /// Kind and message of its error.
    pub error: Option<(String, String)>,
    /// Names of the steps around the failure, outermost first: `outline > openai/gpt-5-mini`. `None` outside
    /// of any step.
    pub failed_step: Option<String>,
    /// Key of the row: that of its contents. The same row has it in other runs over the same input.
    pub key: Option<RowKey>,
    /// Answered calls of a row that makes several, in the order in which they were answered, with those of
    /// failed attempts of the row.
    pub answers: Vec<CallAnswer>,
    /// Its recorded calls, in the order in which they ended.
    pub calls: Vec<CallTimes>,
    /// Hash of the whole answer.
    answer_hash: u64,
}

/// Figures of one answered call of a row.
///
/// ```
/// let answer = fanweave::batch::CallAnswer::default();
/// assert_eq!((answer.step, answer.cost_usd), (None, None));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct CallAnswer {
    /// Names of the steps that made the call, outermost first. `None` in journals of earlier versions.
    pub step: Option<String>,
    /// The model that answered, verbatim as the provider names it.
    pub model: Option<String>,
    /// Tokens of the call.
    pub usage: Usage,
    /// Cost in US dollars, if the price is known.
    pub cost_usd: Option<f64>,
}

impl RunRecord {
    /// Reads the journal of an output, or a journal itself. Texts are cut to `shown` bytes. Takes no lock, so
    /// a run can be read while it is running.
    ///
    /// # Errors
    /// [`Usage`](crate::ErrorKind::Usage) if the journal is missing or invalid;
    /// [`Io`](crate::ErrorKind::Io).
    pub fn open(path: impl AsRef<Path>, shown: usize) -> Result<Self> {
        let path = path.as_ref();
        let journal = journal_path(path);
        let is_journal = path.extension().is_some_and(|extension| extension == "journal");
        let path = if is_journal || !journal.exists() { path.to_owned() } else { journal };
        let file = File::open(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::usage(format!("{}: no such file", path.display())),
            _ => Error::io("open the journal", &path, e),
        })?;
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut rows: HashMap<Key, RowRecord> = HashMap::new();
        let (mut notes, mut line, mut n, mut is_run) = (Vec::new(), Vec::new(), 0_u64, false);
        let (mut origin, mut options) = (None, InputOptions::default());
        let mut answers: HashMap<Key, Vec<CallAnswer>> = HashMap::new();
        // A file without line ends would be read completely before it is rejected.
        let begins = reader.fill_buf().map_err(|e| Error::io("read the journal", &path, e))?;
        if !journal::is_beginning(begins) {
            return Err(no_run(&path));
        }
        loop {
            line.clear();
            let read = reader.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
            if read.map_err(|e| Error::io("read the journal", &path, e))? == 0 {
                break;
            }
            n += 1;
            is_run |= n == 1 && journal::is_manifest(&line);
            if !is_run {
                return Err(no_run(&path));
            }
            if journal::is_manifest(&line) {
                // A later manifest is that of a changed input.
                let manifest = journal::manifest(&line);
                options = manifest.as_ref().map(Manifest::input_options).unwrap_or_default();
                origin = manifest.and_then(Manifest::origin);
            } else if let Some(record) = journal::row(&line) {
                rows.insert(record.key, RowRecord::of(record, shown));
            } else if let Some(call) = journal::call(&line) {
                answers.entry(call.row).or_default().push(CallAnswer::of(call));
            } else if !journal::is_sound(&line) {
                notes.push(format!("line {n} of the journal is corrupt and was skipped"));
            }
        }
        for (key, answers) in answers {
            if let Some(row) = rows.get_mut(&key) {
                row.answers = answers;
            }
        }
        let mut rows: Vec<_> = rows.into_values().collect();
        rows.sort_by_key(|row| (row.index, row.line));
        Ok(Self { path, rows, notes, origin, options })
    }

    /// Options that the input was read with.
    pub fn input_options(&self) -> &InputOptions {
        &self.options
    }

    /// Path of the input file, if it still exists and has not changed. Reads the whole file.
    ///
    /// `None` for standard input, and for journals of versions that did not record it.
    pub fn input(&self) -> Option<&Path> {
        let (path, hash) = self.origin.as_ref()?;
        let mut digest = Digest::default();
        if !path.is_file() {
            return None;
        }
        let mut file = BufReader::with_capacity(1 << 16, File::open(path).ok()?);
        std::io::copy(&mut file, &mut digest).ok()?;
        (digest.finish() == *hash).then_some(path)
    }
}

fn no_run(path: &Path) -> Error {
    Error::usage(format!("{}: not a fanweave run", path.display())).advising([Advice::SpecifyRun])
}

impl RowRecord {
    fn of(record: Record, shown: usize) -> Self {
        let Record { key, index, line, id, latency_ms, cost_usd, maybe_billed_usd, time, result } = record;
        let key = Some(RowKey(key));
        let began = time.as_ref().map(|time| time.at);
        let calls = time.map(|time| time.calls).unwrap_or_default();
        let row = Self {
            key,
            index,
            line,
            id,
            began,
            latency_ms,
            cost_usd: cost_usd.map(rounded_usd),
            maybe_billed_usd: maybe_billed_usd.map(rounded_usd),
            calls,
            ..Self::default()
        };
        match result {
            Outcome::Answer(answer) => {
                let text = match answer.content {
                    Content::Text(text) => text,
                    Content::Json(value) => value.to_string(),
                };
                let (attempts, usage) = (answer.attempts, answer.usage);
                let mut hasher = DefaultHasher::new();
                text.hash(&mut hasher);
                let (answer_hash, text) = (hasher.finish(), excerpt(&text, shown));
                Self { attempts, usage, model: answer.model, answer: text, answer_hash, ..row }
            }
            Outcome::Error(failure) => {
                let message = excerpt(&failure.message, shown.max(200));
                let error = Some((failure.kind, message));
                let usage = failure.usage.unwrap_or_default();
                Self { attempts: failure.attempts, usage, error, failed_step: failure.step, ..row }
            }
        }
    }

    /// Returns true if both rows were answered, and with the same answer, also beyond the excerpts.
    pub fn has_equal_answer(&self, other: &Self) -> bool {
        self.error.is_none() && other.error.is_none() && self.answer_hash == other.answer_hash
    }
}

impl CallAnswer {
    fn of(call: CallRecord) -> Self {
        let usage = call.answer.usage();
        let model = call.answer.reply.and_then(|reply| reply.model);
        Self { step: call.step, model, usage, cost_usd: call.cost_usd.map(rounded_usd) }
    }
}
