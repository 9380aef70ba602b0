//! Waits for outages that hold answers or refuse connections.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::provider::Provider;
use crate::trouble::OutageKind;

impl Provider {
    /// Returns once no outage holds answers.
    pub(super) async fn wait_while_hanging(&self) {
        if self.trouble.has(OutageKind::Hang) {
            self.trouble.wait_for(|outage| outage != Some(OutageKind::Hang)).await;
        }
    }

    /// Returns once connections are refused.
    pub(super) async fn wait_for_refusal(&self) {
        if self.trouble.has(OutageKind::Refuse) {
            self.trouble.wait_for(|outage| outage == Some(OutageKind::Refuse)).await;
        } else {
            std::future::pending::<()>().await;
        }
    }
}

/// Holds the chunks of a stream during an outage of kind `hang`.
pub(super) struct Hold {
    provider: Arc<Provider>,
    wait: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Hold {
    /// `None` if no outage ever holds answers.
    pub(super) fn new(provider: &Arc<Provider>) -> Option<Self> {
        provider.trouble.has(OutageKind::Hang).then(|| Self { provider: Arc::clone(provider), wait: None })
    }

    /// Ready while no outage holds answers.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.wait.is_none() && self.provider.trouble.outage_now() == Some(OutageKind::Hang) {
            let provider = Arc::clone(&self.provider);
            self.wait = Some(Box::pin(async move { provider.wait_while_hanging().await }));
        }
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
        Poll::Ready(())
    }
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("waits", &self.wait.is_some()).finish_non_exhaustive()
    }
}
