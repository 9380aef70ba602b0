//! Finds the parts of an answer that may be its JSON.

use std::ops::Range;

use super::{MAX_DEPTH, scan};

/// Maximum candidates. 64: an answer with more is a list of values, of which the first and the last count.
const MAX_CANDIDATES: usize = 64;

/// Maximum length of a bare key. Longer words before a colon are prose.
const MAX_KEY_LEN: usize = 64;

/// A part of an answer that may be its JSON.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    /// The value, or the text in which it begins if it is not valid.
    pub range: Range<usize>,
    pub kind: Kind,
    pub state: State,
}

/// The result of looking for the end of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// The range is a valid object or array.
    Valid,
    /// The range is not, or not known to be.
    Unknown,
    /// The range begins with an object whose members continue after its end.
    ClosedEarly,
}

/// The place of a candidate, in the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// In a fence tagged as JSON.
    Tagged,
    /// In a fence without a tag.
    Fence,
    /// In the text.
    Bare,
    /// In a fence with another tag.
    Other,
    /// A number in brackets within prose.
    Footnote,
}

/// The candidates of `text` in their order, in linear time.
///
/// A value is looked for at each bracket that begins JSON. Brackets of prose, such as `[as asked]`, `{name}`
/// and `[link](target)`, do not. A candidate begins after the end of the previous one, so that no part of a
/// broken value is one. Nothing follows a value that has no end, and no other value of the text a broken one.
pub(super) fn find(text: &str) -> Vec<Candidate> {
    let mut finder = Finder { text, found: Vec::new(), is_broken: false };
    let mut at = 0;
    while let Some(next) = text[at..].find(['{', '[', '`']).map(|next| at + next) {
        let ticks = text[next..].bytes().take_while(|byte| *byte == b'`').count();
        at = match ticks {
            0 => finder.value(next, text.len(), Kind::Bare),
            1 | 2 => next + ticks,
            _ => finder.fence(next, next + ticks),
        };
    }
    finder.found
}

struct Finder<'a> {
    text: &'a str,
    found: Vec<Candidate>,
    /// Set after a value in the text that is not valid: its end is not certain.
    is_broken: bool,
}

