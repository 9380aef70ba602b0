//! Limits that all workers of a broker share: each worker leases requests and tokens for a fraction of a
//! second.
//!
//! A [`Meter`] at the broker says up to which time of the broker's clock the rates are used. A worker that
//! needs requests moves that time forward, by compare-and-set. Clocks of the machines do not matter.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::broker::Broker;
use crate::error::Result;
use crate::wire::Rates;

/// Time between two leases of a worker.
const PERIOD: Duration = Duration::from_millis(250);

/// Time between two looks whether another worker has learnt a limit, while none is known.
const OPEN_PERIOD: Duration = Duration::from_secs(2);

/// Time that a rate may save up, in seconds.
const SAVED: f64 = 0.5;

/// Part of a limit that is used if the provider named it: its clock is another one.
const LEARNT_SHARE: f64 = 0.9;

/// Part of an equal share that a worker uses while the broker is unreachable.
const ALONE_SHARE: f64 = 0.9;

/// Time after which a limit that the provider named is forgotten unless it is reported again, in seconds.
const LEARNT_LASTS: f64 = 60.0;

/// Time after which a worker that leases nothing is not counted, in seconds.
const WORKER_LASTS: f64 = 10.0;

/// Time without an answer of the broker after which a worker leases from itself.
const SILENT: Duration = Duration::from_secs(3);

/// Time within which a broker that was silent must answer, so that the worker does not wait longer for what
/// it may use.
const SILENT_ANSWER: Duration = Duration::from_secs(1);

/// Time after which the offset of the broker's clock is measured again.
const CLOCK_LASTS: Duration = Duration::from_secs(60);

/// Round trips of which the fastest one tells the time.
const ROUND_TRIPS: usize = 5;

/// Attempts to change the meter before other workers go first.
const ATTEMPTS: usize = 8;

/// Use of the rates of an account by all workers. All times are seconds of the broker's clock.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
struct Meter {
    /// Time up to which the requests are used.
    requests_until: f64,
    /// Time up to which the tokens are used.
    tokens_until: f64,
    /// Limits that the provider named, and the time until which they hold.
    learnt: Option<(Rates, f64)>,
    /// Time of the last lease of each worker.
    workers: BTreeMap<String, f64>,
}

/// Requests and tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Amounts {
    requests: f64,
    tokens: f64,
}

impl Meter {
    /// Leases as much of `wanted` as the rates allow now.
    fn lease(&mut self, worker: &str, rates: Rates, wanted: Amounts, now: f64) -> Amounts {
        self.workers.insert(worker.to_owned(), now);
        self.workers.retain(|_, at| now - *at < WORKER_LASTS);
        let rates = self.effective(rates, now);
        let requests = match rates.requests_per_minute {
            // A fraction of a request is of no use to the worker: it stays in the meter.
            Some(limit) => take(&mut self.requests_until, now, wanted.requests, limit / 60.0, f64::floor),
            None => wanted.requests,
        };
        let tokens = match rates.tokens_per_minute {
            Some(limit) => take(&mut self.tokens_until, now, wanted.tokens, limit / 60.0, |amount| amount),
            None => wanted.tokens,
        };
        Amounts { requests, tokens }
    }

    /// The limits that apply: those of the user, and those that the provider named lately.
    fn effective(&self, rates: Rates, now: f64) -> Rates {
        match self.learnt {
            Some((learnt, until)) if until > now => rates.min(learnt.times(LEARNT_SHARE)),
            _ => rates,
        }
    }

    /// Records limits that the provider named. The lowest one that is fresh holds. Returns false if nothing
    /// changes.
    fn learn(&mut self, named: Rates, now: f64) -> bool {
        let until = now + LEARNT_LASTS;
        match self.learnt {
            Some((known, ends)) if ends > now => {
                let lower = known.min(named);
                // A higher one, or the same one again, which is recorded less often than it is reported.
                if lower == known && (named != known || ends - now > LEARNT_LASTS / 2.0) {
                    return false;
                }
                self.learnt = Some((lower, until));
            }
            _ => self.learnt = Some((named, until)),
        }
        true
    }
}

