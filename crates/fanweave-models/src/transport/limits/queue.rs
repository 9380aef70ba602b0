//! The calls queued for one account, in order of admission. Pure except for the wakers it keeps.
//!
//! Interactive calls come before those of batches. Within a class, first attempts and retries are queued
//! separately, so that retries can be held back while first attempts wait; otherwise the earlier one goes
//! first. Calls that run alone come last.
//!
//! One call is the *leader*: it watches the clock for all others and is admitted next. The others are woken
//! when they become the leader.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;
use std::time::Duration;

use fanweave_core::Priority;
use tokio::time::Instant;

use super::outage::{FailureRunVerdict, Outage, RunOfFailures};
use super::tokens::RequestSize;
use crate::transport::retry::OutageTimeout;

/// Number of calls from which a probe is chosen.
const PROBES_FROM: usize = 64;

/// A call waiting to be admitted.
#[derive(Debug, Clone)]
pub(crate) struct Waiter {
    pub(crate) ask: RequestSize,
    pub(crate) priority: Priority,
    /// Call number, the same for all attempts.
    pub(crate) call: u64,
    /// Time at which its first failed request was sent.
    pub(crate) failed_at: Option<Instant>,
    /// Set if it has failed before while others were answered.
    pub(crate) is_retry: bool,
    /// Outages that it took part in, except for the last one.
    pub(crate) marks: u32,
    /// The last run of failures that it took part in, if that is undecided.
    pub(crate) failed_in: Option<RunOfFailures>,
    /// The last run of failures that it took part in.
    pub(crate) last_run: Option<RunOfFailures>,
    pub(crate) has_alternatives: bool,
    pub(crate) outage_timeout: OutageTimeout,
    /// Time since which it has waited, or could have waited, for the end of an outage.
    pub(crate) since: Instant,
    /// Set when no other call of its run remains.
    pub(crate) is_last: Option<Arc<AtomicBool>>,
}

/// Maximum time that the last call of a run waits for the end of an outage: it may be its only cause.
const LAST: Duration = Duration::from_secs(60);

impl Waiter {
    /// Outages that it took part in.
    pub(super) fn marks(&self, outage: &Outage) -> u32 {
        let last = self.failed_in.is_some_and(|run| outage.verdict(run) == FailureRunVerdict::Outage);
        self.marks + u32::from(last)
    }

    /// Maximum time that it waits for the end of an outage.
    pub(super) fn outage_timeout(&self, has_answered: bool) -> Duration {
        let is_last = self.is_last.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed));
        let outage_timeout = self.outage_timeout.of(has_answered);
        if is_last { outage_timeout.min(LAST) } else { outage_timeout }
    }
}

/// Key of a queued call.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueueKey {
    /// The lane that the call was added to. It may have been [set apart](Queue::set_apart) since.
    lane: usize,
    id: u64,
}

impl PartialEq for QueueKey {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    id: u64,
    pub(super) waiter: Waiter,
    pub(super) waker: Option<Waker>,
    has_left: bool,
}

/// Lanes by priority, first attempts before retries; the last one is for calls that run alone.
const LANES: usize = 5;
pub(super) const ALONE: usize = 4;

#[derive(Debug, Default)]
pub(super) struct Queue {
    next: u64,
    lanes: [VecDeque<Entry>; LANES],
    /// Entries of each lane whose calls have left.
    left: [usize; LANES],
    /// Waiting calls by priority.
    waiting: [usize; 2],
    leader: Option<QueueKey>,
}

pub(super) fn class(priority: Priority) -> usize {
    match priority {
        Priority::Interactive => 0,
        Priority::Batch => 1,
    }
}

impl Queue {
    /// Number of waiting calls, by priority.
    pub(super) fn waiting(&self) -> [usize; 2] {
        self.waiting
    }

    /// Adds a call at the end of its lane.
    pub(super) fn enter(&mut self, waiter: Waiter, is_alone: bool) -> QueueKey {
        let class = class(waiter.priority);
        let lane = if is_alone { ALONE } else { class * 2 + usize::from(waiter.is_retry) };
        self.waiting[class] += 1;
        self.next += 1;
        let id = self.next;
        self.lanes[lane].push_back(Entry { id, waiter, waker: None, has_left: false });
        QueueKey { lane, id }
    }

    /// Removes a call. No effect if it was removed before.
    pub(super) fn leave(&mut self, queue_key: QueueKey) {
        let Some(lane) = self.lane_of(queue_key) else { return };
        let at = self.lanes[lane].partition_point(|entry| entry.id < queue_key.id);
        let entry = &mut self.lanes[lane][at];
        entry.has_left = true;
        entry.waker = None;
        self.waiting[class(entry.waiter.priority)] -= 1;
        self.left[lane] += 1;
        self.trim(lane);
        if self.leader == Some(queue_key) {
            self.leader = None;
        }
    }

