//! Overrides for one call, or for all calls within a future.

use std::future::Future;
use std::sync::Arc;

use fanweave_core::__private::task_locals;
use fanweave_core::context::Extensions;

use super::IntoModel;
use crate::models::Client;
use crate::tool::Tools;
use crate::{Model, Parameters, Result};

/// Overrides the model, client, parameters or tools of calls.
///
/// To override a single call, use [`Call::with_model`](super::Call::with_model) and the methods beside it. To
/// override all calls within a future, at any depth, use [`scope`](Self::scope).
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
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// let tested = Overrides::new().model("sim/echo").scope(report()).await?;
/// assert!(tested.ends_with("Sum up: It rained."));
/// # Ok(())
/// # }) }
/// ```
///
/// To override the calls of one run, add them to its context:
///
/// ```
/// # use std::sync::Arc;
/// # use fanweave::{Context, Result, call::Overrides};
/// # #[fanweave::call(model = "sim/writer")]
/// # async fn summary(text: &str) -> String {
/// #     format!("Sum up: {text}")
/// # }
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// let cx = Context::new().with_extension(Arc::new(Overrides::new().model("sim/echo")));
/// let tested = summary("It rained.").invoke_in(&cx).await?;
/// assert!(tested.content().ends_with("Sum up: It rained."));
/// # Ok(())
/// # }) }
/// ```
///
/// Order of precedence: the methods of the [`Call`](super::Call), the innermost scope, the context of the
/// run, the [`Config`](super::Config) that the function returns, the attribute.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct Overrides {
    pub(super) model: Option<Result<Model>>,
    pub(super) client: Option<Client>,
    pub(super) parameters: Parameters,
    pub(super) tools: Option<Tools>,
}

impl Overrides {
    /// Overrides nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls this model.
    pub fn model(self, model: impl IntoModel) -> Self {
        Self { model: Some(model.into_model()), client: None, ..self }
    }

    /// Calls the models through this client, if they are given by name.
    pub fn client(self, client: Client) -> Self {
        Self { client: Some(client), model: None, ..self }
    }

    /// Sets parameters. They take precedence over earlier ones.
    pub fn parameters(mut self, parameters: Parameters) -> Self {
        self.parameters = parameters.or(&self.parameters);
        self
    }

    /// Offers these tools.
    pub fn tools(self, tools: Tools) -> Self {
        Self { tools: Some(tools), ..self }
    }

    /// Applies these overrides to all calls within `future` that have no closer ones, including rows of a
    /// batch and blocking steps. Tasks that the future spawns by other means are not affected.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        let all = self.or(Self::here());
        task_locals::within(Extensions::new().with(Arc::new(all)), future).await
    }

    /// The overrides of the current scope.
    pub(super) fn here() -> Self {
        let overrides = task_locals::here().and_then(|all| all.get::<Self>());
        overrides.map(Arc::unwrap_or_clone).unwrap_or_default()
    }

    /// These overrides, completed by `outer`.
    pub(super) fn or(self, outer: Self) -> Self {
        // A model replaces a client, and a client a model.
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
