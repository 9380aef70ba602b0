//! A disk that fails at each step of a run: every failure is a clear error, and no finished row is lost.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fanweave_core::{Chain, Prompt, step};

use super::Disk;
use super::faults::{Fault, Faults};
use crate::{BatchJob, ErrorKind, Output, Render, Settings, Source, Summary};

const ROWS: usize = 12;
const CONCURRENCY: usize = 3;

/// A directory with rows, and a chain that counts its calls.
struct TempRun {
    folder: tempfile::TempDir,
    calls: Arc<AtomicUsize>,
}

impl TempRun {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let rows: String = (0..ROWS).map(|row| format!("row {row}\n")).collect();
        std::fs::write(folder.path().join("in.txt"), rows).unwrap();
        Self { folder, calls: Arc::default() }
    }

    fn output(&self) -> std::path::PathBuf {
        self.folder.path().join("out.jsonl")
    }

    fn chain(&self) -> Chain<Prompt, String> {
        let calls = self.calls.clone();
        step(move |prompt: Prompt, _| {
            calls.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::task::yield_now().await;
                Ok(format!("answer to {}", prompt.last_user_text()))
            }
        })
    }

    fn run(&self, output: Output, disk: Disk) -> crate::Result<Summary> {
        let source = Source::open(self.folder.path().join("in.txt"), None).unwrap();
        let job = BatchJob::new(source, Render::default(), self.chain(), output)
            .settings(Settings::new().concurrency(CONCURRENCY))
            .disk(disk);
        // With paused time, rows take no time.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(job.run())
    }
}

fn failing(at: u64, fault: Fault) -> (Disk, Arc<Faults>) {
    let faults = Arc::new(Faults::at(at, fault));
    (Disk { faults: Some(faults.clone()) }, faults)
}

fn rows(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let row = |line: &str| {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        format!("{} {}", row["index"], row["answer"])
    };
    text.lines().map(row).collect()
}

#[test]
fn a_disk_that_fails_at_any_step_is_an_error_and_loses_nothing_finished() {
    let whole = TempRun::new();
    let (disk, counted) = failing(u64::MAX, Fault::Io);
    whole.run(Output::File(whole.output()), disk).unwrap();
    let expected = rows(&whole.output());
    assert_eq!(expected.len(), ROWS);

    let mut met = std::collections::BTreeSet::new();
    for fault in [Fault::Full, Fault::Torn, Fault::Io] {
        let steps = (0..counted.steps()).map(|at| Faults::at(at, fault));
        // The number of syncs and writes depends on the clock, so the last steps may not be reached.
        for faults in steps.chain(["sync", "rename"].map(|what| Faults::at_first(what, fault))) {
            let dir = TempRun::new();
            let faults = Arc::new(faults);
            let ended = dir.run(Output::File(dir.output()), Disk { faults: Some(faults.clone()) });
            let Some(what) = faults.hit() else { continue };
            met.insert(what);
            let case = format!("{faults:?}, a {what}");
            let error = ended.expect_err(&case);
            assert_eq!(error.kind(), ErrorKind::Io, "{case}: {error}");
            let message = error.to_string();
            assert!(message.contains("cannot ") && message.contains("out.jsonl"), "{case}: {message}");
            let full = message.contains("the disk is full;")
                && message.ends_with("free some space, then rerun the job");
            assert_eq!(full, fault != Fault::Io, "{case}: {message}");
            assert!(!dir.output().exists(), "{case}: there is no incomplete output");

            let journalled = journalled(&dir.folder.path().join("out.jsonl.journal"));
            let summary = dir.run(Output::File(dir.output()), Disk::default());
            let summary = summary.unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(summary.resumed, journalled, "{case}");
            assert_eq!(rows(&dir.output()), expected, "{case}");
            let calls = dir.calls.load(Ordering::SeqCst);
            assert!(calls <= ROWS + CONCURRENCY, "{case}: {calls} calls");
        }
    }
    assert_eq!(
        met.into_iter().collect::<Vec<_>>(),
        ["create", "open", "rename", "sync", "truncate", "write"]
    );
}

/// Number of complete row lines in a journal.
fn journalled(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap_or_default();
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    lines.saturating_sub(1) as u64
}

#[test]
fn a_full_disk_under_a_temporary_journal_is_an_error_too() {
    for at in 0..ROWS as u64 {
        let dir = TempRun::new();
        let (disk, faults) = failing(at, Fault::Torn);
        let ended = dir.run(Output::Writer(Box::new(std::io::sink())), disk);
        if faults.hit().is_none() {
            // Several rows may be one write.
            assert!(at > 1, "the file and the first row are steps of their own");
            continue;
        }
        let error = ended.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("the disk is full"), "{error}");
    }
}
