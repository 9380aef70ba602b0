//! Limit of the rows that may fail before a run stops.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// Number of rows of which a share is taken, at least: a few rows say little.
const MIN_ROWS: u64 = 20;

/// Maximum failed rows of a run, after which it stops.
///
/// ```
/// use fanweave::batch::MaxErrors;
///
/// assert_eq!("10".parse::<MaxErrors>()?, MaxErrors::Rows(10));
/// assert_eq!("5%".parse::<MaxErrors>()?, MaxErrors::Percent(5));
/// assert!("5.5%".parse::<MaxErrors>().is_err());
/// # Ok::<_, fanweave::batch::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxErrors {
    /// Number of rows. With 0, the first failed row stops the run.
    Rows(u64),
    /// Percentage of the rows that have ended, from the 20th on. From 0 to 99.
    Percent(u8),
}

impl FromStr for MaxErrors {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse().ok().filter(|percent| *percent < 100).map(Self::Percent),
            None => text.trim().parse().ok().map(Self::Rows),
        };
        read.ok_or_else(|| {
            Error::usage(format!(
                "`{text}` must be a number of rows, such as 10, or a percentage below 100, such as 5%"
            ))
        })
    }
}

impl fmt::Display for MaxErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rows(rows) => write!(f, "{rows}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// Counts the rows of a run against its limit.
#[derive(Debug, Default)]
pub(crate) struct ErrorCount {
    max: Option<MaxErrors>,
    ended: u64,
    failed: u64,
}

impl ErrorCount {
    pub(crate) fn new(max: Option<MaxErrors>) -> Self {
        Self { max, ..Self::default() }
    }

    /// Counts a row that has ended. Returns true if too many have failed.
    pub(crate) fn is_exceeded_by(&mut self, is_ok: bool) -> bool {
        self.ended += 1;
        self.failed += u64::from(!is_ok);
        match self.max {
            None => false,
            Some(MaxErrors::Rows(max)) => self.failed > max,
            Some(MaxErrors::Percent(max)) => {
                self.ended >= MIN_ROWS && self.failed * 100 > self.ended * u64::from(max)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_with_the_failed_row_that_exceeds_the_limit() {
        let stops_at = |max, failed: fn(u64) -> bool| {
            let mut count = ErrorCount::new(max);
            (1..=200).find(|n| count.is_exceeded_by(!failed(*n)))
        };
        assert_eq!(stops_at(None, |_| true), None);
        assert_eq!(stops_at(Some(MaxErrors::Rows(0)), |n| n == 7), Some(7));
        assert_eq!(stops_at(Some(MaxErrors::Rows(2)), |_| true), Some(3));
        assert_eq!(stops_at(Some(MaxErrors::Percent(0)), |n| n == 7), Some(20));
        assert_eq!(stops_at(Some(MaxErrors::Percent(50)), |n| n > 60), Some(121));
        assert_eq!(stops_at(Some(MaxErrors::Percent(50)), |n| n % 2 == 0), None);
    }
}
