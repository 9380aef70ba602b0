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
    let read = serde_json::from_slice(json).or_else(|error| match mended(json) {
        Some(mended) => serde_json::from_str(&mended),
        None => Err(error),
    });
    read.map_err(|e| Error::new(ErrorKind::Decode, format!("the answer is no {what}: {e}")))
}

/// JSON in which `\u` stands for halves of characters, with a mark in the place of each. `None` where there are none.
///
/// Servers that cut texts by their UTF-16 units send half of a character in one piece and half of it in the next.
pub(super) fn mended(json: &[u8]) -> Option<String> {
    let json = std::str::from_utf8(json).ok()?;
    let unit = |at: usize| {
        let digits = json.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u32::from_str_radix(digits, 16).ok()
    };
    let (mut mended, mut kept, mut at) = (String::new(), 0, 0);
    while let Some(found) = json[at..].find('\\') {
        at += found;
        at += match unit(at) {
            Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => 12,
            Some(0xD800..=0xDFFF) => {
                mended.extend([&json[kept..at], "\\ufffd"]);
                kept = at + 6;
                6
            }
            // Whatever it is, what follows the backslash is no beginning of another one.
            _ => 1 + json[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    (kept > 0).then(|| mended + &json[kept..])
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
