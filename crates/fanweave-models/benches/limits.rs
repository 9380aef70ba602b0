//! Measures how close calls come to the limits of an account, in real time and over sockets, and the cost of
//! waiting.
//!
//!     cargo bench -p fanweave-models --bench limits
//!
//! The bound is the minimum time in which the limits admit all calls: `(n - burst) / rate`, or the sum of
//! latencies divided by the concurrency. The simulated provider enforces a limit per minute by the second.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanweave_core::Result;
use fanweave_models::{Body, Client, HttpTransport, ModelBuilder, RateLimits, account_states};
use fanweave_sim::{Latency, Server as Sim, Settings};
use http::{Request, Response};
use http_body_util::Full;
use nix::sys::resource::{UsageWho, getrusage};
use tokio::task::JoinSet;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("{:<44} {:>7} {:>7} {:>6} {:>10} {:>5}", "", "seconds", "bound", "ratio", "rejected", "lost");
    runtime.block_on(async {
        let rpm = Settings { rpm: Some(900), latency: latency(200), ..Settings::default() };
        let own = RateLimits::new().requests_per_minute(const { NonZeroU32::new(900).expect("not 0") });
        paced("900 requests per minute, set by the caller", 600, &rpm, own).await;
        paced("900 requests per minute, named by headers", 600, &rpm, RateLimits::default()).await;
        let tpm = Settings { tpm: Some(240_000), latency: latency(200), ..Settings::default() };
        let own = RateLimits::new().tokens_per_minute(const { NonZeroU32::new(240_000).expect("not 0") });
        paced("240,000 tokens per minute, set by the caller", 800, &tpm, own).await;
        paced("240,000 tokens per minute, named by headers", 800, &tpm, RateLimits::default()).await;
        let full = Settings { max_in_flight: Some(16), latency: latency(250), ..Settings::default() };
        paced("16 concurrent requests, unnamed", 1000, &full, RateLimits::default()).await;
        waiting().await;
    });
}

fn latency(milliseconds: u64) -> Latency {
    Latency::Fixed(Duration::from_millis(milliseconds))
}

/// Calls a simulated provider as fast as it allows.
async fn paced(name: &str, n: u32, settings: &Settings, own: RateLimits) {
    let sim = Sim::start(settings.clone()).expect("a free port");
    let model = ModelBuilder::new("openai/echo").base_url(sim.base_url()).api_key("sk-bench").limits(own);
    let model = model.build().expect("a model");
    let began = Instant::now();
    let mut calls = JoinSet::new();
    for i in 0..n {
        let model = model.clone();
        let prompt = format!("{i} {}", "word ".repeat(20 + i as usize * 7 % 60));
        calls.spawn(async move { model.invoke(prompt.as_str()).await });
    }
    let results = calls.join_all().await;
    let seconds = began.elapsed().as_secs_f64();
    let replies = results.iter().flatten().filter_map(|message| message.reply.as_ref());
    let tokens: u64 = replies.map(|reply| reply.usage.total_tokens()).sum();
    let time = |amount: f64, a_minute: Option<u32>| {
        a_minute.map_or(0.0, |limit| (amount - f64::from(limit) / 60.0) / (f64::from(limit) / 60.0))
    };
    let rest = settings.max_in_flight.map_or(0.0, |max| 0.25 * f64::from(n) / max as f64);
    let bound = time(f64::from(n), settings.rpm).max(time(tokens as f64, settings.tpm)).max(rest);
    let requests = sim.stats().requests;
    let lost = results.iter().filter(|result| result.is_err()).count();
    println!(
        "{name:<44} {seconds:>7.2} {bound:>7.2} {:>6.3} {:>5}/{requests:<4} {lost:>5}",
        seconds / bound,
        requests - u64::from(n),
    );
}

/// Responds immediately.
struct AtOnce;

impl HttpTransport for AtOnce {
    async fn send(&self, _: Request<Bytes>) -> Result<Response<Body>> {
        let answer =
            r#"{"choices":[{"message":{"content":"ok"}}],"usage":{"prompt_tokens":9,"completion_tokens":1}}"#;
        Ok(Response::new(Body::new(Full::new(Bytes::from_static(answer.as_bytes())))))
    }
}

/// Measures the cost of 100,000 calls that wait for a limit.
async fn waiting() {
    const CALLS: usize = 100_000;
    const LOOK: Duration = Duration::from_secs(20);
    let client = Client::builder().transport(AtOnce).build().expect("a client");
    let limits = RateLimits::new()
        .requests_per_minute(const { NonZeroU32::new(6_000).expect("not 0") })
        .concurrency(const { NonZeroUsize::new(64).expect("not 0") });
    let model = ModelBuilder::new("vllm/waiting").base_url("http://at.once/v1").client(client).limits(limits);
    let model = Arc::new(model.build().expect("a model"));
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let model = model.clone();
        calls.spawn(async move { model.invoke("Are we there yet?").await });
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (cpu_before, sent_before) = (cpu(), sent());
    tokio::time::sleep(LOOK).await;
    println!(
        "\n100,000 queued calls at 6,000 requests per minute: {} sent in {} s, {:.2} CPU s a minute",
        sent() - sent_before,
        LOOK.as_secs(),
        (cpu() - cpu_before) * 60.0 / LOOK.as_secs_f64()
    );
}

fn sent() -> u64 {
    account_states().iter().filter(|account| account.model == "waiting").map(|account| account.requests).sum()
}

/// CPU seconds used by this process.
fn cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the system reports usage");
    [usage.user_time(), usage.system_time()]
        .map(|time| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6)
        .iter()
        .sum()
}
