//! Parts that the provider rejects or no longer has. Reported at the end, when all others are collected.

use crate::{Advice, Error, ErrorKind};

/// Maximum parts that are reported individually.
const MAX_PARTS: usize = 3;
/// Maximum ranges of lines in a message.
const MAX_RANGES: usize = 8;

/// Parts that failed.
#[derive(Default)]
pub(super) struct FailedParts {
    messages: Vec<String>,
    advice: Vec<Advice>,
    more: usize,
}

impl FailedParts {
    /// Adds a part. `message` is a sentence without its full stop.
    pub(super) fn add(&mut self, message: String, advice: impl IntoIterator<Item = Advice>) {
        self.advice.extend(advice);
        if self.messages.len() < MAX_PARTS {
            self.messages.push(message);
        } else {
            self.more += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// A message about all failed parts.
    fn message(&self) -> String {
        let mut message = self.messages.join("; ");
        match self.more {
            0 => {}
            1 => message.push_str("; and one more part failed"),
            more => message.push_str(&format!("; and {more} more parts failed")),
        }
        message
    }

    /// Adds them to an error that ended the run.
    pub(super) fn add_to(&self, error: Error) -> Error {
        error.adding(&self.message()).advising(self.advice.iter().cloned())
    }

    /// A note about them, for a run that was stopped.
    pub(super) fn note(&self) -> String {
        Error::new(ErrorKind::Provider, self.message()).advising(self.advice.iter().cloned()).to_string()
    }

    /// The error of a run in which everything else succeeded.
    pub(super) fn error(&self) -> Error {
        let message = format!("{}; all other rows are in the output", self.message());
        Error::new(ErrorKind::Provider, message).advising(self.advice.iter().cloned())
    }
}

/// Lines of rows in the input, such as `lines 1-4, 7`.
pub(super) fn line_ranges(mut lines: Vec<u64>) -> String {
    lines.sort_unstable();
    let (Some(first), Some(last)) = (lines.first(), lines.last()) else {
        return "rows outside this run's input".to_owned();
    };
    if first == last {
        return format!("line {first}");
    }
    let ranges = lines.chunk_by(|a, b| b - a <= 1).map(|range| match range {
        [first, .., last] => format!("{first}-{last}"),
        range => range.iter().map(ToString::to_string).collect(),
    });
    let mut ranges: Vec<_> = ranges.collect();
    if ranges.len() > MAX_RANGES {
        ranges.truncate(MAX_RANGES);
        ranges.push(format!(".. up to {last}"));
    }
    format!("lines {}", ranges.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_shortened_to_ranges() {
        assert_eq!(line_ranges(vec![7]), "line 7");
        assert_eq!(line_ranges(vec![9, 3, 1, 2]), "lines 1-3, 9");
        let odd = (0..500).map(|n| 2 * n + 1).collect();
        assert_eq!(line_ranges(odd), "lines 1, 3, 5, 7, 9, 11, 13, 15, .. up to 999");
        assert_eq!(line_ranges(Vec::new()), "rows outside this run's input");
    }

    #[test]
    fn the_error_of_many_failed_parts_is_short() {
        let mut failed_parts = FailedParts::default();
        (0..50).for_each(|n| failed_parts.add(format!("part {n} was rejected"), [Advice::Resubmit]));
        assert_eq!(
            failed_parts.error().to_string(),
            "part 0 was rejected; part 1 was rejected; part 2 was rejected; and 47 more parts failed; \
             all other rows are in the output; rerun the job to resubmit the missing rows"
        );
    }
}
