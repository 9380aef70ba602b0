//! Chains as Python values: composition, and verbs that block.

use std::num::NonZeroU32;

use fanweave::compose::{self, Node, RetryPolicy, Streaming};
use fanweave::{Context, Error, Item, Model, Result, Runnable};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::function::Functions;
use crate::item::plain;
use crate::object::release_dropped;
use crate::options::{at_least_one, seconds};

/// The chain of the engine.
pub(crate) type EngineChain = fanweave::Chain<Item, Item>;

/// The kind of pieces that a stream of a chain yields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pieces {
    /// Texts.
    Text,
    /// The values so far of a JSON answer.
    Value,
    /// All deltas as they are.
    Delta,
    /// The whole output at once.
    Whole,
}

/// A chain whose steps are known at run time.
#[pyclass(frozen, module = "fanweave._core")]
pub(crate) struct Chain {
    engine: EngineChain,
    pieces: Pieces,
    /// The Python code of its steps, which needs a loop.
    functions: Functions,
    /// The model, if it is one.
    model: Option<Model>,
}

impl Chain {
    /// A chain of steps in Rust.
    pub(crate) fn new(engine: EngineChain, pieces: Pieces) -> Self {
        Self { engine, pieces, functions: Functions::default(), model: None }
    }

    /// The chain of a model.
    pub(crate) fn with_model(mut self, model: Model) -> Self {
        self.model = Some(model);
        self
    }

    pub(crate) fn model(&self) -> Option<&Model> {
        self.model.as_ref()
    }

    pub(crate) fn engine(&self) -> &EngineChain {
        &self.engine
    }

    pub(crate) fn functions(&self) -> &Functions {
        &self.functions
    }

    pub(crate) fn pieces(&self) -> Pieces {
        self.pieces
    }

    /// A chain of other chains, which streams as they do if they do all the same.
    pub(crate) fn of_parts<'a>(
        py: Python<'_>,
        engine: EngineChain,
        parts: impl IntoIterator<Item = &'a Chain>,
        pieces: Option<Pieces>,
    ) -> Self {
        let parts: Vec<_> = parts.into_iter().collect();
        let first = parts.first().map_or(Pieces::Whole, |part| part.pieces);
        let is_uniform = parts.iter().all(|part| part.pieces == first);
        let pieces = pieces.unwrap_or(if is_uniform { first } else { Pieces::Delta });
        let functions = Functions::of(py, parts.iter().map(|part| &part.functions));
        Self { engine, pieces, functions, model: None }
    }

    /// The same chain with these functions.
    pub(crate) fn with_functions(mut self, functions: Functions) -> Self {
        self.functions = functions;
        self
    }

    /// The same chain with another engine.
    fn with(&self, py: Python<'_>, engine: EngineChain) -> Self {
        Self { engine, pieces: self.pieces, functions: Functions::of(py, [&self.functions]), model: None }
    }
}

/// A step in Rust that reads the outputs of steps in Python: messages within dicts become JSON.
struct Plain(EngineChain);

impl Runnable for Plain {
    const DRIVES_CALLS: bool = true;

    type Input = Item;
    type Output = Item;

    async fn run(&self, input: Item, cx: &Context) -> Result<Item> {
        self.0.run(plain(input)?, cx).await
    }

    fn streaming(&self) -> Streaming {
        self.0.streaming()
    }

    fn describe(&self) -> Node {
        self.0.describe()
    }
}

/// A step in Rust that takes JSON or variables.
pub(crate) fn reads_json(engine: EngineChain) -> EngineChain {
    fanweave::chain(Plain(engine))
}

#[pymethods]
impl Chain {
    #[getter]
    pub(crate) fn has_steps(&self) -> bool {
        !self.functions.is_empty()
    }

    /// This chain, then `next`.
    fn then(&self, py: Python<'_>, next: &Self) -> Self {
        Self {
            engine: self.engine.clone().connect(next.engine.clone()),
            pieces: next.pieces,
            functions: Functions::of(py, [&self.functions, &next.functions]),
            model: None,
        }
    }

    fn named(&self, py: Python<'_>, name: String) -> Self {
        self.with(py, self.engine.clone().named(name))
    }

    fn with_timeout(&self, limit: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(self.with(limit.py(), self.engine.clone().timeout(seconds(limit, "timeout")?)))
    }

    /// Retries errors that `is_retryable`, or whose kind is in `on`.
    #[pyo3(signature = (attempts, on=None))]
    fn retry(&self, attempts: &Bound<'_, PyAny>, on: Option<Vec<String>>) -> PyResult<Self> {
        let py = attempts.py();
        let attempts = at_least_one(attempts, "attempts")?;
        let attempts = NonZeroU32::try_from(attempts).unwrap_or(NonZeroU32::MAX);
        let policy = RetryPolicy::default().max_attempts(attempts);
        let engine = self.engine.clone();
        let engine = match on {
            None => engine.retry(policy),
            Some(on) => engine
                .retry_if(policy, move |error: &Error| on.iter().any(|kind| kind == error.kind().as_str())),
        };
        Ok(self.with(py, engine))
    }

    #[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned values")]
    fn fallback(&self, py: Python<'_>, others: Vec<PyRef<'_, Self>>) -> Self {
        let engine = self.engine.clone().fallback(others.iter().map(|other| other.engine.clone()));
        Self::of_parts(py, engine, others.iter().map(|other| &**other).chain([self]), None)
    }

    fn mermaid(&self) -> String {
        self.engine.graph().to_mermaid()
    }

    fn title(&self) -> String {
        self.engine.describe().title()
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.functions.traverse(&visit)
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // The functions of its steps are released, unless the interpreter has ended.
        let engine = std::mem::replace(&mut self.engine, fanweave::compose::passthrough());
        drop(engine);
        let _ = Python::try_attach(release_dropped);
    }
}

/// Returns its input.
#[pyfunction]
pub(crate) fn passthrough() -> Chain {
    Chain::new(compose::passthrough(), Pieces::Whole)
}
