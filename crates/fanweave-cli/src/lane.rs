//! One of several models or keys that calls are spread over: whether it is called, and when it is tried again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanweave::Model;
use tokio::time::Instant;

/// Pause before a suspended lane is probed. It doubles with each probe that fails, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(3);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A model with one of the keys that it may be called with.
pub(crate) struct Lane {
    pub(crate) model: Model,
    weight: u64,
    /// The environment variable of the key, where it comes from one.
    variable: Option<String>,
    state: Mutex<State>,
    has_answered: AtomicBool,
}

enum State {
    Open,
    /// Its provider is failing: it gets one call at a time, which finds out whether it has recovered.
    Suspended {
        next: Instant,
        pause: Duration,
        is_probing: bool,
    },
    /// It was refused for good.
    Disabled,
}

/// The right to probe a suspended lane. Dropped, it gives the right back.
pub(crate) struct Probe<'l>(&'l Lane);

impl Lane {
    pub(crate) fn new(model: Model, weight: u64, variable: Option<String>) -> Self {
        Self { model, weight, variable, state: Mutex::new(State::Open), has_answered: AtomicBool::new(false) }
    }

    /// Its share of the calls, beside those of the others.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    /// Its name in a note. Never the key.
    pub(crate) fn name(&self) -> String {
        let key = self.variable.as_ref().map(|variable| format!(" with the key in {variable}"));
        format!("{}{}", self.model.name(), key.unwrap_or_default())
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(*self.state(), State::Open)
    }

    pub(crate) fn is_disabled(&self) -> bool {
        matches!(*self.state(), State::Disabled)
    }

    pub(crate) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    pub(crate) fn disable(&self) {
        *self.state() = State::Disabled;
    }

    /// Notes an answer. `true` if the lane was suspended and is open again.
    pub(crate) fn answered(&self) -> bool {
        self.has_answered.store(true, Ordering::Relaxed);
        let mut state = self.state();
        let was_suspended = matches!(*state, State::Suspended { .. });
        if was_suspended {
            *state = State::Open;
        }
        was_suspended
    }

    /// Notes that its provider is failing. `true` if the lane was open.
    pub(crate) fn suspend(&self) -> bool {
        let now = Instant::now();
        match &mut *self.state() {
            State::Suspended { next, pause, is_probing } => {
                // Calls that were in flight before say nothing new.
                if *is_probing {
                    *pause = MAX_PAUSE.min(*pause * 2);
                    *next = now + *pause;
                }
                false
            }
            State::Disabled => false,
            state @ State::Open => {
                *state = State::Suspended { next: now + FIRST_PAUSE, pause: FIRST_PAUSE, is_probing: false };
                true
            }
        }
    }

    /// The right to probe the lane, if it is suspended, due, and nobody else probes it.
    pub(crate) fn try_probe(&self) -> Option<Probe<'_>> {
        match &mut *self.state() {
            State::Suspended { next, is_probing, .. } if !*is_probing && *next <= Instant::now() => {
                *is_probing = true;
                Some(Probe(self))
            }
            _ => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if let State::Suspended { is_probing, .. } = &mut *self.0.state() {
            *is_probing = false;
        }
    }
}
