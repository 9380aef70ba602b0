//! States of the accounts that calls of this process have used.

use std::time::Duration;

use fanweave::models::{AccountState, account_states};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The state of each account, as the arguments of `AccountState`.
#[pyfunction]
pub(crate) fn limits(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    account_states().iter().map(|account| fields(py, account)).collect()
}

fn fields<'py>(py: Python<'py>, account: &AccountState) -> PyResult<Bound<'py, PyDict>> {
    let fields = PyDict::new(py);
    fields.set_item("base_url", &account.base_url)?;
    fields.set_item("model", &account.model)?;
    fields.set_item("status", account.status.to_string())?;
    fields.set_item("rpm", account.requests_per_minute)?;
    fields.set_item("rpm_limit", account.request_limit)?;
    fields.set_item("tpm", account.tokens_per_minute)?;
    fields.set_item("tpm_limit", account.token_limit)?;
    fields.set_item("in_flight", account.in_flight)?;
    fields.set_item("waiting", account.waiting)?;
    fields.set_item("capacity", account.capacity)?;
    fields.set_item("closed_for", account.closed_for.map(|wait: Duration| wait.as_secs_f64()))?;
    fields.set_item("requests", account.requests)?;
    fields.set_item("refused", account.refused)?;
    Ok(fields)
}
