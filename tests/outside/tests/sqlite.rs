//! A batch whose rows and results are in SQLite.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fanweave::batch::{BatchJob, ErrorKind, Output, Render, Settings, Source, Summary};
use fanweave::prompts::Template;
use fanweave::{Chain, Error, Prompt, step};
use outside::table::{Answers, Questions, Results};
use rusqlite::Connection;

const ROWS: usize = 200;

type Calls = Arc<Mutex<HashMap<String, usize>>>;

fn database() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("work.db");
    let table = Connection::open(&path).unwrap();
    table.execute_batch("CREATE TABLE questions (id INTEGER PRIMARY KEY, topic TEXT); BEGIN").unwrap();
    for n in 0..ROWS {
        table.execute("INSERT INTO questions VALUES (?1, ?2)", (n as i64 * 7, format!("topic {n}"))).unwrap();
    }
    table.execute_batch("COMMIT").unwrap();
    (folder, path)
}

/// Answers after a while, and fails for topic 13 the first time.
fn answer(calls: &Calls) -> Chain<Prompt, String> {
    let calls = calls.clone();
    step(move |prompt: Prompt, _| {
        let calls = calls.clone();
        async move {
            let text = prompt.last_user_text();
            let number = {
                let mut calls = calls.lock().unwrap();
                let number = calls.entry(text.clone()).or_default();
                *number += 1;
                *number
            };
            tokio::time::sleep(Duration::from_millis(2)).await;
            if text.ends_with(" 13.") && number == 1 {
                return Err(Error::new(fanweave::ErrorKind::ContentFilter, "not this topic"));
            }
            Ok(format!("{text}!"))
        }
    })
}

fn job(path: &Path, calls: &Calls, output: Output) -> BatchJob<Prompt, String> {
    let source = Source::blocking(Questions::open(path).unwrap());
    let template = Template::parse("About {{ topic }}.").unwrap();
    let settings = Settings::new().concurrency(NonZeroUsize::new(8).unwrap());
    BatchJob::new(source, Render::new().template(template), answer(calls), output).settings(settings)
}

fn recorded(path: &Path) -> usize {
    let count = Connection::open(path)
        .unwrap()
        .query_row("SELECT count(*) FROM results", [], |row| row.get::<_, i64>(0));
    usize::try_from(count.unwrap_or_default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_source_over_sqlite_and_records_in_it_with_resume() {
    let ((_folder, path), calls) = (database(), Calls::default());
    let records = || Output::blocking_records(Results::new(&path));
    // The run is dropped half-way, as when a process ends.
    let half = async {
        while calls.lock().unwrap().len() < ROWS / 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        done = job(&path, &calls, records()).run() => panic!("{done:?}"),
        () = half => {}
    }
    let before = recorded(&path);
    let called: usize = calls.lock().unwrap().values().sum();
    assert!(before > 50 && called - before <= 8, "{before} rows recorded, {called} called");

    let summary: Summary = job(&path, &calls, records()).run().await.unwrap();
    assert_eq!((summary.rows, summary.failed, summary.left), (ROWS as u64, 1, Some(0)));
    assert_eq!(summary.resumed, before as u64);
    let total: usize = calls.lock().unwrap().values().sum();
    assert_eq!(total, ROWS + called - before, "only rows without a record are called a second time");

    // A third run has nothing to do, and a fourth one retries the failed row.
    let third = job(&path, &calls, records()).run().await.unwrap();
    assert!(third.nothing_to_do());
    let settings = Settings::new().retry_failed(true);
    let fourth = job(&path, &calls, records()).settings(settings).run().await.unwrap();
    assert_eq!((fourth.ok, fourth.resumed), (ROWS as u64, ROWS as u64 - 1));
    assert_eq!(calls.lock().unwrap().values().sum::<usize>(), total + 1);

    // Another template is another run.
    let other = job(&path, &calls, records());
    let other = other.fingerprint(std::collections::BTreeMap::from([("template".into(), "other".into())]));
    assert_eq!(other.run().await.unwrap_err().kind(), ErrorKind::Mismatch);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_over_sqlite_is_made_again_by_each_run() {
    let ((folder, path), calls) = (database(), Calls::default());
    let journal = folder.path().join("work.journal");
    for _ in 0..2 {
        let output = Output::sink(&journal, Answers(Connection::open(&path).unwrap()));
        let summary = job(&path, &calls, output).run().await.unwrap();
        assert_eq!(summary.rows, ROWS as u64);
        let table = Connection::open(&path).unwrap();
        let rows: Vec<(String, Option<String>)> = table
            .prepare("SELECT question, answer FROM answers ORDER BY rowid")
            .unwrap()
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        for (n, (question, answer)) in rows.iter().enumerate() {
            assert_eq!(question, &(n * 7).to_string());
            assert_eq!(answer.as_deref(), (n != 13).then_some(&*format!("About topic {n}.!")));
        }
        assert_eq!(rows.len(), ROWS);
    }
    assert_eq!(calls.lock().unwrap().values().sum::<usize>(), ROWS, "the second run calls nothing");
}
