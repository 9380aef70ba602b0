//! Arguments of `fanweave sim`.

use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use clap::Args;
use fanweave_sim::{First429, Flaky, Latency, Outage, Settings, parse_duration};

/// Run a simulated provider with configurable latency, limits and faults
#[derive(Debug, Args)]
#[command(after_help = "\
Models:
  echo       returns a checksum of the prompt, followed by the prompt
  any other  writes plausible text that follows the prompt's instructions, schemas and tools

Examples:
  fanweave sim --latency lognormal:600ms,0.4 --rpm 1500
  fanweave sim --port 0 --error-rate 0.02 --reset-rate 0.01
  fanweave sim --outage 5s..8s=502 --outage 20s..35s=refuse --flaky 0.05
  OPENAI_BASE_URL=http://127.0.0.1:8080/v1 OPENAI_API_KEY=any python my_program.py

GET /stats returns statistics; POST /reset clears them.")]
pub(crate) struct SimArgs {
    /// Port to listen on; 0 picks a free one
    #[arg(long, default_value_t = 8080)]
    port: u16,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    host: IpAddr,

    /// API key that requests must have [default: any key or none is accepted]
    #[arg(long, value_name = "KEY", env = "FANWEAVE_SIM_API_KEY", hide_env_values = true)]
    api_key: Option<String>,

    /// Available models, such as echo,writer [default: any name is accepted]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    models: Vec<String>,

    /// Random seed for latencies and faults
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Interleave the chunks of several tool calls in one streamed chat completion
    #[arg(long)]
    interleaved_calls: bool,

    /// Time to the first byte of an answer, such as 600ms or lognormal:600ms,0.4 (median, sigma)
    #[arg(long, default_value_t, help_heading = "Speed")]
    latency: Latency,

    /// Delay between the chunks of a stream
    #[arg(long, default_value = "0", value_parser = parse_duration, value_name = "TIME", help_heading = "Speed")]
    chunk_delay: Duration,

    /// Chunks per stream; 0 means one per word
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Speed")]
    chunks: usize,

    /// Requests per minute
    #[arg(long, value_name = "N", help_heading = "Limits")]
    rpm: Option<NonZeroU32>,

    /// Tokens per minute, input and output combined
    #[arg(long, value_name = "N", help_heading = "Limits")]
    tpm: Option<NonZeroU32>,

    /// Burst size of the limits per minute, as a time: with 1s, 60 rpm allows one request per second
    #[arg(long, default_value = "1s", value_parser = parse_duration, value_name = "TIME", help_heading = "Limits")]
    quantum: Duration,

    /// Maximum concurrent requests; further ones get a 429 without a reason
    #[arg(long, value_name = "N", help_heading = "Limits")]
    max_in_flight: Option<NonZeroUsize>,

    /// Fraction of requests answered with HTTP 500 or 503, 0 to 1
    #[arg(long, default_value_t = 0.0, value_parser = parse_rate, allow_negative_numbers = true, value_name = "RATE", help_heading = "Faults")]
    error_rate: f64,

    /// Fraction of answers interrupted by a TCP reset
    #[arg(long, default_value_t = 0.0, value_parser = parse_rate, allow_negative_numbers = true, value_name = "RATE", help_heading = "Faults")]
    reset_rate: f64,

    /// Fraction of requests that are never answered
    #[arg(long, default_value_t = 0.0, value_parser = parse_rate, allow_negative_numbers = true, value_name = "RATE", help_heading = "Faults")]
    hang_rate: f64,

    /// Fraction of answers that are truncated without a connection error
    #[arg(long, default_value_t = 0.0, value_parser = parse_rate, allow_negative_numbers = true, value_name = "RATE", help_heading = "Faults")]
    truncate_rate: f64,

    /// Fraction of requests that fail: 0.3 with HTTP 500, 0.3=503 with another status, 0.3=reset with a TCP
    /// reset
    #[arg(long, value_name = "RATE[=HOW]", help_heading = "Faults")]
    flaky: Option<Flaky>,

    /// Fraction of non-streamed answers followed by an unsolicited copy (HTTP/1.1)
    #[arg(long, default_value_t = 0.0, value_parser = parse_rate, allow_negative_numbers = true, value_name = "RATE", help_heading = "Faults")]
    surplus: f64,

    /// Always answer requests whose prompt contains this text with HTTP 500
    #[arg(long, value_name = "TEXT", help_heading = "Faults")]
    poison: Option<String>,

