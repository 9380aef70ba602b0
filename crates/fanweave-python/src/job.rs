//! Batches over files and tables: rows, a journal, progress and totals.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fanweave::batch::{
    self, Answer, BatchJob, Content, Costs, Fingerprint, FinishedRow, Input, InputRow, IntoAnswer, Output,
    Progress, ProviderBatches, Render, RowKey, RowSink, RowSource, Settings, Source, Summary,
};
use fanweave::compose::Node;
use fanweave::crates::serde_json::{Map, Value};
use fanweave::models::Prices;
use fanweave::prompts::Template;
use fanweave::{Context, Error, ErrorKind, Item, Result, Runnable, Usage, Vars};
use futures::future::BoxFuture;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::blocking::blocking_context;
use crate::bridge::Bridge;
use crate::chain::{Chain, EngineChain};
use crate::errors::{config, raise};
use crate::item::{from_python, json_from_python, plain, value_to_python};
use crate::logging;
use crate::mailbox::lock;
use crate::object::release_dropped;
use crate::options::{at_least_one, explained};
use crate::process::Process;
use crate::settings::settings_of;
use crate::waiter::{self, Waiter};
use crate::work::{Work, ended};

/// The output of a chain as the result of a row.
struct Out(Answer);

impl IntoAnswer for Out {
    fn into_answer(self) -> Answer {
        self.0
    }
}

fn out_of(item: Item) -> Result<Out> {
    Ok(Out(match plain(item)? {
        Item::Message(message) => message.into_answer(),
        item => item.into_value()?.into_answer(),
    }))
}

/// A chain whose outputs are results of rows, and how its inputs become values.
struct AsRows<I> {
    chain: EngineChain,
    item: fn(I) -> Item,
}

impl<I: Send + 'static> Runnable for AsRows<I> {
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = Out;

    async fn run(&self, input: I, cx: &Context) -> Result<Out> {
        out_of(self.chain.run((self.item)(input), cx).await?)
    }

    fn describe(&self) -> Node {
        self.chain.describe()
    }
}

/// The rows of a table, which is kept by column.
struct Table {
    columns: Vec<(String, std::vec::IntoIter<Value>)>,
    left: usize,
}

impl Iterator for Table {
    type Item = Input;

