//! Vectors side by side in memory, searched exactly: every one is looked at.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::{Error, ErrorKind, Result};

/// Numbers that are summed side by side: as many as a processor's widest registers hold, in pairs.
const LANES: usize = 32;

/// Vectors of length 1 in one block of memory, in rows that move when others are removed.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Numbers in a vector. 0 while there is none.
    dimensions: usize,
    numbers: Vec<f32>,
}

impl Index {
    pub(super) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Vectors in it.
    pub(super) fn rows(&self) -> usize {
        self.numbers.len().checked_div(self.dimensions).unwrap_or(0)
    }

    pub(super) fn row(&self, row: usize) -> &[f32] {
        &self.numbers[row * self.dimensions..][..self.dimensions]
    }

    /// Whether `vector` has the length of the others, and a direction.
    pub(super) fn check(&self, vector: &[f32]) -> Result<()> {
        check(vector, self.dimensions)
    }

    /// Adds a vector that has been checked, as the last row.
    pub(super) fn push(&mut self, vector: &[f32]) {
        self.dimensions = vector.len();
        let start = self.numbers.len();
        self.numbers.extend_from_slice(vector);
        normalise(&mut self.numbers[start..]);
    }

    /// Puts a vector that has been checked into `row`.
    pub(super) fn replace(&mut self, row: usize, vector: &[f32]) {
        let place = &mut self.numbers[row * self.dimensions..][..self.dimensions];
        place.copy_from_slice(vector);
        normalise(place);
    }

    /// Removes `row`. The last row takes its place.
    pub(super) fn swap_remove(&mut self, row: usize) {
        let last = self.rows() - 1;
        self.numbers.copy_within(last * self.dimensions.., row * self.dimensions);
        self.numbers.truncate(last * self.dimensions);
    }

    /// The `limit` rows nearest to `vector` among those that `allows`, with their cosines, the nearest first, and of
    /// equals the lower row first.
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
        // The worst of the best is on top.
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

/// A row in the order of how near it is.
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

/// Whether `vector` has `dimensions` numbers, any where that is 0, and a direction.
pub(super) fn check(vector: &[f32], dimensions: usize) -> Result<()> {
    let refused = |message: String| Err(Error::new(ErrorKind::Input, message));
    if vector.is_empty() {
        return refused("a vector has no numbers".to_owned());
    }
    if dimensions != 0 && vector.len() != dimensions {
        return refused(format!(
            "a vector has {} numbers, and those in the store have {dimensions}: use the embedding model that the \
             store was filled with",
            vector.len()
        ));
    }
    if vector.iter().all(|x| x.is_finite()) {
        Ok(())
    } else {
        refused("a vector holds a number that is not finite".to_owned())
    }
}

/// Makes the length 1. A vector of zeros stays what it is, and is like no other.
pub(super) fn normalise(vector: &mut [f32]) {
    // In 64 bits: the squares of large numbers would overflow.
    let length = vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        #[expect(clippy::cast_possible_truncation, reason = "at most 1")]
        vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    }
}

/// The sum of products, in lanes that the compiler turns into vector instructions.
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
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
