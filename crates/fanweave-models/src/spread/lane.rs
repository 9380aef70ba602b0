//! A lane: one of several models or keys that calls are distributed over, with its state and probes.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fanweave_core::Model;
use fanweave_core::runtime::generation;
use tokio::time::Instant;

/// Pause before a suspended lane is probed. Doubles with each failed probe, up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(3);
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A model with one of its keys, and its share of the calls of a [`Spread`](crate::Spread).
///
/// ```
/// use std::num::NonZeroU32;
/// use fanweave::models::Lane;
/// use fanweave::testing::Fake;
///
/// let lane = Lane::new(Fake::echo().model()).weight(NonZeroU32::MIN).key_name("SECOND_KEY");
/// assert_eq!(lane.name(), "fake/echo with the key in SECOND_KEY");
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Lane {
    pub(super) model: Model,
    weight: NonZeroU32,
    key_name: Option<String>,
}

impl Lane {
    /// A lane of weight 1.
    pub fn new(model: Model) -> Self {
        Self { model, weight: NonZeroU32::MIN, key_name: None }
    }

    /// Weight of the lane: its share of the calls, compared with the weights of the other lanes. Default 1.
    pub fn weight(self, weight: NonZeroU32) -> Self {
        Self { weight, ..self }
    }

    /// Name of the key, such as the environment variable that it comes from, for the
    /// [name](Self::name) of the lane. Never the key itself. Default: none.
    pub fn key_name(self, name: impl Into<String>) -> Self {
        Self { key_name: Some(name.into()), ..self }
    }

    /// Name of the lane for reports: that of the model and that of the key.
    pub fn name(&self) -> String {
        let key = self.key_name.as_ref().map(|name| format!(" with the key in {name}"));
        format!("{}{}", self.model.name(), key.unwrap_or_default())
    }

    pub(super) fn share(&self) -> u64 {
        self.weight.get().into()
    }
}

impl From<Model> for Lane {
    fn from(model: Model) -> Self {
        Self::new(model)
    }
}

/// A lane in use.
pub(super) struct LaneInUse {
    pub(super) lane: Lane,
    state: Mutex<State>,
    has_answered: AtomicBool,
}

enum State {
    Open,
    /// The provider is failing: the lane gets one call at a time, which probes whether it has recovered.
    Suspended {
        next: Instant,
        pause: Duration,
        /// The process with a probe in flight. A forked child does not wait for that of its parent.
        probing: Option<u64>,
    },
    /// The lane was rejected permanently.
    Disabled,
}

/// Permission to probe a suspended lane. Returned when dropped.
pub(super) struct Probe<'l>(&'l LaneInUse);

impl LaneInUse {
    pub(super) fn new(lane: Lane) -> Self {
        Self { lane, state: Mutex::new(State::Open), has_answered: AtomicBool::new(false) }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(*self.state(), State::Open)
    }

    pub(super) fn is_disabled(&self) -> bool {
        matches!(*self.state(), State::Disabled)
    }

    pub(super) fn has_answered(&self) -> bool {
        self.has_answered.load(Ordering::Relaxed)
    }

    pub(super) fn disable(&self) {
        *self.state() = State::Disabled;
    }

    /// Records an answer. Returns `true` if this reopened a suspended lane.
    pub(super) fn answered(&self) -> bool {
        self.has_answered.store(true, Ordering::Relaxed);
        let mut state = self.state();
        let was_suspended = matches!(*state, State::Suspended { .. });
        if was_suspended {
            *state = State::Open;
        }
        was_suspended
    }

    /// Records that the provider is failing. Returns `true` if the lane was open.
    pub(super) fn suspend(&self) -> bool {
        let now = Instant::now();
        match &mut *self.state() {
            State::Suspended { next, pause, probing } => {
                // Failures of calls that were already in flight are not probes.
                if *probing == Some(generation()) {
                    *pause = MAX_PAUSE.min(*pause * 2);
                    *next = now + *pause;
                }
                false
            }
            State::Disabled => false,
            state @ State::Open => {
                *state = State::Suspended { next: now + FIRST_PAUSE, pause: FIRST_PAUSE, probing: None };
                true
            }
        }
    }

    /// Returns a probe if the lane is suspended, a probe is due, and none is in flight.
    pub(super) fn try_probe(&self) -> Option<Probe<'_>> {
        match &mut *self.state() {
            State::Suspended { next, probing, .. }
                if *probing != Some(generation()) && *next <= Instant::now() =>
            {
                *probing = Some(generation());
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
        if let State::Suspended { probing, .. } = &mut *self.0.state() {
            *probing = None;
        }
    }
}
