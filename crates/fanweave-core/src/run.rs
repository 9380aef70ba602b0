//! One run of a chain, read while it is in progress: its deltas ([`Run`]) or its events ([`EventRun`]).

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker};

use futures::future::BoxFuture;
use futures::task::AtomicWaker;
use futures::{Stream, StreamExt};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::context::{DeltaSink, Reader};
use crate::runnable::{Runnable, Streaming, run_whole, run_within};
use crate::{Context, Delta, Event, Item, Message, Result, Vars};

/// Maximum deltas or events that wait for their reader. A slow reader then slows the socket down.
const CHANNEL: usize = 64;

/// Drives a run and its channel in the reader's own task: no task is spawned, and a drop ends the work.
struct RunDriver<T, O> {
    items: mpsc::Receiver<T>,
    work: Option<BoxFuture<'static, Result<O>>>,
    output: Option<Result<O>>,
    bell: Arc<ReaderWaker>,
    /// Wakes the reader.
    ring: Waker,
}

/// Wakes the reader for an item, but not for one that its own poll of the work has just sent: the reader
/// checks for those anyway, and would be polled twice for every delta.
#[derive(Default)]
struct ReaderWaker {
    working: AtomicBool,
    reader: AtomicWaker,
}

impl Wake for ReaderWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Writes the value that it reads: the thread that clears `working` then sees the item of a sender
        // that did not wake the reader here.
        if !self.working.fetch_or(false, Ordering::AcqRel) {
            self.reader.wake();
        }
    }
}

impl<T, O> RunDriver<T, O> {
    fn new(work: impl FnOnce(mpsc::Sender<T>) -> BoxFuture<'static, Result<O>>) -> Self {
        let (sender, items) = mpsc::channel(CHANNEL);
        let bell = Arc::<ReaderWaker>::default();
        let ring = Waker::from(bell.clone());
        Self { items, work: Some(work(sender)), output: None, bell, ring }
    }

    /// The next item. `None` once the work has ended and all items are read.
    fn poll_item(&mut self, task: &mut TaskContext<'_>) -> Poll<Option<T>> {
        // Items already in the channel come first: the work is polled only when its reader has caught up.
        if let Ok(item) = self.items.try_recv() {
            return Poll::Ready(Some(item));
        }
        self.bell.reader.register(task.waker());
        if let Some(work) = &mut self.work {
            self.bell.working.store(true, Ordering::Release);
            let done = work.as_mut().poll(task);
            self.bell.working.swap(false, Ordering::AcqRel);
            if let Poll::Ready(output) = done {
                self.output = Some(output);
                self.work = None;
            }
        }
        self.items.poll_recv(&mut TaskContext::from_waker(&self.ring))
    }
}

/// One run of a chain: a stream of the deltas of its answer, then the whole.
///
/// A step that cannot stream yields its answer as one delta: texts and messages as text, and variables,
/// lists, maps, numbers and JSON as a [`Delta::Value`]. Chains with other outputs yield it by
/// [`Chain::values`](crate::Chain::values). After a failure the stream yields the error and ends.
///
/// ```
/// use fanweave::{prompt, testing::Fake, text, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let chain = prompt("{{ a }} and {{ b }}") | Fake::echo() | text();
/// let mut run = chain.stream(vars! { a: "bread", b: "butter" });
/// let mut deltas = Vec::new();
/// while let Some(delta) = run.next().await {
///     deltas.push(delta?.to_string());
/// }
/// assert_eq!(deltas, ["bread ", "and ", "butter"]);
/// assert_eq!(run.output().await?, "bread and butter");
/// # Ok(())
/// # }) }
/// ```
///
/// # Cancellation
/// Dropping it drops the work and closes its sockets. The provider may still bill the call.
pub struct Run<O> {
    drive: RunDriver<Delta, O>,
    /// Set if the answer arrives as one delta, which is then still to be emitted.
    whole: bool,
    ended: bool,
    cx: Context,
}

