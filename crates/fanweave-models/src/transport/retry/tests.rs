use std::collections::HashSet;
use std::sync::Arc;

use super::super::limits::AccountPermit;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn attempts_of(policy: RetryPolicy, account: &Arc<Account>) -> Attempts {
    Attempts::new(policy, Priority::Batch, account.clone())
}

fn failure(kind: ErrorKind) -> Error {
    Error::new(kind, "it failed").with_status(500)
}

fn limited(wait: Duration) -> Error {
    failure(ErrorKind::RateLimited).with_retry_after(wait)
}

#[test]
fn a_call_is_sent_at_most_as_often_as_the_policy_allows() {
    let account = Arc::new(Account::default());
    let mut attempts = attempts_of(RetryPolicy::default(), &account);
    let error = loop {
        attempts.begin();
        if let Err(error) = attempts.after(failure(ErrorKind::Server), Failed::default(), None) {
            break error;
        }
    };
    assert_eq!(error.attempts(), 6);
    assert_eq!(error.to_string(), "status 500: it failed (after 6 attempts)");
}

#[test]
fn waits_double_up_to_the_maximum_with_full_jitter() {
    let policy = RetryPolicy::default();
    for (n, max) in [(0, 500), (1, 1000), (4, 8000), (6, 30_000), (200, 30_000)] {
        let max = Duration::from_millis(max);
        let waits: Vec<_> = (0..1000).map(|_| policy.backoff(n)).collect();
        assert!(waits.iter().all(|wait| *wait <= max));
        let eighths: HashSet<_> =
            waits.iter().map(|w| (w.as_secs_f64() / max.as_secs_f64() * 8.0) as u32).collect();
        assert!(eighths.len() >= 8, "drawn from {eighths:?}");
    }
}

#[test]
fn a_rate_limit_consumes_waiting_time_and_no_attempts() {
    let account = Arc::new(Account::default());
    let mut attempts = Attempts::new(RetryPolicy::default(), Priority::Interactive, account.clone());
    for _ in 0..30 {
        attempts.begin();
        assert_eq!(attempts.after(limited(SECOND * 20), Failed::default(), None).unwrap(), SECOND * 20);
    }
    attempts.begin();
    let error = attempts.after(limited(SECOND * 20), Failed::default(), None).unwrap_err();
    assert!(error.message().ends_with("not retried: waiting for rate limits would exceed 600s"), "{error}");
}

#[test]
fn a_wait_beyond_the_maximum_fails_immediately_with_the_reason() {
    let account = Arc::new(Account::default());
    let mut attempts = attempts_of(RetryPolicy::default(), &account);
    attempts.begin();
    let error = attempts.after(limited(SECOND * 121), Failed::default(), None).unwrap_err();
    assert_eq!(error.to_string().matches("the requested wait is longer than 120s").count(), 1);
    assert_eq!(error.retry_after(), Some(SECOND * 121));
}

