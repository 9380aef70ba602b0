//! The batch job: reads rows, runs their calls concurrently and records the results.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use fanweave_core::context::CancellationToken;
use fanweave_core::{Chain, Context, Message, Priority, Prompt};
use futures::future::BoxFuture;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::answer::IntoAnswer;
use crate::answers::CallJournal;
use crate::budget::RowBudget;
use crate::dedupe::Dedupe;
use crate::disk::Disk;
use crate::feed::{Feed, Job, KeyedRows};
use crate::fingerprint::Fingerprint;
use crate::input::Input;
use crate::key::Key;
use crate::open::{Open, Opened};
use crate::output::Output;
use crate::progress::Progress;
use crate::recorder::{Recorder, RowRecorder};
use crate::render::Prepared;
use crate::row::{Prepare, PromptOf, RequestKey, RowRun};
use crate::settings::Settings;
use crate::source::Source;
use crate::store::RecordStore;
use crate::summary::Summary;
use crate::window::{Terms, Window};
use crate::{Costs, Render, Result};

/// Maximum rows read ahead of the calls. Enough to keep calls from waiting for the reader, and few enough for
/// rows of many MiB.
pub(crate) const AHEAD: usize = 64;

/// A job that runs a chain over the rows of a source. Create it with [`new`](Self::new) or
/// [`over`](Self::over), start it with [`run`](Self::run).
///
/// ```
/// use fanweave::batch::{BatchJob, Output, Render, Source};
/// use fanweave::{chain, prompts::Template, testing::Fake};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> { fanweave::blocking::wait(async {
/// let source = Source::from_reader("cities", "Oslo\nRome\n".as_bytes(), None)?;
/// let render = Render::new().template(Template::parse("Where is {{ input }}?")?);
/// let job = BatchJob::new(source, render, chain(Fake::echo()), Output::Writer(Box::new(std::io::sink())));
/// let summary = job.run().await?;
/// assert_eq!((summary.ok, summary.failed), (2, 0));
/// # Ok(())
/// # }) }
/// ```
pub struct BatchJob<I, O> {
    pub(crate) source: Source,
    pub(crate) prepare: Arc<Prepare<I>>,
    pub(crate) chain: Chain<I, O>,
    pub(crate) output: Output,
    pub(crate) settings: Settings,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) progress: Arc<Progress>,
    pub(crate) stop: CancellationToken,
    pub(crate) cx: Context,
    /// Computes the key of a request, if requests can be compared.
    request_key: Option<RequestKey<I>>,
    /// The prompt of an input, if inputs have one.
    prompt_of: Option<PromptOf<I>>,
    pub(crate) costs: Costs,
    pub(crate) disk: Disk,
}

impl<O: IntoAnswer> BatchJob<Prompt, O> {
    /// Creates a job that renders each row with `render` and sends the prompt to `chain`.
    pub fn new(source: Source, render: Render, chain: Chain<Prompt, O>, output: Output) -> Self {
        let render = render.ready();
        let mut job = Self::with(source, Arc::new(move |input| render.prepare(input)), chain, output);
        job.request_key = Some(Key::of_request);
        job.prompt_of = Some(|prompt| prompt);
        job
    }
}

