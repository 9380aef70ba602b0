//! `fanweave run --dry-run`: runs the chain with simulated models.

use std::fmt::{self, Write};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanweave::batch::{Input, InputRow};
use fanweave::models::Prices;
use fanweave::{Chain, Error, Event, EventKind, Prompt, Usage, Vars};
use serde_json::Value;

use super::{END, cost, show, shown, time, tokens, usd_of};
use crate::args::{ModelArgs, Via};
use crate::cost::expected;
use crate::exit::{Exit, Failure, spelled};
use crate::known::StepPrompts;
use crate::out::{escape_controls, print};
use crate::progress::short;

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
    let mut text = String::new();
    show_steps(&mut text, "", &prompts.steps);
    dry_run.figures(&mut text, prompts, 1, 1);
    if let Err(error) = done {
        let _ = writeln!(text, "incomplete run: {}", spelled(error));
    }
    end(text)?;
    Ok(Exit::Ok)
}

/// Runs the chain for the first rows and extrapolates to the others.
pub(crate) async fn for_rows(
    dry_run: DryRunChain<'_>,
    rows: impl Iterator<Item = fanweave::batch::Result<InputRow>> + Send,
    inputs: impl Fn(Input) -> fanweave::Result<Vars>,
) -> Result<Exit, Failure> {
    let mut text = String::new();
    let (mut count, mut sampled, mut prompts) = (0, 0, SimulatedPrompts::default());
    let (mut invalid, mut incomplete) = (Failed::default(), Failed::default());
    for item in rows {
        let item = item.map_err(|e| Failure::new(e.to_string()))?;
        count += 1;
        let location = item.location();
        let vars = match item.input.and_then(&inputs) {
            Ok(vars) if sampled < MAX_DRY_RUN_ROWS => vars,
            Ok(_) => continue,
            Err(error) => {
                invalid.note(&location, &error);
                continue;
            }
        };
        let (of_row, done) = dry_run.run(vars).await;
        if let Err(error) = done {
            incomplete.note(&location, &error);
        }
        if sampled == 0 {
            let _ = writeln!(text, "{location}:");
            show_steps(&mut text, "  ", &of_row.steps);
        }
        sampled += 1;
        prompts.add(of_row);
    }
    let _ = writeln!(text, "rows: {count}");
    if sampled > 0 {
        dry_run.figures(&mut text, prompts, count - invalid.rows, sampled);
    }
    if invalid.rows > 0 {
        let _ = writeln!(text, "invalid rows: {invalid}");
    }
    if incomplete.rows > 0 {
        let _ = writeln!(text, "incomplete runs: {incomplete}");
    }
    end(text)?;
    Ok(if count > 0 && invalid.rows == count { Exit::Usage } else { Exit::Ok })
}

fn end(mut text: String) -> Result<(), Failure> {
    text.push_str("estimated with simulated models: real answers may lead to different prompts and calls\n");
    text.push_str(END);
    print(escape_controls(&text).as_bytes())
}

impl DryRunChain<'_> {
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

    /// Writes the estimate for `rows`, from the prompts of the `sampled` ones.
    fn figures(&self, text: &mut String, prompts: SimulatedPrompts, rows: u64, sampled: u64) {
        let scaled = |n: u64| (u128::from(n) * u128::from(rows)).div_ceil(u128::from(sampled));
        let scaled = |n: u64| u64::try_from(scaled(n)).unwrap_or(u64::MAX);
        let limited = !prompts.unlimited;
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
        let mut total = Usage::default();
        models.iter().for_each(|(_, _, usage, _)| total += *usage);
        let calls: u64 = models.iter().map(|(_, calls, ..)| calls).sum();
        #[expect(clippy::cast_precision_loss, reason = "a count for people")]
        let shown = short(calls as f64);
        let basis =
            if sampled < rows { format!(", estimated from the first {sampled} rows") } else { String::new() };
        let _ = writeln!(text, "calls: about {shown}{basis}");
        text.push_str(&tokens(total, limited));
        // Each model has its own account.
        #[expect(clippy::cast_precision_loss, reason = "a time for people")]
        let accounts: Vec<_> =
            models.iter().map(|(_, calls, usage, _)| (*calls as f64, usage.total_tokens() as f64)).collect();
        text.push_str(&time(&accounts, self.rpm, self.model));
        for (name, _, _, usd) in &models {
            text.push_str(&cost(name, "", *usd, self.prices));
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

fn show_steps(text: &mut String, indent: &str, steps: &[Step]) {
    for Step { path, first, calls } in steps {
        let more = if *calls > 1 { format!(", the first of {calls} calls") } else { String::new() };
        let _ = writeln!(text, "{indent}{path}{more}:");
        show(text, &format!("{indent}  "), first);
    }
}
