//! Budget of a run, as the rows in flight see it.

use futures::future::BoxFuture;

/// Budget of a run: one of its own, or [leases](crate::leases::Leases) of a budget that several machines
/// share.
pub trait RowBudget: Send {
    /// Decides if another row may start in addition to those in flight, when another `maybe_billed_usd`
    /// dollars of the run may be billed.
    fn allows(&self, in_flight: usize, maybe_billed_usd: f64) -> Allowance;

    /// Deducts the cost of a finished row, in US dollars. `None` if it is unknown.
    fn pay(&mut self, usd: Option<f64>);

    /// The budget in US dollars that is needed so that another row may start while none is in flight, and so
    /// that the `rows` that are left may. `None` if this is not known here.
    fn needed_usd(&self, _rows: Option<u64>, _maybe_billed_usd: f64) -> Option<NeededBudget> {
        None
    }

    /// Waits for more money, after [`allows`](Self::allows) has answered [`Later`](Allowance::Later).
    /// Resolves when it may answer otherwise.
    ///
    /// # Cancellation
    /// No change is lost.
    fn changed(&mut self) -> BoxFuture<'_, ()>;
}

/// A budget with which a run that has spent its own would continue, in US dollars, with what was spent
/// before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NeededBudget {
    /// The least that the next row needs.
    pub next_row: f64,
    /// Estimate for all rows that are left, if their number is known: they cost what those before did.
    pub all_rows: Option<f64>,
}

/// Answer of [`RowBudget`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// The row may start.
    Now,
    /// The row waits: more money may come.
    Later,
    /// No money will come. Rows in flight may still turn out cheaper than assumed.
    Never,
}
