//! Ready-made chains: answers from documents, conversations, calculations, chains in files.

use std::path::PathBuf;

use fanweave::chains::math::{Math, MathAnswer};
use fanweave::chains::qa::{Qa, Question};
use fanweave::chains::{
    Conversation, ConversationInput, ConversationMemory, Conversational, FollowUp, RetrievalQa,
    SessionHistory,
};
use fanweave::compose::{Node, Streaming};
use fanweave::crates::serde_json::{Value, json};
use fanweave::models::{Budget, Prices};
use fanweave::retrieval::{Document as EngineDocument, Retriever};
use fanweave::stores::{MemorySessions, Sessions as EngineSessions, SqliteSessions};
use fanweave::{ChainFile, Context, Error, ErrorKind, Item, Message, Prompt, Result, Runnable, Vars};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyNone};

use crate::chain::{Chain, EngineChain, Pieces, reads_json};
use crate::documents::{documents_item, documents_of};
use crate::errors::{config, raise};
use crate::function::Functions;
use crate::item::{Mapping, from_python, to_python};
use crate::message;
use crate::model::messages_of;
use crate::operation::Operation;
use crate::options::each_setting;
use crate::qa_answer::Answered;
use crate::work::wait;

/// A chain with Python's form of its input and output.
struct Adapted<I, O> {
    inner: fanweave::Chain<I, O>,
    read: fn(Item) -> Result<I>,
    write: fn(O) -> Item,
}

impl<I: Send + 'static, O: Send + 'static> Runnable for Adapted<I, O> {
    const DRIVES_CALLS: bool = true;

    type Input = Item;
    type Output = Item;

    async fn run(&self, input: Item, cx: &Context) -> Result<Item> {
        self.inner.run((self.read)(input)?, cx).await.map(self.write)
    }

    fn streaming(&self) -> Streaming {
        self.inner.streaming()
    }

    fn describe(&self) -> Node {
        self.inner.describe()
    }
}

fn adapted<I: Send + 'static, O: Send + 'static>(
    inner: fanweave::Chain<I, O>,
    read: fn(Item) -> Result<I>,
    write: fn(O) -> Item,
) -> EngineChain {
    fanweave::chain(Adapted { inner, read, write })
}

/// A chain from a question to documents, which may be steps in Python.
#[derive(Clone)]
struct ChainRetriever(EngineChain);

impl Retriever for ChainRetriever {
    async fn retrieve(&self, question: &str, cx: &Context) -> Result<Vec<EngineDocument>> {
        let found = self.0.run(Item::Text(question.to_owned()), &cx.without_deltas()).await?;
        documents_of(found)
    }
}

/// The model of a chain that is one, and the functions of its key.
fn model_of(chain: &Chain, functions: &mut Functions, py: Python<'_>) -> PyResult<fanweave::Model> {
    let Some(model) = chain.model() else {
        return Err(config(py, "expected a model, got a chain: use what fanweave.model returns"));
    };
    *functions = Functions::of(py, [&*functions, chain.functions()]);
    Ok(model.clone())
}

/// A prompt of a ready-made chain.
fn prompt_of(chain: &Chain) -> fanweave::Chain<Vars, Prompt> {
    chain.engine().clone().typed()
}

fn qa_of(
    py: Python<'_>,
    model: &Chain,
    strategy: &str,
    settings: &Bound<'_, PyDict>,
    functions: &mut Functions,
) -> PyResult<Qa> {
    let model = model_of(model, functions, py)?;
    let mut qa = match strategy {
        "stuff" => Qa::stuff(model),
        "map_reduce" => Qa::map_reduce(model),
        "refine" => Qa::refine(model),
        "map_rerank" => Qa::map_rerank(model),
        other => {
            let message = format!("strategy must be stuff, map_reduce, refine or map_rerank, got `{other}`");
            return Err(config(py, message));
        }
    };
    each_setting(settings, |name, value| {
        let chain = || PyResult::Ok(prompt_of(value.cast::<Chain>()?.get()));
        let before = qa.clone();
        qa = match name {
            "prompt" => before.prompt(chain()?),
            "document_prompt" => before.document_prompt(chain()?),
            "collapse_prompt" if strategy == "map_reduce" => before.collapse_prompt(chain()?),
            "collapse_prompt" => return Err(config(py, "collapse_prompt is for map_reduce alone")),
            "max_tokens" => before.max_tokens(value.extract()?),
            "concurrency" => before.concurrency(value.extract::<usize>()?),
            "no_documents" => before.no_documents(value.extract::<String>()?),
            _ => return Err(config(py, format!("`{name}` is not a setting of this chain"))),
        };
        Ok(())
    })?;
    Ok(qa)
}

