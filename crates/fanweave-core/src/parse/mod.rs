//! Parsers: steps that read a model's answer.

pub mod choice;
pub mod json;
pub mod lines;
pub mod list;
pub mod matches;
pub(crate) mod nulls;
pub(crate) mod partial;
pub mod repair;
pub mod structured;
pub mod text;
pub mod tool_calls;

use crate::{Error, ErrorKind, excerpt};

/// Most bytes of an answer that the message of an error shows. 200: three lines.
const SHOWN_BYTES: usize = 200;

/// The error of an answer that is not what was expected.
fn unreadable(expected: &str, found: &str) -> Error {
    let shown = excerpt(found.trim(), SHOWN_BYTES);
    Error::new(ErrorKind::Parse, format!("expected {expected}, found {shown:?}")).with_body(found)
}