impl<O: Send + 'static> Run<O> {
    pub(crate) fn new<R: Runnable<Output = O>>(chain: R, input: R::Input, cx: Context) -> Self {
        let whole = !matches!(chain.streaming(), Streaming::Deltas);
        let own = cx.without_deltas().undriven();
        let drive = RunDriver::new(move |sender| {
            Box::pin(async move {
                let cx = if whole {
                    cx.undriven()
                } else {
                    cx.with_delta_reader(DeltaSink::Reader(Reader::Run(sender)))
                };
                cx.guard(run_whole(&chain, input, &cx)).await
            })
        });
        Self { drive, whole, ended: false, cx: own }
    }

    /// The context of the run, for chains that its reader runs: limits, deadline and events apply to them
    /// too.
    ///
    /// ```
    /// use fanweave::{chain, testing::Fake, text};
    /// use fanweave::prelude::StreamExt;
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let echo = chain(Fake::echo()) | text();
    /// let other = echo.clone();
    /// let twice = echo.through(move |run| {
    ///     let (other, cx) = (other.clone(), run.context().clone());
    ///     run.then(move |delta| {
    ///         let (other, cx) = (other.clone(), cx.clone());
    ///         async move { other.invoke_in(delta?.to_string(), &cx).await }
    ///     })
    /// });
    /// assert_eq!(twice.invoke("hello").await?, "hello");
    /// # Ok(())
    /// # }) }
    /// ```
    pub fn context(&self) -> &Context {
        &self.cx
    }

    /// The next delta, or `None` at the end of the answer.
    ///
    /// # Errors
    /// The error of the run, as its last item.
    ///
    /// # Cancellation
    /// Dropping the future loses no delta.
    pub async fn next(&mut self) -> Option<Result<Delta>> {
        StreamExt::next(self).await
    }

    /// Reads the rest of the stream and returns the whole output.
    ///
    /// # Errors
    /// The error that the stream ended with.
    pub async fn output(mut self) -> Result<O> {
        while self.next().await.is_some() {}
        self.drive.output.expect("the stream ends only when the run is done")
    }
}

impl<O: Send + 'static> Stream for Run<O> {
    type Item = Result<Delta>;

    fn poll_next(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let item = std::task::ready!(this.drive.poll_item(task));
        if let Some(delta) = item {
            return Poll::Ready(Some(Ok(delta)));
        }
        this.ended = true;
        Poll::Ready(match &this.drive.output {
            Some(Err(error)) => Some(Err(error.clone())),
            Some(Ok(output)) if this.whole => as_single_delta(output).map(Ok),
            _ => None,
        })
    }
}

impl<O> Unpin for Run<O> {}

impl<O> fmt::Debug for Run<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("ended", &self.ended).finish_non_exhaustive()
    }
}

/// Runs a step so that its answer is always emitted: in its own deltas, otherwise as one.
pub(crate) async fn run_streamed<R: Runnable>(step: &R, input: R::Input, cx: &Context) -> Result<R::Output> {
    if !cx.has_delta_reader() || matches!(step.streaming(), Streaming::Deltas) {
        return run_within(step, input, cx).await;
    }
    let output = run_within(step, input, &cx.without_deltas()).await?;
    if let Some(whole) = as_single_delta(&output) {
        cx.delta(whole).await;
    }
    Ok(output)
}

/// An answer that arrived whole, as a single delta. `None` for types without text.
pub(crate) fn as_single_delta<O: 'static>(output: &O) -> Option<Delta> {
    let output = output as &dyn Any;
    if let Some(item) = output.downcast_ref::<Item>() {
        return match item {
            Item::Text(text) => Some(Delta::text(text.clone())),
            Item::Message(message) => Some(Delta::text(message.text())),
            Item::Value(value) => Some(Delta::Value(value.clone())),
            _ => None,
        };
    }
    let text = output
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| output.downcast_ref::<Message>().map(Message::text));
    match text {
        Some(text) => Some(Delta::text(text)),
        None => value_of(output).map(Delta::Value),
    }
}

/// An answer of a type that is data, as JSON. For other types there is
/// [`Chain::values`](crate::Chain::values).
fn value_of(output: &dyn Any) -> Option<Value> {
    macro_rules! as_json {
        ($($type:ty),+ $(,)?) => {
            $(if let Some(output) = output.downcast_ref::<$type>() {
                return serde_json::to_value(output).ok();
            })+
        };
    }
    as_json!(
        Value,
        Vars,
        Vec<String>,
        Vec<Value>,
        serde_json::Map<String, Value>,
        BTreeMap<String, String>,
        BTreeMap<String, Value>,
        (String, String),
        bool,
        i32,
        i64,
        u8,
        u16,
        u32,
        u64,
        usize,
        f32,
        f64,
    );
    None
}

