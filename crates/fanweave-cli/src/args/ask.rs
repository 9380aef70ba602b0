//! Arguments of `fanweave ask` and `fanweave index`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use clap::builder::FalseyValueParser;

use super::{ModelArgs, at_least_one};
use crate::logs::Conversation;

/// Ask a question and stream the answer
///
/// The prompt is the arguments followed by standard input, which is read unless it is a terminal; with the
/// argument -, it is read in any case.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fanweave ask --model sim/writer \"Write a haiku about tides.\"
  fanweave ask -c \"And one about the moon.\"
  fanweave ask -a chart.png --model openai/gpt-5-mini \"What does this show?\"
  fanweave ask -t translate.md --set to=French \"The tide turns.\" --model openai/gpt-5-mini
  git diff | fanweave ask --model openai/gpt-5-mini \"Write a commit message for this change.\"
  fanweave ask --docs notes.db --model openai/gpt-5-mini \"When do tides turn?\"")]
pub(crate) struct AskArgs {
    /// The prompt
    #[arg(value_name = "PROMPT")]
    pub(crate) prompt: Vec<String>,

    /// System message, or @FILE to read it from a file; use @@ to start with a literal @
    #[arg(short, long, value_name = "TEXT|@FILE")]
    pub(crate) system: Option<String>,

    /// Continue the last conversation of `fanweave ask` or `fanweave chat` in the history: its messages are
    /// sent before this one, to its model unless --model is given
    #[arg(short = 'c', long = "continue", conflicts_with_all = ["system", "docs"])]
    pub(crate) resume: bool,

    /// The conversation to continue.
    #[arg(skip)]
    pub(crate) last: Option<Conversation>,

    /// Attach a file: an image, a sound or a PDF file as it is, and any other file as text. The URL of an
    /// image is passed to the provider. Can be repeated
    #[arg(short, long, value_name = "FILE|URL", conflicts_with = "docs")]
    pub(crate) attach: Vec<String>,

    /// Template of the prompt: a file, or the name of one in the user's folder, such as `review` for
    /// ~/.config/fanweave/templates/review.md. {{ input }} inserts the prompt; it follows a template without
    /// it
    #[arg(short, long, value_name = "FILE|NAME")]
    pub(crate) template: Option<String>,

    /// Set a variable of --template. @FILE reads the value from a file; use @@ to start with a literal @. Can
    /// be repeated
    #[arg(long, value_name = "NAME=VALUE|NAME=@FILE", requires = "template")]
    pub(crate) set: Vec<String>,

    /// Print a JSON object with answer, usage and finish reason once the answer is complete
    #[arg(long)]
    pub(crate) json: bool,

    /// Do not record the calls in the history (`fanweave logs`)
    #[arg(long, env = "FANWEAVE_NO_LOG", value_parser = FalseyValueParser::new())]
    pub(crate) no_log: bool,

    #[command(flatten)]
    pub(crate) model: ModelArgs,

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
    #[arg(long, value_name = "N", default_value = "200", value_parser = at_least_one::<NonZeroUsize>, allow_negative_numbers = true)]
    pub(crate) tokens: NonZeroUsize,

    /// Follow links that lead out of a folder; by default, they are skipped
    #[arg(long)]
    pub(crate) follow: bool,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,

    /// Only print errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Chat with a model
///
/// Each line of standard input is a message. The conversation so far is sent with each of them. /reset begins
/// a new conversation, /help lists the commands, and /exit or the end of the input ends the program. A line
/// that begins with a space is a message, also with a slash after it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fanweave chat --model sim/writer
  fanweave chat --continue
  printf 'Name a bear.\\nAnd another.\\n' | fanweave chat --model sim/writer")]
pub(crate) struct ChatArgs {
    /// System message, or @FILE to read it from a file; use @@ to start with a literal @
    #[arg(short, long, value_name = "TEXT|@FILE")]
    pub(crate) system: Option<String>,

    /// Continue the last conversation of `fanweave ask` or `fanweave chat` in the history, with its model
    /// unless --model is given
    #[arg(short = 'c', long = "continue", conflicts_with = "system")]
    pub(crate) resume: bool,

    /// The conversation to continue.
    #[arg(skip)]
    pub(crate) last: Option<Conversation>,

    /// Do not record the calls in the history (`fanweave logs`)
    #[arg(long, env = "FANWEAVE_NO_LOG", value_parser = FalseyValueParser::new())]
    pub(crate) no_log: bool,

    #[command(flatten)]
    pub(crate) model: ModelArgs,
}

/// Create the files of a new project
///
/// Writes fanweave.toml with the model, a table with three rows, and a chain file, and shows commands to try.
/// No file is overwritten.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  fanweave init reviews
  fanweave init . --model openai/gpt-5-mini")]
pub(crate) struct InitArgs {
    /// Folder, which is created if it does not exist
    #[arg(value_name = "FOLDER", default_value = ".")]
    pub(crate) folder: PathBuf,

    /// Model of the project, such as openai/gpt-5-mini [default: sim/writer, which needs no API key]
    #[arg(short, long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
}
