//! Runs stop when the account itself is rejected: an invalid key, no credit, an unknown model.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanweave_batch::{BatchJob, Output, Render, Settings, Source, Summary};
use fanweave_core::{Context, Error, ErrorKind, EventKind, Prompt, WaitReason, step};
use support::{TempRun, settings, text_rows};

/// Runs 100 rows, four concurrently. Calls number `from` to `to` (exclusive) fail with `kind`.
async fn run(dir: &TempRun, kind: ErrorKind, from: usize, to: usize) -> (Summary, usize) {
    failing(dir, Error::new(kind, "no"), from, to).await
}

/// Like [`run`], with this error.
async fn failing(dir: &TempRun, error: Error, from: usize, to: usize) -> (Summary, usize) {
    let input = dir.write("in.txt", text_rows(100));
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let chain = step(move |prompt: Prompt, _| {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        let error = error.clone();
        async move {
            tokio::task::yield_now().await;
            if (from..to).contains(&call) { Err(error) } else { Ok(prompt.last_user_text()) }
        }
    });
    let source = Source::open(&input, None).unwrap();
    let output = Output::File(dir.path("out.jsonl"));
    let job = BatchJob::new(source, Render::default(), chain, output).settings(settings(4));
    (job.run().await.unwrap(), calls.load(Ordering::SeqCst))
}

#[tokio::test]
async fn an_invalid_key_stops_the_run_and_its_rows_are_rerun() {
    let dir = TempRun::new();
    let (summary, calls) = run(&dir, ErrorKind::Authentication, 0, usize::MAX).await;
    assert_eq!(summary.refused.expect("why it stopped").kind(), ErrorKind::Authentication);
    assert_eq!((summary.rows, summary.failed, summary.left), (0, 0, Some(100)));
    assert!(calls <= 8, "{calls} calls: only those in flight");

    let (resumed, _) = run(&dir, ErrorKind::Authentication, 0, 0).await;
    assert_eq!((resumed.ok, resumed.resumed), (100, 0));
}

#[tokio::test]
async fn an_account_without_credit_keeps_its_answers() {
    let dir = TempRun::new();
    let (summary, calls) = run(&dir, ErrorKind::QuotaExhausted, 50, usize::MAX).await;
    assert!(summary.refused.is_some() && summary.interrupted);
    assert_eq!((summary.ok, summary.failed), (50, 0));
    assert!(calls <= 58, "{calls} calls");

    let (resumed, calls) = run(&dir, ErrorKind::QuotaExhausted, 0, 0).await;
    assert_eq!((resumed.ok, resumed.resumed, calls), (100, 50, 50));
}

#[tokio::test]
async fn an_unknown_model_stops_the_run_only_if_no_row_was_answered() {
    let (summary, _) = run(&TempRun::new(), ErrorKind::NotFound, 0, usize::MAX).await;
    assert_eq!((summary.refused.is_some(), summary.rows), (true, 0));

    let (summary, calls) = run(&TempRun::new(), ErrorKind::NotFound, 50, 53).await;
    assert_eq!((summary.refused.is_some(), summary.ok, summary.failed, calls), (false, 97, 3, 100));
}

#[tokio::test]
async fn access_withdrawn_in_the_middle_of_a_run_stops_it_with_its_rows_remaining() {
    let status = |kind, status| Error::new(kind, "no").with_status(status);
    for error in [
        status(ErrorKind::Permission, 403),
        status(ErrorKind::NotFound, 404),
        status(ErrorKind::Config, 302),
        status(ErrorKind::BadRequest, 410),
    ] {
        let dir = TempRun::new();
        let (summary, calls) = failing(&dir, error.clone(), 50, usize::MAX).await;
        assert_eq!(summary.refused.map(|refused| refused.kind()), Some(error.kind()));
        assert_eq!((summary.ok, summary.failed, summary.left), (50, 0, Some(50)), "{error:?}");
        assert_eq!(summary.refused_rows, 16, "{error:?}");
        assert!(calls <= 70, "{calls} calls");
        let (resumed, calls) = run(&dir, ErrorKind::NotFound, 0, 0).await;
        assert_eq!((resumed.ok, resumed.resumed, calls), (100, 50, 50), "{error:?}");
    }
}

#[tokio::test]
async fn fewer_rejections_in_the_middle_of_a_run_fail_only_their_rows() {
    for (error, rows) in [
        (Error::new(ErrorKind::Permission, "no").with_status(403), 15),
        // May be the rows' own fault, however many there are.
        (Error::new(ErrorKind::BadRequest, "bad image").with_status(400), 49),
    ] {
        let (summary, calls) = failing(&TempRun::new(), error, 50, 50 + rows).await;
        assert_eq!((summary.refused.is_some(), calls), (false, 100));
        assert_eq!((summary.ok, summary.failed), (100 - rows as u64, rows as u64));
    }
}

