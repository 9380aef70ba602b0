//! Vector stores: they store documents with their vectors, and find the nearest.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::retrieve::{Document, Filter};
use crate::{Context, Result};

/// An entry of a store.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key for replacing and deleting it. Unique in its store.
    pub id: String,
    /// Its vector. All vectors of a store have the same length.
    pub vector: Vec<f32>,
    /// Its document.
    pub document: Document,
}

/// A search in a store.
///
/// ```
/// use fanweave::retrieval::{Filter, Search};
///
/// let search = Search::new(vec![0.6, 0.8]).limit(10).filter(Filter::eq("lang", "en"));
/// assert_eq!(search.limit, 10);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Search {
    /// The vector to search for.
    pub vector: Vec<f32>,
    /// Maximum documents to find. Default 4.
    pub limit: usize,
    /// Filter for the documents. Default: all.
    pub filter: Option<Filter>,
    /// Set if hits include their vectors. Default: false.
    pub vectors: bool,
}

impl Search {
    /// A search for the entries nearest to `vector`.
    pub fn new(vector: Vec<f32>) -> Self {
        Self { vector, limit: 4, filter: None, vectors: false }
    }

    /// Sets the maximum documents to find.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Finds only documents that `filter` allows.
    #[must_use]
    pub fn filter(self, filter: impl Into<Option<Filter>>) -> Self {
        Self { filter: filter.into(), ..self }
    }

    /// Includes the vectors in the hits.
    #[must_use]
    pub fn with_vectors(self) -> Self {
        Self { vectors: true, ..self }
    }
}

/// The document that was found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Hit {
    /// The entry's id.
    pub id: String,
    /// Cosine similarity to the vector searched for: 1 for the same direction, 0 for orthogonal, -1 for the
    /// opposite.
    pub score: f32,
    /// The entry's document.
    pub document: Document,
    /// The entry's vector, if the search asked for it. It may have been normalised to length 1.
    pub vector: Option<Vec<f32>>,
}

impl Hit {
    /// The document of the entry `id`, without its vector.
    pub fn new(id: impl Into<String>, score: f32, document: Document) -> Self {
        Self { id: id.into(), score, document, vector: None }
    }

    /// Adds the entry's vector.
    #[must_use]
    pub fn with_vector(self, vector: impl Into<Option<Vec<f32>>>) -> Self {
        Self { vector: vector.into(), ..self }
    }
}

/// A vector store: implemented by the author of one. Users hold a [`Store`].
///
/// ```
/// use fanweave::retrieval::{Document, Entry, Hit, Search, Store, VectorStore};
/// use fanweave::{Context, Result};
///
/// /// Always finds the same document.
/// struct Stuck(Document);
///
/// impl VectorStore for Stuck {
///     async fn upsert(&self, _: Vec<Entry>, _: &Context) -> Result<()> {
///         Ok(())
///     }
///
///     async fn search(&self, _: Search, _: &Context) -> Result<Vec<Hit>> {
///         Ok(vec![Hit::new("1", 1.0, self.0.clone())])
///     }
///
///     async fn delete(&self, _: Vec<String>, _: &Context) -> Result<()> {
///         Ok(())
///     }
///
///     async fn count(&self, _: &Context) -> Result<usize> {
///         Ok(1)
///     }
/// }
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// let store = Store::new(Stuck("Tides follow the moon.".into()));
/// let hits = store.search(Search::new(vec![1.0]), &Context::new()).await?;
/// assert_eq!(hits[0].document.text, "Tides follow the moon.");
/// # Ok(())
/// # }) }
/// ```
pub trait VectorStore: Send + Sync + 'static {
    /// Adds entries, and replaces existing ones with the same ids. Either all of them or none.
    fn upsert(&self, entries: Vec<Entry>, cx: &Context) -> impl Future<Output = Result<()>> + Send;

    /// The nearest entries, the nearest first; equally near ones in the order of their ids.
    fn search(&self, search: Search, cx: &Context) -> impl Future<Output = Result<Vec<Hit>>> + Send;

    /// Deletes entries. Unknown ids are ignored.
    fn delete(&self, ids: Vec<String>, cx: &Context) -> impl Future<Output = Result<()>> + Send;

    /// The number of entries.
    fn count(&self, cx: &Context) -> impl Future<Output = Result<usize>> + Send;
}

/// Dyn-compatible counterpart of [`VectorStore`].
trait DynVectorStore: Send + Sync {
    fn upsert<'a>(&'a self, entries: Vec<Entry>, cx: &'a Context) -> BoxFuture<'a, Result<()>>;
    fn search<'a>(&'a self, search: Search, cx: &'a Context) -> BoxFuture<'a, Result<Vec<Hit>>>;
    fn delete<'a>(&'a self, ids: Vec<String>, cx: &'a Context) -> BoxFuture<'a, Result<()>>;
    fn count<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<usize>>;
}

impl<S: VectorStore> DynVectorStore for S {
    fn upsert<'a>(&'a self, entries: Vec<Entry>, cx: &'a Context) -> BoxFuture<'a, Result<()>> {
        Box::pin(VectorStore::upsert(self, entries, cx))
    }

    fn search<'a>(&'a self, search: Search, cx: &'a Context) -> BoxFuture<'a, Result<Vec<Hit>>> {
        Box::pin(VectorStore::search(self, search, cx))
    }

    fn delete<'a>(&'a self, ids: Vec<String>, cx: &'a Context) -> BoxFuture<'a, Result<()>> {
        Box::pin(VectorStore::delete(self, ids, cx))
    }

    fn count<'a>(&'a self, cx: &'a Context) -> BoxFuture<'a, Result<usize>> {
        Box::pin(VectorStore::count(self, cx))
    }
}

/// A handle on a store of vectors. Cheap to clone; clones share the store.
#[derive(Clone)]
pub struct Store(Arc<dyn DynVectorStore>);

impl Store {
    /// A handle on `store`.
    pub fn new(store: impl VectorStore) -> Self {
        Self(Arc::new(store))
    }

    /// Adds entries, and replaces existing ones with the same ids.
    ///
    /// # Errors
    /// The error of the store.
    pub async fn upsert(&self, entries: Vec<Entry>, cx: &Context) -> Result<()> {
        self.0.upsert(entries, cx).await
    }

    /// The nearest entries, the nearest first.
    ///
    /// # Errors
    /// The error of the store.
    pub async fn search(&self, search: Search, cx: &Context) -> Result<Vec<Hit>> {
        self.0.search(search, cx).await
    }

    /// Deletes entries. Unknown ids are ignored.
    ///
    /// # Errors
    /// The error of the store.
    pub async fn delete(&self, ids: Vec<String>, cx: &Context) -> Result<()> {
        self.0.delete(ids, cx).await
    }

    /// The number of entries.
    ///
    /// # Errors
    /// The error of the store.
    pub async fn count(&self, cx: &Context) -> Result<usize> {
        self.0.count(cx).await
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}
