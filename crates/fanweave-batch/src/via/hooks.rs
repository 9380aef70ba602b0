//! Hooks that run a chain around a call that the provider's batch API makes: up to the call before the
//! submission, and from its answer on after the collection.

use std::sync::{Arc, Mutex, PoisonError};

use fanweave_core::model::{CallHook, PendingCall};
use fanweave_core::{Chain, Context, Error, ErrorKind, Message, Prompt, Result};
use futures::FutureExt;
use futures::future::BoxFuture;

/// The prompt of the one call of a chain, with the parameters of its model.
pub(super) async fn captured<O: Send + 'static>(
    chain: &Chain<Prompt, O>,
    prompt: Prompt,
    cx: &Context,
) -> Result<Prompt> {
    let capture = Arc::new(Capture::default());
    let ended = chain.invoke_in(prompt, &cx.clone().with_call_hook(capture.clone())).await;
    let captured = capture.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (captured, ended) {
        (Some(prompt), _) => Ok(prompt),
        (None, Err(error)) => Err(error),
        (None, Ok(_)) => {
            let message = "the chain calls no model for this row, so a batch API cannot answer it";
            Err(Error::new(ErrorKind::Config, message))
        }
    }
}

/// The output of a chain whose one call got `answer`.
pub(super) async fn replayed<O: Send + 'static>(
    chain: &Chain<Prompt, O>,
    answer: Message,
    cx: &Context,
) -> Result<O> {
    let replay = Arc::new(Replay(Mutex::new(Some(answer))));
    chain.invoke_in(Prompt::from(""), &cx.clone().with_call_hook(replay)).await
}

/// Keeps the prompt of the first call, and ends the chain there: no retry or fallback catches a cancellation.
#[derive(Default)]
struct Capture(Mutex<Option<Prompt>>);

impl CallHook for Capture {
    fn before<'a>(&'a self, call: &'a PendingCall<'a>) -> BoxFuture<'a, Result<Option<Message>>> {
        async move {
            let mut captured = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            captured.get_or_insert_with(|| call.prompt.clone());
            Err(Error::new(ErrorKind::Cancelled, "the provider's batch API makes this call"))
        }
        .boxed()
    }
}

/// Answers the first call.
struct Replay(Mutex<Option<Message>>);

impl CallHook for Replay {
    fn before<'a>(&'a self, _: &'a PendingCall<'a>) -> BoxFuture<'a, Result<Option<Message>>> {
        async move {
            let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
            let message = "the chain calls a model more than once for this row, which a batch API cannot do";
            answer.map(Some).ok_or_else(|| Error::new(ErrorKind::Config, message))
        }
        .boxed()
    }
}
