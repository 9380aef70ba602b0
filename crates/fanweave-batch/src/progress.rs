//! How far a batch has come: counters that cost nothing to keep, for whoever draws them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanweave_core::event::RunId;
use fanweave_core::{Event, EventKind, Usage};
use tokio::time::Instant;

use crate::failing::Failing;
use crate::histogram::Histogram;

/// How long back the rate looks.
const WINDOW: Duration = Duration::from_secs(5);

/// How far a batch has come. Shared between the run, which counts, and whoever draws.
///
/// ```
/// use fanweave_batch::Progress;
///
/// let progress = Progress::default();
/// let now = progress.snapshot();
/// assert_eq!((now.done, now.total), (0, None));
/// ```
#[derive(Default)]
pub struct Progress {
    /// Rows of the input, and 1 more so that 0 means unknown.
    total: AtomicU64,
    ok: AtomicU64,
    failed: AtomicU64,
    resumed: AtomicU64,
    /// Whether this run has had an answer to a row.
    any_answered: AtomicBool,
    in_flight: AtomicU64,
    retries: AtomicU64,
    hedged: AtomicU64,
    input_tokens: AtomicU64,
    output_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    reasoning_tokens: AtomicU64,
    reorder: AtomicU64,
    /// Billionths of a US dollar.
    cost: AtomicU64,
    /// Rows whose cost is known.
    priced: AtomicU64,
    /// Requests whose answers did not arrive whole.
    unanswered: AtomicU64,
    /// What the provider may bill for them, in billionths of a US dollar.
    maybe_billed: AtomicU64,
    /// The cap in billionths, and 1 more so that 0 means none.
    cap: AtomicU64,
    latency: Histogram,
    first_byte: Histogram,
    /// Answers out of a store.
    stored: AtomicU64,
    asked: Mutex<Asked>,
    /// Steps that wait for their turn or for their next try.
    held: Mutex<HashMap<RunId, Held>>,
    failing: Failing,
    /// Rows in flight by their index.
    flights: Mutex<BTreeMap<u64, Flight>>,
    /// Rows done by the run itself at earlier snapshots.
    samples: Mutex<VecDeque<(Instant, u64)>>,
}

/// Requests whose answers have not begun.
#[derive(Default)]
struct Asked {
    /// When they were sent: counted from the beginning of their runs, and by the clock.
    requests: HashMap<RunId, (Duration, Instant)>,
    /// When the last answer began.
    heard: Option<Instant>,
}

/// A row that has begun.
struct Flight {
    line: u64,
    id: Option<String>,
    began: Instant,
}

/// A row in flight.
///
/// ```
/// let progress = fanweave_batch::Progress::default();
/// assert!(progress.flights().is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// The line of the input that it begins on.
    pub line: u64,
    /// Its `custom_id`, or else its `id`.
    pub id: Option<String>,
    /// For how long.
    pub time: Duration,
}

#[derive(Clone, Copy, PartialEq)]
enum Held {
    Waiting,
    Retrying,
}

/// A batch's progress at one moment.
///
/// ```
/// use fanweave_batch::Snapshot;
///
/// let half = Snapshot { total: Some(10), done: 5, ok: 5, rate: 2.0, ..Snapshot::default() };
/// assert_eq!(half.eta(), Some(std::time::Duration::from_millis(2500)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Snapshot {
    /// Rows of the input. `None` where they cannot be counted before the run, as on standard input.
    pub total: Option<u64>,
    /// Rows that have a result.
    pub done: u64,
    /// Rows that have an answer.
    pub ok: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows whose result an earlier run had left in the journal. Part of `done`.
    pub resumed: u64,
    /// Rows in flight.
    pub in_flight: u64,
    /// Calls that wait for their next try.
    pub retrying: u64,
    /// Calls that wait for the account's limit or for a place among the run's calls.
    pub waiting: u64,
    /// Tries after the first one, so far.
    pub retries: u64,
    /// Requests that were sent beside one that was late, so far.
    pub hedged: u64,
    /// Tokens of this run's calls.
    pub usage: Usage,
    /// US dollars that this run's rows cost. `None` where no price is known.
    pub cost_usd: Option<f64>,
    /// Requests whose answers did not arrive whole, so far.
    pub unanswered: u64,
    /// US dollars for the input of those requests: the provider may bill it. Not part of `cost_usd`. 0 where no price is
    /// known.
    pub maybe_billed_usd: f64,
    /// Most US dollars that the batch may cost. `None` without a cap.
    pub budget_usd: Option<f64>,
    /// Calls that were answered from a [store](fanweave_core::Model::cached), without a request.
    pub cached: u64,
    /// Half of the requests had the beginning of their answer no later. Of one that is not streamed, the beginning comes
    /// when all of it has been written. `None` for models that tell of none.
    pub first_byte: Option<Duration>,
    /// Time for which requests have waited while no answer began. `None` without such requests.
    pub silent_for: Option<Duration>,
    /// Rows a second, over the last five.
    pub rate: f64,
    /// Half of the rows took no longer.
    pub p50: Option<Duration>,
    /// 95 of a hundred rows took no longer.
    pub p95: Option<Duration>,
    /// Results that wait for an earlier row, where results come in order.
    pub reorder: u64,
}

