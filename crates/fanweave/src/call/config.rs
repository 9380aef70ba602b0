//! The configuration that a `#[call]` function can return instead of a prompt.

use std::error::Error as StdError;

use crate::models::Client;
use crate::tool::Tools;
use crate::tool_macro::Said;
use crate::{Error, ErrorKind, Message, Model, Parameters, Prompt, Result};

/// A prompt together with the model, client, parameters or tools of this call. Returned by functions with
/// `#[fanweave::call]` that select these at run time.
///
/// ```
/// use fanweave::call::Config;
/// use fanweave::{Parameters, Result};
///
/// #[fanweave::call(model = "sim/writer")]
/// async fn recommend_book(genre: &str, for_children: bool) -> Config {
///     let config = Config::new(format!("Recommend a {genre} book."));
///     if !for_children {
///         return config;
///     }
///     config.model("sim/echo").parameters(Parameters::new().temperature(0.0))
/// }
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// assert!(recommend_book("fantasy", true).await?.content().ends_with("Recommend a fantasy book."));
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Config {
    pub(super) prompt: Prompt,
    pub(super) model: Option<Result<Model>>,
    /// Name of the model, if it was given by name and can thus be used with another client.
    pub(super) name: Option<String>,
    pub(super) client: Option<Client>,
    pub(super) tools: Option<Tools>,
}

impl Config {
    /// Sends this prompt with the settings of the attribute.
    pub fn new(prompt: impl Into<Prompt>) -> Self {
        Self { prompt: prompt.into(), model: None, name: None, client: None, tools: None }
    }

    /// Calls this model: a [`Model`], or the name of one.
    pub fn model(self, model: impl IntoModel) -> Self {
        let name = model.name().map(str::to_owned);
        Self { model: Some(model.into_model()), name, client: None, ..self }
    }

    /// Calls the model of the attribute through this client. Replaces an earlier [`model`](Self::model), and
    /// a later one replaces this.
    pub fn client(self, client: Client) -> Self {
        Self { client: Some(client), model: None, name: None, ..self }
    }

    /// Sets parameters. They take precedence over earlier ones and over those of the attribute.
    pub fn parameters(mut self, parameters: Parameters) -> Self {
        self.prompt.parameters = parameters.or(&self.prompt.parameters);
        self
    }

    /// Offers these tools instead of those of the attribute.
    pub fn tools(self, tools: Tools) -> Self {
        Self { tools: Some(tools), ..self }
    }
}

/// Return types of functions with `#[fanweave::call]`: a string, a [`Message`] or several, a [`Prompt`], a
/// [`Config`], or a `Result` of one of these.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a prompt",
    label = "a call must return its prompt",
    note = "return a `String`, a `Message` or a `Vec` of them, a `Prompt`, a `call::Config`, or a `Result` of these"
)]
pub trait IntoConfig {
    /// Converts to a configuration.
    ///
    /// # Errors
    /// The error of the function.
    fn into_config(self) -> Result<Config>;
}

impl IntoConfig for Config {
    fn into_config(self) -> Result<Config> {
        Ok(self)
    }
}

macro_rules! prompts {
    ($($prompt:ty),*) => {$(
        impl IntoConfig for $prompt {
            fn into_config(self) -> Result<Config> {
                Ok(Config::new(self))
            }
        }
    )*};
}

prompts!(String, &str, Prompt, Message, Vec<Message>);

impl<T: IntoConfig, E: Into<Box<dyn StdError + Send + Sync>>> IntoConfig for Result<T, E> {
    fn into_config(self) -> Result<Config> {
        match self {
            Ok(value) => value.into_config(),
            Err(error) => Err(match error.into().downcast::<Error>() {
                Ok(error) => *error,
                Err(error) => Error::new(ErrorKind::Step, error.to_string()).with_source(Said(error)),
            }),
        }
    }
}

/// Conversion to a model: from a model, a name, or the result of building a model.
///
/// ```
/// use fanweave::call::IntoModel;
///
/// assert_eq!("sim/writer".into_model()?.name(), "sim/writer");
/// # Ok::<_, fanweave::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a model",
    label = "not a model",
    note = "pass a `fanweave::Model`, a name such as \"openai/gpt-5-mini\", or a `Result` of a model"
)]
pub trait IntoModel {
    /// Converts to a model.
    ///
    /// # Errors
    /// Those of [`model`](crate::model()).
    fn into_model(self) -> Result<Model>;

    /// The name, for a model given by name. Default: `None`.
    fn name(&self) -> Option<&str> {
        None
    }
}

impl IntoModel for Model {
    fn into_model(self) -> Result<Model> {
        Ok(self)
    }
}

impl IntoModel for &Model {
    fn into_model(self) -> Result<Model> {
        Ok(self.clone())
    }
}

impl IntoModel for Result<Model> {
    fn into_model(self) -> Result<Model> {
        self
    }
}

impl IntoModel for &str {
    fn into_model(self) -> Result<Model> {
        crate::model(self)
    }

    fn name(&self) -> Option<&str> {
        Some(self)
    }
}

impl IntoModel for String {
    fn into_model(self) -> Result<Model> {
        crate::model(&self)
    }

    fn name(&self) -> Option<&str> {
        Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_model_and_client_takes_precedence() {
        let client = || Client::builder().build().expect("a client");
        let config = Config::new("x").model("sim/echo").client(client());
        assert!(config.model.is_none() && config.client.is_some());
        let config = Config::new("x").client(client()).model("sim/echo");
        assert!(config.model.is_some() && config.client.is_none());
    }
}
