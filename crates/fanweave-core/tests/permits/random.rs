//! Random compositions, in virtual time and on several threads.

use std::time::Duration;

use crate::plan::Plan;
use crate::{ends, limited};

/// Random compositions that run unless `FANWEAVE_PERMIT_RUNS` is set.
const RUNS: u64 = 2_000;

fn runs() -> u64 {
    std::env::var("FANWEAVE_PERMIT_RUNS").ok().and_then(|n| n.parse().ok()).unwrap_or(RUNS)
}

#[tokio::test(start_paused = true)]
async fn random_compositions_end() {
    for seed in 0..runs() {
        let mut random = fastrand::Rng::with_seed(seed);
        let n = random.usize(1..=3);
        let plan = Plan::random(&mut random, 3);
        let (cx, load) = limited(n);
        let what = format!("seed {seed}, concurrency {n}: {plan:?}");
        let work = plan.run(load.clone(), cx.clone());
        if random.u32(0..4) == 0 {
            // Dropped half-way, wherever that is.
            let left = tokio::time::timeout(Duration::from_millis(random.u64(0..600)), work);
            ends(&what, n, &cx, &load, async { _ = left.await }).await;
        } else {
            ends(&what, n, &cx, &load, work).await;
        }
    }
}
