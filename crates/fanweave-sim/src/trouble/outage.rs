//! A period during which the provider fails in one way.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::ParseFaultError;
use crate::latency::parse_duration;

/// A period during which the provider fails in one way. Written `5s..8s=502`.
///
/// ```
/// use fanweave_sim::{Outage, OutageKind};
/// use std::time::Duration;
///
/// let outage: Outage = "5s..8s=refuse".parse()?;
/// assert_eq!(outage, Outage::new(Duration::from_secs(5), Duration::from_secs(8), OutageKind::Refuse));
/// assert_eq!(outage.to_string(), "5s..8s=refuse");
/// # Ok::<(), fanweave_sim::ParseFaultError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Start, as the time since the first request.
    pub from: Duration,
    /// End, as the time since the first request.
    pub until: Duration,
    /// Kind of failure.
    pub kind: OutageKind,
}

/// Kind of failure during an [`Outage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutageKind {
    /// Requests are answered immediately with this HTTP status, from 400 to 599. Written as the number.
    ///
    /// 502, 504 and 520 to 526 have an HTML body, as proxies send; all others have the JSON of the dialect.
    Status(u16),
    /// Connections are refused, and those that are open are reset. Written `refuse`.
    ///
    /// Afterwards the server listens again at the same address.
    Refuse,
    /// Requests are read, and then their connection is reset. Written `reset`.
    Reset,
    /// Requests, and answers that are being written, are held until the outage ends. Written `hang`.
    Hang,
    /// Requests are never answered, not even after the outage. Written `silence`.
    Silence,
    /// Requests are answered with status 200 and HTML or incomplete JSON. Written `garbage`.
    Garbage,
}

impl Outage {
    /// An outage between two times since the first request.
    #[must_use]
    pub fn new(from: Duration, until: Duration, kind: OutageKind) -> Self {
        Self { from, until, kind }
    }

    pub(crate) fn covers(&self, elapsed: Duration) -> bool {
        self.from <= elapsed && elapsed < self.until
    }

    /// Returns an error if an outage is empty or impossible, or if two overlap.
    pub(crate) fn check_all(outages: &[Self]) -> Result<(), String> {
        for outage in outages {
            if outage.from >= outage.until {
                return Err(format!("the outage {outage} must end after it starts"));
            }
            if matches!(outage.kind, OutageKind::Status(status) if !(400..600).contains(&status)) {
                return Err(format!("the status of the outage {outage} must be from 400 to 599"));
            }
        }
        let mut sorted = outages.to_vec();
        sorted.sort_by_key(|outage| outage.from);
        match sorted.windows(2).find(|pair| pair[1].from < pair[0].until) {
            Some(pair) => Err(format!("the outages {} and {} overlap", pair[0], pair[1])),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}..{:?}={}", self.from, self.until, self.kind)
    }
}

impl FromStr for Outage {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('=').and_then(|(times, kind)| Some((times.split_once("..")?, kind)));
        let Some(((from, until), kind)) = parts else {
            return Err(ParseFaultError::new(text, "must be FROM..UNTIL=KIND, such as 5s..8s=502"));
        };
        let time = |part| parse_duration(part).map_err(|error| ParseFaultError::new(text, error.to_string()));
        Ok(Self { from: time(from)?, until: time(until)?, kind: kind.parse()? })
    }
}

impl fmt::Display for OutageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Refuse => f.write_str("refuse"),
            Self::Reset => f.write_str("reset"),
            Self::Hang => f.write_str("hang"),
            Self::Silence => f.write_str("silence"),
            Self::Garbage => f.write_str("garbage"),
        }
    }
}

impl FromStr for OutageKind {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.trim() {
            "refuse" => Self::Refuse,
            "reset" => Self::Reset,
            "hang" => Self::Hang,
            "silence" => Self::Silence,
            "garbage" => Self::Garbage,
            status => match status.parse() {
                Ok(status) if (400..600).contains(&status) => Self::Status(status),
                _ => {
                    return Err(ParseFaultError::new(
                        text,
                        "must be a status from 400 to 599, refuse, reset, hang, silence or garbage",
                    ));
                }
            },
        })
    }
}
