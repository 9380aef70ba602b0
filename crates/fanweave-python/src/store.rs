//! Vector stores: documents with their vectors, and searches for the nearest.

use std::path::PathBuf;

use fanweave::retrieval::{
    Document as EngineDocument, Entry, Hit as EngineHit, Retriever, Search, Store as EngineStore,
};
use fanweave::stores::{Chroma, MemoryStore, SqliteStore, VectorIndex};
use fanweave::{Context, Error, ErrorKind, Item, Result, Runnable};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyNone};

use crate::bridge::Bridge;
use crate::chain::{Chain, Pieces};
use crate::client::Client;
use crate::document::Document;
use crate::documents::{documents_from_python, documents_item, filter_from_python};
use crate::embedder::{Embedder, operation_context};
use crate::errors::{config, raise};
use crate::function::Functions;
use crate::operation::Operation;
use crate::options::{at_least_one, each_setting};
use crate::work::wait;

/// A store with the embedder of its documents and questions.
#[pyclass(frozen, module = "fanweave._core")]
pub(crate) struct Store {
    index: VectorIndex,
    embedder: fanweave::Embedder,
    functions: Functions,
}

impl Store {
    fn new(py: Python<'_>, store: EngineStore, embedder: &Embedder) -> Self {
        let functions = Functions::of(py, [embedder.functions()]);
        let embedder = embedder.engine().clone();
        Self { index: VectorIndex::new(store, embedder.clone()), embedder, functions }
    }
}

/// Documents that are embedded and written together.
const BATCH_SIZE: usize = 1024;

/// Adds documents, with their own ids and vectors if there are any, and returns the ids.
async fn add(
    index: VectorIndex,
    embedder: fanweave::Embedder,
    documents: Vec<EngineDocument>,
    ids: Option<Vec<String>>,
    vectors: Option<Vec<Vec<f32>>>,
    cx: Context,
) -> Result<Vec<String>> {
    let hashes = || documents.iter().map(VectorIndex::id_of).collect();
    let all: Vec<String> = ids.unwrap_or_else(hashes);
    let mut vectors = vectors.map(Vec::into_iter);
    let mut rest = documents.into_iter().zip(all.iter().cloned());
    loop {
        let some: Vec<_> = rest.by_ref().take(BATCH_SIZE).collect();
        if some.is_empty() {
            return Ok(all);
        }
        let vectors = match &mut vectors {
            Some(vectors) => vectors.by_ref().take(some.len()).collect(),
            None => {
                let texts = some.iter().map(|(document, _)| document.text.clone()).collect();
                embedder.run(texts, &cx).await?.vectors
            }
        };
        if vectors.len() != some.len() {
            let message =
                format!("{} texts were sent, but {} vectors were returned", some.len(), vectors.len());
            return Err(Error::new(ErrorKind::Decode, message).with_step(embedder.name()));
        }
        let entry = |((document, id), vector)| Entry { id, vector, document };
        index.store().upsert(some.into_iter().zip(vectors).map(entry).collect(), &cx).await?;
    }
}

/// A retriever whose documents are `Document`s in Python.
struct Documents(VectorIndex);

impl Runnable for Documents {
    type Input = Item;
    type Output = Item;

    async fn run(&self, question: Item, cx: &Context) -> Result<Item> {
        let documents = self.0.retrieve(&question.into_text()?, cx).await?;
        Ok(documents_item(documents))
    }
}

/// A store in memory.
#[pyfunction]
pub(crate) fn memory_store(py: Python<'_>, embedder: &Embedder) -> Store {
    Store::new(py, MemoryStore::store(), embedder)
}

/// A store in an SQLite file.
#[pyfunction]
pub(crate) fn sqlite_store(py: Python<'_>, path: PathBuf, embedder: &Embedder) -> PyResult<Store> {
    let store = wait(py, SqliteStore::open(path))?;
    Ok(Store::new(py, store.store(), embedder))
}

/// A collection of a Chroma server.
#[pyfunction]
pub(crate) fn chroma_store(
    py: Python<'_>,
    url: String,
    collection: String,
    embedder: &Embedder,
    client: Option<&Client>,
) -> PyResult<Store> {
    let client = client.map(|client| client.inner().clone()).unwrap_or_default();
    let store = wait(py, async move { Chroma::open_with(client, &url, &collection).await })?;
    Ok(Store::new(py, store.store(), embedder))
}

/// A document that was found.
///
/// >>> store = fw.memory_store(fw.embedder("sim/words"))
/// >>> _ = store.add(["Bears sleep in winter."])
/// >>> [hit] = store.search("When do bears sleep?")
/// >>> hit.document.text, hit.score > 0
/// ('Bears sleep in winter.', True)
#[pyclass(frozen, module = "fanweave")]
pub(crate) struct Hit(EngineHit);

#[pymethods]
impl Hit {
    /// The id of the entry.
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }

    /// Cosine similarity to the question: 1 for the same direction, 0 for orthogonal.
    #[getter]
    fn score(&self) -> f32 {
        self.0.score
    }

    /// The document.
    #[getter]
    fn document(&self) -> Document {
        Document(self.0.document.clone())
    }

    fn __repr__(&self) -> String {
        format!("Hit({:.3}, {:?})", self.0.score, fanweave::errors::excerpt(&self.0.document.text, 60))
    }
}