impl Snapshot {
    /// What all rows will cost, going by those that have ended in this run. `None` where no price is known.
    pub fn cost_at_the_end(&self) -> Option<f64> {
        let done = self.done.saturating_sub(self.resumed);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let share = self.total?.saturating_sub(self.resumed) as f64 / (done > 0).then_some(done)? as f64;
        Some(self.cost_usd? * share)
    }

    /// How long the rest will take at the present rate.
    pub fn eta(&self) -> Option<Duration> {
        let left = self.total?.saturating_sub(self.done);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        Duration::try_from_secs_f64(left as f64 / self.rate).ok()
    }
}

impl Progress {
    /// The progress at this moment. Call it once to start the rate's clock, and then as often as it is drawn.
    pub fn snapshot(&self) -> Snapshot {
        let (ok, failed) = (self.ok.load(Relaxed), self.failed.load(Relaxed));
        let resumed = self.resumed.load(Relaxed);
        let (waiting, retrying) = {
            let held = lock(&self.held);
            let waiting = held.values().filter(|held| **held == Held::Waiting).count() as u64;
            (waiting, held.len() as u64 - waiting)
        };
        Snapshot {
            total: self.total.load(Relaxed).checked_sub(1),
            done: ok + failed,
            ok,
            failed,
            resumed,
            in_flight: self.in_flight.load(Relaxed),
            retrying,
            waiting,
            retries: self.retries.load(Relaxed),
            hedged: self.hedged.load(Relaxed),
            usage: self.usage(),
            cost_usd: (self.priced.load(Relaxed) > 0).then(|| dollars(self.cost.load(Relaxed))),
            unanswered: self.unanswered.load(Relaxed),
            maybe_billed_usd: self.maybe_billed_usd(),
            budget_usd: self.cap.load(Relaxed).checked_sub(1).map(dollars),
            cached: self.stored.load(Relaxed),
            first_byte: self.first_byte.percentile(0.5),
            silent_for: lock(&self.asked).silent_for(),
            rate: self.rate((ok + failed).saturating_sub(resumed)),
            p50: self.latency.percentile(0.5),
            p95: self.latency.percentile(0.95),
            reorder: self.reorder.load(Relaxed),
        }
    }

