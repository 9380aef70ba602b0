//! Parsers: steps that read a model's answer.

pub mod choice;
pub mod json;
pub mod lines;
pub mod list;
#[cfg(feature = "regex")]
pub mod matches;
pub(crate) mod nulls;
pub(crate) mod partial;
pub mod repair;
pub mod structured;
pub mod text;
pub mod tool_calls;

use crate::{Error, ErrorKind, excerpt};

/// Maximum bytes of an answer that an error message shows. 200: three lines.
const MAX_EXCERPT_BYTES: usize = 200;

/// The error of an answer that does not have the expected form.
fn unreadable(expected: &str, found: &str) -> Error {
    let shown = excerpt(found.trim(), MAX_EXCERPT_BYTES);
    Error::new(ErrorKind::Parse, format!("expected {expected}, found {shown:?}")).with_body(found)
}

/// Shortens a parser's message, which may quote the whole value, to its beginning and its end, which names
/// the expected type.
pub(crate) fn parse_message(error: &serde_json::Error) -> String {
    let why = error.to_string();
    if why.len() <= 2 * MAX_EXCERPT_BYTES {
        return why;
    }
    let mut from = why.len() - MAX_EXCERPT_BYTES;
    while !why.is_char_boundary(from) {
        from += 1;
    }
    excerpt(&why, MAX_EXCERPT_BYTES) + &why[from..]
}
