//! Requests that are sent as they are, and answers as bytes.

use std::collections::HashMap;

use fanweave::crates::http::{HeaderName, HeaderValue, Method};
use fanweave::crates::serde_json::value::RawValue;
use fanweave::crates::{bytes::Bytes, serde_json};
use fanweave::models::{RawModel as EngineModel, RawRequest, RawResponse as EngineResponse};
use fanweave::{Context, Result};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

use crate::errors::{config, raise};
use crate::function::Functions;
use crate::item::json_from_python;
use crate::logging;
use crate::operation::Operation;
use crate::options::{context, explained};
use crate::raw_response::RawResponse;
use crate::reader::{Feed, Piece, Reader};
use crate::settings::settings_of;
use crate::work::caught;

/// A model for requests as bytes or JSON.
#[pyclass(frozen, module = "fanweave._core")]
pub(crate) struct RawModel {
    engine: EngineModel,
    /// The function of its key.
    functions: Functions,
}

/// A raw model. `settings` are those of `fanweave.raw_model`.
#[pyfunction]
pub(crate) fn raw_model(py: Python<'_>, name: &str, settings: &Bound<'_, PyDict>) -> PyResult<RawModel> {
    let (settings, parameters) = settings_of(settings)?;
    if parameters != fanweave::Parameters::new() {
        return Err(config(py, "a raw model has no parameters: put them into the body of the request"));
    }
    let functions = settings.functions(py);
    let engine = settings.builder(name).build_raw().map_err(|error| raise(py, &error))?;
    Ok(RawModel { engine, functions })
}

/// The model that a body names, whether it asks for a stream, and its limit of output tokens. `None` unless
/// it is an object whose model is a text, as almost all are.
#[pyfunction]
pub(crate) fn request_fields(body: &[u8]) -> Option<(Option<String>, bool, Option<u64>)> {
    // Large values, such as messages with images, are skipped.
    let fields: HashMap<String, &RawValue> = serde_json::from_slice(body).ok()?;
    let model = fields.get("model").map(|model| serde_json::from_str(model.get())).transpose().ok()?;
    let limit = |name| fields.get(name)?.get().parse().ok().filter(|limit| *limit > 0);
    let limit = ["max_completion_tokens", "max_tokens", "max_output_tokens"].into_iter().find_map(limit);
    Some((model, fields.get("stream").is_some_and(|stream| stream.get() == "true"), limit))
}

/// A request: the body is `None`, bytes, a text, or a value that is sent as JSON.
struct Request<'a, 'py> {
    method: &'a str,
    path: String,
    body: Option<&'a Bound<'py, PyAny>>,
    headers: Option<&'a Bound<'py, PyAny>>,
    max_tokens: Option<u64>,
    return_errors: bool,
}

impl Request<'_, '_> {
    fn build(self, py: Python<'_>, streamed: bool) -> PyResult<RawRequest> {
        let method = Method::from_bytes(self.method.as_bytes())
            .map_err(|_| config(py, format!("method is invalid: `{}`", self.method)))?;
        let body = self.body.map(body_of).transpose()?.unwrap_or_default();
        let mut request = RawRequest::post(self.path, body)
            .method(method)
            .streamed(streamed)
            .return_errors(self.return_errors);
        if let Some(tokens) = self.max_tokens {
            request = request.max_tokens(tokens);
        }
        for (name, value) in self.headers.map(pairs).transpose()?.unwrap_or_default() {
            let refused = || config(py, format!("the header `{}` is invalid", name.escape_debug()));
            let header = HeaderName::try_from(name.as_str()).map_err(|_| refused())?;
            let mut value = HeaderValue::from_str(&value).map_err(|_| refused())?;
            // It may be a key.
            value.set_sensitive(true);
            request = request.header(header, value);
        }
        Ok(request)
    }
}

