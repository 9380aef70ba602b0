//! Embeds documents into a store, and retrieves the documents for a question.

use std::num::NonZeroUsize;

use sha2::{Digest, Sha256};

use super::index::{dot, normalise};
use crate::retrieve::{Document, Entry, Filter, Hit, Retriever, Search, Store};
use crate::{Context, Embedder, Error, ErrorKind, Result, Runnable};

/// Documents that are embedded and written together: enough for several concurrent calls, with little memory.
const BATCH_SIZE: usize = 1024;

/// A store with the embedding model for its documents and queries. Cheap to clone.
///
/// ```
/// use fanweave::retrieval::Retriever;
/// use fanweave::{Context, stores::{MemoryStore, VectorIndex}, testing::HashEmbedder};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let cx = Context::new();
/// let index = VectorIndex::new(MemoryStore::store(), HashEmbedder::embedder()).limit(1);
/// index.add(["Tides follow the moon.".into(), "Bears sleep in winter.".into()], &cx).await?;
/// let found = index.retrieve("When do bears sleep?", &cx).await?;
/// assert_eq!(found[0].text, "Bears sleep in winter.");
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug, Clone)]
pub struct VectorIndex {
    store: Store,
    embedder: Embedder,
    limit: usize,
    threshold: Option<f32>,
    filter: Option<Filter>,
    diversity: Option<Diversity>,
}

/// Settings of maximal marginal relevance.
#[derive(Debug, Clone, Copy)]
struct Diversity {
    candidates: NonZeroUsize,
    relevance: f32,
}

impl VectorIndex {
    /// An index over `store` with the vectors of `embedder`.
    pub fn new(store: Store, embedder: Embedder) -> Self {
        Self { store, embedder, limit: 4, threshold: None, filter: None, diversity: None }
    }

    /// Maximum number of documents to retrieve. Default: 4.
    #[must_use]
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// Minimum cosine similarity of a document. Default: none.
    #[must_use]
    pub fn threshold(self, cosine: f32) -> Self {
        Self { threshold: Some(cosine), ..self }
    }

    /// Retrieves only documents that `filter` accepts. Default: all.
    #[must_use]
    pub fn filter(self, filter: Filter) -> Self {
        Self { filter: Some(filter), ..self }
    }

