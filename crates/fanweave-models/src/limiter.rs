//! Additional limits of other crates, such as one that several machines share.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use fanweave_core::{Error, Priority, Result, Usage};
use tokio::time::sleep;

/// An additional limit on the requests of a model, such as one that several machines share. Set with
/// [`ModelBuilder::limiter`](crate::ModelBuilder::limiter).
///
/// It is asked for each attempt and each hedged request, when the run and the account have a permit for it.
/// The limits of the account apply as well. Requests of the batch API are not limited.
///
/// ```
/// use std::future::Future;
/// use std::pin::Pin;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// use fanweave::models::{LimitedRequest, Limiter, LimiterPermit, ModelBuilder};
///
/// /// At most two requests in flight, for all models that share it.
/// struct Two(Arc<AtomicUsize>);
///
/// impl Limiter for Two {
///     fn try_admit(&self, _: &LimitedRequest) -> Option<LimiterPermit> {
///         let add_one = |in_flight| (in_flight < 2).then_some(in_flight + 1);
///         self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, add_one).ok()?;
///         let in_flight = self.0.clone();
///         Some(LimiterPermit::new(move |_| _ = in_flight.fetch_sub(1, Ordering::AcqRel)))
///     }
///
///     fn ready<'a>(
///         &'a self,
///         _: &'a LimitedRequest,
///     ) -> Pin<Box<dyn Future<Output = fanweave::Result<()>> + Send + 'a>> {
///         // Nothing tells when a request ends: calls retry soon.
///         Box::pin(std::future::ready(Ok(())))
///     }
/// }
///
/// let two = Arc::new(Two(Arc::default()));
/// let model = ModelBuilder::new("openai/gpt-5-mini").api_key("sk-..").limiter(two).build()?;
/// # Ok::<_, fanweave::Error>(())
/// ```
pub trait Limiter: Send + Sync + 'static {
    /// Returns a permit, or `None` if the request has to wait. Must not block.
    ///
    /// Must not call fanweave: the account may be locked, and a call that reads its state would wait for
    /// itself. The same holds for the function of the permit.
    fn try_admit(&self, request: &LimitedRequest) -> Option<LimiterPermit>;

    /// Completes when a retry is worthwhile. The call holds no other permit meanwhile. A limiter that does
    /// not know may complete at once: calls retry every 10 ms.
    ///
    /// # Errors
    /// Any error ends the attempt, and is retried like the error of a request.
    ///
    /// # Cancellation
    /// Dropped if the call is dropped or its run ends.
    fn ready<'a>(
        &'a self,
        request: &'a LimitedRequest,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;
}

/// A request that asks for a permit of a [`Limiter`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LimitedRequest {
    /// Base URL of the API.
    pub base_url: String,
    /// Model name at the provider.
    pub model: String,
    /// Hash of the API key, which is the same in all processes. `None` without a key. The key cannot be had
    /// back from it.
    pub key: Option<u64>,
    /// Estimated input tokens.
    pub input_tokens: u64,
    /// Maximum output tokens, if the request sets them.
    pub max_tokens: Option<u64>,
    /// Priority of the run.
    pub priority: Priority,
}

/// End of a request, from the point of view of a [`Limiter`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum RequestOutcome<'a> {
    /// Answered, with the usage that the provider reports.
    Succeeded(Option<Usage>),
    /// Failed, refused or answered with an error.
    Failed(&'a Error),
    /// Sent, and then cancelled, or its answer was not read while it arrived: its usage is unknown.
    Abandoned,
    /// Not sent: another limit made it wait.
    NotSent,
}

type Done = dyn FnOnce(RequestOutcome<'_>) + Send;

/// Permission of a [`Limiter`] for one request. Its function is called exactly once, when the request ends.
pub struct LimiterPermit {
    done: Option<Box<Done>>,
    is_sent: bool,
}

impl LimiterPermit {
    /// A permit that reports the end of its request to `done`, which must not block.
    pub fn new(done: impl FnOnce(RequestOutcome<'_>) + Send + 'static) -> Self {
        Self { done: Some(Box::new(done)), is_sent: false }
    }

    /// Records that the request is sent now.
    pub(crate) fn sent(self) -> Self {
        let mut permit = self;
        permit.is_sent = true;
        permit
    }

    pub(crate) fn settle(mut self, outcome: RequestOutcome<'_>) {
        self.done.take().into_iter().for_each(|done| done(outcome));
    }
}

impl Drop for LimiterPermit {
    fn drop(&mut self) {
        let outcome = if self.is_sent { RequestOutcome::Abandoned } else { RequestOutcome::NotSent };
        self.done.take().into_iter().for_each(|done| done(outcome));
    }
}

impl fmt::Debug for LimiterPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimiterPermit").field("is_sent", &self.is_sent).finish_non_exhaustive()
    }
}

/// Minimum wait between two refusals: a limiter may not know when it has a permit.
const MIN_WAIT: Duration = Duration::from_millis(10);

/// A request and its limiter.
#[derive(Clone)]
pub(crate) struct Limited {
    pub(crate) limiter: Arc<dyn Limiter>,
    pub(crate) request: LimitedRequest,
}

impl Limited {
    /// Takes a permit, if the limiter has one.
    pub(crate) fn try_admit(&self) -> Option<LimiterPermit> {
        self.limiter.try_admit(&self.request)
    }

    /// Waits until a retry is worthwhile.
    ///
    /// # Errors
    /// Those of the limiter.
    pub(crate) async fn ready(&self) -> Result<()> {
        let (ready, _) = futures::join!(self.limiter.ready(&self.request), sleep(MIN_WAIT));
        ready
    }
}
