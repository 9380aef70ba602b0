use std::time::{Duration, Instant};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn is_admitted(verdict: LimitDecision) -> bool {
    matches!(verdict, LimitDecision::Admitted(_))
}

#[test]
fn sixty_per_minute_in_quanta_of_a_second_is_one_per_second() {
    let start = Instant::now();
    let limits = Limits::new(Some(60), None, SECOND, start);
    let admitted_at: Vec<u64> = (0..10_000)
        .step_by(10)
        .filter(|ms| is_admitted(limits.admit(1, start + Duration::from_millis(*ms))))
        .collect();
    assert_eq!(admitted_at, (0..10_000).step_by(1000).collect::<Vec<_>>());
}

#[test]
fn a_quantum_of_a_minute_allows_the_whole_minute_at_once() {
    let now = Instant::now();
    let limits = Limits::new(Some(60), None, 60 * SECOND, now);
    assert_eq!((0..100).filter(|_| is_admitted(limits.admit(1, now))).count(), 60);
}

#[test]
fn an_idle_account_saves_up_no_more_than_a_quantum() {
    let start = Instant::now();
    let limits = Limits::new(Some(600), None, SECOND, start);
    let much_later = start + 3600 * SECOND;
    assert_eq!((0..100).filter(|_| is_admitted(limits.admit(1, much_later))).count(), 10);
}

#[test]
fn a_rejection_says_exactly_when_to_come_back_and_costs_nothing() {
    let now = Instant::now();
    let limits = Limits::new(Some(600), None, SECOND, now);
    while is_admitted(limits.admit(1, now)) {}
    let LimitDecision::Rejected { exhausted, retry_after, .. } = limits.admit(1, now) else {
        panic!("admitted")
    };
    assert_eq!(exhausted, Exhausted::Requests { limit: 600 });
    assert_eq!(retry_after, Duration::from_millis(100));
    assert!(!is_admitted(limits.admit(1, now + Duration::from_millis(99))));
    assert!(is_admitted(limits.admit(1, now + Duration::from_millis(100))));
}

#[test]
fn the_headers_window_is_a_minute_whatever_the_quantum() {
    let now = Instant::now();
    let limits = Limits::new(Some(60), None, SECOND, now);
    let LimitDecision::Admitted(state) = limits.admit(1, now) else { panic!("rejected") };
    assert_eq!(state.requests, Some(Level { limit: 60, remaining: 59, reset: SECOND }));
    assert_eq!(state.tokens, None);
}

#[test]
fn tokens_are_charged_as_estimated_and_settled_as_used() {
    let now = Instant::now();
    let limits = Limits::new(None, Some(60_000), SECOND, now);
    assert!(is_admitted(limits.admit(Limits::estimate(100, Some(900)), now)));
    let LimitDecision::Rejected { exhausted, retry_after, .. } = limits.admit(500, now) else {
        panic!("admitted")
    };
    assert_eq!((exhausted, retry_after), (Exhausted::Tokens { limit: 60_000, requested: 500 }, SECOND / 2));
    limits.settle(1000, 500);
    assert!(is_admitted(limits.admit(500, now)));
}

#[test]
fn a_request_larger_than_the_bucket_passes_when_it_is_full_and_leaves_a_debt() {
    let now = Instant::now();
    let limits = Limits::new(None, Some(60_000), SECOND, now);
    assert!(is_admitted(limits.admit(3000, now)));
    let LimitDecision::Rejected { retry_after, .. } = limits.admit(1000, now) else { panic!("admitted") };
    assert_eq!(retry_after, 3 * SECOND);
    limits.refill();
    assert!(is_admitted(limits.admit(1000, now)));
}
