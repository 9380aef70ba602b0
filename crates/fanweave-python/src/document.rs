//! Documents: a text and its metadata.

mod methods;

use fanweave::crates::serde_json::{Value, json};
use fanweave::retrieval::Document as EngineDocument;
use pyo3::prelude::*;

/// A text and its metadata, such as its origin as `source`.
///
/// >>> page = fw.Document("Bears sleep in winter.", {"source": "bears.md"})
/// >>> page.text, page.metadata
/// ('Bears sleep in winter.', {'source': 'bears.md'})
#[pyclass(frozen, eq, module = "fanweave")]
#[derive(Clone, PartialEq)]
pub(crate) struct Document(pub(crate) EngineDocument);

/// The JSON of a document.
pub(crate) fn document_json(document: &EngineDocument) -> Value {
    json!({ "text": document.text, "metadata": document.metadata })
}
