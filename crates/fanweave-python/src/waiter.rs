//! Readers of a run that have nothing to take yet: a loop or a thread.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

use pyo3::prelude::*;

use crate::bridge::Bridge;
use crate::mailbox::{Letter, Mailbox};
use crate::work::receive;

/// A reader that waits.
pub(crate) enum Waiter {
    Loop(Arc<Mailbox>, u64),
    Thread(SyncSender<()>),
}

impl Waiter {
    pub(crate) fn wake(self) {
        match self {
            Waiter::Loop(mailbox, id) => mailbox.post(Letter::Ready(id)),
            // An interrupted thread no longer receives.
            Waiter::Thread(thread) => _ = thread.try_send(()),
        }
    }
}

/// A future that is settled when the registered waiter wakes, and its number.
pub(crate) fn wait<'py>(
    py: Python<'py>,
    bridge: &Bridge,
    register: impl FnOnce(Waiter),
) -> PyResult<(Bound<'py, PyAny>, u64)> {
    let (future, id) = bridge.future(py)?;
    register(Waiter::Loop(bridge.mailbox().clone(), id));
    Ok((future, id))
}

/// Blocks until the registered waiter wakes.
pub(crate) fn wait_blocking(py: Python<'_>, register: impl FnOnce(Waiter)) -> PyResult<()> {
    let (sender, receiver) = sync_channel(1);
    register(Waiter::Thread(sender));
    receive(py, receiver, None).map(drop)
}

/// Like [`wait_blocking`], at most until then.
pub(crate) fn wait_blocking_until(
    py: Python<'_>,
    until: Instant,
    register: impl FnOnce(Waiter),
) -> PyResult<()> {
    let (sender, receiver) = sync_channel(1);
    register(Waiter::Thread(sender));
    receive(py, receiver, Some(until)).map(drop)
}
