//! Request limits that a server enforces with 429 without describing them, for all ways of counting.

use std::collections::VecDeque;

use super::*;

/// Requests per minute, and the way in which the server counts them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) a_minute: f64,
    pub(super) kind: Kind,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A bucket that fills evenly and holds this many seconds' worth.
    Bucket { burst: f64 },
    /// Minutes of the clock.
    FixedWindow,
    /// The last minute.
    SlidingWindow,
}

/// Used part of a limit.
#[derive(Debug, Default)]
pub(super) struct Spent {
    /// Missing in the bucket, or used in the minute.
    amount: f64,
    at: f64,
    /// Time of each accepted request of the last minute.
    taken: VecDeque<f64>,
}

impl Limit {
    /// Minimum time for a number of requests, with `answered` answered per second.
    pub(super) fn min_seconds(self, prompts: usize, answered: f64) -> f64 {
        let n = prompts as f64;
        match self.kind {
            Kind::Bucket { burst } => {
                let rate = self.a_minute / 60.0;
                (n - (rate * burst).max(1.0)) / rate
            }
            Kind::FixedWindow | Kind::SlidingWindow => {
                let minutes = ((n - 1.0) / self.a_minute.min(answered * 60.0)).floor();
                minutes * 60.0 + (n - minutes * self.a_minute).max(0.0) / answered
            }
        }
    }
}

impl Spent {
    /// Accepts one request if the limit allows it.
    pub(super) fn take(&mut self, limit: Limit, now: Duration) -> bool {
        let now = now.as_secs_f64();
        let rate = limit.a_minute / 60.0;
        match limit.kind {
            Kind::Bucket { burst } => {
                self.amount = (self.amount - rate * (now - self.at)).max(0.0);
                self.at = now;
                let has_room = self.amount + 1.0 <= (rate * burst).max(1.0) + 1e-6;
                self.amount += f64::from(has_room);
                has_room
            }
            Kind::FixedWindow => {
                let minute = (now / 60.0).floor();
                if minute > self.at {
                    (self.at, self.amount) = (minute, 0.0);
                }
                let has_room = self.amount < limit.a_minute;
                self.amount += f64::from(has_room);
                has_room
            }
            Kind::SlidingWindow => {
                while self.taken.front().is_some_and(|at| *at <= now - 60.0) {
                    self.taken.pop_front();
                }
                let has_room = (self.taken.len() as f64) < limit.a_minute;
                if has_room {
                    self.taken.push_back(now);
                }
                has_room
            }
        }
    }
}

/// The default limit of 64 rows in flight of a batch.
const IN_FLIGHT: Option<NonZeroUsize> = NonZeroUsize::new(64);

/// Maximum time, relative to the minimum, and maximum wasted requests, as a share of the rows.
type Gates = (f64, f64);
const GATES: Gates = (1.15, 0.10);

/// At one per second, a latency of two seconds looks like a capacity of two. Telling them apart costs time or
/// requests.
const GATES_OF_SLOW: Gates = (1.35, 0.14);

/// Runs each row with latencies of 50 ms to 2 s and three seeds.
fn hold(rows: &[(usize, f64, Kind)], gates: Gates) {
    for (prompts, a_minute, kind) in rows {
        row(*prompts, *a_minute, *kind, gates);
    }
}

fn row(prompts: usize, a_minute: f64, kind: Kind, (max_ratio, max_wasted): Gates) {
    for (latency, spread) in [(0.05, 0.3), (0.1, 0.0), (0.8, 0.3), (2.0, 0.3)] {
        let own = RateLimits { concurrency: IN_FLIGHT, ..RateLimits::default() };
        let limit = Some(Limit { a_minute, kind });
        let setup =
            Setup { prompts, unnamed: limit, says_limits: false, own, latency, spread, ..Setup::default() };
        for seed in [1, 2, 3] {
            fastrand::seed(seed);
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            let outcome = runtime.expect("a runtime").block_on(run(&setup, seed));
            // The last response takes its full latency.
            let ratio = outcome.seconds / (outcome.bound + latency);
            let wasted = outcome.refused as f64 / prompts as f64;
            let name =
                format!("{prompts} prompts, {a_minute} per minute, {kind:?}, {latency} s, seed {seed}");
            println!("{name}: {:.1} s, {ratio:.3} of the bound; {wasted:.3} wasted", outcome.seconds);
            assert_eq!(outcome.lost, 0, "{name}: lost");
            assert!(ratio <= max_ratio, "{name}: {ratio:.3} of the bound");
            assert!(wasted <= max_wasted, "{name}: {wasted:.3} wasted");
        }
    }
}

#[test]
fn requests_of_a_minute_in_a_bucket_of_a_second() {
    let bucket = Kind::Bucket { burst: 1.0 };
    hold(&[(1000, 3000.0, bucket), (1000, 600.0, bucket)], GATES);
    hold(&[(1000, 60.0, bucket)], GATES_OF_SLOW);
}

#[test]
fn requests_of_a_minute_in_a_bucket_of_a_minute() {
    let bucket = Kind::Bucket { burst: 60.0 };
    hold(&[(6000, 3000.0, bucket), (1500, 600.0, bucket), (1000, 60.0, bucket)], GATES);
}

#[test]
fn requests_of_a_minute_of_the_clock() {
    let window = Kind::FixedWindow;
    hold(&[(8000, 3000.0, window), (2500, 600.0, window), (1000, 60.0, window)], GATES);
}

#[test]
fn requests_of_the_last_minute() {
    let window = Kind::SlidingWindow;
    hold(&[(8000, 3000.0, window), (2500, 600.0, window)], GATES);
    hold(&[(1000, 60.0, window)], GATES_OF_SLOW);
}
