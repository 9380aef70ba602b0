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
pub mod chain_file;
pub mod chains;
pub mod loaders;
mod prompt_file;
mod resolve;
pub mod sim;
pub mod splitters;
pub mod stores;
mod typed;
pub mod words;

pub use chain_file::ChainFile;
pub use fanweave_batch as batch;
pub use fanweave_core::*;
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
pub use fanweave_macros::prompt;
pub use fanweave_models as models;
pub use prompt_file::PromptFile;
pub use resolve::{embedder, model};

// The macros name this crate, also where they are used within it.
#[cfg(test)]
extern crate self as fanweave;

#[doc(hidden)]
pub mod __private {
    //! What the macros expand to.
    pub use crate::typed::{filled, typed, value};
    pub use fanweave_core::__private::*;
}
