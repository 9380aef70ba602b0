//! Coalesced wake-ups: a task that is woken runs after the tasks that are ready, and handles what all of them
//! made.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures::task::AtomicWaker;
use tokio::task::yield_now;

/// The output of `event`. If it is not ready at once, it is polled again only after the tasks that were ready
/// have run: many events then need one wake-up of this task, and of those that it sends them to.
///
/// # Cancellation
/// `event` is never ready without being returned.
pub(crate) async fn coalesced<T>(event: impl Future<Output = T>) -> T {
    let mut event = pin!(event);
    let mut state = State::Ready;
    poll_fn(|task| {
        if let State::Waiting = state {
            state = State::Deferred(Deferred::start());
        }
        if let State::Deferred(deferred) = &state
            && !deferred.is_over(task)
        {
            return Poll::Pending;
        }
        let polled = event.as_mut().poll(task);
        state = State::Waiting;
        polled
    })
    .await
}

enum State {
    /// The event is polled.
    Ready,
    /// The event was not ready: the next poll is its wake-up.
    Waiting,
    /// The event may be ready.
    Deferred(Arc<Deferred>),
}

/// The time until the tasks of this worker that are ready have run. What else wakes the task changes nothing.
#[derive(Default)]
struct Deferred {
    is_over: AtomicBool,
    task: AtomicWaker,
}

impl Deferred {
    fn start() -> Arc<Self> {
        let deferred = Arc::new(Self::default());
        // The scheduler keeps the waker until then.
        let waker = Waker::from(deferred.clone());
        let _ = pin!(yield_now()).poll(&mut Context::from_waker(&waker));
        deferred
    }

    fn is_over(&self, task: &Context<'_>) -> bool {
        self.task.register(task.waker());
        self.is_over.load(Ordering::Acquire)
    }
}

impl Wake for Deferred {
    fn wake(self: Arc<Self>) {
        self.is_over.store(true, Ordering::Release);
        self.task.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::executor::LocalPool;
    use futures::task::LocalSpawnExt;
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_task_that_is_woken_runs_after_those_that_are_ready() {
        let (sender, mut events) = mpsc::unbounded_channel();
        let order = Arc::<Mutex<Vec<String>>>::default();
        let reader = tokio::spawn({
            let order = order.clone();
            async move {
                while let Some(n) = coalesced(events.recv()).await {
                    order.lock().unwrap().push(format!("read {n}"));
                }
            }
        });
        yield_now().await;
        for n in 0..3 {
            let (sender, order) = (sender.clone(), order.clone());
            tokio::spawn(async move {
                order.lock().unwrap().push(format!("sent {n}"));
                sender.send(n).unwrap();
            });
        }
        drop(sender);
        reader.await.unwrap();
        assert_eq!(*order.lock().unwrap(), ["sent 0", "sent 1", "sent 2", "read 0", "read 1", "read 2"]);
    }

    #[test]
    fn it_waits_without_a_runtime_too() {
        let mut pool = LocalPool::new();
        let (sender, mut events) = mpsc::unbounded_channel();
        let read = pool.spawner().spawn_local_with_handle(async move { coalesced(events.recv()).await });
        pool.run_until_stalled();
        sender.send(7).unwrap();
        assert_eq!(pool.run_until(read.unwrap()), Some(7));
    }
}
