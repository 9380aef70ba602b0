//! Location of a recorded row.

use std::num::NonZeroU32;

/// Location of a row in [`Records`](crate::Records), and whether the row has an answer. 16 bytes.
///
/// ```
/// use fanweave::batch::RowLocation;
///
/// let location = RowLocation::new(7, true);
/// assert_eq!((location.position(), location.is_ok()), (7, true));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowLocation {
    position: u64,
    /// Length of a line of a journal.
    pub(crate) length: NonZeroU32,
    is_ok: bool,
}

impl RowLocation {
    /// The location of a row. The meaning of `position` is that of the records, such as a row id.
    pub fn new(position: u64, is_ok: bool) -> Self {
        Self::of_line(position, NonZeroU32::MIN, is_ok)
    }

    pub(crate) fn of_line(position: u64, length: NonZeroU32, is_ok: bool) -> Self {
        Self { position, length, is_ok }
    }

    /// Length of its line, if this is the location of a journal.
    pub(crate) fn line_length(self) -> Option<usize> {
        // A line has at least its newline and an object.
        Some(self.length.get() as usize).filter(|length| *length > 1)
    }

    /// The position, with the meaning that the records give it.
    pub fn position(self) -> u64 {
        self.position
    }

    /// Returns true if the row has an answer.
    pub fn is_ok(self) -> bool {
        self.is_ok
    }
}
