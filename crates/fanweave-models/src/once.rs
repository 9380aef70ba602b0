//! Requests whose answer is not a message, sent through the same transport: the same limits, retries,
//! timeouts and keys apply.

use std::sync::{Arc, Mutex, PoisonError};

use fanweave_core::{ChatModel, Context, Delta, Error, ErrorKind, Message, Prompt, Reply, Result, Role};
use http::{HeaderMap, StatusCode};

use crate::protocol::{Call, HttpRequest, Protocol, SseEvent, StreamDecoder};
use crate::transport::adapt::Adapt;
use crate::transport::call::{HttpModel, SharedModel};

/// Decoder for the answer. No I/O.
pub(crate) trait Reader: Send + Sync + 'static {
    type Answer: Send + 'static;

    /// Decodes the body of a successful response.
    ///
    /// # Errors
    /// Like [`Protocol::response`].
    fn response(&self, body: &[u8]) -> Result<Self::Answer>;

    /// Like [`Protocol::error`].
    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error;
}

/// Sends `request` as a call of `http`. Returns the answer as decoded by `reader`, and the metadata of the
/// transport.
///
/// # Errors
/// Those of a call.
pub(crate) async fn send<R: Reader>(
    http: &HttpModel,
    request: HttpRequest,
    reader: R,
    cx: &Context,
) -> Result<(R::Answer, Reply)> {
    let once = Arc::new(OneShot { request: Mutex::new(Some(request)), reader, answer: Mutex::new(None) });
    let http =
        SharedModel(Arc::new(HttpModel { protocol: once.clone(), adapt: Adapt::Never, ..http.clone() }));
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
        Ok(Message::from_parts(Role::Assistant, Vec::new()))
    }

    fn decoder(&self) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &str) -> Error {
        self.reader.error(status, headers, body)
    }
}

/// Rejects a stream that was not requested.
struct NoStream;

impl StreamDecoder for NoStream {
    fn event(&mut self, _: &SseEvent<'_>, _: &mut Vec<Delta>) -> Result<()> {
        Err(Error::new(ErrorKind::Decode, "the server streamed an answer that cannot be streamed"))
    }

    fn is_done(&self) -> bool {
        false
    }
}
