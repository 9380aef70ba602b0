//! A set of tools, and the calls of one message.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt, stream};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Tool;
use super::rounds::too_long;
use crate::context::memory;
use crate::parse::json::is_any;
use crate::parse::lenient;
use crate::parse::{nulls, parse_message};
use crate::{
    Concurrency, Context, Error, ErrorKind, Message, Part, Result, ToolCall, ToolResult, ToolSpec, closest,
    excerpt,
};

/// Default maximum number of concurrent calls of one message. 16: more than models request.
pub const DEFAULT_CONCURRENCY: usize = 16;

/// Default maximum bytes of the text of a result. 1 MiB: about a quarter of the largest context of a model.
pub const DEFAULT_MAX_RESULT_BYTES: usize = 1 << 20;

/// Maximum bytes of the arguments of one call. 4 MiB: as much as the largest answers of models.
const MAX_ARGUMENT_BYTES: usize = 4 << 20;

/// Maximum bytes of the error of a tool that the model reads. 4 KiB: more than a model needs.
const MAX_ERROR_BYTES: usize = 4 << 10;

/// Maximum length of a tool name. Source: OpenAI's and Anthropic's references.
const MAX_NAME_LEN: usize = 64;

/// The tools that a call offers to its model. Cheap to clone.
///
/// A tool that cannot be part of the set, because its name is invalid or a duplicate, fails every run with
/// [`ErrorKind::Config`] before any call is made; [`check`](Self::check) reports it immediately.
///
/// ```
/// use fanweave::{Context, Message, Result, Tools, messages::{Part, ToolCall}, tools::{Tool, ToolSpec}};
/// use fanweave::crates::serde_json::{Value, json};
///
/// struct Clock;
///
/// impl Tool for Clock {
///     type Arguments = Value;
///
///     fn spec(&self) -> ToolSpec {
///         let parameters = json!({ "type": "object", "properties": {} });
///         ToolSpec { name: "now".into(), description: "Says what time it is.".into(), parameters }
///     }
///
///     async fn call(&self, _: Value, _: &Context) -> Result<String> {
///         Ok("12:00".into())
///     }
/// }
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// let tools = Tools::new().tool(Clock).check()?;
/// let mut asked = Message::assistant("");
/// let call = ToolCall { id: "1".into(), name: "now".into(), arguments: "{}".into() };
/// asked.parts = vec![Part::ToolCall(call)];
/// let results = tools.execute(&asked, &Context::new()).await;
/// assert_eq!(results[0].text(), "12:00");
/// # Ok(())
/// # }) }
/// ```
#[derive(Clone)]
pub struct Tools {
    entries: Arc<Vec<Entry>>,
    timeout: Option<Duration>,
    concurrency: Concurrency,
    errors: ToolErrors,
    max_result_bytes: usize,
    /// The first error of the set.
    broken: Option<Error>,
}

#[derive(Clone)]
struct Entry {
    name: Arc<str>,
    spec: Arc<ToolSpec>,
    timeout: Option<Duration>,
    return_direct: bool,
    tool: Arc<dyn DynTool>,
}

/// The effect of a tool that fails within a [tool loop](super::WithTools::run_tools).
///
/// A call that cannot be made, because the tool does not exist or its arguments do not fit, is always
/// reported to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ToolErrors {
    /// The model reads the error, and continues.
    #[default]
    ToModel,
    /// The run fails with that very error, which ends the other calls. The step of the tool is in its path.
    Raise,
}

/// The reason why a call has no result.
enum Failure {
    /// The call could not be made.
    Call(Error),
    /// The tool failed.
    Tool(Error),
}

/// A tool that checks its arguments itself reports invalid ones by its error.
fn failure_of(error: Error) -> Failure {
    match error.kind() == ErrorKind::Input && error.path().next().is_none() {
        true => Failure::Call(error),
        false => Failure::Tool(error),
    }
}

/// Dyn-compatible counterpart of [`Tool`].
trait DynTool: Send + Sync {
    /// Starts the call, if the arguments fit.
    fn call<'a>(
        &'a self,
        call: &ToolCall,
        schema: &Value,
        cx: &'a Context,
    ) -> Result<BoxFuture<'a, Result<Vec<Part>>>>;
}

