//! Turns: a task that is woken runs after the tasks that are ready, and handles what all of them made.

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
pub(crate) async fn after_others<T>(event: impl Future<Output = T>) -> T {
    let mut event = pin!(event);
    let mut wait = Wait::None;
    poll_fn(|task| {
        loop {
            wait = match &wait {
                Wait::None => match event.as_mut().poll(task) {
                    Poll::Ready(output) => return Poll::Ready(output),
                    Poll::Pending => Wait::Event,
                },
                Wait::Event => Wait::Turn(Turn::after_others(task)),
                Wait::Turn(turn) if turn.has_come(task) => Wait::None,
                Wait::Turn(_) => return Poll::Pending,
            };
            if matches!(wait, Wait::Event) {
                return Poll::Pending;
            }
        }
    })
    .await
}

/// What a task waits for.
enum Wait {
    None,
    Event,
    Turn(Arc<Turn>),
}

/// The turn of a task. What else wakes the task meanwhile changes nothing.
#[derive(Default)]
struct Turn {
    has_come: AtomicBool,
    task: AtomicWaker,
}

impl Turn {
    /// A turn that comes when the tasks of this worker that are ready have run.
    fn after_others(task: &Context<'_>) -> Arc<Self> {
        let turn = Arc::new(Self::default());
        turn.task.register(task.waker());
        // The scheduler keeps the waker until then.
        let _ = pin!(yield_now()).poll(&mut Context::from_waker(&Waker::from(turn.clone())));
        turn
    }

    fn has_come(&self, task: &Context<'_>) -> bool {
        self.task.register(task.waker());
        self.has_come.load(Ordering::Acquire)
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.has_come.store(true, Ordering::Release);
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
                while let Some(n) = after_others(events.recv()).await {
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
        let read = pool.spawner().spawn_local_with_handle(async move { after_others(events.recv()).await });
        pool.run_until_stalled();
        sender.send(7).unwrap();
        assert_eq!(pool.run_until(read.unwrap()), Some(7));
    }
}
