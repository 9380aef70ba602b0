//! Blocking tools.

use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::{Tool, Tools};
use crate::blocking::Pool;
use crate::{Context, Result, ToolSpec};

/// A [`Tool`] without async code. Its calls run on the [shared pool](Pool::shared) of threads.
///
/// ```
/// use fanweave::{Context, Error, Result, Tools, tools::{BlockingTool, ToolSpec}};
/// use fanweave::crates::serde_json::json;
///
/// struct ReadFile;
///
/// #[fanweave::schema]
/// struct Path {
///     path: String,
/// }
///
/// impl BlockingTool for ReadFile {
///     type Arguments = Path;
///
///     fn spec(&self) -> ToolSpec {
///         ToolSpec {
///             name: "read_file".into(),
///             description: "Reads a text file.".into(),
///             parameters: json!({
///                 "type": "object",
///                 "properties": { "path": { "type": "string" } },
///                 "required": ["path"],
///             }),
///         }
///     }
///
///     fn call(&self, arguments: Path, _cx: &Context) -> Result<String> {
///         std::fs::read_to_string(arguments.path).map_err(Error::step)
///     }
/// }
///
/// let tools = Tools::new().blocking_tool(ReadFile);
/// ```
pub trait BlockingTool: Send + Sync + 'static {
    /// Like [`Tool::Arguments`].
    type Arguments: DeserializeOwned + Send + 'static;

    /// Like [`Tool::spec`].
    fn spec(&self) -> ToolSpec;

    /// Like [`Tool::timeout`]. Work that has started still runs to its end on its thread, and its result is
    /// dropped.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Like [`Tool::call`].
    fn call(&self, arguments: Self::Arguments, cx: &Context) -> Result<String>;
}

/// A blocking tool on threads.
struct OnThreads<T>(Arc<T>);

impl<T: BlockingTool> Tool for OnThreads<T> {
    type Arguments = T::Arguments;

    fn spec(&self) -> ToolSpec {
        self.0.spec()
    }

    fn timeout(&self) -> Option<Duration> {
        self.0.timeout()
    }

    async fn call(&self, arguments: T::Arguments, cx: &Context) -> Result<String> {
        let (tool, cx) = (self.0.clone(), cx.clone());
        Pool::shared().run(move || tool.call(arguments, &cx)).await?
    }
}

impl Tools {
    /// Adds a blocking tool: see [`BlockingTool`].
    #[must_use]
    pub fn blocking_tool(self, tool: impl BlockingTool) -> Self {
        self.tool(OnThreads(Arc::new(tool)))
    }
}
