//! Providers' batch APIs: files of requests, answered within a day at half the price.
//!
//! This module covers the wire protocol: one request per method. The caller decides when to submit, what to
//! persist before, and how to recover after a crash.

mod anthropic;
mod openai;
mod wire;

use std::fmt;

use fanweave_core::{Error, ErrorKind, Message, Parameters, Prompt, Result};
use serde::Deserialize;

use crate::protocol::{Call, HttpRequest};
use crate::providers::dialect::Dialect;
use crate::transport::call::HttpModel;
use anthropic::Anthropic;
use openai::OpenAi;

/// Client for a provider's batch API, in OpenAI's dialect (`/files` and `/batches`) or Anthropic's
/// (`/messages/batches`).
///
/// Built by [`ModelBuilder::batch_api`](crate::ModelBuilder::batch_api).
///
/// ```no_run
/// use fanweave::crates::tokio;
/// use fanweave::models::{BatchStatus, ModelBuilder};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let api = ModelBuilder::new("openai/gpt-5-mini").batch_api()?;
/// let line = api.line("row-1", "Name a bear.".into())?;
/// let batch = api.submit("my-first-batch", vec![line]).await?;
/// while api.poll(&batch).await? == BatchStatus::Running {
///     tokio::time::sleep(std::time::Duration::from_secs(60)).await;
/// }
/// for (id, answer) in api.collect(&batch).await? {
///     println!("{id}: {}", answer?.text());
/// }
/// # Ok(())
/// # }) }
/// ```
pub struct BatchClient {
    model: HttpModel,
    dialect: BatchDialect,
    parameters: Parameters,
}

/// Dialect of the batch API.
#[derive(Debug, Clone, Copy)]
enum BatchDialect {
    OpenAi,
    Anthropic,
}

/// Operations of a dialect's batch API.
trait Batches {
    /// The request named `id`, as a line of a batch.
    fn line(&self, id: &str, request: &HttpRequest) -> Result<Vec<u8>>;
    /// Creates the batch. Sends the creating request once and never retries it.
    async fn submit(&self, model: &HttpModel, tag: &str, lines: Vec<Vec<u8>>) -> Result<String>;
    /// The batch submitted under `tag` with this number of requests.
    async fn find(&self, model: &HttpModel, tag: &str, requests: usize) -> Result<Option<String>>;
    async fn poll(&self, model: &HttpModel, batch: &str) -> Result<BatchStatus>;
    async fn collect(&self, model: &HttpModel, batch: &str) -> Result<Vec<(String, Result<Message>)>>;
}

/// Status of a batch.
///
/// ```
/// use fanweave::models::BatchStatus;
///
/// assert_ne!(BatchStatus::Running, BatchStatus::Ended);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchStatus {
    /// The provider is processing it.
    Running,
    /// Completed, expired or cancelled. Finished answers can be collected.
    Ended,
    /// The provider rejected the whole batch, for this reason.
    Failed(String),
}

impl BatchClient {
    /// Maximum requests per batch. Providers allow more, but results are held in memory by the batch.
    pub const MAX_REQUESTS: usize = 10_000;
    /// Maximum bytes per batch.
    pub const MAX_BYTES: usize = 48 << 20;

    /// `None` if the batch API of the dialect is not supported.
    pub(crate) fn new(mut model: HttpModel, dialect: Dialect) -> Option<Self> {
        let dialect = match dialect {
            Dialect::OpenAiChat => BatchDialect::OpenAi,
            Dialect::Anthropic => BatchDialect::Anthropic,
            _ => return None,
        };
        let parameters = Parameters::default();
        // Headers that the dialect sends with every call, such as its version, are needed here as well.
        let call = Call {
            model: &model.model,
            messages: &[],
            parameters: &parameters,
            body: None,
            stream: false,
            idle_timeout: std::time::Duration::MAX,
        };
        let headers = model.protocol.request(&call).map(|request| request.headers).unwrap_or_default();
        for (name, value) in headers {
            model.headers.entry(name).or_insert(value);
        }
        Some(Self { model, dialect, parameters })
    }

    /// The same API with default `parameters` for every request; those of a [`Prompt`] take precedence.
    #[must_use]
    pub fn with(mut self, parameters: Parameters) -> Self {
        self.parameters = parameters.or(&self.parameters);
        self
    }

    /// Name of the model as the caller wrote it: `openai/gpt-5-mini`.
    pub fn name(&self) -> &str {
        &self.model.name
    }

