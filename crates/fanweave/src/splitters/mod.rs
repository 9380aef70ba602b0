//! Splits long texts into chunks, never inside a grapheme cluster.
//!
//! [`Splitter`] cuts at the best boundary it finds: between paragraphs, lines, sentences or words. Its
//! constructors differ in the boundaries and in the measure of length.

mod markdown;
mod separator;

use std::sync::Arc;

pub use markdown::Markdown;
use separator::Separator;
use unicode_segmentation::UnicodeSegmentation;

use crate::retrieve::TextSplitter;

/// Splits a text at the best boundaries into chunks of a maximum length.
///
/// | constructor | counts | cuts |
/// |---|---|---|
/// | [`characters`](Self::characters) | characters | after a given separator, or else anywhere |
/// | [`recursive`](Self::recursive) | characters | between paragraphs, lines, sentences, words, characters |
/// | [`tokens`](Self::tokens) | tokens, four bytes each | like `recursive` |
///
/// Every chunk is a part of the text, without white space at its ends. With an overlap, a chunk begins with
/// the end of the previous one.
///
/// ```
/// use fanweave::retrieval::TextSplitter;
/// use fanweave::splitters::Splitter;
///
/// let chunks = Splitter::recursive(24).split("Tides turn. They rise twice a day.\n\nBears sleep.");
/// assert_eq!(chunks, ["Tides turn.", "They rise twice a day.", "Bears sleep."]);
/// ```
#[derive(Clone)]
pub struct Splitter {
    length: usize,
    overlap: usize,
    separators: Vec<Separator>,
    count: Arc<dyn Fn(&str) -> usize + Send + Sync>,
}

impl std::fmt::Debug for Splitter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Splitter")
            .field("length", &self.length)
            .field("overlap", &self.overlap)
            .field("separators", &self.separators)
            .finish_non_exhaustive()
    }
}

impl Splitter {
    /// Chunks of at most `length` characters, cut after `separator` if that suffices.
    pub fn characters(length: usize, separator: impl Into<String>) -> Self {
        Self {
            length: length.max(1),
            overlap: 0,
            separators: vec![Separator::Text(separator.into())],
            count: Arc::new(characters),
        }
    }

    /// Chunks of at most `length` characters, cut between paragraphs if that suffices, or else between lines,
    /// sentences, words, characters. Sentences may end with Chinese and Japanese punctuation.
    pub fn recursive(length: usize) -> Self {
        let separators =
            ["\n\n", "\n", ". ", "? ", "! ", "。", "！", "？", "; ", "；", ", ", "，", "、", " ", "\u{3000}"];
        Self::characters(length, "").separators(separators)
    }

    /// Like [`recursive`](Self::recursive), with a limit in tokens of four bytes.
    pub fn tokens(tokens: usize) -> Self {
        Self::recursive(tokens).count(|text| text.len().div_ceil(4))
    }

    /// Maximum length of the end of the previous chunk that a chunk repeats, in the unit of the limit.
    /// Default: 0. At most half of the limit.
    #[must_use]
    pub fn overlap(self, overlap: usize) -> Self {
        let overlap = overlap.min(self.length / 2);
        Self { overlap, ..self }
    }

    /// Cuts after the first of these separators that makes chunks short enough.
    #[must_use]
    pub fn separators<S: Into<String>>(self, separators: impl IntoIterator<Item = S>) -> Self {
        let separators = separators.into_iter().map(|text| Separator::Text(text.into())).collect();
        Self { separators, ..self }
    }

    /// Like [`separators`](Self::separators), with regular expressions. Cuts after each match, or after its
    /// first group if it has one: `(?m)^()# ` cuts before each heading.
    ///
    /// ```
    /// use fanweave::retrieval::TextSplitter;
    /// use fanweave::splitters::Splitter;
    ///
    /// // Before each heading, or else after the number of a footnote.
    /// let splitter = Splitter::recursive(24).separators_matching(["(?m)^()# ", r"\[\d+\]"])?;
    /// let chunks = splitter.split("# Tides\nThey rise.[1] They fall.[2] They rise.\n# Bears\nThey sleep.");
    /// assert_eq!(
    ///     chunks,
    ///     ["# Tides\nThey rise.[1]", "They fall.[2] They rise.", "# Bears\nThey sleep."]
    /// );
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) for an invalid regular expression.
    #[cfg(feature = "regex")]
    pub fn separators_matching<S: AsRef<str>>(
        self,
        patterns: impl IntoIterator<Item = S>,
    ) -> crate::Result<Self> {
        let patterns = patterns.into_iter().map(|pattern| Separator::matching(pattern.as_ref()));
        Ok(Self { separators: patterns.collect::<crate::Result<_>>()?, ..self })
    }

    /// Sets the measure of length. It must not decrease when a text grows.
    #[must_use]
    pub fn count(self, count: impl Fn(&str) -> usize + Send + Sync + 'static) -> Self {
        Self { count: Arc::new(count), ..self }
    }

    fn fits(&self, text: &str, limit: usize) -> bool {
        (self.count)(text.trim()) <= limit
    }

    /// Splits `text` into parts that fit, each with the separator at its end. Cuts at the first separator
    /// that occurs, and parts that are still too long at the next one.
    fn parts<'a>(&self, text: &'a str, separators: &[Separator], parts: &mut Vec<&'a str>) {
        if self.fits(text, self.length) {
            parts.push(text);
            return;
        }
        let mut separators = separators;
        while let [first, rest @ ..] = separators {
            separators = rest;
            if let Some(cut) = first.cut(text) {
                cut.into_iter().for_each(|part| self.parts(part, rest, parts));
                return;
            }
        }
        parts.extend(text.graphemes(true));
    }

    /// Start and end of each chunk in `text`.
    fn ranges(&self, text: &str) -> Vec<(usize, usize)> {
        let mut parts = Vec::new();
        self.parts(text, &self.separators, &mut parts);
        let mut ranges = Vec::new();
        // Start of each part of the current chunk, and its end.
        let mut starts: Vec<usize> = Vec::new();
        let mut end = 0;
        for part in parts {
            let after = end + part.len();
            if let Some(&start) = starts.first()
                && !self.fits(&text[start..after], self.length)
            {
                ranges.push((start, end));
                // Keep the last parts that fit into the overlap and leave room for the next part.
                starts.retain(|&start| {
                    self.overlap > 0
                        && self.fits(&text[start..end], self.overlap)
                        && self.fits(&text[start..after], self.length)
                });
            }
            starts.push(end);
            end = after;
        }
        ranges.extend(starts.first().map(|&start| (start, end)));
        ranges
    }
}

