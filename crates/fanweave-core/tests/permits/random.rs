//! Random compositions, in virtual time and on several threads.

use std::sync::Arc;
use std::time::Duration;

use fanweave_core::model::fake::Load;

use crate::plan::{MakeModels, Plan};
use crate::{ends, ends_within, fakes, limited};

/// Number of random compositions unless `FANWEAVE_PERMIT_RUNS` is set.
const RUNS: u64 = 2_000;

fn runs() -> u64 {
    std::env::var("FANWEAVE_PERMIT_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(RUNS)
}

fn counted_in(load: &Load) -> MakeModels {
    let load = load.clone();
    Arc::new(move |latency, per_word| fakes::models_with(&load, latency, per_word))
}

#[tokio::test(start_paused = true)]
async fn random_compositions_end() {
    for seed in 0..runs() {
        let mut random = fastrand::Rng::with_seed(seed);
        let n = random.usize(1..=3);
        let plan = Plan::random(&mut random, 3, Duration::from_millis(50));
        let (cx, load) = limited(n);
        let what = format!("seed {seed}, concurrency {n}: {plan:?}");
        let work = plan.run(counted_in(&load), cx.clone());
        if random.u32(0..4) == 0 {
            // Dropped half-way, at any point.
            let left = tokio::time::timeout(Duration::from_millis(random.u64(0..600)), work);
            ends(&what, n, &cx, &load, async { _ = left.await }).await;
        } else {
            ends(&what, n, &cx, &load, work).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_compositions_on_several_threads_end() {
    for seed in 0..runs() / 10 {
        let mut random = fastrand::Rng::with_seed(!seed);
        let n = random.usize(1..=3);
        let plan = Plan::random(&mut random, 3, Duration::ZERO);
        let (cx, load) = limited(n);
        let what = format!("seed {seed}, concurrency {n}: {plan:?}");
        let work = plan.run(counted_in(&load), cx.clone());
        ends_within(Duration::from_secs(60), &what, n, &cx, &load, work).await;
    }
}
