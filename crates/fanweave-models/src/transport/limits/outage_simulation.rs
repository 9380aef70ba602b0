//! Simulation of outages, in virtual time: rows of a batch through the real account and the real retry loop,
//! against a model of a server that is down for a while or fails some requests at random.
//!
//! Each scenario runs with three seeds. An outage must lose no row, cost at most its length plus three
//! seconds, and need few requests beyond one per row.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use fanweave_core::{Context, Priority, RetryPolicy};
use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::tests::drive_with_retries;
use super::*;
use crate::transport::retry_loop::{Attempt, CallOptions};

const SECOND: Duration = Duration::from_secs(1);

/// A round trip: the time of a rejection.
const TRIP: Duration = Duration::from_millis(20);
const LATENCY: Duration = Duration::from_millis(100);
/// First-byte timeout of the client.
const FIRST_BYTE: Duration = Duration::from_secs(2);

/// Kind of outage.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Down {
    /// Answers with 502.
    Status,
    /// Answers with 503.
    Overloaded,
    /// Accepts no connection.
    Refuse,
    /// Resets the connection after the request.
    Reset,
    /// Truncates the response.
    Cut,
    /// Holds responses until it is up again.
    Hang,
    /// Never answers requests that it received while it was down.
    Silence,
}

#[derive(Debug, Clone)]
struct Setup {
    rows: usize,
    concurrency: usize,
    /// Sequential calls of a row.
    steps: usize,
    down: Option<(Duration, Duration, Down)>,
    /// Share of the requests that fail at random.
    flaky: f64,
    /// Rows whose requests always fail, and rows whose requests take the server down for a second.
    poison: HashSet<usize>,
    crashes: HashSet<usize>,
    /// Keys used by rows in rotation.
    keys: usize,
    requests_per_minute: u32,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            rows: 2000,
            concurrency: 64,
            steps: 1,
            down: None,
            flaky: 0.0,
            poison: HashSet::new(),
            crashes: HashSet::new(),
            keys: 1,
            requests_per_minute: 0,
        }
    }
}

struct Server {
    setup: Setup,
    began: Instant,
    rng: Mutex<Rng>,
    requests: AtomicUsize,
    crashed_until: Mutex<Instant>,
}

impl Server {
    /// The end of the current outage, and its kind.
    fn down(&self) -> Option<(Instant, Down)> {
        let now = Instant::now();
        let crashed = *lock(&self.crashed_until);
        if now < crashed {
            return Some((crashed, Down::Refuse));
        }
        let (from, until, how) = self.setup.down?;
        (self.began + from..self.began + until).contains(&now).then(|| (self.began + until, how))
    }

    fn is_unlucky(&self) -> bool {
        lock(&self.rng).f64() < self.setup.flaky
    }
}

struct Request<'a> {
    server: &'a Server,
    row: usize,
}

fn failed(kind: ErrorKind, message: &str) -> Error {
    Error::new(kind, message)
}

