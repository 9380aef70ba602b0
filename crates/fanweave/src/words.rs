//! Embeddings without a model: texts that share words have similar vectors.

use crate::{Context, Embedded, Embedder, Embeddings, Result, Usage};

/// Numbers in a vector. Large enough that few words share a position.
const DIMENSIONS: usize = 512;

/// Positions of the vector per word.
const POSITIONS: usize = 4;

/// Embeds texts by hashing their words, for tests and examples: no key, no network, the same vector for the
/// same text on every machine.
///
/// Similarity depends on shared words, not on meaning. English endings are stripped, so that `tides` matches
/// `tide`.
///
/// ```
/// use fanweave::testing::HashEmbedder;
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let texts = ["the tides turn", "a turning tide", "bears sleep"];
/// let vectors = HashEmbedder::embedder().embed(texts).await?.vectors;
/// let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
/// assert!(dot(&vectors[0], &vectors[1]) > dot(&vectors[0], &vectors[2]));
/// # Ok(())
/// # }) }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct HashEmbedder;

impl HashEmbedder {
    /// Its name: `sim/words`.
    pub const NAME: &str = "sim/words";

    /// Returns it as an [`Embedder`].
    pub fn embedder() -> Embedder {
        Embedder::new(Self)
    }
}

impl Embeddings for HashEmbedder {
    fn name(&self) -> &str {
        Self::NAME
    }

    async fn embed(&self, texts: Vec<String>, _: &Context) -> Result<Embedded> {
        let vectors = texts.iter().map(|text| vector(text)).collect();
        Ok(Embedded::new(vectors, Usage::default()))
    }
}

/// Words that occur in nearly every text.
const COMMON: [&str; 32] = [
    "a", "an", "and", "are", "as", "at", "be", "by", "did", "do", "does", "for", "from", "has", "how", "in",
    "is", "it", "its", "of", "on", "or", "that", "the", "to", "was", "what", "when", "which", "who", "with",
    "why",
];

fn vector(text: &str) -> Vec<f32> {
    let mut vector = vec![0.0f32; DIMENSIONS];
    // Never all zeros, so that texts without words are similar to each other.
    vector[0] = 1e-3;
    let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    for word in words {
        let word = word.to_lowercase();
        let weight = if COMMON.contains(&&*word) { 0.05 } else { 1.0 };
        let mut state = u64::from(crc32fast::hash(stem(&word).as_bytes()));
        for _ in 0..POSITIONS {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let position = usize::try_from(state >> 33).unwrap_or_default() % DIMENSIONS;
            vector[position] += if state >> 63 == 0 { weight } else { -weight };
        }
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}

/// The word without common English endings.
fn stem(word: &str) -> &str {
    ["ing", "ed", "es", "s", "e"]
        .iter()
        .find_map(|ending| word.strip_suffix(ending).filter(|stem| stem.chars().count() >= 3))
        .unwrap_or(word)
}
