//! Splits text into the pieces in which it is streamed.

/// Splits `text` into `count` pieces of about the same length, or into its words if `count` is 0.
///
/// The concatenated pieces equal the text. Words keep the white space before them, as in most models' tokens.
/// A text with fewer characters than `count` gives fewer pieces.
///
/// ```
/// use fanweave_sim::answer::pieces;
///
/// assert_eq!(pieces("Hello, my  world.", 0).collect::<Vec<_>>(), ["Hello,", " my", "  world."]);
/// assert_eq!(pieces("abcdefgh", 3).collect::<Vec<_>>(), ["abc", "def", "gh"]);
/// ```
pub fn pieces(text: &str, count: usize) -> impl Iterator<Item = &str> {
    let target = if count == 0 { 0 } else { text.len().div_ceil(count) };
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = if target == 0 { word_end(rest) } else { rest.ceil_char_boundary(target) };
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

/// End of the first word of `text`, including the white space before it.
fn word_end(text: &str) -> usize {
    let word = text.find(|c: char| !c.is_whitespace()).unwrap_or(text.len());
    text[word..].find(char::is_whitespace).map_or(text.len(), |length| word + length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_put_together_are_the_text(text in ".{0,80}", count in 0usize..20) {
            let pieces: Vec<_> = pieces(&text, count).collect();
            prop_assert_eq!(pieces.concat(), &*text);
            prop_assert!(pieces.iter().all(|piece| !piece.is_empty()));
            prop_assert!(count == 0 || pieces.len() <= count);
        }
    }
}
