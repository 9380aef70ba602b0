//! The command line, as clap reads it.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::FalseyValueParser;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::sim::SimArgs;

/// Many LLM calls at once: as fast as the account allows, nothing lost.
#[derive(Debug, Parser)]
#[command(name = "fanweave", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Try it without a key:\n  \
    fanweave ask --model sim/writer \"Write a haiku about tides.\"\n  \
    fanweave batch questions.jsonl -o answers.jsonl --model sim/writer")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// When to colour messages
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
    /// On a terminal, unless NO_COLOR is set; elsewhere where FORCE_COLOR is
    #[default]
    Auto,
    Always,
    Never,
}

impl Color {
    /// What the words of the command line say, before it is known whether they can be read: clap colours what it says of
    /// them.
    pub(crate) fn from_raw_args() -> Self {
        let words: Vec<String> = std::env::args_os().filter_map(|word| word.into_string().ok()).collect();
        let after = |i: usize| match words[i].strip_prefix("--color")? {
            "" => words.get(i + 1).map(String::as_str),
            rest => rest.strip_prefix('='),
        };
        let said = (0..words.len()).find_map(after);
        said.and_then(|when| Self::from_str(when, false).ok()).unwrap_or_default()
    }

    pub(crate) fn apply(self) {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        // 0 is no, as in most programs that know it.
        let is_forced = set("FORCE_COLOR").is_some_and(|value| value != "0");
        let choice = match self {
            // As `NO_COLOR`, it counts where it is not empty; of the two the one that asks for less wins.
            Color::Auto if is_forced && set("NO_COLOR").is_none() => anstream::ColorChoice::Always,
            Color::Auto => return,
            Color::Always => anstream::ColorChoice::Always,
            Color::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }
}

/// Answer every row of a file, many at once
///
/// Rows are JSON lines (each object's fields fill the template, or it has a `prompt` or `messages`), the
/// requests of an OpenAI batch file, CSV with a header line, or plain text with a prompt a line. Answers are
/// written as JSON lines in the order of the input, one for each row; a row that fails says why and leaves
/// the others alone.
///
/// Finished rows are kept in OUTPUT.journal as they finish: the same command, run again after Ctrl-C or a
/// crash, calls only what is missing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fanweave batch questions.jsonl -o answers.jsonl --model sim/writer
  fanweave batch products.csv -o names.jsonl --model openai/gpt-5-mini \\
      --prompt 'Name a shop that sells {{ product }}.'
  cat topics.txt | fanweave batch - -o - --model sim/writer --prompt 'Title: {{ input }}'

Exit codes:
  0  every row was answered        3  some rows failed
  1  the work could not be done    4  --fail-if-done: all rows had a result before
  2  wrong usage, nothing called   5  stopped; the same command resumes

While it runs, the key t or SIGUSR1 lists what is in flight and for how long.

Several models: --model openai/gpt-5-mini=3,openai/gpt-4o-mini=1 gives the first one three rows of four.")]
pub(crate) struct BatchArgs {
    /// File of rows, or - for stdin
    pub(crate) input: PathBuf,

    /// File for the answers, or - for stdout
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// Template of the prompt; {{ name }} is the row's field of that name, and {{ input }} a line of text. @FILE is one in a
    /// file, and @@ begins a text with one @
    #[arg(short, long, value_name = "TEMPLATE|@FILE", help_heading = "Prompt")]
    pub(crate) prompt: Option<String>,

    /// System message, a template too, or @FILE that holds one
    #[arg(short, long, value_name = "TEMPLATE|@FILE", help_heading = "Prompt")]
    pub(crate) system: Option<String>,

    /// Most rows in flight at once [default: 64]
    #[arg(short, long, value_name = "N", value_parser = at_least_one_usize, help_heading = "Rows")]
    pub(crate) concurrency: Option<NonZeroUsize>,

    /// What the input is: openai, jsonl, csv, parquet or text [default: found out]
    #[arg(long, value_name = "FORMAT", help_heading = "Rows")]
    pub(crate) input_format: Option<String>,

