//! Limits of accounts that processes share through a broker.

use fanweave::models::{ModelBuilder, RateLimits};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::config;

/// A broker at which limits are shared.
#[pyclass(frozen, module = "fanweave._core")]
#[derive(Clone)]
pub(crate) struct Share(imp::Broker);

impl Share {
    /// `builder`, whose requests keep to limits that are shared. Limits per minute are moved there: they are
    /// those of all processes together.
    pub(crate) fn apply(&self, builder: ModelBuilder, limits: &mut RateLimits) -> ModelBuilder {
        imp::apply(&self.0, builder, limits)
    }
}

/// The broker at `url`, with these settings: `ca`, `creds`, `nkey`, `certificate`, `plaintext`.
#[pyfunction]
pub(crate) fn share(py: Python<'_>, url: String, settings: &Bound<'_, PyDict>) -> PyResult<Share> {
    imp::broker(py, url, settings).map(Share)
}

#[cfg(feature = "workers")]
mod imp {
    use fanweave::models::{ModelBuilder, RateLimits};
    use fanweave::workers::{Access, Rates};
    use pyo3::prelude::*;
    use pyo3::types::PyDict;

    pub(super) type Broker = fanweave::workers::Share;

    pub(super) fn broker(py: Python<'_>, url: String, settings: &Bound<'_, PyDict>) -> PyResult<Broker> {
        let mut access = Access::new();
        crate::options::each_setting(settings, |name, value| {
            let before = std::mem::take(&mut access);
            access = match name {
                "ca" => before.ca(value.extract::<String>()?),
                "creds" => before.creds(value.extract::<String>()?),
                "nkey" => before.nkey(value.extract::<String>()?),
                "certificate" => {
                    let (certificate, key): (String, String) = value.extract()?;
                    before.certificate(certificate, key)
                }
                "plaintext" => before.plaintext(value.extract()?),
                _ => return Err(super::config(py, format!("`{name}` is not a setting of a broker"))),
            };
            Ok(())
        })?;
        let broker = Broker::new(url, access).map_err(|error| crate::errors::raise(py, &error))?;
        Ok(broker.on_note(crate::logging::warn))
    }

    pub(super) fn apply(broker: &Broker, builder: ModelBuilder, limits: &mut RateLimits) -> ModelBuilder {
        let mut rates = Rates::new();
        if let Some(rpm) = limits.requests_per_minute.take() {
            rates = rates.requests(rpm.get().into());
        }
        if let Some(tpm) = limits.tokens_per_minute.take() {
            rates = rates.tokens(tpm.get().into());
        }
        builder.limiter(broker.limiter(rates))
    }
}

#[cfg(not(feature = "workers"))]
mod imp {
    use std::convert::Infallible;

    use fanweave::models::{ModelBuilder, RateLimits};
    use pyo3::prelude::*;
    use pyo3::types::PyDict;

    pub(super) type Broker = Infallible;

    pub(super) fn broker(py: Python<'_>, _: String, _: &Bound<'_, PyDict>) -> PyResult<Broker> {
        let message = "share: this build of fanweave has no shared limits; build it with the feature `workers`, such as \
                       by `maturin build --release --features workers`";
        Err(super::config(py, message.to_owned()))
    }

    pub(super) fn apply(broker: &Broker, _: ModelBuilder, _: &mut RateLimits) -> ModelBuilder {
        match *broker {}
    }
}
