//! A broker in memory, with faults from a seed: the protocol is tested over it without a server.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use super::{ACK_WAIT, Appended, Broker, Held, Listening, Settle, Stored, Ticket, set_over_deletion};
use crate::error::{Error, ErrorKind, Result};
use crate::wire::{Message, ShardId};

/// Time of its clock at the start, since the Unix epoch.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);

/// Time after which an operation fails at a broker that is silent.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Faults of a [`Memory`] broker, each as a probability from 0 to 1. Default: none.
///
/// ```
/// use fanweave::workers::{Faults, Memory};
///
/// let mut faults = Faults::new();
/// (faults.seed, faults.lost_answer) = (7, 0.1);
/// let broker = Memory::with_faults(faults);
/// # drop(broker);
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Faults {
    /// Seed of the faults.
    pub seed: u64,
    /// An operation is carried out, and its answer is lost.
    pub lost_answer: f64,
    /// An operation is not carried out.
    pub lost_request: f64,
    /// A ticket is delivered again although it is worked on.
    pub duplicate_delivery: f64,
    /// A log is read from a replica that lags by one to three records.
    pub lag: f64,
    /// A record is appended although another last record was expected.
    pub fork: f64,
    /// A ticket is lost when it is issued.
    pub lost_ticket: f64,
}

impl Faults {
    /// No faults.
    pub fn new() -> Self {
        Self::default()
    }
}

/// A broker in memory. Clones share it.
///
/// ```
/// use fanweave::workers::Memory;
///
/// let broker = Memory::default();
/// assert_eq!(broker.records(), 0);
/// ```
#[derive(Clone)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
    faults: Faults,
    /// Time after which a ticket is delivered again unless a worker keeps it.
    ack_wait: Duration,
    began: Instant,
}

struct State {
    random: fastrand::Rng,
    sequence: u64,
    rows: HashMap<ShardId, Message>,
    logs: HashMap<ShardId, Vec<Stored>>,
    tickets: BTreeMap<(String, ShardId), Issued>,
    /// Values and their revisions. A value that was deleted is `None`, and has a revision as well.
    values: BTreeMap<String, (Option<Bytes>, u64)>,
    denies_records: bool,
    is_silent: bool,
    listeners: HashMap<String, Held>,
}

/// A ticket that was issued.
struct Issued {
    id: u64,
    visible_at: Instant,
    deliveries: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self::with_faults(Faults::default())
    }
}

impl Memory {
    /// A broker with faults, which delivers tickets again after 15 seconds.
    pub fn with_faults(faults: Faults) -> Self {
        let state = State {
            random: fastrand::Rng::with_seed(faults.seed),
            sequence: 0,
            rows: HashMap::new(),
            logs: HashMap::new(),
            tickets: BTreeMap::new(),
            values: BTreeMap::new(),
            denies_records: false,
            is_silent: false,
            listeners: HashMap::new(),
        };
        let (changed, began) = (Arc::default(), Instant::now());
        Self { state: Arc::new(Mutex::new(state)), changed, faults, ack_wait: ACK_WAIT, began }
    }

    /// Number of records in all logs.
    pub fn records(&self) -> usize {
        self.lock().logs.values().map(Vec::len).sum()
    }

    /// Removes all tickets, as a broker does that has lost them.
    pub fn lose_tickets(&self) {
        self.lock().tickets.clear();
    }

    /// Refuses records from now on, as a broker does that does not permit them to a user.
    pub fn deny_records(&self) {
        self.lock().denies_records = true;
    }

    /// Answers nothing while it is set, as a server that was lost: operations fail after 5 seconds.
    pub fn set_silent(&self, is_silent: bool) {
        self.lock().is_silent = is_silent;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out an operation, subject to the faults.
    async fn operation<T>(&self, work: impl FnOnce(&mut State) -> T) -> Result<T> {
        // Other tasks run in between, as during a round trip.
        tokio::task::yield_now().await;
        if self.lock().is_silent {
            sleep(ANSWER_WAIT).await;
            return Err(lost());
        }
        let mut state = self.lock();
        if state.occurs(self.faults.lost_request) {
            return Err(lost());
        }
        let done = work(&mut state);
        if state.occurs(self.faults.lost_answer) { Err(lost()) } else { Ok(done) }
    }

    /// Takes a ticket, or returns the time at which one becomes visible.
    fn take(&self, pool: &str) -> Result<Ticket, Option<Instant>> {
        let now = Instant::now();
        let mut state = self.lock();
        let is_duplicate = state.occurs(self.faults.duplicate_delivery);
        let mine = state.tickets.iter_mut().filter(|((of, _), _)| of == pool);
        let mut next = None;
        for ((_, shard), issued) in mine {
            if issued.visible_at <= now || (is_duplicate && issued.deliveries > 0) {
                issued.deliveries += 1;
                issued.visible_at = now + self.ack_wait;
                let reply = issued.id.to_string();
                return Ok(Ticket { shard: shard.clone(), deliveries: issued.deliveries, reply });
            }
            next = Some(next.map_or(issued.visible_at, |at: Instant| at.min(issued.visible_at)));
        }
        Err(next)
    }
}

impl State {
    fn occurs(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.random.f64() < probability
    }

    fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Broker, "the broker did not answer")
}

impl Broker for Memory {
    fn put_once(&self, shard: ShardId, rows: Message) -> BoxFuture<'_, Result<bool>> {
        self.operation(move |state| {
            let is_new = !state.rows.contains_key(&shard);
            state.rows.entry(shard).or_insert(rows);
            is_new
        })
        .boxed()
    }

    fn get(&self, shard: ShardId) -> BoxFuture<'_, Result<Option<Message>>> {
        self.operation(move |state| state.rows.get(&shard).cloned()).boxed()
    }

    fn append(&self, shard: ShardId, message: Message, expected: u64) -> BoxFuture<'_, Appended> {
        let fork = self.faults.fork;
        async move {
            let done = self.operation(move |state| {
                if state.denies_records {
                    return Appended::Denied("this user may not record results".to_owned());
                }
                let last = state.logs.get(&shard).and_then(|log| log.last()).map_or(0, |last| last.sequence);
                if last != expected && !state.occurs(fork) {
                    return Appended::Fenced;
                }
                let sequence = state.next();
                state.logs.entry(shard).or_default().push(Stored { sequence, message });
                Appended::At(sequence)
            });
            done.await.unwrap_or_else(|error| Appended::Unknown(error.to_string()))
        }
        .boxed()
    }

    fn read(&self, shard: ShardId) -> BoxFuture<'_, Result<Vec<Stored>>> {
        let lag = self.faults.lag;
        self.operation(move |state| {
            let mut log = state.logs.get(&shard).cloned().unwrap_or_default();
            if state.occurs(lag) {
                log.truncate(log.len().saturating_sub(state.random.usize(1..4)));
            }
            log
        })
        .boxed()
    }

    fn ticket_once(&self, pool: String, shard: ShardId) -> BoxFuture<'_, Result<bool>> {
        let lost_ticket = self.faults.lost_ticket;
        async move {
            let issued = self.operation(move |state| {
                let id = state.next();
                let entry = (pool, shard);
                if state.tickets.contains_key(&entry) {
                    return false;
                }
                if !state.occurs(lost_ticket) {
                    let issued = Issued { id, visible_at: Instant::now(), deliveries: 0 };
                    state.tickets.insert(entry, issued);
                }
                true
            });
            let issued = issued.await;
            self.changed.notify_waiters();
            issued
        }
        .boxed()
    }

    fn pull(&self, pool: String, wait: Duration) -> BoxFuture<'_, Result<Option<Ticket>>> {
        async move {
            tokio::task::yield_now().await;
            let end = Instant::now() + wait;
            loop {
                let changed = self.changed.notified();
                let next = match self.take(&pool) {
                    Ok(ticket) => return Ok(Some(ticket)),
                    Err(next) => next.map_or(end, |at| at.min(end)),
                };
                let now = Instant::now();
                if now >= end {
                    return Ok(None);
                }
                let _ = timeout(next.saturating_duration_since(now), changed).await;
            }
        }
        .boxed()
    }

    fn settle<'a>(&'a self, ticket: &'a Ticket, settle: Settle) -> BoxFuture<'a, Result<()>> {
        async move {
            let ack_wait = self.ack_wait;
            let settled = self.operation(move |state| {
                let of_this =
                    |(_, issued): &(&(String, ShardId), &mut Issued)| issued.id.to_string() == ticket.reply;
                let Some((entry, issued)) = state.tickets.iter_mut().find(of_this) else { return };
                match settle {
                    Settle::Done => {
                        let entry = entry.clone();
                        state.tickets.remove(&entry);
                    }
                    Settle::Retry(after) => issued.visible_at = Instant::now() + after,
                    Settle::Progress => issued.visible_at = Instant::now() + ack_wait,
                }
            });
            let settled = settled.await;
            self.changed.notify_waiters();
            settled
        }
        .boxed()
    }

    fn value_cas(&self, key: String, value: Bytes, revision: u64) -> BoxFuture<'_, Result<Option<u64>>> {
        async move {
            let (key, value) = (&key, &value);
            let put = |expected| {
                self.operation(move |state| {
                    let last = state.values.get(key).map_or(0, |(_, revision)| *revision);
                    if last != expected {
                        return None;
                    }
                    let next = state.next();
                    state.values.insert(key.clone(), (Some(value.clone()), next));
                    Some(next)
                })
            };
            let deletion = || {
                self.operation(|state| match state.values.get(key) {
                    Some((None, revision)) => Some(*revision),
                    _ => None,
                })
            };
            set_over_deletion(revision, put, deletion).await
        }
        .boxed()
    }

    fn value(&self, key: String) -> BoxFuture<'_, Result<Option<(Bytes, u64)>>> {
        self.operation(move |state| {
            let (value, revision) = state.values.get(&key)?;
            Some((value.clone()?, *revision))
        })
        .boxed()
    }

    fn keys(&self, prefix: String) -> BoxFuture<'_, Result<Vec<String>>> {
        // Those of values that were deleted as well, as of a stream.
        self.operation(move |state| {
            state.values.keys().filter(|key| key.starts_with(&prefix)).cloned().collect()
        })
        .boxed()
    }

    fn value_delete(&self, key: String) -> BoxFuture<'_, Result<()>> {
        self.operation(move |state| {
            let deleted = (None, state.next());
            state.values.insert(key, deleted);
        })
        .boxed()
    }

    fn last_records(&self, run: String) -> BoxFuture<'_, Result<Vec<(u64, Message)>>> {
        self.operation(move |state| {
            let of_run = state.logs.iter().filter(|(shard, _)| shard.run == run);
            let last = of_run.filter_map(|(shard, log)| Some((shard.number, log.last()?)));
            let headers = |stored: &Stored| stored.message.headers.clone();
            last.map(|(n, last)| (n, Message { headers: headers(last), body: Bytes::new() })).collect()
        })
        .boxed()
    }

    fn remove_tickets(&self, pool: String, run: String) -> BoxFuture<'_, Result<()>> {
        self.operation(move |state| {
            state.tickets.retain(|(of, shard), _| *of != pool || shard.run != run);
        })
        .boxed()
    }

    fn remove_shards(&self, run: String) -> BoxFuture<'_, Result<()>> {
        self.operation(move |state| {
            state.rows.retain(|shard, _| shard.run != run);
            state.logs.retain(|shard, _| shard.run != run);
        })
        .boxed()
    }

    fn clock(&self) -> BoxFuture<'_, Result<Duration>> {
        let began = self.began;
        self.operation(move |_| EPOCH + began.elapsed()).boxed()
    }

    fn ask(&self, worker: String, shard: ShardId, wait: Duration) -> BoxFuture<'_, Option<bool>> {
        async move {
            let held = self.lock().listeners.get(&worker).cloned();
            match held {
                Some(held) => {
                    let answer = self.operation(|_| ()).await.ok().map(|()| held(&shard));
                    if answer.is_none() {
                        sleep(wait).await;
                    }
                    answer
                }
                // Like a server, it reports a missing subscriber at once.
                None => None,
            }
        }
        .boxed()
    }

    fn listen(&self, worker: String, held: Held) -> BoxFuture<'_, Result<Listening>> {
        self.lock().listeners.insert(worker.clone(), held);
        let listening: Listening = Box::new(Listener { broker: self.clone(), worker });
        async move { Ok(listening) }.boxed()
    }
}

struct Listener {
    broker: Memory,
    worker: String,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.broker.lock().listeners.remove(&self.worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_that_was_deleted_can_be_created_again() {
        let broker = Memory::default();
        let set = |revision| broker.value_cas("a".to_owned(), Bytes::from_static(b"1"), revision);
        let first = set(0).await.unwrap().expect("it did not exist");
        assert_eq!(set(0).await.unwrap(), None, "it exists");
        broker.value_delete("a".to_owned()).await.unwrap();
        assert_eq!(broker.value("a".to_owned()).await.unwrap(), None);
        assert_eq!(set(first).await.unwrap(), None, "it was deleted since");
        let second = set(0).await.unwrap().expect("it was deleted");
        assert_eq!(broker.value("a".to_owned()).await.unwrap().map(|(_, revision)| revision), Some(second));
    }
}
