//! Prices of calls and the budget of a batch.

use std::fmt;
use std::sync::Arc;

use fanweave_core::Usage;
use futures::FutureExt;
use futures::future::{BoxFuture, pending};

use crate::budget::{Allowance, NeededBudget, RowBudget};

/// Cost of a model call in US dollars. `None` if unknown.
type Price = dyn Fn(&str, &Usage) -> Option<f64> + Send + Sync;

/// Prices of calls and the budget of a batch. The default has no prices and no budget.
///
/// ```
/// use fanweave::batch::Costs;
/// use fanweave::Usage;
///
/// // One dollar per million tokens, a budget of five dollars, and about a cent per row.
/// let costs = Costs::new(|_model, usage: &Usage| Some(usage.total_tokens() as f64 * 1e-6)).cap(5.0, 0.01);
/// assert_eq!(costs.of("any/model", &Usage::new(0, 500_000)), Some(0.5));
/// ```
#[derive(Clone, Default)]
pub struct Costs {
    price: Option<Arc<Price>>,
    cap: Option<f64>,
    row: f64,
    /// Called with the cost of previous runs.
    earlier: Option<Arc<dyn Fn(f64) + Send + Sync>>,
}

impl Costs {
    /// Sets the prices of calls. `price` gets the name of a model, such as `openai/gpt-5-mini`, and the usage
    /// of a call, and returns US dollars, or `None` if the price is unknown.
    pub fn new(price: impl Fn(&str, &Usage) -> Option<f64> + Send + Sync + 'static) -> Self {
        Self { price: Some(Arc::new(price)), ..Self::default() }
    }

    /// Sets a budget: no row starts that could take the total above `usd`. Default: no budget.
    ///
    /// The total covers all runs in the journal. A row in flight counts as much as the most expensive row so
    /// far, but at least `row`, the expected maximum cost of a row in US dollars. A row whose cost is unknown
    /// counts the same: a `row` that is too low lets the first rows in flight exceed the budget together, one
    /// that is too high lets fewer run at once near its end. With a budget, no hedged requests are sent. A
    /// request whose response was incomplete counts with the price of its input, because the provider may
    /// bill it.
    #[must_use]
    pub fn cap(mut self, usd: f64, row: f64) -> Self {
        self.cap = Some(usd);
        self.row = row;
        self
    }

    /// Calls `earlier` with the cost in US dollars of all previous runs in the same journal, before the first
    /// row starts.
    ///
    /// ```
    /// use std::sync::Mutex;
    /// use fanweave::batch::Costs;
    ///
    /// static SPENT: Mutex<f64> = Mutex::new(0.0);
    /// let costs = Costs::default().on_earlier_cost(|usd| *SPENT.lock().unwrap() += usd);
    /// ```
    #[must_use]
    pub fn on_earlier_cost(mut self, earlier: impl Fn(f64) + Send + Sync + 'static) -> Self {
        self.earlier = Some(Arc::new(earlier));
        self
    }

    /// Cost of a call, rounded as by [`rounded_usd`].
    pub fn of(&self, model: &str, usage: &Usage) -> Option<f64> {
        self.price.as_ref()?(model, usage).map(rounded_usd)
    }

    /// The budget in US dollars, if one is set.
    pub(crate) fn max_usd(&self) -> Option<f64> {
        self.cap
    }

    /// The remaining budget after `spent` dollars, and `unpriced` rows whose cost is unknown.
    pub(crate) fn budget(&self, spent: f64, unpriced: u64) -> RemainingBudget {
        if let Some(earlier) = &self.earlier {
            earlier(spent);
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
        let spent = spent + unpriced as f64 * self.row;
        RemainingBudget { cap: self.cap, spent, max_row_cost: self.row, paid: 0.0, rows: 0 }
    }
}

/// A cost in US dollars without the error of sums of binary fractions: rounded to 12 decimal places, far
/// below the price of a token.
pub fn rounded_usd(usd: f64) -> f64 {
    // Beyond this, a double has fewer decimal places.
    const MAX: f64 = 1_000.0;
    if usd.abs() < MAX { (usd * 1e12).round() / 1e12 } else { usd }
}

impl fmt::Debug for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Costs").field("cap", &self.cap).field("row", &self.row).finish_non_exhaustive()
    }
}

