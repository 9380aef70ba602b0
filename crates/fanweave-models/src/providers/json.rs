//! Lenient JSON access, for dialects whose answers consist of many small objects of many kinds: values that
//! are missing, null or of another type count as empty and never fail a call.

use fanweave_core::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::{Map, Value};

/// Parses a body or an event. The parser's error may quote the body, including keys: it is redacted as text,
/// and not kept as source.
///
/// # Errors
/// [`ErrorKind::Decode`] for invalid JSON.
pub(super) fn parse(json: &[u8], what: &str) -> Result<Value> {
    let read = serde_json::from_slice(json).or_else(|error| match repaired(json) {
        Some(repaired) => serde_json::from_str(&repaired),
        None => Err(error),
    });
    read.map_err(|e| Error::new(ErrorKind::Decode, format!("the response is not a valid {what}: {e}")))
}

/// Replaces each unpaired surrogate escape (`\uD800` to `\uDFFF`) with U+FFFD. `None` if the text has no such
/// escape.
///
/// Servers that split text by UTF-16 units send the halves of a character in separate chunks.
pub(super) fn repaired(json: &[u8]) -> Option<String> {
    let json = std::str::from_utf8(json).ok()?;
    let unit = |at: usize| {
        let digits = json.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u32::from_str_radix(digits, 16).ok()
    };
    let (mut repaired, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(found) = json[at..].find('\\') {
        at += found;
        at += match unit(at) {
            Some(0xD800..=0xDBFF) if matches!(unit(at + 6), Some(0xDC00..=0xDFFF)) => 12,
            Some(0xD800..=0xDFFF) => {
                repaired.extend([&json[copied..at], "\\ufffd"]);
                copied = at + 6;
                6
            }
            // Skip the character after the backslash, which may be a backslash itself.
            _ => 1 + json[at + 1..].chars().next().map_or(0, char::len_utf8),
        };
    }
    (copied > 0).then(|| repaired + &json[copied..])
}

/// A string. A number is formatted, a list or an object is written as JSON.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
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
        Value::String(digits) => digits.parse().unwrap_or_default(),
        _ => 0,
    }
}

/// The elements of a list. Anything else is empty.
pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
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
pub(super) fn body(mut request: Map<String, Value>, extra: &Map<String, Value>) -> Result<Vec<u8>> {
    for (name, value) in extra {
        request.insert(name.clone(), value.clone());
    }
    write(&request)
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
        assert_eq!(
            [json!(3), json!(3.9), json!("3"), json!(-3), json!(null)].map(|v| count(&v)),
            [3, 3, 3, 0, 0]
        );
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
