//! Command-line arguments.

mod sim;

use std::ffi::OsString;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

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
    Batch(BatchArgs),
    Ask(AskArgs),
    Run(RunArgs),
    Index(IndexArgs),
    Report(ReportArgs),
    Logs(LogsArgs),
    Models(ModelsArgs),
    Keys(KeysArgs),
    Config(ConfigArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
    Sim(SimArgs),
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

/// Run a prompt for every row of a file
///
/// The input is JSON Lines, CSV with a header, Parquet, plain text with one prompt per line, or an OpenAI
/// batch file. The fields of a row fill the prompt template. Without a template, each row needs a `prompt` or
/// `messages` field; a row with `messages` may set request parameters, such as `response_format`.
///
/// The output has one result per row, in input order, and is written when the run ends or stops. A failed row
/// has an `error` and does not affect other rows.
///
/// Finished rows are recorded in OUTPUT.journal. To resume after Ctrl-C or a crash, rerun the same command:
/// only the remaining rows are called. Limits, keys and retries may differ between the runs.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fanweave batch questions.jsonl -o answers.jsonl --model sim/writer
  fanweave batch products.csv -o names.jsonl --model openai/gpt-5-mini \\
      --prompt 'Name a shop that sells {{ product }}.'
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
    /// Input file, or - for stdin
    pub(crate) input: PathBuf,

    /// Output file, or - for stdout
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// Prompt template. {{ name }} inserts the field `name` of the row, and {{ input }} a line of plain text.
    /// @FILE reads the template from a file; use @@ to start with a literal @
    #[arg(short, long, value_name = "TEMPLATE|@FILE", help_heading = "Prompt")]
    pub(crate) prompt: Option<String>,

    /// Template of the system message, or @FILE to read it from a file
    #[arg(short, long, value_name = "TEMPLATE|@FILE", help_heading = "Prompt")]
    pub(crate) system: Option<String>,

    /// Maximum rows in flight [default: 64]
    #[arg(short, long, value_name = "N", value_parser = at_least_one_usize, allow_negative_numbers = true, help_heading = "Rows")]
    pub(crate) concurrency: Option<NonZeroUsize>,

    /// Input format: openai, jsonl, csv, parquet or text [default: auto-detected]
    #[arg(long, value_name = "FORMAT", help_heading = "Rows")]
    pub(crate) input_format: Option<String>,

    /// Output format: openai, jsonl, csv or parquet [default: from the output's extension, else the input
    /// format]
    #[arg(long, value_name = "FORMAT", help_heading = "Rows")]
    pub(crate) output_format: Option<String>,

    /// Write rows as they finish instead of in input order
    #[arg(long, help_heading = "Rows")]
    pub(crate) unordered: bool,

    /// Stop at the first row that cannot be read
    #[arg(long, help_heading = "Rows")]
    pub(crate) strict: bool,

    /// Retry rows that failed in an earlier run. With --via batch-api, also resubmit rows of batches that the
    /// provider no longer has
    #[arg(long, help_heading = "Rows")]
    pub(crate) retry_failed: bool,

    /// Send identical requests once and share the answer between the rows
    #[arg(long, help_heading = "Rows")]
    pub(crate) dedupe: bool,

    /// Continue even if the first rows are all rejected for the same reason. By default, the run stops in
    /// that case
    #[arg(long, help_heading = "Rows")]
    pub(crate) keep_going: bool,

    /// Disable hedged requests. By default, once no more rows are queued, a second request is sent for slow
    /// rows, for at most 5% of calls
    #[arg(long, help_heading = "Rows")]
    pub(crate) no_hedging: bool,

    /// Resume even if the input file has changed; unchanged rows keep their answers
    #[arg(long, conflicts_with = "fresh", help_heading = "Rows")]
    pub(crate) resume_changed: bool,

    /// Start from scratch: discard the journal and overwrite the output
    #[arg(long, help_heading = "Rows")]
    pub(crate) fresh: bool,

    /// Exit with code 4 if all rows already have a result
    #[arg(long, help_heading = "Rows")]
    pub(crate) fail_if_done: bool,

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
    /// and costs half as much. Flags for single requests cannot be used with batch-api: --concurrency,
    /// --max-in-flight, --tpm, --cache, --dedupe, --keep-going, --no-hedging, --no-fallback-on-outage,
    /// --budget-usd, --fallback-model and more than one --key-env
    #[arg(long, value_enum, default_value_t, value_name = "HOW", help_heading = "Model")]
    pub(crate) via: Via,

    /// Make no calls: show the first prompts and estimate time, tokens and cost, with 500 output tokens per
    /// answer unless --max-tokens is set. Needs no API key
    #[arg(long, conflicts_with = "json", help_heading = "Cost")]
    pub(crate) dry_run: bool,

    /// Budget in US dollars for all rows, including earlier runs of this output. No row is started that could
    /// exceed it
    #[arg(long, value_name = "USD", value_parser = dollars, allow_negative_numbers = true, help_heading = "Cost")]
    pub(crate) budget_usd: Option<f64>,

    /// TOML file with model prices, used instead of the built-in ones (format: see `fanweave models --help`)
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

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShowProgress {
    /// A panel on a terminal, otherwise lines
    #[default]
    Auto,
    /// A panel that is updated in place
    Bar,
    /// A line every 10 seconds
    Counter,
    /// Only the summary
    None,
}

/// Ask a question and stream the answer
///
/// The prompt is the arguments followed by standard input.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fanweave ask --model sim/writer \"Write a haiku about tides.\"
  git diff | fanweave ask --model openai/gpt-5-mini \"Write a commit message for this change.\"
  fanweave ask --docs notes.db --model openai/gpt-5-mini \"When do tides turn?\"")]
