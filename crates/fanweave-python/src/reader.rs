//! Readers of a run in progress: pieces of its answer, or its events.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use fanweave::crates::bytes::Bytes;
use fanweave::crates::serde_json::Value;
use fanweave::{Context, Delta, Error, ErrorKind, Item, Result};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict};
use tokio::sync::Notify;

use crate::blocking::blocking_run;
use crate::bridge::Bridge;
use crate::chain::{Chain, EngineChain, Pieces};
use crate::errors::raise;
use crate::event::Event;
use crate::item::{to_python, value_to_python};
use crate::logging;
use crate::mailbox::lock;
use crate::message;
use crate::process::Process;
use crate::raw_response::RawResponse;
use crate::waiter::{self, Waiter};
use crate::work::{Work, caught, ended};

/// Maximum pieces that wait for their reader. Then the socket is slowed down.
const MAX_WAITING: usize = 64;

/// An element of a stream.
pub(crate) enum Piece {
    Text(String),
    Value(Value),
    Delta(Delta),
    Whole(Item),
    Event(Box<fanweave::Event>),
    /// The beginning of an answer as bytes, then its body.
    Head(Box<RawResponse>),
    Bytes(Bytes),
}

fn piece_to_python(py: Python<'_>, piece: Piece) -> PyResult<Bound<'_, PyAny>> {
    match piece {
        Piece::Text(text) => Ok(text.into_pyobject(py)?.into_any()),
        Piece::Value(value) => value_to_python(py, value),
        Piece::Delta(delta) => Ok(Bound::new(py, message::Delta::from(delta))?.into_any()),
        Piece::Whole(item) => to_python(py, item),
        Piece::Event(event) => Ok(Bound::new(py, Event::new(&event)?)?.into_any()),
        Piece::Head(head) => Ok(Bound::new(py, *head)?.into_any()),
        Piece::Bytes(bytes) => Ok(PyBytes::new(py, &bytes).into_any()),
    }
}

/// The pieces between the task of a run and its readers.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    has_room: Notify,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Piece>,
    waiters: Vec<Waiter>,
    /// The output, once the run has ended.
    end: Option<Result<Item>>,
    /// Set once a reader has seen the error that the run ended with.
    has_raised: bool,
}

/// The end of the queue that the task of the run has. Dropping it ends the queue.
pub(crate) struct Feed(Arc<Queue>);

impl Feed {
    /// Adds a piece. The reader wakes once [`next`](Self::next) has nothing more, or the queue is full.
    pub(crate) async fn send(&self, piece: Piece) {
        let mut is_full = {
            let mut state = lock(&self.0.state);
            if state.end.is_some() {
                // The reader has closed the stream, and this task is about to be dropped.
                return;
            }
            state.pieces.push_back(piece);
            state.pieces.len() >= MAX_WAITING
        };
        if is_full {
            self.wake();
        }
        while is_full {
            self.0.has_room.notified().await;
            is_full = lock(&self.0.state).pieces.len() >= MAX_WAITING;
        }
    }

    /// The output of `source`, which makes the next piece. The reader takes those that are there while it is
    /// waited for: one wake-up for all pieces that arrived together.
    pub(crate) async fn next<T>(&self, source: impl Future<Output = T>) -> T {
        let mut source = pin!(source);
        poll_fn(|cx| {
            let polled = source.as_mut().poll(cx);
            if polled.is_pending() {
                self.wake();
            }
            polled
        })
        .await
    }

    /// Wakes readers of pieces that are there.
    fn wake(&self) {
        let waiters = {
            let mut state = lock(&self.0.state);
            match state.pieces.is_empty() {
                true => return,
                false => std::mem::take(&mut state.waiters),
            }
        };
        waiters.into_iter().for_each(Waiter::wake);
    }

    pub(crate) fn finish(&self, output: Result<Item>) {
        let waiters = {
            let mut state = lock(&self.0.state);
            state.end.get_or_insert(output);
            std::mem::take(&mut state.waiters)
        };
        waiters.into_iter().for_each(Waiter::wake);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.finish(Err(ended()));
    }
}

async fn feed_pieces(engine: EngineChain, input: Item, cx: Context, pieces: Pieces, feed: Feed) {
    let output = caught(async {
        let mut run = engine.stream_in(input, &cx);
        while let Some(Ok(delta)) = feed.next(run.next()).await {
            if let Some(piece) = piece_of(pieces, delta) {
                feed.send(piece).await;
            }
        }
        let output = feed.next(run.output()).await?;
        if pieces == Pieces::Whole {
            feed.send(Piece::Whole(output.clone())).await;
        }
        Ok(output)
    });
    let output = output.await;
    feed.finish(output);
}

fn piece_of(pieces: Pieces, delta: Delta) -> Option<Piece> {
    match (pieces, delta) {
        (Pieces::Delta, delta) => Some(Piece::Delta(delta)),
        (Pieces::Text, Delta::Text { text, .. }) => (!text.is_empty()).then_some(Piece::Text(text)),
        (Pieces::Value, Delta::Value(value)) => Some(Piece::Value(value)),
        _ => None,
    }
}

