//! Journal for batches of any chain, with rows from memory.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use fanweave_core::batch::Batch;
use fanweave_core::{Chain, Context, Error as RowError, ErrorKind as RowErrorKind, step};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

use crate::answer::{Answer, Content, IntoAnswer};
use crate::answers::{CallJournal, EarlierAnswer};
use crate::arranger::Arranger;
use crate::disk::Disk;
use crate::finished::FinishedRow;
use crate::journal::{EarlierCalls, Journal, JournalReader, Manifest, Outcome, PreviousRun, Record};
use crate::key::{Key, Occurrences};
use crate::location::RowLocation;
use crate::origin::Origin;
use crate::progress::Progress;
use crate::recorder::{Driver, Finished, Recorder, Recording};
use crate::records::RowPermit;
use crate::store::RecordStore;
use crate::tally::Tally;
use crate::{Costs, Error, ErrorKind, Result};

/// Adds a journal to the batches of a chain whose inputs and outputs serialise to JSON.
///
/// ```
/// use fanweave::batch::JournalExt;
/// use fanweave::{prompt, testing::Fake, text, vars};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { fanweave::blocking::wait(async {
/// # let folder = std::env::temp_dir().join(module_path!().replace("::", "-"));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("jokes.journal");
/// let joke = prompt("A joke about {{ topic }}.") | Fake::echo() | text();
/// let topics = || ["bears", "cats"].map(|topic| vars! { topic: topic });
///
/// let jokes = joke.journal(&path).batch(topics())?.concurrency(16).collect().await;
/// assert_eq!(jokes[0].as_deref().unwrap(), "A joke about bears.");
///
/// // The second batch makes no call: the answers are in the journal.
/// let empty = Fake::script(Vec::<fanweave::Result<String>>::new());
/// let silent = prompt("A joke about {{ topic }}.") | empty | text();
/// let second = silent.journal(&path).batch(topics())?.collect().await;
/// assert_eq!(second[1].as_deref().unwrap(), "A joke about cats.");
/// # Ok(())
/// # }) }
/// ```
pub trait JournalExt<I, O> {
    /// Returns the chain with a journal at `path` for the rows of its batches.
    fn journal(&self, path: impl Into<PathBuf>) -> Journalled<I, O>;
}

impl<I, O> JournalExt<I, O> for Chain<I, O>
where
    I: Serialize + Send + 'static,
    O: Serialize + DeserializeOwned + Send + 'static,
{
    fn journal(&self, path: impl Into<PathBuf>) -> Journalled<I, O> {
        let (fingerprint, costs) = (BTreeMap::new(), Costs::default());
        Journalled { chain: self.clone(), path: path.into(), fingerprint, costs }
    }
}

/// A chain with a journal for its batches. Made by [`JournalExt::journal`].
///
/// Every successful row is journalled before its result is returned, so a restarted program calls only the
/// rows that are missing. Rows are identified by their inputs, and equal inputs by their occurrence, so the
/// order of different inputs may change. Failed rows are not journalled and are rerun.
///
/// ```
/// use fanweave::batch::JournalExt;
/// use fanweave::step;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { fanweave::blocking::wait(async {
/// # let folder = std::env::temp_dir().join(module_path!().replace("::", "-"));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("squares.journal");
/// let square =
///     step(|n: u64, _cx| async move { Ok(n * n) }).journal(path).fingerprint("squares", "version 1");
/// let squares = square.batch([2u64, 3])?.collect().await;
/// assert_eq!(squares.into_iter().collect::<Result<Vec<_>, _>>()?, [4, 9]);
/// # Ok(())
/// # }) }
/// ```
pub struct Journalled<I, O> {
    chain: Chain<I, O>,
    path: PathBuf,
    fingerprint: BTreeMap<String, String>,
    costs: Costs,
}

/// An input of a [`Journalled`] chain, with its key.
pub struct Keyed<I> {
    key: Result<(Key, u64), RowError>,
    input: I,
}

