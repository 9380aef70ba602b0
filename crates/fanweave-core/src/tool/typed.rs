//! Tools whose arguments are a type.

use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::set::read_arguments;
use super::{Tool, Tools};
use crate::{Context, ErrorKind, Message, Result, ToolSpec};

/// A tool whose arguments are the fields of the type. The model fills in the fields, and the value runs the
/// tool. Implemented by `#[fanweave::tool]`.
///
/// ```
/// use fanweave::{Context, Message, Result, Tools, messages::{Part, ToolCall}, tools::TypedTool};
/// use fanweave::crates::serde_json::{Value, json};
///
/// #[fanweave::schema]
/// struct FormatBook {
///     title: String,
///     author: String,
/// }
///
/// impl TypedTool for FormatBook {
///     const NAME: &'static str = "format_book";
///     const DESCRIPTION: &'static str = "Writes a book the way that we write books.";
///
///     fn parameters() -> Value {
///         json!({
///             "type": "object",
///             "properties": { "title": { "type": "string" }, "author": { "type": "string" } },
///             "required": ["title", "author"],
///         })
///     }
///
///     async fn run_tool(self, _cx: &Context) -> Result<String> {
///         Ok(format!("{} by {}", self.title, self.author))
///     }
/// }
///
/// let tools = Tools::new().with::<FormatBook>();
///
/// // A possible answer of a model with these tools:
/// let mut message = Message::assistant("");
/// message.parts = vec![Part::ToolCall(ToolCall {
///     id: "1".into(),
///     name: "format_book".into(),
///     arguments: r#"{ "title": "Emma", "author": "Jane Austen" }"#.into(),
/// })];
/// let book = message.tool::<FormatBook>()?.expect("it has called the tool");
/// assert_eq!(book.author, "Jane Austen");
/// # Ok::<_, fanweave::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tool",
    label = "no model can call this",
    note = "write `#[fanweave::tool]` above the function or the struct"
)]
pub trait TypedTool: DeserializeOwned + Send + 'static {
    /// The name by which the model calls it.
    const NAME: &'static str;
    /// Description for the model: its purpose and when to call it.
    const DESCRIPTION: &'static str;
    /// Like [`Tool::timeout`].
    const TIMEOUT: Option<Duration> = None;

    /// Like [`Tool::return_direct`].
    const RETURN_DIRECT: bool = false;

    /// JSON schema of the fields.
    fn parameters() -> Value;

    /// Runs the tool, like [`Tool::call`].
    fn run_tool(self, cx: &Context) -> impl Future<Output = Result<String>> + Send;
}

/// The tool of a type.
struct Of<T>(PhantomData<fn() -> T>);

impl<T: TypedTool> Tool for Of<T> {
    type Arguments = T;

    fn spec(&self) -> ToolSpec {
        ToolSpec { name: T::NAME.into(), description: T::DESCRIPTION.into(), parameters: T::parameters() }
    }

    fn timeout(&self) -> Option<Duration> {
        T::TIMEOUT
    }

    fn return_direct(&self) -> bool {
        T::RETURN_DIRECT
    }

    async fn call(&self, arguments: T, cx: &Context) -> Result<String> {
        arguments.run_tool(cx).await
    }
}

impl Tools {
    /// Adds the tool of a type: see [`TypedTool`].
    #[must_use]
    pub fn with<T: TypedTool>(self) -> Self {
        self.tool(Of::<T>(PhantomData))
    }
}

impl Message {
    /// The arguments of the first call of the tool `T`. `None` if the model does not call it.
    ///
    /// ```
    /// use fanweave::crates::serde_json;
    /// # use fanweave::{Context, Message, Result, tools::TypedTool};
    /// # #[fanweave::schema]
    /// # struct FormatBook {}
    /// # impl TypedTool for FormatBook {
    /// #     const NAME: &'static str = "format_book";
    /// #     const DESCRIPTION: &'static str = "";
    /// #     fn parameters() -> serde_json::Value { serde_json::json!({}) }
    /// #     async fn run_tool(self, _: &Context) -> Result<String> { Ok(String::new()) }
    /// # }
    /// assert!(Message::assistant("No book today.").tool::<FormatBook>()?.is_none());
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Parse`] if the arguments are not a valid `T`.
    pub fn tool<T: TypedTool>(&self) -> Result<Option<T>> {
        self.tools().next().transpose()
    }

    /// The arguments of all calls of the tool `T`, in order, each parsed separately. See
    /// [`tool`](Self::tool).
    pub fn tools<T: TypedTool>(&self) -> impl Iterator<Item = Result<T>> {
        self.tool_calls().filter(|call| call.name == T::NAME).map(|call| {
            let arguments = read_arguments(call, &T::parameters(), ErrorKind::Parse);
            arguments.map_err(|error| error.with_step(T::NAME))
        })
    }
}
