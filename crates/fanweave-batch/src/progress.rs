//! Progress of a batch: cheap counters for progress displays.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanweave_core::event::RunId;
use fanweave_core::{Event, EventKind, Usage};
use tokio::time::Instant;

use crate::failing::Failing;
use crate::histogram::Histogram;
use crate::run_map::RunMap;
pub use crate::snapshot::Snapshot;

/// Period over which the rate is averaged.
const WINDOW: Duration = Duration::from_secs(5);

/// Progress of a batch. Shared between the run, which counts, and a progress display. It observes a
/// [`BatchJob`](crate::BatchJob::progress), or a batch in memory:
/// [`Batch::row_observer`](fanweave_core::batch::Batch::row_observer).
///
/// ```
/// use fanweave::batch::Progress;
///
/// let progress = Progress::default();
/// let now = progress.snapshot();
/// assert_eq!((now.done, now.total), (0, None));
/// ```
#[derive(Default)]
pub struct Progress {
    /// Number of rows of the input plus 1; 0 means unknown.
    total: AtomicU64,
    ok: AtomicU64,
    failed: AtomicU64,
    resumed: AtomicU64,
    /// Set when this run has had an answer to a row.
    any_answered: AtomicBool,
    in_flight: AtomicU64,
    /// Rows that workers run.
    at_workers: AtomicU64,
    retries: AtomicU64,
    hedged: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    cache_write_tokens: AtomicU64,
    reasoning_tokens: AtomicU64,
    reorder: AtomicU64,
    /// In billionths of a US dollar.
    cost: AtomicU64,
    /// Rows whose cost is known.
    priced: AtomicU64,
    /// Requests whose responses were incomplete.
    unanswered: AtomicU64,
    /// Cost that the provider may bill for them, in billionths of a US dollar.
    maybe_billed: AtomicU64,
    /// The budget in billionths of a US dollar plus 1; 0 means none.
    cap: AtomicU64,
    latency: Histogram,
    first_byte: Histogram,
    /// Number of answers without text and without tool calls.
    empty: AtomicU64,
    cut: AtomicU64,
    /// Number of answers from a cache.
    stored: AtomicU64,
    pending: Mutex<PendingRequests>,
    /// Calls that wait for a permit, a limit or their next attempt.
    held: Mutex<RunMap<CallState>>,
    failing: Failing,
    /// Rows in flight by index.
    flights: Mutex<BTreeMap<u64, Flight>>,
    /// Number of rows done by this run at earlier snapshots.
    samples: Mutex<VecDeque<(Instant, u64)>>,
}

/// Requests whose responses have not started.
#[derive(Default)]
struct PendingRequests {
    /// Send times: relative to the start of the run, and absolute.
    requests: RunMap<(Duration, Instant)>,
    /// Time at which the last response started.
    last_answer: Option<Instant>,
}

/// A row that has started.
struct Flight {
    line: u64,
    id: Option<String>,
    began: Instant,
}

/// A row in flight.
///
/// ```
/// let progress = fanweave::batch::Progress::default();
/// assert!(progress.flights().is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InFlight {
    /// Line of the input on which the row begins.
    pub line: u64,
    /// Its `custom_id`, or otherwise its `id`.
    pub id: Option<String>,
    /// Time since it started.
    pub time: Duration,
}

