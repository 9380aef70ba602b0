//! Options of a batch.

use std::num::NonZeroU32;

use fanweave_core::Concurrency;
use serde_json::Value;

use crate::columns::Columns;
use crate::max_errors::MaxErrors;
use crate::output::OutputFormat;

/// Options of a batch.
///
/// ```
/// use fanweave::batch::Settings;
///
/// let settings = Settings::new().limit(100).retry_failed(true);
/// assert_eq!(settings.concurrency.get(), 64);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Maximum rows in flight, and maximum concurrent model calls of the batch. Default 64.
    ///
    /// A row that fans out to eight calls takes one row permit and eight run permits. 0 is an error of the
    /// run.
    pub concurrency: Concurrency,
    /// Validates every row before the first call, and stops if one cannot be read. Standard input is
    /// validated as it is read: the run stops at the first invalid row. Rows after [`limit`](Self::limit) are
    /// not validated. Default: an invalid row fails, and the other rows run.
    pub strict: bool,
    /// Writes results as they finish. Default: in input order.
    pub unordered: bool,
    /// Reruns rows that failed in a previous run. Discards batches that the provider's batch API no longer
    /// has, so that the next run submits their rows again and pays for them again. Default: a failed row
    /// keeps its failure as its result, and a missing batch is an error.
    pub retry_failed: bool,
    /// Ignores and overwrites the output and journal of a previous run. Default: resumes that run.
    pub fresh: bool,
    /// Resumes from a journal although the input file has changed. Rows that are still in the file keep their
    /// results. Default: a changed input file is an error.
    pub changed_input: bool,
    /// Runs only this many rows from the start of the input. Default: all.
    pub limit: Option<u64>,
    /// Answers per row: each row of the input is called this often, and has as many results. Not for
    /// [OpenAI batch results](OutputFormat::OpenAi), and not together with [`dedupe`](Self::dedupe). More
    /// samples of a run that has fewer keep its answers. Default 1.
    pub samples: NonZeroU32,
    /// Calls the model once for duplicate requests. Rows with an equal request share the answer of the first
    /// one, or its failure if they were waiting for it, and count no tokens. Applies within one run, to jobs
    /// made with [`BatchJob::new`](crate::BatchJob::new). Default: every row is called.
    pub dedupe: bool,
    /// Sends a hedged request for a slow row when no other row is queued: at the end of a batch, one request
    /// is often stuck at the provider. At most one call in twenty is hedged, within the concurrency, and both
    /// requests are billed. Default: on, but never with a budget in [`Costs`](crate::Costs).
    pub hedge: bool,
    /// Runs all rows, even if the first ones are all rejected for the same reason. Default: off. The run then
    /// stops when the first rows, at least 8 and as many as are in flight, are rejected with the same error,
    /// which a retry cannot fix, and no row has been answered. Those rows remain without a result. See
    /// [`Summary::refused`](crate::Summary::refused).
    pub keep_going: bool,
    /// Stops the run when more rows than this have failed in it: no more rows start, requests in flight
    /// complete, and the job can be resumed. Does not apply to a provider's batch API. Default: no limit. See
    /// [`Summary::too_many_errors`](crate::Summary::too_many_errors).
    pub max_errors: Option<MaxErrors>,
    /// Output format. Default: inferred from the output's file extension (`.csv`, `.tsv`, `.parquet`);
    /// otherwise OpenAI batch lines if the input is an OpenAI batch, and JSON objects if not.
    pub output_format: Option<OutputFormat>,
    /// The input's own columns or fields beside the answers, in files, standard output and writers. They come
    /// first in CSV, TSV and Parquet, as texts, and are the object `input` in JSON Lines. A column with the
    /// name of a result's column is called `input_NAME`. Default: all if input and output are CSV or TSV,
    /// otherwise none. A run that is resumed keeps its columns unless this is set.
    pub columns: Option<Columns>,
    /// JSON schema of structured answers. The properties of an object become columns in CSV, TSV and Parquet,
    /// in place of `answer`. It does not change the answers. Default: none.
    pub answer_schema: Option<Value>,
    /// Writes texts to CSV unchanged, also those that a spreadsheet would compute as a formula. Default: a
    /// text that begins with `=`, `+`, `-`, `@`, a tab or a line break, also after spaces, gets an apostrophe
    /// before it, since answers and inputs may come from strangers. Numbers of the program are never changed.
    pub csv_formulas: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: Concurrency::new(fanweave_core::batch::DEFAULT_CONCURRENCY),
            strict: false,
            unordered: false,
            retry_failed: false,
            fresh: false,
            changed_input: false,
            limit: None,
            samples: NonZeroU32::MIN,
            dedupe: false,
            hedge: true,
            keep_going: false,
            max_errors: None,
            output_format: None,
            columns: None,
            answer_schema: None,
            csv_formulas: false,
        }
    }
}

