//! Lines of a file with their numbers and a maximum length.

use std::io::{self, BufRead, Read};

use memchr::memchr2_iter;

/// Maximum length of an input line in bytes: 64 MiB.
///
/// A longer line is a failed row. Source: three times the 20 MiB that providers accept for a request with
/// images.
pub const MAX_LINE: usize = 64 << 20;

/// Reads a file line by line.
pub(super) struct LineReader<R> {
    reader: R,
    max_len: usize,
    number: u64,
    buffer: Vec<u8>,
}

/// A line that is not blank.
pub(super) struct TextLine<'a> {
    /// Line number, from 1.
    pub(super) number: u64,
    /// Contents without line ending and surrounding whitespace. `None` if it was longer than the maximum.
    pub(super) bytes: Option<&'a [u8]>,
}

impl<R: BufRead> LineReader<R> {
    pub(super) fn new(reader: R, max_len: usize) -> Self {
        Self { reader, max_len, number: 0, buffer: Vec::new() }
    }

    /// The next line that is not blank. `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<TextLine<'_>>> {
        let bytes = loop {
            self.buffer.clear();
            // One line of 64 MiB must not keep its memory allocated for the rest of the run.
            self.buffer.shrink_to(1 << 20);
            let max_read = self.max_len as u64 + 1;
            if self.reader.by_ref().take(max_read).read_until(b'\n', &mut self.buffer)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if self.buffer.len() > self.max_len && self.buffer.last() != Some(&b'\n') {
                self.reader.skip_until(b'\n')?;
                break None;
            }
            let line = self.buffer.trim_ascii();
            if !line.is_empty() {
                let start = line.as_ptr() as usize - self.buffer.as_ptr() as usize;
                break Some(start..start + line.len());
            }
        };
        Ok(Some(TextLine { number: self.number, bytes: bytes.map(|range| &self.buffer[range]) }))
    }

    /// Number of the last line that was read.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn into_inner(self) -> R {
        self.reader
    }
}

/// Returns false if the JSON in a line has neither a null nor a string without visible characters.
pub(super) fn may_have_empty_field(line: &[u8]) -> bool {
    memchr2_iter(b'"', b':', line).any(|at| {
        let next = line[at + 1..].iter().find(|byte| !byte.is_ascii_whitespace());
        match (line[at], next) {
            (b':', Some(b'n')) => true,
            // An empty string, an escape, or the first byte of whitespace outside of ASCII.
            (b'"', Some(b'"' | b'\\' | 0xC2 | 0xE1..=0xE3)) => true,
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, max_len: usize) -> Vec<(u64, Option<String>)> {
        let mut lines = LineReader::new(text.as_bytes(), max_len);
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            let text = line.bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned());
            all.push((line.number, text));
        }
        all
    }

    #[test]
    fn lines_with_an_empty_field_are_never_passed_over() {
        let blank = ["", " ", "\u{a0}", "\u{1680}", "\u{2003}\t", "\u{3000}", "\u{85}", "\n"];
        for text in blank {
            let json = serde_json::json!({ "a": "x", "b": text, "c": 1 });
            for line in [json.to_string(), serde_json::to_string_pretty(&json).unwrap()] {
                assert!(may_have_empty_field(line.as_bytes()), "{line}");
            }
        }
        assert!(may_have_empty_field(br#"{"a":"\u0020\u0009"}"#));
        assert!(may_have_empty_field(b"{\"a\" : \t null}"));
        let filled =
            ["{\"a\":\"x y\",\"b\":[1,{\"c\":\"\u{43f}\"}]}", "{ \"a\" : \"nullable\" , \"b\" : 0 }", "{}"];
        for line in filled {
            assert!(!may_have_empty_field(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn blank_lines_are_skipped_and_counted_and_the_last_needs_no_newline() {
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(lines("a\r\n\n  \n b \nc", 9), [(1, some("a")), (4, some("b")), (5, some("c"))]);
    }

    #[test]
    fn a_line_longer_than_the_maximum_is_skipped_and_the_next_is_read() {
        let some = |s: &str| Some(s.to_owned());
        assert_eq!(
            lines("123\n1234\n12345\n12", 4),
            [(1, some("123")), (2, some("1234")), (3, None), (4, some("12"))]
        );
        assert_eq!(lines("12345", 4), [(1, None)]);
    }
}
