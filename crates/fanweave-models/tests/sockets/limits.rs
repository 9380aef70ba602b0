//! One account shared by several chains, in paused time and with a transport that responds immediately.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fanweave_core::{Chain, Context, Message, Model, Prompt, Result, Runnable, chain, step};
use fanweave_models::{Body, Client, HttpTransport, ModelBuilder, RateLimits, account_states};
use futures::future::{join_all, try_join_all};
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::{Instant, sleep};

/// Responds after `latency`, and records the time of each request.
#[derive(Clone, Default)]
struct Recorded {
    asked: Arc<Mutex<Vec<Instant>>>,
    latency: Duration,
}

impl HttpTransport for Recorded {
    async fn send(&self, _: Request<Bytes>) -> Result<Response<Body>> {
        self.asked.lock().unwrap().push(Instant::now());
        sleep(self.latency).await;
        let answer = r#"{"choices":[{"message":{"content":"ok"}}]}"#;
        Ok(Response::new(Body::new(Full::new(Bytes::from_static(answer.as_bytes())))))
    }
}

/// A model with this rate. 0: without a limit.
fn model(name: &str, transport: &Recorded, requests_per_minute: u32) -> Model {
    let mut limits = RateLimits::new();
    limits.requests_per_minute = NonZeroU32::new(requests_per_minute);
    let client = Client::builder().transport(transport.clone()).build().unwrap();
    let model = ModelBuilder::new(format!("vllm/{name}")).base_url("http://limits.test/v1").api_key("sk-one");
    model.client(client).limits(limits).build().unwrap()
}

/// Sends nine requests for each question: three times three.
fn nested(model: Model) -> Chain<Prompt, Message> {
    let three = move |inner: Chain<Prompt, Message>| {
        step(move |question: Prompt, cx: Context| {
            let inner = inner.clone();
            async move {
                let asked = (0..3).map(|_| inner.run(question.clone(), &cx));
                Ok(try_join_all(asked).await?.swap_remove(0))
            }
        })
    };
    three(three(chain(model)))
}

#[tokio::test(start_paused = true)]
async fn three_chains_with_one_key_obey_its_limit_in_total_however_deep_they_fan_out() {
    let transport = Recorded { latency: Duration::from_millis(300), ..Recorded::default() };
    // Three handles, each with a separate client: one account.
    let chains = [
        chain(model("shared", &transport, 1200)),
        nested(model("shared", &transport, 1200)),
        nested(model("shared", &transport, 1200)),
    ];
    let rows = || (0..20).map(|n| Prompt::from(format!("{n}")));
    let done = join_all(chains.iter().map(|chain| chain.batch(rows()).collect())).await;
    assert!(done.iter().flatten().all(Result::is_ok));

    let asked = transport.asked.lock().unwrap();
    assert_eq!(asked.len(), 20 + 180 + 180);
    // 20 per second, with a burst of one second's worth.
    for from in 0..asked.len() {
        for to in from..asked.len() {
            let window = asked[to].duration_since(asked[from]).as_secs_f64();
            assert!((to - from + 1) as f64 <= 20.0 * window + 20.0 + 1e-6, "{} in {window} s", to - from + 1);
        }
    }
    let seconds = asked[379].duration_since(asked[0]).as_secs_f64();
    assert!(seconds < 1.05 * (380.0 - 20.0) / 20.0, "{seconds} s");
    let state = account_states().into_iter().find(|account| account.model == "shared").unwrap();
    assert_eq!((state.requests, state.in_flight, state.waiting), (380, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_one_account_hold_no_run_permit_needed_for_another() {
    let transport = Recorded { latency: Duration::from_millis(100), ..Recorded::default() };
    let (slow, free) = (model("slow", &transport, 1), model("free", &transport, 0));
    let cx = Context::new().with_concurrency(2);
    let began = Instant::now();
    let ask = async |model: &Model, n: usize| {
        join_all((0..n).map(|_| model.run("x".into(), &cx))).await;
        began.elapsed()
    };
    let (late, early) = tokio::join!(ask(&slow, 4), ask(&free, 10));
    assert!(early < Duration::from_secs(1), "the free account waited {early:?}");
    assert!(late > Duration::from_secs(180), "the slow one was not limited: {late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_with_one_permit_does_not_block_the_queue_for_other_runs() {
    let transport = Recorded { latency: Duration::from_secs(20), ..Recorded::default() };
    let model = model("busy", &transport, 60);
    let narrow = Context::new().with_concurrency(1);
    let began = Instant::now();
    let narrow_calls = join_all((0..5).map(|_| model.run("x".into(), &narrow)));
    let cx = Context::new();
    let wide = async {
        join_all((0..10).map(|_| model.run("x".into(), &cx))).await;
        began.elapsed()
    };
    let (_, wide) = tokio::join!(narrow_calls, wide);
    assert!(wide < Duration::from_secs(36), "ten calls at one a second took {wide:?}");
    assert!(began.elapsed() >= Duration::from_secs(100), "one permit: one after the other");
}