    /// Drops entries of calls that have left: immediately at the front, since the front is read, and
    /// elsewhere once they make up half of the lane, so that the cost per call is constant.
    fn trim(&mut self, lane: usize) {
        let (entries, left) = (&mut self.lanes[lane], &mut self.left[lane]);
        while entries.front().is_some_and(|entry| entry.has_left) {
            entries.pop_front();
            *left -= 1;
        }
        if *left > 64 && *left * 2 > entries.len() {
            entries.retain(|entry| !entry.has_left);
            *left = 0;
        }
    }

    pub(super) fn get(&mut self, queue_key: QueueKey) -> Option<&mut Entry> {
        let lane = self.lane_of(queue_key)?;
        let at = self.lanes[lane].partition_point(|entry| entry.id < queue_key.id);
        self.lanes[lane].get_mut(at)
    }

    /// The current lane of a call: it may have been moved into the last one.
    fn lane_of(&self, queue_key: QueueKey) -> Option<usize> {
        let is_in = |lane: usize| {
            let lane = &self.lanes[lane];
            let at = lane.partition_point(|entry| entry.id < queue_key.id);
            lane.get(at).is_some_and(|entry| entry.id == queue_key.id && !entry.has_left)
        };
        [queue_key.lane, ALONE].into_iter().find(|lane| is_in(*lane))
    }

    /// Returns true if a call is in that lane.
    pub(super) fn is_in(&self, queue_key: QueueKey, lane: usize) -> bool {
        self.lane_of(queue_key) == Some(lane)
    }

    /// Moves a call into the lane of those that run alone.
    fn set_apart(&mut self, queue_key: QueueKey) {
        let at = self.lanes[queue_key.lane].partition_point(|entry| entry.id < queue_key.id);
        let entry = self.lanes[queue_key.lane].remove(at);
        if let Some(entry) = entry {
            let at = self.lanes[ALONE].partition_point(|other| other.id < entry.id);
            self.lanes[ALONE].insert(at, entry);
        }
        self.trim(queue_key.lane);
    }

    fn front(&self, lane: usize) -> Option<QueueKey> {
        // The front entry has not left: see `trim`.
        self.lanes[lane].front().map(|entry| QueueKey { lane, id: entry.id })
    }

    /// Returns the call that is admitted next. `runs_alone` returns true for a call that is to be set apart,
    /// `brakes` is set if retries are held back while first attempts wait, and `is_empty` if nothing is in
    /// flight.
    pub(super) fn next(
        &mut self,
        brakes: bool,
        is_empty: bool,
        runs_alone: impl Fn(&Waiter) -> bool,
    ) -> Option<QueueKey> {
        for class in 0..2 {
            loop {
                let (first, retry) = (self.front(class * 2), self.front(class * 2 + 1));
                let queue_key = match (first, retry) {
                    (Some(first), Some(retry)) if brakes || first.id < retry.id => first,
                    (Some(first), None) => first,
                    (_, Some(retry)) => retry,
                    (None, None) => break,
                };
                match self.lanes[queue_key.lane].front() {
                    Some(entry) if runs_alone(&entry.waiter) => self.set_apart(queue_key),
                    _ => return Some(queue_key),
                }
            }
        }
        self.front(ALONE).filter(|_| is_empty)
    }

    /// Returns the call to probe with in a run of failures: the latest that has not failed in that run, or
    /// else the smallest of the first and the latest ones, except for the one that failed last.
    ///
    /// The failure of a call that has failed before is weak evidence. Calls that arrived together may be
    /// similar, and may be the cause of the failures.
    pub(super) fn probe(
        &self,
        run: RunOfFailures,
        failed_last: Option<u64>,
        cost: impl Fn(RequestSize) -> f64,
    ) -> Option<QueueKey> {
        let in_lane = |lane: usize| self.lanes[lane].iter().map(move |entry| (lane, entry));
        let first = (0..LANES).flat_map(in_lane).filter(|(_, entry)| !entry.has_left).take(PROBES_FROM);
        let last = (0..LANES).flat_map(|lane| in_lane(lane).rev().take(PROBES_FROM));
        let waiting = first.chain(last.filter(|(_, entry)| !entry.has_left));
        let rank = |(lane, entry): &(usize, &Entry)| {
            let waiter = &entry.waiter;
            let has_failed = waiter.last_run == Some(run);
            let latest = if has_failed { 0 } else { u64::MAX - entry.id };
            let failed_last = Some(waiter.call) == failed_last;
            ((has_failed, failed_last, *lane == ALONE, latest), cost(waiter.ask), entry.id)
        };
        let best = waiting.min_by(|a, b| {
            let ((a, a_cost, a_id), (b, b_cost, b_id)) = (rank(a), rank(b));
            a.cmp(&b).then(a_cost.total_cmp(&b_cost)).then(a_id.cmp(&b_id))
        });
        best.map(|(lane, entry)| QueueKey { lane, id: entry.id })
    }

    /// The call that watches the clock.
    pub(super) fn leader(&self) -> Option<QueueKey> {
        self.leader
    }

    /// Makes `queue_key`, or else the first waiting call, the leader. Returns the waker of the leader.
    pub(super) fn lead(&mut self, queue_key: Option<QueueKey>) -> Option<Waker> {
        self.leader = queue_key.or_else(|| (0..LANES).find_map(|lane| self.front(lane)));
        self.get(self.leader?)?.waker.clone()
    }

