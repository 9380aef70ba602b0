//! Retrieval: documents, the stores that find them by vector, and the traits for third-party implementations
//! of both.

mod document;
mod filter;
mod retriever;
mod splitter;
mod store;

pub use document::Document;
pub use filter::Filter;
pub use retriever::{Retrieve, Retriever};
pub use splitter::TextSplitter;
pub use store::{Entry, Hit, Search, Store, VectorStore};
