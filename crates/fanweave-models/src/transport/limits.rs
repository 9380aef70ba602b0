//! Accounts: limits and the queue for all calls that share a key.
//!
//! ```text
//! Account          wakes queued calls: the only asynchronous part
//!  └ limiter       decides who is admitted and learns from responses: pure, the caller passes the time
//!     ├ queue       the queued calls and their order
//!     ├ poll_watch  calls that hold a permit and are not polled
//!     ├ outage      failures that are not caused by a call: hold, probe, reopen
//!     ├ bucket      a rate: requests or tokens
//!     ├ tokens      estimates the tokens of a request
//!     ├ capacity    how many concurrent requests the server takes
//!     ├ chance      random rejections
//!     ├ headers     rate limit headers of all vendors
//!     ├ unnamed     a rate that the server enforces without naming it
//!     └ recent      recent activity
//! ```
//!
//! Calls are admitted in order of arrival, interactive ones before those of a batch. One of the queued calls
//! watches the clock and the freed permits; all others wait to be woken, so that a thousand waiting calls
//! cost one timer. Dropping a waiting call only removes it from the queue. An account has no background task.

use std::collections::HashMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::num::{NonZeroU32, NonZeroUsize};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker, ready};
use std::time::Duration;

use fanweave_core::__private::{Made, PerProcess};
use fanweave_core::{Error, ErrorKind, Result, RunPermit, Usage, WaitReason};
use tokio::time::{Instant, sleep, sleep_until};

use self::limiter::{Admission, AdmittedRequest, Limiter};
use self::poll_watch::PollWatch;
use self::queue::QueueKey;
use self::tokens::TokenCount;
use super::retry::OutageTimeout;
use crate::limiter::{LimiterPermit, RequestOutcome};

pub(crate) use self::headers::Report;
pub(crate) use self::limiter::{MARKS, Refusal};
pub(crate) use self::outage::{FailureRunVerdict, RunOfFailures};
pub(crate) use self::queue::Waiter;
pub use self::state::{AccountState, AccountStatus, account_states};
pub(crate) use self::tokens::RequestSize;

mod bucket;
mod capacity;
mod chance;
mod headers;
mod limiter;
mod outage;
mod poll_watch;
mod queue;
mod recent;
mod state;
mod tokens;
mod unnamed;

/// Limits set by the caller for one account: a base URL, a key and a model.
///
/// They apply to all handles on that account in the process; the limits set last replace earlier ones. If the
/// server announces lower limits, those apply.
///
/// ```
/// use std::num::NonZeroU32;
/// use fanweave::models::{ModelBuilder, RateLimits};
///
/// let limits = RateLimits::new().requests_per_minute(NonZeroU32::new(500).unwrap());
/// let model = ModelBuilder::new("openai/gpt-5-mini").api_key("sk-..").limits(limits).build()?;
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RateLimits {
    /// Maximum requests per minute, spread evenly, in bursts of at most one second's worth. Default: none.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Maximum tokens per minute, input and output combined, spread like requests. The tokens of a request
    /// are estimated before it is sent and corrected by the usage in its response. Default: none.
    pub tokens_per_minute: Option<NonZeroU32>,
    /// Maximum requests in flight. A streaming request counts until its stream has ended. Default: none.
    pub concurrency: Option<NonZeroUsize>,
}

impl RateLimits {
    /// No limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the maximum requests per minute.
    #[must_use]
    pub fn requests_per_minute(self, requests: NonZeroU32) -> Self {
        Self { requests_per_minute: Some(requests), ..self }
    }

    /// Sets the maximum tokens per minute, input and output combined.
    #[must_use]
    pub fn tokens_per_minute(self, tokens: NonZeroU32) -> Self {
        Self { tokens_per_minute: Some(tokens), ..self }
    }

    /// Sets the maximum requests in flight.
    #[must_use]
    pub fn concurrency(self, requests: NonZeroUsize) -> Self {
        Self { concurrency: Some(requests), ..self }
    }
}

/// Identity of an account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct AccountKey {
    pub(crate) base_url: String,
    /// [`Secret::fingerprint`](super::secret::Secret::fingerprint). `None` without a key.
    pub(crate) key: Option<u64>,
    pub(crate) model: String,
}

/// The limiter of one account.
#[derive(Debug, Default)]
pub(crate) struct Account {
    limiter: Mutex<Limiter>,
}

type AccountMap = Mutex<HashMap<AccountKey, Arc<Account>>>;

/// The accounts of this process. A forked child has its own, since calls of the parent hold their locks and
/// permits.
static PROCESS: PerProcess<AccountMap> = PerProcess::new();

