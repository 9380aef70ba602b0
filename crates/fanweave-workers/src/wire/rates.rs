//! Limits per minute.

use serde::{Deserialize, Serialize};

/// Requests and tokens per minute.
///
/// ```
/// use fanweave::workers::Rates;
///
/// let rates = Rates::new().requests(600.0);
/// assert!(rates.tokens_per_minute.is_none());
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Rates {
    /// Maximum requests per minute. Default: no limit.
    pub requests_per_minute: Option<f64>,
    /// Maximum tokens per minute, input and output combined. Default: no limit.
    pub tokens_per_minute: Option<f64>,
}

impl Rates {
    /// No limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the maximum requests per minute.
    #[must_use]
    pub fn requests(self, per_minute: f64) -> Self {
        Self { requests_per_minute: Some(per_minute), ..self }
    }

    /// Sets the maximum tokens per minute.
    #[must_use]
    pub fn tokens(self, per_minute: f64) -> Self {
        Self { tokens_per_minute: Some(per_minute), ..self }
    }

    /// The lower of each limit.
    pub(crate) fn min(self, other: Self) -> Self {
        let lower = |a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self {
            requests_per_minute: lower(self.requests_per_minute, other.requests_per_minute),
            tokens_per_minute: lower(self.tokens_per_minute, other.tokens_per_minute),
        }
    }

    pub(crate) fn times(self, share: f64) -> Self {
        let times = |limit: Option<f64>| limit.map(|limit| limit * share);
        Self {
            requests_per_minute: times(self.requests_per_minute),
            tokens_per_minute: times(self.tokens_per_minute),
        }
    }

    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }
}
