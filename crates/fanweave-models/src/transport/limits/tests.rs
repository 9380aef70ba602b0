use std::sync::atomic::{AtomicUsize, Ordering};

use fanweave_core::{Context, Event, EventKind, Priority, RetryPolicy};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::*;
use crate::transport::retry::Attempts;
use crate::transport::retry_loop::{Attempt, CallOptions, drive};

const SECOND: Duration = Duration::from_secs(1);

/// Runs a call in the test's own task.
pub(super) async fn drive_with_retries<A: Attempt>(
    call: &A,
    account: &Arc<Account>,
    options: CallOptions,
    cx: &Context,
) -> Result<(A::Answer, u32)> {
    drive(call, Attempts::new(options.retry, cx.priority(), account.clone()), &options, cx).await
}

fn account(requests_per_minute: u32, concurrency: usize) -> Arc<Account> {
    let account = Arc::new(Account::default());
    account.set_limits(RateLimits {
        requests_per_minute: NonZeroU32::new(requests_per_minute),
        concurrency: NonZeroUsize::new(concurrency),
        tokens_per_minute: None,
    });
    account
}

pub(super) fn waiter(ask: RequestSize, priority: Priority) -> Waiter {
    let policy = RetryPolicy::default();
    Waiter {
        ask,
        priority,
        call: 0,
        failed_at: None,
        is_retry: false,
        marks: 0,
        failed_in: None,
        last_run: None,
        has_alternatives: false,
        outage_timeout: OutageTimeout::new(&policy, priority),
        since: Instant::now(),
        is_last: None,
    }
}

/// Returns a permit immediately, if no other call is queued for one.
fn tried(account: &Arc<Account>) -> Option<AccountPermit> {
    account.try_admit(&waiter(RequestSize::default(), Priority::Interactive))
}

/// Waits for a permit outside of a run.
pub(super) async fn admitted(
    account: &Arc<Account>,
    ask: RequestSize,
    priority: Priority,
) -> Result<AccountPermit> {
    Ok(account
        .admit(waiter(ask, priority), || Some(()))
        .await?
        .expect("the number of run permits is unlimited")
        .1)
}

/// Starts `n` calls in order, each of which holds its permit for `lasting`, and returns the order and time of
/// their admissions.
async fn admissions(account: &Arc<Account>, n: usize, lasting: Duration) -> Vec<(usize, Duration)> {
    let began = Instant::now();
    let mut calls = JoinSet::new();
    let order = Arc::new(Mutex::new(Vec::new()));
    for i in 0..n {
        let (account, order) = (account.clone(), order.clone());
        calls.spawn(async move {
            let _permit =
                admitted(&account, RequestSize::default(), Priority::Interactive).await.expect("it fits");
            lock(&order).push((i, began.elapsed()));
            sleep(lasting).await;
        });
    }
    calls.join_all().await;
    lock(&order).clone()
}

#[tokio::test(start_paused = true)]
async fn calls_are_admitted_in_order_of_arrival() {
    let order = admissions(&account(6000, 3), 500, SECOND / 100).await;
    assert!(order.iter().map(|(i, _)| *i).eq(0..500));
}

