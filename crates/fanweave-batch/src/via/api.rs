//! What a provider's batch API is asked for.

use std::future::Future;

use fanweave_core::{Message, Prompt, Result};

/// A provider's batch API: many requests handed over at once, answered within hours.
///
/// `fanweave::batch_api` has those of OpenAI's and Anthropic's dialects; a test or another provider may have its own.
pub trait BatchApi: Send + Sync {
    /// The model that answers, as in `openai/gpt-5-mini`: what prices are looked up by.
    fn model(&self) -> &str;

    /// Most requests and bytes of one batch.
    fn limits(&self) -> BatchLimits;

    /// The request for `prompt`, as it stands in a batch: what [`submit`](Self::submit) takes. Its answer will
    /// name `id`, which has 32 letters and digits.
    ///
    /// # Errors
    /// Where the provider cannot be asked for that. It is the error of that row alone.
    fn line(&self, id: &str, prompt: Prompt) -> Result<Vec<u8>>;

    /// Submits a batch and gives its id. `tag` is written down with the provider, so that [`find`](Self::find)
    /// finds the batch even where its id never came back.
    ///
    /// Called once for a tag and not repeated by the caller.
    ///
    /// # Errors
    /// The provider's. Whether the batch was taken is then unknown.
    fn submit(&self, tag: &str, lines: Vec<Vec<u8>>) -> impl Future<Output = Result<String>> + Send;

    /// The id of the batch that was submitted under `tag` with so many `requests`. `None` where none was. It may have to
    /// wait until a batch has ended that may be the one.
    ///
    /// # Errors
    /// The provider's.
    fn find(&self, tag: &str, requests: usize) -> impl Future<Output = Result<Option<String>>> + Send;

    /// How far a batch is.
    ///
    /// # Errors
    /// The provider's.
    fn poll(&self, batch: &str) -> impl Future<Output = Result<BatchState>> + Send;

    /// The results of a batch that has ended, in any order: the ids of requests, and what came of them.
    ///
    /// # Errors
    /// The provider's.
    fn collect(&self, batch: &str) -> impl Future<Output = Result<Vec<(String, Result<Message>)>>> + Send;
}

/// Most that one batch holds.
///
/// ```
/// let limits = fanweave_batch::BatchLimits { requests: 50_000, bytes: 100 << 20 };
/// assert!(limits.requests > 0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Most requests.
    pub requests: usize,
    /// Most bytes of all requests together. A single one that is longer is submitted by itself.
    pub bytes: usize,
}

/// How far a batch is.
///
/// ```
/// use fanweave_batch::BatchState;
///
/// assert_ne!(BatchState::Running, BatchState::Ended);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchState {
    /// The provider works on it.
    Running,
    /// What has results has them: all, or those that the provider came to in time.
    Ended,
    /// The provider took none of it, for this reason.
    Failed(String),
}
