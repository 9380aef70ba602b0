//! Figures per model and per step.

use std::collections::BTreeMap;

use fanweave::Usage;
use fanweave::batch::__private::rounded_usd;
use fanweave::batch::{CallTimes, RowRecord, RunRecord};
use serde::Serialize;

use super::percentile::percentile;

/// Figures of the calls of one model or one step. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(super) struct Part {
    pub(super) name: String,
    /// Calls, also those that failed.
    pub(super) calls: u64,
    /// Failed attempts that were retried.
    pub(super) retries: u64,
    /// Rows that failed here.
    pub(super) failed: u64,
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    /// Input tokens that came from a cache of the provider. Part of the input tokens, and absent if 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) cached_tokens: u64,
    /// Part of the output tokens, and absent if 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) reasoning_tokens: u64,
    /// `None` if no price is known.
    pub(super) cost_usd: Option<f64>,
    pub(super) latency_p50_ms: Option<u64>,
    pub(super) latency_p95_ms: Option<u64>,
    #[serde(skip)]
    latencies: Vec<u64>,
}

impl Part {
    /// Adds the times of a call.
    fn time(&mut self, call: &CallTimes) {
        self.retries += call.failed_attempts.len() as u64;
        self.latencies.push(call.ended_ms.saturating_sub(call.ready_ms));
    }

    /// Adds an answered call.
    fn add(&mut self, usage: &Usage, cost_usd: Option<f64>) {
        self.calls += 1;
        self.input_tokens = self.input_tokens.saturating_add(usage.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(usage.output_tokens);
        self.cached_tokens = self.cached_tokens.saturating_add(usage.cached_tokens);
        self.reasoning_tokens = self.reasoning_tokens.saturating_add(usage.reasoning_tokens);
        if let Some(cost) = cost_usd {
            *self.cost_usd.get_or_insert(0.0) += cost;
        }
    }
}

/// Parts by their names.
#[derive(Default)]
struct Parts(BTreeMap<String, Part>);

impl Parts {
    fn named(&mut self, name: &str) -> &mut Part {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), Part { name: name.to_owned(), ..Part::default() });
        }
        self.0.get_mut(name).expect("it is there")
    }

    fn finish(self) -> Vec<Part> {
        let finish = |mut part: Part| {
            let latencies = std::mem::take(&mut part.latencies);
            part.cost_usd = part.cost_usd.map(rounded_usd);
            part.latency_p50_ms = percentile(latencies.clone(), 50);
            part.latency_p95_ms = percentile(latencies, 95);
            part
        };
        self.0.into_values().map(finish).collect()
    }
}

/// Figures per model, by the name of those that answered. Calls that failed count for the name under which
/// their model has answered others.
pub(super) fn models(run: &RunRecord) -> Vec<Part> {
    let names = answered_names(run);
    let shown = |requested: &str| names.get(requested).cloned().unwrap_or_else(|| requested.to_owned());
    let mut parts = Parts::default();
    for row in &run.rows {
        let mut answered: BTreeMap<&str, u64> = BTreeMap::new();
        for answer in &row.answers {
            let name = answer.model.as_deref().unwrap_or("unknown");
            *answered.entry(name).or_default() += 1;
            let part = parts.named(name);
            part.add(&answer.usage, answer.cost_usd);
        }
        // The only call of a row.
        if let (true, Some(model)) = (row.answers.is_empty(), &row.model) {
            *answered.entry(model).or_default() += 1;
            parts.named(model).add(&row.usage, row.cost_usd);
            if row.calls.is_empty() {
                parts.named(model).latencies.push(row.latency_ms);
            }
        }
        let mut made: BTreeMap<String, u64> = BTreeMap::new();
        for call in &row.calls {
            let name = shown(model_of(&call.step));
            let part = parts.named(&name);
            part.time(call);
            *made.entry(name).or_default() += 1;
        }
        for (name, made) in made {
            let answered = answered.get(&*name).copied().unwrap_or_default();
            parts.named(&name).calls += made.saturating_sub(answered);
        }
        if let Some(model) = row.failed_step.as_deref().map(model_of).filter(|name| name.contains('/')) {
            parts.named(&shown(model)).failed += 1;
        }
    }
    parts.finish()
}

/// The names of the models that answered, by the names under which they were called.
fn answered_names(run: &RunRecord) -> BTreeMap<&str, String> {
    let mut names = BTreeMap::new();
    for row in &run.rows {
        match (row.answers.as_slice(), row.calls.as_slice(), &row.model) {
            ([], [call], Some(model)) => {
                names.entry(model_of(&call.step)).or_insert_with(|| model.clone());
            }
            (answers, calls, _) => {
                for answer in answers {
                    let of_step = |call: &&CallTimes| step_of(&call.step) == answer.step.as_deref();
                    let mut called = calls.iter().filter(of_step).map(|call| model_of(&call.step));
                    // A step with fallback models has several.
                    if let (Some(name), Some(model)) = (called.next(), &answer.model)
                        && called.all(|other| other == name)
                    {
                        names.entry(name).or_insert_with(|| model.clone());
                    }
                }
            }
        }
    }
    names
}

/// Figures per step of a chain, by its name. Empty for rows of one call.
pub(super) fn steps(run: &RunRecord) -> Vec<Part> {
    let mut parts = Parts::default();
    for row in &run.rows {
        let mut answered: BTreeMap<&str, u64> = BTreeMap::new();
        for answer in &row.answers {
            let Some(step) = &answer.step else { continue };
            *answered.entry(step).or_default() += 1;
            let part = parts.named(step);
            part.add(&answer.usage, answer.cost_usd);
        }
        let mut made: BTreeMap<&str, u64> = BTreeMap::new();
        for call in &row.calls {
            let Some(step) = step_of(&call.step) else { continue };
            parts.named(step).time(call);
            *made.entry(step).or_default() += 1;
        }
        for (step, made) in made {
            let answered = answered.get(step).copied().unwrap_or_default();
            parts.named(step).calls += made.saturating_sub(answered);
        }
        if let Some(step) = failed_step(row) {
            parts.named(step).failed += 1;
        }
    }
    parts.finish()
}

/// The model in `outline > openai/gpt-5-mini`.
fn model_of(path: &str) -> &str {
    path.rsplit_once(" > ").map_or(path, |(_, model)| model)
}

/// The step in `outline > openai/gpt-5-mini`. `None` for the name of a model alone.
fn step_of(path: &str) -> Option<&str> {
    path.rsplit_once(" > ").map(|(step, _)| step)
}

/// The step that failed, without the model that it called.
fn failed_step(row: &RowRecord) -> Option<&str> {
    let path = row.failed_step.as_deref()?;
    match path.rsplit_once(" > ") {
        Some((step, model)) if model.contains('/') => Some(step),
        _ if path.contains('/') => None,
        _ => Some(path),
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn is_zero(n: &u64) -> bool {
    *n == 0
}
