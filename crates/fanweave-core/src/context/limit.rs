//! Limits on the calls of a run: permits, and their queues.
//!
//! Limits nest: [`Context::with_concurrency`](crate::Context::with_concurrency) within a limited run adds a
//! limit below the existing ones. All nested limits share one lock, so a call takes its permits of all of
//! them together and holds none while it waits for another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context as TaskContext, Poll, Waker};

use tokio::sync::Notify;

use crate::Concurrency;

/// Maximum number of calls in flight, within the enclosing limits.
pub(super) struct Limit {
    tree: Arc<Tree>,
    /// Index into [`State::nodes`].
    node: usize,
    permits: Concurrency,
    around: Option<Arc<Limit>>,
}

/// The limits of one part of a chain, which all its runs share.
///
/// Only live limits are found: one without a handle has no call in flight.
#[derive(Default)]
pub(crate) struct PartLimits(Mutex<Vec<Weak<Limit>>>);

impl PartLimits {
    /// The limit of the part that is equal to `limit`, which was made for one run. Limits up to `outer`,
    /// which are those of the enclosing run, stay the same.
    pub(super) fn shared(&self, limit: Option<Arc<Limit>>, outer: Option<&Arc<Limit>>) -> Option<Arc<Limit>> {
        let limit = limit?;
        if outer.is_some_and(|outer| Arc::ptr_eq(outer, &limit)) {
            return Some(limit);
        }
        let around = self.shared(limit.around.clone(), outer);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = None;
        all.retain(|part| {
            let Some(part) = part.upgrade() else { return false };
            if part.permits == limit.permits && is_equal(part.around.as_ref(), around.as_ref()) {
                found = Some(part);
            }
            true
        });
        Some(found.unwrap_or_else(|| {
            let new = Arc::new(Limit::new(limit.permits, around));
            all.push(Arc::downgrade(&new));
            new
        }))
    }
}

/// Returns true if both are the same limit.
pub(super) fn is_equal(a: Option<&Arc<Limit>>, b: Option<&Arc<Limit>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        _ => false,
    }
}

/// Nested limits within one outermost limit.
#[derive(Default)]
struct Tree {
    state: Mutex<State>,
    /// Notified when a call begins to wait.
    queued: Notify,
    /// Permits that were returned while their calls were still in flight.
    over_limit: AtomicU64,
}

#[derive(Default)]
struct State {
    /// `None` for limits that no longer exist.
    nodes: Vec<Option<Node>>,
    unused: Vec<usize>,
    /// Waiters that have been granted their permits and have not taken them yet.
    granted: BTreeSet<u64>,
    next_ticket: u64,
}

/// One limit. Its queue is empty while it has free permits.
struct Node {
    free: usize,
    /// Waiters by ticket, that is in the order of their arrival. Each waits at one limit without a free
    /// permit.
    queue: BTreeMap<u64, Waiter>,
}

struct Waiter {
    limit: Arc<Limit>,
    waker: Waker,
}

/// A permit for one of the run's concurrent calls. Dropping it returns it.
#[must_use = "dropping a permit returns it"]
pub struct RunPermit {
    /// `None` if the run has no limit, or the permit has been returned early.
    limit: Option<Arc<Limit>>,
}

impl Limit {
    pub(super) fn new(permits: Concurrency, around: Option<Arc<Limit>>) -> Self {
        let tree = around.as_ref().map_or_else(Arc::default, |around| around.tree.clone());
        let node = tree.lock().add(Node { free: permits.get(), queue: BTreeMap::new() });
        Self { tree, node, permits, around }
    }

    /// This limit and the enclosing ones, innermost first.
    fn path(&self) -> impl Iterator<Item = &Limit> {
        std::iter::successors(Some(self), |limit| limit.around.as_deref())
    }

    /// An error if one of the limits is 0.
    pub(super) fn check(&self) -> crate::Result<()> {
        self.path().try_for_each(|limit| limit.permits.checked().map(drop))
    }

    pub(super) fn try_acquire(self: &Arc<Self>) -> Option<RunPermit> {
        self.tree.lock().try_take(self).then(|| RunPermit { limit: Some(self.clone()) })
    }

