//! The methods of documents.

use fanweave::crates::serde_json::{Map, Value};
use fanweave::retrieval::Document as EngineDocument;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::Document;
use crate::item::{json_from_python, value_to_python};

/// A class, and the arguments that make the object again.
type Reduced<'py> = (Bound<'py, PyAny>, (String, Bound<'py, PyAny>));

#[pymethods]
impl Document {
    #[new]
    #[pyo3(signature = (text, metadata=None))]
    fn new(text: String, metadata: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let metadata = match metadata.map(|metadata| json_from_python(metadata)).transpose()? {
            Some(Value::Object(metadata)) => metadata,
            _ => Map::new(),
        };
        Ok(Self(EngineDocument { text, metadata }))
    }

    #[getter]
    fn text(&self) -> &str {
        &self.0.text
    }

    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        value_to_python(py, Value::Object(self.0.metadata.clone()))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<Reduced<'py>> {
        let document = slf.get();
        Ok((slf.get_type().into_any(), (document.0.text.clone(), document.metadata(slf.py())?)))
    }

    fn __repr__(&self) -> String {
        let metadata = Value::Object(self.0.metadata.clone());
        format!("Document({:?}, {metadata})", fanweave::errors::excerpt(&self.0.text, 60))
    }
}
