//! Values with their locations.

/// A value and its byte offset.
#[derive(Debug, Clone)]
pub(crate) struct Spanned<T> {
    pub(crate) at: usize,
    pub(crate) value: T,
    /// The file that contains the value, if it is not the chain file. Then `at` is the offset of that file's
    /// name.
    pub(crate) file: Option<String>,
}

impl<T> Spanned<T> {
    pub(crate) fn new(at: usize, value: T) -> Self {
        Self { at, value, file: None }
    }
}
