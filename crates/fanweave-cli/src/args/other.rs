//! Arguments of commands about the program itself: models, keys, settings, completions, manual.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

/// List models, their prices, and providers
///
/// Prices are in US dollars per million tokens, as of the date shown. Models that are not listed can be
/// called as well.
#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  fanweave models
  fanweave models gpt-5
  fanweave models openai/gpt-5-mini
  fanweave models --provider anthropic --sort price
  fanweave models --json

A file for --prices has this form. These keys are optional: `cached_input`, `cache_write`, `batch`
(price of the batch API, as a fraction), `context` (tokens of the context window) and `tiers`
(prices of calls whose prompt has more tokens than `above`).

  date = \"2026-11-01\"
  [models.\"openai/gpt-5-mini\"]
  input = 0.25
  cached_input = 0.025
  output = 2.00
  batch = 0.5
  context = 400000
  tiers = [{ above = 272000, input = 0.50, output = 3.00 }]")]
pub(crate) struct ModelsArgs {
    /// Only models and providers whose name contains this. The full name of a model shows all that is known
    /// of it
    #[arg(value_name = "PART")]
    pub(crate) part: Option<String>,

    /// Only models with all of these words in their name or among what they take: image, audio, video, pdf,
    /// tools, schema, reasoning
    #[arg(long, value_name = "WORDS")]
    pub(crate) search: Option<String>,

    /// Only models of this provider
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,

    /// Order of the models
    #[arg(long, value_name = "ORDER", value_enum, default_value_t)]
    pub(crate) sort: ModelOrder,

    /// File with model prices, used instead of the built-in ones (format: see below)
    #[arg(long, value_name = "FILE")]
    pub(crate) prices: Option<PathBuf>,

    /// Use this file as the table of models from now on, instead of the built-in one: prices and what models
    /// take, as tab-separated values with the columns of the built-in table, or in the form below. It is
    /// stored in the folder of settings: remove it there to use the built-in table again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["part", "search", "provider", "prices", "sort", "json"])]
    pub(crate) update: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Order of a list of models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModelOrder {
    /// By name
    #[default]
    Name,
    /// The cheapest first: by the price of input and output together
    Price,
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
/// max-tokens, log and an aliases table; base-url and trusted-projects are only accepted in the user file.
/// The path of a cache is relative to the file that sets it, and that of a project is inside its folder.
///
/// A fanweave.toml that another user owns or can change is refused, unless trusted-projects or
/// FANWEAVE_TRUSTED_PROJECTS lists its folder. The user's aliases take precedence over those of a project.
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
