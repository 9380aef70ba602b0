//! Records and sinks of other crates.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanweave_batch::{
    BatchJob, EarlierRows, Error, ErrorKind, FinishedRow, Output, Records, Render, Result, RowLocation,
    RowPermit, RowSink, RowStream, RunEnd, RunIdentity, Settings, Source, Summary,
};
use fanweave_core::model::fake::Fake;
use fanweave_core::{Chain, Message, Prompt, chain, step};
use tokio::sync::Semaphore;

/// Rows as JSON, as in a table of a database.
#[derive(Clone, Default)]
struct Table(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    manifest: Option<String>,
    /// Rows by key.
    rows: BTreeMap<String, String>,
    ends: Vec<RunEnd>,
    /// Number of rows after which recording fails.
    room: Option<usize>,
    panics: bool,
    readable: bool,
    /// Recording a row takes a permit.
    gate: Option<Arc<Semaphore>>,
}

impl Records for Table {
    fn name(&self) -> &str {
        "the table"
    }

    async fn open(&mut self, run: &RunIdentity) -> Result<EarlierRows> {
        let mut state = self.0.lock().unwrap();
        if run.starts_over() {
            state.rows.clear();
        } else if let Some(manifest) = &state.manifest {
            run.check(manifest)?;
        }
        state.manifest = Some(run.manifest());
        let mut earlier = EarlierRows::default();
        for (position, row) in (0..).zip(state.rows.values()) {
            earlier.insert(&serde_json::from_str(row).unwrap(), position);
        }
        Ok(earlier)
    }

    async fn record(&mut self, row: &FinishedRow, _: &mut RowPermit) -> Result<RowLocation> {
        let gate = self.0.lock().unwrap().gate.clone();
        if let Some(gate) = gate {
            gate.acquire().await.unwrap().forget();
        }
        let mut state = self.0.lock().unwrap();
        assert!(!state.panics, "the table panics");
        if state.room.is_some_and(|room| state.rows.len() >= room) {
            return Err(Error::external("cannot write the table", "it is full"));
        }
        state.rows.insert(row.key().to_string(), serde_json::to_string(row).unwrap());
        Ok(row.at(row.index()))
    }

    fn is_readable(&self) -> bool {
        self.0.lock().unwrap().readable
    }

    async fn read(&mut self, location: RowLocation) -> Result<FinishedRow> {
        let state = self.0.lock().unwrap();
        let rows = state.rows.values().map(|row| serde_json::from_str::<FinishedRow>(row).unwrap());
        Ok(rows.into_iter().find(|row| row.index() == location.position()).unwrap())
    }

    async fn finish(&mut self, end: RunEnd) -> Result<()> {
        self.0.lock().unwrap().ends.push(end);
        Ok(())
    }
}

fn texts(rows: usize) -> Source {
    Source::rows("numbers", (0..rows).map(|n| format!("number {n}")))
}

/// Fails for number 3, and counts calls.
fn calls(count: &Arc<AtomicUsize>) -> Chain<Prompt, String> {
    let count = count.clone();
    step(move |prompt: Prompt, _| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            match prompt.last_user_text().as_str() {
                "number 3" => {
                    let error =
                        fanweave_core::Error::new(fanweave_core::ErrorKind::BadRequest, "not this one");
                    Err(error.with_status(400).with_code("three"))
                }
                text => Ok(format!("{text}!")),
            }
        }
    })
}

fn job(rows: usize, count: &Arc<AtomicUsize>, output: Output) -> BatchJob<Prompt, String> {
    BatchJob::new(texts(rows), Render::default(), calls(count), output)
}