impl Finder<'_> {
    fn add(&mut self, range: Range<usize>, kind: Kind, state: State) {
        let is_in_text = matches!(kind, Kind::Bare | Kind::Footnote);
        if is_in_text && self.is_broken {
            return;
        }
        self.is_broken |= is_in_text && state != State::Valid;
        if self.found.len() == MAX_CANDIDATES {
            self.found.remove(MAX_CANDIDATES / 2);
        }
        self.found.push(Candidate { range, kind, state });
    }

    /// Reads the value that may begin at the bracket at `at`. Returns where to continue.
    fn value(&mut self, at: usize, limit: usize, kind: Kind) -> usize {
        match scan::end(self.text, at) {
            Ok(end) if self.text[end..].starts_with('(') && self.text[at..].starts_with('[') => end,
            Ok(end) if continues(&self.text[end..]) => {
                self.add(at..limit, kind, State::ClosedEarly);
                limit
            }
            Ok(end) => {
                let is_footnote = kind == Kind::Bare && self.is_footnote(at, end);
                self.add(at..end, if is_footnote { Kind::Footnote } else { kind }, State::Valid);
                end
            }
            Err(_) if !begins_json(&self.text[at..]) => at + 1,
            Err(_) => {
                let end = balanced(&self.text[at..limit.max(at)]).map_or(limit.max(at + 1), |len| at + len);
                self.add(at..end, kind, State::Unknown);
                end
            }
        }
    }

    /// A number of at most three digits in brackets, within prose.
    fn is_footnote(&self, at: usize, end: usize) -> bool {
        let inside = &self.text[at + 1..end - 1];
        let is_number = inside.len() <= 3 && inside.bytes().all(|byte| byte.is_ascii_digit());
        is_number && !inside.is_empty() && self.text.trim().len() > end - at
    }

    /// Reads the fence that begins at `open` and whose backticks end at `at`. Returns where to continue.
    fn fence(&mut self, open: usize, at: usize) -> usize {
        let text = self.text;
        let is_tag = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'_');
        let begin = at + text[at..].bytes().take_while(is_tag).count();
        let kind = match text[at..begin].to_ascii_lowercase().as_str() {
            "json" | "json5" | "jsonc" | "jsonl" | "ndjson" | "javascript" | "js" => Kind::Tagged,
            "" => Kind::Fence,
            _ => Kind::Other,
        };
        // The end of a fence that has lines of its own is one too: texts of the value may contain backticks.
        let before = text[..open].trim_end_matches([' ', '\t']);
        let is_block = (before.is_empty() || before.ends_with('\n'))
            && text[begin..].trim_start_matches([' ', '\t', '\r']).starts_with('\n');
        let closing = if is_block { closing_line(&text[begin..]) } else { None };
        let closing = closing.or_else(|| text[begin..].find("```"));
        let mut end = closing.map_or(text.len(), |len| begin + len);
        let (mut at, count) = (begin, self.found.len());
        while let Some(next) = text[at..end].find(['{', '[']).map(|next| at + next) {
            at = self.value(next, end, kind);
            if self.found.last().is_some_and(|last| last.state != State::Valid && last.range.start == next) {
                break;
            }
            let rest = text[at..].trim_start();
            if rest.starts_with("```") {
                end = text.len() - rest.len();
            } else if at > end {
                end = text[at..].find("```").map_or(text.len(), |len| at + len);
            }
        }
        let inside = text[begin..end].trim();
        if self.found.len() == count && !inside.is_empty() {
            let from = begin + text[begin..end].len() - text[begin..end].trim_start().len();
            self.add(from..from + inside.len(), kind, State::Unknown);
        }
        // A line with a tag begins another fence.
        let ticks = text[end..].bytes().take_while(|byte| *byte == b'`').count();
        let is_opening = is_block && text.as_bytes().get(end + ticks).is_some_and(is_tag);
        if is_opening { end } else { end + ticks }
    }
}

/// Offset of the first line that ends a fence.
fn closing_line(text: &str) -> Option<usize> {
    text.match_indices('\n').find_map(|(at, _)| {
        let line = text[at + 1..].trim_start_matches([' ', '\t']);
        line.starts_with("```").then_some(text.len() - line.len())
    })
}

/// Returns true if members follow the end of an object: it was closed too early.
pub(super) fn continues(rest: &str) -> bool {
    let Some(key) = rest.trim_start().strip_prefix(',').map(str::trim_start) else { return false };
    let Some(key) = key.strip_prefix('"') else { return false };
    let end = key.char_indices().take(MAX_KEY_LEN).find(|(_, c)| *c == '"');
    end.is_some_and(|(end, _)| key[end + 1..].trim_start().starts_with([':', '"']))
}

/// Returns true if a bracket begins JSON, or what is meant as JSON.
fn begins_json(text: &str) -> bool {
    let (mut is_object, mut text) = (text.starts_with('{'), text[1..].trim_start());
    for _ in 0..MAX_DEPTH {
        let Some(inside) = text.strip_prefix('{').or_else(|| text.strip_prefix('[')) else { break };
        (is_object, text) = (text.starts_with('{'), inside.trim_start());
    }
    let Some(first) = text.chars().next() else { return true };
    match first {
        '"' | '\'' | '“' | '”' | '‘' | '„' | '\\' | '/' | '#' | '}' | ']' | '{' | '[' => true,
        _ if is_object => {
            let is_key = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | ' ');
            let len: usize =
                text.chars().take(MAX_KEY_LEN).take_while(|c| is_key(*c)).map(char::len_utf8).sum();
            len > 0 && text[len..].starts_with(':')
        }
        '(' | '-' | '.' | '0'..='9' => true,
        _ => {
            let len =
                text.chars().take_while(|c| c.is_alphanumeric()).take(MAX_KEY_LEN).map(char::len_utf8).sum();
            let word: String = text[..len].to_ascii_lowercase();
            let rest = text[len..].trim_start();
            let is_literal = ["true", "false", "null", "none", "nan", "undefined"].contains(&word.as_str());
            is_literal && (rest.is_empty() || rest.starts_with([',', ']']))
        }
    }
}

