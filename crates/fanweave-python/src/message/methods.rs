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
    #[new]
    fn new(message: &Message) -> Self {
        Self(message.0.clone())
    }

    /// A message of the user.
    #[staticmethod]
    fn user(text: String) -> Self {
        Self(fanweave::Message::user(text))
    }

    /// Instructions of the system.
    #[staticmethod]
    fn system(text: String) -> Self {
        Self(fanweave::Message::system(text))
    }

    /// An answer of a model, as an example or in a history.
    #[staticmethod]
    fn assistant(text: String) -> Self {
        Self(fanweave::Message::assistant(text))
    }

    /// A message of the user with an image and a text.
    ///
    /// The image is a URL, the path of a file, or its bytes. Its type is inferred from the bytes, unless
    /// ``media_type`` is given, such as ``image/png``. Raises ``InputError`` for bytes of an unknown type,
    /// and ``OSError`` for a file that cannot be read.
    ///
    /// >>> fw.Message.image("https://photos.example/1.jpg", "Which bird is this?").text
    /// 'Which bird is this?'
    #[staticmethod]
    #[pyo3(signature = (image, text="", *, media_type=None))]
    fn image(image: &Bound<'_, PyAny>, text: &str, media_type: Option<&str>) -> PyResult<Self> {
        let image = super::image::media_of(image, media_type)?;
        // Providers refuse empty texts.
        let texts = Some(Part::text(text)).filter(|_| !text.is_empty());
        let parts = texts.into_iter().chain([Part::Image(image)]).collect();
        Ok(Self(fanweave::Message::from_parts(fanweave::messages::Role::User, parts)))
    }

    /// ``system``, ``user``, ``assistant`` or ``tool``.
    #[getter]
    fn role(&self) -> PyResult<String> {
        let role = serde_json::to_value(self.0.role).map_err(|e| PyValueError::new_err(e.to_string()))?;
        Ok(role.as_str().unwrap_or_default().to_owned())
    }

    /// The texts of the message in one.
    #[getter]
    fn text(&self) -> String {
        self.0.text()
    }

    /// The parts, each a dict with one entry: ``text``, ``image``, ``tool_call`` and others.
    #[getter]
    fn parts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let parts = serde_json::to_value(&self.0.parts).map_err(|e| PyValueError::new_err(e.to_string()))?;
        value_to_python(py, parts)
    }

    /// The reasoning of the model, or None.
    #[getter]
    fn reasoning(&self) -> Option<String> {
        let texts = self.0.parts.iter().filter_map(|part| match part {
            Part::Reasoning { text, .. } => Some(text.as_str()),
            _ => None,
        });
        let all: String = texts.collect();
        (!all.is_empty()).then_some(all)
    }

    /// The calls of tools that the model asks for.
    #[getter]
    fn tool_calls(&self) -> Vec<ToolCall> {
        self.0.tool_calls().map(|call| ToolCall(call.clone())).collect()
    }

    /// The tokens of the call; 0 for messages that are not answers.
    #[getter]
    fn usage(&self) -> Usage {
        Usage(self.0.usage())
    }

    /// ``stop``, ``length``, ``tool_calls``, ``content_filter`` or a word of the provider. None for messages
    /// that are not answers.
    #[getter]
    fn finish_reason(&self) -> Option<&str> {
        self.0.finish_reason().map(fanweave::messages::FinishReason::as_str)
    }

    /// The model that answered, by the name that the provider gives it.
    #[getter]
    fn model(&self) -> Option<&str> {
        self.reply()?.model.as_deref()
    }

    /// The provider's id of the answer.
    #[getter]
    fn id(&self) -> Option<&str> {
        self.reply()?.id.as_deref()
    }

    /// The provider's id of the request, for its support.
    #[getter]
    fn request_id(&self) -> Option<&str> {
        self.reply()?.request_id.as_deref()
    }

    /// Number of requests that were sent.
    #[getter]
    fn attempts(&self) -> u32 {
        self.reply().map_or(0, |reply| reply.attempts)
    }

    /// True if the answer comes from a cache.
    #[getter]
    fn cached(&self) -> bool {
        self.reply().is_some_and(|reply| reply.cached)
    }

    /// The first call of a tool, a class or function, as ``Response.tool`` has it. None without one.
    ///
    /// Raises ``InputError`` if its arguments do not fit.
    fn read_tool<'py>(slf: &Bound<'py, Self>, r#type: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("fanweave._tool")?.call_method1("read_tool", (slf, r#type))
    }

    /// The message as a dict, for ``from_dict``.
    fn to_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let value = serde_json::to_value(&self.0).map_err(|e| PyValueError::new_err(e.to_string()))?;
        value_to_python(py, value)
    }

    /// The message of a dict that ``to_dict`` made.
    ///
    /// Raises ``InputError`` for other dicts.
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
    /// The id that the result of the tool has to name.
    #[getter]
    fn id(&self) -> &str {
        &self.0.id
    }

    /// Name of the tool.
    #[getter]
    fn name(&self) -> &str {
        &self.0.name
    }

    /// The arguments, as JSON.
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
    /// Tokens of the prompt.
    #[getter]
    fn input_tokens(&self) -> u64 {
        self.0.input_tokens
    }

    /// Tokens of the answer, including reasoning.
    #[getter]
    fn output_tokens(&self) -> u64 {
        self.0.output_tokens
    }

    /// Tokens of the prompt that came from the provider's cache.
    #[getter]
    fn cached_tokens(&self) -> u64 {
        self.0.cached_tokens
    }

    /// Tokens of the prompt that the provider wrote to its cache.
    #[getter]
    fn cache_write_tokens(&self) -> u64 {
        self.0.cache_write_tokens
    }

    /// Tokens of the answer that are reasoning.
    #[getter]
    fn reasoning_tokens(&self) -> u64 {
        self.0.reasoning_tokens
    }

    /// Tokens of prompt and answer.
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
    /// The messages, in their order.
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
    /// The text of the piece, or an empty string.
    #[getter]
    fn text(&self) -> &str {
        self.leaf().as_text().unwrap_or_default()
    }

    /// Reasoning of the model, or None.
    #[getter]
    fn reasoning(&self) -> Option<&str> {
        match self.leaf() {
            EngineDelta::Reasoning { text, .. } => Some(text),
            _ => None,
        }
    }

    /// A JSON value, or None.
    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.leaf() {
            EngineDelta::Value(value) => value_to_python(py, value.clone()).map(Some),
            _ => Ok(None),
        }
    }

    /// The reason for the end of the answer, in the piece that reports it.
    #[getter]
    fn finish_reason(&self) -> Option<&str> {
        match self.leaf() {
            EngineDelta::Finished(reason) => Some(reason.as_str()),
            _ => None,
        }
    }

    /// The tokens of the call, in the piece that reports them.
    #[getter]
    fn usage(&self) -> Option<Usage> {
        match self.leaf() {
            EngineDelta::Usage(usage) => Some(Usage(*usage)),
            _ => None,
        }
    }

    /// The branch of ``parallel`` that the piece comes from, or None.
    #[getter]
    fn branch(&self) -> Option<&str> {
        match &self.0 {
            EngineDelta::Branch { branch, .. } => Some(branch),
            _ => None,
        }
    }

    /// All of the piece, as a dict.
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