async fn run(rows: usize, table: &Table, settings: Settings) -> (Result<Summary>, usize) {
    let count = Arc::default();
    let done = job(rows, &count, Output::records(table.clone())).settings(settings).run().await;
    (done, count.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_run_resumes_from_records_of_another_crate() {
    let table = Table::default();
    let (first, calls) = run(5, &table, Settings::default()).await;
    let first = first.unwrap();
    assert_eq!((first.ok, first.failed, calls), (4, 1, 5));
    assert_eq!(first.failures[0].to_string(), "1 x bad_request: not this one (first in line 4)");

    let (second, calls) = run(7, &table, Settings::default()).await;
    let second = second.unwrap();
    assert_eq!((second.ok, second.failed, second.resumed, calls), (6, 1, 5, 2));
    assert!(second.notes[0].contains("rows are matched one by one"), "{:?}", second.notes);

    let (retried, calls) = run(7, &table, Settings::new().retry_failed(true)).await;
    assert_eq!((retried.unwrap().failed, calls), (1, 1));

    let (fresh, calls) = run(7, &table, Settings::new().fresh(true)).await;
    assert_eq!((fresh.unwrap().resumed, calls), (0, 7));
    assert_eq!(table.0.lock().unwrap().ends, [RunEnd::Complete; 4]);
}

#[tokio::test]
async fn records_of_another_run_are_refused_with_the_difference() {
    let table = Table::default();
    run(2, &table, Settings::default()).await.0.unwrap();
    let other = job(2, &Arc::default(), Output::records(table.clone()));
    let other = other.fingerprint(BTreeMap::from([("model".to_owned(), "b".to_owned())]));
    let error = other.run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    assert_eq!(error.message(), "the table belongs to another run: model was unset, now `b`");

    table.0.lock().unwrap().manifest = Some("{}".to_owned());
    let error = run(2, &table, Settings::default()).await.0.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Journal, "{error}");
}

#[tokio::test]
async fn an_error_of_records_ends_the_run_and_starts_no_other_row() {
    for blocking in [false, true] {
        let table = Table::default();
        table.0.lock().unwrap().room = Some(3);
        let count = Arc::default();
        let output = match blocking {
            true => Output::blocking_records(table.clone()),
            false => Output::records(table.clone()),
        };
        let settings = Settings::new().concurrency(1);
        let error = job(50, &count, output).settings(settings).run().await.unwrap_err();
        assert_eq!(error.to_string(), "cannot write the table: it is full");
        assert_eq!(error.kind(), ErrorKind::Io);
        assert_eq!(count.load(Ordering::SeqCst), 4, "three rows are recorded, and one is not");
    }
}

#[tokio::test]
async fn records_that_panic_are_an_error_of_the_run() {
    for blocking in [false, true] {
        let table = Table::default();
        table.0.lock().unwrap().panics = true;
        let output = match blocking {
            true => Output::blocking_records(table.clone()),
            false => Output::records(table.clone()),
        };
        let error = job(3, &Arc::default(), output).run().await.unwrap_err();
        assert!(
            error.to_string().contains("cannot record results") && error.kind() == ErrorKind::Io,
            "{error}"
        );
    }
}

#[tokio::test]
async fn equal_requests_are_merged_if_records_can_be_read() {
    let table = Table::default();
    let settings = Settings::new().dedupe(true);
    let source = || Source::rows("numbers", ["number 1", "number 2", "number 1", "number 1"]);
    let count = Arc::default();
    let job = |table: &Table| {
        let output = Output::records(table.clone());
        BatchJob::new(source(), Render::default(), calls(&count), output).settings(settings.clone())
    };
    let error = job(&table).run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    table.0.lock().unwrap().readable = true;
    let summary = job(&table).run().await.unwrap();
    assert_eq!((summary.ok, count.load(Ordering::SeqCst)), (4, 2));
    assert_eq!(table.0.lock().unwrap().rows.len(), 4);
}

#[tokio::test]
async fn a_dropped_run_still_records_what_has_ended() {
    let (table, gate) = (Table::default(), Arc::new(Semaphore::new(0)));
    table.0.lock().unwrap().gate = Some(gate.clone());
    let count = Arc::default();
    let settings = Settings::new().concurrency(4);
    let running = job(100, &count, Output::records(table.clone())).settings(settings).run();
    tokio::select! {
        done = running => panic!("{done:?}"),
        () = until(|| count.load(Ordering::SeqCst) == 4) => {}
    }
    gate.add_permits(1000);
    until(|| table.0.lock().unwrap().ends == [RunEnd::Dropped]).await;
    let (rows, calls) = (table.0.lock().unwrap().rows.len(), count.load(Ordering::SeqCst));
    assert!(rows <= 4 && calls == 4, "{rows} rows, {calls} calls");
    let (resumed, second) = run(100, &table, Settings::default()).await;
    assert_eq!((resumed.unwrap().resumed, second), (rows as u64, 100 - rows));
}

/// Waits until a condition holds.
async fn until(holds: impl Fn() -> bool) {
    while !holds() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Writes rows in groups of ten.
#[derive(Clone, Default)]
struct Groups(Arc<Mutex<(usize, Vec<usize>)>>);

impl Groups {
    fn flush(&self) {
        let mut groups = self.0.lock().unwrap();
        let rows = std::mem::take(&mut groups.0);
        if rows > 0 {
            groups.1.push(rows);
        }
    }
}

impl Records for Groups {
    fn name(&self) -> &str {
        "groups"
    }

    async fn open(&mut self, _: &RunIdentity) -> Result<EarlierRows> {
        Ok(EarlierRows::default())
    }

    async fn record(&mut self, row: &FinishedRow, permit: &mut RowPermit) -> Result<RowLocation> {
        permit.release();
        let rows = {
            let mut groups = self.0.lock().unwrap();
            groups.0 += 1;
            groups.0
        };
        if rows == 10 {
            self.flush();
        }
        Ok(row.at(0))
    }

    async fn finish(&mut self, _: RunEnd) -> Result<()> {
        self.flush();
        Ok(())
    }
}

#[tokio::test]
async fn records_may_be_written_in_groups_larger_than_the_concurrency() {
    let groups = Groups::default();
    let settings = Settings::new().concurrency(2);
    let job = job(25, &Arc::default(), Output::records(groups.clone())).settings(settings);
    assert_eq!(job.run().await.unwrap().rows, 25);
    assert_eq!(groups.0.lock().unwrap().1, [10, 10, 5]);
}

/// Keeps rows in the order in which they come.
#[derive(Clone, Default)]
struct View(Arc<Mutex<Vec<ViewRow>>>, Arc<Mutex<Vec<&'static str>>>);

type ViewRow = (u64, Result<String, String>);

impl RowSink for View {
    fn begin(&mut self) -> Result<()> {
        self.0.lock().unwrap().clear();
        self.1.lock().unwrap().push("begin");
        Ok(())
    }

    fn write(&mut self, row: FinishedRow) -> Result<()> {
        let index = row.index();
        let result = row.into_result().map(|answer| serde_json::to_string(&answer.content).unwrap());
        self.0.lock().unwrap().push((index, result.map_err(|error| format!("{:?} {error}", error.code()))));
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.1.lock().unwrap().push("finish");
        Ok(())
    }
}

async fn view(journal: &Path, rows: usize, view: &View, count: &Arc<AtomicUsize>) -> Result<Summary> {
    job(rows, count, Output::sink(journal, view.clone())).run().await
}

#[tokio::test]
async fn a_sink_gets_all_rows_in_order_from_each_run() {
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("numbers.journal");
    let (first, second) = (View::default(), View::default());
    let count = Arc::default();
    view(&journal, 6, &first, &count).await.unwrap();
    view(&journal, 8, &second, &count).await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 8, "the second run calls two rows");
    let rows = second.0.lock().unwrap().clone();
    assert_eq!(rows.iter().map(|(index, _)| *index).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    assert_eq!(rows[7].1.as_deref(), Ok(r#""number 7!""#));
    assert_eq!(rows[..6], first.0.lock().unwrap()[..], "a row that was read back is the same row");
    assert_eq!(rows[3].1.as_ref().unwrap_err(), r#"Some("three") status 400: not this one"#);
    assert_eq!(*first.1.lock().unwrap(), ["begin", "finish"]);
}

#[tokio::test]
async fn a_finished_row_survives_json() {
    let kept: Arc<Mutex<Vec<FinishedRow>>> = Arc::default();
    let folder = tempfile::tempdir().unwrap();
    let fake = chain(Fake::echo());
    let outer: Chain<Prompt, Message> = chain(fake).named("outer");
    let output = Output::sink(folder.path().join("a.journal"), Keep(kept.clone()));
    BatchJob::new(texts(1), Render::default(), outer, output).run().await.unwrap();
    let failing = chain(Fake::script([Err::<String, _>(
        fanweave_core::Error::new(fanweave_core::ErrorKind::ContextLength, "too long")
            .with_status(413)
            .with_request_id("r-1")
            .with_body("{}"),
    )]))
    .named("inner")
    .named("outer");
    let output = Output::sink(folder.path().join("b.journal"), Keep(kept.clone()));
    BatchJob::new(texts(1), Render::default(), failing, output).run().await.unwrap();

    let rows = kept.lock().unwrap().clone();
    assert_eq!(rows.len(), 2);
    for row in rows {
        let json = serde_json::to_string(&row).unwrap();
        let back: FinishedRow = serde_json::from_str(&json).unwrap();
        assert_eq!(back.answer(), row.answer());
        assert_eq!((back.key(), back.index(), back.line(), back.calls()), (row.key(), 0, 1, row.calls()));
        let (error, was) = (back.error(), row.error());
        let shown = |error: &fanweave_core::Error| {
            let path: Vec<_> = error.path().map(str::to_owned).collect();
            (error.kind(), error.to_string(), error.status(), error.request_id().map(str::to_owned), path)
        };
        assert_eq!(error.as_ref().map(shown), was.as_ref().map(shown));
    }
}

/// The results of a run to memory.
struct Keep(Arc<Mutex<Vec<FinishedRow>>>);

impl RowSink for Keep {
    fn write(&mut self, row: FinishedRow) -> Result<()> {
        self.0.lock().unwrap().push(row);
        Ok(())
    }
}

async fn results(job: BatchJob<Prompt, String>, mut rows: RowStream) -> (Result<Summary>, Vec<FinishedRow>) {
    let read = async {
        let mut all = Vec::new();
        while let Some(row) = rows.next().await {
            all.push(row);
        }
        all
    };
    futures::join!(job.run(), read)
}

#[tokio::test]
async fn results_come_to_memory_in_order_with_their_errors() {
    let (output, rows) = Output::rows(2);
    let (summary, rows) = results(job(40, &Arc::default(), output), rows).await;
    assert_eq!((summary.unwrap().ok, rows.len()), (39, 40));
    for (n, row) in rows.into_iter().enumerate() {
        assert_eq!(row.index(), n as u64);
        match (n, row.into_result()) {
            (3, Err(error)) => assert_eq!((error.status(), error.code()), (Some(400), Some("three"))),
            (_, answer) => assert_eq!(answer.unwrap().content.to_string(), format!("number {n}!")),
        }
    }
}

#[tokio::test]
async fn results_come_to_a_direct_sink_and_those_of_equal_requests_too() {
    let settings = Settings::new;
    for settings in [settings(), settings().unordered(true), settings().unordered(true).dedupe(true)] {
        let (kept, count) = (Arc::default(), Arc::default());
        let twice = (0..40).chain(0..40).map(|n| format!("number {n}"));
        let output = Output::direct(Keep(Arc::clone(&kept)));
        let job = BatchJob::new(Source::rows("numbers", twice), Render::default(), calls(&count), output);
        // A row that has failed answers only those that wait for it.
        let calls = if settings.dedupe { 40..=41 } else { 80..=80 };
        let is_ordered = !settings.unordered;
        let summary = job.settings(settings).run().await.unwrap();
        assert_eq!((summary.ok, summary.failed), (78, 2));
        let called = count.load(Ordering::SeqCst);
        assert!(calls.contains(&called), "{called}");
        let mut rows = std::mem::take(&mut *kept.lock().unwrap());
        assert!(!is_ordered || rows.is_sorted_by_key(FinishedRow::index));
        rows.sort_by_key(FinishedRow::index);
        assert_eq!(rows.len(), 80);
        for (n, row) in rows.into_iter().enumerate() {
            assert_eq!(row.index(), n as u64);
            match (n % 40, row.into_result()) {
                (3, Err(error)) => assert_eq!(error.code(), Some("three")),
                (n, answer) => assert_eq!(answer.unwrap().content.to_string(), format!("number {n}!")),
            }
        }
    }
}

#[tokio::test]
async fn an_error_of_a_row_keeps_its_payload_also_if_it_waits_for_an_earlier_row() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = gate.clone();
    let chain = step(move |prompt: Prompt, _| {
        let gate = opened.clone();
        async move {
            if prompt.last_user_text() == "number 0" {
                gate.acquire().await.unwrap().forget();
                return Ok("late".to_owned());
            }
            gate.add_permits(1);
            Err(fanweave_core::Error::foreign(Arc::new(17_u32), "from outside"))
        }
    });
    let (output, rows) = Output::rows(1);
    let (summary, rows) = results(BatchJob::new(texts(2), Render::default(), chain, output), rows).await;
    assert_eq!(summary.unwrap().failed, 1);
    let error = rows[1].error().unwrap();
    assert_eq!(error.payload().unwrap().downcast_ref::<u32>(), Some(&17));
}

#[tokio::test]
async fn a_slow_reader_delays_rows_and_one_that_leaves_ends_the_run() {
    let count = Arc::default();
    let settings = Settings::new().concurrency(2);
    let (output, mut rows) = Output::rows(3);
    let mut running = Box::pin(job(100_000, &count, output).settings(settings).run());
    tokio::select! {
        done = &mut running => panic!("{done:?}"),
        () = until(|| count.load(Ordering::SeqCst) > 3) => {}
    }
    let (first, _) = futures::join!(rows.next(), async {
        let _ = tokio::time::timeout(Duration::from_millis(100), &mut running).await;
    });
    assert_eq!(first.unwrap().index(), 0);
    // The stream, the queue of the recorder and the rows in flight.
    let calls = count.load(Ordering::SeqCst);
    assert!(calls < 300, "{calls} rows were called");
    drop(rows);
    let error = running.await.unwrap_err();
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (ErrorKind::Io, "the results are not read any more")
    );
}

#[tokio::test]
async fn rows_from_memory_to_memory_have_dedupe_and_budgets() {
    let count = Arc::default();
    let (output, rows) = Output::rows(16);
    let source = Source::rows("numbers", ["number 1", "number 2", "number 1"]);
    let settings = Settings::new().dedupe(true);
    let job = BatchJob::new(source, Render::default(), calls(&count), output).settings(settings);
    let (summary, rows) = results(job, rows).await;
    assert_eq!((summary.unwrap().ok, rows.len(), count.load(Ordering::SeqCst)), (3, 3, 2));
    assert_eq!(rows[2].answer().unwrap().content.to_string(), "number 1!");

    let (output, rows) = Output::rows(16);
    let costs = fanweave_batch::Costs::default().cap(0.5, 1.0);
    let (summary, rows) = results(self::job(3, &count, output).costs(costs), rows).await;
    assert!(summary.unwrap().over_budget && rows.is_empty());
}
