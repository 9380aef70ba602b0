//! Totals of the calls of one row.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fanweave_core::{Event, EventKind, Observer, Usage};

use crate::Costs;
use crate::answer::Answer;
use crate::cost::rounded_usd;
use crate::progress::Progress;
use crate::timeline::{Stopwatch, Timeline};

/// Observer of one row: adds up its calls, and forwards all events to the batch's progress.
pub(crate) struct Tally {
    progress: Arc<Progress>,
    costs: Costs,
    calls: Mutex<Calls>,
    times: Mutex<Stopwatch>,
    /// The model that the row names, without its vendor.
    named: OnceLock<String>,
}

/// Totals over the calls of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Calls {
    answered: u32,
    attempts: u32,
    /// Attempts after the first one of each call.
    retries: u32,
    usage: Usage,
    /// In US dollars.
    cost: f64,
    /// Calls whose price is unknown.
    unpriced: u32,
    /// Cost in US dollars of the input of requests whose responses were incomplete.
    maybe_billed: f64,
}

impl Calls {
    /// The totals of one answered call.
    pub(crate) fn of(usage: Usage, attempts: u32, cost_usd: Option<f64>) -> Self {
        Self {
            answered: 1,
            attempts,
            retries: attempts.saturating_sub(1),
            usage,
            cost: cost_usd.unwrap_or_default(),
            unpriced: u32::from(cost_usd.is_none()),
            maybe_billed: 0.0,
        }
    }

    /// Adds the totals of other calls.
    pub(crate) fn add(&mut self, more: &Self) {
        self.answered += more.answered;
        self.attempts += more.attempts;
        self.retries += more.retries;
        self.usage += more.usage;
        self.cost += more.cost;
        self.unpriced += more.unpriced;
        self.maybe_billed += more.maybe_billed;
    }

    /// Cost of the calls as far as known.
    pub(crate) fn known_cost(&self) -> f64 {
        self.cost
    }

    /// Attempts of the row: one, and the retries of all its calls. `failed` are those of a call that was not
    /// answered.
    fn row_attempts(&self, failed: u32) -> u32 {
        match self.attempts + failed {
            0 => 0,
            _ => 1 + self.retries + failed.saturating_sub(1),
        }
    }

    /// Number of answered calls of unknown cost.
    pub(crate) fn unpriced(&self) -> u32 {
        self.unpriced
    }

    /// Cost of the calls other than `earlier`. `None` if a price is unknown, or if no call was answered.
    pub(crate) fn cost_since(&self, earlier: &Self) -> Option<f64> {
        let is_known = self.answered > earlier.answered && self.unpriced == earlier.unpriced;
        is_known.then(|| rounded_usd(self.cost - earlier.cost))
    }
}

impl Tally {
    /// Starts from the totals of the row's calls before it was requeued.
    pub(crate) fn new(progress: Arc<Progress>, costs: Costs, earlier: Calls) -> Self {
        let (calls, times) = (Mutex::new(earlier), Mutex::new(Stopwatch::start()));
        Self { progress, costs, calls, times, named: OnceLock::new() }
    }

    /// Totals of its calls so far.
    pub(crate) fn calls(&self) -> Calls {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Additional cost in US dollars that the provider may bill, if any.
    pub(crate) fn maybe_billed(&self) -> Option<f64> {
        Some(rounded_usd(self.calls().maybe_billed)).filter(|usd| *usd > 0.0)
    }

    /// Returns true if any of its calls was answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.calls().answered > 0
    }

    /// Returns true if it has seen more than one answered call.
    pub(crate) fn has_several(&self) -> bool {
        self.calls().answered > 1
    }

    /// Cost of the row. `None` if the price of a call is unknown, or if none was answered.
    pub(crate) fn cost(&self) -> Option<f64> {
        self.calls().cost_since(&Calls::default())
    }

