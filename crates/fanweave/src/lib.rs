//! Many LLM calls at once: calls, chains and batches over one engine.
//!
//! ```
//! use fanweave::{model, prompt, text, vars};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> fanweave::Result<()> {
//! // prompt | model | parser. `sim/writer` needs no key; any `provider/model` goes in its place.
//! let joke = prompt("Tell a joke about {{ topic }}.") | model("sim/writer")? | text();
//!
//! // One answer.
//! println!("{}", joke.invoke(vars! { topic: "bears" }).await?);
//!
//! // Many at once, in input order. A row that fails leaves the others alone.
//! let topics = ["bears", "cats", "tax law"].map(|topic| vars! { topic: topic });
//! for row in joke.batch(topics).concurrency(64).collect().await {
//!     match row {
//!         Ok(answer) => println!("{answer}"),
//!         Err(error) => eprintln!("failed: {error}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Pieces of an answer as they arrive:
//!
//! ```
//! use fanweave::{model, prompt, text, vars};
//! use futures::StreamExt;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> fanweave::Result<()> {
//! let poem = prompt("Write a haiku about {{ topic }}.") | model("sim/writer")? | text();
//! let mut run = poem.stream(vars! { topic: "rain" });
//! while let Some(piece) = run.next().await {
//!     print!("{}", piece?);
//! }
//! # Ok(())
//! # }
//! ```

pub mod batch_api;
pub mod call;
pub mod chain_file;
pub mod chains;
pub mod loaders;
mod prompt_file;
mod resolve;
pub mod sim;
pub mod splitters;
pub mod stores;
mod structured;
#[cfg(feature = "telemetry")]
pub mod telemetry;
mod tool_macro;
mod typed;
pub mod words;

