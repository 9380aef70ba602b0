//! `fanweave run --dry-run`: the chain runs, and a simulated model answers in place of its own.

use std::fmt::{self, Write};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanweave::batch::{Input, Source};
use fanweave::models::Prices;
use fanweave::{Chain, Context, Error, Event, EventKind, Prompt, Usage, Vars};
use serde_json::Value;

use super::{END, cost, show, time, tokens};
use crate::args::{ModelArgs, Via};
use crate::cost::expected;
use crate::exit::{Exit, Failure};
use crate::out::{escape_controls, print};
use crate::progress::short;

/// Most rows that are rehearsed: the others are taken to be like them.
const MAX_DRY_RUN_ROWS: u64 = 100;

/// A chain whose models are stand-ins, and what is known of its runs.
pub(crate) struct DryRunChain<'a> {
    pub(crate) chain: Chain<Vars, Value>,
    pub(crate) prices: &'a Prices,
    pub(crate) model: &'a ModelArgs,
    pub(crate) rpm: Option<NonZeroU32>,
}

/// What rehearsed runs asked.
#[derive(Default)]
struct RehearsedPrompts {
    /// The steps in the order in which they asked.
    steps: Vec<Step>,
    /// How many calls and tokens each model had.
    models: Vec<(String, u64, Usage)>,
    /// Whether an answer had no limit to its length.
    unlimited: bool,
}

/// The calls of one step.
struct Step {
    path: String,
    first: Arc<Prompt>,
    calls: u64,
}

/// Rows that something was wrong with, and the first reason.
#[derive(Default)]
struct Failed {
    rows: u64,
    first: String,
}

/// Rehearses the chain once with `inputs`.
pub(crate) async fn once(rehearsal: DryRunChain<'_>, inputs: Vars) -> Result<Exit, Failure> {
    let (asked, done) = rehearsal.run(inputs).await;
    let mut text = String::new();
    show_steps(&mut text, "", &asked.steps);
    rehearsal.figures(&mut text, asked, 1, 1);
    if let Err(error) = done {
        let _ = writeln!(text, "not followed to the end: {error}");
    }
    end(text)?;
    Ok(Exit::Ok)
}

/// Rehearses the chain for the first rows, and takes the others to be like them.
pub(crate) async fn for_rows(
    rehearsal: DryRunChain<'_>,
    source: Source,
    inputs: impl Fn(Input) -> fanweave::Result<Vars>,
) -> Result<Exit, Failure> {
    let mut text = String::new();
    let (mut rows, mut dry_run_chain, mut asked) = (0, 0, RehearsedPrompts::default());
    let (mut unfit, mut cut_short) = (Failed::default(), Failed::default());
    for item in source {
        let item = item.map_err(|e| Failure::new(e.to_string()))?;
        rows += 1;
        let vars = match item.input.and_then(&inputs) {
            Ok(vars) if dry_run_chain < MAX_DRY_RUN_ROWS => vars,
            Ok(_) => continue,
            Err(error) => {
                unfit.note(item.line, &error);
                continue;
            }
        };
        let (of_row, done) = rehearsal.run(vars).await;
        if let Err(error) = done {
            cut_short.note(item.line, &error);
        }
        if dry_run_chain == 0 {
            let _ = writeln!(text, "line {}:", item.line);
            show_steps(&mut text, "  ", &of_row.steps);
        }
        dry_run_chain += 1;
        asked.add(of_row);
    }
    let _ = writeln!(text, "rows: {rows}");
    if dry_run_chain > 0 {
        rehearsal.figures(&mut text, asked, rows - unfit.rows, dry_run_chain);
    }
    if unfit.rows > 0 {
        let _ = writeln!(text, "cannot be run: {unfit}");
    }
    if cut_short.rows > 0 {
        let _ = writeln!(text, "not followed to the end: {cut_short}");
    }
    end(text)?;
    Ok(if rows > 0 && unfit.rows == rows { Exit::Usage } else { Exit::Ok })
}

fn end(mut text: String) -> Result<(), Failure> {
    text.push_str("a simulated model stood in for each: real answers may lead to other prompts and calls\n");
    text.push_str(END);
    print(escape_controls(&text).as_bytes())
}

