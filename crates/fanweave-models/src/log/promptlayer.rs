//! PromptLayer's REST API for logged requests.

use std::fmt;

use bytes::Bytes;
use fanweave_core::{Error, ErrorKind, Message, Part, Result, Role};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Method, Request};
use serde_json::{Value, json};

use super::{CallRecord, LogSink};
use crate::transport::client::Client;
use crate::transport::endpoint::Endpoint;
use crate::transport::exchange::Exchange;
use crate::transport::secret::Secret;

/// Maximum bytes read of the body of an error response.
const REASON_BYTES: usize = 2048;

/// PromptLayer, or any server with the same REST API: each call is one `POST /log-request` without retries.
///
/// ```
/// use fanweave::models::log::PromptLayer;
///
/// let sink = PromptLayer::new("pl_..")?.base_url("http://localhost:9000")?;
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Clone)]
pub struct PromptLayer {
    endpoint: Endpoint,
    key: HeaderValue,
    client: Client,
}

impl PromptLayer {
    /// The service at `https://api.promptlayer.com`, with this key.
    ///
    /// # Errors
    /// [`ErrorKind::Authentication`] for an empty or invalid key.
    pub fn new(key: impl Into<String>) -> Result<Self> {
        let key = key.into().trim().to_owned();
        if key.is_empty() {
            let message = "the PromptLayer key is empty: set PROMPTLAYER_API_KEY or pass a key";
            return Err(Error::new(ErrorKind::Authentication, message));
        }
        let key = Secret::new(key).header("")?;
        let endpoint = Endpoint::parse("https://api.promptlayer.com")?;
        Ok(Self { endpoint, key, client: Client::default() })
    }

    /// Like [`new`](Self::new), with the key in `PROMPTLAYER_API_KEY`.
    ///
    /// # Errors
    /// Those of `new`.
    pub fn from_env() -> Result<Self> {
        Self::new(std::env::var("PROMPTLAYER_API_KEY").unwrap_or_default())
    }

    /// Sets the base URL of another server with the same API.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an invalid URL.
    pub fn base_url(mut self, url: &str) -> Result<Self> {
        self.endpoint = Endpoint::parse(url)?;
        Ok(self)
    }
}

impl LogSink for PromptLayer {
    async fn record(&self, record: CallRecord) -> Result<()> {
        let body = Bytes::from(form(&record).to_string());
        drop(record);
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.uri("/log-request")?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(HeaderName::from_static("x-api-key"), self.key.clone());
        let connections = self.client.connections();
        let mut answer = Exchange::begin(&connections, request, self.client.timeouts(), None).await?;
        let status = answer.head.status;
        // Read to the end, so that the connection can be reused.
        answer.beginning(REASON_BYTES).await?;
        if status.is_success() {
            return Ok(());
        }
        let message = format!("the log answered {status}");
        Err(Error::new(ErrorKind::Server, message).with_status(status.as_u16()))
    }
}

/// Shows no key.
impl fmt::Debug for PromptLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PromptLayer").field("endpoint", &self.endpoint.to_string()).finish_non_exhaustive()
    }
}

/// The body of a logged request.
pub(super) fn form(record: &CallRecord) -> Value {
    let (provider, model) = record.model.split_once('/').unwrap_or(("", &record.model));
    let time = |at| humantime::format_rfc3339_millis(at).to_string();
    let mut form = json!({
        "provider": provider,
        "model": record.prompt.parameters.model.as_deref().unwrap_or(model),
        "input": chat(&record.prompt.messages),
        "parameters": record.prompt.parameters,
        "tags": record.tags,
        "request_start_time": time(record.began),
        "request_end_time": time(record.ended),
    });
    match &record.result {
        Ok(answer) => {
            let usage = answer.usage();
            form["status"] = "SUCCESS".into();
            form["output"] = chat(std::slice::from_ref(answer));
            form["input_tokens"] = usage.input_tokens.into();
            form["output_tokens"] = usage.output_tokens.into();
            if let Some(reply) = &answer.reply {
                form["metadata"] = json!({ "id": reply.id, "request_id": reply.request_id });
            }
        }
        Err(error) => {
            form["status"] = "ERROR".into();
            form["output"] = chat(&[]);
            form["error_message"] = error.to_string().into();
            form["metadata"] = json!({ "kind": error.kind().as_str(), "request_id": error.request_id() });
        }
    }
    form
}

fn chat(messages: &[Message]) -> Value {
    json!({ "type": "chat", "messages": messages.iter().map(message).collect::<Value>() })
}

fn message(message: &Message) -> Value {
    let role = match message.role {
        Role::System => "system",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
        _ => "user",
    };
    let mut wire = json!({ "role": role, "content": [{ "type": "text", "text": message.text() }] });
    let calls: Vec<_> = message
        .tool_calls()
        .map(|call| {
            let function = json!({ "name": call.name, "arguments": call.arguments });
            json!({ "id": call.id, "type": "function", "function": function })
        })
        .collect();
    if !calls.is_empty() {
        wire["tool_calls"] = calls.into();
    }
    let result = message.parts.iter().find_map(|part| match part {
        Part::ToolResult(result) => Some(result),
        _ => None,
    });
    if let Some(result) = result {
        wire["tool_call_id"] = result.id.as_str().into();
        wire["content"] = json!([{ "type": "text", "text": result.text() }]);
    }
    wire
}

#[cfg(test)]
mod tests;
