//! Arguments of `fanweave embed`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;

use super::{HeaderFlag, Param, RowArgs, ShowProgress, at_least_one, dollars};

/// Embed the text of every row of files
///
/// The inputs are those of `fanweave batch`. Without --prompt, the text of a row is its field `text`,
/// `input`, `prompt` or `content`, or a line of plain text. Rows are sent in groups. Finished rows are
/// recorded in OUTPUT.journal: the same command resumes.
///
/// The `answer` of a result is its vector. An output called .npy is a matrix for NumPy, with a row of NaN for
/// each failed row.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  fanweave embed texts.jsonl -o vectors.jsonl
  fanweave embed products.csv -o vectors.npy --embeddings openai/text-embedding-3-small \\
      --prompt '{{ name }}: {{ description }}'

The exit codes are those of `fanweave batch`.")]
pub(crate) struct EmbedArgs {
    /// Input files, folders of input files, or - for stdin
    #[arg(value_name = "INPUT", required = true)]
    pub(crate) inputs: Vec<PathBuf>,

    /// Output file: .jsonl, .csv, .tsv, .parquet, .xlsx or .npy, or - for stdout
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    /// Template of the text to embed, or @FILE to read it from a file
    #[arg(short, long, value_name = "TEMPLATE|@FILE")]
    pub(crate) prompt: Option<String>,

    /// Embedding model as provider/model, or sim/words, which needs no API key and only matches words
    #[arg(short, long, env = "FANWEAVE_EMBEDDINGS", value_name = "MODEL", default_value = "sim/words")]
    pub(crate) embeddings: String,

    /// Base URL of an OpenAI-compatible server for the embedding model
    #[arg(long, value_name = "URL")]
    pub(crate) embeddings_url: Option<String>,

    /// Set a parameter of the requests: dimensions=N, the length of the vectors, for models that have
    /// several, and those of the provider, such as input_type=query. VALUE is JSON or text. Can be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = Param::parse)]
    pub(crate) param: Vec<Param>,

    /// Send this header with every request, such as 'X-Team: search'. @FILE reads headers from a file, one
    /// per line, which keeps secrets out of the list of processes. Can be repeated
    #[arg(long, value_name = "NAME: VALUE|@FILE")]
    pub(crate) header: Vec<HeaderFlag>,

    /// Maximum texts per request
    #[arg(long, value_name = "N", default_value = "64", value_parser = at_least_one::<NonZeroUsize>, allow_negative_numbers = true)]
    pub(crate) per_request: NonZeroUsize,

    /// Maximum rows in flight [default: 4 times --per-request]
    #[arg(short, long, value_name = "N", value_parser = at_least_one::<NonZeroUsize>, allow_negative_numbers = true, help_heading = "Rows")]
    pub(crate) concurrency: Option<NonZeroUsize>,

    #[command(flatten)]
    pub(crate) rows: RowArgs,

    /// Make no calls: show the first texts and estimate tokens and cost, for the rows that have no result
    /// yet. With --limit or --sample, also for all rows. Needs no API key
    #[arg(long, help_heading = "Cost")]
    pub(crate) dry_run: bool,

    /// Budget in US dollars for all rows, including earlier runs of this output. No row is started that could
    /// exceed it
    #[arg(long, value_name = "USD", value_parser = dollars, allow_negative_numbers = true, help_heading = "Cost")]
    pub(crate) budget_usd: Option<f64>,

    /// File with model prices, used instead of the built-in ones (format: see `fanweave models --help`)
    #[arg(long, value_name = "FILE", help_heading = "Cost")]
    pub(crate) prices: Option<PathBuf>,

    /// Progress display
    #[arg(long, value_enum, default_value_t, value_name = "HOW", help_heading = "Progress")]
    pub(crate) show_progress: ShowProgress,

    /// Only print errors
    #[arg(short, long, help_heading = "Progress")]
    pub(crate) quiet: bool,

    /// Print the summary as JSON to stdout
    #[arg(long, help_heading = "Progress")]
    pub(crate) json: bool,
}
