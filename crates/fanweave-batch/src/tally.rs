//! What the calls of one row add up to.

use std::sync::{Arc, Mutex, PoisonError};

use fanweave_core::{Event, EventKind, Observer, Usage};

use crate::Costs;
use crate::answer::Answer;
use crate::progress::Progress;
use crate::timeline::{Stopwatch, Timeline};

/// Listens to one row: adds up its calls, and passes everything on to the batch's progress.
pub(crate) struct Tally {
    progress: Arc<Progress>,
    costs: Costs,
    calls: Mutex<Calls>,
    times: Mutex<Stopwatch>,
}

/// Sums over the calls of a row.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Calls {
    answered: u32,
    attempts: u32,
    usage: Usage,
    /// US dollars.
    cost: f64,
    /// Calls whose price is unknown.
    unpriced: u32,
    /// US dollars for the input of requests whose answers did not arrive whole.
    maybe_billed: f64,
}

impl Tally {
    /// Adds to what the row's calls came to before it was put back.
    pub(crate) fn new(progress: Arc<Progress>, costs: Costs, earlier: Calls) -> Self {
        Self { progress, costs, calls: Mutex::new(earlier), times: Mutex::new(Stopwatch::start()) }
    }

    /// What its calls came to so far.
    pub(crate) fn calls(&self) -> Calls {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// US dollars that the provider may bill besides. `None` for none.
    pub(crate) fn maybe_billed(&self) -> Option<f64> {
        Some(self.calls().maybe_billed).filter(|usd| *usd > 0.0)
    }

    /// Whether any of its calls was answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.calls().answered > 0
    }

    /// What the row cost. `None` where the price of a call is unknown, or where none was answered.
    pub(crate) fn cost(&self) -> Option<f64> {
        let calls = self.calls();
        (calls.answered > 0 && calls.unpriced == 0).then_some(calls.cost)
    }

    /// When its calls happened.
    pub(crate) fn timeline(&self) -> Timeline {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).stop()
    }

    /// Has the progress forget the calls that were given up: nothing tells of their end.
    pub(crate) fn close(&self) {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.open().for_each(|run| self.progress.forget(run));
    }

    /// Puts the sums into the row's answer: a chain's last reply speaks for its last call alone.
    pub(crate) fn add_to(&self, answer: &mut Answer) {
        let calls = self.calls();
        if calls.answered > 0 {
            answer.usage = calls.usage;
            answer.attempts = calls.attempts;
        }
    }
}

impl Observer for Tally {
    fn on_event(&self, event: &Event) {
        self.progress.on_event(event);
        self.times.lock().unwrap_or_else(PoisonError::into_inner).on_event(event);
        if let EventKind::StepFinished { reply: Some(reply) } = &event.kind {
            let cost = self.costs.of(event.path.name().unwrap_or_default(), &reply.usage);
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            calls.answered += 1;
            calls.attempts += reply.attempts;
            calls.usage += reply.usage;
            calls.cost += cost.unwrap_or_default();
            calls.unpriced += u32::from(cost.is_none());
        }
        if let EventKind::Unanswered(usage) = &event.kind {
            let usd = self.costs.of(event.path.name().unwrap_or_default(), usage);
            self.progress.unanswered(usd);
            self.calls.lock().unwrap_or_else(PoisonError::into_inner).maybe_billed += usd.unwrap_or_default();
        }
    }
}
