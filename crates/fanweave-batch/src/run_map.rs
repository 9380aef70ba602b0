//! A map by the number of a run.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use fanweave_core::event::RunId;

/// Values by run. The default hash function is several times slower, and protects against keys that others
/// choose.
pub(crate) type RunMap<V> = HashMap<RunId, V, BuildHasherDefault<RunHasher>>;

/// Hashes a run's number: numbers in sequence get distinct low and high bits.
#[derive(Default)]
pub(crate) struct RunHasher(u64);

impl Hasher for RunHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
