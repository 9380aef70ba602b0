//! What happens where the account itself is refused: a wrong key, no credit left, a model that is not there.

#![expect(clippy::unwrap_used, reason = "what a test needs and does not get fails it")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanweave_batch::{BatchJob, Output, Render, Settings, Source, Summary};
use fanweave_core::{Context, Error, ErrorKind, EventKind, Prompt, WaitReason, step};
use support::{TempRun, settings, text_rows};

/// Runs 100 rows, four at once, of which the calls from number `from` up to `to` fail with `kind`.
async fn run(place: &TempRun, kind: ErrorKind, from: usize, to: usize) -> (Summary, usize) {
    failing(place, Error::new(kind, "no"), from, to).await
}

/// As [`run`], with this error.
async fn failing(place: &TempRun, error: Error, from: usize, to: usize) -> (Summary, usize) {
    let input = place.write("in.txt", text_rows(100));
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
    let output = Output::File(place.path("out.jsonl"));
    let job = BatchJob::new(source, Render::default(), chain, output).settings(settings(4));
    (job.run().await.unwrap(), calls.load(Ordering::SeqCst))
}

#[tokio::test]
async fn a_wrong_key_stops_the_run_and_its_rows_run_again() {
    let place = TempRun::new();
    let (summary, calls) = run(&place, ErrorKind::Authentication, 0, usize::MAX).await;
    assert_eq!(summary.refused.expect("why it stopped").kind(), ErrorKind::Authentication);
    assert_eq!((summary.rows, summary.failed, summary.left), (0, 0, Some(100)));
    assert!(calls <= 8, "{calls} calls: those in flight heard it, and no others were made");

    let (mended, _) = run(&place, ErrorKind::Authentication, 0, 0).await;
    assert_eq!((mended.ok, mended.resumed), (100, 0));
}

#[tokio::test]
async fn an_empty_account_keeps_what_was_answered() {
    let place = TempRun::new();
    let (summary, calls) = run(&place, ErrorKind::QuotaExhausted, 50, usize::MAX).await;
    assert!(summary.refused.is_some() && summary.interrupted);
    assert_eq!((summary.ok, summary.failed), (50, 0));
    assert!(calls <= 58, "{calls} calls");

    let (mended, calls) = run(&place, ErrorKind::QuotaExhausted, 0, 0).await;
    assert_eq!((mended.ok, mended.resumed, calls), (100, 50, 50));
}

#[tokio::test]
async fn a_model_that_is_not_there_stops_the_run_only_where_no_row_was_answered() {
    let (summary, _) = run(&TempRun::new(), ErrorKind::NotFound, 0, usize::MAX).await;
    assert_eq!((summary.refused.is_some(), summary.rows), (true, 0));

    let (summary, calls) = run(&TempRun::new(), ErrorKind::NotFound, 50, 53).await;
    assert_eq!((summary.refused.is_some(), summary.ok, summary.failed, calls), (false, 97, 3, 100));
}

#[tokio::test]
async fn a_quota_of_the_day_stops_the_run_and_a_short_wait_fails_its_row_alone() {
    let limited = |seconds| {
        Error::new(ErrorKind::RateLimited, "no").with_retry_after(std::time::Duration::from_secs(seconds))
    };
    let place = TempRun::new();
    let (summary, calls) = failing(&place, limited(3_600), 50, usize::MAX).await;
    assert_eq!(summary.refused.map(|error| error.kind()), Some(ErrorKind::RateLimited));
    assert_eq!((summary.ok, summary.failed, summary.left), (50, 0, Some(50)));
    assert!(calls <= 58, "{calls} calls");
    let (next_day, calls) = run(&place, ErrorKind::RateLimited, 0, 0).await;
    assert_eq!((next_day.ok, next_day.resumed, calls), (100, 50, 50));

    let (summary, calls) = failing(&TempRun::new(), limited(20), 50, 53).await;
    assert_eq!((summary.refused.is_some(), summary.ok, summary.failed, calls), (false, 97, 3, 100));
}

#[tokio::test]
async fn a_quota_of_the_day_stops_the_run_also_where_another_model_was_asked_in_vain() {
    let limited = |_: Prompt, _| async {
        let hour = std::time::Duration::from_secs(3_600);
        Err::<String, _>(Error::new(ErrorKind::RateLimited, "no").with_retry_after(hour))
    };
    let place = TempRun::new();
    let input = place.write("in.txt", text_rows(100));
    let source = Source::open(&input, None).unwrap();
    let output = Output::File(place.path("out.jsonl"));
    let chain = step(limited).fallback([step(limited)]);
    let summary =
        BatchJob::new(source, Render::default(), chain, output).settings(settings(4)).run().await.unwrap();
    assert_eq!((summary.refused.is_some(), summary.failed, summary.left), (true, 0, Some(100)));
}

/// Runs `rows` rows, each answered with what `answer` says of the row and of the number of the call.
async fn watched(
    place: &TempRun,
    rows: u64,
    settings: Settings,
    answer: impl Fn(u64, usize) -> fanweave_core::Result<String> + Send + Sync + 'static,
) -> (Summary, usize) {
    let input = place.write("in.txt", text_rows(rows));
    let (calls, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(answer));
    let counted = calls.clone();
    // The first ones end together, also if the reader takes a while.
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
    let output = Output::File(place.path("out.jsonl"));
    let job = BatchJob::new(source, Render::default(), chain, output).settings(settings);
    (job.run().await.unwrap(), calls.load(Ordering::SeqCst))
}

fn bad_request(row: u64) -> Error {
    Error::new(ErrorKind::BadRequest, format!("Invalid model name in request \"req-{row}\" of {row}"))
        .with_status(400)
        .with_code("invalid_model")
}

