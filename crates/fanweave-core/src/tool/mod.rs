//! Tools: functions that a model may call, the set of them that a call offers, and the loop that runs them.
//!
//! [`Tool`] is what authors write, [`Tools`] is what users hold, and
//! [`run_tools`](crate::tool::WithTools::run_tools) asks, calls and asks again until the model has its answer. A tool
//! that fails never ends a run: its error becomes a [`ToolResult`](crate::ToolResult) which the model can read.

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
pub use rounds::{DEFAULT_MAX_FAILURES, RunTools};
pub use set::{DEFAULT_CONCURRENCY, Tools};
pub use transcript::Transcript;
pub use typed::TypedTool;
pub use with::WithTools;

use crate::{Context, Result, ToolSpec};

/// A function that a model may call: what the author of a tool writes. Users hold a set of them, [`Tools`].
///
/// This is the form for tools with something of their own to work on, such as a connection, and for those whose name
/// and schema are known only at run time, whose `Arguments` are then a [`serde_json::Value`]. For a plain function
/// the attribute `#[fanweave::tool]` writes a [`TypedTool`].
///
/// ```
/// use fanweave_core::{Context, Result, ToolSpec, tool::{Tool, Tools}};
/// use serde_json::json;
///
/// /// Answers from a table.
/// struct Capitals(Vec<(&'static str, &'static str)>);
///
/// #[derive(serde::Deserialize)]
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
    /// What the arguments are read as. Arguments that do not fit are an error that the model gets to read.
    type Arguments: DeserializeOwned + Send + 'static;

    /// The tool as the model sees it. Asked once, when the tool is added to a set.
    fn spec(&self) -> ToolSpec;

    /// The longest that one call may take. Default: what the set says, see [`Tools::timeout`].
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Does the work, and says what the model gets to read.
    ///
    /// The model reads the text of an error too: put no secret into it. A panic is an error like any other.
    ///
    /// # Cancellation
    /// The future is dropped where the run ends or the time is up.
    fn call(&self, arguments: Self::Arguments, cx: &Context) -> impl Future<Output = Result<String>> + Send;
}
