//! Runs many inputs through one chain, with results in input order or as they finish.

mod observer;

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use futures::{Stream, StreamExt};

use crate::flights::{Ended, Flights};
use crate::runnable::run_whole;
use crate::{Chain, Concurrency, Context, Error, ErrorKind, Result};

pub use observer::{OnRowEnd, RowEnd, RowObserver};

use observer::ObservedRow;

/// Default number of rows in flight. Source: a common account's 500 requests a minute at 7 s each.
pub const DEFAULT_CONCURRENCY: usize = 64;

/// Maximum rows finished ahead of a slow one, for each row in flight, if results are in input order.
const AHEAD: usize = 16;

/// The result of one row.
#[derive(Debug)]
pub struct Row<O> {
    /// Index of its input, from 0.
    pub index: usize,
    /// The result of the chain.
    pub result: Result<O>,
}

/// Many inputs for one chain. Made by [`Chain::batch`].
///
/// Each row moves through the chain independently and has its own result: a row that fails never cancels,
/// delays or replaces another. Inputs are taken from the iterator only when a row can start.
///
/// ```
/// use fanweave::{prompt, testing::Fake, text, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let joke = prompt("A joke about {{ topic }}.") | Fake::echo() | text();
/// let topics = ["bears", "cats"].map(|topic| vars! { topic: topic });
/// let mut rows = joke.batch(topics).concurrency(16).run();
/// while let Some(row) = rows.next().await {
///     println!("{}: {}", row.index, row.result?);
/// }
/// # Ok(())
/// # }) }
/// ```
pub struct Batch<I, O> {
    chain: Chain<I, O>,
    inputs: Box<dyn Iterator<Item = I> + Send>,
    concurrency: Concurrency,
    cx: Context,
    row_context: Option<RowContext<I>>,
    observer: Option<Arc<dyn RowObserver>>,
}

/// Changes the context of one row.
type RowContext<I> = Arc<dyn Fn(&I, Context) -> Context + Send + Sync>;

impl<I: Send + 'static, O: Send + 'static> Batch<I, O> {
    pub(crate) fn new(chain: Chain<I, O>, inputs: impl Iterator<Item = I> + Send + 'static) -> Self {
        Self {
            chain,
            inputs: Box::new(inputs),
            concurrency: Concurrency::new(DEFAULT_CONCURRENCY),
            cx: Context::new(),
            row_context: None,
            observer: None,
        }
    }

    /// Maximum rows in flight, and maximum model calls of the batch in flight. Default
    /// [`DEFAULT_CONCURRENCY`].
    ///
    /// A row that fans out to eight calls counts as one row and as eight calls. 0 fails every row with
    /// [`ErrorKind::Config`].
    #[must_use]
    pub fn concurrency(mut self, n: impl Into<Concurrency>) -> Self {
        self.concurrency = n.into();
        self
    }

    /// A deadline, cancellation or observers for all rows.
    #[must_use]
    pub fn within(mut self, cx: Context) -> Self {
        self.cx = cx;
        self
    }

    /// Starts the rows and yields their results in input order.
    pub fn run(self) -> Rows<O> {
        let window = self.concurrency.get().saturating_mul(AHEAD);
        Rows { completed: self.as_completed(), window, next: 0, done: BTreeMap::new() }
    }

    /// Starts the rows and yields their results as they finish.
    pub fn as_completed(self) -> Completed<O> {
        let Self { chain, inputs, concurrency, mut cx, row_context, observer } = self;
        cx = cx.with_concurrency(concurrency);
        // Each row is a task, which polls its chain even if its results are not read.
        let cx = cx.driven();
        if let (Some(observer), (rows, Some(max))) = (&observer, inputs.size_hint())
            && rows == max
        {
            observer.total(rows);
        }
        let mut inputs = inputs.enumerate();
        let start = move |rows: &mut Flights<usize, Result<O>>| {
            let Some((index, input)) = inputs.next() else { return Started::NoMore };
            if let Err(error) = concurrency.checked() {
                return Started::Failed(Row { index, result: Err(error) });
            }
            if tokio::runtime::Handle::try_current().is_err() {
                return Started::Failed(Row { index, result: Err(no_runtime()) });
            }
            let (chain, mut cx, change) = (chain.clone(), cx.fork(index as u64), row_context.clone());
            let observer = observer.clone();
            rows.start(index, async move {
                let mut observed = None;
                if let Some(observer) = observer {
                    let (changed, row) = ObservedRow::start(observer, index, cx.undriven());
                    (cx, observed) = (changed.driven(), Some(row));
                }
                if let Some(change) = change {
                    cx = change(&input, cx.undriven()).driven();
                }
                let result = cx.guard(run_whole(&chain, input, &cx)).await;
                if let Some(row) = observed {
                    row.ended(&result);
                }
                result
            });
            Started::Running
        };
        let max = concurrency.get().max(1);
        Completed { rows: Flights::new(), start: Some(Box::new(start)), max, started: 0 }
    }