/// The entry of a dict.
fn entry(entries: &mut Vec<(String, Item)>, name: &str) -> Option<Item> {
    let at = entries.iter().position(|(own, _)| own == name)?;
    Some(entries.swap_remove(at).1)
}

fn required(entries: &mut Vec<(String, Item)>, name: &str) -> Result<Item> {
    entry(entries, name)
        .ok_or_else(|| Error::new(ErrorKind::Input, format!("the input has no entry `{name}`")))
}

fn read_question(input: Item) -> Result<Question> {
    let mut entries = Mapping::entries(input)?;
    let documents = documents_of(required(&mut entries, "documents")?)?;
    let question = match entry(&mut entries, "question") {
        Some(question) => question.into_text()?,
        None => String::new(),
    };
    Ok(Question::new(question, documents))
}

/// Answers a question about documents.
#[pyfunction]
pub(crate) fn qa(
    py: Python<'_>,
    model: &Chain,
    strategy: &str,
    settings: &Bound<'_, PyDict>,
) -> PyResult<Chain> {
    let mut functions = Functions::default();
    let qa = qa_of(py, model, strategy, settings, &mut functions)?;
    let engine = adapted(qa.chain(), read_question, |answer| Item::foreign(Answered::from(answer)));
    Ok(Chain::new(engine, Pieces::Text).with_functions(functions))
}

/// Answers a question from the documents that a chain retrieves.
#[pyfunction]
pub(crate) fn retrieval_qa(
    py: Python<'_>,
    model: &Chain,
    retriever: &Chain,
    strategy: &str,
    settings: &Bound<'_, PyDict>,
) -> PyResult<Chain> {
    let mut functions = Functions::of(py, [retriever.functions()]);
    let qa = qa_of(py, model, strategy, settings, &mut functions)?;
    let chain = RetrievalQa::new(ChainRetriever(retriever.engine().clone()), qa).chain();
    let engine = adapted(chain, Item::into_text, |answer| Item::foreign(Answered::from(answer)));
    Ok(Chain::new(engine, Pieces::Text).with_functions(functions))
}

fn read_follow_up(input: Item) -> Result<FollowUp> {
    if matches!(input, Item::Text(_) | Item::Message(_)) {
        return Ok(FollowUp::from(input.into_text()?));
    }
    let mut entries = Mapping::entries(input)?;
    let question = required(&mut entries, "question")?.into_text()?;
    let history = entry(&mut entries, "history").map(history_of).transpose()?.unwrap_or_default();
    Ok(FollowUp::new(question, history))
}

/// Messages, or pairs of a question and its answer.
fn history_of(item: Item) -> Result<Vec<Message>> {
    let pairs = match &item {
        Item::Value(Value::Array(items)) => items.iter().map(pair_of).collect::<Option<Vec<_>>>(),
        _ => None,
    };
    match pairs {
        Some(pairs) => {
            Ok(pairs.into_iter().flat_map(|(q, a)| [Message::user(q), Message::assistant(a)]).collect())
        }
        None => messages_of(item),
    }
}

/// A question and its answer. A pair whose first text is the name of a role is a message.
fn pair_of(value: &Value) -> Option<(String, String)> {
    match &value.as_array()?[..] {
        [Value::String(first), Value::String(_)]
            if matches!(first.as_str(), "system" | "user" | "assistant" | "human" | "ai" | "developer") =>
        {
            None
        }
        [Value::String(question), Value::String(answer)] => Some((question.clone(), answer.clone())),
        _ => None,
    }
}

