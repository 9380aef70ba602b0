//! Calls that have failed and are to be retried.
//!
//! A provider that fails for the rows in flight may fail for all rows or for these alone. Only another row can tell: the
//! [window](crate::window) starts one when they stand still.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use fanweave_core::event::RunId;
use fanweave_core::{Error, ErrorKind, WaitReason};
use tokio::sync::Notify;

/// Failures of each call in flight from which on they count as a standstill without an outage. Fewer happen by chance, and
/// soon end with an answer: a call has six attempts by default.
const MIN_FAILURES: u32 = 6;

/// The calls that have failed or have waited for the end of an outage, until they end or are given up.
#[derive(Default)]
pub(crate) struct Failing {
    calls: Mutex<HashMap<RunId, Call>>,
    /// Number of `calls`: most runs have none, and pay for no lock.
    len: AtomicUsize,
    /// Set when a call has failed that had waited for the end of an outage.
    probe_failed: AtomicBool,
    changed: Notify,
}

#[derive(Default)]
struct Call {
    failures: u32,
    /// Whether it waits for the end of an outage.
    is_held: bool,
    /// Whether a request of it is in flight.
    is_sent: bool,
}

impl Failing {
    /// A request failed, and is to be retried.
    pub(crate) fn failed(&self, run: RunId, error: &Error) {
        // A limit holds up all calls, whoever makes them.
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

    /// A call waits before its next request.
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

    /// A request is sent.
    pub(crate) fn sent(&self, run: RunId) {
        self.change(run, |call| call.is_sent = true);
    }

    /// A call has ended.
    pub(crate) fn ended(&self, run: RunId) {
        if self.len.load(Relaxed) > 0 {
            let mut calls = self.lock();
            calls.remove(&run);
            self.len.store(calls.len(), Relaxed);
        }
    }

    /// Counts the failures of all calls from 0 again: the provider has answered another call since.
    pub(crate) fn start_over(&self) {
        self.lock().values_mut().for_each(|call| call.failures = 0);
    }

    /// Whether the calls of `rows` rows, the only ones in flight, all wait, and a probe of an outage has failed since this was
    /// last true, or all of them have failed: in an outage, or several times each.
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

    /// Resolves when a call has failed or begun to wait since this was last awaited.
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

    fn lock(&self) -> MutexGuard<'_, HashMap<RunId, Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