    /// The rows in flight, those that began first in front.
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
        Usage {
            input_tokens: self.input_tokens.load(Relaxed),
            output_tokens: self.output_tokens.load(Relaxed),
            cached_tokens: self.cached_tokens.load(Relaxed),
            reasoning_tokens: self.reasoning_tokens.load(Relaxed),
        }
    }

    fn rate(&self, done: u64) -> f64 {
        let now = Instant::now();
        let mut samples = lock(&self.samples);
        // The oldest one stays until the next is old enough to stand for the whole window.
        while samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= WINDOW) {
            samples.pop_front();
        }
        let since = samples.front().copied();
        // Ten a second are plenty, however often somebody looks.
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

    /// What a row cost, where that is known.
    pub(crate) fn row_cost(&self, usd: Option<f64>) {
        let Some(usd) = usd else { return };
        self.cost.fetch_add(billionths(usd), Relaxed);
        self.priced.fetch_add(1, Relaxed);
    }

    /// A request was sent, and its answer did not arrive whole.
    pub(crate) fn unanswered(&self, usd: Option<f64>) {
        self.unanswered.fetch_add(1, Relaxed);
        self.maybe_billed.fetch_add(billionths(usd.unwrap_or_default()), Relaxed);
    }

    pub(crate) fn maybe_billed_usd(&self) -> f64 {
        dollars(self.maybe_billed.load(Relaxed))
    }

    /// Tokens of a call, or of a row whose calls tell of nothing.
    pub(crate) fn add_usage(&self, usage: &Usage) {
        self.input_tokens.fetch_add(usage.input_tokens, Relaxed);
        self.output_tokens.fetch_add(usage.output_tokens, Relaxed);
        self.cached_tokens.fetch_add(usage.cached_tokens, Relaxed);
        self.reasoning_tokens.fetch_add(usage.reasoning_tokens, Relaxed);
    }

    pub(crate) fn set_cap(&self, usd: f64) {
        self.cap.store(billionths(usd).saturating_add(1), Relaxed);
    }

    /// A row ended without a result: it was cancelled.
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

    /// Whether this run has had an answer to a row.
    pub(crate) fn any_answered(&self) -> bool {
        self.any_answered.load(Relaxed)
    }

    pub(crate) fn set_reorder(&self, results: usize) {
        self.reorder.store(results as u64, Relaxed);
    }

    /// Takes note of an event of any row.
    pub(crate) fn on_event(&self, event: &Event) {
        match &event.kind {
            EventKind::Waiting(why) => {
                self.hold(event.run, Some(Held::Waiting));
                self.failing.waits(event.run, why);
            }
            EventKind::Retrying { error, .. } => {
                self.retries.fetch_add(1, Relaxed);
                self.hold(event.run, Some(Held::Retrying));
                lock(&self.asked).requests.remove(&event.run);
                self.failing.failed(event.run, error);
            }
            EventKind::Hedged => {
                self.hedged.fetch_add(1, Relaxed);
            }
            EventKind::RequestStarted => {
                self.hold(event.run, None);
                lock(&self.asked).requests.insert(event.run, (event.at, Instant::now()));
                self.failing.sent(event.run);
            }
            EventKind::FirstByte => {
                if let Some(asked) = lock(&self.asked).began(event.run) {
                    self.first_byte.record(event.at.saturating_sub(asked));
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

    /// The calls that have failed and are to be retried.
    pub(crate) fn failing(&self) -> &Failing {
        &self.failing
    }

    /// Number of requests whose answers have not begun.
    pub(crate) fn requests_unanswered(&self) -> usize {
        lock(&self.asked).requests.len()
    }

    /// A call has ended, or was given up.
    pub(crate) fn forget(&self, run: RunId) {
        self.hold(run, None);
        self.failing.ended(run);
        lock(&self.asked).requests.remove(&run);
    }

    fn hold(&self, run: RunId, why: Option<Held>) {
        let mut held = lock(&self.held);
        match why {
            Some(why) => held.insert(run, why),
            None => held.remove(&run),
        };
    }
}

impl Asked {
    /// Takes out a request whose answer begins. Returns when it was sent.
    fn began(&mut self, run: RunId) -> Option<Duration> {
        self.heard = Some(Instant::now());
        self.requests.remove(&run).map(|(sent, _)| sent)
    }

    fn silent_for(&self) -> Option<Duration> {
        let oldest = self.requests.values().map(|(_, sent)| *sent).min()?;
        Some(self.heard.map_or(oldest, |heard| heard.max(oldest)).elapsed())
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

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a sum of money in billionths")]
fn billionths(usd: f64) -> u64 {
    (usd * 1e9).round() as u64
}

#[expect(clippy::cast_precision_loss, reason = "a sum of money for people")]
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
    fn what_an_earlier_run_left_is_no_answer_of_this_one_and_hides_none() {
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
    async fn the_rate_is_that_of_the_last_five_seconds() {
        let progress = Progress::default();
        progress.set_total(1000);
        progress.snapshot();
        for second in 0..20 {
            // Ten rows a second, and after ten seconds twenty.
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
    async fn answers_from_a_store_and_the_beginnings_of_others_are_counted() {
        let progress = Arc::new(Progress::default());
        progress.set_cap(2.5);
        let watched = step(|stored: bool, cx: Context| async move {
            if !stored {
                cx.emit(EventKind::RequestStarted).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
                cx.emit(EventKind::FirstByte).await;
            }
            let reply = fanweave_core::Reply { cached: stored, ..Default::default() };
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
        assert!(lock(&progress.asked).requests.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn silence_counts_from_the_last_answer_or_the_oldest_request_that_waits() {
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
            assert_eq!(silent_for(), Some(5), "another one was answered after 20 s");
        };
        let (long, short) = (call(60), call(20));
        let (_, _, ()) = tokio::join!(long.invoke_in((), &cx), short.invoke_in((), &cx), watch);
        assert_eq!(silent_for(), None);
    }

    #[tokio::test]
    async fn a_model_that_tells_of_no_first_byte_leaves_nothing_behind() {
        let progress = Arc::new(Progress::default());
        let silent = step(|(), cx: Context| async move {
            cx.emit(EventKind::RequestStarted).await;
            cx.emit(EventKind::StepFinished { reply: Some(Arc::default()) }).await;
            Ok(())
        });
        let own = progress.clone();
        let cx = Context::new().with_observer(Arc::new(move |event: &Event| own.on_event(event)));
        silent.named("call").invoke_in((), &cx).await.unwrap();
        assert!(lock(&progress.asked).requests.is_empty());
    }

    #[tokio::test]
    async fn calls_that_wait_or_try_again_are_counted_until_they_go_on() {
        let progress = Arc::new(Progress::default());
        let (own, seen) = (progress.clone(), Arc::new(Mutex::new(Vec::new())));
        let notes = seen.clone();
        let watched = step(move |_: u32, cx: Context| {
            let (own, notes) = (own.clone(), notes.clone());
            async move {
                let error = Error::new(ErrorKind::Server, "on strike");
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
