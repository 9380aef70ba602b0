//! Conversions between Python values and [`Item`]s.
//!
//! Strings, numbers, booleans, None, lists, tuples, dicts, messages and prompts are converted. Any other
//! object travels as it is, as a ticket that only steps in Python can read.

use fanweave::crates::serde_json::{Map, Number, Value};
use fanweave::retrieval::Document as EngineDocument;
use fanweave::values::Ticket;
use fanweave::{Error, ErrorKind, Item, Result};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyNone, PyString, PyTuple};

use crate::document::{Document, document_json};
use crate::errors::raise;
use crate::message::{Message, Prompt};
use crate::object::Object;
use crate::qa_answer::{Answered, QaAnswer};

/// Maximum levels of lists and dicts. Their conversion and their destructors recurse.
const MAX_DEPTH: usize = 200;

/// A dict with values that have no JSON form, such as messages.
pub(crate) struct Mapping(Vec<(String, Item)>);

impl Mapping {
    /// The mapping as an item: an object if all values are JSON.
    pub(crate) fn into_item(entries: impl IntoIterator<Item = (String, Item)>) -> Item {
        let entries: Vec<_> = entries.into_iter().collect();
        if entries.iter().all(|(_, item)| is_json(item)) {
            let values = entries.into_iter().map(|(name, item)| (name, json(item)));
            return Item::Value(Value::Object(values.collect()));
        }
        Item::foreign(Self(entries))
    }

    /// The entries of an item that is a dict.
    pub(crate) fn entries(item: Item) -> Result<Vec<(String, Item)>> {
        let kind = item.kind();
        match item {
            Item::Value(Value::Object(map)) => {
                Ok(map.into_iter().map(|(name, value)| (name, Item::Value(value))).collect())
            }
            Item::Vars(vars) => Self::entries(Item::Value(Value::Object(vars.into_map()))),
            Item::Foreign(ticket) => match ticket.downcast::<Self>() {
                Some(mapping) => Ok(mapping.0.clone()),
                None => Err(Error::new(ErrorKind::Input, "expected a dict with strings as keys")),
            },
            _ => Err(Error::new(ErrorKind::Input, format!("expected a dict, got {kind}"))),
        }
    }

    fn to_value(&self) -> Result<Value> {
        let values = self.0.iter().map(|(name, item)| match plain(item.clone()).and_then(Item::into_value) {
            Ok(value) => Ok((name.clone(), value)),
            Err(error) => Err(Error::new(ErrorKind::Input, format!("entry `{name}`: {}", error.message()))),
        });
        values.collect::<Result<Map<_, _>>>().map(Value::Object)
    }
}

fn is_json(item: &Item) -> bool {
    matches!(item, Item::Text(_) | Item::Value(_) | Item::Vars(_))
}

fn json(item: Item) -> Value {
    item.into_value().expect("texts, JSON values and variables are JSON")
}

/// The item for a step in Rust: messages and prompts within dicts and lists become JSON.
pub(crate) fn plain(item: Item) -> Result<Item> {
    Ok(match item {
        Item::Foreign(ticket) => match ticket.downcast::<Mapping>() {
            Some(mapping) => Item::Value(mapping.to_value()?),
            None => match (ticket.downcast::<EngineDocument>(), ticket.downcast::<Answered>()) {
                (Some(document), _) => Item::Value(document_json(&document)),
                (_, Some(answer)) => Item::Value(answer.to_json()),
                _ => Item::Foreign(ticket),
            },
        },
        Item::List(items) => Item::List(items.into_iter().map(plain).collect::<Result<_>>()?),
        item => item,
    })
}

/// A value that has been converted.
#[pyclass(frozen, module = "fanweave._core")]
pub(crate) struct Ready(pub(crate) Item);

/// An object that travels as it is, also if it has a JSON form.
#[pyfunction]
pub(crate) fn opaque(value: &Bound<'_, PyAny>) -> Ready {
    Ready(Item::foreign(Object::new(value)))
}

/// The item of a Python value.
pub(crate) fn from_python(value: &Bound<'_, PyAny>) -> PyResult<Item> {
    convert(value, 0)
}

fn convert(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<Item> {
    if depth > MAX_DEPTH {
        let message = format!("the value has more than {MAX_DEPTH} levels of lists and dicts");
        return Err(raise(value.py(), &Error::new(ErrorKind::Input, message)));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Item::Text(text.to_cow()?.into_owned()));
    }
    if let Ok(dict) = value.cast::<PyDict>() {
        return convert_dict(dict, depth);
    }
    if let Ok(message) = value.cast::<Message>() {
        return Ok(Item::Message(Box::new(message.get().inner().clone())));
    }
    if let Ok(prompt) = value.cast::<Prompt>() {
        return Ok(Item::Prompt(Box::new(prompt.get().inner().clone())));
    }
    if let Ok(document) = value.cast::<Document>() {
        return Ok(Item::foreign(document.get().0.clone()));
    }
    if let Ok(answer) = value.cast::<QaAnswer>() {
        return Ok(Item::foreign(answer.get().0.clone()));
    }
    if let Ok(list) = value.cast::<PyList>() {
        return convert_list(list.iter(), depth);
    }
    if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        return convert_list(tuple.iter(), depth);
    }
    Ok(match scalar(value)? {
        Some(value) => Item::Value(value),
        None => object(value),
    })
}

