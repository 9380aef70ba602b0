//! The figures of a run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use fanweave::batch::__private::rounded_usd;
use fanweave::batch::{CallTimes, RunRecord};
use serde::Serialize;

use super::parts::{self, Part, is_zero};
use super::percentile::percentile;
use crate::cost::dollars;
use crate::exit::spelled_message;
use crate::progress::{rounded, short};

/// Maximum number of failure groups to list.
const MAX_LISTED: usize = 8;

/// Figures of a run. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(super) struct Figures {
    pub(super) rows: usize,
    pub(super) ok: usize,
    pub(super) failed: usize,
    pub(super) calls: usize,
    /// Failed attempts that were retried.
    pub(super) retries: usize,
    /// Time from the start of the first row to the end of the last. `None` if the journal has no times.
    pub(super) wall_ms: Option<u64>,
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
    /// US dollars for requests whose answers were incomplete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) maybe_billed_usd: Option<f64>,
    pub(super) latency_p50_ms: Option<u64>,
    pub(super) latency_p95_ms: Option<u64>,
    /// Time from the last attempt of a call to the first byte of its answer.
    pub(super) first_byte_p50_ms: Option<u64>,
    /// Time from when calls were ready to when they were sent.
    pub(super) waited_p50_ms: Option<u64>,
    /// Rows by the model that answered.
    pub(super) models: BTreeMap<String, usize>,
    pub(super) per_model: Vec<Part>,
    /// Empty for rows of one call.
    pub(super) per_step: Vec<Part>,
    /// Failures by kind and message, most frequent first.
    pub(super) failures: Vec<FailureGroup>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub(super) struct FailureGroup {
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) rows: usize,
    /// Input line of the first of these rows.
    pub(super) first_line: u64,
}

