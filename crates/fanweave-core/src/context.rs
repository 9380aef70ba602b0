//! The context of a run: destinations of events and deltas, deadline, cancellation, concurrency.

mod branch;
mod cancellation;
mod concurrency;
mod extensions;
mod limit;
pub(crate) mod memory;
mod meter;
mod permit;
mod session;
mod sink;
mod trace;
mod work;

use std::convert::Infallible;
use std::future::Future;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;
use tracing::Span;

pub use branch::BranchId;
pub use cancellation::CancellationToken;
pub use concurrency::Concurrency;
pub use extensions::Extensions;
pub(crate) use extensions::NewChoices;
use extensions::{Choice, Choices, Fresh, PartParameters, RecursionLimit};
use limit::Limit;
pub(crate) use limit::PartLimits;
pub use limit::RunPermit;
use limit::is_equal;
use memory::RunMemory;
use meter::Meter;
pub use meter::RunUsage;
#[doc(hidden)]
pub use session::Recording;
use sink::Sent;
pub(crate) use sink::{DeltaSink, Reader};
use work::{Item, Work};

use crate::deadline::until;
use crate::delta::DeltaMap;
use crate::event::{Event, EventKind, Labels, Observer, Path, RunId};
use crate::{Delta, Error, ErrorKind, Parameters, Reply, Result};

/// The context of a run. Cheap to clone; a clone belongs to the same run.
///
/// ```
/// use std::time::Duration;
/// use fanweave::{Context, ErrorKind, Runnable, step};
///
/// # fn main() { fanweave::blocking::wait(async {
/// let slow = step(|n: u32, _cx| async move {
///     std::future::pending::<()>().await;
///     Ok(n)
/// });
/// let cx = Context::new().with_timeout(Duration::from_millis(50));
/// let error = slow.invoke_in(7u32, &cx).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Timeout);
/// # }) }
/// ```
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
    position: Position,
    branch: BranchId,
    /// Branch of the step of a dag that releases the memory of prompts.
    prompts_of: Option<BranchId>,
    sink: Option<DeltaSink>,
    /// Records whether this step, and the enclosing steps that ask, have emitted a delta. `None` if no step
    /// asks.
    emitted: Option<Arc<EmittedFlag>>,
    /// Number of enclosing steps that have decided on further steps.
    depth: u32,
    /// See [`is_driven`](Self::is_driven). Never set together with `sink` or a channel for events, which
    /// may block.
    is_driven: bool,
}

/// State shared by all steps of a run.
#[derive(Clone)]
struct Shared {
    started: Instant,
    observers: Vec<Arc<dyn Observer>>,
    channel: Option<Channel>,
    /// The call in a separate task that the steps are part of.
    work: Option<Arc<Work>>,
    cancel: Option<CancellationToken>,
    draining: Option<CancellationToken>,
    deadline: Option<(Instant, Duration)>,
    limit: Option<Arc<Limit>>,
    /// `None` unless the memory of the run is limited.
    memory: Option<Arc<RunMemory>>,
    /// `None` without tags and metadata.
    labels: Option<Arc<Labels>>,
    /// Usage of the calls so far.
    meter: Arc<Meter>,
    /// Settings of few runs, which others do not pay for, and values of authors of steps.
    extensions: Extensions,
    priority: Priority,
    hedges: bool,
    has_alternatives: bool,
    is_last: Option<Arc<AtomicBool>>,
}

/// Priority of queued calls to the same account. Set by [`Context::with_priority`].
///
/// ```
/// use fanweave::{Context, context::Priority};
///
/// assert_eq!(Context::new().priority(), Priority::Interactive);
/// assert_eq!(Context::new().with_priority(Priority::Batch).priority(), Priority::Batch);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Priority {
    /// For calls whose answer a caller waits for. Sent before all [`Batch`](Self::Batch) calls.
    #[default]
    Interactive,
    /// Sent only if no [`Interactive`](Self::Interactive) call is queued.
    Batch,
}

/// Receives the events of a run.
#[derive(Clone)]
enum Channel {
    Reader(mpsc::Sender<Event>),
    /// The buffer of a call in a separate task.
    Work(Arc<Work>),
}

/// Default maximum of decisions on further steps in one run. 25: the usual limit of agents.
const RECURSION_LIMIT: u32 = 25;

