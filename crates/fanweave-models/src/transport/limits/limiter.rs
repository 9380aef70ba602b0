//! Decides on the next admission. Pure: the caller passes the time, so that a simulation exercises the real
//! code.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use fanweave_core::{Error, ErrorKind, Priority, excerpt};
use tokio::time::Instant;

use super::RateLimits;
use super::bucket::{Bucket, is_long};
use super::capacity::{self, Capacity};
use super::chance::Chance;
use super::headers::Report;
use super::outage::{Evidence, MAX_PAUSE, Outage, RunOfFailures};
use super::poll_watch::{MAX_UNPOLLED, PollWatch};
use super::queue::{ALONE, Queue, QueueKey, Waiter};
use super::recent::{Latencies, Recent};
use super::state::AccountStatus;
use super::tokens::{RequestSize, TokenCount, Tokens};
use super::unnamed::{Cause, Probe, Sent, Unnamed};
use crate::transport::unsent::is_unreachable;

/// Maximum time that all calls of an account are held back.
const MAX_GATE: Duration = Duration::from_secs(3600);

/// After more failed waits than this, a single request tests whether the wait is over: whole waves would feed
/// a storm.
const FAILED_WAITS: u32 = 3;

/// Outages that a call takes part in before it runs alone: it may be their cause.
pub(crate) const MARKS: u32 = 3;

/// Share of the requests that may be retries while first attempts wait.
const MAX_RETRY_SHARE: f64 = 0.25;

/// Maximum hedged requests, as a share of all requests.
const MAX_HEDGE_SHARE: f64 = 0.05;

const REQUESTS: usize = 0;
const TOKENS: usize = 1;
const INPUT: usize = 2;
const OUTPUT: usize = 3;

/// Decides on the next admission.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    limits: RateLimits,
    pub(super) in_flight: usize,
    /// Requests in flight that are retries.
    retries: usize,
    /// Set while a call that runs alone is in flight.
    runs_alone: bool,
    pub(super) queue: Queue,
    /// The call that is admitted next.
    next: Option<QueueKey>,
    pub(super) outage: Outage,
    /// Capacity known when the current run of failures began. An outage does not change it.
    capacity_before: Option<Capacity>,
    /// Calls so far.
    calls: u64,
    /// Requests in flight whose calls are polled by other code, by call number.
    in_place: HashMap<u64, Arc<PollWatch>>,
    /// Permits given up before the end of their requests.
    pub(super) over_limit: u64,
    /// Nothing is admitted before this time, because the server requested a wait.
    gate: Option<Instant>,
    /// Time at which the last such wait ended or will end.
    reopened: Option<Instant>,
    /// Consecutive waits after which the server still rejected requests.
    failed_waits: u32,
    /// Set if the first queued call has to wait until a request has ended.
    holds_back: bool,
    /// Set while the first queued call waits without a timer. Its obstacle may be gone when the next request
    /// ends.
    waits_for_change: bool,
    /// Known limits of requests, tokens, input and output.
    buckets: [Option<Bucket>; 4],
    tokens: Tokens,
    pub(super) capacity: Capacity,
    unnamed: Unnamed,
    chance: Chance,
    /// Incremented with each cut of a rate.
    epoch: u32,
    recent: Recent,
    latencies: Latencies,
    pub(super) admitted: u64,
    pub(super) refused: u64,
    hedged: u64,
}

/// Obstacle that keeps a request from being sent.
#[derive(Debug, PartialEq)]
pub(super) enum Blocked {
    /// The clock: no obstacle from then on.
    Until(Instant),
    /// An obstacle that only a response or another setting removes.
    Change,
    /// It needs more than a whole window of its limit: these tokens, of that limit.
    Size { need: u64, limit: u64 },
}

/// Decision on a waiting call.
#[derive(Debug)]
pub(super) enum Admission<S> {
    /// Admitted, with a permit of its run.
    Now(S, AdmittedRequest),
    /// It could be admitted, but its run has no free permit.
    NoPermit,
    /// It waits until it is woken, or until the given time if there is one.
    Wait(Option<Instant>),
    /// The outage has lasted longer than the call waits.
    Unavailable(Error),
    Never {
        need: u64,
        limit: u64,
    },
}

/// Record of an admitted request, kept until it has ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct AdmittedRequest {
    ask: RequestSize,
    need: TokenCount,
    /// The buckets that it was taken from. Others may have been added since.
    taken: [bool; 4],
    pub(super) sent: Instant,
    crowd: usize,
    nth: u64,
    rate_epoch: u32,
    capacity_epoch: u32,
    pub(super) call: u64,
    /// Time at which the call's first failed request was sent.
    failed_at: Option<Instant>,
    /// Time at which that request of a batch failed.
    failed_since: Option<Instant>,
    is_retry: bool,
    pub(super) is_probe: bool,
    pub(super) is_alone: bool,
    /// Set if the server was answering when it was sent.
    pub(super) is_fair: bool,
    is_hedge: bool,
    /// Set if the call is polled by other code.
    is_in_place: bool,
    /// Set if the permit was given up before the end of the request.
    pub(super) is_given_up: bool,
}

impl AdmittedRequest {
    fn as_sent(&self) -> Sent {
        Sent { nth: self.nth, at: self.sent, crowd: self.crowd }
    }
}

/// A rejection by the server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Refusal {
    report: Report,
    hint: Option<Duration>,
    is_rate: bool,
    is_doubtful: bool,
}

