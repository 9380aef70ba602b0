//! Accounts: whose turn it is, for all calls that share a key.
//!
//! ```text
//! Account   who waits, and wakes whom: the only part that is asynchronous
//!  └ line      when the next one may go, and what an answer teaches: pure, with the time brought along
//!     ├ bucket    a rate: requests or tokens
//!     ├ tokens    what a request will cost
//!     ├ capacity  how many the server takes at once
//!     ├ headers   limits in the words of all vendors
//!     └ recent    what happened lately
//! ```
//!
//! Calls are admitted in the order in which they asked, those that somebody waits for before those of a batch. The
//! first in line alone watches the clock and the places that come free; all others wait for their turn, so that a
//! thousand waiting calls cost one timer. A call that is dropped while it waits leaves the line, and nothing else.
//! There is no task behind an account.

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use fanweave_core::{Error, ErrorKind, Priority, Result, Usage};
use tokio::sync::{Mutex as Turn, Notify};
use tokio::time::{Instant, sleep_until};

use self::line::{Admission, Line, Ticket};
use self::tokens::Need;
use super::retry::Budget;

pub(crate) use self::headers::Report;
pub(crate) use self::line::Refusal;
pub use self::state::{AccountState, account_states};
pub(crate) use self::tokens::Ask;

mod bucket;
mod capacity;
mod headers;
mod line;
mod recent;
mod state;
mod tokens;

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
    /// Held by the first in line of each priority. They are fair: whoever asked first has one first.
    turns: [Turn<()>; 2],
    line: Mutex<Line>,
    /// Something changed that the first in line may wait for.
    changed: [Notify; 2],
    /// What retries of this account may cost.
    pub(crate) budget: Budget,
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
            accounts
                .retain(|_, account| Arc::strong_count(account) > 1 || !lock(&account.line).is_at_rest(now));
        }
        accounts.entry(key).or_default().clone()
    }

    /// Sets ceilings, in place of those set before.
    pub(crate) fn set_limits(&self, limits: RateLimits) {
        lock(&self.line).set_limits(limits, Instant::now());
        self.changed.iter().for_each(Notify::notify_one);
    }

    /// Admits nothing for `wait`, because the server asked for it.
    pub(crate) fn close_for(&self, wait: Duration) {
        lock(&self.line).close(wait, Instant::now());
    }

    /// A place right now, if nobody is waiting for one.
    pub(crate) fn try_admit(self: &Arc<Self>, ask: Ask, priority: Priority) -> Option<Place> {
        let mut line = lock(&self.line);
        if line.waiting[..=class(priority)].iter().any(|waiting| *waiting > 0) {
            return None;
        }
        match line.admit(ask, Instant::now()) {
            Admission::Now(ticket) => Some(self.place(ticket)),
            _ => None,
        }
    }

    /// Waits in line for a place, and takes it together with a slot of the caller's run. `None`, and out of the line, where
    /// that run has none free when its turn has come: others shall not wait for it.
    ///
    /// # Errors
    /// [`ErrorKind::RateLimited`] for a request that is larger than the limit of a minute, or of the day: it would never be
    /// sent.
    ///
    /// # Cancellation
    /// Dropping the future leaves the line.
    pub(crate) async fn admit<S>(
        self: &Arc<Self>,
        ask: Ask,
        priority: Priority,
        slot: impl Fn() -> Option<S>,
    ) -> Result<Option<(S, Place)>> {
        let class = class(priority);
        let _waiting = Waiting::enter(self, class);
        let _turn = self.turns[class].lock().await;
        loop {
            let Some(slot) = slot() else { return Ok(None) };
            let admission = {
                let mut line = lock(&self.line);
                // Batches wait until nobody else does.
                if class > 0 && line.waiting[0] > 0 {
                    Admission::Later
                } else {
                    line.admit(ask, Instant::now())
                }
            };
            let changed = self.changed[class].notified();
            let when = match admission {
                Admission::Now(ticket) => return Ok(Some((slot, self.place(ticket)))),
                Admission::Never { need, limit } => return Err(too_large(need, limit)),
                Admission::At(when) => Some(when),
                Admission::Later => None,
            };
            drop(slot);
            match when {
                Some(when) => tokio::select! {
                    () = sleep_until(when) => {}
                    () = changed => {}
                },
                None => changed.await,
            }
        }
    }

    fn place(self: &Arc<Self>, ticket: Ticket) -> Place {
        Place { account: self.clone(), ticket, is_settled: false }
    }

    /// When a request that was sent at `sent` is so late that another one may overtake it.
    pub(crate) fn late(&self, sent: Instant) -> Option<Instant> {
        lock(&self.line).late(sent)
    }

    /// Whether a late request may be sent a second time.
    pub(crate) fn may_hedge(&self) -> bool {
        lock(&self.line).may_hedge()
    }

    /// A place for a late request that is sent a second time, if there is one right now.
    pub(crate) fn try_hedge(self: &Arc<Self>, ask: Ask) -> Option<Place> {
        let ticket = lock(&self.line).hedge(ask, Instant::now())?;
        Some(self.place(ticket))
    }
}

