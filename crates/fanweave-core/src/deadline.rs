//! The one way in which work ends at a moment.

use std::future::Future;

use tokio::time::{Instant, timeout_at};

use crate::{Error, ErrorKind, Result};

/// `work`, or the error of `late` where it has not ended at `end`. The work is dropped then.
pub(crate) async fn until<T>(
    end: Option<Instant>,
    late: impl Fn() -> Error,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(end) = end else { return work.await };
    match timeout_at(end, work).await {
        // Who heard of it from the context may be the first to say so, and does not know whose limit it is.
        Ok(Err(error)) if error.kind() == ErrorKind::Timeout && Instant::now() >= end => {
            Err(late().with_source(error))
        }
        Ok(done) => done,
        Err(_) => Err(late()),
    }
}