    /// Outage of the provider, such as 5s..8s=502. Can be repeated
    ///
    /// Times are relative to the first request, or to the first one after POST /reset. KIND is a status from
    /// 400 to 599 (502, 504 and 520 to 526 have the HTML body of a proxy), or one of: refuse (connections are
    /// refused, open ones reset), reset (requests are read, then the connection is reset), hang (requests and
    /// unfinished answers are held until the outage ends), silence (requests are never answered), garbage
    /// (status 200 with HTML or incomplete JSON).
    #[arg(long, value_name = "FROM..UNTIL=KIND", help_heading = "Faults")]
    outage: Vec<Outage>,

    /// Answer the first requests with a 429 that asks to wait: 2s applies to requests within 2 s of the first
    /// one, 20:2s to the first 20 requests
    #[arg(long, value_name = "[N:]WAIT", help_heading = "Limits")]
    first_429: Option<First429>,

    /// Duration of a batch of /v1/batches
    #[arg(long, default_value = "0", value_parser = parse_duration, value_name = "TIME", help_heading = "Batches")]
    batch_time: Duration,

    /// Fraction of the requests of a batch that expire unanswered
    #[arg(long, default_value_t = 0.0, value_parser = parse_rate, allow_negative_numbers = true, value_name = "RATE", help_heading = "Batches")]
    batch_expiry_rate: f64,
}

impl SimArgs {
    pub(crate) fn settings(self) -> Settings {
        Settings {
            addr: SocketAddr::new(self.host, self.port),
            latency: self.latency,
            chunk_delay: self.chunk_delay,
            chunks: self.chunks,
            interleaved_calls: self.interleaved_calls,
            rpm: self.rpm.map(NonZeroU32::get),
            tpm: self.tpm.map(NonZeroU32::get),
            quantum: self.quantum,
            max_in_flight: self.max_in_flight.map(NonZeroUsize::get),
            error_rate: self.error_rate,
            reset_rate: self.reset_rate,
            hang_rate: self.hang_rate,
            truncate_rate: self.truncate_rate,
            flaky: self.flaky,
            surplus_rate: self.surplus,
            outages: self.outage,
            first_429: self.first_429,
            poison: self.poison,
            batch_time: self.batch_time,
            batch_expiry_rate: self.batch_expiry_rate,
            seed: self.seed,
            api_key: self.api_key,
            models: self.models,
        }
    }
}

/// Parses a fraction from 0 to 1.
fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        Ok(percent) if percent > 1.0 && percent <= 100.0 => {
            Err(format!("must be a number from 0 to 1 ({text} per cent is {})", percent / 100.0))
        }
        _ => Err("must be a number from 0 to 1, such as 0.02".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_in_per_cent_is_rejected_with_the_fraction() {
        assert_eq!(parse_rate("0.02"), Ok(0.02));
        assert_eq!(parse_rate("5").unwrap_err(), "must be a number from 0 to 1 (5 per cent is 0.05)");
        assert_eq!(parse_rate("-1").unwrap_err(), "must be a number from 0 to 1, such as 0.02");
    }

    fn settings(args: &[&str]) -> Settings {
        #[derive(clap::Parser)]
        struct Parsed {
            #[command(flatten)]
            args: SimArgs,
        }
        let parsed: Parsed = clap::Parser::parse_from([&["sim"], args].concat());
        parsed.args.settings()
    }

    #[test]
    fn faults_are_read_from_the_command_line() {
        let settings = settings(&[
            "--outage",
            "5s..8s=502",
            "--outage",
            "9s..10s=refuse",
            "--flaky",
            "0.3=reset",
            "--first-429",
            "20:2s",
            "--poison",
            "boom",
        ]);
        assert_eq!(settings.outages, ["5s..8s=502".parse(), "9s..10s=refuse".parse()].map(Result::unwrap));
        assert_eq!(settings.flaky, "0.3=reset".parse().ok());
        assert_eq!(settings.first_429, "20:2s".parse().ok());
        assert_eq!((settings.check(), settings.poison.as_deref()), (Ok(()), Some("boom")));
    }

    #[test]
    fn outages_that_overlap_are_refused_with_both_named() {
        let error = settings(&["--outage", "5s..8s=502", "--outage", "7s..9s=hang"]).check().unwrap_err();
        assert_eq!(error.to_string(), "the outages 5s..8s=502 and 7s..9s=hang overlap");
    }
}
