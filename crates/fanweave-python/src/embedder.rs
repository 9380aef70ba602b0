//! Embedders: models that turn texts into vectors.

use fanweave::crates::serde_json::Value;
use fanweave::models::{Embedded, Embeddings};
use fanweave::{Context, Embedder as EngineEmbedder, Error, ErrorKind, Item, Result, Runnable, Usage};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyDict, PyList};

use crate::bridge::Bridge;
use crate::errors::{config, raise};
use crate::function::{Callee, Functions, caller};
use crate::operation::Operation;
use crate::options::{Caller, context};
use crate::settings::settings_of;

/// A model that turns texts into vectors.
#[pyclass(frozen, module = "fanweave._core")]
pub(crate) struct Embedder {
    engine: EngineEmbedder,
    functions: Functions,
}

impl Embedder {
    pub(crate) fn engine(&self) -> &EngineEmbedder {
        &self.engine
    }

    pub(crate) fn functions(&self) -> &Functions {
        &self.functions
    }
}

/// A Python function from a list of texts to a list of vectors.
struct PythonEmbeddings {
    name: String,
    function: Callee,
}

impl Embeddings for PythonEmbeddings {
    fn name(&self) -> &str {
        &self.name
    }

    async fn embed(&self, texts: Vec<String>, cx: &Context) -> Result<Embedded> {
        let count = texts.len();
        let texts = Item::Value(Value::Array(texts.into_iter().map(Value::String).collect()));
        let answer = self.function.call(texts, &*caller(cx)?).await?;
        let vectors = vectors_of(answer)?;
        if vectors.len() != count {
            let message = format!("the function returned {} vectors for {count} texts", vectors.len());
            return Err(Error::new(ErrorKind::Decode, message));
        }
        Ok(Embedded::new(vectors, Usage::default()))
    }
}

fn vectors_of(item: Item) -> Result<Vec<Vec<f32>>> {
    let refused = || Error::new(ErrorKind::Decode, "the function must return a list of lists of numbers");
    let Ok(Value::Array(vectors)) = item.into_value() else { return Err(refused()) };
    let number = |value: &Value| {
        #[expect(clippy::cast_possible_truncation, reason = "vectors have single precision")]
        let number = value.as_f64().map(|x| x as f32);
        number.ok_or_else(refused)
    };
    let vector = |value: &Value| match value {
        Value::Array(numbers) => numbers.iter().map(number).collect(),
        _ => Err(refused()),
    };
    vectors.iter().map(vector).collect()
}

/// An embedder by name. `settings` are those of `fanweave.embedder`.
#[pyfunction]
pub(crate) fn embedder(py: Python<'_>, name: &str, settings: &Bound<'_, PyDict>) -> PyResult<Embedder> {
    let (settings, parameters) = settings_of(settings)?;
    if parameters != fanweave::Parameters::new() {
        return Err(config(py, "an embedder has no parameters of calls, such as temperature"));
    }
    let functions = settings.functions(py);
    let is_simulated = name.starts_with("sim/") || !name.contains('/');
    if is_simulated && !settings.is_default() {
        return Err(config(py, "a simulated embedder has no connection and no settings"));
    }
    let built = if is_simulated { fanweave::embedder(name) } else { settings.builder(name).build_embedder() };
    Ok(Embedder { engine: built.map_err(|error| raise(py, &error))?, functions })
}

/// An embedder that is a Python function. `on_loop`: it is async.
#[pyfunction]
pub(crate) fn embedder_of(function: &Bound<'_, PyAny>, name: String, on_loop: bool) -> PyResult<Embedder> {
    let (owned, callee) = Callee::new(function, on_loop)?;
    let engine = EngineEmbedder::new(PythonEmbeddings { name, function: callee });
    Ok(Embedder { engine, functions: Functions::one(owned) })
}

/// The context of an operation, whose functions run on the loop of `bridge`.
pub(crate) fn operation_context(
    owner: &Bound<'_, PyAny>,
    functions: &Functions,
    options: Option<&Bound<'_, PyDict>>,
    bridge: Option<&Bridge>,
) -> PyResult<Context> {
    let bridge = bridge.filter(|_| !functions.is_empty());
    let caller = bridge.map(|bridge| Caller::here(owner, bridge.mailbox().clone())).transpose()?;
    context(options, caller)
}

#[pymethods]
impl Embedder {
    #[getter]
    fn name(&self) -> &str {
        self.engine.name()
    }

    #[getter]
    fn has_functions(&self) -> bool {
        !self.functions.is_empty()
    }

    /// The vector of each text: as lists, or with `packed` as numbers of single precision in one bytearray,
    /// with the number of vectors.
    #[pyo3(signature = (texts, packed, options, bridge))]
    fn embed(
        slf: &Bound<'_, Self>,
        texts: Vec<String>,
        packed: bool,
        options: Option<&Bound<'_, PyDict>>,
        bridge: Option<&Bridge>,
    ) -> PyResult<Operation> {
        let cx = operation_context(slf.as_any(), &slf.get().functions, options, bridge)?;
        let engine = slf.get().engine.clone();
        let work = async move { engine.run(texts, &cx).await };
        Ok(Operation::new(Some(slf.as_any()), work, move |py, answer: Embedded| {
            if packed { pack(py, &answer.vectors) } else { lists(py, &answer.vectors) }
        }))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.functions.traverse(&visit)
    }
}

fn lists<'py>(py: Python<'py>, vectors: &[Vec<f32>]) -> PyResult<Bound<'py, PyAny>> {
    let lists = vectors.iter().map(|vector| PyList::new(py, vector.iter().map(|x| f64::from(*x))));
    Ok(PyList::new(py, lists.collect::<PyResult<Vec<_>>>()?)?.into_any())
}

fn pack<'py>(py: Python<'py>, vectors: &[Vec<f32>]) -> PyResult<Bound<'py, PyAny>> {
    let bytes: Vec<u8> = vectors.iter().flatten().flat_map(|x| x.to_ne_bytes()).collect();
    (PyByteArray::new(py, &bytes), vectors.len()).into_pyobject(py).map(Bound::into_any)
}
