//! Chains with many outputs: a step for each item of a list while the list is still being generated.

use fanweave::crates::serde_json::Value;
use fanweave::{Item, Message};
use pyo3::prelude::*;

use crate::chain::{Chain, Pieces};

/// A chain with many outputs.
#[pyclass(frozen, module = "fanweave._core")]
pub(crate) struct Many {
    engine: fanweave::many::Many<Item, Item>,
    has_steps: bool,
}

/// The lines of an answer, each as soon as it is complete.
#[pyfunction]
pub(crate) fn lines(chain: &Chain) -> Many {
    let engine = chain.engine().clone().output_as::<Message>().lines().map(Item::Text);
    Many { engine, has_steps: chain.has_steps() }
}

/// The items of a JSON array in an answer, each as soon as it is complete.
#[pyfunction]
pub(crate) fn items(chain: &Chain) -> Many {
    let engine = chain.engine().clone().output_as::<Message>().items::<Value>().map(Item::Value);
    Many { engine, has_steps: chain.has_steps() }
}

#[pymethods]
impl Many {
    /// Runs a chain for each item, several at once, and keeps their order.
    fn each(&self, chain: &Chain) -> Self {
        Self {
            engine: self.engine.clone().each(chain.engine().clone()),
            has_steps: self.has_steps || chain.has_steps(),
        }
    }

    /// The list of all items.
    fn collect(&self) -> Chain {
        self.chain(self.engine.clone().collect().erased(), Pieces::Whole)
    }

    /// The texts of all items, with a separator between them.
    fn join(&self, separator: String) -> Chain {
        let as_text = fanweave::compose::passthrough::<Item>().output_as::<String>();
        self.chain(self.engine.clone().each(as_text).join(separator).erased(), Pieces::Text)
    }
}

impl Many {
    fn chain(&self, engine: fanweave::Chain<Item, Item>, pieces: Pieces) -> Chain {
        Chain::new(engine, pieces).with_steps(self.has_steps)
    }
}