async fn feed_events(engine: EngineChain, input: Item, cx: Context, feed: Feed) {
    let output = caught(async {
        let mut run = engine.events_in(input, &cx);
        while let Some(event) = feed.next(run.next()).await {
            feed.send(Piece::Event(Box::new(event))).await;
        }
        feed.next(run.output()).await
    });
    let output = output.await;
    feed.finish(output);
}

/// Returned by `take` if the reader has to wait.
pub(crate) fn wait_sign(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static WAIT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    sign(py, &WAIT)
}

/// Returned by `take` after the last piece.
pub(crate) fn end_sign(py: Python<'_>) -> PyResult<&Bound<'_, PyAny>> {
    static END: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    sign(py, &END)
}

fn sign<'py>(py: Python<'py>, cell: &'static PyOnceLock<Py<PyAny>>) -> PyResult<&'py Bound<'py, PyAny>> {
    let object = cell
        .get_or_try_init(py, || PyResult::Ok(py.import("builtins")?.getattr("object")?.call0()?.unbind()))?;
    Ok(object.bind(py))
}

/// A run in progress. Dropping it ends the run and closes its sockets.
#[pyclass(frozen, module = "fanweave._core")]
pub(crate) struct Reader {
    queue: Arc<Queue>,
    work: Mutex<Option<Work>>,
    process: Process,
}

impl Reader {
    pub(crate) fn start<T: Future<Output = ()> + Send + 'static>(work: impl FnOnce(Feed) -> T) -> Self {
        let queue = Arc::<Queue>::default();
        let work = Work::spawn(work(Feed(queue.clone())));
        Self { queue, work: Mutex::new(Some(work)), process: Process::current() }
    }

    /// Registers a waiter, or wakes it at once.
    fn register(&self, waiter: Waiter) {
        let mut state = lock(&self.queue.state);
        if state.pieces.is_empty() && state.end.is_none() {
            state.waiters.push(waiter);
        } else {
            drop(state);
            waiter.wake();
        }
    }
}

#[pymethods]
impl Reader {
    /// The next piece, or one of the signs `WAIT` and `END`.
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.process.check(py)?;
        let mut state = lock(&self.queue.state);
        if let Some(piece) = state.pieces.pop_front() {
            let is_half_empty = state.pieces.len() == MAX_WAITING / 2;
            drop(state);
            if is_half_empty {
                self.queue.has_room.notify_one();
            }
            return piece_to_python(py, piece);
        }
        match &state.end {
            None => Ok(wait_sign(py)?.clone()),
            Some(Err(error)) if !state.has_raised => {
                let error = error.clone();
                state.has_raised = true;
                drop(state);
                Err(raise(py, &error))
            }
            Some(_) => Ok(end_sign(py)?.clone()),
        }
    }

    /// The output of a run that has ended.
    fn output<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.process.check(py)?;
        let end = lock(&self.queue.state).end.clone();
        match end {
            Some(Ok(item)) => to_python(py, item),
            Some(Err(error)) => Err(raise(py, &error)),
            None => Ok(wait_sign(py)?.clone()),
        }
    }

    /// A future that is settled when there is something to take, and its number.
    fn wait<'py>(&self, py: Python<'py>, bridge: &Bridge) -> PyResult<(Bound<'py, PyAny>, u64)> {
        self.process.check(py)?;
        waiter::wait(py, bridge, |waiter| self.register(waiter))
    }

    /// Blocks until there is something to take.
    fn wait_blocking(&self, py: Python<'_>) -> PyResult<()> {
        self.process.check(py)?;
        waiter::wait_blocking(py, |waiter| self.register(waiter))
    }

    /// Ends the run and closes its sockets. Does nothing if it has ended.
    fn close(&self) {
        // After the end is known: a task that is dropped ends the queue with an error of its own.
        let work = lock(&self.work).take();
        if !self.process.is_current() {
            return;
        }
        let waiters = {
            let mut state = lock(&self.queue.state);
            state.pieces.clear();
            if state.end.is_none() {
                state.end = Some(Err(Error::new(ErrorKind::Cancelled, "the stream was closed")));
                // A reader that asks for the next piece sees the end, one that asks for the output the error.
                state.has_raised = true;
            }
            std::mem::take(&mut state.waiters)
        };
        drop(work);
        waiters.into_iter().for_each(Waiter::wake);
    }
}

/// Starts a run whose pieces are read. Steps in Python run on the loop of `bridge`.
#[pyfunction]
pub(crate) fn stream(
    chain: &Bound<'_, Chain>,
    input: &Bound<'_, PyAny>,
    options: Option<&Bound<'_, PyDict>>,
    bridge: Option<&Bridge>,
) -> PyResult<Reader> {
    logging::look(chain.py());
    let (engine, input, cx) = blocking_run(chain, input, options, bridge)?;
    let pieces = chain.get().pieces();
    Ok(Reader::start(|feed| feed_pieces(engine, input, cx, pieces, feed)))
}

/// Starts a run whose events are read.
#[pyfunction]
pub(crate) fn events(
    chain: &Bound<'_, Chain>,
    input: &Bound<'_, PyAny>,
    options: Option<&Bound<'_, PyDict>>,
    bridge: Option<&Bridge>,
) -> PyResult<Reader> {
    logging::look(chain.py());
    let (engine, input, cx) = blocking_run(chain, input, options, bridge)?;
    Ok(Reader::start(|feed| feed_events(engine, input, cx, feed)))
}
