//! Rows: many inputs through one chain, which Python code takes as they end.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use fanweave::{Context, Item, Result};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::blocking::blocking_context;
use crate::bridge::Bridge;
use crate::chain::{Chain, EngineChain};
use crate::errors::raise;
use crate::item::{from_python, to_python};
use crate::logging;
use crate::mailbox::lock;
use crate::options::at_least_one;
use crate::process::Process;
use crate::reader::wait_sign;
use crate::waiter::{self, Waiter};
use crate::work::{Work, caught, ended};

/// Maximum rows that have ended behind an unfinished one, for each row in flight, if they are taken in order.
const AHEAD: usize = 16;

/// Rows in flight and rows that have ended. Dropping it ends all.
#[pyclass(frozen, module = "fanweave._core")]
pub(crate) struct Rows {
    engine: EngineChain,
    cx: Context,
    concurrency: NonZeroUsize,
    is_ordered: bool,
    process: Process,
    /// The rows in flight, by index.
    works: Mutex<HashMap<usize, Work>>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// The rows that have ended and are not taken.
    done: BTreeMap<usize, Result<Item>>,
    waiters: Vec<Waiter>,
    started: usize,
    taken: usize,
}

/// Ends a row whose task is dropped with its runtime.
struct RowEnd {
    shared: Arc<Mutex<Shared>>,
    index: usize,
    result: Option<Result<Item>>,
}

impl RowEnd {
    fn finish(mut self, result: Result<Item>) {
        self.result = Some(result);
    }
}

impl Drop for RowEnd {
    fn drop(&mut self) {
        let result = self.result.take().unwrap_or_else(|| Err(ended()));
        let waiters = {
            let mut shared = lock(&self.shared);
            shared.done.insert(self.index, result);
            std::mem::take(&mut shared.waiters)
        };
        waiters.into_iter().for_each(Waiter::wake);
    }
}

impl Rows {
    /// The index of a row that can be taken.
    fn next(&self, shared: &Shared) -> Option<usize> {
        let first = *shared.done.first_key_value()?.0;
        (!self.is_ordered || first == shared.taken).then_some(first)
    }

    fn register(&self, waiter: Waiter) {
        let mut shared = lock(&self.shared);
        if self.next(&shared).is_none() {
            shared.waiters.push(waiter);
        } else {
            drop(shared);
            waiter.wake();
        }
    }
}

#[pymethods]
impl Rows {
    #[new]
    fn new(
        py: Python<'_>,
        chain: &Bound<'_, Chain>,
        concurrency: &Bound<'_, PyAny>,
        is_ordered: bool,
        options: Option<&Bound<'_, PyDict>>,
        bridge: Option<&Bridge>,
    ) -> PyResult<Self> {
        logging::look(py);
        let concurrency = at_least_one(concurrency, "concurrency")?;
        let cx = blocking_context(chain, options, bridge)?.with_concurrency(concurrency).driven();
        Ok(Self {
            engine: chain.get().engine().clone(),
            cx,
            concurrency,
            is_ordered,
            process: Process::current(),
            works: Mutex::default(),
            shared: Arc::default(),
        })
    }

    /// Set if another row can start.
    fn has_room(&self) -> bool {
        let shared = lock(&self.shared);
        let unfinished = shared.started - shared.taken - shared.done.len();
        let limit = self.concurrency.get().saturating_mul(AHEAD);
        unfinished < self.concurrency.get() && (!self.is_ordered || shared.started - shared.taken < limit)
    }

    /// Number of rows that were started and not taken.
    fn left(&self) -> usize {
        let shared = lock(&self.shared);
        shared.started - shared.taken
    }

    /// Starts a row.
    fn start(&self, py: Python<'_>, input: &Bound<'_, PyAny>) -> PyResult<()> {
        self.process.check(py)?;
        let item = from_python(input)?;
        let index = {
            let mut shared = lock(&self.shared);
            shared.started += 1;
            shared.started - 1
        };
        let (engine, cx) = (self.engine.clone(), self.cx.fork(index as u64));
        let end = RowEnd { shared: self.shared.clone(), index, result: None };
        let work = Work::spawn(async move {
            let result = caught(engine.invoke_in(item, &cx)).await;
            end.finish(result);
        });
        lock(&self.works).insert(index, work);
        Ok(())
    }

    /// The next row: its index, whether it has an output, and the output or the exception. Or the sign
    /// `WAIT`.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.process.check(py)?;
        let (index, result) = {
            let mut shared = lock(&self.shared);
            let next = self.next(&shared);
            match next.and_then(|index| Some((index, shared.done.remove(&index)?))) {
                Some(row) => {
                    shared.taken += 1;
                    row
                }
                None => return Ok(wait_sign(py)?.clone()),
            }
        };
        drop(lock(&self.works).remove(&index));
        // A row that had ended before anyone waited.
        logging::deliver(py);
        let row = match result {
            Ok(item) => (index, true, to_python(py, item)?),
            Err(error) => (index, false, raise(py, &error).into_value(py).into_bound(py).into_any()),
        };
        Ok(row.into_pyobject(py)?.into_any())
    }

    /// A future that is settled when a row can be taken, and its number.
    fn wait<'py>(&self, py: Python<'py>, bridge: &Bridge) -> PyResult<(Bound<'py, PyAny>, u64)> {
        self.process.check(py)?;
        waiter::wait(py, bridge, |waiter| self.register(waiter))
    }

    /// Blocks until a row can be taken.
    fn wait_blocking(&self, py: Python<'_>) -> PyResult<()> {
        self.process.check(py)?;
        waiter::wait_blocking(py, |waiter| self.register(waiter))
    }

    /// Ends all rows in flight.
    fn close(&self) {
        let works = std::mem::take(&mut *lock(&self.works));
        drop(works);
    }
}
