//! Rows of a chain file: their inputs and outputs, and the models of its steps.

use std::num::NonZeroU32;

use fanweave::batch::Input;
use fanweave::chain_file::StepModel;
use fanweave::models::Prices;
use fanweave::{ChainFile, Error, ErrorKind, Vars};
use serde_json::Value;

use crate::args::ModelArgs;
use crate::config::Config;
use crate::connect::{Connected, Terms, connect};
use crate::cost;
use crate::exit::Failure;

/// Estimated cost of a row in US dollars: that of one call of each step, with its own model and the maximum
/// length of its answer.
pub(crate) fn cost_of_row(
    file: &ChainFile,
    connections: &[(Option<String>, Connected)],
    prices: &Prices,
    flags: &ModelArgs,
) -> f64 {
    let cost = |(step, max_tokens): (StepModel<'_>, Option<u32>)| {
        let (_, connected) = connections.iter().find(|(name, _)| name.as_deref() == step.name)?;
        let max_tokens = max_tokens.and_then(NonZeroU32::new).or(flags.max_output());
        cost::of_a_call(prices, connected.model.name(), max_tokens)
    };
    file.step_models().filter_map(cost).sum()
}

/// Connects a model of the chain. The flags take precedence over the limits of the file, and over the retries
/// of its steps.
pub(crate) fn connect_step(
    file: &ChainFile,
    step: StepModel<'_>,
    flags: &ModelArgs,
    config: &Config,
    terms: Terms<'_>,
) -> Result<Connected, Failure> {
    let limits = file.limits();
    let mut flags = ModelArgs { model: step.name.map(str::to_owned), ..flags.clone() };
    flags.rpm = flags.rpm.or(limits.rpm.and_then(NonZeroU32::new));
    flags.retries = flags.retries.or(step.retries).or(limits.retries);
    if !step.is_cached {
        flags.cache = None;
    }
    connect(&flags, config, terms)
}

/// A schema that names the outputs of the chain, so that they are columns of a table. `None` for the output
/// of one step.
pub(crate) fn outputs_schema(file: &ChainFile) -> Option<Value> {
    let properties: serde_json::Map<_, _> =
        file.outputs().map(|name| (name.to_owned(), serde_json::json!({}))).collect();
    (!properties.is_empty()).then(|| serde_json::json!({ "type": "object", "properties": properties }))
}

/// Inputs of a row. Its fields override the inputs for all rows.
pub(crate) fn inputs_of_row(input: Input, file: &ChainFile, given: &Vars) -> fanweave::Result<Vars> {
    let mut vars = given.clone();
    let names: Vec<&str> = file.inputs().map(|(name, _)| name).collect();
    match input {
        // Rows may have other fields: those that are not inputs are ignored.
        Input::Vars(row) => {
            for name in names {
                match row.get(name) {
                    // Cells of a table are always strings, also those with numbers.
                    Some(Value::String(text)) => _ = vars.insert(name, file.input(name, text)?),
                    Some(value) => _ = vars.insert(name, value.clone()),
                    None => {}
                }
            }
        }
        Input::Text(text) => match names.as_slice() {
            [only] => _ = vars.insert(*only, file.input(only, &text)?),
            _ if names.contains(&"input") => _ = vars.insert("input", file.input("input", &text)?),
            _ => {
                let message = "the row is plain text, but the chain has several inputs and none is named `input`: \
                               use rows with fields, such as JSON lines or CSV";
                return Err(Error::new(ErrorKind::Input, message));
            }
        },
        Input::Prompt(_) => {
            let message = "the row is a complete request, which a chain file cannot use";
            return Err(Error::new(ErrorKind::Input, message));
        }
        _ => {
            return Err(Error::new(ErrorKind::Input, "this kind of row is not supported by chain files"));
        }
    }
    Ok(vars)
}