/// One run of a chain: a stream of its events. A failure is an event too.
///
/// ```
/// use fanweave::prelude::StreamExt;
/// use fanweave::{EventKind, prompt, testing::Fake, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let chain = prompt("{{ x }}") | Fake::echo();
/// let events: Vec<_> = chain.events(vars! { x: "hi" }).collect().await;
/// assert!(matches!(events[0].kind, EventKind::StepStarted));
/// assert_eq!(events[0].path.to_string(), "fake/echo");
/// # Ok(())
/// # }) }
/// ```
///
/// # Cancellation
/// Dropping it drops the work.
pub struct EventRun<O> {
    drive: RunDriver<Event, O>,
}

impl<O: Send + 'static> EventRun<O> {
    pub(crate) fn new<R: Runnable<Output = O>>(chain: R, input: R::Input, cx: Context) -> Self {
        let drive = RunDriver::new(move |events| {
            Box::pin(async move {
                let cx = cx.with_channel(events);
                cx.guard(run_whole(&chain, input, &cx)).await
            })
        });
        Self { drive }
    }

    /// The next event, or `None` at the end of the run.
    ///
    /// # Cancellation
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Event> {
        StreamExt::next(self).await
    }

    /// Reads the remaining events and returns the output.
    ///
    /// # Errors
    /// The error that the run ended with.
    pub async fn output(mut self) -> Result<O> {
        while self.next().await.is_some() {}
        self.drive.output.expect("the events end only when the run is done")
    }
}

impl<O: Send + 'static> Stream for EventRun<O> {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Event>> {
        self.get_mut().drive.poll_item(task)
    }
}

impl<O> Unpin for EventRun<O> {}

impl<O> fmt::Debug for EventRun<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventRun").field("ended", &self.drive.work.is_none()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::model::fake::Fake;
    use crate::{ErrorKind, Result, prompt, step, text, vars};

    async fn deltas(mut run: crate::Run<String>) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(delta) = run.next().await {
            all.push(delta.expect("the run succeeds").to_string());
        }
        all
    }

    #[tokio::test]
    async fn a_step_that_cannot_stream_yields_one_delta() {
        let shout = step(|s: String, _| async move { Ok(s.to_uppercase()) });
        let chain = prompt("{{ x }}") | Fake::echo() | text() | shout;
        assert_eq!(deltas(chain.stream(vars! { x: "a b c" })).await, ["A B C"]);
    }

    #[tokio::test]
    async fn only_the_last_model_of_a_chain_emits_deltas() {
        let repeat = step(|s: String, _| async move { Ok(vars! { x: format!("{s} again") }) });
        let chain =
            prompt("{{ x }}") | Fake::echo() | text() | repeat | prompt("{{ x }}") | Fake::echo() | text();
        assert_eq!(deltas(chain.stream(vars! { x: "one" })).await, ["one ", "again"]);
    }

    #[tokio::test]
    async fn a_failure_ends_the_stream_once_and_is_the_output() {
        let chain = prompt("{{ missing }}") | Fake::echo() | text();
        let mut run = chain.stream(vars! {});
        let error = run.next().await.expect("an item").expect_err("a failure");
        assert_eq!(error.kind(), ErrorKind::Input);
        assert!(run.next().await.is_none());
        assert_eq!(run.output().await.expect_err("the same").kind(), ErrorKind::Input);
    }

    #[tokio::test]
    async fn more_deltas_than_the_channel_holds_all_arrive() {
        let long = "word ".repeat(500);
        let chain = prompt("{{ x }}") | Fake::echo() | text();
        assert_eq!(deltas(chain.stream(vars! { x: long.trim() })).await.len(), 500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_holds_for_streams() -> Result<()> {
        let chain = prompt("{{ x }}") | Fake::echo().latency(Duration::from_secs(60)) | text();
        let cx = crate::Context::new().with_timeout(Duration::from_secs(1));
        let error = chain.stream_in(vars! { x: 1 }, &cx).output().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(error.to_string(), "the run timed out after 1s");
        Ok(())
    }
}