    /// What the output is: openai, jsonl, csv or parquet [default: by the output's name and the input]
    #[arg(long, value_name = "FORMAT", help_heading = "Rows")]
    pub(crate) output_format: Option<String>,

    /// Write answers as they finish instead of in input order
    #[arg(long, help_heading = "Rows")]
    pub(crate) unordered: bool,

    /// Stop at the first row that cannot be read
    #[arg(long, help_heading = "Rows")]
    pub(crate) strict: bool,

    /// Call rows again that failed in an earlier run; with --via batch-api, also those of a batch that the provider no longer
    /// has
    #[arg(long, help_heading = "Rows")]
    pub(crate) retry_failed: bool,

    /// Call equal requests once: rows that ask the same share one answer
    #[arg(long, help_heading = "Rows")]
    pub(crate) dedupe: bool,

    /// Call all rows, even if the first ones are all refused for the same reason. Otherwise the run stops then, and its rows
    /// are left
    #[arg(long, help_heading = "Rows")]
    pub(crate) keep_going: bool,

    /// Never send a late row a second time. Otherwise at most one call in twenty is, when no other row waits
    #[arg(long, help_heading = "Rows")]
    pub(crate) no_hedging: bool,

    /// Go on although the input has changed: rows that are still in it keep their answers
    #[arg(long, conflicts_with = "fresh", help_heading = "Rows")]
    pub(crate) resume_changed: bool,

    /// Start over: forget the journal and replace the output of an earlier run
    #[arg(long, help_heading = "Rows")]
    pub(crate) fresh: bool,

    /// End with exit code 4 if every row had a result before the run
    #[arg(long, help_heading = "Rows")]
    pub(crate) fail_if_done: bool,

    /// Call this model where the one before it fails. May be given several times
    #[arg(long, value_name = "MODEL", help_heading = "Model")]
    pub(crate) fallback_model: Vec<String>,

    /// Wait for a model whose provider is failing, instead of calling the other models and keys meanwhile
    #[arg(long, help_heading = "Model")]
    pub(crate) no_fallback_on_outage: bool,

    /// Environment variable that holds a key. Given several times, rows are spread over the keys, and each key has
    /// limits of its own. One that is refused for good leaves its rows to the others
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub(crate) key_env: Vec<String>,

    /// How rows reach the provider: a call each, or by the file through its batch API, which takes up to a day and
    /// costs half. What is about single calls is refused there: --concurrency, --max-in-flight, --tpm, --cache, --dedupe,
    /// --keep-going, --no-hedging, --budget-usd, --fallback-model and a second key
    #[arg(long, value_enum, default_value_t, value_name = "HOW", help_heading = "Model")]
    pub(crate) via: Via,

    /// Call nothing: show the first prompts, and what all of them may take and cost. Needs no key
    #[arg(long, conflicts_with = "json", help_heading = "Cost")]
    pub(crate) dry_run: bool,

    /// Most US dollars for all rows, earlier runs of the same output included: no row starts that might cross it
    #[arg(long, value_name = "USD", value_parser = dollars, help_heading = "Cost")]
    pub(crate) budget_usd: Option<f64>,

    /// Prices of models, in place of those built in
    #[arg(long, value_name = "FILE", help_heading = "Cost")]
    pub(crate) prices: Option<PathBuf>,

    /// What to show while it runs
    #[arg(long, value_enum, default_value_t, value_name = "HOW", help_heading = "Progress")]
    pub(crate) show_progress: ShowProgress,

    /// Show nothing but errors
    #[arg(short, long, help_heading = "Progress")]
    pub(crate) quiet: bool,