    fn next(&mut self) -> Option<Input> {
        self.left = self.left.checked_sub(1)?;
        let fields =
            self.columns.iter_mut().filter_map(|(name, values)| Some((name.clone(), values.next()?)));
        Some(Input::Vars(Vars::from(fields.collect::<Map<_, _>>())))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Table {}

/// Rows in memory, which are read in the task of the run: no thread hands them over.
struct InMemory<I> {
    name: &'static str,
    rows: I,
    /// Set if a journal recognises rows by their contents. Otherwise their numbers are their keys.
    has_journal: bool,
    read: u128,
}

impl<I: ExactSizeIterator<Item = Input> + Send + 'static> RowSource for InMemory<I> {
    fn name(&self) -> &str {
        self.name
    }

    async fn next(&mut self) -> batch::Result<Option<InputRow>> {
        self.read += 1;
        Ok(self.rows.next().map(|row| match self.has_journal {
            true => InputRow::new(row),
            false => InputRow::keyed(row, RowKey::from(self.read)),
        }))
    }

    async fn total(&mut self) -> batch::Result<Option<u64>> {
        Ok(Some(self.rows.len() as u64))
    }
}

/// The results of all rows, by column.
#[derive(Default)]
struct Results {
    contents: Vec<Option<Content>>,
    errors: Vec<Option<Error>>,
    finish_reasons: Vec<Option<String>>,
    usages: Vec<(u64, u64)>,
    costs: Vec<Option<f64>>,
}

impl Results {
    fn add(&mut self, row: FinishedRow) {
        let index = usize::try_from(row.index()).expect("rows in memory fit it");
        if index >= self.contents.len() {
            let n = index + 1;
            self.contents.resize(n, None);
            self.errors.resize(n, None);
            self.finish_reasons.resize(n, None);
            self.usages.resize(n, (0, 0));
            self.costs.resize(n, None);
        }
        self.costs[index] = row.cost_usd();
        match row.into_result() {
            Ok(answer) => {
                self.usages[index] = (answer.usage.input_tokens, answer.usage.output_tokens);
                self.finish_reasons[index] = answer.finish_reason;
                self.contents[index] = Some(answer.content);
            }
            Err(error) => self.errors[index] = Some(error),
        }
    }
}

/// Collects the rows of a batch.
struct Collect(Arc<Mutex<Results>>);

impl RowSink for Collect {
    fn write(&mut self, row: FinishedRow) -> batch::Result<()> {
        lock(&self.0).add(row);
        Ok(())
    }
}

#[derive(Default)]
struct State {
    end: Option<batch::Result<Summary>>,
    has_ended: bool,
    waiters: Vec<Waiter>,
}

/// Ends a job whose task is dropped with its runtime.
struct End(Arc<Mutex<State>>);

impl End {
    fn set(&self, end: Option<batch::Result<Summary>>) {
        let waiters = {
            let mut state = lock(&self.0);
            if state.has_ended {
                return;
            }
            state.end = end;
            state.has_ended = true;
            std::mem::take(&mut state.waiters)
        };
        waiters.into_iter().for_each(Waiter::wake);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.set(None);
    }
}

/// A batch that runs. Dropping it ends the calls in flight; the results in its journal stay.
#[pyclass(frozen, module = "fanweave._core")]
pub(crate) struct Job {
    state: Arc<Mutex<State>>,
    results: Arc<Mutex<Results>>,
    progress: Arc<Progress>,
    work: Mutex<Option<Work>>,
    process: Process,
}

fn setting<'py, T: for<'a> FromPyObject<'a, 'py, Error = PyErr>>(
    settings: &Bound<'py, PyDict>,
    name: &str,
) -> PyResult<Option<T>> {
    match settings.get_item(name)? {
        Some(value) if !value.is_none() => {
            Ok(Some(value.extract().map_err(|error| explained(name, &value, error))?))
        }
        _ => Ok(None),
    }
}

/// The rows of a job: the path of a file, a table, or an iterable.
fn source_of(settings: &Bound<'_, PyDict>) -> PyResult<Source> {
    let py = settings.py();
    let has_journal = setting::<PathBuf>(settings, "journal")?.is_some();
    if let Some(path) = setting::<PathBuf>(settings, "path")? {
        return Source::open(path, None).map_err(|error| exception(py, &error));
    }
    if let Some(columns) = settings.get_item("columns")? {
        let left = setting(settings, "rows")?.unwrap_or(0);
        let columns = columns.cast::<PyDict>()?.iter().map(|(name, values)| {
            let values = values.try_iter()?.map(|value| json_from_python(&value?));
            Ok((name.extract()?, values.collect::<PyResult<Vec<_>>>()?.into_iter()))
        });
        let rows = Table { columns: columns.collect::<PyResult<_>>()?, left };
        return Ok(Source::new(InMemory { name: "the table", rows, has_journal, read: 0 }));
    }
    let inputs = settings.get_item("inputs")?.unwrap_or_else(|| PyList::empty(py).into_any());
    let rows = inputs.try_iter()?.map(|input| {
        Ok(match from_python(&input?)? {
            Item::Text(text) => Input::Text(text),
            Item::Prompt(prompt) => Input::Prompt(prompt),
            item => match plain(item).and_then(Item::into_value).map_err(|error| raise(py, &error))? {
                Value::Object(fields) => Input::Vars(Vars::from(fields)),
                other => {
                    return Err(config(py, format!("a row must be a text, a dict or a prompt, got {other}")));
                }
            },
        })
    });
    let rows = rows.collect::<PyResult<Vec<_>>>()?.into_iter();
    Ok(Source::new(InMemory { name: "the rows", rows, has_journal, read: 0 }))
}

fn template(py: Python<'_>, text: Option<String>) -> PyResult<Option<Template>> {
    text.map(Template::parse).transpose().map_err(|error| raise(py, &error))
}

fn costs_of(settings: &Bound<'_, PyDict>) -> PyResult<Costs> {
    let prices = Prices::builtin();
    let budget: Option<f64> = setting(settings, "budget_usd")?;
    let models: Vec<String> = setting(settings, "models")?.unwrap_or_default();
    let length = Usage::EXPECTED_OUTPUT;
    let expected = Usage::new(length, setting(settings, "max_tokens")?.unwrap_or(length));
    let known = models.iter().filter_map(|model| Some(prices.of(model)?.cost(&expected)));
    let row = known.fold(0.0, f64::max);
    if budget.is_some() && row == 0.0 {
        let message = format!("budget_usd needs the price of {}, which is not known", models.join(", "));
        return Err(config(settings.py(), message));
    }
    let via_api = settings.contains("batch_api")?;
    let prices = prices.for_calls();
    let costs = Costs::new(move |model, usage| {
        let price = prices.of(model)?;
        let share = if via_api { price.batch.unwrap_or(1.0) } else { 1.0 };
        Some(price.cost(usage) * share)
    });
    Ok(match budget {
        Some(usd) => costs.cap(usd, row),
        None => costs,
    })
}

/// The provider's batch API, by the name and the settings of a model.
fn batch_api_of(settings: &Bound<'_, PyDict>) -> PyResult<Option<ProviderBatches>> {
    let py = settings.py();
    let Some((name, own)) = setting::<(String, Bound<'_, PyDict>)>(settings, "batch_api")? else {
        return Ok(None);
    };
    let (own, parameters) = settings_of(&own)?;
    let client = own.builder(&name).batch_api().map_err(|error| raise(py, &error))?;
    Ok(Some(ProviderBatches::new(client.with(parameters))))
}

/// Starts a batch. `settings` are those of `fanweave.batch`, with the rows.
#[pyfunction]
pub(crate) fn job(
    py: Python<'_>,
    chain: &Bound<'_, Chain>,
    settings: &Bound<'_, PyDict>,
    options: Option<&Bound<'_, PyDict>>,
    bridge: Option<&Bridge>,
) -> PyResult<Job> {
    // Before the first event of the batch.
    logging::look(py);
    let cx = blocking_context(chain, options, bridge)?;
    let source = source_of(settings)?;
    let results = Arc::<Mutex<Results>>::default();
    let journal: Option<PathBuf> = setting(settings, "journal")?;
    let file: Option<PathBuf> = setting(settings, "output")?;
    // Rows are put into their order by their index: without a journal, none waits for an earlier one.
    let is_direct = file.is_none() && journal.is_none();
    let output = match (file, journal) {
        (Some(path), _) => Output::File(path),
        (None, Some(path)) => Output::sink(path, Collect(results.clone())),
        (None, None) => Output::direct(Collect(results.clone())),
    };
    let concurrency = at_least_one(&settings.as_any().get_item("concurrency")?, "concurrency")?;
    let mut own = Settings::new()
        .concurrency(concurrency)
        .unordered(is_direct)
        .retry_failed(setting(settings, "retry_failed")?.unwrap_or(false))
        .fresh(setting(settings, "fresh")?.unwrap_or(false))
        .dedupe(setting(settings, "dedupe")?.unwrap_or(false));
    if let Some(rows) = setting(settings, "limit")? {
        own = own.limit(rows);
    }
    let values: Vec<(String, String)> = setting(settings, "fingerprint")?.unwrap_or_default();
    let fingerprint = values.into_iter().fold(Fingerprint::new(), |all, (name, value)| all.set(name, value));
    let progress = Arc::<Progress>::default();
    // The rate counts from the first snapshot.
    progress.snapshot();
    let state = Arc::<Mutex<State>>::default();
    let common =
        Common { settings: own, fingerprint, progress: progress.clone(), cx, costs: costs_of(settings)? };
    let engine = chain.get().engine().clone();
    let is_chain = setting(settings, "is_chain")?.unwrap_or(false);
    let (prompt, system) =
        (template(py, setting(settings, "prompt")?)?, template(py, setting(settings, "system")?)?);
    let run: BoxFuture<'static, batch::Result<Summary>> = if is_chain {
        let rows = AsRows { chain: engine, item: std::convert::identity };
        let job = BatchJob::over(source, as_item, fanweave::chain(rows), output);
        Box::pin(common.of(job).run())
    } else {
        let mut render = Render::new();
        if let Some(template) = prompt {
            render = render.template(template);
        }
        if let Some(template) = system {
            render = render.system(template);
        }
        match chain.get().model() {
            // Without conversions of each row.
            Some(model) => {
                let job = BatchJob::new(source, render, fanweave::chain(model.clone()), output);
                let job = common.of(job);
                match batch_api_of(settings)? {
                    Some(api) => Box::pin(async move { job.run_via(&api).await }),
                    None => job.run_messages(),
                }
            }
            // Without the batch API, which is one of models.
            None => {
                let rows = AsRows { chain: engine, item: |prompt| Item::Prompt(Box::new(prompt)) };
                Box::pin(common.of(BatchJob::new(source, render, fanweave::chain(rows), output)).run())
            }
        }
    };
    let end = End(state.clone());
    let work = Work::spawn(async move { end.set(Some(run.await)) });
    Ok(Job { state, results, progress, work: Mutex::new(Some(work)), process: Process::current() })
}

