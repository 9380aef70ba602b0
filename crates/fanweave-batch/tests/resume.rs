//! An interrupted run resumes, and its output is that of an uninterrupted one.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanweave_batch::{
    BatchJob, CancellationToken, ErrorKind, JournalExt, Output, OutputFormat, Progress, Render, RunRecord,
    Settings, Source, Summary,
};
use fanweave_core::{Message, Prompt, step};
use proptest::prelude::*;
use support::{Rows, TempRun, job, job_of, settings, text_rows, with_invalid_lines};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    // With paused time, delays determine the order of rows but take no time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(work)
}

/// Runs a job several times, dropping it after each of `kills` milliseconds, and finally to its end.
async fn killed(kills: &[u64], job: impl Fn() -> BatchJob<Prompt, Message>) -> Summary {
    for kill in kills {
        // For the journal, dropping the run is like a crash: everything that was not written is lost.
        let _ = tokio::time::timeout(Duration::from_millis(*kill), job().run()).await;
    }
    job().run().await.unwrap()
}

/// The output without latencies, which depend on the clock.
fn output(dir: &TempRun, name: &str) -> Vec<serde_json::Value> {
    let rows = dir.read(name);
    let read = |line: &str| {
        let mut row: serde_json::Value = serde_json::from_str(line).unwrap();
        row["latency_ms"] = 0.into();
        row
    };
    rows.lines().map(read).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_killed_run_resumes_to_the_output_of_an_undisturbed_one(
        seed in any::<u64>(),
        rows in 1_u64..120,
        failing in 0_u64..6,
        concurrency in 1_usize..40,
        kills in prop::collection::vec(0_u64..1000, 0..4),
    ) {
        let dir = TempRun::new();
        let input = dir.write("in.txt", text_rows(rows));
        block_on(job(&input, &dir.path("whole.jsonl"), Rows::new(seed, failing)).run()).unwrap();

        let model = Rows::new(seed, failing);
        let calls = model.calls.clone();
        let start = || {
            let model = Rows { calls: calls.clone(), ..model };
            job(&input, &dir.path("killed.jsonl"), model).settings(settings(concurrency))
        };
        let summary = block_on(killed(&kills, start));
        prop_assert_eq!(summary.rows, rows);
        prop_assert_eq!(output(&dir, "killed.jsonl"), output(&dir, "whole.jsonl"));
        let max_calls = usize::try_from(rows).unwrap() + concurrency * kills.len();
        prop_assert!(calls.load(Ordering::SeqCst) <= max_calls, "{} calls", calls.load(Ordering::SeqCst));
    }
}

#[test]
fn a_journal_cut_at_any_byte_resumes_to_the_same_bytes() {
    const ROWS: u64 = 4;
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(ROWS));
    let whole = dir.path("whole.jsonl");
    block_on(job(&input, &whole, Rows::new(1, 3)).run()).unwrap();
    let journal = std::fs::read(dir.path("whole.jsonl.journal")).unwrap();
    let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();

    for cut in 0..=journal.len() {
        dir.write("cut.jsonl.journal", &journal[..cut]);
        let model = Rows::new(1, 3);
        let calls = model.calls.clone();
        let summary = block_on(job(&input, &dir.path("cut.jsonl"), model).run()).unwrap();
        assert_eq!(dir.read("cut.jsonl"), dir.read("whole.jsonl"), "cut at {cut}");
        let remaining = lines(&journal[..cut]).saturating_sub(1);
        assert_eq!(summary.resumed, remaining as u64, "cut at {cut}");
        assert_eq!(calls.load(Ordering::SeqCst), ROWS as usize - remaining, "cut at {cut}");
        // Lines written after the cut can be read as well.
        let resumed = block_on(job(&input, &dir.path("cut.jsonl"), Rows::new(1, 3)).run()).unwrap();
        assert!(resumed.nothing_to_do() && resumed.notes.is_empty(), "cut at {cut}: {resumed:?}");
        std::fs::remove_file(dir.path("cut.jsonl")).unwrap();
    }
}

