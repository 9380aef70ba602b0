//! Python functions that chains call: steps, tools, and readers of structured answers.
//!
//! The Python objects of chains own their functions, where the garbage collector sees them. The engine refers
//! to a function weakly, and a run holds the chain that it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fanweave::{Context, Error, ErrorKind, Item, Result};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;
use tokio::sync::oneshot;

use crate::mailbox::{Call, Letter, Mailbox};
use crate::object::Object;
use crate::options::Caller;

/// A Python function of a chain.
#[pyclass(frozen, weakref, module = "fanweave._core")]
pub(crate) struct Function {
    pub(crate) callable: Py<PyAny>,
}

#[pymethods]
impl Function {
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.callable)
    }
}

/// The functions of a chain.
#[derive(Default)]
pub(crate) struct Functions(Vec<Py<Function>>);

impl Functions {
    pub(crate) fn one(function: Py<Function>) -> Self {
        Self(vec![function])
    }

    /// The functions of several chains.
    pub(crate) fn of<'a>(py: Python<'_>, parts: impl IntoIterator<Item = &'a Functions>) -> Self {
        Self(parts.into_iter().flat_map(|part| &part.0).map(|function| function.clone_ref(py)).collect())
    }

    pub(crate) fn add(&mut self, function: Py<Function>) {
        self.0.push(function);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.0.iter().try_for_each(|function| visit.call(function))
    }
}

/// The engine's reference to a function.
#[derive(Clone)]
pub(crate) struct Callee {
    function: Arc<Object>,
    /// Runs on the thread of the loop, also if it is not async.
    on_loop: bool,
}

impl Callee {
    /// A function, for the chain that owns it, and the reference for the engine.
    pub(crate) fn new(callable: &Bound<'_, PyAny>, on_loop: bool) -> PyResult<(Py<Function>, Self)> {
        let function = Bound::new(callable.py(), Function { callable: callable.clone().unbind() })?;
        let weak = PyWeakrefReference::new(function.as_any())?;
        Ok((function.unbind(), Self { function: Arc::new(Object::new(weak.as_any())), on_loop }))
    }

    /// Calls the function on the loop, or on a thread, of a run.
    ///
    /// # Cancellation
    /// Dropping the future cancels the task of an async function. A plain function runs to its end.
    pub(crate) async fn call(&self, input: Item, caller: &Caller) -> Result<Item> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (answer, answered) = oneshot::channel();
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut cancel = CancelOnDrop { mailbox: caller.mailbox.clone(), id, is_done: false };
        caller.mailbox.post(Letter::Call(Call {
            id,
            function: self.function.clone(),
            on_loop: self.on_loop,
            input,
            variables: caller.variables.clone(),
            answer,
        }));
        let answer = answered.await;
        cancel.is_done = true;
        answer.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Cancelled, "the event loop of the run has been closed"))
        })
    }
}

/// The caller of a run, which its functions run for.
pub(crate) fn caller(cx: &Context) -> Result<Arc<Caller>> {
    cx.extension::<Caller>()
        .ok_or_else(|| Error::new(ErrorKind::Config, "a step in Python needs a run that Python started"))
}

/// Cancels the task of a call whose run has ended.
struct CancelOnDrop {
    mailbox: Arc<Mailbox>,
    id: u64,
    is_done: bool,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if !self.is_done {
            self.mailbox.post(Letter::CancelCall(self.id));
        }
    }
}
