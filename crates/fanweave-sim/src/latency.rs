//! Latency until an answer starts.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::draw::{self, Purpose};

/// The time between a request and the first byte of its answer.
///
/// ```
/// use fanweave_sim::Latency;
///
/// let fixed: Latency = "600ms".parse()?;
/// let spread: Latency = "lognormal:600ms,0.4".parse()?;
/// assert_eq!(spread.to_string(), "lognormal:600ms,0.4");
/// assert_eq!(spread.sample(1, 0), spread.sample(1, 0), "the same request waits equally long");
/// # drop(fixed);
/// # Ok::<(), fanweave_sim::ParseLatencyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Latency {
    /// The same for every request. Written `600ms`.
    Fixed(Duration),
    /// Spread as the latencies of real providers are: most near the median, a few far above it.
    /// Written `lognormal:600ms,0.4`.
    LogNormal {
        /// Half of the requests take longer than this.
        median: Duration,
        /// Standard deviation of the natural logarithm of the latency. With 0.4, 1 % of requests take more
        /// than 2.5 times the median.
        sigma: f64,
    },
}

impl Latency {
    /// No latency at all.
    pub const ZERO: Self = Self::Fixed(Duration::ZERO);

    /// The latency of request number `seq` in a run with this `seed`.
    #[must_use]
    pub fn sample(&self, seed: u64, seq: u64) -> Duration {
        match *self {
            Self::Fixed(time) => time,
            Self::LogNormal { median, sigma } => {
                // Box-Muller: two uniform draws give one normal one.
                let radius = (-2.0 * draw::unit(seed, seq, Purpose::LatencyRadius).ln()).sqrt();
                let angle = std::f64::consts::TAU * draw::unit(seed, seq, Purpose::LatencyAngle);
                let factor = (sigma * radius * angle.cos()).exp();
                Duration::try_from_secs_f64(median.as_secs_f64() * factor)
                    .unwrap_or(MAX_LATENCY)
                    .min(MAX_LATENCY)
            }
        }
    }
}

/// Maximum duration. A larger value is most likely a typing mistake.
const MAX_LATENCY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Latency {
    fn default() -> Self {
        Self::ZERO
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(Duration::ZERO) => f.write_str("0"),
            Self::Fixed(time) => write!(f, "{time:?}"),
            Self::LogNormal { median, sigma } => write!(f, "lognormal:{median:?},{sigma}"),
        }
    }
}

impl FromStr for Latency {
    type Err = ParseLatencyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(parameters) = text.trim().strip_prefix("lognormal:") else {
            return parse_duration(text).map(Self::Fixed);
        };
        let (median, sigma) = parameters.split_once(',').ok_or_else(|| {
            ParseLatencyError::new(
                text,
                "a lognormal latency is a median and a sigma, such as lognormal:600ms,0.4",
            )
        })?;
        let median = parse_duration(median)?;
        match sigma.trim().parse::<f64>() {
            Ok(sigma) if (0.0..=5.0).contains(&sigma) => Ok(Self::LogNormal { median, sigma }),
            _ => Err(ParseLatencyError::new(text, "sigma must be a number from 0 to 5")),
        }
    }
}

/// Parses a duration such as `600ms`, `1.5s`, `2m`, `250us`, `10ns` or `0`.
///
/// # Errors
///
/// If the text is not a number with one of these units, is negative, or is longer than a day.
pub fn parse_duration(text: &str) -> Result<Duration, ParseLatencyError> {
    let trimmed = text.trim();
    if trimmed == "0" {
        return Ok(Duration::ZERO);
    }
    let unit_at = trimmed.find(|c: char| c.is_alphabetic() || c == 'µ').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(unit_at);
    let seconds_per_unit = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "" => return Err(ParseLatencyError::new(text, "a duration needs a unit, such as 600ms or 1.5s")),
        _ => return Err(ParseLatencyError::new(text, "the unit must be ns, us, ms, s or m")),
    };
    let number: f64 = number.trim().parse().map_err(|_| {
        ParseLatencyError::new(text, "a duration is a number and a unit, such as 600ms or 1.5s")
    })?;
    match Duration::try_from_secs_f64(number * seconds_per_unit) {
        Ok(time) if time <= MAX_LATENCY => Ok(time),
        Ok(_) => Err(ParseLatencyError::new(text, "a duration must not exceed a day")),
        Err(_) => Err(ParseLatencyError::new(text, "a duration must not be negative")),
    }
}

/// An invalid latency or duration, with the expected format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseLatencyError {
    text: String,
    advice: &'static str,
}

impl ParseLatencyError {
    fn new(text: &str, advice: &'static str) -> Self {
        Self { text: text.to_owned(), advice }
    }
}

impl fmt::Display for ParseLatencyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read `{}`: {}", self.text, self.advice)
    }
}

impl std::error::Error for ParseLatencyError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_is_read() {
        for (text, time) in
            [("600ms", 600_000), ("1.5s", 1_500_000), ("2m", 120_000_000), ("250us", 250), ("0", 0)]
        {
            assert_eq!(text.parse(), Ok(Latency::Fixed(Duration::from_micros(time))), "{text}");
        }
        let spread = Latency::LogNormal { median: Duration::from_millis(600), sigma: 0.4 };
        assert_eq!("lognormal:600ms,0.4".parse(), Ok(spread));
    }

    proptest! {
        #[test]
        fn a_latency_reads_back_as_it_is_shown(micros in 0u64..3_600_000_000, sigma in prop::option::of(0.0..5.0f64)) {
            let time = Duration::from_micros(micros);
            let latency = sigma.map_or(Latency::Fixed(time), |sigma| Latency::LogNormal { median: time, sigma });
            prop_assert_eq!(latency.to_string().parse(), Ok(latency));
        }
    }

    #[test]
    fn no_latency_is_shown_as_zero() {
        assert_eq!(Latency::ZERO.to_string(), "0");
    }

    #[test]
    fn an_unreadable_latency_says_what_one_looks_like() {
        let errors =
            ["600", "fast", "-1s", "3h", "9999m", "lognormal:600ms", "lognormal:600ms,x", "lognormal:1s,-1"]
                .map(|text| text.parse::<Latency>().unwrap_err().to_string())
                .join("\n");
        insta::assert_snapshot!(errors, @r"
        cannot read `600`: a duration needs a unit, such as 600ms or 1.5s
        cannot read `fast`: the unit must be ns, us, ms, s or m
        cannot read `-1s`: a duration must not be negative
        cannot read `3h`: the unit must be ns, us, ms, s or m
        cannot read `9999m`: a duration must not exceed a day
        cannot read `lognormal:600ms`: a lognormal latency is a median and a sigma, such as lognormal:600ms,0.4
        cannot read `lognormal:600ms,x`: sigma must be a number from 0 to 5
        cannot read `lognormal:1s,-1`: sigma must be a number from 0 to 5
        ");
    }

    #[test]
    fn half_of_the_lognormal_samples_exceed_the_median() {
        let latency = Latency::LogNormal { median: Duration::from_millis(600), sigma: 0.4 };
        let samples: Vec<_> = (0..10_000).map(|seq| latency.sample(1, seq)).collect();
        let above = samples.iter().filter(|time| **time > Duration::from_millis(600)).count();
        assert!((4_800..5_200).contains(&above), "{above} of 10,000");
        let far_above = samples.iter().filter(|time| **time > Duration::from_millis(1_520)).count();
        assert!((60..140).contains(&far_above), "{far_above} of 10,000");
    }
}
