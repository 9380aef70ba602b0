//! Structured answers: a JSON schema for the model, and a function in Python that reads the answer.

use std::sync::{Arc, Mutex};

use fanweave::compose::{Node, Streaming};
use fanweave::crates::serde_json::Value;
use fanweave::parsers::{Structured, structured_value};
use fanweave::{Context, Error, ErrorKind, Item, Message, Prompt, Result, Runnable};
use pyo3::prelude::*;

use crate::chain::{Chain, Pieces};
use crate::function::{Callee, Functions, caller};
use crate::item::json_from_python;
use crate::mailbox::lock;
use crate::model::conversation;
use crate::options::{Caller, explained};

tokio::task_local! {
    /// The run whose answer is being read.
    static RUN: Arc<Reading>;
}

/// A run whose answer is read in Python.
struct Reading {
    caller: Arc<Caller>,
    outcome: Mutex<Outcome>,
}

/// The result of the reader.
#[derive(Default)]
enum Outcome {
    #[default]
    None,
    Value(Item),
    /// The reader itself failed: another answer would not help.
    Failure(Error),
}

impl Reading {
    /// Reads an answer. An error is for the model.
    async fn read(&self, reader: &Callee, value: Value) -> Result<(), String> {
        let reader_failed = |error: Error| {
            let message = error.to_string();
            *lock(&self.outcome) = Outcome::Failure(error);
            Err(message)
        };
        // A pair: true and the value, or false and the reason why the answer is invalid.
        let (is_valid, item) = match reader.call(Item::Value(value), &self.caller).await {
            Ok(Item::Value(Value::Array(pair))) => {
                let [is_valid, value] = <[Value; 2]>::try_from(pair).unwrap_or_default();
                (is_valid == Value::Bool(true), Item::Value(value))
            }
            Ok(Item::List(pair)) => (true, pair.into_iter().nth(1).unwrap_or(Item::Value(Value::Null))),
            Ok(item) => {
                let message = format!("internal error (please report it): a reader returned {}", item.kind());
                return reader_failed(Error::new(ErrorKind::Step, message));
            }
            Err(error) => return reader_failed(error),
        };
        if !is_valid {
            return Err(item.into_text().unwrap_or_else(|_| "the answer is invalid".to_owned()));
        }
        *lock(&self.outcome) = Outcome::Value(item);
        Ok(())
    }
}

/// A model that is not called after the reader has failed.
struct WhileReadable(fanweave::Chain<Prompt, Message>);

impl Runnable for WhileReadable {
    const DRIVES_CALLS: bool = true;

    type Input = Prompt;
    type Output = Message;

    async fn run(&self, prompt: Prompt, cx: &Context) -> Result<Message> {
        let failure = RUN.try_with(|reading| match &*lock(&reading.outcome) {
            Outcome::Failure(error) => Some(error.clone()),
            _ => None,
        });
        match failure {
            Ok(Some(error)) => Err(error),
            _ => self.0.run(prompt, cx).await,
        }
    }

    fn streaming(&self) -> Streaming {
        self.0.streaming()
    }

    fn describe(&self) -> Node {
        self.0.describe()
    }
}

/// A model whose answers are read in Python.
struct ReadInPython(Structured<Value>);

impl Runnable for ReadInPython {
    const DRIVES_CALLS: bool = true;

    type Input = Prompt;
    type Output = Item;

    async fn run(&self, prompt: Prompt, cx: &Context) -> Result<Item> {
        let reading = Arc::new(Reading { caller: caller(cx)?, outcome: Mutex::default() });
        let result = RUN.scope(reading.clone(), self.0.run(prompt, cx)).await;
        let outcome = std::mem::take(&mut *lock(&reading.outcome));
        match (result, outcome) {
            (_, Outcome::Failure(error)) => Err(error),
            (Ok(_), Outcome::Value(item)) => Ok(item),
            (result, _) => result.map(Item::Value),
        }
    }

    fn streaming(&self) -> Streaming {
        self.0.streaming()
    }

    fn describe(&self) -> Node {
        self.0.describe()
    }
}

/// A model whose answers fit a JSON schema and are read by `reader`, which returns a pair: true and the
/// value, or false and the reason why the answer is invalid.
#[pyfunction]
pub(crate) fn structured(
    py: Python<'_>,
    chain: &Chain,
    name: String,
    schema: &Bound<'_, PyAny>,
    reader: &Bound<'_, PyAny>,
    retries: &Bound<'_, PyAny>,
) -> PyResult<Chain> {
    let retries: u32 = retries.extract().map_err(|error| explained("retries", retries, error))?;
    let (function, reader) = Callee::new(reader, true)?;
    let mut functions = Functions::of(py, [chain.functions()]);
    functions.add(function);
    let model = WhileReadable(chain.engine().clone().typed());
    let structured = structured_value(fanweave::chain(model), name, json_from_python(schema)?)
        .max_retries(retries)
        .check_async(move |value| {
            let (reader, reading) = (reader.clone(), RUN.try_with(Arc::clone));
            async move {
                match reading {
                    Ok(reading) => reading.read(&reader, value).await,
                    Err(_) => Err("internal error (please report it): no run to read the answer".to_owned()),
                }
            }
        });
    let engine = conversation(ReadInPython(structured));
    Ok(Chain::new(engine, Pieces::Value).with_functions(functions))
}
