//! The budget of sockets: the pools of a process never open more sockets than the process is allowed.
//!
//! Every connection holds a [`Permit`] from before its socket is opened until the socket is closed. A caller
//! that finds no free permit waits, and an idle connection of another host is closed for it. Permits go to
//! the host with the fewest connections first, so that a busy host cannot keep them all.
//!
//! Other code of the process uses descriptors too. A connection attempt that finds no descriptor
//! lowers the budget to the current number of open sockets ([`DescriptorBudget::ran_out`]). After a
//! pause the budget is raised again one by one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use fanweave_core::__private::PerProcess;
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};
use tokio::time::{Instant, timeout};

/// Minimum number of descriptors reserved for everything but connections: output, journals, three for each
/// SQLite file, name lookups, and files that the caller opens later.
const RESERVE: usize = 16;

/// Share of the limit that is reserved if it exceeds [`RESERVE`]: larger programs open more files.
const RESERVE_SHARE: usize = 10;

/// Initial and maximum pause before a lowered budget is raised again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Maximum time that calls wait for a descriptor while the process has no open connection that could be
/// closed.
const MAX_QUEUE_WAIT: Duration = Duration::from_secs(30);

static SHARED: PerProcess<Arc<DescriptorBudget>> = PerProcess::new();

/// The notice about the limit of open files, if a connection of the process had to wait because of it.
pub(crate) fn notice() -> Option<String> {
    DescriptorBudget::shared().notice()
}

/// Permits for the sockets of one process.
pub(crate) struct DescriptorBudget {
    state: Mutex<State>,
    /// Soft limit of open files, if there is one.
    soft: fn() -> Option<usize>,
    /// Descriptors that were open before the first connection.
    taken: OnceLock<usize>,
    /// Callers waiting for a permit.
    queued: AtomicUsize,
    /// Set once a caller has had to wait.
    was_short: AtomicBool,
    /// Permits to look up a name and connect: each attempt may briefly need a few more descriptors.
    dials: OnceLock<Semaphore>,
}

struct State {
    /// Sockets that are open or are being opened.
    open: usize,
    /// Sockets among them that became connections.
    connected: usize,
    /// Maximum for `open`, derived from the limit of open files.
    limit: usize,
    /// Lower maximum for `open`, after descriptors ran out.
    lowered: Option<Lowered>,
    queues: Vec<PermitQueue>,
    hosts: Vec<Weak<dyn Host>>,
}

struct Lowered {
    limit: usize,
    pause: Duration,
    raise_at: Instant,
    /// Start of the time without any connection.
    none_since: Option<Instant>,
}

/// Callers of one host that wait for a permit.
struct PermitQueue {
    share: Arc<Share>,
    callers: VecDeque<oneshot::Sender<Permit>>,
}

/// Connections of one host, as the budget sees them.
#[derive(Default)]
pub(crate) struct Share {
    /// Permits held. Changed only under the lock of the budget.
    open: AtomicUsize,
}

/// A host of a pool that can close an idle connection.
pub(crate) trait Host: Send + Sync {
    fn share(&self) -> &Arc<Share>;
    /// Time since which the least recently used connection has been idle.
    fn idle_since(&self) -> Option<Instant>;
    /// Closes that connection.
    fn close_idle(&self);
}

/// Permission for one socket. Dropped after the socket.
pub(crate) struct Permit {
    budget: Arc<DescriptorBudget>,
    share: Arc<Share>,
    is_connected: bool,
}

impl DescriptorBudget {
    /// The budget of the process.
    pub(crate) fn shared() -> Arc<Self> {
        Arc::clone(&SHARED.get(|| Arc::new(Self::new(soft_limit))))
    }

    fn new(soft: fn() -> Option<usize>) -> Self {
        let (queues, hosts) = (Vec::new(), Vec::new());
        let state = State { open: 0, connected: 0, limit: usize::MAX, lowered: None, queues, hosts };
        Self {
            state: Mutex::new(state),
            soft,
            taken: OnceLock::new(),
            queued: AtomicUsize::new(0),
            was_short: AtomicBool::new(false),
            dials: OnceLock::new(),
        }
    }

