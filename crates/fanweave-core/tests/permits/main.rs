//! No permit is held by a future that depends on its caller to be polled: every verb within every other ends,
//! at every concurrency.
//!
//! Time is paused, so a deadlock advances the clock to the watchdog. `FANWEAVE_PERMIT_RUNS` sets the number
//! of random compositions. Default 2,000.

mod buffer;
mod fakes;
mod outsiders;
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

/// Virtual time after which a run counts as hung. Runs that end take seconds.
const HANG: Duration = Duration::from_secs(30 * 60);

/// A context with a limit on its calls, and the count of those in flight.
fn limited(n: usize) -> (Context, Load) {
    let n = NonZeroUsize::new(n).expect("at least one call");
    (Context::new().with_concurrency(n), Load::default())
}

/// Runs `work` under the watchdog, and checks that it kept its limit and that all permits are free in the
/// end.
async fn ends(what: &str, n: usize, cx: &Context, load: &Load, work: impl Future<Output = ()>) {
    ends_within(HANG, what, n, cx, load, work).await;
}

async fn ends_within(
    hang: Duration,
    what: &str,
    n: usize,
    cx: &Context,
    load: &Load,
    work: impl Future<Output = ()>,
) {
    let ended = tokio::time::timeout(hang, work).await;
    assert!(ended.is_ok(), "hangs: {what}");
    let allowed = n + usize::try_from(cx.over_limit()).expect("a small count");
    assert!(load.max_in_flight() <= allowed, "{} in flight, {allowed} allowed: {what}", load.max_in_flight());
    let is_free = || (0..n).map_while(|_| cx.try_permit()).collect::<Vec<_>>().len() == n;
    // Tasks whose owners were dropped end at their next poll.
    for _ in 0..1000 {
        if load.in_flight() == 0 && is_free() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("{} in flight, permits free: {}, in the end: {what}", load.in_flight(), is_free());
}