#[tokio::test(start_paused = true)]
async fn the_same_refusal_of_the_first_rows_stops_the_run_and_its_rows_are_left() {
    for (concurrency, expected) in [(1, 8), (3, 8), (4, 8), (7, 8), (8, 8), (64, 64)] {
        let place = TempRun::new();
        let (summary, calls) =
            watched(&place, 200, settings(concurrency), |row, _| Err(bad_request(row))).await;
        assert_eq!(calls, expected, "{concurrency} at once");
        assert_eq!((summary.rows, summary.failed, summary.left), (0, 0, Some(200)));
        assert_eq!(summary.refused_rows, expected as u64);
        assert_eq!(summary.refused.unwrap().kind(), ErrorKind::BadRequest);
        let (mended, _) = watched(&place, 200, settings(concurrency), |_, _| Ok("ok".to_owned())).await;
        assert_eq!((mended.ok, mended.resumed), (200, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_or_another_refusal_among_the_first_rows_records_the_others() {
    let odd = Error::new(ErrorKind::BadRequest, "no such parameter").with_status(400);
    for (concurrency, decisive) in [(4, 0), (4, 3), (4, 7), (64, 0), (64, 63)] {
        for other in [Ok("ok".to_owned()), Err(odd.clone())] {
            let is_ok = u64::from(other.is_ok());
            let answer = move |row, _| if row == decisive { other.clone() } else { Err(bad_request(row)) };
            let (summary, calls) = watched(&TempRun::new(), 200, settings(concurrency), answer).await;
            assert_eq!(
                (calls, summary.refused.is_some()),
                (200, false),
                "{concurrency} at once, row {decisive}"
            );
            assert_eq!((summary.ok, summary.failed, summary.left), (is_ok, 200 - is_ok, Some(0)));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn fewer_than_eight_rows_are_failures_and_eight_are_left() {
    for (rows, failed) in [(1, 1), (7, 7), (8, 0), (30, 0)] {
        let (summary, calls) =
            watched(&TempRun::new(), rows, settings(64), |row, _| Err(bad_request(row))).await;
        assert_eq!((summary.failed, calls as u64), (failed, rows), "{rows} rows");
        assert_eq!(summary.left, Some(rows - failed));
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_keeps_going_calls_all_rows() {
    let keeping = Settings { keep_going: true, ..settings(4) };
    let (summary, calls) =
        watched(&TempRun::new(), 50, keeping.clone(), |row, _| Err(bad_request(row))).await;
    assert_eq!((summary.failed, calls), (50, 50));
    let not_found = |_, _| Err(Error::new(ErrorKind::NotFound, "no such file"));
    let (summary, calls) = watched(&TempRun::new(), 50, keeping, not_found).await;
    assert_eq!((summary.failed, calls), (50, 50));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_was_answered_before_calls_all_rows() {
    let place = TempRun::new();
    let answer = |row, _| if row < 3 { Ok("ok".to_owned()) } else { Err(bad_request(row)) };
    let first = watched(&place, 200, Settings { limit: Some(3), ..settings(3) }, answer).await.0;
    assert_eq!(first.ok, 3);
    let (summary, calls) = watched(&place, 200, settings(4), answer).await;
    assert_eq!((summary.ok, summary.failed, calls), (3, 197, 197));
}

#[tokio::test(start_paused = true)]
async fn errors_about_rows_themselves_are_recorded_and_end_no_watch() {
    let too_long = Error::new(ErrorKind::ContextLength, "too long").with_status(400);
    let answer = move |row, _| if row % 2 == 0 { Err(too_long.clone()) } else { Err(bad_request(row)) };
    let (summary, calls) = watched(&TempRun::new(), 200, settings(4), answer).await;
    assert_eq!((summary.refused_rows, summary.failed), (8, calls as u64 - 8));
    assert!(calls <= 20, "{calls}");
}

#[tokio::test(start_paused = true)]
async fn equal_rows_of_a_refused_request_are_left_with_it() {
    for (concurrency, distinct) in [(4, 1), (4, 3), (64, 1), (64, 100)] {
        let place = TempRun::new();
        let rows: String = (0..200).map(|row| format!("row {}\n", row % distinct)).collect();
        let input = place.write("in.txt", rows);
        let chain = step(|_: Prompt, _| async {
            tokio::task::yield_now().await;
            Err::<String, _>(bad_request(1))
        });
        let source = Source::open(&input, None).unwrap();
        let output = Output::File(place.path("out.jsonl"));
        let dedupe = Settings { dedupe: true, ..settings(concurrency) };
        let job = BatchJob::new(source, Render::default(), chain, output).settings(dedupe);
        let summary = job.run().await.unwrap();
        assert_eq!(
            (summary.failed, summary.left),
            (0, Some(200)),
            "{concurrency} at once, {distinct} distinct"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_wait_for_a_limit_do_not_delay_the_judgement() {
    let place = TempRun::new();
    let input = place.write("in.txt", text_rows(200));
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
    let output = Output::File(place.path("out.jsonl"));
    let began = tokio::time::Instant::now();
    let job = BatchJob::new(source, Render::default(), chain, output).settings(settings(64));
    let summary = job.run().await.unwrap();
    // The eighth request starts at 42 s, or some turns later: the reader is another thread, which paused time does not wait
    // for. The last of the 64 in flight would start at 378 s.
    let seconds = began.elapsed().as_secs();
    assert_eq!(summary.refused_rows, 8);
    assert!((42..=120).contains(&seconds), "{seconds} s");
    assert_eq!((summary.failed, summary.left), (0, Some(200)));
}
