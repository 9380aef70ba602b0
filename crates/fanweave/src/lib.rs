//! Runs many LLM calls concurrently: single calls, chains and batches on one engine.
//!
//! ```
//! use fanweave::{model, prompt, text, vars};
//!
//! # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
//! // prompt | model | parser. `sim/writer` needs no key; replace it with any `provider/model`.
//! let joke = prompt("Tell a joke about {{ topic }}.") | model("sim/writer")? | text();
//!
//! // One answer.
//! println!("{}", joke.invoke(vars! { topic: "bears" }).await?);
//!
//! // Many rows concurrently, results in input order. A failed row does not affect the others.
//! let topics = ["bears", "cats", "tax law"].map(|topic| vars! { topic: topic });
//! for row in joke.batch(topics).concurrency(64).collect().await {
//!     match row {
//!         Ok(answer) => println!("{answer}"),
//!         Err(error) => eprintln!("failed: {error}"),
//!     }
//! }
//! # Ok(())
//! # }) }
//! ```
//!
//! Two calls, the second one streamed. A prompt takes [`Vars`]; `Vars::from` makes a text the variable
//! `input`.
//!
//! ```
//! use fanweave::{Vars, model, prompt, text, vars};
//!
//! # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
//! let model = model("sim/writer")?;
//! let poem = prompt("Write a haiku about {{ topic }}.") | &model | text();
//! let translated = poem.map(Vars::from) | prompt("Translate to French: {{ input }}") | &model | text();
//! let mut run = translated.stream(vars! { topic: "rain" });
//! while let Some(delta) = run.next().await {
//!     print!("{}", delta?);
//! }
//! # Ok(())
//! # }) }
//! ```
//!
//! # Map
//!
//! | to | use | module |
//! |---|---|---|
//! | call a model, embed texts | [`model`](fn@model), [`embedder`] | [`models`] |
//! | set keys, URLs, rate limits | [`ModelBuilder`](models::ModelBuilder) | [`models`] |
//! | stop at a budget | `models::Budget` for calls, `batch::Costs` for files | [`models`], `batch` |
//! | write prompts | [`prompt`](fn@prompt), [`chat`] | [`prompts`] |
//! | read answers | [`text`], [`lines`], [`json`] | [`parsers`] |
//! | read answers as Rust types | [`structured`](fn@structured) | [`parsers`] |
//! | join steps | `\|`, [`step`], [`parallel`], [`branch`], [`dag`] | [`compose`] |
//! | run a chain for each item of an answer | [`Chain::lines`] | [`many`] |
//! | run many inputs in memory | [`Chain::batch`] | [`rows`] |
//! | run files of rows, and resume | [`BatchJob`](batch::BatchJob) | [`batch`](mod@batch) |
//! | make functions calls of models | [`#[call]`](macro@call) | [`call`](mod@call) |
//! | let models call functions | [`#[tool]`](macro@tool), [`Tools`] | [`tools`] |
//! | answer from documents | [`RetrievalQa`](chains::RetrievalQa) | [`chains`], [`retrieval`] |
//! | load, split, store documents | [`loaders`], [`splitters`] | [`stores`] |
//! | hold conversations | [`Conversation`](chains::Conversation) | [`chains`], [`stores`] |
//! | write chains in YAML or TOML | [`ChainFile`] | [`chain_file`] |
//! | see steps, waits, retries | [`Chain::events`], [`Context::with_observer`] | [`events`], [`telemetry`] |
//! | see rate limits and outages of accounts | [`account_states`](models::account_states) | [`models`] |
//! | record all calls | [`RequestLog`](models::log::RequestLog) | [`models::log`] |
//! | set deadlines, limits and tags; cancel | [`Context`] | [`context`] |
//! | call from code that is not async | [`Chain::blocking`] | [`blocking`], [`runtime`] |
//! | test without a key | [`Fake`](testing::Fake) | [`testing`] |
//! | handle failures | [`Error`], [`ErrorKind`] | [`errors`] |
//! | write models, steps, stores of your own | [`ChatModel`], [`Runnable`] | [`models`], [`retrieval`] |
//!
//! [`prelude`] has the names that most programs need, [`crates`] the crates of public signatures.
//!
//! # Verbs
//!
//! The methods of [`Chain`]. Models and prompts become chains with `|` or [`chain`].
//!
//! | verb | effect |
//! |---|---|
//! | [`invoke`](Chain::invoke) | runs one input and returns its output |
//! | [`batch`](Chain::batch) | runs many inputs concurrently, with one result each |
//! | [`stream`](Chain::stream) | returns the deltas of the output as they arrive |
//! | [`events`](Chain::events) | returns the events of all steps |
//! | [`then`](Chain::then), `\|` | adds a step |
//! | [`retry`](Chain::retry) | retries temporary failures |
//! | [`fallback`](Chain::fallback) | uses other chains if this one fails |
//! | [`timeout`](Chain::timeout) | ends the chain after a time |
//! | [`named`](Chain::named) | names the chain in errors and events |
//! | [`cached`](Model::cached) | answers from a store; for models |
//! | [`scoped`](Chain::scoped) | changes the context of the chain: limits, tags, observers |
//! | [`each`](many::Many::each) | runs a chain for each item; for many-valued chains |
//!
//! # Errors
//!
//! An [`Error`] has a kind, the path of the step that failed, the provider's message and a hint. Requests are
//! retried below the chain: 429 responses are waited out, outages held until the provider answers. A verb
//! such as [`retry`](Chain::retry) adds to that.
//!
//! # Features
//!
//! All but `parquet`, `telemetry` and `workers` are on by default. `default-features = false` leaves models,
//! prompts, chains, parsers, stores in memory and the ready-made chains, for services that only call models.
//!
//! | feature | enables |
//! |---|---|
//! | `batch` | journalled batches of files, and batch APIs |
//! | `chain-file`, `prompt-files` | chains and prompts in files |
//! | `macros` | `#[call]`, `#[tool]`, `#[schema]`, `prompt!`; includes `structured` |
//! | `structured` | answers as Rust types |
//! | `sim` | the models `sim/writer`, `sim/echo` and `sim/words` |
//! | `regex` | the parser `matches` |
//! | `prices` | prices of models, budgets |
//! | `math` | the chain that calculates |
//! | `loaders`, `splitters` | documents from files, and their parts |
//! | `sqlite`, `chroma` | stores |
//! | `promptlayer` | reports of calls to PromptLayer |
//! | `parquet` | Parquet files of rows; includes `batch` |
//! | `telemetry` | spans and metrics for OpenTelemetry |
//! | `workers` | batches whose rows run at workers; includes `batch` |

