//! Steps in Python. They run on the event loop that the run was started from, or on a thread of Python's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fanweave::{Context, Error, ErrorKind, Item, Result, Runnable};
use tokio::sync::oneshot;

use crate::mailbox::{Call, Letter, Mailbox};
use crate::object::Object;
use crate::options::Caller;

/// A Python function as a step.
pub(crate) struct PythonStep {
    pub(crate) function: Arc<Object>,
    /// Runs on the thread of the loop, also if it is not async.
    pub(crate) on_loop: bool,
}

/// Cancels the task of a step whose run has ended.
struct CancelOnDrop {
    mailbox: Arc<Mailbox>,
    id: u64,
    is_done: bool,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if !self.is_done {
            self.mailbox.post(Letter::CancelCall(self.id));
        }
    }
}

impl Runnable for PythonStep {
    type Input = Item;
    type Output = Item;

    async fn run(&self, input: Item, cx: &Context) -> Result<Item> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let Some(caller) = cx.extension::<Caller>() else {
            return Err(Error::new(ErrorKind::Config, "a step in Python needs a run that Python started"));
        };
        let (answer, answered) = oneshot::channel();
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut cancel = CancelOnDrop { mailbox: caller.mailbox.clone(), id, is_done: false };
        caller.mailbox.post(Letter::Call(Call {
            id,
            function: self.function.clone(),
            on_loop: self.on_loop,
            input,
            variables: caller.variables.clone(),
            answer,
        }));
        let answer = answered.await;
        cancel.is_done = true;
        answer.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Cancelled, "the event loop of the run has been closed"))
        })
    }
}