pub use chain_file::ChainFile;
pub use fanweave_batch as batch;
pub use fanweave_core::*;
/// Makes a call of a function: it says what to ask, and the attribute whom and how.
///
/// ```
/// #[fanweave::call(model = "sim/writer", temperature = 0.2)]
/// async fn recommend_book(genre: &str) -> String {
///     format!("Recommend a {genre} book.")
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> fanweave::Result<()> {
/// println!("{}", recommend_book("fantasy").await?);
/// # Ok(())
/// # }
/// ```
///
/// The function returns its prompt: a text, a [`Message`] or several, a [`Prompt`], a [`call::Config`] that decides on model,
/// client, parameters and tools at run time, or a `Result` of one of these. It may be async, and wait for whatever it
/// needs. A first parameter `&Context` is the run's own, for calls within the call, and no argument.
///
/// What is written as a function then returns a [`call::Call`], which is awaited, streamed, watched, changed for one
/// time or run by code that is not async. Beside it there is a type of the function's name, whose `chain()` is the same as a
/// [`Chain`] from the argument, or from a tuple of the arguments, as owned values: for pipes, batches and journals.
///
/// Options:
///
/// | | |
/// |---|---|
/// | `model = ".."` | `provider/model`, or any expression that is a [`Model`], a name or a `Result` of a model. It is evaluated once |
/// | `provider = ".."` | goes in front of the model's name |
/// | `client = ..` | a [`models::Client`] of one's own, or a `Result` of one |
/// | `temperature`, `top_p`, `max_tokens`, `seed`, `stop` | as in [`Parameters`] |
/// | `parameters = ..` | [`Parameters`] that hold where the options above say nothing |
/// | `tools(A, b)` | tools that the model may ask for: types with [`tool`](macro@tool) |
/// | `run_tools = 5` | runs them, and asks the model at most so many times. A `response` needs it, because nobody else would see what tools are asked for |
/// | `response = Book` | a structured answer instead of a [`call::Response`] |
/// | `retry = policy` | asks the model again with this [`RetryPolicy`], beyond what the transport does |
/// | `fallback = [".."]` | models that are asked where the one before fails, with the same parameters but for `model` and `extra` |
/// | `timeout = ..` | longest time for the whole call |
/// | `crate = ".."` | the path under which fanweave is known here, where it is not `::fanweave` |
pub use fanweave_macros::call;
/// A prompt whose variables are checked when the program is compiled.
///
/// With values, it is a prompt: each variable of the template is given once, as a variable of that name or as
/// `name = expression`, and nothing else is.
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
/// use fanweave::{model::fake::Fake, prompt, text};
///
/// #[derive(Clone, serde::Serialize)]
/// struct Joke {
///     topic: String,
///     tone: &'static str,
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> fanweave::Result<()> {
/// let joke = prompt!(Joke => "Tell a {{ tone }} joke about {{ topic }}.") | Fake::echo() | text();
/// let answer = joke.invoke(Joke { topic: "bears".to_owned(), tone: "dry" }).await?;
/// assert_eq!(answer, "Tell a dry joke about bears.");
/// # Ok(())
/// # }
/// ```
///
/// For a template that is known only at run time there is the function of the same name.
///
/// # Panics
/// Where a value cannot be serialised, or the template cannot be filled with it: a text where a list is gone over.
/// The form with a type gives an error instead.
#[macro_export]
macro_rules! prompt {
    ($($given:tt)*) => {
        $crate::__private::prompt!($crate $($given)*)
    };
}
/// Makes a tool of a function, or of a struct with a method `call`: something that a model may ask to have called.
///
/// ```
/// use fanweave::tool::Tools;
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
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<()> {
/// let tools = Tools::new().with::<format_book>();
/// let agent = model("sim/writer")?.with_tools(tools).run_tools(5) | text();
/// println!("{}", agent.invoke("Format the book Emma by Jane Austen.").await?);
///
/// // It is still a function.
/// assert_eq!(format_book("Emma".into(), "Jane Austen".into()).await?, "Emma by Jane Austen");
/// # Ok(())
/// # }
/// ```
///
/// The schema comes from the types, which have to be [`Deserialize`](serde::Deserialize) and `schemars::JsonSchema`; the
/// descriptions come from the doc comments. `#[serde(..)]` and `#[schemars(..)]` are allowed on parameters too.
///
/// **A function** stays one. Beside it there is a struct of the same name whose fields are its arguments, which is the
/// tool: `Tools::new().with::<format_book>()`, `message.tool::<format_book>()`. A first parameter `&Context` is the run's
/// own, and no argument. An `fn` that is not async may block: it runs on the [pool](blocking::Pool::shared) of threads.
///
/// **A struct** is its own arguments, and its method `call` does the work. It is async and takes `self` or `&self`, or
/// else the options say so: `blocking` for one that is not async and runs on the pool, `context` for one that takes
/// `&Context` too. Other derives stand below the attribute.
///
/// ```
/// use fanweave::{Message, Result, tool::Tools};
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
/// What is returned is anything that can be [serialised](serde::Serialize), or a `Result` of that: a text is handed to
/// the model as it is, and anything else as JSON. The model reads the text of an error too.
///
/// Options: `name = ".."`, default the name of the function or struct; `description = ".."`, default the doc comment;
/// `timeout = Duration::from_secs(5)`, default what the set of tools says; `crate = ".."`, the path under which fanweave is
/// known here, default `::fanweave`.
pub use fanweave_macros::tool;
pub use fanweave_models as models;
pub use prompt_file::PromptFile;
pub use resolve::{embedder, model};
pub use structured::structured;

#[doc(hidden)]
pub mod __private {
    //! What the macros expand to.
    pub use crate::typed::{filled, typed, value};
    pub use fanweave_core::__private::*;
    pub use fanweave_macros::prompt;
    pub use {schemars, serde};

    pub mod call {
        //! What `#[call]` expands to.
        pub use crate::call::{chain_of, kept, model_through, models, of, respond, structured, texts};
        pub use std::borrow::Borrow;
        pub use std::sync::OnceLock;
    }

    pub mod tool {
        //! What `#[tool]` expands to.
        pub use crate::tool_macro::{Fallible, NoCall, Plain, Returned, parameters, work};
    }
}