impl InFlight {
    /// The row that begins on this line, in flight for `time`.
    pub fn new(line: u64, id: Option<String>, time: Duration) -> Self {
        Self { line, id, time }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum CallState {
    Waiting,
    Retrying,
}

impl Progress {
    /// Takes a snapshot. Call it once to start measuring the rate, then whenever the progress is displayed.
    pub fn snapshot(&self) -> Snapshot {
        let (ok, failed) = (self.ok.load(Relaxed), self.failed.load(Relaxed));
        let resumed = self.resumed.load(Relaxed);
        let (waiting, retrying) = {
            let waiting_calls = lock(&self.held);
            let waiting = waiting_calls.values().filter(|state| **state == CallState::Waiting).count() as u64;
            (waiting, waiting_calls.len() as u64 - waiting)
        };
        Snapshot {
            total: self.total.load(Relaxed).checked_sub(1),
            done: ok + failed,
            ok,
            failed,
            resumed,
            in_flight: self.in_flight.load(Relaxed) + self.at_workers.load(Relaxed),
            at_workers: self.at_workers.load(Relaxed),
            retrying,
            waiting,
            retries: self.retries.load(Relaxed),
            hedged: self.hedged.load(Relaxed),
            usage: self.usage(),
            cost_usd: (self.priced.load(Relaxed) > 0).then(|| dollars(self.cost.load(Relaxed))),
            unanswered: self.unanswered.load(Relaxed),
            maybe_billed_usd: self.maybe_billed_usd(),
            empty: self.empty.load(Relaxed),
            cut: self.cut.load(Relaxed),
            budget_usd: self.cap.load(Relaxed).checked_sub(1).map(dollars),
            cached: self.stored.load(Relaxed),
            first_byte: self.first_byte.percentile(0.5),
            silent_for: lock(&self.pending).silent_for(),
            rate: self.rate((ok + failed).saturating_sub(resumed)),
            p50: self.latency.percentile(0.5),
            p95: self.latency.percentile(0.95),
            reorder: self.reorder.load(Relaxed),
        }
    }

    /// The rows in flight, oldest first.
    pub fn flights(&self) -> Vec<InFlight> {
        let now = Instant::now();
        let flight = |flight: &Flight| InFlight {
            line: flight.line,
            id: flight.id.clone(),
            time: now.duration_since(flight.began),
        };
        let mut flights: Vec<_> = lock(&self.flights).values().map(flight).collect();
        flights.sort_by(|a, b| b.time.cmp(&a.time).then(a.line.cmp(&b.line)));
        flights
    }

    fn usage(&self) -> Usage {
        Usage::new(self.input_tokens.load(Relaxed), self.output_tokens.load(Relaxed))
            .cached_tokens(self.cached_tokens.load(Relaxed))
            .cache_write_tokens(self.cache_write_tokens.load(Relaxed))
            .reasoning_tokens(self.reasoning_tokens.load(Relaxed))
    }

    fn rate(&self, done: u64) -> f64 {
        let now = Instant::now();
        let mut samples = lock(&self.samples);
        // The oldest sample stays until the next one covers the whole period.
        while samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            samples.pop_front();
        }
        let since = samples.front().copied();
        // At most ten samples per second, however often snapshots are taken.
        if samples.back().is_none_or(|(at, _)| now.duration_since(*at) >= WINDOW / 50) {
            samples.push_back((now, done));
        }
        let Some((at, before)) = since else { return 0.0 };
        let seconds = now.duration_since(at).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a count of rows")]
        let rows = done.saturating_sub(before) as f64;
        if seconds > 0.0 { rows / seconds } else { 0.0 }
    }

    pub(crate) fn set_total(&self, rows: u64) {
        self.total.store(rows + 1, Relaxed);
    }

    /// Sets the number of rows that workers run now. They are in flight, too.
    pub fn set_at_workers(&self, rows: u64) {
        self.at_workers.store(rows, Relaxed);
    }

    pub(crate) fn row_started(&self, index: u64, line: u64, id: Option<String>) {
        lock(&self.flights).insert(index, Flight { line, id, began: Instant::now() });
        self.in_flight.fetch_add(1, Relaxed);
    }

    pub(crate) fn row_finished(&self, index: u64, ok: bool, latency: Duration) {
        lock(&self.flights).remove(&index);
        self.in_flight.fetch_sub(1, Relaxed);
        self.latency.record(latency);
        self.any_answered.fetch_or(ok, Relaxed);
        self.count(ok);
    }

    /// Adds the cost of a row, if known.
    pub(crate) fn row_cost(&self, usd: Option<f64>) {
        let Some(usd) = usd else { return };
        self.cost.fetch_add(billionths(usd), Relaxed);
        self.priced.fetch_add(1, Relaxed);
    }

    /// Counts a request whose response was incomplete.
    pub(crate) fn unanswered(&self, usd: Option<f64>) {
        self.unanswered.fetch_add(1, Relaxed);
        self.maybe_billed.fetch_add(billionths(usd.unwrap_or_default()), Relaxed);
    }

    /// Counts an answer without text and without tool calls.
    pub(crate) fn answer_was_empty(&self) {
        self.empty.fetch_add(1, Relaxed);
    }

    /// Counts an answer that was ended early.
    pub(crate) fn answer_was_cut(&self) {
        self.cut.fetch_add(1, Relaxed);
    }

    pub(crate) fn maybe_billed_usd(&self) -> f64 {
        dollars(self.maybe_billed.load(Relaxed))
    }

    /// Adds the tokens of a call, or of a row whose calls emit no events.
    pub(crate) fn add_usage(&self, usage: &Usage) {
        self.input_tokens.fetch_add(usage.input_tokens, Relaxed);
        self.output_tokens.fetch_add(usage.output_tokens, Relaxed);
        self.cached_tokens.fetch_add(usage.cached_tokens, Relaxed);
        self.cache_write_tokens.fetch_add(usage.cache_write_tokens, Relaxed);
        self.reasoning_tokens.fetch_add(usage.reasoning_tokens, Relaxed);
    }

    pub(crate) fn set_cap(&self, usd: f64) {
        self.cap.store(billionths(usd).saturating_add(1), Relaxed);
    }

    /// Removes a row that ended without a result because it was cancelled.
    pub(crate) fn row_cancelled(&self, index: u64) {
        lock(&self.flights).remove(&index);
        self.in_flight.fetch_sub(1, Relaxed);
    }

    pub(crate) fn row_resumed(&self, ok: bool) {
        self.resumed.fetch_add(1, Relaxed);
        self.count(ok);
    }

    fn count(&self, ok: bool) {
        let counter = if ok { &self.ok } else { &self.failed };
        counter.fetch_add(1, Relaxed);
    }

    /// Returns true if this run has had an answer to a row.
    pub(crate) fn any_answered(&self) -> bool {
        self.any_answered.load(Relaxed)
    }

    pub(crate) fn set_reorder(&self, results: usize) {
        self.reorder.store(results as u64, Relaxed);
    }

    /// Counts an event of any row.
    pub(crate) fn on_event(&self, event: &Event) {
        match &event.kind {
            EventKind::Waiting(why) => {
                self.hold(event.run, Some(CallState::Waiting));
                self.failing.waits(event.run, why);
            }
            EventKind::Retrying { error, .. } => {
                self.retries.fetch_add(1, Relaxed);
                self.hold(event.run, Some(CallState::Retrying));
                lock(&self.pending).requests.remove(&event.run);
                self.failing.failed(event.run, error);
            }
            EventKind::Hedged => {
                self.hedged.fetch_add(1, Relaxed);
            }
            EventKind::RequestStarted => {
                self.hold(event.run, None);
                lock(&self.pending).requests.insert(event.run, (event.at, Instant::now()));
                self.failing.sent(event.run);
            }
            EventKind::FirstByte => {
                if let Some(sent) = lock(&self.pending).began(event.run) {
                    self.first_byte.record(event.at.saturating_sub(sent));
                }
            }
            EventKind::StepFailed(_) => self.forget(event.run),
            EventKind::StepFinished { reply } => {
                self.forget(event.run);
                if let Some(reply) = reply {
                    self.stored.fetch_add(u64::from(reply.cached), Relaxed);
                    self.add_usage(&reply.usage);
                }
            }
            _ => {}
        }
    }

    /// Number of calls that wait for a permit, a limit, the end of an outage or their next attempt.
    pub(crate) fn calls_held(&self) -> usize {
        lock(&self.held).len()
    }

    /// The calls that have failed and will be retried.
    pub(crate) fn failing(&self) -> &Failing {
        &self.failing
    }

    /// Number of requests whose responses have not started.
    pub(crate) fn requests_unanswered(&self) -> usize {
        lock(&self.pending).requests.len()
    }

    /// Removes a call that has ended or was abandoned.
    pub(crate) fn forget(&self, run: RunId) {
        self.hold(run, None);
        self.failing.ended(run);
        lock(&self.pending).requests.remove(&run);
    }

    fn hold(&self, run: RunId, state: Option<CallState>) {
        let mut held = lock(&self.held);
        match state {
            Some(state) => held.insert(run, state),
            None => held.remove(&run),
        };
    }
}

impl PendingRequests {
    /// Removes a request whose response starts. Returns when it was sent.
    fn began(&mut self, run: RunId) -> Option<Duration> {
        self.last_answer = Some(Instant::now());
        self.requests.remove(&run).map(|(sent, _)| sent)
    }

