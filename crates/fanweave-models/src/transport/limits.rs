//! Accounts: whose turn it is, for all calls that share a key.
//!
//! ```text
//! Account   who waits, and wakes whom: the only part that is asynchronous
//!  └ limiter      when the next one may go, and what an answer teaches: pure, with the time brought along
//!     ├ queue     who waits, and who is next
//!     ├ poll_watch  calls that hold a permit and are not polled
//!     ├ outage    failures that are no call's own: hold, probe, reopen
//!     ├ bucket    a rate: requests or tokens
//!     ├ tokens    what a request will cost
//!     ├ capacity  how many the server takes at once
//!     ├ chance    refusals that strike at random
//!     ├ headers   limits in the words of all vendors
//!     ├ unnamed   a rate that the server enforces and does not name
//!     └ recent    what happened lately
//! ```
//!
//! Calls are admitted in the order in which they asked, interactive ones before those of a batch. One of the queued calls
//! watches the clock and the permits that come free; all others wait to be woken, so that a thousand waiting calls cost
//! one timer. A call that is dropped while it waits leaves the queue, and nothing else. There is no task behind an account.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::num::{NonZeroU32, NonZeroUsize};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Poll, Waker, ready};
use std::time::Duration;

use fanweave_core::{Error, ErrorKind, Result, RunPermit, Usage, WaitReason};
use tokio::time::{Instant, sleep, sleep_until};

use self::limiter::{Admission, AdmittedRequest, Limiter};
use self::poll_watch::PollWatch;
use self::queue::QueueKey;
use self::tokens::TokenCount;
use super::retry::OutageTimeout;

pub(crate) use self::headers::Report;
pub(crate) use self::limiter::Refusal;
pub(crate) use self::outage::{RunOfFailures, Verdict};
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

/// Ceilings that the caller sets for one account: a base URL, a key and a model.
///
/// They hold for all handles on that account in the process, and the ones set last hold for all. What the server
/// says of its own limits holds where it is less.
///
/// ```
/// use std::num::NonZeroU32;
/// use fanweave_models::{ModelBuilder, RateLimits};
///
/// let limits = RateLimits { requests_per_minute: NonZeroU32::new(500), ..RateLimits::default() };
/// let model = ModelBuilder::new("openai/gpt-5-mini").api_key("sk-..").limits(limits).build()?;
/// # Ok::<_, fanweave_core::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RateLimits {
    /// Most requests a minute, spread evenly: at most a second's worth goes out at once. Default none.
    pub requests_per_minute: Option<NonZeroU32>,
    /// Most tokens a minute, of prompts and answers together, spread as requests are. Those of a request are
    /// estimated before it is sent, and settled when the answer says how many there were. Default none.
    pub tokens_per_minute: Option<NonZeroU32>,
    /// Most requests in flight. A streamed one counts until its stream has ended. Default none.
    pub concurrency: Option<NonZeroUsize>,
}

/// Which account a call belongs to.
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

type Accounts = Mutex<HashMap<AccountKey, Arc<Account>>>;

fn accounts() -> MutexGuard<'static, HashMap<AccountKey, Arc<Account>>> {
    static ACCOUNTS: OnceLock<Accounts> = OnceLock::new();
    lock(ACCOUNTS.get_or_init(Mutex::default))
}

impl Account {
    /// The account of `key`, shared by the whole process.
    pub(crate) fn shared(key: AccountKey) -> Arc<Self> {
        let mut accounts = accounts();
        // Whoever makes new keys for ever must not fill the memory with accounts that nobody uses.
        if accounts.len() == accounts.capacity() && !accounts.contains_key(&key) {
            let now = Instant::now();
            accounts.retain(|_, account| {
                Arc::strong_count(account) > 1 || !lock(&account.limiter).is_at_rest(now)
            });
        }
        accounts.entry(key).or_default().clone()
    }

    /// Changes the state, and wakes the call that may go because of it.
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

    /// Sets ceilings, in place of those set before.
    pub(crate) fn set_limits(&self, limits: RateLimits) {
        self.change(|limiter| limiter.set_limits(limits, Instant::now()));
    }

    /// Admits nothing for `wait`, because the server asked for it.
    pub(crate) fn close_for(&self, wait: Duration) {
        lock(&self.limiter).close(wait, Instant::now());
    }

    /// The number of a call that begins.
    pub(crate) fn begin_call(&self) -> u64 {
        lock(&self.limiter).begin_call()
    }

