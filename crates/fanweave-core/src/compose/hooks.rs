//! Hooks: functions that are called when a step begins and ends.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::JoinSet;

use crate::chain::{Chain, chain};
use crate::generation::PerProcess;
use crate::{Context, Error, Node, Result, Runnable, Streaming};

/// Maximum hooks of one [`Hooks`] in progress. Further calls are dropped and counted.
const CONCURRENCY: usize = 1024;

/// Hooks on the start, the end and the failure of a chain. See [`Chain::with_hooks`].
///
/// A hook is an async function. It never delays or fails its run, however slow it is and even if it panics,
/// unless [`wait_for_hooks`](Self::wait_for_hooks) is set. Hooks in progress belong to the `Hooks`: dropping
/// its last handle ends them, and [`finish`](Self::finish) waits for them.
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use fanweave::{Error, chain, compose::Hooks, testing::Fake, text};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let log = Arc::new(Mutex::new(Vec::new()));
/// let recorder = log.clone();
/// let hooks = Hooks::new().on_end(move |answer: String, _cx| {
///     let recorder = recorder.clone();
///     async move {
///         recorder.lock().unwrap().push(answer);
///         Ok(())
///     }
/// });
/// let answer = (chain(Fake::echo()) | text()).with_hooks(&hooks);
/// answer.invoke("hello").await?;
/// hooks.finish().await;
/// assert_eq!(*log.lock().unwrap(), ["hello"]);
/// # Ok(())
/// # }) }
/// ```
pub struct Hooks<I, O>(Arc<HooksInner<I, O>>);

struct HooksInner<I, O> {
    start: Option<Hook<I>>,
    end: Option<Hook<O>>,
    error: Option<Hook<Error>>,
    waits_for_hooks: bool,
    /// A forked child does not wait for the hooks of its parent.
    at_work: PerProcess<Mutex<AtWork>>,
}

type Hook<T> = Arc<dyn Fn(T, Context) -> BoxFuture<'static, Result<()>> + Send + Sync>;

#[derive(Default)]
struct AtWork {
    tasks: JoinSet<()>,
    dropped: u64,
}

impl<I, O> Clone for Hooks<I, O> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<I: Clone + Send + 'static, O: Clone + Send + 'static> Default for Hooks<I, O> {
    fn default() -> Self {
        Self::new()
    }
}

impl<I: Clone + Send + 'static, O: Clone + Send + 'static> Hooks<I, O> {
    /// Hooks without any function.
    pub fn new() -> Self {
        let hooks = HooksInner {
            start: None,
            end: None,
            error: None,
            waits_for_hooks: false,
            at_work: PerProcess::new(),
        };
        Self(Arc::new(hooks))
    }

    fn with(self, change: impl FnOnce(&mut HooksInner<I, O>)) -> Self {
        let HooksInner { start, end, error, waits_for_hooks, .. } = &*self.0;
        let mut hooks = HooksInner {
            start: start.clone(),
            end: end.clone(),
            error: error.clone(),
            waits_for_hooks: *waits_for_hooks,
            at_work: PerProcess::new(),
        };
        change(&mut hooks);
        Self(Arc::new(hooks))
    }

    /// Called with every input.
    #[must_use]
    pub fn on_start<F, Fut>(self, hook: F) -> Self
    where
        F: Fn(I, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.with(|hooks| hooks.start = Some(boxed(hook)))
    }

    /// Called with every output.
    #[must_use]
    pub fn on_end<F, Fut>(self, hook: F) -> Self
    where
        F: Fn(O, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.with(|hooks| hooks.end = Some(boxed(hook)))
    }

