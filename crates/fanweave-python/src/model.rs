//! Models, prompts and parsers.

use std::path::PathBuf;

use fanweave::crates::serde_json::{Map, Value};
use fanweave::stores::{MemoryCache, SqliteCache};
use fanweave::testing::{Answer, Fake};
use fanweave::values::{FromItem, IntoItem};
use fanweave::{Context, Error, ErrorKind, Item, Parameters, Result, Runnable};
use pyo3::exceptions::PyBaseException;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::chain::{Chain, EngineChain, Pieces, reads_json};
use crate::errors::{config, from_exception, raise};
use crate::function::Functions;
use crate::item::{from_python, json_from_python};
use crate::settings::{parameters_of, settings_of};
use crate::work::wait;

/// A step whose input may be a list of messages.
struct Conversation<R>(R);

impl<R: Runnable<Input = Item, Output = Item>> Runnable for Conversation<R> {
    const DRIVES_CALLS: bool = R::DRIVES_CALLS;

    type Input = Item;
    type Output = Item;

    async fn run(&self, input: Item, cx: &Context) -> Result<Item> {
        self.0.run(as_prompt(input)?, cx).await
    }

    fn streaming(&self) -> fanweave::compose::Streaming {
        self.0.streaming()
    }

    fn describe(&self) -> fanweave::compose::Node {
        self.0.describe()
    }
}

/// A list of messages, of pairs of role and text, or of messages in the form of other programs, as a prompt.
fn as_prompt(input: Item) -> Result<Item> {
    match input {
        Item::List(_) | Item::Value(Value::Array(_)) => {
            Ok(Item::Prompt(Box::new(fanweave::Prompt::new(messages_of(input)?))))
        }
        other => Ok(other),
    }
}

/// The messages of a list, in any form.
pub(crate) fn messages_of(input: Item) -> Result<Vec<fanweave::Message>> {
    let items = match input {
        Item::List(items) => items,
        Item::Value(Value::Array(values)) => values.into_iter().map(Item::Value).collect(),
        other => {
            let message = format!("expected a list of messages, got {}", other.kind());
            return Err(Error::new(ErrorKind::Input, message));
        }
    };
    let mut messages = Vec::with_capacity(items.len());
    for item in items {
        match item {
            Item::Message(message) => messages.push(*message),
            item => {
                let value = Value::from_item(item).map_err(|item| {
                    Error::new(ErrorKind::Input, format!("expected a message, got {}", item.kind()))
                })?;
                messages.extend(fanweave::Message::read_all(&Value::Array(vec![value]))?);
            }
        }
    }
    Ok(messages)
}

/// A model. `settings` are those of `fanweave.model`. `cache` keeps answers: in memory if it is empty,
/// otherwise in the file of this path.
#[pyfunction]
pub(crate) fn model(
    py: Python<'_>,
    name: &str,
    settings: &Bound<'_, PyDict>,
    cache: Option<PathBuf>,
) -> PyResult<Chain> {
    let (settings, parameters) = settings_of(settings)?;
    let is_simulated = name.starts_with("sim/");
    if is_simulated && !settings.is_default() {
        let message = "a simulated model has no connection: it takes parameters alone";
        return Err(config(py, message));
    }
    let functions = settings.functions(py);
    let built = if is_simulated { fanweave::model(name) } else { settings.builder(name).build() };
    let model = built.map_err(|error| raise(py, &error))?.with(parameters);
    let model = match cache {
        None => model,
        Some(path) if path.as_os_str().is_empty() => model.cached(MemoryCache::default()),
        Some(path) => model.cached(wait(py, SqliteCache::open(path))?),
    };
    Ok(chain_of(model).with_functions(functions))
}

fn chain_of(model: fanweave::Model) -> Chain {
    Chain::new(conversation(model.clone()), Pieces::Delta).with_model(model)
}

/// A step from a prompt, also for lists of messages.
pub(crate) fn conversation<O: IntoItem + Send + 'static>(
    step: impl Runnable<Input = fanweave::Prompt, Output = O>,
) -> EngineChain {
    fanweave::chain(Conversation(fanweave::__private::erased(step)))
}

/// A prompt: a text, a message, or a list of messages, with parameters of its call.
#[pyfunction]
pub(crate) fn prompt_of(
    messages: &Bound<'_, PyAny>,
    parameters: &Bound<'_, PyDict>,
) -> PyResult<crate::message::Prompt> {
    let py = messages.py();
    let mut prompt = fanweave::Prompt::from_item(
        as_prompt(from_python(messages)?).map_err(|e| raise(py, &e))?,
    )
    .map_err(|item| {
        let message = format!("expected a text, messages or a prompt, got {}", item.kind());
        raise(py, &Error::new(ErrorKind::Input, message))
    })?;
    prompt.parameters = parameters_of(parameters)?.or(&prompt.parameters);
    Ok(prompt.into())
}

/// A chain of a model with parameters for all calls that have no others.
struct WithParameters {
    inner: EngineChain,
    parameters: Parameters,
}

impl Runnable for WithParameters {
    const DRIVES_CALLS: bool = true;

    type Input = fanweave::Prompt;
    type Output = Item;

    async fn run(&self, mut prompt: fanweave::Prompt, cx: &Context) -> Result<Item> {
        prompt.parameters = prompt.parameters.or(&self.parameters);
        self.inner.run(Item::Prompt(Box::new(prompt)), cx).await
    }

    fn streaming(&self) -> fanweave::compose::Streaming {
        self.inner.streaming()
    }

    fn describe(&self) -> fanweave::compose::Node {
        self.inner.describe()
    }
}

