//! Errors of the engine as Python exceptions, and exceptions of steps as errors.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use fanweave::{Error, ErrorKind};
use pyo3::exceptions::{PyRuntimeError, PyStopIteration};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use crate::message::Message;
use crate::object::Object;

/// The Python exception of an error: the very object that a step raised, otherwise one of `fanweave`'s.
pub(crate) fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let raised = error.payload().and_then(|payload| payload.clone().downcast::<Object>().ok());
    match raised {
        Some(exception) => {
            let exception = exception.bind(py);
            note_path(exception, error);
            PyErr::from_value(exception.clone())
        }
        None => exception_of(py, error).unwrap_or_else(|error| error),
    }
}

/// Adds `in step a > b` to an exception of a step. Python 3.10 has no notes.
fn note_path(exception: &Bound<'_, PyAny>, error: &Error) {
    let path: Vec<_> = error.path().collect();
    if path.is_empty() {
        return;
    }
    let note = format!("in step {}", path.join(" > "));
    let is_there = exception.getattr("__notes__").is_ok_and(|notes| notes.contains(&note).unwrap_or(false));
    if !is_there {
        // A failure concerns the note alone.
        let _ = exception.call_method1("add_note", (note,));
    }
}

fn exception_of(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    static EXCEPTION_OF: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let function = EXCEPTION_OF.get_or_try_init(py, || {
        PyResult::Ok(py.import("fanweave._errors")?.getattr("exception_of")?.unbind())
    })?;
    let state = PyDict::new(py);
    state.set_item("kind", error.kind().as_str())?;
    state.set_item("status", error.status())?;
    state.set_item("provider", error.provider())?;
    state.set_item("code", error.code())?;
    state.set_item("request_id", error.request_id())?;
    state.set_item("retry_after", error.retry_after().map(|wait| wait.as_secs_f64()))?;
    state.set_item("attempts", error.attempts())?;
    state.set_item("body", error.body())?;
    state.set_item("path", error.path().collect::<Vec<_>>())?;
    let partial =
        error.partial().cloned().map(|message| Bound::new(py, Message::from(message))).transpose()?;
    state.set_item("partial", partial)?;
    state.set_item("is_retryable", error.is_retryable())?;
    state.set_item("headers", error.headers().collect::<Vec<_>>())?;
    let made = PyErr::from_value(function.bind(py).call1((error.to_string(), state))?);
    // An outage has the last failure as its cause.
    if let Some(cause) = error.source().and_then(|source| source.downcast_ref::<Error>()) {
        made.set_cause(py, Some(raise(py, cause)));
    }
    Ok(made)
}

/// The error of an exception that a step raised. [`raise`] returns that very object.
pub(crate) fn from_exception(py: Python<'_>, error: PyErr) -> Error {
    let error = match error.is_instance_of::<PyStopIteration>(py) {
        // As in a generator: no future takes a StopIteration.
        true => {
            let wrapped = PyRuntimeError::new_err("a step raised StopIteration");
            wrapped.set_cause(py, Some(error));
            wrapped
        }
        false => error,
    };
    let exception = error.into_value(py).into_bound(py).into_any();
    let name = exception.get_type().name().map_or_else(|_| "exception".to_owned(), |name| name.to_string());
    let text = exception.str().map_or_else(|_| String::new(), |text| text.to_string());
    let message = if text.is_empty() { name } else { format!("{name}: {text}") };
    let foreign = Error::foreign(Arc::new(Object::new(&exception)), message);
    // Errors of calls that a step makes are retried like those of the chain's own.
    match exception.getattr("is_retryable").and_then(|value| value.extract::<bool>()) {
        Ok(is_retryable) => {
            let foreign = foreign.with_retryable(is_retryable);
            match exception.getattr("retry_after").and_then(|value| value.extract::<Option<f64>>()) {
                Ok(Some(seconds)) => match Duration::try_from_secs_f64(seconds) {
                    Ok(wait) => foreign.with_retry_after(wait),
                    Err(_) => foreign,
                },
                _ => foreign,
            }
        }
        Err(_) => foreign,
    }
}

/// The exception of an invalid setting or argument.
pub(crate) fn config(py: Python<'_>, message: impl Into<String>) -> PyErr {
    raise(py, &Error::new(ErrorKind::Config, message))
}
