//! The broker between submitters, workers and collectors: what a run needs of it, apart from any product.

mod memory;
#[cfg(feature = "nats")]
mod nats;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;

pub use memory::{Faults, Memory};
#[cfg(feature = "nats")]
pub use nats::{Access, Check, Finding, Nats, Terms};

use crate::error::Result;
use crate::wire::{Message, ShardId};

/// Time after which a ticket is delivered again unless a worker keeps it.
pub(crate) const ACK_WAIT: Duration = Duration::from_secs(15);

/// A broker. All operations may be repeated, and an error leaves open whether the operation was carried out.
pub trait Broker: Send + Sync + 'static {
    /// Stores the rows of a shard, unless the shard exists. Returns false if it existed.
    fn put_once(&self, shard: ShardId, rows: Message) -> BoxFuture<'_, Result<bool>>;

    /// Gets the rows of a shard.
    fn get(&self, shard: ShardId) -> BoxFuture<'_, Result<Option<Message>>>;

    /// Appends a record to the log of a shard if the sequence of its last record is `expected`.
    fn append(&self, shard: ShardId, record: Message, expected: u64) -> BoxFuture<'_, Appended>;

    /// Reads the log of a shard. A replica may lag.
    fn read(&self, shard: ShardId) -> BoxFuture<'_, Result<Vec<Stored>>>;

    /// Issues a ticket for a shard to a pool of workers, unless there is one. Returns false if there was.
    fn ticket_once(&self, pool: String, shard: ShardId) -> BoxFuture<'_, Result<bool>>;

    /// Takes a ticket, waiting for at most `wait`. It is delivered again unless the
    /// worker keeps it.
    fn pull(&self, pool: String, wait: Duration) -> BoxFuture<'_, Result<Option<Ticket>>>;

    /// Settles a ticket.
    fn settle<'a>(&'a self, ticket: &'a Ticket, settle: Settle) -> BoxFuture<'a, Result<()>>;

    /// Sets a value if its revision is `revision`; 0 if it must not exist, or was deleted. Returns the new
    /// revision, or `None` if the value has another one.
    fn value_cas(&self, key: String, value: Bytes, revision: u64) -> BoxFuture<'_, Result<Option<u64>>>;

    /// Gets a value and its revision. `None` if it does not exist.
    fn value(&self, key: String) -> BoxFuture<'_, Result<Option<(Bytes, u64)>>>;

    /// Deletes a value, if it exists.
    fn value_delete(&self, key: String) -> BoxFuture<'_, Result<()>>;

    /// Keys of the values that begin with `prefix`, in any order.
    fn keys(&self, prefix: String) -> BoxFuture<'_, Result<Vec<String>>>;

    /// The last record of each shard of a run, with its number and without a body, in any order.
    fn last_records(&self, run: String) -> BoxFuture<'_, Result<Vec<(u64, Message)>>>;

    /// Removes the tickets of a run from a pool, also those that workers have.
    fn remove_tickets(&self, pool: String, run: String) -> BoxFuture<'_, Result<()>>;

    /// Removes the rows and the logs of a run.
    fn remove_shards(&self, run: String) -> BoxFuture<'_, Result<()>>;

    /// Time of the broker's clock since the Unix epoch. It is the only clock that several machines share.
    fn clock(&self) -> BoxFuture<'_, Result<Duration>>;

    /// Asks a worker if it runs a shard. `None` if it does not answer within `wait`.
    fn ask(&self, worker: String, shard: ShardId, wait: Duration) -> BoxFuture<'_, Option<bool>>;

    /// Answers questions to a worker with `held` until the returned value is dropped.
    fn listen(&self, worker: String, held: Held) -> BoxFuture<'_, Result<Listening>>;
}

/// Sets a value by `put`, which expects a revision, at a broker that keeps the revision of a deletion: a
/// value that must not exist may have been deleted at the revision that `deletion` returns.
async fn set_over_deletion<P, D>(
    revision: u64,
    put: impl Fn(u64) -> P,
    deletion: impl FnOnce() -> D,
) -> Result<Option<u64>>
where
    P: Future<Output = Result<Option<u64>>>,
    D: Future<Output = Result<Option<u64>>>,
{
    match put(revision).await? {
        None if revision == 0 => match deletion().await? {
            Some(deleted) => put(deleted).await,
            None => Ok(None),
        },
        set => Ok(set),
    }
}

/// The version in a text such as `2.15.1` or `nats-server: v2.15.1`.
#[cfg(feature = "nats")]
pub fn version(text: &str) -> Option<(u32, u32, u32)> {
    let version = text.trim().rsplit(['v', ' ']).next()?;
    let mut parts = version.split(['.', '-', '+']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

/// Returns true if a worker runs a shard.
pub type Held = Arc<dyn Fn(&ShardId) -> bool + Send + Sync>;

/// Questions are answered until this is dropped.
pub type Listening = Box<dyn Send + Sync>;

/// Result of [`Broker::append`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Appended {
    /// The record is in the log, with this sequence.
    At(u64),
    /// The last record has another sequence.
    Fenced,
    /// The broker does not permit it to this user, with the reason.
    Denied(String),
    /// It is unknown whether the record is in the log.
    Unknown(String),
}

/// A record in the log of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its sequence.
    pub sequence: u64,
    /// The record.
    pub message: Message,
}

/// A ticket: a shard that may have rows to run. It only schedules; the log decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The shard.
    pub shard: ShardId,
    /// Number of deliveries so far, from 1. May be wrong after a crash of the broker.
    pub deliveries: u64,
    /// Address at which the ticket is settled.
    pub reply: String,
}

/// End of the work on a ticket, or a sign of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// The shard is complete, or its run cancelled.
    Done,
    /// The ticket is delivered again after this time.
    Retry(Duration),
    /// The ticket is still worked on.
    Progress,
}