impl Refusal {
    /// Creates a rejection from the reported limits, the requested wait, and whether the server named a rate
    /// limit. Otherwise it may be overloaded.
    pub(crate) fn new(report: Report, hint: Option<Duration>, is_rate: bool) -> Self {
        let is_doubtful = is_rate && hint.is_some_and(|hint| report.contradicts(hint));
        Self { report, hint: hint.filter(|_| !is_doubtful), is_rate, is_doubtful }
    }

    /// The wait. `None` if the same response contradicts it.
    pub(crate) fn hint(&self) -> Option<Duration> {
        self.hint
    }
}

impl Limiter {
    /// Returns true if there is nothing to wait for, and nothing to count but the requests in flight.
    fn is_open(&self) -> bool {
        self.gate.is_none()
            && self.failed_waits <= FAILED_WAITS
            && self.limits.concurrency.is_none_or(|max| self.in_flight < max.get())
            && self.buckets.iter().all(Option::is_none)
            && !self.unnamed.is_active()
            && self.capacity.has_room(self.in_flight)
    }

    /// Returns the number of a new call.
    pub(super) fn begin_call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    /// Admits a call that is not queued, if it may go before all queued ones.
    pub(super) fn try_admit(&mut self, waiter: &Waiter, now: Instant) -> Option<AdmittedRequest> {
        let class = super::queue::class(waiter.priority);
        let is_queued = self.queue.waiting()[..=class].iter().any(|waiting| *waiting > 0);
        let is_held = (self.outage.holds() && !waiter.outage_timeout.is_none())
            || self.runs_alone
            || waiter.marks(&self.outage) >= MARKS;
        if is_queued || is_held || self.outage.reopens(self.in_flight, now).is_some() {
            return None;
        }
        match self.admit(waiter.ask, now) {
            Ok(ticket) => Some(self.mark(ticket, waiter)),
            Err(_) => None,
        }
    }

    /// Like [`try_admit`](Self::try_admit), for a call polled by other code.
    pub(super) fn admit_in_place(
        &mut self,
        waiter: &Waiter,
        now: Instant,
    ) -> Option<(AdmittedRequest, Arc<PollWatch>)> {
        if self.limits.concurrency.is_some() || self.capacity.waits_for_answers() {
            return None;
        }
        let ticket = AdmittedRequest { is_in_place: true, ..self.try_admit(waiter, now)? };
        let poll_watch = PollWatch::new(now);
        self.in_place.insert(ticket.call, poll_watch.clone());
        Some((ticket, poll_watch))
    }

    /// Gives up the permits of calls that are not polled, because others wait for them. Returns the time to
    /// do so again: now, if there were any.
    fn give_up_absent(&mut self, now: Instant) -> Option<Instant> {
        if self.in_place.is_empty() {
            return None;
        }
        let before = self.in_place.len();
        self.in_place.retain(|_, poll_watch| !poll_watch.is_absent(now));
        let absent = before - self.in_place.len();
        self.in_flight -= absent;
        self.over_limit += absent as u64;
        Some(if absent > 0 { now } else { now + MAX_UNPOLLED })
    }

    /// Gives up a permit before the end of its request, because others wait for it. No effect if it was given
    /// up before.
    pub(super) fn give_up(&mut self, ticket: &mut AdmittedRequest, now: Instant) {
        self.over_limit += u64::from(self.holds_permit(ticket));
        self.ended(ticket, now);
        ticket.is_given_up = true;
    }

    /// Returns true if the request counts as in flight.
    fn holds_permit(&self, ticket: &AdmittedRequest) -> bool {
        !ticket.is_given_up && (!ticket.is_in_place || self.in_place.contains_key(&ticket.call))
    }

    /// Number of other requests in flight.
    fn others(&self, ticket: &AdmittedRequest) -> usize {
        self.in_flight - usize::from(self.holds_permit(ticket))
    }

    /// Records the owner of an admitted request.
    fn mark(&mut self, ticket: AdmittedRequest, waiter: &Waiter) -> AdmittedRequest {
        self.retries += usize::from(waiter.is_retry);
        // Interactive calls may be too few to notice an outage that began since those answers.
        let is_batch = waiter.priority == Priority::Batch;
        let failed_since = waiter.failed_at.filter(|_| is_batch).map(|_| waiter.since);
        let Waiter { call, is_retry, failed_at, .. } = *waiter;
        AdmittedRequest { call, is_retry, failed_at, failed_since, ..ticket }
    }

    /// Adds a call to the queue.
    pub(super) fn enter(&mut self, waiter: Waiter) -> QueueKey {
        let is_alone = waiter.marks(&self.outage) >= MARKS;
        self.queue.enter(waiter, is_alone)
    }

    /// Decides which call is admitted next. Returns the waker of the call that watches for its admission.
    pub(super) fn elect(&mut self) -> Option<Waker> {
        if self.queue.waiting() == [0, 0] {
            self.next = None;
            return None;
        }
        self.next = if self.outage.holds() {
            let cost = |ask| {
                let need = self.tokens.estimate(ask);
                need.input + need.output
            };
            let (run, last_failed) = (self.outage.run(), self.outage.last_failed());
            if self.outage.is_probing() { None } else { self.queue.probe(run, last_failed, cost) }
        } else if self.runs_alone {
            None
        } else {
            let bound = self.limits.concurrency.map(NonZeroUsize::get).or_else(|| self.capacity.bound());
            let capacity = bound.unwrap_or(self.in_flight) as f64;
            let brakes = self.retries as f64 >= (MAX_RETRY_SHARE * capacity).max(1.0);
            let outage = &self.outage;
            self.queue.next(brakes, self.in_flight == 0, |waiter| waiter.marks(outage) >= MARKS)
        };
        self.queue.lead(self.next)
    }

