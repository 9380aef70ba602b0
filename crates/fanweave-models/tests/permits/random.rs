//! Random compositions of verbs, each with a separate account.

use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use fanweave_core::Context;
use fanweave_sim::{Latency, Settings};

use crate::account::{Account, Ceiling, Figures};
use crate::models::{AROUND, Around, models};
use crate::plan::Plan;
use crate::watchdog::watched;

/// Default number of random compositions, unless `FANWEAVE_ACCOUNT_RUNS` is set.
const RUNS: u64 = 300;

/// Concurrent compositions: they wait for their servers nearly all the time.
const CONCURRENCY: usize = 8;

#[derive(Debug)]
struct Setup {
    seed: u64,
    ceiling: Ceiling,
    /// Concurrency limit of the run.
    run: Option<usize>,
    around: Around,
    /// Set if the requests pass through the transport that counts them.
    counts: bool,
    threads: usize,
    /// Time after which it is dropped, whatever its state.
    dropped_after: Option<Duration>,
    latency: Duration,
    chunk_delay: Duration,
    plan: Arc<Plan>,
}

impl Setup {
    fn random(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let ceiling = match random.usize(0..8) {
            0 => Ceiling::Learnt(random.usize(1..=2)),
            _ => Ceiling::Set(random.usize(1..=2)),
        };
        Self {
            seed,
            ceiling,
            run: random.bool().then(|| random.usize(1..=3)),
            around: random.choice(AROUND).unwrap(),
            counts: random.bool(),
            threads: random.usize(1..=2),
            dropped_after: (random.usize(0..4) == 0).then(|| Duration::from_millis(random.u64(0..60))),
            latency: Duration::from_millis(random.u64(0..3)),
            chunk_delay: Duration::from_millis(random.u64(0..2)),
            // The server determines the latency of its responses.
            plan: Plan::random(&mut random, 3, Duration::ZERO),
        }
    }

    /// Runs the plan and returns the figures of its account.
    fn run(self) -> Figures {
        let Self { seed, latency, chunk_delay, run, .. } = self;
        let settings =
            Settings { seed, latency: Latency::Fixed(latency), chunk_delay, ..Settings::default() };
        let account = Arc::new(Account::start(self.ceiling, self.counts, settings));
        let (what, watched_account) = (format!("{self:?}"), account.clone());
        let figures = Arc::new(Mutex::new(Figures::default()));
        let found = figures.clone();
        let work = move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(self.threads)
                .enable_all()
                .build()
                .unwrap();
            let found = runtime.block_on(async {
                let cx = Context::new();
                let cx = match run.and_then(NonZeroUsize::new) {
                    Some(n) => cx.with_concurrency(n),
                    None => cx,
                };
                let models = models(&account.echo, self.around);
                let work = self.plan.run(Arc::new(move |_, _| models.clone()), cx.clone());
                match self.dropped_after {
                    Some(after) => _ = tokio::time::timeout(after, work).await,
                    None => work.await,
                }
                account.is_at_rest(&cx, run).await;
                account.held(&cx, run)
            });
            figures.lock().unwrap().add(&found);
        };
        watched(&what, || watched_account.progress(), work);
        std::mem::take(&mut *found.lock().unwrap())
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_compositions_end_and_respect_the_limit_of_their_account() {
    let runs = setting("FANWEAVE_ACCOUNT_RUNS").unwrap_or(RUNS);
    let only = setting("FANWEAVE_ACCOUNT_SEED");
    let (next, total, began) = (AtomicU64::new(0), Mutex::new(Figures::default()), Instant::now());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..CONCURRENCY {
            scope.spawn(|| {
                loop {
                    let run = next.fetch_add(1, Ordering::Relaxed);
                    if run >= runs {
                        return;
                    }
                    let setup = Setup::random(only.unwrap_or(run));
                    let seed = setup.seed;
                    match catch_unwind(AssertUnwindSafe(|| setup.run())) {
                        Ok(figures) => total.lock().unwrap().add(&figures),
                        Err(_) => failed.lock().unwrap().push(seed),
                    }
                }
            });
        }
    });
    println!("{:?} in {:?}", total.lock().unwrap(), began.elapsed());
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "failed seeds, each reported above: {failed:?}");
}