#[cfg(feature = "batch")]
mod batch_api;
#[cfg(feature = "macros")]
pub mod call;
#[cfg(feature = "chain-file")]
pub mod chain_file;
pub mod chains;
pub mod crates;
#[cfg(feature = "loaders")]
pub mod loaders;
mod modules;
pub mod prelude;
#[cfg(feature = "prompt-files")]
mod prompt_file;
#[cfg(any(feature = "chain-file", feature = "prompt-files"))]
mod regular;
mod resolve;
#[cfg(feature = "workers")]
mod share;
#[cfg(feature = "sim")]
mod sim;
#[cfg(feature = "splitters")]
pub mod splitters;
pub mod stores;
#[cfg(feature = "structured")]
mod structured;
#[cfg(feature = "telemetry")]
pub mod telemetry;
#[cfg(feature = "macros")]
mod tool_macro;
#[cfg(feature = "macros")]
mod typed;
#[cfg(feature = "sim")]
mod words;

#[cfg(feature = "chain-file")]
pub use chain_file::ChainFile;
// Names for the code of this crate; its users find them in the modules.
use fanweave_core::*;
#[doc(inline)]
pub use fanweave_core::{
    Chain, ChatModel, Context, Delta, Embedder, Error, ErrorKind, Event, EventKind, IntoChain, Item, Message,
    Model, Parameters, Prompt, Result, Role, Run, Runnable, Tools, Usage, Vars, branch, chain, chat, dag,
    json, lines, parallel, prompt, step, text, vars,
};
/// Turns a function into an LLM call. The function returns the prompt; the attribute names the model and its
/// parameters.
///
/// ```
/// #[fanweave::call(model = "sim/writer", temperature = 0.2)]
/// async fn recommend_book(genre: &str) -> String {
///     format!("Recommend a {genre} book.")
/// }
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// println!("{}", recommend_book("fantasy").await?);
/// # Ok(())
/// # }) }
/// ```
///
/// The function returns its prompt: a string, a [`Message`] or several, a [`Prompt`], a [`call::Config`] that
/// selects model, client, parameters and tools at run time, or a `Result` of one of these. It may be async. A
/// first parameter `&Context` receives the context of the run, for nested calls; it is not an argument of the
/// call.
///
/// Calling the function returns a [`call::Call`], which can be awaited, streamed, observed, modified, or run
/// from code that is not async. The attribute also defines a type with the name of the function. Its
/// `chain()` is the call as a [`Chain`] from the argument, or from a tuple of the arguments, as owned values:
/// for pipes, batches and journals.
///
/// Options:
///
/// | | |
/// |---|---|
/// | `model = ".."` | `provider/model`, or an expression for a [`Model`] or a name, evaluated once |
/// | `provider = ".."` | prefix for the model name |
/// | `client = ..` | a custom [`models::Client`], or a `Result` of one |
/// | `temperature`, `top_p`, `max_tokens`, `seed`, `stop` | see [`Parameters`] |
/// | `reasoning_effort`, `reasoning_budget`, `reasoning_summary` | see [`Parameters`] |
/// | `parameters = ..` | [`Parameters`] for what the options above do not set |
/// | `tools(A, b)` | tools that the model may call: types with [`tool`](macro@tool) |
/// | `run_tools = 5` | runs the tools, with at most 5 model calls. Required for `tools` with `response` |
/// | `response = Book` | a structured answer instead of a [`call::Response`] |
/// | `retry = policy` | [`RetryPolicy`] of the call, in addition to the retries of the transport |
/// | `fallback = [".."]` | models to use in order if a call fails. They share the parameters except `extra` |
/// | `timeout = ..` | timeout of the whole call |
/// | `crate = ".."` | path of the fanweave crate. Default: `::fanweave` |
#[cfg(feature = "macros")]
pub use fanweave_macros::call;
/// A prompt whose variables are checked at compile time.
///
/// With values, it is a prompt. Every variable of the template must be given exactly once, as a variable of
/// that name or as `name = expression`; other names are errors.
///
/// ```
/// let topic = "bears";
/// let prompt = fanweave::prompt!("Tell a {{ tone }} joke about {{ topic }}.", topic, tone = "dry");
/// assert_eq!(prompt.messages[0].text(), "Tell a dry joke about bears.");
/// ```
///
/// With a type, it is the first step of a chain: each variable of the template is a field of the type.
///
/// ```
/// use fanweave::{prompt, testing::Fake, text};
///
/// #[fanweave::schema]
/// #[derive(Clone)]
/// struct Joke {
///     topic: String,
///     tone: &'static str,
/// }
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let joke = prompt!(Joke => "Tell a {{ tone }} joke about {{ topic }}.") | Fake::echo() | text();
/// let answer = joke.invoke(Joke { topic: "bears".to_owned(), tone: "dry" }).await?;
/// assert_eq!(answer, "Tell a dry joke about bears.");
/// # Ok(())
/// # }) }
/// ```
///
/// For a template that is known only at run time, use the function of the same name.
///
/// # Panics
/// If a value cannot be serialised, or the template cannot be rendered with it, for example a string in a
/// `for` loop. The form with a type returns an error instead.
#[cfg(feature = "macros")]
#[macro_export]
macro_rules! prompt {
    ($($given:tt)*) => {
        $crate::__private::prompt!($crate $($given)*)
    };
}
/// Derives `Serialize`, `Deserialize` and `JsonSchema` for a type, through the versions of serde and schemars
/// that fanweave uses, so that the crate of the type needs no dependency on them.
///
/// ```
/// use fanweave::{chain, structured, testing::Fake};
///
/// /// A book to read.
/// #[fanweave::schema]
/// #[derive(Debug, PartialEq)]
/// struct Book {
///     title: String,
///     /// First and last name.
///     #[serde(default)]
///     author: Option<String>,
/// }
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let book = structured::<Book>(Fake::script([Ok(r#"{"title": "Emma"}"#)]));
/// let book = chain(book).invoke("Recommend a book.").await?;
/// assert_eq!(book, Book { title: "Emma".to_owned(), author: None });
/// # Ok(())
/// # }) }
/// ```
///
/// For structs and enums. Traits that the type derives itself are left to it, and `#[serde(..)]` and
/// `#[schemars(..)]` are allowed on the type and its fields. Doc comments become descriptions.
///
/// Option: `crate = ".."`, the path of the fanweave crate, default: `::fanweave`.
#[cfg(feature = "macros")]
pub use fanweave_macros::schema;
/// Turns a function, or a struct with a method `call`, into a tool that a model can call.
///
/// ```
/// use fanweave::Tools;
/// use fanweave::{Result, chain, model, text};
///
/// /// Writes a book the way that we write books.
/// #[fanweave::tool]
/// async fn format_book(
///     /// The full title.
///     title: String,
///     /// First and last name.
///     author: String,
/// ) -> Result<String> {
///     Ok(format!("{title} by {author}"))
/// }
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// let tools = Tools::new().with::<format_book>();
/// let agent = model("sim/writer")?.with_tools(tools).run_tools(5) | text();
/// println!("{}", agent.invoke("Format the book Emma by Jane Austen.").await?);
///
/// // It is still a function.
/// assert_eq!(format_book("Emma".into(), "Jane Austen".into()).await?, "Emma by Jane Austen");
/// # Ok(())
/// # }) }
/// ```
///
/// The schema is derived from the types, which must implement [`Deserialize`](serde::Deserialize) and
/// `schemars::JsonSchema`; the descriptions are the doc comments. `#[serde(..)]` and `#[schemars(..)]` are
/// allowed on parameters as well.
///
/// **A function** can still be called directly. The attribute also defines a struct of the same name whose
/// fields are the arguments; the struct is the tool: `Tools::new().with::<format_book>()`,
/// `message.tool::<format_book>()`. A first parameter `&Context` receives the context of the run and is not
/// an argument. An `fn` that is not async may block: it runs on the [thread pool](blocking::Pool::shared).
///
/// **A struct** holds the arguments, and its method `call` runs the tool. The method is async and takes
/// `self` or `&self`. With the option `blocking` it is not async and runs on the thread pool; with `context`
/// it also takes `&Context`. Put other derives below the attribute.
///
/// ```
/// use fanweave::{Message, Result, Tools};
///
/// /// Writes a book the way that we write books.
/// #[fanweave::tool(name = "format_book")]
/// struct FormatBook {
///     /// The full title.
///     title: String,
///     /// First and last name.
///     author: String,
/// }
///
/// impl FormatBook {
///     async fn call(&self) -> String {
///         format!("{} by {}", self.title, self.author)
///     }
/// }
///
/// async fn by_hand(answer: &Message) -> Result<String> {
///     match answer.tool::<FormatBook>()? {
///         Some(book) => Ok(book.call().await),
///         None => Ok(answer.text()),
///     }
/// }
/// ```
///
/// The return type is any [serialisable](serde::Serialize) type, or a `Result` of one. The model receives
/// strings verbatim, other values as JSON, and the message of an error.
///
/// Options: `name = ".."`, default: the name of the function or struct; `description = ".."`, default: the
/// doc comment; `timeout = Duration::from_secs(5)`, default: that of the set of tools; `return_direct`, which
/// makes the result the [answer](tools::Tools::return_direct) of a tool loop; `crate = ".."`, the path of the
/// fanweave crate, default: `::fanweave`.
#[cfg(feature = "macros")]
pub use fanweave_macros::tool;
#[cfg(feature = "batch")]
pub use modules::batch;
#[cfg(feature = "workers")]
pub use modules::workers;
pub use modules::{
    blocking, compose, context, errors, events, many, messages, models, parsers, prompts, retrieval, rows,
    runtime, testing, tools, values,
};
pub use resolve::{embedder, model};
#[cfg(feature = "structured")]
pub use structured::structured;

#[doc(hidden)]
pub mod __private {
    //! Items used by the expansions of the macros.
    #[cfg(feature = "chain-file")]
    pub use crate::regular::open_regular;
    #[cfg(feature = "macros")]
    pub use crate::typed::{filled, typed, value};
    pub use fanweave_core::__private::*;
    #[cfg(feature = "macros")]
    pub use fanweave_macros::prompt;
    pub use fanweave_models::__private::REDACTED;
    #[cfg(feature = "structured")]
    pub use {schemars, serde};

    #[cfg(feature = "macros")]
    pub mod call {
        //! Items used by the expansion of `#[call]`.
        pub use crate::call::{
            chain_of, model_through, models, of, respond, shared_model, structured, texts,
        };
        pub use std::borrow::Borrow;
        pub use std::sync::OnceLock;
    }

    #[cfg(feature = "macros")]
    pub mod tool {
        //! Items used by the expansion of `#[tool]`.
        pub use crate::tool_macro::{Fallible, NoCall, Plain, Returned, parameters, work};
    }
}
