//! Records of other crates: the durable truth of a run, from which it resumes.

use std::collections::HashMap;
use std::fmt;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::OwnedSemaphorePermit;

use crate::finished::FinishedRow;
use crate::journal::{self, Manifest};
use crate::location::RowLocation;
use crate::rows::RowKey;
use crate::{Error, Result};

/// Records of a run, such as a table of a database, in place of a journal file: the results that a run has,
/// and that the next run resumes from. [`Output::records`](crate::Output::records) and
/// [`Output::blocking_records`](crate::Output::blocking_records) make them the output of a
/// [`BatchJob`](crate::BatchJob).
///
/// All calls of a run come from one task or thread, one after the other. Results that have ended while the
/// previous one was recorded wait in a queue of at most 256; when it is full, no further row starts.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::sync::{Arc, Mutex};
///
/// use fanweave::crates::serde_json;
/// use fanweave::batch::{
///     BatchJob, EarlierRows, FinishedRow, Output, Records, Render, Result, RowKey, RowLocation, RowPermit,
///     RunIdentity, Source,
/// };
/// use fanweave::{chain, testing::Fake};
///
/// /// Rows as JSON, by key.
/// #[derive(Clone, Default)]
/// struct Table(Arc<Mutex<BTreeMap<String, String>>>);
///
/// impl Records for Table {
///     fn name(&self) -> &str {
///         "table"
///     }
///
///     async fn open(&mut self, run: &RunIdentity) -> Result<EarlierRows> {
///         let mut table = self.0.lock().unwrap();
///         if let Some(manifest) = table.insert("manifest".into(), run.manifest()) {
///             run.check(&manifest)?;
///         }
///         let mut earlier = EarlierRows::default();
///         for row in table.iter().filter(|(key, _)| *key != "manifest").map(|(_, row)| row) {
///             earlier.insert(&serde_json::from_str(row).unwrap(), 0);
///         }
///         Ok(earlier)
///     }
///
///     async fn record(&mut self, row: &FinishedRow, _: &mut RowPermit) -> Result<RowLocation> {
///         let line = serde_json::to_string(row).unwrap();
///         self.0.lock().unwrap().insert(row.key().to_string(), line);
///         Ok(row.at(0))
///     }
/// }
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// let table = Table::default();
/// for resumed in [0, 2] {
///     let source = Source::rows("cities", ["Oslo", "Rome"]);
///     let output = Output::records(table.clone());
///     let summary = BatchJob::new(source, Render::default(), chain(Fake::echo()), output).run().await?;
///     assert_eq!((summary.ok, summary.resumed), (2, resumed));
/// }
/// # Ok(())
/// # }) }
/// ```
pub trait Records: Send + 'static {
    /// Name of the records in messages.
    fn name(&self) -> &str;

    /// Opens the records for a run, and returns the rows that earlier runs recorded. Rows in them are not
    /// run. Called once, before the first call of a model.
    ///
    /// Keep [`RunIdentity::manifest`], and [check](RunIdentity::check) the one that is kept: otherwise
    /// answers of another model or template are taken for answers of this run. Do the same as for a journal
    /// if the run [starts over](RunIdentity::starts_over).
    ///
    /// # Errors
    /// An error keeps the run from starting: make one with [`Error::external`].
    fn open(&mut self, run: &RunIdentity) -> impl Future<Output = Result<EarlierRows>> + Send;

    /// Records a row. Once this returns, the row counts as finished, and a later run must know it.
    ///
    /// The row's permit is released afterwards, so that a process that is killed has at most as many rows
    /// without a record as the [concurrency](crate::Settings::concurrency). Records that are written in
    /// groups release it earlier: see [`RowPermit`].
    ///
    /// # Errors
    /// An error ends the run: make one with [`Error::external`]. Rows in flight end without a result.
    fn record(
        &mut self,
        row: &FinishedRow,
        permit: &mut RowPermit,
    ) -> impl Future<Output = Result<RowLocation>> + Send;

    /// Returns true if [`read`](Self::read) returns rows. [`Settings::dedupe`](crate::Settings::dedupe) needs
    /// that. Default: false.
    fn is_readable(&self) -> bool {
        false
    }

    /// Reads a row that [`record`](Self::record) or [`open`](Self::open) located. Default: an error.
    ///
    /// # Errors
    /// An error ends the run.
    fn read(&mut self, location: RowLocation) -> impl Future<Output = Result<FinishedRow>> + Send {
        let _ = location;
        let message = format!("{}: rows cannot be read", self.name());
        async { Err(Error::usage(message)) }
    }

    /// Called when no row waits to be recorded: a time to flush. Default: nothing.
    ///
    /// # Errors
    /// An error ends the run.
    fn idle(&mut self) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Ends the run. Nothing follows. Default: nothing.
    ///
    /// # Errors
    /// An error is the error of the run.
    fn finish(&mut self, end: RunEnd) -> impl Future<Output = Result<()>> + Send {
        let _ = end;
        async { Ok(()) }
    }
}

