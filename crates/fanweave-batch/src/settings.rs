//! How a batch is run.

use std::num::NonZeroUsize;

use crate::output::OutputFormat;

/// How a batch is run.
///
/// ```
/// use fanweave_batch::Settings;
///
/// let settings = Settings { limit: Some(100), ..Settings::default() };
/// assert_eq!(settings.concurrency.get(), 64);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Most rows in flight at once, and most model calls of the batch at once. Default 64.
    ///
    /// A row that fans out to eight calls holds one place as a row, and eight as calls.
    pub concurrency: NonZeroUsize,
    /// Stops before any call where a row of a file cannot be read, and at the first such row of standard input. Rows behind
    /// the limit do not count. Default: the row fails, and the others go on.
    pub strict: bool,
    /// Writes results as they finish. Default: in input order.
    pub unordered: bool,
    /// Runs rows again that failed in an earlier run. Lets go of batches at a provider's batch API that it no longer has, so
    /// that the next run submits, and pays for, their rows anew. Default: a failure is a row's result, and a batch that is
    /// gone an error.
    pub retry_failed: bool,
    /// Ignores and overwrites the output and journal of an earlier run. Default: goes on with them.
    pub fresh: bool,
    /// Goes on with a journal although the input file has changed: rows that are still in it keep their results.
    /// Default: refuses.
    pub changed_input: bool,
    /// Runs only so many rows from the beginning. Default: all.
    pub limit: Option<u64>,
    /// Calls equal requests once: the rows that ask the same share the answer of the first, or its failure where they waited
    /// for it, and count no tokens of their own. For jobs made with [`BatchJob::new`](crate::BatchJob::new), within one run. Default: every row is called.
    pub dedupe: bool,
    /// Sends a second request for a row that is late, once no other row waits: the tail of a batch is often one row that a
    /// provider forgot. At most one call in twenty is sent twice, within the concurrency, and both are paid for. Default
    /// yes, and never where [`Costs`](crate::Costs) have a cap.
    pub hedge: bool,
    /// Runs all rows, even if the first ones are all refused for the same reason. Default no: if the first rows, at least 8 and
    /// as many as are in flight, get the same refusal that a retry cannot mend and no row has been answered, the run stops
    /// and those rows stay left. See [`Summary::refused`](crate::Summary::refused).
    pub keep_going: bool,
    /// The form that results are written in. Default: what the output's name says (`.csv`), or else the lines of
    /// an OpenAI batch where the input is one, and JSON objects.
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
