//! OpenAI's dialect: `/files` and `/batches`.

mod results;

use fanweave_core::{Message, Result};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::wire::{Body, Repeat, lines, send};
use super::{BatchStatus, Batches, checked, id_of, read};
use crate::protocol::HttpRequest;
use crate::transport::call::HttpModel;

/// Metadata key that marks batches of this program.
const TAG: &str = "fanweave";

/// The fields of a batch that are used.
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

/// Batches of OpenAI's dialect.
pub(super) struct OpenAi;

impl Batches for OpenAi {
    fn line(&self, id: &str, request: &HttpRequest) -> Result<Vec<u8>> {
        let mut line = Vec::with_capacity(request.body.len() + 128);
        let id = Value::from(id);
        line.extend_from_slice(format!(r#"{{"custom_id":{id},"method":"POST","url":"/v1"#).as_bytes());
        line.extend_from_slice(request.path.as_bytes());
        line.extend_from_slice(br#"","body":"#);
        line.extend_from_slice(&request.body);
        line.push(b'}');
        Ok(line)
    }

    async fn submit(&self, model: &HttpModel, tag: &str, lines: Vec<Vec<u8>>) -> Result<String> {
        let body = Body::upload(&format!("{tag}.jsonl"), &lines);
        drop(lines);
        // Uploading a file twice is free, and the extra file is in no batch.
        let file = send(model, &Method::POST, "/files", &body, Repeat::Yes).await?;
        let file = id_of(&file)?;
        let request = json!({
            "input_file_id": file,
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "metadata": { TAG: tag },
        });
        let body = Body::json(request.to_string());
        id_of(&send(model, &Method::POST, "/batches", &body, Repeat::No).await?)
    }

    async fn find(&self, model: &HttpModel, tag: &str, _requests: usize) -> Result<Option<String>> {
        #[derive(Deserialize)]
        struct Page {
            data: Vec<Batch>,
            #[serde(default)]
            has_more: bool,
        }
        let mut path = "/batches?limit=100".to_owned();
        loop {
            let page: Page = read(&send(model, &Method::GET, &path, &Body::none(), Repeat::Yes).await?)?;
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

    async fn poll(&self, model: &HttpModel, batch: &str) -> Result<BatchStatus> {
        let batch = get(model, batch).await?;
        Ok(match batch.status.as_str() {
            "completed" | "expired" | "cancelled" => BatchStatus::Ended,
            "failed" => BatchStatus::Failed(model.redact(&why_failed(batch.errors.as_ref())).into_owned()),
            _ => BatchStatus::Running,
        })
    }

    async fn collect(&self, model: &HttpModel, batch: &str) -> Result<Vec<(String, Result<Message>)>> {
        let batch = get(model, batch).await?;
        let mut all = Vec::new();
        for file in [batch.output_file_id, batch.error_file_id].into_iter().flatten() {
            let path = format!("/files/{}/content", checked(&file)?);
            all.extend(lines(model, &path, |line| results::read(model, line)).await?);
        }
        Ok(all)
    }
}

async fn get(model: &HttpModel, id: &str) -> Result<Batch> {
    let path = format!("/batches/{}", checked(id)?);
    read(&send(model, &Method::GET, &path, &Body::none(), Repeat::Yes).await?)
}

/// The provider's reasons for rejecting a batch.
fn why_failed(errors: Option<&Value>) -> String {
    let messages = errors.and_then(|errors| errors["data"].as_array()).into_iter().flatten();
    let messages: Vec<_> = messages.filter_map(|error| error["message"].as_str()).take(3).collect();
    if messages.is_empty() { "the provider gave no reason".to_owned() } else { messages.join("; ") }
}
