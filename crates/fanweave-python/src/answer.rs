//! Calls of steps on the thread of their loop, and their answers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use fanweave::{Item, Result};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use tokio::sync::oneshot;

use crate::errors::from_exception;
use crate::function::Function;
use crate::item::{from_python, to_python};
use crate::mailbox::{Call, lock};

/// The tasks of steps in Python, by the number of their call.
#[derive(Default)]
pub(crate) struct Tasks(Mutex<HashMap<u64, Py<PyAny>>>);

impl Tasks {
    fn insert(&self, id: u64, task: Py<PyAny>) {
        lock(&self.0).insert(id, task);
    }

    pub(crate) fn remove(&self, id: u64) -> Option<Py<PyAny>> {
        lock(&self.0).remove(&id)
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.0).len()
    }

    pub(crate) fn clear(&self) {
        let tasks = std::mem::take(&mut *lock(&self.0));
        drop(tasks);
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        match self.0.try_lock() {
            Ok(tasks) => tasks.values().try_for_each(|task| visit.call(task)),
            Err(_) => Ok(()),
        }
    }
}

/// Calls the function of a step on the thread of the loop. What it returns may be awaited there.
pub(crate) fn begin_call(
    py: Python<'_>,
    event_loop: &Bound<'_, PyAny>,
    level: u32,
    tasks: &Arc<Tasks>,
    call: Call,
) -> PyResult<()> {
    static BEGIN: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let Call { id, function, on_loop, input, variables, answer } = call;
    if answer.is_closed() {
        return Ok(());
    }
    let answer = Answer { id, answer: Mutex::new(Some(answer)), tasks: tasks.clone() };
    let answer = Bound::new(py, answer)?;
    let begun = (|| {
        let begin = BEGIN
            .get_or_try_init(py, || PyResult::Ok(py.import("fanweave._steps")?.getattr("begin")?.unbind()))?;
        let input = to_python(py, input)?;
        // A weak reference: the run holds the owner.
        let function = function.bind(py).call0()?;
        let function = function.cast::<Function>()?.get().callable.bind(py);
        let arguments = (event_loop, level, variables.bind(py), function, on_loop, input, &answer);
        begin.bind(py).call1(arguments)
    })();
    if let Err(e) = begun {
        answer.get().send(Err(from_exception(py, e)));
    }
    Ok(())
}

/// Takes the result of a step.
#[pyclass(frozen, module = "fanweave._core")]
pub(crate) struct Answer {
    id: u64,
    answer: Mutex<Option<oneshot::Sender<Result<Item>>>>,
    tasks: Arc<Tasks>,
}

impl Answer {
    fn send(&self, result: Result<Item>) {
        let sender = lock(&self.answer).take();
        if let Some(sender) = sender {
            // Without a receiver, the run has ended.
            let _ = sender.send(result);
        }
        drop(self.tasks.remove(self.id));
    }
}

#[pymethods]
impl Answer {
    /// The task that ends with an answer. It is cancelled if the run ends before.
    fn started(&self, py: Python<'_>, task: Py<PyAny>) -> PyResult<()> {
        let answer = lock(&self.answer);
        match &*answer {
            Some(sender) if sender.is_closed() => {
                drop(answer);
                task.call_method0(py, pyo3::intern!(py, "cancel")).map(drop)
            }
            Some(_) => {
                self.tasks.insert(self.id, task);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn set_result(&self, value: &Bound<'_, PyAny>) {
        self.send(from_python(value).map_err(|e| from_exception(value.py(), e)));
    }

    fn set_exception(&self, exception: Bound<'_, PyAny>) {
        let py = exception.py();
        self.send(Err(from_exception(py, PyErr::from_value(exception))));
    }
}