    /// Print the summary as a JSON object on stdout
    #[arg(long, help_heading = "Progress")]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// A call for each row
    #[default]
    Calls,
    /// The provider's batch API: OpenAI's /v1/batches or Anthropic's /v1/messages/batches
    BatchApi,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShowProgress {
    /// A panel on a terminal, lines elsewhere
    #[default]
    Auto,
    /// The panel
    Bar,
    /// A line every 10 seconds
    Counter,
    /// Nothing but the summary
    None,
}

/// Ask one question and print the answer as it arrives
///
/// What stands on the command line and what comes on stdin make the prompt, in that order.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fanweave ask --model sim/writer \"Write a haiku about tides.\"
  git diff | fanweave ask --model openai/gpt-5-mini \"Write a commit message for this change.\"
  fanweave ask --docs notes.db --model openai/gpt-5-mini \"When do tides turn?\"")]
pub(crate) struct AskArgs {
    /// The question
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: Vec<String>,

    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// System message, or @FILE that holds one; @@ begins a text with one @
    #[arg(short, long, value_name = "TEXT|@FILE")]
    pub(crate) system: Option<String>,

    /// Print one JSON object with answer, usage and finish reason when the answer is complete
    #[arg(long)]
    pub(crate) json: bool,

    /// Do not note the calls in the history that `fanweave logs` shows
    #[arg(long, env = "FANWEAVE_NO_LOG", value_parser = FalseyValueParser::new())]
    pub(crate) no_log: bool,

    /// Answer from the documents of a store that `fanweave index` has made, and say where the answer comes from
    #[arg(long, value_name = "FILE", conflicts_with = "system", help_heading = "Documents")]
    pub(crate) docs: Option<PathBuf>,

    /// Most pieces of documents to answer from
    #[arg(long, value_name = "N", default_value = "4", requires = "docs", help_heading = "Documents")]
    pub(crate) top: NonZeroUsize,

    /// A server that speaks the OpenAI dialect, for the embedding model of the store
    #[arg(long, value_name = "URL", requires = "docs", help_heading = "Documents")]
    pub(crate) embeddings_url: Option<String>,
}

/// Put documents into a store that questions can be answered from
///
/// Text, Markdown, CSV and JSON, from files and folders. Each document is split into pieces, and each piece embedded. A
/// document that is in the store already is replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fanweave index docs/ --store notes.db
  fanweave index report.md facts.csv --store facts.db --embeddings openai/text-embedding-3-small
  fanweave ask --docs notes.db --model openai/gpt-5-mini \"When do tides turn?\"")]
pub(crate) struct IndexArgs {
    /// Files and folders
    #[arg(value_name = "DOCS", required = true)]
    pub(crate) docs: Vec<PathBuf>,

    /// The store: a file, made where there is none
    #[arg(short, long, value_name = "FILE")]
    pub(crate) store: PathBuf,

    /// The embedding model: provider/model, or sim/words, which needs no key and finds texts by their words alone
    #[arg(short, long, env = "FANWEAVE_EMBEDDINGS", value_name = "MODEL", default_value = "sim/words")]
    pub(crate) embeddings: String,

    /// A server that speaks the OpenAI dialect, for the embedding model
    #[arg(long, value_name = "URL")]
    pub(crate) embeddings_url: Option<String>,

    /// Most tokens of a piece, of four bytes each
    #[arg(long, value_name = "N", default_value = "200", value_parser = at_least_one_usize)]
    pub(crate) tokens: NonZeroUsize,

    /// Print what was indexed as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Show nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Run a chain of calls that a file describes
///
/// The file is YAML, or TOML where its name ends so: steps with prompts, the variables between them, and which step goes
/// over the items of another. It is checked before anything is called. The answer is printed as it arrives.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fanweave run examples/article.yaml --model sim/writer --set topic='tidal power'
  fanweave run examples/article.yaml --check
  fanweave run examples/article.yaml --graph
  fanweave run examples/article.yaml --model openai/gpt-5-mini --rows examples/topics.txt --dry-run
  fanweave run examples/article.yaml --model sim/writer --rows examples/topics.txt -o articles.jsonl

A row of --rows fills the inputs of its names; a line of text fills the only input, or the one called `input`.
Exit codes with --rows are those of `fanweave batch`.",
    // Rows need somewhere to go, unless nothing is called.
    group = ArgGroup::new("ends").args(["output", "dry_run"]).multiple(true))]
