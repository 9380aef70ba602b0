//! Random rejections: they cost their own time, and no capacity.

use super::*;

/// Holds rows of `prompts` calls, `concurrency` at once, of which a share is refused at random, to the time
/// that the share makes necessary.
fn holds_at(prompts: usize, concurrency: usize, overloads: f64) {
    let own = RateLimits { concurrency: NonZeroUsize::new(concurrency), ..RateLimits::default() };
    let setup = Setup { prompts, overloads, own, says_limits: false, ..Setup::default() };
    for seed in [1, 2, 3] {
        fastrand::seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let outcome = runtime.expect("a runtime").block_on(run(&setup, seed));
        let name = format!("{prompts} at {concurrency}, {overloads} rejected, seed {seed}");
        let limit = 1.1 * outcome.bound / (1.0 - overloads) + 20.0;
        println!(
            "{name}: {:.1} s of {limit:.1} s, {} rejected, {} lost",
            outcome.seconds, outcome.refused, outcome.lost
        );
        assert!(
            outcome.refused as f64 >= prompts as f64 * overloads / 2.0,
            "{name}: {} rejected",
            outcome.refused
        );
        assert!(outcome.seconds <= limit, "{name}: {:.1} s, more than {limit:.1} s", outcome.seconds);
        let lost = prompts as f64 * overloads.powi(6);
        assert!(outcome.lost as f64 <= lost + 4.0 * lost.sqrt(), "{name}: {} lost", outcome.lost);
    }
}

#[test]
fn one_request_in_ten() {
    holds_at(300, 16, 0.1);
    holds_at(4000, 64, 0.1);
}

#[test]
fn three_requests_in_ten() {
    holds_at(300, 16, 0.3);
    holds_at(4000, 64, 0.3);
}

#[test]
fn every_second_request() {
    holds_at(300, 16, 0.5);
    holds_at(4000, 64, 0.5);
}
