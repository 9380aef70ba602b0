//! A simulated provider in this process, for tests.

use std::fmt::Display;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fanweave::crates::{serde_json, tokio};
use fanweave_sim::{Latency, Server, Settings};
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tokio::sync::oneshot;

use crate::errors::config;
use crate::item::value_to_python;
use crate::options::each_setting;

/// A server on a port of this machine, on a thread of its own. It ends with `close`.
#[pyclass(frozen, module = "fanweave._core")]
pub(crate) struct Sim {
    origin: String,
    running: Mutex<Option<Running>>,
}

struct Running {
    server: Arc<Server>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

#[pymethods]
impl Sim {
    #[new]
    fn new(py: Python<'_>, settings: &Bound<'_, PyDict>) -> PyResult<Self> {
        let settings = settings_of(settings)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let (started, start) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("fanweave-sim".to_owned()).spawn(move || {
            runtime.block_on(async {
                match Server::start(settings) {
                    Ok(server) => {
                        let server = Arc::new(server);
                        // Without a receiver, the constructor has been interrupted.
                        let _ = started.send(Ok(server.clone()));
                        drop(server);
                        let _ = stopped.await;
                    }
                    Err(e) => _ = started.send(Err(e)),
                }
            });
        })?;
        let server = py.detach(move || start.recv()).map_err(|e| PyOSError::new_err(e.to_string()))?;
        let server = server.map_err(|e| match e.kind() {
            std::io::ErrorKind::InvalidInput => PyValueError::new_err(e.to_string()),
            _ => PyOSError::new_err(e.to_string()),
        })?;
        let origin = server.origin();
        Ok(Self { origin, running: Mutex::new(Some(Running { server, stop, thread })) })
    }

    #[getter]
    fn origin(&self) -> &str {
        &self.origin
    }

    /// The counts so far, by name.
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = &*running else { return Err(config(py, "the simulated provider is closed")) };
        let stats = serde_json::to_value(running.server.stats());
        value_to_python(py, stats.map_err(|e| PyValueError::new_err(e.to_string()))?)
    }

    fn close(&self, py: Python<'_>) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { server, stop, thread }) = running {
            drop(server);
            // Its thread ends with its runtime, and with that all connections.
            let _ = stop.send(());
            py.detach(|| _ = thread.join());
        }
    }
}

fn settings_of(settings: &Bound<'_, PyDict>) -> PyResult<Settings> {
    let mut own = Settings { addr: ([127, 0, 0, 1], 0).into(), ..Settings::default() };
    each_setting(settings, |name, value| {
        match name {
            "latency" => own.latency = latency(value)?,
            "chunk_delay" => own.chunk_delay = at_least_zero(value, name)?,
            "chunks" => own.chunks = value.extract()?,
            "rpm" => own.rpm = value.extract()?,
            "tpm" => own.tpm = value.extract()?,
            "error_rate" => own.error_rate = value.extract()?,
            "reset_rate" => own.reset_rate = value.extract()?,
            "hang_rate" => own.hang_rate = value.extract()?,
            "truncate_rate" => own.truncate_rate = value.extract()?,
            "seed" => own.seed = value.extract()?,
            "flaky" => own.flaky = Some(parsed(name, value)?),
            "first_429" => own.first_429 = Some(parsed(name, value)?),
            "max_in_flight" => own.max_in_flight = Some(value.extract()?),
            "poison" => own.poison = Some(value.extract()?),
            "outages" => {
                own.outages =
                    value.try_iter()?.map(|outage| parsed(name, &outage?)).collect::<PyResult<_>>()?;
            }
            "batch_time" => own.batch_time = at_least_zero(value, name)?,
            "api_key" => own.api_key = value.extract()?,
            _ => {
                let message = format!("`{name}` is not a setting of a simulated provider");
                return Err(config(value.py(), message));
            }
        }
        Ok(())
    })?;
    Ok(own)
}

/// A setting in the form of the flags of `fanweave sim`.
fn parsed<T: FromStr<Err: Display>>(name: &str, value: &Bound<'_, PyAny>) -> PyResult<T> {
    let text: String = value.extract()?;
    text.parse().map_err(|error| config(value.py(), format!("{name} is invalid: {error}")))
}

/// Seconds, or a text such as `600ms` or `lognormal:600ms,0.4`.
fn latency(value: &Bound<'_, PyAny>) -> PyResult<Latency> {
    if let Ok(text) = value.extract::<String>() {
        return text
            .parse()
            .map_err(|e: fanweave_sim::ParseLatencyError| PyValueError::new_err(e.to_string()));
    }
    at_least_zero(value, "latency").map(Latency::Fixed)
}

fn at_least_zero(value: &Bound<'_, PyAny>, name: &str) -> PyResult<Duration> {
    let seconds: f64 = value.extract()?;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| PyValueError::new_err(format!("{name} must be at least 0 seconds, got {seconds}")))
}