impl TextSplitter for Splitter {
    fn split(&self, text: &str) -> Vec<String> {
        let chunks = self.ranges(text).into_iter().map(|(start, end)| text[start..end].trim());
        chunks.filter(|chunk| !chunk.is_empty()).map(str::to_owned).collect()
    }
}

/// Number of grapheme clusters.
fn characters(text: &str) -> usize {
    // In ASCII a byte is a character, except for CRLF, which is one.
    if text.is_ascii() && !text.contains('\r') { text.len() } else { text.graphemes(true).count() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pieces_overlap_by_whole_parts() {
        let chunks = Splitter::recursive(12).overlap(5).split("one two three four five six");
        assert_eq!(chunks, ["one two", "two three", "three four", "four five", "five six"]);
    }

    #[test]
    fn a_custom_separator_is_used_first_and_then_any_boundary() {
        let splitter = Splitter::characters(4, "|");
        assert_eq!(splitter.split("ab|cd|efghij"), ["ab|", "cd|e", "fghi", "j"]);
    }

    #[test]
    fn no_character_is_cut_in_two() {
        // A family, a flag and a letter with two marks: one character each, of up to 25 bytes.
        let text = "👨‍👩‍👧‍👦🇫🇷e\u{301}\u{323}".repeat(20);
        for splitter in [Splitter::recursive(7), Splitter::characters(1, ""), Splitter::tokens(3)] {
            let chunks = splitter.split(&text);
            assert!(chunks.iter().flat_map(|chunk| chunk.graphemes(true)).eq(text.graphemes(true)));
        }
    }

    #[test]
    fn sentences_of_chinese_and_japanese_stay_whole() {
        let chunks = Splitter::recursive(10).split("潮汐每天两次。熊在睡觉！为什么？因为冬天，很冷。");
        assert_eq!(chunks, ["潮汐每天两次。", "熊在睡觉！为什么？", "因为冬天，很冷。"]);
        assert_eq!(Splitter::recursive(6).split("因为冬天，非常寒冷。"), ["因为冬天，", "非常寒冷。"]);
    }

    #[cfg(feature = "regex")]
    #[test]
    fn patterns_are_separators_and_cut_no_character_in_two() {
        let split = |pattern: &str, text: &str| {
            Splitter::characters(3, "").separators_matching([pattern]).unwrap().split(text)
        };
        assert_eq!(split("[0-9]+", "ab1cd22ef"), ["ab1", "cd2", "2ef"], "a part too long is cut anywhere");
        assert_eq!(split("(?m)^()# ", "# a\n# b\n# c"), ["# a", "# b", "# c"]);
        assert_eq!(split("e", "aae\u{301}bbe"), ["aae\u{301}", "bbe"]);
        assert_eq!(split("", "abcde"), ["abc", "de"], "an empty match cuts anywhere");
        assert_eq!(split("x", "abcde"), ["abc", "de"], "no match cuts nothing");
        let error = Splitter::recursive(3).separators_matching(["[0-9"]).unwrap_err();
        assert!(error.message().starts_with("`[0-9` is not a valid regular expression: "), "{error}");
    }

    #[test]
    fn tokens_are_obeyed() {
        let text = "word ".repeat(500);
        let chunks = Splitter::tokens(20).split(&text);
        assert!(chunks.iter().all(|chunk| chunk.len().div_ceil(4) <= 20), "{chunks:?}");
        assert_eq!(chunks.join(" "), text.trim());
    }

    #[test]
    fn nothing_gives_no_pieces() {
        assert!(Splitter::recursive(10).split(" \n\n ").is_empty());
        assert!(Splitter::recursive(0).split("").is_empty());
    }

    #[test]
    fn a_long_text_is_split_in_time_that_grows_with_its_length() {
        let started = std::time::Instant::now();
        let chunks = Splitter::recursive(1000).overlap(100).split(&"Tides turn. They rise. ".repeat(20_000));
        assert!(chunks.len() > 400);
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    }

    proptest! {
        #[test]
        fn pieces_fit_are_parts_of_the_text_and_lose_nothing(
            text in "([a-zé👍🏽 ,.\n]|\n\n){0,200}", length in 1usize..40, overlap in 0usize..20,
        ) {
            let chunks = Splitter::recursive(length).overlap(overlap).split(&text);
            let mut from = 0;
            for chunk in &chunks {
                prop_assert!(chunk.graphemes(true).count() <= length);
                let at = text[from..].find(chunk.as_str());
                prop_assert!(at.is_some(), "{chunk:?} is in order");
                from += at.unwrap();
            }
            let plain = Splitter::recursive(length).split(&text).concat();
            let dense = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(dense(&plain), dense(&text));
        }
    }
}