pub(crate) struct AskArgs {
    /// The prompt
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: Vec<String>,

    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// System message, or @FILE to read it from a file; use @@ to start with a literal @
    #[arg(short, long, value_name = "TEXT|@FILE")]
    pub(crate) system: Option<String>,

    /// Print a JSON object with answer, usage and finish reason once the answer is complete
    #[arg(long)]
    pub(crate) json: bool,

    /// Do not record the calls in the history (`fanweave logs`)
    #[arg(long, env = "FANWEAVE_NO_LOG", value_parser = FalseyValueParser::new())]
    pub(crate) no_log: bool,

    /// Answer from the documents in this store (see `fanweave index`), and name the sources
    #[arg(long, value_name = "FILE", conflicts_with = "system", help_heading = "Documents")]
    pub(crate) docs: Option<PathBuf>,

    /// Maximum document chunks to retrieve
    #[arg(long, value_name = "N", default_value = "4", requires = "docs", help_heading = "Documents")]
    pub(crate) top: NonZeroUsize,

    /// Base URL of an OpenAI-compatible server for the store's embedding model
    #[arg(long, value_name = "URL", requires = "docs", help_heading = "Documents")]
    pub(crate) embeddings_url: Option<String>,
}

/// Index documents for retrieval
///
/// Reads text, Markdown, CSV and JSON from files and folders. Each document is split into chunks, and each
/// chunk is embedded. A document that is already in the store is replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fanweave index docs/ --store notes.db
  fanweave index report.md facts.csv --store facts.db --embeddings openai/text-embedding-3-small
  fanweave ask --docs notes.db --model openai/gpt-5-mini \"When do tides turn?\"")]
pub(crate) struct IndexArgs {
    /// Files and folders to index
    #[arg(value_name = "DOCS", required = true)]
    pub(crate) docs: Vec<PathBuf>,

    /// Path of the store; created if it does not exist
    #[arg(short, long, value_name = "FILE")]
    pub(crate) store: PathBuf,

    /// Embedding model as provider/model, or sim/words, which needs no API key and only matches words
    #[arg(short, long, env = "FANWEAVE_EMBEDDINGS", value_name = "MODEL", default_value = "sim/words")]
    pub(crate) embeddings: String,

