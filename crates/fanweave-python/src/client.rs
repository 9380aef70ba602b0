//! Clients: connection pools with settings of their own.

use fanweave::models::{self, Timeouts};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::{config, raise};
use crate::options::{each_setting, seconds};

/// A connection pool.
#[pyclass(frozen, module = "fanweave._core")]
pub(crate) struct Client(models::Client);

impl Client {
    pub(crate) fn inner(&self) -> &models::Client {
        &self.0
    }
}

/// A client with these settings: `timeout`, `connect`, `first_byte`, `idle`, `proxy`, `root_certificates`,
/// `headers`.
#[pyfunction]
pub(crate) fn client(py: Python<'_>, settings: &Bound<'_, PyDict>) -> PyResult<Client> {
    let mut builder = models::Client::builder();
    let mut timeouts = Timeouts::default();
    each_setting(settings, |name, value| {
        match name {
            "timeout" => timeouts = timeouts.total(seconds(value, "timeout")?),
            "connect" => timeouts = timeouts.connect(seconds(value, "connect")?),
            "first_byte" => timeouts = timeouts.first_byte(seconds(value, "first_byte")?),
            "idle" => timeouts = timeouts.idle(seconds(value, "idle")?),
            "proxy" => {
                let builder_before = std::mem::take(&mut builder);
                builder = match value.extract::<bool>() {
                    Ok(false) => builder_before.no_proxy(),
                    Ok(true) => builder_before,
                    Err(_) => builder_before.proxy(&value.extract::<String>()?),
                };
            }
            "root_certificates" => {
                let pem = match value.extract::<String>() {
                    Ok(text) => text.into_bytes(),
                    Err(_) => value.extract::<Vec<u8>>()?,
                };
                builder = std::mem::take(&mut builder).root_certificates(&pem);
            }
            "headers" => {
                for (name, value) in value.cast::<PyDict>()?.iter() {
                    let (name, value): (String, String) = (name.extract()?, value.extract()?);
                    builder = std::mem::take(&mut builder).header(&name, &value);
                }
            }
            _ => return Err(config(py, format!("`{name}` is not a setting of a client"))),
        }
        Ok(())
    })?;
    builder.timeouts(timeouts).build().map(Client).map_err(|error| raise(py, &error))
}
