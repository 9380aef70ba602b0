//! Arranger: writes results to a sink in input order. Keeps locations of results that wait, not the results.

use std::collections::HashMap;
use std::sync::Arc;

use fanweave_core::Error as RowError;

use crate::Result;
use crate::finished::FinishedRow;
use crate::journal::Outcome;
use crate::location::RowLocation;
use crate::order::Order;
use crate::progress::Progress;
use crate::records::RowSink;
use crate::store::RecordStore;
use crate::summary::{FailureGroup, Failures};

/// State of the view of a run.
pub struct Arranger {
    /// `None` if records are the only output.
    sink: Option<Box<dyn RowSink>>,
    /// Writes results as rows finish, rather than in input order.
    unordered: bool,
    order: Order,
    /// Current lines of rows whose failure comes from a previous run, until these are written.
    lines: HashMap<u64, u64>,
    /// Errors with a payload, which the records do not keep, until these are written.
    errors: HashMap<u64, RowError>,
    failures: Failures,
    progress: Arc<Progress>,
}

impl Arranger {
    /// Expects only the rows with these indices.
    pub(crate) fn set_sample(&mut self, indices: Box<[u64]>) {
        self.order = Order::of_sample(indices);
    }

    /// Writes rows to `sink`.
    pub fn new(sink: Option<Box<dyn RowSink>>, unordered: bool, progress: Arc<Progress>) -> Self {
        let (order, lines, errors, failures) =
            (Order::default(), HashMap::new(), HashMap::new(), Failures::default());
        Self { unordered: unordered || sink.is_none(), sink, order, lines, errors, failures, progress }
    }

    /// Writes a row that has just been recorded, if all earlier rows are written.
    pub(crate) async fn finished(
        &mut self,
        row: FinishedRow,
        location: RowLocation,
        store: &mut RecordStore,
    ) -> Result<()> {
        if self.unordered || self.order.advance_past(row.index()) {
            self.emit(row)?;
            return self.emit_ready(store).await;
        }
        let index = row.index();
        if let Some(error) = row.error.filter(|error| error.payload().is_some()) {
            self.errors.insert(index, error);
        }
        self.put(index, location, store).await
    }

    /// Writes a row of a previous run, if all earlier rows are written.
    pub(crate) async fn resumed(
        &mut self,
        index: u64,
        line: u64,
        location: RowLocation,
        store: &mut RecordStore,
    ) -> Result<()> {
        if self.sink.is_none() {
            return Ok(());
        }
        if !location.is_ok() {
            self.lines.insert(index, line);
        }
        self.put(index, location, store).await
    }

    async fn put(&mut self, index: u64, location: RowLocation, store: &mut RecordStore) -> Result<()> {
        if self.unordered {
            return self.emit_from_store(index, location, store).await;
        }
        self.order.insert(index, location);
        self.emit_ready(store).await
    }

    async fn emit_ready(&mut self, store: &mut RecordStore) -> Result<()> {
        while let Some((index, location)) = self.order.pop() {
            self.emit_from_store(index, location, store).await?;
        }
        self.progress.set_reorder(self.order.held());
        Ok(())
    }

    async fn emit_from_store(
        &mut self,
        index: u64,
        location: RowLocation,
        store: &mut RecordStore,
    ) -> Result<()> {
        let mut row = store.read(location).await?;
        // Rows may have been inserted before it in the input.
        row.record.index = index;
        if let Some(line) = self.lines.remove(&index) {
            row.record.move_to(line);
        }
        row.error = self.errors.remove(&index);
        self.emit(row)
    }

    /// Writes a row, and counts its failure. The caller keeps the order.
    pub fn emit(&mut self, row: FinishedRow) -> Result<()> {
        if let Outcome::Error(failure) = &row.record.result {
            self.failures.add(failure, row.record.line);
        }
        self.sink.as_mut().map_or(Ok(()), |sink| sink.write(row))
    }

    /// Syncs the sink, and returns a mark from which it can be continued. `None` if it can only be made from
    /// its beginning.
    pub fn mark(&mut self) -> Result<Option<u64>> {
        self.sink.as_mut().map_or(Ok(None), |sink| sink.mark())
    }

    /// Flushes the sink.
    pub fn flush(&mut self) -> Result<()> {
        self.sink.as_mut().map_or(Ok(()), |sink| sink.flush())
    }

    /// Writes the rows that wait for one without a result, if the run was cut short.
    pub(crate) async fn close_gaps(&mut self, store: &mut RecordStore) -> Result<()> {
        while self.order.skip_gap() {
            self.emit_ready(store).await?;
        }
        Ok(())
    }

    /// Completes the sink. Returns the failures of all rows.
    pub fn finish(mut self) -> Result<Vec<FailureGroup>> {
        debug_assert_eq!(self.order.held(), 0, "every row of a complete run has a result");
        if let Some(sink) = &mut self.sink {
            sink.finish()?;
        }
        Ok(self.failures.into_groups())
    }
}
