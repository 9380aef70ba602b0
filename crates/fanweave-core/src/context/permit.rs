//! Permits of a run: how a call takes one, and how it returns it even if its answer has no reader.

use std::future::Future;
use std::sync::Arc;

use super::sink::{DeltaSink, Reader};
use super::work::{Item, Owned, Work};
use super::{Channel, Context, RunPermit};
use crate::Result;
use crate::event::{EventKind, WaitReason};

impl Context {
    /// Makes a request with a permit of the run, if its calls are [limited](Self::with_concurrency): waits
    /// for one, runs `request`, and returns the permit when `request` has ended.
    ///
    /// A future that is not polled makes no progress, and would keep its permit from the very call that its
    /// caller waits for. `request` therefore runs in a separate task, unless the run has no limit. Deltas and
    /// events that it emits through the context it receives are buffered, up to about 4 MiB. If the buffer is
    /// full and another call waits for a permit, the permit is returned early, and
    /// [`over_limit`](Self::over_limit) counts it.
    ///
    /// A call within `request` that uses the given context takes the permit over. A call that uses another
    /// context of the same run may wait forever for a second permit.
    ///
    /// ```
    /// use fanweave::{ChatModel, Context, Delta, Message, Model, Prompt, Result, chain, text};
    ///
    /// struct Parrot;
    ///
    /// impl ChatModel for Parrot {
    ///     fn name(&self) -> &str {
    ///         "birds/parrot"
    ///     }
    ///
    ///     async fn generate(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
    ///         cx.permit(|cx| async move {
    ///             let words = prompt.last_user_text();
    ///             cx.delta(Delta::text(&*words)).await;
    ///             Ok(Message::assistant(words))
    ///         })
    ///         .await
    ///     }
    /// }
    ///
    /// # fn main() -> Result<()> { fanweave::blocking::wait(async {
    /// let parrot = chain(Model::new(Parrot)) | text();
    /// let cx = Context::new().with_concurrency(1);
    /// // The first answer is not read while the second call runs.
    /// let first = parrot.stream_in("hello", &cx);
    /// assert_eq!(parrot.invoke_in("bye", &cx).await?, "bye");
    /// assert_eq!(first.output().await?, "hello");
    /// # Ok(())
    /// # }) }
    /// ```
    ///
    /// # Errors
    /// The error of `request`, or [`ErrorKind::Cancelled`](crate::ErrorKind::Cancelled) if the run
    /// [drains](Self::with_draining) before there is a permit.
    ///
    /// # Cancellation
    /// Dropping the future drops `request` and returns the permit.
    pub async fn permit<T, F, Fut>(&self, request: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        if !self.needs_task() {
            let _permit = self.acquire().await?;
            return request(self.clone()).await;
        }
        let held = |cx: Context| async move {
            cx.hold(cx.acquire().await?);
            request(cx.undriven()).await
        };
        Box::pin(self.in_task(held)).await
    }

    /// Number of permits that were returned while their calls were still in flight, because the reader was
    /// far behind and another call waited. Counts all calls of the run, and those of enclosing limits.
    pub fn over_limit(&self) -> u64 {
        self.shared.limit.as_ref().map_or(0, |limit| limit.over_limit())
    }

    /// Returns true if a separate task polls the call's future for as long as it runs, as that of a batch row
    /// does. A call may then hold permits in place. Otherwise its caller decides when it is polled.
    #[doc(hidden)]
    pub fn is_driven(&self) -> bool {
        self.is_driven
    }

    /// The context for a future that a separate task polls for as long as it runs. Has no effect if the run
    /// has a reader of its deltas or events, which may block it.
    #[doc(hidden)]
    #[must_use]
    pub fn driven(mut self) -> Self {
        self.is_driven = !self.wants_deltas();
        self
    }

    /// The context for code that itself decides when the futures of its calls are polled.
    #[doc(hidden)]
    #[must_use]
    pub fn undriven(mut self) -> Self {
        self.is_driven = false;
        self
    }

    /// Returns true if a call that takes a permit of the run must run [in a task](Self::in_task).
    #[doc(hidden)]
    pub fn needs_task(&self) -> bool {
        self.is_limited() && !self.is_driven
    }

