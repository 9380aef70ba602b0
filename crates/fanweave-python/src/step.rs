//! Steps in Python. They run on the event loop that the run was started from, or on a thread of Python's.

use fanweave::compose::{Node, Streaming};
use fanweave::{Context, Error, ErrorKind, Item, Result, Runnable};
use pyo3::prelude::*;

use crate::chain::{Chain, EngineChain, Pieces};
use crate::function::{Callee, Functions, caller};
use crate::item::{Ready, from_python};
use crate::object::Object;

/// A Python function as a step.
struct PythonStep {
    function: Callee,
}

impl Runnable for PythonStep {
    type Input = Item;
    type Output = Item;

    async fn run(&self, input: Item, cx: &Context) -> Result<Item> {
        self.function.call(input, &*caller(cx)?).await
    }
}

/// A Python function as a step. `on_loop`: on the thread of the loop, also if it is not async.
#[pyfunction]
pub(crate) fn step(function: &Bound<'_, PyAny>, name: String, on_loop: bool) -> PyResult<Chain> {
    let (function, callee) = Callee::new(function, on_loop)?;
    let engine = fanweave::chain(PythonStep { function: callee }).named(name);
    Ok(Chain::new(engine, Pieces::Whole).with_functions(Functions::one(function)))
}

/// A chain and its input, which a function has chosen.
struct Choice {
    engine: EngineChain,
    input: Item,
    /// Owns the functions of the chain.
    _chain: Object,
}

/// A chain and its input, for the function of a [`dynamic`] step to return.
#[pyfunction]
pub(crate) fn chosen(chain: &Bound<'_, Chain>, input: &Bound<'_, PyAny>) -> PyResult<Ready> {
    let engine = chain.get().engine().clone();
    let choice = Choice { engine, input: from_python(input)?, _chain: Object::new(chain.as_any()) };
    Ok(Ready(Item::foreign(choice)))
}

/// Runs the chain that a function chooses.
struct Dynamic {
    function: Callee,
}

impl Runnable for Dynamic {
    const DRIVES_CALLS: bool = true;

    type Input = Item;
    type Output = Item;

    async fn run(&self, input: Item, cx: &Context) -> Result<Item> {
        let choice = match self.function.call(input, &*caller(cx)?).await? {
            Item::Foreign(ticket) => ticket.downcast::<Choice>(),
            _ => None,
        };
        let Some(choice) = choice else {
            return Err(Error::new(ErrorKind::Input, "the function of a dynamic step must return a chain"));
        };
        let input = choice.input.clone();
        choice.engine.run(input, cx).await
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        Node::step("dynamic")
    }
}

/// A step that runs the chain, and with the input, that a function returns as [`chosen`]. Its pieces are
/// `values` or deltas.
#[pyfunction]
pub(crate) fn dynamic(
    function: &Bound<'_, PyAny>,
    name: String,
    on_loop: bool,
    values: bool,
) -> PyResult<Chain> {
    let (function, callee) = Callee::new(function, on_loop)?;
    let pieces = if values { Pieces::Value } else { Pieces::Delta };
    let engine = fanweave::chain(Dynamic { function: callee }).named(name);
    Ok(Chain::new(engine, pieces).with_functions(Functions::one(function)))
}