impl<T: Tool> DynTool for T {
    fn call<'a>(
        &'a self,
        call: &ToolCall,
        schema: &Value,
        cx: &'a Context,
    ) -> Result<BoxFuture<'a, Result<Vec<Part>>>> {
        let arguments = read_arguments(call, schema, ErrorKind::Input)?;
        Ok(Box::pin(Tool::call_parts(self, arguments, cx)))
    }
}

/// Parses the arguments of a call of a tool with that schema. The error is written for the model.
pub(super) fn read_arguments<T: DeserializeOwned>(
    call: &ToolCall,
    schema: &Value,
    kind: ErrorKind,
) -> Result<T> {
    // A JSON value holds no integers beyond 64 bits: they are parsed from the text.
    if !is_any::<T>()
        && let Ok(arguments) = serde_json::from_str(&call.arguments)
    {
        return Ok(arguments);
    }
    let arguments = call.parse_arguments().or_else(|error| {
        lenient::whole(&call.arguments).ok_or_else(|| {
            let message =
                format!("the arguments are not valid JSON ({}); send one JSON object", parse_message(&error));
            Error::new(kind, message).with_source(error)
        })
    })?;
    // A tool that takes any value checks it itself.
    let unchecked = is_any::<T>().then(|| arguments.clone());
    nulls::read(arguments, schema, schema, &call.name).or_else(|problems| {
        let any = unchecked.and_then(|arguments| serde_json::from_value(arguments).ok());
        any.ok_or_else(|| Error::new(kind, format!("the arguments do not fit the schema: {problems}")))
    })
}

impl Default for Tools {
    fn default() -> Self {
        Self {
            entries: Arc::default(),
            timeout: None,
            concurrency: Concurrency::new(DEFAULT_CONCURRENCY),
            errors: ToolErrors::default(),
            max_result_bytes: DEFAULT_MAX_RESULT_BYTES,
            broken: None,
        }
    }
}

impl Tools {
    /// No tools.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tool.
    #[must_use]
    pub fn tool(mut self, tool: impl Tool) -> Self {
        let spec = tool.spec();
        match self.refuses(&spec.name) {
            Some(error) => self.broken = self.broken.or(Some(error)),
            None => {
                let name = spec.name.as_str().into();
                let timeout = tool.timeout();
                let return_direct = tool.return_direct();
                let entry =
                    Entry { name, spec: Arc::new(spec), timeout, return_direct, tool: Arc::new(tool) };
                Arc::make_mut(&mut self.entries).push(entry);
            }
        }
        self
    }

