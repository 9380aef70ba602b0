//! Arguments of `fanweave report` and `fanweave logs`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{at_least_one, duration};

/// Show the time, cost and failures of a run, or compare two runs
///
/// Reads the journal of the run, also while it is still in progress. Prints a summary by default, with
/// figures per model and per step of a chain; --html, --csv and --chrome-trace write a report, the rows or a
/// trace instead.
///
/// With two runs, their figures are printed side by side, and their rows are compared: the same input row is
/// found in both, also if the prompt or the model differs.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    fanweave report answers.jsonl\n  \
    fanweave report answers.jsonl --html report.html --input questions.jsonl\n  \
    fanweave report small.jsonl large.jsonl --html changes.html --csv changes.csv\n  \
    fanweave report answers.csv --failed failed.csv\n  \
    fanweave report answers.jsonl --chrome-trace trace.json   # for ui.perfetto.dev")]
pub(crate) struct ReportArgs {
    /// Output of `fanweave batch` or `fanweave run --rows`, or its journal
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,

    /// A second run to compare with it
    #[arg(value_name = "OTHER", conflicts_with_all = ["chrome_trace", "failed", "input"])]
    pub(crate) other: Option<PathBuf>,

    /// Write a self-contained HTML report: summary, timeline, latencies, failures and all rows; with two
    /// runs, their figures and answers side by side. `-` writes to stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Write the rows as CSV, or with two runs their answers side by side. `-` writes to stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,

    /// Write the rows of the input that failed to this file, as an input for another run: .csv, .tsv, .txt or
    /// JSON lines
    #[arg(long, value_name = "FILE")]
    pub(crate) failed: Option<PathBuf>,

    /// Write a trace for Perfetto or chrome://tracing. `-` writes to stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) chrome_trace: Option<PathBuf>,

    /// Input file of the run, for --failed and for the prompts in the HTML report [default: the original
    /// input, if unchanged]. Can be repeated for a run with several inputs, in their order
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Vec<PathBuf>,

    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show past calls of `fanweave ask` and `fanweave run`
///
/// Lists the latest ten calls, newest first. The history is a file that only you can read; it keeps the
/// latest 256 MiB. Calls of `fanweave batch` and `fanweave run --rows` are recorded in journals instead: see
/// `fanweave report`.
///
/// To disable the history, use --no-log, FANWEAVE_NO_LOG=1 or `log = false` in a configuration file.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
#[command(after_help = "Examples:\n  \
    fanweave logs\n  \
    fanweave logs --search tides --json\n  \
    fanweave logs show\n  \
    fanweave logs forget --older-than 30d")]
pub(crate) struct LogsArgs {
    #[command(subcommand)]
    pub(crate) command: Option<LogsCommand>,

    #[command(flatten)]
    pub(crate) list: LogsList,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LogsList {
    /// Maximum number of calls
    #[arg(short = 'n', long, value_name = "N", default_value = "10", value_parser = at_least_one::<NonZeroU32>, allow_negative_numbers = true)]
    pub(crate) limit: NonZeroU32,

    /// Only calls with this text in the prompt, answer or error
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) search: Option<String>,

    /// Only calls of models whose name contains this
    #[arg(short, long, value_name = "PART")]
    pub(crate) model: Option<String>,

    /// Only failed calls
    #[arg(long)]
    pub(crate) failed: bool,

    /// Print each call in full, as one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum LogsCommand {
    /// Print one call in full: the latest, or the one with this number
    Show {
        #[arg(value_name = "NUMBER")]
        id: Option<i64>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the path of the history
    Path,
    /// Delete calls from the history
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Forget {
        /// Delete calls older than this, such as 30d
        #[arg(long, value_name = "AGE", value_parser = duration, group = "which")]
        older_than: Option<Duration>,
        /// Delete all calls
        #[arg(long, group = "which")]
        all: bool,
    },
}
