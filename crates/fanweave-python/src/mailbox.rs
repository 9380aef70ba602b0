//! One mailbox for each event loop. Tasks of the engine post letters and ring once; the thread of the loop
//! reads them.
//!
//! No thread of the engine ever attaches to the interpreter or calls into it.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanweave::{Item, Result};
use pyo3::prelude::*;
use tokio::sync::oneshot;

use crate::object::Object;

/// A message of a task of the engine to the loop.
pub(crate) enum Letter {
    /// The work behind a future has ended.
    Done(u64, Result<Outcome>),
    /// A reader has something to take.
    Ready(u64),
    /// A step in Python is to run.
    Call(Call),
    /// A step in Python that is no longer needed.
    CancelCall(u64),
    /// Records wait for Python's `logging`.
    Log,
}

/// Makes the Python value of a result, on a thread that is attached to the interpreter.
pub(crate) type Finish = Box<dyn for<'py> FnOnce(Python<'py>) -> PyResult<Bound<'py, PyAny>> + Send>;

/// The result of work.
pub(crate) enum Outcome {
    Item(Item),
    Rows(Vec<Result<Item>>),
    /// Makes the value.
    Finish(Finish),
}

/// A call of a Python function that waits for its loop.
pub(crate) struct Call {
    pub(crate) id: u64,
    /// A weak reference to a `Function`.
    pub(crate) function: Arc<Object>,
    pub(crate) on_loop: bool,
    pub(crate) input: Item,
    pub(crate) variables: Arc<Object>,
    pub(crate) answer: oneshot::Sender<Result<Item>>,
}

#[derive(Default)]
struct Letters {
    waiting: Vec<Letter>,
    /// Set once the loop is dropped: letters are no longer read.
    is_closed: bool,
}

/// The engine's side of a bridge.
pub(crate) struct Mailbox {
    letters: Mutex<Letters>,
    has_rung: AtomicBool,
    bell: UnixStream,
}

impl Mailbox {
    /// A mailbox, and the socket that becomes readable when it has letters.
    pub(crate) fn new() -> io::Result<(Self, UnixStream)> {
        let (bell, listener) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        listener.set_nonblocking(true)?;
        Ok((Self { letters: Mutex::default(), has_rung: AtomicBool::new(false), bell }, listener))
    }

    /// Adds a letter and wakes the loop.
    pub(crate) fn post(&self, letter: Letter) {
        drop(self.put(letter));
    }

    /// Adds a letter and wakes the loop once the tasks that are ready have run: their letters are then read
    /// with this one.
    pub(crate) async fn post_later(&self, letter: Letter) {
        // Rings as well if this future is dropped.
        let Some(_bell) = self.put(letter) else { return };
        tokio::task::yield_now().await;
    }

    /// Adds a letter. Returns the bell for it, or `None` if one has rung since the last emptying.
    fn put(&self, letter: Letter) -> Option<Bell<'_>> {
        let mut letters = lock(&self.letters);
        if letters.is_closed {
            drop(letters);
            // A call of a step then ends with an error.
            drop(letter);
            return None;
        }
        letters.waiting.push(letter);
        drop(letters);
        // A bell that is made rings, so it is made only where it is needed.
        if self.has_rung.swap(true, Ordering::AcqRel) { None } else { Some(Bell(self)) }
    }

    /// All letters. The next one rings again.
    pub(crate) fn take(&self) -> Vec<Letter> {
        self.has_rung.swap(false, Ordering::AcqRel);
        std::mem::take(&mut lock(&self.letters).waiting)
    }

    /// Drops all letters, and those that are posted later.
    pub(crate) fn close(&self) {
        let letters =
            std::mem::replace(&mut *lock(&self.letters), Letters { waiting: Vec::new(), is_closed: true });
        drop(letters);
    }
}

/// Wakes the loop when it is dropped.
struct Bell<'a>(&'a Mailbox);

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        // Unless the letter was read since.
        if self.0.has_rung.load(Ordering::Acquire) {
            // Few bytes are unread, so the socket is never full. Without a reader, the loop is closed.
            let _ = (&self.0.bell).write(&[1]);
        }
    }
}

/// The lock of a mutex: no code that holds one panics halfway through a change.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
