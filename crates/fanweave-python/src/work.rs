//! Work of the engine that Python code started, and threads that wait for it.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use fanweave::runtime::{handle, shutdown};
use fanweave::{Error, ErrorKind, Result};
use futures::FutureExt;
use pyo3::prelude::*;
use tokio::task::AbortHandle;

use crate::errors::raise;
use crate::logging;
use crate::process::Process;

/// Time between two looks for signals, such as Ctrl-C.
const SIGNALS: Duration = Duration::from_millis(100);

/// Maximum time that the exit of the interpreter waits for the engine.
const EXIT: Duration = Duration::from_secs(1);

/// Threads that wait in [`receive`].
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// A task of the engine. Dropping it ends the task and closes its sockets.
pub(crate) struct Work {
    process: Process,
    handle: Option<AbortHandle>,
}

impl Work {
    pub(crate) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        // First: this looks at the process id.
        let handle = handle();
        Self { process: Process::current(), handle: Some(handle.spawn(work).abort_handle()) }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        match self.handle.take() {
            Some(handle) if self.process.is_current() => handle.abort(),
            // The locks of the parent's runtime may be held for ever.
            handle => std::mem::forget(handle),
        }
    }
}

/// The result of `work`. A panic is an error.
pub(crate) async fn caught<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(result) => result,
        Err(panic) => Err(Error::from_panic(&*panic)),
    }
}

/// Runs `work` and blocks this thread until it ends. Other threads of the interpreter continue.
///
/// # Errors
/// The exception of a signal handler, such as `KeyboardInterrupt`: the work has then been ended.
pub(crate) fn wait<T: Send + 'static>(
    py: Python<'_>,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> PyResult<T> {
    // Before the first event of the work.
    logging::look(py);
    let (sender, receiver) = sync_channel(1);
    let _work = Work::spawn(async move {
        // Without a receiver, the waiting thread was interrupted.
        let _ = sender.send(caught(work).await);
    });
    match receive(py, receiver, None)? {
        Some(result) => result.map_err(|error| raise(py, &error)),
        None => Err(raise(py, &ended())),
    }
}

/// Blocks this thread until a value arrives, or `None` if none ever will, or none has until then.
///
/// # Errors
/// The exception of a signal handler.
pub(crate) fn receive<T: Send>(
    py: Python<'_>,
    receiver: Receiver<T>,
    until: Option<Instant>,
) -> PyResult<Option<T>> {
    struct Waiting;
    impl Drop for Waiting {
        fn drop(&mut self) {
            WAITING.fetch_sub(1, Ordering::AcqRel);
        }
    }
    WAITING.fetch_add(1, Ordering::AcqRel);
    let _waiting = Waiting;
    logging::look(py);
    let mut receiver = Some(receiver);
    loop {
        // A receiver cannot be shared with the closure, which must be safe to run on another thread.
        let Some(own) = receiver.take() else { return Ok(None) };
        let left = until.map_or(SIGNALS, |until| until.saturating_duration_since(Instant::now()));
        let (received, own) = py.detach(move || (own.recv_timeout(left.min(SIGNALS)), own));
        logging::deliver(py);
        match received {
            Ok(value) => return Ok(Some(value)),
            Err(RecvTimeoutError::Timeout) => {
                py.check_signals()?;
                if left.is_zero() {
                    return Ok(None);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
        receiver = Some(own);
    }
}

/// The error of work that was dropped with its runtime.
pub(crate) fn ended() -> Error {
    Error::new(ErrorKind::Cancelled, "the interpreter is exiting")
}

/// Begins a new generation of the engine in a forked child.
#[pyfunction]
pub(crate) fn after_fork() {
    WAITING.store(0, Ordering::Release);
    fanweave::runtime::after_fork();
}

/// Ends the engine at the exit of the interpreter, and lets threads that wait for it return.
#[pyfunction]
pub(crate) fn at_exit(py: Python<'_>) {
    py.detach(|| {
        let until = Instant::now() + EXIT;
        // Work that does not end in time ends with the process.
        let _ = shutdown(EXIT);
        // A thread within this module at the end of the interpreter would be ended in the middle of it.
        while WAITING.load(Ordering::Acquire) > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
}