    /// Changes the context of each row, by its input: its session, choice, tags, parameters or deadline.
    /// Default: the context of the batch.
    ///
    /// ```
    /// use fanweave::{Context, chain, compose::configurable, testing::Fake, text};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let model = |name: &'static str| (name, chain(Fake::answer_with(move |_| name.into())));
    /// let answer = configurable("model", [model("small"), model("large")]) | text();
    /// let questions = ["Hi", "Explain the tides to me."].map(fanweave::Prompt::from);
    /// let rows = answer.batch(questions).context(|question, cx| match question.last_user_text().len() {
    ///     ..10 => cx,
    ///     _ => cx.with_choice("model", "large"),
    /// });
    /// assert_eq!(rows.fail_fast().await?, ["small", "large"]);
    /// # Ok(())
    /// # }) }
    /// ```
    #[must_use]
    pub fn context(mut self, change: impl Fn(&I, Context) -> Context + Send + Sync + 'static) -> Self {
        self.row_context = Some(Arc::new(change));
        self
    }

    /// Notifies `observer` when rows start and end. Default: none.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use fanweave::batch::Progress;
    /// use fanweave::{prompt, testing::Fake, text, vars};
    ///
    /// # fn main() { fanweave::blocking::wait(async {
    /// let joke = prompt("A joke about {{ topic }}.") | Fake::echo() | text();
    /// let topics = ["bears", "cats", "tides"].map(|topic| vars! { topic: topic });
    /// let progress = Arc::new(Progress::default());
    /// let mut rows = joke.batch(topics).row_observer(progress.clone()).run();
    /// while let Some(row) = rows.next().await {
    ///     let now = progress.snapshot();
    ///     println!("{} of {}: {:?}", now.done, now.total.unwrap_or(0), row.result);
    /// }
    /// assert_eq!(progress.snapshot().ok, 3);
    /// # }) }
    /// ```
    #[must_use]
    pub fn row_observer(mut self, observer: Arc<impl RowObserver>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Runs all rows and returns their outputs in input order, or the first error as soon as it happens: the
    /// other rows are cancelled, and have ended when this returns.
    ///
    /// ```
    /// use fanweave::{Error, ErrorKind, step};
    ///
    /// # fn main() { fanweave::blocking::wait(async {
    /// let even = step(|n: u32, _| async move {
    ///     if n % 2 == 0 { Ok(n) } else { Err(Error::new(ErrorKind::Step, format!("{n} is odd"))) }
    /// });
    /// assert_eq!(even.batch([2u32, 4]).fail_fast().await.unwrap(), [2, 4]);
    /// assert_eq!(even.batch([2u32, 3]).fail_fast().await.unwrap_err().to_string(), "step row 1: 3 is odd");
    /// # }) }
    /// ```
    ///
    /// # Errors
    /// The error of the first row that fails, with the index of the row in its path.
    pub async fn fail_fast(self) -> Result<Vec<O>> {
        let mut rows = self.as_completed();
        let mut outputs = BTreeMap::new();
        while let Some(Row { index, result }) = rows.next().await {
            match result {
                Ok(output) => _ = outputs.insert(index, output),
                Err(error) => {
                    rows.rows.shutdown().await;
                    return Err(error.with_step(format!("row {index}")));
                }
            }
        }
        Ok(outputs.into_values().collect())
    }

    /// Runs all rows and returns their results in input order.
    pub async fn collect(self) -> Vec<Result<O>> {
        self.run().map(|row| row.result).collect().await
    }
}

fn no_runtime() -> Error {
    Error::new(ErrorKind::Config, "a batch needs a Tokio runtime: call this from within one")
}

enum Started<O> {
    Running,
    Failed(Row<O>),
    NoMore,
}

/// The rows of a batch as they finish.
///
/// Running rows make progress even if the stream is not polled; new ones start only as results are read.
///
/// ```
/// use fanweave::{Chain, step};
/// use fanweave::prelude::StreamExt;
///
/// # fn main() { fanweave::blocking::wait(async {
/// let double = step(|n: u32, _| async move { Ok(n * 2) });
/// let sum = double.batch([1u32, 2, 3]).as_completed().map(|row| row.result.unwrap());
/// assert_eq!(sum.fold(0, |a, b| async move { a + b }).await, 12);
/// # }) }
/// ```
///
/// # Cancellation
/// Dropping it ends all rows in flight.
pub struct Completed<O> {
    /// By the index of the input.
    rows: Flights<usize, Result<O>>,
    /// `None` once the inputs have ended.
    start: Option<Box<Start<O>>>,
    max: usize,
    started: usize,
}

type Start<O> = dyn FnMut(&mut Flights<usize, Result<O>>) -> Started<O> + Send;

impl<O: Send + 'static> Completed<O> {
    /// The next row that finishes, or `None` after the last one.
    ///
    /// # Cancellation
    /// Dropping the future loses no row.
    pub async fn next(&mut self) -> Option<Row<O>> {
        StreamExt::next(self).await
    }

