//! Chains as Python values: composition, and verbs that block.

use std::num::NonZeroU32;
use std::sync::Arc;

use fanweave::compose::{self, Node, RetryPolicy, Streaming};
use fanweave::{Context, Error, Item, Result, Runnable};
use pyo3::prelude::*;

use crate::errors::config;
use crate::item::plain;
use crate::object::{Object, release_dropped};
use crate::options::seconds;
use crate::step::PythonStep;

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
    /// Set if steps are Python code, which needs a loop.
    has_steps: bool,
}

impl Chain {
    /// A chain of steps in Rust.
    pub(crate) fn new(engine: EngineChain, pieces: Pieces) -> Self {
        Self { engine, pieces, has_steps: false }
    }

    pub(crate) fn engine(&self) -> &EngineChain {
        &self.engine
    }

    pub(crate) fn pieces(&self) -> Pieces {
        self.pieces
    }

    /// A chain of other chains, which streams as they do if they do all the same.
    pub(crate) fn of_parts<'a>(
        engine: EngineChain,
        parts: impl IntoIterator<Item = &'a Chain>,
        pieces: Option<Pieces>,
    ) -> Self {
        let parts: Vec<_> = parts.into_iter().collect();
        let first = parts.first().map_or(Pieces::Whole, |part| part.pieces);
        let is_uniform = parts.iter().all(|part| part.pieces == first);
        let pieces = pieces.unwrap_or(if is_uniform { first } else { Pieces::Delta });
        Self { engine, pieces, has_steps: parts.iter().any(|part| part.has_steps) }
    }

    /// The same chain, which needs a loop also if `has_steps`.
    pub(crate) fn with_steps(mut self, has_steps: bool) -> Self {
        self.has_steps |= has_steps;
        self
    }

    /// The same chain with another engine.
    fn with(&self, engine: EngineChain) -> Self {
        Self { engine, pieces: self.pieces, has_steps: self.has_steps }
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
        self.has_steps
    }

    /// This chain, then `next`.
    fn then(&self, next: &Self) -> Self {
        Self {
            engine: self.engine.clone().connect(next.engine.clone()),
            pieces: next.pieces,
            has_steps: self.has_steps || next.has_steps,
        }
    }

    fn named(&self, name: String) -> Self {
        self.with(self.engine.clone().named(name))
    }

    fn with_timeout(&self, limit: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(self.with(self.engine.clone().timeout(seconds(limit, "timeout")?)))
    }

    /// Retries errors that `is_retryable`, or whose kind is in `on`.
    #[pyo3(signature = (attempts, on=None))]
    fn retry(&self, py: Python<'_>, attempts: u32, on: Option<Vec<String>>) -> PyResult<Self> {
        let attempts =
            NonZeroU32::new(attempts).ok_or_else(|| config(py, "attempts must be at least 1 (got 0)"))?;
        let policy = RetryPolicy::default().max_attempts(attempts);
        let engine = self.engine.clone();
        Ok(self.with(match on {
            None => engine.retry(policy),
            Some(on) => engine
                .retry_if(policy, move |error: &Error| on.iter().any(|kind| kind == error.kind().as_str())),
        }))
    }

    #[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned values")]
    fn fallback(&self, others: Vec<PyRef<'_, Self>>) -> Self {
        let engine = self.engine.clone().fallback(others.iter().map(|other| other.engine.clone()));
        Self::of_parts(engine, others.iter().map(|other| &**other).chain([self]), None)
    }

    fn mermaid(&self) -> String {
        self.engine.graph().to_mermaid()
    }

    fn title(&self) -> String {
        self.engine.describe().title()
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

/// A Python function as a step. `on_loop`: on the thread of the loop, also if it is not async.
#[pyfunction]
pub(crate) fn step(function: &Bound<'_, PyAny>, name: String, on_loop: bool) -> Chain {
    let step = PythonStep { function: Arc::new(Object::new(function)), on_loop };
    let engine = fanweave::chain(step).named(name);
    Chain { engine, pieces: Pieces::Whole, has_steps: true }
}

/// Returns its input.
#[pyfunction]
pub(crate) fn passthrough() -> Chain {
    Chain::new(compose::passthrough(), Pieces::Whole)
}