pub(crate) struct RunArgs {
    /// The chain file
    pub(crate) file: PathBuf,

    /// Sets an input of the chain; @FILE is the text of a file, and @@ begins a text with one @
    #[arg(long, value_name = "NAME=VALUE|NAME=@FILE")]
    pub(crate) set: Vec<String>,

    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// Check the file and call nothing
    #[arg(long, conflicts_with_all = ["graph", "rows", "json"])]
    pub(crate) check: bool,

    /// Draw the chain and call nothing [possible values: tree, mermaid]
    #[arg(long, value_name = "HOW", num_args = 0..=1, default_missing_value = "tree", value_parser = ["tree", "mermaid"], hide_possible_values = true, conflicts_with_all = ["rows", "json"])]
    pub(crate) graph: Option<String>,

    /// Print the output as JSON when it is complete; with --rows, the summary
    #[arg(long)]
    pub(crate) json: bool,

    /// Do not note the calls in the history that `fanweave logs` shows. Those of --rows are in their journal alone
    #[arg(long, env = "FANWEAVE_NO_LOG", value_parser = FalseyValueParser::new())]
    pub(crate) no_log: bool,

    /// Run the chain for every row of this file, or of stdin where it is -: its fields are inputs, and texts among them are
    /// read as those of --set
    #[arg(long, value_name = "FILE", requires = "ends", help_heading = "Rows")]
    pub(crate) rows: Option<PathBuf>,

    /// File for the outputs of all rows, or - for stdout
    #[arg(short, long, value_name = "FILE", requires = "rows", help_heading = "Rows")]
    pub(crate) output: Option<PathBuf>,

    /// Most rows in flight at once, and most calls of all of them or of the one run [default: that of the file, or 64 rows]
    #[arg(short, long, value_name = "N", value_parser = at_least_one_usize, help_heading = "Rows")]
    pub(crate) concurrency: Option<NonZeroUsize>,

    /// What the rows are: jsonl, csv, parquet or text [default: found out]
    #[arg(long, value_name = "FORMAT", requires = "rows", help_heading = "Rows")]
    pub(crate) input_format: Option<String>,

    /// Run rows again that failed in an earlier run
    #[arg(long, requires = "rows", help_heading = "Rows")]
    pub(crate) retry_failed: bool,

    /// Call all rows, even if the first ones are all refused for the same reason. Otherwise the run stops then, and its rows
    /// are left
    #[arg(long, requires = "rows", help_heading = "Rows")]
    pub(crate) keep_going: bool,

    /// Never send a late row a second time. Otherwise at most one call in twenty is, when no other row waits
    #[arg(long, requires = "rows", help_heading = "Rows")]
    pub(crate) no_hedging: bool,

    /// Start over: forget the journal and replace the output of an earlier run
    #[arg(long, requires = "rows", help_heading = "Rows")]
    pub(crate) fresh: bool,

    /// End with exit code 4 if every row had a result before the run
    #[arg(long, requires = "rows", help_heading = "Rows")]
    pub(crate) fail_if_done: bool,

    /// Call nothing: show what the first run would ask, and what all of them may take and cost, with a simulated model in
    /// place of each. Needs no key
    #[arg(long, conflicts_with_all = ["check", "graph", "json"], help_heading = "Cost")]
    pub(crate) dry_run: bool,

    /// Most US dollars for all calls, those of all rows and of earlier runs of the same output included [default: that of
    /// the file, or none]
    #[arg(long, value_name = "USD", value_parser = dollars, help_heading = "Cost")]
    pub(crate) budget_usd: Option<f64>,

    /// Prices of models, in place of those built in
    #[arg(long, value_name = "FILE", help_heading = "Cost")]
    pub(crate) prices: Option<PathBuf>,

    /// What to show while it runs
    #[arg(
        long,
        value_enum,
        default_value_t,
        value_name = "HOW",
        requires = "rows",
        help_heading = "Progress"
    )]
    pub(crate) show_progress: ShowProgress,

    /// Show nothing but errors
    #[arg(short, long, help_heading = "Progress")]
    pub(crate) quiet: bool,
}

