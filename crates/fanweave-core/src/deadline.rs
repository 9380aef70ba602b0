//! Ends work at a deadline.

use std::future::Future;

use tokio::time::{Instant, timeout_at};

use crate::{Error, ErrorKind, Result};

/// Runs `work`, or drops it and returns the error of `late` if it has not ended at `end`.
pub(crate) async fn until<T>(
    end: Option<Instant>,
    late: impl Fn() -> Error,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(end) = end else { return work.await };
    match timeout_at(end, work).await {
        // A call that read the deadline from the context may fail first, and does not know whose limit it is.
        Ok(Err(error)) if error.kind() == ErrorKind::Timeout && Instant::now() >= end => {
            Err(late().with_source(error))
        }
        Ok(done) => done,
        Err(_) => Err(late()),
    }
}
