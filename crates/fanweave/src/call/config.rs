//! What a function asks for, where it is more than a prompt.

use std::error::Error as StdError;

use crate::models::Client;
use crate::tool::Tools;
use crate::tool_macro::Said;
use crate::{Error, ErrorKind, Message, Model, Parameters, Prompt, Result};

/// What a function with `#[fanweave::call]` asks for, where it decides on more than the prompt: model, client, parameters
/// or tools, at run time and for this one call.
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
///     config.model("sim/echo").parameters(Parameters { temperature: Some(0.0), ..Parameters::default() })
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<()> {
/// assert!(recommend_book("fantasy", true).await?.content().ends_with("Recommend a fantasy book."));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Config {
    pub(super) prompt: Prompt,
    pub(super) model: Option<Result<Model>>,
    /// The name of the model, where it was given as one: another client can reach it too.
    pub(super) name: Option<String>,
    pub(super) client: Option<Client>,
    pub(super) tools: Option<Tools>,
}

impl Config {
    /// Asks this, and leaves all else as the attribute says.
    pub fn new(prompt: impl Into<Prompt>) -> Self {
        Self { prompt: prompt.into(), model: None, name: None, client: None, tools: None }
    }

    /// Asks this model: a [`Model`], or the name of one.
    pub fn model(self, model: impl IntoModel) -> Self {
        let name = model.name().map(str::to_owned);
        Self { model: Some(model.into_model()), name, client: None, ..self }
    }

    /// Reaches the model of the attribute through this client. Of this and [`model`](Self::model) the last one counts.
    pub fn client(self, client: Client) -> Self {
        Self { client: Some(client), model: None, name: None, ..self }
    }

    /// Sets parameters. They win over those that were set before, and over those of the attribute.
    pub fn parameters(mut self, parameters: Parameters) -> Self {
        self.prompt.parameters = parameters.or(&self.prompt.parameters);
        self
    }

    /// Offers these tools, in place of those of the attribute.
    pub fn tools(self, tools: Tools) -> Self {
        Self { tools: Some(tools), ..self }
    }
}

/// What a function with `#[fanweave::call]` may return: a text, a [`Message`] or several, a [`Prompt`], a [`Config`], or a
/// `Result` of one of these.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is nothing that a model can be asked",
    label = "a call returns its prompt",
    note = "return a `String`, a `Message` or a `Vec` of them, a `Prompt`, a `call::Config`, or a `Result` of these"
)]
pub trait IntoConfig {
    /// What to ask.
    ///
    /// # Errors
    /// That of the function.
    fn into_config(self) -> Result<Config>;
}

impl IntoConfig for Config {
    fn into_config(self) -> Result<Config> {
        Ok(self)
    }
}

macro_rules! asks {
    ($($asked:ty),*) => {$(
        impl IntoConfig for $asked {
            fn into_config(self) -> Result<Config> {
                Ok(Config::new(self))
            }
        }
    )*};
}

asks!(String, &str, Prompt, Message, Vec<Message>);

impl<T: IntoConfig, E: Into<Box<dyn StdError + Send + Sync>>> IntoConfig for Result<T, E> {
    fn into_config(self) -> Result<Config> {
        match self {
            Ok(asked) => asked.into_config(),
            Err(error) => Err(match error.into().downcast::<Error>() {
                Ok(error) => *error,
                Err(error) => Error::new(ErrorKind::Step, error.to_string()).with_source(Said(error)),
            }),
        }
    }
}

/// What a model can be given as: itself, its name, or the result of building it.
///
/// ```
/// use fanweave::call::IntoModel;
///
/// assert_eq!("sim/writer".into_model()?.name(), "sim/writer");
/// # Ok::<_, fanweave::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no model",
    label = "this is no model",
    note = "give a `fanweave::Model`, a name as in \"openai/gpt-5-mini\", or a `Result` of a model"
)]
pub trait IntoModel {
    /// The model.
    ///
    /// # Errors
    /// As [`model`](crate::model()).
    fn into_model(self) -> Result<Model>;

    /// Its name, where it is given as one. Default `None`.
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
    fn of_a_model_and_a_client_the_one_that_is_said_last_counts() {
        let client = || Client::builder().build().expect("a client");
        let config = Config::new("x").model("sim/echo").client(client());
        assert!(config.model.is_none() && config.client.is_some());
        let config = Config::new("x").client(client()).model("sim/echo");
        assert!(config.model.is_some() && config.client.is_none());
    }
}
