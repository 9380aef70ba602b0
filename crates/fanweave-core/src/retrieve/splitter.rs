//! Splitters: from long documents to chunks that can be found separately.

use crate::retrieve::Document;

/// Splits a text into chunks.
///
/// ```
/// use fanweave::retrieval::{Document, TextSplitter};
///
/// struct Paragraphs;
///
/// impl TextSplitter for Paragraphs {
///     fn split(&self, text: &str) -> Vec<String> {
///         text.split("\n\n").map(str::to_owned).collect()
///     }
/// }
///
/// let chunks = Paragraphs.split_documents([Document::new("One.\n\nTwo.").with("source", "a.txt")]);
/// assert_eq!(chunks[1].text, "Two.");
/// assert_eq!((chunks[1].source(), &chunks[1].metadata["piece"]), (Some("a.txt"), &1.into()));
/// ```
pub trait TextSplitter: Send + Sync {
    /// The chunks of `text`, in order. Empty if it is only white space.
    fn split(&self, text: &str) -> Vec<String>;

    /// The chunks of all documents. Each has the metadata of its document, and its index in it from 0, as
    /// `piece`.
    fn split_documents(&self, documents: impl IntoIterator<Item = Document>) -> Vec<Document>
    where
        Self: Sized,
    {
        let chunks = |document: Document| {
            let Document { text, metadata } = document;
            let number =
                move |(index, text)| Document { text, metadata: metadata.clone() }.with("piece", index);
            self.split(&text).into_iter().enumerate().map(number)
        };
        documents.into_iter().flat_map(chunks).collect()
    }
}
