//! Lenient JSON access, for dialects whose answers consist of many small objects of many kinds: values that
//! are missing, null or of another type count as empty and never fail a call.

mod repair;

use std::fmt;

use fanweave_core::{Error, ErrorKind, Result};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::transport::caps::Cap;
use crate::transport::sse::without_mark;

/// Parses a body or an event.
///
/// # Errors
/// [`ErrorKind::Decode`] for JSON that cannot be repaired either.
pub(super) fn parse(json: &[u8], what: &str) -> Result<Value> {
    read(json).map_err(|e| invalid(&e, what))
}

/// The error for an invalid body or event. The parser's error may quote it, including keys: it is redacted as
/// text, and not kept as source.
pub(super) fn invalid(error: &serde_json::Error, what: &str) -> Error {
    if let Some(error) = Cap::exceeded_in(error) {
        return error;
    }
    Error::new(ErrorKind::Decode, format!("the response is not a valid {what}: {error}"))
}

/// Parses JSON of a server. Of a repeated key, the last value that is not null counts.
///
/// # Errors
/// The first error, if the JSON cannot be repaired.
pub(super) fn read(json: &[u8]) -> Result<Value, serde_json::Error> {
    let json = without_mark(json);
    // Checked as a whole: each string costs more than all of them together.
    let read = match std::str::from_utf8(json) {
        Ok(text) => serde_json::from_str::<Kept>(text),
        Err(_) => serde_json::from_slice(json),
    };
    let read = read.or_else(|error| match repair::repair(json) {
        Some(repaired) => serde_json::from_str(&repaired).map_err(|_| error),
        None => Err(error),
    });
    read.map(|kept| kept.0)
}

/// Like [`read`], for a list with a maximum number of elements.
pub(super) fn read_list(json: &[u8], cap: Cap) -> Result<Value, serde_json::Error> {
    let list = AnyJson { cap: Some(cap), is_data: false };
    list.deserialize(&mut serde_json::Deserializer::from_slice(without_mark(json)))
}

/// Any JSON. A repeated key keeps its last value that is not null: some servers repeat a field as null.
pub(super) struct Kept(pub(super) Value);

impl<'de> Deserialize<'de> for Kept {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        AnyJson::default().deserialize(json).map(Kept)
    }
}

/// Fields of an object for which space is allocated at first.
const OBJECT_FIELDS: usize = 7;

/// Reads any JSON of an answer.
#[derive(Clone, Copy, Default)]
pub(super) struct AnyJson {
    /// Limit of the elements, if this is a list. Default: none.
    pub(super) cap: Option<Cap>,
    /// Set within arguments and other data, whose lists may have any name and length.
    pub(super) is_data: bool,
}

impl AnyJson {
    /// The value of this field.
    fn field(self, name: &str) -> Self {
        let is_data = self.is_data || matches!(name, "args" | "arguments" | "input" | "parsed" | "response");
        Self { cap: if is_data { None } else { Cap::of_field(name) }, is_data }
    }
}

/// Visits of a value other than a list or an object.
macro_rules! scalars {
    () => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any JSON")
        }

        fn visit_unit<E>(self) -> Result<Value, E> {
            Ok(Value::Null)
        }

        fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
            Ok(Value::Bool(value))
        }

        fn visit_u64<E>(self, n: u64) -> Result<Value, E> {
            Ok(n.into())
        }

        fn visit_i64<E>(self, n: i64) -> Result<Value, E> {
            Ok(n.into())
        }

        fn visit_f64<E>(self, n: f64) -> Result<Value, E> {
            Ok(n.into())
        }

        fn visit_str<E>(self, text: &str) -> Result<Value, E> {
            Ok(Value::String(text.to_owned()))
        }

        fn visit_string<E>(self, text: String) -> Result<Value, E> {
            Ok(Value::String(text))
        }
    };
}

impl<'de> DeserializeSeed<'de> for AnyJson {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyJson {
    type Value = Value;

    scalars!();

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = seq.next_element_seed(Self { cap: None, ..self })? {
            if let Some(cap) = self.cap.filter(|cap| cap.max == list.len()) {
                return Err(A::Error::custom(cap.message()));
            }
            list.push(element);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let Some(mut name) = map.next_key::<String>()? else { return Ok(Value::Object(Map::new())) };
        // The size of most objects of an answer: a map that grows is allocated once more.
        let mut fields = Map::with_capacity(OBJECT_FIELDS);
        loop {
            let value = map.next_value_seed(Field { parent: self, name: &name })?;
            match value {
                Value::Null => _ = fields.entry(name).or_insert(Value::Null),
                value => _ = fields.insert(name, value),
            }
            match map.next_key()? {
                Some(next) => name = next,
                None => return Ok(Value::Object(fields)),
            }
        }
    }
}

/// The value of a field. Its name is looked at only if the value is a list or an object.
struct Field<'n> {
    parent: AnyJson,
    name: &'n str,
}

impl<'de> DeserializeSeed<'de> for Field<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Field<'_> {
    type Value = Value;

    scalars!();

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Value, A::Error> {
        self.parent.field(self.name).visit_seq(seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Value, A::Error> {
        self.parent.field(self.name).visit_map(map)
    }
}

/// Returns true for a value that says nothing: null, false, or an empty text, list or object.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(_) => false,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// A string. A number is formatted, a list or an object with elements is written as JSON. Anything else is
/// empty.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(_) => String::new(),
        value if is_empty(value) => String::new(),
        other => other.to_string(),
    }
}

