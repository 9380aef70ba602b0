//! Providers' batch APIs: requests by the file, answered within a day, at half the price.
//!
//! What is here is the wire: one request a method. When to submit, what to write down before, and what to do after a
//! crash is the caller's.

mod anthropic;
mod openai;
mod wire;

use std::fmt;

use fanweave_core::{Error, ErrorKind, Message, Parameters, Prompt, Result};
use serde::Deserialize;

use crate::protocol::{Call, HttpRequest};
use crate::providers::compatible::Dialect;
use crate::transport::call::HttpModel;
use anthropic::Anthropic;
use openai::OpenAi;

/// The batch API of a provider that speaks OpenAI's dialect (`/files` and `/batches`) or Anthropic's
/// (`/messages/batches`).
///
/// Made by [`ModelBuilder::batch_api`](crate::ModelBuilder::batch_api).
///
/// ```no_run
/// use fanweave_models::{BatchStatus, ModelBuilder};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> fanweave_core::Result<()> {
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
/// # }
/// ```
pub struct BatchClient {
    model: HttpModel,
    form: BatchDialect,
    parameters: Parameters,
}

/// Whose words are spoken.
#[derive(Debug, Clone, Copy)]
enum BatchDialect {
    OpenAi,
    Anthropic,
}

/// What a dialect's batch API has to answer.
trait Batches {
    /// The request under the name `id`, as it stands in a batch.
    fn line(&self, id: &str, request: &HttpRequest) -> Result<Vec<u8>>;
    /// Sends what creates the batch once, whatever comes back.
    async fn submit(&self, model: &HttpModel, tag: &str, lines: Vec<Vec<u8>>) -> Result<String>;
    /// The batch that was submitted under `tag` with so many requests.
    async fn find(&self, model: &HttpModel, tag: &str, requests: usize) -> Result<Option<String>>;
    async fn poll(&self, model: &HttpModel, batch: &str) -> Result<BatchStatus>;
    async fn collect(&self, model: &HttpModel, batch: &str) -> Result<Vec<(String, Result<Message>)>>;
}

/// How far a batch is.
///
/// ```
/// use fanweave_models::BatchStatus;
///
/// assert_ne!(BatchStatus::Running, BatchStatus::Ended);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchStatus {
    /// The provider works on it.
    Running,
    /// It has ended: completed, expired or cancelled. What was answered can be collected.
    Ended,
    /// None of it was taken, for this reason.
    Failed(String),
}

impl BatchClient {
    /// Most requests of a batch that this crate makes. Providers take more; results are held in memory by the batch.
    pub const MAX_REQUESTS: usize = 10_000;
    /// Most bytes of a batch that this crate makes.
    pub const MAX_BYTES: usize = 48 << 20;

    /// `None` for a dialect whose batch API is not known here.
    pub(crate) fn new(mut model: HttpModel, dialect: Dialect) -> Option<Self> {
        let form = match dialect {
            Dialect::Chat => BatchDialect::OpenAi,
            Dialect::Anthropic => BatchDialect::Anthropic,
            _ => return None,
        };
        let parameters = Parameters::default();
        // What the dialect sends with every call, such as its version, is wanted here too.
        let call = Call {
            model: &model.model,
            messages: &[],
            parameters: &parameters,
            stream: false,
            idle_timeout: std::time::Duration::MAX,
        };
        let headers = model.protocol.request(&call).map(|request| request.headers).unwrap_or_default();
        for (name, value) in headers {
            model.headers.entry(name).or_insert(value);
        }
        Some(Self { model, form, parameters })
    }

    /// The same API with `parameters` set for every request. Those of a [`Prompt`] win over them.
    #[must_use]
    pub fn with(mut self, parameters: Parameters) -> Self {
        self.parameters = parameters.or(&self.parameters);
        self
    }

    /// The model, as the caller wrote it: `openai/gpt-5-mini`.
    pub fn name(&self) -> &str {
        &self.model.name
    }

    /// The request for `prompt` as a line of a batch, without a line feed. Its result will name `id`.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] where the dialect cannot say what the prompt asks for.
    pub fn line(&self, id: &str, prompt: Prompt) -> Result<Vec<u8>> {
        let parameters = prompt.parameters.or(&self.parameters);
        let request = self.model.protocol.request(&Call {
            model: parameters.model.as_deref().unwrap_or(&self.model.model),
            messages: &prompt.messages,
            parameters: &parameters,
            stream: false,
            idle_timeout: std::time::Duration::MAX,
        })?;
        match self.form {
            BatchDialect::OpenAi => OpenAi.line(id, &request),
            BatchDialect::Anthropic => Anthropic.line(id, &request),
        }
    }

    /// Submits a batch of lines, and gives its id. `tag` goes with it, so that
    /// [`find`](Self::find) finds it.
    ///
    /// The request that creates the batch is sent once, whatever comes back: a second one might be a second batch.
    ///
    /// # Errors
    /// The provider's, or the transport's. Whether the batch was taken is then to be asked with `find`.
    pub async fn submit(&self, tag: &str, lines: Vec<Vec<u8>>) -> Result<String> {
        match self.form {
            BatchDialect::OpenAi => OpenAi.submit(&self.model, tag, lines).await,
            BatchDialect::Anthropic => Anthropic.submit(&self.model, tag, lines).await,
        }
    }

    /// The id of the batch that was submitted under `tag` with so many `requests`. `None` where the provider has none.
    ///
    /// Anthropic's batches tell whose they are only when they have ended: those of as many requests are waited for.
    ///
    /// # Errors
    /// The provider's, or the transport's.
    pub async fn find(&self, tag: &str, requests: usize) -> Result<Option<String>> {
        match self.form {
            BatchDialect::OpenAi => OpenAi.find(&self.model, tag, requests).await,
            BatchDialect::Anthropic => Anthropic.find(&self.model, tag, requests).await,
        }
    }

    /// How far a batch is.
    ///
    /// # Errors
    /// The provider's, or the transport's.
    pub async fn poll(&self, batch: &str) -> Result<BatchStatus> {
        match self.form {
            BatchDialect::OpenAi => OpenAi.poll(&self.model, batch).await,
            BatchDialect::Anthropic => Anthropic.poll(&self.model, batch).await,
        }
    }

    /// The results of a batch that has ended, in any order: the ids of its lines, and what came of them.
    ///
    /// # Errors
    /// The provider's, or the transport's. What failed in one line is that line's result.
    pub async fn collect(&self, batch: &str) -> Result<Vec<(String, Result<Message>)>> {
        match self.form {
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
    // What the parser says may quote the body, key and all.
    serde_json::from_slice(body).map_err(|_| {
        let message = "the answer is none of a batch API: does the server have one?";
        Error::new(ErrorKind::Decode, message).with_retryable(false)
    })
}

/// A line of results that cannot be read, as the failure of the row that it names: the others have been paid for.
///
/// # Errors
/// Where it names none.
fn unreadable(
    model: &HttpModel,
    line: &[u8],
    error: &serde_json::Error,
) -> Result<(String, Result<Message>)> {
    #[derive(Deserialize)]
    struct Named {
        custom_id: String,
    }
    let message = format!("a line of the batch's results cannot be read: {error}");
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

/// An id that may stand in a path.
fn checked(id: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if id.is_empty() || id.len() > 200 || !id.chars().all(plain) {
        let message = "the server gave an id that is none: only letters, digits, - and _ are expected";
        return Err(Error::new(ErrorKind::Decode, message).with_retryable(false));
    }
    Ok(id.to_owned())
}
