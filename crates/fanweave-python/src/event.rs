//! Events of a run as Python values.

use fanweave::crates::serde_json::{self, Map, Value};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::item::value_to_python;

/// Something that happened in a run.
///
/// >>> [event.kind for event in fw.step(str.upper).events("a")][-1]
/// 'step_finished'
#[pyclass(frozen, module = "fanweave")]
pub(crate) struct Event {
    kind: String,
    data: Value,
    fields: Map<String, Value>,
    at: f64,
}

impl Event {
    pub(crate) fn new(event: &fanweave::Event) -> PyResult<Self> {
        let value = serde_json::to_value(event).map_err(|e| PyValueError::new_err(e.to_string()))?;
        let Value::Object(mut fields) = value else {
            return Err(PyValueError::new_err("an event is not an object"));
        };
        // A kind is a name, or an object of its name and its data.
        let (kind, data) = match fields.remove("kind") {
            Some(Value::String(kind)) => (kind, Value::Null),
            Some(Value::Object(map)) => map.into_iter().next().unwrap_or_default(),
            _ => (String::new(), Value::Null),
        };
        Ok(Self { kind, data, fields, at: event.at.as_secs_f64() })
    }

    fn field<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        value_to_python(py, self.fields.get(name).cloned().unwrap_or_default())
    }
}

#[pymethods]
impl Event {
    /// ``step_started``, ``request_started``, ``first_byte``, ``waiting``, ``retrying``, ``answered``,
    /// ``step_finished``, ``step_failed`` and others.
    #[getter]
    fn kind(&self) -> &str {
        &self.kind
    }

    /// The details of this kind of event: a dict, a list, a text or None.
    #[getter]
    fn data<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        value_to_python(py, self.data.clone())
    }

    /// Seconds since the start of the run.
    #[getter]
    fn at(&self) -> f64 {
        self.at
    }

    /// Names of the steps that the event happened in, outermost first.
    #[getter]
    fn path<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.field(py, "path")
    }

    /// Number of the step that reports the event, unique in this process.
    #[getter]
    fn run<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.field(py, "run")
    }

    /// Number of the step around it, or None.
    #[getter]
    fn parent<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.field(py, "parent")
    }

    /// The tags of the run.
    #[getter]
    fn tags<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let tags = self.fields.get("tags").cloned().unwrap_or(Value::Array(Vec::new()));
        value_to_python(py, tags)
    }

    /// The metadata of the run.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let metadata = self.fields.get("metadata").cloned().unwrap_or(Value::Object(Map::new()));
        value_to_python(py, metadata)
    }

    fn __repr__(&self) -> String {
        let path = self.fields.get("path").and_then(Value::as_array).into_iter().flatten();
        let path: Vec<_> = path.filter_map(Value::as_str).collect();
        format!("Event({}, {})", self.kind, path.join(" > "))
    }
}
