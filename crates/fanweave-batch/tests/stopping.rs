//! Rows in flight when a run stops: by a signal, or because the provider is unavailable.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanweave_batch::{BatchJob, CancellationToken, Output, Progress, Render, Settings, Source, Summary};
use fanweave_core::{Chain, Context, Error, ErrorKind, EventKind, Message, Prompt, WaitReason, step};
use support::{TempRun, settings, text_rows};
use tokio::sync::Barrier;
use tokio::time::sleep;

/// The number N of a row `row N`.
fn number(prompt: &Prompt) -> u64 {
    prompt.last_user_text().trim_start_matches("row ").parse().unwrap()
}

fn batch(dir: &TempRun, rows: u64, chain: Chain<Prompt, String>) -> BatchJob<Prompt, String> {
    let input = dir.write("in.txt", text_rows(rows));
    let source = Source::open(&input, None).unwrap();
    BatchJob::new(source, Render::default(), chain, Output::File(dir.path("out.jsonl"))).settings(settings(8))
}

/// Waits for the end of an outage, like a transport: until the run is draining.
async fn hold(cx: &Context) -> Error {
    cx.emit(EventKind::Waiting(WaitReason::Outage(Error::new(ErrorKind::Server, "Bad Gateway")))).await;
    cx.draining().await
}

/// The error of a call whose provider has been failing with `cause` for too long.
fn unavailable(cause: Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the provider has been failing for 10m").with_source(cause)
}

fn bad_gateway() -> Error {
    unavailable(Error::new(ErrorKind::Server, "Bad Gateway").with_status(502))
}

async fn all_answered(dir: &TempRun, rows: u64) -> Summary {
    batch(dir, rows, step(|prompt: Prompt, _| async move { Ok(prompt.last_user_text()) }))
        .run()
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_waiting_rows_and_lets_requests_in_flight_complete() {
    let (dir, stop, progress) = (TempRun::new(), CancellationToken::new(), Arc::new(Progress::default()));
    let (stopping, watched) = (stop.clone(), progress.clone());
    let all = Arc::new(Barrier::new(8));
    let chain = step(move |prompt: Prompt, cx: Context| {
        let (all, stopping, watched) = (all.clone(), stopping.clone(), watched.clone());
        async move {
            let row = number(&prompt);
            all.wait().await;
            if row % 2 == 1 {
                return Err(hold(&cx).await);
            }
            cx.emit(EventKind::RequestStarted).await;
            sleep(Duration::from_secs(10)).await;
            stopping.cancel();
            sleep(Duration::from_secs(1)).await;
            let now = watched.snapshot();
            assert_eq!((now.in_flight, now.waiting), (4, 0), "the others have ended");
            sleep(Duration::from_secs(20)).await;
            Ok("late".to_owned())
        }
    });
    let summary = batch(&dir, 100, chain).stop(stop).progress(progress).run().await.unwrap();
    assert_eq!((summary.ok, summary.failed, summary.left), (4, 0, Some(96)));
    assert!(summary.interrupted && summary.unavailable.is_none());
    let resumed = all_answered(&dir, 100).await;
    assert_eq!((resumed.ok, resumed.resumed), (100, 4));
}

#[tokio::test(start_paused = true)]
async fn a_stop_prevents_the_next_call_of_a_row_with_several_calls() {
    let (dir, stop) = (TempRun::new(), CancellationToken::new());
    let calls = Arc::new(AtomicUsize::new(0));
    let (counted, stopping, all) = (calls.clone(), stop.clone(), Arc::new(Barrier::new(8)));
    // The transport does the same before each request.
    let call = step(move |prompt: Prompt, cx: Context| {
        let (counted, stopping, all) = (counted.clone(), stopping.clone(), all.clone());
        async move {
            if cx.is_draining() {
                return Err(cx.draining().await);
            }
            // In the middle of the third wave, when eight rows have not made their second call.
            if counted.fetch_add(1, Ordering::SeqCst) == 23 {
                stopping.cancel();
            }
            all.wait().await;
            Ok(prompt)
        }
    });
    let text = step(|prompt: Prompt, _| async move { Ok(prompt.last_user_text()) });
    let summary = batch(&dir, 100, call.clone() | call | text).stop(stop).run().await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 24);
    assert_eq!((summary.ok, summary.failed, summary.left), (8, 0, Some(92)));
}

