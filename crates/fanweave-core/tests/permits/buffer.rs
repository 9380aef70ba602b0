//! Output that waits for a reader is bounded, complete and in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use fanweave_core::context::CancellationToken;
use fanweave_core::model::fake::{Fake, Load};
use fanweave_core::{
    Chain, ChatModel, Context, Delta, ErrorKind, EventKind, Message, Model, Prompt, Result, chain, step, text,
};
use futures::StreamExt;
use tokio::time::sleep;

use crate::limited;

/// Emits deltas of 64 KiB.
struct Loud {
    load: Load,
    deltas: usize,
    emitted: Arc<AtomicUsize>,
}

impl ChatModel for Loud {
    fn name(&self) -> &str {
        "test/loud"
    }

    async fn generate(&self, _: Prompt, cx: &Context) -> Result<Message> {
        let (load, deltas, emitted) = (self.load.clone(), self.deltas, self.emitted.clone());
        cx.permit(move |cx| async move {
            let _flight = load.enter();
            for n in 0..deltas {
                let mut text = n.to_string();
                text.push_str(&".".repeat(64 << 10));
                cx.delta(Delta::text(text)).await;
                emitted.fetch_add(1, Ordering::SeqCst);
            }
            Ok(Message::assistant("done"))
        })
        .await
    }
}

fn loud(load: &Load, deltas: usize) -> (Chain<Prompt, String>, Arc<AtomicUsize>) {
    let emitted = Arc::new(AtomicUsize::new(0));
    let model = Model::new(Loud { load: load.clone(), deltas, emitted: emitted.clone() });
    (chain(model) | text(), emitted)
}

#[tokio::test(start_paused = true)]
async fn an_answer_larger_than_the_buffer_waits_and_gives_its_permit_up_only_if_another_call_waits() {
    let (cx, load) = limited(1);
    let (loud, emitted) = loud(&load, 400);
    let mut run = loud.stream_in("x", &cx);
    run.next().await.expect("a delta").unwrap();
    sleep(Duration::from_secs(60)).await;
    // 4 MiB are 64 deltas; a few more have been read ahead.
    assert!((64..200).contains(&emitted.load(Ordering::SeqCst)));
    assert!(cx.try_permit().is_none());
    assert_eq!((cx.over_limit(), load.in_flight()), (0, 1));

    let other = chain(Fake::echo().count_in(&load)) | text();
    assert_eq!(other.invoke_in("other", &cx).await.unwrap(), "other");
    assert_eq!((cx.over_limit(), load.max_in_flight()), (1, 2));

    let rest: Vec<_> = run.map(|delta| delta.unwrap().to_string()).collect().await;
    let numbers = rest.iter().map(|delta| delta.trim_end_matches('.').parse::<usize>().unwrap());
    assert!(numbers.eq(1..400));
    assert_eq!(load.in_flight(), 0);
    assert!(cx.try_permit().is_some());
}

#[tokio::test(start_paused = true)]
async fn events_and_deltas_of_a_limited_run_are_those_of_any_other() {
    let events = async |cx: Context| {
        let model = Fake::echo().per_word(Duration::from_millis(10));
        let events: Vec<_> = (chain(model) | text()).events_in("a b c", &cx).collect().await;
        let received = events.into_iter().map(|event| match event.kind {
            EventKind::Delta(delta) => format!("{}: {delta}", event.path),
            kind => format!("{}: {:?}", event.path, std::mem::discriminant(&kind)),
        });
        received.collect::<Vec<_>>()
    };
    assert_eq!(events(limited(1).0).await, events(Context::new()).await);
    let deltas = async |cx: Context| {
        let run = (chain(Fake::echo()) | text()).stream_in("a b c", &cx);
        run.map(|delta| delta.unwrap().to_string()).collect::<Vec<_>>().await
    };
    assert_eq!(deltas(limited(1).0).await, ["a ", "b ", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_ends_when_the_run_drains_and_one_in_flight_continues() {
    let drain = CancellationToken::new();
    let cx = limited(1).0.with_draining(drain.clone());
    let slow = chain(Fake::echo().latency(Duration::from_secs(9))) | text();
    let stop = async {
        sleep(Duration::from_secs(1)).await;
        drain.cancel();
    };
    let (first, second, ()) = tokio::join!(slow.invoke_in("a", &cx), slow.invoke_in("b", &cx), stop);
    assert_eq!(first.unwrap(), "a");
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(slow.invoke_in("c", &cx).await.unwrap_err().kind(), ErrorKind::Cancelled);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_ends_its_task_and_returns_its_permit() {
    let (cx, load) = limited(1);
    let slow = chain(Fake::echo().latency(Duration::from_secs(9)).count_in(&load));
    let left = tokio::time::timeout(Duration::from_secs(1), slow.invoke_in("a", &cx)).await;
    assert!(left.is_err());
    tokio::task::yield_now().await;
    assert_eq!(load.in_flight(), 0);
    assert!(cx.try_permit().is_some());
}

#[tokio::test]
async fn a_request_that_panics_panics_in_its_caller_and_returns_its_permit() {
    let (cx, _) = limited(1);
    let panics = step(|_: u32, cx: Context| async move {
        cx.permit(|_| async { if true { panic!("boom") } else { Ok(()) } }).await
    });
    let rows = panics.batch([1u32, 2]).within(cx.clone()).collect().await;
    for row in rows {
        let error = row.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Panic, "a step panicked: boom"));
    }
    assert!(cx.try_permit().is_some());
}

#[tokio::test(start_paused = true)]
async fn calls_within_a_call_take_its_permit_over() {
    let (cx, load) = limited(1);
    let echo = chain(Fake::echo().latency(Duration::from_secs(1)).count_in(&load)) | text();
    let nested = cx.permit(|cx| async move {
        let three = [(); 3].map(|()| echo.invoke_in("x", &cx));
        futures::future::try_join_all(three).await?;
        echo.stream_in("x", &cx).output().await
    });
    let ended = tokio::time::timeout(Duration::from_secs(60), nested).await;
    assert_eq!(ended.expect("no deadlock").unwrap(), "x");
    assert_eq!((load.max_in_flight(), load.calls()), (1, 4));
    assert!(cx.try_permit().is_some());
}

#[test]
fn a_limited_call_without_a_runtime_runs_on_the_one_in_the_background() {
    let (cx, load) = limited(1);
    let echo = chain(Fake::echo().count_in(&load)) | text();
    let answer = futures::executor::block_on(echo.invoke_in("x", &cx));
    assert_eq!(answer.unwrap(), "x");
    // The blocking methods read one delta at a time.
    let mut deltas = futures::executor::block_on_stream(echo.stream_in("a b", &cx));
    deltas.next();
    assert_eq!(echo.blocking().invoke_in("y", &cx).unwrap(), "y");
    assert_eq!(deltas.count(), 1);
}
