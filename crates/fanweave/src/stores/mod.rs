//! Stores: where vectors with their documents are kept, and conversations.
//!
//! | store | keeps | searches |
//! |---|---|---|
//! | [`Memory`] | in memory | exactly: every vector is looked at |
//! | [`Sqlite`] | in one file, shared by processes | exactly, in a copy of the vectors in memory |
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
pub use memory::{Memory, MemorySessions};
pub use retriever::Library;
#[cfg(feature = "sqlite")]
pub use sqlite::{Sqlite, SqliteSessions};

use crate::{Error, ErrorKind, Result};

/// Numbers from which a scan is work for another thread: about a millisecond's.
const MUCH: usize = 2_000_000;

/// Runs work that holds a processor for a while beside the runtime's own threads.
///
/// Dropping the future does not end the work, which is short; its outcome is dropped then.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(ended) if ended.is_panic() => std::panic::resume_unwind(ended.into_panic()),
        Err(_) => Err(Error::new(ErrorKind::Cancelled, "the runtime is shutting down")),
    }
}
