//! A lane: one of several models or keys that calls are distributed over, with its state and probes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanweave::Model;
use tokio::time::Instant;

/// Pause before a suspended lane is probed. Doubles with each failed probe, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(3);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A model with one of its keys.
pub(crate) struct Lane {
    pub(crate) model: Model,
    weight: u64,
    /// The environment variable of the key, if it comes from one.
    variable: Option<String>,
    state: Mutex<State>,
    has_answered: AtomicBool,
}

enum State {
    Open,
    /// The provider is failing: the lane gets one call at a time, which probes whether it has recovered.
    Suspended {
        next: Instant,
        pause: Duration,
        is_probing: bool,
    },
    /// The lane was rejected permanently.
    Disabled,
}

/// Permission to probe a suspended lane. Returned when dropped.
pub(crate) struct Probe<'l>(&'l Lane);

impl Lane {
    pub(crate) fn new(model: Model, weight: u64, variable: Option<String>) -> Self {
        Self { model, weight, variable, state: Mutex::new(State::Open), has_answered: AtomicBool::new(false) }
    }

    /// Weight for distributing the calls.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    /// Name for notes. Never contains the key.
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

    /// Records an answer. Returns `true` if this reopened a suspended lane.
    pub(crate) fn answered(&self) -> bool {
        self.has_answered.store(true, Ordering::Relaxed);
        let mut state = self.state();
        let was_suspended = matches!(*state, State::Suspended { .. });
        if was_suspended {
            *state = State::Open;
        }
        was_suspended
    }

    /// Records that the provider is failing. Returns `true` if the lane was open.
    pub(crate) fn suspend(&self) -> bool {
        let now = Instant::now();
        match &mut *self.state() {
            State::Suspended { next, pause, is_probing } => {
                // Failures of calls that were already in flight are not probes.
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

    /// Returns a probe if the lane is suspended, a probe is due, and none is in flight.
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
