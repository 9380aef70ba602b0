//! API keys that a Python function returns.
//!
//! A model belongs to no event loop, so the functions run on one loop of the process, on a thread of its own.

use std::sync::{Arc, Mutex};

use fanweave::__private::PerProcess;
use fanweave::models::ModelBuilder;
use fanweave::{Error, ErrorKind, Item, Result};
use pyo3::prelude::*;

use crate::bridge::Bridge;
use crate::function::{Callee, Function};
use crate::mailbox::{Mailbox, lock};
use crate::object::Object;
use crate::options::{Caller, context_variables};

/// The mailbox of the loop of this process.
static MAILBOX: PerProcess<Mutex<Option<Arc<Mailbox>>>> = PerProcess::new();

/// Runs the functions of keys on the loop of this bridge.
#[pyfunction]
pub(crate) fn serve_keys(bridge: &Bridge) {
    *lock(&MAILBOX.get(Mutex::default)) = Some(bridge.mailbox().clone());
}

/// A function that returns a key. It is owned by what the key belongs to.
pub(crate) struct KeyFunction {
    pub(crate) owned: Py<Function>,
    callee: Callee,
    variables: Arc<Object>,
}

impl KeyFunction {
    /// A function without arguments, which may be async.
    pub(crate) fn new(function: &Bound<'_, PyAny>) -> PyResult<Self> {
        let py = function.py();
        // A plain function may block, to read a file or to ask a server: it runs on a thread.
        let steps = py.import("fanweave._steps")?;
        let on_loop = steps.getattr("is_async")?.call1((function,))?.is_truthy()?;
        let function = steps.getattr("without_input")?.call1((function,))?;
        let (owned, callee) = Callee::new(&function, on_loop)?;
        Ok(Self { owned, callee, variables: Arc::new(context_variables(py)?) })
    }

    pub(crate) fn apply(&self, builder: ModelBuilder) -> ModelBuilder {
        let (callee, variables) = (self.callee.clone(), self.variables.clone());
        builder.api_key_fn(move || key(callee.clone(), variables.clone()))
    }
}

async fn key(callee: Callee, variables: Arc<Object>) -> Result<String> {
    let mailbox = lock(&MAILBOX.get(Mutex::default)).clone();
    let Some(mailbox) = mailbox else {
        let message = "internal error (please report it): no event loop runs the functions of keys";
        return Err(Error::new(ErrorKind::Config, message));
    };
    let caller = Caller::of(mailbox, variables);
    match callee.call(Item::Value(fanweave::crates::serde_json::Value::Null), &caller).await? {
        Item::Text(key) => Ok(key),
        other => {
            // The value may be the secret in another form.
            let message = format!("api_key must return a string, got {}", other.kind());
            Err(Error::new(ErrorKind::Config, message))
        }
    }
}