#[tokio::test(start_paused = true)]
async fn a_draining_context_stops_a_job_like_its_token() {
    let chain = step(|_: Prompt, cx: Context| async move { Err::<String, _>(hold(&cx).await) });
    let (dir, drain) = (TempRun::new(), CancellationToken::new());
    let run = batch(&dir, 100, chain).within(Context::new().with_draining(drain.clone())).run();
    let stopping = async {
        sleep(Duration::from_secs(1)).await;
        drain.cancel();
    };
    let (summary, ()) = tokio::join!(run, stopping);
    assert_eq!(summary.unwrap().left, Some(100));
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_provider_stops_the_run_without_results_for_its_rows() {
    let chain = step(|prompt: Prompt, cx: Context| async move {
        match number(&prompt) {
            row @ 0..20 => {
                sleep(Duration::from_secs(1)).await;
                Ok(format!("answer {row}"))
            }
            22 => {
                sleep(Duration::from_secs(600)).await;
                Err(bad_gateway())
            }
            _ => Err(hold(&cx).await),
        }
    });
    let dir = TempRun::new();
    let summary = batch(&dir, 100, chain).run().await.unwrap();
    assert_eq!((summary.ok, summary.failed, summary.left), (20, 0, Some(80)));
    let error = summary.unavailable.unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(summary.interrupted && summary.refused.is_none());
    let resumed = all_answered(&dir, 100).await;
    assert_eq!((resumed.ok, resumed.resumed), (100, 20));
}

/// Runs rows one at a time. The row `poison` is unavailable because of `cause`.
async fn with_poison(rows: u64, poison: u64, cause: Error) -> Summary {
    let chain = step(move |prompt: Prompt, _| {
        let cause = cause.clone();
        async move { if number(&prompt) == poison { Err(unavailable(cause)) } else { Ok("ok".to_owned()) } }
    });
    let one = Settings::new().concurrency(1);
    batch(&TempRun::new(), rows, chain).settings(one).run().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_last_remaining_row_fails_with_its_own_error() {
    let crash = Error::new(ErrorKind::Server, "crashed").with_status(500);
    let summary = with_poison(5, 4, crash.clone()).await;
    assert_eq!((summary.ok, summary.failed, summary.left), (4, 1, Some(0)));
    assert!(summary.unavailable.is_none() && !summary.interrupted);
    assert_eq!(
        (summary.failures[0].kind.as_str(), summary.failures[0].message.as_str()),
        ("server", "crashed")
    );

    for (rows, poison, cause, ok, why) in [
        (5, 3, crash.clone(), 3, "another row remains"),
        (5, 4, Error::new(ErrorKind::Connection, "connection refused"), 4, "it got no response"),
        (1, 0, crash, 0, "no row was answered"),
    ] {
        let summary = with_poison(rows, poison, cause).await;
        assert_eq!((summary.ok, summary.failed, summary.left), (ok, 0, Some(rows - ok)), "{why}");
        assert!(summary.unavailable.is_some(), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_remaining_row_fails_also_if_a_previous_run_answered_the_others() {
    let chain = |is_down: bool| {
        step(move |prompt: Prompt, _| async move {
            match number(&prompt) {
                3 => Err(unavailable(Error::new(ErrorKind::Server, "crashed").with_status(500))),
                _ if is_down => Err(bad_gateway()),
                _ => Ok("ok".to_owned()),
            }
        })
    };
    let dir = TempRun::new();
    let first = batch(&dir, 5, chain(false)).settings(settings(1)).run().await.unwrap();
    assert!(first.unavailable.is_some());
    assert_eq!((first.ok, first.left), (3, Some(2)));
    let second = batch(&dir, 5, chain(true)).run().await.unwrap();
    assert_eq!((second.ok, second.failed, second.left), (3, 0, Some(2)), "two remain");
    // The same result however often the run is repeated.
    for _ in 0..10 {
        batch(&dir, 5, chain(false)).run().await.unwrap();
    }
    let all = batch(&dir, 5, chain(false)).run().await.unwrap();
    assert_eq!((all.ok, all.failed, all.left), (4, 1, Some(0)));
}

fn interrupted() -> Error {
    Error::new(ErrorKind::StreamIncomplete, "the stream ended early").with_partial(Message::assistant("half"))
}

/// Interrupts the response of each row `times` times, after deltas were emitted.
fn interrupts(times: usize) -> Chain<Prompt, String> {
    let attempts = Arc::new(std::sync::Mutex::new(std::collections::HashMap::new()));
    step(move |prompt: Prompt, _| {
        let mut attempts = attempts.lock().unwrap();
        let attempt = attempts.entry(number(&prompt)).or_insert(0);
        *attempt += 1;
        let is_complete = *attempt > times;
        async move {
            tokio::task::yield_now().await;
            if is_complete { Ok("complete".to_owned()) } else { Err(interrupted()) }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_row_whose_stream_is_interrupted_is_requeued_three_times() {
    for concurrency in [1, 2, 8] {
        let run = async |times| {
            let dir = TempRun::new();
            let job = batch(&dir, 20, interrupts(times)).settings(settings(concurrency));
            job.run().await.unwrap()
        };
        let summary = run(3).await;
        assert_eq!((summary.ok, summary.failed), (20, 0));
        let summary = run(4).await;
        assert_eq!((summary.ok, summary.failed, summary.left), (0, 20, Some(0)));
        assert_eq!(summary.failures[0].kind, "stream_incomplete");
    }
}

#[tokio::test(start_paused = true)]
async fn followers_wait_for_a_requeued_row() {
    for concurrency in [1, 3, 8] {
        let dir = TempRun::new();
        let input = dir.write("in.txt", "row 1\n".repeat(10) + &text_rows(5));
        let source = Source::open(&input, None).unwrap();
        let output = Output::File(dir.path("out.jsonl"));
        let job = BatchJob::new(source, Render::default(), interrupts(2), output);
        let dedupe = settings(concurrency).dedupe(true);
        let summary = job.settings(dedupe).run().await.unwrap();
        assert_eq!((summary.ok, summary.failed), (15, 0), "{concurrency} concurrent");
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_whose_stream_is_interrupted_while_the_run_stops_has_no_result() {
    let (dir, stop) = (TempRun::new(), CancellationToken::new());
    let stopping = stop.clone();
    let chain = step(move |_: Prompt, _| {
        stopping.cancel();
        async { Err::<String, _>(interrupted()) }
    });
    let summary = batch(&dir, 20, chain).stop(stop).run().await.unwrap();
    assert_eq!((summary.ok, summary.failed, summary.left), (0, 0, Some(20)));
}

/// A provider behind an account in an outage, as seen through the transport: it always fails for some rows,
/// and their failures are final once it has answered another row since.
#[derive(Clone)]
struct Partial {
    fails: fn(u64) -> bool,
    answers: Arc<AtomicUsize>,
    answered: Arc<tokio::sync::Notify>,
    /// Failures of a row before it waits for the end of the outage. 0 if the outage is never declared.
    until_held: u32,
}

impl Partial {
    fn new(fails: fn(u64) -> bool, until_held: u32) -> Self {
        Self { fails, answers: Arc::default(), answered: Arc::default(), until_held }
    }

    fn chain(&self) -> Chain<Prompt, String> {
        let provider = self.clone();
        step(move |prompt: Prompt, cx: Context| {
            let provider = provider.clone();
            async move {
                for attempt in 1.. {
                    let row = number(&prompt);
                    // Paused time does not advance meanwhile, so the reader's thread has time to read.
                    let read = tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(2)));
                    read.await.unwrap();
                    let answered = provider.answered.notified();
                    tokio::pin!(answered);
                    answered.as_mut().enable();
                    cx.emit(EventKind::RequestStarted).await;
                    sleep(Duration::from_millis(20)).await;
                    if !(provider.fails)(row) {
                        sleep(Duration::from_millis(80)).await;
                        provider.answers.fetch_add(1, Ordering::SeqCst);
                        provider.answered.notify_waiters();
                        return Ok("ok".to_owned());
                    }
                    let error = Error::new(ErrorKind::Server, "crashed").with_status(500);
                    let wait = Duration::from_millis(100);
                    cx.emit(EventKind::Retrying { attempt, wait, error: error.clone() }).await;
                    sleep(wait).await;
                    let is_held = provider.until_held > 0 && attempt >= provider.until_held;
                    if is_held {
                        cx.emit(EventKind::Waiting(WaitReason::Outage(error.clone()))).await;
                    }
                    tokio::select! {
                        () = &mut answered, if is_held || attempt >= 3 => return Err(error),
                        () = sleep(Duration::from_secs(if is_held { 600 } else { 1 })) => {}
                    }
                    if attempt >= 100 {
                        return Err(unavailable(error));
                    }
                }
                unreachable!("the last attempt returns")
            }
        })
        .named("call")
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_the_provider_fails_for_do_not_block_the_others() {
    for fails in [
        (|row| (8..16).contains(&row)) as fn(u64) -> bool,
        |row| (8..80).contains(&row),
        |row| row < 8,
        |row| row < 40,
    ] {
        let (provider, dir) = (Partial::new(fails, 1), TempRun::new());
        let began = tokio::time::Instant::now();
        let summary = batch(&dir, 200, provider.chain()).run().await.unwrap();
        let failing = (0..200).filter(|row| fails(*row)).count() as u64;
        assert_eq!((summary.ok, summary.failed, summary.left), (200 - failing, failing, Some(0)));
        assert!(began.elapsed() < Duration::from_secs(60), "{failing} rows: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_rows_fail_once_an_answered_row_is_answered_in_a_rerun() {
    // In a declared outage, and with too few failures for one: rows that time out.
    for until_held in [1, 0] {
        let (provider, dir) = (Partial::new(|row| row >= 80, until_held), TempRun::new());
        let began = tokio::time::Instant::now();
        let summary = batch(&dir, 100, provider.chain()).run().await.unwrap();
        assert_eq!((summary.ok, summary.failed, summary.left), (80, 20, Some(0)));
        assert!(began.elapsed() < Duration::from_secs(90), "{:?}", began.elapsed());
        let repeated = provider.answers.load(Ordering::SeqCst) - 80;
        assert!((1..=4).contains(&repeated), "{repeated} answers were paid for twice");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_rows_fail_also_if_a_previous_run_answered_the_others() {
    let dir = TempRun::new();
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let first = step(move |prompt: Prompt, cx: Context| {
        let stopping = stopping.clone();
        async move {
            if number(&prompt) >= 16 {
                stopping.cancel();
                return Err(hold(&cx).await);
            }
            Ok("ok".to_owned())
        }
    });
    let summary = batch(&dir, 20, first).stop(stop).run().await.unwrap();
    assert_eq!((summary.ok, summary.left), (16, Some(4)));
    let provider = Partial::new(|row| row >= 16, 1);
    let summary = batch(&dir, 20, provider.chain()).run().await.unwrap();
    assert_eq!((summary.ok, summary.failed, summary.left), (16, 4, Some(0)));
}

#[tokio::test(start_paused = true)]
async fn the_last_rows_have_no_result_if_the_rerun_of_an_answered_row_fails() {
    let (down, dir) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), TempRun::new());
    let chain = step(move |prompt: Prompt, cx: Context| {
        let down = down.clone();
        async move {
            if !down.fetch_or(number(&prompt) == 15, Ordering::SeqCst) && number(&prompt) < 15 {
                return Ok("ok".to_owned());
            }
            let error = Error::new(ErrorKind::Server, "crashed").with_status(500);
            cx.emit(EventKind::RequestStarted).await;
            let retrying = EventKind::Retrying { attempt: 1, wait: Duration::ZERO, error: error.clone() };
            cx.emit(retrying).await;
            cx.emit(EventKind::Waiting(WaitReason::Outage(error.clone()))).await;
            sleep(Duration::from_secs(600)).await;
            Err::<String, _>(unavailable(error))
        }
    });
    let summary = batch(&dir, 16, chain.named("call")).settings(settings(1)).run().await.unwrap();
    assert_eq!((summary.ok, summary.failed, summary.left), (15, 0, Some(1)));
    assert!(summary.unavailable.is_some());
}