    /// Maximum number of sockets under the limit of open files, which the process may change at any time.
    fn allowed(&self) -> usize {
        let taken = *self.taken.get_or_init(open_descriptors);
        sockets((self.soft)(), taken)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn notice(&self) -> Option<String> {
        let soft = (self.soft)().filter(|_| self.was_short.load(Ordering::Relaxed))?;
        let limit = self.state().maximum();
        Some(format!("open connections are limited to {limit} by the limit of open files (ulimit -n {soft})"))
    }

    /// Makes the idle connections of `host` available to others.
    pub(crate) fn register(&self, host: Weak<dyn Host>) {
        let mut state = self.state();
        state.hosts.retain(|host| host.strong_count() > 0);
        state.hosts.push(host);
    }

    /// Current maximum number of connections.
    pub(crate) fn limit(&self) -> usize {
        self.state().maximum()
    }

    /// Returns a permit, if one is free.
    pub(crate) fn try_acquire(self: &Arc<Self>, share: &Arc<Share>) -> Option<Permit> {
        let allowed = self.allowed();
        let mut state = self.state();
        state.limit = allowed;
        (!state.is_full()).then(|| state.permit(self, share))
    }

    /// Waits for a permit.
    pub(crate) async fn acquire(self: &Arc<Self>, share: &Arc<Share>) -> Permit {
        let allowed = self.allowed();
        let mut granted = {
            let mut state = self.state();
            state.limit = allowed;
            if !state.is_full() {
                return state.permit(self, share);
            }
            let (caller, granted) = oneshot::channel();
            state.queue(share).push_back(caller);
            granted
        };
        self.was_short.store(true, Ordering::Relaxed);
        let _queued = Queued::new(&self.queued);
        self.make_room(share);
        loop {
            // A lowered budget is raised by the waiting callers.
            let pause = self.state().lowered.as_ref().map_or(PAUSE.1, |lowered| {
                lowered.raise_at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
            });
            match timeout(pause, &mut granted).await {
                Ok(permit) => return permit.expect("the budget drops a caller only with its receiver"),
                Err(_) => self.raise(),
            }
        }
    }

    /// Waits for permission to look up a name.
    pub(crate) async fn dial(&self) -> SemaphorePermit<'_> {
        let dials = self.dials.get_or_init(|| {
            let permits = (self.soft)().map_or(Semaphore::MAX_PERMITS, reserve);
            Semaphore::new(permits.min(Semaphore::MAX_PERMITS))
        });
        dials.acquire().await.expect("the semaphore is never closed")
    }

    /// Returns true if a host should close a connection for another host that waits: a connection that
    /// `is_spare`, or one that exceeds its share while a host with fewer connections waits.
    ///
    /// Called at the end of every call. Costs one atomic load unless a call is waiting.
    pub(crate) fn wants_back(&self, share: &Arc<Share>, is_spare: bool) -> bool {
        if self.queued.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let state = self.state();
        let mine = share.open();
        state.queues.iter().any(|queue| {
            let theirs = queue.share.open();
            let is_other = !Arc::ptr_eq(&queue.share, share);
            is_other && (is_spare || theirs == 0 || theirs + 1 < mine) && queue.is_waiting()
        })
    }

    /// Lowers the budget to the current number of open sockets after a connection attempt found no
    /// descriptor. `permit` is that of the attempt.
    ///
    /// Returns true if waiting for another permit is worthwhile: false after `MAX_QUEUE_WAIT` without any
    /// connection.
    pub(crate) fn ran_out(&self, permit: Permit) -> bool {
        let now = Instant::now();
        self.was_short.store(true, Ordering::Relaxed);
        let continues = {
            let mut state = self.state();
            let (limit, connected) = (state.open.saturating_sub(1), state.connected);
            let lowered = state.lowered.get_or_insert_with(|| Lowered {
                limit,
                pause: PAUSE.0,
                raise_at: now + PAUSE.0,
                none_since: None,
            });
            lowered.limit = lowered.limit.min(limit);
            if connected > 0 {
                lowered.none_since = None;
            }
            let none_since = (connected == 0).then(|| *lowered.none_since.get_or_insert(now));
            none_since.is_none_or(|since| since.elapsed() < MAX_QUEUE_WAIT)
        };
        drop(permit);
        continues
    }

    /// Raises the budget by one socket if the pause is over.
    fn raise(self: &Arc<Self>) {
        let granted = {
            let mut state = self.state();
            let (now, full) = (Instant::now(), state.limit);
            if let Some(lowered) = &mut state.lowered
                && lowered.raise_at <= now
            {
                lowered.limit += 1;
                lowered.pause = (lowered.pause * 2).min(PAUSE.1);
                lowered.raise_at = now + lowered.pause;
                if lowered.limit >= full {
                    state.lowered = None;
                }
            }
            state.grant(self)
        };
        send_permits(granted);
    }

    /// Closes the longest idle connection of another host.
    fn make_room(&self, share: &Arc<Share>) {
        // Each host has its own lock, which is taken before that of the budget.
        let hosts: Vec<_> = self.state().hosts.iter().filter_map(Weak::upgrade).collect();
        let others = hosts.iter().filter(|host| !Arc::ptr_eq(host.share(), share));
        let idle = others.filter_map(|host| Some((host.idle_since()?, host)));
        if let Some((_, host)) = idle.min_by_key(|(since, _)| *since) {
            host.close_idle();
        }
    }
}

impl State {
    fn maximum(&self) -> usize {
        self.lowered.as_ref().map_or(self.limit, |lowered| lowered.limit.min(self.limit))
    }

    fn is_full(&self) -> bool {
        self.open >= self.maximum()
    }

    fn permit(&mut self, budget: &Arc<DescriptorBudget>, share: &Arc<Share>) -> Permit {
        self.open += 1;
        share.open.fetch_add(1, Ordering::Relaxed);
        Permit { budget: budget.clone(), share: share.clone(), is_connected: false }
    }

