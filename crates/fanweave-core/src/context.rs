//! What a run is given from above: where its events and pieces go, when it must stop, how wide it may fan out.

use std::future::Future;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::event::{Event, EventKind, Observer, Path, RunId};
use crate::run::Pieces;
use crate::runnable::DeltaMap;
use crate::{Delta, Error, ErrorKind, Reply, Result};

/// What a run is given from above. Cheap to clone; a clone stands for the same run.
///
/// ```
/// use std::time::Duration;
/// use fanweave_core::{Context, ErrorKind, Runnable, step};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let slow = step(|n: u32, _cx| async move {
///     tokio::time::sleep(Duration::from_secs(60)).await;
///     Ok(n)
/// });
/// let cx = Context::new().with_timeout(Duration::from_secs(5));
/// let error = slow.invoke_in(7u32, &cx).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Timeout);
/// # }
/// ```
#[derive(Clone)]
pub struct Context {
    shared: Arc<Shared>,
    place: Place,
    pieces: Option<Pieces>,
    /// Whether this step, and those around it that ask, have handed out a piece. `None` where nobody asks.
    spoken: Option<Arc<Spoken>>,
}

/// What all steps of a run share.
#[derive(Clone)]
struct Shared {
    started: Instant,
    observers: Vec<Arc<dyn Observer>>,
    channel: Option<mpsc::Sender<Event>>,
    cancel: Option<CancellationToken>,
    deadline: Option<(Instant, Duration)>,
    slots: Option<Arc<Semaphore>>,
    tags: Vec<Arc<str>>,
}

/// Whether a step has handed out a piece.
#[derive(Default)]
struct Spoken {
    yet: AtomicBool,
    around: Option<Arc<Spoken>>,
}

/// Where in the chain a step runs.
#[derive(Clone)]
struct Place {
    run: Option<RunId>,
    parent: Option<RunId>,
    path: Path,
}

impl Default for Context {
    fn default() -> Self {
        Self::new()
    }
}

impl Context {
    /// No events, no deadline, no limit.
    pub fn new() -> Self {
        let shared = Shared {
            started: Instant::now(),
            observers: Vec::new(),
            channel: None,
            cancel: None,
            deadline: None,
            slots: None,
            tags: Vec::new(),
        };
        Self {
            shared: Arc::new(shared),
            place: Place { run: None, parent: None, path: Path::default() },
            pieces: None,
            spoken: None,
        }
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        change(Arc::make_mut(&mut self.shared));
        self
    }

    /// Tells `observer` of every event of the run.
    #[must_use]
    pub fn with_observer(self, observer: Arc<dyn Observer>) -> Self {
        self.with(|s| s.observers.push(observer))
    }

    /// Ends the run with [`ErrorKind::Cancelled`] when `token` is cancelled.
    #[must_use]
    pub fn with_cancellation(self, token: CancellationToken) -> Self {
        self.with(|s| s.cancel = Some(token))
    }

    /// Ends the run with [`ErrorKind::Timeout`] once `limit` has passed, counted from now. A shorter limit
    /// that already holds stays.
    #[must_use]
    pub fn with_timeout(self, limit: Duration) -> Self {
        let deadline = Instant::now() + limit;
        self.with(|s| {
            if s.deadline.is_none_or(|(at, _)| deadline < at) {
                s.deadline = Some((deadline, limit));
            }
        })
    }

    /// At most `n` model calls of the run at once, however deep its fan-outs nest.
    #[must_use]
    pub fn with_concurrency(self, n: NonZeroUsize) -> Self {
        self.with(|s| s.slots = Some(Arc::new(Semaphore::new(n.get().min(Semaphore::MAX_PERMITS)))))
    }

    /// Adds a tag for the run and all below it.
    #[must_use]
    pub fn with_tag(self, tag: impl Into<Arc<str>>) -> Self {
        self.with(|s| s.tags.push(tag.into()))
    }

