use std::collections::HashSet;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn failure(kind: ErrorKind) -> Error {
    Error::new(kind, "it failed")
}

fn limited(wait: Duration) -> Error {
    failure(ErrorKind::RateLimited).with_retry_after(wait)
}

#[test]
fn a_call_is_sent_at_most_as_often_as_the_policy_says() {
    let budget = Budget::default();
    let mut tries = Tries::new(RetryPolicy::default(), &budget);
    let error = loop {
        tries.begin();
        if let Err(error) = tries.after(failure(ErrorKind::Server), None) {
            break error;
        }
    };
    assert_eq!(error.attempts(), 6);
    assert_eq!(error.to_string(), "it failed (after 6 attempts)");
}

#[test]
fn waits_double_up_to_the_cap_and_are_spread_over_all_of_it() {
    let policy = RetryPolicy::default();
    for (n, most) in [(0, 500), (1, 1000), (4, 8000), (6, 30_000), (200, 30_000)] {
        let most = Duration::from_millis(most);
        let waits: Vec<_> = (0..1000).map(|_| policy.backoff(n)).collect();
        assert!(waits.iter().all(|wait| *wait <= most));
        let eighths: HashSet<_> =
            waits.iter().map(|w| (w.as_secs_f64() / most.as_secs_f64() * 8.0) as u32).collect();
        assert!(eighths.len() >= 8, "drawn from {eighths:?}");
    }
}

#[test]
fn a_rate_limit_uses_up_patience_and_no_attempts() {
    let budget = Budget::default();
    let mut tries = Tries::new(RetryPolicy::default(), &budget);
    for _ in 0..30 {
        tries.begin();
        assert_eq!(tries.after(limited(SECOND * 20), None).unwrap(), SECOND * 20);
    }
    tries.begin();
    let error = tries.after(limited(SECOND * 20), None).unwrap_err();
    assert!(
        error.message().ends_with("not tried again: its waits for rate limits would exceed 600s"),
        "{error}"
    );
    assert_eq!(budget.0.load(Ordering::Relaxed), Budget::FULL);
}

#[test]
fn a_wait_longer_than_the_longest_fails_now_and_says_so() {
    let budget = Budget::default();
    let mut tries = Tries::new(RetryPolicy::default(), &budget);
    tries.begin();
    let error = tries.after(limited(SECOND * 121), None).unwrap_err();
    assert_eq!(error.to_string().matches("the wait asked for is longer than 120s").count(), 1);
    assert_eq!(error.retry_after(), Some(SECOND * 121));
}

#[test]
fn nothing_is_waited_for_that_comes_after_the_deadline() {
    let budget = Budget::default();
    let mut tries = Tries::new(RetryPolicy::default(), &budget);
    tries.begin();
    let error = tries.after(limited(SECOND * 20), Some(SECOND * 10)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RateLimited);
    assert!(error.message().contains("the run ends before the wait of 20s does"));
}

#[test]
fn what_will_not_change_is_not_sent_again() {
    let budget = Budget::default();
    let overruled = failure(ErrorKind::Server).with_retryable(false);
    for error in [failure(ErrorKind::Authentication), failure(ErrorKind::QuotaExhausted), overruled] {
        let mut tries = Tries::new(RetryPolicy::default(), &budget);
        tries.begin();
        assert!(tries.after(error, None).is_err());
    }
}

#[test]
fn an_account_whose_calls_all_fail_runs_out_of_retries() {
    let budget = Budget::default();
    let retry = || {
        let mut tries = Tries::new(RetryPolicy::default(), &budget);
        tries.begin();
        tries.after(failure(ErrorKind::Timeout), None)
    };
    let retries = (0..1000).filter(|_| retry().is_ok()).count();
    assert_eq!(retries, 35);
    let error = retry().unwrap_err();
    assert!(error.message().ends_with("too many calls of this account fail"), "{error}");
    for _ in 0..14 {
        let mut tries = Tries::new(RetryPolicy::default(), &budget);
        tries.begin();
        tries.succeeded();
    }
    assert!(retry().is_ok(), "successes earn retries");
}

#[test]
fn never_means_one_request_also_for_rate_limits() {
    let budget = Budget::default();
    for error in [failure(ErrorKind::Server), failure(ErrorKind::RateLimited), limited(SECOND)] {
        let mut tries = Tries::new(RetryPolicy::never(), &budget);
        tries.begin();
        assert!(tries.after(error, None).is_err());
    }
}

#[test]
fn a_server_that_asks_to_wait_for_no_time_is_not_asked_for_ever() {
    let budget = Budget::default();
    let mut tries = Tries::new(RetryPolicy::never(), &budget);
    tries.begin();
    assert!(tries.after(limited(Duration::ZERO), None).is_err(), "never means never");

    for hint in [Duration::ZERO, Duration::from_millis(1)] {
        let mut tries = Tries::new(RetryPolicy::default(), &budget);
        let given_up = (0..10_000).any(|_| {
            tries.begin();
            tries.after(limited(hint), None).is_err()
        });
        assert!(given_up, "asked 10,000 times with a hint of {hint:?}");
    }
}

#[test]
fn a_call_that_went_well_at_once_earns_a_fourteenth_of_a_retry_and_no_more() {
    let budget = Budget::default();
    let failed = || {
        let mut tries = Tries::new(RetryPolicy::default(), &budget);
        tries.begin();
        tries.after(failure(ErrorKind::Server), None)
    };
    while failed().is_ok() {}
    let empty = budget.0.load(Ordering::Relaxed);
    for _ in 0..5 {
        let mut tries = Tries::new(RetryPolicy::default(), &budget);
        // One that first had to wait for a rate limit has not failed either.
        tries.begin();
        tries.after(limited(SECOND), None).unwrap();
        tries.begin();
        tries.succeeded();
    }
    assert_eq!(budget.0.load(Ordering::Relaxed), empty + 5 * Budget::FIRST_SUCCESS);
}

#[test]
fn a_success_after_a_failure_gives_its_retry_back() {
    let budget = Budget::default();
    let mut tries = Tries::new(RetryPolicy::default(), &budget);
    tries.begin();
    tries.after(failure(ErrorKind::Server), None).unwrap();
    tries.begin();
    tries.succeeded();
    assert_eq!(budget.0.load(Ordering::Relaxed), Budget::FULL);
}
