//! What happens where the account itself is refused: a wrong key, no credit left, a model that is not there.

#![expect(clippy::unwrap_used, reason = "what a test needs and does not get fails it")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use fanweave_batch::{BatchJob, Output, Render, Source, Summary};
use fanweave_core::{Error, ErrorKind, Prompt, step};
use support::{Place, settings, text_rows};

/// Runs 100 rows, four at once, of which the calls from number `from` up to `to` fail with `kind`.
async fn run(place: &Place, kind: ErrorKind, from: usize, to: usize) -> (Summary, usize) {
    failing(place, Error::new(kind, "no"), from, to).await
}

/// As [`run`], with this error.
async fn failing(place: &Place, error: Error, from: usize, to: usize) -> (Summary, usize) {
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
    let place = Place::new();
    let (summary, calls) = run(&place, ErrorKind::Authentication, 0, usize::MAX).await;
    assert_eq!(summary.refused.expect("why it stopped").kind(), ErrorKind::Authentication);
    assert_eq!((summary.rows, summary.failed, summary.left), (0, 0, Some(100)));
    assert!(calls <= 8, "{calls} calls: those in flight heard it, and no others were made");

    let (mended, _) = run(&place, ErrorKind::Authentication, 0, 0).await;
    assert_eq!((mended.ok, mended.resumed), (100, 0));
}

#[tokio::test]
async fn an_empty_account_keeps_what_was_answered() {
    let place = Place::new();
    let (summary, calls) = run(&place, ErrorKind::QuotaExhausted, 50, usize::MAX).await;
    assert!(summary.refused.is_some() && summary.interrupted);
    assert_eq!((summary.ok, summary.failed), (50, 0));
    assert!(calls <= 58, "{calls} calls");

    let (mended, calls) = run(&place, ErrorKind::QuotaExhausted, 0, 0).await;
    assert_eq!((mended.ok, mended.resumed, calls), (100, 50, 50));
}

#[tokio::test]
async fn a_model_that_is_not_there_stops_the_run_only_where_no_row_was_answered() {
    let (summary, _) = run(&Place::new(), ErrorKind::NotFound, 0, usize::MAX).await;
    assert_eq!((summary.refused.is_some(), summary.rows), (true, 0));

    let (summary, calls) = run(&Place::new(), ErrorKind::NotFound, 50, 53).await;
    assert_eq!((summary.refused.is_some(), summary.ok, summary.failed, calls), (false, 97, 3, 100));
}

#[tokio::test]
async fn a_quota_of_the_day_stops_the_run_and_a_short_wait_fails_its_row_alone() {
    let limited = |seconds| {
        Error::new(ErrorKind::RateLimited, "no").with_retry_after(std::time::Duration::from_secs(seconds))
    };
    let place = Place::new();
    let (summary, calls) = failing(&place, limited(3_600), 50, usize::MAX).await;
    assert_eq!(summary.refused.map(|error| error.kind()), Some(ErrorKind::RateLimited));
    assert_eq!((summary.ok, summary.failed, summary.left), (50, 0, Some(50)));
    assert!(calls <= 58, "{calls} calls");
    let (next_day, calls) = run(&place, ErrorKind::RateLimited, 0, 0).await;
    assert_eq!((next_day.ok, next_day.resumed, calls), (100, 50, 50));

    let (summary, calls) = failing(&Place::new(), limited(20), 50, 53).await;
    assert_eq!((summary.refused.is_some(), summary.ok, summary.failed, calls), (false, 97, 3, 100));
}

#[tokio::test]
async fn a_quota_of_the_day_stops_the_run_also_where_another_model_was_asked_in_vain() {
    let limited = |_: Prompt, _| async {
        let hour = std::time::Duration::from_secs(3_600);
        Err::<String, _>(Error::new(ErrorKind::RateLimited, "no").with_retry_after(hour))
    };
    let place = Place::new();
    let input = place.write("in.txt", text_rows(100));
    let source = Source::open(&input, None).unwrap();
    let output = Output::File(place.path("out.jsonl"));
    let chain = step(limited).fallback([step(limited)]);
    let summary =
        BatchJob::new(source, Render::default(), chain, output).settings(settings(4)).run().await.unwrap();
    assert_eq!((summary.refused.is_some(), summary.failed, summary.left), (true, 0, Some(100)));
}