/// An object without a JSON form.
fn object(value: &Bound<'_, PyAny>) -> Item {
    if let Ok(ready) = value.cast_exact::<Ready>() {
        return ready.get().0.clone();
    }
    Item::foreign(Object::new(value))
}

/// The JSON value of None, a boolean or a number. Numbers that JSON does not have stay objects.
fn scalar(value: &Bound<'_, PyAny>) -> PyResult<Option<Value>> {
    if value.is_none() {
        return Ok(Some(Value::Null));
    }
    if let Ok(value) = value.cast::<PyBool>() {
        return Ok(Some(Value::Bool(value.is_true())));
    }
    if value.is_instance_of::<PyInt>() {
        if let Ok(n) = value.extract::<i64>() {
            return Ok(Some(n.into()));
        }
        return Ok(value.extract::<u64>().ok().map(Value::from));
    }
    if let Ok(value) = value.cast::<PyFloat>() {
        return Ok(Number::from_f64(value.value()).map(Value::Number));
    }
    Ok(None)
}

fn convert_list<'py>(values: impl Iterator<Item = Bound<'py, PyAny>>, depth: usize) -> PyResult<Item> {
    let items = values.map(|value| convert(&value, depth + 1)).collect::<PyResult<Vec<_>>>()?;
    if items.iter().all(is_json) {
        return Ok(Item::Value(Value::Array(items.into_iter().map(json).collect())));
    }
    Ok(Item::List(items))
}

fn convert_dict(dict: &Bound<'_, PyDict>, depth: usize) -> PyResult<Item> {
    let mut entries = Vec::with_capacity(dict.len());
    for (name, value) in dict.iter() {
        // A dict with other keys has no JSON form.
        let Ok(name) = name.cast::<PyString>() else { return Ok(Item::foreign(Object::new(dict.as_any()))) };
        entries.push((name.to_cow()?.into_owned(), convert(&value, depth + 1)?));
    }
    Ok(Mapping::into_item(entries))
}

/// The Python value of an item.
pub(crate) fn to_python(py: Python<'_>, item: Item) -> PyResult<Bound<'_, PyAny>> {
    Ok(match item {
        Item::Text(text) => text.into_pyobject(py)?.into_any(),
        Item::Value(value) => value_to_python(py, value)?,
        Item::Vars(vars) => value_to_python(py, Value::Object(vars.into_map()))?,
        Item::Prompt(prompt) => Bound::new(py, Prompt::from(*prompt))?.into_any(),
        Item::Message(message) => Bound::new(py, Message::from(*message))?.into_any(),
        Item::List(items) => {
            let list = PyList::empty(py);
            for item in items {
                list.append(to_python(py, item)?)?;
            }
            list.into_any()
        }
        Item::Foreign(ticket) => foreign_to_python(py, &ticket)?,
        item => {
            let message = format!("{} has no Python form", item.kind());
            return Err(raise(py, &Error::new(ErrorKind::Input, message)));
        }
    })
}

fn foreign_to_python<'py>(py: Python<'py>, ticket: &Ticket) -> PyResult<Bound<'py, PyAny>> {
    if let Some(object) = ticket.downcast::<Object>() {
        return Ok(object.bind(py).clone());
    }
    if let Some(document) = ticket.downcast::<EngineDocument>() {
        return Ok(Bound::new(py, Document(document.as_ref().clone()))?.into_any());
    }
    if let Some(answer) = ticket.downcast::<Answered>() {
        return Ok(Bound::new(py, QaAnswer(answer.as_ref().clone()))?.into_any());
    }
    if let Some(mapping) = ticket.downcast::<Mapping>() {
        let dict = PyDict::new(py);
        for (name, item) in &mapping.0 {
            dict.set_item(name, to_python(py, item.clone())?)?;
        }
        return Ok(dict.into_any());
    }
    Err(raise(py, &Error::new(ErrorKind::Input, "a value of a step in Rust has no Python form")))
}

/// The Python value of a JSON value.
pub(crate) fn value_to_python(py: Python<'_>, value: Value) -> PyResult<Bound<'_, PyAny>> {
    Ok(match value {
        Value::Null => PyNone::get(py).to_owned().into_any(),
        Value::Bool(value) => PyBool::new(py, value).to_owned().into_any(),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(n), _) => n.into_pyobject(py)?.into_any(),
            (None, Some(n)) => n.into_pyobject(py)?.into_any(),
            (None, None) => PyFloat::new(py, number.as_f64().unwrap_or(f64::NAN)).into_any(),
        },
        Value::String(text) => text.into_pyobject(py)?.into_any(),
        Value::Array(values) => {
            let list = PyList::empty(py);
            for value in values {
                list.append(value_to_python(py, value)?)?;
            }
            list.into_any()
        }
        Value::Object(map) => {
            let dict = PyDict::new(py);
            for (name, value) in map {
                dict.set_item(name, value_to_python(py, value)?)?;
            }
            dict.into_any()
        }
    })
}

/// The JSON value of a Python value, for settings.
pub(crate) fn json_from_python(value: &Bound<'_, PyAny>) -> PyResult<Value> {
    let item = from_python(value)?;
    plain(item).and_then(Item::into_value).map_err(|_| {
        let kind = value.get_type().name().map_or_else(|_| String::new(), |name| format!(" ({name})"));
        let message =
            format!("the value{kind} has no JSON form: use texts, numbers, booleans, None, lists and dicts");
        raise(value.py(), &Error::new(ErrorKind::Input, message))
    })
}
