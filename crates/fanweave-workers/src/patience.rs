//! Patience with a broker that does not answer.

use std::time::Duration;

use tokio::time::sleep;

use crate::error::{ErrorKind, Result};

/// Pause before an operation that failed is repeated.
const PAUSE: Duration = Duration::from_millis(200);

/// Repeats an operation until the broker answers.
pub(crate) async fn patiently<T, F: Future<Output = Result<T>>>(operation: impl Fn() -> F) -> Result<T> {
    loop {
        match operation().await {
            Err(error) if error.kind() == ErrorKind::Broker => sleep(PAUSE).await,
            done => return done,
        }
    }
}
