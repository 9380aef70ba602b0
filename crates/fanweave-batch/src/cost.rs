//! What calls cost, and how much a batch may spend.

use std::fmt;
use std::sync::Arc;

use fanweave_core::Usage;

/// What a call of a model cost, in US dollars, as far as that is known.
type Price = dyn Fn(&str, &Usage) -> Option<f64> + Send + Sync;

/// What calls cost, and how much a batch may spend on them. The default knows no prices and sets no cap.
///
/// ```
/// use fanweave_batch::Costs;
/// use fanweave_core::Usage;
///
/// // A dollar for a million tokens, and at most five dollars, where a row costs about a cent.
/// let costs = Costs::new(|_model, usage: &Usage| Some(usage.total_tokens() as f64 * 1e-6)).cap(5.0, 0.01);
/// assert_eq!(costs.of("any/model", &Usage { output_tokens: 500_000, ..Usage::default() }), Some(0.5));
/// ```
#[derive(Clone, Default)]
pub struct Costs {
    price: Option<Arc<Price>>,
    cap: Option<f64>,
    row: f64,
    /// Told what earlier runs spent.
    earlier: Option<Arc<dyn Fn(f64) + Send + Sync>>,
}

impl Costs {
    /// Prices of calls: given the name of a model, as in `openai/gpt-5-mini`, and what a call used, US dollars.
    /// `None` where the price is unknown.
    pub fn new(price: impl Fn(&str, &Usage) -> Option<f64> + Send + Sync + 'static) -> Self {
        Self { price: Some(Arc::new(price)), ..Self::default() }
    }

    /// Starts no row that might take the sum above `usd`. Default no cap.
    ///
    /// The sum is that of all runs in the journal. A row in flight counts as the dearest that has ended, or as
    /// `row` as long as none was dearer: so many dollars a row is expected to cost at most. A row whose cost is
    /// unknown counts as much. Under a cap no request is sent a second time because it is late. A
    /// request whose answer did not arrive whole counts with the price of its input: the provider may bill it.
    #[must_use]
    pub fn cap(mut self, usd: f64, row: f64) -> Self {
        self.cap = Some(usd);
        self.row = row;
        self
    }

    /// Tells `earlier` how many US dollars the runs before this one in the same journal spent, before the first row starts.
    ///
    /// ```
    /// use std::sync::Mutex;
    /// use fanweave_batch::Costs;
    ///
    /// static SPENT: Mutex<f64> = Mutex::new(0.0);
    /// let costs = Costs::default().on_earlier_cost(|usd| *SPENT.lock().unwrap() += usd);
    /// ```
    #[must_use]
    pub fn on_earlier_cost(mut self, earlier: impl Fn(f64) + Send + Sync + 'static) -> Self {
        self.earlier = Some(Arc::new(earlier));
        self
    }

    /// What a call cost.
    pub fn of(&self, model: &str, usage: &Usage) -> Option<f64> {
        self.price.as_ref()?(model, usage)
    }

    /// The most that may be spent.
    pub(crate) fn most(&self) -> Option<f64> {
        self.cap
    }

    /// The cap as it is watched, when so much had been spent before, and on so many rows nobody knows how much.
    pub(crate) fn budget(&self, spent: f64, unpriced: u64) -> RemainingBudget {
        if let Some(earlier) = &self.earlier {
            earlier(spent);
        }
        #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
        let spent = spent + unpriced as f64 * self.row;
        RemainingBudget { cap: self.cap, spent, max_row_cost: self.row }
    }
}

impl fmt::Debug for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Costs").field("cap", &self.cap).field("row", &self.row).finish_non_exhaustive()
    }
}

/// What is left of a cap.
#[derive(Debug)]
pub(crate) struct RemainingBudget {
    cap: Option<f64>,
    spent: f64,
    /// What a row in flight may cost.
    max_row_cost: f64,
}

impl RemainingBudget {
    /// Pays for a row that has ended.
    pub(crate) fn pay(&mut self, cost: Option<f64>) {
        self.spent += cost.unwrap_or(self.max_row_cost);
        self.max_row_cost = self.max_row_cost.max(cost.unwrap_or_default());
    }

    /// Whether another row may start beside those in flight, when `maybe_billed` dollars may be billed besides.
    pub(crate) fn allows(&self, in_flight: usize, maybe_billed: f64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "rows in flight are few")]
        let held = (in_flight + 1) as f64 * self.max_row_cost;
        self.cap.is_none_or(|cap| self.spent + maybe_billed + held <= cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_starts_only_where_all_in_flight_can_be_paid() {
        let mut budget = Costs::default().cap(1.0, 0.25).budget(0.25, 0);
        assert!(budget.allows(2, 0.0) && !budget.allows(2, 0.25) && !budget.allows(3, 0.0));
        budget.pay(Some(0.375));
        // The dearest row is the measure from now on.
        assert!(budget.allows(0, 0.0) && !budget.allows(1, 0.0));
        budget.pay(None);
        assert!(!budget.allows(0, 0.0));
    }

    #[test]
    fn without_a_cap_everything_is_allowed() {
        let mut budget = Costs::default().budget(1e9, 0);
        budget.pay(Some(1e9));
        assert!(budget.allows(1_000_000, 1.0));
    }
}
