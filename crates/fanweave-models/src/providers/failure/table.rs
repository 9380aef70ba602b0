//! The table of provider errors: `errors.toml`, parsed once.

use std::sync::OnceLock;

use fanweave_core::ErrorKind;
use serde::Deserialize;

use super::read::Field;

/// A row. Every condition that is set must match; a condition with several values matches any of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    /// Names of vendors. Default: any, because most servers are reached as another vendor with their own base
    /// URL.
    #[serde(default)]
    pub(super) vendor: Vec<String>,
    /// `429`, `4xx` or `400-499`. A failure inside a success has the status in its body; without one it
    /// matches any.
    #[serde(default)]
    pub(super) status: Vec<Statuses>,
    /// Names in the body or in a header, case-insensitive. `*` matches anything.
    #[serde(default)]
    pub(super) name: Vec<Pattern>,
    /// Kind of field that must hold the name. Default: any.
    #[serde(rename = "place")]
    pub(super) origin: Option<Field>,
    /// Parts of the message, case-insensitive. `*` matches anything.
    #[serde(default)]
    pub(super) message: Vec<Pattern>,
    pub(super) kind: ErrorKind,
    /// Default: according to the kind.
    pub(super) retryable: Option<bool>,
    #[serde(default)]
    pub(super) scope: Scope,
    pub(super) daily: Option<Daily>,
    /// The document that the row is based on.
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers of the table"))]
    pub(super) source: String,
}

/// Requests that an error affects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Scope {
    /// This request, or all requests for a while.
    #[default]
    Row,
    /// Every request with the same key and model, until a person intervenes.
    Account,
}

/// A quota per day, week or month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Daily {
    /// The wait in the response does not refer to the quota.
    Always,
    /// A rate limit if the response asks to wait for at most two minutes.
    UnlessSoon,
}

/// A range of statuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Statuses(u16, u16);

impl Statuses {
    pub(super) fn contain(self, status: u16) -> bool {
        (self.0..=self.1).contains(&status)
    }
}

impl TryFrom<String> for Statuses {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (first, last) = match text.strip_suffix("xx") {
            Some(hundreds) => (format!("{hundreds}00"), format!("{hundreds}99")),
            None => {
                let (first, last) = text.split_once('-').unwrap_or((&text, &text));
                (first.to_owned(), last.to_owned())
            }
        };
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) => Ok(Self(first, last)),
            _ => Err(format!("`{text}` is not a valid status: write 429, 4xx or 400-499")),
        }
    }
}

/// Parts that must follow each other, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(super) struct Pattern {
    pieces: Vec<String>,
    is_whole: bool,
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        let lower = text.to_lowercase();
        Self { is_whole: !lower.contains('*'), pieces: lower.split('*').map(str::to_owned).collect() }
    }
}

impl Pattern {
    pub(super) fn is_in(&self, text: &Text) -> bool {
        self.pieces.iter().all(|piece| text.may_hold(piece)) && self.follow(&text.lower)
    }

    /// Returns true if `text` contains the parts in this order.
    fn follow(&self, text: &str) -> bool {
        let mut rest = text;
        self.pieces.iter().all(|piece| match rest.find(&**piece) {
            Some(at) => {
                rest = &rest[at + piece.len()..];
                true
            }
            None => false,
        })
    }

    /// Returns true if `name`, in lower case, equals this pattern, or contains its parts if the pattern has a
    /// `*`.
    pub(super) fn names(&self, name: &str) -> bool {
        if self.is_whole { self.pieces.first().is_some_and(|piece| piece == name) } else { self.follow(name) }
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    row: Vec<Row>,
}

/// All rows. The first match applies.
pub(super) fn rows() -> &'static [Row] {
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    ROWS.get_or_init(|| {
        let table: Table = toml::from_str(include_str!("../errors.toml")).expect("a test reads the table");
        table.row
    })
}