    /// Admits the call at `queue_key`, or returns its obstacle.
    pub(super) fn poll_admit<S>(
        &mut self,
        queue_key: QueueKey,
        waker: &Waker,
        permit: impl Fn() -> Option<S>,
        now: Instant,
    ) -> Admission<S> {
        let old = self.queue.leader();
        let woken = self.elect();
        if self.queue.leader() != old && self.queue.leader() != Some(queue_key) {
            woken.into_iter().for_each(Waker::wake);
        }
        if let Some(error) = self.expired(queue_key, now) {
            return Admission::Unavailable(error);
        }
        let Some(entry) = self.queue.get(queue_key) else { return Admission::Wait(None) };
        if entry.waker.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            entry.waker = Some(waker.clone());
        }
        let waiter = entry.waiter.clone();
        if self.queue.leader() != Some(queue_key) {
            return Admission::Wait(None);
        }
        let is_held = self.outage.holds();
        let expires = is_held.then(|| self.wake_expired(now)).flatten();
        let at = |when: Option<Instant>| Admission::Wait(when.into_iter().chain(expires).min());
        if self.next != Some(queue_key) {
            self.waits_for_change = true;
            self.holds_back = true;
            // A call that runs alone waits for the end of all others.
            let waits_for_all = self.queue.is_in(queue_key, ALONE) && !self.runs_alone && !is_held;
            return at(if waits_for_all { self.give_up_absent(now) } else { None });
        }
        let held = match self.outage.next_probe() {
            Some(probe) => Some(probe).filter(|probe| *probe > now),
            None => self.outage.reopens(self.in_flight, now),
        };
        if held.is_some() {
            return at(held);
        }
        let need = self.tokens.estimate(waiter.ask);
        let obstacle = self.obstacle(waiter.ask, need, now);
        self.waits_for_change = matches!(obstacle, Some(Blocked::Change));
        match obstacle {
            None => {
                // Only now: taking a permit and returning it would wake other calls of the run for nothing.
                let Some(permit) = permit() else { return Admission::NoPermit };
                let ticket = self.send(waiter.ask, need, now);
                let is_alone = self.queue.is_in(queue_key, ALONE);
                self.queue.leave(queue_key);
                self.runs_alone = is_alone;
                if is_held {
                    self.outage.probe_sent();
                }
                let ticket = self.mark(ticket, &waiter);
                Admission::Now(permit, AdmittedRequest { is_probe: is_held, is_alone, ..ticket })
            }
            Some(Blocked::Until(when)) => at(Some(when)),
            Some(Blocked::Change) => at(self.give_up_absent(now)),
            Some(Blocked::Size { need, limit }) => Admission::Never { need, limit },
        }
    }

    /// Returns the error of a call that has waited long enough for the end of an outage, or has an
    /// alternative.
    fn expired(&mut self, queue_key: QueueKey, now: Instant) -> Option<Error> {
        if !self.outage.holds() {
            return None;
        }
        let entry = self.queue.get(queue_key)?;
        let waiter = &entry.waiter;
        let ends = self.outage.expires(waiter.since, |has_answered| waiter.outage_timeout(has_answered));
        // The first call to arrive when a probe is due tests whether alternatives are still needed.
        let is_probe = self.next == Some(queue_key) && self.outage.next_probe().is_some_and(|at| at <= now);
        let is_over = (waiter.has_alternatives && !is_probe) || ends.is_some_and(|at| at <= now);
        is_over.then(|| self.outage.unavailable(now))
    }

    /// Wakes the calls that have waited long enough, and returns the time at which the next one has.
    pub(super) fn wake_expired(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        for entry in self.queue.entries() {
            let waiter = &entry.waiter;
            let at = self.outage.expires(waiter.since, |has_answered| waiter.outage_timeout(has_answered));
            if waiter.has_alternatives || at.is_some_and(|at| at <= now) {
                entry.waker.take().into_iter().for_each(Waker::wake);
            } else {
                next = next.into_iter().chain(at).min();
            }
        }
        next
    }

    /// Records how a request failed. Returns the run of failures that it belongs to, unless it was certainly
    /// its own fault. Called before it [has ended](Self::ended).
    pub(super) fn judge(
        &mut self,
        ticket: &AdmittedRequest,
        error: &Error,
        now: Instant,
    ) -> Option<RunOfFailures> {
        let evidence = Evidence::of(error);
        match evidence {
            Evidence::Answer => self.answered(ticket, now),
            // Both requests of a hedged call provide the same evidence.
            Evidence::Failure | Evidence::Overload if !ticket.is_hedge => {
                let was_held = self.outage.holds();
                let is_outage = evidence == Evidence::Failure || self.others(ticket) == 0;
                // A server that is down answers no request, whichever call caused it.
                let is_there = (error.status().is_some() || error.kind() == ErrorKind::Timeout)
                    && !is_unreachable(error);
                let is_bad = is_there && ticket.failed_at.is_some_and(|at| self.outage.was_bad(at));
                let run = self.outage.failed(ticket.call, error, ticket.sent, (is_outage, is_bad), now);
                if ticket.is_probe {
                    self.outage.probe_ended(now);
                }
                if self.outage.holds() && !was_held {
                    self.wake_expired(now);
                }
                // Others were sent after it had failed, and were answered: the verdict is certain.
                let is_charged = is_there && ticket.failed_since.is_some_and(|at| self.outage.was_bad(at));
                let is_decided = is_charged && !was_held && run == self.outage.run();
                return (!is_decided).then_some(run);
            }
            _ => {}
        }
        None
    }

    /// Sends a request, unless there is an obstacle.
    fn admit(&mut self, ask: RequestSize, now: Instant) -> Result<AdmittedRequest, Blocked> {
        let need = self.tokens.estimate(ask);
        match self.obstacle(ask, need, now) {
            None => Ok(self.send(ask, need, now)),
            Some(obstacle) => Err(obstacle),
        }
    }

    /// Returns the obstacle that keeps a request from being sent now, if any.
    fn obstacle(&mut self, ask: RequestSize, need: TokenCount, now: Instant) -> Option<Blocked> {
        if self.is_open() {
            return None;
        }
        if let Some((need, limit)) = self.too_large(ask) {
            return Some(Blocked::Size { need, limit });
        }
        match self.gate {
            Some(gate) if gate > now => return Some(Blocked::Until(gate)),
            _ => self.gate = None,
        }
        let is_full = self.limits.concurrency.is_some_and(|max| self.in_flight >= max.get());
        self.holds_back = is_full || (self.failed_waits > FAILED_WAITS && self.in_flight > 0);
        if self.holds_back {
            return Some(Blocked::Change);
        }
        if !self.capacity.has_room(self.in_flight) {
            match self.capacity.grow(self.in_flight, now) {
                Some(Ok(())) => {}
                Some(Err(when)) => return Some(Blocked::Until(when)),
                None => match self.unnamed.probe(self.in_flight, now) {
                    Probe::No => return Some(Blocked::Change),
                    Probe::Wait(until) => return Some(Blocked::Until(until)),
                    Probe::Go => {}
                    Probe::Free => self.restore_capacity(),
                },
            }
        }
        if self.buckets[REQUESTS].as_ref().is_some_and(|bucket| bucket.is_forgotten(now)) {
            self.buckets[REQUESTS] = None;
        }
        let blocked = |(bucket, need): (&mut Option<Bucket>, f64)| bucket.as_mut()?.ready(need, now).err();
        let when = self.buckets.iter_mut().zip(needs(need)).filter_map(blocked).max();
        when.max(self.unnamed.ready(now)).map(Blocked::Until)
    }

    fn send(&mut self, ask: RequestSize, need: TokenCount, now: Instant) -> AdmittedRequest {
        for (bucket, need) in self.buckets.iter_mut().zip(needs(need)) {
            if let Some(bucket) = bucket {
                bucket.take(need);
            }
        }
        self.unnamed.sent(now);
        self.in_flight += 1;
        self.admitted += 1;
        self.recent.admitted(now);
        AdmittedRequest {
            ask,
            need,
            taken: self.buckets.each_ref().map(Option::is_some),
            sent: now,
            crowd: self.in_flight,
            nth: self.admitted,
            rate_epoch: self.epoch,
            capacity_epoch: self.capacity.epoch(),
            call: 0,
            failed_at: None,
            failed_since: None,
            is_retry: false,
            is_probe: false,
            is_alone: false,
            is_fair: self.outage.is_answering(),
            is_hedge: false,
            is_in_place: false,
            is_given_up: false,
        }
    }

    /// Returns true if the first queued call may be admitted because of a response, and not only because of
    /// the time.
    pub(super) fn waits_for_answers(&self) -> bool {
        self.waits_for_change
            || self.holds_back
            || self.outage.holds()
            || self.capacity.waits_for_answers()
            || self.buckets[TOKENS..].iter().any(Option::is_some)
    }

    /// Returns the minimum tokens of `ask` and the limit of a window, if the request can never fit.
    fn too_large(&self, ask: RequestSize) -> Option<(u64, u64)> {
        let input = self.tokens.least_input(ask);
        let limit =
            [TOKENS, INPUT].into_iter().filter_map(|which| self.buckets[which].as_ref()?.limit_of_window());
        // Fractions of the limit add up to just below the whole number that they represent.
        let limit = limit.fold(f64::INFINITY, f64::min).round();
        (input > limit).then_some((input as u64, limit as u64))
    }

    /// Records the end of a request, whatever its outcome. No effect if its permit was given up.
    pub(super) fn ended(&mut self, ticket: &AdmittedRequest, now: Instant) {
        if ticket.is_given_up {
            return;
        }
        self.in_flight = self.others(ticket);
        if ticket.is_in_place {
            self.in_place.remove(&ticket.call);
        }
        self.retries -= usize::from(ticket.is_retry);
        self.runs_alone &= !ticket.is_alone;
        if ticket.is_probe {
            self.outage.probe_ended(now);
        }
    }

    /// Records limits named by a response.
    pub(super) fn sync(&mut self, report: &Report, now: Instant) {
        let is_fair = self.refused == 0;
        let own = [self.limits.requests_per_minute, self.limits.tokens_per_minute, None, None];
        for (which, ((bucket, quota), own)) in
            self.buckets.iter_mut().zip(report.quotas()).zip(own).enumerate()
        {
            let Some(quota) = quota else { continue };
            let (mut limit, mut window) = (quota.limit, quota.window);
            let own = own.map_or(f64::INFINITY, |own| f64::from(own.get()));
            // A daily quota does not determine the rate per minute, but the caller's limit does.
            if own / 60.0 <= limit / window || (own.is_finite() && is_long(window)) {
                (limit, window) = (own, 60.0);
            }
            match bucket {
                Some(bucket) => bucket.limit(limit, window, now),
                None => {
                    let full = Bucket::new(limit, window, now);
                    *bucket = Some(match quota.remaining {
                        Some(left) if which == REQUESTS && is_fair && !is_long(window) => {
                            full.after(self.recent.second(now), left)
                        }
                        // Treated as used up by the requests already sent: the tokens of those are unknown,
                        // and so is what a server counts that has rejected one.
                        _ => full.drained(),
                    });
                }
            }
            if let (Some(bucket), Some(left)) = (bucket, quota.remaining) {
                bucket.lower_to(left, now);
            }
        }
    }

    /// Records a success, with the tokens `counted` by the provider if it reports them.
    pub(super) fn succeeded(&mut self, ticket: &AdmittedRequest, counted: Option<TokenCount>, now: Instant) {
        let latency = now.duration_since(ticket.sent);
        self.answered(ticket, now);
        if self.is_after_gate(ticket) {
            self.failed_waits = 0;
        }
        if self.unnamed.succeeded(ticket.as_sent(), self.admitted) {
            self.restore_capacity();
        }
        self.capacity.succeeded(ticket.capacity_epoch, latency, ticket.crowd, self.in_flight, now);
        self.chance.succeeded(ticket.crowd);
        self.latencies.push(latency);
        if let Some(counted) = counted {
            self.tokens.learn(ticket.ask, counted);
            self.recent.spent(counted.input + counted.output, now);
            self.settle(ticket, counted, now);
        }
    }

    /// Records that a request was answered, whatever the answer.
    fn answered(&mut self, ticket: &AdmittedRequest, now: Instant) {
        let was_held = self.outage.holds();
        self.outage.answered(ticket.sent, now);
        if self.outage.holds() {
            return;
        }
        if let Some(before) = self.capacity_before.take()
            && was_held
        {
            self.go_back_to(before);
        }
    }

    /// Records a failure without information on limits: no output was generated.
    pub(super) fn failed(&mut self, ticket: &AdmittedRequest, now: Instant) {
        self.settle(ticket, TokenCount { output: 0.0, ..ticket.need }, now);
    }

    fn settle(&mut self, ticket: &AdmittedRequest, counted: TokenCount, now: Instant) {
        let taken = self.buckets.iter_mut().zip(ticket.taken);
        for (((bucket, taken), need), counted) in
            taken.zip(needs(ticket.need)).zip(needs(counted)).skip(TOKENS)
        {
            // Requests sent before the limit was known used up the burst that the bucket started without.
            if let Some(bucket) = bucket.as_mut().filter(|_| taken) {
                bucket.refund(need - counted, now);
            }
        }
    }

    /// Records a rejection because of a limit. Called before it [has ended](Self::ended).
    pub(super) fn refused(&mut self, ticket: &AdmittedRequest, refusal: &Refusal, now: Instant) {
        self.refused += 1;
        self.recent.refused(now);
        self.settle(ticket, TokenCount::default(), now);
        self.sync(&refusal.report, now);
        if refusal.is_doubtful {
            return;
        }
        if let Some(hint) = refusal.hint {
            if self.is_after_gate(ticket) {
                self.failed_waits += 1;
            }
            self.close(hint.max(self.least_pause()), now);
        }
        let exhausted = refusal.report.is_exhausted() == Some(true);
        if refusal.is_rate && (refusal.hint.is_some() || exhausted) {
            // A server that rejects everything reveals no rate: it would be cut down to nothing.
            if self.failed_waits <= FAILED_WAITS {
                self.cut(ticket, &refusal.report, now);
            }
        } else if refusal.hint.is_none() && refusal.is_rate && self.is_unnamed_rate(ticket, now) {
            self.restore_capacity();
            if let Some(pause) = self.unnamed.pause(self.others(ticket)).filter(|_| !self.outage.holds()) {
                self.close(pause, now);
            }
        } else if refusal.hint.is_none() {
            if self.outage.is_answering() {
                self.capacity_before = Some(self.capacity.clone());
            }
            if !refusal.is_rate && self.chance.refused(ticket.crowd, &self.capacity, now) {
                return self.restore_capacity();
            }
            let mut pause = self.capacity.refused(ticket.capacity_epoch, self.others(ticket));
            if refusal.is_rate {
                pause = pause.max(self.unnamed.pause(self.others(ticket)));
            }
            // Probes have their own pauses.
            if let Some(pause) = pause.filter(|_| !self.outage.holds()) {
                self.close(pause, now);
            }
        }
    }

    /// Returns true if a rejection without a reason appears to be caused by a rate limit.
    fn is_unnamed_rate(&mut self, ticket: &AdmittedRequest, now: Instant) -> bool {
        let in_flight = self.others(ticket);
        self.unnamed.refused(ticket.as_sent(), in_flight, self.admitted, &self.capacity, now) == Cause::Rate
    }

    /// Discards a bound on concurrency that was searched for by mistake.
    fn restore_capacity(&mut self) {
        if let Some(before) = self.unnamed.capacity().or_else(|| self.chance.capacity()) {
            self.go_back_to(before);
        }
    }

    fn go_back_to(&mut self, before: Capacity) {
        self.capacity = before.at_epoch(self.capacity.epoch() + 1);
    }

    /// Pause between requests that test whether a wait is over: a server may request no wait and reject for
    /// an hour.
    fn least_pause(&self) -> Duration {
        match self.failed_waits.saturating_sub(FAILED_WAITS) {
            0 => Duration::ZERO,
            n => capacity::pause(n, MAX_PAUSE),
        }
    }

    pub(super) fn close(&mut self, wait: Duration, now: Instant) {
        self.gate = self.gate.max(Some(now + wait.min(MAX_GATE)));
        self.reopened = self.gate;
        self.unnamed.hold(self.gate.unwrap_or(now));
    }

    /// Returns true if a request was sent after the last wait that the server requested.
    fn is_after_gate(&self, ticket: &AdmittedRequest) -> bool {
        self.reopened.is_none_or(|at| ticket.sent >= at)
    }

    fn cut(&mut self, ticket: &AdmittedRequest, report: &Report, now: Instant) {
        let is_used_up =
            |which: &usize| report.quotas()[*which].is_some_and(|q| q.remaining.is_some_and(|r| r < 1.0));
        let which = [TOKENS, INPUT, OUTPUT].into_iter().find(is_used_up).unwrap_or(REQUESTS);
        let is_new = ticket.rate_epoch == self.epoch;
        if is_new {
            self.epoch += 1;
        }
        // The later rejections of a wave show how much of it was accepted.
        let taken = self.recent.rate(now);
        let known = report.quotas()[which].is_some();
        match &mut self.buckets[which] {
            Some(bucket) if bucket.is_slow_start() => {
                if is_new && self.failed_waits < 2 {
                    // The second rejection after answers shows that there is a limit, and the accepted
                    // requests show its rate.
                    bucket.cut(0.95 * taken, 0.0, now);
                } else {
                    *bucket = Bucket::slow_start(taken, self.gate.unwrap_or(now), now);
                }
            }
            Some(bucket) => {
                let rate = if is_new { 0.95 * bucket.rate() } else { bucket.rate() };
                let rate = if which == REQUESTS { rate.min(taken.max(0.5 * rate)) } else { rate };
                let rate = if is_new || bucket.ceiling().is_none() { rate } else { bucket.rate() };
                bucket.cut(rate, if known { 0.7 } else { 0.0 }, now);
                if which != REQUESTS {
                    *bucket = bucket.clone().drained();
                }
            }
            // One rejection is weak evidence: many servers reject at first and accept everything later.
            none => *none = Some(Bucket::slow_start(taken, self.gate.unwrap_or(now), now)),
        }
    }

    /// Sets limits, replacing earlier ones.
    pub(super) fn set_limits(&mut self, limits: RateLimits, now: Instant) {
        let per_minute = |limits: &RateLimits| [limits.requests_per_minute, limits.tokens_per_minute];
        let changes = per_minute(&self.limits).into_iter().zip(per_minute(&limits));
        for (bucket, (old, new)) in self.buckets.iter_mut().zip(changes) {
            if old != new {
                *bucket = new.map(|new| Bucket::new(f64::from(new.get()), 60.0, now));
            }
        }
        self.limits = limits;
    }

    /// Returns true if forgetting the account would change nothing.
    pub(super) fn is_at_rest(&self, now: Instant) -> bool {
        self.in_flight == 0
            && !self.outage.holds()
            && self.gate.is_none_or(|gate| gate <= now)
            && self.buckets.iter().flatten().all(|bucket| bucket.is_full(now))
    }

    /// Returns the time from which a request sent at `sent` is slow enough to be hedged.
    pub(super) fn late(&mut self, sent: Instant) -> Option<Instant> {
        Some(sent + self.latencies.p95()? * 2)
    }

    /// Returns true if a slow request may be hedged: no call waits, and few requests have been hedged.
    pub(super) fn may_hedge(&self) -> bool {
        self.queue.waiting() == [0, 0]
            && !self.outage.holds()
            && (self.hedged as f64) < MAX_HEDGE_SHARE * self.admitted as f64
    }

    /// Admits a hedged request, if it may be sent now.
    pub(super) fn hedge(&mut self, ask: RequestSize, now: Instant) -> Option<AdmittedRequest> {
        let ticket = self.may_hedge().then(|| self.admit(ask, now))?.ok()?;
        self.hedged += 1;
        Some(AdmittedRequest { is_hedge: true, ..ticket })
    }

    /// Returns whether requests are sent, and if not, the reason.
    pub(super) fn status(&self, now: Instant) -> AccountStatus {
        let gate = self.gate.filter(|gate| *gate > now);
        let waits = self.queue.waiting() != [0, 0];
        if let Some(error) = self.outage.last().filter(|_| self.outage.holds()) {
            let next = self.outage.next_probe().max(gate.filter(|_| !self.outage.is_probing()));
            return AccountStatus::Outage {
                lasts: self.outage.began().map_or(Duration::ZERO, |began| now.duration_since(began)),
                failure: excerpt(&self.outage.failure(error), 200),
                next_probe: next.map(|next| next.saturating_duration_since(now)),
            };
        }
        match gate {
            Some(gate) => AccountStatus::Waiting { left: gate - now },
            None if !waits => AccountStatus::Open,
            None if self.holds_back || !self.capacity.has_room(self.in_flight) => AccountStatus::Full,
            None if self.unnamed.is_active() || self.buckets.iter().any(Option::is_some) => {
                AccountStatus::Paced
            }
            None => AccountStatus::Open,
        }
    }

    pub(super) fn gate(&self) -> Option<Instant> {
        self.gate
    }

    /// Requests and tokens of the last minute.
    pub(super) fn minute(&self, now: Instant) -> (u64, u64) {
        self.recent.minute(now)
    }

    pub(super) fn limits(&self) -> RateLimits {
        self.limits
    }

    /// Rate and limit of requests and tokens per minute.
    pub(super) fn rates(&self) -> [Option<(f64, Option<f64>)>; 2] {
        let rate = |which: usize| {
            let unnamed = self.unnamed.rate().filter(|_| which == REQUESTS).map(|rate| (rate * 60.0, None));
            let Some(bucket) = self.buckets[which].as_ref() else { return unnamed };
            Some((bucket.rate() * 60.0, bucket.ceiling().map(|ceiling| ceiling * 60.0 / 0.995)))
        };
        [rate(REQUESTS), rate(TOKENS)]
    }
}

