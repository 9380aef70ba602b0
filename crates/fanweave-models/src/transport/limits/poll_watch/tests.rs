use std::future::poll_fn;
use std::num::NonZeroUsize;
use std::pin::pin;

use fanweave_core::{Context, Error, Priority, Result, RetryPolicy};
use futures::poll;
use tokio::sync::oneshot;
use tokio::time::{advance, sleep, timeout};

use super::*;
use crate::transport::limits::tests::{admitted, waiter};
use crate::transport::limits::{
    Account, AccountPermit, RateLimits, Refusal, Report, RequestSize, Waiter, lock,
};
use crate::transport::retry_loop::{Attempt, CallOptions, send_with_retries};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(3600);

/// An account with a call in place, and a second call in place that is never woken or polled. The limit of
/// requests in flight is 2 from then on.
struct Full {
    account: Arc<Account>,
    permit: AccountPermit,
    poll_watch: Arc<PollWatch>,
    _other: AccountPermit,
}

impl Full {
    fn new() -> Self {
        let account = Arc::new(Account::default());
        let (permit, poll_watch) = in_place(&account).expect("no limit");
        let (other, _) = in_place(&account).expect("no limit");
        limit(&account, 2);
        Self { account, permit, poll_watch, _other: other }
    }

    /// Polls the call, and then wakes it.
    async fn wake(&self) -> (Watched<oneshot::Receiver<()>>, oneshot::Sender<()>) {
        let (answer, body) = oneshot::channel();
        let mut call = self.poll_watch.clone().of(body);
        assert!(poll!(&mut call).is_pending());
        self.poll_watch.wake_by_ref();
        (call, answer)
    }

    /// Returns the permit if a waiting call is admitted within that time.
    async fn admits_within(&self, time: Duration) -> Option<AccountPermit> {
        let waits = admitted(&self.account, RequestSize::default(), Priority::Interactive);
        timeout(time, waits).await.ok().map(|admitted| admitted.expect("it fits"))
    }
}

fn in_place(account: &Arc<Account>) -> Option<(AccountPermit, Arc<PollWatch>)> {
    let call = account.begin_call();
    account.admit_in_place(&Waiter { call, ..waiter(RequestSize::default(), Priority::Interactive) })
}

fn limit(account: &Account, n: usize) {
    account.set_limits(RateLimits { concurrency: NonZeroUsize::new(n), ..RateLimits::default() });
}

/// Requests in flight, and permits that were given up.
fn counts(account: &Account) -> (usize, u64) {
    let limiter = lock(&account.limiter);
    (limiter.in_flight, limiter.over_limit)
}