/// The same model with these parameters.
#[pyfunction]
pub(crate) fn with_parameters(
    py: Python<'_>,
    chain: &Chain,
    parameters: &Bound<'_, PyDict>,
) -> PyResult<Chain> {
    let parameters = parameters_of(parameters)?;
    let changed = match chain.model() {
        Some(model) => chain_of(model.clone().with(parameters)),
        None => {
            let inner = chain.engine().clone();
            Chain::new(conversation(WithParameters { inner, parameters }), chain.pieces())
        }
    };
    Ok(changed.with_functions(Functions::of(py, [chain.functions()])))
}

/// The prompts that a fake model was asked.
#[pyclass(frozen, module = "fanweave._core")]
pub(crate) struct Asked(fanweave::testing::Asked);

#[pymethods]
impl Asked {
    fn prompts(&self) -> Vec<crate::message::Prompt> {
        self.0.prompts().into_iter().map(Into::into).collect()
    }
}

/// A model for tests that gives these answers, one for each call: texts, exceptions, or lists of pairs of
/// the name and the arguments of a tool. Without answers, it answers with the text of its prompt.
/// `records`: keeps the prompts.
#[pyfunction]
pub(crate) fn fake(answers: Option<&Bound<'_, PyAny>>, records: bool) -> PyResult<(Chain, Asked)> {
    let asked = fanweave::testing::Asked::default();
    let fake = match answers {
        None => Fake::echo(),
        Some(answers) => {
            Fake::script(answers.try_iter()?.map(|answer| answer_of(&answer?)).collect::<PyResult<Vec<_>>>()?)
        }
    };
    let fake = if records { fake.record_in(&asked) } else { fake };
    Ok((chain_of(fake.model()), Asked(asked)))
}

fn answer_of(answer: &Bound<'_, PyAny>) -> PyResult<Answer> {
    if answer.is_instance_of::<PyBaseException>() {
        return Ok(Answer::error(from_exception(answer.py(), PyErr::from_value(answer.clone()))));
    }
    if let Ok(text) = answer.extract::<String>() {
        return Ok(Answer::text(text));
    }
    let calls = answer.try_iter()?.map(|call| {
        let (name, arguments): (String, Bound<'_, PyAny>) = call?.extract()?;
        Ok((name, json_from_python(&arguments)?))
    });
    Ok(Answer::calls(calls.collect::<PyResult<Vec<_>>>()?))
}

/// A prompt of one user message from a template in the syntax of Jinja, with values for some variables.
#[pyfunction]
pub(crate) fn prompt(py: Python<'_>, text: String, partial: &Bound<'_, PyAny>) -> PyResult<Chain> {
    let template = fanweave::prompts::Template::parse(text).map_err(|error| raise(py, &error))?;
    from_template(template, partial)
}

/// Like `prompt`, in the syntax of Python's f-strings.
#[pyfunction]
pub(crate) fn fstring(py: Python<'_>, text: &str, partial: &Bound<'_, PyAny>) -> PyResult<Chain> {
    let template = fanweave::prompts::Template::fstring(text).map_err(|error| raise(py, &error))?;
    from_template(template, partial)
}

fn from_template(mut template: fanweave::prompts::Template, partial: &Bound<'_, PyAny>) -> PyResult<Chain> {
    for (name, value) in variables(partial)? {
        template = template.partial(name, value);
    }
    Ok(Chain::new(reads_json(fanweave::chain(template).erased()), Pieces::Whole))
}

fn variables(partial: &Bound<'_, PyAny>) -> PyResult<Map<String, Value>> {
    match json_from_python(partial)? {
        Value::Object(map) => Ok(map),
        _ => Err(config(partial.py(), "the values of variables must be a dict")),
    }
}

/// A prompt of several messages: pairs of a role, or `history`, and a template, or the name of the variable.
#[pyfunction]
pub(crate) fn chat(
    py: Python<'_>,
    messages: Vec<(String, String)>,
    partial: &Bound<'_, PyAny>,
) -> PyResult<Chain> {
    let mut chat = fanweave::chat();
    for (role, text) in messages {
        chat = match role.as_str() {
            "system" => chat.system(text),
            "user" => chat.user(text),
            "assistant" => chat.assistant(text),
            _ => chat.history(text),
        };
    }
    for (name, value) in variables(partial)? {
        chat = chat.partial(name, value);
    }
    let chat = chat.check().map_err(|error| raise(py, &error))?;
    Ok(Chain::new(reads_json(fanweave::chain(chat).erased()), Pieces::Whole))
}

/// The text of an answer.
#[pyfunction]
pub(crate) fn text() -> Chain {
    Chain::new(fanweave::chain(fanweave::text()).erased(), Pieces::Text)
}

/// The JSON value in an answer.
#[pyfunction]
pub(crate) fn json() -> Chain {
    Chain::new(fanweave::chain(fanweave::json()).erased(), Pieces::Value)
}

/// The items of a list in an answer, separated by commas.
#[pyfunction]
pub(crate) fn as_list() -> Chain {
    Chain::new(fanweave::chain(fanweave::parsers::list()).erased(), Pieces::Whole)
}

/// One of several words in an answer.
#[pyfunction]
pub(crate) fn choice(py: Python<'_>, options: Vec<String>) -> PyResult<Chain> {
    if options.is_empty() {
        return Err(config(py, "choice needs at least one option"));
    }
    Ok(Chain::new(fanweave::chain(fanweave::parsers::choice(options)).erased(), Pieces::Whole))
}

/// The groups of a regular expression that matches an answer.
#[pyfunction]
pub(crate) fn regex(py: Python<'_>, pattern: &str) -> PyResult<Chain> {
    let matches = fanweave::parsers::matches(pattern).map_err(|error| raise(py, &error))?;
    Ok(Chain::new(fanweave::chain(matches).erased(), Pieces::Whole))
}
