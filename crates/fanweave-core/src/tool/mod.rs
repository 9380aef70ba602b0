//! Tools: functions that a model may call, the set of them that a call offers, and the loop that runs them.
//!
//! [`Tool`] is implemented by authors, [`Tools`] is held by users, and
//! [`run_tools`](crate::tool::WithTools::run_tools) calls the model and its tools in a loop until the model
//! answers. A tool that fails does not end a run, unless [`Tools::on_error`] sets that: its error becomes a
//! [`ToolResult`](crate::ToolResult) which the model reads.

mod blocking;
mod rounds;
mod set;
#[cfg(test)]
mod tests;
mod transcript;
mod typed;
mod with;

use std::future::Future;
use std::time::Duration;

use serde::de::DeserializeOwned;

pub use blocking::BlockingTool;
pub(crate) use rounds::ToolRound;
pub use rounds::{AtLimit, DEFAULT_MAX_FAILURES, DEFAULT_MAX_TRANSCRIPT_BYTES, RunTools};
pub use set::{DEFAULT_CONCURRENCY, DEFAULT_MAX_RESULT_BYTES, ToolErrors, Tools};
pub use transcript::Transcript;
pub use typed::TypedTool;
pub use with::WithTools;

use crate::{Context, Part, Result, ToolSpec};

/// A function that a model may call: implemented by the author of a tool. Users hold a set of them,
/// [`Tools`].
///
/// Implement this trait for tools with state, such as a connection, and for tools whose name and schema are
/// known only at run time; their `Arguments` are then a [`serde_json::Value`]. For a plain function the
/// attribute `#[fanweave::tool]` generates a [`TypedTool`].
///
/// ```
/// use fanweave::{Context, Result, Tools, tools::{Tool, ToolSpec}};
/// use fanweave::crates::serde_json::json;
///
/// /// Answers from a table.
/// struct Capitals(Vec<(&'static str, &'static str)>);
///
/// #[fanweave::schema]
/// struct Country {
///     country: String,
/// }
///
/// impl Tool for Capitals {
///     type Arguments = Country;
///
///     fn spec(&self) -> ToolSpec {
///         ToolSpec {
///             name: "capital_of".into(),
///             description: "Looks up the capital of a country.".into(),
///             parameters: json!({
///                 "type": "object",
///                 "properties": { "country": { "type": "string" } },
///                 "required": ["country"],
///             }),
///         }
///     }
///
///     async fn call(&self, arguments: Country, _cx: &Context) -> Result<String> {
///         let found = self.0.iter().find(|(country, _)| *country == arguments.country);
///         Ok(found.map_or("unknown", |(_, capital)| capital).to_owned())
///     }
/// }
///
/// let tools = Tools::new().tool(Capitals(vec![("France", "Paris")]));
/// assert_eq!(tools.names().collect::<Vec<_>>(), ["capital_of"]);
/// ```
pub trait Tool: Send + Sync + 'static {
    /// The type of the arguments. Arguments that do not fit are an error that the model reads.
    type Arguments: DeserializeOwned + Send + 'static;

    /// The specification of the tool for the model. Called once, when the tool is added to a set.
    fn spec(&self) -> ToolSpec;

    /// Timeout for one call. Default: that of the set, see [`Tools::timeout`].
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Returns true if the result of the tool is the answer: see [`Tools::return_direct`]. Default false.
    fn return_direct(&self) -> bool {
        false
    }

    /// Runs the tool and returns the text for the model.
    ///
    /// The model reads the text of an error too, so it must not contain secrets. A panic is handled like an
    /// error. An error of [`ErrorKind::Input`](crate::ErrorKind::Input) that names no step says that the
    /// arguments are invalid: the model reads it even with [`ToolErrors::Raise`].
    ///
    /// # Cancellation
    /// The future is dropped if the run ends or the call times out.
    fn call(&self, arguments: Self::Arguments, cx: &Context) -> impl Future<Output = Result<String>> + Send;

    /// Like [`call`](Self::call), for a tool whose result has several parts, such as a text and an image.
    /// Tool sets call this one. Default: the text of `call`.
    ///
    /// Anthropic, Gemini, OpenAI's Responses API and Ollama send images within the result. The Chat
    /// Completions API takes only texts there: images follow in a message of the user.
    fn call_parts(
        &self,
        arguments: Self::Arguments,
        cx: &Context,
    ) -> impl Future<Output = Result<Vec<Part>>> + Send {
        async move { Ok(vec![Part::Text(self.call(arguments, cx).await?)]) }
    }
}