#[tokio::test]
async fn a_daily_quota_stops_the_run_and_a_short_wait_fails_only_its_row() {
    let limited = |seconds| {
        Error::new(ErrorKind::RateLimited, "no").with_retry_after(std::time::Duration::from_secs(seconds))
    };
    let dir = TempRun::new();
    let (summary, calls) = failing(&dir, limited(3_600), 50, usize::MAX).await;
    assert_eq!(summary.refused.map(|error| error.kind()), Some(ErrorKind::RateLimited));
    assert_eq!((summary.ok, summary.failed, summary.left), (50, 0, Some(50)));
    assert!(calls <= 58, "{calls} calls");
    let (next_day, calls) = run(&dir, ErrorKind::RateLimited, 0, 0).await;
    assert_eq!((next_day.ok, next_day.resumed, calls), (100, 50, 50));

    let (summary, calls) = failing(&TempRun::new(), limited(20), 50, 53).await;
    assert_eq!((summary.refused.is_some(), summary.ok, summary.failed, calls), (false, 97, 3, 100));
}

#[tokio::test]
async fn a_daily_quota_stops_the_run_also_if_the_fallback_failed_too() {
    let limited = |_: Prompt, _| async {
        let hour = std::time::Duration::from_secs(3_600);
        Err::<String, _>(Error::new(ErrorKind::RateLimited, "no").with_retry_after(hour))
    };
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(100));
    let source = Source::open(&input, None).unwrap();
    let output = Output::File(dir.path("out.jsonl"));
    let chain = step(limited).fallback([step(limited)]);
    let summary =
        BatchJob::new(source, Render::default(), chain, output).settings(settings(4)).run().await.unwrap();
    assert_eq!((summary.refused.is_some(), summary.failed, summary.left), (true, 0, Some(100)));
}

/// Runs `rows` rows. `answer` gets the number of the row and of the call.
async fn watched(
    dir: &TempRun,
    rows: u64,
    settings: Settings,
    answer: impl Fn(u64, usize) -> fanweave_core::Result<String> + Send + Sync + 'static,
) -> (Summary, usize) {
    let input = dir.write("in.txt", text_rows(rows));
    let (calls, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer));
    let counted = calls.clone();
    // The first calls end together, even if the reader is slow.
    let together = settings.concurrency.get().min(usize::try_from(rows).unwrap());
    let all = Arc::new(tokio::sync::Barrier::new(together));
    let chain = step(move |prompt: Prompt, _| {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        let (all, answer) = (all.clone(), answer.clone());
        async move {
            if call < together {
                all.wait().await;
            }
            answer(prompt.last_user_text().trim_start_matches("row ").parse().unwrap(), call)
        }
    });
    let source = Source::open(&input, None).unwrap();
    let output = Output::File(dir.path("out.jsonl"));
    let job = BatchJob::new(source, Render::default(), chain, output).settings(settings);
    (job.run().await.unwrap(), calls.load(Ordering::SeqCst))
}

fn bad_request(row: u64) -> Error {
    Error::new(ErrorKind::BadRequest, format!("Invalid model name in request \"req-{row}\" of {row}"))
        .with_status(400)
        .with_code("invalid_model")
}

