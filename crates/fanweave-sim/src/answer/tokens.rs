//! Token counting of this provider.

/// Bytes of text per token: the usual rule of thumb for English.
const BYTES_PER_TOKEN: usize = 4;

/// A token is four bytes of UTF-8, rounded up. Empty text counts as one token.
///
/// ```
/// use fanweave_sim::answer::count_tokens;
///
/// assert_eq!(count_tokens("tidal power"), 3);
/// assert_eq!(count_tokens(""), 1);
/// ```
#[must_use]
pub fn count_tokens(text: &str) -> u64 {
    text.len().div_ceil(BYTES_PER_TOKEN).max(1) as u64
}

/// Length in bytes of the longest prefix of `text` with at most `limit` tokens.
pub(super) fn longest_prefix(text: &str, limit: u64) -> usize {
    let bytes = usize::try_from(limit).unwrap_or(usize::MAX).saturating_mul(BYTES_PER_TOKEN);
    text.floor_char_boundary(bytes)
}
