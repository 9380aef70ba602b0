//! Embeddings: texts that share words point in similar directions.

use super::words;
use crate::draw::Rng;

/// Number of dimensions that a word contributes to.
const BUCKETS_PER_WORD: usize = 24;

/// Default dimensions of `model`'s vectors: 3,072 for names with `large`, else 1,536.
///
/// Source: the lengths of OpenAI's `text-embedding-3-large` and `-small`.
#[must_use]
pub fn default_dimensions(model: &str) -> usize {
    if model.contains("large") { 3072 } else { 1536 }
}

/// A vector of length 1 that depends on the words of `text` and a little on their order.
///
/// ```
/// use fanweave_sim::answer::embed;
///
/// let dot = |a: &str, b: &str| embed(a, 256).iter().zip(embed(b, 256)).map(|(x, y)| x * y).sum::<f32>();
/// assert!(dot("tides of the sea", "the sea and its tides") > dot("tides of the sea", "a loaf of bread"));
/// ```
#[must_use]
pub fn embed(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0f32; dimensions];
    let mut add = |feature: &str, weight: f32| {
        let mut rng = Rng::new(u64::from(crc32fast::hash(feature.as_bytes())));
        for _ in 0..BUCKETS_PER_WORD.min(dimensions) {
            let sign = if rng.bits() & 1 == 0 { weight } else { -weight };
            vector[rng.below(dimensions)] += sign;
        }
    };
    add(text, 0.3);
    for word in words::words(text) {
        let word = word.to_lowercase();
        add(&word, if words::is_common(&word) { 0.1 } else { 1.0 });
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    } else if let Some(first) = vector.first_mut() {
        // The few dimensions of a very short vector can cancel out.
        *first = 1.0;
    }
    vector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vector_has_length_one() {
        for dimensions in [1, 2, 8, 1536] {
            for text in ["", "a", "Tidal power is old.", "äöü 漢字"] {
                let length = embed(text, dimensions).iter().map(|x| x * x).sum::<f32>().sqrt();
                assert!((length - 1.0).abs() < 1e-4, "{text:?} in {dimensions}: {length}");
            }
        }
    }
}
