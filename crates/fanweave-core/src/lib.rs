//! The steps, chains, messages and errors of fanweave.
//!
//! Every trait for third parties lives here, and nothing that does I/O: no HTTP, no files, no provider's
//! format. To learn the design, read [`runnable`], [`compose::then`] and [`model`], in that order.

pub mod batch;
pub mod blocking;
mod cache;
mod chain;
mod closest;
pub mod compose;
pub mod context;
mod deadline;
mod delta;
pub mod embed;
mod error;
pub mod event;
mod flights;
mod generation;
mod graph;
mod into_chain;
mod item;
pub mod many;
pub mod message;
pub mod model;
pub mod parse;
pub mod prompt;
pub mod retrieve;
mod run;
pub mod runnable;
pub mod runtime;
pub mod session;
mod shown;
mod task_locals;
pub mod think;
pub mod tool;
mod vars;

pub use batch::{Batch, Completed, Row, Rows};
pub use blocking::blocking_step;
pub use cache::{CacheKey, CacheStore, MemoryCache};
pub use chain::{Chain, IntoInput, chain};
pub use closest::closest;
pub use compose::assign::{Assign, assign};
pub use compose::branch::{Branch, branch};
pub use compose::configurable::configurable;
pub use compose::dag::{Dag, DagStep, OnError, dag};
pub use compose::dynamic::{Next, dynamic};
pub use compose::generator::generator;
pub use compose::hooks::Hooks;
pub use compose::parallel::parallel;
pub use compose::parallel_map::parallel_map;
pub use compose::passthrough::passthrough;
pub use compose::pick::pick;
pub use compose::retry::RetryPolicy;
pub use compose::router::{route_by, router};
pub use compose::step::step;
pub use context::{Concurrency, Context, Priority, RunPermit};
pub use delta::{Delta, Fold};
pub use embed::{Embedded, Embedder, Embeddings};
pub use error::{Advice, EXCERPT_BYTES, Error, ErrorKind, Result, excerpt};
pub use event::{Event, EventKind, Observer, WaitReason};
pub use graph::{Graph, Node};
pub use into_chain::IntoChain;
pub use item::{FromItem, IntoItem, Item, Serde, Ticket};
pub use many::Many;
pub use message::{
    Citation, FinishReason, Media, Message, Part, Reply, ReplyBody, Role, ToolCall, ToolResult, Usage,
};
pub use model::{ChatModel, Model, Parameters, ResponseFormat, ToolChoice, ToolSpec};
pub use parse::choice::{choice, choice_of};
pub use parse::json::{json, json_as};
pub use parse::lines::lines;
pub use parse::list::list;
#[cfg(feature = "regex")]
pub use parse::matches::{Matches, matches};
pub use parse::repair::{Repair, repair, repaired};
pub use parse::structured::{Structured, structured_as, structured_value};
pub use parse::text::text;
pub use parse::tool_calls::{ParsedToolCall, tool_calls};
pub use prompt::{Chat, Prompt, Template, chat, prompt};
pub use run::{EventRun, Run};
pub use runnable::{Runnable, Streaming};
pub use tool::{Tool, Tools, Transcript, TypedTool};
pub use vars::Vars;

#[doc(hidden)]
pub mod __private {
    //! Items that other crates of the workspace use, and that macros expand to.
    pub use crate::blocking::wait::park_until_done;
    pub use crate::cache::sorted;
    pub use crate::compose::dag::find_cycle;
    pub use crate::compose::erased::erased;
    pub use crate::generation::{Made, PerProcess};
    pub use crate::shown::{alters_display, is_separator};
    pub use serde_json::{Value, json};

    pub mod flights {
        //! Work in flight as tasks.
        pub use crate::flights::{Ended, Flights, Panic};
    }

    pub mod task_locals {
        //! Task-locals that apply to everything that runs within a future.
        pub use crate::task_locals::{TaskLocals, here, propagate, within};
    }
}
