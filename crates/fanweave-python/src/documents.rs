//! Lists of documents, and filters of their metadata.

use fanweave::crates::serde_json::Value;
use fanweave::retrieval::{Document as EngineDocument, Filter};
use fanweave::values::FromItem;
use fanweave::{Error, ErrorKind, Item, Result};
use pyo3::prelude::*;

use crate::errors::raise;
use crate::item::{from_python, json_from_python, plain};

/// The document of an item: a document, a text, or a dict with `text` and `metadata`.
pub(crate) fn document_of(item: Item) -> Result<EngineDocument> {
    let kind = item.kind();
    let refused = || {
        let message = format!("expected a document, a text, or a dict with text and metadata, got {kind}");
        Error::new(ErrorKind::Input, message)
    };
    match item {
        Item::Text(text) => Ok(EngineDocument::new(text)),
        Item::Foreign(ticket) => {
            ticket.downcast::<EngineDocument>().map(|document| document.as_ref().clone()).ok_or_else(refused)
        }
        item => EngineDocument::from_item(plain(item)?).map_err(|_| refused()),
    }
}

/// The documents of a list.
pub(crate) fn documents_of(item: Item) -> Result<Vec<EngineDocument>> {
    match item {
        Item::List(items) => items.into_iter().map(document_of).collect(),
        Item::Value(Value::Array(values)) => {
            values.into_iter().map(|value| document_of(text_or_value(value))).collect()
        }
        other => {
            let message = format!("expected a list of documents, got {}", other.kind());
            Err(Error::new(ErrorKind::Input, message))
        }
    }
}

fn text_or_value(value: Value) -> Item {
    match value {
        Value::String(text) => Item::Text(text),
        value => Item::Value(value),
    }
}

/// Documents as an item, whose elements are `Document`s in Python.
pub(crate) fn documents_item(documents: Vec<EngineDocument>) -> Item {
    Item::List(documents.into_iter().map(Item::foreign).collect())
}

/// The documents of any iterable of Python.
pub(crate) fn documents_from_python(values: &Bound<'_, PyAny>) -> PyResult<Vec<EngineDocument>> {
    values
        .try_iter()?
        .map(|value| document_of(from_python(&value?)?).map_err(|error| raise(values.py(), &error)))
        .collect()
}

/// A filter: `{"page": 3, "year": {"$gte": 2020}, "$or": [..]}`. All entries of a dict must match.
pub(crate) fn filter_from_python(value: &Bound<'_, PyAny>) -> PyResult<Filter> {
    filter_of(&json_from_python(value)?).map_err(|error| raise(value.py(), &error))
}

fn filter_of(value: &Value) -> Result<Filter> {
    let Value::Object(fields) = value else { return Err(wrong(&format!("must be a dict, got {value}"))) };
    let mut all = Vec::with_capacity(fields.len());
    for (name, wanted) in fields {
        match name.as_str() {
            "$and" => all.push(Filter::All(filters_of(name, wanted)?)),
            "$or" => all.push(Filter::Any(filters_of(name, wanted)?)),
            name if name.starts_with('$') => {
                return Err(wrong(&format!(
                    "has no operator `{name}`: use $and, $or, or the name of a field"
                )));
            }
            name => comparisons(name, wanted, &mut all)?,
        }
    }
    Ok(if all.len() == 1 { all.remove(0) } else { Filter::All(all) })
}

fn filters_of(name: &str, value: &Value) -> Result<Vec<Filter>> {
    let Value::Array(filters) = value else { return Err(wrong(&format!("needs a list for `{name}`"))) };
    filters.iter().map(filter_of).collect()
}

fn comparisons(field: &str, wanted: &Value, all: &mut Vec<Filter>) -> Result<()> {
    let operators = match wanted {
        Value::Object(operators) if operators.keys().any(|name| name.starts_with('$')) => operators,
        value => {
            all.push(Filter::eq(field, value.clone()));
            return Ok(());
        }
    };
    for (operator, value) in operators {
        let list = || match value {
            Value::Array(values) => Ok(values.clone()),
            _ => Err(wrong(&format!("needs a list for `{operator}`"))),
        };
        all.push(match operator.as_str() {
            "$eq" => Filter::eq(field, value.clone()),
            "$ne" => Filter::ne(field, value.clone()),
            "$lt" => Filter::lt(field, value.clone()),
            "$lte" => Filter::le(field, value.clone()),
            "$gt" => Filter::gt(field, value.clone()),
            "$gte" => Filter::ge(field, value.clone()),
            "$in" => Filter::one_of(field, list()?),
            "$nin" => Filter::none_of(field, list()?),
            _ => {
                let known = "$eq, $ne, $lt, $lte, $gt, $gte, $in and $nin";
                return Err(wrong(&format!("has no operator `{operator}`: the operators are {known}")));
            }
        });
    }
    Ok(())
}

fn wrong(message: &str) -> Error {
    Error::new(ErrorKind::Config, format!("the filter {message}"))
}
