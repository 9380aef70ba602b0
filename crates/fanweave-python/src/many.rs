//! Chains with many outputs: a step for each item of a list while the list is still being generated.

use fanweave::crates::serde_json::Value;
use fanweave::{Item, Message};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;

use crate::chain::{Chain, Pieces};
use crate::function::Functions;

/// A chain with many outputs.
#[pyclass(frozen, module = "fanweave._core")]
pub(crate) struct Many {
    engine: fanweave::many::Many<Item, Item>,
    functions: Functions,
}

/// The lines of an answer, each as soon as it is complete.
#[pyfunction]
pub(crate) fn lines(chain: &Bound<'_, Chain>) -> Many {
    let engine = chain.get().engine().clone().output_as::<Message>().lines().map(Item::Text);
    Many { engine, functions: Functions::of(chain.py(), [chain.get().functions()]) }
}

/// The items of a JSON array in an answer, each as soon as it is complete.
#[pyfunction]
pub(crate) fn items(chain: &Bound<'_, Chain>) -> Many {
    let engine = chain.get().engine().clone().output_as::<Message>().items::<Value>().map(Item::Value);
    Many { engine, functions: Functions::of(chain.py(), [chain.get().functions()]) }
}

#[pymethods]
impl Many {
    /// Runs a chain for each item, several at once, and keeps their order.
    fn each(&self, py: Python<'_>, chain: &Chain) -> Self {
        Self {
            engine: self.engine.clone().each(chain.engine().clone()),
            functions: Functions::of(py, [&self.functions, chain.functions()]),
        }
    }

    /// The list of all items.
    fn collect(&self, py: Python<'_>) -> Chain {
        self.chain(py, self.engine.clone().collect().erased(), Pieces::Whole)
    }

    /// The texts of all items, with a separator between them.
    fn join(&self, py: Python<'_>, separator: String) -> Chain {
        let as_text = fanweave::compose::passthrough::<Item>().output_as::<String>();
        self.chain(py, self.engine.clone().each(as_text).join(separator).erased(), Pieces::Text)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.functions.traverse(&visit)
    }
}

impl Many {
    fn chain(&self, py: Python<'_>, engine: fanweave::Chain<Item, Item>, pieces: Pieces) -> Chain {
        Chain::new(engine, pieces).with_functions(Functions::of(py, [&self.functions]))
    }
}