/// The text of a content in any shape: a string, a number, a part with a text, or a list of those. Another
/// object is written as JSON.
pub(super) fn content(value: &Value) -> String {
    let of_part = |part: &Value| match part {
        Value::Object(fields) => fields.get("text").map(text).unwrap_or_default(),
        other => text(other),
    };
    match value {
        Value::Array(list) => list.iter().map(of_part).collect(),
        Value::Object(fields) if fields.contains_key("text") => of_part(value),
        other => text(other),
    }
}

/// The arguments of a tool call as text: JSON in a string, or plain JSON. Null is empty.
pub(super) fn written(value: &Value) -> String {
    match value {
        Value::Object(_) => value.to_string(),
        other => text(other),
    }
}

/// A non-empty string.
pub(super) fn some_text(value: &Value) -> Option<String> {
    Some(text(value)).filter(|text| !text.is_empty())
}

/// A non-negative integer. Anything else is 0.
pub(super) fn count(value: &Value) -> u64 {
    match value {
        Value::Number(n) => n.as_u64().or_else(|| Some(n.as_f64()? as u64)).unwrap_or_default(),
        Value::String(digits) => {
            let digits = digits.trim();
            digits.parse().ok().or_else(|| Some(digits.parse::<f64>().ok()? as u64)).unwrap_or_default()
        }
        _ => 0,
    }
}

/// The elements of a list, without null. A single object counts as a list of one. Anything else is empty.
pub(super) fn list(value: &Value) -> impl DoubleEndedIterator<Item = &Value> {
    let list = match value {
        Value::Array(list) => list,
        Value::Object(fields) if !fields.is_empty() => std::slice::from_ref(value),
        _ => &[],
    };
    list.iter().filter(|element| !element.is_null())
}

/// The arguments of a tool call as an object, for dialects that require one. Other arguments are wrapped in
/// an object and marked as invalid, so that the conversation can continue.
pub(super) fn arguments(written: &str) -> Value {
    if written.trim().is_empty() {
        return Value::Object(Map::new());
    }
    match serde_json::from_str(written) {
        Ok(object @ Value::Object(_)) => object,
        // Some models write null for a tool without parameters.
        Ok(Value::Null) => Value::Object(Map::new()),
        _ => serde_json::json!({ "invalid_arguments": written }),
    }
}

/// Encodes the body of a request, with the caller's extra fields verbatim.
///
/// # Errors
/// [`ErrorKind::Input`] if it cannot be encoded.
pub(super) fn body(request: Map<String, Value>, extra: &Map<String, Value>) -> Result<Vec<u8>> {
    write(&with(request, extra))
}

/// The fields of a request with the extra fields of its prompt, which replace others of the same name.
pub(super) fn with(mut request: Map<String, Value>, extra: &Map<String, Value>) -> Map<String, Value> {
    for (name, value) in extra {
        request.insert(name.clone(), value.clone());
    }
    request
}

/// Like [`with`], but extra fields of an object that is in the request are added to it.
pub(super) fn merged(mut request: Map<String, Value>, extra: &Map<String, Value>) -> Map<String, Value> {
    for (name, value) in extra {
        match (request.get_mut(name), value) {
            (Some(Value::Object(set)), Value::Object(more)) => set.extend(more.clone()),
            _ => _ = request.insert(name.clone(), value.clone()),
        }
    }
    request
}

/// Encodes JSON.
///
/// # Errors
/// [`ErrorKind::Input`] if it cannot be encoded.
pub(super) fn write(request: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(request)
        .map_err(|e| Error::new(ErrorKind::Input, "the prompt cannot be written as JSON").with_source(e))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_stands_in_the_place_of_a_text_or_a_number_is_read() {
        assert_eq!(
            [json!("a"), json!(null), json!(7), json!(["b"])].map(|v| text(&v)),
            ["a", "", "7", "[\"b\"]"]
        );
        assert_eq!([json!({}), json!([]), json!(false), json!(true)].map(|v| text(&v)), [""; 4]);
        assert_eq!([json!({}), json!(null), json!("{}")].map(|v| written(&v)), ["{}", "", "{}"]);
        assert_eq!(
            [json!(3), json!(3.9), json!("3"), json!("3.0"), json!(-3), json!(null), json!("x")]
                .map(|v| count(&v)),
            [3, 3, 3, 3, 0, 0, 0]
        );
    }

    #[test]
    fn a_single_object_is_a_list_of_one_and_null_elements_are_skipped() {
        let elements = |value: Value| list(&value).cloned().collect::<Vec<_>>();
        assert_eq!(elements(json!([1, null, 2])), [json!(1), json!(2)]);
        assert_eq!(elements(json!({ "a": 1 })), [json!({ "a": 1 })]);
        for nothing in [json!({}), json!(""), json!(null), json!(0)] {
            assert_eq!(elements(nothing), [json!(null); 0]);
        }
    }

    #[test]
    fn the_last_value_that_is_not_null_counts() {
        let value = read(br#"{"a":"x","b":{"c":1,"c":null},"a":null,"d":1,"d":2,"e":null,"e":3}"#).unwrap();
        assert_eq!(value, json!({ "a": "x", "b": { "c": 1 }, "d": 2, "e": 3 }));
        let error = read(b"{\"a\":NaN,\"b\"").unwrap_err();
        assert_eq!(error.column(), 6, "positions are those of the original: {error}");
    }

    #[test]
    fn arguments_other_than_an_object_are_marked_as_invalid() {
        assert_eq!(arguments(" "), json!({}));
        assert_eq!(arguments("{\"a\":1}"), json!({ "a": 1 }));
        assert_eq!(arguments("null"), json!({}));
        assert_eq!(arguments("[1]"), json!({ "invalid_arguments": "[1]" }));
        assert_eq!(arguments("{\"a"), json!({ "invalid_arguments": "{\"a" }));
    }
}
