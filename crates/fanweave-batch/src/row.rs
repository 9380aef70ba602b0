//! One row: prepared, run, and what became of it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use fanweave_core::{Chain, Context, Error, ErrorKind, Event, EventKind, Observer};
use futures::FutureExt;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;

use crate::Costs;
use crate::answer::IntoAnswer;
use crate::dedupe::{Dedupe, Follower, Role};
use crate::journal::{Outcome, Record};
use crate::key::Key;
use crate::progress::Progress;
use crate::reader::Job;
use crate::recorder::{Entry, Finished};
use crate::source::Input;
use crate::tally::{Calls, Tally};

/// Makes a chain's input of what a row holds.
pub(crate) type Prepare<I> = dyn Fn(Input) -> fanweave_core::Result<I> + Send + Sync;

/// What a request is known by.
pub(crate) type RequestKey<I> = fn(&I) -> Key;

/// Maximum number of times that a row is put back. Source: ruling 5.
const MAX_PUT_BACK: u8 = 3;

/// How one row is run.
pub(crate) struct RowRun<I, O> {
    pub(crate) prepare: Arc<Prepare<I>>,
    pub(crate) chain: Chain<I, O>,
    pub(crate) cx: Context,
    pub(crate) progress: Arc<Progress>,
    pub(crate) costs: Costs,
    /// Where equal requests are called once.
    pub(crate) dedupe: Option<(Arc<Dedupe>, RequestKey<I>)>,
}

impl<I, O> Clone for RowRun<I, O> {
    fn clone(&self) -> Self {
        let Self { prepare, chain, cx, progress, costs, dedupe } = self;
        Self {
            prepare: prepare.clone(),
            chain: chain.clone(),
            cx: cx.clone(),
            progress: progress.clone(),
            costs: costs.clone(),
            dedupe: dedupe.clone(),
        }
    }
}

/// A row that may start.
pub(crate) struct Start {
    pub(crate) job: Job,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
    /// Whether its calls can be paid.
    pub(crate) is_affordable: bool,
    /// Key of its request, if other rows wait for it already.
    pub(crate) leads: Option<Key>,
}

/// How a row ended.
pub(crate) enum Ended {
    /// Not yet: it gets the answer of another row.
    Waits,
    /// With an answer. The row, if it can be asked again.
    Answered(Entry, Option<Box<Job>>),
    /// With an error.
    Failed(Box<Failed>),
    /// Not at all: that says nothing about the row, which is to run another time.
    Cancelled,
    /// Not at all: there is no money left for it.
    Unaffordable,
}

/// A row that ended with an error.
pub(crate) struct Failed {
    pub(crate) row: Finished,
    pub(crate) error: Error,
    /// The row, if it may be put back.
    pub(crate) job: Option<Job>,
}

impl<I: Send + 'static, O: IntoAnswer> RowRun<I, O> {
    /// Runs a row to its end. One that is not affordable makes no call.
    pub(crate) async fn run(self, start: Start) -> Ended {
        let Start { job, mut permit, is_affordable, leads } = start;
        let again = (job.input.is_ok() && job.put_back < MAX_PUT_BACK).then(|| job.clone());
        let tally = Arc::new(Tally::new(self.progress.clone(), self.costs.clone(), job.earlier));
        let Job { key, index, line, id, input, .. } = job;
        let cx = self.cx.clone().with_observer(tally.clone()).driven();
        self.progress.row_started(index, line, id.clone());
        let input = std::panic::catch_unwind(AssertUnwindSafe(|| (self.prepare)(input?)));
        let input = input.unwrap_or_else(|panic| Err(Error::from_panic(&*panic)));
        let mut request = leads;
        if let (None, Some((dedupe, request_key)), Ok(input)) = (request, &self.dedupe, &input) {
            let asked = request_key(input);
            match dedupe.join(asked, Follower { key, index, line, id: id.clone(), permit }) {
                Role::Leads(back) => permit = back,
                Role::Waits => return Ended::Waits,
                Role::Answered(follower, of) => {
                    return Ended::Answered(Entry::Duplicate { follower, of }, None);
                }
            }
            request = Some(asked);
        }
        if input.is_ok() && !is_affordable {
            // The request that it was to share has failed meanwhile.
            self.leave_unfinished(index, request.as_ref());
            return Ended::Unaffordable;
        }
        let work = async {
            let input = input?;
            let mut answer = self.chain.invoke_in(input, &cx).await?.into_answer();
            tally.add_to(&mut answer);
            Ok(answer)
        };
        let began = Instant::now();
        let result = AssertUnwindSafe(work).catch_unwind().await;
        let latency = began.elapsed();
        tally.close();
        let result = result.unwrap_or_else(|panic| Err(Error::from_panic(&*panic)));
        let error = result.as_ref().err().cloned();
        if error.as_ref().is_some_and(|error| error.kind() == ErrorKind::Cancelled) {
            self.leave_unfinished(index, request.as_ref());
            return Ended::Cancelled;
        }
        let result = match result {
            Ok(answer) => Outcome::Answer(Box::new(answer)),
            Err(error) => Outcome::Error(Box::new((&error).into())),
        };
        let latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX);
        let (cost_usd, time) = (tally.cost(), Some(tally.timeline()));
        let maybe_billed_usd = tally.maybe_billed();
        let record =
            Box::new(Record { key, index, line, id, latency_ms, cost_usd, maybe_billed_usd, time, result });
        let is_paid = error.is_none() || tally.is_answered();
        let row = Finished { record, latency, permit, request, is_paid };
        match error {
            None => Ended::Answered(Entry::Finished(row), again.map(Box::new)),
            Some(error) => {
                let job = again.map(|job| Job { earlier: tally.calls(), ..job });
                Ended::Failed(Box::new(Failed { row, error, job }))
            }
        }
    }
}

