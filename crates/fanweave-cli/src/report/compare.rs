//! Comparison of two runs, whose rows are matched by their contents.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use fanweave::batch::{RowKey, RowRecord, RunRecord};
use serde::Serialize;
use serde_json::{Value, json};

use super::figures::Figures;
use super::parts::Part;
use super::table::record;
use crate::cost::dollars;
use crate::progress::{rounded, short};

/// Rows of two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct Matches {
    /// Rows that both runs have.
    pub(super) in_both: u64,
    pub(super) only_in_first: u64,
    pub(super) only_in_second: u64,
    /// Rows that both runs answered, with the same answer and with different ones.
    pub(super) equal_answer: u64,
    pub(super) different_answer: u64,
    /// Rows that failed in the first run and were answered in the second, and the reverse.
    pub(super) fixed: u64,
    pub(super) broken: u64,
    /// Rows that failed in both.
    pub(super) failed_in_both: u64,
}

/// A row of the first run, of the second, or of both.
pub(super) type Pair<'a> = (Option<&'a RowRecord>, Option<&'a RowRecord>);

/// The rows of both runs in the order of the first, and then those that only the second has. Rows of journals
/// are matched by their keys, which depend on the contents of a row and not on the prompt or the model.
pub(super) fn pairs<'a>(a: &'a RunRecord, b: &'a RunRecord) -> Vec<Pair<'a>> {
    let mut second: HashMap<RowKey, &RowRecord> =
        b.rows.iter().filter_map(|row| Some((row.key?, row))).collect();
    let mut pairs: Vec<Pair<'a>> =
        a.rows.iter().map(|row| (Some(row), row.key.and_then(|key| second.remove(&key)))).collect();
    let rest = b.rows.iter().filter(|row| row.key.is_some_and(|key| second.contains_key(&key)));
    pairs.extend(rest.map(|row| (None, Some(row))));
    pairs
}

