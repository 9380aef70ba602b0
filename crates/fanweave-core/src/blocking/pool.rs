//! Threads for blocking steps: bounded, started on demand, and separate from the threads of the async
//! runtime.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::generation::{PerProcess, generation};
use crate::{Error, ErrorKind, Result};

/// Maximum threads of the shared pool. Source: the default number of calls in flight of a batch.
pub const DEFAULT_THREADS: NonZeroUsize = NonZeroUsize::new(64).expect("64 is not 0");

/// Idle time after which a thread ends.
const IDLE: Duration = Duration::from_secs(10);

/// A pool of threads for blocking work. Cheap to clone; clones share the pool.
///
/// Threads are started on demand, up to the limit, and end after 10 s without work; further work is queued
/// and holds no thread. A thread that waits for async work with [`wait`](super::wait), or with the blocking
/// methods of a chain, does not count against the limit while it waits. Blocking steps within async steps
/// within blocking steps therefore always finish.
///
/// ```
/// use std::num::NonZeroUsize;
/// use fanweave::blocking::Pool;
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let pool = Pool::new(NonZeroUsize::new(4).unwrap());
/// let text = pool.run(|| std::fs::read_to_string("/dev/null")).await?;
/// assert_eq!(text.unwrap(), "");
/// # Ok(())
/// # }) }
/// ```
///
/// A forked child starts threads of its own.
#[derive(Clone)]
pub struct Pool(Handle);

#[derive(Clone)]
enum Handle {
    /// The pool of the process, whichever that is when work is run.
    Shared,
    Own(Arc<Own>),
}

struct Own {
    max: NonZeroUsize,
    threads: PerProcess<Threads>,
}

/// The threads of a pool in one process. They end when it is dropped, with the last handle.
pub(crate) struct Threads(Arc<Inner>);

pub(super) struct Inner {
    max: usize,
    state: Mutex<State>,
    /// Notified when there is work, or when the pool is dropped.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    /// Idle threads.
    idle: usize,
    /// Threads that wait for async work and do not count against the limit.
    waiting: usize,
    /// Set when the last handle is dropped.
    is_closed: bool,
}

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    /// The pool of this thread, and the generation in which it was started.
    static OWN: RefCell<Option<(u64, Arc<Inner>)>> = const { RefCell::new(None) };
}

impl Pool {
    /// A pool of at most `max` threads.
    pub fn new(max: NonZeroUsize) -> Self {
        Self(Handle::Own(Arc::new(Own { max, threads: PerProcess::new() })))
    }

    /// The default pool: one for the process, of [`DEFAULT_THREADS`] unless
    /// [configured](crate::runtime::RuntimeSettings::blocking_threads). Its threads end with
    /// [`runtime::shutdown`](crate::runtime::shutdown).
    pub fn shared() -> &'static Pool {
        static SHARED: Pool = Pool(Handle::Shared);
        &SHARED
    }

    /// Runs `work` on a thread of the pool.
    ///
    /// # Errors
    /// [`ErrorKind::Panic`] if the work panics; [`ErrorKind::Config`] if the system cannot start a thread.
    ///
    /// # Cancellation
    /// Dropping the future removes work from the queue. Work that has started cannot be stopped: it runs to
    /// its end, and its result is dropped.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (done, result) = oneshot::channel();
        let work = crate::task_locals::propagate_to_thread(work);
        self.inner().submit(Box::new(move || {
            // The receiver may have been dropped.
            if !done.is_closed() {
                let result = catch_unwind(AssertUnwindSafe(work));
                let _ = done.send(result.map_err(|panic| Error::from_panic(&*panic)));
            }
        }))?;
        result.await.unwrap_or_else(|_| Err(Error::new(ErrorKind::Cancelled, "the pool has ended")))
    }

    /// Number of threads of the pool, including idle ones.
    pub fn threads(&self) -> usize {
        self.inner().lock().threads
    }

    /// The threads of this process.
    pub(super) fn inner(&self) -> Arc<Inner> {
        match &self.0 {
            Handle::Own(own) => own.threads.get(|| Threads::new(own.max)).0.clone(),
            Handle::Shared => crate::runtime::shared_pool(|threads| threads.0.clone()),
        }
    }
}

impl Threads {
    pub(crate) fn new(max: NonZeroUsize) -> Self {
        Self(Arc::new(Inner { max: max.get(), state: Mutex::default(), changed: Condvar::new() }))
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn submit(self: &Arc<Self>, job: Job) -> Result<()> {
        let mut state = self.lock();
        state.queue.push_back(job);
        self.hire(&mut state).or_else(|error| {
            // If the pool has other threads, one of them takes the work later.
            if state.threads > state.waiting {
                return Ok(());
            }
            state.queue.pop_back();
            Err(error)
        })
    }

    /// Wakes a thread for queued work, or starts one if the limit allows it.
    fn hire(self: &Arc<Self>, state: &mut State) -> Result<()> {
        if state.queue.len() <= state.idle {
            self.changed.notify_one();
            return Ok(());
        }
        if state.threads - state.waiting >= self.max {
            return Ok(());
        }
        state.threads += 1;
        let inner = self.clone();
        let started = std::thread::Builder::new().name("fanweave-blocking".to_owned()).spawn(move || {
            OWN.set(Some((generation(), inner.clone())));
            inner.work();
        });
        started.map(drop).map_err(|e| {
            state.threads -= 1;
            Error::new(ErrorKind::Config, format!("cannot start a thread for a blocking step: {e}"))
                .with_source(e)
        })
    }

    /// The main loop of a thread.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            // After waits for async work, more threads may be running than the limit allows.
            if state.threads - state.waiting > self.max {
                break;
            }
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                job();
                state = self.lock();
                continue;
            }
            if state.is_closed {
                break;
            }
            state.idle += 1;
            let (woken, wait) =
                self.changed.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if wait.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }
}

/// Runs `wait`. If the thread belongs to a pool, it does not count against the limit meanwhile.
pub(super) fn aside<T>(wait: impl FnOnce() -> T) -> T {
    let Some((started, pool)) = OWN.with_borrow(Clone::clone) else { return wait() };
    // After a fork on this thread, the pool is that of the parent.
    if started != generation() {
        return wait();
    }
    {
        let mut state = pool.lock();
        state.waiting += 1;
        // If no thread can be started, the running ones take the queued work later.
        let _ = pool.hire(&mut state);
    }
    /// Counts the thread again on drop, also after a panic.
    struct Back(Arc<Inner>);
    impl Drop for Back {
        fn drop(&mut self) {
            self.0.lock().waiting -= 1;
        }
    }
    let _back = Back(pool);
    wait()
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.0.lock().is_closed = true;
        self.0.changed.notify_all();
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.inner();
        let state = inner.lock();
        f.debug_struct("Pool")
            .field("max", &inner.max)
            .field("threads", &state.threads)
            .field("in_line", &state.queue.len())
            .finish()
    }
}