impl<I: Send + 'static, O: IntoAnswer> RowRun<I, O> {
    /// Asks an answered row again, to see whether the provider answers anybody, and drops the answer. Ends with the first
    /// request that fails.
    pub(crate) async fn ask_again(self, job: Job) -> AskedAgain {
        let tally = Arc::new(Tally::new(self.progress.clone(), self.costs.clone(), Calls::default()));
        let failed = Arc::new(FirstFailure::default());
        let cx = self.cx.clone().with_observer(tally.clone()).with_observer(failed.clone());
        let cx = cx.with_fresh_answers().driven();
        let work = async {
            let input = (self.prepare)(job.input?)?;
            self.chain.invoke_in(input, &cx).await
        };
        let work = AssertUnwindSafe(work).catch_unwind();
        let has_failed = tokio::select! {
            _ = work => false,
            () = failed.0.notified() => true,
        };
        tally.close();
        let cost_usd = tally.cost();
        self.progress.row_cost(cost_usd);
        AskedAgain { has_failed, is_paid: tally.is_answered(), cost_usd }
    }
}

/// What became of a row that was [asked again](RowRun::ask_again).
#[derive(Clone, Copy)]
pub(crate) struct AskedAgain {
    /// Whether the provider failed for it, too.
    pub(crate) has_failed: bool,
    pub(crate) is_paid: bool,
    pub(crate) cost_usd: Option<f64>,
}

/// Notified when a request fails and is to be retried.
#[derive(Default)]
struct FirstFailure(Notify);

impl Observer for FirstFailure {
    fn on_event(&self, event: &Event) {
        // A rate limit is no failure.
        if matches!(&event.kind, EventKind::Retrying { error, .. } if error.kind() != ErrorKind::RateLimited)
        {
            self.0.notify_one();
        }
    }
}

impl<I, O> RowRun<I, O> {
    /// Whether a row costs nothing: it makes no call, or asks what another one does.
    pub(crate) fn is_free(&self, job: &Job) -> bool {
        let Ok(input) = &job.input else { return true };
        let prepared = std::panic::catch_unwind(AssertUnwindSafe(|| (self.prepare)(input.clone())));
        let Ok(Ok(input)) = prepared else { return true };
        self.dedupe.as_ref().is_some_and(|(dedupe, request_key)| dedupe.knows(&request_key(&input)))
    }

    /// Leaves a row without a result, and those that wait for its request.
    pub(crate) fn leave_unfinished(&self, index: u64, request: Option<&Key>) {
        self.progress.row_cancelled(index);
        if let (Some(dedupe), Some(request)) = (self.dedupe(), request) {
            dedupe
                .unfinished(request)
                .into_iter()
                .for_each(|follower| self.progress.row_cancelled(follower.index));
        }
    }

    pub(crate) fn dedupe(&self) -> Option<&Dedupe> {
        self.dedupe.as_ref().map(|(dedupe, _)| &**dedupe)
    }
}
