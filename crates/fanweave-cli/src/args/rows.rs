//! Flags that every command with rows has.

use std::num::NonZeroU64;

use clap::{Args, ValueEnum};

use super::at_least_one;

/// Flags of rows. Shared by all commands that run rows.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Rows")]
pub(crate) struct RowArgs {
    /// Input format: openai, jsonl, csv, parquet or text [default: auto-detected]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) input_format: Option<String>,

    /// Output format: openai, jsonl, csv or parquet [default: from the output's extension, else the input
    /// format]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) output_format: Option<String>,

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

impl RowArgs {
    /// Maximum rows to read.
    pub(crate) fn max_rows(&self) -> usize {
        self.limit.map_or(usize::MAX, |limit| usize::try_from(limit.get()).unwrap_or(usize::MAX))
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
