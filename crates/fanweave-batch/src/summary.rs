//! Totals of a batch.

use std::collections::HashMap;
use std::time::Duration;

use fanweave_core::{Error, Usage, excerpt};

use crate::journal::Failure;
use crate::progress::Snapshot;

/// Maximum number of failure groups in a summary. Further failures are counted by kind alone.
const MAX_GROUPS: usize = 100;
/// Maximum length in bytes of a group's message.
const MAX_MESSAGE_BYTES: usize = 200;

/// Totals of a batch.
///
/// ```
/// use fanweave::batch::Summary;
///
/// let mut summary = Summary::default();
/// (summary.rows, summary.ok, summary.resumed) = (3, 3, 3);
/// assert!(summary.nothing_to_do());
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Rows that have a result, from this run or a previous one.
    pub rows: u64,
    /// Rows that have an answer.
    pub ok: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows whose result came from the journal of a previous run: they were not called in this run.
    pub resumed: u64,
    /// Rows without a result because the run was stopped. `None` if the input's rows cannot be counted.
    pub left: Option<u64>,
    /// Set when the run stopped before all rows were started.
    pub interrupted: bool,
    /// The error that ended the run: the provider rejected the account, or rejected each of the first rows
    /// with the same error. Those rows have no result, and run when the job is resumed.
    pub refused: Option<Error>,
    /// Number of rows that were rejected with the same error, if that ended the run. 0 if the account was
    /// rejected.
    pub refused_rows: u64,
    /// Set when the run stopped because the provider was failing for longer than the outage timeout. The rows
    /// that were waiting for the provider have no result, and run when the job is resumed.
    pub unavailable: Option<Error>,
    /// Answers of this run without text and without tool calls, such as those that a filter has emptied.
    pub empty_answers: u64,
    /// Answers of this run that a limit, a filter, a refusal or a pause of the provider has ended, such as
    /// those at the maximum of output tokens. The reason is in the `finish_reason` of each result.
    pub cut_answers: u64,
    /// Attempts after the first.
    pub retries: u64,
    /// Number of hedged requests: see [`Settings::hedge`](crate::Settings::hedge). The provider may bill both
    /// requests of each pair; the cost counted is that of the request that was answered first.
    pub hedged: u64,
    /// Tokens of this run's calls.
    pub usage: Usage,
    /// Cost of this run's rows in US dollars, as far as prices are known. `None` if no price is known.
    pub cost_usd: Option<f64>,
    /// Requests whose responses were incomplete. The provider may bill them nevertheless.
    pub unanswered: u64,
    /// Cost of those requests' input in US dollars, as far as prices are known. Counts against the budget,
    /// but is not part of `cost_usd`.
    pub maybe_billed_usd: f64,
    /// Set when the run stopped because starting more rows could have exceeded the budget.
    pub over_budget: bool,
    /// The least budget in US dollars with which the next row would start, if the run stopped
    /// [over budget](Self::over_budget). Includes what was spent. `None` for runs on several machines.
    pub next_row_budget_usd: Option<f64>,
    /// Estimate of the budget in US dollars that all rows need, if the next row does and the rows that are
    /// left can be counted: they cost what those before did.
    pub all_rows_budget_usd: Option<f64>,
    /// Set when the run stopped because too many rows had failed: see
    /// [`Settings::max_errors`](crate::Settings::max_errors).
    pub too_many_errors: bool,
    /// Wall-clock duration of the run.
    pub wall: Duration,
    /// Median latency of this run's rows.
    pub p50: Option<Duration>,
    /// 95th percentile of the latency of this run's rows.
    pub p95: Option<Duration>,
    /// Failures grouped by reason, most common first.
    pub failures: Vec<FailureGroup>,
    /// Messages for the user, one sentence each, such as corrupt lines of the journal.
    pub notes: Vec<String>,
}