/// A set of accounts, each with its limits, its queue and what it has learned of its provider.
///
/// Calls with the same base URL, key and model share an account if their models share the set. By default all
/// models of a process share one. A set of its own keeps tests, or the tenants of a service, apart.
///
/// ```
/// use fanweave::models::{Accounts, ModelBuilder};
///
/// let tenant = Accounts::new();
/// let model = ModelBuilder::new("openai/gpt-5-mini").api_key("sk-..").accounts(tenant.clone()).build()?;
/// assert_eq!(tenant.states().len(), 1);
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Accounts(Option<Arc<PerProcess<AccountMap>>>);

impl Accounts {
    /// A set of its own, without accounts. [`Accounts::default`] is the set of the process.
    pub fn new() -> Self {
        Self(Some(Arc::new(PerProcess::new())))
    }

    /// The state of each account, in no particular order.
    pub fn states(&self) -> Vec<AccountState> {
        let now = Instant::now();
        lock(&self.map()).iter().map(|(key, account)| AccountState::of(key, account, now)).collect()
    }

    fn map(&self) -> Arc<Made<AccountMap>> {
        match &self.0 {
            None => PROCESS.get(Mutex::default),
            Some(own) => own.get(Mutex::default),
        }
    }

    /// The account of `key`, shared by all models of this set.
    pub(crate) fn account(&self, key: AccountKey) -> Arc<Account> {
        let accounts = self.map();
        let mut accounts = lock(&accounts);
        // A caller that keeps creating keys must not fill the memory with unused accounts.
        if accounts.len() == accounts.capacity() && !accounts.contains_key(&key) {
            let now = Instant::now();
            accounts.retain(|_, account| {
                Arc::strong_count(account) > 1 || !lock(&account.limiter).is_at_rest(now)
            });
        }
        accounts.entry(key).or_default().clone()
    }
}

/// Shows the number of accounts.
impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let accounts = lock(&self.map()).len();
        f.debug_struct("Accounts").field("accounts", &accounts).finish_non_exhaustive()
    }
}

impl Account {
    /// Changes the state, and wakes the call that may be admitted because of it.
    fn change<T>(&self, change: impl FnOnce(&mut Limiter) -> T) -> T {
        let (changed, leader) = {
            let mut limiter = lock(&self.limiter);
            let changed = change(&mut limiter);
            (changed, limiter.elect())
        };
        if let Some(leader) = leader {
            leader.wake();
        }
        changed
    }

    /// Sets limits, replacing earlier ones.
    pub(crate) fn set_limits(&self, limits: RateLimits) {
        self.change(|limiter| limiter.set_limits(limits, Instant::now()));
    }

    /// Admits nothing for `wait`, because the server requested it.
    pub(crate) fn close_for(&self, wait: Duration) {
        lock(&self.limiter).close(wait, Instant::now());
    }

    /// Returns the number of a new call.
    pub(crate) fn begin_call(&self) -> u64 {
        lock(&self.limiter).begin_call()
    }

    /// Returns a permit immediately, if no other call is queued for one.
    pub(crate) fn try_admit(self: &Arc<Self>, waiter: &Waiter) -> Option<AccountPermit> {
        let ticket = lock(&self.limiter).try_admit(waiter, Instant::now())?;
        Some(self.permit(ticket))
    }

