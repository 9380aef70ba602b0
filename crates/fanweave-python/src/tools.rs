//! Tools in Python, and models that may call them.

use fanweave::crates::serde_json::Value;
use fanweave::tools::{Tool, ToolErrors, ToolSpec};
use fanweave::{Context, Error, ErrorKind, Item, Result, Tools};
use pyo3::prelude::*;

use crate::chain::{Chain, Pieces};
use crate::errors::raise;
use crate::function::{Callee, Functions, caller};
use crate::item::json_from_python;
use crate::model::conversation;
use crate::options::{at_least_one, explained, seconds};

/// A Python function as a tool. It takes the arguments as JSON and returns the text for the model, or a list
/// with the reason why the arguments are invalid.
struct PythonTool {
    spec: ToolSpec,
    function: Callee,
}

impl Tool for PythonTool {
    type Arguments = Value;

    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    async fn call(&self, arguments: Value, cx: &Context) -> Result<String> {
        match self.function.call(Item::Value(arguments), &*caller(cx)?).await? {
            Item::Value(Value::Array(reasons)) => {
                let reason = reasons.first().and_then(Value::as_str).unwrap_or("the arguments are invalid");
                Err(Error::new(ErrorKind::Input, reason))
            }
            item => item.into_text(),
        }
    }
}

/// A tool: its name, description, JSON schema and function, and whether the function runs on the loop.
type ToolParts<'py> = (String, String, Bound<'py, PyAny>, Bound<'py, PyAny>, bool);

/// A model that may call these tools. With `rounds` it runs them and sends their results to the model.
#[pyfunction]
#[pyo3(signature = (chain, tools, rounds, raises, timeout, concurrency))]
pub(crate) fn with_tools(
    py: Python<'_>,
    chain: &Chain,
    tools: Vec<ToolParts<'_>>,
    rounds: Option<&Bound<'_, PyAny>>,
    raises: bool,
    timeout: Option<&Bound<'_, PyAny>>,
    concurrency: &Bound<'_, PyAny>,
) -> PyResult<Chain> {
    let rounds: Option<u32> =
        rounds.map(|n| n.extract().map_err(|error| explained("run", n, error))).transpose()?;
    let mut functions = Functions::of(py, [chain.functions()]);
    let mut set = Tools::new().concurrency(at_least_one(concurrency, "concurrency")?);
    if raises {
        set = set.on_error(ToolErrors::Raise);
    }
    if let Some(limit) = timeout {
        set = set.timeout(seconds(limit, "timeout")?);
    }
    for (name, description, parameters, function, on_loop) in tools {
        let (function, callee) = Callee::new(&function, on_loop)?;
        let parameters = json_from_python(&parameters)?;
        set = set.tool(PythonTool { spec: ToolSpec { name, description, parameters }, function: callee });
        // Without a loop, the functions are not called.
        if rounds.is_some() {
            functions.add(function);
        }
    }
    let set = set.check().map_err(|error| raise(py, &error))?;
    let with = chain.engine().clone().typed::<fanweave::Prompt, fanweave::Message>().with_tools(set);
    let engine = match rounds {
        Some(rounds) => fanweave::chain(with.run_tools(rounds)),
        None => fanweave::chain(with),
    };
    Ok(Chain::new(conversation(engine), Pieces::Delta).with_functions(functions))
}
