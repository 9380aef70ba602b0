//! Parts of a run that the provider has, or may have.

use std::collections::{HashSet, VecDeque};

use crate::journal::{Part, PartState};
use crate::key::Key;

/// Parts that have not been collected, in order of submission.
pub(super) struct Parts {
    open: VecDeque<PendingPart>,
    keys: HashSet<Key>,
}

/// A part that has not been collected.
pub(super) struct PendingPart {
    pub(super) tag: String,
    pub(super) keys: Vec<Key>,
    /// The provider's id of the batch. `None` if it was not received.
    pub(super) batch: Option<String>,
}

impl Parts {
    /// Restores the parts from the notes of a journal.
    pub(super) fn new(notes: Vec<Part>) -> Self {
        let mut open: Vec<PendingPart> = Vec::new();
        for Part { tag, state } in notes {
            match state {
                PartState::Intended { keys } => open.push(PendingPart { tag, keys, batch: None }),
                PartState::Submitted { batch } => {
                    if let Some(part) = open.iter_mut().find(|part| part.tag == tag) {
                        part.batch = Some(batch);
                    }
                }
                PartState::Dropped | PartState::Collected => open.retain(|part| part.tag != tag),
            }
        }
        let mut parts = Self { open: VecDeque::new(), keys: HashSet::new() };
        open.into_iter().for_each(|part| parts.add(part));
        parts
    }

    /// Returns true if the provider has a row, or may have it.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.keys.contains(key)
    }

    pub(super) fn add(&mut self, part: PendingPart) {
        self.keys.extend(&part.keys);
        self.open.push_back(part);
    }

    /// Removes the next part. Its rows no longer count as submitted.
    pub(super) fn next(&mut self) -> Option<PendingPart> {
        let part = self.open.pop_front()?;
        part.keys.iter().for_each(|key| _ = self.keys.remove(key));
        Some(part)
    }

    /// Number of parts.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }
}
