//! Retrievers: from a question to documents.

use std::future::Future;

use crate::chain::{Chain, chain};
use crate::retrieve::Document;
use crate::runnable::Runnable;
use crate::{Context, Result};

/// Finds documents for a question, by vectors, by words, or in any other way.
///
/// ```
/// use fanweave::retrieval::{Document, Retrieve, Retriever};
/// use fanweave::{Context, Result};
///
/// struct Shelf(Vec<Document>);
///
/// impl Retriever for Shelf {
///     async fn retrieve(&self, question: &str, _cx: &Context) -> Result<Vec<Document>> {
///         let last = question.trim_end_matches('?').rsplit(' ').next().unwrap_or_default();
///         Ok(self.0.iter().filter(|document| document.text.contains(last)).cloned().collect())
///     }
/// }
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// let shelf = Shelf(vec!["Bears hibernate.".into(), "The tides turn.".into()]);
/// // A step of a chain, like any other.
/// let found = Retrieve::chain(shelf).invoke("What about tides?").await?;
/// assert_eq!(found[0].text, "The tides turn.");
/// # Ok(())
/// # }) }
/// ```
pub trait Retriever: Send + Sync + 'static {
    /// The documents for `question`, the best first. An empty result is not an error.
    fn retrieve(&self, question: &str, cx: &Context) -> impl Future<Output = Result<Vec<Document>>> + Send;
}

/// A retriever as a step from a question to documents.
#[derive(Debug, Clone)]
pub struct Retrieve<R>(R);

impl<R: Retriever> Retrieve<R> {
    /// A chain with this step.
    pub fn chain(retriever: R) -> Chain<String, Vec<Document>> {
        chain(Self(retriever)).named("retrieve")
    }
}

impl<R: Retriever> Runnable for Retrieve<R> {
    type Input = String;
    type Output = Vec<Document>;

    async fn run(&self, question: String, cx: &Context) -> Result<Vec<Document>> {
        self.0.retrieve(&question, cx).await
    }
}
