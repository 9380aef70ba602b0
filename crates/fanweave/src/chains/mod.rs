//! Ready-made chains.
//!
//! Each has a builder and is used as a [`Chain`](crate::Chain): invoked, streamed, batched, composed.

mod conversation;
mod llm;
#[cfg(feature = "math")]
pub mod math;
mod memory;
pub mod qa;
mod retrieval;
mod session_history;

pub use conversation::{Conversation, ConversationInput};
pub use llm::{Generated, Llm};
pub use memory::{ConversationMemory, SUMMARY_PROMPT};
pub use retrieval::{CONDENSE_PROMPT, Conversational, ConversationalAnswer, FollowUp, History, RetrievalQa};
pub use session_history::{HistoryInput, SessionHistory};
