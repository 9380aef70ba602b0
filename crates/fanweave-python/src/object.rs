//! [`Object`]: a Python object that travels through the engine, which never touches it.

use std::sync::{Mutex, PoisonError};

use fanweave::__private::PerProcess;
use pyo3::prelude::*;

/// A Python object in the engine's hands. Threads of the engine may move, clone and drop it.
pub(crate) struct Object(Option<Py<PyAny>>);

/// Objects that were dropped, until a thread of the interpreter releases them. A thread of the engine may
/// have dropped one during a fork: the child has a list of its own, whose lock is free.
static DROPPED: PerProcess<Mutex<Vec<Py<PyAny>>>> = PerProcess::new();

impl Object {
    pub(crate) fn new(object: &Bound<'_, PyAny>) -> Self {
        Self(Some(object.clone().unbind()))
    }

    pub(crate) fn bind<'py>(&self, py: Python<'py>) -> &Bound<'py, PyAny> {
        self.0.as_ref().expect("an object is taken only by its drop").bind(py)
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            DROPPED.get(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner).push(object);
        }
    }
}

/// Releases the objects that the engine has dropped.
pub(crate) fn release_dropped(_: Python<'_>) {
    let dropped = DROPPED.get(Mutex::default);
    let dropped = std::mem::take(&mut *dropped.lock().unwrap_or_else(PoisonError::into_inner));
    // Destructors may run Python code, which may drop more: the lock is free again.
    drop(dropped);
}
