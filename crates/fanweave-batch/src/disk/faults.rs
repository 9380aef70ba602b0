//! Fault injection: a disk that fails at a given step.

use std::io;
use std::sync::{Mutex, PoisonError};

/// Kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The disk is full from this step on.
    Full,
    /// A write stores half of its bytes. The disk is full from then on, even for truncating the file.
    Torn,
    /// Like [`Torn`](Self::Torn), but the disk has space again after two steps.
    Moment,
    /// Only this step fails.
    Io,
}

/// The step of a run that fails, and its failure.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    fault: Option<(At, Fault)>,
    steps: u64,
    /// Number and operation of the failing step.
    hit: Option<(u64, &'static str)>,
}

#[derive(Debug, Clone, Copy)]
enum At {
    Step(u64),
    /// The first step with this operation.
    First(&'static str),
}

impl Faults {
    /// Makes step number `at` fail.
    pub(crate) fn at(at: u64, fault: Fault) -> Self {
        Self(Mutex::new(State { fault: Some((At::Step(at), fault)), ..State::default() }))
    }

    /// Makes the first step with the operation `what` fail.
    pub(crate) fn at_first(what: &'static str, fault: Fault) -> Self {
        Self(Mutex::new(State { fault: Some((At::First(what), fault)), ..State::default() }))
    }

    /// Number of steps so far.
    pub(crate) fn steps(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).steps
    }

    /// Operation of the failing step. `None` if the step was not reached.
    pub(crate) fn hit(&self) -> Option<&'static str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).hit.map(|(_, what)| what)
    }

    /// Counts a step, and returns its failure, if any.
    fn next(&self, what: &'static str) -> Option<Fault> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let step = state.steps;
        state.steps += 1;
        let (at, fault) = state.fault?;
        let Some((hit, _)) = state.hit else {
            let fails = match at {
                At::Step(at) => step == at,
                At::First(operation) => operation == what,
            };
            state.hit = fails.then_some((step, what));
            return fails.then_some(fault);
        };
        // After a torn write, the disk is full.
        let is_full = match fault {
            Fault::Io => false,
            Fault::Moment => step <= hit + 2,
            Fault::Full | Fault::Torn => true,
        };
        is_full.then_some(Fault::Full)
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
            // The caller writes the rest separately and finds the disk full.
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