/// The amount that a request takes from each bucket.
fn needs(need: TokenCount) -> [f64; 4] {
    [1.0, need.input + need.output, need.input, need.output]
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::super::headers::Quota;
    use super::*;

    proptest! {
        /// Requests succeed with fewer or more tokens than estimated, fail, are rejected or cancelled. The
        /// level of the bucket, the reserved and the spent tokens never exceed the inflow.
        #[test]
        fn refunds_never_create_tokens(
            limit in 600..200_000_u32,
            steps in prop::collection::vec((0_u64..2000, 4..4000_usize, 0_u8..6, 0.0..3.0_f64), 1..300),
        ) {
            let began = Instant::now();
            let mut limiter = Limiter::default();
            let limits = RateLimits { tokens_per_minute: NonZeroU32::new(limit), ..RateLimits::default() };
            limiter.set_limits(limits, began);
            let rate = 0.995 * f64::from(limit) / 60.0;
            let (mut now, mut out, mut spent) = (began, Vec::new(), 0.0);
            for (wait, bytes, what, factor) in steps {
                now += Duration::from_millis(wait);
                if what > 3 || out.is_empty() {
                    if let Ok(ticket) = limiter.admit(RequestSize { bytes, max_tokens: Some(100) }, now) {
                        out.push(ticket);
                    }
                } else {
                    let ticket = out.swap_remove(bytes % out.len());
                    let TokenCount { input, output } = ticket.need;
                    match what {
                        0 => {
                            limiter.failed(&ticket, now);
                            spent += input;
                        }
                        1 => limiter.refused(&ticket, &Refusal::new(Report::default(), None, false), now),
                        _ => {
                            let counted = TokenCount { input: input * factor, output: output * factor };
                            limiter.succeeded(&ticket, Some(counted), now);
                            spent += counted.input + counted.output;
                        }
                    }
                    limiter.ended(&ticket, now);
                }
                let held = limiter.buckets[TOKENS].as_mut().expect("it was set").level(now);
                let reserved: f64 = out.iter().map(|ticket| ticket.need.input + ticket.need.output).sum();
                let flowed = rate * now.duration_since(began).as_secs_f64() + rate.max(1.0);
                prop_assert!(held <= rate.max(1.0) + 1e-6);
                prop_assert!(held + reserved + spent <= flowed + 1e-3, "{held} + {reserved} + {spent} > {flowed}");
            }
        }
    }

    fn quota() -> impl Strategy<Value = Option<Quota>> {
        let limit = prop_oneof![Just(1.0), Just(1e12), 1.0..1e6_f64];
        let window = prop::sample::select(vec![60.0, 3600.0, 86_400.0]);
        prop::option::of((limit, prop::option::of(0.0..1.0_f64), window).prop_map(|(limit, left, window)| {
            Quota { limit, remaining: left.map(|left| limit * left), reset: None, window }
        }))
    }

    fn any_report() -> impl Strategy<Value = Report> {
        (quota(), quota(), quota(), quota()).prop_map(|(requests, tokens, input, output)| Report {
            requests,
            tokens,
            input,
            output,
        })
    }

    proptest! {
        /// Whatever a server reports about its limits, and however often it changes: the first queued call is
        /// admitted or gets a time to wait for.
        #[test]
        fn limits_that_change_with_every_answer_delay_no_call_for_ever(
            steps in prop::collection::vec((any_report(), 0_u8..4, 0_u64..5_000_000, any::<bool>()), 1..60),
        ) {
            let mut limiter = Limiter::default();
            let (mut now, mut out) = (Instant::now(), Vec::new());
            let ask = RequestSize { bytes: 4, max_tokens: Some(1) };
            for (report, what, millis, is_rate) in steps {
                now += Duration::from_millis(millis / 100);
                if let Ok(ticket) = limiter.admit(ask, now) {
                    out.push(ticket);
                }
                let Some(ticket) = out.pop() else { continue };
                match what {
                    0 => limiter.failed(&ticket, now),
                    1 => {
                        limiter.sync(&report, now);
                        limiter.succeeded(&ticket, Some(TokenCount { input: 1.0, output: 1.0 }), now);
                    }
                    _ => {
                        let hint = (what == 2).then(|| Duration::from_millis(millis));
                        limiter.refused(&ticket, &Refusal::new(report, hint, is_rate), now);
                    }
                }
                limiter.ended(&ticket, now);
            }
            // All requests in flight end, and no further response arrives.
            for ticket in out.drain(..) {
                limiter.failed(&ticket, now);
                limiter.ended(&ticket, now);
            }
            let began = now;
            loop {
                match limiter.admit(ask, now) {
                    Ok(_) => break,
                    Err(Blocked::Until(when)) => {
                        prop_assert!(when > now);
                        now = when;
                    }
                    other => prop_assert!(false, "{other:?}"),
                }
                // A quota of one per day.
                prop_assert!(now.duration_since(began).as_secs() < 3 * 86_400, "{limiter:?}");
            }
        }
    }

    fn tokens_a_minute(limit: f64) -> Report {
        let quota = Quota { limit, remaining: None, reset: None, window: 60.0 };
        Report { tokens: Some(quota), ..Report::default() }
    }

    #[test]
    fn an_amount_never_taken_from_a_bucket_is_not_returned_to_it() {
        let now = Instant::now();
        let mut limiter = Limiter::default();
        let ask = RequestSize { bytes: 400, max_tokens: Some(4000) };
        let sent: Vec<_> = (0..50)
            .map(|_| match limiter.admit(ask, now) {
                Ok(ticket) => ticket,
                other => panic!("unexpected limit: {other:?}"),
            })
            .collect();
        // The first response reveals the limit, and the others use less than was estimated.
        limiter.sync(&tokens_a_minute(60_000.0), now);
        let mut admitted = 0;
        for ticket in &sent {
            limiter.succeeded(ticket, Some(TokenCount { input: 100.0, output: 100.0 }), now);
            limiter.ended(ticket, now);
            while limiter.admit(ask, now).is_ok() {
                admitted += 1;
            }
        }
        assert_eq!(admitted, 0, "the burst of the limit was used, and no time has passed");
    }

    fn requests(limit: f64, left: f64, window: f64) -> Report {
        let quota = Quota { limit, remaining: Some(left), reset: None, window };
        Report { requests: Some(quota), ..Report::default() }
    }

    /// Number of requests sent in a minute, as early as allowed.
    fn in_a_minute(limiter: &mut Limiter, mut now: Instant) -> usize {
        let end = now + Duration::from_secs(60);
        let mut admitted = 0;
        while now < end && admitted < 100_000 {
            match limiter.admit(RequestSize::default(), now) {
                Ok(ticket) => {
                    admitted += 1;
                    limiter.ended(&ticket, now);
                }
                Err(Blocked::Until(when)) => now = when,
                other => panic!("{other:?}"),
            }
        }
        admitted
    }

    /// Sends requests that end at once, at most `count`. Returns how many are admitted without a wait.
    fn at_once(limiter: &mut Limiter, count: usize, now: Instant) -> usize {
        let sent = std::iter::from_fn(|| {
            let ticket = limiter.admit(RequestSize::default(), now).ok()?;
            limiter.ended(&ticket, now);
            Some(())
        });
        sent.take(count).count()
    }

    #[test]
    fn a_limit_that_an_answer_names_begins_with_what_is_left_of_its_burst() {
        // Requests before, seconds since, requests that the server has left, and how many follow at once of
        // the 44 of a burst.
        for (sent, seconds, left, expected) in
            [(1, 0, 2999.0, 43), (30, 0, 2970.0, 14), (80, 0, 2920.0, 0), (1, 0, 7.0, 7), (80, 3, 2920.0, 44)]
        {
            let (began, mut limiter) = (Instant::now(), Limiter::default());
            assert_eq!(at_once(&mut limiter, sent, began), sent, "no limit is known");
            let now = began + Duration::from_secs(seconds);
            limiter.sync(&requests(3000.0, left, 60.0), now);
            assert_eq!(at_once(&mut limiter, 1000, now), expected, "{sent} sent, {left} left");
        }
    }

    #[test]
    fn a_limit_that_a_rejection_names_begins_empty() {
        let now = Instant::now();
        let mut limiter = Limiter::default();
        let ticket = limiter.admit(RequestSize::default(), now).expect("no limit is known");
        let refusal = Refusal::new(requests(3000.0, 2999.0, 60.0), None, true);
        limiter.refused(&ticket, &refusal, now);
        limiter.ended(&ticket, now);
        assert_eq!(at_once(&mut limiter, 1000, now), 0);
    }

    #[test]
    fn a_daily_quota_does_not_reduce_the_callers_limit_per_minute() {
        let now = Instant::now();
        let mut limiter = Limiter::default();
        let own = RateLimits { requests_per_minute: NonZeroU32::new(30), ..RateLimits::default() };
        limiter.set_limits(own, now);
        limiter.sync(&requests(14_400.0, 14_000.0, 86_400.0), now);
        let admitted = in_a_minute(&mut limiter, now);
        assert!((29..=31).contains(&admitted), "{admitted} of 30");
    }

    #[test]
    fn the_rest_of_a_daily_quota_is_usable_even_if_the_first_answer_did_not_name_the_window() {
        let now = Instant::now();
        let mut limiter = Limiter::default();
        // No response had been counted yet, so that a minute was assumed.
        limiter.sync(&requests(14_400.0, 14_400.0, 60.0), now);
        limiter.sync(&requests(14_400.0, 14_000.0, 86_400.0), now);
        let admitted = in_a_minute(&mut limiter, now);
        assert!((13_900..=14_050).contains(&admitted), "{admitted} of 14,000");
    }

    #[test]
    fn a_request_may_be_larger_than_a_minute_of_a_quota_of_a_day_but_not_than_the_day() {
        let now = Instant::now();
        let mut limiter = Limiter::default();
        let quota = Quota { limit: 1_500_000.0, remaining: Some(1_495_621.0), reset: None, window: 86_400.0 };
        limiter.sync(&Report { tokens: Some(quota), ..Report::default() }, now);
        // 5,000 tokens, but a minute's share of the day is 1,041.
        let ask = |bytes| RequestSize { bytes, max_tokens: Some(100) };
        assert!(limiter.admit(ask(20_000), now).is_ok());
        let too_much = limiter.admit(ask(4 * 1_600_000), now);
        assert_eq!(too_much, Err(Blocked::Size { need: 1_600_000, limit: 1_500_000 }));
    }
}