fn body_of(body: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if let Ok(bytes) = body.cast::<PyBytes>() {
        return Ok(Bytes::copy_from_slice(bytes.as_bytes()));
    }
    if let Ok(text) = body.cast::<PyString>() {
        return Ok(Bytes::from(text.to_cow()?.into_owned()));
    }
    let value = json_from_python(body)?;
    let json = serde_json::to_vec(&value)
        .map_err(|error| config(body.py(), format!("body has no JSON form: {error}")))?;
    Ok(Bytes::from(json))
}

/// The pairs of a mapping, or of a list of pairs.
fn pairs(headers: &Bound<'_, PyAny>) -> PyResult<Vec<(String, String)>> {
    let extract = || -> PyResult<Vec<(String, String)>> {
        match headers.cast::<PyDict>() {
            Ok(dict) => dict.iter().map(|(name, value)| Ok((name.extract()?, value.extract()?))).collect(),
            Err(_) => headers.try_iter()?.map(|pair| pair?.extract()).collect(),
        }
    };
    extract().map_err(|error| explained("headers", headers, error))
}

async fn whole(model: EngineModel, request: RawRequest, cx: Context) -> Result<RawResponse> {
    let EngineResponse { status, headers, body, attempts, .. } = model.send(request, &cx).await?;
    Ok(RawResponse { status: status.as_u16(), headers, attempts, body: body.whole().await? })
}

#[pymethods]
impl RawModel {
    #[getter]
    fn name(&self) -> &str {
        self.engine.name()
    }

    /// Sends a request and reads the whole answer, as a `RawResponse`.
    #[pyo3(signature = (method, path, body, headers, max_tokens, return_errors, options))]
    #[expect(clippy::too_many_arguments, reason = "the keywords of the Python function")]
    fn send(
        slf: &Bound<'_, Self>,
        method: &str,
        path: String,
        body: Option<&Bound<'_, PyAny>>,
        headers: Option<&Bound<'_, PyAny>>,
        max_tokens: Option<u64>,
        return_errors: bool,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Operation> {
        let request = Request { method, path, body, headers, max_tokens, return_errors };
        let request = request.build(slf.py(), false)?;
        let cx = context(options, None)?;
        let owner = (!slf.get().functions.is_empty()).then(|| slf.as_any());
        let work = whole(slf.get().engine.clone(), request, cx);
        Ok(Operation::new(owner, work, |py, answer| Ok(Bound::new(py, answer)?.into_any())))
    }

    /// Sends a request and reads the answer as it arrives: a `RawResponse` without body, then the chunks.
    #[pyo3(signature = (method, path, body, headers, max_tokens, return_errors, options))]
    #[expect(clippy::too_many_arguments, reason = "the keywords of the Python function")]
    fn stream(
        slf: &Bound<'_, Self>,
        method: &str,
        path: String,
        body: Option<&Bound<'_, PyAny>>,
        headers: Option<&Bound<'_, PyAny>>,
        max_tokens: Option<u64>,
        return_errors: bool,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Reader> {
        // Before the first event of the request.
        logging::look(slf.py());
        let request = Request { method, path, body, headers, max_tokens, return_errors };
        let request = request.build(slf.py(), true)?;
        let cx = context(options, None)?;
        let owner = crate::object::Object::new(slf.as_any());
        let model = slf.get().engine.clone();
        Ok(Reader::start(|feed| async move {
            let _owner = owner;
            feed_body(model, request, cx, feed).await;
        }))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.functions.traverse(&visit)
    }
}

async fn feed_body(model: EngineModel, request: RawRequest, cx: Context, feed: Feed) {
    let result = caught(async {
        let EngineResponse { status, headers, mut body, attempts, .. } = model.send(request, &cx).await?;
        let head = RawResponse { status: status.as_u16(), headers, attempts, body: Bytes::new() };
        feed.send(Piece::Head(Box::new(head))).await;
        while let Some(chunk) = feed.next(body.next()).await {
            feed.send(Piece::Bytes(chunk?)).await;
        }
        Ok(fanweave::Item::Value(serde_json::Value::Null))
    });
    let result = result.await;
    feed.finish(result);
}
