//! A rate limit for the first requests.

use std::str::FromStr;
use std::time::Duration;

use super::ParseFaultError;
use crate::latency::parse_duration;

/// A rate limit for the first requests: they get a 429 with a wait. Later requests are not limited.
/// Written `2s` or `20:2s`.
///
/// ```
/// use fanweave_sim::First429;
/// use std::time::Duration;
///
/// assert_eq!("20:2s".parse(), Ok(First429 { wait: Duration::from_secs(2), requests: Some(20) }));
/// assert_eq!("2s".parse(), Ok(First429 { wait: Duration::from_secs(2), requests: None }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First429 {
    /// The wait in `Retry-After`.
    pub wait: Duration,
    /// Number of rejected requests. `None`: all that arrive within `wait` of the first request.
    pub requests: Option<u64>,
}

impl FromStr for First429 {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (requests, wait) = match text.split_once(':') {
            Some((requests, wait)) => {
                let requests = requests.trim().parse().map_err(|_| {
                    ParseFaultError::new(text, "must be WAIT or REQUESTS:WAIT, such as 2s or 20:2s")
                })?;
                (Some(requests), wait)
            }
            None => (None, text),
        };
        let wait = parse_duration(wait).map_err(|error| ParseFaultError::new(text, error.to_string()))?;
        Ok(Self { wait, requests })
    }
}
