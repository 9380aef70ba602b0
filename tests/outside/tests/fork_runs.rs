//! A process with an open journal, input or telemetry forks: its child leaves the files of the parent alone.

#![cfg(unix)]

#[allow(dead_code, reason = "other tests use the rest")]
mod child;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};

use fanweave::batch::{BatchJob, ErrorKind, JournalExt, Output, Render, Source};
use fanweave::blocking::wait;
use fanweave::crates::opentelemetry::global;
use fanweave::telemetry::Telemetry;
use fanweave::testing::Fake;
use fanweave::{Chain, Context, Prompt, chain, text};
use outside::server::Server;

use child::{alone, fork, in_child};

fn prompts() -> impl Iterator<Item = Prompt> {
    (0..20).map(|n| Prompt::from(format!("prompt {n}")))
}

#[test]
fn an_open_journal_refuses_the_rows_of_a_child_before_a_call() {
    let _alone = alone();
    let server = Server::echo();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("answers.journal");
    let echo: Chain<Prompt, String> = chain(server.model().build().unwrap()) | text();
    let mut batch = Some(echo.journal(&path).batch(prompts()).unwrap());
    let code = in_child(|| {
        let rows = wait(batch.take().unwrap().concurrency(4).collect());
        let is_refused = |row: &fanweave::Result<String>| {
            row.as_ref().is_err_and(|error| error.to_string().contains("before this process was forked"))
        };
        u8::from(rows.len() != 20 || !rows.iter().all(is_refused))
    });
    assert_eq!(code, 0);
    assert_eq!(server.requests(), 0, "the child has paid for nothing");
    // A child that drops the run returns, and does not unlock the journal.
    let code = in_child(|| {
        batch = None;
        0
    });
    assert_eq!(code, 0);
    let error = echo.journal(&path).batch(prompts()).expect_err("the journal is locked");
    assert_eq!(error.kind(), ErrorKind::Locked);
    let rows = wait(batch.take().unwrap().collect());
    assert!(rows.iter().all(Result::is_ok), "{rows:?}");
    assert_eq!(server.requests(), 20);
    // Now the journal is free, also for a child.
    let code = in_child(|| {
        let rows = wait(echo.journal(&path).batch(prompts()).unwrap().collect());
        u8::from(!rows.iter().all(Result::is_ok))
    });
    assert_eq!(code, 0);
    assert_eq!(server.requests(), 20, "every row was in the journal");
}

#[test]
fn parent_and_child_each_read_all_rows_of_an_open_file() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cities.csv");
    let mut rows = "city,country\n".to_owned();
    for n in 0..20_000 {
        writeln!(rows, "city number {n},country number {n}").unwrap();
    }
    std::fs::write(&path, rows).unwrap();
    let mut source = Some(Source::open(&path, None).unwrap());
    let mut count = || {
        let rows: Result<Vec<_>, _> = source.take().unwrap().collect();
        rows.unwrap().len()
    };
    let child = fork(|| u8::from(count() != 20_000));
    assert_eq!(count(), 20_000);
    assert_eq!(child.wait(), 0);
}

#[test]
fn a_job_of_the_parent_runs_in_a_child() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("answers.jsonl");
    let source = Source::rows("cities", ["Oslo", "Rome"]);
    let job = BatchJob::new(source, Render::new(), chain(Fake::echo()), Output::File(output.clone()));
    let mut job = Some(job);
    let code = in_child(|| u8::from(wait(job.take().unwrap().run()).unwrap().ok != 2));
    assert_eq!(code, 0);
    assert_eq!(std::fs::read_to_string(output).unwrap().lines().count(), 2);
}

#[test]
fn a_child_is_observed_while_its_parent_is() {
    let _alone = alone();
    let telemetry = Arc::new(Telemetry::new(global::tracer("fork"), &global::meter("fork")));
    let echo = chain(Fake::echo()) | text();
    let cx = Context::new().with_observer(telemetry.clone());
    let (stop, started) = (AtomicBool::new(false), Barrier::new(3));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                started.wait();
                while !stop.load(Ordering::Relaxed) {
                    wait(echo.invoke_in("of the parent", &cx)).unwrap();
                }
            });
        }
        started.wait();
        let child = || {
            // Of its own: the usage that the threads add to may be locked at the moment of the fork.
            let cx = Context::new().with_observer(telemetry.clone());
            fork(|| u8::from(wait(echo.invoke_in("of a child", &cx)).is_err())).exited()
        };
        let failed = (0..100).find_map(|_| Some(child()).filter(|ended| *ended != Ok(0)));
        // The threads end, whatever the children did.
        stop.store(true, Ordering::Relaxed);
        assert_eq!(failed, None);
    });
}
