//! Answers as bytes.

use fanweave::crates::bytes::Bytes;
use fanweave::crates::http::{HeaderMap, HeaderValue};
use fanweave::{Error, ErrorKind};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

use crate::errors::raise;

/// Status, headers and body of an answer.
///
/// >>> from fanweave.testing import sim
/// >>> with sim() as provider:
/// ...     raw = fw.raw_model("openai/gpt-5-mini", base_url=provider.url, api_key="any")
/// ...     response = raw.send("/models", method="GET")
/// >>> response.status, response.json()["object"]
/// (200, 'list')
#[pyclass(frozen, module = "fanweave")]
pub(crate) struct RawResponse {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) attempts: u32,
    /// Empty if the body is streamed.
    pub(crate) body: Bytes,
}

fn text(value: &HeaderValue) -> String {
    // Latin-1, as HTTP libraries of Python read it.
    value.as_bytes().iter().map(|&byte| byte as char).collect()
}

#[pymethods]
impl RawResponse {
    /// The status, such as 200.
    #[getter]
    fn status(&self) -> u16 {
        self.status
    }

    /// Pairs of the lower-case name and the value of each header, in the order of the server.
    #[getter]
    fn headers(&self) -> Vec<(String, String)> {
        self.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
    }

    /// The value of a header, in any case, or `None`.
    fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(text)
    }

    /// Number of requests that were sent for the answer.
    #[getter]
    fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The body, decompressed.
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.body)
    }

    /// The value of a body in JSON, as `json.loads` reads it.
    fn json<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        static LOADS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let loads = LOADS
            .get_or_try_init(py, || PyResult::Ok(py.import("json")?.getattr("loads")?.unbind()))?
            .bind(py);
        loads.call1((self.body(py),)).map_err(|_| {
            let excerpt = fanweave::errors::excerpt(
                &String::from_utf8_lossy(&self.body),
                fanweave::errors::EXCERPT_BYTES,
            );
            raise(py, &Error::new(ErrorKind::Decode, format!("the answer is not JSON: {excerpt}")))
        })
    }

    fn __repr__(&self) -> String {
        format!("RawResponse(status={}, {} bytes)", self.status, self.body.len())
    }
}
