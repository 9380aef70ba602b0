//! Latency histogram of fixed size with exponential buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets per doubling. 16 keep the error of a percentile within 6 %.
const FINE: usize = 16;
/// Number of doublings, from 1 microsecond up to 2^36 us (19 hours).
const DOUBLINGS: usize = 36;

/// Counts durations. Its size is always 5 KiB.
pub(crate) struct Histogram {
    buckets: [AtomicU64; FINE * DOUBLINGS],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; FINE * DOUBLINGS] }
    }
}

impl Histogram {
    pub(crate) fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1);
        self.buckets[bucket(micros)].fetch_add(1, Ordering::Relaxed);
    }

    /// Duration at this quantile (0 to 1). `None` if nothing was recorded.
    pub(crate) fn percentile(&self, share: f64) -> Option<Duration> {
        let counts: Vec<_> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a count of rows"
        )]
        let rank = ((all as f64 * share).ceil() as u64).clamp(1, all.max(1));
        let mut seen = 0;
        let at = counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(Duration::from_micros(upper(at)))
    }
}

/// Index of the bucket for a number of microseconds, at least 1.
fn bucket(micros: u64) -> usize {
    let doubling = micros.ilog2() as usize;
    if doubling >= DOUBLINGS {
        return FINE * DOUBLINGS - 1;
    }
    // Distance from the lower bound of the doubling, later divided into sixteenths.
    let above = (micros - (1 << doubling)) as usize;
    doubling * FINE + above * FINE / (1 << doubling)
}

/// Upper bound of a bucket in microseconds.
fn upper(bucket: usize) -> u64 {
    let (doubling, fine) = (bucket / FINE, bucket % FINE);
    let begin = 1_u64 << doubling;
    (begin + begin * (fine as u64 + 1) / FINE as u64 - 1).max(begin)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn percentiles_of_a_uniform_distribution_are_accurate() {
        let histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), None);
        (1..=1000).for_each(|ms| histogram.record(Duration::from_millis(ms)));
        let within = |share: f64, ms: f64| {
            let found = histogram.percentile(share).expect("recorded").as_secs_f64() * 1000.0;
            (found / ms - 1.0).abs() < 0.07
        };
        assert!(within(0.5, 500.0) && within(0.95, 950.0) && within(1.0, 1000.0));
    }

    proptest! {
        #[test]
        fn a_value_is_within_the_bounds_of_its_bucket(micros in 1_u64..1 << 35) {
            let upper = upper(bucket(micros));
            prop_assert!(upper >= micros && upper as f64 <= micros as f64 * 1.07 + 1.0);
        }
    }
}