/// The first digits of a hash, which are valid in a key of a value.
fn plain_hash(text: &str) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Takes at most `wanted` of a rate that is used up to `until`, and moves that time.
fn take(until: &mut f64, now: f64, wanted: f64, per_second: f64, whole: fn(f64) -> f64) -> f64 {
    if per_second <= 0.0 || wanted <= 0.0 {
        return 0.0;
    }
    // A slow rate saves up one request.
    let saved = SAVED.max(1.0 / per_second);
    let from = until.max(now - saved);
    // Sums of fractions end just below the whole number that they represent.
    let amount = whole(((now - from).max(0.0) * per_second + 1e-6).min(wanted)).max(0.0);
    *until = from + amount / per_second;
    amount
}

/// The limits of an account that all workers of a broker share. Clones share it.
///
/// A task leases requests and tokens as long as they are needed. It ends with the last clone.
///
/// ```
/// use std::sync::Arc;
/// use fanweave::workers::{Memory, Rates, SharedLimit};
///
/// # fanweave::blocking::wait(async {
/// let broker = Arc::new(Memory::default());
/// let limit = SharedLimit::start(broker, "openai/gpt-5-mini", "worker-1", Rates::new().requests(600.0));
/// while !limit.try_take(1_000) {
///     limit.ready().await;
/// }
/// # });
/// ```
#[derive(Clone)]
pub struct SharedLimit(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Notified when a request waits.
    needed: Notify,
    /// Notified when something was leased.
    leased: Notify,
}

struct State {
    /// Set while no limit is known.
    is_open: bool,
    level: Amounts,
    /// Used since the last lease.
    used: Amounts,
    /// Requests that wait, and their tokens.
    waiting: Amounts,
    /// Limits that the provider named and that were not reported yet.
    named: Option<Rates>,
}

impl SharedLimit {
    /// The limits of the account `account` for the worker `worker`. `rates` are those that the user named;
    /// those that the provider names are [reported](Self::report).
    pub fn start(broker: Arc<dyn Broker>, account: &str, worker: &str, rates: Rates) -> Self {
        let state = State {
            is_open: rates.is_none(),
            level: Amounts::default(),
            used: Amounts::default(),
            waiting: Amounts::default(),
            named: None,
        };
        let inner = Inner { state: Mutex::new(state), needed: Notify::new(), leased: Notify::new() };
        let limit = Self(Arc::new(inner));
        let lessee = Lessee {
            key: format!("limit.{}", plain_hash(account)),
            broker,
            worker: worker.to_owned(),
            rates,
            limit: Arc::downgrade(&limit.0),
            clock: None,
            workers: 1,
            answered: Instant::now(),
            leased: Instant::now(),
            is_resting: true,
        };
        tokio::spawn(lessee.run());
        limit
    }

    /// Takes one request of `tokens` tokens, if that much was leased. A request of more tokens than are there
    /// is taken as well, and later ones wait.
    pub fn try_take(&self, tokens: u64) -> bool {
        let mut state = self.0.lock();
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let tokens = tokens as f64;
        if !state.is_open && (state.level.requests < 1.0 || state.level.tokens <= 0.0) {
            return false;
        }
        state.level.requests -= 1.0;
        state.level.tokens -= tokens;
        state.used.requests += 1.0;
        state.used.tokens += tokens;
        drop(state);
        // The next lease looks at what this one used, also while no limit is known.
        self.0.needed.notify_one();
        true
    }