    /// Base URL of an OpenAI-compatible server for the embedding model
    #[arg(long, value_name = "URL")]
    pub(crate) embeddings_url: Option<String>,

    /// Maximum chunk size in tokens (estimated at 4 bytes each)
    #[arg(long, value_name = "N", default_value = "200", value_parser = at_least_one_usize, allow_negative_numbers = true)]
    pub(crate) tokens: NonZeroUsize,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Only print errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Run a chain defined in a file
///
/// A chain file is YAML, or TOML if its name ends in .toml. It defines steps with prompts, the variables
/// passed between them, and steps that run once per item of another step's output. The file is checked before
/// any call is made. The output is streamed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fanweave run examples/article.yaml --model sim/writer --set topic='tidal power'
  fanweave run examples/article.yaml --check
  fanweave run examples/article.yaml --graph
  fanweave run examples/article.yaml --model openai/gpt-5-mini --rows examples/topics.txt --dry-run
  fanweave run examples/article.yaml --model sim/writer --rows examples/topics.txt -o articles.jsonl

With --rows, the fields of a row set the inputs of the same name. A line of plain text sets the only
input, or the one named `input`. The exit codes are those of `fanweave batch`.",
    // Rows need an output, unless it is a dry run.
    group = ArgGroup::new("ends").args(["output", "dry_run"]).multiple(true))]
pub(crate) struct RunArgs {
    /// Chain file
    pub(crate) file: PathBuf,

    /// Set an input of the chain. @FILE reads the value from a file; use @@ to start with a literal @
    #[arg(long, value_name = "NAME=VALUE|NAME=@FILE")]
    pub(crate) set: Vec<String>,

    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// Check the chain file without making calls
    #[arg(long, conflicts_with_all = ["graph", "rows", "json"])]
    pub(crate) check: bool,

    /// Print a diagram of the chain without making calls [possible values: tree, mermaid]
    #[arg(long, value_name = "HOW", num_args = 0..=1, default_missing_value = "tree", value_parser = ["tree", "mermaid"], hide_possible_values = true, conflicts_with_all = ["rows", "json"])]
    pub(crate) graph: Option<String>,

    /// Print the output as JSON once it is complete; with --rows, print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Do not record the calls in the history (`fanweave logs`). Calls of --rows are only recorded in the
    /// journal
    #[arg(long, env = "FANWEAVE_NO_LOG", value_parser = FalseyValueParser::new())]
    pub(crate) no_log: bool,

    /// Run the chain for every row of this file, or of stdin if it is -. The fields of a row set the inputs
    /// of the same name; strings are parsed like the values of --set
    #[arg(long, value_name = "FILE", requires = "ends", help_heading = "Rows")]
    pub(crate) rows: Option<PathBuf>,

    /// Output file for all rows, or - for stdout
    #[arg(short, long, value_name = "FILE", requires = "rows", help_heading = "Rows")]
    pub(crate) output: Option<PathBuf>,

    /// Maximum rows in flight, and maximum concurrent calls in total (also without --rows) [default: the
    /// chain file's limit, or 64 rows]
    #[arg(short, long, value_name = "N", value_parser = at_least_one_usize, allow_negative_numbers = true, help_heading = "Rows")]
    pub(crate) concurrency: Option<NonZeroUsize>,

    /// Format of --rows: jsonl, csv, parquet or text [default: auto-detected]
    #[arg(long, value_name = "FORMAT", requires = "rows", help_heading = "Rows")]
    pub(crate) input_format: Option<String>,

    /// Retry rows that failed in an earlier run
    #[arg(long, requires = "rows", help_heading = "Rows")]
    pub(crate) retry_failed: bool,

    /// Continue even if the first rows are all rejected for the same reason. By default, the run stops in
    /// that case
    #[arg(long, requires = "rows", help_heading = "Rows")]
    pub(crate) keep_going: bool,