/// Answers a question in a conversation from documents.
#[pyfunction]
#[pyo3(signature = (model, retriever, strategy, settings, condense_prompt, history_tokens))]
pub(crate) fn conversational_qa(
    py: Python<'_>,
    model: &Chain,
    retriever: &Chain,
    strategy: &str,
    settings: &Bound<'_, PyDict>,
    condense_prompt: Option<&Chain>,
    history_tokens: Option<usize>,
) -> PyResult<Chain> {
    let mut functions = Functions::of(py, [retriever.functions()]);
    let qa = qa_of(py, model, strategy, settings, &mut functions)?;
    let retrieval = RetrievalQa::new(ChainRetriever(retriever.engine().clone()), qa);
    let mut chain = Conversational::new(model_of(model, &mut functions, py)?, retrieval);
    if let Some(prompt) = condense_prompt {
        chain = chain.condense_prompt(prompt_of(prompt));
    }
    if let Some(tokens) = history_tokens {
        chain = chain.history_tokens(tokens);
    }
    let engine = adapted(chain.chain(), read_follow_up, |answer| Item::foreign(Answered::from(answer)));
    Ok(Chain::new(engine, Pieces::Text).with_functions(functions))
}

/// Answers arithmetic questions exactly.
#[pyfunction]
pub(crate) fn math(py: Python<'_>, model: &Chain, prompt: Option<&Chain>) -> PyResult<Chain> {
    let mut functions = Functions::default();
    let mut math = Math::new(model_of(model, &mut functions, py)?);
    if let Some(prompt) = prompt {
        math = math.prompt(prompt_of(prompt));
    }
    let engine = adapted(math.chain(), Item::into_text, |answer: MathAnswer| {
        Item::Value(json!({ "answer": answer.answer, "expression": answer.expression }))
    });
    Ok(Chain::new(engine, Pieces::Text).with_functions(functions))
}

/// Stored conversations.
#[pyclass(frozen, module = "fanweave._core")]
pub(crate) struct Sessions(EngineSessions);

/// Conversations in memory, or in the file of this path.
#[pyfunction]
pub(crate) fn sessions(py: Python<'_>, path: Option<PathBuf>) -> PyResult<Sessions> {
    Ok(Sessions(match path {
        None => MemorySessions::sessions(),
        Some(path) => wait(py, SqliteSessions::open(path))?,
    }))
}

#[pymethods]
impl Sessions {
    /// The summary of earlier messages, if there is one, and the messages.
    fn load(&self, id: String) -> Operation {
        let sessions = self.0.clone();
        let work = async move { sessions.load(&id).await };
        Operation::new(None, work, |py, session: fanweave::stores::Session| {
            let messages =
                session.messages.into_iter().map(|each| Bound::new(py, message::Message::from(each)));
            let messages = PyList::new(py, messages.collect::<PyResult<Vec<_>>>()?)?;
            (session.summary, messages).into_pyobject(py).map(Bound::into_any)
        })
    }

    /// Adds messages.
    fn append(&self, id: String, messages: &Bound<'_, PyAny>) -> PyResult<Operation> {
        let messages = from_python(messages)
            .and_then(|item| messages_of(item).map_err(|error| raise(messages.py(), &error)))?;
        let sessions = self.0.clone();
        let work = async move { sessions.append(&id, messages).await };
        Ok(Operation::new(None, work, |py, ()| Ok(PyNone::get(py).to_owned().into_any())))
    }

    /// Deletes a session.
    fn clear(&self, id: String) -> Operation {
        let sessions = self.0.clone();
        let work = async move { sessions.clear(&id).await };
        Operation::new(None, work, |py, ()| Ok(PyNone::get(py).to_owned().into_any()))
    }
}

/// The memory of a conversation: `buffer`, `window` with turns, `tokens`, or `summary` with a model.
fn memory_of(
    py: Python<'_>,
    (kind, size, model, prompt): (&str, usize, Option<&Chain>, Option<&Chain>),
    functions: &mut Functions,
) -> PyResult<ConversationMemory> {
    Ok(match (kind, model) {
        ("window", _) => ConversationMemory::window(size),
        ("tokens", _) => ConversationMemory::tokens(size),
        ("summary", Some(model)) => {
            let memory = ConversationMemory::summary(model_of(model, functions, py)?, size);
            match prompt {
                Some(prompt) => memory.summary_prompt(prompt_of(prompt)),
                None => memory,
            }
        }
        _ => ConversationMemory::buffer(),
    })
}

type MemoryParts<'py> = (String, usize, Option<PyRef<'py, Chain>>, Option<PyRef<'py, Chain>>);

