//! Options of a batch.

use std::num::NonZeroUsize;

use crate::output::OutputFormat;

/// Options of a batch.
///
/// ```
/// use fanweave::batch::Settings;
///
/// let settings = Settings { limit: Some(100), ..Settings::default() };
/// assert_eq!(settings.concurrency.get(), 64);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Maximum rows in flight, and maximum concurrent model calls of the batch. Default 64.
    ///
    /// A row that fans out to eight calls takes one row permit and eight run permits.
    pub concurrency: NonZeroUsize,
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
    /// Output format. Default: inferred from the output's file extension (`.csv`, `.parquet`); otherwise
    /// OpenAI batch lines if the input is an OpenAI batch, and JSON objects if not.
    pub output_format: Option<OutputFormat>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            concurrency: const { NonZeroUsize::new(fanweave_core::batch::DEFAULT_CONCURRENCY).expect("not 0") },
            strict: false,
            unordered: false,
            retry_failed: false,
            fresh: false,
            changed_input: false,
            limit: None,
            dedupe: false,
            hedge: true,
            keep_going: false,
            output_format: None,
        }
    }
}
