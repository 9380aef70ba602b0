//! States of the accounts that calls of this process have used.

use std::time::Duration;

use fanweave::Usage;
use fanweave::models::{self, AccountState, Prices, account_states};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::message::Message;

/// The state of each account, as the arguments of `AccountState`.
#[pyfunction]
pub(crate) fn limits(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    account_states().iter().map(|account| fields(py, account)).collect()
}

/// The changes to requests that servers refused, as the arguments of `Adaptation`.
#[pyfunction]
pub(crate) fn adaptations(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    let fields = |adaptation: models::Adaptation| {
        let fields = PyDict::new(py);
        fields.set_item("model", adaptation.model)?;
        fields.set_item("base_url", adaptation.server)?;
        fields.set_item("changes", adaptation.changes)?;
        fields.set_item("refused", adaptation.refused)?;
        fields.set_item("changed", adaptation.changed)?;
        Ok(fields)
    };
    models::adaptations().into_iter().map(fields).collect()
}

/// The price of an answer of one of these models in US dollars, if it is known.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned values")]
pub(crate) fn cost(message: &Message, models: Vec<String>) -> Option<f64> {
    let prices = Prices::builtin();
    let reply = message.inner().reply.as_deref()?;
    // Each call of a tool loop has its own price.
    let cost = |(answered, usage): (Option<&str>, Usage)| {
        // With fallbacks, the name in the answer says which one it was.
        let answered = answered.unwrap_or_default();
        let is_of = |model: &&String| {
            let name = model.split_once('/').map_or(model.as_str(), |(_, name)| name);
            answered.starts_with(name)
        };
        let model = models.iter().find(is_of).or(if models.len() == 1 { models.first() } else { None })?;
        Some(prices.of(model)?.cost(&usage))
    };
    reply.calls().map(cost).sum()
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