/// [`Records`] as a trait object.
pub(crate) trait DynRecords: Send {
    fn name(&self) -> &str;
    fn open<'a>(&'a mut self, run: &'a RunIdentity) -> BoxFuture<'a, Result<EarlierRows>>;
    fn record<'a>(
        &'a mut self,
        row: &'a FinishedRow,
        permit: &'a mut RowPermit,
    ) -> BoxFuture<'a, Result<RowLocation>>;
    fn is_readable(&self) -> bool;
    fn read(&mut self, location: RowLocation) -> BoxFuture<'_, Result<FinishedRow>>;
    fn idle(&mut self) -> BoxFuture<'_, Result<()>>;
    fn finish(&mut self, end: RunEnd) -> BoxFuture<'_, Result<()>>;
}

impl<R: Records> DynRecords for R {
    fn name(&self) -> &str {
        Records::name(self)
    }

    fn open<'a>(&'a mut self, run: &'a RunIdentity) -> BoxFuture<'a, Result<EarlierRows>> {
        Records::open(self, run).boxed()
    }

    fn record<'a>(
        &'a mut self,
        row: &'a FinishedRow,
        permit: &'a mut RowPermit,
    ) -> BoxFuture<'a, Result<RowLocation>> {
        Records::record(self, row, permit).boxed()
    }

    fn is_readable(&self) -> bool {
        Records::is_readable(self)
    }

    fn read(&mut self, location: RowLocation) -> BoxFuture<'_, Result<FinishedRow>> {
        Records::read(self, location).boxed()
    }

    fn idle(&mut self) -> BoxFuture<'_, Result<()>> {
        Records::idle(self).boxed()
    }

    fn finish(&mut self, end: RunEnd) -> BoxFuture<'_, Result<()>> {
        Records::finish(self, end).boxed()
    }
}