    fn queue(&mut self, share: &Arc<Share>) -> &mut VecDeque<oneshot::Sender<Permit>> {
        let known = self.queues.iter().position(|queue| Arc::ptr_eq(&queue.share, share));
        let at = known.unwrap_or_else(|| {
            self.queues.push(PermitQueue { share: share.clone(), callers: VecDeque::new() });
            self.queues.len() - 1
        });
        &mut self.queues[at].callers
    }

    /// Grants the available permits to waiting callers, starting with the hosts with the fewest connections.
    fn grant(&mut self, budget: &Arc<DescriptorBudget>) -> Vec<(oneshot::Sender<Permit>, Permit)> {
        let mut granted = Vec::new();
        while !self.is_full() {
            self.queues.retain_mut(PermitQueue::is_waiting_after_pruning);
            let Some(next) = self.queues.iter_mut().min_by_key(|queue| queue.share.open()) else { break };
            let (share, caller) = (next.share.clone(), next.callers.pop_front());
            let caller = caller.expect("empty queues were removed");
            granted.push((caller, self.permit(budget, &share)));
        }
        granted
    }
}

/// Must not be called under the lock: the permit of a caller that is gone is dropped here.
fn send_permits(granted: Vec<(oneshot::Sender<Permit>, Permit)>) {
    for (caller, permit) in granted {
        drop(caller.send(permit));
    }
}

impl PermitQueue {
    fn is_waiting(&self) -> bool {
        self.callers.iter().any(|caller| !caller.is_closed())
    }

    /// Removes callers that are gone from the front.
    fn is_waiting_after_pruning(&mut self) -> bool {
        while self.callers.front().is_some_and(oneshot::Sender::is_closed) {
            self.callers.pop_front();
        }
        !self.callers.is_empty()
    }
}

impl Share {
    /// Connections of the host that are open or being opened.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Permit {
    /// Records that the socket has become a connection.
    pub(crate) fn connected(&mut self) {
        if std::mem::replace(&mut self.is_connected, true) {
            return;
        }
        let mut state = self.budget.state();
        state.connected += 1;
        if let Some(lowered) = &mut state.lowered {
            // Descriptors are available again.
            (lowered.pause, lowered.none_since) = (PAUSE.0, None);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let granted = {
            let mut state = self.budget.state();
            state.open -= 1;
            state.connected -= usize::from(self.is_connected);
            self.share.open.fetch_sub(1, Ordering::Relaxed);
            state.grant(&self.budget)
        };
        send_permits(granted);
    }
}

/// Counts a waiting caller.
struct Queued<'a>(&'a AtomicUsize);

impl<'a> Queued<'a> {
    fn new(queued: &'a AtomicUsize) -> Self {
        queued.fetch_add(1, Ordering::Relaxed);
        Self(queued)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Maximum number of sockets for a process with a limit of `soft` open files, `taken` of them in use.
fn sockets(soft: Option<usize>, taken: usize) -> usize {
    let Some(soft) = soft else { return usize::MAX };
    soft.saturating_sub(taken + reserve(soft)).max(1)
}

fn reserve(soft: usize) -> usize {
    RESERVE.max(soft / RESERVE_SHARE)
}

#[cfg(unix)]
fn soft_limit() -> Option<usize> {
    let (soft, _) = rlimit::Resource::NOFILE.get().ok()?;
    (soft != rlimit::INFINITY).then(|| usize::try_from(soft).unwrap_or(usize::MAX))
}

#[cfg(not(unix))]
fn soft_limit() -> Option<usize> {
    None
}

/// Number of open descriptors.
fn count_descriptors() -> std::io::Result<usize> {
    // The directory handle itself is one of its entries.
    Ok(std::fs::read_dir("/dev/fd")?.count().saturating_sub(1))
}

/// Number of open descriptors. Assumes the standard three if it cannot be determined.
fn open_descriptors() -> usize {
    count_descriptors().unwrap_or(3)
}

/// Returns true if a connection attempt failed because this process or machine has run out of descriptors.
///
/// Name lookup does not report this reliably: it cannot open the files it needs and reports an unknown name.
/// Such a failure counts if few descriptors are available now: another lookup may have returned its own
/// since.
pub(crate) fn is_out_of_descriptors<'a>(
    mut causes: impl Iterator<Item = &'a (dyn std::error::Error + 'static)>,
) -> bool {
    causes.any(|cause| match cause.downcast_ref::<std::io::Error>() {
        Some(error) if is_limit(error) => true,
        _ => cause.to_string().contains("failed to lookup address information") && are_scarce(),
    })
}

fn is_limit(error: &std::io::Error) -> bool {
    // EMFILE and ENFILE have these numbers on all Unix systems.
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}

/// Returns true if at most [`RESERVE`] descriptors are left.
fn are_scarce() -> bool {
    match count_descriptors() {
        Ok(open) => soft_limit().is_some_and(|limit| open + RESERVE >= limit),
        Err(error) => is_limit(&error),
    }
}

#[cfg(test)]
mod tests;
