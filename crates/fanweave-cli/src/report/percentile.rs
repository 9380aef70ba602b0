//! Percentiles of times.

/// Nearest-rank percentile.
pub(super) fn percentile(mut values: Vec<u64>, percent: usize) -> Option<u64> {
    values.sort_unstable();
    values.get((values.len() * percent).div_ceil(100).max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        assert_eq!(percentile(Vec::new(), 50), None);
        assert_eq!(percentile(vec![3], 95), Some(3));
        assert_eq!(percentile(vec![4, 1, 3, 2], 50), Some(2));
        assert_eq!(percentile((1..=100).collect(), 95), Some(95));
    }
}
