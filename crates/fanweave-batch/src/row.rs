//! One row: preparation, run and result.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use fanweave_core::prompt::{Endpoint, RequestBody};
use fanweave_core::{Chain, Context, Error, ErrorKind, Event, EventKind, Observer, Prompt};
use futures::FutureExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::Costs;
use crate::answer::IntoAnswer;
use crate::answers::CallJournal;
use crate::dedupe::{Dedupe, Follower, Role};
use crate::feed::{Job, JobFields};
use crate::finished::FinishedRow;
use crate::input::Input;
use crate::journal::{Outcome, Record};
use crate::key::Key;
use crate::location::RowLocation;
use crate::progress::Progress;
use crate::recorder::Finished;
use crate::records::RowPermit;
use crate::render::Prepared;
use crate::tally::{Calls, Tally};

/// Converts a row to a chain's input.
pub(crate) type Prepare<I> = dyn Fn(Input) -> Prepared<I> + Send + Sync;

/// Computes the key of a request.
pub(crate) type RequestKey<I> = fn(&I) -> Key;

/// The prompt of a chain's input.
pub(crate) type PromptOf<I> = fn(&I) -> &Prompt;

/// Maximum number of times that a row is requeued. Source: ruling 5.
const MAX_REQUEUES: u8 = 3;

/// Shared settings for running rows.
pub(crate) struct RowRun<I, O> {
    pub(crate) prepare: Arc<Prepare<I>>,
    pub(crate) chain: Chain<I, O>,
    pub(crate) cx: Context,
    pub(crate) progress: Arc<Progress>,
    pub(crate) costs: Costs,
    /// The prompt of an input, if inputs have one.
    pub(crate) prompt_of: Option<PromptOf<I>>,
    /// Set if the output has only the text of an answer, or the value of one with a schema.
    pub(crate) has_one_choice: bool,
    /// Deduplication of requests, if enabled.
    pub(crate) dedupe: Option<(Arc<Dedupe>, RequestKey<I>)>,
    /// Journal of the calls of rows, if they are journalled.
    pub(crate) journal: Option<CallJournal>,
}

/// A row that may start.
pub(crate) struct Start<I> {
    pub(crate) job: Job,
    /// Input of the chain, if it is prepared already. Boxed, because it rarely is.
    pub(crate) prepared: Option<Box<fanweave_core::Result<I>>>,
    pub(crate) permit: RowPermit,
    /// Set when the budget allows its calls.
    pub(crate) is_affordable: bool,
    /// Key of its request, if other rows already wait for it.
    pub(crate) leads: Option<Key>,
}

/// Result of running a row.
pub(crate) enum RowEnd {
    /// No result yet: the row waits for the answer of another row.
    Waits,
    /// An answer. Includes the row, if it may be rerun.
    Answered(Finished, Option<Job>),
    /// The answer of another row that had the same request.
    Duplicate(Follower, RowLocation),
    /// An error.
    Failed(Box<Failed>),
    /// Cancelled without a result: the row runs when the job is resumed.
    Cancelled,
    /// Not started: the budget is spent.
    Unaffordable,
    /// Ended without a result, because its origin is fenced. Its calls may have a cost.
    Fenced { is_paid: bool, new_cost_usd: Option<f64> },
}

/// A row that ended with an error.
pub(crate) struct Failed {
    pub(crate) row: Finished,
    pub(crate) error: Error,
    /// The row, if it may be requeued.
    pub(crate) job: Option<Job>,
}

impl<I: Send + 'static, O: IntoAnswer> RowRun<I, O> {
    /// Runs a row to its end. A row that is not affordable makes no call.
    pub(crate) async fn run(self: Arc<Self>, start: Start<I>) -> RowEnd {
        let Start { job, prepared, mut permit, is_affordable, leads } = start;
        let requeue = (job.input.is_ok() && job.requeues < MAX_REQUEUES).then(|| job.clone());
        let tally = Arc::new(Tally::new(self.progress.clone(), self.costs.clone(), job.earlier));
        let JobFields { origin, key, index, line, id, input, paid_before, answers, .. } = *job.0;
        let cx = self.cx.clone().with_observer(tally.clone()).driven();
        let (cx, answers) = match &self.journal {
            Some(journal) => journal.begin(key, answers, &self.costs, cx),
            None => (cx, None),
        };
        self.progress.row_started(index, line, id.clone());
        let input = match prepared {
            Some(input) => *input,
            None => self.prepare(input).finish().await,
        };
        let mut request = leads;
        if let (None, Some((dedupe, request_key)), Ok(input)) = (request, &self.dedupe, &input) {
            let own = request_key(input);
            match dedupe.join(own, Follower { key, index, line, id: id.clone(), permit }) {
                Role::Leads(back) => permit = back,
                Role::Waits => return RowEnd::Waits,
                Role::Answered(follower, of) => return RowEnd::Duplicate(follower, of),
            }
            request = Some(own);
        }
        if input.is_ok() && !is_affordable {
            // The request that it was to share has failed in the meantime.
            self.leave_unfinished(index, request.as_ref());
            return RowEnd::Unaffordable;
        }
        let work = pin!(async {
            let input = input?;
            let endpoint = self.endpoint(&input)?;
            let mut answer = self.chain.invoke_in(input, &cx).await?.into_answer();
            tally.add_to(&mut answer);
            answer.endpoint = endpoint;
            Ok(answer)
        });
        let began = Instant::now();
        let result = origin.unless_fenced(AssertUnwindSafe(work).catch_unwind()).await;
        let latency = began.elapsed();
        tally.close();
        if let Some(journal) = &self.journal {
            journal.ended(&tally);
        }
        let Some(result) = result else {
            self.leave_unfinished(index, request.as_ref());
            let (is_paid, new_cost_usd) = (tally.is_answered(), tally.calls().cost_since(&paid_before));
            return RowEnd::Fenced { is_paid, new_cost_usd };
        };
        let result = result.unwrap_or_else(|panic| Err(Error::from_panic(&*panic)));
        let error = result.as_ref().err().cloned();
        if error.as_ref().is_some_and(|error| error.kind() == ErrorKind::Cancelled) {
            self.leave_unfinished(index, request.as_ref());
            return RowEnd::Cancelled;
        }
        let result = match result {
            Ok(answer) => Outcome::Answer(Box::new(answer)),
            Err(error) => Outcome::Error(Box::new((&error).into())),
        };
        let record = Record::of(&tally, key, index, line, id, latency, result);
        let is_paid = error.is_none() || tally.is_answered();
        let row = FinishedRow::new(record, error.clone());
        let new_cost_usd = tally.calls().cost_since(&paid_before);
        let row =
            Finished { origin, row, began, latency, permit, request, is_paid, new_cost_usd, recorded: None };
        match error {
            None => RowEnd::Answered(row, requeue),
            Some(error) => {
                let answers = answers.map(|answers| answers.all()).unwrap_or_default();
                let job = requeue.map(|mut job| {
                    (job.earlier, job.answers) = (tally.calls(), answers);
                    job
                });
                RowEnd::Failed(Box::new(Failed { row, error, job }))
            }
        }
    }
}

