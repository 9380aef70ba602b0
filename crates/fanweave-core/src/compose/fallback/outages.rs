//! Fallbacks during outages.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{
    Chain, ChatModel, Context, Delta, Error, ErrorKind, Message, Model, Prompt, Result, chain, step, text,
};

/// A model whose provider fails until `until`, with the same errors as the transport.
struct Failing {
    name: &'static str,
    until: Instant,
    /// The time it waits for the end.
    outage_timeout: Duration,
    calls: Arc<AtomicUsize>,
}

impl ChatModel for Failing {
    fn name(&self) -> &str {
        self.name
    }

    async fn generate(&self, _: Prompt, cx: &Context) -> Result<Message> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let gives_up = Instant::now() + self.outage_timeout;
        if Instant::now() < self.until && (cx.has_alternatives() || gives_up < self.until) {
            if !cx.has_alternatives() {
                sleep_until(gives_up).await;
            }
            let cause = Error::new(ErrorKind::Server, "Bad Gateway").with_status(502);
            return Err(Error::new(ErrorKind::Unavailable, "the provider is failing").with_source(cause));
        }
        tokio::select! {
            () = sleep_until(self.until) => {}
            error = cx.draining() => return Err(error),
        }
        for delta in ["from ", self.name] {
            cx.delta(Delta::text(delta)).await;
            sleep(Duration::from_millis(100)).await;
        }
        Ok(Message::assistant(format!("from {}", self.name)))
    }
}

fn failing(name: &'static str, seconds: u64) -> (Chain<Prompt, Message>, Arc<AtomicUsize>) {
    let calls = Arc::<AtomicUsize>::default();
    let until = Instant::now() + Duration::from_secs(seconds);
    let model = Failing { name, until, outage_timeout: Duration::from_secs(600), calls: calls.clone() };
    (chain(Model::new(model)), calls)
}

/// Runs a chain over models that fail for the given seconds each. Returns the answer and the elapsed seconds.
async fn answer_of<const N: usize>(seconds: [u64; N]) -> (String, u64) {
    let names = ["first", "second", "third"];
    let mut models = names.into_iter().zip(seconds).map(|(name, seconds)| failing(name, seconds).0);
    let chain = models.next().unwrap().fallback(models) | text();
    let began = Instant::now();
    (chain.invoke("x").await.unwrap(), began.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn only_the_last_model_waits_for_the_end_of_its_outage() {
    assert_eq!(answer_of([0, 0]).await, ("from first".to_owned(), 0));
    assert_eq!(answer_of([60, 0]).await, ("from second".to_owned(), 0));
    assert_eq!(answer_of([60, 60, 0]).await, ("from third".to_owned(), 0));
    assert_eq!(answer_of([90]).await, ("from first".to_owned(), 90), "it has no other");
}

#[tokio::test(start_paused = true)]
async fn if_all_are_unavailable_the_first_to_recover_answers() {
    assert_eq!(answer_of([60, 20]).await, ("from second".to_owned(), 20));
    let (answer, took) = answer_of([20, 60]).await;
    assert_eq!(answer, "from first");
    assert!((20..=25).contains(&took), "{took}");
    let (answer, took) = answer_of([60, 20, 300]).await;
    assert_eq!(answer, "from second");
    assert!((20..=25).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn the_others_are_retried_every_few_seconds() {
    let ((first, first_calls), (last, last_calls)) = (failing("first", 1_000), failing("last", 100));
    first.fallback([last]).invoke("x").await.unwrap();
    // Retried after 1, 2, 4 and then every 5 seconds.
    assert_eq!((first_calls.load(Ordering::SeqCst), last_calls.load(Ordering::SeqCst)), (1 + 3 + 18, 2));
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_the_deltas_of_one_answer() {
    for (first, last) in [(20, 60), (60, 20), (22, 22), (17, 17), (20, 21), (21, 22)] {
        let chain = failing("first", first).0.fallback([failing("last", last).0]);
        let run = chain.stream("x");
        let deltas: Vec<_> = run.map(|delta| delta.unwrap().to_string()).collect().await;
        assert_eq!(deltas[0], "from ", "{deltas:?}");
        assert!(deltas.len() == 2 && ["first", "last"].contains(&deltas[1].as_str()), "{deltas:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_error_of_an_outage_is_unavailable_with_the_failure_behind_it() {
    let began = Instant::now();
    let chain = failing("first", 10_000).0.fallback([failing("last", 10_000).0]);
    let error = chain.invoke("x").await.unwrap_err();
    assert_eq!((error.kind(), began.elapsed().as_secs()), (ErrorKind::Unavailable, 600));
    let last = std::error::Error::source(&error).unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!(std::error::Error::source(last).unwrap().to_string(), "status 502: Bad Gateway");
}

#[tokio::test(start_paused = true)]
async fn a_fallback_within_a_fallback_leaves_the_wait_to_the_outer_one() {
    let inner = failing("a", 60).0.fallback([failing("b", 60).0]);
    let chain = inner.fallback([failing("c", 0).0]) | text();
    let began = Instant::now();
    assert_eq!((chain.invoke("x").await.unwrap().as_str(), began.elapsed().as_secs()), ("from c", 0));
}

#[tokio::test(start_paused = true)]
async fn a_run_that_winds_down_ends_the_wait() {
    let drain = crate::context::CancellationToken::new();
    let cx = Context::new().with_draining(drain.clone());
    let chain = failing("first", 60).0.fallback([failing("last", 60).0]);
    let began = Instant::now();
    let stopping = async {
        sleep(Duration::from_secs(7)).await;
        drain.cancel();
    };
    let (done, ()) = tokio::join!(chain.invoke_in(Prompt::from("x"), &cx), stopping);
    assert_eq!((done.unwrap_err().kind(), began.elapsed().as_secs()), (ErrorKind::Cancelled, 7));
}

#[tokio::test(start_paused = true)]
async fn without_a_fallback_for_it_an_outage_is_waited_for_or_returned() {
    let began = Instant::now();
    let holding = failing("first", 60).0.fallback_except_outages([failing("last", 0).0]) | text();
    assert_eq!((holding.invoke("x").await.unwrap().as_str(), began.elapsed().as_secs()), ("from first", 60));

    // The failure that caused the outage decides.
    let retryable = failing("first", 60).0.fallback_if([failing("last", 0).0], Error::is_retryable) | text();
    assert_eq!(retryable.invoke("x").await.unwrap(), "from last");
    let rate_limits = |error: &Error| error.kind() == ErrorKind::RateLimited;
    let began = Instant::now();
    let busy = failing("first", 60).0.fallback_if([failing("last", 0).0], rate_limits) | text();
    assert_eq!((busy.invoke("x").await.unwrap().as_str(), began.elapsed().as_secs()), ("from first", 60));
    let down = failing("first", 6_000).0.fallback_if([failing("last", 0).0], rate_limits);
    assert_eq!(down.invoke("x").await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn one_that_recovers_and_rejects_is_not_retried() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let refuses = step(move |_: Prompt, _| {
        let kind = match counted.fetch_add(1, Ordering::SeqCst) {
            0 => ErrorKind::Unavailable,
            _ => ErrorKind::BadRequest,
        };
        async move { Err::<Message, _>(Error::new(kind, "no")) }
    });
    let (last, _) = failing("last", 60);
    assert_eq!(refuses.fallback([last]).invoke("x").await.unwrap().text(), "from last");
    assert_eq!(calls.load(Ordering::SeqCst), 2);
}