    /// The tags of the run, outermost first.
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.shared.tags.iter().map(AsRef::as_ref)
    }

    /// When the run must have ended.
    pub fn deadline(&self) -> Option<Instant> {
        self.shared.deadline.map(|(at, _)| at)
    }

    /// Names of the steps around this place.
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    /// A place among the run's concurrent calls, held until it is dropped. Waits for one to come free.
    ///
    /// Whoever calls a model takes one for the time of the request alone, never while it waits to try again.
    pub async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        let slots = self.shared.slots.clone()?;
        if let Ok(slot) = slots.clone().try_acquire_owned() {
            return Some(slot);
        }
        self.emit(EventKind::Waiting).await;
        Some(slots.acquire_owned().await.expect("nobody closes the slots of a run"))
    }

    /// Whether anybody listens to events.
    pub fn has_listeners(&self) -> bool {
        !self.shared.observers.is_empty() || self.shared.channel.is_some()
    }

    /// Reports an event. Waits where a slow reader of [`events`](crate::Chain::events) asks for it.
    pub async fn emit(&self, kind: EventKind) {
        if !self.has_listeners() {
            return;
        }
        let event = Event {
            run: self.place.run.unwrap_or_else(RunId::next),
            parent: self.place.parent,
            path: self.place.path.clone(),
            at: self.shared.started.elapsed(),
            kind,
        };
        self.shared.observers.iter().for_each(|observer| observer.on_event(&event));
        if let Some(channel) = &self.shared.channel {
            // A reader that has gone has dropped the run, and this with it.
            let _ = channel.send(event).await;
        }
    }

    /// Whether a model should stream: somebody wants its answer in pieces.
    pub fn wants_deltas(&self) -> bool {
        self.pieces.is_some() || self.shared.channel.is_some()
    }

    /// Hands on a piece of an answer: to the reader of the stream, and as an event.
    pub async fn delta(&self, delta: Delta) {
        let mut spoken = &self.spoken;
        while let Some(step) = spoken {
            step.yet.store(true, Ordering::Relaxed);
            spoken = &step.around;
        }
        if self.shared.channel.is_some() {
            self.emit(EventKind::Delta(delta.clone())).await;
        }
        if let Some(pieces) = &self.pieces {
            pieces.send(delta).await;
        }
    }

    /// Enters the step `name`, and reports that it started.
    pub(crate) async fn begin(&self, name: &Arc<str>) -> Self {
        let mut cx = self.clone();
        if self.has_listeners() {
            cx.place = Place {
                run: Some(RunId::next()),
                parent: self.place.run,
                path: self.place.path.join(name.clone()),
            };
            cx.emit(EventKind::StepStarted).await;
        }
        cx
    }

    /// Leaves the step `name`: reports how it ended, and names it in its error.
    pub(crate) async fn end<T>(
        &self,
        name: &Arc<str>,
        result: Result<T>,
        reply: impl FnOnce(&T) -> Option<Arc<Reply>>,
    ) -> Result<T> {
        match result {
            Ok(output) if self.has_listeners() => {
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

    /// The same place, which then knows whether it [has spoken](Self::has_spoken).
    pub(crate) fn listened_to(self) -> Self {
        if !self.wants_deltas() {
            return self;
        }
        let spoken = Some(Arc::new(Spoken { yet: AtomicBool::new(false), around: self.spoken.clone() }));
        Self { spoken, ..self }
    }

    /// Whether a model has nothing left to hand out. Yes where nobody wants pieces.
    pub(crate) fn has_spoken(&self) -> bool {
        !self.wants_deltas() || self.spoken_yet()
    }

    /// Whether the reader of a stream has been handed a piece since [`listened_to`](Self::listened_to).
    pub(crate) fn was_heard(&self) -> bool {
        self.has_pieces() && self.spoken_yet()
    }

    fn spoken_yet(&self) -> bool {
        self.spoken.as_ref().is_some_and(|spoken| spoken.yet.load(Ordering::Relaxed))
    }

    pub(crate) fn has_pieces(&self) -> bool {
        self.pieces.is_some()
    }

    /// The same run, for a step whose pieces are not pieces of the answer.
    ///
    /// ```
    /// use fanweave_core::{Prompt, Runnable, model::fake::Fake, step};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let model = Fake::echo().model();
    /// let twice = step(move |question: Prompt, cx| {
    ///     let model = model.clone();
    ///     async move {
    ///         let draft = model.run(question, &cx.muted()).await?;
    ///         model.run(draft.text().into(), &cx).await
    ///     }
    /// });
    /// assert_eq!(twice.invoke("hello").await.unwrap().text(), "hello");
    /// # }
    /// ```
    pub fn muted(&self) -> Self {
        Self { pieces: None, ..self.clone() }
    }

    /// The same run, for a step whose pieces become pieces of the answer through `map`.
    pub(crate) fn mapped(&self, map: Box<dyn DeltaMap>) -> Self {
        Self { pieces: self.pieces.clone().map(|pieces| pieces.through(map)), ..self.clone() }
    }

    pub(crate) fn with_pieces(self, pieces: Pieces) -> Self {
        Self { pieces: Some(pieces), ..self }
    }

    pub(crate) fn with_channel(self, channel: mpsc::Sender<Event>) -> Self {
        self.with(|s| s.channel = Some(channel))
    }

    /// Runs `work` until it ends, the deadline passes or the run is cancelled. The work is dropped then.
    pub(crate) async fn guard<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
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
        let late = async {
            match deadline {
                Some((at, _)) => tokio::time::sleep_until(*at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            done = work => done,
            () = cancelled => Err(Error::new(ErrorKind::Cancelled, "the run was cancelled")),
            () = late => {
                let limit = deadline.map(|(_, limit)| limit).unwrap_or_default();
                let message = format!("the run did not end within {limit:?}");
                Err(Error::new(ErrorKind::Timeout, message).with_retryable(false))
            }
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("path", &self.place.path)
            .field("tags", &self.shared.tags)
            .field("deadline", &self.shared.deadline)
            .finish_non_exhaustive()
    }
}
