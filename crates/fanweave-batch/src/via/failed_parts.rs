//! What came of parts that the provider does not take or no longer has: told at the end, when all others are collected.

use crate::{Error, ErrorKind};

/// Most parts that are told of one by one.
const PARTS: usize = 3;
/// Most runs of lines that are named.
const RANGES: usize = 8;

/// Parts that came to nothing.
#[derive(Default)]
pub(super) struct FailedParts {
    said: Vec<String>,
    more: usize,
}

impl FailedParts {
    /// Takes note of one. `what` is a sentence without its end.
    pub(super) fn add(&mut self, what: String) {
        if self.said.len() < PARTS {
            self.said.push(what);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.said.is_empty()
    }

    /// All of them in a sentence.
    pub(super) fn told(&self) -> String {
        let mut told = self.said.join("; ");
        match self.more {
            0 => {}
            1 => told.push_str("; and one more part went the same way"),
            more => told.push_str(&format!("; and {more} more parts went the same way")),
        }
        told
    }

    /// The error of a run that could do all else.
    pub(super) fn error(&self) -> Error {
        Error::new(ErrorKind::Provider, format!("{}; all other rows are in the output", self.told()))
    }
}

/// The places of rows in the input: `lines 1-4, 7`.
pub(super) fn places(mut lines: Vec<u64>) -> String {
    lines.sort_unstable();
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
        return "rows that this run does not read".to_owned();
    };
    if first == last {
        return format!("line {first}");
    }
    let ranges = lines.chunk_by(|a, b| b - a <= 1).map(|range| match range {
        [first, .., last] => format!("{first}-{last}"),
        range => range.iter().map(ToString::to_string).collect(),
    });
    let mut ranges: Vec<_> = ranges.collect();
    if ranges.len() > RANGES {
        ranges.truncate(RANGES);
        ranges.push(format!(".. up to {last}"));
    }
    format!("lines {}", ranges.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_named_in_few_words() {
        assert_eq!(places(vec![7]), "line 7");
        assert_eq!(places(vec![9, 3, 1, 2]), "lines 1-3, 9");
        let odd = (0..500).map(|n| 2 * n + 1).collect();
        assert_eq!(places(odd), "lines 1, 3, 5, 7, 9, 11, 13, 15, .. up to 999");
        assert_eq!(places(Vec::new()), "rows that this run does not read");
    }

    #[test]
    fn many_setbacks_make_no_long_error() {
        let mut failed_parts = FailedParts::default();
        (0..50).for_each(|n| failed_parts.add(format!("part {n} was refused")));
        assert_eq!(
            failed_parts.error().to_string(),
            "part 0 was refused; part 1 was refused; part 2 was refused; and 47 more parts went the same way; \
             all other rows are in the output"
        );
    }
}
