//! `fanweave run --dry-run`: runs the chain with simulated models.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanweave::batch::{Input, PlannedRequests, PlannedRow, PlannedRows};
use fanweave::models::Prices;
use fanweave::{Chain, Error, Event, EventKind, Prompt, Usage, Vars};
use serde_json::Value;

use super::estimate::{Budget, Cost, Estimate, OutputBasis, Rows, Shown};
use super::{limit_time, shown, time, usd_of};
use crate::args::{ModelArgs, Via};
use crate::cost::expected;
use crate::exit::{Exit, Failure, spelled};
use crate::known::StepPrompts;

/// Maximum rows to run. The estimate is extrapolated to the other rows.
const MAX_DRY_RUN_ROWS: u64 = 100;

/// A chain with simulated models, and the prices and limits of the real ones.
pub(crate) struct DryRunChain<'a> {
    pub(crate) chain: Chain<Vars, Value>,
    pub(crate) prices: &'a Prices,
    pub(crate) model: &'a ModelArgs,
    pub(crate) rpm: Option<NonZeroU32>,
    /// Checks the prompts of each step.
    pub(crate) checked: Arc<StepPrompts>,
    pub(crate) budget_usd: Option<f64>,
    /// Set to print JSON.
    pub(crate) as_json: bool,
}

/// Prompts and usage of simulated runs.
#[derive(Default)]
struct SimulatedPrompts {
    /// The steps, in the order of their first calls.
    steps: Vec<Step>,
    /// Number of calls of each model, their usage, and their cost in US dollars.
    models: Vec<(String, u64, Usage, f64)>,
    /// Set if a call had no `max_tokens`.
    unlimited: bool,
}

/// The calls of one step.
struct Step {
    path: String,
    /// Its first prompt, as shown.
    first: Vec<String>,
    calls: u64,
}

/// Number of failed rows, and the first error.
#[derive(Default)]
struct Failed {
    rows: u64,
    first: String,
}

/// Runs the chain once with `inputs`.
pub(crate) async fn once(dry_run: DryRunChain<'_>, inputs: Vars) -> Result<Exit, Failure> {
    let (prompts, done) = dry_run.run(inputs).await;
    let mut estimate = dry_run.estimate();
    estimate.prompts = prompts.shown(false);
    dry_run.figures(&mut estimate, prompts, 1, 1, None);
    estimate.incomplete = done.err().map(|error| format!("incomplete run: {}", spelled(error)));
    estimate.budget = dry_run.budget_usd.map(|usd| Budget { usd, spent: 0.0 });
    estimate.print(dry_run.as_json)?;
    Ok(Exit::Ok)
}

/// Rows of a dry run.
pub(crate) struct DryRunRows {
    pub(crate) planned: PlannedRows,
    /// Samples of each row.
    pub(crate) samples: u32,
    /// Number of rows of the whole input, if the run takes a part of it.
    pub(crate) of_input: Option<u64>,
    /// Maximum rows in flight.
    pub(crate) at_once: usize,
    /// Set if rows with equal inputs share one result.
    pub(crate) dedupes: bool,
    /// Set if invalid rows do not change the exit code.
    pub(crate) keeps_going: bool,
}

/// Runs the chain for the first rows without a result and extrapolates to the others.
pub(crate) async fn for_rows(
    dry_run: DryRunChain<'_>,
    of_rows: DryRunRows,
    inputs: impl Fn(Input) -> fanweave::Result<Vars>,
) -> Result<Exit, Failure> {
    let DryRunRows { planned, samples, of_input, at_once, dedupes, keeps_going } = of_rows;
    let mut estimate = dry_run.estimate();
    let mut rows = Rows { samples, of_input, ..Rows::default() };
    let (mut sampled, mut prompts) = (0, SimulatedPrompts::default());
    let mut incomplete = Failed::default();
    let (spent, mean_latency) = (planned.spent_usd(), planned.mean_latency());
    let mut requests = dedupes.then(PlannedRequests::default);
    for item in planned {
        let PlannedRow { row, has_result, .. } = item.map_err(|e| Failure::new(e.to_string()))?;
        rows.taken += u64::from(row.index.is_multiple_of(u64::from(samples)));
        if has_result {
            rows.done += 1;
            continue;
        }
        let location = row.location();
        let vars = match row.input.and_then(&inputs) {
            Ok(vars) if requests.as_mut().is_some_and(|requests| !requests.add_input(&vars)) => {
                rows.equal += 1;
                continue;
            }
            Ok(vars) if sampled < MAX_DRY_RUN_ROWS => vars,
            Ok(_) => continue,
            Err(error) => {
                rows.invalid += 1;
                rows.first_invalid.get_or_insert_with(|| format!("{location}: {error}"));
                continue;
            }
        };
        let (of_row, done) = dry_run.run(vars).await;
        if let Err(error) = done {
            incomplete.note(&location, &error);
        }
        if sampled == 0 {
            let heading = Shown { location, is_nested: false, messages: Vec::new() };
            estimate.prompts = std::iter::once(heading).chain(of_row.shown(true)).collect();
        }
        sampled += 1;
        prompts.add(of_row);
    }
    let (to_run, has_invalid) = (rows.to_run(), rows.invalid > 0);
    if sampled > 0 {
        dry_run.figures(&mut estimate, prompts, to_run, sampled, Some((mean_latency, at_once)));
    }
    if incomplete.rows > 0 {
        estimate.incomplete = Some(format!("incomplete runs: {incomplete}"));
    }
    estimate.rows = Some(rows);
    estimate.budget = dry_run.budget_usd.map(|usd| Budget { usd, spent });
    estimate.print(dry_run.as_json)?;
    Ok(if has_invalid && !keeps_going { Exit::Usage } else { Exit::Ok })
}

