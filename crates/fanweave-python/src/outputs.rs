//! Results of a batch as Python values.

use fanweave::{Item, Result};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::errors::raise;
use crate::item::to_python;

/// A list of pairs in the order of the inputs: true and an output, or false and an exception.
pub(crate) fn outputs_to_python(py: Python<'_>, rows: Vec<Result<Item>>) -> PyResult<Bound<'_, PyAny>> {
    let list = PyList::empty(py);
    for row in rows {
        match row {
            Ok(item) => list.append((true, to_python(py, item)?))?,
            Err(error) => list.append((false, raise(py, &error).into_value(py)))?,
        }
    }
    Ok(list.into_any())
}