    /// Timeline of its calls.
    pub(crate) fn timeline(&self) -> Timeline {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).stop()
    }

    /// Removes abandoned calls from the progress, because no event reports their end.
    pub(crate) fn close(&self) {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.open().for_each(|run| self.progress.forget(run));
    }

    /// Adds the totals to the row's answer. A chain's last reply covers only its last call.
    pub(crate) fn add_to(&self, answer: &mut Answer) {
        let calls = self.calls();
        if calls.answered > 0 {
            answer.usage = calls.usage;
            answer.attempts = calls.row_attempts(0);
        }
    }

    /// Adds the totals to the row's error. That of a chain covers only the call that failed, and none if all
    /// calls were answered.
    pub(crate) fn add_to_failure(&self, attempts: &mut u32, usage: &mut Option<Usage>) {
        let calls = self.calls();
        if calls.answered > 0 {
            *usage = Some(calls.usage);
            *attempts = calls.row_attempts(*attempts);
        }
    }
}

impl Tally {
    /// Cost of a call of a model, or of the one that the row names in its place.
    fn cost_of(&self, event: &Event, usage: &Usage) -> Option<f64> {
        let name = event.path.name().unwrap_or_default();
        match (self.named.get(), name.split_once('/')) {
            // A server of the user may have names with a vendor.
            (Some(own), Some((vendor, _)))
                if own.strip_prefix(vendor).is_some_and(|rest| rest.starts_with('/')) =>
            {
                self.costs.of(own, usage)
            }
            (Some(own), Some((vendor, _))) => self.costs.of(&format!("{vendor}/{own}"), usage),
            _ => self.costs.of(name, usage),
        }
    }
}

impl Observer for Tally {
    fn on_event(&self, event: &Event) {
        self.progress.on_event(event);
        self.times.lock().unwrap_or_else(PoisonError::into_inner).on_event(event);
        if let EventKind::PromptSent(prompt) = &event.kind
            && let Some(model) = &prompt.parameters.model
        {
            let _ = self.named.set(model.clone());
        }
        if let EventKind::StepFinished { reply: Some(reply) } = &event.kind {
            let cost = self.cost_of(event, &reply.usage);
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.add(&Calls::of(reply.usage, reply.attempts, cost));
        }
        if let EventKind::Unanswered(usage) = &event.kind {
            let usd = self.cost_of(event, usage);
            self.progress.unanswered(usd);
            self.calls.lock().unwrap_or_else(PoisonError::into_inner).maybe_billed += usd.unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(attempts: &[u32]) -> Tally {
        let mut calls = Calls::default();
        attempts.iter().for_each(|n| calls.add(&Calls::of(Usage::new(3, 2), *n, None)));
        Tally::new(Arc::default(), Costs::default(), calls)
    }

    #[test]
    fn attempts_of_a_row_are_one_and_the_retries_of_its_calls() {
        let cases: [(&[u32], u32); 5] =
            [(&[1], 1), (&[3], 3), (&[1, 1, 1], 1), (&[1, 2, 3], 4), (&[0, 0], 0)];
        for (calls, attempts) in cases {
            let mut answer = Answer::default();
            tally(calls).add_to(&mut answer);
            assert_eq!(answer.attempts, attempts, "{calls:?}");
        }
    }

    #[test]
    fn a_row_that_failed_after_answered_calls_has_their_tokens_and_attempts() {
        let failed = |calls: &[u32], mut attempts: u32| {
            let mut usage = None;
            tally(calls).add_to_failure(&mut attempts, &mut usage);
            (attempts, usage.map(|usage| usage.total_tokens()))
        };
        // Such as answers that do not fit a schema.
        assert_eq!(failed(&[1, 1, 1], 0), (1, Some(15)));
        assert_eq!(failed(&[2], 3), (4, Some(5)));
        assert_eq!(failed(&[], 3), (3, None));
        assert_eq!(failed(&[], 0), (0, None));
    }
}