    /// The next finished row, with rows started only below index `limit`.
    fn poll_row(&mut self, task: &mut TaskContext<'_>, limit: usize) -> Poll<Option<Row<O>>> {
        while let Some(start) = &mut self.start
            && self.rows.len() < self.max
            && self.started < limit
        {
            match start(&mut self.rows) {
                Started::Running => self.started += 1,
                Started::NoMore => self.start = None,
                Started::Failed(row) => {
                    self.started += 1;
                    return Poll::Ready(Some(row));
                }
            }
        }
        let ended = std::task::ready!(self.rows.poll_next(task));
        Poll::Ready(ended.map(|(index, result)| {
            let result = result.unwrap_or_else(|ended| match ended {
                Ended::Panicked(panic) => Err(Error::from_panic(&*panic)),
                // Dropping this stream leaves no reader: the runtime has ended.
                Ended::Aborted(lost) => {
                    let message = "the runtime that the row ran on has ended";
                    Err(Error::new(ErrorKind::Cancelled, message).with_source(lost))
                }
            });
            Row { index, result }
        }))
    }
}

impl<O: Send + 'static> Stream for Completed<O> {
    type Item = Row<O>;

    fn poll_next(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Row<O>>> {
        self.get_mut().poll_row(task, usize::MAX)
    }
}

/// The rows of a batch in input order.
///
/// Rows behind a slow one continue, up to 16 for each that may be in flight; their results wait until it is
/// done.
///
/// ```
/// use fanweave::step;
/// use fanweave::prelude::StreamExt;
///
/// # fn main() { fanweave::blocking::wait(async {
/// let double = step(|n: u32, _| async move { Ok(n * 2) });
/// let rows = double.batch([1u32, 2, 3]).run().map(|row| row.result.unwrap());
/// assert_eq!(rows.collect::<Vec<_>>().await, [2, 4, 6]);
/// # }) }
/// ```
///
/// # Cancellation
/// Dropping it ends all rows in flight.
pub struct Rows<O> {
    completed: Completed<O>,
    /// Maximum rows between the first unfinished one and the last started.
    window: usize,
    next: usize,
    done: BTreeMap<usize, Result<O>>,
}

impl<O: Send + 'static> Rows<O> {
    /// The next row in input order, or `None` after the last one.
    ///
    /// # Cancellation
    /// Dropping the future loses no row.
    pub async fn next(&mut self) -> Option<Row<O>> {
        StreamExt::next(self).await
    }
}

impl<O: Send + 'static> Stream for Rows<O> {
    type Item = Row<O>;

    fn poll_next(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Option<Row<O>>> {
        let this = self.get_mut();
        loop {
            if let Some(result) = this.done.remove(&this.next) {
                let index = this.next;
                this.next += 1;
                return Poll::Ready(Some(Row { index, result }));
            }
            let limit = this.next.saturating_add(this.window.max(1));
            match std::task::ready!(this.completed.poll_row(task, limit)) {
                Some(row) => this.done.insert(row.index, row.result),
                None => return Poll::Ready(None),
            };
        }
    }
}

