//! Values of the process that a forked child must not share with its parent.
//!
//! A fork copies the memory, but not the threads, of a process. In the child, a runtime has no workers, a
//! mutex may be locked for ever, and a socket belongs to both. A [`PerProcess`] therefore makes a new value
//! in a child, without touching that of the parent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

/// The process id in the upper half, the number of the generation in the lower one.
static CURRENT: AtomicU64 = AtomicU64::new(0);

/// Set once [`after_fork`] is called in each forked child.
static IS_TOLD: AtomicBool = AtomicBool::new(false);

/// Number of this process among those that share its memory by forks, from 1. It differs between a parent and
/// its child.
///
/// A forked child is recognised by its process id, which costs a system call, unless the program
/// [reports its forks](report_forks). A child whose id is that of an ancestor that has ended is recognised
/// only by [`after_fork`].
pub fn generation() -> u64 {
    match CURRENT.load(Ordering::Acquire) & MASK {
        known if known != 0 && IS_TOLD.load(Ordering::Relaxed) => known,
        _ => generation_by_id(),
    }
}

/// Says that this program calls [`after_fork`] in each forked child, such as by Python's
/// `os.register_at_fork`. The process id is then looked at only where blocking code asks for the runtime,
/// rather than several times for each call: such a child of a library that forks by itself works too.
pub fn report_forks() {
    IS_TOLD.store(true, Ordering::Relaxed);
}

/// Recognises a forked child by its process id also where [`generation`] does not look at it.
pub(crate) fn notice_fork() {
    if IS_TOLD.load(Ordering::Relaxed) {
        generation_by_id();
    }
}

fn generation_by_id() -> u64 {
    let id = u64::from(std::process::id());
    let mut current = CURRENT.load(Ordering::Acquire);
    while current >> 32 != id {
        let next = id << 32 | next(current);
        match CURRENT.compare_exchange(current, next, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return next & MASK,
            Err(changed) => current = changed,
        }
    }
    current & MASK
}

/// Begins a new generation. For hooks that run in the child after a fork, such as Python's
/// `os.register_at_fork`.
pub fn after_fork() {
    let id = u64::from(std::process::id());
    let _ = CURRENT.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| Some(id << 32 | next(now)));
}

const MASK: u64 = u32::MAX as u64;

fn next(current: u64) -> u64 {
    ((current & MASK) + 1) & MASK
}

/// A value that each process makes for itself when it first needs it. Takes no lock, so that a fork at any
/// time leaves none locked.
///
/// In a forked child, the value of the parent is never dropped: its destructor might wait for threads that
/// exist in the parent alone.
pub struct PerProcess<T> {
    current: ArcSwapOption<Made<T>>,
}

/// A value with the generation of the process that made it.
pub struct Made<T> {
    generation: u64,
    value: T,
}

impl<T> Made<T> {
    /// Returns true if this process made the value, and not the parent that it was forked from. Costs what
    /// [`generation`] costs.
    pub fn is_current(&self) -> bool {
        self.generation == generation()
    }
}

impl<T> std::ops::Deref for Made<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> PerProcess<T> {
    /// Without a value.
    pub const fn new() -> Self {
        Self { current: ArcSwapOption::const_empty() }
    }

    /// The value of this process. `make` must be cheap and without side effects: of two threads that make the
    /// value at once, one drops its own.
    pub fn get(&self, make: impl Fn() -> T) -> Arc<Made<T>> {
        let generation = generation();
        loop {
            let current = self.current.load();
            if let Some(value) = current.as_ref().filter(|made| made.generation == generation) {
                return value.clone();
            }
            let made = Arc::new(Made { generation, value: make() });
            let previous = self.current.compare_and_swap(&current, Some(made.clone()));
            let is_set = match (previous.as_ref(), current.as_ref()) {
                (Some(previous), Some(current)) => Arc::ptr_eq(previous, current),
                (None, None) => true,
                _ => false,
            };
            if is_set {
                std::mem::forget(current.as_ref().cloned());
                return made;
            }
        }
    }
}

impl<T> PerProcess<T> {
    /// The value of this process, if it has made one.
    pub fn current(&self) -> Option<Arc<Made<T>>> {
        self.current.load().as_ref().filter(|made| made.is_current()).cloned()
    }
}

impl<T> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for PerProcess<T> {
    fn drop(&mut self) {
        if let Some(value) = self.current.swap(None).filter(|made| !made.is_current()) {
            std::mem::forget(value);
        }
    }
}

impl<T> std::fmt::Debug for PerProcess<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PerProcess").finish_non_exhaustive()
    }
}
