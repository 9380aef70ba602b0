//! A single request to a batch API and its response.

use std::future::Future;

use bytes::Bytes;
use fanweave_core::{Context, Error, ErrorKind, Priority, Result, RetryPolicy};
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};

use crate::transport::call::HttpModel;
use crate::transport::exchange::Exchange;
use crate::transport::limits::{AccountPermit, RequestSize};
use crate::transport::retry::Attempts;
use crate::transport::retry_loop::{Attempt, CallOptions, drive};
use crate::transport::unsent::never_sent;

/// Separates the fields of an upload. Uploads are JSON, in which this line cannot occur.
const BOUNDARY: &str = "----fanweave-7d1f8a53c2e94b60";

/// Conditions under which a request can be retried safely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    Yes,
    /// Only if the server reported that it did nothing.
    No,
}

/// Body of a request.
pub(super) struct Body {
    content_type: Option<HeaderValue>,
    bytes: Bytes,
}

impl Body {
    pub(super) fn none() -> Self {
        Self { content_type: None, bytes: Bytes::new() }
    }

    pub(super) fn json(text: String) -> Self {
        let content_type = Some(HeaderValue::from_static("application/json"));
        Self { content_type, bytes: text.into() }
    }

    /// A file of lines, as a multipart form.
    pub(super) fn upload(name: &str, lines: &[Vec<u8>]) -> Self {
        let length: usize = lines.iter().map(|line| line.len() + 1).sum();
        let mut bytes = Vec::with_capacity(length + 512);
        bytes.extend_from_slice(
            format!(
                "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n\
                 --{BOUNDARY}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
                 content-type: application/jsonl\r\n\r\n"
            )
            .as_bytes(),
        );
        for line in lines {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        let content_type = format!("multipart/form-data; boundary={BOUNDARY}");
        let content_type = HeaderValue::try_from(content_type).expect("the boundary is plain ASCII");
        Self { content_type: Some(content_type), bytes: bytes.into() }
    }
}

/// Sends a request, with retries if needed and safe, and returns the body of its response.
pub(super) async fn send(
    model: &HttpModel,
    method: &Method,
    path: &str,
    body: &Body,
    repeat: Repeat,
) -> Result<Bytes> {
    with_retries(model, repeat, || async { begin(model, method, path, body).await?.whole().await }).await
}

/// Downloads the lines at `path`, parsed by `read`. The size limit of a body applies to each line alone.
pub(super) async fn lines<T: Send>(
    model: &HttpModel,
    path: &str,
    read: impl Fn(&[u8]) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let max_bytes = model.client.max_body_bytes();
    let once = || async {
        let mut answer = begin(model, &Method::GET, path, &Body::none()).await?;
        let (mut all, mut number, mut line) = (Vec::new(), 1, Vec::new());
        while let Some(chunk) = answer.chunk_of_any_body().await? {
            let mut parts = chunk.split(|byte| *byte == b'\n').peekable();
            while let Some(part) = parts.next() {
                // The rest of the chunk belongs to other lines.
                if line.len() + part.len() > max_bytes {
                    return Err(too_long(number, max_bytes));
                }
                line.extend_from_slice(part);
                if parts.peek().is_some() {
                    read_line(&line, &read, &mut all)?;
                    line.clear();
                    number += 1;
                }
            }
        }
        read_line(&line, &read, &mut all)?;
        Ok(all)
    };
    with_retries(model, Repeat::Yes, once).await
}

fn read_line<T>(line: &[u8], read: impl Fn(&[u8]) -> Result<T>, all: &mut Vec<T>) -> Result<()> {
    if !line.trim_ascii().is_empty() {
        all.push(read(line)?);
    }
    Ok(())
}

fn too_long(number: u64, max_bytes: usize) -> Error {
    let message = format!("line {number} of the results is longer than {max_bytes} bytes");
    Error::new(ErrorKind::Decode, message).with_retryable(false)
}

/// Runs `once` with retries, in the retry loop shared by all requests of an account.
async fn with_retries<T: Send, F: Future<Output = Result<T>> + Send>(
    model: &HttpModel,
    repeat: Repeat,
    once: impl Fn() -> F + Sync,
) -> Result<T> {
    let retry = match repeat {
        Repeat::Yes => model.retry,
        // Only a rate limit guarantees that nothing was done.
        Repeat::No => RetryPolicy::never().max_rate_limit_wait(model.retry.max_rate_limit_wait),
    };
    // Batches have separate token limits at the provider.
    let size = RequestSize { bytes: 0, max_tokens: Some(0) };
    let options = CallOptions { retry, ask: size, hedge: false };
    // No other work of the caller waits for this request.
    let cx = Context::new().with_priority(Priority::Batch).driven();
    let attempts = Attempts::new(retry, Priority::Batch, model.in_use().account.clone());
    let (done, _) = drive(&Once { model, once }, attempts, &options, &cx).await?;
    Ok(done)
}

/// A request and its retries.
struct Once<'a, O> {
    model: &'a HttpModel,
    once: O,
}

impl<T: Send, F: Future<Output = Result<T>> + Send, O: Fn() -> F + Sync> Attempt for Once<'_, O> {
    type Ready = ();
    type Answer = T;

    async fn prepare(&self) -> Result<()> {
        Ok(())
    }

    async fn send(&self, (): (), permit: &mut AccountPermit, _: &mut bool, _: &Context) -> Result<T> {
        let done = (self.once)().await?;
        permit.succeeded(None);
        Ok(done)
    }

    fn named(&self, error: Error) -> Error {
        self.model.named(error)
    }

    fn never_sent(&self, error: &Error) -> bool {
        never_sent(error)
    }
}

/// The first `max_bytes` of the content at `path`, as text.
pub(super) async fn beginning(model: &HttpModel, path: &str, max_bytes: usize) -> Result<String> {
    let mut answer = begin(model, &Method::GET, path, &Body::none()).await?;
    Ok(String::from_utf8_lossy(&answer.beginning(max_bytes).await?).into_owned())
}

/// Sends a request once, and reads the head of a successful response.
async fn begin(model: &HttpModel, method: &Method, path: &str, body: &Body) -> Result<Exchange> {
    let mut request = Request::new(body.bytes.clone());
    *request.method_mut() = method.clone();
    *request.uri_mut() = model.endpoint.uri(path)?;
    let mut headers = model.headers.clone();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    match &body.content_type {
        Some(content_type) => headers.insert(CONTENT_TYPE, content_type.clone()),
        None => headers.remove(CONTENT_TYPE),
    };
    let key = model.key().await?;
    if let Some((name, value)) = key.as_ref().map(|key| key.header.clone()) {
        headers.entry(name).or_insert(value);
    }
    *request.headers_mut() = headers;
    let in_use = model.in_use();
    let mut answer = Exchange::begin(&in_use.connections, request, model.timeouts, None).await?;
    if answer.head.status.is_success() { Ok(answer) } else { Err(model.refusal(&mut answer, None).await) }
}
