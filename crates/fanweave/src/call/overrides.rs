//! What is changed from outside, for one call or for all calls within a future.

use std::future::Future;
use std::sync::Arc;

use fanweave_core::__private::task_locals;

use super::IntoModel;
use crate::models::Client;
use crate::tool::Tools;
use crate::{Model, Parameters, Result};

/// What is changed of calls from outside: their model, client, parameters or tools.
///
/// For one call there are [`Call::with_model`](super::Call::with_model) and its like. For all calls that are made within a
/// future, however deep, there is [`scope`](Self::scope): it holds for that future and for nothing beside it.
///
/// ```
/// use fanweave::Result;
/// use fanweave::call::Overrides;
///
/// #[fanweave::call(model = "sim/writer")]
/// async fn summary(text: &str) -> String {
///     format!("Sum up: {text}")
/// }
///
/// async fn report() -> Result<String> {
///     Ok(summary("It rained.").await?.content().to_owned())
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<()> {
/// let tested = Overrides::new().model("sim/echo").scope(report()).await?;
/// assert!(tested.ends_with("Sum up: It rained."));
/// # Ok(())
/// # }
/// ```
///
/// What stands closest to the call wins: what the [`Call`](super::Call) itself was given, then the innermost scope, then
/// what the function [decides](super::Config), then the attribute.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Overrides {
    pub(super) model: Option<Result<Model>>,
    pub(super) client: Option<Client>,
    pub(super) parameters: Parameters,
    pub(super) tools: Option<Tools>,
}

impl Overrides {
    /// Changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks this model.
    pub fn model(self, model: impl IntoModel) -> Self {
        Self { model: Some(model.into_model()), client: None, ..self }
    }

    /// Reaches the models that calls name through this client.
    pub fn client(self, client: Client) -> Self {
        Self { client: Some(client), model: None, ..self }
    }

    /// Sets parameters. They win over those that were set before.
    pub fn parameters(mut self, parameters: Parameters) -> Self {
        self.parameters = parameters.or(&self.parameters);
        self
    }

    /// Offers these tools.
    pub fn tools(self, tools: Tools) -> Self {
        Self { tools: Some(tools), ..self }
    }

    /// Holds for all calls that are made within `future`, where nothing closer says otherwise: also for the rows of a
    /// batch, and for what blocks on a thread. A task that is spawned there by other means is another one, and not changed.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        let all = self.or(Self::here());
        task_locals::within(Arc::new(all), future).await
    }

    /// What holds where this is asked.
    pub(super) fn here() -> Self {
        let task_locals = task_locals::here().and_then(|task_locals| task_locals.downcast::<Self>().ok());
        task_locals.map(Arc::unwrap_or_clone).unwrap_or_default()
    }

    /// These, and `outer` where these say nothing.
    pub(super) fn or(self, outer: Self) -> Self {
        // A model and a client are two answers to one question.
        let (model, client) = match (self.model, self.client) {
            (None, None) => (outer.model, outer.client),
            own => own,
        };
        Self {
            model,
            client,
            parameters: self.parameters.or(&outer.parameters),
            tools: self.tools.or(outer.tools),
        }
    }
}
