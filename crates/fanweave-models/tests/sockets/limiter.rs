//! Limiters of other crates, and separate sets of accounts, in paused time.

use std::future::Future;
use std::num::{NonZeroU32, NonZeroUsize};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fanweave_core::{Context, Error, ErrorKind, Model, Prompt, Result, chain};
use fanweave_models::{
    Accounts, Body, Client, HttpTransport, LimitedRequest, Limiter, LimiterPermit, ModelBuilder, RateLimits,
    RequestOutcome, account_states,
};
use futures::StreamExt;
use http::{Request, Response};
use http_body_util::Full;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);
const ANSWER: &str =
    r#"{"choices":[{"message":{"content":"ok"}}],"usage":{"prompt_tokens":7,"completion_tokens":2}}"#;

/// Responds to the nth request after a time, with a status and a body.
#[derive(Clone)]
struct Scripted(Arc<dyn Fn(usize) -> (Duration, u16, &'static str) + Send + Sync>, Arc<AtomicUsize>);

impl Scripted {
    fn new(script: impl Fn(usize) -> (Duration, u16, &'static str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(script), Arc::default())
    }

    fn after(latency: Duration) -> Self {
        Self::new(move |_| (latency, 200, ANSWER))
    }

    fn model(&self, name: &str) -> ModelBuilder {
        let client = Client::builder().transport(self.clone()).build().unwrap();
        ModelBuilder::new(format!("vllm/{name}")).base_url("http://limiter.test/v1").client(client)
    }
}

impl HttpTransport for Scripted {
    async fn send(&self, _: Request<Bytes>) -> Result<Response<Body>> {
        let (latency, status, body) = (self.0)(self.1.fetch_add(1, Ordering::SeqCst));
        sleep(latency).await;
        let media_type = if body.starts_with("data:") { "text/event-stream" } else { "application/json" };
        let response = Response::builder().status(status).header("content-type", media_type);
        Ok(response.body(Body::new(Full::new(Bytes::from_static(body.as_bytes())))).unwrap())
    }
}

/// Gives this many permits at once, and records the ends of requests.
struct Permits {
    free: Mutex<usize>,
    freed: Notify,
    asked: Mutex<Vec<LimitedRequest>>,
    ends: Mutex<Vec<String>>,
}

impl Permits {
    fn new(free: usize) -> Arc<Self> {
        let (asked, ends) = (Mutex::default(), Mutex::default());
        Arc::new(Self { free: Mutex::new(free), freed: Notify::new(), asked, ends })
    }

    fn add(&self, permits: usize) {
        *self.free.lock().unwrap() += permits;
        self.freed.notify_waiters();
    }

    fn ends(&self) -> Vec<String> {
        std::mem::take(&mut *self.ends.lock().unwrap())
    }
}

/// The handle that a model has.
struct Shared(Arc<Permits>);

impl Limiter for Shared {
    fn try_admit(&self, request: &LimitedRequest) -> Option<LimiterPermit> {
        let mut free = self.0.free.lock().unwrap();
        *free = free.checked_sub(1)?;
        self.0.asked.lock().unwrap().push(request.clone());
        let permits = self.0.clone();
        Some(LimiterPermit::new(move |end| {
            let end = match end {
                RequestOutcome::Succeeded(usage) => {
                    format!("succeeded {}", usage.map_or(0, |usage| usage.total_tokens()))
                }
                RequestOutcome::Failed(error) => format!("failed {}", error.kind()),
                RequestOutcome::Abandoned => "abandoned".to_owned(),
                _ => "not sent".to_owned(),
            };
            permits.ends.lock().unwrap().push(end);
            permits.add(1);
        }))
    }

    fn ready<'a>(&'a self, _: &'a LimitedRequest) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async {
            let freed = self.0.freed.notified();
            if *self.0.free.lock().unwrap() == 0 {
                freed.await;
            }
            Ok(())
        })
    }
}

fn limited(model: ModelBuilder, permits: &Arc<Permits>) -> Model {
    model.limiter(Arc::new(Shared(permits.clone()))).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_injected_limiter_is_asked_for_every_attempt_and_told_its_end() {
    let flaky = Scripted::new(|n| match n {
        0 => (SECOND, 500, "{}"),
        1 => (SECOND, 200, ANSWER),
        _ => (SECOND, 401, "{}"),
    });
    let permits = Permits::new(8);
    let model = limited(flaky.model("attempts"), &permits);
    model.invoke("Hello!").await.unwrap();
    assert_eq!(permits.ends(), ["failed server", "succeeded 9"]);
    model.invoke("Hello!").await.unwrap_err();
    assert_eq!(permits.ends(), ["failed authentication"]);
    let asked = permits.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 3);
    assert_eq!((asked[0].base_url.as_str(), asked[0].model.as_str()), ("http://limiter.test/v1", "attempts"));
    assert!(asked[0].input_tokens > 0);
    // A call that is dropped.
    let hangs = limited(Scripted::after(SECOND * 50).model("attempts"), &permits);
    timeout(SECOND, hangs.invoke("Hello!")).await.unwrap_err();
    tokio::task::yield_now().await;
    assert_eq!(permits.ends(), ["abandoned"]);
    assert_eq!(*permits.free.lock().unwrap(), 8);
}

