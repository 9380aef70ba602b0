//! Real SIGKILL: the test spawns itself as another process, kills it, and checks the files.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{Rows, TempRun, job, settings, text_rows};

const ROWS: u64 = 2000;
const CONCURRENCY: usize = 16;
const KILLS: usize = 12;
/// Set for the process that will be killed, to the directory with its input.
const FOLDER: &str = "FANWEAVE_TEST_KILL_FOLDER";

/// The process that is killed. Does nothing unless [`FOLDER`] is set.
#[tokio::test]
async fn victim() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    job(&folder.join("in.txt"), &folder.join("out.jsonl"), Rows::new(3, 0))
        .settings(settings(CONCURRENCY))
        .run()
        .await
        .unwrap();
}

fn spawn(dir: &TempRun) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim"])
        .env(FOLDER, dir.folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn lines(path: &Path) -> usize {
    fs::read(path).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
}

#[test]
fn a_run_that_is_killed_repeatedly_ends_with_one_result_for_each_row() {
    let dir = TempRun::new();
    dir.write("in.txt", text_rows(ROWS));
    let journal = dir.path("out.jsonl.journal");
    for kill in 1..=KILLS {
        let mut victim = spawn(&dir);
        let until = kill * 100 + kill * 7 % 50;
        while lines(&journal) < until && victim.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        assert!(!dir.path("out.jsonl").exists(), "there is no incomplete output");
    }
    assert!(spawn(&dir).wait().unwrap().success());

    let answers: Vec<_> = dir.read("out.jsonl").lines().map(answer).collect();
    assert_eq!(answers, (0..ROWS).map(|row| format!("answer {row}")).collect::<Vec<_>>());
    // Every record is of a different row: no journalled row was called a second time.
    assert_eq!(lines(&journal), 1 + ROWS as usize);
}

fn answer(line: &str) -> String {
    let row: serde_json::Value = serde_json::from_str(line).unwrap();
    row["answer"].as_str().unwrap().to_owned()
}
