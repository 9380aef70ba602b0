//! The engine behind the Python package `fanweave`, as its module `fanweave._core`.
//!
//! Python code calls into the engine; no thread of the engine calls into Python. Results, and calls of steps
//! in Python, wait in the [mailbox](mailbox) of an event loop.

// The mailbox is a Unix socket: on other systems the module is empty.
#![cfg(unix)]

mod accounts;
mod answer;
mod blocking;
mod bridge;
mod chain;
mod client;
mod compose;
mod document;
mod documents;
mod embedder;
mod errors;
mod event;
mod function;
mod item;
mod job;
mod keys;
mod logging;
mod mailbox;
mod many;
mod math;
mod message;
mod model;
mod object;
mod operation;
mod options;
mod outputs;
mod process;
mod qa_answer;
mod raw;
mod raw_response;
mod reader;
mod ready;
mod rows;
mod settings;
mod share;
mod sim;
mod step;
mod store;
mod structured;
mod tools;
mod waiter;
mod work;

use std::num::NonZeroUsize;

use fanweave::runtime::{RuntimeSettings, configure};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use pyo3::wrap_pyfunction;

/// Faster than that of glibc where memory is freed on another thread. Its locks are free in a forked child.
#[cfg(all(feature = "jemalloc", target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Sets the number of threads of the engine.
///
/// # Errors
/// `ConfigError` if the engine has started.
#[pyfunction]
#[pyo3(name = "configure")]
fn set_threads(py: Python<'_>, threads: &Bound<'_, PyAny>) -> PyResult<()> {
    let threads = options::at_least_one(threads, "threads")?;
    configure(settings(threads)).map_err(|error| errors::raise(py, &error))
}

/// Runs the command `fanweave` as that of this process, and returns its exit code.
#[cfg(feature = "command")]
#[pyfunction]
fn command(py: Python<'_>, arguments: Vec<std::ffi::OsString>) -> u8 {
    py.detach(|| fanweave_cli::main_with(arguments).code())
}

fn settings(threads: NonZeroUsize) -> RuntimeSettings {
    RuntimeSettings::new().worker_threads(threads).thread_name("fanweave")
}

