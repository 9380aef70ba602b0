//! Keyed work in flight as tasks of the runtime: the rows of batches, from memory and from files.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context as TaskContext, Poll, ready};

use futures::FutureExt;
use tokio::task::{JoinError, JoinSet};

use crate::task_locals::{self, TaskLocals};

/// Work in flight: each piece has a key and is a task, which makes progress even if its result is not read.
///
/// Every key that was started comes back exactly once, also if its work panics or its runtime ends. Dropping
/// this aborts all work.
pub struct Flights<K, T> {
    tasks: JoinSet<(Option<K>, Result<T, Panic>)>,
    /// Keys of tasks that were dropped before they ended.
    lost: Lost<K>,
    task_locals: Option<TaskLocals>,
}

/// The payload of a panic.
pub type Panic = Box<dyn Any + Send>;

/// Reason why work has no result.
#[derive(Debug)]
pub enum Ended {
    /// The work panicked.
    Panicked(Panic),
    /// The work was aborted, or the runtime that it ran on has ended.
    Aborted(JoinError),
}

type Lost<K> = Arc<Mutex<Vec<K>>>;

impl<K: Send + 'static, T: Send + 'static> Flights<K, T> {
    /// Nothing in flight. The work will have the task-locals of the current task.
    pub fn new() -> Self {
        Self { tasks: JoinSet::new(), lost: Lost::default(), task_locals: task_locals::here() }
    }

    /// Starts `work` as a task of the current runtime.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn start(&mut self, key: K, work: impl Future<Output = T> + Send + 'static) {
        let mut held = Held { key: Some(key), lost: self.lost.clone() };
        let task = async move {
            let result = AssertUnwindSafe(work).catch_unwind().await;
            (held.key.take(), result)
        };
        self.tasks.spawn(task_locals::propagate(self.task_locals.clone(), task));
    }

    /// The next work that has ended. `None` if nothing is in flight.
    pub fn poll_next(&mut self, task: &mut TaskContext<'_>) -> Poll<Option<(K, Result<T, Ended>)>> {
        while let Some(ended) = ready!(self.tasks.poll_join_next(task)) {
            let (key, result) = match ended {
                Ok((key, result)) => (key, result.map_err(Ended::Panicked)),
                // The task has been dropped, and left its key. Keys of other dropped tasks do as well: their
                // results are the same.
                Err(dropped) => (lock(&self.lost).pop(), Err(Ended::Aborted(dropped))),
            };
            if let Some(key) = key {
                return Poll::Ready(Some((key, result)));
            }
        }
        Poll::Ready(None)
    }

    /// Like [`poll_next`](Self::poll_next).
    ///
    /// # Cancellation
    /// A dropped future loses no result.
    pub async fn next(&mut self) -> Option<(K, Result<T, Ended>)> {
        poll_fn(|task| self.poll_next(task)).await
    }

    /// Aborts all work. It still comes back, without results.
    pub fn abort_all(&mut self) {
        self.tasks.abort_all();
    }

    /// Aborts all work, waits for its end and drops all results.
    pub async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
        lock(&self.lost).clear();
    }

    /// Number of pieces of work that have not come back.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Returns true if nothing is in flight.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }
}

impl<K: Send + 'static, T: Send + 'static> Default for Flights<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

/// The key of a task, which goes to the lost ones if the task is dropped before its end.
struct Held<K> {
    key: Option<K>,
    lost: Lost<K>,
}

impl<K> Drop for Held<K> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            lock(&self.lost).push(key);
        }
    }
}

fn lock<K>(lost: &Lost<K>) -> MutexGuard<'_, Vec<K>> {
    lost.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::time::Duration;

    use futures::executor::block_on;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::Context;
    use crate::context::Extensions;

    async fn all<T: Send + 'static>(mut flights: Flights<u32, T>) -> Vec<(u32, Result<T, Ended>)> {
        let mut all = Vec::new();
        while let Some(next) = flights.next().await {
            all.push(next);
        }
        all.sort_by_key(|(key, _)| *key);
        all
    }

    #[tokio::test]
    async fn work_that_panics_comes_back_with_its_key_and_its_panic() {
        let mut flights = Flights::new();
        for n in 0..3u32 {
            flights.start(n, async move {
                assert_ne!(n, 1, "one is refused");
                n * 10
            });
        }
        assert_eq!(flights.len(), 3);
        let ended = all(flights).await;
        assert!(matches!(ended[0], (0, Ok(0))) && matches!(ended[2], (2, Ok(20))), "{ended:?}");
        let (1, Err(Ended::Panicked(panic))) = &ended[1] else { panic!("{ended:?}") };
        assert!(panic.downcast_ref::<String>().unwrap().contains("one is refused"));
    }

    #[test]
    fn work_whose_runtime_has_ended_comes_back_with_its_keys() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut flights = Flights::new();
        {
            let _entered = runtime.enter();
            for n in 0..3u32 {
                flights.start(n, async move {
                    if n > 0 {
                        pending::<()>().await;
                    }
                });
            }
        }
        assert!(matches!(runtime.block_on(flights.next()), Some((0, Ok(())))));
        drop(runtime);
        let ended = block_on(all(flights));
        assert!(
            matches!(&ended[..], [(1, Err(Ended::Aborted(_))), (2, Err(Ended::Aborted(_)))]),
            "{ended:?}"
        );
    }

    #[tokio::test]
    async fn aborted_work_comes_back_also_if_it_has_never_been_polled() {
        let mut flights = Flights::new();
        flights.start(1u32, pending::<()>());
        tokio::task::yield_now().await;
        flights.start(2, pending());
        flights.abort_all();
        let ended = all(flights).await;
        assert!(
            matches!(&ended[..], [(1, Err(Ended::Aborted(_))), (2, Err(Ended::Aborted(_)))]),
            "{ended:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_goes_away_loses_nothing() {
        let mut flights = Flights::new();
        flights.start(7u32, sleep(Duration::from_secs(2)));
        assert!(timeout(Duration::from_secs(1), flights.next()).await.is_err());
        assert!(matches!(flights.next().await, Some((7, Ok(())))));
        assert!(flights.next().await.is_none() && flights.is_empty());
        flights.start(8, pending());
        flights.shutdown().await;
        assert!(flights.next().await.is_none());
    }

    #[tokio::test]
    async fn work_has_the_task_locals_of_the_scope_that_made_it() {
        let scope = Extensions::new().with(Arc::new("scope"));
        let mut flights = task_locals::within(scope, async { Flights::new() }).await;
        flights.start((), async { Context::new().extension::<&str>().as_deref().copied() });
        assert!(matches!(flights.next().await, Some(((), Ok(Some("scope"))))));
    }
}