    /// Called with every failure.
    #[must_use]
    pub fn on_error<F, Fut>(self, hook: F) -> Self
    where
        F: Fn(Error, Context) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.with(|hooks| hooks.error = Some(boxed(hook)))
    }

    /// Runs wait for their hooks, and fail if a hook for a start or an end fails.
    #[must_use]
    pub fn wait_for_hooks(self) -> Self {
        self.with(|hooks| hooks.waits_for_hooks = true)
    }

    /// Number of hook calls that were dropped because 1,024 others were in progress.
    pub fn dropped(&self) -> u64 {
        self.at_work(|at_work| at_work.dropped)
    }

    /// Waits for the hooks in progress.
    pub async fn finish(&self) {
        let mut tasks = self.at_work(|at_work| std::mem::take(&mut at_work.tasks));
        while tasks.join_next().await.is_some() {}
    }

    async fn call_hook<T: Send + 'static>(
        &self,
        hook: Option<&Hook<T>>,
        what: impl FnOnce() -> T,
        cx: &Context,
    ) -> Result<()> {
        let Some(hook) = hook.cloned() else { return Ok(()) };
        let (what, cx) = (what(), cx.without_deltas().undriven());
        let call = AssertUnwindSafe(async move { hook(what, cx).await }).catch_unwind();
        if self.0.waits_for_hooks {
            return call.await.unwrap_or_else(|panic| Err(Error::from_panic(&*panic)));
        }
        self.at_work(|at_work| {
            while at_work.tasks.try_join_next().is_some() {}
            if at_work.tasks.len() >= CONCURRENCY || tokio::runtime::Handle::try_current().is_err() {
                at_work.dropped += 1;
            } else {
                at_work.tasks.spawn(async move {
                    // Without `wait_for_hooks`, the result of a hook is not reported.
                    let _ = call.await;
                });
            }
        });
        Ok(())
    }

    fn at_work<T>(&self, with: impl FnOnce(&mut AtWork) -> T) -> T {
        let at_work = self.0.at_work.get(Mutex::default);
        with(&mut at_work.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn boxed<T, F, Fut>(hook: F) -> Hook<T>
where
    F: Fn(T, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<()>> + Send + 'static,
{
    Arc::new(move |what, cx| Box::pin(hook(what, cx)))
}

struct WithHooks<I, O> {
    inner: Chain<I, O>,
    hooks: Hooks<I, O>,
}

impl<I: Clone + Send + 'static, O: Clone + Send + Sync + 'static> Runnable for WithHooks<I, O> {
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = O;

    async fn run(&self, input: I, cx: &Context) -> Result<O> {
        let HooksInner { start, end, error, .. } = &*self.hooks.0;
        if start.is_some() {
            let given = input.clone();
            self.hooks.call_hook(start.as_ref(), move || given, cx).await?;
        }
        match self.inner.run(input, cx).await {
            Ok(output) => {
                self.hooks.call_hook(end.as_ref(), || output.clone(), cx).await?;
                Ok(output)
            }
            Err(failure) => {
                let result = self.hooks.call_hook(error.as_ref(), || failure.clone(), cx).await;
                // The error of the run takes precedence over that of its hook.
                drop(result);
                Err(failure)
            }
        }
    }

    fn streaming(&self) -> Streaming {
        self.inner.streaming()
    }

    fn describe(&self) -> Node {
        self.inner.describe()
    }
}

impl<I: Clone + Send + 'static, O: Clone + Send + Sync + 'static> Chain<I, O> {
    /// Calls the hooks of `hooks` for every run of this chain.
    #[must_use]
    pub fn with_hooks(self, hooks: &Hooks<I, O>) -> Self {
        chain(WithHooks { inner: self, hooks: hooks.clone() })
    }
}

impl<I, O> std::fmt::Debug for Hooks<I, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").field("is_awaited", &self.0.waits_for_hooks).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::{ErrorKind, step};

    fn half() -> Chain<u32, u32> {
        step(|n: u32, _| async move {
            if n.is_multiple_of(2) { Ok(n / 2) } else { Err(Error::new(ErrorKind::Step, "odd")) }
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_a_failing_and_a_panicking_hook_neither_delay_nor_fail_the_run() {
        let ended = Arc::new(AtomicUsize::new(0));
        let recorded = ended.clone();
        let hooks = Hooks::new()
            .on_start(|_: u32, _| async { panic!("boom") })
            .on_end(move |_: u32, _| {
                let recorded = recorded.clone();
                async move {
                    sleep(Duration::from_secs(60)).await;
                    recorded.fetch_add(1, Ordering::SeqCst);
                    Ok(())
                }
            })
            .on_error(|_, _| async { Err(Error::new(ErrorKind::Step, "the hook fails too")) });
        let chain = half().with_hooks(&hooks);
        let started = Instant::now();
        assert_eq!(chain.invoke(4u32).await.unwrap(), 2);
        assert_eq!(chain.invoke(3u32).await.unwrap_err().to_string(), "odd");
        assert_eq!((started.elapsed().as_secs(), ended.load(Ordering::SeqCst)), (0, 0));
        hooks.finish().await;
        assert_eq!((started.elapsed().as_secs(), ended.load(Ordering::SeqCst)), (60, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_awaited_hook_does_both() {
        let hooks = Hooks::new().wait_for_hooks().on_end(|_: u32, _| async {
            sleep(Duration::from_secs(1)).await;
            Err(Error::new(ErrorKind::Step, "the log is full"))
        });
        let started = Instant::now();
        let error = half().with_hooks(&hooks).invoke(4u32).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), started.elapsed().as_secs()), ("the log is full", 1));
    }

    #[tokio::test(start_paused = true)]
    async fn hooks_end_with_their_listener() {
        let alive = Arc::new(());
        let held = alive.clone();
        let hooks = Hooks::new().on_end(move |_: u32, _| {
            let held = held.clone();
            async move {
                sleep(Duration::from_secs(3600)).await;
                drop(held);
                Ok(())
            }
        });
        half().with_hooks(&hooks).invoke(4u32).await.unwrap();
        tokio::task::yield_now().await;
        drop(hooks);
        tokio::task::yield_now().await;
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