impl DryRunChain<'_> {
    /// An estimate without figures.
    fn estimate(&self) -> Estimate {
        let prices_date = self.prices.date().to_owned();
        Estimate { prices_date, is_simulated: true, ..Estimate::default() }
    }

    /// Runs the chain, and returns its prompts and result.
    async fn run(&self, vars: Vars) -> (SimulatedPrompts, fanweave::Result<Value>) {
        let prompts = Arc::new(Mutex::new(SimulatedPrompts::default()));
        let (seen, prices) = (prompts.clone(), self.prices.clone());
        let observer = move |event: &Event| {
            if let EventKind::PromptSent(prompt) = &event.kind {
                lock(&seen).note(event, prompt, &prices);
            }
        };
        let done = self.chain.invoke_in(vars, &self.checked.watch().with_observer(Arc::new(observer))).await;
        (std::mem::take(&mut *lock(&prompts)), done)
    }

    /// Sets the figures for `rows` rows, from the prompts of the `sampled` ones. `earlier` are the mean
    /// latency of earlier rows, and the rows in flight.
    fn figures(
        &self,
        estimate: &mut Estimate,
        prompts: SimulatedPrompts,
        rows: u64,
        sampled: u64,
        earlier: Option<(Option<Duration>, usize)>,
    ) {
        let scaled = |n: u64| (u128::from(n) * u128::from(rows)).div_ceil(u128::from(sampled));
        let scaled = |n: u64| u64::try_from(scaled(n)).unwrap_or(u64::MAX);
        if !prompts.unlimited {
            estimate.output = OutputBasis::Maximum;
        }
        let models: Vec<_> = prompts
            .models
            .into_iter()
            .map(|(name, calls, usage, usd)| {
                let (input_tokens, output_tokens) = (scaled(usage.input_tokens), scaled(usage.output_tokens));
                let usage = usage.input_tokens(input_tokens).output_tokens(output_tokens);
                #[expect(clippy::cast_precision_loss, reason = "counts of rows, for an estimate")]
                let usd = usd * rows as f64 / sampled as f64;
                (name, scaled(calls), usage, usd)
            })
            .collect();
        models.iter().for_each(|(_, _, usage, _)| estimate.usage += *usage);
        let calls: u64 = models.iter().map(|(_, calls, ..)| calls).sum();
        let basis =
            if sampled < rows { format!(", estimated from the first {sampled} rows") } else { String::new() };
        estimate.calls = Some((calls, basis));
        // Each model has its own account.
        #[expect(clippy::cast_precision_loss, reason = "a time for people")]
        let accounts: Vec<_> =
            models.iter().map(|(_, calls, usage, _)| (*calls as f64, usage.total_tokens() as f64)).collect();
        let limits = limit_time(&accounts, self.rpm, self.model);
        estimate.time = match earlier {
            Some((mean, at_once)) => time(limits, rows, mean, at_once),
            None => limits,
        };
        for (model, _, _, usd) in models {
            let usd = self.prices.of(&model).map(|_| usd);
            estimate.total.add(usd, true);
            estimate.costs.push(Cost { model, of: "", usd });
        }
    }
}

impl SimulatedPrompts {
    fn note(&mut self, event: &Event, prompt: &Prompt, prices: &Prices) {
        self.unlimited |= prompt.parameters.max_tokens.is_none();
        let (model, usage) = (event.path.name().unwrap_or_default(), expected(Some(prompt), None));
        self.count(model, 1, usage, usd_of(model, &usage, prices, Via::Calls));
        let path = event.path.to_string();
        match self.steps.iter_mut().find(|step| step.path == path) {
            Some(step) => step.calls += 1,
            None => self.steps.push(Step { path, first: shown(prompt), calls: 1 }),
        }
    }

    fn count(&mut self, model: &str, calls: u64, usage: Usage, usd: f64) {
        match self.models.iter_mut().find(|(name, ..)| name == model) {
            Some((_, total_calls, total_usage, total_usd)) => {
                *total_calls += calls;
                *total_usage += usage;
                *total_usd += usd;
            }
            None => self.models.push((model.to_owned(), calls, usage, usd)),
        }
    }

    /// The first prompts of the steps.
    fn shown(&self, is_nested: bool) -> Vec<Shown> {
        let shown = |Step { path, first, calls }: &Step| {
            let more = if *calls > 1 { format!(", the first of {calls} calls") } else { String::new() };
            Shown { location: format!("{path}{more}"), is_nested, messages: first.clone() }
        };
        self.steps.iter().map(shown).collect()
    }

    /// Adds the calls of another row.
    fn add(&mut self, other: Self) {
        self.unlimited |= other.unlimited;
        for (model, calls, usage, usd) in other.models {
            self.count(&model, calls, usage, usd);
        }
    }
}

impl Failed {
    fn note(&mut self, location: &str, why: &Error) {
        if self.rows == 0 {
            self.first = format!("{location}: {}", spelled(why.clone()));
        }
        self.rows += 1;
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, first } = self;
        write!(f, "{rows}, the first: {first}")
    }
}

fn lock(prompts: &Mutex<SimulatedPrompts>) -> MutexGuard<'_, SimulatedPrompts> {
    prompts.lock().unwrap_or_else(PoisonError::into_inner)
}
