//! The process that something belongs to.

use fanweave::runtime::generation;
use fanweave::{Error, ErrorKind};
use pyo3::prelude::*;

use crate::errors::raise;

/// The process that a run, a task or a loop belongs to. A forked child is another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(u64);

impl Process {
    pub(crate) fn current() -> Self {
        Self(generation())
    }

    pub(crate) fn is_current(self) -> bool {
        self == Self::current()
    }

    /// An error in a forked child of the process.
    pub(crate) fn check(self, py: Python<'_>) -> PyResult<()> {
        if self.is_current() {
            return Ok(());
        }
        let message = "the run belongs to the process that was forked: start another in this one";
        Err(raise(py, &Error::new(ErrorKind::Cancelled, message)))
    }
}
