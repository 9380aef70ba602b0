//! The fanweave client in a comparison of clients: many calls against a local server, one line of JSON.
//!
//! ```console
//! $ cargo build --release -p fanweave-models --example peer
//! $ target/release/examples/peer --n 5000 --concurrency 64 --mode batch --base-url http://127.0.0.1:8080/v1
//! ```
//!
//! CPU and memory are those of this process. `--mode` is `invoke` (sequential calls), `batch` or `stream` (at
//! most `--concurrency` calls in flight); `--warmup` calls are not measured. An answer that does not repeat
//! its prompt counts as misordered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fanweave_core::{Chain, Delta, Message, Model, Prompt, Result, chain};
use fanweave_models::{Client, ModelBuilder, RetryPolicy, Timeouts};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::json;
use tokio::task::JoinSet;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Invoke,
    Batch,
    Stream,
}

struct Arguments {
    n: usize,
    concurrency: usize,
    warmup: usize,
    mode: Mode,
    base_url: String,
}

impl Arguments {
    fn parse() -> Self {
        let (n, concurrency, warmup, mode) = (1, 1, 0, Mode::Invoke);
        let mut all = Self { n, concurrency, warmup, mode, base_url: String::new() };
        let mut words = std::env::args().skip(1);
        while let Some(flag) = words.next() {
            let value = words.next().unwrap_or_else(|| panic!("{flag} needs a value"));
            let number = || value.parse().unwrap_or_else(|_| panic!("{flag} needs a number"));
            match &*flag {
                "--n" => all.n = number(),
                "--concurrency" => all.concurrency = number(),
                "--warmup" => all.warmup = number(),
                "--base-url" => all.base_url = value,
                "--mode" => {
                    all.mode = match &*value {
                        "invoke" => Mode::Invoke,
                        "batch" => Mode::Batch,
                        "stream" => Mode::Stream,
                        _ => panic!("no mode {value}"),
                    }
                }
                _ => panic!("no flag {flag}"),
            }
        }
        all
    }
}

/// Results of calls.
#[derive(Default)]
struct Tally {
    ok: usize,
    misordered: usize,
    chunks: usize,
    errors: BTreeMap<String, usize>,
    /// End of the first call, in seconds of Unix time.
    first: Option<f64>,
}

impl Tally {
    fn add(&mut self, prompt: &str, result: Result<(Message, usize)>) {
        self.first.get_or_insert_with(unix_time);
        match result {
            Ok((message, chunks)) => {
                self.ok += 1;
                self.chunks += chunks;
                self.misordered += usize::from(!message.text().contains(prompt));
            }
            Err(error) => *self.errors.entry(error.to_string()).or_default() += 1,
        }
    }

    fn merge(&mut self, other: Self) {
        self.ok += other.ok;
        self.misordered += other.misordered;
        self.chunks += other.chunks;
        self.first = [self.first, other.first].into_iter().flatten().reduce(f64::min);
        for (error, count) in other.errors {
            *self.errors.entry(error).or_default() += count;
        }
    }
}

struct Bench {
    model: Model,
    chain: Chain<Prompt, Message>,
    mode: Mode,
}

impl Bench {
    async fn one(&self, prompt: &str) -> Result<(Message, usize)> {
        if self.mode != Mode::Stream {
            return Ok((self.model.invoke(prompt).await?, 1));
        }
        let mut run = self.chain.stream(prompt);
        let mut chunks = 0;
        while let Some(delta) = run.next().await {
            chunks += usize::from(matches!(delta?, Delta::Text { .. }));
        }
        Ok((run.output().await?, chunks))
    }

    /// Makes calls 0 to `n`, at most `concurrency` in flight.
    async fn all(self: Arc<Self>, n: usize, concurrency: usize) -> Tally {
        let next = Arc::new(AtomicUsize::new(0));
        let mut workers = JoinSet::new();
        for _ in 0..concurrency.min(n) {
            let (bench, next) = (self.clone(), next.clone());
            workers.spawn(async move {
                let mut tally = Tally::default();
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= n {
                        return tally;
                    }
                    let prompt = format!("item {i:06} please echo");
                    let result = bench.one(&prompt).await;
                    tally.add(&prompt, result);
                }
            });
        }
        let mut all = Tally::default();
        for tally in workers.join_all().await {
            all.merge(tally);
        }
        all
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { n, concurrency, warmup, mode, base_url } = Arguments::parse();
    // Thousands of concurrent connections to a server on the same two cores.
    let timeouts = Timeouts::default().connect(Duration::from_secs(60));
    let client = Client::builder().timeouts(timeouts).no_proxy().build()?;
    let model = ModelBuilder::new("openai/mock").base_url(base_url).api_key("sk-bench").client(client);
    let model = model.retry(RetryPolicy::never()).build()?;
    let bench = Arc::new(Bench { chain: chain(model.clone()), model, mode });

    bench.clone().all(warmup, 1).await;
    let (before, began, memory) = (cpu(), Instant::now(), peak_memory());
    let tally = bench.all(n, if mode == Mode::Invoke { 1 } else { concurrency }).await;
    let (wall, after) = (began.elapsed().as_secs_f64(), cpu());
    let name = match mode {
        Mode::Invoke => "invoke",
        Mode::Batch => "batch",
        Mode::Stream => "stream",
    };
    let line = json!({
        "client": "fanweave", "mode": name, "n": n, "c": concurrency, "wall_s": wall,
        "cpu_user_s": after.0 - before.0, "cpu_sys_s": after.1 - before.1,
        "max_rss_mb": peak_memory(), "base_rss_mb": memory,
        "ok": tally.ok, "failed": n - tally.ok, "misordered": tally.misordered, "chunks": tally.chunks,
        "first_done_unix": tally.first, "errors": tally.errors.into_iter().take(4).collect::<Vec<_>>(),
    });
    println!("{line}");
    Ok(())
}

/// CPU seconds of this process: user and system.
fn cpu() -> (f64, f64) {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may read its own usage");
    let seconds = |time: nix::sys::time::TimeVal| time.num_microseconds() as f64 / 1e6;
    (seconds(usage.user_time()), seconds(usage.system_time()))
}

/// Peak memory of this process, in MiB. 0 if the system does not report it.
fn peak_memory() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
    peak.unwrap_or(0.0) / 1024.0
}

fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}
