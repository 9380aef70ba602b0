//! Ready-made chains.
//!
//! Each is made by a builder and used as a [`Chain`](crate::Chain): invoked, streamed, batched, composed.

mod llm;
pub mod math;
mod memory;
pub mod qa;
mod retrieval;

pub use llm::{Generated, Llm};
pub use memory::{Memory, SUMMARY_PROMPT, Say, Talk};
pub use retrieval::{Answered, CONDENSE_PROMPT, Conversational, FollowUp, History, RetrievalQa};
