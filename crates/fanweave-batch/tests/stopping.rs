//! What happens to rows in flight where a run stops: by a signal, or because the provider is unavailable.

#![expect(clippy::unwrap_used, reason = "what a test needs and does not get fails it")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanweave_batch::{BatchJob, CancellationToken, Output, Progress, Render, Settings, Source, Summary};
use fanweave_core::{Chain, Context, Error, ErrorKind, EventKind, Message, Prompt, WaitReason, step};
use support::{TempRun, settings, text_rows};
use tokio::sync::Barrier;
use tokio::time::sleep;

/// The number of a row `row N`.
fn number(prompt: &Prompt) -> u64 {
    prompt.last_user_text().trim_start_matches("row ").parse().unwrap()
}

fn batch(place: &TempRun, rows: u64, chain: Chain<Prompt, String>) -> BatchJob<Prompt, String> {
    let input = place.write("in.txt", text_rows(rows));
    let source = Source::open(&input, None).unwrap();
    BatchJob::new(source, Render::default(), chain, Output::File(place.path("out.jsonl")))
        .settings(settings(8))
}

/// As a transport waits for the end of an outage: until the run winds down.
async fn hold(cx: &Context) -> Error {
    cx.emit(EventKind::Waiting(WaitReason::Outage(Error::new(ErrorKind::Server, "Bad Gateway")))).await;
    cx.draining().await
}

/// The error of a call whose provider was failing with `status` for too long.
fn unavailable(cause: Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the provider has been failing for 10m").with_source(cause)
}

fn bad_gateway() -> Error {
    unavailable(Error::new(ErrorKind::Server, "Bad Gateway").with_status(502))
}

async fn all_answered(place: &TempRun, rows: u64) -> Summary {
    batch(place, rows, step(|prompt: Prompt, _| async move { Ok(prompt.last_user_text()) }))
        .run()
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_rows_that_only_wait_and_lets_requests_in_flight_end() {
    let (place, stop, progress) = (TempRun::new(), CancellationToken::new(), Arc::new(Progress::default()));
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
    let summary = batch(&place, 100, chain).stop(stop).progress(progress).run().await.unwrap();
    assert_eq!((summary.ok, summary.failed, summary.left), (4, 0, Some(96)));
    assert!(summary.interrupted && summary.unavailable.is_none());
    let resumed = all_answered(&place, 100).await;
    assert_eq!((resumed.ok, resumed.resumed), (100, 4));
}

#[tokio::test(start_paused = true)]
async fn a_stop_starts_no_next_call_of_a_chain_row() {
    let (place, stop) = (TempRun::new(), CancellationToken::new());
    let calls = Arc::new(AtomicUsize::new(0));
    let (counted, stopping, all) = (calls.clone(), stop.clone(), Arc::new(Barrier::new(8)));
    // As the transport does before each request.
    let call = step(move |prompt: Prompt, cx: Context| {
        let (counted, stopping, all) = (counted.clone(), stopping.clone(), all.clone());
        async move {
            if cx.is_draining() {
                return Err(cx.draining().await);
            }
            // In the middle of the third wave: of eight rows the second call is yet to come.
            if counted.fetch_add(1, Ordering::SeqCst) == 23 {
                stopping.cancel();
            }
            all.wait().await;
            Ok(prompt)
        }
    });
    let text = step(|prompt: Prompt, _| async move { Ok(prompt.last_user_text()) });
    let summary = batch(&place, 100, call.clone() | call | text).stop(stop).run().await.unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 24);
    assert_eq!((summary.ok, summary.failed, summary.left), (8, 0, Some(92)));
}

#[tokio::test(start_paused = true)]
async fn the_context_around_a_job_stops_it_as_its_token_does() {
    let chain = step(|_: Prompt, cx: Context| async move { Err::<String, _>(hold(&cx).await) });
    let (place, drain) = (TempRun::new(), CancellationToken::new());
    let run = batch(&place, 100, chain).within(Context::new().with_draining(drain.clone())).run();
    let stopping = async {
        sleep(Duration::from_secs(1)).await;
        drain.cancel();
    };
    let (summary, ()) = tokio::join!(run, stopping);
    assert_eq!(summary.unwrap().left, Some(100));
}