/// Each method sets the field of its name.
impl Settings {
    /// The default options: each field says its value.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the maximum rows in flight, and the maximum concurrent model calls of the batch.
    #[must_use]
    pub fn concurrency(self, concurrency: impl Into<Concurrency>) -> Self {
        Self { concurrency: concurrency.into(), ..self }
    }

    /// Sets whether every row is validated before the first call.
    #[must_use]
    pub fn strict(self, strict: bool) -> Self {
        Self { strict, ..self }
    }

    /// Sets whether results are written as they finish.
    #[must_use]
    pub fn unordered(self, unordered: bool) -> Self {
        Self { unordered, ..self }
    }

    /// Sets whether rows that failed in a previous run are rerun.
    #[must_use]
    pub fn retry_failed(self, retry_failed: bool) -> Self {
        Self { retry_failed, ..self }
    }

    /// Sets whether the output and journal of a previous run are overwritten.
    #[must_use]
    pub fn fresh(self, fresh: bool) -> Self {
        Self { fresh, ..self }
    }

    /// Sets whether a run resumes although its input file has changed.
    #[must_use]
    pub fn changed_input(self, changed_input: bool) -> Self {
        Self { changed_input, ..self }
    }

    /// Runs only this many rows from the start of the input.
    #[must_use]
    pub fn limit(self, rows: u64) -> Self {
        Self { limit: Some(rows), ..self }
    }

    /// Sets the number of answers per row.
    #[must_use]
    pub fn samples(self, samples: NonZeroU32) -> Self {
        Self { samples, ..self }
    }

    /// Sets whether duplicate requests are called once.
    #[must_use]
    pub fn dedupe(self, dedupe: bool) -> Self {
        Self { dedupe, ..self }
    }

    /// Sets whether slow rows at the end of a batch get a hedged request.
    #[must_use]
    pub fn hedge(self, hedge: bool) -> Self {
        Self { hedge, ..self }
    }

    /// Sets whether all rows run, even if the first ones are all rejected for the same reason.
    #[must_use]
    pub fn keep_going(self, keep_going: bool) -> Self {
        Self { keep_going, ..self }
    }

    /// Sets the maximum number of failed rows, after which the run stops.
    #[must_use]
    pub fn max_errors(self, max: MaxErrors) -> Self {
        Self { max_errors: Some(max), ..self }
    }

    /// Sets the output format.
    #[must_use]
    pub fn output_format(self, format: OutputFormat) -> Self {
        Self { output_format: Some(format), ..self }
    }

    /// Sets the input's own columns that come out beside the answers.
    #[must_use]
    pub fn columns(self, columns: Columns) -> Self {
        Self { columns: Some(columns), ..self }
    }

    /// Sets the schema of structured answers, whose properties become columns.
    #[must_use]
    pub fn answer_schema(self, schema: Value) -> Self {
        Self { answer_schema: Some(schema), ..self }
    }

    /// Sets whether texts that begin like a formula are written to CSV unchanged.
    #[must_use]
    pub fn csv_formulas(self, keep: bool) -> Self {
        Self { csv_formulas: keep, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_has_a_setter() {
        let set = Settings::new()
            .concurrency(1)
            .strict(true)
            .unordered(true)
            .retry_failed(true)
            .fresh(true)
            .changed_input(true)
            .limit(7)
            .samples(NonZeroU32::MAX)
            .dedupe(true)
            .hedge(false)
            .keep_going(true)
            .max_errors(MaxErrors::Rows(3))
            .output_format(OutputFormat::Csv)
            .columns(Columns::All)
            .answer_schema(Value::Null)
            .csv_formulas(true);
        // Without `..`: a new field fails to compile here.
        let expected = Settings {
            concurrency: Concurrency::new(1),
            strict: true,
            unordered: true,
            retry_failed: true,
            fresh: true,
            changed_input: true,
            limit: Some(7),
            samples: NonZeroU32::MAX,
            dedupe: true,
            hedge: false,
            keep_going: true,
            max_errors: Some(MaxErrors::Rows(3)),
            output_format: Some(OutputFormat::Csv),
            columns: Some(Columns::All),
            answer_schema: Some(Value::Null),
            csv_formulas: true,
        };
        assert_eq!(set, expected);
    }
}
