//! JSON objects one after another: bytes in, objects out.
//!
//! Some servers send the chunks of a stream as one JSON list, as indented JSON, or with nothing between them.

use fanweave_core::{Error, ErrorKind, Result};
use memchr::memchr;

use super::extent::Extent;
use super::sse::{SseEvent, utf8};

/// An incremental decoder for one stream that begins with an object or a list.
#[derive(Debug)]
pub(crate) struct ValueDecoder {
    /// Maximum bytes of one object.
    max_bytes: usize,
    /// The beginning of an object whose end has not arrived.
    held: Vec<u8>,
    extent: Extent,
    inside: Inside,
    after: After,
    /// Number of open lists around the current position.
    lists: u32,
}

/// The value at the current position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Inside {
    Nothing,
    /// An object.
    Object,
    /// A string that is an element of a list.
    Text {
        is_escaped: bool,
    },
    /// A number or a literal that is an element of a list.
    Word,
}

/// Text before the current position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    Nothing,
    /// One object on a line of its own: more lines may follow.
    Line,
    /// A bracket of a list, an object on several lines, or several objects.
    Other,
}

impl ValueDecoder {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            held: Vec::new(),
            extent: Extent::default(),
            inside: Inside::Nothing,
            after: After::Nothing,
            lists: 0,
        }
    }

    /// Reads the next bytes of the stream and passes every completed object to `each`, as an event without a
    /// name. The objects and strings of a list are passed on one by one, and its numbers and literals are
    /// skipped. An incomplete object is never passed on.
    ///
    /// Returns the rest of `chunk`, from the first byte that belongs to another framing: lines after a first
    /// line that is an object, and text that is not JSON.
    ///
    /// # Errors
    /// [`ErrorKind::Decode`] if an object is too long, and the first error of `each`.
    pub(crate) fn feed<'c>(
        &mut self,
        chunk: &'c [u8],
        mut each: impl FnMut(SseEvent<'_>) -> Result<()>,
    ) -> Result<Option<&'c [u8]>> {
        let mut rest = chunk;
        while let Some(byte) = rest.first() {
            match byte {
                _ if self.inside == Inside::Word => {
                    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                    let len = rest.iter().position(|byte| !is_word(byte)).unwrap_or(rest.len());
                    rest = &rest[len..];
                    if !rest.is_empty() {
                        self.inside = Inside::Nothing;
                    }
                    continue;
                }
                _ if self.inside != Inside::Nothing => {}
                b'"' if self.lists > 0 => {
                    self.hold(&rest[..1])?;
                    self.inside = Inside::Text { is_escaped: false };
                    rest = &rest[1..];
                    continue;
                }
                b'n' | b't' | b'f' | b'-' | b'0'..=b'9' if self.lists > 0 => {
                    self.inside = Inside::Word;
                    continue;
                }
                b'{' => {
                    self.inside = Inside::Object;
                    if self.after == After::Line {
                        self.after = After::Other;
                    }
                }
                b'\n' if self.after == After::Line => return Ok(Some(rest)),
                b'[' | b']' | b',' => {
                    self.after = After::Other;
                    match byte {
                        b'[' => self.lists = self.lists.saturating_add(1),
                        b']' => self.lists = self.lists.saturating_sub(1),
                        _ => {}
                    }
                    rest = &rest[1..];
                    continue;
                }
                byte if byte.is_ascii_whitespace() => {
                    rest = &rest[1..];
                    continue;
                }
                _ => return Ok(Some(rest)),
            }
            let is_text = self.inside != Inside::Object;
            let (value, after) = rest.split_at(match self.inside {
                Inside::Text { is_escaped } => self.text(rest, is_escaped),
                _ => self.extent.advance(rest),
            });
            rest = after;
            let is_closed = if is_text { self.inside == Inside::Nothing } else { self.extent.is_closed() };
            if !is_closed {
                self.hold(value)?;
                continue;
            }
            if self.held.len() + value.len() > self.max_bytes {
                return Err(too_long(self.max_bytes));
            }
            let whole = std::mem::take(&mut self.held);
            let value = if whole.is_empty() { value } else { &[whole.as_slice(), value].concat() };
            self.extent = Extent::default();
            self.inside = Inside::Nothing;
            let is_line = self.after == After::Nothing && memchr(b'\n', value).is_none();
            self.after = if is_line { After::Line } else { After::Other };
            each(SseEvent { name: "", data: &utf8(value) })?;
        }
        Ok(None)
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<()> {
        if self.held.len() + bytes.len() > self.max_bytes {
            return Err(too_long(self.max_bytes));
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    /// Reads a string up to its end. Returns the number of bytes.
    fn text(&mut self, bytes: &[u8], mut is_escaped: bool) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => {
                    self.inside = Inside::Nothing;
                    return at + 1;
                }
                _ => {}
            }
        }
        self.inside = Inside::Text { is_escaped };
        bytes.len()
    }
}

fn too_long(max_bytes: usize) -> Error {
    let message = format!("a value of the stream is longer than {max_bytes} bytes");
    // Retrying would fail in the same way and be billed again.
    Error::new(ErrorKind::Decode, message).with_retryable(false)
}