    /// A permit right now, if no other call is queued for one.
    pub(crate) fn try_admit(self: &Arc<Self>, waiter: &Waiter) -> Option<AccountPermit> {
        let ticket = lock(&self.limiter).try_admit(waiter, Instant::now())?;
        Some(self.permit(ticket))
    }

    /// Queues for a permit, and takes it together with a permit of the caller's run. `None`, and out of the queue, where
    /// that run has none left when its turn has come: others shall not wait for it.
    ///
    /// # Errors
    /// [`ErrorKind::RateLimited`] for a request that is larger than the limit of a minute, or of the day: it would never be
    /// sent. [`ErrorKind::Unavailable`] where an outage has lasted for longer than the waiter's patience, and at once in an
    /// outage for a waiter with alternatives.
    ///
    /// # Cancellation
    /// Dropping the future leaves the queue.
    pub(crate) async fn admit<S>(
        self: &Arc<Self>,
        waiter: Waiter,
        permit: impl Fn() -> Option<S>,
    ) -> Result<Option<(S, AccountPermit)>> {
        let queued = Queued { queue_key: lock(&self.limiter).enter(waiter), account: self };
        let mut timer = None;
        poll_fn(|task| {
            loop {
                let turn = lock(&self.limiter).turn(queued.queue_key, task.waker(), &permit, Instant::now());
                match turn {
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

    /// A permit right now for a call that somebody else polls, if nothing makes others wait for it: no limit that only an
    /// answer lifts, and no call in the queue.
    pub(crate) fn admit_in_place(
        self: &Arc<Self>,
        waiter: &Waiter,
    ) -> Option<(AccountPermit, Arc<PollWatch>)> {
        let (ticket, poll_watch) = lock(&self.limiter).admit_in_place(waiter, Instant::now())?;
        Some((self.permit(ticket), poll_watch))
    }

    fn permit(self: &Arc<Self>, ticket: AdmittedRequest) -> AccountPermit {
        AccountPermit { account: self.clone(), run: None, ticket, is_settled: false }
    }

    /// What a run of failures turned out to be.
    pub(crate) fn verdict(&self, run: RunOfFailures) -> Verdict {
        lock(&self.limiter).outage.verdict(run)
    }

    /// What is known of failures right now.
    pub(crate) fn health(&self) -> Health {
        let now = Instant::now();
        let limiter = lock(&self.limiter);
        Health {
            answers: limiter.outage.answers(),
            are_bad: limiter.outage.are_bad(),
            is_flaky: limiter.outage.is_flaky(),
            answers_most: !limiter.outage.holds() && limiter.outage.answered_within(LATELY, now),
        }
    }

    /// The reason why calls wait right now.
    pub(crate) fn wait_reason(&self) -> WaitReason {
        let limiter = lock(&self.limiter);
        match limiter.outage.last().filter(|_| limiter.outage.holds()) {
            Some(error) => WaitReason::Outage(error.clone()),
            None => WaitReason::Limit,
        }
    }

    /// The error of a call that does not wait for the end of an outage. `None` without one.
    pub(crate) fn unavailable(&self) -> Option<Error> {
        let limiter = lock(&self.limiter);
        limiter.outage.holds().then(|| limiter.outage.unavailable(Instant::now()))
    }

    /// The error of a call that has failed since `since` and has waited long enough for the end of an outage.
    pub(crate) fn gives_up(&self, outage_timeout: OutageTimeout, since: Instant) -> Option<Error> {
        let now = Instant::now();
        let limiter = lock(&self.limiter);
        limiter
            .outage
            .expires(since, |has_answered| outage_timeout.of(has_answered))
            .filter(|at| *at <= now)
            .map(|_| limiter.outage.unavailable(now))
    }

    /// When a request that was sent at `sent` is so late that another one may overtake it.
    pub(crate) fn late(&self, sent: Instant) -> Option<Instant> {
        lock(&self.limiter).late(sent)
    }

    /// Whether a late request may be sent a second time.
    pub(crate) fn may_hedge(&self) -> bool {
        lock(&self.limiter).may_hedge()
    }

    /// A permit for a late request that is sent a second time, if there is one right now.
    pub(crate) fn try_hedge(self: &Arc<Self>, ask: RequestSize) -> Option<AccountPermit> {
        let ticket = lock(&self.limiter).hedge(ask, Instant::now())?;
        Some(self.permit(ticket))
    }
}

/// How long after an answer an account counts as one that answers.
const LATELY: Duration = Duration::from_secs(2);

/// What is known of the failures of an account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Health {
    /// Answers so far.
    pub(crate) answers: u64,
    /// Whether other calls are answered at present.
    pub(crate) answers_most: bool,
    /// Whether all calls that have failed since the last answer are to blame themselves.
    pub(crate) are_bad: bool,
    /// Whether calls fail often, and are answered in between.
    pub(crate) is_flaky: bool,
}

fn too_large(need: u64, limit: u64) -> Error {
    let message = format!(
        "the request has about {need} tokens, and the account may send {limit} at the most: shorten it, or raise the limit"
    );
    Error::new(ErrorKind::RateLimited, message).with_retryable(false)
}

/// A call in the queue.
struct Queued<'a> {
    account: &'a Account,
    queue_key: QueueKey,
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.account.change(|limiter| limiter.queue.leave(self.queue_key));
    }
}

/// A request in flight on an account, until it is dropped: when the answer has been read to its end.
///
/// One that is dropped without a word on how it ended has failed, or was cancelled.
#[must_use]
#[derive(Debug)]
pub(crate) struct AccountPermit {
    account: Arc<Account>,
    /// The permit of the run, which lasts as long.
    run: Option<RunPermit>,
    ticket: AdmittedRequest,
    is_settled: bool,
}

/// How long the reader of an answer may be behind before permits are given up for calls that wait.
const BEHIND: Duration = Duration::from_millis(50);

impl AccountPermit {
    /// Takes note of how the request failed. Gives the run of failures that it is part of, where it may not have been its
    /// own fault.
    pub(crate) fn judge(&self, error: &Error) -> Option<RunOfFailures> {
        self.account.change(|limiter| limiter.judge(&self.ticket, error, Instant::now()))
    }

    /// Whether no other request is in flight beside it, because it may be the cause of outages, and the server was answering
    /// when it was sent.
    pub(crate) fn is_alone(&self) -> bool {
        self.ticket.is_alone && self.ticket.is_fair
    }

    /// Holds the permit of the run as well.
    pub(crate) fn with_run(mut self, run: RunPermit) -> Self {
        self.run = Some(run);
        self
    }

    pub(crate) fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Does `work` that waits for the reader of an answer. Permits that other calls wait for meanwhile are given up.
    pub(crate) async fn while_held(&mut self, mut work: Pin<&mut impl Future<Output = ()>>) {
        if futures::poll!(work.as_mut()).is_ready() {
            return;
        }
        loop {
            tokio::select! {
                biased;
                () = work.as_mut() => return,
                () = sleep(BEHIND) => self.give_up(),
            }
        }
    }

    fn give_up(&mut self) {
        if let Some(run) = self.run.take_if(|run| run.is_wanted()) {
            run.give_up();
        }
        let is_wanted = |limiter: &Limiter| limiter.queue.waiting() != [0, 0];
        if !self.ticket.is_given_up && is_wanted(&lock(&self.account.limiter)) {
            self.account.change(|limiter| limiter.give_up(&mut self.ticket, Instant::now()));
        }
    }

    /// When the request was admitted.
    pub(crate) fn sent(&self) -> Instant {
        self.ticket.sent
    }

    /// Takes note of what the head of an answer says.
    pub(crate) fn report(&self, report: &Report) {
        lock(&self.account.limiter).sync(report, Instant::now());
    }

    /// Takes note of a success, and of the tokens it came to.
    pub(crate) fn succeeded(&mut self, usage: Option<Usage>) {
        // Some servers count nothing, and some anything.
        let usage = usage.filter(|usage| (1..=tokens::MOST).contains(&usage.total_tokens()));
        let counted = usage
            .map(|usage| TokenCount { input: usage.input_tokens as f64, output: usage.output_tokens as f64 });
        self.is_settled = true;
        let now = Instant::now();
        let mut limiter = lock(&self.account.limiter);
        let was_held = limiter.outage.holds();
        limiter.succeeded(&self.ticket, counted, now);
        let leader = if was_held { limiter.elect() } else { None };
        drop(limiter);
        // The end of an outage is what all wait for.
        leader.into_iter().for_each(Waker::wake);
    }

    /// Takes note of a refusal.
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
            // The leader of before wakes by itself where only the clock is in its way.
            next.filter(|_| limiter.queue.leader() != leader || limiter.waits_for_answers())
        };
        if let Some(leader) = leader {
            leader.wake();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is never left half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod outage_simulation;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
