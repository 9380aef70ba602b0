//! The attributes and methods of the classes.

use fanweave::Delta as EngineDelta;
use fanweave::crates::serde_json;
use fanweave::messages::Part;
use pyo3::basic::CompareOp;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::{Delta, Message, Prompt, ToolCall, Usage};
use crate::errors::raise;
use crate::item::{json_from_python, value_to_python};

impl Message {
    fn reply(&self) -> Option<&fanweave::messages::Reply> {
        self.0.reply.as_deref()
    }
}

#[pymethods]
impl Message {
    #[staticmethod]
    fn user(text: String) -> Self {
        Self(fanweave::Message::user(text))
    }

    #[staticmethod]
    fn system(text: String) -> Self {
        Self(fanweave::Message::system(text))
    }

    #[staticmethod]
    fn assistant(text: String) -> Self {
        Self(fanweave::Message::assistant(text))
    }

    #[getter]
    fn role(&self) -> PyResult<String> {
        let role = serde_json::to_value(self.0.role).map_err(|e| PyValueError::new_err(e.to_string()))?;
        Ok(role.as_str().unwrap_or_default().to_owned())
    }

    #[getter]
    fn text(&self) -> String {
        self.0.text()
    }

    #[getter]
    fn reasoning(&self) -> Option<String> {
        let texts = self.0.parts.iter().filter_map(|part| match part {
            Part::Reasoning { text, .. } => Some(text.as_str()),
            _ => None,
        });
        let all: String = texts.collect();
        (!all.is_empty()).then_some(all)
    }

    #[getter]
    fn tool_calls(&self) -> Vec<ToolCall> {
        self.0.tool_calls().map(|call| ToolCall(call.clone())).collect()
    }

    #[getter]
    fn usage(&self) -> Usage {
        Usage(self.0.usage())
    }

    #[getter]
    fn finish_reason(&self) -> Option<&str> {
        self.0.finish_reason().map(fanweave::messages::FinishReason::as_str)
    }

    #[getter]
    fn model(&self) -> Option<&str> {
        self.reply()?.model.as_deref()
    }

    #[getter]
    fn id(&self) -> Option<&str> {
        self.reply()?.id.as_deref()
    }

    #[getter]
    fn request_id(&self) -> Option<&str> {
        self.reply()?.request_id.as_deref()
    }

    #[getter]
    fn attempts(&self) -> u32 {
        self.reply().map_or(0, |reply| reply.attempts)
    }

    #[getter]
    fn cached(&self) -> bool {
        self.reply().is_some_and(|reply| reply.cached)
    }

    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let value = serde_json::to_value(&self.0).map_err(|e| PyValueError::new_err(e.to_string()))?;
        value_to_python(py, value)
    }

    #[staticmethod]
    fn from_dict(value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let json = json_from_python(value)?;
        match serde_json::from_value(json) {
            Ok(message) => Ok(Self(message)),
            Err(e) => Err(raise(
                value.py(),
                &fanweave::Error::new(fanweave::ErrorKind::Input, format!("not a valid message: {e}")),
            )),
        }
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyAny>,))> {
        let build = slf.get_type().getattr("from_dict")?;
        Ok((build, (slf.get().to_dict(slf.py())?,)))
    }

    fn __str__(&self) -> String {
        self.0.text()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        let this = slf.get();
        let text = this.0.text().into_pyobject(slf.py())?;
        Ok(format!("Message({}, {})", this.role()?, text.repr()?))
    }

    fn __richcmp__(&self, other: &Self, op: CompareOp) -> Option<bool> {
        match op {
            CompareOp::Eq => Some(self.0 == other.0),
            CompareOp::Ne => Some(self.0 != other.0),
            _ => None,
        }
    }

    fn __hash__(&self) -> u64 {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        self.0.text().hash(&mut hasher);
        hasher.finish()
    }
}

#[pymethods]
impl ToolCall {
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }

    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    #[getter]
    fn arguments(&self) -> &str {
        &self.0.arguments
    }

    fn __repr__(&self) -> String {
        format!("ToolCall({}({}))", self.0.name, self.0.arguments)
    }
}

#[pymethods]
impl Usage {
    #[getter]
    fn input_tokens(&self) -> u64 {
        self.0.input_tokens
    }

    #[getter]
    fn output_tokens(&self) -> u64 {
        self.0.output_tokens
    }

    #[getter]
    fn cached_tokens(&self) -> u64 {
        self.0.cached_tokens
    }

    #[getter]
    fn reasoning_tokens(&self) -> u64 {
        self.0.reasoning_tokens
    }

    #[getter]
    fn total_tokens(&self) -> u64 {
        self.0.total_tokens()
    }

    fn __repr__(&self) -> String {
        format!("Usage(input_tokens={}, output_tokens={})", self.0.input_tokens, self.0.output_tokens)
    }
}

#[pymethods]
impl Prompt {
    #[getter]
    fn messages(&self) -> Vec<Message> {
        self.0.messages.iter().cloned().map(Message).collect()
    }

    fn __repr__(&self) -> String {
        format!("Prompt({} messages)", self.0.messages.len())
    }
}

impl Delta {
    /// The delta without the names of branches.
    fn leaf(&self) -> &EngineDelta {
        let mut delta = &self.0;
        while let EngineDelta::Branch { delta: inner, .. } = delta {
            delta = inner;
        }
        delta
    }
}

#[pymethods]
impl Delta {
    #[getter]
    fn text(&self) -> &str {
        self.leaf().as_text().unwrap_or_default()
    }

    #[getter]
    fn reasoning(&self) -> Option<&str> {
        match self.leaf() {
            EngineDelta::Reasoning { text, .. } => Some(text),
            _ => None,
        }
    }

    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.leaf() {
            EngineDelta::Value(value) => value_to_python(py, value.clone()).map(Some),
            _ => Ok(None),
        }
    }

    #[getter]
    fn finish_reason(&self) -> Option<&str> {
        match self.leaf() {
            EngineDelta::Finished(reason) => Some(reason.as_str()),
            _ => None,
        }
    }

    #[getter]
    fn usage(&self) -> Option<Usage> {
        match self.leaf() {
            EngineDelta::Usage(usage) => Some(Usage(*usage)),
            _ => None,
        }
    }

    #[getter]
    fn branch(&self) -> Option<&str> {
        match &self.0 {
            EngineDelta::Branch { branch, .. } => Some(branch),
            _ => None,
        }
    }

    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let value = serde_json::to_value(&self.0).map_err(|e| PyValueError::new_err(e.to_string()))?;
        value_to_python(py, value)
    }

    fn __str__(&self) -> &str {
        self.text()
    }

    fn __repr__(slf: &Bound<'_, Self>) -> PyResult<String> {
        Ok(format!("Delta({})", slf.get().to_dict(slf.py())?.repr()?))
    }
}