    /// Queues for a permit, and takes it together with a permit of the caller's run. Returns `None` and
    /// leaves the queue if that run has no free permit when the call could be admitted: other calls must not
    /// wait for it.
    ///
    /// # Errors
    /// [`ErrorKind::RateLimited`] for a request that is larger than the limit of a minute or a day: it could
    /// never be sent. [`ErrorKind::Unavailable`] if an outage has lasted longer than the waiter's outage
    /// timeout, or immediately in an outage for a waiter with alternatives.
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue.
    pub(crate) async fn admit<S>(
        self: &Arc<Self>,
        waiter: Waiter,
        permit: impl Fn() -> Option<S>,
    ) -> Result<Option<(S, AccountPermit)>> {
        let queued = QueueGuard { queue_key: lock(&self.limiter).enter(waiter), account: self };
        let mut timer = None;
        poll_fn(|task| {
            loop {
                let admission =
                    lock(&self.limiter).poll_admit(queued.queue_key, task.waker(), &permit, Instant::now());
                match admission {
                    Admission::Now(run, ticket) => return Poll::Ready(Ok(Some((run, self.permit(ticket))))),
                    Admission::NoPermit => return Poll::Ready(Ok(None)),
                    Admission::Never { need, limit } => return Poll::Ready(Err(too_large(need, limit))),
                    Admission::Unavailable(error) => return Poll::Ready(Err(error)),
                    Admission::Wait(None) => return Poll::Pending,
                    Admission::Wait(Some(when)) => {
                        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(when)));
                        timer.as_mut().reset(when);
                        ready!(timer.as_mut().poll(task));
                    }
                }
            }
        })
        .await
    }

    /// Returns a permit immediately for a call polled by other code, if nothing makes others wait for it: no
    /// limit that only a response lifts, and no queued call.
    pub(crate) fn admit_in_place(
        self: &Arc<Self>,
        waiter: &Waiter,
    ) -> Option<(AccountPermit, Arc<PollWatch>)> {
        let (ticket, poll_watch) = lock(&self.limiter).admit_in_place(waiter, Instant::now())?;
        Some((self.permit(ticket), poll_watch))
    }

    fn permit(self: &Arc<Self>, ticket: AdmittedRequest) -> AccountPermit {
        AccountPermit { account: self.clone(), run: None, additional: None, ticket, is_settled: false }
    }

    /// Returns the verdict on a run of failures.
    pub(crate) fn verdict(&self, run: RunOfFailures) -> FailureRunVerdict {
        lock(&self.limiter).outage.verdict(run)
    }

    /// Returns what is known of failures now.
    pub(crate) fn health(&self) -> Health {
        let now = Instant::now();
        let limiter = lock(&self.limiter);
        Health {
            answers: limiter.outage.answers(),
            refused: limiter.refused,
            are_bad: limiter.outage.are_bad(),
            failing_for: limiter.outage.began().map_or(Duration::ZERO, |began| now.duration_since(began)),
            is_flaky: limiter.outage.is_flaky(),
            mostly_answers: !limiter.outage.holds() && limiter.outage.answered_within(LATELY, now),
        }
    }

    /// Returns the reason why calls are waiting now.
    pub(crate) fn wait_reason(&self) -> WaitReason {
        let limiter = lock(&self.limiter);
        match limiter.outage.last().filter(|_| limiter.outage.holds()) {
            Some(error) => WaitReason::Outage(error.clone()),
            None => WaitReason::Limit,
        }
    }

    /// Returns the error of a call that does not wait for the end of an outage. `None` without an outage.
    pub(crate) fn unavailable(&self) -> Option<Error> {
        let limiter = lock(&self.limiter);
        limiter.outage.holds().then(|| limiter.outage.unavailable(Instant::now()))
    }

    /// Returns the error of a call that has failed since `since` and has waited long enough for the end of an
    /// outage.
    pub(crate) fn gives_up(&self, outage_timeout: OutageTimeout, since: Instant) -> Option<Error> {
        let now = Instant::now();
        let limiter = lock(&self.limiter);
        limiter
            .outage
            .expires(since, |has_answered| outage_timeout.of(has_answered))
            .filter(|at| *at <= now)
            .map(|_| limiter.outage.unavailable(now))
    }

    /// Returns the time from which a request sent at `sent` is slow enough to be hedged.
    pub(crate) fn late(&self, sent: Instant) -> Option<Instant> {
        lock(&self.limiter).late(sent)
    }

    /// Returns true if a slow request may be hedged.
    pub(crate) fn may_hedge(&self) -> bool {
        lock(&self.limiter).may_hedge()
    }

    /// Returns a permit for a hedged request, if one is free now.
    pub(crate) fn try_hedge(self: &Arc<Self>, ask: RequestSize) -> Option<AccountPermit> {
        let ticket = lock(&self.limiter).hedge(ask, Instant::now())?;
        Some(self.permit(ticket))
    }
}

/// Time after an answer during which an account counts as answering.
const LATELY: Duration = Duration::from_secs(2);

/// Current knowledge of the failures of an account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Health {
    /// Answers so far.
    pub(crate) answers: u64,
    /// Requests rejected because of a limit so far.
    pub(crate) refused: u64,
    /// Set if other calls are answered at present.
    pub(crate) mostly_answers: bool,
    /// Set if all calls that have failed since the last answer are themselves the cause.
    pub(crate) are_bad: bool,
    /// Time since the first failure after the last answer. Zero if the last request was answered.
    pub(crate) failing_for: Duration,
    /// Set if calls fail often, with answers in between.
    pub(crate) is_flaky: bool,
}

fn too_large(need: u64, limit: u64) -> Error {
    let message = format!(
        "the request has about {need} tokens, but the limit of the account is {limit}: shorten it or raise the limit"
    );
    Error::new(ErrorKind::RateLimited, message).with_retryable(false)
}

/// A call in the queue.
struct QueueGuard<'a> {
    account: &'a Account,
    queue_key: QueueKey,
}

impl Drop for QueueGuard<'_> {
    fn drop(&mut self) {
        self.account.change(|limiter| limiter.queue.leave(self.queue_key));
    }
}

