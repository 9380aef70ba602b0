//! Providers' batch APIs: requests by the file, answered within a day, at half the price.
//!
//! What is here is the wire: one request a method. When to submit, what to write down before, and what to do after a
//! crash is the caller's.

mod results;
mod wire;

use std::fmt;

use bytes::Bytes;
use fanweave_core::{Error, ErrorKind, Message, Parameters, Prompt, Result};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::protocol::Call;
use crate::transport::call::HttpModel;
use wire::{Body, Repeat};

/// What marks a batch as this program's, in its metadata.
const TAG: &str = "fanweave";

/// The batch API of a provider that speaks OpenAI's dialect: `/files` and `/batches`.
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
    parameters: Parameters,
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

/// A batch, as far as it is read.
#[derive(Deserialize)]
struct Batch {
    id: String,
    #[serde(default)]
    status: String,
    output_file_id: Option<String>,
    error_file_id: Option<String>,
    #[serde(default)]
    metadata: Option<Value>,
    #[serde(default)]
    errors: Option<Value>,
}

impl BatchClient {
    /// Most requests of a batch that this crate makes. Providers take more; results are held in memory by the batch.
    pub const MOST_REQUESTS: usize = 10_000;
    /// Most bytes of a batch that this crate makes.
    pub const MOST_BYTES: usize = 48 << 20;

    pub(crate) fn new(model: HttpModel) -> Self {
        Self { model, parameters: Parameters::default() }
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
            patience: std::time::Duration::MAX,
        })?;
        let mut line = Vec::with_capacity(request.body.len() + 128);
        let id = Value::from(id);
        line.extend_from_slice(format!(r#"{{"custom_id":{id},"method":"POST","url":"/v1"#).as_bytes());
        line.extend_from_slice(request.path.as_bytes());
        line.extend_from_slice(br#"","body":"#);
        line.extend_from_slice(&request.body);
        line.push(b'}');
        Ok(line)
    }

    /// Submits a batch of lines, and gives its id. `tag` is kept in its metadata, where [`find`](Self::find) looks.
    ///
    /// The request that creates the batch is sent once, whatever comes back: a second one might be a second batch.
    ///
    /// # Errors
    /// The provider's, or the transport's. Whether the batch was taken is then to be asked with `find`.
    pub async fn submit(&self, tag: &str, lines: Vec<Vec<u8>>) -> Result<String> {
        let body = Body::upload(&format!("{tag}.jsonl"), &lines);
        drop(lines);
        // A file that is uploaded twice costs nothing, and is in no batch.
        let file = self.send(Method::POST, "/files", body, Repeat::Yes).await?;
        let file = id_of(&file)?;
        let request = json!({
            "input_file_id": file,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": { TAG: tag },
        });
        let body = Body::json(&request);
        let batch = self.send(Method::POST, "/batches", body, Repeat::No).await?;
        id_of(&batch)
    }

    /// The id of the batch that was submitted under `tag`. `None` where the provider has none.
    ///
    /// # Errors
    /// The provider's, or the transport's.
    pub async fn find(&self, tag: &str) -> Result<Option<String>> {
        #[derive(Deserialize)]
        struct Page {
            data: Vec<Batch>,
            #[serde(default)]
            has_more: bool,
        }
        let mut path = "/batches?limit=100".to_owned();
        loop {
            let page: Page = read(&self.send(Method::GET, &path, Body::none(), Repeat::Yes).await?)?;
            let of_tag = |batch: &&Batch| batch.metadata.as_ref().is_some_and(|data| data[TAG] == tag);
            if let Some(batch) = page.data.iter().find(of_tag) {
                return checked(&batch.id).map(Some);
            }
            match page.data.last() {
                Some(last) if page.has_more => {
                    path = format!("/batches?limit=100&after={}", checked(&last.id)?);
                }
                _ => return Ok(None),
            }
        }
    }

    /// How far a batch is.
    ///
    /// # Errors
    /// The provider's, or the transport's.
    pub async fn poll(&self, batch: &str) -> Result<BatchStatus> {
        let batch = self.batch(batch).await?;
        Ok(match batch.status.as_str() {
            "completed" | "expired" | "cancelled" => BatchStatus::Ended,
            "failed" => {
                BatchStatus::Failed(self.model.redact(&why_failed(batch.errors.as_ref())).into_owned())
            }
            _ => BatchStatus::Running,
        })
    }

    /// The results of a batch that has ended, in any order: the ids of its lines, and what came of them.
    ///
    /// # Errors
    /// The provider's, or the transport's. What failed in one line is that line's result.
    pub async fn collect(&self, batch: &str) -> Result<Vec<(String, Result<Message>)>> {
        let batch = self.batch(batch).await?;
        let mut all = Vec::new();
        for file in [batch.output_file_id, batch.error_file_id].into_iter().flatten() {
            let path = format!("/files/{}/content", checked(&file)?);
            let content = self.send(Method::GET, &path, Body::none(), Repeat::Yes).await?;
            for line in content.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
                all.push(results::read(&self.model, line)?);
            }
        }
        Ok(all)
    }

    async fn batch(&self, id: &str) -> Result<Batch> {
        let path = format!("/batches/{}", checked(id)?);
        read(&self.send(Method::GET, &path, Body::none(), Repeat::Yes).await?)
    }

    async fn send(&self, method: Method, path: &str, body: Body, repeat: Repeat) -> Result<Bytes> {
        wire::send(&self.model, &method, path, &body, repeat).await
    }
}

/// Shows no key and no header.
impl fmt::Debug for BatchClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchClient").field("model", &self.model.name).finish_non_exhaustive()
    }
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|e| {
        let message = "the answer is none of a batch API: does the server have `/files` and `/batches`?";
        Error::new(ErrorKind::Decode, message).with_source(e).with_retryable(false)
    })
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

/// What the provider says of a batch that it did not take.
fn why_failed(errors: Option<&Value>) -> String {
    let messages = errors.and_then(|errors| errors["data"].as_array()).into_iter().flatten();
    let messages: Vec<_> = messages.filter_map(|error| error["message"].as_str()).take(3).collect();
    if messages.is_empty() { "it does not say why".to_owned() } else { messages.join("; ") }
}