    /// All waiting calls.
    pub(super) fn entries(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.lanes.iter_mut().flatten().filter(|entry| !entry.has_left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(call: u64, bytes: usize, priority: Priority, is_retry: bool) -> Waiter {
        let ask = RequestSize { bytes, max_tokens: None };
        let since = Instant::now();
        Waiter {
            ask,
            priority,
            call,
            failed_at: None,
            is_retry,
            marks: 0,
            failed_in: None,
            last_run: None,
            has_alternatives: false,
            outage_timeout: OutageTimeout::default(),
            since,
            is_last: None,
        }
    }

    fn order(queue: &mut Queue, brakes: bool, alone: u64) -> Vec<u64> {
        let mut order = Vec::new();
        while let Some(queue_key) = queue.next(brakes, true, |waiter| waiter.call == alone) {
            order.push(queue.get(queue_key).expect("it waits").waiter.call);
            queue.leave(queue_key);
        }
        assert_eq!(queue.waiting(), [0, 0]);
        order
    }

    #[test]
    fn interactive_calls_come_first_and_those_that_run_alone_last() {
        let mut queue = Queue::default();
        for (call, priority) in [(1, Priority::Batch), (2, Priority::Batch), (3, Priority::Interactive)] {
            queue.enter(waiter(call, 1, priority, false), false);
        }
        assert_eq!(order(&mut queue, false, 1), [3, 2, 1]);
    }

    #[test]
    fn retries_wait_for_first_attempts_only_while_they_are_braked() {
        for (brakes, expected) in [(false, [1, 2, 3]), (true, [2, 3, 1])] {
            let mut queue = Queue::default();
            for (call, is_retry) in [(1, true), (2, false), (3, false)] {
                queue.enter(waiter(call, 1, Priority::Batch, is_retry), false);
            }
            assert_eq!(order(&mut queue, brakes, 0), expected);
        }
    }

    #[test]
    fn a_call_that_is_set_apart_while_it_waits_is_still_itself() {
        let mut queue = Queue::default();
        let entered = queue.enter(waiter(1, 1, Priority::Batch, false), false);
        let next = queue.next(false, true, |_| true);
        assert!(queue.is_in(entered, ALONE));
        assert_eq!(next, Some(entered));
        queue.lead(next);
        assert_eq!(queue.leader(), Some(entered));
    }

    #[test]
    fn a_probe_of_calls_that_all_failed_is_the_smallest_of_the_first_and_not_the_one_that_failed_last() {
        let mut queue = Queue::default();
        let failed =
            |call, bytes| Waiter { last_run: Some(1), ..waiter(call, bytes, Priority::Batch, false) };
        for (call, bytes) in [(1, 30), (2, 10), (3, 20)] {
            queue.enter(failed(call, bytes), false);
        }
        for call in 4..300 {
            let is_far = (100..200).contains(&call);
            queue.enter(failed(call, if is_far { 1 } else { 50 }), false);
        }
        let mut probe = |last| {
            let queue_key = queue.probe(1, last, |ask| ask.bytes as f64).expect("many wait");
            queue.get(queue_key).expect("it waits").waiter.call
        };
        assert_eq!([probe(None), probe(Some(2)), probe(Some(3))], [2, 3, 2]);
        // The only call there is must be used.
        let mut queue = Queue::default();
        let only = queue.enter(waiter(7, 1, Priority::Batch, false), false);
        assert_eq!(queue.probe(1, Some(7), |ask| ask.bytes as f64), Some(only));
    }

    #[test]
    fn a_probe_is_the_latest_call_that_has_not_failed_in_the_run() {
        let mut queue = Queue::default();
        let failed = |call, run| Waiter { last_run: Some(run), ..waiter(call, 1, Priority::Batch, false) };
        for call in 0..1000 {
            queue.enter(failed(call, 3), false);
        }
        let mut enter_and_probe = |waiter: Waiter| {
            queue.enter(waiter, false);
            let queue_key = queue.probe(3, Some(5), |ask| ask.bytes as f64).expect("many wait");
            queue.get(queue_key).expect("it waits").waiter.call
        };
        assert_eq!(enter_and_probe(failed(1000, 3)), 0);
        // A call that failed in an earlier run has not failed in this one.
        let earlier = Waiter { ask: RequestSize { bytes: 900, max_tokens: None }, ..failed(1001, 2) };
        assert_eq!(enter_and_probe(earlier), 1001);
        assert_eq!(enter_and_probe(waiter(1002, 500, Priority::Batch, true)), 1002);
    }

    #[test]
    fn a_hundred_thousand_calls_leave_from_the_middle_without_a_walk_over_the_others() {
        let mut queue = Queue::default();
        let seats: Vec<_> =
            (0..100_000).map(|call| queue.enter(waiter(call, 1, Priority::Batch, false), false)).collect();
        for queue_key in seats.iter().rev() {
            queue.leave(*queue_key);
            queue.leave(*queue_key);
        }
        assert_eq!((queue.waiting(), queue.entries().count()), ([0, 0], 0));
    }
}
