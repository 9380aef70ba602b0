//! Flags that every command with rows has.

use std::num::{NonZeroU32, NonZeroU64};

use clap::{Args, ValueEnum};
use fanweave::batch::{Columns, Encoding, InputFormat, InputOptions, MaxErrors};
use fanweave::prompts::RenderLimits;

use super::at_least_one;

/// Flags of rows. Shared by all commands that run rows.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Rows")]
pub(crate) struct RowArgs {
    /// Input format: openai, jsonl, csv, tsv, parquet, xlsx or text [default: auto-detected]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) input_format: Option<String>,

    /// Character between the columns of CSV input, or tab [default: inferred from the first records]
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    pub(crate) delimiter: Option<char>,

    /// Encoding of the input, such as windows-1252, latin-1 or utf-16 [default: utf-8, or utf-16 with a byte
    /// order mark]
    #[arg(long, value_name = "NAME", value_parser = encoding)]
    pub(crate) encoding: Option<Encoding>,

    /// Field that becomes the custom_id of a row in the output [default: custom_id, or id]
    #[arg(long, value_name = "NAME")]
    pub(crate) id_column: Option<String>,

    /// Sheet of a workbook: its name, or its number from 1 [default: the first one]
    #[arg(long, value_name = "SHEET")]
    pub(crate) sheet: Option<String>,

    /// Output format: openai, jsonl, csv, tsv, parquet or xlsx [default: from the output's extension, else
    /// openai from OpenAI batch files, else jsonl]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) output_format: Option<String>,

    /// The input's own columns or fields in the output: all, none, or names with commas between them. They
    /// are columns of tables, and the field `input` of JSON lines. With several inputs, `file` is the name of
    /// the row's file [default: all from CSV, TSV or xlsx to one of these, else none]
    #[arg(long, value_name = "COLUMNS", value_parser = columns)]
    pub(crate) columns: Option<Columns>,

    /// Texts in CSV output that begin with = + - @ or a tab, which a spreadsheet would compute as a formula
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub(crate) csv_formulas: CsvFormulas,

    /// Run only the first N rows. The same command without it continues with the rest
    #[arg(long, value_name = "N", value_parser = at_least_one::<NonZeroU64>, allow_negative_numbers = true)]
    pub(crate) limit: Option<NonZeroU64>,

    /// Run a random sample of N rows, in input order. A larger sample with the same seed (default: 0)
    /// contains the smaller one, and calls only the additional rows
    #[arg(long, value_name = "N[:SEED]", value_parser = Sample::parse, conflicts_with = "limit")]
    pub(crate) sample: Option<Sample>,

    /// Skip rows in which a field that the prompt uses is empty, blank or null, or which lack one. A note
    /// says how many. With a chain file, the fields are its inputs. The input must be a file
    #[arg(long)]
    pub(crate) skip_empty: bool,

    /// Run rows with identical requests once, or with identical inputs of a chain, and share the answer
    /// between them
    #[arg(long)]
    pub(crate) dedupe: bool,

    /// When the provider says that a quota is used up until a known time, such as a limit per day, wait and
    /// continue. By default, the run stops
    #[arg(long)]
    pub(crate) wait_for_quota: bool,

    /// Write rows as they finish instead of in input order
    #[arg(long)]
    pub(crate) unordered: bool,

    /// Stop at the first row that cannot be read
    #[arg(long)]
    pub(crate) strict: bool,

    /// Retry rows that failed in an earlier run
    #[arg(long)]
    pub(crate) retry_failed: bool,

    /// Continue even if the first rows are all rejected for the same reason. By default, the run stops in
    /// that case
    #[arg(long)]
    pub(crate) keep_going: bool,

    /// Stop when more rows than this have failed in this run: a number, or a percentage of the rows that have
    /// ended, such as 5%, from the 20th on. The same command continues with the rest
    #[arg(long, value_name = "N|P%", value_parser = max_errors)]
    pub(crate) max_errors: Option<MaxErrors>,

    /// Disable hedged requests. By default, once no more rows are queued, a second request is sent for slow
    /// rows, for at most 5% of calls
    #[arg(long)]
    pub(crate) no_hedging: bool,

    /// Resume even if the input file has changed; unchanged rows keep their answers
    #[arg(long)]
    pub(crate) resume_changed: bool,

    /// Start from scratch: discard the journal and overwrite the output
    #[arg(long, conflicts_with_all = ["retry_failed", "resume_changed", "fail_if_done"])]
    pub(crate) fresh: bool,

    /// Exit with code 4 if all rows already have a result
    #[arg(long)]
    pub(crate) fail_if_done: bool,
}

/// Sets the limits of all templates that are parsed after this.
pub(crate) fn limit_templates(memory_mib: Option<NonZeroU32>) {
    if let Some(mib) = memory_mib {
        RenderLimits::default().max_memory_bytes(u64::from(mib.get()) << 20).set_for_process();
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CsvFormulas {
    /// Put an apostrophe before the text
    #[default]
    Quote,
    /// Write the text unchanged
    Keep,
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

fn delimiter(text: &str) -> Result<char, String> {
    let mut chars = text.chars();
    match (text, chars.next(), chars.next()) {
        ("tab" | r"\t", ..) => Ok('\t'),
        (_, Some(one), None) if one.is_ascii() && !"\"\r\n".contains(one) => Ok(one),
        _ => Err("must be one character, such as ;, or tab".to_owned()),
    }
}

fn max_errors(text: &str) -> Result<MaxErrors, String> {
    text.parse().map_err(|e: fanweave::batch::Error| e.to_string())
}

pub(super) fn columns(text: &str) -> Result<Columns, String> {
    text.parse().map_err(|e: fanweave::batch::Error| e.to_string())
}

fn encoding(name: &str) -> Result<Encoding, String> {
    name.parse().map_err(|e: fanweave::batch::Error| e.to_string())
}

impl RowArgs {
    /// Options for reading the input.
    pub(crate) fn input_options(&self) -> fanweave::batch::Result<InputOptions> {
        let mut options = InputOptions::new();
        options.format = self.input_format.as_deref().map(str::parse::<InputFormat>).transpose()?;
        options.delimiter = self.delimiter;
        options.encoding = self.encoding;
        options.id_column.clone_from(&self.id_column);
        options.sheet.clone_from(&self.sheet);
        Ok(options)
    }
}

/// A random sample of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) rows: NonZeroU64,
    pub(crate) seed: u64,
}

impl Sample {
    fn parse(text: &str) -> Result<Self, String> {
        let (rows, seed) = text.split_once(':').unwrap_or((text, "0"));
        let seed = seed.parse().map_err(|_| "the seed must be a whole number".to_owned())?;
        Ok(Self { rows: at_least_one(rows)?, seed })
    }
}