impl<I: Send + 'static, O: IntoAnswer> BatchJob<I, O> {
    /// Creates a job for a chain of any input. `prepare` converts each row; its error fails the row.
    pub fn over(
        source: Source,
        prepare: impl Fn(Input) -> fanweave_core::Result<I> + Send + Sync + 'static,
        chain: Chain<I, O>,
        output: Output,
    ) -> Self {
        Self::with(source, Arc::new(move |input| Prepared::Now(prepare(input))), chain, output)
    }

    fn with(source: Source, prepare: Arc<Prepare<I>>, chain: Chain<I, O>, output: Output) -> Self {
        Self {
            source,
            prepare,
            chain,
            output,
            settings: Settings::default(),
            fingerprint: Fingerprint::new(),
            progress: Arc::default(),
            stop: CancellationToken::new(),
            cx: Context::new(),
            request_key: None,
            prompt_of: None,
            costs: Costs::default(),
            disk: Disk::default(),
        }
    }

    /// Lets inputs be compared, as JSON, for [`Settings::dedupe`]: rows with equal inputs share one result.
    /// The prompts of [`new`](Self::new) are compared in any case.
    ///
    /// ```
    /// use fanweave::batch::{BatchJob, Input, Output, Settings, Source};
    /// use fanweave::{step, testing::Fake};
    ///
    /// # fn main() -> fanweave::batch::Result<()> { fanweave::blocking::wait(async {
    /// let source = Source::rows("words", ["a", "b", "a"]);
    /// let text = |input| match input {
    ///     Input::Text(text) => Ok(text),
    ///     _ => unreachable!("the rows are texts"),
    /// };
    /// let upper = step(|text: String, _| async move { Ok(text.to_uppercase()) });
    /// let job = BatchJob::over(source, text, fanweave::chain(upper),
    /// Output::Writer(Box::new(std::io::sink()))); let summary =
    /// job.comparing_inputs().settings(Settings::new().dedupe(true)).run().await?; assert_eq!(summary.ok, 3);
    /// # Ok(())
    /// # }) }
    /// ```
    #[must_use]
    pub fn comparing_inputs(mut self) -> Self
    where
        I: Serialize,
    {
        self.request_key = Some(key_of_input);
        self
    }

    /// Sets the options of the job.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Sets everything that changes the answers to rows, by name: model, template, parameters. A journal with
    /// a different fingerprint is rejected with the differences. Never pass an API key: the values are stored
    /// in the journal.
    ///
    /// Default: none, so a changed prompt, model or parameter is not noticed, and rows that were answered
    /// keep their answers.
    ///
    /// ```
    /// use fanweave::batch::{BatchJob, Fingerprint, Output, Render, Source};
    /// use fanweave::{chain, prompts::Template, testing::Fake};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let template = "Describe {{ product }}.";
    /// let render = Render::new().template(Template::parse(template)?);
    /// let source = Source::rows("products", ["a lamp"]);
    /// let job = BatchJob::new(source, render, chain(Fake::echo()), Output::File("answers.jsonl".into()))
    ///     .fingerprint(Fingerprint::new().set("prompt", template));
    /// # drop(job);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn fingerprint(mut self, fingerprint: impl Into<Fingerprint>) -> Self {
        self.fingerprint = fingerprint.into();
        self
    }

    /// Counts into `progress`, which must not be shared with another job.
    #[must_use]
    pub fn progress(mut self, progress: Arc<Progress>) -> Self {
        self.progress = progress;
        self
    }

    /// Starts no more rows once `stop` is cancelled. Requests in flight complete. Rows that wait for a limit,
    /// a retry or the end of an outage end immediately without a result, and run when the job is resumed.
    #[must_use]
    pub fn stop(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    /// Sets a deadline, cancellation or observers for all rows. A cancelled row has no result, and runs when
    /// the job is resumed.
    #[must_use]
    pub fn within(mut self, cx: Context) -> Self {
        self.cx = cx;
        self
    }

    /// Sets the prices of calls and the budget. Default: no prices and no budget.
    #[must_use]
    pub fn costs(mut self, costs: Costs) -> Self {
        self.costs = costs;
        self
    }

    /// Injects faults into disk operations.
    #[cfg(test)]
    pub(crate) fn disk(mut self, disk: Disk) -> Self {
        self.disk = disk;
        self
    }

    /// Runs the job until it ends or is stopped.
    ///
    /// If the journal of a previous run matches, the rows in it are not called a second time. A failed row is
    /// part of the summary, not an error.
    ///
    /// No more rows are started when the account is rejected (an invalid key, no credit, the daily quota used
    /// up, an unknown model): the rows that were rejected have no result; see [`Summary::refused`]. The same
    /// applies if the first rows, at least 8, are all rejected for the same reason, and if the provider fails
    /// for longer than the outage timeout: see [`Summary::unavailable`].
    ///
    /// # Errors
    /// An error that kept the job from starting or continuing: see [`ErrorKind`](crate::ErrorKind).
    /// Journalled results are kept, and the same job resumes from them.
    ///
    /// # Cancellation
    /// Dropping the future ends the calls in flight. All rows that have ended are journalled, and the output
    /// file is not touched; the same job resumes from there. The drop waits for the last write to the
    /// journal.
    pub async fn run(mut self) -> Result<Summary> {
        let began = Instant::now();
        let (disk, request_key) = (std::mem::take(&mut self.disk), self.request_key);
        let JobParts { source, output, settings, fingerprint, mut rows } = self.into_rows();
        let progress = rows.progress.clone();
        let at_once = settings.concurrency.checked().map_err(|error| crate::Error::usage(error.message()))?;
        let open = Open { output, settings: settings.clone(), fingerprint, progress: progress.clone(), disk };
        let (opened, source) = open.run(source).await?;
        let Opened { mut recording, driver, previous, keeps_calls, columns, has_one_choice, .. } = opened;
        rows.has_one_choice = has_one_choice;
        let was_answered = previous.done.values().any(|location| location.is_ok());
        let dedupe = (settings.dedupe && request_key.is_some()).then(Arc::<Dedupe>::default);
        recording.dedupe.clone_from(&dedupe);
        let calls = match &recording.store {
            RecordStore::Journal(journal) if !previous.calls.is_empty() => {
                Some((previous.calls, journal.reader()?))
            }
            _ => None,
        };
        let recorder = Recorder::spawn(recording, driver)?;
        let journal = keeps_calls.then(|| CallJournal::new(recorder.weak(), calls.is_some(), &rows.chain));
        let (jobs, inbox) = mpsc::channel(at_once.get().min(AHEAD));
        let is_file = !source.paths().is_empty();
        let answered = Arc::new(OnceLock::new());
        let feed = Feed {
            rows: KeyedRows::new(source, settings.limit).with_columns(columns).with_samples(settings.samples),
            done: previous.done,
            strict: settings.strict,
            calls,
            jobs,
            recorder: recorder.weak(),
            answered: answered.clone(),
            progress,
        };
        let reading = feed.start()?;

        let (around, stop) = (rows.cx.clone(), rows.stop.clone());
        let budget = Box::new(rows.costs.budget(previous.spent_usd, previous.unpriced));
        let (row, terms) = rows.begin(dedupe.zip(request_key), journal, budget);
        let terms = Terms { is_answered: was_answered, answered, ..terms };
        let mut window = Window::new(row, recorder, inbox, terms);
        let (ended, read) = reading.during(pin!(window.run(&stop, &around))).await;
        ended?;
        if is_file && let Some(read) = read {
            // The output also includes finished rows after the position at which the run was stopped.
            let _ = read.await;
        }
        let needed = window.needed_budget();
        let Window { row, recorder, stopped, .. } = window;
        let failures = recorder.end(stopped.is_cut_short).await?;
        let (wall, notes) = (began.elapsed(), previous.notes);
        Ok(Summary {
            wall,
            failures,
            notes,
            next_row_budget_usd: needed.map(|needed| needed.next_row),
            all_rows_budget_usd: needed.and_then(|needed| needed.all_rows),
            ..stopped.into_summary(&row.progress.snapshot())
        })
    }
}