#[pymodule(gil_used = false)]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = m.py();
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add_class::<bridge::Bridge>()?;
    m.add_class::<chain::Chain>()?;
    m.add_class::<reader::Reader>()?;
    m.add_class::<rows::Rows>()?;
    m.add_class::<event::Event>()?;
    m.add_class::<many::Many>()?;
    m.add("WAIT", reader::wait_sign(py)?)?;
    m.add("END", reader::end_sign(py)?)?;
    m.add_class::<message::Message>()?;
    m.add_class::<message::Prompt>()?;
    m.add_class::<message::ToolCall>()?;
    m.add_class::<message::Usage>()?;
    m.add_class::<message::Delta>()?;
    m.add_class::<sim::Sim>()?;
    m.add_class::<answer::Answer>()?;
    m.add_class::<item::Ready>()?;
    m.add_class::<job::Job>()?;
    m.add_function(wrap_pyfunction!(job::job, m)?)?;
    m.add_function(wrap_pyfunction!(job::variables, m)?)?;
    m.add_function(wrap_pyfunction!(item::opaque, m)?)?;
    m.add_function(wrap_pyfunction!(step::chosen, m)?)?;
    m.add_class::<model::Asked>()?;
    m.add_class::<document::Document>()?;
    m.add_class::<embedder::Embedder>()?;
    m.add_function(wrap_pyfunction!(embedder::embedder, m)?)?;
    m.add_function(wrap_pyfunction!(embedder::embedder_of, m)?)?;
    m.add_class::<store::Store>()?;
    m.add_class::<store::Hit>()?;
    m.add_function(wrap_pyfunction!(store::memory_store, m)?)?;
    m.add_function(wrap_pyfunction!(store::sqlite_store, m)?)?;
    m.add_function(wrap_pyfunction!(store::chroma_store, m)?)?;
    m.add_class::<qa_answer::QaAnswer>()?;
    m.add_class::<ready::Sessions>()?;
    m.add_function(wrap_pyfunction!(ready::qa, m)?)?;
    m.add_function(wrap_pyfunction!(ready::retrieval_qa, m)?)?;
    m.add_function(wrap_pyfunction!(ready::conversational_qa, m)?)?;
    m.add_function(wrap_pyfunction!(ready::math, m)?)?;
    m.add_function(wrap_pyfunction!(ready::sessions, m)?)?;
    m.add_function(wrap_pyfunction!(ready::conversation, m)?)?;
    m.add_function(wrap_pyfunction!(ready::with_history, m)?)?;
    m.add_function(wrap_pyfunction!(ready::documents_as_question, m)?)?;
    m.add_function(wrap_pyfunction!(ready::load, m)?)?;
    m.add_class::<client::Client>()?;
    m.add_function(wrap_pyfunction!(set_threads, m)?)?;
    m.add_function(wrap_pyfunction!(client::client, m)?)?;
    m.add_class::<share::Share>()?;
    m.add_function(wrap_pyfunction!(share::share, m)?)?;
    m.add_function(wrap_pyfunction!(keys::serve_keys, m)?)?;
    m.add_function(wrap_pyfunction!(logging::look_at_level, m)?)?;
    #[cfg(feature = "command")]
    m.add_function(wrap_pyfunction!(command, m)?)?;
    m.add_class::<operation::Operation>()?;
    m.add_class::<raw::RawModel>()?;
    m.add_class::<raw_response::RawResponse>()?;
    m.add_function(wrap_pyfunction!(raw::raw_model, m)?)?;
    m.add_function(wrap_pyfunction!(raw::request_fields, m)?)?;
    m.add_function(wrap_pyfunction!(accounts::limits, m)?)?;
    m.add_function(wrap_pyfunction!(accounts::adaptations, m)?)?;
    m.add_function(wrap_pyfunction!(accounts::cost, m)?)?;
    m.add_function(wrap_pyfunction!(blocking::invoke, m)?)?;
    m.add_function(wrap_pyfunction!(blocking::batch, m)?)?;
    m.add_function(wrap_pyfunction!(reader::stream, m)?)?;
    m.add_function(wrap_pyfunction!(reader::events, m)?)?;
    m.add_function(wrap_pyfunction!(step::step, m)?)?;
    m.add_function(wrap_pyfunction!(step::dynamic, m)?)?;
    m.add_function(wrap_pyfunction!(compose::parallel, m)?)?;
    m.add_function(wrap_pyfunction!(compose::assign, m)?)?;
    m.add_function(wrap_pyfunction!(compose::pick, m)?)?;
    m.add_function(wrap_pyfunction!(compose::router, m)?)?;
    m.add_function(wrap_pyfunction!(math::calculate, m)?)?;
    m.add("MATH_PROMPT", fanweave::chains::math::MATH_PROMPT)?;
    m.add_function(wrap_pyfunction!(many::lines, m)?)?;
    m.add_function(wrap_pyfunction!(many::items, m)?)?;
    m.add_function(wrap_pyfunction!(model::regex, m)?)?;
    m.add_function(wrap_pyfunction!(chain::passthrough, m)?)?;
    m.add_function(wrap_pyfunction!(model::model, m)?)?;
    m.add_function(wrap_pyfunction!(model::fake, m)?)?;
    m.add_function(wrap_pyfunction!(model::prompt_of, m)?)?;
    m.add_function(wrap_pyfunction!(model::with_parameters, m)?)?;
    m.add_function(wrap_pyfunction!(structured::structured, m)?)?;
    m.add_function(wrap_pyfunction!(tools::with_tools, m)?)?;
    m.add_function(wrap_pyfunction!(model::prompt, m)?)?;
    m.add_function(wrap_pyfunction!(model::fstring, m)?)?;
    m.add_function(wrap_pyfunction!(model::chat, m)?)?;
    m.add_function(wrap_pyfunction!(model::text, m)?)?;
    m.add_function(wrap_pyfunction!(model::json, m)?)?;
    m.add_function(wrap_pyfunction!(model::as_list, m)?)?;
    m.add_function(wrap_pyfunction!(model::choice, m)?)?;

    // A second worker costs up to 20 % more CPU time for each call. Fails in a second interpreter of a
    // process whose engine runs, with these settings.
    let _ = configure(settings(NonZeroUsize::MIN));
    let hooks = PyDict::new(py);
    hooks.set_item("after_in_child", wrap_pyfunction!(work::after_fork, m)?)?;
    py.import("os")?.call_method("register_at_fork", (), Some(&hooks))?;
    fanweave::runtime::report_forks();
    py.import("atexit")?.call_method1("register", (wrap_pyfunction!(work::at_exit, m)?,))?;
    Ok(())
}
