//! Progress of a batch at one moment.

use std::time::Duration;

use fanweave_core::Usage;

/// Progress of a batch at one moment.
///
/// ```
/// use fanweave::batch::Snapshot;
///
/// let mut half = Snapshot::default();
/// (half.total, half.done, half.rate) = (Some(10), 5, 2.0);
/// assert_eq!(half.eta(), Some(std::time::Duration::from_millis(2500)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// Rows of the input. `None` if they cannot be counted before the run, as on standard input.
    pub total: Option<u64>,
    /// Rows that have a result.
    pub done: u64,
    /// Rows that have an answer.
    pub ok: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows whose result came from the journal of a previous run. Included in `done`.
    pub resumed: u64,
    /// Rows that have started and not ended, including those that wait.
    pub in_flight: u64,
    /// Rows of them that workers run: see [`set_at_workers`](crate::Progress::set_at_workers).
    pub at_workers: u64,
    /// Calls that wait for their next attempt.
    pub retrying: u64,
    /// Calls that wait for the account's limit or for a run permit.
    pub waiting: u64,
    /// Attempts after the first, so far.
    pub retries: u64,
    /// Hedged requests, so far.
    pub hedged: u64,
    /// Tokens of this run's calls.
    pub usage: Usage,
    /// Cost of this run's rows in US dollars. `None` if no price is known.
    pub cost_usd: Option<f64>,
    /// Requests whose responses were incomplete, so far.
    pub unanswered: u64,
    /// Cost of those requests' input in US dollars, which the provider may bill. Not included in `cost_usd`.
    /// 0 if no price is known.
    pub maybe_billed_usd: f64,
    /// Answers of this run without text and without tool calls, such as those that a filter has emptied.
    pub empty: u64,
    /// Answers of this run that a limit, a filter, a refusal or a pause of the provider has ended.
    pub cut: u64,
    /// Budget of the batch in US dollars. `None` without a budget.
    pub budget_usd: Option<f64>,
    /// Calls that were answered from a [cache](fanweave_core::Model::cached), without a request.
    pub cached: u64,
    /// Median time to the first byte of a response. Without streaming, this is the time until the whole
    /// response is generated. `None` if the models do not report it.
    pub first_byte: Option<Duration>,
    /// Time for which requests have been waiting while no response started. `None` without such requests.
    pub silent_for: Option<Duration>,
    /// Rows per second, averaged over the last five seconds.
    pub rate: f64,
    /// Median latency of rows.
    pub p50: Option<Duration>,
    /// 95th percentile of the latency of rows.
    pub p95: Option<Duration>,
    /// Results that wait for an earlier row, if results are written in input order.
    pub reorder: u64,
}

impl Snapshot {
    /// Rows in flight that wait only for their responses.
    pub fn running(&self) -> u64 {
        self.in_flight.saturating_sub(self.waiting + self.retrying)
    }

    /// Estimated cost of all rows, extrapolated from those finished in this run. `None` if no price is known.
    pub fn cost_at_the_end(&self) -> Option<f64> {
        let done = self.done.saturating_sub(self.resumed);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let share = self.total?.saturating_sub(self.resumed) as f64 / (done > 0).then_some(done)? as f64;
        Some(self.cost_usd? * share)
    }

    /// Estimated time to finish the remaining rows at the current rate.
    pub fn eta(&self) -> Option<Duration> {
        let remaining = self.total?.saturating_sub(self.done);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        Duration::try_from_secs_f64(remaining as f64 / self.rate).ok()
    }
}