#[tokio::test(start_paused = true)]
async fn the_same_error_for_the_first_rows_stops_the_run_without_their_results() {
    for (concurrency, expected) in [(1, 8), (3, 8), (4, 8), (7, 8), (8, 8), (64, 64)] {
        let dir = TempRun::new();
        let (summary, calls) =
            watched(&dir, 200, settings(concurrency), |row, _| Err(bad_request(row))).await;
        assert_eq!(calls, expected, "{concurrency} concurrent");
        assert_eq!((summary.rows, summary.failed, summary.left), (0, 0, Some(200)));
        assert_eq!(summary.refused_rows, expected as u64);
        assert_eq!(summary.refused.unwrap().kind(), ErrorKind::BadRequest);
        let (resumed, _) = watched(&dir, 200, settings(concurrency), |_, _| Ok("ok".to_owned())).await;
        assert_eq!((resumed.ok, resumed.resumed), (200, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_or_a_different_error_among_the_first_rows_records_the_others() {
    let odd = Error::new(ErrorKind::BadRequest, "no such parameter").with_status(400);
    for (concurrency, decisive) in [(4, 0), (4, 3), (4, 7), (64, 0), (64, 63)] {
        for other in [Ok("ok".to_owned()), Err(odd.clone())] {
            let is_ok = u64::from(other.is_ok());
            let answer = move |row, _| if row == decisive { other.clone() } else { Err(bad_request(row)) };
            let (summary, calls) = watched(&TempRun::new(), 200, settings(concurrency), answer).await;
            assert_eq!(
                (calls, summary.refused.is_some()),
                (200, false),
                "{concurrency} concurrent, row {decisive}"
            );
            assert_eq!((summary.ok, summary.failed, summary.left), (is_ok, 200 - is_ok, Some(0)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn fewer_than_eight_rejected_rows_are_failures_and_eight_have_no_result() {
    for (rows, failed) in [(1, 1), (7, 7), (8, 0), (30, 0)] {
        let (summary, calls) =
            watched(&TempRun::new(), rows, settings(64), |row, _| Err(bad_request(row))).await;
        assert_eq!((summary.failed, calls as u64), (failed, rows), "{rows} rows");
        assert_eq!(summary.left, Some(rows - failed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_keeps_going_calls_all_rows() {
    let keeping = settings(4).keep_going(true);
    let (summary, calls) =
        watched(&TempRun::new(), 50, keeping.clone(), |row, _| Err(bad_request(row))).await;
    assert_eq!((summary.failed, calls), (50, 50));
    let not_found = |_, _| Err(Error::new(ErrorKind::NotFound, "no such file"));
    let (summary, calls) = watched(&TempRun::new(), 50, keeping, not_found).await;
    assert_eq!((summary.failed, calls), (50, 50));
}

#[tokio::test(start_paused = true)]
async fn a_resumed_run_with_answers_calls_all_rows() {
    let dir = TempRun::new();
    let answer = |row, _| if row < 3 { Ok("ok".to_owned()) } else { Err(bad_request(row)) };
    let first = watched(&dir, 200, settings(3).limit(3), answer).await.0;
    assert_eq!(first.ok, 3);
    let (summary, calls) = watched(&dir, 200, settings(4), answer).await;
    assert_eq!((summary.ok, summary.failed, calls), (3, 197, 197));
}

#[tokio::test(start_paused = true)]
async fn errors_about_single_rows_are_recorded_and_do_not_end_the_watch() {
    let too_long = Error::new(ErrorKind::ContextLength, "too long").with_status(400);
    let answer = move |row, _| if row % 2 == 0 { Err(too_long.clone()) } else { Err(bad_request(row)) };
    let (summary, calls) = watched(&TempRun::new(), 200, settings(4), answer).await;
    assert_eq!((summary.refused_rows, summary.failed), (8, calls as u64 - 8));
    assert!(calls <= 20, "{calls}");
}

#[tokio::test(start_paused = true)]
async fn followers_of_a_rejected_request_have_no_result_either() {
    for (concurrency, distinct) in [(4, 1), (4, 3), (64, 1), (64, 100)] {
        let dir = TempRun::new();
        let rows: String = (0..200).map(|row| format!("row {}\n", row % distinct)).collect();
        let input = dir.write("in.txt", rows);
        let chain = step(|_: Prompt, _| async {
            tokio::task::yield_now().await;
            Err::<String, _>(bad_request(1))
        });
        let source = Source::open(&input, None).unwrap();
        let output = Output::File(dir.path("out.jsonl"));
        let dedupe = settings(concurrency).dedupe(true);
        let job = BatchJob::new(source, Render::default(), chain, output).settings(dedupe);
        let summary = job.run().await.unwrap();
        assert_eq!(
            (summary.failed, summary.left),
            (0, Some(200)),
            "{concurrency} concurrent, {distinct} distinct"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_wait_for_a_limit_do_not_delay_the_decision() {
    let dir = TempRun::new();
    let input = dir.write("in.txt", text_rows(200));
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    // One request every six seconds.
    let chain = step(move |_: Prompt, cx: Context| {
        let call = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            if call > 0 {
                cx.emit(EventKind::Waiting(WaitReason::Limit)).await;
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(6 * call as u64)) => {}
                    error = cx.draining() => return Err(error),
                }
            }
            cx.emit(EventKind::RequestStarted).await;
            Err::<String, _>(bad_request(call as u64))
        }
    });
    let source = Source::open(&input, None).unwrap();
    let output = Output::File(dir.path("out.jsonl"));
    let began = tokio::time::Instant::now();
    let job = BatchJob::new(source, Render::default(), chain, output).settings(settings(64));
    let summary = job.run().await.unwrap();
    // The eighth request starts at 42 s, or slightly later: the reader is another thread, which paused time
    // does not wait for. The last of the 64 in flight would start at 378 s.
    let seconds = began.elapsed().as_secs();
    assert_eq!(summary.refused_rows, 8);
    assert!((42..=120).contains(&seconds), "{seconds} s");
    assert_eq!((summary.failed, summary.left), (0, Some(200)));
}
