//! Options of a run, and the caller that its steps in Python run for.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use fanweave::Context;
use fanweave::context::Priority;
use pyo3::exceptions::{PyOverflowError, PyTypeError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyString};

use crate::errors::config;
use crate::item::json_from_python;
use crate::mailbox::Mailbox;
use crate::object::Object;

/// The event loop and the context variables for the steps in Python of a run. An extension of its context.
pub(crate) struct Caller {
    pub(crate) mailbox: Arc<Mailbox>,
    /// A copy of the `contextvars.Context` of the code that started the run.
    pub(crate) variables: Arc<Object>,
    /// Owns the functions of the run.
    _owner: Option<Object>,
}

impl Caller {
    pub(crate) fn here(chain: &Bound<'_, PyAny>, mailbox: Arc<Mailbox>) -> PyResult<Self> {
        let variables = Arc::new(context_variables(chain.py())?);
        Ok(Self { mailbox, variables, _owner: Some(Object::new(chain)) })
    }

    /// The caller of functions that another value owns.
    pub(crate) fn of(mailbox: Arc<Mailbox>, variables: Arc<Object>) -> Self {
        Self { mailbox, variables, _owner: None }
    }
}

/// A copy of the `contextvars.Context` of the running code.
pub(crate) fn context_variables(py: Python<'_>) -> PyResult<Object> {
    static COPY_CONTEXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let copy = COPY_CONTEXT
        .get_or_try_init(py, || PyResult::Ok(py.import("contextvars")?.getattr("copy_context")?.unbind()))?;
    Ok(Object::new(&copy.bind(py).call0()?))
}

/// The context of a run with these options.
pub(crate) fn context(options: Option<&Bound<'_, PyDict>>, caller: Option<Caller>) -> PyResult<Context> {
    let mut cx = Context::new();
    if let Some(caller) = caller {
        cx = cx.with_extension(Arc::new(caller));
    }
    let Some(options) = options else { return Ok(cx) };
    for (name, value) in options.iter() {
        let name: String = name.extract()?;
        cx = with_option(cx, &name, &value).map_err(|e| explained(&name, &value, e))?;
    }
    Ok(cx)
}

fn with_option(cx: Context, name: &str, value: &Bound<'_, PyAny>) -> PyResult<Context> {
    Ok(match name {
        "timeout" if value.is_none() => cx,
        "timeout" => cx.with_timeout(seconds(value, "timeout")?),
        "tags" => {
            let mut tagged = cx;
            // Its items would be letters.
            if value.is_instance_of::<PyString>() {
                return Err(PyTypeError::new_err("must be a list of texts"));
            }
            for tag in value.try_iter()? {
                tagged = tagged.with_tag(tag?.extract::<String>()?);
            }
            tagged
        }
        "metadata" => {
            let mut described = cx;
            for (name, value) in value.cast::<PyDict>()?.iter() {
                described = described.with_metadata(name.extract::<String>()?, json_from_python(&value)?);
            }
            described
        }
        "priority" => cx.with_priority(match value.extract::<String>()?.as_str() {
            "interactive" => Priority::Interactive,
            "batch" => Priority::Batch,
            other => {
                let message = format!("priority must be `interactive` or `batch`, got `{other}`");
                return Err(config(value.py(), message));
            }
        }),
        "session" if value.is_none() => cx,
        "session" => cx.with_session(value.extract::<String>()?),
        "fresh" if value.is_truthy()? => cx.with_fresh_answers(),
        "fresh" => cx,
        _ => {
            let message = format!(
                "`{name}` is not an option of a run: use timeout, tags, metadata, priority, session or fresh"
            );
            return Err(config(value.py(), message));
        }
    })
}

/// Calls `set` with the name and value of each setting that is not `None`.
pub(crate) fn each_setting(
    settings: &Bound<'_, PyDict>,
    mut set: impl FnMut(&str, &Bound<'_, PyAny>) -> PyResult<()>,
) -> PyResult<()> {
    for (name, value) in settings.iter() {
        if value.is_none() {
            continue;
        }
        let name: String = name.extract()?;
        set(&name, &value).map_err(|error| explained(&name, &value, error))?;
    }
    Ok(())
}

/// The error of a setting whose value is of the wrong type, negative or too large.
pub(crate) fn explained(name: &str, value: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    let py = value.py();
    if error.is_instance_of::<PyTypeError>(py) || error.is_instance_of::<PyOverflowError>(py) {
        // Keys and headers are secret.
        let shown = match name {
            "api_key" | "headers" | "proxy" | "root_certificates" => String::new(),
            _ => value.repr().map_or_else(|_| String::new(), |shown| format!(" (got {shown})")),
        };
        // Python's own text names types of integers that it does not have.
        if error.is_instance_of::<PyOverflowError>(py) {
            return config(py, format!("{name} is out of range{shown}"));
        }
        return config(py, format!("{name} is invalid: {}{shown}", error.value(py)));
    }
    error
}

/// A number of seconds above 0.
pub(crate) fn seconds(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Duration> {
    let seconds: f64 = value.extract().map_err(|error| explained(name, value, error))?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(config(value.py(), format!("{name} must be a number of seconds above 0, got {seconds}"))),
    }
}

/// The setting `name`, a whole number that is at least 1.
pub(crate) fn at_least_one(value: &Bound<'_, PyAny>, name: &str) -> PyResult<NonZeroUsize> {
    let n = value.extract().map_err(|error| explained(name, value, error))?;
    NonZeroUsize::new(n).ok_or_else(|| config(value.py(), format!("{name} must be at least 1 (got 0)")))
}
