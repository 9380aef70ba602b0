//! Answers from documents.

use fanweave::Usage;
use fanweave::chains::ConversationalAnswer;
use fanweave::chains::qa::Answer as EngineAnswer;
use fanweave::crates::serde_json::{Value, json};
use fanweave::retrieval::Document as EngineDocument;
use pyo3::prelude::*;

use crate::document::{Document, document_json};
use crate::message;

/// An answer with its sources.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Answered {
    text: String,
    question: Option<String>,
    sources: Vec<EngineDocument>,
    usage: Usage,
    score: Option<f32>,
    skipped: Vec<(usize, String)>,
}

impl Answered {
    /// For steps in Rust, such as prompts.
    pub(crate) fn to_json(&self) -> Value {
        let sources: Vec<_> = self.sources.iter().map(document_json).collect();
        json!({ "text": self.text, "question": self.question, "sources": sources, "score": self.score })
    }
}

impl From<EngineAnswer> for Answered {
    fn from(answer: EngineAnswer) -> Self {
        let EngineAnswer { text, sources, usage, score, skipped, .. } = answer;
        let skipped = skipped.into_iter().map(|skipped| (skipped.document, skipped.answer)).collect();
        Self { text, question: None, sources, usage, score, skipped }
    }
}

impl From<ConversationalAnswer> for Answered {
    fn from(answer: ConversationalAnswer) -> Self {
        let ConversationalAnswer { text, question, sources, usage, .. } = answer;
        Self { text, question: Some(question), sources, usage, ..Self::default() }
    }
}

/// An answer from documents.
#[pyclass(frozen, eq, module = "fanweave.chains")]
#[derive(PartialEq)]
pub(crate) struct QaAnswer(pub(crate) Answered);

#[pymethods]
impl QaAnswer {
    /// The answer.
    #[getter]
    fn text(&self) -> &str {
        &self.0.text
    }

    /// The standalone question, if the chain rewrites questions.
    #[getter]
    fn question(&self) -> Option<&str> {
        self.0.question.as_deref()
    }

    /// The documents that the answer is based on.
    #[getter]
    fn sources(&self) -> Vec<Document> {
        self.0.sources.iter().cloned().map(Document).collect()
    }

    /// Tokens of all calls.
    #[getter]
    fn usage(&self) -> message::Usage {
        self.0.usage.into()
    }

    /// The score of the answer with `map_rerank`, from 0 to 100.
    #[getter]
    fn score(&self) -> Option<f32> {
        self.0.score
    }

    /// Answers of `map_rerank` without a score: pairs of the index of the document and the answer.
    #[getter]
    fn skipped(&self) -> Vec<(usize, String)> {
        self.0.skipped.clone()
    }

    fn __str__(&self) -> &str {
        &self.0.text
    }

    fn __repr__(&self) -> String {
        let text = fanweave::errors::excerpt(&self.0.text, 60);
        format!("QaAnswer({text:?}, {} sources)", self.0.sources.len())
    }
}