impl BatchJob<Prompt, Message> {
    /// Like [`run`](Self::run), but compiled with this crate, which a program may optimise more than its own.
    #[doc(hidden)]
    pub fn run_messages(self) -> BoxFuture<'static, Result<Summary>> {
        Box::pin(self.run())
    }
}

impl<I: Send + 'static, O: IntoAnswer> BatchJob<I, O> {
    /// Takes the job apart, for programs that read its rows and run them in different places.
    #[doc(hidden)]
    pub fn into_rows(self) -> JobParts<I, O> {
        let Self {
            source, prepare, prompt_of, chain, output, fingerprint, progress, stop, cx, costs, ..
        } = self;
        let settings = self.settings;
        let has_one_choice = settings.answer_schema.is_some();
        let rows = Rows {
            prepare,
            prompt_of,
            has_one_choice,
            chain,
            cx,
            settings: settings.clone(),
            progress,
            costs,
            stop,
        };
        JobParts { source, output, settings, fingerprint, rows }
    }
}

/// Key of an input as JSON. One that cannot be serialised equals no other.
pub(crate) fn key_of_input<I: Serialize>(input: &I) -> Key {
    static OTHERS: AtomicU64 = AtomicU64::new(0);
    match serde_json::to_value(input) {
        Ok(value) => Key::of_value(&value),
        Err(_) => Key::of(&[b"other", &OTHERS.fetch_add(1, Ordering::Relaxed).to_le_bytes()]),
    }
}

