//! Verbs that block the thread that calls them.

use fanweave::{Context, Item};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::bridge::Bridge;
use crate::chain::{Chain, EngineChain};
use crate::item::{from_python, to_python};
use crate::object::release_dropped;
use crate::options::{Caller, at_least_one, context};
use crate::outputs::outputs_to_python;
use crate::work::wait;

/// The context of a blocking run. Steps in Python run on the loop of `bridge`.
pub(crate) fn blocking_context(
    chain: &Bound<'_, Chain>,
    options: Option<&Bound<'_, PyDict>>,
    bridge: Option<&Bridge>,
) -> PyResult<Context> {
    let bridge = bridge.filter(|_| chain.get().has_steps());
    let caller = bridge.map(|bridge| Caller::here(chain.as_any(), bridge.mailbox().clone())).transpose()?;
    context(options, caller)
}

/// The chain, the input and the context of a blocking run.
pub(crate) fn blocking_run(
    chain: &Bound<'_, Chain>,
    input: &Bound<'_, PyAny>,
    options: Option<&Bound<'_, PyDict>>,
    bridge: Option<&Bridge>,
) -> PyResult<(EngineChain, Item, Context)> {
    let item = from_python(input)?;
    let cx = blocking_context(chain, options, bridge)?;
    Ok((chain.get().engine().clone(), item, cx))
}

/// Runs a chain once.
#[pyfunction]
pub(crate) fn invoke<'py>(
    py: Python<'py>,
    chain: &Bound<'py, Chain>,
    input: &Bound<'py, PyAny>,
    options: Option<&Bound<'py, PyDict>>,
    bridge: Option<&Bridge>,
) -> PyResult<Bound<'py, PyAny>> {
    let (engine, item, cx) = blocking_run(chain, input, options, bridge)?;
    let output = wait(py, async move { engine.invoke_in(item, &cx).await })?;
    release_dropped(py);
    to_python(py, output)
}

/// Runs a chain for each input.
#[pyfunction]
pub(crate) fn batch<'py>(
    py: Python<'py>,
    chain: &Bound<'py, Chain>,
    inputs: &Bound<'py, PyAny>,
    concurrency: &Bound<'_, PyAny>,
    options: Option<&Bound<'py, PyDict>>,
    bridge: Option<&Bridge>,
) -> PyResult<Bound<'py, PyAny>> {
    let items = inputs.try_iter()?.map(|input| from_python(&input?)).collect::<PyResult<Vec<_>>>()?;
    let concurrency = at_least_one(concurrency, "concurrency")?.get();
    let cx = blocking_context(chain, options, bridge)?;
    let batch = chain.get().engine().batch(items).concurrency(concurrency).within(cx);
    let rows = wait(py, async move { Ok(batch.collect().await) })?;
    release_dropped(py);
    outputs_to_python(py, rows)
}