impl Figures {
    pub(super) fn of(run: &RunRecord) -> Self {
        let rows = &run.rows;
        let calls: Vec<&CallTimes> = rows.iter().flat_map(|row| &row.calls).collect();
        let began = rows.iter().filter_map(|row| row.began).min();
        let ended = rows.iter().filter_map(|row| Some(row.began?.saturating_add(row.latency_ms))).max();
        let called = || rows.iter().filter(|row| row.attempts > 0 || row.error.is_none());
        let mut models = BTreeMap::new();
        for model in rows.iter().filter_map(|row| row.model.clone()) {
            *models.entry(model).or_default() += 1;
        }
        let failed = rows.iter().filter(|row| row.error.is_some()).count();
        let costs: Vec<f64> = rows.iter().filter_map(|row| row.cost_usd).collect();
        Self {
            rows: rows.len(),
            ok: rows.len() - failed,
            failed,
            calls: calls.len(),
            retries: calls.iter().map(|call| call.failed_attempts.len()).sum(),
            wall_ms: began.zip(ended).map(|(began, ended)| ended - began),
            input_tokens: rows.iter().fold(0, |sum, row| sum.saturating_add(row.usage.input_tokens)),
            output_tokens: rows.iter().fold(0, |sum, row| sum.saturating_add(row.usage.output_tokens)),
            cached_tokens: rows.iter().fold(0, |sum, row| sum.saturating_add(row.usage.cached_tokens)),
            reasoning_tokens: rows.iter().fold(0, |sum, row| sum.saturating_add(row.usage.reasoning_tokens)),
            cost_usd: (!costs.is_empty()).then(|| rounded_usd(costs.iter().sum())),
            maybe_billed_usd: rows
                .iter()
                .filter_map(|row| row.maybe_billed_usd)
                .reduce(|a, b| a + b)
                .map(rounded_usd),
            latency_p50_ms: percentile(called().map(|row| row.latency_ms).collect(), 50),
            latency_p95_ms: percentile(called().map(|row| row.latency_ms).collect(), 95),
            first_byte_p50_ms: percentile(
                calls
                    .iter()
                    .filter_map(|call| Some(call.first_byte_ms?.saturating_sub(call.sent_ms)))
                    .collect(),
                50,
            ),
            waited_p50_ms: percentile(calls.iter().map(|call| waited(call)).collect(), 50),
            models,
            per_model: parts::models(run),
            per_step: parts::steps(run),
            failures: failures(run),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("rows       {}: {} ok, {} failed\n", self.rows, self.ok, self.failed);
        let time = |ms: u64| rounded(Duration::from_millis(ms));
        if let Some(wall) = self.wall_ms {
            let _ = writeln!(text, "time       {}", time(wall));
        }
        let _ = writeln!(text, "calls      {}, {} retries", self.calls, self.retries);
        let latency = [
            ("p50 ", self.latency_p50_ms),
            ("p95 ", self.latency_p95_ms),
            ("first byte p50 ", self.first_byte_p50_ms),
            ("queued p50 ", self.waited_p50_ms.filter(|waited| *waited > 0)),
        ];
        let latency: Vec<_> =
            latency.into_iter().filter_map(|(name, ms)| Some(format!("{name}{}", time(ms?)))).collect();
        if !latency.is_empty() {
            let _ = writeln!(text, "latency    {}", latency.join(", "));
        }
        let Self { input_tokens, output_tokens, cached_tokens, reasoning_tokens, .. } = *self;
        let tokens = tokens([input_tokens, cached_tokens, output_tokens, reasoning_tokens]);
        let _ = writeln!(text, "tokens     {tokens}");
        if let Some(cost) = self.cost_usd {
            let maybe = self.maybe_billed_usd.map(|usd| format!(", maybe billed {} more", dollars(usd)));
            let _ = writeln!(text, "cost       {}{}", dollars(cost), maybe.unwrap_or_default());
        }
        for part in &self.per_model {
            let _ = writeln!(text, "model      {}", part_text(part));
        }
        for part in &self.per_step {
            let _ = writeln!(text, "step       {}", part_text(part));
        }
        for group in self.failures.iter().take(MAX_LISTED) {
            let FailureGroup { kind, message, rows, first_line } = group;
            let message = spelled_message(message);
            let _ = writeln!(text, "failed     {rows} x {kind}: {message} (first in line {first_line})");
        }
        if self.failures.len() > MAX_LISTED {
            let _ = writeln!(text, "failed     .. and {} more reasons", self.failures.len() - MAX_LISTED);
        }
        text
    }
}

/// Tokens in, those of them from a cache, tokens out, and those of them that are reasoning.
fn tokens(counts: [u64; 4]) -> String {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let [sent, cached, got, reasoning] = counts.map(|n| (n, short(n as f64)));
    let part = |(n, shown): (u64, String), of: &str| match n {
        0 => String::new(),
        _ => format!(" ({shown} {of})"),
    };
    let (cached, reasoning) = (part(cached, "cached"), part(reasoning, "reasoning"));
    format!("{} in{cached}, {} out{reasoning}", sent.1, got.1)
}

fn part_text(part: &Part) -> String {
    let Part { calls, input_tokens, cached_tokens, output_tokens, reasoning_tokens, .. } = *part;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let calls = short(calls as f64);
    let tokens = tokens([input_tokens, cached_tokens, output_tokens, reasoning_tokens]);
    let mut text = format!("{}: {calls} calls, tokens {tokens}", part.name);
    if let Some(cost) = part.cost_usd.filter(|usd| *usd > 0.0) {
        let _ = write!(text, ", {}", dollars(cost));
    }
    for (name, ms) in [("p50", part.latency_p50_ms), ("p95", part.latency_p95_ms)] {
        if let Some(ms) = ms {
            let _ = write!(text, ", {name} {}", rounded(Duration::from_millis(ms)));
        }
    }
    for (name, n) in [("retries", part.retries), ("failed", part.failed)] {
        if n > 0 {
            let _ = write!(text, ", {n} {name}");
        }
    }
    text
}

fn waited(call: &CallTimes) -> u64 {
    let first_sent = call.failed_attempts.first().map_or(call.sent_ms, |(sent, ..)| *sent);
    first_sent.saturating_sub(call.ready_ms)
}

fn failures(run: &RunRecord) -> Vec<FailureGroup> {
    let mut groups: BTreeMap<(String, String), FailureGroup> = BTreeMap::new();
    for row in &run.rows {
        let Some((kind, message)) = &row.error else { continue };
        let group = groups.entry((kind.clone(), message.clone())).or_insert_with(|| FailureGroup {
            kind: kind.clone(),
            message: message.clone(),
            rows: 0,
            first_line: row.line,
        });
        group.rows += 1;
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by(|a, b| b.rows.cmp(&a.rows).then(a.first_line.cmp(&b.first_line)));
    groups
}