    /// Disable hedged requests. By default, once no more rows are queued, a second request is sent for slow
    /// rows, for at most 5% of calls
    #[arg(long, requires = "rows", help_heading = "Rows")]
    pub(crate) no_hedging: bool,

    /// Start from scratch: discard the journal and overwrite the output
    #[arg(long, requires = "rows", help_heading = "Rows")]
    pub(crate) fresh: bool,

    /// Exit with code 4 if all rows already have a result
    #[arg(long, requires = "rows", help_heading = "Rows")]
    pub(crate) fail_if_done: bool,

    /// Make no calls: run the chain with simulated models, show the prompts of the first run and estimate
    /// time, tokens and cost. Needs no API key
    #[arg(long, conflicts_with_all = ["check", "graph", "json"], help_heading = "Cost")]
    pub(crate) dry_run: bool,

    /// Budget in US dollars for all calls, including all rows and earlier runs of this output [default: the
    /// chain file's budget, or none]
    #[arg(long, value_name = "USD", value_parser = dollars, allow_negative_numbers = true, help_heading = "Cost")]
    pub(crate) budget_usd: Option<f64>,

    /// TOML file with model prices, used instead of the built-in ones (format: see `fanweave models --help`)
    #[arg(long, value_name = "FILE", help_heading = "Cost")]
    pub(crate) prices: Option<PathBuf>,

    /// Progress display
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "HOW",
        requires = "rows",
        help_heading = "Progress"
    )]
    pub(crate) show_progress: ShowProgress,

    /// Only print errors
    #[arg(short, long, help_heading = "Progress")]
    pub(crate) quiet: bool,
}

/// Show the time, cost and failures of a run
///
/// Reads the journal of the run, also while it is still in progress. Prints a summary by default; --html and
/// --chrome-trace write a report or a trace instead.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    fanweave report answers.jsonl\n  \
    fanweave report answers.jsonl --html report.html --input questions.jsonl\n  \
    fanweave report answers.jsonl --chrome-trace trace.json   # for ui.perfetto.dev")]
pub(crate) struct ReportArgs {
    /// Output of `fanweave batch` or `fanweave run --rows`, or its journal
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,

    /// Write a self-contained HTML report: summary, timeline, latencies, failures and all rows. `-` writes to
    /// stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Write a trace for Perfetto or chrome://tracing. `-` writes to stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) chrome_trace: Option<PathBuf>,

    /// Input file of the run, to show prompts in the HTML report [default: the original input, if unchanged]
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,

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
    #[arg(short = 'n', long, value_name = "N", default_value = "10", value_parser = at_least_one_u32, allow_negative_numbers = true)]
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

/// List models, their prices, and providers
///
/// Prices are in US dollars per million tokens, as of the date shown. Models that are not listed can be
/// called as well.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  fanweave models
  fanweave models gpt-5
  fanweave models --json

A file for --prices has this form. These keys are optional: `cached_input`, `batch` (price of
the batch API, as a fraction) and `context` (tokens of the context window).