#[tokio::test(start_paused = true)]
async fn a_rate_is_paced_with_a_burst_of_one_second() {
    let account = account(600, 0);
    let order = admissions(&account, 110, Duration::ZERO).await;
    let at_once = order.iter().filter(|(_, at)| at.is_zero()).count();
    assert!((9..=10).contains(&at_once), "{at_once} admitted immediately");
    let last = order.last().expect("110 calls").1;
    // 100 calls after the burst, at 9.95 per second.
    assert!(last >= SECOND * 10 && last < SECOND * 102 / 10, "{last:?}");
    for window in order.windows(21) {
        assert!(window[20].1 - window[0].1 >= SECOND * 99 / 100, "more than a burst and one second's worth");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rate_below_one_per_second_still_admits_one() {
    let order = admissions(&account(6, 0), 3, Duration::ZERO).await;
    let seconds: Vec<_> = order.iter().map(|(_, at)| at.as_secs()).collect();
    assert_eq!(seconds, [0, 10, 20]);
}

#[tokio::test(start_paused = true)]
async fn concurrency_holds_until_permits_are_dropped() {
    static MAX: AtomicUsize = AtomicUsize::new(0);
    static NOW: AtomicUsize = AtomicUsize::new(0);
    let account = account(0, 8);
    let mut calls = JoinSet::new();
    for _ in 0..2000 {
        let account = account.clone();
        calls.spawn(async move {
            let _permit =
                admitted(&account, RequestSize::default(), Priority::Interactive).await.expect("it fits");
            MAX.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(SECOND / 100).await;
            NOW.fetch_sub(1, Ordering::SeqCst);
        });
    }
    calls.join_all().await;
    assert_eq!(MAX.load(Ordering::SeqCst), 8);
    assert_eq!(lock(&account.limiter).in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_closed_gate_holds_all_calls_of_the_account() {
    let account = account(0, 0);
    account.close_for(SECOND * 20);
    account.close_for(SECOND * 5);
    assert!(tried(&account).is_none());
    let order = admissions(&account, 50, Duration::ZERO).await;
    assert!(order.iter().all(|(_, at)| *at >= SECOND * 20 && *at < SECOND * 21));
    assert!(tried(&account).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_waiter_leaves_no_trace() {
    let account = account(60, 1);
    let first = tried(&account).expect("no other call is queued");
    assert!(tried(&account).is_none());
    for outage_timeout in [1, 10, 100] {
        let waiting = admitted(&account, RequestSize::default(), Priority::Interactive);
        assert!(tokio::time::timeout(Duration::from_millis(outage_timeout), waiting).await.is_err());
    }
    drop(first);
    sleep(SECOND * 2).await;
    let second = tried(&account).expect("cancelled waiters take no permits");
    assert_eq!(lock(&account.limiter).in_flight, 1);
    drop(second);
}

#[tokio::test(start_paused = true)]
async fn nobody_overtakes_the_line() {
    let account = account(60, 0);
    drop(tried(&account));
    let waiting = tokio::spawn({
        let account = account.clone();
        async move { admitted(&account, RequestSize::default(), Priority::Interactive).await }
    });
    tokio::task::yield_now().await;
    // A request may be sent now, and it belongs to the waiting call: no other call gets it first.
    tokio::time::advance(SECOND * 2).await;
    assert!(tried(&account).is_none());
    drop(waiting.await);
}

#[tokio::test(start_paused = true)]
async fn a_new_limit_applies_to_waiting_calls() {
    let account = account(1, 0);
    drop(tried(&account));
    let began = Instant::now();
    let waiting = tokio::spawn({
        let account = account.clone();
        async move { admitted(&account, RequestSize::default(), Priority::Interactive).await }
    });
    sleep(SECOND).await;
    account.set_limits(RateLimits::default());
    drop(waiting.await);
    assert_eq!(began.elapsed(), SECOND);
}

#[test]
fn one_key_is_one_account() {
    let key = |model: &str| AccountKey { base_url: "http://a".into(), key: Some(1), model: model.into() };
    let first = Accounts::default().account(key("m"));
    assert!(Arc::ptr_eq(&first, &Accounts::default().account(key("m"))));
    assert!(!Arc::ptr_eq(&first, &Accounts::default().account(key("n"))));
}

#[tokio::test(start_paused = true)]
async fn interactive_calls_are_admitted_before_a_batch() {
    let account = account(60, 0);
    drop(tried(&account));
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut calls = JoinSet::new();
    for priority in [Priority::Batch, Priority::Batch, Priority::Interactive, Priority::Interactive] {
        let (account, order) = (account.clone(), order.clone());
        calls.spawn(async move {
            let _permit = admitted(&account, RequestSize::default(), priority).await.expect("it fits");
            lock(&order).push(priority);
        });
        tokio::task::yield_now().await;
    }
    calls.join_all().await;
    use Priority::*;
    assert_eq!(*lock(&order), [Interactive, Interactive, Batch, Batch]);
    assert_eq!(lock(&account.limiter).queue.waiting(), [0, 0]);
}

#[tokio::test(start_paused = true)]
async fn a_request_larger_than_the_limit_per_minute_fails_immediately() {
    let account = account(0, 0);
    let limits = RateLimits { tokens_per_minute: NonZeroU32::new(1000), ..RateLimits::default() };
    account.set_limits(limits);
    let began = Instant::now();
    let ask = RequestSize { bytes: 40_000, max_tokens: None };
    let error = admitted(&account, ask, Priority::Interactive).await.expect_err("it can never be sent");
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(
        error
            .message()
            .starts_with("the request has about 10000 tokens, but the limit of the account is 1000")
    );
    assert!(!error.is_retryable());
}

/// Counts the concurrent requests at the server. Every fiftieth takes a minute.
#[derive(Default)]
struct Crowded {
    sent: AtomicUsize,
    now: AtomicUsize,
    max: AtomicUsize,
}

struct Leaves<'a>(&'a Crowded);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Attempt for Crowded {
    type Ready = ();
    type Answer = ();

    async fn prepare(&self) -> Result<()> {
        Ok(())
    }

    async fn send(&self, (): (), permit: &mut AccountPermit, _: &mut bool, _: &Context) -> Result<()> {
        let nth = self.sent.fetch_add(1, Ordering::SeqCst);
        self.max.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let _leaves = Leaves(self);
        sleep(if nth % 50 == 49 { SECOND * 60 } else { SECOND / 10 }).await;
        permit.succeeded(None);
        Ok(())
    }

    fn named(&self, error: Error) -> Error {
        error
    }
}

#[tokio::test(start_paused = true)]
async fn hedged_requests_stay_within_the_concurrency_of_the_run() {
    const MAX: usize = 4;
    let (server, account) = (Arc::new(Crowded::default()), Arc::new(Account::default()));
    let told = Arc::new(AtomicUsize::new(0));
    let seen = told.clone();
    let observer = move |event: &Event| {
        if let EventKind::RequestStarted | EventKind::Hedged = event.kind {
            seen.fetch_add(1, Ordering::SeqCst);
        }
    };
    let cx = Context::new().with_concurrency(MAX).with_observer(Arc::new(observer));
    let options = CallOptions { retry: RetryPolicy::default(), ask: RequestSize::default(), hedge: true };
    let mut rows = JoinSet::new();
    let began = Instant::now();
    for _ in 0..MAX {
        let (server, account, cx) = (server.clone(), account.clone(), cx.clone());
        rows.spawn(async move {
            for _ in 0..100 {
                let ((), attempts) =
                    drive_with_retries(&*server, &account, options, &cx).await.expect("it never fails");
                // A hedged request is not an additional attempt: without hedging, the row has the same
                // result.
                assert_eq!(attempts, 1);
            }
        });
    }
    rows.join_all().await;
    assert_eq!(told.load(Ordering::SeqCst), server.sent.load(Ordering::SeqCst));
    assert_eq!(server.max.load(Ordering::SeqCst), MAX);
    // After the queue is empty, slow requests are still hedged.
    assert!(server.sent.load(Ordering::SeqCst) > MAX * 100, "no hedged request at all");
    assert!(began.elapsed() < SECOND * 400, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_implausible_token_count_delays_no_call() {
    let account = account(0, 0);
    let tokens_per_minute = NonZeroU32::new(60_000);
    account.set_limits(RateLimits { tokens_per_minute, ..RateLimits::default() });
    let began = Instant::now();
    for output_tokens in [u64::MAX, 1 << 50, 10] {
        let ask = RequestSize { bytes: 400, max_tokens: Some(u64::from(u32::MAX)) };
        let mut permit = admitted(&account, ask, Priority::Interactive).await.expect("it fits");
        permit.succeeded(Some(Usage::new(100, output_tokens)));
    }
    assert!(began.elapsed() < SECOND * 60, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_response_to_an_image_never_makes_a_later_text_too_large_to_send() {
    let account = account(0, 0);
    let tokens_per_minute = NonZeroU32::new(30_000);
    account.set_limits(RateLimits { tokens_per_minute, ..RateLimits::default() });
    // Only the text next to an image is counted before the response.
    let image = RequestSize { bytes: 40, max_tokens: None };
    let mut permit = admitted(&account, image, Priority::Interactive).await.expect("it fits");
    permit.succeeded(Some(Usage::new(1500, 10)));
    drop(permit);
    let text = RequestSize { bytes: 20_000, max_tokens: None };
    assert!(admitted(&account, text, Priority::Interactive).await.is_ok(), "about 5,000 tokens");
    let error =
        admitted(&account, RequestSize { bytes: 1 << 20, max_tokens: None }, Priority::Interactive).await;
    assert!(error.is_err(), "about 260,000 tokens");
}

#[test]
fn a_cancelled_call_never_loses_a_wake_up_of_another() {
    for seed in 0..300 {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let mut rng = fastrand::Rng::with_seed(seed);
            let account = account(if seed % 3 == 0 { 6000 } else { 0 }, rng.usize(1..4));
            let mut calls = JoinSet::new();
            for _ in 0..60 {
                let (account, outage_timeout) = (account.clone(), Duration::from_millis(rng.u64(0..40)));
                let (begins, lasts) = (rng.u64(0..30), Duration::from_millis(rng.u64(0..6)));
                let priority = if rng.bool() { Priority::Interactive } else { Priority::Batch };
                let (is_patient, is_refused, has_permit) = (rng.bool(), rng.u8(0..10) == 0, rng.u8(0..5) > 0);
                calls.spawn(async move {
                    sleep(Duration::from_millis(begins)).await;
                    let call = async {
                        let run_permit = || has_permit.then_some(());
                        let Ok(Some((_, mut permit))) =
                            account.admit(waiter(RequestSize::default(), priority), run_permit).await
                        else {
                            return;
                        };
                        sleep(lasts).await;
                        if is_refused {
                            permit.refused(&Refusal::new(
                                Report::default(),
                                Some(Duration::from_millis(5)),
                                false,
                            ));
                        }
                    };
                    // The patient calls have no timer: they would hang if a wake-up was lost.
                    if is_patient {
                        call.await;
                    } else {
                        drop(tokio::time::timeout(outage_timeout, call).await);
                    }
                });
            }
            let all = tokio::time::timeout(SECOND * 3600, calls.join_all()).await;
            assert!(all.is_ok(), "seed {seed}: a call waits for ever");
            let limiter = lock(&account.limiter);
            assert_eq!((limiter.in_flight, limiter.queue.waiting()), (0, [0, 0]), "seed {seed}");
        });
    }
}

/// A server that rejects everything and requests this wait.
struct Refuses {
    wait: Duration,
    asked: AtomicUsize,
}

impl Attempt for Refuses {
    type Ready = ();
    type Answer = ();

    async fn prepare(&self) -> Result<()> {
        Ok(())
    }

    async fn send(&self, (): (), permit: &mut AccountPermit, _: &mut bool, _: &Context) -> Result<()> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        sleep(SECOND / 10).await;
        permit.refused(&Refusal::new(Report::default(), Some(self.wait), true));
        Err(Error::new(ErrorKind::RateLimited, "no").with_retry_after(self.wait))
    }

    fn named(&self, error: Error) -> Error {
        error
    }
}

#[tokio::test(start_paused = true)]
async fn the_wait_is_limited_even_if_a_server_rejects_everything() {
    for (wait, max) in [(SECOND * 20, 900), (SECOND * 5, 900), (SECOND, 3600), (Duration::ZERO, 3 * 3600)] {
        let (server, account) = (Refuses { wait, asked: AtomicUsize::default() }, Arc::default());
        let options =
            CallOptions { retry: RetryPolicy::default(), ask: RequestSize::default(), hedge: false };
        let began = Instant::now();
        assert!(drive_with_retries(&server, &account, options, &Context::new()).await.is_err());
        let (took, asked) = (began.elapsed().as_secs(), server.asked.load(Ordering::SeqCst));
        assert!(took <= max, "requests {wait:?}: {took} s");
        assert!(took >= 600 && asked as u64 <= took, "requests {wait:?}: {asked} requests in {took} s");
    }
}

/// A server whose requests take a tenth of a second, except for the last call: its first request fails late,
/// and its second one is answered soon after that, or fails too.
struct Overtaken {
    sent: AtomicUsize,
    second_fails: bool,
}

impl Attempt for Overtaken {
    type Ready = ();
    type Answer = usize;

    async fn prepare(&self) -> Result<()> {
        Ok(())
    }

    async fn send(&self, (): (), permit: &mut AccountPermit, _: &mut bool, _: &Context) -> Result<usize> {
        let nth = self.sent.fetch_add(1, Ordering::SeqCst);
        match nth {
            40 => sleep(SECOND).await,
            41 => sleep(SECOND * 3).await,
            _ => sleep(SECOND / 10).await,
        }
        if nth == 40 || (nth == 41 && self.second_fails) {
            return Err(Error::new(ErrorKind::Overloaded, "busy"));
        }
        permit.succeeded(None);
        Ok(nth)
    }

    fn named(&self, error: Error) -> Error {
        error
    }
}

#[tokio::test(start_paused = true)]
async fn a_hedged_request_in_flight_is_awaited_when_the_first_one_fails() {
    for (second_fails, answered_by, attempts) in [(false, 41, 1), (true, 42, 2)] {
        let (server, account) = (Overtaken { sent: AtomicUsize::new(0), second_fails }, Arc::default());
        let options = CallOptions { retry: RetryPolicy::default(), ask: RequestSize::default(), hedge: true };
        for _ in 0..40 {
            drive_with_retries(&server, &account, options, &Context::new()).await.expect("it is quick");
        }
        let done = drive_with_retries(&server, &account, options, &Context::new())
            .await
            .expect("one of them answers");
        assert_eq!(done, (answered_by, attempts));
        assert_eq!(lock(&account.limiter).in_flight, 0);
    }
}