fn class(priority: Priority) -> usize {
    match priority {
        Priority::Interactive => 0,
        Priority::Batch => 1,
    }
}

fn too_large(need: u64, limit: u64) -> Error {
    let message = format!(
        "the request has about {need} tokens, and the account may send {limit} at the most: shorten it, or raise the limit"
    );
    Error::new(ErrorKind::RateLimited, message).with_retryable(false)
}

/// One in line.
struct Waiting<'a> {
    account: &'a Account,
    class: usize,
}

impl<'a> Waiting<'a> {
    fn enter(account: &'a Account, class: usize) -> Self {
        lock(&account.line).waiting[class] += 1;
        Self { account, class }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let batch_is_next = {
            let waiting = &mut lock(&self.account.line).waiting;
            waiting[self.class] -= 1;
            self.class == 0 && waiting[0] == 0 && waiting[1] > 0
        };
        if batch_is_next {
            self.account.changed[1].notify_one();
        }
    }
}

/// A place in flight on an account, until it is dropped: when the answer has been read to its end.
///
/// One that is dropped without a word on how it ended has failed, or was cancelled.
#[must_use]
#[derive(Debug)]
pub(crate) struct Place {
    account: Arc<Account>,
    ticket: Ticket,
    is_settled: bool,
}

impl Place {
    /// When the request was admitted.
    pub(crate) fn sent(&self) -> Instant {
        self.ticket.sent
    }

    /// Takes note of what the head of an answer says.
    pub(crate) fn report(&self, report: &Report) {
        lock(&self.account.line).sync(report, Instant::now());
    }

    /// Takes note of a success, and of the tokens it came to.
    pub(crate) fn succeeded(&mut self, usage: Option<Usage>) {
        // Some servers count nothing, and some anything.
        let usage = usage.filter(|usage| (1..=tokens::MOST).contains(&usage.total_tokens()));
        let counted =
            usage.map(|usage| Need { input: usage.input_tokens as f64, output: usage.output_tokens as f64 });
        self.is_settled = true;
        lock(&self.account.line).succeeded(&self.ticket, counted, Instant::now());
    }

    /// Takes note of a refusal.
    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        self.is_settled = true;
        lock(&self.account.line).refused(&self.ticket, refusal, Instant::now());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let next = {
            let mut line = lock(&self.account.line);
            if !self.is_settled {
                line.failed(&self.ticket, Instant::now());
            }
            line.ended();
            line.waiting.iter().position(|waiting| *waiting > 0).filter(|_| line.waits_for_answers())
        };
        if let Some(next) = next {
            self.account.changed[next].notify_one();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is never left half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