impl DryRunChain<'_> {
    /// What a run asks, and how it ends.
    async fn run(&self, vars: Vars) -> (RehearsedPrompts, fanweave::Result<Value>) {
        let asked = Arc::new(Mutex::new(RehearsedPrompts::default()));
        let seen = asked.clone();
        let observer = move |event: &Event| {
            if let EventKind::PromptSent(prompt) = &event.kind {
                lock(&seen).note(event, prompt);
            }
        };
        let done = self.chain.invoke_in(vars, &Context::new().with_observer(Arc::new(observer))).await;
        (std::mem::take(&mut *lock(&asked)), done)
    }

    /// What `rows` come to where so many of them were rehearsed.
    fn figures(&self, text: &mut String, asked: RehearsedPrompts, rows: u64, dry_run_chain: u64) {
        let scaled = |n: u64| (u128::from(n) * u128::from(rows)).div_ceil(u128::from(dry_run_chain));
        let scaled = |n: u64| u64::try_from(scaled(n)).unwrap_or(u64::MAX);
        let limited = !asked.unlimited;
        let models: Vec<_> = asked
            .models
            .into_iter()
            .map(|(name, calls, usage)| {
                let (input_tokens, output_tokens) = (scaled(usage.input_tokens), scaled(usage.output_tokens));
                (name, scaled(calls), Usage { input_tokens, output_tokens, ..usage })
            })
            .collect();
        let mut sum = Usage::default();
        models.iter().for_each(|(_, _, usage)| sum += *usage);
        let calls: u64 = models.iter().map(|(_, calls, _)| calls).sum();
        #[expect(clippy::cast_precision_loss, reason = "a count for people")]
        let shown = short(calls as f64);
        let basis = if dry_run_chain < rows {
            format!(", as the first {dry_run_chain} rows make them")
        } else {
            String::new()
        };
        let _ = writeln!(text, "calls: about {shown}{basis}");
        text.push_str(&tokens(sum, limited));
        // Each model is an account of its own.
        #[expect(clippy::cast_precision_loss, reason = "a time for people")]
        let accounts: Vec<_> =
            models.iter().map(|(_, calls, usage)| (*calls as f64, usage.total_tokens() as f64)).collect();
        text.push_str(&time(&accounts, self.rpm, self.model));
        for (name, _, usage) in &models {
            text.push_str(&cost(name, "", *usage, self.prices, Via::Calls));
        }
    }
}

impl RehearsedPrompts {
    fn note(&mut self, event: &Event, prompt: &Arc<Prompt>) {
        self.unlimited |= prompt.parameters.max_tokens.is_none();
        self.count(event.path.name().unwrap_or_default(), 1, expected(Some(prompt), None));
        let path = event.path.to_string();
        match self.steps.iter_mut().find(|step| step.path == path) {
            Some(step) => step.calls += 1,
            None => self.steps.push(Step { path, first: prompt.clone(), calls: 1 }),
        }
    }

    fn count(&mut self, model: &str, calls: u64, usage: Usage) {
        match self.models.iter_mut().find(|(name, ..)| name == model) {
            Some((_, all, sum)) => {
                *all += calls;
                *sum += usage;
            }
            None => self.models.push((model.to_owned(), calls, usage)),
        }
    }

    /// Adds the calls of another row.
    fn add(&mut self, other: Self) {
        self.unlimited |= other.unlimited;
        other.models.into_iter().for_each(|(model, calls, usage)| self.count(&model, calls, usage));
    }
}

impl Failed {
    fn note(&mut self, line: u64, why: &Error) {
        if self.rows == 0 {
            self.first = format!("line {line}: {why}");
        }
        self.rows += 1;
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, first } = self;
        write!(f, "{rows} of them, the first: {first}")
    }
}

fn lock(asked: &Mutex<RehearsedPrompts>) -> MutexGuard<'_, RehearsedPrompts> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

fn show_steps(text: &mut String, indent: &str, steps: &[Step]) {
    for Step { path, first, calls } in steps {
        let more = if *calls > 1 { format!(", the first of {calls} calls") } else { String::new() };
        let _ = writeln!(text, "{indent}{path}{more}:");
        show(text, &format!("{indent}  "), first);
    }
}
