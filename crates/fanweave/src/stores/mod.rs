//! Stores for vectors with their documents, conversations, cached answers and histories of calls.
//!
//! | vector store | location | search |
//! |---|---|---|
//! | [`MemoryStore`] | memory | exact: compares every vector |
//! | [`SqliteStore`] | one file, shared by processes | exact, on a copy of the vectors in memory |
//! | [`Chroma`] | a Chroma server | by the server, approximate |
//!
//! To add another one, implement [`VectorStore`](crate::retrieve::VectorStore).

mod index;
mod memory;
mod retriever;
#[cfg(feature = "sqlite")]
mod sqlite;

#[cfg(test)]
mod tests;

#[doc(inline)]
pub use fanweave_core::session::{Session, SessionStore, Sessions};
#[doc(inline)]
pub use fanweave_core::{CacheKey, CacheStore, MemoryCache};
#[cfg(feature = "chroma")]
pub use fanweave_models::Chroma;
pub use memory::{MemorySessions, MemoryStore};
pub use retriever::VectorIndex;
#[cfg(feature = "sqlite")]
pub use sqlite::{LogFilter, LoggedCall, LoggedMessage, SqliteCache, SqliteLog, SqliteSessions, SqliteStore};

use crate::Result;
use crate::blocking::Pool;

/// Size of an index, in numbers, above which a scan runs on the thread pool: about a millisecond of work.
const MIN_POOL_SCAN: usize = 2_000_000;

/// Runs blocking work on the thread pool.
///
/// Dropping the future does not stop work that has begun; its result is discarded.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    Pool::shared().run(work).await?
}