#[test]
fn no_wait_extends_beyond_the_deadline() {
    let account = Arc::new(Account::default());
    let mut attempts = attempts_of(RetryPolicy::default(), &account);
    attempts.begin();
    let error = attempts.after(limited(SECOND * 20), Failed::default(), Some(SECOND * 10)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(error.message().contains("the run would end before the wait of 20.0s"));
}

#[test]
fn permanent_failures_are_not_retried() {
    let account = Arc::new(Account::default());
    let overruled = failure(ErrorKind::Server).with_retryable(false);
    for error in [failure(ErrorKind::Authentication), failure(ErrorKind::QuotaExhausted), overruled] {
        let mut attempts = attempts_of(RetryPolicy::default(), &account);
        attempts.begin();
        assert!(attempts.after(error, Failed::default(), None).is_err());
    }
}

#[test]
fn a_policy_of_never_means_one_request_even_for_rate_limits() {
    let account = Arc::new(Account::default());
    for error in [failure(ErrorKind::Server), failure(ErrorKind::RateLimited), limited(SECOND)] {
        let mut attempts = attempts_of(RetryPolicy::never(), &account);
        attempts.begin();
        assert!(attempts.after(error, Failed::default(), None).is_err());
    }
}

#[test]
fn a_server_that_requests_no_wait_is_not_called_for_ever() {
    let account = Arc::new(Account::default());
    let mut attempts = attempts_of(RetryPolicy::never(), &account);
    attempts.begin();
    assert!(attempts.after(limited(Duration::ZERO), Failed::default(), None).is_err(), "never means never");

    for hint in [Duration::ZERO, Duration::from_millis(1)] {
        let mut attempts = attempts_of(RetryPolicy::default(), &account);
        let given_up = (0..10_000).any(|_| {
            attempts.begin();
            attempts.after(limited(hint), Failed::default(), None).is_err()
        });
        assert!(given_up, "called 10,000 times with a hint of {hint:?}");
    }
}

/// Rejects a call `count` times with `answered` answers to other requests before each rejection.
fn rejected(
    account: &Arc<Account>,
    priority: Priority,
    count: u32,
    answered: u32,
) -> Result<Duration, Error> {
    let policy = RetryPolicy::default();
    let mut attempts = Attempts::new(policy, priority, account.clone());
    let mut last = Ok(SECOND);
    for _ in 0..count {
        for _ in 0..answered {
            let mut other = attempts_of(policy, account);
            admitted(account, &mut other).succeeded(None);
        }
        attempts.begin();
        last = attempts.after(limited(SECOND), Failed::default(), None);
        if last.is_err() {
            break;
        }
    }
    last
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_always_rejected_while_others_are_accepted_fails_after_twelve_rejections() {
    let account = Arc::new(Account::default());
    assert!(rejected(&account, Priority::Batch, MAX_REJECTIONS - 1, 1).is_ok());
    let error = rejected(&account, Priority::Batch, MAX_REJECTIONS, 1).unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::RateLimited, MAX_REJECTIONS));
    assert!(error.message().ends_with("not retried: other requests were accepted meanwhile"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_rejected_call_runs_alone_before_it_fails() {
    let account = Arc::new(Account::default());
    let mut attempts = attempts_of(RetryPolicy::default(), &account);
    let marks: Vec<_> = (0..=SUSPECT_REJECTIONS)
        .map(|_| {
            let mut other = attempts_of(RetryPolicy::default(), &account);
            admitted(&account, &mut other).succeeded(None);
            attempts.begin();
            attempts.after(limited(SECOND), Failed::default(), None).unwrap();
            attempts.waiter(RequestSize::default(), &Context::new()).marks
        })
        .collect();
    assert_eq!(marks, [vec![0; SUSPECT_REJECTIONS as usize - 1], vec![MARKS; 2]].concat());
}

#[test]
fn a_limit_that_rejects_many_requests_fails_no_call_before_its_time() {
    let health = Health {
        answers: 0,
        refused: 0,
        mostly_answers: true,
        are_bad: false,
        failing_for: Duration::ZERO,
        is_flaky: false,
    };
    // Rejections of other requests, for each answer and each rejection of the call.
    for (others, is_own) in [(0, true), (1, false), (5, false)] {
        let mut rejections = Rejections::default();
        for n in 0..100 {
            rejections.record(Health { answers: n, refused: n * (others + 1), ..health });
        }
        assert_eq!(rejections.are_own(MAX_REJECTIONS), is_own, "{others}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_account_that_accepts_nothing_is_unavailable_to_a_batch() {
    let account = Arc::new(Account::default());
    let error = rejected(&account, Priority::Batch, 601, 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(
        error.to_string(),
        "the provider has rejected every request for 600s: it failed (after 601 attempts)"
    );
    let error = rejected(&account, Priority::Interactive, 601, 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
}

#[test]
fn the_wait_that_a_failing_server_asks_for_is_a_wish() {
    let account = Arc::new(Account::default());
    let waits = |asked| {
        let mut attempts = attempts_of(RetryPolicy::default(), &account);
        attempts.begin();
        attempts
            .after(failure(ErrorKind::Overloaded).with_retry_after(asked), Failed::default(), None)
            .unwrap()
    };
    assert_eq!(waits(SECOND * 100), SECOND * 100);
    // Longer than the policy allows: the outage may be over long before.
    assert!(waits(SECOND * 121) <= MAX_BACKOFF && waits(SECOND * 86_400) <= MAX_BACKOFF);
    assert!((0..50).map(|_| waits(Duration::ZERO)).max() > Some(Duration::from_millis(50)));
}

fn admitted(account: &Arc<Account>, attempts: &mut Attempts) -> AccountPermit {
    attempts.begin();
    let priority = if attempts.is_batch { Priority::Batch } else { Priority::Interactive };
    let waiter = attempts.waiter(RequestSize::default(), &Context::new().with_priority(priority));
    account.try_admit(&waiter).expect("nothing limits the account")
}

fn fails(permit: &AccountPermit) -> Failed {
    Failed { run: permit.judge(&failure(ErrorKind::Server)), sent: Some(permit.sent()), ..Failed::default() }
}

async fn answers(account: &Arc<Account>) {
    tokio::time::advance(Duration::from_millis(1)).await;
    let mut other = attempts_of(RetryPolicy::default(), account);
    admitted(account, &mut other).succeeded(None);
}

#[tokio::test(start_paused = true)]
async fn failures_are_charged_once_the_account_answers_another_call() {
    let account = Arc::new(Account::default());
    let mut attempts = attempts_of(RetryPolicy::default(), &account);
    for failed in 1..=5 {
        let permit = admitted(&account, &mut attempts);
        let outcome = attempts.after(failure(ErrorKind::Server), fails(&permit), None);
        assert!(outcome.is_ok(), "the {failed}th is undecided");
        answers(&account).await;
    }
    let permit = admitted(&account, &mut attempts);
    assert_eq!(attempts.charged, 5);
    let error = attempts.after(failure(ErrorKind::Server), fails(&permit), None).unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Server, 6));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_charged_immediately_if_later_requests_were_answered() {
    let account = Arc::new(Account::default());
    let mut attempts = attempts_of(RetryPolicy::default(), &account);
    let permit = admitted(&account, &mut attempts);
    assert!(attempts.after(failure(ErrorKind::Server), fails(&permit), None).is_ok());
    drop(permit);
    tokio::time::advance(SECOND).await;
    answers(&account).await;
    let permit = admitted(&account, &mut attempts);
    assert!(attempts.after(failure(ErrorKind::Server), fails(&permit), None).is_ok());
    assert_eq!(attempts.charged, 2, "no later answer is needed");
    // A server that is down answers no call.
    let refused = Error::new(ErrorKind::Connection, "connection refused");
    let run = permit.judge(&refused);
    assert!(run.is_some_and(|run| account.verdict(run) == FailureRunVerdict::Undecided));
}

#[tokio::test(start_paused = true)]
async fn undecided_failures_fail_no_call_before_its_outage_timeout() {
    let account = Arc::new(Account::default());
    answers(&account).await;
    let mut attempts = attempts_of(RetryPolicy::default(), &account);
    let began = Instant::now();
    let permits: Vec<_> = (0..7).map(|_| admitted(&account, &mut attempts)).collect();
    for permit in &permits {
        assert!(attempts.after(failure(ErrorKind::Server), fails(permit), None).is_ok());
    }
    tokio::time::advance(SECOND * 601 - began.elapsed()).await;
    let error =
        attempts.after(failure(ErrorKind::Server), Failed { run: Some(0), ..Failed::default() }, None);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().starts_with("the provider has been failing for 10m 1s: status 500: it failed"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_outage_charges_a_call_only_for_more_than_two_unanswered_requests() {
    let account = Arc::new(Account::default());
    for (is_unanswered, charged) in [(false, 0), (true, 6)] {
        let mut attempts = attempts_of(RetryPolicy::default(), &account);
        let permits: Vec<_> = (0..8).map(|_| admitted(&account, &mut attempts)).collect();
        for permit in &permits {
            let failed = Failed { is_unanswered, ..fails(permit) };
            let _ = attempts.after(failure(ErrorKind::Server), failed, None);
        }
        permits.into_iter().for_each(|mut permit| permit.succeeded(None));
        attempts.settle();
        assert_eq!((attempts.charged, attempts.marks), (charged, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_alone_twice_with_an_answer_between_fails_for_good() {
    let account = Arc::new(Account::default());
    let mut attempts = attempts_of(RetryPolicy::default(), &account);
    let alone = |run| Failed { run: Some(run), is_alone: true, ..Failed::default() };
    assert!(attempts.after(failure(ErrorKind::Server), alone(0), None).is_ok());
    assert!(
        attempts.after(failure(ErrorKind::Server), alone(0), None).is_ok(),
        "no call was answered in between"
    );
    answers(&account).await;
    assert_eq!(
        attempts.after(failure(ErrorKind::Server), alone(0), None).unwrap_err().kind(),
        ErrorKind::Server
    );
}

#[test]
fn a_call_with_an_alternative_does_not_wait_for_the_verdict() {
    let account = Arc::new(Account::default());
    let mut attempts = attempts_of(RetryPolicy::default(), &account);
    attempts.waiter(RequestSize::default(), &Context::new().with_alternatives(true));
    let failed = Failed { run: Some(0), ..Failed::default() };
    let tried =
        (0..20).take_while(|_| attempts.after(failure(ErrorKind::Server), failed, None).is_ok()).count();
    assert_eq!(tried, 5);
}

/// An interactive call with `max_attempts` that failed once, while others were answered.
async fn failed_among_others(account: &Arc<Account>, max_attempts: u32) -> Attempts {
    let max_attempts = std::num::NonZeroU32::new(max_attempts).expect("not 0");
    let policy = RetryPolicy::default().max_attempts(max_attempts);
    let mut attempts = Attempts::new(policy, Priority::Interactive, account.clone());
    let permit = admitted(account, &mut attempts);
    assert!(attempts.after(failure(ErrorKind::Server), fails(&permit), None).is_ok());
    drop(permit);
    answers(account).await;
    attempts
}

/// Sends requests that fail, until the call gives up. Returns the time that this took, and the error.
async fn fail_until_given_up(account: &Arc<Account>, attempts: &mut Attempts) -> (Duration, Error) {
    let began = Instant::now();
    loop {
        let permit = admitted(account, attempts);
        match attempts.after(failure(ErrorKind::Server), fails(&permit), None) {
            Ok(wait) => tokio::time::sleep(wait).await,
            Err(error) => return (began.elapsed(), error),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_interactive_call_that_failed_before_an_outage_is_not_its_cause_for_5_seconds() {
    let account = Arc::new(Account::default());
    let mut attempts = failed_among_others(&account, 3).await;
    let (lasted, error) = fail_until_given_up(&account, &mut attempts).await;
    assert!((CAUSE_AFTER..CAUSE_AFTER + SECOND).contains(&lasted), "{lasted:?}");
    assert_eq!(error.kind(), ErrorKind::Server, "its own error: {error}");
}

#[tokio::test(start_paused = true)]
async fn failures_without_an_answer_in_between_charge_an_interactive_call_once() {
    let account = Arc::new(Account::default());
    let mut attempts = failed_among_others(&account, 4).await;
    for charged in [2, 3] {
        // Three of its requests fail in an outage that only this call notices.
        for _ in 0..3 {
            let permit = admitted(&account, &mut attempts);
            assert!(attempts.after(failure(ErrorKind::Server), fails(&permit), None).is_ok());
        }
        answers(&account).await;
        attempts.settle();
        assert_eq!(attempts.charged, charged);
    }
    let permit = admitted(&account, &mut attempts);
    let outcome = attempts.after(failure(ErrorKind::Server), fails(&permit), None);
    assert!(outcome.is_ok(), "undecided until the account answers again");
}