/// Corruption of the lines of a journal after the first one.
#[derive(Debug, Clone)]
enum Harm {
    Cut(usize),
    Repeat(usize, usize),
    Swap(usize, usize),
    Garble(usize, usize, u8),
    Insert(usize, String),
    Join(usize),
}

fn harm() -> impl Strategy<Value = Harm> {
    let at = || 0_usize..64;
    prop_oneof![
        at().prop_map(Harm::Cut),
        (at(), at()).prop_map(|(from, to)| Harm::Repeat(from, to)),
        (at(), at()).prop_map(|(a, b)| Harm::Swap(a, b)),
        (at(), 0_usize..500, any::<u8>()).prop_map(|(line, byte, to)| Harm::Garble(line, byte, to)),
        (at(), "[ -~]{0,40}").prop_map(|(at, text)| Harm::Insert(at, text)),
        at().prop_map(Harm::Join),
    ]
}

fn do_harm(lines: &mut Vec<Vec<u8>>, harm: Harm) {
    let n = lines.len();
    match harm {
        _ if n == 0 => {}
        Harm::Cut(line) => drop(lines.remove(line % n)),
        Harm::Repeat(from, to) => lines.insert(to % n, lines[from % n].clone()),
        Harm::Swap(a, b) => lines.swap(a % n, b % n),
        Harm::Garble(line, byte, to) => {
            let line = &mut lines[line % n];
            if let Some(at) = byte.checked_rem(line.len()) {
                line[at] = to;
            }
        }
        Harm::Insert(at, text) => lines.insert(at % n, text.into_bytes()),
        Harm::Join(line) if line % n + 1 < n => {
            let next = lines.remove(line % n + 1);
            lines[line % n].extend(next);
        }
        Harm::Join(_) => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_row_ends_with_its_own_result_however_the_journal_is_corrupted(
        rows in 1_u64..20,
        failing in 0_u64..4,
        harms in prop::collection::vec(harm(), 0..6),
        unordered in any::<bool>(),
        retry_failed in any::<bool>(),
    ) {
        let dir = TempRun::new();
        let input = dir.write("in.txt", text_rows(rows));
        block_on(job(&input, &dir.path("out.jsonl"), Rows::new(7, failing)).run()).unwrap();
        let whole = output(&dir, "out.jsonl");
        let journal = std::fs::read(dir.path("out.jsonl.journal")).unwrap();
        let mut lines: Vec<_> = journal.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let first = lines.remove(0);
        lines.pop();
        harms.into_iter().for_each(|harm| do_harm(&mut lines, harm));
        lines.insert(0, first);
        dir.write("out.jsonl.journal", lines.join(&b'\n'));

        let settings = settings(4).unordered(unordered).retry_failed(retry_failed);
        let model = Rows::new(7, failing);
        let resumed = job(&input, &dir.path("out.jsonl"), model).settings(settings).run();
        prop_assert_eq!(block_on(resumed).unwrap().rows, rows);
        let mut resumed = output(&dir, "out.jsonl");
        resumed.sort_by_key(|row| row["index"].as_u64());
        prop_assert_eq!(&resumed, &whole);
        // Also in another format, without a call.
        let model = Rows::new(7, failing);
        let calls = model.calls.clone();
        let csv = Settings::new().output_format(OutputFormat::Csv);
        block_on(job(&input, &dir.path("out.jsonl"), model).settings(csv).run()).unwrap();
        prop_assert_eq!(calls.load(Ordering::SeqCst), 0);
        prop_assert_eq!(dir.read("out.jsonl").lines().count() as u64, rows + 1);
    }
}

#[tokio::test]
async fn a_corrupt_line_is_reported_and_its_row_is_rerun() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(5));
    let out = dir.path("out.jsonl");
    job(&input, &out, Rows::new(1, 0)).run().await.unwrap();
    let before = dir.read("out.jsonl");
    let journal = dir.read("out.jsonl.journal");
    dir.write("out.jsonl.journal", journal.replacen("answer 2", "answer X", 1));

    let model = Rows::new(1, 0);
    let calls = model.calls.clone();
    let summary = job(&input, &out, model).run().await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert_eq!(summary.resumed, 4);
    let [note] = &summary.notes[..] else { panic!("one note: {:?}", summary.notes) };
    assert!(note.ends_with("is corrupt and was skipped; its row will be rerun"), "{note}");
    let answers = |text: &str| text.matches("answer ").count();
    assert_eq!(answers(&dir.read("out.jsonl")), answers(&before));
}

