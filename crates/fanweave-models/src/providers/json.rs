//! JSON read leniently, for dialects whose answers are many small objects of many kinds: whatever is missing, null or
//! of another type is empty, and never fails a call.

use fanweave_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::{Map, Value};

/// A body or an event. The parser's error may quote it, key and all: it is redacted as text, and not kept as source.
///
/// # Errors
/// [`ErrorKind::Decode`] where it is no JSON.
pub(super) fn parse(json: &[u8], what: &str) -> Result<Value> {
    serde_json::from_slice(json)
        .map_err(|e| Error::new(ErrorKind::Decode, format!("the answer is no {what}: {e}")))
}

/// A text. A number is its digits, a list or an object its JSON.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A text that is not empty.
pub(super) fn some_text(value: &Value) -> Option<String> {
    Some(text(value)).filter(|text| !text.is_empty())
}

/// A number that counts. Anything else is 0.
pub(super) fn count(value: &Value) -> u64 {
    match value {
        Value::Number(n) => n.as_u64().or_else(|| Some(n.as_f64()? as u64)).unwrap_or_default(),
        Value::String(digits) => digits.parse().unwrap_or_default(),
        _ => 0,
    }
}

/// The elements of a list. Anything else has none.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The arguments of a tool call as an object, for dialects that want one. What a model wrote that is none is told as
/// such: the conversation must be able to go on.
pub(super) fn arguments(written: &str) -> Value {
    if written.trim().is_empty() {
        return Value::Object(Map::new());
    }
    match serde_json::from_str(written) {
        Ok(object @ Value::Object(_)) => object,
        // What some models write for a tool without parameters.
        Ok(Value::Null) => Value::Object(Map::new()),
        _ => serde_json::json!({ "invalid_arguments": written }),
    }
}

/// The body of a request, with the fields that the caller sets as they are.
///
/// # Errors
/// [`ErrorKind::Input`] where it cannot be written.
pub(super) fn body(mut request: Map<String, Value>, extra: &Map<String, Value>) -> Result<Vec<u8>> {
    for (name, value) in extra {
        request.insert(name.clone(), value.clone());
    }
    write(&request)
}

/// JSON as bytes.
///
/// # Errors
/// [`ErrorKind::Input`] where it cannot be written.
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
        assert_eq!(
            [json!(3), json!(3.9), json!("3"), json!(-3), json!(null)].map(|v| count(&v)),
            [3, 3, 3, 0, 0]
        );
    }

    #[test]
    fn arguments_that_are_no_object_are_told_as_such() {
        assert_eq!(arguments(" "), json!({}));
        assert_eq!(arguments("{\"a\":1}"), json!({ "a": 1 }));
        assert_eq!(arguments("null"), json!({}));
        assert_eq!(arguments("[1]"), json!({ "invalid_arguments": "[1]" }));
        assert_eq!(arguments("{\"a"), json!({ "invalid_arguments": "{\"a" }));
    }
}
