//! The connection of an event loop with the engine.

use std::collections::HashMap;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use fanweave::{Context, Error, Result};
use pyo3::exceptions::PyException;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::answer::{Tasks, begin_call};
use crate::chain::Chain;
use crate::errors::raise;
use crate::item::{from_python, to_python};
use crate::logging;
use crate::mailbox::{Letter, Mailbox, Outcome, lock};
use crate::object::release_dropped;
use crate::options::{Caller, at_least_one, context};
use crate::outputs::outputs_to_python;
use crate::process::Process;
use crate::work::{Work, caught};

/// A future of the loop, and the work that settles it.
struct Pending {
    future: Py<PyAny>,
    work: Option<Work>,
}

#[derive(Default)]
struct Futures {
    next: u64,
    by_id: HashMap<u64, Pending>,
}

/// Connects an event loop with the engine. The loop calls `drain` when `fileno` is readable.
///
/// It is dropped with its loop, and ends the work of futures that are then never settled.
#[pyclass(frozen, weakref, module = "fanweave._core")]
pub(crate) struct Bridge {
    mailbox: Arc<Mailbox>,
    listener: UnixStream,
    futures: Mutex<Futures>,
    tasks: Arc<Tasks>,
    /// Weak: the loop owns the bridge.
    event_loop: Py<PyAny>,
    /// The level of nested blocking calls.
    level: u32,
    process: Process,
}

impl Bridge {
    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    pub(crate) fn event_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.event_loop.bind(py).call0()
    }

    /// A new future and its number.
    pub(crate) fn future<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyAny>, u64)> {
        let future = self.event_loop(py)?.call_method0(pyo3::intern!(py, "create_future"))?;
        let mut futures = lock(&self.futures);
        futures.next += 1;
        let id = futures.next;
        futures.by_id.insert(id, Pending { future: future.clone().unbind(), work: None });
        Ok((future, id))
    }

    pub(crate) fn start(&self, id: u64, work: impl Future<Output = Result<Outcome>> + Send + 'static) {
        let mailbox = self.mailbox.clone();
        let work = Work::spawn(async move {
            let letter = Letter::Done(id, caught(work).await);
            mailbox.post_later(letter).await;
        });
        if let Some(pending) = lock(&self.futures).by_id.get_mut(&id) {
            pending.work = Some(work);
        }
    }

    fn take(&self, id: u64) -> Option<Pending> {
        lock(&self.futures).by_id.remove(&id)
    }

    /// The context of a run that this loop starts.
    pub(crate) fn context(
        &self,
        chain: &Bound<'_, Chain>,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Context> {
        let has_steps = chain.get().has_steps();
        let caller = has_steps.then(|| Caller::here(chain.as_any(), self.mailbox.clone())).transpose()?;
        context(options, caller)
    }

    fn deliver(&self, py: Python<'_>, letter: Letter) -> PyResult<()> {
        match letter {
            Letter::Done(id, result) => {
                // A future without an entry was cancelled.
                let Some(pending) = self.take(id) else { return Ok(()) };
                settle(pending.future.bind(py), outcome(py, result))
            }
            Letter::Ready(id) => {
                let Some(pending) = self.take(id) else { return Ok(()) };
                settle(pending.future.bind(py), Ok(py.None().into_bound(py)))
            }
            Letter::Call(call) => begin_call(py, &self.event_loop(py)?, self.level, &self.tasks, call),
            // After all letters.
            Letter::Log => Ok(()),
            Letter::CancelCall(id) => match self.tasks.remove(id) {
                Some(task) => task.bind(py).call_method0(pyo3::intern!(py, "cancel")).map(drop),
                None => Ok(()),
            },
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        if self.process.is_current() {
            self.mailbox.close();
        } else {
            // A forked child: a thread of the parent may have held the lock, and letters wake tasks of its
            // runtime.
            std::mem::forget(self.mailbox.clone());
        }
    }
}

