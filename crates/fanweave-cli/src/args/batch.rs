//! Arguments of `fanweave batch`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{ModelArgs, RowArgs, ShowProgress, at_least_one, dollars};

/// Run a prompt for every row of files
///
/// The input is JSON Lines or a JSON list, CSV or TSV with a header, an Excel workbook, Parquet, plain text
/// with one prompt per line, or an OpenAI batch file, also compressed with gzip or Zstandard. The fields of a
/// row fill the prompt template. Without a template, each row needs a `prompt` or `messages` field; a row
/// with `messages` may set request parameters, such as `response_format`.
///
/// The output has one result per row, in input order, and is written when the run ends or stops. A failed row
/// has an `error` and does not affect other rows.
///
/// Finished rows are recorded in OUTPUT.journal. To resume after Ctrl-C or a crash, rerun the same command:
/// only the remaining rows are called. Limits, keys and retries may differ between the runs.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  fanweave batch questions.jsonl -o answers.jsonl --model sim/writer
  fanweave batch products.csv -o names.jsonl --model openai/gpt-5-mini \\
      --prompt 'Name a shop that sells {{ product }}.'
  fanweave batch orders.xlsx more/*.csv -o labels.xlsx --model openai/gpt-5-mini \\
      --prompt 'Which department handles this? {{ text }}'
  cat topics.txt | fanweave batch - -o - --model sim/writer --prompt 'Title: {{ input }}'

Exit codes:
  0    All rows succeeded
  1    The run failed
  2    Invalid arguments, file or setting; no calls were made
  3    Some rows failed
  4    All rows already had a result (with --fail-if-done)
  5    Stopped early; rerun the same command to resume
  130  Interrupted by a second signal

Press t during a run, or send SIGUSR1, to list the rows in flight.

To distribute rows over several models, list them with weights: with
--model openai/gpt-5-mini=3,openai/gpt-4o-mini=1 the first model gets three of every four rows.")]
pub(crate) struct BatchArgs {
    /// Input file, folder of input files, or - for stdin
    pub(crate) input: PathBuf,

    /// More input files or folders, read after the first one
    #[arg(value_name = "INPUT")]
    pub(crate) more_input: Vec<PathBuf>,

    /// Output file, or - for stdout
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    /// Prompt template. {{ name }} inserts the field `name` of the row, {{ row["a name"] }} a field whose
    /// name has blanks, and {{ input }} a line of plain text. @FILE reads the template from a file; use @@ to
    /// start with a literal @
    #[arg(short, long, value_name = "TEMPLATE|@FILE", help_heading = "Prompt")]
    pub(crate) prompt: Option<String>,

    /// Template of the system message, or @FILE to read it from a file
    #[arg(short, long, value_name = "TEMPLATE|@FILE", help_heading = "Prompt")]
    pub(crate) system: Option<String>,

    /// Ask for structured answers with these fields, such as 'name, age int, tags list, mood good|bad', or
    /// with a JSON schema: a file, or its text. The fields become columns in CSV, TSV and Parquet. An answer
    /// that does not fit is sent back at most twice; then its row fails
    #[arg(long, value_name = "FIELDS|FILE", help_heading = "Prompt")]
    pub(crate) schema: Option<String>,

    /// Maximum memory for rendering the templates of one row, in MiB [default: 192]
    #[arg(long, value_name = "MIB", value_parser = at_least_one::<NonZeroU32>, allow_negative_numbers = true, help_heading = "Prompt")]
    pub(crate) template_memory: Option<NonZeroU32>,

    /// Maximum rows in flight [default: 64]
    #[arg(short, long, value_name = "N", value_parser = at_least_one::<NonZeroUsize>, allow_negative_numbers = true, help_heading = "Rows")]
    pub(crate) concurrency: Option<NonZeroUsize>,

    /// Answers per row: call each row N times. The results have the number of their `sample`, from 0. A run
    /// with more samples keeps the answers that it has
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroU32>, allow_negative_numbers = true, conflicts_with_all = ["dedupe", "cache"], help_heading = "Rows")]
    pub(crate) samples: Option<NonZeroU32>,

    /// Drop an assistant's message at the end of the messages of rows, which is the answer in rows for
    /// fine-tuning
    #[arg(long, help_heading = "Rows")]
    pub(crate) drop_last_assistant: bool,

    #[command(flatten)]
    pub(crate) rows: RowArgs,

    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// Answer all rows with --model. By default, an OpenAI batch line, or a row with `messages`, that names a
    /// model is answered by it, with the provider and key of --model, which may be omitted if all rows name
    /// one. Several models in --model, and batch APIs, always apply to all rows
    #[arg(long, help_heading = "Model")]
    pub(crate) override_model: bool,

    /// Fallback model, called when the previous one fails. Can be repeated
    #[arg(long, value_name = "MODEL", help_heading = "Model")]
    pub(crate) fallback_model: Vec<String>,

    /// Wait for a failing provider to recover instead of calling the other models and keys
    #[arg(long, help_heading = "Model")]
    pub(crate) no_fallback_on_outage: bool,

    /// Environment variable that holds an API key. Can be repeated to distribute the rows over several keys,
    /// each with its own rate limits. A key that is rejected is disabled, and its rows use the remaining keys
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub(crate) key_env: Vec<String>,

    /// Send one request per row, or submit all rows to the provider's batch API, which takes up to 24 hours
    /// and costs half as much. With --retry-failed, rows of batches that the provider no longer has are
    /// submitted again. Flags for single requests cannot be used with batch-api: --concurrency,
    /// --max-in-flight, --tpm, --cache, --dedupe, --keep-going, --max-errors, --no-hedging,
    /// --no-fallback-on-outage, --override-model, --wait-for-quota, --budget-usd, --fallback-model and more
    /// than one --key-env
    #[arg(long, value_enum, default_value_t, value_name = "HOW", help_heading = "Model")]
    pub(crate) via: Via,

    #[cfg(feature = "workers")]
    #[command(flatten)]
    pub(crate) cluster: super::ClusterArgs,

    /// Make no calls: show the first prompts and estimate time, tokens and cost, with 500 output tokens per
    /// answer unless --max-tokens is set, for the rows that have no result yet. With --limit or --sample,
    /// also for all rows. Compares the cost with --budget-usd. Needs no API key
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

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// One request per row
    #[default]
    Calls,
    /// The provider's batch API (/v1/batches of OpenAI, /v1/messages/batches of Anthropic)
    BatchApi,
}

impl BatchArgs {
    /// The paths of all inputs.
    pub(crate) fn inputs(&self) -> Vec<PathBuf> {
        std::iter::once(&self.input).chain(&self.more_input).cloned().collect()
    }

    /// Returns true if the rows run at the workers of a broker.
    pub(crate) fn is_remote(&self) -> bool {
        #[cfg(feature = "workers")]
        return matches!(self.cluster.on, Some(super::On::Broker(_)));
        #[cfg(not(feature = "workers"))]
        return false;
    }
}
