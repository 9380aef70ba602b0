//! JSON values that are not one per line: the items of a list, or objects over many lines.

use std::io::{self, BufRead};

use super::lines::TextLine;

/// Reads values one after the other, without parsing them.
pub(super) struct ValueReader<R> {
    reader: R,
    max_len: usize,
    state: State,
    /// Line feeds that were read.
    lines: u64,
    value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the list.
    Start,
    /// Before an item of the list. After the first one, there is a comma.
    Item {
        is_first: bool,
    },
    /// Between values without a list.
    Plain,
    Ended,
}

impl<R: BufRead> ValueReader<R> {
    /// The items of a list.
    pub(super) fn list(reader: R, max_len: usize) -> Self {
        Self { reader, max_len, state: State::Start, lines: 0, value: Vec::new() }
    }

    /// Values with white space between them.
    pub(super) fn plain(reader: R, max_len: usize) -> Self {
        Self { reader, max_len, state: State::Plain, lines: 0, value: Vec::new() }
    }

    /// The number of the current line.
    pub(super) fn line(&self) -> u64 {
        self.lines + 1
    }

    /// The text of the next value, or the reason why nothing more can be read. `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Result<TextLine<'_>, String>>> {
        let end = loop {
            let next = self.skip_blanks()?;
            match (self.state, next) {
                (State::Ended, _) | (State::Plain, None) => return Ok(None),
                (State::Start, Some(b'[')) => {
                    self.reader.consume(1);
                    self.state = State::Item { is_first: true };
                }
                (State::Start, _) => break Some("expected a list"),
                (State::Item { .. }, Some(b']')) => {
                    self.reader.consume(1);
                    self.state = State::Ended;
                    if self.skip_blanks()?.is_some() {
                        return Ok(Some(Err("text follows the end of the list; it is not read".to_owned())));
                    }
                    return Ok(None);
                }
                (State::Item { .. }, None) => break Some("the list is not closed: its `]` is missing"),
                (State::Item { is_first: false }, Some(b',')) => {
                    self.reader.consume(1);
                    self.state = State::Item { is_first: true };
                }
                (State::Item { is_first: false }, Some(_)) => {
                    break Some("expected `,` or `]` after an item");
                }
                (State::Item { is_first: true } | State::Plain, Some(_)) => break None,
            }
        };
        if let Some(why) = end {
            self.state = State::Ended;
            return Ok(Some(Err(why.to_owned())));
        }
        if self.state != State::Plain {
            self.state = State::Item { is_first: false };
        }
        let number = self.line();
        let fits = self.read_value()?;
        Ok(Some(Ok(TextLine { number, bytes: fits.then(|| self.value.trim_ascii()) })))
    }

    /// The next byte that is not white space, which stays.
    fn skip_blanks(&mut self) -> io::Result<Option<u8>> {
        loop {
            let block = self.reader.fill_buf()?;
            if block.is_empty() {
                return Ok(None);
            }
            let blanks = block.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let next = block.get(blanks).copied();
            self.lines += count_lines(&block[..blanks]);
            self.reader.consume(blanks);
            if next.is_some() {
                return Ok(next);
            }
        }
    }

    /// Reads a value into the buffer. Returns false if it is longer than the maximum.
    fn read_value(&mut self) -> io::Result<bool> {
        self.value.clear();
        // One value of 64 MiB must not keep its memory allocated for the rest of the run.
        self.value.shrink_to(1 << 20);
        let (mut depth, mut is_text, mut is_escaped, mut length) = (0_u32, false, false, 0_usize);
        loop {
            let block = self.reader.fill_buf()?;
            if block.is_empty() {
                break;
            }
            let mut end = None;
            for (at, byte) in block.iter().enumerate() {
                if is_text {
                    match byte {
                        _ if is_escaped => is_escaped = false,
                        b'\\' => is_escaped = true,
                        b'"' => {
                            is_text = false;
                            if depth == 0 {
                                end = Some(at + 1);
                            }
                        }
                        _ => {}
                    }
                } else {
                    match byte {
                        b'"' => is_text = true,
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' if depth > 1 => depth -= 1,
                        b'}' | b']' if depth == 1 => end = Some(at + 1),
                        // The end of a number or a word.
                        b',' | b'}' | b']' if depth == 0 => end = Some(at),
                        _ if depth == 0 && byte.is_ascii_whitespace() => end = Some(at),
                        _ => {}
                    }
                }
                if end.is_some() {
                    break;
                }
            }
            let read = end.unwrap_or(block.len());
            let kept = read.min(self.max_len.saturating_sub(self.value.len()));
            self.value.extend_from_slice(&block[..kept]);
            length += read;
            self.lines += count_lines(&block[..read]);
            // A stray bracket is a value of its own: every value has at least one byte.
            let is_stray = end == Some(0) && length == 0;
            self.reader.consume(if is_stray { 1 } else { read });
            if is_stray {
                self.value.push(b'?');
            }
            if end.is_some() {
                break;
            }
        }
        Ok(length <= self.max_len)
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut values: ValueReader<impl BufRead>) -> Vec<String> {
        let mut all = Vec::new();
        while let Some(value) = values.next().unwrap() {
            all.push(match value {
                Ok(TextLine { number, bytes: Some(bytes) }) => {
                    format!("{number} {}", String::from_utf8_lossy(bytes))
                }
                Ok(TextLine { number, .. }) => format!("{number} too long"),
                Err(why) => why,
            });
        }
        all
    }

    /// The items of a list, whatever the size of the blocks in which it is read.
    fn items(text: &str) -> Vec<String> {
        let read = |size| all(ValueReader::list(io::BufReader::with_capacity(size, text.as_bytes()), 40));
        let items = read(1000);
        for size in 1..9 {
            assert_eq!(read(size), items, "in blocks of {size}");
        }
        items
    }

    #[test]
    fn the_items_of_a_list_are_read_one_by_one() {
        let text = "[\n {\"a\": [1, {\"b\": \"]}\\\"\"}]},\n\"x, y\" , 1.5,true\n,\n\n{}]\n";
        let expected = ["2 {\"a\": [1, {\"b\": \"]}\\\"\"}]}", "3 \"x, y\"", "3 1.5", "3 true", "6 {}"];
        assert_eq!(items(text), expected);
        assert_eq!(items(" [ ] "), [""; 0]);
        assert_eq!(
            items("[\"a value of more bytes than the maximum of a value\", 1]"),
            ["1 too long", "1 1"]
        );
    }

    #[test]
    fn a_list_that_is_malformed_ends_with_the_reason() {
        let open = "the list is not closed: its `]` is missing";
        assert_eq!(items("[1,"), ["1 1", open]);
        assert_eq!(items("[{\"a\": 1}, {\"a\": "), ["1 {\"a\": 1}", "1 {\"a\":", open]);
        assert_eq!(items("[1 2]"), ["1 1", "expected `,` or `]` after an item"]);
        assert_eq!(items("[1] 2"), ["1 1", "text follows the end of the list; it is not read"]);
        assert_eq!(items("1"), ["expected a list"]);
        assert_eq!(items("[}, 1]"), ["1 ?", "1 1"]);
    }

    #[test]
    fn objects_over_many_lines_are_read_one_by_one() {
        let text = "{\n \"a\": 1\n}\n\n{\n}{\"b\": 2}\n]";
        let read = all(ValueReader::plain(text.as_bytes(), 100));
        assert_eq!(read, ["1 {\n \"a\": 1\n}", "5 {\n}", "6 {\"b\": 2}", "7 ?"]);
    }
}