#[tokio::test]
async fn a_stopped_run_drains_and_writes_finished_rows_and_resumes_later() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(100));
    let out = dir.path("out.jsonl");
    let (stop, waiting) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let stopped = stop.clone();
    let chain = step(move |prompt: Prompt, _| {
        let (stopped, waiting) = (stopped.clone(), waiting.clone());
        async move {
            let text = prompt.last_user_text();
            // Rows 50 to 59 are in flight when the run is stopped.
            if text.as_str() >= "row 5" && text.len() == "row 50".len() {
                if waiting.fetch_add(1, Ordering::SeqCst) == 9 {
                    stopped.cancel();
                }
                stopped.cancelled().await;
            }
            Ok(text)
        }
    });
    let job = || {
        let source = Source::open(&input, None).unwrap();
        BatchJob::new(source, Render::default(), chain.clone(), Output::File(out.clone()))
            .settings(settings(10))
    };
    let summary = job().stop(stop).run().await.unwrap();
    assert!(summary.interrupted);
    assert_eq!((summary.rows, summary.left), (60, Some(40)));
    let rows: Vec<_> = output(&dir, "out.jsonl").iter().map(|row| row["index"].as_u64().unwrap()).collect();
    assert_eq!(rows, (0..60).collect::<Vec<_>>());

    let rest = job().run().await.unwrap();
    assert_eq!((rest.rows, rest.resumed, rest.interrupted), (100, 60, false));
    assert_eq!(output(&dir, "out.jsonl").len(), 100);
}

#[tokio::test]
async fn a_stopped_resume_keeps_every_finished_row_in_the_output() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(50));
    let out = dir.path("out.jsonl");
    job(&input, &out, Rows::new(1, 4)).run().await.unwrap();
    let mut done = output(&dir, "out.jsonl");
    done.retain(|row| row["error"].is_null());
    assert!(!done.is_empty() && done.len() < 50);

    let stop = CancellationToken::new();
    stop.cancel();
    let retry = settings(2).retry_failed(true);
    let summary = job(&input, &out, Rows::new(1, 4)).settings(retry).stop(stop).run().await.unwrap();
    assert!(summary.interrupted);
    assert_eq!(output(&dir, "out.jsonl"), done);
}

#[tokio::test(start_paused = true)]
async fn a_second_run_has_nothing_to_do_and_writes_the_same_bytes() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(20));
    let out = dir.path("out.jsonl");
    let first = job(&input, &out, Rows::new(1, 4)).run().await.unwrap();
    assert!(first.failed > 0 && !first.nothing_to_do());
    let before = dir.read("out.jsonl");
    std::fs::remove_file(&out).unwrap();
    let model = Rows::new(1, 4);
    let calls = model.calls.clone();
    let second = job(&input, &out, model).run().await.unwrap();
    assert!(second.nothing_to_do());
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert_eq!(dir.read("out.jsonl"), before);
    assert_eq!(second.failures, first.failures);
}

#[tokio::test(start_paused = true)]
async fn a_finished_run_is_rewritten_in_another_format() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(5));
    let out = dir.path("out.jsonl");
    let calls = Arc::<AtomicUsize>::default();
    let run = |format| {
        let model = Rows { calls: calls.clone(), ..Rows::new(1, 0) };
        let mut settings = Settings::new();
        settings.output_format = format;
        job(&input, &out, model).settings(settings).run()
    };
    run(None).await.unwrap();
    let lines = dir.read("out.jsonl");
    let summary = run(Some(OutputFormat::Csv)).await.unwrap();
    assert!(dir.read("out.jsonl").starts_with("index,custom_id,answer,"), "{}", dir.read("out.jsonl"));
    assert_eq!(summary.resumed, 5);
    run(None).await.unwrap();
    assert_eq!(dir.read("out.jsonl"), lines);
    assert_eq!(calls.load(Ordering::SeqCst), 5, "every row was called once");
}