    pub(super) fn acquire(self: &Arc<Self>) -> Acquire<'_> {
        Acquire { limit: self, ticket: None }
    }

    pub(super) fn over_limit(&self) -> u64 {
        self.tree.over_limit.load(Ordering::Relaxed)
    }

    fn release(&self) {
        let woken = {
            let mut state = self.tree.lock();
            self.path().for_each(|limit| state.node(limit.node).free += 1);
            self.path().flat_map(|limit| state.grant(limit.node)).collect::<Vec<_>>()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Returns true if a call waits for a permit of this limit or of an enclosing one.
    fn is_wanted(&self) -> bool {
        let mut state = self.tree.lock();
        self.path().any(|limit| !state.node(limit.node).queue.is_empty())
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        let mut state = self.tree.lock();
        state.nodes[self.node] = None;
        state.unused.push(self.node);
    }
}

impl Tree {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, node: Node) -> usize {
        match self.unused.pop() {
            Some(at) => {
                self.nodes[at] = Some(node);
                at
            }
            None => {
                self.nodes.push(Some(node));
                self.nodes.len() - 1
            }
        }
    }

    fn node(&mut self, at: usize) -> &mut Node {
        self.nodes[at].as_mut().expect("a limit is removed only with its last handle")
    }

    /// The innermost limit without a free permit.
    fn full(&mut self, limit: &Limit) -> Option<usize> {
        limit.path().map(|limit| limit.node).find(|node| self.node(*node).free == 0)
    }

    fn try_take(&mut self, limit: &Limit) -> bool {
        let has_room = self.full(limit).is_none();
        if has_room {
            limit.path().for_each(|limit| self.node(limit.node).free -= 1);
        }
        has_room
    }

    /// Grants free permits of a limit to its waiters. A waiter that another limit blocks waits there.
    fn grant(&mut self, at: usize) -> Vec<Waker> {
        let mut woken = Vec::new();
        while self.node(at).free > 0
            && let Some((ticket, waiter)) = self.node(at).queue.pop_first()
        {
            if self.try_take(&waiter.limit) {
                self.granted.insert(ticket);
                woken.push(waiter.waker);
            } else if let Some(full) = self.full(&waiter.limit) {
                self.node(full).queue.insert(ticket, waiter);
            }
        }
        woken
    }
}

/// Waits for a permit, first come, first served. Dropping it passes a permit that was already granted to the
/// next waiter.
pub(super) struct Acquire<'a> {
    limit: &'a Arc<Limit>,
    /// `None` unless it waits.
    ticket: Option<u64>,
}

impl Future for Acquire<'_> {
    type Output = RunPermit;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<RunPermit> {
        let this = self.get_mut();
        let permit = || Poll::Ready(RunPermit { limit: Some(this.limit.clone()) });
        let mut state = this.limit.tree.lock();
        if let Some(ticket) = this.ticket {
            if state.granted.remove(&ticket) {
                this.ticket = None;
                return permit();
            }
            for limit in this.limit.path() {
                if let Some(waiter) = state.node(limit.node).queue.get_mut(&ticket) {
                    waiter.waker.clone_from(task.waker());
                }
            }
            return Poll::Pending;
        }
        let Some(full) = state.full(this.limit) else {
            state.try_take(this.limit);
            return permit();
        };
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        let waiter = Waiter { limit: this.limit.clone(), waker: task.waker().clone() };
        state.node(full).queue.insert(ticket, waiter);
        this.ticket = Some(ticket);
        drop(state);
        this.limit.tree.queued.notify_waiters();
        Poll::Pending
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else { return };
        let mut state = self.limit.tree.lock();
        if state.granted.remove(&ticket) {
            drop(state);
            self.limit.release();
            return;
        }
        // Dropped after the lock: it may hold the last handle of a limit.
        let left = self.limit.path().find_map(|limit| state.node(limit.node).queue.remove(&ticket));
        drop(state);
        drop(left);
    }
}

impl RunPermit {
    /// The permit of a run without a limit.
    pub(super) fn unlimited() -> Self {
        Self { limit: None }
    }

    /// Returns true if it counts against `limit` and no other limit.
    pub(super) fn is_of(&self, limit: &Arc<Limit>) -> bool {
        self.limit.as_ref().is_some_and(|own| Arc::ptr_eq(own, limit))
    }