#[tokio::test(start_paused = true)]
async fn an_unavailable_provider_stops_the_run_and_its_rows_are_left() {
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
    let place = TempRun::new();
    let summary = batch(&place, 100, chain).run().await.unwrap();
    assert_eq!((summary.ok, summary.failed, summary.left), (20, 0, Some(80)));
    let error = summary.unavailable.unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(summary.interrupted && summary.refused.is_none());
    let resumed = all_answered(&place, 100).await;
    assert_eq!((resumed.ok, resumed.resumed), (100, 20));
}

/// Runs rows of which `poison` ends as unavailable because of `cause`, one at a time.
async fn with_poison(rows: u64, poison: u64, cause: Error) -> Summary {
    let chain = step(move |prompt: Prompt, _| {
        let cause = cause.clone();
        async move { if number(&prompt) == poison { Err(unavailable(cause)) } else { Ok("ok".to_owned()) } }
    });
    let one = Settings { concurrency: std::num::NonZeroUsize::MIN, ..Settings::default() };
    batch(&TempRun::new(), rows, chain).settings(one).run().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_only_row_left_fails_with_the_answer_that_it_gets() {
    let crash = Error::new(ErrorKind::Server, "crashed").with_status(500);
    let summary = with_poison(5, 4, crash.clone()).await;
    assert_eq!((summary.ok, summary.failed, summary.left), (4, 1, Some(0)));
    assert!(summary.unavailable.is_none() && !summary.interrupted);
    assert_eq!(
        (summary.failures[0].kind.as_str(), summary.failures[0].message.as_str()),
        ("server", "crashed")
    );

    for (rows, poison, cause, ok, why) in [
        (5, 3, crash.clone(), 3, "another row is left"),
        (5, 4, Error::new(ErrorKind::Connection, "connection refused"), 4, "it got no answer"),
        (1, 0, crash, 0, "no row was answered"),
    ] {
        let summary = with_poison(rows, poison, cause).await;
        assert_eq!((summary.ok, summary.failed, summary.left), (ok, 0, Some(rows - ok)), "{why}");
        assert!(summary.unavailable.is_some(), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_only_row_left_fails_also_where_the_others_were_answered_by_an_earlier_run() {
    let chain = |is_down: bool| {
        step(move |prompt: Prompt, _| async move {
            match number(&prompt) {
                3 => Err(unavailable(Error::new(ErrorKind::Server, "crashed").with_status(500))),
                _ if is_down => Err(bad_gateway()),
                _ => Ok("ok".to_owned()),
            }
        })
    };
    let place = TempRun::new();
    let first = batch(&place, 5, chain(false)).settings(settings(1)).run().await.unwrap();
    assert!(first.unavailable.is_some());
    assert_eq!((first.ok, first.left), (3, Some(2)));
    let second = batch(&place, 5, chain(true)).run().await.unwrap();
    assert_eq!((second.ok, second.failed, second.left), (3, 0, Some(2)), "two are left");
    // As often as somebody runs it again.
    for _ in 0..10 {
        batch(&place, 5, chain(false)).run().await.unwrap();
    }
    let all = batch(&place, 5, chain(false)).run().await.unwrap();
    assert_eq!((all.ok, all.failed, all.left), (4, 1, Some(0)));
}

fn broken_off() -> Error {
    Error::new(ErrorKind::StreamIncomplete, "the stream ended early").with_partial(Message::assistant("half"))
}

/// Breaks off `breaks` times for each row, after its reader had some of the answer.
fn breaks_off(breaks: usize) -> Chain<Prompt, String> {
    let tries = Arc::new(std::sync::Mutex::new(std::collections::HashMap::new()));
    step(move |prompt: Prompt, _| {
        let mut tries = tries.lock().unwrap();
        let tried = tries.entry(number(&prompt)).or_insert(0);
        *tried += 1;
        let is_whole = *tried > breaks;
        async move {
            tokio::task::yield_now().await;
            if is_whole { Ok("whole".to_owned()) } else { Err(broken_off()) }
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_row_whose_stream_breaks_is_put_back_three_times() {
    for concurrency in [1, 2, 8] {
        let run = async |breaks| {
            let place = TempRun::new();
            let job = batch(&place, 20, breaks_off(breaks)).settings(settings(concurrency));
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
async fn equal_rows_wait_for_one_that_is_put_back() {
    for concurrency in [1, 3, 8] {
        let place = TempRun::new();
        let input = place.write("in.txt", "row 1\n".repeat(10) + &text_rows(5));
        let source = Source::open(&input, None).unwrap();
        let output = Output::File(place.path("out.jsonl"));
        let job = BatchJob::new(source, Render::default(), breaks_off(2), output);
        let dedupe = Settings { dedupe: true, ..settings(concurrency) };
        let summary = job.settings(dedupe).run().await.unwrap();
        assert_eq!((summary.ok, summary.failed), (15, 0), "{concurrency} at once");
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_whose_stream_breaks_while_the_run_stops_is_left() {
    let (place, stop) = (TempRun::new(), CancellationToken::new());
    let stopping = stop.clone();
    let chain = step(move |_: Prompt, _| {
        stopping.cancel();
        async { Err::<String, _>(broken_off()) }
    });
    let summary = batch(&place, 20, chain).stop(stop).run().await.unwrap();
    assert_eq!((summary.ok, summary.failed, summary.left), (0, 0, Some(20)));
}

/// A provider behind an account in an outage, as the transport shows it: it fails for some rows whenever they are asked, and
/// their failures are decided once it has answered another row since.
#[derive(Clone)]
struct Partial {
    fails: fn(u64) -> bool,
    answers: Arc<AtomicUsize>,
    answered: Arc<tokio::sync::Notify>,
    /// Failures of a row before it waits for the end of the outage. 0 for an outage that is never declared.
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
                    // The clock stands still meanwhile, and the reader's thread has time to read.
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
                unreachable!("it ends with an attempt")
            }
        })
        .named("call")
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_the_provider_fails_for_do_not_keep_the_others_from_being_asked() {
    for fails in [
        (|row| (8..16).contains(&row)) as fn(u64) -> bool,
        |row| (8..80).contains(&row),
        |row| row < 8,
        |row| row < 40,
    ] {
        let (provider, place) = (Partial::new(fails, 1), TempRun::new());
        let began = tokio::time::Instant::now();
        let summary = batch(&place, 200, provider.chain()).run().await.unwrap();
        let failing = (0..200).filter(|row| fails(*row)).count() as u64;
        assert_eq!((summary.ok, summary.failed, summary.left), (200 - failing, failing, Some(0)));
        assert!(began.elapsed() < Duration::from_secs(60), "{failing} rows: {:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_rows_fail_once_an_answered_one_is_answered_again() {
    // In a declared outage, and where too few failures came for one: rows that time out.
    for until_held in [1, 0] {
        let (provider, place) = (Partial::new(|row| row >= 80, until_held), TempRun::new());
        let began = tokio::time::Instant::now();
        let summary = batch(&place, 100, provider.chain()).run().await.unwrap();
        assert_eq!((summary.ok, summary.failed, summary.left), (80, 20, Some(0)));
        assert!(began.elapsed() < Duration::from_secs(90), "{:?}", began.elapsed());
        let repeated = provider.answers.load(Ordering::SeqCst) - 80;
        assert!((1..=4).contains(&repeated), "{repeated} answers were paid twice");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_rows_fail_also_where_an_earlier_run_answered_the_others() {
    let place = TempRun::new();
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
    let summary = batch(&place, 20, first).stop(stop).run().await.unwrap();
    assert_eq!((summary.ok, summary.left), (16, Some(4)));
    let provider = Partial::new(|row| row >= 16, 1);
    let summary = batch(&place, 20, provider.chain()).run().await.unwrap();
    assert_eq!((summary.ok, summary.failed, summary.left), (16, 4, Some(0)));
}

#[tokio::test(start_paused = true)]
async fn the_last_rows_are_left_where_answered_ones_are_not_answered_again() {
    let (down, place) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), TempRun::new());
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
    let summary = batch(&place, 16, chain.named("call")).settings(settings(1)).run().await.unwrap();
    assert_eq!((summary.ok, summary.failed, summary.left), (15, 0, Some(1)));
    assert!(summary.unavailable.is_some());
}
