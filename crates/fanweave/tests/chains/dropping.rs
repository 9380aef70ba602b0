//! Dropping a run at any moment releases everything.

use std::num::NonZeroUsize;
use std::time::Duration;

use fanweave::models::RateLimits;
use fanweave::{Chain, Context, Vars, parallel, prompt, text, vars};
use fanweave_sim::{Latency, Settings};
use futures::StreamExt;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

use crate::provider::Provider;

/// A reproducible sequence of numbers below `n`.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_stream_a_batch_or_a_run_at_a_random_moment_releases_everything() {
    let latency = Latency::LogNormal { median: Duration::from_millis(3), sigma: 1.0 };
    let chunk_delay = Duration::from_millis(1);
    let provider = Provider::start(Settings { latency, chunk_delay, error_rate: 0.1, ..Settings::default() });
    let tasks_before = Handle::current().metrics().num_alive_tasks();
    let max = NonZeroUsize::new(4).unwrap();
    let cx = Context::new().with_concurrency(max);
    {
        let limits = RateLimits::new().concurrency(max);
        let model = provider.model("echo").limits(limits).build().unwrap();
        let call: Chain<Vars, String> = prompt("one two three four {{ n }}") | &model | text();
        let both = parallel((call.clone(), call.clone()));
        let mut dice = Dice(7);
        for n in 0..1000u32 {
            let moment = Duration::from_micros(dice.below(12_000));
            match dice.below(4) {
                0 => _ = timeout(moment, call.invoke_in(vars! { n: n }, &cx)).await,
                1 => _ = timeout(moment, both.stream_in(vars! { n: n }, &cx).collect::<Vec<_>>()).await,
                2 => {
                    let rows = (0..6u32).map(|row| vars! { n: row });
                    let mut rows = both.batch(rows).within(cx.clone()).concurrency(3).as_completed();
                    let read = async { while rows.next().await.is_some() {} };
                    let _ = timeout(moment, read).await;
                }
                _ => {
                    let mut events = both.events_in(vars! { n: n }, &cx);
                    let read = async { while events.next().await.is_some() {} };
                    let _ = timeout(moment, read).await;
                }
            }
        }
        provider.until("the end of all requests", |stats| stats.in_flight == 0).await;
        // All permits of the run and of the account have been released: four concurrent calls get one each.
        let calls = futures::future::join_all((0..4u32).map(|n| call.invoke_in(vars! { n: n }, &cx)));
        let answers = timeout(Duration::from_secs(30), calls).await.expect("a permit was lost");
        assert_eq!(answers.len(), 4);
    }
    // Dropping the last handle of a client closes its connections.
    provider.until("the end of all connections", |stats| stats.connections_open == 0).await;
    let started = Instant::now();
    while Handle::current().metrics().num_alive_tasks() > tasks_before {
        assert!(started.elapsed().as_secs() < 10, "{} tasks", Handle::current().metrics().num_alive_tasks());
        sleep(Duration::from_millis(5)).await;
    }
}