impl<O> Unpin for Completed<O> {}
impl<O> Unpin for Rows<O> {}

impl<I, O> fmt::Debug for Batch<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("chain", &self.chain)
            .field("concurrency", &self.concurrency)
            .field("cx", &self.cx)
            .finish_non_exhaustive()
    }
}

impl<O> fmt::Debug for Completed<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completed").field("started", &self.started).finish_non_exhaustive()
    }
}

impl<O> fmt::Debug for Rows<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("started", &self.completed.started)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::model::fake::Fake;
    use crate::{chain, prompt, step, text, vars};

    async fn nap(ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    #[tokio::test]
    async fn each_row_has_its_own_context_and_a_panic_there_fails_only_its_row() {
        let session = step(|_: u32, cx: Context| async move { Ok(cx.session().map(str::to_owned)) });
        let rows =
            session.batch([1u32, 2, 3]).within(Context::new().with_session("all")).context(|n, cx| match n {
                1 => cx,
                2 => cx.with_session("own"),
                _ => panic!("boom"),
            });
        let rows = rows.collect().await;
        assert_eq!(rows[0].as_ref().unwrap().as_deref(), Some("all"));
        assert_eq!(rows[1].as_ref().unwrap().as_deref(), Some("own"));
        assert!(rows[2].as_ref().unwrap_err().to_string().contains("boom"));
    }

    /// Notes how many rows there are, and how each ends. Panics at the start of row 9.
    #[derive(Default)]
    struct Ends(std::sync::Mutex<Vec<(usize, String)>>, AtomicUsize);

    impl RowObserver for Ends {
        fn total(&self, rows: usize) {
            self.1.store(rows, Ordering::Relaxed);
        }

        fn started(self: Arc<Self>, index: usize, cx: Context) -> (Context, OnRowEnd) {
            assert_ne!(index, 9);
            let on_end = move |end: RowEnd<'_>| {
                self.0.lock().unwrap().push((index, format!("{end:?}").chars().take(7).collect()));
                assert_ne!(index, 8);
            };
            (cx.with_tag("observed"), Box::new(on_end))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_observer_sees_how_each_row_ends_and_fails_none() {
        let ends = Arc::new(Ends::default());
        let chain = step(|n: u32, cx: Context| async move {
            assert!(n == 9 || cx.tags().any(|tag| tag == "observed"));
            match n {
                1 => Err(Error::new(ErrorKind::Step, "odd one out")),
                2 => panic!("boom"),
                3 => std::future::pending().await,
                n => Ok(n),
            }
        });
        let mut rows = chain.batch(0..10_u32).row_observer(ends.clone()).as_completed();
        let mut ok = 0;
        for _ in 0..9 {
            ok += usize::from(rows.next().await.unwrap().result.is_ok());
        }
        assert_eq!((ok, ends.1.load(Ordering::Relaxed)), (7, 10));
        assert!(ends.0.lock().unwrap().iter().all(|(row, _)| *row != 3));
        drop(rows);
        tokio::task::yield_now().await;
        let mut seen = ends.0.lock().unwrap().clone();
        seen.sort();
        let seen: Vec<_> = seen.iter().map(|(row, end)| (*row, &**end)).collect();
        let (ok, failed) = ("Ok", "Failed(");
        let wanted = [
            (0, ok),
            (1, failed),
            (2, "Panicke"),
            (3, "Dropped"),
            (4, ok),
            (5, ok),
            (6, ok),
            (7, ok),
            (8, ok),
        ];
        assert_eq!(seen, wanted);
    }

    #[tokio::test]
    async fn an_observer_learns_no_total_of_inputs_without_an_exact_size() {
        let ends = Arc::new(Ends::default());
        let odd = (0..8_u32).filter(|n| n % 2 == 1);
        let chain = step(|n: u32, _| async move { Ok(n) });
        assert_eq!(chain.batch(odd).row_observer(ends.clone()).collect().await.len(), 4);
        assert_eq!((ends.0.lock().unwrap().len(), ends.1.load(Ordering::Relaxed)), (4, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn results_come_in_input_order_whatever_their_latency() {
        let odd = step(|n: u64, _| async move {
            nap((n * 7919) % 100).await;
            Ok(n)
        });
        let rows = odd.batch(0..200u64).concurrency(32).collect().await;
        assert_eq!(rows.into_iter().map(Result::unwrap).collect::<Vec<_>>(), (0..200).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn as_completed_yields_the_fast_ones_first() {
        let chain = step(|ms: u64, _| async move {
            nap(ms).await;
            Ok(ms)
        });
        let order: Vec<_> = chain.batch([30u64, 10, 20]).as_completed().map(|row| row.index).collect().await;
        assert_eq!(order, [1, 2, 0]);
    }

    #[tokio::test]
    async fn a_failing_or_panicking_row_leaves_the_others_alone() {
        let chain = step(|n: u32, _| async move {
            match n {
                1 => Err(Error::new(ErrorKind::Step, "odd one out")),
                2 => panic!("boom"),
                n => Ok(n),
            }
        });
        let rows = chain.batch(0..4u32).collect().await;
        let kinds: Vec<_> = rows.iter().map(|r| r.as_ref().map_err(Error::kind).copied()).collect();
        assert_eq!(kinds, [Ok(0), Err(ErrorKind::Step), Err(ErrorKind::Panic), Ok(3)]);
        assert_eq!(rows[2].as_ref().unwrap_err().to_string(), "a step panicked: boom");
    }

    #[test]
    fn rows_whose_runtime_has_ended_are_cancelled() {
        let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stuck = step(|n: u32, _| async move {
            if n > 0 {
                std::future::pending::<()>().await;
            }
            Ok(n)
        });
        let mut rows = stuck.batch(0..3u32).run();
        let first = runtime().block_on(rows.next()).unwrap();
        assert_eq!(first.result.unwrap(), 0);
        let rest: Vec<_> = futures::executor::block_on(rows.collect());
        let rest: Vec<_> = rest.into_iter().map(|row| (row.index, row.result.unwrap_err().kind())).collect();
        assert_eq!(rest, [(1, ErrorKind::Cancelled), (2, ErrorKind::Cancelled)]);
    }

    #[tokio::test]
    async fn an_observer_that_panics_fails_no_row_and_receives_later_events() {
        let seen = Arc::new(AtomicUsize::new(0));
        let (noted, after) = (seen.clone(), seen.clone());
        let note = move |_: &crate::Event| _ = after.fetch_add(1, Ordering::Relaxed);
        let cx = Context::new()
            .with_observer(Arc::new(move |_: &crate::Event| {
                noted.fetch_add(1, Ordering::Relaxed);
                panic!("no ears")
            }))
            .with_observer(Arc::new(note));
        let rows = crate::chain(Fake::echo()).batch(["a"]).within(cx).collect().await;
        assert_eq!(rows[0].as_ref().unwrap().text(), "a");
        assert!(seen.load(Ordering::Relaxed) >= 4);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_rows_than_the_concurrency_are_in_flight() {
        let (now, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (n, p) = (now, peak.clone());
        let chain = step(move |_: u32, _| {
            let (n, p) = (n.clone(), p.clone());
            async move {
                p.fetch_max(n.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                nap(10).await;
                n.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            }
        });
        chain.batch(0..100u32).concurrency(7).collect().await;
        assert_eq!(peak.load(Ordering::SeqCst), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn rows_move_through_a_chain_without_a_barrier() {
        let wait = || {
            step(|ms: [u64; 2], _| async move {
                nap(ms[0]).await;
                Ok([ms[1], ms[0]])
            })
        };
        let started = tokio::time::Instant::now();
        (wait() | wait()).batch([[100, 10], [10, 100]]).collect().await;
        // Step by step with a barrier it would be 200.
        assert_eq!(started.elapsed().as_millis(), 110);
    }

    #[tokio::test(start_paused = true)]
    async fn two_hundred_rows_through_three_steps_take_as_long_as_the_slowest_of_them() {
        // Lognormal around 300 ms, from a sum of uniform draws; the same on every run.
        let latency = |row: u64, step: u64| {
            let draw = |i: u64| {
                ((row * 31 + step * 7 + i).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / 16_777_216.0
            };
            let normal = (0..12).map(draw).sum::<f64>() - 6.0;
            (300.0 * (0.6 * normal).exp()) as u64
        };
        let wait = |n: u64| {
            step(move |row: u64, _| async move {
                nap(latency(row, n)).await;
                Ok(row)
            })
        };
        let slowest = (0..200).map(|row| (0..3).map(|step| latency(row, step)).sum::<u64>()).max().unwrap();
        let barrier: u64 = (0..3).map(|step| (0..200).map(|row| latency(row, step)).max().unwrap()).sum();
        let started = tokio::time::Instant::now();
        (wait(0) | wait(1) | wait(2)).batch(0..200u64).concurrency(200).collect().await;
        let took = started.elapsed().as_millis() as f64;
        assert!(took <= 1.05 * slowest as f64, "{took} ms, and the slowest row takes {slowest}");
        assert!(barrier > slowest * 6 / 5, "the rows would tell a barrier of {barrier} from {slowest}");
    }

    #[tokio::test(start_paused = true)]
    async fn fail_fast_stops_in_time_and_awaits_the_end_of_the_rest() {
        let alive = Arc::new(());
        let held = alive.clone();
        let chain = step(move |n: u64, _| {
            let held = held.clone();
            async move {
                nap(n * 100).await;
                drop(held);
                if n == 2 { Err(Error::new(ErrorKind::Step, "two is refused")) } else { Ok(n) }
            }
        });
        let started = tokio::time::Instant::now();
        let error = chain.batch(1..50u64).concurrency(10).fail_fast().await.unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), started.elapsed().as_millis()),
            ("step row 1: two is refused", 200)
        );
        drop(chain);
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[tokio::test]
    async fn concurrency_0_of_a_context_fails_each_call_and_the_calls_below_it() {
        let models = chain(Fake::echo()) | text();
        for cx in [Context::new().with_concurrency(0), Context::new().with_concurrency(0).with_concurrency(3)]
        {
            let call = tokio::time::timeout(Duration::from_secs(5), models.invoke_in("a", &cx));
            let error = call.await.expect("an error instead of a wait").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert_eq!(error.message(), "concurrency must be at least 1 (got 0)");
        }
    }

    #[tokio::test]
    async fn concurrency_0_is_refused_with_a_clear_error() {
        let chain = step(|n: u32, _| async move { Ok(n) });
        let rows = chain.batch(0..2u32).concurrency(0).collect().await;
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].as_ref().unwrap_err().kind(), ErrorKind::Config);
    }

    #[tokio::test]
    async fn an_empty_batch_is_empty_and_one_row_behaves_as_invoke() {
        let chain = prompt("{{ x }}") | Fake::echo() | text();
        assert!(chain.batch(Vec::<crate::Vars>::new()).collect().await.is_empty());
        let rows = chain.batch([vars! { x: "a" }]).collect().await;
        assert_eq!(rows[0].as_deref().unwrap(), chain.invoke(vars! { x: "a" }).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_the_rows_ends_the_calls_in_flight() {
        struct Count(Arc<AtomicUsize>);
        impl Drop for Count {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let alive = Arc::new(AtomicUsize::new(0));
        let count = alive.clone();
        let chain = step(move |ms: u64, _| {
            count.fetch_add(1, Ordering::SeqCst);
            let guard = Count(count.clone());
            async move {
                nap(ms).await;
                drop(guard);
                Ok(())
            }
        });
        let mut rows = chain.batch([1u64, 1000, 1000]).as_completed();
        rows.next().await.expect("the first row");
        assert_eq!(alive.load(Ordering::SeqCst), 2);
        drop(rows);
        tokio::task::yield_now().await;
        assert_eq!(alive.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn running_rows_continue_without_a_reader() {
        let chain = step(|ms: u64, _| async move {
            nap(ms).await;
            Ok(tokio::time::Instant::now())
        });
        let started = tokio::time::Instant::now();
        let mut rows = chain.batch([1u64, 10]).run();
        rows.next().await.expect("the first row");
        nap(500).await;
        let second = rows.next().await.expect("the second row").result.unwrap();
        assert_eq!(second.duration_since(started).as_millis(), 10);
    }
}
