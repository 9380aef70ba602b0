//! Settings of a simulated provider.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::faults::FaultRates;
use crate::latency::Latency;
use crate::trouble::{First429, Flaky, Outage};

/// Settings of a simulated provider. By default it answers immediately and without limits, on a free local
/// port.
///
/// ```
/// use fanweave_sim::{Latency, Settings};
/// use std::time::Duration;
///
/// let settings = Settings {
///     latency: Latency::Fixed(Duration::from_millis(600)),
///     rpm: Some(1500),
///     ..Settings::default()
/// };
/// assert!(settings.check().is_ok());
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Address to listen on. Port 0 selects a free port. Default `127.0.0.1:0`.
    pub addr: SocketAddr,
    /// Time before the first byte of an answer. Default none.
    pub latency: Latency,
    /// Pause before each chunk of a stream except the first. Default: none.
    pub chunk_delay: Duration,
    /// Number of chunks into which the text of a stream is split; 0 means one per word. Default 0.
    pub chunks: usize,
    /// Set if several tool calls in a streamed chat completion are interleaved: one chunk starts all of them,
    /// and each following chunk has a piece of the arguments of each. Default false: one call after the
    /// other.
    pub interleaved_calls: bool,
    /// Maximum requests per minute. Default: no limit.
    pub rpm: Option<u32>,
    /// Maximum tokens per minute, input and output combined. Default: no limit.
    pub tpm: Option<u32>,
    /// Burst size of the limits per minute, as a time. Default 1 s: like real providers, a limit of 60
    /// requests per minute then allows one per second.
    pub quantum: Duration,
    /// Maximum concurrent requests. Further requests get a 429 (Anthropic: 529) without `Retry-After`.
    /// Default: no limit.
    pub max_in_flight: Option<usize>,
    /// Share of requests answered with HTTP 500 or 503, from 0 to 1. Default 0.
    ///
    /// The total of the four shares of failing requests must not exceed 1. A retry is drawn independently.
    pub error_rate: f64,
    /// Share of requests whose answer is cut in half by a TCP reset, from 0 to 1. Default 0.
    pub reset_rate: f64,
    /// Share of requests that are never answered, from 0 to 1. Default 0.
    pub hang_rate: f64,
    /// Share of requests whose answer is closed cleanly after half of it, from 0 to 1. Default 0.
    pub truncate_rate: f64,
    /// Share of requests that fail, each drawn independently. Default: none.
    ///
    /// Independent of the four shares above. If both hit a request, this one applies.
    pub flaky: Option<Flaky>,
    /// Share of plain answers that are duplicated over HTTP/1.1, from 0 to 1. Default 0.
    ///
    /// The second one is an unsolicited response: a client that reuses the connection must not take it for
    /// the next answer.
    pub surplus_rate: f64,
    /// Periods during which the provider fails, measured from the first request. Default: none.
    ///
    /// They must not overlap. The simulator's own pages, such as `GET /stats`, are served during all outages
    /// except [`OutageKind::Refuse`](crate::OutageKind::Refuse).
    pub outages: Vec<Outage>,
    /// A rate limit for the first requests only. Default: none.
    pub first_429: Option<First429>,
    /// Text that makes a request fail with HTTP 500 if any string of its body contains it. Default: none.
    pub poison: Option<String>,
    /// Processing time of a batch of `/v1/batches`. Default 0: it has ended by the first poll.
    pub batch_time: Duration,
    /// Share of the requests of a batch that expire before they are answered, from 0 to 1. Default 0.
    pub batch_expiry_rate: f64,
    /// Seed of latencies and faults, but not of answers. Default 1.
    pub seed: u64,
    /// The key that every request must carry. Default: none, any or no key is accepted.
    pub api_key: Option<String>,
    /// Available models. Default: empty, every name is a model.
    pub models: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            latency: Latency::ZERO,
            chunk_delay: Duration::ZERO,
            chunks: 0,
            interleaved_calls: false,
            rpm: None,
            tpm: None,
            quantum: Duration::from_secs(1),
            max_in_flight: None,
            error_rate: 0.0,
            reset_rate: 0.0,
            hang_rate: 0.0,
            truncate_rate: 0.0,
            flaky: None,
            surplus_rate: 0.0,
            outages: Vec::new(),
            first_429: None,
            poison: None,
            batch_time: Duration::ZERO,
            batch_expiry_rate: 0.0,
            seed: 1,
            api_key: None,
            models: Vec::new(),
        }
    }
}