#[tokio::test]
async fn failed_rows_are_rerun_only_with_retry_failed() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(30));
    let out = dir.path("out.jsonl");
    let failed = job(&input, &out, Rows::new(1, 3)).run().await.unwrap().failed;
    assert!(failed > 0);
    let model = Rows::new(1, 0);
    let calls = model.calls.clone();
    let retry = Settings::new().retry_failed(true);
    let summary = job(&input, &out, model).settings(retry).run().await.unwrap();
    assert_eq!((summary.ok, summary.failed, summary.resumed), (30, 0, 30 - failed));
    assert_eq!(calls.load(Ordering::SeqCst) as u64, failed);
    // The last record of a row wins.
    assert!(job(&input, &out, Rows::new(1, 0)).run().await.unwrap().nothing_to_do());
    assert_eq!(dir.read("out.jsonl").matches("\"error\":null").count(), 30);
}

#[tokio::test]
async fn another_model_or_input_is_rejected_and_the_difference_is_named() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(3));
    let out = dir.path("out.jsonl");
    job(&input, &out, Rows::new(1, 0)).run().await.unwrap();

    let other =
        [("model".to_owned(), "test/other".to_owned()), ("system".to_owned(), "Be brief.".to_owned())];
    let error = job(&input, &out, Rows::new(1, 0)).fingerprint(other).run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    insta::assert_snapshot!(dir.hide(&error), @"out.jsonl.journal belongs to another run: model was `test/rows`, now `test/other`; system was unset, now `Be brief.`; start over (discards the journal's answers), or choose another output");

    dir.write("in.txt", format!("row 9\n{}", text_rows(3)));
    let error = job(&input, &out, Rows::new(1, 0)).run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    insta::assert_snapshot!(dir.hide(&error), @"out.jsonl.journal belongs to another run: the input file has changed; resume although the input has changed (rows still in the input keep their answers), start over (discards the journal's answers), or choose another output");

    let changed = Settings::new().changed_input(true);
    let summary = job(&input, &out, Rows::new(1, 0)).settings(changed).run().await.unwrap();
    assert_eq!((summary.rows, summary.resumed), (4, 3));
    let rows = output(&dir, "out.jsonl");
    let rows: Vec<_> =
        rows.iter().map(|row| (row["index"].as_u64().unwrap(), row["answer"].as_str().unwrap())).collect();
    assert_eq!(rows, [(0, "answer 9"), (1, "answer 0"), (2, "answer 1"), (3, "answer 2")]);

    // From here on, the journal belongs to the changed input, and a report finds its prompts there.
    assert!(job(&input, &out, Rows::new(1, 0)).run().await.unwrap().nothing_to_do());
    assert_eq!(RunRecord::open(&out, 80).unwrap().input(), Some(&*input));
    dir.write("in.txt", text_rows(3));
    let error = job(&input, &out, Rows::new(1, 0)).run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_a_previous_run_names_the_current_line_of_its_row() {
    for unordered in [false, true] {
        let dir = TempRun::new();
        let out = dir.path("out.jsonl");
        let rows = |first: &[u8]| [first, text_rows(2).as_bytes(), b"\xff\n"].concat();
        let input = dir.write("in.txt", rows(b""));
        job_of(with_invalid_lines(&input), &out, Rows::new(1, 1)).run().await.unwrap();

        let input = dir.write("in.txt", rows(b"row 9\n"));
        let changed = Settings::new().changed_input(true).unordered(unordered);
        let job = job_of(with_invalid_lines(&input), &out, Rows::new(1, 1));
        let summary = job.settings(changed).run().await.unwrap();
        assert_eq!((summary.resumed, summary.failed), (3, 4));
        for row in output(&dir, "out.jsonl") {
            assert_eq!(row["error"]["line"].as_u64(), row["index"].as_u64().map(|index| index + 1), "{row}");
        }
        assert!(dir.read("out.jsonl").contains("in.txt line 4: the line is not valid UTF-8"));
    }
}