/// Set once a delta has been emitted.
#[derive(Default)]
struct EmittedFlag {
    yet: AtomicBool,
    /// Set if the delta may have reached the reader.
    by_reader: AtomicBool,
    around: Option<Arc<EmittedFlag>>,
}

/// The position of a step in the chain.
#[derive(Clone)]
struct Position {
    run: Option<RunId>,
    parent: Option<RunId>,
    path: Path,
    /// `None` unless a subscriber of `tracing` is interested.
    span: Option<Arc<Span>>,
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl Context {
    /// A context without observers, deadline or limits.
    pub fn new() -> Self {
        let shared = Shared {
            started: Instant::now(),
            observers: Vec::new(),
            channel: None,
            work: None,
            cancel: None,
            draining: None,
            deadline: None,
            limit: None,
            memory: None,
            labels: None,
            meter: Arc::default(),
            extensions: Extensions::new(),
            priority: Priority::default(),
            hedges: false,
            has_alternatives: false,
            is_last: None,
        };
        Self {
            shared: Arc::new(shared),
            position: Position { run: None, parent: None, path: Path::default(), span: trace::current() },
            branch: BranchId::default(),
            prompts_of: None,
            sink: None,
            emitted: None,
            depth: 0,
            is_driven: false,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::make_mut(&mut self.shared));
        self
    }

    /// Reports every event of the run to `observer`.
    #[must_use]
    pub fn with_observer(self, observer: Arc<dyn Observer>) -> Self {
        self.with(|s| s.observers.push(observer))
    }

    /// Ends the run with [`ErrorKind::Cancelled`] when `token` is cancelled.
    #[must_use]
    pub fn with_cancellation(self, token: CancellationToken) -> Self {
        self.with(|s| s.cancel = Some(token))
    }

    /// Drains the run when `token` is cancelled: requests in flight end, no further one is sent, and calls
    /// that wait for a permit, a limit, a backoff or the end of an outage fail with [`ErrorKind::Cancelled`].
    ///
    /// ```
    /// use fanweave::{Context, ErrorKind};
    /// use fanweave::context::CancellationToken;
    ///
    /// # fn main() { fanweave::blocking::wait(async {
    /// let drain = CancellationToken::new();
    /// let cx = Context::new().with_draining(drain.clone());
    /// drain.cancel();
    /// assert!(cx.is_draining());
    /// assert_eq!(cx.draining().await.kind(), ErrorKind::Cancelled);
    /// # }) }
    /// ```
    #[must_use]
    pub fn with_draining(self, token: CancellationToken) -> Self {
        self.with(|s| s.draining = Some(token))
    }

    /// Resolves when the run [drains](Self::with_draining), with the error of a call that has not been sent.
    /// Never resolves for a run without such a token.
    pub async fn draining(&self) -> Error {
        match &self.shared.draining {
            Some(token) => token.cancelled().await,
            None => std::future::pending().await,
        }
        Error::new(ErrorKind::Cancelled, "the run is stopping: the request was not sent")
    }

    /// Resolves when the run is cancelled or its deadline passes, with the error of the run. Never resolves
    /// for a run with neither.
    pub async fn ended(&self) -> Error {
        match self.guard(std::future::pending::<Result<Infallible>>()).await {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    /// Returns true if the run [drains](Self::with_draining): no further request may be sent.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// Set to true if the caller has another model to use. During an outage, calls then fail with
    /// [`ErrorKind::Unavailable`] immediately instead of waiting for its end. Default: false.
    ///
    /// ```
    /// use fanweave::Context;
    ///
    /// assert!(Context::new().with_alternatives(true).has_alternatives());
    /// ```
    #[must_use]
    pub fn with_alternatives(self, has_alternatives: bool) -> Self {
        if self.shared.has_alternatives == has_alternatives {
            return self;
        }
        self.with(|s| s.has_alternatives = has_alternatives)
    }

    /// Adds a flag that the caller sets when this is the last call of the run. During an outage, the last
    /// call waits at most a minute, because no other call can show that the provider has recovered. Default:
    /// none.
    #[must_use]
    pub fn with_last_call(self, flag: Arc<AtomicBool>) -> Self {
        self.with(|s| s.is_last = Some(flag))
    }

    /// The flag that is set when this is the last call of the run.
    pub fn last_call(&self) -> Option<&Arc<AtomicBool>> {
        self.shared.is_last.as_ref()
    }

    /// Returns true if the caller has another model to use if this one is unavailable.
    pub fn has_alternatives(&self) -> bool {
        self.shared.has_alternatives
    }

    /// Ends the run with [`ErrorKind::Timeout`] once `limit` has passed, counted from now: each run needs a
    /// context of its own. A shorter existing limit stays in force.
    #[must_use]
    pub fn with_timeout(self, limit: Duration) -> Self {
        // A deadline beyond the range of the clock never passes.
        let Some(deadline) = Instant::now().checked_add(limit) else { return self };
        self.with(|s| {
            if s.deadline.is_none_or(|(at, _)| deadline < at) {
                s.deadline = Some((deadline, limit));
            }
        })
    }

    /// Like [`with_timeout`](Self::with_timeout), with a point in time.
    #[must_use]
    pub fn with_deadline(self, at: std::time::Instant) -> Self {
        self.with_timeout(Instant::from_std(at).saturating_duration_since(Instant::now()))
    }

    /// Limits the run to `n` concurrent model calls, however deep its fan-outs nest. Existing limits stay in
    /// force. With 0, every call fails with [`ErrorKind::Config`].
    ///
    /// ```
    /// use fanweave::Context;
    ///
    /// let cx = Context::new().with_concurrency(8);
    /// assert_eq!(cx.over_limit(), 0);
    /// ```
    #[must_use]
    pub fn with_concurrency(self, n: impl Into<Concurrency>) -> Self {
        let n = n.into();
        self.with(|s| s.limit = Some(Arc::new(Limit::new(n, s.limit.take()))))
    }

    /// The same context, with the limits of a part in place of those that were added to `outer` for one run.
    pub(crate) fn sharing_limits(self, part: &PartLimits, outer: &Self) -> Self {
        let outer = outer.shared.limit.as_ref();
        if is_equal(self.shared.limit.as_ref(), outer) {
            return self;
        }
        self.with(|s| s.limit = part.shared(s.limit.take(), outer))
    }

    /// Adds a tag for the run and everything below it. Events carry it.
    #[must_use]
    pub fn with_tag(self, tag: impl Into<Arc<str>>) -> Self {
        self.with(|s| s.labels_mut().tags.push(tag.into()))
    }

    /// Sets one metadata entry for the run and everything below it. Events carry it.
    #[must_use]
    pub fn with_metadata(self, name: impl Into<Arc<str>>, value: impl Into<Value>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.with(|s| set(&mut s.labels_mut().metadata, name, value))
    }

    /// Chooses the alternative of a [`configurable`](crate::configurable) part.
    ///
    /// A run fails with [`ErrorKind::Config`] if its chain has no part of that
    /// name: before it starts if the name of another part is similar, and otherwise at its end, since parts
    /// within closures are known once they run.
    #[must_use]
    pub fn with_choice(self, part: impl Into<Arc<str>>, alternative: impl Into<Arc<str>>) -> Self {
        let (part, alternative) = (part.into(), alternative.into());
        let choice = Choice { alternative, is_used: Arc::default(), is_checked: false };
        self.change_extension(|choices: &mut Choices| set(&mut choices.0, part, choice))
    }

    /// Sets parameters of a [`configurable`](crate::Model::configurable) model.
    #[must_use]
    pub fn with_parameters(self, part: impl Into<Arc<str>>, parameters: Parameters) -> Self {
        let part = part.into();
        self.change_extension(|all: &mut PartParameters| set(&mut all.0, part, parameters))
    }

    /// Sets the maximum number of decisions of [`dynamic`](crate::dynamic) steps in one run. Default 25.
    #[must_use]
    pub fn with_recursion_limit(self, n: NonZeroU32) -> Self {
        self.with_extension(Arc::new(RecursionLimit(n.get())))
    }

    /// Makes [cached models](crate::Model::cached) skip their store and call the provider.
    #[must_use]
    pub fn with_fresh_answers(self) -> Self {
        self.with_extension(Arc::new(Fresh))
    }

    /// Sets the priority of the calls of the run over those of others. Default [`Priority::Interactive`].
    ///
    /// Calls of the same priority are sent in the order in which they were queued. The rows of a journalled
    /// batch have [`Priority::Batch`].
    ///
    /// ```
    /// use fanweave::{Context, Runnable, context::Priority, testing::Fake};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// // Background work: interactive calls go first.
    /// let cx = Context::new().with_priority(Priority::Batch);
    /// Fake::echo().model().run("Sum up the day.".into(), &cx).await?;
    /// # Ok(())
    /// # }) }
    /// ```
    #[must_use]
    pub fn with_priority(self, priority: Priority) -> Self {
        self.with(|s| s.priority = priority)
    }

    /// The priority of the calls of the run.
    pub fn priority(&self) -> Priority {
        self.shared.priority
    }

    /// Allows hedged requests: a model may send a second request for a slow call, while no other call waits.
    /// Default: false, because each request is paid for.
    ///
    /// The first answer wins, and the other request is dropped. A call is slow when it takes twice as long as
    /// 95 of 100 do; at most one call in twenty is hedged. A call whose deltas are read is never hedged.
    ///
    /// ```
    /// use fanweave::Context;
    ///
    /// assert!(Context::new().with_hedging(true).hedges());
    /// ```
    #[must_use]
    pub fn with_hedging(self, hedges: bool) -> Self {
        self.with(|s| s.hedges = hedges)
    }

    /// Returns true if models may hedge slow calls.
    pub fn hedges(&self) -> bool {
        self.shared.hedges
    }

    pub(crate) fn wants_fresh_answers(&self) -> bool {
        self.own_extension::<Fresh>().is_some()
    }

    /// The tags of the run, outermost first.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.shared.labels.iter().flat_map(|labels| labels.tags())
    }

    /// The metadata value of that name.
    pub fn metadata(&self, name: &str) -> Option<&Value> {
        self.shared.labels.as_ref()?.metadata(name)
    }

    /// The chosen alternative of a part.
    pub(crate) fn choice(&self, part: &str) -> Option<&str> {
        let Choices(choices) = self.own_extension()?;
        let (_, choice) = choices.iter().find(|(name, _)| **name == *part)?;
        choice.is_used.store(true, Ordering::Relaxed);
        Some(&choice.alternative)
    }

    /// The parameters set for a part.
    pub(crate) fn parameters(&self, part: &str) -> Option<&Parameters> {
        let PartParameters(all) = self.own_extension()?;
        all.iter().find(|(name, _)| **name == *part).map(|(_, parameters)| parameters)
    }

    /// The context after one more decision on a further step.
    ///
    /// # Errors
    /// The limit, if it has been reached.
    pub(crate) fn deeper(&self) -> Result<Self, u32> {
        let limit = self.own_extension().map_or(RECURSION_LIMIT, |RecursionLimit(limit)| *limit);
        if self.depth >= limit {
            return Err(limit);
        }
        Ok(Self { depth: self.depth + 1, ..self.clone() })
    }

    /// The deadline of the run. In tests with paused time, it is on the clock of the runtime.
    pub fn deadline(&self) -> Option<std::time::Instant> {
        self.shared.deadline.map(|(at, _)| at.into_std())
    }

    /// Returns true if the calls of the run are limited by [`with_concurrency`](Self::with_concurrency).
    pub fn is_limited(&self) -> bool {
        self.shared.limit.is_some()
    }

    /// Names of the enclosing steps. Empty unless the run has observers or a subscriber of `tracing`.
    pub fn path(&self) -> &Path {
        &self.position.path
    }

    /// Returns true if the run has observers or a reader of events.
    pub fn has_observers(&self) -> bool {
        !self.shared.observers.is_empty() || self.shared.channel.is_some()
    }

    /// Reports an event. Waits for a slow reader of [`events`](crate::Chain::events).
    pub async fn emit(&self, kind: EventKind) {
        if trace::is_on() {
            trace::report(&self.position, &kind);
        }
        if !self.has_observers() {
            return;
        }
        let event = Event {
            run: self.position.run.unwrap_or_else(RunId::next),
            parent: self.position.parent,
            path: self.position.path.clone(),
            at: self.shared.started.elapsed(),
            labels: self.shared.labels.clone().unwrap_or_else(Labels::none),
            kind,
        };
        for observer in &self.shared.observers {
            // An observer that panics does not fail the run.
            let _ = catch_unwind(AssertUnwindSafe(|| observer.on_event(&event)));
        }
        // Outside of the condition: otherwise the event would stay until its end.
        let full = match &self.shared.channel {
            Some(channel) => channel.send(event),
            None => None,
        };
        if let Some(full) = full {
            full.await;
        }
    }

    /// Reports `value` as an event and returns it: it is copied only for observers that keep theirs.
    pub(crate) async fn emit_value<T: Clone>(&self, value: T, event: impl FnOnce(Arc<T>) -> EventKind) -> T {
        if !self.has_observers() {
            return value;
        }
        let value = Arc::new(value);
        self.emit(event(value.clone())).await;
        Arc::unwrap_or_clone(value)
    }

    /// Returns true if a model should stream: its deltas have a reader.
    pub fn wants_deltas(&self) -> bool {
        self.sink.is_some() || self.shared.channel.is_some()
    }

    /// Emits a delta of an answer: to the reader of the stream, and as an event.
    pub async fn delta(&self, delta: Delta) {
        self.mark(|step| &step.yet);
        // Deltas before the beginning of an answer do not count if they do not reach the reader, and neither
        // do those that only observers of events receive.
        let is_answer = !matches!(delta, Delta::Started { .. } | Delta::Usage(_));
        if is_answer && self.has_delta_reader() {
            self.mark(|step| &step.by_reader);
        }
        if self.shared.channel.is_some() {
            self.emit(EventKind::Delta(delta.clone())).await;
        }
        if let Some(full) = self.hand_to_reader(delta)
            && full.await
        {
            self.mark(|step| &step.by_reader);
        }
    }

    /// Sends a delta to the reader of the stream, if there is one. If the channel is full, the returned
    /// future waits for it and resolves to true if the delta has reached the reader.
    fn hand_to_reader(&self, delta: Delta) -> Option<BoxFuture<'_, bool>> {
        match self.sink.as_ref()?.send(delta) {
            Sent::Delivered => self.mark(|step| &step.by_reader),
            Sent::Dropped => {}
            Sent::Full(full) => return Some(full),
        }
        None
    }

    /// Sets a flag of all enclosing steps that track it.
    fn mark(&self, flag: impl Fn(&EmittedFlag) -> &AtomicBool) {
        let mut emitted = &self.emitted;
        while let Some(step) = emitted {
            flag(step).store(true, Ordering::Relaxed);
            emitted = &step.around;
        }
    }

    /// Enters the step `name`, and emits its start.
    pub(crate) async fn begin(&self, name: &Arc<str>) -> Self {
        let mut cx = self.clone();
        let is_traced = trace::is_on();
        if is_traced || self.has_observers() {
            let run = RunId::next();
            if is_traced && let Some(span) = trace::of_step(self.position.span.as_deref(), name, run) {
                cx.position.span = Some(span);
            }
            cx.position.run = Some(run);
            cx.position.parent = self.position.run;
            cx.position.path = self.position.path.join(name.clone());
            cx.emit(EventKind::StepStarted).await;
        }
        cx
    }

    /// Leaves the step `name`: emits its end, and adds the name to its error.
    pub(crate) async fn end<T>(
        &self,
        name: &Arc<str>,
        result: Result<T>,
        reply: impl FnOnce(&T) -> Option<Arc<Reply>>,
    ) -> Result<T> {
        match result {
            Ok(output) if self.has_observers() => {
                let reply = reply(&output);
                self.emit(EventKind::StepFinished { reply }).await;
                Ok(output)
            }
            Ok(output) => Ok(output),
            Err(error) => {
                let error = error.with_step(name.clone());
                self.emit(EventKind::StepFailed(error.clone())).await;
                Err(error)
            }
        }
    }

    /// The same step, which then tracks if it has [emitted](Self::has_emitted) a delta.
    pub(crate) fn track_emitted(self) -> Self {
        if !self.wants_deltas() {
            return self;
        }
        let emitted = Some(Arc::new(EmittedFlag {
            yet: AtomicBool::new(false),
            by_reader: AtomicBool::new(false),
            around: self.emitted.clone(),
        }));
        Self { emitted, ..self }
    }

    /// Returns true if a delta has been emitted, or if deltas have no reader.
    pub(crate) fn has_emitted(&self) -> bool {
        !self.wants_deltas()
            || self.emitted.as_ref().is_some_and(|emitted| emitted.yet.load(Ordering::Relaxed))
    }

    /// Returns true if the reader of a stream has received a delta since
    /// [`track_emitted`](Self::track_emitted).
    pub(crate) fn reader_got_delta(&self) -> bool {
        self.has_delta_reader()
            && self.emitted.as_ref().is_some_and(|emitted| emitted.by_reader.load(Ordering::Relaxed))
    }

    pub(crate) fn has_delta_reader(&self) -> bool {
        self.sink.is_some()
    }

    /// The same run, for a step whose deltas are not part of the answer.
    ///
    /// ```
    /// use fanweave::{Prompt, Runnable, step, testing::Fake};
    ///
    /// # fn main() { fanweave::blocking::wait(async {
    /// let model = Fake::echo().model();
    /// let twice = step(move |question: Prompt, cx| {
    ///     let model = model.clone();
    ///     async move {
    ///         let draft = model.run(question, &cx.without_deltas()).await?;
    ///         model.run(draft.text().into(), &cx).await
    ///     }
    /// });
    /// assert_eq!(twice.invoke("hello").await.unwrap().text(), "hello");
    /// # }) }
    /// ```
    pub fn without_deltas(&self) -> Self {
        Self { sink: None, ..self.clone() }
    }

    /// The same run, for a step whose deltas become deltas of the answer through `map`.
    pub(crate) fn mapped(&self, map: Box<dyn DeltaMap>) -> Self {
        Self { sink: self.sink.clone().map(|sink| sink.through(map)), ..self.clone() }
    }

    /// A [fork](Self::fork) of the run whose deltas carry the name of the branch.
    pub(crate) fn branch(&self, part: usize, name: impl Into<Arc<str>>) -> Self {
        let fork = self.fork(part as u64);
        if self.sink.is_none() {
            return fork;
        }
        let branch = name.into();
        fork.mapped(Box::new(move |delta| {
            Some(Delta::Branch { branch: branch.clone(), delta: Box::new(delta) })
        }))
    }

    /// The same run with its own reader: the reader of the outer run receives none of these deltas.
    pub(crate) fn with_delta_reader(self, sink: DeltaSink) -> Self {
        Self { sink: Some(sink), emitted: None, is_driven: false, ..self }
    }

    pub(crate) fn with_channel(self, channel: mpsc::Sender<Event>) -> Self {
        Self { is_driven: false, ..self.with(|s| s.channel = Some(Channel::Reader(channel))) }
    }

    /// Runs `work` until it ends, the deadline passes or the run is cancelled, and then drops it.
    #[doc(hidden)]
    pub async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let Shared { cancel, deadline, .. } = &*self.shared;
        if cancel.is_none() && deadline.is_none() {
            return work.await;
        }
        let cancelled = async {
            match cancel {
                Some(token) => token.cancelled().await,
                None => std::future::pending().await,
            }
        };
        let late = || {
            let limit = deadline.map(|(_, limit)| limit).unwrap_or_default();
            let message = format!("the run timed out after {limit:?}");
            Error::new(ErrorKind::Timeout, message).with_retryable(false)
        };
        tokio::select! {
            biased;
            done = until(deadline.map(|(at, _)| at), late, work) => done,
            () = cancelled => Err(Error::new(ErrorKind::Cancelled, "the run was cancelled")),
        }
    }
}

impl Shared {
    fn labels_mut(&mut self) -> &mut Labels {
        Arc::make_mut(self.labels.get_or_insert_default())
    }
}

impl Channel {
    /// Sends an event. If the reader has not read the events before it, the returned future sends it: no call
    /// reserves space for that.
    fn send(&self, event: Event) -> Option<BoxFuture<'_, ()>> {
        match self {
            Channel::Reader(reader) => match reader.try_send(event) {
                Err(TrySendError::Full(event)) => Some(Box::pin(async move {
                    // A dropped reader has dropped the run, and this future with it.
                    let _ = reader.send(event).await;
                })),
                Ok(()) | Err(TrySendError::Closed(_)) => None,
            },
            Channel::Work(work) => work.push(Item::Event(event)),
        }
    }
}

/// Replaces the value of a name, or adds it.
fn set<T>(all: &mut Vec<(Arc<str>, T)>, name: Arc<str>, value: T) {
    match all.iter_mut().find(|(other, _)| *other == name) {
        Some((_, old)) => *old = value,
        None => all.push((name, value)),
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("path", &self.position.path)
            .field("labels", &self.shared.labels)
            .field("deadline", &self.shared.deadline)
            .finish_non_exhaustive()
    }
}