fn outcome(py: Python<'_>, result: Result<Outcome>) -> PyResult<Bound<'_, PyAny>> {
    match result.map_err(|error: Error| raise(py, &error))? {
        Outcome::Item(item) => to_python(py, item),
        Outcome::Rows(rows) => outputs_to_python(py, rows),
        Outcome::Finish(finish) => finish(py),
    }
}

fn settle(future: &Bound<'_, PyAny>, result: PyResult<Bound<'_, PyAny>>) -> PyResult<()> {
    let py = future.py();
    if future.call_method0(pyo3::intern!(py, "done"))?.is_truthy()? {
        return Ok(());
    }
    match result {
        Ok(value) => future.call_method1(pyo3::intern!(py, "set_result"), (value,))?,
        Err(e) => future.call_method1(pyo3::intern!(py, "set_exception"), (e.into_value(py),))?,
    };
    Ok(())
}

#[pymethods]
impl Bridge {
    /// `event_loop` is a weak reference.
    #[new]
    fn new(event_loop: Py<PyAny>, level: u32) -> PyResult<Self> {
        let (mailbox, listener) = Mailbox::new()?;
        let mailbox = Arc::new(mailbox);
        logging::add_mailbox(&mailbox);
        Ok(Self {
            mailbox,
            listener,
            futures: Mutex::default(),
            tasks: Arc::default(),
            event_loop,
            level,
            process: Process::current(),
        })
    }

    fn fileno(&self) -> i32 {
        self.listener.as_raw_fd()
    }

    /// Starts a run: a future, and its number for `cancel`.
    #[pyo3(signature = (chain, input, options=None))]
    fn submit<'py>(
        &self,
        py: Python<'py>,
        chain: &Bound<'py, Chain>,
        input: &Bound<'py, PyAny>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<(Bound<'py, PyAny>, u64)> {
        logging::look(py);
        let item = from_python(input)?;
        let cx = self.context(chain, options)?;
        let chain = chain.get().engine().clone();
        let (future, id) = self.future(py)?;
        self.start(id, async move { chain.invoke_in(item, &cx).await.map(Outcome::Item) });
        Ok((future, id))
    }

    /// Starts a run for each input: a future of all results, and its number.
    #[pyo3(signature = (chain, inputs, concurrency, options=None))]
    fn submit_batch<'py>(
        &self,
        py: Python<'py>,
        chain: &Bound<'py, Chain>,
        inputs: &Bound<'py, PyAny>,
        concurrency: &Bound<'_, PyAny>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<(Bound<'py, PyAny>, u64)> {
        logging::look(py);
        let items = inputs.try_iter()?.map(|input| from_python(&input?)).collect::<PyResult<Vec<_>>>()?;
        let concurrency = at_least_one(concurrency, "concurrency")?.get();
        let cx = self.context(chain, options)?;
        let batch = chain.get().engine().batch(items).concurrency(concurrency).within(cx);
        let (future, id) = self.future(py)?;
        self.start(id, async move { Ok(Outcome::Rows(batch.collect().await)) });
        Ok((future, id))
    }

    /// Ends the work behind a future.
    fn cancel(&self, id: u64) {
        drop(self.take(id));
    }

    /// Number of futures that are not settled, and of tasks of steps that have not ended.
    fn in_flight(&self) -> usize {
        lock(&self.futures).by_id.len() + self.tasks.len()
    }

    /// Delivers all letters. A letter that fails does not concern the others.
    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        let mut bytes = [0; 16];
        // Nonblocking: an error means that the bell was read before.
        let _ = (&self.listener).read(&mut bytes);
        let mut interrupt = None;
        for letter in self.mailbox.take() {
            match self.deliver(py, letter) {
                Ok(()) => {}
                Err(e) if e.is_instance_of::<PyException>(py) => e.write_unraisable(py, None),
                Err(e) => interrupt = Some(e),
            }
        }
        release_dropped(py);
        logging::deliver(py);
        // A KeyboardInterrupt or SystemExit is the loop's.
        interrupt.map_or(Ok(()), Err)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        if let Ok(futures) = self.futures.try_lock() {
            for pending in futures.by_id.values() {
                visit.call(&pending.future)?;
            }
        }
        self.tasks.traverse(&visit)
    }

    fn __clear__(&self) {
        let futures = std::mem::take(&mut lock(&self.futures).by_id);
        drop(futures);
        self.tasks.clear();
    }
}
