//! Ready-made chains.
//!
//! Each has a builder and is used as a [`Chain`](crate::Chain): invoked, streamed, batched, composed.

mod llm;
#[cfg(feature = "math")]
pub mod math;
mod memory;
pub mod qa;
mod retrieval;
mod session_history;

pub use llm::{Generated, Llm};
pub use memory::{Conversation, ConversationInput, ConversationMemory, SUMMARY_PROMPT};
pub use retrieval::{CONDENSE_PROMPT, Conversational, ConversationalAnswer, FollowUp, History, RetrievalQa};
pub use session_history::{HistoryInput, SessionHistory};
