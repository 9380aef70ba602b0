//! The interface to a provider's batch API.

use std::future::Future;

use fanweave_core::{Message, Prompt, Result};

/// A provider's batch API: many requests are submitted together and answered within hours.
///
/// `fanweave::batch_api` implements it for the dialects of OpenAI and Anthropic. Tests and other providers
/// can implement their own.
pub trait BatchApi: Send + Sync {
    /// The model that answers, such as `openai/gpt-5-mini`. Used to look up prices.
    fn model(&self) -> &str;

    /// Maximum requests and bytes of one batch.
    fn limits(&self) -> BatchLimits;

    /// The request for `prompt` as a line of a batch, for [`submit`](Self::submit). Its response contains
    /// `id`, which has 32 letters and digits.
    ///
    /// # Errors
    /// The prompt cannot be sent to this provider. The error applies to that row only.
    fn line(&self, id: &str, prompt: Prompt) -> Result<Vec<u8>>;

    /// Submits a batch and returns its id. `tag` is stored at the provider, so that [`find`](Self::find)
    /// finds the batch even if the response with its id was lost.
    ///
    /// Called once per tag; the caller does not retry.
    ///
    /// # Errors
    /// The provider's error. It is then unknown whether the batch was accepted.
    fn submit(&self, tag: &str, lines: Vec<Vec<u8>>) -> impl Future<Output = Result<String>> + Send;

    /// The id of the batch that was submitted under `tag` with this many `requests`. `None` if no such batch
    /// exists. May have to wait until a candidate batch has ended.
    ///
    /// # Errors
    /// The provider's error.
    fn find(&self, tag: &str, requests: usize) -> impl Future<Output = Result<Option<String>>> + Send;

    /// State of a batch.
    ///
    /// # Errors
    /// The provider's error.
    fn poll(&self, batch: &str) -> impl Future<Output = Result<BatchState>> + Send;

    /// The results of a batch that has ended, in any order: request ids and results.
    ///
    /// # Errors
    /// The provider's error.
    fn collect(&self, batch: &str) -> impl Future<Output = Result<Vec<(String, Result<Message>)>>> + Send;
}

/// Maximum size of one batch.
///
/// ```
/// let limits = fanweave::batch::BatchLimits { requests: 50_000, bytes: 100 << 20 };
/// assert!(limits.requests > 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Maximum number of requests.
    pub requests: usize,
    /// Maximum bytes of all requests together. A single longer request is submitted in its own batch.
    pub bytes: usize,
}

/// State of a batch.
///
/// ```
/// use fanweave::batch::BatchState;
///
/// assert_ne!(BatchState::Running, BatchState::Ended);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchState {
    /// The provider is processing it.
    Running,
    /// Ended. All results are available, or those of the requests that were processed in time.
    Ended,
    /// The provider rejected the whole batch, for this reason.
    Failed(String),
}