impl Attempt for Request<'_> {
    type Ready = ();
    type Answer = ();

    async fn prepare(&self) -> Result<()> {
        Ok(())
    }

    async fn send(&self, (): (), permit: &mut AccountPermit, _: &mut bool, _: &Context) -> Result<()> {
        let server = self.server;
        server.requests.fetch_add(1, Ordering::Relaxed);
        let bad_gateway = || failed(ErrorKind::Server, "Bad Gateway").with_status(502);
        match server.down() {
            Some((_, Down::Refuse)) => {
                return Err(failed(ErrorKind::Connection, "connection refused"));
            }
            Some((_, Down::Status)) => {
                sleep(TRIP).await;
                return Err(bad_gateway());
            }
            Some((_, Down::Overloaded)) => {
                sleep(TRIP).await;
                permit.refused(&Refusal::new(Report::default(), None, false));
                return Err(failed(ErrorKind::Overloaded, "Service Unavailable").with_status(503));
            }
            Some((_, Down::Reset)) => {
                sleep(TRIP).await;
                return Err(failed(ErrorKind::Connection, "connection reset"));
            }
            Some((_, Down::Cut)) => {
                sleep(TRIP * 2).await;
                return Err(failed(ErrorKind::StreamIncomplete, "the stream ended before its end marker"));
            }
            Some((until, Down::Hang)) => tokio::time::sleep_until(until).await,
            Some((_, Down::Silence)) => {
                sleep(FIRST_BYTE).await;
                return Err(failed(ErrorKind::Timeout, "no response started within 2s"));
            }
            None => {}
        }
        if server.setup.poison.contains(&self.row) || server.is_unlucky() {
            sleep(TRIP).await;
            return Err(failed(ErrorKind::Server, "Internal Server Error").with_status(500));
        }
        if server.setup.crashes.contains(&self.row) {
            sleep(TRIP).await;
            *lock(&server.crashed_until) = Instant::now() + SECOND;
            return Err(failed(ErrorKind::Connection, "connection reset"));
        }
        let spread = 0.5 + lock(&server.rng).f64();
        sleep(LATENCY.mul_f64(spread)).await;
        // A server that goes down drops the requests that it has not answered.
        match server.down() {
            Some((_, Down::Refuse | Down::Reset)) => {
                return Err(failed(ErrorKind::Connection, "connection reset"));
            }
            Some((until, Down::Hang)) => tokio::time::sleep_until(until).await,
            _ => {}
        }
        permit.succeeded(None);
        Ok(())
    }

    fn named(&self, error: Error) -> Error {
        error
    }
}

#[derive(Debug)]
struct Outcome {
    seconds: f64,
    /// Minimum time of the rows without an outage.
    bound: f64,
    lost: Vec<usize>,
    unavailable: usize,
    requests: usize,
}

async fn run(setup: &Setup, seed: u64) -> Outcome {
    let began = Instant::now();
    let server = Arc::new(Server {
        setup: setup.clone(),
        began,
        rng: Mutex::new(Rng::with_seed(seed)),
        requests: AtomicUsize::new(0),
        crashed_until: Mutex::new(began),
    });
    let accounts: Vec<_> = (0..setup.keys).map(|_| Arc::new(Account::default())).collect();
    for account in &accounts {
        account.set_limits(RateLimits {
            requests_per_minute: NonZeroU32::new(setup.requests_per_minute),
            ..RateLimits::default()
        });
    }
    let next = Arc::new(AtomicUsize::new(0));
    let mut windows = JoinSet::new();
    for _ in 0..setup.concurrency {
        let (server, accounts, next, steps) = (server.clone(), accounts.clone(), next.clone(), setup.steps);
        windows.spawn(async move {
            let cx = Context::new().with_priority(Priority::Batch);
            let mut lost = Vec::new();
            loop {
                let row = next.fetch_add(1, Ordering::Relaxed);
                if row >= server.setup.rows {
                    return lost;
                }
                let ask = RequestSize { bytes: 100 + row % 50, max_tokens: None };
                let options = CallOptions { retry: RetryPolicy::default(), ask, hedge: false };
                for _ in 0..steps {
                    let request = Request { server: &server, row };
                    let done =
                        drive_with_retries(&request, &accounts[row % accounts.len()], options, &cx).await;
                    if let Err(error) = done {
                        lost.push((row, error));
                        break;
                    }
                }
            }
        });
    }
    let lost: Vec<_> = windows.join_all().await.into_iter().flatten().collect();
    let calls = (setup.rows * setup.steps) as f64;
    let paced = NonZeroU32::new(setup.requests_per_minute)
        .map_or(0.0, |limit| calls / setup.keys as f64 / f64::from(limit.get()) * 60.0 - 1.0);
    Outcome {
        seconds: began.elapsed().as_secs_f64(),
        bound: (calls * LATENCY.as_secs_f64() / setup.concurrency as f64).max(paced),
        unavailable: lost.iter().filter(|(_, error)| error.kind() == ErrorKind::Unavailable).count(),
        lost: lost.into_iter().map(|(row, _)| row).collect(),
        requests: server.requests.load(Ordering::Relaxed),
    }
}