    /// The reason why a tool of that name is rejected.
    fn refuses(&self, name: &str) -> Option<Error> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let message = if name.is_empty() || name.len() > MAX_NAME_LEN || !name.chars().all(is_plain) {
            format!(
                "`{name}` is not a valid tool name: use 1 to {MAX_NAME_LEN} ASCII letters, digits, `_` and `-`"
            )
        } else if self.get(name).is_some() {
            format!("two tools have the name `{name}`: rename one of them")
        } else {
            return None;
        };
        Some(Error::new(ErrorKind::Config, message))
    }

    /// Timeout for a call of a tool without its [own timeout](Tool::timeout). Default: none but the limit of
    /// the run.
    #[must_use]
    pub fn timeout(self, limit: Duration) -> Self {
        Self { timeout: Some(limit), ..self }
    }

    /// Maximum concurrent calls of one message. Default [`DEFAULT_CONCURRENCY`]. Further calls are queued,
    /// which does not count against their timeouts.
    ///
    /// Model calls within tools also obey the run's own limit. With 0, a run that calls tools fails with
    /// [`ErrorKind::Config`].
    #[must_use]
    pub fn concurrency(self, n: impl Into<Concurrency>) -> Self {
        Self { concurrency: n.into(), ..self }
    }

    /// Maximum bytes of the text of one result. Default [`DEFAULT_MAX_RESULT_BYTES`]. A longer result is an
    /// error that the model reads, not a truncated text: half of a number or of an object would be wrong.
    ///
    /// The rounds of a [tool loop](super::WithTools::run_tools) send all results again: see
    /// [`RunTools::max_transcript_bytes`](super::RunTools::max_transcript_bytes) for all of them together.
    ///
    /// ```
    /// use fanweave::Tools;
    ///
    /// let tools = Tools::new().max_result_bytes(64 * 1024);
    /// ```
    #[must_use]
    pub fn max_result_bytes(self, bytes: usize) -> Self {
        Self { max_result_bytes: bytes, ..self }
    }

    /// Sets the effect of a tool that fails. Default: [`ToolErrors::ToModel`].
    ///
    /// ```
    /// use fanweave::{Tools, tools::ToolErrors};
    ///
    /// let tools = Tools::new().on_error(ToolErrors::Raise);
    /// ```
    #[must_use]
    pub fn on_error(self, errors: ToolErrors) -> Self {
        Self { errors, ..self }
    }

    /// Ends a [tool loop](super::WithTools::run_tools) with the result of a tool: it is the answer, and the
    /// model does not see it. Tools may ask for it [themselves](super::Tool::return_direct).
    ///
    /// The answer consists of the results of all such tools that a message calls, in order, with a blank line
    /// in between. If one of the calls of the message fails, the model reads all results, and continues.
    ///
    /// A name that is not in the set is an error of [`check`](Self::check) and of every run.
    ///
    /// ```
    /// use fanweave::Tools;
    ///
    /// /// Looks an order up.
    /// #[fanweave::tool]
    /// fn order(id: u32) -> String {
    ///     format!("Order {id} was sent.")
    /// }
    ///
    /// let tools = Tools::new().with::<order>().return_direct("order");
    /// assert!(tools.check().is_ok());
    /// ```
    #[must_use]
    pub fn return_direct(mut self, name: &str) -> Self {
        match Arc::make_mut(&mut self.entries).iter_mut().find(|entry| *entry.name == *name) {
            Some(entry) => entry.return_direct = true,
            None => self.broken = self.broken.take().or_else(|| Some(self.unknown(name))),
        }
        self
    }

    /// The answer that the results of a message are, if it called a tool whose result is the answer and no
    /// call failed.
    pub(super) fn direct_answer(&self, message: &Message, results: &[ToolResult]) -> Option<String> {
        if results.iter().any(|result| result.is_error) {
            return None;
        }
        let is_direct = |name: &str| self.get(name).is_some_and(|entry| entry.return_direct);
        let of_calls = message.tool_calls().zip(results).filter(|(call, _)| is_direct(&call.name));
        let answers: Vec<_> = of_calls.map(|(_, result)| result.text()).collect();
        (!answers.is_empty()).then(|| answers.join("\n\n"))
    }

    /// Returns the set, if all tools can be part of it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the first name that is a duplicate or invalid.
    pub fn check(self) -> Result<Self> {
        match self.broken {
            Some(error) => Err(error),
            None => Ok(self),
        }
    }

    /// The error of [`check`](Self::check).
    pub(super) fn ready(&self) -> Result<()> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    /// The specifications of the tools, in the order in which they were added: for [`Parameters::tools`].
    ///
    /// [`Parameters::tools`]: crate::Parameters::tools
    pub fn specs(&self) -> Vec<ToolSpec> {
        self.entries.iter().map(|entry| (*entry.spec).clone()).collect()
    }

    /// The names of the tools, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| &*entry.name)
    }

    /// Returns true if the set is empty.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| *entry.name == *name)
    }

    /// Runs all tool calls of `message` concurrently, and returns their results in the order of the calls.
    /// Empty without calls.
    ///
    /// A call that cannot be made and a tool that fails, panics or times out each give a result with
    /// [`is_error`](ToolResult::is_error), whose content is the error for the model. Each call is a step of
    /// the run with the name of its tool, which events contain.
    ///
    /// # Cancellation
    /// Dropping the future ends all calls. Blocking tools run to their end on their threads.
    pub async fn execute(&self, message: &Message, cx: &Context) -> Vec<ToolResult> {
        self.calls(message, cx).map(|(result, _)| result).collect().await
    }

    /// Like [`execute`](Self::execute), but with the effect that [`on_error`](Self::on_error) sets.
    ///
    /// # Errors
    /// That of the first tool that fails, in the order of the calls, with [`ToolErrors::Raise`].
    ///
    /// [`ErrorKind::Input`] once the results have more than `max_bytes` together.
    pub(super) async fn execute_or_raise(
        &self,
        message: &Message,
        max_bytes: u64,
        cx: &Context,
    ) -> Result<Vec<ToolResult>> {
        self.concurrency.checked()?;
        let mut calls = pin!(self.calls(message, cx));
        let (mut results, mut bytes) = (Vec::new(), 0);
        while let Some((result, error)) = calls.next().await {
            if let Some(error) = error.filter(|_| self.errors == ToolErrors::Raise) {
                return Err(error);
            }
            bytes += memory::of_parts(&result.parts);
            if bytes > max_bytes {
                return Err(too_long());
            }
            results.push(result);
        }
        Ok(results)
    }

    /// The results of all calls of a message, each with the error of its tool.
    fn calls<'a>(
        &'a self,
        message: &'a Message,
        cx: &Context,
    ) -> impl Stream<Item = (ToolResult, Option<Error>)> + 'a {
        let calls: Vec<_> =
            message.tool_calls().zip(0..).map(|(call, n)| self.call(call, cx.fork(n)).boxed()).collect();
        stream::iter(calls).buffered(self.concurrency.get().max(1))
    }

    /// Makes one call as a step of the run. Also returns the error of the tool, if it failed.
    async fn call(&self, call: &ToolCall, cx: Context) -> (ToolResult, Option<Error>) {
        let name = self
            .get(&call.name)
            .map_or_else(|| excerpt(&call.name, MAX_NAME_LEN).into(), |entry| entry.name.clone());
        // The deltas of a tool are not part of the answer.
        let cx = cx.without_deltas().undriven().begin(&name).await;
        let (result, is_of_tool) = match self.outcome(call, &cx).await {
            Ok(content) => (Ok(content), false),
            Err(Failure::Call(error)) => (Err(error), false),
            Err(Failure::Tool(error)) => (Err(error), true),
        };
        // The error is reported as an event, which adds the step to it, and to the model.
        let text = result.as_ref().err().map(|error| excerpt(&error.to_string(), MAX_ERROR_BYTES));
        let id = call.id.clone();
        match cx.end(&name, result, |_| None).await {
            Ok(parts) => (ToolResult { id, parts, is_error: false }, None),
            Err(error) => {
                let result = ToolResult::error(id, text.unwrap_or_default());
                (result, Some(error).filter(|_| is_of_tool))
            }
        }
    }

    async fn outcome(&self, call: &ToolCall, cx: &Context) -> Result<Vec<Part>, Failure> {
        self.ready().map_err(Failure::Call)?;
        let Some(entry) = self.get(&call.name) else {
            return Err(Failure::Call(self.unknown(&call.name)));
        };
        let length = call.arguments.len();
        if length > MAX_ARGUMENT_BYTES {
            let message = format!(
                "the arguments have {length} bytes; at most {MAX_ARGUMENT_BYTES} are allowed: send less"
            );
            return Err(Failure::Call(Error::new(ErrorKind::Input, message)));
        }
        let limit = entry.timeout.or(self.timeout);
        let schema = &entry.spec.parameters;
        let work = async {
            let work = async {
                let limited = limit.map(|limit| cx.clone().with_timeout(limit));
                let started = entry.tool.call(call, schema, limited.as_ref().unwrap_or(cx));
                started.map_err(Failure::Call)?.await.map_err(failure_of)
            };
            let caught = AssertUnwindSafe(work).catch_unwind().await;
            caught.unwrap_or_else(|panic| Err(Failure::Tool(Error::from_panic(&*panic))))
        };
        let parts = match limit {
            None => work.await?,
            Some(limit) => tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
                let message = format!("the tool `{}` timed out after {limit:?}", entry.name);
                Err(Failure::Tool(Error::new(ErrorKind::Timeout, message)))
            })?,
        };
        let length: usize = parts.iter().filter_map(Part::as_text).map(str::len).sum();
        if length > self.max_result_bytes {
            let max = self.max_result_bytes;
            let message = format!("the result has {length} bytes; at most {max} are allowed: return less");
            return Err(Failure::Call(Error::new(ErrorKind::Input, message)));
        }
        Ok(parts)
    }

    fn unknown(&self, name: &str) -> Error {
        let mut message = format!("unknown tool `{}`", excerpt(name, MAX_NAME_LEN));
        if let Some(near) = closest(name, self.names()) {
            message += &format!("; did you mean `{near}`?");
        } else if !self.is_empty() {
            let all: Vec<_> = self.names().map(|name| format!("`{name}`")).collect();
            message += &format!("; the tools are {}", all.join(", "));
        }
        Error::new(ErrorKind::NotFound, message)
    }
}

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tools")
            .field("names", &self.names().collect::<Vec<_>>())
            .field("timeout", &self.timeout)
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}
