//! The number of things that run at the same time.

use std::num::NonZeroUsize;

use crate::{Error, ErrorKind, Result};

/// Maximum number of calls, rows or tools that run at the same time.
///
/// Every setter of the name `concurrency` takes one, as a number or as a [`NonZeroUsize`]. 0 is an error
/// of what is run with it ([`ErrorKind::Config`]), not of the setter.
///
/// ```
/// use fanweave::batch::Settings;
/// use fanweave::context::Concurrency;
///
/// let settings = Settings::new().concurrency(16);
/// assert_eq!(settings.concurrency, Concurrency::from(16));
/// assert!(Concurrency::from(0).checked().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Concurrency(usize);

impl Concurrency {
    /// At most `n` at the same time.
    pub const fn new(n: usize) -> Self {
        Self(n)
    }

    /// The number, which may be 0.
    pub const fn get(self) -> usize {
        self.0
    }

    /// The number.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if it is 0.
    pub fn checked(self) -> Result<NonZeroUsize> {
        NonZeroUsize::new(self.0)
            .ok_or_else(|| Error::new(ErrorKind::Config, "concurrency must be at least 1 (got 0)"))
    }
}

impl From<usize> for Concurrency {
    fn from(n: usize) -> Self {
        Self(n)
    }
}

impl From<NonZeroUsize> for Concurrency {
    fn from(n: NonZeroUsize) -> Self {
        Self(n.get())
    }
}

impl std::fmt::Display for Concurrency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