/// An index with the settings of a search: `limit`, `threshold`, `filter`, and `diverse`, a pair of the
/// number of candidates and the weight of the question.
fn with_settings(index: &VectorIndex, settings: &Bound<'_, PyDict>) -> PyResult<VectorIndex> {
    let py = settings.py();
    let mut index = index.clone();
    each_setting(settings, |name, value| {
        let before = index.clone();
        index = match name {
            "limit" => before.limit(at_least_one(value, "limit")?.get()),
            "threshold" => before.threshold(value.extract()?),
            "filter" => before.filter(filter_from_python(value)?),
            "diverse" => {
                let (candidates, relevance): (Bound<'_, PyAny>, f32) = value.extract()?;
                if !(0.0..=1.0).contains(&relevance) {
                    return Err(config(py, format!("relevance must be from 0 to 1, got {relevance}")));
                }
                before.diverse(at_least_one(&candidates, "candidates")?, relevance)
            }
            _ => return Err(config(py, format!("`{name}` is not a setting of a search"))),
        };
        Ok(())
    })?;
    Ok(index)
}

fn hits(py: Python<'_>, hits: Vec<EngineHit>) -> PyResult<Bound<'_, PyAny>> {
    let hits = hits.into_iter().map(|hit| Bound::new(py, Hit(hit))).collect::<PyResult<Vec<_>>>()?;
    Ok(PyList::new(py, hits)?.into_any())
}

#[pymethods]
impl Store {
    #[getter]
    fn has_functions(&self) -> bool {
        !self.functions.is_empty()
    }

    /// Adds documents and returns their ids: hashes of text and metadata, unless `ids` are given. `vectors`
    /// are used instead of the embedder's.
    #[pyo3(signature = (documents, ids, vectors, options, bridge))]
    fn add(
        slf: &Bound<'_, Self>,
        documents: &Bound<'_, PyAny>,
        ids: Option<Vec<String>>,
        vectors: Option<Vec<Vec<f32>>>,
        options: Option<&Bound<'_, PyDict>>,
        bridge: Option<&Bridge>,
    ) -> PyResult<Operation> {
        let py = slf.py();
        let documents = documents_from_python(documents)?;
        for (name, count) in
            [("ids", ids.as_ref().map(Vec::len)), ("vectors", vectors.as_ref().map(Vec::len))]
        {
            if let Some(count) = count.filter(|count| *count != documents.len()) {
                let message = format!("{} documents need as many {name}, got {count}", documents.len());
                return Err(raise(py, &Error::new(ErrorKind::Input, message)));
            }
        }
        let cx = operation_context(slf.as_any(), &slf.get().functions, options, bridge)?;
        let store = slf.get();
        let work = add(store.index.clone(), store.embedder.clone(), documents, ids, vectors, cx);
        Ok(Operation::new(Some(slf.as_any()), work, |py, ids: Vec<String>| {
            Ok(PyList::new(py, ids)?.into_any())
        }))
    }

    /// The documents nearest to a question.
    #[pyo3(signature = (question, settings, options, bridge))]
    fn search(
        slf: &Bound<'_, Self>,
        question: String,
        settings: &Bound<'_, PyDict>,
        options: Option<&Bound<'_, PyDict>>,
        bridge: Option<&Bridge>,
    ) -> PyResult<Operation> {
        let index = with_settings(&slf.get().index, settings)?;
        let cx = operation_context(slf.as_any(), &slf.get().functions, options, bridge)?;
        let work = async move { index.search(&question, &cx).await };
        Ok(Operation::new(Some(slf.as_any()), work, hits))
    }

    /// The documents nearest to a vector.
    #[pyo3(signature = (vector, limit, filter))]
    fn search_vector(
        slf: &Bound<'_, Self>,
        vector: Vec<f32>,
        limit: &Bound<'_, PyAny>,
        filter: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Operation> {
        let limit = at_least_one(limit, "limit")?;
        let filter = filter.map(filter_from_python).transpose()?;
        let store = slf.get().index.store().clone();
        let search = Search::new(vector).limit(limit.get()).filter(filter);
        let work = async move { store.search(search, &Context::new()).await };
        Ok(Operation::new(None, work, hits))
    }

    /// Deletes entries.
    fn delete(&self, ids: Vec<String>) -> Operation {
        let store = self.index.store().clone();
        let work = async move { store.delete(ids, &Context::new()).await };
        Operation::new(None, work, |py, ()| Ok(PyNone::get(py).to_owned().into_any()))
    }

    /// The number of entries.
    fn count(&self) -> Operation {
        let store = self.index.store().clone();
        let work = async move { store.count(&Context::new()).await };
        Operation::new(None, work, |py, count: usize| Ok(count.into_pyobject(py)?.into_any()))
    }

    /// A chain from a question to documents.
    fn retriever(&self, py: Python<'_>, settings: &Bound<'_, PyDict>) -> PyResult<Chain> {
        let retriever = Documents(with_settings(&self.index, settings)?);
        let functions = Functions::of(py, [&self.functions]);
        let chain = fanweave::chain(retriever).named("retrieve").erased();
        Ok(Chain::new(chain, Pieces::Whole).with_functions(functions))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.functions.traverse(&visit)
    }
}