pub(super) fn matches(pairs: &[Pair<'_>]) -> Matches {
    let mut found = Matches::default();
    for pair in pairs {
        let (a, b) = match pair {
            (Some(a), Some(b)) => (a, b),
            (Some(_), None) => {
                found.only_in_first += 1;
                continue;
            }
            (None, _) => {
                found.only_in_second += 1;
                continue;
            }
        };
        found.in_both += 1;
        *match (a.error.is_none(), b.error.is_none()) {
            (true, true) if a.has_equal_answer(b) => &mut found.equal_answer,
            (true, true) => &mut found.different_answer,
            (false, true) => &mut found.fixed,
            (true, false) => &mut found.broken,
            (false, false) => &mut found.failed_in_both,
        } += 1;
    }
    found
}

pub(super) fn as_json(names: [&str; 2], figures: &[Figures; 2], matches: &Matches) -> Value {
    json!({
        "first": { "run": names[0], "figures": figures[0] },
        "second": { "run": names[1], "figures": figures[1] },
        "rows": matches,
    })
}

/// The lines of the figures of both runs, with their change, and before them their heading.
pub(super) fn lines(names: [&str; 2], figures: &[Figures; 2]) -> Vec<[String; 4]> {
    let [a, b] = figures;
    let mut lines = Lines(Vec::new());
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let count = |n: usize| n as f64;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let tokens = |n: u64| Some(n as f64);
    lines.add("rows", Some(count(a.rows)), Some(count(b.rows)), short);
    lines.add("ok", Some(count(a.ok)), Some(count(b.ok)), short);
    lines.add("failed", Some(count(a.failed)), Some(count(b.failed)), short);
    lines.add("calls", Some(count(a.calls)), Some(count(b.calls)), short);
    lines.add("retries", Some(count(a.retries)), Some(count(b.retries)), short);
    lines.add("time", ms(a.wall_ms), ms(b.wall_ms), time);
    lines.add("latency p50", ms(a.latency_p50_ms), ms(b.latency_p50_ms), time);
    lines.add("latency p95", ms(a.latency_p95_ms), ms(b.latency_p95_ms), time);
    lines.add("tokens in", tokens(a.input_tokens), tokens(b.input_tokens), short);
    lines.add("tokens out", tokens(a.output_tokens), tokens(b.output_tokens), short);
    if a.cached_tokens + b.cached_tokens > 0 {
        lines.add("tokens cached", tokens(a.cached_tokens), tokens(b.cached_tokens), short);
    }
    if a.reasoning_tokens + b.reasoning_tokens > 0 {
        lines.add("tokens of reasoning", tokens(a.reasoning_tokens), tokens(b.reasoning_tokens), short);
    }
    lines.add("cost", a.cost_usd, b.cost_usd, dollars);
    for (kind, a, b) in [("model", &a.per_model, &b.per_model), ("step", &a.per_step, &b.per_step)] {
        for (name, a, b) in by_name(a, b) {
            #[expect(clippy::cast_precision_loss, reason = "figures for people")]
            let calls = |part: Option<&Part>| part.map(|part| part.calls as f64);
            let cost = |part: Option<&Part>| part.and_then(|part| part.cost_usd);
            let p50 = |part: Option<&Part>| part.and_then(|part| ms(part.latency_p50_ms));
            lines.add(&format!("{kind} {name}: calls"), calls(a), calls(b), short);
            lines.add(&format!("{kind} {name}: p50"), p50(a), p50(b), time);
            lines.add(&format!("{kind} {name}: cost"), cost(a), cost(b), dollars);
        }
    }
    let heading = [String::new(), names[0].to_owned(), names[1].to_owned(), "change".to_owned()];
    std::iter::once(heading).chain(lines.0).collect()
}

/// The figures of both runs side by side, with their change.
pub(super) fn text(names: [&str; 2], figures: &[Figures; 2], matches: &Matches) -> String {
    let mut text = aligned(&lines(names, figures));
    let Matches { in_both, equal_answer, different_answer, fixed, broken, failed_in_both, .. } = *matches;
    let _ = writeln!(
        text,
        "\n{in_both} rows in both: {equal_answer} with the same answer, {different_answer} with another, {fixed} fixed, \
         {broken} broken, {failed_in_both} failed in both"
    );
    let (first, second) = (matches.only_in_first, matches.only_in_second);
    if first + second > 0 {
        let _ = writeln!(text, "{first} only in {}, {second} only in {}", names[0], names[1]);
    }
    text
}

/// The rows of both runs as CSV, with the answers side by side.
pub(super) fn csv(pairs: &[Pair<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = [
        "index",
        "line",
        "custom_id",
        "answer_1",
        "answer_2",
        "equal",
        "error_1",
        "error_2",
        "cost_usd_1",
        "cost_usd_2",
        "latency_ms_1",
        "latency_ms_2",
    ];
    record(&header.map(str::to_owned), &mut bytes);
    for (a, b) in pairs {
        let Some(one) = a.or(*b) else { continue };
        let equal = a.zip(*b).filter(|(a, b)| a.error.is_none() && b.error.is_none());
        let equal = equal.map(|(a, b)| a.has_equal_answer(b).to_string());
        let answer = |row: Option<&RowRecord>| row.map(|row| row.answer.clone()).unwrap_or_default();
        let error = |row: Option<&RowRecord>| {
            let error = row.and_then(|row| row.error.as_ref());
            error.map(|(kind, message)| format!("{kind}: {message}")).unwrap_or_default()
        };
        let cost = |row: Option<&RowRecord>| {
            row.and_then(|row| row.cost_usd).map(|usd| usd.to_string()).unwrap_or_default()
        };
        let latency = |row: Option<&RowRecord>| row.map(|row| row.latency_ms.to_string()).unwrap_or_default();
        record(
            &[
                one.index.to_string(),
                one.line.to_string(),
                one.id.clone().unwrap_or_default(),
                answer(*a),
                answer(*b),
                equal.unwrap_or_default(),
                error(*a),
                error(*b),
                cost(*a),
                cost(*b),
                latency(*a),
                latency(*b),
            ],
            &mut bytes,
        );
    }
    bytes
}

/// The parts of both runs by their names.
fn by_name<'a>(a: &'a [Part], b: &'a [Part]) -> Vec<(&'a str, Option<&'a Part>, Option<&'a Part>)> {
    let mut names: Vec<&str> = a.iter().chain(b).map(|part| part.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let find = |parts: &'a [Part], name: &str| parts.iter().find(|part| part.name == name);
    names.into_iter().map(|name| (name, find(a, name), find(b, name))).collect()
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn ms(time: Option<u64>) -> Option<f64> {
    time.map(|ms| ms as f64)
}

fn time(ms: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was a whole number")]
    rounded(Duration::from_millis(ms as u64))
}

/// Lines of a table: a figure, its values and its change.
struct Lines(Vec<[String; 4]>);

impl Lines {
    /// Adds a figure, unless neither run has it.
    fn add(&mut self, name: &str, a: Option<f64>, b: Option<f64>, show: fn(f64) -> String) {
        if a.is_none() && b.is_none() {
            return;
        }
        let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), show);
        let change = match (a, b) {
            (Some(a), Some(b)) if a > 0.0 && (b - a).abs() > f64::EPSILON => {
                format!("{:+.0}%", (b - a) / a * 100.0)
            }
            _ => String::new(),
        };
        self.0.push([name.to_owned(), shown(a), shown(b), change]);
    }
}

/// Lines as columns.
fn aligned(lines: &[[String; 4]]) -> String {
    let width =
        |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2), width(3)];
    let mut text = String::new();
    for [name, a, b, change] in lines {
        let line =
            format!("{name:<0$}  {a:>1$}  {b:>2$}  {change:>3$}", widths[0], widths[1], widths[2], widths[3]);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