/// Runs a scenario with three seeds.
fn with_seeds(name: &str, setup: &Setup, check: impl Fn(&Outcome)) {
    for seed in [1, 2, 3] {
        fastrand::seed(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let outcome = runtime.expect("a runtime").block_on(async {
            let limit = SECOND * 3600;
            tokio::time::timeout(limit, run(setup, seed)).await.expect("it ends within an hour")
        });
        println!(
            "{name}, seed {seed}: {:.1} s of {:.1} s, {} lost, {} requests for {} rows",
            outcome.seconds,
            outcome.bound,
            outcome.lost.len(),
            outcome.requests,
            setup.rows,
        );
        check(&outcome);
    }
}

/// Checks the cost of a scenario with an outage.
fn survives(name: &str, setup: &Setup) {
    let (from, until, how) = setup.down.expect("an outage");
    let lasts = (until - from).as_secs_f64();
    with_seeds(name, setup, |outcome| {
        assert_eq!(outcome.lost.len(), 0, "{name}: lost");
        // Requests sent just before the outage are given up only after their timeout.
        let late = if how == Down::Silence { FIRST_BYTE.as_secs_f64() * 2.0 } else { 0.0 };
        let max = lasts + 1.1 * outcome.bound + 3.0 + late;
        assert!(outcome.seconds <= max, "{name}: {:.1} s, and at most {max:.1}", outcome.seconds);
        let probes = (lasts / 3.0) as usize + 12;
        let calls = setup.rows * setup.steps;
        // An overloaded server may still accept some requests.
        let wave = setup.concurrency * if how == Down::Overloaded { 2 } else { 1 };
        let max = calls + setup.keys * (wave.max(8) + probes);
        assert!(outcome.requests <= max, "{name}: {} requests, and at most {max}", outcome.requests);
    });
}

fn down(from: Duration, lasts: Duration, how: Down) -> Option<(Duration, Duration, Down)> {
    Some((from, from + lasts, how))
}

const KINDS: [Down; 7] =
    [Down::Status, Down::Overloaded, Down::Refuse, Down::Reset, Down::Cut, Down::Hang, Down::Silence];

#[test]
fn an_outage_of_any_kind_loses_no_row_whenever_it_comes() {
    for how in KINDS {
        for lasts in [SECOND / 2, SECOND * 3, SECOND * 15] {
            // 2,000 rows take three seconds: the last outage starts at the very end of the run.
            for from in [Duration::ZERO, SECOND, SECOND * 3] {
                let setup = Setup { down: down(from, lasts, how), ..Setup::default() };
                survives(&format!("{how:?} for {lasts:?} from {from:?}"), &setup);
            }
        }
    }
}

#[test]
fn an_outage_loses_no_row_with_few_or_many_in_flight() {
    for (concurrency, rows) in [(1, 60), (4, 200), (16, 1000), (256, 5000)] {
        for how in KINDS {
            let setup = Setup { concurrency, rows, down: down(SECOND, SECOND * 3, how), ..Setup::default() };
            survives(&format!("{how:?}, {concurrency} in flight"), &setup);
        }
    }
}

#[test]
fn twenty_seconds_of_503_and_five_minutes_of_502_lose_no_row() {
    let setup = Setup { down: down(SECOND, SECOND * 20, Down::Overloaded), ..Setup::default() };
    survives("20 s of 503", &setup);
    let long = Setup { down: down(SECOND, SECOND * 300, Down::Status), ..Setup::default() };
    with_seeds("5 min of 502", &long, |outcome| {
        assert_eq!(outcome.lost.len(), 0);
        assert!(outcome.seconds <= 300.0 + outcome.bound + 33.0, "{}", outcome.seconds);
        assert!(outcome.requests <= 2000 + 64 + 80, "{} requests", outcome.requests);
    });
}

#[test]
fn chains_with_several_keys_and_paced_accounts_lose_no_row() {
    for how in [Down::Status, Down::Refuse, Down::Reset] {
        let lasts = down(SECOND, SECOND * 3, how);
        let chains = Setup { steps: 3, rows: 700, down: lasts, ..Setup::default() };
        survives(&format!("{how:?}, chains"), &chains);
        let keys = Setup { keys: 3, down: lasts, ..Setup::default() };
        survives(&format!("{how:?}, three keys"), &keys);
        let paced = Setup { requests_per_minute: 3000, rows: 1000, down: lasts, ..Setup::default() };
        survives(&format!("{how:?}, 3,000 per minute"), &paced);
    }
}

#[test]
fn steady_failures_cost_as_much_as_independent_attempts() {
    for (p, concurrency) in [(0.1, 64), (0.3, 64), (0.3, 4), (0.5, 64), (0.5, 16)] {
        let rows = if concurrency == 4 { 1000 } else { 5000 };
        let setup = Setup { flaky: p, rows, concurrency, ..Setup::default() };
        with_seeds(&format!("{p} fail, {concurrency} in flight"), &setup, |outcome| {
            let n = rows as f64 * p.powi(6);
            let max = n + 4.0 * n.sqrt();
            assert!(outcome.lost.len() as f64 <= max, "{} lost, at most {max:.1}", outcome.lost.len());
            assert_eq!(outcome.unavailable, 0);
            let max = 1.1 * outcome.bound / (1.0 - p) + 20.0;
            assert!(outcome.seconds <= max, "{:.1} s, at most {max:.1}", outcome.seconds);
        });
    }
}

#[test]
fn few_failures_cost_few_more_requests() {
    let setup = Setup { flaky: 0.05, rows: 5000, ..Setup::default() };
    with_seeds("5 % fail", &setup, |outcome| {
        assert_eq!(outcome.lost.len(), 0);
        assert!(outcome.requests <= 5500, "{} requests", outcome.requests);
    });
}

#[test]
fn a_prompt_that_always_fails_is_a_bad_row_not_an_outage() {
    let poison = HashSet::from([7, 400, 401, 402, 1200]);
    for concurrency in [4, 64] {
        let setup = Setup { poison: poison.clone(), concurrency, ..Setup::default() };
        with_seeds("poison", &setup, |outcome| {
            assert_eq!(outcome.lost.iter().copied().collect::<HashSet<_>>(), poison);
            assert_eq!(outcome.unavailable, 0);
            assert!(outcome.requests <= 2000 + 5 * 8, "{} requests", outcome.requests);
        });
    }
}

#[test]
fn a_prompt_that_crashes_the_server_fails_alone() {
    let setup = Setup { crashes: HashSet::from([300]), rows: 1000, concurrency: 16, ..Setup::default() };
    with_seeds("a crash", &setup, |outcome| {
        assert_eq!(outcome.lost, [300]);
        assert!(outcome.seconds <= outcome.bound + 30.0, "{}", outcome.seconds);
    });
}

#[test]
fn an_endless_outage_fails_the_rows_after_the_outage_timeout() {
    for (from, outage_timeout) in [(SECOND, 600.0), (Duration::ZERO, 30.0)] {
        let setup = Setup { rows: 64, down: down(from, SECOND * 3000, Down::Status), ..Setup::default() };
        let setup = Setup { rows: if from.is_zero() { 64 } else { 5000 }, concurrency: 64, ..setup };
        with_seeds("no end", &setup, |outcome| {
            assert_eq!(outcome.lost.len(), outcome.unavailable, "no row is charged");
            assert!(outcome.unavailable > 0);
            assert!(outcome.seconds >= outage_timeout, "{}", outcome.seconds);
        });
    }
}
