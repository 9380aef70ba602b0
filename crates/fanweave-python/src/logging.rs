//! Records for Python's `logging`, made from the engine's events.
//!
//! Threads of the engine put records into a bounded queue. They become records of Python when a thread of the
//! interpreter empties a mailbox or ends a wait.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Instant;

use fanweave::__private::PerProcess;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;
use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record as SpanRecord};
use tracing_core::{Event, Level, LevelFilter, Metadata, Subscriber, callsite, dispatcher};

use crate::mailbox::{Letter, Mailbox, lock};

/// Maximum records that wait for Python. Further ones are dropped, and counted.
const MAX_WAITING: usize = 1024;

/// Milliseconds between two checks of the level of the logger.
const LEVEL_INTERVAL: u64 = 500;

/// The target of the engine's events.
const TARGET: &str = "fanweave";

/// Python's number of the lowest level that is recorded. 0: none.
static LEVEL: AtomicU8 = AtomicU8::new(0);

/// When the level of the logger is looked at again, in milliseconds since [`start`].
static NEXT_CHECK: AtomicU64 = AtomicU64::new(0);

static QUEUE: PerProcess<Queue> = PerProcess::new();

/// The mailboxes of all loops, which deliver the records.
static MAILBOXES: PerProcess<Mutex<Vec<Weak<Mailbox>>>> = PerProcess::new();

#[derive(Default)]
struct Queue {
    waiting: Mutex<VecDeque<Record>>,
    dropped: AtomicU64,
}

/// A record that is not yet one of Python.
struct Record {
    level: u8,
    message: String,
    fields: Vec<(&'static str, Value)>,
}

enum Value {
    Text(String),
    Number(i64),
}

/// Collects the events of the engine.
struct Collector;

/// Python's number of a level. Events below DEBUG are not recorded.
fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 40,
        Level::WARN => 30,
        Level::INFO => 20,
        Level::DEBUG => 10,
        Level::TRACE => 5,
    }
}

fn filter(level: u8) -> LevelFilter {
    match level {
        0 => LevelFilter::OFF,
        1..=10 => LevelFilter::DEBUG,
        11..=20 => LevelFilter::INFO,
        21..=30 => LevelFilter::WARN,
        31..=40 => LevelFilter::ERROR,
        _ => LevelFilter::OFF,
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = LEVEL.load(Ordering::Relaxed);
        !metadata.is_span() && metadata.target() == TARGET && *metadata.level() <= filter(level)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(filter(LEVEL.load(Ordering::Relaxed)))
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        // No span is enabled.
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &SpanRecord<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut record =
            Record { level: number(*event.metadata().level()), message: String::new(), fields: Vec::new() };
        event.record(&mut record);
        push(record);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            name => self.fields.push((name, Value::Text(format!("{value:?}")))),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.fields.push((field.name(), Value::Text(value.to_owned())));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), Value::Number(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name(), Value::Number(i64::try_from(value).unwrap_or(i64::MAX))));
    }
}

fn push(record: Record) {
    let queue = QUEUE.get(Queue::default);
    let is_first = {
        let mut waiting = lock(&queue.waiting);
        if waiting.len() >= MAX_WAITING {
            queue.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.push_back(record);
        waiting.len() == 1
    };
    if is_first {
        // The loop that wakes first delivers them. A thread that waits looks by itself.
        let mailboxes = lock(&MAILBOXES.get(Mutex::default)).clone();
        mailboxes.iter().filter_map(Weak::upgrade).for_each(|mailbox| mailbox.post(Letter::Log));
    }
}

/// Records a warning that is not an event of the engine.
#[cfg(feature = "workers")]
pub(crate) fn warn(message: &str) {
    if (1..=30).contains(&LEVEL.load(Ordering::Relaxed)) {
        push(Record { level: 30, message: message.to_owned(), fields: Vec::new() });
    }
}

/// Lets the loop of this mailbox deliver records.
pub(crate) fn add_mailbox(mailbox: &Arc<Mailbox>) {
    let mailboxes = MAILBOXES.get(Mutex::default);
    let mut mailboxes = lock(&mailboxes);
    mailboxes.retain(|known| known.strong_count() > 0);
    mailboxes.push(Arc::downgrade(mailbox));
}

/// Hands the waiting records to Python's logger. An error of a handler is the handler's: `logging` reports
/// it.
pub(crate) fn deliver(py: Python<'_>) {
    if LEVEL.load(Ordering::Relaxed) == 0 {
        return;
    }
    let queue = QUEUE.get(Queue::default);
    let records = std::mem::take(&mut *lock(&queue.waiting));
    if records.is_empty() {
        return;
    }
    static EMIT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let emitted = (|| {
        let emit = EMIT
            .get_or_try_init(py, || PyResult::Ok(py.import("fanweave._logging")?.getattr("emit")?.unbind()))?
            .bind(py);
        for record in records {
            let fields = PyDict::new(py);
            for (name, value) in record.fields {
                match value {
                    Value::Text(text) => fields.set_item(name, text)?,
                    Value::Number(number) => fields.set_item(name, number)?,
                }
            }
            emit.call1((record.level, record.message, fields))?;
        }
        let dropped = queue.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let fields = PyDict::new(py);
            fields.set_item("dropped", dropped)?;
            emit.call1((30, "records were dropped, because the handlers are slow", fields))?;
        }
        Ok(())
    })();
    if let Err(error) = emitted {
        PyErr::write_unraisable(error, py, None);
    }
}

/// Adopts the level of Python's logger, at most twice a second.
pub(crate) fn look(py: Python<'_>) {
    static START: OnceLock<Instant> = OnceLock::new();
    let now = u64::try_from(START.get_or_init(Instant::now).elapsed().as_millis()).unwrap_or(u64::MAX);
    if now < NEXT_CHECK.load(Ordering::Relaxed) {
        return;
    }
    NEXT_CHECK.store(now + LEVEL_INTERVAL, Ordering::Relaxed);
    adopt(py).unwrap_or_else(|error| error.write_unraisable(py, None));
}

/// Adopts the level of Python's logger now.
#[pyfunction]
pub(crate) fn look_at_level(py: Python<'_>) -> PyResult<()> {
    adopt(py)
}

fn adopt(py: Python<'_>) -> PyResult<()> {
    // Without `logging`, no handler exists.
    let modules = py.import("sys")?.getattr("modules")?;
    let level = match modules.contains("logging")? {
        true => py.import("fanweave._logging")?.call_method0("level")?.extract::<u8>()?,
        false => 0,
    };
    if LEVEL.swap(level, Ordering::Relaxed) != level {
        if level > 0 {
            static SUBSCRIBED: OnceLock<()> = OnceLock::new();
            // Fails if another part of this module has subscribed, which none does.
            SUBSCRIBED
                .get_or_init(|| _ = dispatcher::set_global_default(dispatcher::Dispatch::new(Collector)));
        }
        callsite::rebuild_interest_cache();
    }
    Ok(())
}
