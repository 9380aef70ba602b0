//! Command-line arguments.

mod ask;
mod batch;
#[cfg(feature = "workers")]
mod cluster;
mod embed;
mod header;
mod model;
mod other;
mod param;
mod report;
mod rows;
mod run;
mod sim;

use std::ffi::OsString;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

pub(crate) use self::ask::{AskArgs, ChatArgs, IndexArgs, InitArgs};
pub(crate) use self::batch::{BatchArgs, Via};
#[cfg(feature = "workers")]
pub(crate) use self::cluster::{
    AccessArgs, BrokerArgs, BrokerCommand, BrokerCommandArgs, BrokerConfigArgs, ClusterArgs, CollectArgs,
    JobsArgs, JobsCommand, On, WorkerArgs,
};
pub(crate) use self::embed::EmbedArgs;
pub(crate) use self::header::{Header, HeaderFlag};
#[cfg(feature = "workers")]
pub(crate) use self::model::ConnectionArgs;
pub(crate) use self::model::{ModelArgs, split_share};
pub(crate) use self::other::{
    CompletionsArgs, ConfigArgs, ConfigCommand, KeysArgs, KeysCommand, ManArgs, ModelOrder, ModelsArgs,
};
pub(crate) use self::param::Param;
pub(crate) use self::report::{LogsArgs, LogsCommand, ReportArgs};
pub(crate) use self::rows::{CsvFormulas, RowArgs, ShowProgress, limit_templates};
#[cfg(feature = "workers")]
pub(crate) use self::run::RUN_MEMORY;
pub(crate) use self::run::RunArgs;
pub(crate) use self::sim::SimArgs;

/// Run many LLM calls concurrently, as fast as your rate limits allow, without losing results.
#[derive(Debug, Parser)]
#[command(name = "fanweave", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Try it without an API key:\n  \
    fanweave ask --model sim/writer \"Write a haiku about tides.\"\n  \
    fanweave batch questions.jsonl -o answers.jsonl --model sim/writer")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// When to use colour
    #[arg(long, value_enum, default_value_t, global = true, value_name = "WHEN")]
    pub(crate) color: Color,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Batch(Box<BatchArgs>),
    Ask(AskArgs),
    Chat(ChatArgs),
    Run(Box<RunArgs>),
    Embed(Box<EmbedArgs>),
    Index(IndexArgs),
    Report(ReportArgs),
    Logs(LogsArgs),
    Models(ModelsArgs),
    Keys(KeysArgs),
    Config(ConfigArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
    Init(InitArgs),
    Sim(SimArgs),
    #[cfg(feature = "workers")]
    Worker(Box<WorkerArgs>),
    #[cfg(feature = "workers")]
    Jobs(JobsArgs),
    #[cfg(feature = "workers")]
    Broker(BrokerCommandArgs),
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal unless NO_COLOR is set; elsewhere only if FORCE_COLOR is set
    #[default]
    Auto,
    Always,
    Never,
}

impl Color {
    /// Value of `--color` in the raw arguments. Needed before parsing, because clap colours its own error
    /// messages.
    pub(crate) fn from_raw_args(args: &[OsString]) -> Self {
        let args: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
        let value_at = |i: usize| match args[i].strip_prefix("--color")? {
            "" => args.get(i + 1).copied(),
            rest => rest.strip_prefix('='),
        };
        let value = (0..args.len()).find_map(value_at);
        value.and_then(|when| Self::from_str(when, false).ok()).unwrap_or_default()
    }

    /// The choice for one stream. `NO_COLOR` and terminals are looked at by the stream.
    pub(crate) fn choice(self) -> clap::ColorChoice {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        // `FORCE_COLOR=0` disables it, as in most programs.
        let is_forced = set("FORCE_COLOR").is_some_and(|value| value != "0");
        match self {
            // An empty variable counts as unset. `NO_COLOR` wins over `FORCE_COLOR`.
            Color::Auto if is_forced && set("NO_COLOR").is_none() => clap::ColorChoice::Always,
            Color::Auto => clap::ColorChoice::Auto,
            Color::Always => clap::ColorChoice::Always,
            Color::Never => clap::ColorChoice::Never,
        }
    }
}

/// Parses a `NonZero` number.
pub(super) fn at_least_one<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| "must be a whole number of at least 1".to_owned())
}

pub(super) fn dollars(text: &str) -> Result<f64, String> {
    let usd = text.trim_start_matches('$').parse::<f64>().ok().filter(|usd| usd.is_finite() && *usd > 0.0);
    usd.ok_or_else(|| "must be an amount in US dollars greater than 0, such as 2.50".to_owned())
}

pub(crate) fn temperature(text: &str) -> Result<f64, String> {
    let temperature = text.parse::<f64>().ok().filter(|value| (0.0..=2.0).contains(value));
    temperature.ok_or_else(|| "must be a number from 0 to 2".to_owned())
}

/// Parses a duration that may be 0.
pub(crate) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "must be a duration such as 500ms, 30s or 2m".to_owned())
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text)? {
        Duration::ZERO => Err("must be greater than 0".to_owned()),
        time => Ok(time),
    }
}
