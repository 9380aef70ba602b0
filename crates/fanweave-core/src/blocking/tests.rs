use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::*;
use crate::model::fake::Fake;
use crate::{Error, ErrorKind, Message, Model, Prompt, chain, prompt, step, text, vars};

fn n(max: usize) -> NonZeroUsize {
    NonZeroUsize::new(max).unwrap()
}

/// Blocks its thread for 100 ms.
struct Sleeper;

impl BlockingChatModel for Sleeper {
    fn name(&self) -> &str {
        "test/sleeper"
    }

    fn generate(&self, prompt: Prompt, _: &mut DeltaSender) -> Result<Message> {
        std::thread::sleep(Duration::from_millis(100));
        Ok(Message::assistant(prompt.last_user_text()))
    }
}

/// The maximum delay of a 5 ms heartbeat while `work` ran.
async fn worst_slip(work: impl Future<Output = ()>) -> Duration {
    let mut worst = Duration::ZERO;
    let mut work = std::pin::pin!(work);
    loop {
        let beat = Instant::now() + Duration::from_millis(5);
        tokio::select! {
            biased;
            () = tokio::time::sleep_until(beat.into()) => worst = worst.max(beat.elapsed()),
            () = &mut work => return worst,
        }
    }
}

#[tokio::test]
async fn two_hundred_blocking_models_do_not_delay_a_heartbeat() {
    let model = chain(Model::blocking(Sleeper));
    let mut slips = Vec::new();
    // A busy machine delays the heartbeat even without the models.
    for _ in 0..3 {
        let started = Instant::now();
        let calls = async {
            let rows = model.batch((0..200).map(|n| n.to_string())).concurrency(200).collect().await;
            assert!(rows.iter().all(Result::is_ok));
        };
        let slip = worst_slip(calls).await;
        // 64 threads: 200 calls take four rounds, or more if they do not run concurrently.
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        if slip <= Duration::from_millis(20) {
            return;
        }
        slips.push(slip);
    }
    let control = worst_slip(tokio::time::sleep(Duration::from_millis(400))).await;
    assert!(control > Duration::from_millis(20), "slips of {slips:?}, and of {control:?} without the models");
}

/// A blocking step around an async step around a blocking step, and so on.
fn nested(pool: &Pool, depth: usize) -> Chain<u64, u64> {
    let inner = (depth > 1).then(|| nested(pool, depth - 1));
    blocking_step_on(pool, move |n: u64, _| match &inner {
        None => Ok(n),
        Some(inner) => {
            let inner = inner.clone();
            let within = step(move |n: u64, _| {
                let inner = inner.clone();
                async move { inner.invoke(n).await }
            });
            Ok(within.blocking().invoke(n)? + 1)
        }
    })
}

#[tokio::test]
async fn blocking_in_async_in_blocking_to_depth_8_completes_however_many_at_once() {
    for max in [1, 4] {
        let pool = Pool::new(n(max));
        let rows = nested(&pool, 8).batch(0..100u64).concurrency(100).collect();
        let rows = tokio::time::timeout(Duration::from_secs(60), rows).await.expect("no deadlock");
        assert_eq!(rows.into_iter().map(Result::unwrap).collect::<Vec<_>>(), (7..107).collect::<Vec<_>>());
    }
}

fn all_verbs() {
    let joke = prompt("on {{ x }}") | Fake::echo() | text();
    assert_eq!(joke.blocking().invoke(vars! { x: "a" }).unwrap(), "on a");
    let cx = Context::new().with_timeout(Duration::from_millis(20));
    let slow = chain(Fake::echo().latency(Duration::from_secs(60)));
    assert_eq!(slow.blocking().invoke_in("x", &cx).unwrap_err().kind(), ErrorKind::Timeout);

    let inputs = || (0..50).map(|n| vars! { x: n });
    let rows: Vec<_> = joke.blocking().batch(inputs()).concurrency(8).run().map(|row| row.index).collect();
    assert_eq!(rows, (0..50).collect::<Vec<_>>());
    assert_eq!(joke.blocking().batch(inputs()).as_completed().count(), 50);
    assert_eq!(joke.blocking().batch(inputs()).collect().len(), 50);
    assert_eq!(joke.blocking().batch(inputs()).fail_fast().unwrap()[49], "on 49");

    let mut deltas = joke.blocking().stream(vars! { x: "b" });
    assert_eq!(deltas.next().unwrap().unwrap().to_string(), "on ");
    assert_eq!(deltas.output().unwrap(), "on b");
    assert!(joke.blocking().events(vars! { x: "c" }).count() >= 4);
}