impl<I, O> Journalled<I, O>
where
    I: Serialize + Send + 'static,
    O: Serialize + DeserializeOwned + Send + 'static,
{
    /// Adds a value other than the inputs that changes the answers: a model, template or version. A journal
    /// with a different fingerprint is rejected with the difference. Never pass an API key: the value is
    /// stored in the journal.
    #[must_use]
    pub fn fingerprint(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.fingerprint.insert(name.into(), value.into());
        self
    }

    /// Sets the prices of calls, for the costs in the journal. Default: no prices. A budget does not apply.
    #[must_use]
    pub fn costs(mut self, costs: Costs) -> Self {
        self.costs = costs;
        self
    }

    /// Runs the chain over the inputs concurrently, skipping those that are in the journal. Returns the
    /// core's [`Batch`]. The journal stays open, and locked against other processes, until the batch and
    /// everything made from it are dropped. It belongs to this process: in a forked child, its rows fail
    /// without a call.
    ///
    /// Blocks while it reads the journal. A thread of its own writes it.
    ///
    /// # Errors
    /// [`ErrorKind::Io`], [`ErrorKind::Locked`], [`ErrorKind::Journal`] if the file is not a journal, and
    /// [`ErrorKind::Mismatch`] if the journal has a different fingerprint. A row whose result cannot be
    /// journalled fails with [`Step`](fanweave_core::ErrorKind::Step).
    pub fn batch<T: Into<I> + 'static, Rows>(&self, inputs: Rows) -> Result<Batch<Keyed<I>, O>>
    where
        Rows: IntoIterator<Item = T>,
        Rows::IntoIter: Send + 'static,
    {
        let manifest = Manifest::new(self.fingerprint.clone(), None);
        let (journal, mut previous) = Journal::open(&Disk::default(), &self.path, &manifest, false, false)?;
        // Failed rows are rerun.
        previous.resume(true);
        let PreviousRun { done, calls, .. } = previous;
        let (reader, progress) = (journal.reader()?, Arc::<Progress>::default());
        let recording = Recording {
            store: RecordStore::Journal(journal),
            arranger: Arranger::new(None, true, progress.clone()),
            progress: progress.clone(),
            dedupe: None,
        };
        let recorder = Recorder::spawn(recording, Driver::Thread)?;
        let chain = self.chain.clone();
        let call_journal = CallJournal::new(recorder.weak(), !calls.is_empty(), &chain);
        let (calls, costs) = (Mutex::new(calls), self.costs.clone());
        let shared = Arc::new(Shared { done, calls, reader, recorder, call_journal, progress, costs });
        let rows = step(move |row: Keyed<I>, cx: Context| {
            let (chain, shared) = (chain.clone(), shared.clone());
            async move { shared.run(&chain, row, cx).await }
        });
        let (mut seen, mut index) = (Occurrences::default(), 0);
        let keyed = inputs.into_iter().map(move |input| {
            let input = input.into();
            let at = index;
            index += 1;
            let key = key_of(&input).map(|content| (seen.next(content), at));
            Keyed { key, input }
        });
        Ok(rows.batch(keyed))
    }
}

/// State shared by the rows of a batch.
struct Shared {
    done: HashMap<Key, RowLocation>,
    /// Answered calls of rows without an answer.
    calls: Mutex<HashMap<Key, EarlierCalls>>,
    reader: JournalReader,
    recorder: Recorder,
    call_journal: CallJournal,
    progress: Arc<Progress>,
    costs: Costs,
}

impl Shared {
    async fn run<I, O>(&self, chain: &Chain<I, O>, row: Keyed<I>, cx: Context) -> fanweave_core::Result<O>
    where
        I: Send + 'static,
        O: Serialize + DeserializeOwned + Send + 'static,
    {
        self.recorder.check().map_err(RowError::step)?;
        let (key, index) = row.key?;
        if let Some(location) = self.done.get(&key) {
            return self.read(*location).map_err(RowError::step);
        }
        let began = Instant::now();
        let calls =
            self.calls.lock().unwrap_or_else(PoisonError::into_inner).remove(&key).unwrap_or_default();
        let answers = EarlierAnswer::read(&calls, &self.reader).map_err(RowError::step)?;
        let tally = Arc::new(Tally::new(self.progress.clone(), self.costs.clone(), calls.totals));
        self.progress.row_started(index, index + 1, None);
        let cx = cx.with_observer(tally.clone());
        let (cx, _) = self.call_journal.begin(key, answers, &self.costs, cx);
        let output = chain.invoke_in(row.input, &cx).await;
        tally.close();
        self.call_journal.ended(&tally);
        let output = output.inspect_err(|_| self.progress.row_cancelled(index))?;
        let value = serde_json::to_value(&output).map_err(RowError::step)?;
        let (latency, mut answer) = (began.elapsed(), value.into_answer());
        tally.add_to(&mut answer);
        let result = Outcome::Answer(Box::new(answer));
        let record = Record::of(&tally, key, index, index + 1, None, latency, result);
        // Journal before yielding: a crash in between must not repeat a paid call.
        let row = Finished {
            origin: Origin::default(),
            row: FinishedRow::new(record, None),
            began,
            latency,
            permit: RowPermit(None),
            request: None,
            is_paid: tally.is_answered(),
            new_cost_usd: tally.calls().cost_since(&calls.totals),
            recorded: None,
        };
        let recorded = self.recorder.record(row).await;
        recorded.map_err(|why| RowError::new(RowErrorKind::Step, why))?;
        Ok(output)
    }

    /// Reads the result of a previous run.
    fn read<O: DeserializeOwned>(&self, location: RowLocation) -> Result<O> {
        let record = self.reader.row(location)?;
        let Outcome::Answer(answer) = record.result else {
            return Err(Error::new(ErrorKind::Journal, "the journal was modified by another process"));
        };
        let Answer { content, .. } = *answer;
        let value = match content {
            Content::Text(text) => Value::String(text),
            Content::Json(value) => value,
        };
        serde_json::from_value(value).map_err(|e| {
            let message =
                format!("the journal contains a result of a different type: {e}; use another journal");
            Error::new(ErrorKind::Mismatch, message)
        })
    }
}

fn key_of<I: Serialize>(input: &I) -> Result<Key, RowError> {
    let value = serde_json::to_value(input).map_err(|e| {
        RowError::new(RowErrorKind::Input, "the input cannot be journalled: it does not serialise to JSON")
            .with_source(e)
    })?;
    Ok(Key::of_value(&value))
}