/// A request in flight on an account. Dropped when the response has been read to its end.
///
/// If it is dropped without a report of its outcome, the request has failed or was cancelled.
#[must_use]
#[derive(Debug)]
pub(crate) struct AccountPermit {
    account: Arc<Account>,
    /// The permit of the run, held for the same time.
    run: Option<RunPermit>,
    /// The permit of an additional limiter.
    additional: Option<LimiterPermit>,
    ticket: AdmittedRequest,
    is_settled: bool,
}

/// Maximum time that the reader of a response may lag before permits are given up for waiting calls.
const MAX_READER_LAG: Duration = Duration::from_millis(50);

impl AccountPermit {
    /// Records how the request failed. Returns the run of failures that it belongs to, unless it was
    /// certainly the request's own fault.
    pub(crate) fn judge(&self, error: &Error) -> Option<RunOfFailures> {
        self.account.change(|limiter| limiter.judge(&self.ticket, error, Instant::now()))
    }

    /// Returns true if no other request is in flight, so that this one may be the cause of outages, and the
    /// server was answering when it was sent.
    pub(crate) fn is_alone(&self) -> bool {
        self.ticket.is_alone && self.ticket.is_fair
    }

    /// Also holds the permit of the run.
    pub(crate) fn with_run(mut self, run: RunPermit) -> Self {
        self.run = Some(run);
        self
    }

    /// Also holds the permit of an additional limiter, until the outcome of the request is known.
    pub(crate) fn with_additional(mut self, permit: Option<LimiterPermit>) -> Self {
        self.additional = permit.map(LimiterPermit::sent);
        self
    }

    /// Tells an additional limiter the outcome of the request.
    pub(crate) fn settle_additional(&mut self, outcome: RequestOutcome<'_>) {
        if let Some(permit) = self.additional.take() {
            permit.settle(outcome);
        }
    }

    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Runs `work` that waits for the reader of a response. Permits that other calls wait for meanwhile are
    /// given up.
    pub(crate) async fn while_held(&mut self, mut work: Pin<&mut impl Future<Output = ()>>) {
        if futures::poll!(work.as_mut()).is_ready() {
            return;
        }
        loop {
            tokio::select! {
                biased;
                () = work.as_mut() => return,
                () = sleep(MAX_READER_LAG) => self.give_up(),
            }
        }
    }

    fn give_up(&mut self) {
        if let Some(run) = self.run.take_if(|run| run.is_wanted()) {
            run.give_up();
        }
        // An additional limiter does not say whether others wait for it.
        self.settle_additional(RequestOutcome::Abandoned);
        let is_wanted = |limiter: &Limiter| limiter.queue.waiting() != [0, 0];
        if !self.ticket.is_given_up && is_wanted(&lock(&self.account.limiter)) {
            self.account.change(|limiter| limiter.give_up(&mut self.ticket, Instant::now()));
        }
    }

    /// Time at which the request was admitted.
    pub(crate) fn sent(&self) -> Instant {
        self.ticket.sent
    }

    /// Records the limits in the head of a response.
    pub(crate) fn report(&self, report: &Report) {
        lock(&self.account.limiter).sync(report, Instant::now());
    }

    /// Records a success and its token usage.
    pub(crate) fn succeeded(&mut self, usage: Option<Usage>) {
        self.settle_additional(RequestOutcome::Succeeded(usage));
        // Some servers report no usage, and some report arbitrary numbers.
        let usage = usage.filter(|usage| (1..=tokens::MAX_PLAUSIBLE_TOKENS).contains(&usage.total_tokens()));
        let counted = usage
            .map(|usage| TokenCount { input: usage.input_tokens as f64, output: usage.output_tokens as f64 });
        self.is_settled = true;
        let now = Instant::now();
        let mut limiter = lock(&self.account.limiter);
        let was_held = limiter.outage.holds();
        limiter.succeeded(&self.ticket, counted, now);
        let leader = if was_held { limiter.elect() } else { None };
        drop(limiter);
        // All waiting calls wait for the end of an outage.
        leader.into_iter().for_each(Waker::wake);
    }

    /// Records a rejection.
    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        self.is_settled = true;
        lock(&self.account.limiter).refused(&self.ticket, refusal, Instant::now());
    }
}

impl Drop for AccountPermit {
    fn drop(&mut self) {
        let leader = {
            let now = Instant::now();
            let mut limiter = lock(&self.account.limiter);
            if !self.is_settled {
                limiter.failed(&self.ticket, now);
            }
            limiter.ended(&self.ticket, now);
            let leader = limiter.queue.leader();
            let next = limiter.elect();
            // The previous leader wakes by itself if it only waits for the clock.
            next.filter(|_| limiter.queue.leader() != leader || limiter.waits_for_answers())
        };
        if let Some(leader) = leader {
            leader.wake();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The state behind these locks is never left inconsistent.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod outage_simulation;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
