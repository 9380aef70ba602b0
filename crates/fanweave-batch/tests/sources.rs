//! Rows from outside: sources of other crates, and rows from memory.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanweave_batch::{
    BatchJob, Error, ErrorKind, Input, InputRow, Output, Progress, Render, Result, RowKey, RowSource,
    Settings, Source,
};
use fanweave_core::{Message, Model, Prompt};
use futures::poll;
use support::{Rows, TempRun, settings, text_rows};

/// Rows `row 0`, `row 1`, .. that arrive after a pause. Counts its instances.
struct Table {
    rows: std::ops::Range<u64>,
    pause: Duration,
    version: Option<u32>,
    alive: Arc<AtomicUsize>,
}

impl Table {
    fn new(rows: u64) -> Self {
        let alive = Arc::new(AtomicUsize::new(1));
        Self { rows: 0..rows, pause: Duration::from_millis(1), version: None, alive }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl RowSource for Table {
    fn name(&self) -> &str {
        "table"
    }

    async fn next(&mut self) -> Result<Option<InputRow>> {
        if self.rows.start > 0 {
            tokio::time::sleep(self.pause).await;
        }
        Ok(self.rows.next().map(|n| InputRow::new(Input::Text(format!("row {n}")))))
    }

    async fn total(&mut self) -> Result<Option<u64>> {
        Ok(Some(self.rows.end - self.rows.start))
    }

    fn identity(&self) -> Option<RowKey> {
        self.version.map(|version| RowKey::of(&version).unwrap())
    }
}

fn job(source: Source, output: &Path, model: Rows) -> BatchJob<Prompt, Message> {
    let chain = fanweave_core::chain(Model::new(model));
    BatchJob::new(source, Render::default(), chain, Output::File(output.to_owned()))
}

fn counting(calls: &Arc<AtomicUsize>) -> Rows {
    Rows { calls: calls.clone(), ..Rows::new(1, 0) }
}

/// The output without latencies, which depend on the clock.
fn output(dir: &TempRun, name: &str) -> Vec<serde_json::Value> {
    let read = |line: &str| {
        let mut row: serde_json::Value = serde_json::from_str(line).unwrap();
        row["latency_ms"] = 0.into();
        row
    };
    dir.read(name).lines().map(read).collect()
}

/// Drops a run as soon as `is_enough` returns true.
async fn dropped(run: BatchJob<Prompt, Message>, is_enough: impl Fn() -> bool) {
    let enough = async {
        while !is_enough() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        ended = run.run() => panic!("the run ended: {ended:?}"),
        () = enough => {}
    }
}

#[tokio::test]
async fn a_source_of_an_outsider_resumes_like_a_file() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(40));
    let file = Source::open(input, None).unwrap();
    job(file, &dir.path("file.jsonl"), Rows::new(1, 0)).run().await.unwrap();

    let calls = Arc::new(AtomicUsize::new(0));
    let start = || {
        let job = job(Source::new(Table::new(40)), &dir.path("table.jsonl"), counting(&calls));
        job.settings(settings(4))
    };
    for kill in [10, 20, 30] {
        dropped(start(), || calls.load(Ordering::SeqCst) >= kill).await;
    }
    let summary = start().run().await.unwrap();
    assert!((10..40).contains(&summary.resumed), "{summary:?}");
    assert_eq!((summary.rows, summary.left), (40, Some(0)));
    assert_eq!(output(&dir, "table.jsonl"), output(&dir, "file.jsonl"));
    let called = calls.load(Ordering::SeqCst);
    assert!((40..=40 + 3 * 4).contains(&called), "{called} calls");
}

#[tokio::test]
async fn a_source_that_waits_delays_no_answer() {
    let dir = TempRun::new();
    let progress = Arc::new(Progress::default());
    let mut table = Table::new(2);
    table.pause = Duration::from_secs(3600);
    let run = job(Source::new(table), &dir.path("out.jsonl"), Rows::new(1, 0)).progress(progress.clone());
    dropped(run, || progress.snapshot().ok == 1).await;
    assert_eq!(progress.snapshot().total, Some(2));
}

