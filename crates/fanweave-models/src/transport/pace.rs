//! Response times of a host: a response that is too fast may belong to an earlier request.
//!
//! A surplus response that arrives after the next request was written looks like the response to that
//! request, except that it is too fast: the host cannot have worked on the request. [`Pace`] keeps the times
//! of certain responses, those to the first request of a connection. A response that is far faster is held
//! for a moment, until the real one would have arrived.
//!
//! A response that begins like the previous one on its connection may be a copy of it. The first few of them
//! are held too: an honest host repeats itself only if its responses carry no id of their own.
//!
//! When many calls are in flight, the first responses on used connections are held as well. This detects a
//! host that often responds twice, and costs the run a few milliseconds once.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Hosts that respond faster show no difference: timers are not more precise.
const MIN: Duration = Duration::from_millis(2);

/// A response is early if it took less than this fraction of the fastest certain one. The response times of a
/// model differ by less, and a cached response is held only once.
const PART: u32 = 8;

/// Number of certain responses that show whether the response times of a host are constant.
const SAMPLES: usize = 8;

/// Maximum time to hold an early or repeated response.
const MAX_HOLD: Duration = Duration::from_secs(3);

/// Number of repeated responses that are held.
const MAX_REPEATS: usize = 4;

/// Number of responses on used connections that are held at any speed. If a host responds twice to every
/// tenth request, one in a thousand goes undetected.
const PROBATION: usize = 64;

/// Maximum time to hold these responses.
const MAX_PROBATION_HOLD: Duration = Duration::from_millis(25);

/// Times of a host, from the request to the first byte of its response.
#[derive(Default)]
pub(crate) struct Pace {
    certain: Mutex<Certain>,
    /// Responses faster than this are early, in microseconds.
    early: AtomicU64,
    /// Responses on used connections that were held and turned out to be correct.
    proven: AtomicUsize,
    /// Repeated responses that were held.
    repeats: AtomicUsize,
}

/// Decision to hold a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) time: Duration,
    /// Set if the real response would have arrived by then, or if nothing suggests that there is one.
    pub(crate) is_certain: bool,
}

#[derive(Default)]
struct Certain {
    count: usize,
    fastest: Duration,
    slowest: Duration,
}

impl Pace {
    /// Adds the time of a certain response.
    pub(crate) fn add(&self, took: Duration) {
        let mut certain = self.certain.lock().unwrap_or_else(PoisonError::into_inner);
        certain.add(took);
        let early = u64::try_from(certain.early().as_micros()).unwrap_or(u64::MAX);
        self.early.store(early, Ordering::Relaxed);
    }

    /// Returns how long to hold a response on a used connection that took this time, depending on whether the
    /// host has many calls in flight. `None` for nearly all.
    pub(crate) fn hold(&self, took: Duration, has_many: bool) -> Option<Hold> {
        let is_early = took.as_micros() < u128::from(self.early.load(Ordering::Relaxed));
        let is_proven = !has_many || self.proven.load(Ordering::Relaxed) >= PROBATION;
        if is_proven && !is_early {
            return None;
        }
        let rest = self.rest(took);
        if is_early {
            return Some(Hold::limited(rest));
        }
        Some(Hold { time: rest.clamp(MIN, MAX_PROBATION_HOLD), is_certain: true })
    }

    /// Returns how long to hold a response that took this time and begins like the previous one on its
    /// connection.
    pub(crate) fn hold_repeat(&self, took: Duration) -> Option<Hold> {
        let is_counted = self.repeats.load(Ordering::Relaxed) < MAX_REPEATS
            && self.repeats.fetch_add(1, Ordering::Relaxed) < MAX_REPEATS;
        is_counted.then(|| Hold::limited(self.rest(took).max(MIN)))
    }

    /// Time until the real response would have arrived, after one that took this time.
    fn rest(&self, took: Duration) -> Duration {
        let certain = self.certain.lock().unwrap_or_else(PoisonError::into_inner);
        // A quarter more than the slowest: few responses are slower still.
        (certain.slowest * 5 / 4).saturating_sub(took)
    }

    /// Adds the time of a response that was held and turned out to be correct.
    pub(crate) fn add_proven(&self, took: Duration) {
        self.proven.fetch_add(1, Ordering::Relaxed);
        self.add(took);
    }
}

impl Hold {
    fn limited(rest: Duration) -> Self {
        Self { time: rest.min(MAX_HOLD), is_certain: rest <= MAX_HOLD }
    }
}

impl Certain {
    fn add(&mut self, took: Duration) {
        self.fastest = if self.count == 0 { took } else { self.fastest.min(took) };
        self.slowest = self.slowest.max(took);
        self.count += 1;
    }

    fn early(&self) -> Duration {
        if self.fastest < MIN {
            return Duration::ZERO;
        }
        let is_steady = self.count >= SAMPLES && self.slowest <= self.fastest * 3 / 2;
        let steady =
            if is_steady { self.fastest - (self.slowest - self.fastest) / 2 } else { Duration::ZERO };
        steady.max(self.fastest / PART)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn certain(time: Duration) -> Option<Hold> {
        Some(Hold { time, is_certain: true })
    }

    fn pace(times: &[u32]) -> Pace {
        let pace = Pace::default();
        for time in times {
            pace.add(MS * *time);
        }
        pace
    }

    #[test]
    fn an_answer_far_sooner_than_all_others_is_held_until_the_real_one_would_have_come() {
        let pace = pace(&[300, 400]);
        assert_eq!(pace.hold(MS * 38, false), None);
        assert_eq!(pace.hold(MS * 5, false), certain(MS * 495));
    }

    #[test]
    fn a_host_that_always_takes_the_same_time_allows_a_narrow_limit() {
        let pace = pace(&[20, 20, 21, 22, 21, 20, 20, 22]);
        assert_eq!(pace.hold(MS * 19, false), None);
        assert_eq!(pace.hold(MS * 10, false), certain(Duration::from_micros(17_500)));
    }

    #[test]
    fn an_early_answer_that_was_right_is_held_once() {
        let pace = pace(&[4_000]);
        assert_eq!(pace.hold(MS * 10, false), Some(Hold { time: MAX_HOLD, is_certain: false }));
        pace.add_proven(MS * 10);
        assert_eq!(pace.hold(MS * 9, false), None);
    }

    #[test]
    fn answers_of_a_fast_or_unknown_host_are_not_held() {
        assert_eq!(pace(&[]).hold(Duration::ZERO, false), None);
        assert_eq!(pace(&[1, 1, 1, 1, 1, 1, 1, 1]).hold(Duration::ZERO, false), None);
    }

    #[test]
    fn the_first_answers_that_repeat_another_are_held_until_the_real_one_would_have_come() {
        let pace = pace(&[40, 60]);
        for _ in 0..MAX_REPEATS {
            assert_eq!(pace.hold_repeat(MS * 10), certain(MS * 65));
        }
        assert_eq!(pace.hold_repeat(MS * 10), None);
    }

    #[test]
    fn the_first_answers_of_a_busy_host_are_held_for_a_moment() {
        let pace = pace(&[4, 8]);
        for _ in 0..PROBATION {
            assert_eq!(pace.hold(MS * 5, true), certain(MS * 5));
            assert_eq!(pace.hold(MS * 20, true), certain(MIN));
            assert_eq!(pace.hold(MS * 5, false), None);
            pace.add_proven(MS * 5);
        }
        assert_eq!(pace.hold(MS * 5, true), None);
    }
}