    /// Returns tokens that were taken and not used. A negative number takes those that were used in excess.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn give_back(&self, tokens: i64) {
        self.0.lock().level.tokens += tokens as f64;
    }

    /// Returns a request of `tokens` tokens that was not sent.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn give_back_request(&self, tokens: u64) {
        let mut state = self.0.lock();
        state.level.requests += 1.0;
        state.level.tokens += tokens as f64;
    }

    /// Waits until another attempt to take a request may succeed.
    ///
    /// # Cancellation
    /// The request waits no more.
    pub async fn ready(&self) {
        struct Waits<'a>(&'a Inner);
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.0.lock().waiting.requests -= 1.0;
            }
        }
        let leased = self.0.leased.notified();
        tokio::pin!(leased);
        leased.as_mut().enable();
        self.0.lock().waiting.requests += 1.0;
        let _waits = Waits(&self.0);
        self.0.needed.notify_one();
        leased.await;
    }

    /// Records limits that the provider named in its answers. All workers follow the lowest that is at most a
    /// minute old.
    pub fn report(&self, named: Rates) {
        if named.is_none() {
            return;
        }
        self.0.lock().named = Some(named);
        self.0.needed.notify_one();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that leases.
struct Lessee {
    broker: Arc<dyn Broker>,
    key: String,
    worker: String,
    rates: Rates,
    limit: Weak<Inner>,
    /// Broker's time at a time of this machine, and when that was measured.
    clock: Option<(f64, Instant)>,
    /// Number of workers that share the account, as last seen.
    workers: usize,
    /// Time of the broker's last answer.
    answered: Instant,
    /// Time of the last lease, from the broker or from itself.
    leased: Instant,
    /// Set while nothing is needed.
    is_resting: bool,
}

impl Lessee {
    async fn run(mut self) {
        let mut random = fastrand::Rng::new();
        let mut next = Instant::now();
        loop {
            {
                let Some(limit) = self.limit.upgrade() else { return };
                // Looks once a second whether the last clone is gone.
                tokio::select! {
                    () = limit.needed.notified() => {}
                    () = sleep(Duration::from_secs(1)) => continue,
                }
            }
            loop {
                sleep_until(next).await;
                next = Instant::now() + PERIOD.mul_f64(0.8 + 0.4 * random.f64());
                let Some(limit) = self.limit.upgrade() else { return };
                if !self.lease(&limit).await {
                    break;
                }
                if limit.lock().is_open {
                    next = Instant::now() + OPEN_PERIOD;
                }
            }
        }
    }

    /// Leases once. Returns false if nothing is needed any more.
    async fn lease(&mut self, limit: &Inner) -> bool {
        let (wanted, named, is_idle) = {
            let mut state = limit.lock();
            let used = std::mem::take(&mut state.used);
            let is_idle = state.waiting.requests < 1.0 && used.requests < 1.0;
            if is_idle {
                // Leases that are not needed now are not saved for later.
                state.level = Amounts { requests: 0.0, tokens: state.level.tokens.min(0.0) };
            }
            let of_each = if used.requests >= 1.0 { used.tokens / used.requests } else { 1_000.0 };
            let requests = state.waiting.requests.max(used.requests * 1.1).ceil();
            let wanted = Amounts {
                requests: (requests - state.level.requests).max(0.0),
                tokens: (requests * of_each - state.level.tokens).max(0.0),
            };
            (wanted, state.named.take(), is_idle)
        };
        if is_idle && named.is_none() {
            self.is_resting = true;
            return false;
        }
        if std::mem::take(&mut self.is_resting) {
            // The broker was not asked.
            (self.answered, self.leased) = (Instant::now(), Instant::now());
        }
        let wait = if self.answered.elapsed() >= SILENT { SILENT_ANSWER } else { SILENT };
        let leased = timeout(wait, self.change(wanted, named)).await;
        let mut state = limit.lock();
        match leased {
            Ok(Ok((amounts, is_open))) => {
                (self.answered, self.leased) = (Instant::now(), Instant::now());
                state.is_open = is_open;
                state.level.requests += amounts.requests;
                state.level.tokens += amounts.tokens;
            }
            // A single answer that is lost may have been a lease.
            _ if self.answered.elapsed() < SILENT => {}
            _ => {
                // Without the broker, each worker keeps to less than its equal share.
                let lasts = self.leased.elapsed().min(SILENT).as_secs_f64();
                self.leased = Instant::now();
                #[expect(clippy::cast_precision_loss, reason = "workers are few")]
                let share = self.rates.times(ALONE_SHARE * lasts / 60.0 / self.workers as f64);
                let of = |share: Option<f64>, wanted: f64| share.map_or(wanted, |share| share.min(wanted));
                state.level.requests += of(share.requests_per_minute, wanted.requests);
                state.level.tokens += of(share.tokens_per_minute, wanted.tokens);
            }
        }
        drop(state);
        limit.leased.notify_waiters();
        true
    }

    /// Changes the meter at the broker. Returns what was leased, and true if no limit is known.
    async fn change(&mut self, wanted: Amounts, named: Option<Rates>) -> Result<(Amounts, bool)> {
        let mut leased = Amounts::default();
        for _ in 0..ATTEMPTS {
            let found = self.broker.value(self.key.clone()).await?;
            let revision = found.as_ref().map_or(0, |(_, revision)| *revision);
            let meter = found.and_then(|(value, _)| serde_json::from_slice::<Meter>(&value).ok());
            let mut meter = meter.unwrap_or_default();
            let now = self.now().await?;
            if let Some(named) = named {
                meter.learn(named, now);
            }
            let is_open = meter.effective(self.rates, now).is_none();
            leased = meter.lease(&self.worker, self.rates, wanted, now);
            self.workers = meter.workers.len().max(1);
            if is_open && named.is_none() {
                return Ok((leased, true));
            }
            let value = serde_json::to_vec(&meter).expect("a meter has string keys");
            if self.broker.value_cas(self.key.clone(), value.into(), revision).await?.is_some() {
                return Ok((leased, is_open));
            }
            leased = Amounts::default();
        }
        Ok((leased, false))
    }

    /// Time of the broker's clock in seconds.
    async fn now(&mut self) -> Result<f64> {
        if let Some((theirs, at)) = self.clock.filter(|(_, at)| at.elapsed() < CLOCK_LASTS) {
            return Ok(theirs + at.elapsed().as_secs_f64());
        }
        let mut min_trip: Option<(Duration, f64, Instant)> = None;
        for _ in 0..ROUND_TRIPS {
            let asked = Instant::now();
            let theirs = self.broker.clock().await?;
            let trip = asked.elapsed();
            if min_trip.is_none_or(|(before, ..)| trip < before) {
                min_trip = Some((trip, (theirs + trip / 2).as_secs_f64(), Instant::now()));
            }
        }
        let (_, theirs, at) = min_trip.expect("there was a round trip");
        self.clock = Some((theirs, at));
        Ok(theirs + at.elapsed().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Faults, Memory};

    proptest! {
        /// Whoever asks whenever: no window grants more than its rate and what is saved.
        #[test]
        fn no_window_grants_more_than_its_rate_and_what_is_saved(
            limit in 1.0..60_000.0_f64,
            asks in prop::collection::vec((0.0..2.0_f64, 0.0..500.0_f64), 1..100),
        ) {
            let (mut meter, mut now) = (Meter::default(), 1_000.0);
            let mut grants: Vec<(f64, f64)> = Vec::new();
            for (wait, wanted) in asks {
                now += wait;
                let wanted = Amounts { requests: wanted, tokens: 0.0 };
                let leased = meter.lease("w", Rates::new().requests(limit), wanted, now);
                prop_assert!(leased.requests <= wanted.requests && leased.requests.fract() == 0.0);
                grants.push((now, leased.requests));
            }
            let rate = limit / 60.0;
            for (i, (from, _)) in grants.iter().enumerate() {
                let mut sum = 0.0;
                for (at, amount) in &grants[i..] {
                    sum += amount;
                    prop_assert!(sum <= rate * (at - from) + (rate * SAVED).max(1.0) + 1e-3);
                }
            }
        }
    }

    #[test]
    fn the_lowest_limit_that_a_provider_named_holds_until_it_is_old() {
        let mut meter = Meter::default();
        assert!(meter.learn(Rates::new().requests(600.0), 0.0));
        assert!(!meter.learn(Rates::new().requests(900.0), 1.0), "a higher one is not followed");
        assert!(meter.learn(Rates::new().requests(300.0), 2.0));
        let at = |now| meter.effective(Rates::new(), now).requests_per_minute;
        assert_eq!((at(61.0), at(63.0)), (Some(270.0), None));
        let own = meter.effective(Rates::new().requests(100.0), 3.0);
        assert_eq!(own.requests_per_minute, Some(100.0));
    }

    /// Requests that `workers` get in `seconds`, each of which asks all the time.
    async fn used(broker: &Memory, workers: usize, rates: Rates, seconds: u64) -> Vec<u64> {
        used_by(broker, workers, 1, rates, seconds).await
    }

    /// Requests that `workers` get in `seconds`, each with this many calls that ask all the time.
    async fn used_by(broker: &Memory, workers: usize, calls: usize, rates: Rates, seconds: u64) -> Vec<u64> {
        let end = Instant::now() + Duration::from_secs(seconds);
        let tasks = (0..workers).map(|n| {
            let limit = SharedLimit::start(Arc::new(broker.clone()), "a", &format!("w{n}"), rates);
            let call = move |limit: SharedLimit| async move {
                let mut taken = 0;
                while Instant::now() < end {
                    match limit.try_take(10) {
                        true => taken += 1,
                        false => limit.ready().await,
                    }
                }
                taken
            };
            let calls = (0..calls).map(|_| tokio::spawn(call(limit.clone()))).collect::<Vec<_>>();
            async move {
                let taken = futures::future::join_all(calls).await;
                taken.into_iter().map(|taken| taken.expect("it ends")).sum::<u64>()
            }
        });
        futures::future::join_all(tasks).await
    }

    #[tokio::test(start_paused = true)]
    async fn workers_share_a_rate_exactly() {
        // A worker whose lease is lost waits until it is noticed.
        for (faults, least) in [(0.0, 1_700), (0.05, 1_200)] {
            let broker = Memory::with_faults({
                let mut all = Faults::new();
                all.lost_request = faults;
                all
            });
            let taken = used(&broker, 4, Rates::new().requests(6_000.0), 20).await;
            let sum: u64 = taken.iter().sum();
            assert!((least..=2_060).contains(&sum), "{taken:?} of 2,000");
            assert!(taken.iter().all(|taken| *taken > 100), "{taken:?} is not fair");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_broker_each_worker_keeps_to_less_than_its_share_and_uses_it() {
        let broker = Memory::default();
        let silence = async {
            sleep(Duration::from_secs(10)).await;
            broker.set_silent(true);
            sleep(Duration::from_secs(60)).await;
            broker.set_silent(false);
        };
        let (taken, ()) =
            futures::join!(used_by(&broker, 4, 40, Rates::new().requests(6_000.0), 80), silence);
        // 100 a second with the broker, and at most 90 without it. None until its silence is noticed.
        let sum: u64 = taken.iter().sum();
        assert!((6_300..=7_500).contains(&sum), "{taken:?}");
        assert!(taken.iter().all(|taken| *taken > 1_400), "{taken:?} is not fair");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_rate_is_shared_in_whole_requests() {
        let taken = used(&Memory::default(), 3, Rates::new().requests(30.0), 60).await;
        let sum: u64 = taken.iter().sum();
        assert!((26..=31).contains(&sum), "{taken:?} of 30");
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_that_one_worker_learns_holds_for_the_others() {
        let broker = Memory::default();
        let limits: Vec<_> = (0..2)
            .map(|n| SharedLimit::start(Arc::new(broker.clone()), "a", &format!("w{n}"), Rates::new()))
            .collect();
        assert!(limits.iter().all(|limit| limit.try_take(1)), "no limit is known");
        limits[0].report(Rates::new().requests(60.0));
        sleep(Duration::from_secs(1)).await;
        assert!(!limits[0].try_take(1));
        // The other one follows soon after its next request.
        let _ = limits[1].try_take(1);
        sleep(Duration::from_secs(3)).await;
        let taken = (0..10).filter(|_| limits[1].try_take(1)).count();
        assert!(taken <= 1, "{taken} at once");
    }
}
