//! The names of most programs: `use fanweave::prelude::*`.
//!
//! ```
//! use fanweave::prelude::*;
//!
//! # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
//! let joke = prompt("Tell a joke about {{ topic }}.") | model("sim/writer")? | text();
//! let answers = joke.batch(["bears", "cats"].map(|topic| vars! { topic: topic })).run();
//! let lengths = answers.map(|row| row.result.map_or(0, |joke| joke.len()));
//! let longest = lengths.fold(0, async |a, b| a.max(b)).await;
//! println!("{longest}");
//! # Ok(())
//! # }) }
//! ```

pub use futures::StreamExt;

#[cfg(feature = "chain-file")]
pub use crate::ChainFile;
#[cfg(feature = "structured")]
pub use crate::structured;
pub use crate::{
    Chain, ChatModel, Context, Delta, Embedder, Error, ErrorKind, Event, EventKind, IntoChain, Item, Message,
    Model, Parameters, Prompt, Result, Role, Run, Runnable, Tools, Usage, Vars, branch, chain, chat, dag,
    embedder, json, lines, model, parallel, prompt, step, text, vars,
};
#[cfg(feature = "macros")]
pub use crate::{call, schema, tool};
