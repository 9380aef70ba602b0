//! An in-memory index of vectors with exact search: it compares every vector.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::{Error, ErrorKind, Result};

/// Numbers that are summed in parallel: two of the widest vector registers.
const LANES: usize = 32;

/// Normalised vectors in one block of memory. Removing a row moves another one.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Numbers in a vector. 0 while the index is empty.
    dimensions: usize,
    numbers: Vec<f32>,
}

impl Index {
    pub(super) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Number of vectors.
    pub(super) fn rows(&self) -> usize {
        self.numbers.len().checked_div(self.dimensions).unwrap_or(0)
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.numbers[row * self.dimensions..][..self.dimensions]
    }

    /// Checks that `vector` has the length of the others and only finite numbers.
    pub(super) fn check(&self, vector: &[f32]) -> Result<()> {
        check(vector, self.dimensions)
    }

    /// Appends a checked vector as the last row.
    pub(super) fn push(&mut self, vector: &[f32]) {
        self.dimensions = vector.len();
        let start = self.numbers.len();
        self.numbers.extend_from_slice(vector);
        normalise(&mut self.numbers[start..]);
    }

    /// Replaces `row` with a checked vector.
    pub(super) fn replace(&mut self, row: usize, vector: &[f32]) {
        let old = &mut self.numbers[row * self.dimensions..][..self.dimensions];
        old.copy_from_slice(vector);
        normalise(old);
    }

    /// Removes `row` and moves the last row there.
    pub(super) fn swap_remove(&mut self, row: usize) {
        let last = self.rows() - 1;
        self.numbers.copy_within(last * self.dimensions.., row * self.dimensions);
        self.numbers.truncate(last * self.dimensions);
    }

    /// The `limit` rows nearest to `vector` among those that `allows` accepts, with their cosines. Nearest
    /// first; ties by row.
    pub(super) fn nearest(
        &self,
        vector: &[f32],
        limit: usize,
        allows: impl Fn(usize) -> bool,
    ) -> Vec<(usize, f32)> {
        if limit == 0 || self.rows() == 0 {
            return Vec::new();
        }
        let mut wanted = vector.to_vec();
        normalise(&mut wanted);
        // The lowest of the best scores is on top.
        let mut best: BinaryHeap<Reverse<Ranked>> = BinaryHeap::with_capacity(limit.min(self.rows()) + 1);
        for (row, other) in self.numbers.chunks_exact(self.dimensions).enumerate() {
            if !allows(row) {
                continue;
            }
            let found = Ranked { score: dot(&wanted, other), row };
            if best.len() < limit {
                best.push(Reverse(found));
            } else if let Some(mut worst) = best.peek_mut()
                && found > worst.0
            {
                *worst = Reverse(found);
            }
        }
        best.into_sorted_vec().into_iter().map(|Reverse(found)| (found.row, found.score)).collect()
    }
}

/// A row, ordered by score.
#[derive(Debug, PartialEq)]
struct Ranked {
    score: f32,
    row: usize,
}

impl Eq for Ranked {}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(other.row.cmp(&self.row))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Checks that `vector` has `dimensions` numbers, or any number of them if that is 0, and that all are
/// finite.
pub(super) fn check(vector: &[f32], dimensions: usize) -> Result<()> {
    let refused = |message: String| Err(Error::new(ErrorKind::Input, message));
    if vector.is_empty() {
        return refused("a vector has no numbers".to_owned());
    }
    if dimensions != 0 && vector.len() != dimensions {
        return refused(format!(
            "a vector has {} numbers, but those in the store have {dimensions}: use the embedding model that the \
             store was filled with",
            vector.len()
        ));
    }
    if vector.iter().all(|x| x.is_finite()) {
        Ok(())
    } else {
        refused("a vector contains a number that is not finite".to_owned())
    }
}

/// Scales a vector to length 1. A vector of zeros stays unchanged and is similar to no other.
pub(super) fn normalise(vector: &mut [f32]) {
    // In 64 bits, since squares of large numbers would overflow.
    let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        #[expect(clippy::cast_possible_truncation, reason = "at most 1")]
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}

/// The dot product, in lanes that the compiler turns into vector instructions.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut totals = [0.0f32; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            totals[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    totals.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn vectors_are_compared_by_direction_alone() {
        let mut index = Index::default();
        for vector in [[1.0, 0.0], [300.0, 300.0], [0.0, 1e-20], [-1.0, 0.0]] {
            index.push(&vector);
        }
        let found = index.nearest(&[5.0, 0.0], 4, |_| true);
        assert_eq!(found.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert!((found[1].1 - 0.5f32.sqrt()).abs() < 1e-6 && (found[3].1 + 1.0).abs() < 1e-6);
    }

    #[test]
    fn a_wrong_vector_is_refused_with_what_to_do() {
        let mut index = Index::default();
        index.push(&[1.0, 2.0]);
        let error = index.check(&[1.0]).unwrap_err();
        assert!(
            error.to_string().contains("use the embedding model that the store was filled with"),
            "{error}"
        );
        assert!(index.check(&[]).is_err() && index.check(&[1.0, f32::NAN]).is_err());
    }

    proptest! {
        #[test]
        fn the_nearest_are_those_of_a_plain_scan(
            vectors in (1usize..70).prop_flat_map(|d| prop::collection::vec(prop::collection::vec(-1.0f32..1.0, d), 1..40)),
            limit in 0usize..50,
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
        ) {
            let mut index = Index::default();
            vectors.iter().for_each(|vector| index.push(vector));
            let mut left: Vec<_> = (0..vectors.len()).collect();
            for at in removed {
                if left.len() > 1 {
                    let row = at.index(left.len());
                    index.swap_remove(row);
                    left.swap_remove(row);
                }
            }
            let wanted = &vectors[0];
            let found = index.nearest(wanted, limit, |row| row % 3 != 1);
            let length = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            let mut plain: Vec<(usize, f64)> = left.iter().enumerate().filter(|(row, _)| row % 3 != 1).map(|(row, at)| {
                let sum: f64 = wanted.iter().zip(&vectors[*at]).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
                let lengths = length(wanted) * length(&vectors[*at]);
                (row, if lengths > 0.0 { sum / lengths } else { 0.0 })
            }).collect();
            plain.sort_by(|a, b| b.1.total_cmp(&a.1));
            plain.truncate(limit);
            prop_assert_eq!(found.len(), plain.len());
            for (found, plain) in found.iter().zip(&plain) {
                prop_assert!((f64::from(found.1) - plain.1).abs() < 1e-5, "{found:?} {plain:?}");
            }
        }
    }
}
