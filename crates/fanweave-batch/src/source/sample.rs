//! A random sample of the rows of a file.

use std::collections::{HashMap, VecDeque};

/// Indices of the rows of a sample that were not read yet, in the order of the file.
#[derive(Clone)]
pub(super) struct Sample(VecDeque<u64>);

impl Sample {
    /// `rows` of `total` rows. A larger sample with the same seed contains the smaller one. Memory grows with
    /// `rows` alone.
    pub(super) fn new(rows: u64, total: u64, seed: u64) -> Self {
        // The beginning of a shuffle, of which only the moved elements are kept.
        let mut moved = HashMap::new();
        let mut random = seed;
        let draw = |i: u64| {
            let at = i + below(total - i, next(&mut random));
            let other = moved.get(&i).copied().unwrap_or(i);
            moved.insert(at, other).unwrap_or(at)
        };
        let mut all: Vec<_> = (0..rows.min(total)).map(draw).collect();
        all.sort_unstable();
        Self(all.into())
    }

    /// The rows with these indices, which are in the order of the file.
    pub(super) fn of(indices: Vec<u64>) -> Self {
        Self(indices.into())
    }

    /// The rows of the sample that are in `indices`, which are in the order of the file.
    pub(super) fn within(mut self, indices: &[u64]) -> Self {
        self.0.retain(|index| indices.binary_search(index).is_ok());
        self
    }

    /// Indices of the rows that were not read yet.
    pub(super) fn indices(&self) -> Box<[u64]> {
        self.0.iter().copied().collect()
    }

    /// Number of rows that were not read yet.
    pub(super) fn remaining(&self) -> usize {
        self.0.len()
    }

    /// Returns true if the row with this index is the next one of the sample, and removes it.
    pub(super) fn take(&mut self, index: u64) -> bool {
        // Rows that need no check may not be read.
        while self.0.front().is_some_and(|next| *next < index) {
            self.0.pop_front();
        }
        let is_next = self.0.front() == Some(&index);
        if is_next {
            self.0.pop_front();
        }
        is_next
    }
}

/// The next number of SplitMix64. Written here, because a seed must mean the same rows in every version.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Maps a random number to one below `bound`. The bias is at most `bound` in 2^64.
fn below(bound: u64, random: u64) -> u64 {
    let product = u128::from(bound) * u128::from(random);
    u64::try_from(product >> 64).expect("the product is below bound * 2^64")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(rows: u64, total: u64, seed: u64) -> Vec<u64> {
        Sample::new(rows, total, seed).0.into()
    }

    #[test]
    fn a_seed_means_the_same_rows_in_every_version() {
        assert_eq!(of(5, 1_000, 0), [28, 109, 432, 883, 970]);
    }

    #[test]
    fn a_sample_has_distinct_rows_in_order_and_a_larger_one_contains_it() {
        for seed in 0..200 {
            let mut smaller = Vec::new();
            for rows in [0, 1, 7, 49, 50, 60] {
                let sample = of(rows, 50, seed);
                assert_eq!(sample.len() as u64, rows.min(50));
                assert!(sample.is_sorted_by(|a, b| a < b) && sample.iter().all(|index| *index < 50));
                assert!(smaller.iter().all(|index| sample.contains(index)), "{smaller:?} {sample:?}");
                smaller = sample;
            }
        }
        assert_eq!(of(3, 0, 1), [0; 0]);
    }

    #[test]
    fn every_row_is_as_likely_as_any_other() {
        let mut counts = [0; 20];
        for seed in 0..10_000 {
            for index in of(5, 20, seed) {
                counts[usize::try_from(index).unwrap()] += 1;
            }
        }
        // Each is binomial with mean 2,500 and deviation 43.
        assert!(counts.iter().all(|n| (2_250..2_750).contains(n)), "{counts:?}");
    }
}