/// Show what a run did with its time and money
///
/// Reads the journal of an output, also while the run goes on: figures on standard output, a page to look at, or a trace.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    fanweave report answers.jsonl\n  \
    fanweave report answers.jsonl --html report.html --input questions.jsonl\n  \
    fanweave report answers.jsonl --chrome-trace trace.json   # for ui.perfetto.dev")]
pub(crate) struct ReportArgs {
    /// The output of `fanweave batch` or `fanweave run --rows`, or its journal
    #[arg(value_name = "RUN")]
    pub(crate) run: PathBuf,

    /// Write one page that needs nothing else: figures, calls over time, latencies, failures, all rows. To stdout where it
    /// is -
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,

    /// Write a trace for Perfetto or chrome://tracing
    #[arg(long, value_name = "FILE")]
    pub(crate) chrome_trace: Option<PathBuf>,

    /// The input of the run, for the prompts beside the answers of the page [default: where it was, if it has not changed]
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,

    /// Print the figures as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show the calls that `fanweave ask` and `fanweave run` have made
///
/// The latest ten, the last one first. They are noted in a file that only you may read, which keeps the latest 256 MiB; those
/// of `fanweave batch` and of --rows are in their journals instead: see `fanweave report`. --no-log, FANWEAVE_NO_LOG=1 or
/// `log = false` in a file of settings turn it off.
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
    /// Most calls
    #[arg(short = 'n', long, value_name = "N", default_value = "10", value_parser = at_least_one_u32)]
    pub(crate) limit: NonZeroU32,

    /// Only calls with this text in prompt, answer or error
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) search: Option<String>,

    /// Only calls of models with this in their name
    #[arg(short, long, value_name = "PART")]
    pub(crate) model: Option<String>,

    /// Only calls that failed
    #[arg(long)]
    pub(crate) failed: bool,

    /// Print a JSON object for each call, whole
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum LogsCommand {
    /// Print a call whole: the last one, or that of this number
    Show {
        #[arg(value_name = "NUMBER")]
        id: Option<i64>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print where the history is kept
    Path,
    /// Forget calls
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Forget {
        /// Those that are older than this, as in 30d
        #[arg(long, value_name = "AGE", value_parser = duration, group = "which")]
        older_than: Option<Duration>,
        /// All of them
        #[arg(long, group = "which")]
        all: bool,
    },
}

/// List models with their prices, and the providers that there are
///
/// Prices are US dollars for a million tokens, of the date that is shown. Any model of a provider can be called, whether it is
/// listed or not.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    fanweave models\n  \
    fanweave models gpt-5\n  \
    fanweave models --json")]
pub(crate) struct ModelsArgs {
    /// Only those whose name contains this
    #[arg(value_name = "PART")]
    pub(crate) part: Option<String>,

    /// Prices of models, in place of those built in
    #[arg(long, value_name = "FILE")]
    pub(crate) prices: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Keep the keys of providers in a file that only you may read
///
/// A key in the environment, as in OPENAI_API_KEY, comes first. With --base-url no kept key is sent.
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
    /// Keep a key, which is asked for or read from standard input
    Set {
        #[arg(value_name = "PROVIDER")]
        provider: String,
        /// Keep it in the keyring of the system, and in the file only that it is there. Takes a program that was built with
        /// the feature `keyring`
        #[arg(long)]
        keyring: bool,
    },
    /// List the providers that there is a key of, and where it is; never the key
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget a key
    Remove {
        #[arg(value_name = "PROVIDER")]
        provider: String,
    },
    /// Print where keys are kept
    Path,
}

/// Show the settings that hold, and where each comes from
///
/// A flag comes first, then FANWEAVE_MODEL and FANWEAVE_BASE_URL, then fanweave.toml in this folder or the nearest one around it,
/// then your own config.toml. Both files have model, rpm, tpm, max-in-flight, timeout, retries, outage-timeout, cache,
/// temperature, max-tokens, log and a table aliases; base-url stands in your own alone. A cache lies beside the file that names it.
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
    /// Show the settings that hold
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the files that are looked at
    Path,
}