fn as_item(input: Input) -> Result<Item> {
    Ok(match input {
        Input::Prompt(prompt) => Item::Prompt(prompt),
        Input::Vars(vars) => Item::Vars(vars),
        Input::Text(text) => Item::Text(text),
        other => return Err(Error::new(ErrorKind::Input, format!("unknown kind of row: {other:?}"))),
    })
}

/// Settings of jobs of all kinds.
struct Common {
    settings: Settings,
    fingerprint: Fingerprint,
    progress: Arc<Progress>,
    cx: Context,
    costs: Costs,
}

impl Common {
    fn of<I: Send + 'static, O: IntoAnswer>(self, job: BatchJob<I, O>) -> BatchJob<I, O> {
        job.settings(self.settings)
            .fingerprint(self.fingerprint)
            .progress(self.progress)
            .within(self.cx)
            .costs(self.costs)
    }
}

fn exception(py: Python<'_>, error: &batch::Error) -> PyErr {
    match error.kind() {
        batch::ErrorKind::Io => PyOSError::new_err(error.to_string()),
        batch::ErrorKind::Provider => raise(py, &Error::new(ErrorKind::Server, error.to_string())),
        _ => config(py, error.to_string()),
    }
}

#[pymethods]
impl Job {
    /// A future that is settled when the job ends, and its number.
    fn wait<'py>(&self, py: Python<'py>, bridge: &Bridge) -> PyResult<(Bound<'py, PyAny>, u64)> {
        self.process.check(py)?;
        waiter::wait(py, bridge, |waiter| self.register(waiter))
    }

    /// Blocks until the job ends, at most this many seconds. Returns true if it has ended.
    fn wait_blocking(&self, py: Python<'_>, seconds: f64) -> PyResult<bool> {
        self.process.check(py)?;
        let until = Instant::now() + Duration::try_from_secs_f64(seconds).unwrap_or_default();
        waiter::wait_blocking_until(py, until, |waiter| self.register(waiter))?;
        Ok(lock(&self.state).has_ended)
    }

    /// The counts so far.
    fn snapshot<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let now = self.progress.snapshot();
        let fields = PyDict::new(py);
        fields.set_item("total", now.total)?;
        fields.set_item("done", now.done)?;
        fields.set_item("ok", now.ok)?;
        fields.set_item("failed", now.failed)?;
        fields.set_item("resumed", now.resumed)?;
        fields.set_item("in_flight", now.in_flight)?;
        fields.set_item("waiting", now.waiting)?;
        fields.set_item("retrying", now.retrying)?;
        fields.set_item("retries", now.retries)?;
        fields.set_item("rate", now.rate)?;
        fields.set_item("eta", now.eta().map(|eta| eta.as_secs_f64()))?;
        fields.set_item("cost_usd", now.cost_usd)?;
        fields.set_item("usage", Bound::new(py, crate::message::Usage::from(now.usage))?)?;
        Ok(fields)
    }

    /// The totals, once the job has ended.
    ///
    /// Raises the error that kept the job from starting or continuing.
    fn summary<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let end = lock(&self.state).end.take();
        let summary = match end {
            Some(Ok(summary)) => summary,
            Some(Err(error)) => return Err(exception(py, &error)),
            None => return Err(raise(py, &ended())),
        };
        release_dropped(py);
        let fields = PyDict::new(py);
        fields.set_item("rows", summary.rows)?;
        fields.set_item("ok", summary.ok)?;
        fields.set_item("failed", summary.failed)?;
        fields.set_item("resumed", summary.resumed)?;
        fields.set_item("left", summary.left)?;
        fields.set_item("retries", summary.retries)?;
        fields.set_item("interrupted", summary.interrupted)?;
        fields.set_item("over_budget", summary.over_budget)?;
        fields.set_item("cost_usd", summary.cost_usd)?;
        fields.set_item("wall", summary.wall.as_secs_f64())?;
        fields.set_item("usage", Bound::new(py, crate::message::Usage::from(summary.usage))?)?;
        let refused = summary.refused.or(summary.unavailable);
        fields.set_item("refused", refused.map(|error| raise(py, &error).into_value(py)))?;
        fields.set_item("failures", summary.failures.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        fields.set_item("notes", summary.notes)?;
        Ok(fields)
    }

    /// The results as columns, in the order of the rows, which the job then no longer has.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let results = std::mem::take(&mut *lock(&self.results));
        let columns = PyDict::new(py);
        let contents = PyList::empty(py);
        for content in results.contents {
            contents.append(match content {
                None => py.None().into_bound(py),
                Some(Content::Text(text)) => text.into_pyobject(py)?.into_any(),
                Some(Content::Json(value)) => value_to_python(py, value)?,
            })?;
        }
        columns.set_item("outputs", contents)?;
        let errors =
            results.errors.into_iter().map(|error| error.map(|error| raise(py, &error).into_value(py)));
        columns.set_item("errors", errors.collect::<Vec<_>>())?;
        columns.set_item("finish_reason", results.finish_reasons)?;
        columns.set_item("input_tokens", results.usages.iter().map(|(n, _)| *n).collect::<Vec<_>>())?;
        columns.set_item("output_tokens", results.usages.iter().map(|(_, n)| *n).collect::<Vec<_>>())?;
        columns.set_item("cost_usd", results.costs)?;
        Ok(columns)
    }

    /// Ends the calls in flight.
    fn close(&self) {
        let work = lock(&self.work).take();
        drop(work);
    }
}

impl Job {
    fn register(&self, waiter: Waiter) {
        let mut state = lock(&self.state);
        if state.has_ended {
            drop(state);
            waiter.wake();
        } else {
            // A thread that has stopped waiting.
            state.waiters.retain(|other| matches!(other, Waiter::Loop(..)));
            state.waiters.push(waiter);
        }
    }
}

/// The variables that a template reads, sorted.
#[pyfunction]
pub(crate) fn variables(py: Python<'_>, text: String) -> PyResult<Vec<String>> {
    Ok(Template::parse(text).map_err(|error| raise(py, &error))?.variables())
}
