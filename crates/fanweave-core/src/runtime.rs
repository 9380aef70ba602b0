//! The runtime of calls from blocking code: its settings, its handle and its end.
//!
//! Async code brings its own tokio runtime. [`blocking::wait`](crate::blocking::wait) and the blocking
//! methods of chains use a small one of the process instead, which starts with the first such call. A forked
//! child starts its own. Fork while no thread of the program begins or ends: the standard library then holds
//! a lock that a new thread of the child would wait for. Tokio's [`Handle`] is part of this interface on
//! purpose, for those who spawn on it.
//!
//! ```no_run
//! use std::num::NonZeroUsize;
//! use std::time::Duration;
//! use fanweave::{blocking, runtime, testing::Fake};
//!
//! # fn main() -> fanweave::Result<()> {
//! runtime::configure(runtime::RuntimeSettings::new().worker_threads(NonZeroUsize::MIN))?;
//! let model = Fake::echo().model();
//! assert_eq!(blocking::wait(model.invoke("hello"))?.text(), "hello");
//! runtime::shutdown(Duration::from_secs(5))?;
//! // It starts when it is needed, with the same settings.
//! assert_eq!(blocking::wait(model.invoke("hello"))?.text(), "hello");
//! # Ok(())
//! # }
//! ```

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::runtime::{Builder, Handle, Runtime};

pub use crate::generation::{after_fork, generation, report_forks};

use crate::blocking::Threads;
use crate::generation::{Made, PerProcess, notice_fork};
use crate::{Error, ErrorKind, Result};

/// Worker threads by default. They drive sockets and timers, and the rows of batches.
const WORKERS: NonZeroUsize = NonZeroUsize::new(2).expect("2 is not 0");

/// Settings of the runtime of blocking calls and of the [shared pool](crate::blocking::Pool::shared).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeSettings {
    worker_threads: NonZeroUsize,
    thread_name: String,
    blocking_threads: NonZeroUsize,
}

impl RuntimeSettings {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            worker_threads: WORKERS,
            thread_name: "fanweave-runtime".to_owned(),
            blocking_threads: crate::blocking::DEFAULT_THREADS,
        }
    }

    /// Number of worker threads. 2 by default.
    #[must_use]
    pub fn worker_threads(self, worker_threads: NonZeroUsize) -> Self {
        Self { worker_threads, ..self }
    }

    /// Name of the worker threads. `fanweave-runtime` by default.
    #[must_use]
    pub fn thread_name(self, thread_name: impl Into<String>) -> Self {
        Self { thread_name: thread_name.into(), ..self }
    }

    /// Maximum threads of the shared pool for blocking steps.
    /// [`DEFAULT_THREADS`](crate::blocking::DEFAULT_THREADS) by default.
    #[must_use]
    pub fn blocking_threads(self, blocking_threads: NonZeroUsize) -> Self {
        Self { blocking_threads, ..self }
    }
}

impl Default for RuntimeSettings {
    fn default() -> Self {
        Self::new()
    }
}

/// Kept through forks and shutdowns.
static SETTINGS: ArcSwapOption<RuntimeSettings> = ArcSwapOption::const_empty();

static SHARED: PerProcess<Shared> = PerProcess::new();

/// The runtime and the pool of this process.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// Notified when a call ends.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    runtime: Option<Runtime>,
    pool: Option<Threads>,
    /// Number of threads that wait for async work.
    calls: usize,
    /// Set while the runtime is shut down: new calls wait for its end.
    is_ending: bool,
}

