//! Separators of a splitter: texts, and regular expressions.

#[cfg(feature = "regex")]
use {
    crate::{Error, ErrorKind, Result},
    regex::Regex,
    unicode_segmentation::GraphemeCursor,
};

#[derive(Debug, Clone)]
pub(super) enum Separator {
    Text(String),
    #[cfg(feature = "regex")]
    Pattern(Regex),
}

impl Separator {
    #[cfg(feature = "regex")]
    pub(super) fn matching(pattern: &str) -> Result<Self> {
        Regex::new(pattern).map(Self::Pattern).map_err(|e| {
            let message = format!("`{pattern}` is not a valid regular expression: {e}");
            Error::new(ErrorKind::Config, message).with_source(e)
        })
    }

    /// The parts of the text, each with its separator at its end. `None` if there is nothing to cut.
    pub(super) fn cut<'a>(&self, text: &'a str) -> Option<Vec<&'a str>> {
        match self {
            Self::Text(separator) if separator.is_empty() => None,
            Self::Text(separator) => text
                .trim_end()
                .contains(separator.as_str())
                .then(|| text.split_inclusive(separator.as_str()).collect()),
            #[cfg(feature = "regex")]
            Self::Pattern(pattern) => {
                let mut parts = Vec::new();
                let mut start = 0;
                let end = text.trim_end().len();
                // No character is cut in two, whatever matches.
                let mut characters = GraphemeCursor::new(0, text.len(), true);
                for found in pattern.captures_iter(text) {
                    let group = found.iter().skip(1).flatten().next();
                    let at = group.or_else(|| found.get(0)).map_or(0, |found| found.end());
                    characters.set_cursor(at);
                    if at > start && at < end && characters.is_boundary(text, 0).unwrap_or(false) {
                        parts.push(&text[start..at]);
                        start = at;
                    }
                }
                if parts.is_empty() {
                    return None;
                }
                parts.push(&text[start..]);
                Some(parts)
            }
        }
    }
}