/// Print the completions of a shell
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    fanweave completions bash > fanweave.bash\n  \
    fanweave completions zsh > _fanweave\n  \
    fanweave completions fish > fanweave.fish")]
pub(crate) struct CompletionsArgs {
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

/// Write the manual pages of all commands
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    fanweave man man1/")]
pub(crate) struct ManArgs {
    /// Folder for the pages. It is made where it is missing
    #[arg(value_name = "FOLDER")]
    pub(crate) folder: PathBuf,
}

/// Which model, and how to call it. Shared by all commands that call one.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// provider/model, as in openai/gpt-5-mini, or sim/writer, which needs no key
    #[arg(short, long, env = "FANWEAVE_MODEL", value_name = "MODEL")]
    pub(crate) model: Option<String>,

    /// A server that speaks the OpenAI dialect, as in http://127.0.0.1:8080/v1
    #[arg(long, env = "FANWEAVE_BASE_URL", value_name = "URL")]
    pub(crate) base_url: Option<String>,

    /// Most requests a minute
    #[arg(long, value_name = "N", value_parser = at_least_one_u32)]
    pub(crate) rpm: Option<NonZeroU32>,

    /// Most tokens a minute, of prompts and answers together
    #[arg(long, value_name = "N", value_parser = at_least_one_u32)]
    pub(crate) tpm: Option<NonZeroU32>,

    /// Most requests in flight at once, of all rows and steps together
    #[arg(long, value_name = "N", value_parser = at_least_one_usize)]
    pub(crate) max_in_flight: Option<NonZeroUsize>,

    /// Longest time for one request, as in 30s or 2m [default: 10m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,

    /// Maximum retries per request, not counting 429 responses. During an outage of the provider, held requests are still
    /// sent as probes, also with 0; --outage-timeout 0 turns that off. [default: 5]
    #[arg(long, value_name = "N")]
    pub(crate) retries: Option<u32>,

    /// Maximum time to wait for a provider that is failing, as in 90s or 1h. No retry is used up meanwhile. [default: 10m for
    /// rows and 30s for one question; 30s and 5s as long as the provider has answered nothing]
    #[arg(long, value_name = "DURATION", value_parser = duration_or_zero)]
    pub(crate) outage_timeout: Option<Duration>,

    /// Remember answers in this file, and answer equal requests from it
    #[arg(long, value_name = "FILE")]
    pub(crate) cache: Option<PathBuf>,

    /// How freely the model chooses its words
    #[arg(long, value_name = "0..2", value_parser = temperature, allow_negative_numbers = true)]
    pub(crate) temperature: Option<f64>,

    /// Most tokens of an answer
    #[arg(long, value_name = "N", value_parser = at_least_one_u32)]
    pub(crate) max_tokens: Option<NonZeroU32>,
}

fn at_least_one_usize(text: &str) -> Result<NonZeroUsize, String> {
    text.parse().map_err(|_| format!("{text:?} is not a whole number of 1 or more"))
}

fn at_least_one_u32(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| format!("{text:?} is not a whole number of 1 or more"))
}

fn dollars(text: &str) -> Result<f64, String> {
    let usd = text.trim_start_matches('$').parse::<f64>().ok().filter(|usd| usd.is_finite() && *usd > 0.0);
    usd.ok_or_else(|| format!("{text:?} is no sum of dollars above 0: write it as in 2.50"))
}

pub(crate) fn temperature(text: &str) -> Result<f64, String> {
    let freedom = text.parse::<f64>().ok().filter(|freedom| (0.0..=2.0).contains(freedom));
    freedom.ok_or_else(|| format!("{text} is no temperature from 0 to 2"))
}

/// A time that may be 0.
pub(crate) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| format!("{text:?} is not a duration: write it as in 500ms, 30s or 2m"))
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text)? {
        Duration::ZERO => Err("a time of 0 is none".to_owned()),
        time => Ok(time),
    }
}