    /// Retrieves documents that differ from each other, by maximal marginal relevance: of the nearest
    /// `candidates`, it repeatedly picks one that is near to the question and far from those already picked.
    /// `relevance` is the weight of the question, from 0 to 1; the rest is the weight of the difference. 0.5
    /// is usual.
    #[must_use]
    pub fn diverse(self, candidates: NonZeroUsize, relevance: f32) -> Self {
        Self { diversity: Some(Diversity { candidates, relevance: relevance.clamp(0.0, 1.0) }), ..self }
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Embeds documents and adds them to the store. Their ids are hashes of text and metadata, so that
    /// duplicates are stored once.
    ///
    /// # Errors
    /// Those of the embedding model and of the store. Earlier documents may have been added, in batches of
    /// 1,024.
    pub async fn add(
        &self,
        documents: impl IntoIterator<Item = Document> + Send,
        cx: &Context,
    ) -> Result<()> {
        let mut documents: Vec<_> = documents.into_iter().collect();
        while !documents.is_empty() {
            let rest = documents.split_off(BATCH_SIZE.min(documents.len()));
            let some = std::mem::replace(&mut documents, rest);
            let texts: Vec<_> = some.iter().map(|document| document.text.clone()).collect();
            let vectors = self.embed(texts, cx).await?;
            let entry = |(document, vector)| Entry { id: id(&document), vector, document };
            self.store.upsert(some.into_iter().zip(vectors).map(entry).collect(), cx).await?;
        }
        Ok(())
    }

    /// The id that [`add`](Self::add) gives a document: a hash of its text and metadata.
    ///
    /// ```
    /// use fanweave::stores::VectorIndex;
    ///
    /// assert_eq!(VectorIndex::id_of(&"bears".into()), VectorIndex::id_of(&"bears".into()));
    /// ```
    pub fn id_of(document: &Document) -> String {
        id(document)
    }

    /// A vector for each text.
    async fn embed(&self, texts: Vec<String>, cx: &Context) -> Result<Vec<Vec<f32>>> {
        let wanted = texts.len();
        let vectors = self.embedder.run(texts, cx).await?.vectors;
        if vectors.len() == wanted {
            return Ok(vectors);
        }
        let message = format!("{wanted} texts were sent, but {} vectors were returned", vectors.len());
        Err(Error::new(ErrorKind::Decode, message).with_step(self.embedder.name()))
    }

    /// The documents nearest to `question`, with their ids and cosines.
    ///
    /// # Errors
    /// Those of the embedding model and of the store.
    pub async fn search(&self, question: &str, cx: &Context) -> Result<Vec<Hit>> {
        let vector = self.embed(vec![question.to_owned()], cx).await?.remove(0);
        let limit = self.diversity.map_or(self.limit, |diversity| diversity.candidates.get().max(self.limit));
        let mut search = Search::new(vector).limit(limit).filter(self.filter.clone());
        search.vectors = self.diversity.is_some();
        let mut hits = self.store.search(search, cx).await?;
        if let Some(min) = self.threshold {
            hits.retain(|hit| hit.score >= min);
        }
        Ok(match self.diversity {
            Some(diversity) => choose(hits, self.limit, diversity.relevance),
            None => hits,
        })
    }
}

impl Retriever for VectorIndex {
    async fn retrieve(&self, question: &str, cx: &Context) -> Result<Vec<Document>> {
        Ok(self.search(question, cx).await?.into_iter().map(|hit| hit.document).collect())
    }
}

fn id(document: &Document) -> String {
    let mut hash = Sha256::new();
    hash.update(&document.text);
    hash.update([0]);
    hash.update(serde_json::to_string(&document.metadata).expect("JSON with string keys"));
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Maximal marginal relevance.
fn choose(mut hits: Vec<Hit>, limit: usize, relevance: f32) -> Vec<Hit> {
    for hit in &mut hits {
        hit.vector.iter_mut().for_each(|vector| normalise(vector));
    }
    // For each hit, its highest similarity to those chosen.
    let mut nearest = vec![0.0f32; hits.len()];
    let mut chosen: Vec<Hit> = Vec::new();
    while chosen.len() < limit && !hits.is_empty() {
        let worth = |at: usize| relevance * hits[at].score - (1.0 - relevance) * nearest[at];
        let best = (1..hits.len()).fold(0, |best, at| if worth(at) > worth(best) { at } else { best });
        let hit = hits.remove(best);
        nearest.remove(best);
        let own = hit.vector.as_deref().unwrap_or_default();
        for (other, near) in hits.iter().zip(&mut nearest) {
            let cosine = dot(own, other.vector.as_deref().unwrap_or_default());
            *near = if chosen.is_empty() { cosine } else { near.max(cosine) };
        }
        chosen.push(hit.with_vector(None));
    }
    chosen
}

#[cfg(test)]
#[cfg(feature = "sim")]
mod tests {
    use super::*;
    use crate::stores::MemoryStore;
    use crate::words::HashEmbedder;

    async fn index(texts: &[&str]) -> VectorIndex {
        let index = VectorIndex::new(MemoryStore::store(), HashEmbedder::embedder());
        let documents: Vec<_> = texts.iter().map(|text| Document::from(*text)).collect();
        index.add(documents, &Context::new()).await.unwrap();
        index
    }

    async fn found(index: VectorIndex, question: &str) -> Vec<String> {
        let documents = index.retrieve(question, &Context::new()).await.unwrap();
        documents.into_iter().map(|document| document.text).collect()
    }

    #[tokio::test]
    async fn duplicate_documents_are_stored_once() {
        let index = index(&["tides turn", "bears sleep", "tides turn"]).await;
        assert_eq!(index.store().count(&Context::new()).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_threshold_drops_dissimilar_documents() {
        let index = index(&["tides turn", "bears sleep"]).await;
        assert_eq!(found(index.clone(), "tides").await.len(), 2);
        assert_eq!(found(index.clone().threshold(0.5), "tides").await, ["tides turn"]);
        assert!(found(index.threshold(0.5), "comets").await.is_empty());
    }

    #[tokio::test]
    async fn diverse_hits_drop_near_duplicates() {
        let texts = ["tides turn twice", "tides turn twice daily", "tides follow moon", "bears sleep"];
        let index = index(&texts).await.limit(2);
        let question = "tides turn twice moon";
        assert_eq!(found(index.clone(), question).await, texts[..2]);
        let diverse = index.diverse(NonZeroUsize::new(4).unwrap(), 0.5);
        assert_eq!(found(diverse, question).await, [texts[0], texts[2]]);
    }

    #[tokio::test]
    async fn a_filter_applies_to_searches() {
        let index = VectorIndex::new(MemoryStore::store(), HashEmbedder::embedder());
        let documents = (0..10).map(|n| Document::new("tides").with("n", n));
        index.add(documents, &Context::new()).await.unwrap();
        let found = index.filter(Filter::eq("n", 7)).search("tides", &Context::new()).await.unwrap();
        assert_eq!((found.len(), &found[0].document.metadata["n"]), (1, &7.into()));
    }
}