impl Settings {
    /// Validates the settings.
    ///
    /// # Errors
    ///
    /// If a rate is not from 0 to 1, the total of the rates exceeds 1, a limit is 0, the quantum is 0, two
    /// outages overlap, an outage is empty, a status is not from 400 to 599, or the poison is empty.
    pub fn check(&self) -> Result<(), SettingsError> {
        let rates = [
            ("error rate", self.error_rate),
            ("reset rate", self.reset_rate),
            ("hang rate", self.hang_rate),
            ("truncate rate", self.truncate_rate),
        ];
        if let Some((name, rate)) = rates.iter().find(|(_, rate)| !(0.0..=1.0).contains(rate)) {
            return Err(SettingsError(format!("the {name} must be from 0 to 1, not {rate}")));
        }
        let total: f64 = rates.iter().map(|(_, rate)| rate).sum();
        // Rounding can make the total of shares such as 0.1 + 0.2 + 0.7 slightly larger than 1.
        if total > 1.0 + 1e-9 {
            return Err(SettingsError(format!(
                "the rates of failing requests add up to {total}, more than 1"
            )));
        }
        let zero_limit = [
            ("rpm", self.rpm == Some(0)),
            ("tpm", self.tpm == Some(0)),
            ("max in flight", self.max_in_flight == Some(0)),
        ];
        if let Some((name, _)) = zero_limit.iter().find(|(_, is_zero)| *is_zero) {
            return Err(SettingsError(format!("a limit of 0 ({name}) would reject every request")));
        }
        for (name, rate) in
            [("batch expiry rate", self.batch_expiry_rate), ("surplus rate", self.surplus_rate)]
        {
            if !(0.0..=1.0).contains(&rate) {
                return Err(SettingsError(format!("the {name} must be from 0 to 1, not {rate}")));
            }
        }
        if self.quantum.is_zero() {
            return Err(SettingsError("the quantum must be longer than 0".to_owned()));
        }
        if self.poison.as_ref().is_some_and(String::is_empty) {
            return Err(SettingsError("the poison must not be empty: every request contains it".to_owned()));
        }
        self.flaky.as_ref().map_or(Ok(()), Flaky::check).map_err(SettingsError)?;
        Outage::check_all(&self.outages).map_err(SettingsError)?;
        Ok(())
    }

    pub(crate) fn fault_rates(&self) -> FaultRates {
        FaultRates {
            error: self.error_rate,
            reset: self.reset_rate,
            hang: self.hang_rate,
            truncate: self.truncate_rate,
            flaky: self.flaky,
        }
    }
}

/// An error in [`Settings`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError(String);

impl std::fmt::Display for SettingsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingsError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trouble::Flake;

    fn with_outages(outages: &[&str]) -> Settings {
        let outages = outages.iter().map(|text| text.parse().unwrap()).collect();
        Settings { outages, ..Settings::default() }
    }

    #[test]
    fn impossible_settings_are_refused_with_a_reason() {
        let errors = [
            Settings { error_rate: 1.5, ..Settings::default() },
            Settings { hang_rate: f64::NAN, ..Settings::default() },
            Settings { error_rate: 0.6, reset_rate: 0.6, ..Settings::default() },
            Settings { rpm: Some(0), ..Settings::default() },
            Settings { quantum: Duration::ZERO, ..Settings::default() },
            with_outages(&["5s..8s=502", "9s..10s=hang", "7s..9s=refuse"]),
            with_outages(&["8s..5s=502"]),
            Settings { flaky: Some(Flaky { rate: 0.1, how: Flake::Status(200) }), ..Settings::default() },
            Settings { poison: Some(String::new()), ..Settings::default() },
            Settings { surplus_rate: 2.0, ..Settings::default() },
        ]
        .map(|settings| settings.check().unwrap_err().to_string())
        .join("\n");
        insta::assert_snapshot!(errors, @r"
        the error rate must be from 0 to 1, not 1.5
        the hang rate must be from 0 to 1, not NaN
        the rates of failing requests add up to 1.2, more than 1
        a limit of 0 (rpm) would reject every request
        the quantum must be longer than 0
        the outages 5s..8s=502 and 7s..9s=refuse overlap
        the outage 8s..5s=502 must end after it starts
        the status of flaky requests must be from 400 to 599, not 200
        the poison must not be empty: every request contains it
        the surplus rate must be from 0 to 1, not 2
        ");
        assert_eq!(with_outages(&["8s..9s=hang", "5s..8s=502"]).check(), Ok(()));
        assert_eq!(
            Settings { error_rate: 0.1, reset_rate: 0.2, hang_rate: 0.7, ..Settings::default() }.check(),
            Ok(())
        );
    }
}