/// The values that `text` consists of, if it is more than one and one of them is an object: objects and lists
/// with nothing, white space, commas or `data:` between them, and lines of other text. A truncated object is
/// the last value.
pub(crate) fn glued(text: &str) -> Option<Vec<&str>> {
    let mut values = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
        rest = rest.strip_prefix("data:").unwrap_or(rest).trim_ascii_start();
        if rest.is_empty() {
            break;
        }
        let len = if rest.starts_with(['{', '[']) {
            let mut extent = Extent::default();
            let len = extent.advance(rest.as_bytes());
            if extent.is_closed() { len } else { rest.len() }
        } else {
            memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len())
        };
        let (value, after) = rest.split_at(len);
        values.push(value.trim_ascii_end());
        rest = after;
    }
    let has_object = values.iter().any(|value| value.starts_with('{') || value.starts_with("[{"));
    let is_glued = values.len() > 1 && has_object;
    is_glued.then_some(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The objects of a stream, and the rest that has another framing.
    fn decode(max_bytes: usize, chunks: &[&[u8]]) -> Result<(Vec<String>, String)> {
        let mut decoder = ValueDecoder::new(max_bytes);
        let mut objects = Vec::new();
        for (at, chunk) in chunks.iter().enumerate() {
            let rest = decoder.feed(chunk, |event| {
                objects.push(event.data.to_owned());
                Ok(())
            })?;
            if let Some(rest) = rest {
                let rest = [rest, &chunks[at + 1..].concat()].concat();
                return Ok((objects, String::from_utf8_lossy(&rest).into_owned()));
            }
        }
        Ok((objects, String::new()))
    }

    #[track_caller]
    fn assert_read(stream: &str, objects: &[&str], rest: &str) {
        let bytes: Vec<_> = stream.as_bytes().chunks(1).collect();
        for chunks in [&[stream.as_bytes()][..], &bytes] {
            let read = decode(99, chunks).unwrap();
            assert_eq!((read.0.iter().map(|o| &**o).collect::<Vec<_>>(), &*read.1), (objects.to_vec(), rest));
        }
    }

    #[test]
    fn objects_are_read_one_by_one_whatever_is_between_them() {
        let (one, two) = (r#"{"a":"}{\""}"#, r#"{"b":[{}]}"#);
        assert_read(&format!("{one}{two}{{}}"), &[one, two, "{}"], "");
        assert_read(&format!(" [{one}\n,\r\n{two}\n]\n"), &[one, two], "");
        assert_read(&format!("{one}, {two}"), &[one, two], "");
        assert_read("{\n \"a\": 1\n}\n{\n}\n{}", &["{\n \"a\": 1\n}", "{\n}", "{}"], "");
        assert_read("[[{}], [{\"a\":1}]]", &["{}", "{\"a\":1}"], "");
        assert_read("{\"a\":", &[], "");
    }

    #[test]
    fn other_elements_of_a_list_hide_no_object() {
        assert_read("[null, {}, true,-1.5e3,false ,{\"a\":1},7]\n{}", &["{}", "{\"a\":1}", "{}"], "");
        let text = r#""a]{\"\\""#;
        assert_read(&format!("[{text},{{}},{text}]{{}}"), &[text, "{}", text, "{}"], "");
        assert_read("[nu", &[], "");
        assert_read("[\"a", &[], "");
        assert_read("[null]\ndata: {}", &[], "data: {}");
    }

    #[test]
    fn lines_and_other_text_are_left_to_their_own_decoder() {
        assert_read("{\"a\":1}\n{\"b\":2}\n", &["{\"a\":1}"], "\n{\"b\":2}\n");
        assert_read("{\"a\":1} \r\nx", &["{\"a\":1}"], "\nx");
        assert_read("{\"a\":1}data: x\n", &["{\"a\":1}"], "data: x\n");
        assert_read("[DONE]\n", &[], "DONE]\n");
        assert_read("[{}\n{}\nx", &["{}", "{}"], "x");
    }

    #[test]
    fn an_object_longer_than_the_limit_is_rejected_before_it_is_buffered() {
        for chunks in [&[&b"{xxxxx"[..], b"xxxxxx"][..], &[b"{xxxxxxxxxxxx"]] {
            let error = decode(10, chunks).unwrap_err();
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Decode, false));
        }
        assert_eq!(decode(10, &[b"{xxxxxxx}{yyyyyyyy}"]).unwrap().0.len(), 2);
    }

    #[test]
    fn values_with_nothing_between_them_are_separated() {
        assert_eq!(glued("{\"a\":1}{\"b\":2}"), Some(vec!["{\"a\":1}", "{\"b\":2}"]));
        assert_eq!(glued("{}, data: [1]\n[DONE]"), Some(vec!["{}", "[1]", "[DONE]"]));
        assert_eq!(glued("[PING]\nwait \n{}\n7"), Some(vec!["[PING]", "wait", "{}", "7"]));
        assert_eq!(glued("{}{\"a\": [1,"), Some(vec!["{}", "{\"a\": [1,"]));
        for one in ["{}", "{\"a\":1", "a {} text", "", "[1]", "[1] [2]", "one\ntwo"] {
            assert_eq!(glued(one), None, "{one}");
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_objects(
            text in "(\\{\"a\":\\{\\}\\}|\"\\]\\\\\"\"|null|\\{\"\\}\\\\\"é\"\\}|\n|,|\\[|\\]| |\\{|\r\n|x){0,10}",
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let text = text.as_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let chunks: Vec<_> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
            prop_assert_eq!(decode(999, &chunks).unwrap(), decode(999, &[text]).unwrap());
        }
    }
}
