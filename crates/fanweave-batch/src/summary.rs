//! What a batch came to.

use std::collections::HashMap;
use std::time::Duration;

use fanweave_core::{Error, Usage, excerpt};

use crate::journal::Failure;

/// Most groups of failures that a summary tells apart; what is beyond them is counted by kind alone.
const GROUPS: usize = 100;
/// Most bytes of a message that a group is told by.
const MESSAGE: usize = 200;

/// What a batch came to.
///
/// ```
/// use fanweave_batch::Summary;
///
/// let summary = Summary { rows: 3, ok: 3, resumed: 3, ..Summary::default() };
/// assert!(summary.nothing_to_do());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Rows that have a result, in this run or an earlier one.
    pub rows: u64,
    /// Rows that have an answer.
    pub ok: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows whose result an earlier run had left in the journal: they were not called again.
    pub resumed: u64,
    /// Rows without a result, because the run was stopped. `None` where the input's rows cannot be counted.
    pub left: Option<u64>,
    /// Whether the run was stopped before all rows had been started.
    pub interrupted: bool,
    /// The refusal that ended the run: of the account, or the same one for each of the first rows. The rows that got it have
    /// no result, and run when the job is resumed.
    pub refused: Option<Error>,
    /// Number of rows that got the same refusal, if that ended the run. 0 where the account itself was refused.
    pub refused_rows: u64,
    /// Set when the run stopped because the provider was failing for longer than the outage timeout. The rows that waited
    /// for it have no result, and run when the job is resumed.
    pub unavailable: Option<Error>,
    /// Tries after the first one.
    pub retries: u64,
    /// Requests that were sent beside one that was late: see [`Settings::hedge`](crate::Settings::hedge). Of each such pair
    /// the provider may bill both, and the cost is that of the one that was answered first.
    pub hedged: u64,
    /// Tokens of this run's calls.
    pub usage: Usage,
    /// US dollars that this run's rows cost, as far as prices are known. `None` where none is.
    pub cost_usd: Option<f64>,
    /// Requests whose answers did not arrive whole: the provider may bill them all the same.
    pub unanswered: u64,
    /// US dollars for the input of those requests, as far as prices are known. Counts against the cap, and is not part of
    /// `cost_usd`.
    pub maybe_billed_usd: f64,
    /// Whether the run was stopped because more rows might have cost more than the cap.
    pub over_budget: bool,
    /// How long the run took.
    pub wall: Duration,
    /// Half of this run's rows took no longer.
    pub p50: Option<Duration>,
    /// 95 of a hundred of this run's rows took no longer.
    pub p95: Option<Duration>,
    /// Failures by reason, the most common first.
    pub failures: Vec<FailureGroup>,
    /// What somebody should know, each a sentence: lines of the journal that were damaged, and the like.
    pub notes: Vec<String>,
}

impl Summary {
    /// Whether every row had its result before the run began.
    pub fn nothing_to_do(&self) -> bool {
        self.rows == self.resumed && !self.interrupted
    }
}

/// Failures for one reason.
///
/// ```
/// use fanweave_batch::FailureGroup;
///
/// let group = FailureGroup { kind: "server".into(), message: "on strike".into(), count: 3, first_line: 7 };
/// assert_eq!(format!("{group}"), "3 x server: on strike (first in line 7)");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailureGroup {
    /// The kind of error: `rate_limited`, `input`, ..
    pub kind: String,
    /// The beginning of what the errors say.
    pub message: String,
    /// How many rows.
    pub count: u64,
    /// The line of the input that the first of them begins on.
    pub first_line: u64,
}

impl std::fmt::Display for FailureGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, message, count, first_line } = self;
        write!(f, "{count} x {kind}: {message} (first in line {first_line})")
    }
}

/// Sorts failures by reason. Its size is bounded.
#[derive(Default)]
pub(crate) struct Failures(HashMap<(String, String), (u64, u64)>);

impl Failures {
    pub(crate) fn add(&mut self, failure: &Failure, line: u64) {
        // Unreadable rows name their own line, and would each be a group of their own.
        let message = match failure.message.split_once(&format!(" line {line}: ")) {
            Some((_, message)) => message,
            None => &failure.message,
        };
        let mut reason = (failure.kind.clone(), excerpt(message, MESSAGE));
        if !self.0.contains_key(&reason) && self.0.len() >= GROUPS {
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
        failures.add(&failure("server", "on strike"), 9);
        failures.add(&failure("input", "q.jsonl line 7: not JSON"), 7);
        failures.add(&failure("input", "q.jsonl line 5: not JSON"), 5);
        let shown: Vec<_> = failures.into_groups().iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            ["2 x input: not JSON (first in line 5)", "1 x server: on strike (first in line 9)"]
        );
    }

    #[test]
    fn a_million_different_messages_stay_a_hundred_groups() {
        let mut failures = Failures::default();
        (0..10_000).for_each(|i| failures.add(&failure("server", &format!("request {i}")), i));
        let groups = failures.into_groups();
        assert_eq!(groups.len(), GROUPS + 1);
        assert_eq!(groups.iter().map(|group| group.count).sum::<u64>(), 10_000);
    }
}
