//! Arithmetic for chains of other packages' interfaces.

use fanweave::chains::math::evaluate;
use fanweave::{Error, ErrorKind};
use pyo3::prelude::*;

use crate::errors::raise;

/// The value of an arithmetic expression, in decimal notation.
#[pyfunction]
pub(crate) fn calculate(py: Python<'_>, expression: &str) -> PyResult<String> {
    evaluate(expression)
        .map(|number| number.to_string())
        .map_err(|error| raise(py, &Error::new(ErrorKind::Parse, error.to_string()).with_source(error)))
}
