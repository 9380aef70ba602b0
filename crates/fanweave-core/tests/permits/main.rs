//! No permit is held by a future that somebody else has to poll: every verb within every other ends, at every concurrency.
//!
//! Time is paused, so a deadlock advances the clock to the watchdog. `FANWEAVE_PERMIT_RUNS` sets how many random
//! compositions run: 2,000 unless it is set.

mod buffer;
mod pairs;
mod plan;
mod random;
mod styles;
mod verbs;

use std::future::Future;
use std::num::NonZeroUsize;
use std::time::Duration;

use fanweave_core::Context;
use fanweave_core::model::fake::Load;

/// Virtual time after which a run counts as hung. Those that end take seconds.
const HANG: Duration = Duration::from_secs(30 * 60);

/// A context whose calls are limited, with the count of those in flight.
fn limited(n: usize) -> (Context, Load) {
    let n = NonZeroUsize::new(n).expect("at least one call");
    (Context::new().with_concurrency(n), Load::default())
}

/// Runs `work` under the watchdog, and checks that it held to its limit and that all permits are free in the end.
async fn ends(what: &str, n: usize, cx: &Context, load: &Load, work: impl Future<Output = ()>) {
    let ended = tokio::time::timeout(HANG, work).await;
    assert!(ended.is_ok(), "hangs: {what}");
    let allowed = n + usize::try_from(cx.over_limit()).expect("a small count");
    assert!(load.max_in_flight() <= allowed, "{} in flight, {allowed} allowed: {what}", load.max_in_flight());
    // Tasks whose owners were dropped end with their next turn.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(load.in_flight(), 0, "left in flight: {what}");
    let permits: Vec<_> = (0..n).map_while(|_| cx.try_permit()).collect();
    assert_eq!(permits.len(), n, "permits lost: {what}");
}