    /// Waits for a permit of the run, which is held until it is dropped. For calls that are
    /// [driven](Self::is_driven) or run [in a task](Self::in_task): a permit is never held by a future that
    /// depends on its caller to be polled.
    ///
    /// A permit is held for the duration of one request: not while waiting to retry, and not while waiting
    /// for another permit.
    #[doc(hidden)]
    pub async fn acquire(&self) -> Result<RunPermit> {
        match self.acquire_now() {
            Some(permit) => Ok(permit),
            // Boxed, because most calls do not wait.
            None => Box::pin(self.wait_for_permit()).await,
        }
    }

    /// Like [`acquire`](Self::acquire), if a permit is free now and the run does not drain.
    #[doc(hidden)]
    pub fn acquire_now(&self) -> Option<RunPermit> {
        if self.is_draining() {
            return None;
        }
        let Some(limit) = &self.shared.limit else { return Some(RunPermit::unlimited()) };
        // A call within a call takes over its permit. A permit for fewer limits is returned first.
        if let Some(held) = self.shared.work.as_ref().and_then(|work| work.take_permit())
            && held.is_of(limit)
        {
            return Some(held);
        }
        limit.try_acquire()
    }

    async fn wait_for_permit(&self) -> Result<RunPermit> {
        if self.is_draining() {
            return Err(self.draining().await);
        }
        let Some(limit) = &self.shared.limit else { return Ok(RunPermit::unlimited()) };
        limit.check()?;
        self.emit(EventKind::Waiting(WaitReason::Concurrency)).await;
        tokio::select! {
            biased;
            error = self.draining() => Err(error),
            permit = limit.acquire() => Ok(permit),
        }
    }

    /// Like [`acquire`](Self::acquire), if a permit is free now.
    #[doc(hidden)]
    pub fn try_permit(&self) -> Option<RunPermit> {
        match &self.shared.limit {
            Some(limit) => limit.try_acquire(),
            None => Some(RunPermit::unlimited()),
        }
    }

    /// Holds `permit` until the work [in this task](Self::in_task) ends, a call within it takes it over, or
    /// its buffer is full and another call waits.
    #[doc(hidden)]
    pub fn hold(&self, permit: RunPermit) {
        if let Some(work) = &self.shared.work {
            work.hold(permit);
        }
    }

    /// Returns the permit that an enclosing call [holds](Self::hold), before a wait for another call of the
    /// run. The next call takes a new one.
    #[doc(hidden)]
    pub fn return_permit(&self) {
        let held = self.shared.work.as_ref().and_then(|work| work.take_permit());
        drop(held);
    }

    /// Runs `work` in a task that the returned future owns: dropping it aborts the task. The deltas and
    /// events that `work` emits through the context it receives are buffered, and the returned future
    /// forwards them. That context is [driven](Self::is_driven) unless they are read. Pass a permit taken in
    /// `work` itself to [`hold`](Self::hold), so that it is returned if the buffer is full.
    ///
    /// # Errors
    /// The error of `work`.
    #[doc(hidden)]
    pub async fn in_task<T, F, Fut>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T>> + Send + 'static,
    {
        let shared = Work::new(self.shared.work.clone());
        // Boxed: a task copies its future several times, and that of a call has many kilobytes.
        let task = Owned::start(shared.clone(), Box::pin(work(self.for_task(&shared))));
        if self.wants_deltas() {
            while let Some(item) = shared.next().await {
                self.hand_on(item).await;
            }
        }
        task.await
    }

    fn for_task(&self, work: &Arc<Work>) -> Self {
        let mut cx = self.clone();
        cx.sink = cx.sink.map(|_| DeltaSink::Reader(Reader::Work(work.clone())));
        let changed = cx.with(|s| {
            s.channel = s.channel.take().map(|_| Channel::Work(work.clone()));
            s.work = Some(work.clone());
        });
        changed.driven()
    }

    /// Forwards the output of the task. The task has marked what it emitted; the deltas that reach the reader
    /// are marked here.
    async fn hand_on(&self, item: Item) {
        match item {
            Item::Event(event) => {
                if let Some(channel) = &self.shared.channel
                    && let Some(full) = channel.send(event)
                {
                    full.await;
                }
            }
            Item::Delta(delta) => {
                if let Some(full) = self.hand_to_reader(delta)
                    && full.await
                {
                    self.mark(|step| &step.by_reader);
                }
            }
        }
    }
}
