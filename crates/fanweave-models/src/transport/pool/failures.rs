//! Limits on what the pool does about failing connections of one host.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

/// Maximum connections per second and host that are closed because of a failed response. Each closed
/// connection occupies one of 28,000 local ports for a minute; 200 per second leave more than half of them.
const MAX_CLOSINGS: u32 = 200;

/// Excess of closed over answered requests on used connections at which a host gets one request per
/// connection.
const MAX_CLOSED: u32 = 8;

/// Time until connections of such a host are reused again.
const SINGLE: Duration = Duration::from_secs(60);

/// Resends that a host has credit for at first and once per second, and at most.
const CREDIT: u32 = 4;
const MAX_CREDIT: u32 = 64;

/// Credit that an answered resend adds.
const EARNED: u32 = 2;

/// Returns true if another connection might have given another response with this status.
///
/// Servers and gateways that fail do so with 5xx. 408 announces that the connection will be closed, and 421
/// that it leads to the wrong server. All other statuses are decisions about the request.
pub(super) fn is_suspect(status: StatusCode) -> bool {
    status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::MISDIRECTED_REQUEST)
}

/// Limits how many connections are closed because of failed responses.
pub(super) type Closings = Credit<MAX_CLOSINGS>;

/// Limits how many requests are resent because their used connections were closed. A host that answers them
/// on new connections earns more. One that is down, and resets everything, gets few.
pub(super) type Resends = Credit<CREDIT>;

/// Limits how often something is done: `PER_SECOND` times at first and in each second.
#[derive(Default)]
pub(super) struct Credit<const PER_SECOND: u32> {
    /// Start of a second, and the credit that is left.
    second: Mutex<Option<(Instant, u32)>>,
}

impl<const PER_SECOND: u32> Credit<PER_SECOND> {
    /// Returns true if it may be done once more now.
    pub(super) fn admit(&self) -> bool {
        self.change(|left| {
            let may = *left > 0;
            *left = left.saturating_sub(1);
            may
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut u32) -> T) -> T {
        let now = Instant::now();
        let mut second = self.second.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, left) = second.get_or_insert((now, PER_SECOND));
        if now.duration_since(*since) >= Duration::from_secs(1) {
            (*since, *left) = (now, PER_SECOND.max(*left));
        }
        change(left)
    }
}

impl Resends {
    /// Records that a resent request was answered.
    pub(super) fn answered(&self) {
        self.change(|left| *left = (*left + EARNED).min(MAX_CREDIT));
    }
}

/// Tracks whether a host answers requests on used connections, or closes those.
#[derive(Default)]
pub(super) struct Reuse {
    /// Excess of closed requests.
    closed: AtomicU32,
    /// Time until which the host gets one request per connection.
    until: Mutex<Option<Instant>>,
}

impl Reuse {
    /// Records a response. `is_reused` is set if its connection had been used before. `has_crossed` is set if
    /// the request was sent before, on a used connection that was then closed.
    ///
    /// A host that closes new connections as well is not recorded: it fails in any case.
    pub(super) fn answered(&self, is_reused: bool, has_crossed: bool) {
        if has_crossed {
            if self.closed.fetch_add(1, Ordering::Relaxed) + 1 == MAX_CLOSED {
                *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + SINGLE);
            }
        } else if is_reused && self.closed.load(Ordering::Relaxed) > 0 {
            let less = |closed: u32| (closed < MAX_CLOSED).then(|| closed.saturating_sub(1));
            let _ = self.closed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
    }

    /// Returns true if connections may carry more than one request.
    pub(super) fn is_kept(&self) -> bool {
        if self.closed.load(Ordering::Relaxed) < MAX_CLOSED {
            return true;
        }
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.is_none_or(|until| Instant::now() < until) {
            return false;
        }
        *until = None;
        self.closed.store(0, Ordering::Relaxed);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_that_closes_most_used_connections_gets_one_request_each_for_a_while() {
        let reuse = Reuse::default();
        for _ in 0..100 {
            reuse.answered(false, true);
            reuse.answered(true, false);
        }
        assert!(reuse.is_kept(), "half of them are answered");
        for _ in 0..MAX_CLOSED {
            assert!(reuse.is_kept());
            reuse.answered(false, true);
        }
        assert!(!reuse.is_kept());
        // Requests that were in flight.
        reuse.answered(true, false);
        reuse.answered(false, true);
        tokio::time::advance(SINGLE - Duration::from_millis(1)).await;
        assert!(!reuse.is_kept());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(reuse.is_kept());
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_answers_no_resent_request_gets_few_of_them() {
        let resends = Resends::default();
        for _ in 0..3 {
            assert_eq!((0..100).filter(|_| resends.admit()).count(), CREDIT as usize);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        // Each answer earns two more.
        assert!((0..100).all(|_| {
            let may = resends.admit();
            resends.answered();
            may
        }));
    }

    #[tokio::test(start_paused = true)]
    async fn closings_are_limited_in_each_second() {
        let closings = Closings::default();
        for _ in 0..3 {
            assert_eq!((0..1000).filter(|_| closings.admit()).count(), MAX_CLOSINGS as usize);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[test]
    fn only_failures_of_the_server_are_suspect() {
        let suspect = |status: u16| is_suspect(StatusCode::from_u16(status).unwrap());
        assert!([408, 421, 500, 502, 503, 504, 520, 529].into_iter().all(suspect));
        assert!(![200, 204, 301, 400, 401, 403, 404, 409, 413, 422, 425, 429].into_iter().any(suspect));
    }
}