#[tokio::test(start_paused = true)]
async fn an_injected_limiter_is_asked_for_a_hedged_request_and_may_refuse_it() {
    for (extra, sent) in [(1, 42), (0, 41)] {
        let slow = Scripted::new(|n| (if n == 40 { SECOND * 60 } else { SECOND / 10 }, 200, ANSWER));
        let permits = Permits::new(1 + extra);
        let model = limited(slow.model("hedge").accounts(Accounts::new()), &permits);
        let cx = Context::new().with_hedging(true);
        for _ in 0..41 {
            chain(model.clone()).invoke_in(Prompt::from("Hello!"), &cx).await.unwrap();
        }
        assert_eq!(slow.1.load(Ordering::SeqCst), sent);
        assert_eq!(permits.asked.lock().unwrap().len(), sent);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_limiter_holds_no_permit_of_its_account_or_run() {
    let server = Scripted::after(SECOND);
    let limits = RateLimits::new().concurrency(NonZeroUsize::MIN);
    let (accounts, permits) = (Accounts::new(), Permits::new(0));
    let free = server.model("one").accounts(accounts.clone()).limits(limits).build().unwrap();
    let refused = limited(server.model("one").accounts(accounts.clone()), &permits);
    let cx = Context::new().with_concurrency(1);
    let (refused, free) = (chain(refused), chain(free));
    let mut waits = std::pin::pin!(refused.invoke_in("first", &cx));
    assert!(timeout(SECOND, waits.as_mut()).await.is_err());
    // The account and the run have a single permit each.
    timeout(SECOND * 2, free.invoke_in("second", &cx)).await.unwrap().unwrap();
    assert!(timeout(SECOND, waits.as_mut()).await.is_err());
    assert_eq!(accounts.states()[0].in_flight, 0);
    permits.add(1);
    timeout(SECOND * 2, waits).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_account_holds_no_permit_of_the_limiter() {
    let (slow, quick) = (Scripted::after(SECOND * 30), Scripted::after(SECOND));
    let limits = RateLimits::new().concurrency(NonZeroUsize::MIN);
    let (accounts, permits) = (Accounts::new(), Permits::new(1));
    let holder = slow.model("full").accounts(accounts.clone()).limits(limits).build().unwrap();
    let waiting = limited(slow.model("full").accounts(accounts.clone()), &permits);
    let other = limited(quick.model("other").accounts(accounts.clone()), &permits);
    let holds = tokio::spawn(async move { holder.invoke("first").await });
    sleep(SECOND).await;
    let waits = tokio::spawn(async move { waiting.invoke("second").await });
    sleep(SECOND).await;
    timeout(SECOND * 3, other.invoke("third")).await.unwrap().unwrap();
    assert_eq!(permits.ends().last().unwrap(), "succeeded 9");
    holds.await.unwrap().unwrap();
    waits.await.unwrap().unwrap();
    assert_eq!(*permits.free.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_read_gives_its_permit_of_the_limiter_up() {
    const CHUNK: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
    let body: &'static str = format!("{}data: [DONE]\n\n", CHUNK.repeat(100_000)).leak();
    let server = Scripted::new(move |n| (SECOND, 200, if n == 0 { body } else { ANSWER }));
    let permits = Permits::new(1);
    let model = limited(server.model("stream").accounts(Accounts::new()), &permits);
    let mut open = chain(model.clone()).stream("first");
    open.next().await.unwrap().unwrap();
    // The reader does something else.
    timeout(SECOND * 20, model.invoke("second")).await.unwrap().unwrap();
    assert_eq!(open.filter(|delta| std::future::ready(delta.is_ok())).count().await, 99_999);
}

#[tokio::test(start_paused = true)]
async fn a_limiter_that_fails_ends_the_call_and_one_that_never_knows_is_asked_at_intervals() {
    struct Failing;

    impl Limiter for Failing {
        fn try_admit(&self, _: &LimitedRequest) -> Option<LimiterPermit> {
            None
        }

        fn ready<'a>(
            &'a self,
            _: &'a LimitedRequest,
        ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
            Box::pin(async { Err(Error::new(ErrorKind::Config, "the limiter is gone")) })
        }
    }

    #[derive(Default)]
    struct Unaware(AtomicUsize);

    impl Limiter for Unaware {
        fn try_admit(&self, _: &LimitedRequest) -> Option<LimiterPermit> {
            (self.0.fetch_add(1, Ordering::SeqCst) >= 100).then(|| LimiterPermit::new(|_| {}))
        }

        fn ready<'a>(
            &'a self,
            _: &'a LimitedRequest,
        ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
            Box::pin(std::future::ready(Ok(())))
        }
    }

    let server = Scripted::after(Duration::ZERO);
    let failing = server.model("fails").limiter(Arc::new(Failing)).build().unwrap();
    let error = failing.invoke("Hello!").await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Config, "the limiter is gone"));
    let began = Instant::now();
    let unaware = server.model("unaware").limiter(Arc::new(Unaware::default())).build().unwrap();
    unaware.invoke("Hello!").await.unwrap();
    let waited = began.elapsed();
    assert!(waited >= SECOND * 98 / 100 && waited < SECOND * 2, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn two_sets_of_accounts_do_not_share_limits() {
    let server = Scripted::after(Duration::ZERO);
    let limits = RateLimits::new().requests_per_minute(NonZeroU32::MIN);
    let [first, second] = [Accounts::new(), Accounts::new()];
    let model =
        |accounts: &Accounts| server.model("sets").limits(limits).accounts(accounts.clone()).build().unwrap();
    let began = Instant::now();
    for accounts in [&first, &second] {
        model(accounts).invoke("Hello!").await.unwrap();
    }
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    // Within a set, the second call waits for its minute.
    model(&first).invoke("Hello!").await.unwrap();
    assert!(began.elapsed() > SECOND * 50, "{:?}", began.elapsed());
    let requests =
        |accounts: &Accounts| accounts.states().iter().map(|account| account.requests).sum::<u64>();
    assert_eq!((requests(&first), requests(&second)), (2, 1));
    assert!(account_states().iter().all(|account| account.model != "sets"));
}
