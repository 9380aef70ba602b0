//! Layout of the rows of a JSON text.

use serde::de::IgnoredAny;

/// Layout of the rows of a JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    /// One row per line.
    Lines,
    /// The items of a list.
    List,
    /// Objects over many lines.
    Values,
}

impl Container {
    /// Infers it from the first line that is not blank and the bytes after it. `is_json` is set if the rows
    /// are known to be JSON. A line with a list is one row if others follow it.
    pub(super) fn detect(first: &[u8], rest: &[u8], is_json: bool) -> Self {
        let next = |begin: &[u8]| begin.iter().chain(rest).copied().find(|byte| !byte.is_ascii_whitespace());
        match first {
            [b'{'] if matches!(next(&[]), Some(b'"' | b'}')) => Self::Values,
            [b'[', inside @ ..] => {
                let is_whole = serde_json::from_slice::<IgnoredAny>(first).is_ok();
                let is_list = match next(inside) {
                    Some(b'{') => true,
                    Some(b'"' | b']') => is_json || is_whole,
                    _ => false,
                };
                let is_line = is_whole && rest.iter().any(|byte| !byte.is_ascii_whitespace());
                if is_list && !is_line { Self::List } else { Self::Lines }
            }
            _ => Self::Lines,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_rows_differs_from_lines_of_lists() {
        let detect =
            |first: &str, rest: &str, is_json| Container::detect(first.as_bytes(), rest.as_bytes(), is_json);
        for (first, rest) in
            [("[", "\n {\"a\": 1}"), ("[{\"a\": 1},", "{\"b\": 2}]"), ("[{},{}]", " \n"), ("[\"a\"]", "")]
        {
            assert_eq!(detect(first, rest, false), Container::List, "{first}");
        }
        assert_eq!(detect("[{}, {}]", "\n[{}, {}]", true), Container::Lines);
        assert_eq!(detect("[1, 2]", "", true), Container::Lines);
        assert_eq!(detect("[INST] Hi", "", false), Container::Lines);
        assert_eq!(detect("[\"Hi\" she said", "", false), Container::Lines);
        assert_eq!(detect("[", "\n\"a\",\n\"b\"]", true), Container::List);
        assert_eq!(detect("{", "\n  \"a\": 1\n}", false), Container::Values);
        assert_eq!(detect("{\"a\":", "", true), Container::Lines);
    }
}
