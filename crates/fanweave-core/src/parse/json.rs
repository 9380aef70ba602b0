//! Parses the JSON of an answer.

use std::any::type_name;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::parse::parse_message;
use crate::parse::partial::Partial;
use crate::{Context, Delta, Error, ErrorKind, Message, Node, Result, Runnable, Streaming, excerpt};

/// Maximum bytes of an answer that an error message shows. 200: three lines.
const MAX_EXCERPT_BYTES: usize = 200;

/// The step that [`json`] and [`json_as`] make.
#[derive(Debug)]
pub struct Json<T>(PhantomData<fn() -> T>);

/// Returns the JSON of a message: fenced or bare, with prose around it.
///
/// Streams: emits the value so far as it grows, if it is an object or array. Strings grow, everything else
/// appears once complete.
///
/// The JSON begins after a code fence that comes before any bracket, otherwise at the first `{` or `[`, and
/// ends with that value. An answer without brackets is read as a whole: `42`.
///
/// # Errors
/// A run fails with [`ErrorKind::Parse`], naming the expected type and the location, if the answer contains
/// no JSON.
///
/// ```
/// use fanweave::{Message, chain, json};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let answer = Message::assistant("Here you are:\n```json\n{\"a\": 1}\n```");
/// assert_eq!(chain(json()).invoke(answer).await?["a"], 1);
/// # Ok(())
/// # }) }
/// ```
pub fn json() -> Json<Value> {
    json_as()
}

/// Like [`json`], deserialised to a `T`.
///
/// # Errors
/// A run fails with [`ErrorKind::Parse`], also if the JSON is not a valid `T`.
///
/// ```
/// use fanweave::{Message, chain, json_as};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let pair = chain(json_as::<(u8, u8)>()).invoke(Message::assistant("[1, 2]")).await?;
/// assert_eq!(pair, (1, 2));
/// # Ok(())
/// # }) }
/// ```
pub fn json_as<T: DeserializeOwned + Send + 'static>() -> Json<T> {
    Json(PhantomData)
}

impl<T: DeserializeOwned + Send + 'static> Runnable for Json<T> {
    const DRIVES_CALLS: bool = true;

    type Input = Message;
    type Output = T;

    async fn run(&self, message: Message, _: &Context) -> Result<T> {
        parse(&message.into_text())
    }

    fn streaming(&self) -> Streaming {
        let mut partial = Partial::default();
        Streaming::Through(Box::new(move |delta: Delta| {
            delta.as_text().and_then(|text| partial.push(text)).map(Delta::Value)
        }))
    }

    fn describe(&self) -> Node {
        Node::step("json")
    }
}

pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    let start = start(text);
    let found = first(&text[start..]).or_else(|error| {
        // Models write raw line breaks into strings, which JSON requires to be escaped.
        escape_controls(&text[start..]).map_or(Err(error), |escaped| first(&escaped))
    });
    found.map_err(|error| {
        let (line, column) = line_and_column(text, start, &error);
        let shown = excerpt(text.trim(), MAX_EXCERPT_BYTES);
        let wanted = wanted::<T>();
        let why = parse_message(&error);
        let why = why.split(" at line ").next().unwrap_or_default();
        let message = format!("expected {wanted}: {why} at line {line}, column {column} of {shown:?}");
        Error::new(ErrorKind::Parse, message).with_body(text).with_source(error)
    })
}

/// Description of the expected value.
fn wanted<T>() -> String {
    match type_name::<T>() {
        any if any == type_name::<Value>() => "JSON".to_owned(),
        one => format!("JSON of {one}"),
    }
}

/// The first value of `text`. The rest is prose.
fn first<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    T::deserialize(&mut serde_json::Deserializer::from_str(text))
}

/// The start of the JSON: the first of these candidates that exists.
fn start(text: &str) -> usize {
    let whole = text.len() - text.trim_start().len();
    let bracket = text.find(['{', '[']);
    // A fence after the first bracket is part of a string.
    if let Some(fence) = text.find("```").filter(|fence| bracket.is_none_or(|bracket| *fence < bracket)) {
        let inside = &text[fence + 3..];
        return text.len() - inside.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).len();
    }
    match text[whole..].chars().next() {
        Some('"') => whole,
        _ => bracket.unwrap_or(whole),
    }
}

/// Line and column of `error` in the whole answer, in which the JSON begins at `start`.
fn line_and_column(text: &str, start: usize, error: &serde_json::Error) -> (usize, usize) {
    let before = &text[..start];
    let line = before.matches('\n').count() + error.line();
    let offset = if error.line() == 1 { start - before.rfind('\n').map_or(0, |at| at + 1) } else { 0 };
    (line, offset + error.column())
}

/// `text` with the control characters inside its strings escaped. `None` without control
/// characters.
fn escape_controls(text: &str) -> Option<String> {
    let mut escaped = String::with_capacity(text.len() + 16);
    let (mut inside, mut backslash, mut changed) = (false, false, false);
    for c in text.chars() {
        if inside && c.is_ascii_control() && c < ' ' {
            changed = true;
            escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
            continue;
        }
        inside ^= c == '"' && !backslash;
        backslash = inside && c == '\\' && !backslash;
        escaped.push(c);
    }
    changed.then_some(escaped)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::parse;
    use crate::ErrorKind;

    #[test]
    fn fences_prose_a_brace_too_many_and_raw_newlines_are_tolerated() {
        let cases = [
            ("Sure:\n```json\n{\"a\": 1}\n```\nDone.", json!({"a": 1})),
            ("It is {\"a\": 1}}", json!({"a": 1})),
            ("{\"a\": \"x\ny\"}", json!({"a": "x\ny"})),
            ("{\"a\": \"``` [\"}", json!({"a": "``` ["})),
            (" 42 ", json!(42)),
        ];
        for (text, value) in cases {
            assert_eq!(parse::<Value>(text).expect(text), value);
        }
    }

    #[test]
    fn an_error_names_the_expected_value_and_the_location_with_an_excerpt() {
        let error = parse::<Vec<u8>>("See:\n[1, x]").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Parse);
        let start = "expected JSON of alloc::vec::Vec<u8>: expected value at line 2, column 5 of \"See:";
        assert!(error.to_string().starts_with(start), "{error}");
        let long = format!("[{}", "x".repeat(100_000));
        assert!(parse::<Value>(&long).unwrap_err().message().len() < 500);
        let quoted = format!("[\"{}\"]", "é".repeat(100_000));
        let error = parse::<Vec<u8>>(&quoted).unwrap_err();
        assert!(error.message().len() < 1000 && error.message().contains("expected u8"), "{error}");
    }

    #[test]
    fn deep_nesting_is_an_error() {
        assert_eq!(parse::<Value>(&"[".repeat(100_000)).unwrap_err().kind(), ErrorKind::Parse);
    }
}