/// A view of the results of a run, such as a table or a file of a format of its own. It is made again from
/// the journal by each run, so it needs no resume. [`Output::sink`](crate::Output::sink) makes it the output
/// of a [`BatchJob`](crate::BatchJob). For an example, see [`FinishedRow`].
///
/// All calls come from one thread, which may block: a slow sink delays rows.
pub trait RowSink: Send + 'static {
    /// Called once, before the first row. Default: nothing.
    ///
    /// # Errors
    /// An error keeps the run from starting: make one with [`Error::external`].
    fn begin(&mut self) -> Result<()> {
        Ok(())
    }

    /// Writes a row. Rows come in input order, with those of earlier runs, unless the run is
    /// [unordered](crate::Settings::unordered).
    ///
    /// # Errors
    /// An error ends the run; recorded results are kept, and the next run writes them again.
    fn write(&mut self, row: FinishedRow) -> Result<()>;

    /// Called when no row waits to be written. Default: nothing.
    ///
    /// # Errors
    /// An error ends the run.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// Syncs everything written so far, and returns a mark from which the view can be continued. Default:
    /// `None`, the view can only be made from its beginning.
    #[doc(hidden)]
    fn mark(&mut self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// Completes the view. Not called if the run is dropped or fails. Default: nothing.
    ///
    /// # Errors
    /// An error is the error of the run.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Identity of a run, for comparison with the one whose rows [`Records`] hold.
#[derive(Debug, Clone)]
pub struct RunIdentity {
    pub(crate) manifest: Manifest,
    pub(crate) name: String,
    pub(crate) starts_over: bool,
    pub(crate) changed_input: bool,
}

impl RunIdentity {
    /// The identity as one line of JSON: the [fingerprint](crate::BatchJob::fingerprint), the format and the
    /// hash of the input. Contains no API key.
    pub fn manifest(&self) -> String {
        serde_json::to_string(&self.manifest).expect("a manifest has string keys")
    }

    /// Compares this run with the manifest of the run that the records belong to. Replace the manifest
    /// afterwards: it may be that of an earlier version or of an input that has changed since.
    ///
    /// # Errors
    /// [`Mismatch`](crate::ErrorKind::Mismatch) names the differences;
    /// [`Journal`](crate::ErrorKind::Journal) if the manifest is invalid or of another version of the format.
    pub fn check(&self, manifest: &str) -> Result<()> {
        let earlier = journal::parse_manifest(manifest.as_bytes(), &self.name)?;
        journal::check_manifest(&earlier, &self.manifest, &self.name, self.changed_input)
    }

    /// Returns true if the rows of earlier runs must be removed: see
    /// [`Settings::fresh`](crate::Settings::fresh).
    pub fn starts_over(&self) -> bool {
        self.starts_over
    }
}

/// Rows that earlier runs recorded. Takes about 40 bytes of memory per row.
///
/// ```
/// use fanweave::batch::EarlierRows;
///
/// let mut earlier = EarlierRows::default();
/// earlier.notes.push("2 rows could not be read and are run again".into());
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct EarlierRows {
    pub(crate) rows: HashMap<RowKey, RowLocation>,
    /// Cost of all their calls in US dollars, as far as known. Counts against a budget.
    pub spent_usd: f64,
    /// Number of answers whose cost is unknown. With a budget, a run starts only if it is 0.
    pub unpriced: u64,
    /// Problems found while reading, one sentence each, for [`Summary::notes`](crate::Summary::notes).
    pub notes: Vec<String>,
}

impl EarlierRows {
    /// Adds a row that was recorded at `position`, and its cost. A row with the same key is replaced; its
    /// cost still counts.
    pub fn insert(&mut self, row: &FinishedRow, position: u64) {
        self.spent_usd += row.cost_usd().unwrap_or_default() + row.maybe_billed_usd().unwrap_or_default();
        // A row that shares the answer of another one has no calls.
        let is_called = row.record.time.is_some();
        self.unpriced += u64::from(row.is_ok() && is_called && row.cost_usd().is_none());
        self.rows.insert(row.key(), row.at(position));
    }

    /// Adds a row of which only the key, the result and the position are known. Its cost is not counted: add
    /// it to [`spent_usd`](Self::spent_usd).
    pub fn insert_key(&mut self, key: RowKey, location: RowLocation) {
        self.rows.insert(key, location);
    }
}

/// End of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunEnd {
    /// All rows have a result.
    Complete,
    /// The run was stopped: some rows have no result.
    Stopped,
    /// The run was dropped.
    Dropped,
}

/// Permit of a row in flight. A run has as many as its [concurrency](crate::Settings::concurrency); a row
/// keeps its permit until it is recorded.
///
/// Records that write rows in groups release the permits of rows that wait: otherwise a group larger than the
/// concurrency would never fill. Rows that are not written when the process is killed are called a second
/// time.
pub struct RowPermit(pub(crate) Option<OwnedSemaphorePermit>);

impl RowPermit {
    /// Lets another row start before this one is recorded.
    pub fn release(&mut self) {
        self.0 = None;
    }
}

impl fmt::Debug for RowPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "RowPermit(held)" } else { "RowPermit(released)" })
    }
}
