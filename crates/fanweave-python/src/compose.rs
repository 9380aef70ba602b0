//! Steps that combine chains, or the entries of dicts.

use std::collections::BTreeMap;

use fanweave::compose::{self, Node, Streaming};
use fanweave::{Context, Error, ErrorKind, Item, Result, Runnable};
use pyo3::prelude::*;

use crate::chain::{Chain, EngineChain, Pieces};
use crate::function::Functions;
use crate::item::Mapping;

/// Outputs of branches as a dict in the order of the branches.
struct AsDict {
    inner: fanweave::Chain<Item, BTreeMap<String, Item>>,
    order: Vec<String>,
}

impl Runnable for AsDict {
    const DRIVES_CALLS: bool = true;

    type Input = Item;
    type Output = Item;

    async fn run(&self, input: Item, cx: &Context) -> Result<Item> {
        let mut outputs = self.inner.run(input, cx).await?;
        let entries = self.order.iter().filter_map(|name| Some((name.clone(), outputs.remove(name)?)));
        Ok(Mapping::into_item(entries))
    }

    fn streaming(&self) -> Streaming {
        self.inner.streaming()
    }

    fn describe(&self) -> Node {
        self.inner.describe()
    }
}

fn as_dict(branches: &[(String, PyRef<'_, Chain>)]) -> AsDict {
    let chains = branches.iter().map(|(name, chain)| (name.as_str(), chain.engine().clone()));
    let order = branches.iter().map(|(name, _)| name.clone()).collect();
    AsDict { inner: compose::parallel_map(chains), order }
}

/// Several chains with the same input; the output is a dict.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned values")]
pub(crate) fn parallel(py: Python<'_>, branches: Vec<(String, PyRef<'_, Chain>)>) -> Chain {
    let engine = fanweave::chain(as_dict(&branches));
    Chain::of_parts(py, engine, branches.iter().map(|(_, chain)| &**chain), Some(Pieces::Delta))
}

/// Adds the outputs of chains to the dict that is their input.
struct Assign {
    added: AsDict,
}

impl Runnable for Assign {
    const DRIVES_CALLS: bool = true;

    type Input = Item;
    type Output = Item;

    async fn run(&self, input: Item, cx: &Context) -> Result<Item> {
        let mut entries = Mapping::entries(input.clone())?;
        for (name, item) in Mapping::entries(self.added.run(input, cx).await?)? {
            match entries.iter_mut().find(|(known, _)| *known == name) {
                Some((_, value)) => *value = item,
                None => entries.push((name, item)),
            }
        }
        Ok(Mapping::into_item(entries))
    }

    fn streaming(&self) -> Streaming {
        self.added.streaming()
    }

    fn describe(&self) -> Node {
        self.added.describe().named("assign")
    }
}

/// The input, with the outputs of chains as further entries.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned values")]
pub(crate) fn assign(py: Python<'_>, branches: Vec<(String, PyRef<'_, Chain>)>) -> Chain {
    let engine = fanweave::chain(Assign { added: as_dict(&branches) });
    Chain::of_parts(py, engine, branches.iter().map(|(_, chain)| &**chain), Some(Pieces::Delta))
}

/// Some of the entries of a dict.
struct Pick {
    names: Vec<String>,
}

impl Runnable for Pick {
    type Input = Item;
    type Output = Item;

    async fn run(&self, input: Item, _: &Context) -> Result<Item> {
        let mut entries = Mapping::entries(input)?;
        let known = entries.iter().map(|(known, _)| known.as_str()).collect::<Vec<_>>().join(", ");
        let mut picked = Vec::with_capacity(self.names.len());
        for name in &self.names {
            match entries.iter().position(|(known, _)| known == name) {
                Some(at) => picked.push(entries.swap_remove(at)),
                None => {
                    let message = format!("no entry `{name}`: the entries are {known}");
                    return Err(Error::new(ErrorKind::Input, message));
                }
            }
        }
        Ok(Mapping::into_item(picked))
    }

    fn describe(&self) -> Node {
        Node::step("pick")
    }
}

/// Some of the entries of a dict.
#[pyfunction]
pub(crate) fn pick(names: Vec<String>) -> Chain {
    Chain::new(fanweave::chain(Pick { names }), Pieces::Whole)
}

/// The output of a chain, as a key, with the input.
struct Keyed {
    key: EngineChain,
}

impl Runnable for Keyed {
    const DRIVES_CALLS: bool = true;

    type Input = Item;
    type Output = (String, Item);

    async fn run(&self, input: Item, cx: &Context) -> Result<(String, Item)> {
        let key = self.key.run(input.clone(), &cx.without_deltas()).await?;
        Ok((key.into_text()?, input))
    }

    fn describe(&self) -> Node {
        self.key.describe()
    }
}

/// A chain whose input has a key.
struct WithoutKey {
    inner: EngineChain,
}

impl Runnable for WithoutKey {
    const DRIVES_CALLS: bool = true;

    type Input = (String, Item);
    type Output = Item;

    async fn run(&self, (_, input): (String, Item), cx: &Context) -> Result<Item> {
        self.inner.run(input, cx).await
    }

    fn streaming(&self) -> Streaming {
        self.inner.streaming()
    }

    fn describe(&self) -> Node {
        self.inner.describe()
    }
}

/// The route that the output of `key` names.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned values")]
pub(crate) fn router(py: Python<'_>, key: &Chain, routes: Vec<(String, PyRef<'_, Chain>)>) -> Chain {
    let chains = routes
        .iter()
        .map(|(name, route)| (name.clone(), fanweave::chain(WithoutKey { inner: route.engine().clone() })));
    let routed = compose::router(|(key, _): &(String, Item)| key.clone(), chains);
    let engine = fanweave::chain(Keyed { key: key.engine().clone() }).then(routed);
    let routed = Chain::of_parts(py, engine, routes.iter().map(|(_, route)| &**route), None);
    let functions = Functions::of(py, [key.functions(), routed.functions()]);
    routed.with_functions(functions)
}