  date = \"2026-11-01\"
  [models.\"openai/gpt-5-mini\"]
  input = 0.25
  cached_input = 0.025
  output = 2.00
  batch = 0.5
  context = 400000")]
pub(crate) struct ModelsArgs {
    /// Only models and providers whose name contains this
    #[arg(value_name = "PART")]
    pub(crate) part: Option<String>,

    /// TOML file with model prices, used instead of the built-in ones (format: see below)
    #[arg(long, value_name = "FILE")]
    pub(crate) prices: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Manage stored API keys
///
/// Keys are stored in a file that only you can read. A key in the environment, such as OPENAI_API_KEY, takes
/// precedence. With --base-url, no stored key is sent.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    cat key.txt | fanweave keys set openai\n  \
    fanweave keys list\n  \
    fanweave keys path")]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum KeysCommand {
    /// Store a key, entered at a prompt or read from standard input
    Set {
        #[arg(value_name = "PROVIDER")]
        provider: String,
        /// Store the key in the system keyring; the file then only refers to it. Requires a build with the
        /// `keyring` feature
        #[arg(long)]
        keyring: bool,
    },
    /// List providers that have a key and where it is stored, without the key itself
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete a stored key
    Remove {
        #[arg(value_name = "PROVIDER")]
        provider: String,
    },
    /// Print the path of the key file
    Path,
}

/// Show the effective settings and the source of each
///
/// Flags take precedence, followed by FANWEAVE_MODEL and FANWEAVE_BASE_URL, fanweave.toml in the current
/// folder or its nearest parent, and your user config.toml.
///
/// Both files accept model, rpm, tpm, max-in-flight, timeout, retries, outage-timeout, cache, temperature,
/// max-tokens, log and an aliases table; base-url is only accepted in the user file. The path of a cache is
/// relative to the file that sets it.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    fanweave config show\n  \
    fanweave config path")]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) command: ConfigCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show the effective settings
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the paths of the configuration files
    Path,
}

/// Print shell completions
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    fanweave completions bash > fanweave.bash\n  \
    fanweave completions zsh > _fanweave\n  \
    fanweave completions fish > fanweave.fish")]
pub(crate) struct CompletionsArgs {
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// Write manual pages for all commands
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    fanweave man man1/")]
pub(crate) struct ManArgs {
    /// Folder for the pages; created if it does not exist
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

/// Options of the model. Shared by all commands that call one.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// Model as provider/model, such as openai/gpt-5-mini, or sim/writer, which needs no API key
    #[arg(short, long, env = "FANWEAVE_MODEL", value_name = "MODEL")]
    pub(crate) model: Option<String>,

    /// API base URL, such as http://127.0.0.1:8080/v1 for an OpenAI-compatible server
    #[arg(long, env = "FANWEAVE_BASE_URL", value_name = "URL")]
    pub(crate) base_url: Option<String>,

    /// Maximum requests per minute
    #[arg(long, value_name = "N", value_parser = at_least_one_u32, allow_negative_numbers = true)]
    pub(crate) rpm: Option<NonZeroU32>,

    /// Maximum tokens per minute, input and output combined
    #[arg(long, value_name = "N", value_parser = at_least_one_u32, allow_negative_numbers = true)]
    pub(crate) tpm: Option<NonZeroU32>,

    /// Maximum requests in flight, across all rows and steps
    #[arg(long, value_name = "N", value_parser = at_least_one_usize, allow_negative_numbers = true)]
    pub(crate) max_in_flight: Option<NonZeroUsize>,

    /// Request timeout, such as 30s or 2m [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,

    /// Maximum retries per request. Rejections with 429 do not count, and neither do failures during a
    /// provider outage, unless --outage-timeout is 0 [default: 5]
    #[arg(long, value_name = "N")]
    pub(crate) retries: Option<u32>,

    /// Maximum time to wait for a failing provider, such as 90s or 1h. With 0, a request fails after its
    /// retries [default: 10m for rows and 30s for a single prompt; 30s and 5s until the provider has answered
    /// once]
    #[arg(long, value_name = "DURATION", value_parser = duration_or_zero)]
    pub(crate) outage_timeout: Option<Duration>,

    /// Cache responses in this file and reuse them for identical requests
    #[arg(long, value_name = "FILE")]
    pub(crate) cache: Option<PathBuf>,

    /// Sampling temperature
    #[arg(long, value_name = "0..2", value_parser = temperature, allow_negative_numbers = true)]
    pub(crate) temperature: Option<f64>,

    /// Maximum output tokens per request
    #[arg(long, value_name = "N", value_parser = at_least_one_u32, allow_negative_numbers = true)]
    pub(crate) max_tokens: Option<NonZeroU32>,
}

fn at_least_one_usize(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "must be a whole number of at least 1".to_owned())
}

fn at_least_one_u32(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| "must be a whole number of at least 1".to_owned())
}

fn dollars(text: &str) -> Result<f64, String> {
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