impl<I: Send + 'static, O: IntoAnswer> RowRun<I, O> {
    /// Reruns an answered row to check whether the provider answers any row, and drops the answer. Ends at
    /// the first failed request.
    pub(crate) async fn rerun(self: Arc<Self>, mut job: Job) -> Rerun {
        let tally = Arc::new(Tally::new(self.progress.clone(), self.costs.clone(), Calls::default()));
        let failed = Arc::new(FirstFailure::default());
        let cx = self.cx.clone().with_observer(tally.clone()).with_observer(failed.clone());
        let cx = cx.with_fresh_answers().without_call_hook().driven();
        let work = async {
            let input = (self.prepare)(job.take_input()?).finish().await?;
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
        Rerun { has_failed, is_paid: tally.is_answered(), cost_usd }
    }
}

/// Result of a [rerun](RowRun::rerun).
#[derive(Clone, Copy)]
pub(crate) struct Rerun {
    /// Set when the provider failed for this row, too.
    pub(crate) has_failed: bool,
    pub(crate) is_paid: bool,
    pub(crate) cost_usd: Option<f64>,
}

/// Notified when a request has failed and will be retried.
#[derive(Default)]
struct FirstFailure(Notify);

impl Observer for FirstFailure {
    fn on_event(&self, event: &Event) {
        // A rate limit does not count as a failure.
        if matches!(&event.kind, EventKind::Retrying { error, .. } if error.kind() != ErrorKind::RateLimited)
        {
            self.0.notify_one();
        }
    }
}

impl<I, O> RowRun<I, O> {
    /// The endpoint of the request, if it is one of OpenAI's other than chat completions.
    ///
    /// # Errors
    /// If the output cannot hold what the request asks for.
    fn endpoint(&self, input: &I) -> fanweave_core::Result<Option<Endpoint>> {
        let Some(prompt) = self.prompt_of.map(|prompt_of| prompt_of(input)) else { return Ok(None) };
        if self.has_one_choice {
            check_choices(prompt)?;
        }
        let endpoint = prompt.body.as_deref().map(RequestBody::endpoint);
        let others = [Endpoint::Responses, Endpoint::Completions, Endpoint::Embeddings];
        Ok(endpoint.filter(|endpoint| others.contains(endpoint)))
    }

    /// Prepares the input of the chain.
    pub(crate) fn prepare(&self, input: fanweave_core::Result<Input>) -> Prepared<I> {
        let input = match input {
            Ok(input) => input,
            Err(error) => return Prepared::Now(Err(error)),
        };
        let prepared = std::panic::catch_unwind(AssertUnwindSafe(|| (self.prepare)(input)));
        prepared.unwrap_or_else(|panic| Prepared::Now(Err(Error::from_panic(&*panic))))
    }

    /// Returns true if a row with this input costs nothing: it makes no call, or its request is a duplicate.
    pub(crate) fn is_free(&self, input: &fanweave_core::Result<I>) -> bool {
        let Ok(input) = input else { return true };
        self.dedupe.as_ref().is_some_and(|(dedupe, request_key)| dedupe.knows(&request_key(input)))
    }

    /// Leaves a row, and the rows that wait for its request, without a result.
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

/// Checks a request whose result is a row of a table, or has a schema.
///
/// # Errors
/// If it asks for several choices, or for the probabilities of tokens, which would be paid and lost.
pub(crate) fn check_choices(prompt: &Prompt) -> fanweave_core::Result<()> {
    match prompt.parameters.asks_for_choices() {
        true => Err(Error::new(
            ErrorKind::Input,
            "the row asks for several choices (`n`) or for `logprobs`, and a table, or a result with a schema, has one \
             answer without them: write JSON Lines without a schema, or ask for samples (`Settings::samples`) instead of `n`",
        )),
        false => Ok(()),
    }
}
