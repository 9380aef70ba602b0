//! Work of the engine whose result becomes a Python value: calls of embedders, stores and raw models.

use std::sync::Mutex;

use fanweave::{Error, ErrorKind, Result};
use futures::future::BoxFuture;
use pyo3::prelude::*;

use crate::bridge::Bridge;
use crate::errors::raise;
use crate::logging;
use crate::mailbox::{Finish, Outcome, lock};
use crate::object::{Object, release_dropped};
use crate::work::wait;

/// Work that has not started. It is started once, by one of its methods.
#[pyclass(frozen, module = "fanweave._core")]
pub(crate) struct Operation(Mutex<Option<BoxFuture<'static, Result<Finish>>>>);

impl Operation {
    /// `finish` makes the Python value of the result. `owner` is held until the end: it owns the functions
    /// that the work calls.
    pub(crate) fn new<T: Send + 'static>(
        owner: Option<&Bound<'_, PyAny>>,
        work: impl Future<Output = Result<T>> + Send + 'static,
        finish: impl for<'py> FnOnce(Python<'py>, T) -> PyResult<Bound<'py, PyAny>> + Send + 'static,
    ) -> Self {
        let owner = owner.map(Object::new);
        Self(Mutex::new(Some(Box::pin(async move {
            let _owner = owner;
            let value = work.await?;
            let finish: Finish = Box::new(move |py| finish(py, value));
            Ok(finish)
        }))))
    }

    fn take(&self, py: Python<'_>) -> PyResult<BoxFuture<'static, Result<Finish>>> {
        lock(&self.0)
            .take()
            .ok_or_else(|| raise(py, &Error::new(ErrorKind::Input, "the operation was already started")))
    }
}

#[pymethods]
impl Operation {
    /// Starts the work: a future of the loop, and its number for `cancel`.
    fn start<'py>(&self, py: Python<'py>, bridge: &Bridge) -> PyResult<(Bound<'py, PyAny>, u64)> {
        logging::look(py);
        let work = self.take(py)?;
        let (future, id) = bridge.future(py)?;
        bridge.start(id, async move { work.await.map(Outcome::Finish) });
        Ok((future, id))
    }

    /// Runs the work and blocks until it ends.
    fn wait<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let work = self.take(py)?;
        let finish = wait(py, work)?;
        release_dropped(py);
        finish(py)
    }
}