    /// Returns true if another call of the run waits for a permit that this one holds.
    pub fn is_wanted(&self) -> bool {
        self.limit.as_ref().is_some_and(|limit| limit.is_wanted())
    }

    /// Resolves when another call of the run waits for a permit that this one holds. Never resolves if the
    /// run has no limit. Does not borrow the permit.
    pub(super) fn wanted(&self) -> impl Future<Output = ()> + Send + use<> {
        let limit = self.limit.clone();
        async move {
            match limit {
                Some(limit) => wanted(&limit).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Returns the permit while its call is still in flight, and counts it in
    /// [`Context::over_limit`](crate::Context::over_limit).
    pub fn give_up(self) {
        if let Some(limit) = &self.limit {
            limit.tree.over_limit.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn wanted(limit: &Limit) {
    loop {
        let queued = limit.tree.queued.notified();
        let mut queued = std::pin::pin!(queued);
        // Enabled before the queues are read: a call that begins to wait in between is not missed.
        queued.as_mut().enable();
        if limit.is_wanted() {
            return;
        }
        queued.await;
    }
}

impl Drop for RunPermit {
    fn drop(&mut self) {
        if let Some(limit) = &self.limit {
            limit.release();
        }
    }
}

impl fmt::Debug for RunPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunPermit").field("is_limited", &self.limit.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt;
    use futures::future::join_all;

    use super::*;

    fn limit(permits: usize, around: Option<&Arc<Limit>>) -> Arc<Limit> {
        Arc::new(Limit::new(permits.into(), around.cloned()))
    }

    #[tokio::test]
    async fn permits_go_to_waiters_in_the_order_of_their_arrival_and_past_those_that_left() {
        let one = limit(1, None);
        let held = one.try_acquire().expect("a free permit");
        assert!(one.try_acquire().is_none());
        let mut first = Box::pin(one.acquire());
        let mut second = pin!(one.acquire());
        let mut third = pin!(one.acquire());
        assert!(first.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        assert!(held.is_wanted());
        drop(held);
        // Granted to the first waiter, which is dropped without taking it.
        drop(first);
        let held = second.as_mut().now_or_never().expect("the permit was passed on");
        assert!(third.as_mut().now_or_never().is_none());
        drop(held);
        assert!(!third.as_mut().now_or_never().expect("its turn").is_wanted());
    }

    #[tokio::test]
    async fn a_waiter_for_an_outer_limit_holds_no_permit_of_the_inner_one() {
        let outer = limit(1, None);
        let (left, right) = (limit(1, Some(&outer)), limit(2, Some(&outer)));
        let held = right.try_acquire().expect("a free permit");
        let mut waits = pin!(left.acquire());
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(left.tree.lock().node(left.node).free, 1);
        drop(held);
        let held = waits.now_or_never().expect("both limits are free");
        assert_eq!(left.tree.lock().node(left.node).free, 0);
        assert!(right.try_acquire().is_none());
        held.give_up();
        assert!(right.try_acquire().is_some());
        assert_eq!(outer.over_limit(), 1);
    }

    #[tokio::test]
    async fn any_order_of_calls_in_nested_limits_ends_with_all_permits_free() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let outer = limit(random.usize(1..4), None);
            let inner: Vec<_> = (0..3).map(|_| limit(random.usize(1..3), Some(&outer))).collect();
            let frees = |limits: &[Arc<Limit>]| {
                let mut state = outer.tree.lock();
                limits.iter().map(|limit| state.node(limit.node).free).collect::<Vec<_>>()
            };
            let all: Vec<_> = inner.iter().chain([&outer]).cloned().collect();
            let before = frees(&all);
            let calls = (0..40).map(|_| {
                let limit = random.choice(&all).expect("some limit").clone();
                let (yields, leaves) = (random.usize(0..4), random.bool());
                async move {
                    if leaves {
                        let _ = limit.acquire().now_or_never();
                    }
                    let _permit = limit.acquire().await;
                    for _ in 0..yields {
                        tokio::task::yield_now().await;
                    }
                }
            });
            let all_end = join_all(calls.collect::<Vec<_>>());
            tokio::time::timeout(std::time::Duration::from_secs(10), all_end).await.expect("no call hangs");
            assert_eq!(frees(&all), before);
            assert!(outer.tree.lock().granted.is_empty());
        }
    }
}
