//! Requests whose answer is no message, through the same transport: limits, retries, timeouts and keys hold for them.

use std::sync::{Arc, Mutex, PoisonError};

use fanweave_core::{ChatModel, Context, Delta, Error, ErrorKind, Message, Prompt, Reply, Result, Role};
use http::{HeaderMap, StatusCode};

use crate::protocol::{Call, HttpRequest, Protocol, SseEvent, StreamDecoder};
use crate::transport::call::{HttpModel, SharedModel};

/// How an answer is read. No I/O.
pub(crate) trait Reader: Send + Sync + 'static {
    type Answer: Send + 'static;

    /// Reads the body of a successful answer.
    ///
    /// # Errors
    /// As [`Protocol::response`].
    fn response(&self, body: &[u8]) -> Result<Self::Answer>;

    /// As [`Protocol::error`].
    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error;
}

/// Sends `request` as a call of `http`, and gives what `reader` makes of the answer, and what the transport knows of it.
///
/// # Errors
/// As a call's.
pub(crate) async fn send<R: Reader>(
    http: &HttpModel,
    request: HttpRequest,
    reader: R,
    cx: &Context,
) -> Result<(R::Answer, Reply)> {
    let once = Arc::new(OneShot { request: Mutex::new(Some(request)), reader, answer: Mutex::new(None) });
    let http = SharedModel(Arc::new(HttpModel { protocol: once.clone(), ..http.clone() }));
    let message = http.generate(Prompt::default(), cx).await?;
    let answer = take(&once.answer).expect("a call that succeeds has read its answer");
    Ok((answer, message.reply.map(|reply| *reply).unwrap_or_default()))
}

/// The dialect of one request.
struct OneShot<R: Reader> {
    request: Mutex<Option<HttpRequest>>,
    reader: R,
    answer: Mutex<Option<R::Answer>>,
}

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl<R: Reader> Protocol for OneShot<R> {
    fn request(&self, _: &Call<'_>) -> Result<HttpRequest> {
        Ok(take(&self.request).expect("the request of a call is written once"))
    }

    fn response(&self, body: &[u8]) -> Result<Message> {
        let answer = self.reader.response(body)?;
        *self.answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer);
        Ok(Message { role: Role::Assistant, parts: Vec::new(), reply: None })
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error {
        self.reader.error(status, headers, body)
    }
}

/// Reads a stream that nobody asked for.
struct NoStream;

impl StreamDecoder for NoStream {
    fn event(&mut self, _: &SseEvent<'_>, _: &mut Vec<Delta>) -> Result<()> {
        Err(Error::new(ErrorKind::Decode, "the server streams an answer that has no pieces"))
    }

    fn is_done(&self) -> bool {
        false
    }
}
