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
pub mod words;

pub use chain_file::ChainFile;
pub use fanweave_batch as batch;
pub use fanweave_core::*;
pub use fanweave_models as models;
pub use prompt_file::PromptFile;
pub use resolve::{embedder, model};