#[tokio::test(start_paused = true)]
async fn a_call_is_absent_100_ms_after_it_was_woken_until_it_is_polled() {
    let poll_watch = PollWatch::new(Instant::now());
    let (_answer, body) = oneshot::channel::<()>();
    let mut call = poll_watch.clone().of(body);
    let _ = poll!(&mut call);
    advance(HOUR).await;
    assert!(!poll_watch.is_absent(Instant::now()), "nothing has woken it");
    poll_watch.wake_by_ref();
    advance(MS * 60).await;
    // The first wake-up counts.
    poll_watch.wake_by_ref();
    advance(MS * 39).await;
    assert!(!poll_watch.is_absent(Instant::now()));
    advance(MS).await;
    assert!(poll_watch.is_absent(Instant::now()));
    let _ = poll!(&mut call);
    assert!(!poll_watch.is_absent(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_wakes_itself_within_a_poll_is_absent_unless_it_is_polled_again() {
    let poll_watch = PollWatch::new(Instant::now());
    let mut call = poll_watch.clone().of(poll_fn(|task| {
        task.waker().wake_by_ref();
        Poll::<()>::Pending
    }));
    for _ in 0..2 {
        let _ = poll!(&mut call);
        assert!(!poll_watch.is_absent(Instant::now()));
        advance(MAX_UNPOLLED).await;
        assert!(poll_watch.is_absent(Instant::now()));
    }
}

#[tokio::test(start_paused = true)]
async fn the_permit_of_an_absent_call_goes_to_a_waiting_call_and_is_counted() {
    let full = Full::new();
    let _call = full.wake().await;
    assert!(full.admits_within(MS * 99).await.is_none());
    assert_eq!(counts(&full.account), (2, 0));
    let admitted = full.admits_within(MS * 2).await.expect("the call was not polled for 100 ms");
    assert_eq!(counts(&full.account), (2, 1));
    // It is no longer counted, so that its end frees nothing.
    let account = full.account.clone();
    drop(full.permit);
    assert_eq!(counts(&account), (2, 1));
    drop(admitted);
    assert_eq!(counts(&account), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_polled_or_waits_for_its_server_keeps_its_permit() {
    let full = Full::new();
    let (mut call, answer) = full.wake().await;
    let polls = async {
        loop {
            let _ = poll!(&mut call);
            full.poll_watch.wake_by_ref();
            sleep(MS * 90).await;
        }
    };
    let waits = full.admits_within(HOUR / 60);
    tokio::select! {
        () = polls => {}
        admitted = waits => assert!(admitted.is_none()),
    }
    let _ = poll!(&mut call);
    assert!(full.admits_within(HOUR).await.is_none(), "only its server can wake it");
    assert_eq!(counts(&full.account), (2, 0));
    answer.send(()).expect("the call is there");
    let _admitted = full.admits_within(MS * 101).await.expect("the answer has woken it");
    assert_eq!(counts(&full.account), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn no_permit_is_given_up_unless_another_call_waits() {
    let full = Full::new();
    let _call = full.wake().await;
    sleep(HOUR).await;
    assert_eq!(counts(&full.account), (2, 0));
    assert!(full.admits_within(MS).await.is_some());
    assert_eq!(counts(&full.account), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_an_absent_call_has_lost_is_not_given_up_a_second_time() {
    let mut full = Full::new();
    let _call = full.wake().await;
    let _admitted = full.admits_within(HOUR).await.expect("the call was not polled");
    let account = full.account.clone();
    let waits = admitted(&account, RequestSize::default(), Priority::Interactive);
    let work = std::pin::pin!(sleep(MS * 500));
    let held = full.permit.while_held(work);
    assert!(timeout(HOUR, async { tokio::join!(held, waits) }).await.is_err());
    assert_eq!(counts(&account), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_rejection_of_an_absent_call_counts_the_other_requests_in_flight() {
    let account = Arc::new(Account::default());
    let (mut permit, poll_watch) = in_place(&account).expect("no limit");
    limit(&account, 1);
    poll_watch.wake_by_ref();
    drop(
        timeout(HOUR, admitted(&account, RequestSize::default(), Priority::Interactive))
            .await
            .expect("the call is not polled"),
    );
    assert_eq!(counts(&account), (0, 1));
    permit.refused(&Refusal::new(Report::default(), None, false));
    assert_eq!(lock(&account.limiter).capacity.bound(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn calls_run_in_place_only_if_no_limit_needs_an_answer() {
    let account = Arc::new(Account::default());
    limit(&account, 9);
    assert!(in_place(&account).is_none());
    limit(&account, 0);
    let (mut refused, _) = in_place(&account).expect("no limit");
    refused.refused(&Refusal::new(Report::default(), None, false));
    drop(refused);
    assert!(in_place(&account).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_runs_alone_does_not_wait_for_an_unpolled_call() {
    let account = Arc::new(Account::default());
    let (_permit, poll_watch) = in_place(&account).expect("no limit");
    let suspect = Waiter { marks: 3, ..waiter(RequestSize::default(), Priority::Batch) };
    let mut alone = pin!(account.admit(suspect, || Some(())));
    assert!(timeout(HOUR, &mut alone).await.is_err(), "the other one may end");
    poll_watch.wake_by_ref();
    timeout(MS * 201, alone).await.expect("the other call is not polled").expect("it fits");
    assert_eq!(counts(&account).1, 1);
}

/// Has a key that takes 50 ms, and is answered immediately.
#[derive(Clone)]
struct SlowKey;

impl Attempt for SlowKey {
    type Ready = ();
    type Answer = ();

    async fn prepare(&self) -> Result<()> {
        sleep(MS * 50).await;
        Ok(())
    }

    async fn send(&self, (): (), permit: &mut AccountPermit, _: &mut bool, _: &Context) -> Result<()> {
        permit.succeeded(None);
        Ok(())
    }

    fn named(&self, error: Error) -> Error {
        error
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_left_unpolled_before_it_is_sent_gives_up_its_permit() {
    let account = Arc::new(Account::default());
    let options = CallOptions { retry: RetryPolicy::default(), ask: RequestSize::default(), hedge: false };
    let cx = Context::new();
    let mut unpolled = pin!(send_with_retries(SlowKey, &account, options, &cx));
    assert!(poll!(&mut unpolled).is_pending());
    limit(&account, 1);
    let waits = admitted(&account, RequestSize::default(), Priority::Interactive);
    drop(timeout(HOUR, waits).await.expect("the other call is not polled").expect("it fits"));
    assert_eq!(counts(&account), (0, 1));
    unpolled.await.expect("the call continues");
    assert_eq!(counts(&account), (0, 1));
}
