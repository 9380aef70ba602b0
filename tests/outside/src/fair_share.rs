//! A limiter: a maximum of requests in flight for all models that share it, and the tokens that they used.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fanweave::models::{LimitedRequest, Limiter, LimiterPermit, RequestOutcome};
use fanweave::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;

/// The limiter.
pub struct FairShare {
    slots: Arc<Semaphore>,
    tokens: Arc<AtomicU64>,
}

impl FairShare {
    pub fn new(slots: usize) -> Arc<Self> {
        Arc::new(Self { slots: Arc::new(Semaphore::new(slots)), tokens: Arc::default() })
    }

    /// Tokens of the answers so far.
    pub fn tokens(&self) -> u64 {
        self.tokens.load(Ordering::SeqCst)
    }
}

impl Limiter for FairShare {
    fn try_admit(&self, _: &LimitedRequest) -> Option<LimiterPermit> {
        let slot = self.slots.clone().try_acquire_owned().ok()?;
        let tokens = self.tokens.clone();
        Some(LimiterPermit::new(move |outcome| {
            if let RequestOutcome::Succeeded(Some(usage)) = outcome {
                tokens.fetch_add(usage.total_tokens(), Ordering::SeqCst);
            }
            drop(slot);
        }))
    }

    fn ready<'a>(&'a self, _: &'a LimitedRequest) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async {
            let closed = |_| Error::new(ErrorKind::Unavailable, "the limiter is closed");
            self.slots.acquire().await.map(drop).map_err(closed)
        })
    }
}