#[tokio::test]
async fn equal_rows_each_have_their_own_call_and_result() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", "row 1\nrow 1\nrow 1\n");
    let out = dir.path("out.jsonl");
    job(&input, &out, Rows::new(1, 0)).settings(Settings::new().limit(2)).run().await.unwrap();
    assert_eq!(output(&dir, "out.jsonl").len(), 2);
    let summary = job(&input, &out, Rows::new(1, 0)).run().await.unwrap();
    assert_eq!((summary.rows, summary.resumed), (3, 2));
}

#[tokio::test]
async fn a_duplicate_line_of_a_batch_fails_and_the_first_one_keeps_its_answer() {
    let dir = TempRun::new();
    let line = r#"{"custom_id":"a","body":{"messages":[{"role":"user","content":"row 1"}]}}"#;
    let input = dir.write("in.jsonl", [line, line, line].join("\n"));
    let out = dir.path("out.jsonl");
    let first = job(&input, &out, Rows::new(1, 0)).run().await.unwrap();
    assert_eq!((first.ok, first.failed), (1, 2));
    let before = dir.read("out.jsonl");
    let second = job(&input, &out, Rows::new(1, 0)).run().await.unwrap();
    assert_eq!((second.ok, second.resumed), (1, 3));
    assert_eq!(dir.read("out.jsonl"), before);
}

#[tokio::test]
async fn fresh_does_not_overwrite_a_file_that_is_not_a_journal() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(3));
    dir.write("out.jsonl.journal", "Dear diary, today I went to see the tides.\n");
    let fresh = Settings::new().fresh(true);
    let run = job(&input, &dir.path("out.jsonl"), Rows::new(1, 0)).settings(fresh).run();
    let error = run.await.unwrap_err();
    assert!(error.to_string().contains("not a fanweave journal"), "{error}");
    assert!(dir.read("out.jsonl.journal").starts_with("Dear diary"));
}

#[tokio::test]
async fn fresh_overwrites_the_output_and_the_journal() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(3));
    let out = dir.write("out.jsonl", "other work");
    let error = job(&input, &out, Rows::new(1, 0)).run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Exists);
    assert_eq!(dir.read("out.jsonl"), "other work");
    let fresh = || Settings::new().fresh(true);
    let summary = job(&input, &out, Rows::new(1, 0)).settings(fresh()).run().await.unwrap();
    assert_eq!(summary.ok, 3);
    let summary = job(&input, &out, Rows::new(1, 0)).settings(fresh()).run().await.unwrap();
    assert_eq!((summary.ok, summary.resumed), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_second_process_is_locked_out_while_the_first_one_runs() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(3));
    let out = dir.path("out.jsonl");
    let progress = Arc::new(Progress::default());
    let mut first = Box::pin(job(&input, &out, Rows::new(1, 0)).progress(progress.clone()).run());
    while progress.snapshot().in_flight == 0 {
        let _ = tokio::time::timeout(Duration::ZERO, &mut first).await;
    }
    let error = job(&input, &out, Rows::new(1, 0)).run().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert_eq!(first.await.unwrap().ok, 3);
}

#[tokio::test]
async fn rows_of_a_pipe_are_recognised_on_resume() {
    let dir = TempRun::new();
    let run = |rows: u64| {
        let source = Source::from_reader("pipe", std::io::Cursor::new(text_rows(rows)), None).unwrap();
        let chain = fanweave_core::chain(fanweave_core::Model::new(Rows::new(1, 0)));
        BatchJob::new(source, Render::default(), chain, Output::File(dir.path("out.jsonl"))).run()
    };
    run(3).await.unwrap();
    let summary = run(5).await.unwrap();
    assert_eq!((summary.rows, summary.resumed, summary.left), (5, 3, None));
    assert_eq!(
        summary.notes,
        ["cannot check that pipe is the same input as in the first run; rows are matched one by one"]
    );
}