/// Remainder of a budget.
#[derive(Debug)]
pub(crate) struct RemainingBudget {
    cap: Option<f64>,
    spent: f64,
    /// Maximum cost assumed for a row in flight.
    max_row_cost: f64,
    /// Cost of the rows of this run.
    paid: f64,
    /// Number of these rows.
    rows: u32,
}

impl RowBudget for RemainingBudget {
    fn allows(&self, in_flight: usize, maybe_billed_usd: f64) -> Allowance {
        #[expect(clippy::cast_precision_loss, reason = "rows in flight are few")]
        let held = (in_flight + 1) as f64 * self.max_row_cost;
        match self.cap {
            Some(cap) if self.spent + maybe_billed_usd + held > cap => Allowance::Never,
            _ => Allowance::Now,
        }
    }

    fn pay(&mut self, usd: Option<f64>) {
        let usd = usd.unwrap_or(self.max_row_cost);
        self.spent += usd;
        self.max_row_cost = self.max_row_cost.max(usd);
        self.paid += usd;
        self.rows = self.rows.saturating_add(1);
    }

    fn needed_usd(&self, rows: Option<u64>, maybe_billed_usd: f64) -> Option<NeededBudget> {
        let next_row = self.spent + maybe_billed_usd + self.max_row_cost;
        // A tenth more than the rows so far: later ones may be longer.
        let each = if self.rows == 0 { self.max_row_cost } else { 1.1 * self.paid / f64::from(self.rows) };
        #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
        let all_rows = rows.map(|rows| next_row + rows.saturating_sub(1) as f64 * each);
        Some(NeededBudget { next_row, all_rows })
    }

    /// Never resolves, because nothing is added.
    fn changed(&mut self) -> BoxFuture<'_, ()> {
        pending().boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_starts_only_if_all_in_flight_can_be_paid() {
        let mut budget = Costs::default().cap(1.0, 0.25).budget(0.25, 0);
        let allows = |budget: &RemainingBudget, rows, usd| budget.allows(rows, usd) == Allowance::Now;
        assert!(allows(&budget, 2, 0.0) && !allows(&budget, 2, 0.25) && !allows(&budget, 3, 0.0));
        budget.pay(Some(0.375));
        // From now on, the most expensive row is what each row is assumed to cost.
        assert!(allows(&budget, 0, 0.0) && !allows(&budget, 1, 0.0));
        let needed = budget.needed_usd(Some(11), 0.0).unwrap();
        assert_eq!((needed.next_row, needed.all_rows.map(rounded_usd)), (1.0, Some(5.125)));
        budget.pay(None);
        assert_eq!(budget.allows(0, 0.0), Allowance::Never);
        assert_eq!(budget.needed_usd(None, 0.5), Some(NeededBudget { next_row: 1.875, all_rows: None }));
    }

    #[test]
    fn costs_have_no_error_of_binary_fractions() {
        let costs = Costs::new(|_, usage: &Usage| Some(usage.input_tokens as f64 * 0.15e-6));
        assert_eq!(costs.of("m", &Usage::new(17, 0)), Some(2.55e-6));
        for (usd, text) in [(17.0 * 0.15e-6, "0.00000255"), (1e-13, "0"), (1e9 + 0.1, "1000000000.1")] {
            assert_eq!(rounded_usd(usd).to_string(), text);
        }
        assert!(rounded_usd(f64::NAN).is_nan() && rounded_usd(f64::INFINITY).is_infinite());
    }

    #[test]
    fn without_a_budget_everything_is_allowed() {
        let mut budget = Costs::default().budget(1e9, 0);
        budget.pay(Some(1e9));
        assert_eq!(budget.allows(1_000_000, 1.0), Allowance::Now);
    }
}