#[tokio::test]
async fn a_dropped_run_ends_its_source() {
    let dir = TempRun::new();
    let table = Table::new(1000);
    let alive = table.alive.clone();
    let calls = Arc::new(AtomicUsize::new(0));
    let run = job(Source::new(table), &dir.path("out.jsonl"), counting(&calls));
    dropped(run, || calls.load(Ordering::SeqCst) > 0).await;
    assert_eq!(alive.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_run_that_is_dropped_while_it_hands_over_resumed_rows_ends() {
    let dir = TempRun::new();
    let out = dir.path("out.jsonl");
    let start = || {
        let rows = (0..3000).map(|n| format!("row {n}"));
        let table = Buffered(rows.collect::<Vec<_>>().into_iter());
        let chain = fanweave_core::chain(fanweave_core::model::fake::Fake::echo());
        BatchJob::new(Source::new(table), Render::default(), chain, Output::File(out.clone()))
    };
    start().run().await.unwrap();
    for polls in 0..40 {
        let mut run = Box::pin(start().run());
        for _ in 0..polls {
            // The recorder's thread takes rows in the meantime, or not: either way the drop must end.
            let _ = poll!(&mut run);
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(start().run().await.unwrap().resumed, 3000);
}

/// Rows that are always ready, in the task of the run.
struct Buffered(std::vec::IntoIter<String>);

impl RowSource for Buffered {
    fn name(&self) -> &str {
        "buffered"
    }

    async fn next(&mut self) -> Result<Option<InputRow>> {
        Ok(self.0.next().map(|row| InputRow::new(row.into())))
    }
}

/// A source that fails or panics after two rows.
struct Broken {
    rows: u64,
    panics: bool,
}

impl RowSource for Broken {
    fn name(&self) -> &str {
        "broken"
    }

    async fn next(&mut self) -> Result<Option<InputRow>> {
        self.rows += 1;
        match self.rows {
            n @ 1..=2 => Ok(Some(InputRow::new(Input::Text(format!("row {n}"))))),
            _ if self.panics => panic!("no more rows"),
            _ => Err(Error::external("cannot read the table", "the server has gone away")),
        }
    }
}

#[tokio::test]
async fn a_source_that_breaks_ends_the_run_and_finished_rows_are_kept() {
    for (panics, why) in [(false, "cannot read the table: the server has gone away"), (true, "no more rows")]
    {
        for may_block in [false, true] {
            let (dir, calls) = (TempRun::new(), Arc::new(AtomicUsize::new(0)));
            let broken = Broken { rows: 0, panics };
            let source = if may_block { Source::blocking(broken) } else { Source::new(broken) };
            let error = job(source, &dir.path("out.jsonl"), counting(&calls)).run().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io);
            assert!(error.to_string().contains(why), "{error}");
            let rest = Source::rows("rest", ["row 1", "row 2", "row 3"]);
            let summary = job(rest, &dir.path("out.jsonl"), counting(&calls)).run().await.unwrap();
            assert_eq!((summary.resumed, calls.load(Ordering::SeqCst)), (2, 3));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn rows_from_memory_are_deduplicated_counted_and_resumed() {
    let (dir, calls) = (TempRun::new(), Arc::new(AtomicUsize::new(0)));
    let start = |rows: &[u64]| {
        let rows: Vec<_> = rows.iter().map(|n| format!("row {n}")).collect();
        job(Source::rows("numbers", rows), &dir.path("out.jsonl"), counting(&calls))
            .settings(Settings::new().dedupe(true))
    };
    let summary = start(&[1, 2, 1]).run().await.unwrap();
    assert_eq!((summary.ok, summary.left, calls.load(Ordering::SeqCst)), (3, Some(0), 2));
    // Another row before them changes the positions of all, but not their keys.
    let summary = start(&[7, 1, 2, 1]).run().await.unwrap();
    assert_eq!((summary.resumed, calls.load(Ordering::SeqCst)), (3, 3));
    assert_eq!(output(&dir, "out.jsonl").len(), 4);
}

#[tokio::test(start_paused = true)]
async fn rows_of_another_identity_are_rejected_unless_a_change_is_allowed() {
    let dir = TempRun::new();
    let start = |version| {
        let mut table = Table::new(3);
        table.version = Some(version);
        job(Source::new(table), &dir.path("out.jsonl"), Rows::new(1, 0))
    };
    start(1).run().await.unwrap();
    assert_eq!(start(1).run().await.unwrap().resumed, 3);
    assert_eq!(start(2).run().await.unwrap_err().kind(), ErrorKind::Mismatch);
    let changed = Settings::new().changed_input(true);
    assert_eq!(start(2).settings(changed).run().await.unwrap().resumed, 3);
}

#[tokio::test]
async fn an_invalid_row_fails_alone_and_keeps_its_line() {
    struct Mixed(u64);

    impl RowSource for Mixed {
        fn name(&self) -> &str {
            "mixed"
        }

        async fn next(&mut self) -> Result<Option<InputRow>> {
            self.0 += 1;
            Ok(match self.0 {
                1 => Some(InputRow::invalid("the field `text` is missing").with_id("a").with_line(17)),
                2 => Some(InputRow::new(Input::Text("row 5".into())).with_id("b")),
                _ => None,
            })
        }
    }

    let dir = TempRun::new();
    let summary = job(Source::new(Mixed(0)), &dir.path("out.jsonl"), Rows::new(1, 0)).run().await.unwrap();
    assert_eq!((summary.ok, summary.failed), (1, 1));
    let rows = output(&dir, "out.jsonl");
    assert_eq!((&rows[0]["error"]["line"], &rows[1]["answer"]), (&17.into(), &"answer 5".into()));
}
