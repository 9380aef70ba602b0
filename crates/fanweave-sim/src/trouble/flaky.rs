//! A share of requests that fail, each drawn independently.

use std::fmt;
use std::str::FromStr;

use super::ParseFaultError;
use crate::draw::{self, Purpose};

/// A share of requests that fail in one way. Written `0.3`, `0.3=503` or `0.3=reset`.
///
/// Draws are per request number, so a retry is drawn independently.
///
/// ```
/// use fanweave_sim::{Flake, Flaky};
///
/// assert_eq!("0.3".parse(), Ok(Flaky { rate: 0.3, how: Flake::Status(500) }));
/// assert_eq!("0.3=reset".parse(), Ok(Flaky { rate: 0.3, how: Flake::Reset }));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flaky {
    /// Share of requests that fail, from 0 to 1.
    pub rate: f64,
    /// Kind of failure.
    pub how: Flake,
}

/// Kind of failure of a flaky request. It fails after the latency, when its answer is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flake {
    /// With this HTTP status, from 400 to 599. Written as the number.
    Status(u16),
    /// With a reset of its connection before the first byte of the answer. Written `reset`.
    Reset,
}

impl Flaky {
    /// The failure of request number `seq`, if any.
    pub(crate) fn draw(&self, seed: u64, seq: u64) -> Option<Flake> {
        (draw::unit(seed, seq, Purpose::Flaky) < self.rate).then_some(self.how)
    }

    /// Returns an error if the rate is not a share or the status is not an error status.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.rate) {
            return Err(format!("the flaky rate must be from 0 to 1, not {}", self.rate));
        }
        if matches!(self.how, Flake::Status(status) if !(400..600).contains(&status)) {
            return Err(format!("the status of flaky requests must be from 400 to 599, not {}", self.how));
        }
        Ok(())
    }
}

impl fmt::Display for Flake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Reset => f.write_str("reset"),
        }
    }
}

impl FromStr for Flaky {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (rate, how) = text.split_once('=').unwrap_or((text, "500"));
        let how = match how.trim() {
            "reset" => Flake::Reset,
            status => Flake::Status(status.parse().map_err(|_| {
                ParseFaultError::new(text, "must be RATE, RATE=STATUS or RATE=reset, such as 0.3=503")
            })?),
        };
        let rate = rate.trim().parse().map_err(|_| {
            ParseFaultError::new(text, "the rate must be a share from 0 to 1, such as 0.3 or 0.3=503")
        })?;
        let flaky = Self { rate, how };
        flaky.check().map_err(|why| ParseFaultError::new(text, why))?;
        Ok(flaky)
    }
}