#[test]
fn the_verbs_work_without_a_runtime() {
    all_verbs();
}

#[tokio::test]
async fn blocking_methods_work_inside_a_single_threaded_runtime() {
    all_verbs();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_verbs_work_inside_a_runtime_of_many_threads() {
    all_verbs();
}

#[tokio::test]
async fn no_more_threads_run_than_the_limit_allows() {
    let pool = Pool::new(n(3));
    let (now, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (at_work, max) = (now, peak.clone());
    let step = blocking_step_on(&pool, move |_: u32, _| {
        max.fetch_max(at_work.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(2));
        at_work.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    });
    step.batch(0..30u32).concurrency(30).collect().await;
    assert_eq!(peak.load(Ordering::SeqCst), 3);
    assert!(pool.threads() <= 3);
}

#[tokio::test]
async fn a_panic_is_an_error_of_its_step_and_the_thread_continues() {
    let pool = Pool::new(n(1));
    let step = blocking_step_on(&pool, |n: u32, _| if n == 1 { panic!("boom") } else { Ok(n) });
    let rows = step.batch(0..3u32).collect().await;
    assert_eq!(rows[1].as_ref().unwrap_err().kind(), ErrorKind::Panic);
    assert_eq!((rows[0].as_ref().unwrap(), rows[2].as_ref().unwrap()), (&0, &2));
}

#[tokio::test]
async fn dropped_work_is_not_started() {
    let pool = Pool::new(n(1));
    let begun = Arc::new(AtomicUsize::new(0));
    let count = begun.clone();
    let step = blocking_step_on(&pool, move |_: u32, _| {
        count.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(50));
        Ok(())
    });
    let mut rows = step.batch(0..10u32).concurrency(10).as_completed();
    rows.next().await;
    drop(rows);
    pool.run(|| ()).await.unwrap();
    assert!(begun.load(Ordering::SeqCst) <= 2, "{begun:?}");
}

#[test]
fn threads_end_with_their_pool() {
    let pool = Pool::new(n(4));
    let inner = {
        let pool = pool.clone();
        wait(async move { futures::future::join_all((0..4).map(|_| pool.run(|| ()))).await })
    };
    assert_eq!(inner.len(), 4);
    let weak = Arc::downgrade(&pool.inner());
    drop(pool);
    let started = Instant::now();
    while weak.strong_count() > 0 {
        assert!(started.elapsed() < Duration::from_secs(5), "{} handles are left", weak.strong_count());
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[tokio::test]
async fn a_blocking_model_streams_and_stops_when_its_reader_is_dropped() {
    struct Counter(Arc<AtomicUsize>);
    impl BlockingChatModel for Counter {
        fn name(&self) -> &str {
            "test/counter"
        }
        fn generate(&self, _: Prompt, deltas: &mut DeltaSender) -> Result<Message> {
            if !deltas.wants_deltas() {
                return Ok(Message::assistant("all at once"));
            }
            for n in 0..100_000 {
                self.0.store(n, Ordering::SeqCst);
                deltas.text(format!("{n} "))?;
            }
            Err(Error::new(ErrorKind::Step, "nobody stopped me"))
        }
    }
    let counted = Arc::new(AtomicUsize::new(0));
    let counter = chain(Model::blocking(Counter(counted.clone()))) | text();
    assert_eq!(counter.invoke("x").await.unwrap(), "all at once");
    let mut run = counter.stream("x");
    assert_eq!(run.next().await.unwrap().unwrap().to_string(), "0 ");
    drop(run);
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(counted.load(Ordering::SeqCst) < 1000);
}
