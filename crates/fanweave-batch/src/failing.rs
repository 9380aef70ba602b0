//! Calls that have failed and will be retried.
//!
//! A provider that fails for the rows in flight may fail for all rows or only for these. Only another row can
//! show which: the [window](crate::window) starts one when all rows in flight are stalled.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fanweave_core::event::RunId;
use fanweave_core::{Error, ErrorKind, WaitReason};
use tokio::sync::Notify;

use crate::run_map::RunMap;

/// Minimum failures of each call in flight that count as a stall without an outage. Fewer failures happen by
/// chance, and the call is soon answered: it has six attempts by default.
const MIN_FAILURES: u32 = 6;

/// Calls that have failed or were held by an outage, until they end.
#[derive(Default)]
pub(crate) struct Failing {
    calls: Mutex<RunMap<Call>>,
    /// Number of `calls`. It is 0 in most runs, which then need not take the lock.
    len: AtomicUsize,
    /// Set when a call that was held by an outage has failed.
    probe_failed: AtomicBool,
    changed: Notify,
}

#[derive(Default)]
struct Call {
    failures: u32,
    /// Set while the call is held by an outage.
    is_held: bool,
    /// Set while a request of the call is in flight.
    is_sent: bool,
}

impl Failing {
    /// Records that a request failed and will be retried.
    pub(crate) fn failed(&self, run: RunId, error: &Error) {
        // A rate limit delays all calls alike.
        if error.kind() == ErrorKind::RateLimited {
            return;
        }
        let mut calls = self.lock();
        let call = calls.entry(run).or_default();
        call.failures += 1;
        call.is_sent = false;
        self.probe_failed.fetch_or(call.is_held, Relaxed);
        self.len.store(calls.len(), Relaxed);
        drop(calls);
        self.changed.notify_one();
    }

    /// Records that a call waits before its next request.
    pub(crate) fn waits(&self, run: RunId, why: &WaitReason) {
        if matches!(why, WaitReason::Outage(_)) {
            let mut calls = self.lock();
            calls.entry(run).or_default().is_held = true;
            self.len.store(calls.len(), Relaxed);
            drop(calls);
            self.changed.notify_one();
        } else {
            self.change(run, |call| call.is_held = false);
        }
    }

    /// Records that a request was sent.
    pub(crate) fn sent(&self, run: RunId) {
        self.change(run, |call| call.is_sent = true);
    }

    /// Removes a call that has ended.
    pub(crate) fn ended(&self, run: RunId) {
        if self.len.load(Relaxed) > 0 {
            let mut calls = self.lock();
            calls.remove(&run);
            self.len.store(calls.len(), Relaxed);
        }
    }

    /// Resets the failure counts of all calls, because the provider has answered another call.
    pub(crate) fn start_over(&self) {
        self.lock().values_mut().for_each(|call| call.failures = 0);
    }

    /// Returns true if the calls of `rows` rows, the only ones in flight, are all waiting and one of these is
    /// true: a probe of an outage has failed since the last stall, all of them have failed in an outage, or
    /// all of them have failed several times.
    pub(crate) fn stand_still(&self, rows: usize) -> bool {
        let calls = self.lock();
        if calls.len() < rows || calls.values().any(|call| call.is_sent) {
            return false;
        }
        let is_outage = calls.values().any(|call| call.is_held);
        let min_failures = if is_outage { 1 } else { MIN_FAILURES };
        let all_failed = calls.values().all(|call| call.failures >= min_failures);
        let probe_failed = self.probe_failed.load(Relaxed) && is_outage;
        let stand_still = all_failed || probe_failed;
        if stand_still {
            self.probe_failed.store(false, Relaxed);
        }
        stand_still
    }

    /// Resolves when a call has failed or started to wait since the last await.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn change(&self, run: RunId, change: impl FnOnce(&mut Call)) {
        if self.len.load(Relaxed) > 0
            && let Some(call) = self.lock().get_mut(&run)
        {
            change(call);
        }
    }

    fn lock(&self) -> MutexGuard<'_, RunMap<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
