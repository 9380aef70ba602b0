//! Parses the JSON of an answer.

use std::any::type_name;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::candidates::{self, Candidate, Kind, State};
use super::value_stream::ValueStream;
use super::{lenient, parse_message, path_message};
use crate::think;
use crate::{Context, Delta, Error, ErrorKind, Message, Node, Result, Runnable, Streaming, excerpt};

/// Maximum bytes of an answer that an error message shows. 200: three lines.
const MAX_EXCERPT_BYTES: usize = 200;

/// Maximum values of an answer that are not valid JSON. 16: each one is read twice.
const MAX_BROKEN: usize = 16;

/// The step that [`json`] and [`json_as`] make.
#[derive(Debug)]
pub struct Json<T> {
    reading: Reading,
    of: PhantomData<fn() -> T>,
}

/// The forms of JSON that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// The whole answer is JSON.
    Strict,
    /// A part of the answer is JSON.
    Within,
    /// Like [`Within`](Self::Within), then what is meant as JSON.
    Lenient,
}

/// The answers of a run are read leniently before a model is called for a better one.
#[derive(Debug)]
pub(super) struct BeforeRetry;

/// Returns the JSON of a message: fenced or bare, with prose around it.
///
/// The place of the JSON in an answer:
///
/// | the answer has | the JSON is |
/// |---|---|
/// | thinking at its beginning, such as `<think>..</think>` | in what follows |
/// | fences tagged `json` | the last one |
/// | fences without a tag | the last one |
/// | values in its text | the first that fits the type; for [`Value`] the last object or array |
/// | brackets of prose, such as `[as asked]`, `{name}` and `[link](target)` | not there |
/// | no brackets | the whole answer: `42` |
///
/// # Streaming
/// Emits the value so far as it grows, if it is an object or array. Strings grow, everything else appears
/// once complete, and nothing that was emitted is taken back: of several values the first one is streamed,
/// and only the run's output is certain to be the one above.
///
/// # Errors
/// A run fails with [`ErrorKind::Parse`], naming the expected type and the location, if the answer contains
/// no JSON, if it is truncated, or if what was meant as JSON cannot be read: another value of the answer does
/// not take its place.
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
/// use fanweave::{Message, chain, parsers::json_as};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let pair = chain(json_as::<(u8, u8)>()).invoke(Message::assistant("[1, 2]")).await?;
/// assert_eq!(pair, (1, 2));
/// # Ok(())
/// # }) }
/// ```
pub fn json_as<T: DeserializeOwned + Send + 'static>() -> Json<T> {
    Json { reading: Reading::Within, of: PhantomData }
}

impl<T> Clone for Json<T> {
    fn clone(&self) -> Self {
        Self { reading: self.reading, of: PhantomData }
    }
}

impl<T> Json<T> {
    /// Also reads what models write in place of JSON: trailing and missing commas, single and typographic
    /// quotes, keys and words without quotes, unescaped quotes within texts, `True`, `None` and `NaN` (which
    /// is `null`), comments, ellipses, tuples, sets and numbers of Python, invalid escapes, and the wrong
    /// closing bracket.
    ///
    /// It is tried only if the answer is not valid JSON, and makes nothing up: a truncated answer, a missing
    /// value and a missing colon stay errors. Streams emit the value up to the first such form.
    ///
    /// [`repair`](crate::repair()) and [`repaired`](crate::repaired) read like this by themselves, before
    /// they ask the model for a better answer.
    ///
    /// ```
    /// use fanweave::{Message, chain, json};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let answer = Message::assistant("{name: 'Ada', tags: ['a', 'b',], ok: True} // done");
    /// assert_eq!(chain(json().lenient()).invoke(answer).await?["tags"][1], "b");
    /// # Ok(())
    /// # }) }
    /// ```
    #[must_use]
    pub fn lenient(self) -> Self {
        Self { reading: Reading::Lenient, ..self }
    }

    /// Reads only answers that are JSON as a whole, apart from thinking: no fences, no prose.
    ///
    /// ```
    /// use fanweave::{Message, chain, json};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let strict = chain(json().strict());
    /// assert!(strict.invoke(Message::assistant("It is [1]")).await.is_err());
    /// assert_eq!(strict.invoke(Message::assistant("[1]")).await?[0], 1);
    /// # Ok(())
    /// # }) }
    /// ```
    #[must_use]
    pub fn strict(self) -> Self {
        Self { reading: Reading::Strict, ..self }
    }
}

impl<T: DeserializeOwned + Send + 'static> Runnable for Json<T> {
    const DRIVES_CALLS: bool = true;

    type Input = Message;
    type Output = T;

    async fn run(&self, message: Message, cx: &Context) -> Result<T> {
        let text = message.into_text();
        parse_in(&text, self.reading).or_else(|error| {
            let is_lenient = self.reading == Reading::Within && cx.extension::<BeforeRetry>().is_some();
            if is_lenient { parse_in(&text, Reading::Lenient) } else { Err(error) }
        })
    }

    fn streaming(&self) -> Streaming {
        let mut values = ValueStream::default();
        Streaming::Through(Box::new(move |delta: Delta| values.push(&delta).map(Delta::Value)))
    }

    fn describe(&self) -> Node {
        Node::step("json")
    }
}

pub(super) fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    parse_in(text, Reading::Within)
}

