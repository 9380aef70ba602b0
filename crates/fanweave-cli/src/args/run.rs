//! Arguments of `fanweave run`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{ArgGroup, Args};

use super::{ModelArgs, RowArgs, ShowProgress, at_least_one, dollars};

/// Memory of a run by default, in MiB.
pub(crate) const RUN_MEMORY: NonZeroU32 = NonZeroU32::new(512).expect("512 is not 0");

/// Run a chain defined in a file
///
/// A chain file is YAML, or TOML if its name ends in .toml. It defines steps with prompts, the variables
/// passed between them, and steps that run once per item of another step's output. The file is checked before
/// any call is made. The output is streamed.
#[derive(Debug, Clone, Args)]
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
    mut_group("RowArgs", |flags| flags.requires("rows")),
    group = ArgGroup::new("ends").args(["output", "dry_run"]).multiple(true))]
pub(crate) struct RunArgs {
    /// Chain file
    pub(crate) file: PathBuf,

    /// Set an input of the chain. @FILE reads the value from a file; use @@ to start with a literal @
    #[arg(long, value_name = "NAME=VALUE|NAME=@FILE")]
    pub(crate) set: Vec<String>,

    /// Run only this step and those that it needs, and print its output. Other inputs are not required then
    #[arg(long, value_name = "STEP")]
    pub(crate) only: Option<String>,

    /// Check the chain file without making calls: also renders its prompts with sample inputs, to find those
    /// that take too much work
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

    /// Maximum memory for rendering one template, in MiB [default: 192]
    #[arg(long, value_name = "MIB", value_parser = at_least_one::<NonZeroU32>, allow_negative_numbers = true)]
    pub(crate) template_memory: Option<NonZeroU32>,

    /// Maximum memory of one run for its prompts and outputs, in MiB; with --rows, that of each row in flight
    #[arg(
        long, value_name = "MIB", value_parser = at_least_one::<NonZeroU32>, allow_negative_numbers = true,
        default_value_t = RUN_MEMORY
    )]
    pub(crate) run_memory: NonZeroU32,

    /// Run the chain for every row of this file or of the files of this folder, or of stdin if it is -. Can
    /// be repeated. The fields of a row set the inputs of the same name; strings are parsed like the values
    /// of
    /// --set
    #[arg(long, value_name = "FILE", requires = "ends", help_heading = "Rows")]
    pub(crate) rows: Vec<PathBuf>,

    /// Write the outputs of all steps, as fields of the answer, and columns of a table. Without --rows, print
    /// them as an object
    #[arg(long)]
    pub(crate) all_steps: bool,

    /// Output file for all rows, or - for stdout
    #[arg(short, long, value_name = "FILE", requires = "rows", help_heading = "Rows")]
    pub(crate) output: Option<PathBuf>,

    /// Maximum rows in flight, and maximum concurrent calls in total (also without --rows) [default: the
    /// chain file's limit, or 64 rows]
    #[arg(short, long, value_name = "N", value_parser = at_least_one::<NonZeroUsize>, allow_negative_numbers = true, help_heading = "Rows")]
    pub(crate) concurrency: Option<NonZeroUsize>,

    /// Runs per row: run the chain N times for each row. The results have the number of their `sample`, from
    /// 0
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroU32>, allow_negative_numbers = true, requires = "rows", conflicts_with_all = ["dedupe", "cache"], help_heading = "Rows")]
    pub(crate) samples: Option<NonZeroU32>,

    #[command(flatten)]
    pub(crate) row: RowArgs,

    #[command(flatten)]
    pub(crate) model: ModelArgs,

    /// Fallback model of the steps that name none, called when their model fails. Can be repeated [default:
    /// those of the chain file]
    #[arg(long, value_name = "MODEL", help_heading = "Model")]
    pub(crate) fallback_model: Vec<String>,

    /// Environment variable that holds the API key of all steps, whose models are those of one provider
    /// [default: that of each provider]
    #[arg(long, value_name = "NAME", help_heading = "Model")]
    pub(crate) key_env: Option<String>,

    #[cfg(feature = "workers")]
    #[command(flatten)]
    pub(crate) cluster: super::ClusterArgs,

    /// Make no calls: run the chain with simulated models, show the prompts of the first run and estimate
    /// time, tokens and cost, for the rows that have no result yet. With --limit or --sample, also for all
    /// rows. Compares the cost with the budget. Needs no API key
    #[arg(long, conflicts_with_all = ["check", "graph"], help_heading = "Cost")]
    pub(crate) dry_run: bool,

    /// Budget in US dollars for all calls, including all rows and earlier runs of this output [default: the
    /// chain file's budget, or none]
    #[arg(long, value_name = "USD", value_parser = dollars, allow_negative_numbers = true, help_heading = "Cost")]
    pub(crate) budget_usd: Option<f64>,

    /// File with model prices, used instead of the built-in ones (format: see `fanweave models --help`)
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
