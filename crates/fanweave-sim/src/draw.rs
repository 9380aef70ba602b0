//! Seeded draws: the only source of randomness in the crate.
//!
//! Uses neither clocks nor the operating system's randomness, so the same seed gives the same run.

/// Decision that a draw is for. Draws for different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    LatencyRadius = 1,
    LatencyAngle,
    Fault,
    ErrorStatus,
    RequestId,
    Expiry,
    Flaky,
    Garbage,
    Surplus,
}

/// A uniform number in (0, 1) for one purpose of one request.
pub(crate) fn unit(seed: u64, seq: u64, purpose: Purpose) -> f64 {
    (bits(seed, seq, purpose) >> 11) as f64 / (1u64 << 53) as f64 + f64::EPSILON / 4.0
}

/// 64 uniform bits for one purpose of one request.
pub(crate) fn bits(seed: u64, seq: u64, purpose: Purpose) -> u64 {
    let request = seed.wrapping_add(seq.wrapping_mul(GOLDEN));
    Rng::new(request.wrapping_add((purpose as u64).wrapping_mul(0xD1B5_4A32_D192_ED03))).bits()
}

/// The step of splitmix64, 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// A splitmix64 generator: eight bytes of state, good enough to choose words with.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`, or 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.bits() % bound as u64) as usize }
    }

    /// One of `choices`, which must not be empty.
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }

    /// `choices` in random order, repeated without end: all are used before any repeats.
    pub(crate) fn cycle<'a, T: ?Sized>(
        &mut self,
        choices: &[&'a T],
    ) -> impl Iterator<Item = &'a T> + use<'a, T> {
        let mut order = choices.to_vec();
        for last in (1..order.len()).rev() {
            order.swap(last, self.below(last + 1));
        }
        let count = order.len();
        (0..).map(move |index: usize| order[index % count])
    }
}

/// A hash that is stable across processes and machines (64-bit FNV-1a over parts with their lengths).
#[derive(Clone, Debug)]
pub(crate) struct Fingerprint(u64);

impl Default for Fingerprint {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Fingerprint {
    pub(crate) fn add(&mut self, part: &[u8]) {
        for byte in part.iter().copied().chain(part.len().to_le_bytes()) {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    pub(crate) fn value(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_uniform_and_never_zero_or_one() {
        let draws: Vec<f64> = (0..20_000).map(|seq| unit(7, seq, Purpose::Fault)).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        assert!((0.49..0.51).contains(&mean), "mean {mean}");
        assert!(draws.iter().all(|u| *u > 0.0 && *u < 1.0));
    }

    #[test]
    fn purposes_and_seeds_draw_independently() {
        assert_ne!(bits(1, 1, Purpose::Fault), bits(1, 1, Purpose::ErrorStatus));
        assert_ne!(bits(1, 1, Purpose::Fault), bits(2, 1, Purpose::Fault));
    }

    #[test]
    fn a_cycle_uses_every_choice_before_it_repeats_one() {
        let words = ["a", "b", "c", "d"];
        let mut first: Vec<_> = Rng::new(3).cycle(&words).take(4).collect();
        first.sort_unstable();
        assert_eq!(first, words);
    }
}
