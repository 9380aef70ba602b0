//! The table of provider errors. Its text is `errors.toml`; the rows are generated from it.
//!
//! A test compares the rows with the text and writes them again if they differ.

#[rustfmt::skip]
mod generated;

#[cfg(test)]
mod tests;

use fanweave_core::ErrorKind;

pub(crate) use self::generated::REFUSALS;
use super::read::Field;

/// A row. Every condition that is set must match; a condition with several values matches any of them.
#[derive(Debug)]
pub(super) struct Row {
    /// Names of vendors. Default: any, because most servers are reached as another vendor with their own base
    /// URL.
    pub(super) vendor: &'static [&'static str],
    /// A failure inside a success has the status in its body; without one it matches any, if the row has a
    /// name or a message.
    pub(super) status: &'static [Statuses],
    /// Names in the body or in a header, case-insensitive.
    pub(super) name: &'static [Pattern],
    /// Kind of field that must hold the name. Default: any.
    pub(super) origin: Option<Field>,
    /// Parts of the message, case-insensitive.
    pub(super) message: &'static [Pattern],
    pub(super) kind: ErrorKind,
    /// Default: according to the kind.
    pub(super) retryable: Option<bool>,
    pub(super) scope: Scope,
    pub(super) daily: Option<Daily>,
}

impl Row {
    /// A row without conditions, for the fields that a row of the text does not set.
    const ANY: Self = Self {
        vendor: &[],
        status: &[],
        name: &[],
        origin: None,
        message: &[],
        kind: ErrorKind::Server,
        retryable: None,
        scope: Scope::Row,
        daily: None,
    };
}

/// Parts of the sentences by which servers refuse a field, in lower case.
#[derive(Debug)]
#[cfg_attr(test, derive(serde::Deserialize), serde(deny_unknown_fields))]
pub(crate) struct Refusals<S: 'static = &'static [&'static str]> {
    /// Of any field, whatever its value.
    pub(crate) parameter: S,
    /// Of a schema.
    pub(crate) format: S,
    /// Of a request that is not streamed.
    pub(crate) stream_only: S,
    /// Of a request that is streamed.
    pub(crate) not_streamed: S,
}

/// Requests that an error affects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(test, derive(serde::Deserialize), serde(rename_all = "snake_case"))]
pub(super) enum Scope {
    /// This request, or all requests for a while.
    #[default]
    Row,
    /// Every request with the same key and model, until a person intervenes.
    Account,
}

/// A quota per day, week or month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(test, derive(serde::Deserialize), serde(rename_all = "snake_case"))]
pub(super) enum Daily {
    /// The wait in the response does not refer to the quota.
    Always,
    /// A rate limit if the response asks to wait for at most two minutes.
    UnlessSoon,
}

/// A range of statuses: first and last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Statuses(u16, u16);

impl Statuses {
    /// No status: a failure in the body of a success that names none.
    const NONE: Self = Self(0, 0);

    pub(super) fn contain(self, status: u16) -> bool {
        (self.0..=self.1).contains(&status)
    }
}

/// Parts that must follow each other, in lower case. A single part is a whole name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pattern(&'static [&'static str]);

impl Pattern {
    pub(super) fn is_in(self, text: &Text) -> bool {
        self.0.iter().all(|piece| text.may_hold(piece)) && self.follow(&text.lower)
    }

    /// Returns true if `text` contains the parts in this order.
    fn follow(self, text: &str) -> bool {
        let mut rest = text;
        self.0.iter().all(|piece| match rest.find(piece) {
            Some(at) => {
                rest = &rest[at + piece.len()..];
                true
            }
            None => false,
        })
    }

    /// Returns true if `name`, in lower case, equals this pattern, or contains its parts if the pattern has
    /// several.
    pub(super) fn names(self, name: &str) -> bool {
        match self.0 {
            [whole] => *whole == name,
            _ => self.follow(name),
        }
    }
}

/// A message in lower case, with a set of the byte pairs in it. The set rejects nearly all patterns without a
/// search: a wave of rate limits matches the whole table once per response.
pub(super) struct Text {
    lower: String,
    pairs: Vec<u64>,
}

impl Text {
    pub(super) fn new(lower: String) -> Self {
        let mut pairs = vec![0; (1 << 16) / 64];
        for pair in lower.as_bytes().windows(2) {
            let at = Self::index(pair);
            pairs[at / 64] |= 1 << (at % 64);
        }
        Self { lower, pairs }
    }

    fn may_hold(&self, piece: &str) -> bool {
        piece.as_bytes().windows(2).map(Self::index).all(|at| self.pairs[at / 64] >> (at % 64) & 1 == 1)
    }

    fn index(pair: &[u8]) -> usize {
        usize::from(pair[0]) << 8 | usize::from(pair[1])
    }
}

/// All rows. The first match applies.
pub(super) fn rows() -> &'static [Row] {
    generated::ROWS
}
