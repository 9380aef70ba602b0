//! Restores input order. Keeps journal locations of results, not the results.

use std::collections::VecDeque;

use crate::location::RowLocation;

/// Results that wait for an earlier row. Takes 16 bytes for each row after the first missing one.
#[derive(Default)]
pub(crate) struct Order {
    /// Indices of the rows of a sample, in order. `None` if all rows run.
    sample: Option<Box<[u64]>>,
    /// Position of the next row: its index, or that in the sample.
    next: u64,
    /// Location of the row at position `next + i`, once it is finished.
    waiting: VecDeque<Option<RowLocation>>,
    held: usize,
}

impl Order {
    /// The order of the rows of a sample, by their indices.
    pub(crate) fn of_sample(indices: Box<[u64]>) -> Self {
        Self { sample: Some(indices), ..Self::default() }
    }

    /// Position of a row.
    fn position(&self, index: u64) -> u64 {
        let Some(sample) = &self.sample else { return index };
        sample.binary_search(&index).expect("only rows of the sample run") as u64
    }

    pub(crate) fn insert(&mut self, index: u64, location: RowLocation) {
        let ahead = self.position(index).checked_sub(self.next).expect("a row has one result");
        let at = usize::try_from(ahead).expect("the waiting rows fit into memory");
        if self.waiting.len() <= at {
            self.waiting.resize(at + 1, None);
        }
        let before = self.waiting[at].replace(location);
        debug_assert!(before.is_none(), "a row has one result");
        self.held += 1;
    }

    /// The next row in order, if it is finished.
    pub(crate) fn pop(&mut self) -> Option<(u64, RowLocation)> {
        let location = (*self.waiting.front()?)?;
        self.waiting.pop_front();
        self.held -= 1;
        let at = self.next;
        self.next += 1;
        let of_sample = |sample: &[u64]| sample[usize::try_from(at).expect("its rows fit into memory")];
        Some((self.sample.as_deref().map_or(at, of_sample), location))
    }

    /// Advances past row `index`, whose result is available. Returns false if another row is next.
    pub(crate) fn advance_past(&mut self, index: u64) -> bool {
        if self.position(index) != self.next {
            return false;
        }
        self.waiting.pop_front();
        self.next += 1;
        true
    }

    /// Skips missing rows up to the next finished one. Returns false if no results are waiting.
    pub(crate) fn skip_gap(&mut self) -> bool {
        let gap = self.waiting.iter().take_while(|location| location.is_none()).count();
        self.waiting.drain(..gap);
        self.next += gap as u64;
        !self.waiting.is_empty()
    }

    /// Number of waiting results.
    pub(crate) fn held(&self) -> usize {
        self.held
    }
}