/// The parts of a [`BatchJob`].
pub struct JobParts<I, O> {
    /// The rows.
    pub source: Source,
    /// The output.
    pub output: Output,
    /// The options.
    pub settings: Settings,
    /// Everything that changes the answers.
    pub fingerprint: Fingerprint,
    /// The way in which rows run.
    pub rows: Rows<I, O>,
}

/// The way in which the rows of a job run: its chain, options and prices.
pub struct Rows<I, O> {
    prepare: Arc<Prepare<I>>,
    prompt_of: Option<PromptOf<I>>,
    has_one_choice: bool,
    chain: Chain<I, O>,
    cx: Context,
    settings: Settings,
    progress: Arc<Progress>,
    costs: Costs,
    stop: CancellationToken,
}

impl<I: Send + 'static, O: IntoAnswer> Rows<I, O> {
    /// Rows in flight that come from `jobs`, and whose results go to `recorder`. `budget` is used in place of
    /// the budget of the job. Requests are not deduplicated, and calls are not journalled.
    pub fn window<R: RowRecorder>(
        self,
        recorder: R,
        jobs: mpsc::Receiver<Result<Job>>,
        budget: impl RowBudget + 'static,
    ) -> Window<I, O, R> {
        let (row, terms) = self.begin(None, None, Box::new(budget));
        Window::new(row, recorder, jobs, terms)
    }

    /// The settings of a row and of the rows in flight.
    fn begin(
        self,
        dedupe: Option<(Arc<Dedupe>, RequestKey<I>)>,
        journal: Option<CallJournal>,
        budget: Box<dyn RowBudget>,
    ) -> (RowRun<I, O>, Terms) {
        let Self { prepare, prompt_of, has_one_choice, chain, cx, settings, progress, costs, stop } = self;
        let (drain, is_last) = (stop.child_token(), Arc::new(AtomicBool::new(false)));
        if let Some(max_usd) = costs.max_usd() {
            progress.set_cap(max_usd);
        }
        // Programs that share the account have interactive users waiting.
        let cx = cx
            .with_concurrency(settings.concurrency)
            .with_priority(Priority::Batch)
            .with_draining(drain.clone())
            .with_last_call(is_last.clone())
            // Near its limit, a budget cannot cover hedged requests.
            .with_hedging(settings.hedge && costs.max_usd().is_none());
        let row = RowRun { prepare, prompt_of, has_one_choice, chain, cx, progress, costs, dedupe, journal };
        let terms = Terms {
            // With 0, every row fails for it.
            concurrency: settings.concurrency.get().max(1),
            budget,
            drain,
            keeps_going: settings.keep_going,
            max_errors: settings.max_errors,
            is_answered: false,
            answered: Arc::default(),
            is_last,
        };
        (row, terms)
    }
}
