//! A disk that fails when a test wants it to.

use std::io;
use std::sync::{Mutex, PoisonError};

/// What a failing disk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No room is left, from this step on.
    Full,
    /// A write leaves half of its bytes behind. No room is left from then on, not even to take them away again.
    Torn,
    /// As [`Torn`](Self::Torn), for two steps: then there is room again.
    Moment,
    /// This one step fails.
    Io,
}

/// Which step of a run fails, and how.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    fault: Option<(u64, Fault)>,
    steps: u64,
    /// What the failing step was to do.
    hit: Option<&'static str>,
}

impl Faults {
    /// A disk whose step number `at` fails.
    pub(crate) fn at(at: u64, fault: Fault) -> Self {
        Self(Mutex::new(State { fault: Some((at, fault)), ..State::default() }))
    }

    /// How many steps there were.
    pub(crate) fn steps(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).steps
    }

    /// What the failing step was to do. `None` where it was never reached.
    pub(crate) fn hit(&self) -> Option<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hit
    }

    /// What happens at the next step.
    fn next(&self, what: &'static str) -> Option<Fault> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let step = state.steps;
        state.steps += 1;
        let (at, fault) = state.fault?;
        if step == at {
            state.hit = Some(what);
            return Some(fault);
        }
        // A torn write is over: what comes after it meets a full disk.
        let is_full = match fault {
            Fault::Io => false,
            Fault::Moment => step <= at + 2,
            Fault::Full | Fault::Torn => true,
        };
        (step > at && is_full).then_some(Fault::Full)
    }

    pub(super) fn step(&self, what: &'static str) -> io::Result<()> {
        match self.next(what) {
            None => Ok(()),
            Some(fault) => Err(error(fault)),
        }
    }

    pub(super) fn take<'a>(&self, bytes: &'a [u8]) -> io::Result<&'a [u8]> {
        match self.next("write") {
            None => Ok(bytes),
            // The rest of it is another write, which finds no room.
            Some(Fault::Torn | Fault::Moment) if bytes.len() > 1 => Ok(&bytes[..bytes.len() / 2]),
            Some(fault) => Err(error(fault)),
        }
    }
}

fn error(fault: Fault) -> io::Error {
    match fault {
        Fault::Full | Fault::Torn | Fault::Moment => io::ErrorKind::StorageFull.into(),
        Fault::Io => io::Error::from_raw_os_error(5),
    }
}
