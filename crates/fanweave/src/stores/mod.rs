//! Stores: where vectors with their documents are kept, and conversations.
//!
//! | store | keeps | searches |
//! |---|---|---|
//! | [`MemoryStore`] | in memory | exactly: every vector is looked at |
//! | [`SqliteStore`] | in one file, shared by processes | exactly, in a copy of the vectors in memory |
//! | [`Chroma`] | on a Chroma server | as the server does, which is nearly exact |
//!
//! Others implement [`VectorStore`](crate::retrieve::VectorStore).

mod index;
mod memory;
mod retriever;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(test)]
mod tests;

pub use fanweave_models::Chroma;
pub use memory::{MemorySessions, MemoryStore};
pub use retriever::VectorIndex;
#[cfg(feature = "sqlite")]
pub use sqlite::{LogFilter, LoggedCall, LoggedMessage, SqliteCache, SqliteLog, SqliteSessions, SqliteStore};

use crate::Result;
use crate::blocking::Pool;

/// Numbers from which a scan is work for another thread: about a millisecond's.
const MUCH: usize = 2_000_000;

/// Runs work that holds a processor or a disk for a while on the pool of threads for such work.
///
/// Dropping the future does not end work that has begun, which is short; its outcome is dropped then.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    Pool::shared().run(work).await?
}
