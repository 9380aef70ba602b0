//! The `custom_id`s of an OpenAI batch, which must be unique.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;

/// Number of bits of a line number. Files have fewer lines, and runs fewer than 2^24 files.
const LINE_BITS: u32 = 40;

/// The ids seen so far.
#[derive(Default)]
pub(super) struct Ids {
    /// Hash of each id, and the file and line that it was in. The hashes have 64 bits and a random key: with
    /// a million ids, a false duplicate occurs once in 10^7 runs. They take 35 MB, while the ids could take
    /// 100 MB.
    seen: HashMap<u64, u64>,
    hasher: RandomState,
    /// Names of the files, if there are several.
    files: Vec<String>,
}

impl Ids {
    /// Continues with the rows of another file.
    pub(super) fn begin_file(&mut self, name: &str) {
        self.files.push(name.to_owned());
    }

    /// Rejects a duplicate: results are identified by the id, and OpenAI rejects duplicates too.
    pub(super) fn check(&mut self, id: &str, line: u64) -> Result<(), String> {
        let file = self.files.len().saturating_sub(1) as u64;
        match self.seen.entry(self.hasher.hash_one(id)) {
            Entry::Vacant(free) => {
                free.insert(file << LINE_BITS | line);
                Ok(())
            }
            Entry::Occupied(first) => {
                let (file, line) = (*first.get() >> LINE_BITS, *first.get() & ((1 << LINE_BITS) - 1));
                let file = usize::try_from(file).ok().and_then(|file| self.files.get(file));
                let of_file = file.map(|name| format!(" of {name}")).unwrap_or_default();
                Err(format!(
                    "duplicate custom_id `{id}` (first used in line {line}{of_file}); each row needs a unique one"
                ))
            }
        }
    }
}