/// Length of the text from a bracket to the one that closes it: by brackets outside of strings, otherwise by
/// all.
fn balanced(text: &str) -> Option<usize> {
    let closes = |counts_strings: bool| {
        let (mut depth, mut in_string, mut is_escaped) = (0usize, false, false);
        let mut comment_end = 0;
        for (at, byte) in text.bytes().enumerate() {
            if at < comment_end {
                continue;
            }
            if in_string {
                in_string = is_escaped || byte != b'"';
                is_escaped = byte == b'\\' && !is_escaped;
                continue;
            }
            match byte {
                b'"' if counts_strings => in_string = true,
                b'/' | b'#'
                    if text[..at].ends_with(|c: char| c.is_whitespace() || matches!(c, ',' | '{' | '[')) =>
                {
                    comment_end = at + comment_len(&text[at..]);
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return Some(at + 1);
            }
        }
        None
    };
    closes(true).or_else(|| closes(false))
}

/// Length of the comment that begins `text`. 0 without one.
pub(super) fn comment_len(text: &str) -> usize {
    if text.starts_with("/*") {
        return text.find("*/").map_or(text.len(), |end| end + 2);
    }
    let is_comment = text.starts_with("//") || text.starts_with('#');
    if is_comment { text.find('\n').unwrap_or(text.len()) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(&str, Kind, State)> {
        find(text).into_iter().map(|one| (&text[one.range], one.kind, one.state)).collect()
    }

    #[test]
    fn prose_has_no_candidates() {
        for prose in ["as [asked]", "Dear {name},", "[a](b) [1](c)", "[x] done", "{{ title }}", "`{`}`", ""] {
            assert_eq!(found(prose), [], "{prose}");
        }
    }

    #[test]
    fn no_part_of_a_broken_value_is_a_candidate() {
        assert_eq!(
            found(r#"{"a": {"b": 1}, c}, {"d": 1}"#),
            [(r#"{"a": {"b": 1}, c}"#, Kind::Bare, State::Unknown)]
        );
        assert_eq!(found(r#"{"a": {"b": 1}, "#), [(r#"{"a": {"b": 1}, "#, Kind::Bare, State::Unknown)]);
        assert_eq!(found(r#"{"a": 1}, "b": 2}"#), [(r#"{"a": 1}, "b": 2}"#, Kind::Bare, State::ClosedEarly)]);
    }

    #[test]
    fn a_fence_within_a_value_is_a_part_of_it() {
        assert_eq!(found("{\"a\": \"```json\n{}\n```\"}").len(), 1);
        assert_eq!(
            found("```json\n{\"a\": \"```\"}\n```\n```\n[]\n```"),
            [("{\"a\": \"```\"}", Kind::Tagged, State::Valid), ("[]", Kind::Fence, State::Valid)]
        );
        assert_eq!(found("```\n7\n```"), [("7", Kind::Fence, State::Unknown)]);
    }

    #[test]
    fn the_time_is_linear() {
        for part in
            ["[", "{\"a\":", "[\"", "```json\n[1]\n", "{\"a\": 1} ", "[x ", "{{", "```", "{\"a\" \"b\"} "]
        {
            let time = |n: usize| {
                let text = part.repeat(n);
                let start = std::time::Instant::now();
                find(&text);
                start.elapsed()
            };
            let (short, long) = (time(20_000), time(160_000));
            assert!(
                long < short * 40 + std::time::Duration::from_millis(200),
                "{part}: {short:?}, then {long:?}"
            );
        }
    }
}