    fn silent_for(&self) -> Option<Duration> {
        let oldest = self.requests.values().map(|(_, sent)| *sent).min()?;
        Some(self.last_answer.map_or(oldest, |answer| answer.max(oldest)).elapsed())
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress")
            .field("ok", &self.ok)
            .field("failed", &self.failed)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an amount in billionths")]
fn billionths(usd: f64) -> u64 {
    (usd * 1e9).round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "an amount for display")]
fn dollars(billionths: u64) -> f64 {
    billionths as f64 / 1e9
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fanweave_core::{Context, Error, ErrorKind, step};

    use super::*;

    #[test]
    fn resumed_rows_do_not_count_as_answered() {
        let progress = Progress::default();
        [true, false, false, false].into_iter().for_each(|ok| progress.row_resumed(ok));
        assert!(!progress.any_answered());
        progress.row_started(4, 5, None);
        progress.row_finished(4, false, Duration::ZERO);
        assert!(!progress.any_answered());
        progress.row_started(5, 6, None);
        progress.row_finished(5, true, Duration::ZERO);
        assert!(progress.any_answered());
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_covers_the_last_five_seconds() {
        let progress = Progress::default();
        progress.set_total(1000);
        progress.snapshot();
        for second in 0..20 {
            // Ten rows per second, then twenty after ten seconds.
            let rows = if second < 10 { 10 } else { 20 };
            for row in 0..rows {
                progress.row_started(row, row, None);
                progress.row_finished(row, true, Duration::from_millis(5));
            }
            tokio::time::advance(Duration::from_secs(1)).await;
            progress.snapshot();
        }
        let now = progress.snapshot();
        assert_eq!((now.done, now.total, now.in_flight), (300, Some(1000), 0));
        assert!((now.rate - 20.0).abs() < 1.0, "{}", now.rate);
        assert_eq!(now.eta().map(|eta| eta.as_secs()), Some(35));
    }

    #[tokio::test(start_paused = true)]
    async fn cached_answers_and_first_bytes_are_counted() {
        let progress = Arc::new(Progress::default());
        progress.set_cap(2.5);
        let watched = step(|stored: bool, cx: Context| async move {
            if !stored {
                cx.emit(EventKind::RequestStarted).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
                cx.emit(EventKind::FirstByte).await;
            }
            let reply = fanweave_core::Reply::new().cached(stored);
            cx.emit(EventKind::StepFinished { reply: Some(Arc::new(reply)) }).await;
            Ok(())
        })
        .named("call");
        let own = progress.clone();
        let cx = Context::new().with_observer(Arc::new(move |event: &Event| own.on_event(event)));
        for stored in [true, false, true] {
            watched.invoke_in(stored, &cx).await.unwrap();
        }
        let now = progress.snapshot();
        assert_eq!((now.cached, now.budget_usd), (2, Some(2.5)));
        let first = now.first_byte.unwrap();
        assert!((280..=320).contains(&first.as_millis()), "{first:?}");
        assert!(lock(&progress.pending).requests.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_answer_or_the_oldest_waiting_request() {
        let progress = Arc::new(Progress::default());
        let own = progress.clone();
        let cx = Context::new().with_observer(Arc::new(move |event: &Event| own.on_event(event)));
        let call = |first_byte: u64| {
            let call = step(move |(), cx: Context| async move {
                cx.emit(EventKind::RequestStarted).await;
                tokio::time::sleep(Duration::from_secs(first_byte)).await;
                cx.emit(EventKind::FirstByte).await;
                Ok(())
            });
            call.named("call")
        };
        let silent_for = || progress.snapshot().silent_for.map(|time| time.as_secs());
        let watch = async {
            assert_eq!(silent_for(), Some(0));
            tokio::time::sleep(Duration::from_secs(15)).await;
            assert_eq!(silent_for(), Some(15));
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(silent_for(), Some(5), "the other call was answered after 20 s");
        };
        let (long, short) = (call(60), call(20));
        let (_, _, ()) = tokio::join!(long.invoke_in((), &cx), short.invoke_in((), &cx), watch);
        assert_eq!(silent_for(), None);
    }

    #[tokio::test]
    async fn a_model_that_reports_no_first_byte_leaves_no_open_request() {
        let progress = Arc::new(Progress::default());
        let silent = step(|(), cx: Context| async move {
            cx.emit(EventKind::RequestStarted).await;
            cx.emit(EventKind::StepFinished { reply: Some(Arc::default()) }).await;
            Ok(())
        });
        let own = progress.clone();
        let cx = Context::new().with_observer(Arc::new(move |event: &Event| own.on_event(event)));
        silent.named("call").invoke_in((), &cx).await.unwrap();
        assert!(lock(&progress.pending).requests.is_empty());
    }

    #[tokio::test]
    async fn waiting_and_retrying_calls_are_counted_until_they_continue() {
        let progress = Arc::new(Progress::default());
        let (own, seen) = (progress.clone(), Arc::new(Mutex::new(Vec::new())));
        let notes = seen.clone();
        let watched = step(move |_: u32, cx: Context| {
            let (own, notes) = (own.clone(), notes.clone());
            async move {
                let error = Error::new(ErrorKind::Server, "overloaded");
                let retrying = EventKind::Retrying { attempt: 1, wait: Duration::ZERO, error };
                for kind in [
                    EventKind::Waiting(fanweave_core::WaitReason::Limit),
                    EventKind::RequestStarted,
                    retrying,
                    EventKind::RequestStarted,
                ] {
                    cx.emit(kind).await;
                    let now = own.snapshot();
                    lock(&notes).push((now.waiting, now.retrying, now.retries));
                }
                Ok(())
            }
        });
        let own = progress.clone();
        let cx = Context::new().with_observer(Arc::new(move |event: &Event| own.on_event(event)));
        watched.named("call").invoke_in(1_u32, &cx).await.unwrap();
        assert_eq!(*lock(&seen), [(1, 0, 0), (0, 0, 0), (0, 1, 1), (0, 0, 1)]);
    }
}
