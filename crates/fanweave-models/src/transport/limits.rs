//! Accounts: whose turn it is, for all calls that share a key.
//!
//! Calls are admitted in the order in which they asked. The first in line alone watches the clock and the places
//! that come free; all others wait for their turn, so that a thousand waiting calls cost one timer. A call that is
//! dropped while it waits leaves the line, and nothing else.
//!
//! There is no task behind an account. What a later limiter has to add (tokens, limits read from headers, a
//! search for the server's capacity) belongs into `Line`: all of it is asked by the first in line.

use std::collections::HashMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, Notify};
use tokio::time::{Instant, sleep_until};

use super::retry::Budget;

/// Ceilings that the caller sets for one account: a base URL, a key and a model.
///
/// They hold for all handles on that account in the process, and the ones set last hold for all.
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
    /// Most requests in flight. A streamed one counts until its stream has ended. Default none.
    pub concurrency: Option<NonZeroUsize>,
}

/// Share of a rate limit that is used: clocks differ, and a 429 costs more than it wins.
const USED_SHARE: f64 = 0.995;

/// What can go out at once after a pause. Providers enforce 60 a minute as one a second.
const BURST: Duration = Duration::from_secs(1);

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
    /// Held by the first in line. It is fair: whoever asked first has it first.
    turn: Turn<()>,
    line: Mutex<Line>,
    /// Something changed that the first in line may wait for.
    changed: Notify,
    /// What retries of this account may cost.
    pub(crate) budget: Budget,
}

/// What decides on the next admission.
#[derive(Debug, Default)]
struct Line {
    limits: RateLimits,
    in_flight: usize,
    /// Nothing is admitted before, because the server asked to wait.
    gate: Option<Instant>,
    pace: Option<Pace>,
}

/// When the first in line may go.
#[derive(Debug, PartialEq, Eq)]
enum Admission {
    Now,
    At(Instant),
    /// When a place comes free.
    Later,
}

impl Account {
    /// The account of `key`, shared by the whole process.
    pub(crate) fn shared(key: AccountKey) -> Arc<Self> {
        static ACCOUNTS: OnceLock<Mutex<HashMap<AccountKey, Arc<Account>>>> = OnceLock::new();
        let mut accounts = lock(ACCOUNTS.get_or_init(Mutex::default));
        // Whoever makes new keys for ever must not fill the memory with accounts that nobody uses.
        if accounts.len() == accounts.capacity() && !accounts.contains_key(&key) {
            let now = Instant::now();
            accounts.retain(|_, account| Arc::strong_count(account) > 1 || !account.is_at_rest(now));
        }
        accounts.entry(key).or_default().clone()
    }

    /// Sets ceilings, in place of those set before.
    pub(crate) fn set_limits(&self, limits: RateLimits) {
        {
            let mut line = lock(&self.line);
            if line.limits.requests_per_minute != limits.requests_per_minute {
                line.pace = limits.requests_per_minute.map(|limit| Pace::new(limit, Instant::now()));
            }
            line.limits = limits;
        }
        self.changed.notify_one();
    }

    /// Admits nothing for `wait`, because the server asked for it.
    pub(crate) fn close_for(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut line = lock(&self.line);
        line.gate = line.gate.max(Some(until));
    }

    /// A place right now, if nobody is waiting for one.
    pub(crate) fn try_admit(self: &Arc<Self>) -> Option<Place> {
        let mut line = lock(&self.line);
        if line.is_open() {
            line.in_flight += 1;
            return Some(Place(self.clone()));
        }
        let _turn = self.turn.try_lock().ok()?;
        (line.admit(Instant::now()) == Admission::Now).then(|| Place(self.clone()))
    }

    /// Waits in line for a place.
    ///
    /// # Cancellation
    /// Dropping the future leaves the line.
    pub(crate) async fn admit(self: &Arc<Self>) -> Place {
        let _turn = self.turn.lock().await;
        loop {
            let admission = lock(&self.line).admit(Instant::now());
            match admission {
                Admission::Now => return Place(self.clone()),
                Admission::At(when) => tokio::select! {
                    () = sleep_until(when) => {}
                    () = self.changed.notified() => {}
                },
                Admission::Later => self.changed.notified().await,
            }
        }
    }

    /// Whether forgetting the account would change nothing.
    fn is_at_rest(&self, now: Instant) -> bool {
        let line = lock(&self.line);
        line.in_flight == 0
            && line.gate.is_none_or(|gate| gate <= now)
            && line.pace.as_ref().is_none_or(|pace| pace.is_full(now))
    }
}

/// A place in flight on an account, until it is dropped: when the answer has been read to its end.
#[must_use]
#[derive(Debug)]
pub(crate) struct Place(Arc<Account>);

impl Drop for Place {
    fn drop(&mut self) {
        let limited = {
            let mut line = lock(&self.0.line);
            line.in_flight -= 1;
            line.limits.concurrency.is_some()
        };
        if limited {
            self.0.changed.notify_one();
        }
    }
}

impl Line {
    /// Whether there is nothing to wait for.
    fn is_open(&self) -> bool {
        self.gate.is_none() && self.limits == RateLimits::default()
    }

    /// Admits a call, or says when to ask again.
    fn admit(&mut self, now: Instant) -> Admission {
        match self.gate {
            Some(gate) if gate > now => return Admission::At(gate),
            _ => self.gate = None,
        }
        if self.limits.concurrency.is_some_and(|most| self.in_flight >= most.get()) {
            return Admission::Later;
        }
        if let Some(pace) = &mut self.pace
            && let Err(when) = pace.take(now)
        {
            return Admission::At(when);
        }
        self.in_flight += 1;
        Admission::Now
    }
}

/// A bucket of requests that fills evenly.
#[derive(Debug)]
struct Pace {
    /// Requests a second.
    rate: f64,
    /// Most that it holds.
    burst: f64,
    /// What it held at `at`.
    level: f64,
    at: Instant,
}

impl Pace {
    fn new(per_minute: NonZeroU32, now: Instant) -> Self {
        let rate = USED_SHARE * f64::from(per_minute.get()) / 60.0;
        let burst = (rate * BURST.as_secs_f64()).max(1.0);
        Self { rate, burst, level: burst, at: now }
    }

    /// Takes one request out, or says when there will be one.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        self.level = self.level_at(now);
        self.at = now;
        // Sums of fractions end just below the whole number that they stand for.
        if self.level >= 1.0 - 1e-6 {
            self.level -= 1.0;
            return Ok(());
        }
        Err(now + Duration::from_secs_f64((1.0 - self.level) / self.rate))
    }

    fn level_at(&self, now: Instant) -> f64 {
        (self.level + now.duration_since(self.at).as_secs_f64() * self.rate).min(self.burst)
    }

    fn is_full(&self, now: Instant) -> bool {
        self.level_at(now) >= self.burst
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is never left half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