    /// Encodes the request for `prompt` as a line of a batch, without a line feed. Its result is identified
    /// by `id`.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] if the dialect does not support the prompt.
    pub fn line(&self, id: &str, prompt: Prompt) -> Result<Vec<u8>> {
        let parameters = prompt.parameters.or(&self.parameters);
        let request = self.model.protocol.request(&Call {
            model: parameters.model.as_deref().unwrap_or(&self.model.model),
            messages: &prompt.messages,
            parameters: &parameters,
            body: prompt.body.as_deref(),
            stream: false,
            idle_timeout: std::time::Duration::MAX,
        })?;
        match self.dialect {
            BatchDialect::OpenAi => OpenAi.line(id, &request),
            BatchDialect::Anthropic => Anthropic.line(id, &request),
        }
    }

    /// Submits a batch of lines and returns its id. [`find`](Self::find) finds the batch by its `tag`.
    ///
    /// The request that creates the batch is never retried, because a second one could create a second batch.
    ///
    /// # Errors
    /// Those of the provider or the transport. Call `find` to check whether the batch was created.
    pub async fn submit(&self, tag: &str, lines: Vec<Vec<u8>>) -> Result<String> {
        match self.dialect {
            BatchDialect::OpenAi => OpenAi.submit(&self.model, tag, lines).await,
            BatchDialect::Anthropic => Anthropic.submit(&self.model, tag, lines).await,
        }
    }

    /// Finds the batch that was submitted under `tag` with this number of `requests`. `None` if there is no
    /// such batch.
    ///
    /// Anthropic's batches can be identified only after they have ended: `find` waits for batches with the
    /// same number of requests.
    ///
    /// # Errors
    /// Those of the provider or the transport.
    pub async fn find(&self, tag: &str, requests: usize) -> Result<Option<String>> {
        match self.dialect {
            BatchDialect::OpenAi => OpenAi.find(&self.model, tag, requests).await,
            BatchDialect::Anthropic => Anthropic.find(&self.model, tag, requests).await,
        }
    }

    /// Status of a batch.
    ///
    /// # Errors
    /// Those of the provider or the transport.
    pub async fn poll(&self, batch: &str) -> Result<BatchStatus> {
        match self.dialect {
            BatchDialect::OpenAi => OpenAi.poll(&self.model, batch).await,
            BatchDialect::Anthropic => Anthropic.poll(&self.model, batch).await,
        }
    }

    /// Results of a batch that has ended, in any order, with the ids of their lines.
    ///
    /// # Errors
    /// Those of the provider or the transport. A failed request is returned as the result of its line.
    pub async fn collect(&self, batch: &str) -> Result<Vec<(String, Result<Message>)>> {
        match self.dialect {
            BatchDialect::OpenAi => OpenAi.collect(&self.model, batch).await,
            BatchDialect::Anthropic => Anthropic.collect(&self.model, batch).await,
        }
    }
}

/// Shows no key and no header.
impl fmt::Debug for BatchClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchClient").field("model", &self.model.name).finish_non_exhaustive()
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    // The parser's error may quote the body, including keys.
    serde_json::from_slice(body).map_err(|_| {
        let message = "unexpected response: does this server support the batch API?";
        Error::new(ErrorKind::Decode, message).with_retryable(false)
    })
}

/// Turns an invalid result line into the failure of the row that it names: the other results are already paid
/// for.
///
/// # Errors
/// If the line names no row.
fn unreadable(
    model: &HttpModel,
    line: &[u8],
    error: &serde_json::Error,
) -> Result<(String, Result<Message>)> {
    #[derive(Deserialize)]
    struct Named {
        custom_id: String,
    }
    let message = format!("invalid line in the results of the batch: {error}");
    let body = String::from_utf8_lossy(line);
    let failed = Error::new(ErrorKind::Decode, message).with_body(&model.redact(&body));
    let failed = model.named(failed.with_retryable(false).with_attempts(1));
    match serde_json::from_slice(line) {
        Ok(Named { custom_id }) => Ok((custom_id, Err(failed))),
        Err(_) => Err(failed),
    }
}

fn id_of(body: &[u8]) -> Result<String> {
    #[derive(Deserialize)]
    struct Object {
        id: String,
    }
    checked(&read::<Object>(body)?.id)
}

/// Checks that an id can be part of a path.
fn checked(id: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if id.is_empty() || id.len() > 200 || !id.chars().all(plain) {
        let message = "the server returned an invalid id: only letters, digits, - and _ are expected";
        return Err(Error::new(ErrorKind::Decode, message).with_retryable(false));
    }
    Ok(id.to_owned())
}