impl Summary {
    /// The counts of rows, tokens and costs at the end of a run.
    pub(crate) fn of(end: &Snapshot) -> Self {
        Self {
            rows: end.done,
            ok: end.ok,
            failed: end.failed,
            resumed: end.resumed,
            left: end.total.map(|total| total.saturating_sub(end.done)),
            usage: end.usage,
            cost_usd: end.cost_usd,
            empty_answers: end.empty,
            cut_answers: end.cut,
            unanswered: end.unanswered,
            maybe_billed_usd: end.maybe_billed_usd,
            ..Self::default()
        }
    }

    /// Returns true if every row already had its result before the run.
    pub fn nothing_to_do(&self) -> bool {
        self.rows == self.resumed && !self.interrupted
    }
}

/// Failures that have the same reason.
///
/// ```
/// use fanweave::batch::FailureGroup;
///
/// let group = FailureGroup::new("server", "overloaded", 3, 7);
/// assert_eq!(format!("{group}"), "3 x server: overloaded (first in line 7)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailureGroup {
    /// Kind of error: `rate_limited`, `input`, ..
    pub kind: String,
    /// Beginning of the error message.
    pub message: String,
    /// Number of rows.
    pub count: u64,
    /// Line of the input on which the first of these rows begins.
    pub first_line: u64,
}

impl FailureGroup {
    /// `count` rows that failed with an error of `kind`, the first of them on line `first_line`.
    pub fn new(kind: impl Into<String>, message: impl Into<String>, count: u64, first_line: u64) -> Self {
        Self { kind: kind.into(), message: message.into(), count, first_line }
    }
}

impl std::fmt::Display for FailureGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, message, count, first_line } = self;
        write!(f, "{count} x {kind}: {message} (first in line {first_line})")
    }
}

/// Groups failures by reason. Its size is bounded.
#[derive(Default)]
pub(crate) struct Failures(HashMap<(String, String), (u64, u64)>);

impl Failures {
    pub(crate) fn add(&mut self, failure: &Failure, line: u64) {
        // The message of an unreadable row names its line, which would make each such row a group.
        let message = match failure.message.split_once(&format!(" line {line}: ")) {
            Some((_, message)) => message,
            None => &failure.message,
        };
        let mut reason = (failure.kind.clone(), excerpt(message, MAX_MESSAGE_BYTES));
        if !self.0.contains_key(&reason) && self.0.len() >= MAX_GROUPS {
            reason.1 = "other reasons".to_owned();
        }
        let (count, first) = self.0.entry(reason).or_insert((0, line));
        *count += 1;
        *first = line.min(*first);
    }

    pub(crate) fn into_groups(self) -> Vec<FailureGroup> {
        let group =
            |((kind, message), (count, first_line))| FailureGroup { kind, message, count, first_line };
        let mut groups: Vec<_> = self.0.into_iter().map(group).collect();
        groups.sort_by(|a, b| b.count.cmp(&a.count).then(a.first_line.cmp(&b.first_line)));
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: &str, message: &str) -> Failure {
        Failure { kind: kind.into(), message: message.into(), ..Failure::default() }
    }

    #[test]
    fn failures_are_grouped_by_reason_with_the_most_common_first() {
        let mut failures = Failures::default();
        failures.add(&failure("server", "overloaded"), 9);
        failures.add(&failure("input", "q.jsonl line 7: not JSON"), 7);
        failures.add(&failure("input", "q.jsonl line 5: not JSON"), 5);
        let shown: Vec<_> = failures.into_groups().iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["2 x input: not JSON (first in line 5)", "1 x server: overloaded (first in line 9)"]
        );
    }

    #[test]
    fn a_million_different_messages_stay_a_hundred_groups() {
        let mut failures = Failures::default();
        (0..10_000).for_each(|i| failures.add(&failure("server", &format!("request {i}")), i));
        let groups = failures.into_groups();
        assert_eq!(groups.len(), MAX_GROUPS + 1);
        assert_eq!(groups.iter().map(|group| group.count).sum::<u64>(), 10_000);
    }
}
