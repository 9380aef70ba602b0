//! Tests of lanes whose providers are failing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use fanweave_core::{ChatModel, Context, Error, ErrorKind, Message, Model, Prompt, Result, Runnable};
use tokio::time::{Instant, sleep};

use super::tests::{Notes, reporting};
use super::{Lane, Spreading};

/// A model whose provider fails for some seconds. Like the transport, it fails calls with alternatives
/// immediately.
struct Vendor {
    name: &'static str,
    began: Instant,
    /// Start and end of the outage, in seconds.
    fails: (AtomicU64, AtomicU64),
    calls: AtomicUsize,
}

impl Vendor {
    fn is_failing(&self) -> bool {
        let now = self.began.elapsed().as_secs();
        (self.fails.0.load(Ordering::Relaxed)..self.fails.1.load(Ordering::Relaxed)).contains(&now)
    }
}

struct Shared(Arc<Vendor>);

impl ChatModel for Shared {
    fn name(&self) -> &str {
        self.0.name
    }

    async fn generate(&self, _: Prompt, cx: &Context) -> Result<Message> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        while self.0.is_failing() {
            if cx.has_alternatives() {
                let cause = Error::new(ErrorKind::Server, "Bad Gateway").with_status(502);
                return Err(Error::new(ErrorKind::Unavailable, "failing").with_source(cause));
            }
            sleep(Duration::from_millis(100)).await;
        }
        Ok(Message::assistant(self.0.name))
    }
}

fn of<const N: usize>(fails: [(u64, u64); N], suspends: bool) -> (Spreading, Vec<Arc<Vendor>>, Notes) {
    let vendor = |(name, (from, until)): (&'static str, (u64, u64))| {
        let fails = (AtomicU64::new(from), AtomicU64::new(until));
        Arc::new(Vendor { name, began: Instant::now(), fails, calls: AtomicUsize::new(0) })
    };
    let vendors: Vec<_> = ["a/a", "b/b", "c/c"].into_iter().zip(fails).map(vendor).collect();
    let lanes = vendors.iter().map(|vendor| Lane::new(Model::new(Shared(vendor.clone())))).collect();
    let (settings, notes) = reporting(suspends);
    (Spreading::new(lanes, settings), vendors, notes)
}

async fn ask(spread: &Spreading, cx: &Context) -> Result<String, ErrorKind> {
    let answer = spread.run(Prompt::from("hi"), cx).await;
    answer.map(|message| message.text()).map_err(|error| error.kind())
}

const SUSPENDED: &str = "a/a is suspended, its provider is failing: status 502: Bad Gateway";
const RECOVERED: &str = "a/a has recovered";

#[tokio::test(start_paused = true)]
async fn a_failing_lane_is_probed_and_recovers() {
    let (spread, vendors, received) = of([(0, 100), (0, 0)], true);
    let cx = Context::new();
    for second in 0..200 {
        let answer = ask(&spread, &cx).await.unwrap();
        assert!(second >= 100 || answer == "b/b", "{second}");
        sleep(Duration::from_secs(1)).await;
    }
    // The first call, probes 3, 6, 12, 24, 30 and 30 s after each other, and then half of the calls.
    let calls = vendors[0].calls.load(Ordering::Relaxed);
    assert!((45..=60).contains(&calls), "{calls}");
    assert_eq!(received.take(), [SUSPENDED, RECOVERED]);
}

#[tokio::test(start_paused = true)]
async fn only_one_call_at_a_time_is_a_probe() {
    let (spread, vendors, _received) = of([(0, 100), (0, 0)], true);
    let cx = Context::new();
    let _ = ask(&spread, &cx).await;
    let _ = ask(&spread, &cx).await;
    assert_eq!(vendors[0].calls.load(Ordering::Relaxed), 1);
    sleep(Duration::from_secs(3)).await;
    let calls = (0..50).map(|_| ask(&spread, &cx));
    for answer in futures::future::join_all(calls).await {
        assert_eq!(answer.unwrap(), "b/b");
    }
    assert_eq!(vendors[0].calls.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn when_all_lanes_fail_the_first_to_recover_answers() {
    for (fails, wanted, from) in [([(0, 60), (0, 20)], "b/b", 20), ([(0, 20), (0, 60)], "a/a", 20)] {
        let (spread, _, received) = of(fails, true);
        let began = Instant::now();
        assert_eq!(ask(&spread, &Context::new()).await.unwrap(), wanted);
        let took = began.elapsed().as_secs();
        assert!((from..=from + 5).contains(&took), "{took}");
        assert_eq!(received.take().len(), 3, "two are suspended, and one has recovered");
        // The recovered lane takes the calls.
        assert_eq!(ask(&spread, &Context::new()).await.unwrap(), wanted);
        assert!(began.elapsed().as_secs() <= took);
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_lanes_fail_a_caller_with_another_model_gets_the_error_immediately() {
    let (spread, _, _received) = of([(0, 60), (0, 60)], true);
    let (cx, began) = (Context::new().with_alternatives(true), Instant::now());
    assert_eq!(ask(&spread, &cx).await, Err(ErrorKind::Unavailable));
    assert_eq!(began.elapsed().as_secs(), 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_probe_lets_another_call_probe() {
    let (spread, vendors, _received) = of([(0, 2), (0, 0)], true);
    let cx = Context::new();
    for _ in 0..2 {
        let _ = ask(&spread, &cx).await;
    }
    sleep(Duration::from_secs(3)).await;
    let probe = spread.0.lanes[0].try_probe().unwrap();
    assert!(spread.0.lanes[0].try_probe().is_none());
    drop(probe);
    assert_eq!(ask(&spread, &cx).await.unwrap(), "a/a");
    assert_eq!(vendors[0].calls.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn without_fallback_on_outage_calls_wait_for_their_lane() {
    let (spread, vendors, received) = of([(0, 60), (0, 0)], false);
    let began = Instant::now();
    let mut answers =
        [ask(&spread, &Context::new()).await.unwrap(), ask(&spread, &Context::new()).await.unwrap()];
    answers.sort();
    assert_eq!(answers, ["a/a", "b/b"]);
    assert_eq!(began.elapsed().as_secs(), 60);
    assert_eq!(vendors[0].calls.load(Ordering::Relaxed), 1);
    assert_eq!(received.take(), Vec::<String>::new());
}