fn read_message(input: Item) -> Result<ConversationInput> {
    let mut entries = Mapping::entries(input)?;
    let session = required(&mut entries, "session")?.into_text()?;
    Ok(ConversationInput::new(session, required(&mut entries, "text")?.into_text()?))
}

/// A conversation with a model, or with a chain from prompts to messages.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned values")]
pub(crate) fn conversation(
    py: Python<'_>,
    chain: &Chain,
    sessions: &Sessions,
    memory: MemoryParts<'_>,
    system: Option<String>,
) -> PyResult<Chain> {
    let mut functions = Functions::of(py, [chain.functions()]);
    let (kind, size, model, prompt) = &memory;
    let memory = memory_of(py, (kind, *size, model.as_deref(), prompt.as_deref()), &mut functions)?;
    let model: fanweave::Chain<Prompt, Message> = chain.engine().clone().typed();
    let mut conversation = Conversation::new(model, sessions.0.clone(), memory);
    if let Some(system) = system {
        conversation = conversation.system(system);
    }
    let engine = adapted(conversation.chain(), read_message, Item::Text);
    Ok(Chain::new(engine, Pieces::Text).with_functions(functions))
}

/// A chain from variables with the messages of a session as one of them.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "PyO3 extracts owned values")]
pub(crate) fn with_history(
    py: Python<'_>,
    chain: &Chain,
    sessions: &Sessions,
    memory: MemoryParts<'_>,
    variable: String,
    question: String,
    session: String,
) -> PyResult<Chain> {
    let mut functions = Functions::of(py, [chain.functions()]);
    let (kind, size, model, prompt) = &memory;
    let memory = memory_of(py, (kind, *size, model.as_deref(), prompt.as_deref()), &mut functions)?;
    let history = SessionHistory::new(sessions.0.clone(), memory)
        .variable(variable)
        .question(question)
        .session_from(session);
    let inner: fanweave::Chain<Vars, Item> = chain.engine().clone().typed();
    let engine = reads_json(history.over(inner).erased());
    Ok(Chain::new(engine, chain.pieces()).with_functions(functions))
}

/// A step from a list of documents to the input of [`qa`].
#[pyfunction]
pub(crate) fn documents_as_question() -> Chain {
    let engine = fanweave::chain(fanweave::step(|documents: Item, _: Context| async move {
        let documents = documents_item(documents_of(documents)?);
        Ok(Mapping::into_item([("documents".to_owned(), documents)]))
    }));
    Chain::new(engine.named("documents"), Pieces::Whole)
}

/// A chain, its name, and its inputs with their defaults.
type Loaded<'py> = (Chain, String, Vec<(String, Bound<'py, PyAny>)>);

/// The chain of a file. `connect` makes the model of a name,
/// or of None, with maximum retries and requests per minute.
#[pyfunction]
pub(crate) fn load<'py>(
    py: Python<'py>,
    path: PathBuf,
    connect: &Bound<'py, PyAny>,
) -> PyResult<Loaded<'py>> {
    let file = ChainFile::load(path).map_err(|error| raise(py, &error))?;
    let limits = file.limits();
    let budget = limits.budget_usd.map(|usd| Budget::new(usd, Prices::builtin()));
    let mut functions = Functions::default();
    let mut connected = |name: Option<&str>| -> PyResult<fanweave::Model> {
        let chain = connect.call1((name, limits.retries, limits.rpm))?;
        let chain = chain.cast::<Chain>()?;
        model_of(chain.get(), &mut functions, py)
    };
    let chain = file.chain(|name| {
        let model =
            connected(name).map_err(|error| Error::new(ErrorKind::Config, error.value(py).to_string()))?;
        match &budget {
            Some(budget) => budget.wrap(model),
            None => Ok(model),
        }
    });
    let mut chain = chain.map_err(|error| raise(py, &error))?;
    if let Some(concurrency) = limits.concurrency {
        chain = chain.scoped(move |cx| cx.with_concurrency(concurrency));
    }
    let mut inputs = Vec::new();
    for (name, default) in file.inputs() {
        let default = default.cloned().map_or_else(
            || Ok(py.NotImplemented().into_bound(py)),
            |value| to_python(py, Item::Value(value)),
        )?;
        inputs.push((name.to_owned(), default));
    }
    let name = file.name().to_owned();
    let engine = reads_json(chain.erased());
    Ok((Chain::new(engine, Pieces::Delta).with_functions(functions), name, inputs))
}