pub(super) fn parse_in<T: DeserializeOwned>(text: &str, reading: Reading) -> Result<T> {
    // The usual answer is one value.
    let whole = match serde_json::from_str(text.trim()) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let answer = think::answer(text);
    let before = text.len() - answer.len();
    if answer.trim().is_empty() && !text.trim().is_empty() {
        let message = format!("expected {}: the answer has only thinking", wanted::<T>());
        return Err(Error::new(ErrorKind::Parse, message).with_body(text).with_source(whole));
    }
    let mut failed = None;
    let found = if reading == Reading::Strict { Vec::new() } else { candidates::find(answer) };
    for candidate in order(found, answer, is_any::<T>()) {
        let found = match candidate.state {
            State::ClosedEarly => {
                Err(serde::de::Error::custom("the object has ended, but more members follow"))
            }
            _ => read(&answer[candidate.range.clone()]),
        };
        match found {
            Ok(value) => return Ok(value),
            Err(error) => failed = failed.or(Some((before + candidate.range.start, error))),
        }
        if candidate.state != State::Valid && answer[candidate.range].starts_with(['{', '[']) {
            // This was meant as the value: another one is not it.
            break;
        }
    }
    if reading == Reading::Lenient
        && let Some(value) = read_leniently(answer)
    {
        tracing::debug!(target: "fanweave", "read an answer that is not valid JSON");
        return Ok(value);
    }
    let (start, error) = match failed {
        Some(failed) => failed,
        None if before == 0 => (text.len() - text.trim_start().len(), whole),
        None => match serde_json::from_str(answer.trim()) {
            Ok(value) => return Ok(value),
            Err(error) => (text.len() - answer.trim_start().len(), error),
        },
    };
    let (line, column) = line_and_column(text, start, &error);
    let shown = excerpt(text.trim(), MAX_EXCERPT_BYTES);
    let wanted = wanted::<T>();
    // The path of a part that does not fit.
    let path = first::<Value>(&text[start..]).ok().map(|value| path_message::<T>(&value, &error));
    let why = path.unwrap_or_else(|| parse_message(&error));
    let why = why.split(" at line ").next().unwrap_or_default();
    let cut = if error.is_eof() && !answer.trim().is_empty() { "the JSON is truncated: " } else { "" };
    let message = format!("expected {wanted}: {cut}{why} at line {line}, column {column} of {shown:?}");
    Err(Error::new(ErrorKind::Parse, message).with_body(text).with_source(error))
}

/// Reads what is meant as JSON.
fn read_leniently<T: DeserializeOwned>(answer: &str) -> Option<T> {
    let (mut all, mut from) = (Vec::new(), 0);
    // The end of a broken value is known only once it was read. Others may follow it.
    for _ in 0..MAX_BROKEN {
        let found = candidates::find(&answer[from..]).into_iter().map(|candidate| Candidate {
            range: candidate.range.start + from..candidate.range.end + from,
            ..candidate
        });
        let found: Vec<_> = found.collect();
        let broken = found
            .iter()
            .find(|one| one.kind == Kind::Bare && one.state != State::Valid)
            .map(|one| one.range.start);
        let end = broken.and_then(|start| Some(start + lenient::read(&answer[start..]).ok()?.1));
        let Some(end) = end else {
            all.extend(found);
            break;
        };
        all.extend(found.into_iter().take_while(|one| Some(one.range.start) <= broken));
        from = end;
    }
    if all.is_empty() {
        return T::deserialize(lenient::read_whole(answer)?).ok();
    }
    for candidate in order(all, answer, is_any::<T>()) {
        let text = &answer[candidate.range.start..];
        let is_bracket = text.starts_with(['{', '[']);
        let value = match candidate.state {
            State::Valid => read(&answer[candidate.range]).ok(),
            _ if is_bracket => T::deserialize(lenient::read(text).ok()?.0).ok(),
            _ => lenient::read_whole(&answer[candidate.range]).and_then(|value| T::deserialize(value).ok()),
        };
        if value.is_some() {
            return value;
        }
    }
    None
}

/// Reads a candidate: an object or array with prose after it, or another value.
fn read<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    if !text.starts_with(['{', '[']) {
        return serde_json::from_str(text);
    }
    first(text).or_else(|error| {
        // Models write raw line breaks into strings, which JSON requires to be escaped.
        escape_controls(text).map_or(Err(error), |escaped| first(&escaped))
    })
}

/// The candidates in the order in which they are tried.
///
/// Fences tagged as JSON come first, then those without a tag, and of each the last: models show drafts and
/// examples before their answer. Of the values in the text, the first that fits a type is taken, and for any
/// value the last object or array that is not empty.
fn order(mut all: Vec<Candidate>, text: &str, any_value: bool) -> Vec<Candidate> {
    let reversed = |kind: Kind| kind != Kind::Bare || any_value;
    let is_empty = |candidate: &Candidate| {
        let inside = &text[candidate.range.clone()];
        candidate.state == State::Valid
            && inside.get(1..inside.len() - 1).is_some_and(|inside| inside.trim().is_empty())
    };
    all.sort_by_key(|candidate| {
        let start = candidate.range.start;
        // Empty values come after all others, the first one first.
        let is_empty = any_value && is_empty(candidate);
        let at = if reversed(candidate.kind) && !is_empty { usize::MAX - start } else { start };
        (candidate.kind, is_empty, at)
    });
    all
}

/// Returns true if `T` is any JSON value.
pub(crate) fn is_any<T>() -> bool {
    type_name::<T>() == type_name::<Value>()
}

/// Description of the expected value.
fn wanted<T>() -> String {
    if is_any::<T>() { "JSON".to_owned() } else { format!("JSON of {}", type_name::<T>()) }
}

/// The first value of `text`. The rest is prose.
fn first<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
    T::deserialize(&mut serde_json::Deserializer::from_str(text))
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
