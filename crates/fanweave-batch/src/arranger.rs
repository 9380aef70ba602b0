//! Arranger: writes results to a sink in input order. Keeps the locations of results that wait, and the
//! results themselves up to a limit: nearly all wait for a short time, and need not be read again.

use std::collections::{BTreeMap, HashMap};
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

/// Maximum bytes of results that wait in memory. Others are read again: any number may wait for a row that
/// takes long.
const MAX_HELD_BYTES: usize = 1 << 20;

/// Bytes of a result in memory beyond the length of its line in the journal.
const ROW_BYTES: usize = 1 << 10;

/// State of the view of a run.
pub struct Arranger {
    /// `None` if records are the only output.
    sink: Option<Box<dyn RowSink>>,
    /// Writes results as rows finish, rather than in input order.
    unordered: bool,
    order: Order,
    held: HeldRows,
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
        let unordered = unordered || sink.is_none();
        Self { sink, unordered, order, held: HeldRows::default(), lines, errors, failures, progress }
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
        if let Some(row) = self.held.insert(row, location)
            && let Some(error) = row.error.filter(|error| error.payload().is_some())
        {
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
        if let Some(row) = self.held.remove(index) {
            return self.emit(row);
        }
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

/// Results of this run that wait in memory, by their indices.
#[derive(Default)]
struct HeldRows {
    rows: BTreeMap<u64, (FinishedRow, usize)>,
    bytes: usize,
}

impl HeldRows {
    /// Keeps a row, or returns it if the space is used up. Rows in records of other crates are not kept:
    /// their lengths are unknown.
    fn insert(&mut self, row: FinishedRow, location: RowLocation) -> Option<FinishedRow> {
        let Some(line) = location.line_length() else { return Some(row) };
        let bytes = line.saturating_add(ROW_BYTES);
        if self.bytes + bytes > MAX_HELD_BYTES {
            return Some(row);
        }
        self.bytes += bytes;
        self.rows.insert(row.index(), (row, bytes));
        None
    }

    /// The row with this index, if it was kept. Rows are written in the order of their indices, so it is the
    /// first one.
    fn remove(&mut self, index: u64) -> Option<FinishedRow> {
        let first = self.rows.first_entry().filter(|first| *first.key() == index)?;
        let (row, bytes) = first.remove();
        self.bytes -= bytes;
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::answer::{Answer, Content};
    use crate::disk::Disk;
    use crate::journal::{Journal, Record};
    use crate::key::Key;

    /// Keeps the index and the length of the answer of each row.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<(u64, usize)>>>);

    impl RowSink for Written {
        fn write(&mut self, row: FinishedRow) -> Result<()> {
            let Some(Answer { content: Content::Text(text), .. }) = row.answer() else { unreachable!() };
            self.0.lock().unwrap().push((row.index(), text.len()));
            Ok(())
        }
    }

    fn row(index: u64, length: usize) -> FinishedRow {
        let answer = Answer { content: Content::Text("x".repeat(length)), ..Answer::default() };
        let record = Record {
            key: Key::of(&[&index.to_le_bytes()]),
            index,
            line: index + 1,
            id: None,
            latency_ms: 1,
            cost_usd: None,
            maybe_billed_usd: None,
            time: None,
            result: Outcome::Answer(Box::new(answer)),
        };
        FinishedRow::new(record, None)
    }

    #[tokio::test]
    async fn rows_that_wait_are_kept_up_to_a_limit_and_the_others_are_read_again() {
        let mut store = RecordStore::Journal(Journal::temporary(&Disk::default()).unwrap());
        let written = Written::default();
        let mut arranger = Arranger::new(Some(Box::new(written.clone())), false, Arc::default());
        let mut rows: Vec<_> = (0..12).map(|index| row(index, 200_000 + index as usize)).collect();
        let expected: Vec<_> = rows.iter().map(|row| (row.index(), 200_000 + row.index() as usize)).collect();
        // The first one comes last.
        rows.rotate_left(1);
        for row in rows {
            assert!(arranger.held.bytes <= MAX_HELD_BYTES);
            assert_eq!(
                arranger.held.rows.len(),
                (row.index() as usize).wrapping_sub(1).min(5),
                "{}",
                row.index()
            );
            let location = store.record(&row, &mut crate::records::RowPermit(None)).await.unwrap();
            arranger.finished(row, location, &mut store).await.unwrap();
        }
        assert_eq!(*written.0.lock().unwrap(), expected);
        assert_eq!((arranger.held.bytes, arranger.held.rows.len()), (0, 0));
    }
}