thread_local! {
    /// True on the worker threads of the runtime.
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

fn shared() -> Arc<Made<Shared>> {
    // Also a child of a fork that was not reported: the threads of the parent's runtime do not exist in it.
    notice_fork();
    SHARED.get(Shared::default)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state once no shutdown is in progress.
    fn settled(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        while state.is_ending {
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }
}

impl State {
    fn handle(&mut self) -> Handle {
        self.runtime.get_or_insert_with(start).handle().clone()
    }
}

fn settings() -> Arc<RuntimeSettings> {
    SETTINGS.load_full().unwrap_or_default()
}

fn start() -> Runtime {
    let settings = settings();
    Builder::new_multi_thread()
        .worker_threads(settings.worker_threads.get())
        .thread_name(settings.thread_name.clone())
        .on_thread_start(|| IS_WORKER.set(true))
        .enable_all()
        .build()
        .expect("the system can start a thread")
}

/// Sets the settings of the runtime, before its first use or after a [`shutdown`]. A forked child inherits
/// them.
///
/// # Errors
/// [`ErrorKind::Config`] if the runtime or the shared pool has started.
pub fn configure(settings: RuntimeSettings) -> Result<()> {
    let shared = shared();
    let state = shared.settled();
    if state.runtime.is_some() || state.pool.is_some() {
        let message = "the runtime has started: configure it before the first call, or after a shutdown";
        return Err(Error::new(ErrorKind::Config, message));
    }
    SETTINGS.store(Some(Arc::new(settings)));
    Ok(())
}

/// The handle of the runtime. Starts it if necessary.
///
/// # Panics
/// If the system cannot start a thread, like tokio.
pub fn handle() -> Handle {
    shared().settled().handle()
}

/// Ends the runtime and the idle threads of the shared pool: tasks are dropped, connections are closed,
/// worker threads have ended on return. The next call starts another. Does nothing if it has not started.
///
/// Blocks until the running calls of other threads have ended, at most for `limit`.
///
/// # Errors
/// - [`ErrorKind::Timeout`] if calls are still running after `limit`; the runtime then continues.
/// - [`ErrorKind::Config`] on a worker thread of the runtime, which would wait for itself.
pub fn shutdown(limit: Duration) -> Result<()> {
    if IS_WORKER.get() {
        let message =
            "the runtime cannot be shut down by one of its own tasks: call shutdown from another thread";
        return Err(Error::new(ErrorKind::Config, message));
    }
    let until = Instant::now() + limit;
    let shared = shared();
    let mut state = shared.settled();
    while state.calls > 0 {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let message = format!("{} blocking calls are still running after {limit:?}", state.calls);
            return Err(Error::new(ErrorKind::Timeout, message));
        }
        state = shared.ended.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
    }
    let (runtime, pool) = (state.runtime.take(), state.pool.take());
    state.is_ending = true;
    drop(state);
    drop(pool);
    if let Some(runtime) = runtime {
        // Tokio refuses to end a runtime on a thread of any runtime.
        let end = move || runtime.shutdown_timeout(until.saturating_duration_since(Instant::now()));
        if Handle::try_current().is_ok() {
            let _ = std::thread::spawn(end).join();
        } else {
            end();
        }
    }
    shared.lock().is_ending = false;
    shared.ended.notify_all();
    Ok(())
}

/// A call that blocks its thread. While it exists, the runtime is not shut down.
pub(crate) struct BlockingCall {
    shared: Arc<Made<Shared>>,
    runtime: Handle,
}

impl BlockingCall {
    /// Starts the runtime if necessary.
    pub(crate) fn start() -> Self {
        let shared = shared();
        let mut state = shared.settled();
        state.calls += 1;
        let runtime = state.handle();
        drop(state);
        Self { shared, runtime }
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

impl Drop for BlockingCall {
    fn drop(&mut self) {
        // A fork inside of the call: the count is that of the parent.
        if self.shared.is_current() {
            self.shared.lock().calls -= 1;
            self.shared.ended.notify_all();
        }
    }
}

/// The threads of the shared pool of this process.
pub(crate) fn shared_pool<T>(with: impl FnOnce(&Threads) -> T) -> T {
    let shared = shared();
    let mut state = shared.lock();
    with(state.pool.get_or_insert_with(|| Threads::new(settings().blocking_threads)))
}