#[tokio::test]
async fn rows_from_memory_are_called_once_in_any_order_and_failed_ones_are_rerun() {
    let dir = TempRun::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let chain = |failing: bool| {
        let calls = calls.clone();
        step(move |n: u64, _| {
            calls.fetch_add(1, Ordering::SeqCst);
            async move {
                if failing && n == 3 {
                    return Err(fanweave_core::Error::new(fanweave_core::ErrorKind::Server, "overloaded"));
                }
                Ok(vec![n, n * n])
            }
        })
        .journal(dir.path("squares.journal"))
    };
    // Equal rows are separate rows.
    let first = chain(true).batch([1_u64, 2, 3, 2]).unwrap().collect().await;
    assert_eq!((first.iter().filter(|row| row.is_ok()).count(), calls.load(Ordering::SeqCst)), (3, 4));
    let second = chain(false).batch([2_u64, 3, 1, 4, 2]).unwrap().concurrency(2).collect().await;
    let second: Vec<_> = second.into_iter().map(Result::unwrap).collect();
    assert_eq!(second, [vec![2, 4], vec![3, 9], vec![1, 1], vec![4, 16], vec![2, 4]]);
    assert_eq!(calls.load(Ordering::SeqCst), 4 + 2);
}

#[tokio::test]
async fn a_journal_of_rows_from_memory_has_one_writer_and_one_fingerprint() {
    let dir = TempRun::new();
    let chain = || step(|n: u64, _| async move { Ok(n) }).journal(dir.path("journal"));
    let first = chain().fingerprint("model", "a").batch([1_u64]).unwrap();
    let locked = chain().fingerprint("model", "a").batch([1_u64]).expect_err("it is open");
    assert_eq!(locked.kind(), ErrorKind::Locked);
    first.collect().await;
    let other = chain().fingerprint("model", "b").batch([1_u64]).expect_err("its fingerprint differs");
    assert_eq!(other.kind(), ErrorKind::Mismatch);
    let text = step(|n: u64, _| async move { Ok(n.to_string()) });
    let rows =
        text.journal(dir.path("journal")).fingerprint("model", "a").batch([1_u64]).unwrap().collect().await;
    assert!(rows[0].as_ref().unwrap_err().to_string().contains("a result of a different type"));
}

#[tokio::test(start_paused = true)]
async fn equal_requests_are_called_once_with_dedupe() {
    let dir = TempRun::new();
    // Row 1 occurs while the first one is in flight, and long after it.
    let mut rows = "row 1\nrow 2\nrow 1\nrow 1\n".to_owned();
    rows.push_str(&text_rows(40));
    let input = dir.write("in.txt", rows);
    for concurrency in [1, 3, 64] {
        let out = dir.path(&format!("out-{concurrency}.jsonl"));
        let model = Rows::new(1, 0);
        let calls = model.calls.clone();
        let dedupe = settings(concurrency).dedupe(true);
        let summary = job(&input, &out, model).settings(dedupe).run().await.unwrap();
        assert_eq!((summary.ok, calls.load(Ordering::SeqCst)), (44, 40), "{concurrency} concurrent");
        let answers: Vec<_> = output(&dir, &format!("out-{concurrency}.jsonl"))
            .iter()
            .map(|row| row["answer"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(answers[..5], ["answer 1", "answer 2", "answer 1", "answer 1", "answer 0"]);
        assert_eq!(summary.usage.output_tokens, 2 * 40, "tokens of the calls made");
    }
}

#[tokio::test(start_paused = true)]
async fn followers_of_a_cancelled_request_have_no_result_and_hold_no_permit() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", "row 6\nrow 6\nrow 6\n".repeat(20));
    let out = dir.path("out.jsonl");
    let token = CancellationToken::new();
    token.cancel();
    let cancelled = fanweave_core::Context::new().with_cancellation(token);
    let dedupe = || settings(2).dedupe(true);
    let summary =
        job(&input, &out, Rows::new(1, 0)).settings(dedupe()).within(cancelled).run().await.unwrap();
    assert_eq!((summary.rows, summary.interrupted), (0, true));
    assert_eq!(job(&input, &out, Rows::new(1, 0)).settings(dedupe()).run().await.unwrap().ok, 60);
}
