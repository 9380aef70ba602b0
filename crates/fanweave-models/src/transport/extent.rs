//! The end of a JSON value in text that arrives in pieces.

use memchr::memchr2;

/// Follows one JSON object or list through text that arrives in pieces: each byte is read once, and nothing
/// is kept of it. Brackets are counted, without a check of their kinds or of what is between them.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Extent {
    shape: Shape,
    depth: u32,
    in_string: bool,
    is_escaped: bool,
    /// Set if the value is an object, or if one of several values is.
    is_object: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Nothing but white space so far.
    #[default]
    Blank,
    Open,
    /// The value is closed. White space may follow.
    Closed,
    /// Another kind of text, or a value that is followed by more.
    Other,
}

impl Extent {
    /// Reads the next bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let read = self.advance(bytes);
        if self.is_closed() && bytes[read..].iter().any(|byte| !byte.is_ascii_whitespace()) {
            self.shape = Shape::Other;
        }
    }

    /// Reads the next bytes of several values separated only by white space: it is closed if the
    /// last one is, and an object if one of them is.
    pub(crate) fn push_values(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        loop {
            rest = rest[self.advance(rest)..].trim_ascii_start();
            if rest.is_empty() {
                return;
            }
            if !self.is_closed() {
                self.shape = Shape::Other;
                return;
            }
            *self = Self { shape: Shape::Blank, depth: 0, ..*self };
        }
    }

    /// Returns true if the text is a closed value, or not a value.
    pub(crate) fn is_ended(self) -> bool {
        matches!(self.shape, Shape::Closed | Shape::Other)
    }

    /// Reads the next bytes up to the end of the value. Returns their number.
    pub(crate) fn advance(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while self.shape != Shape::Closed
            && let Some(byte) = bytes.get(at)
        {
            at += 1;
            if self.in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => self.in_string = false,
                    _ => at += memchr2(b'"', b'\\', &bytes[at..]).unwrap_or(bytes.len() - at),
                }
                continue;
            }
            match (self.shape, byte) {
                (Shape::Open, b'"') => self.in_string = true,
                (Shape::Open, b'{' | b'[') => self.depth = self.depth.saturating_add(1),
                (Shape::Open, b'}' | b']') => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.shape = Shape::Closed;
                    }
                }
                (Shape::Open, _) => {}
                (Shape::Blank, b'{' | b'[') => {
                    self.is_object |= *byte == b'{';
                    (self.shape, self.depth) = (Shape::Open, 1);
                }
                (Shape::Blank, byte) if byte.is_ascii_whitespace() => {}
                _ => {
                    self.shape = Shape::Other;
                    return bytes.len();
                }
            }
        }
        at
    }

    /// Returns true if the text is one object or list that has been closed, with white space around it.
    pub(crate) fn is_closed(self) -> bool {
        self.shape == Shape::Closed
    }

    /// Returns true if the text is one object that has been closed, with white space around it.
    pub(crate) fn is_closed_object(self) -> bool {
        self.is_closed() && self.is_object
    }

    /// Records that the text is not a value.
    pub(crate) fn reject(&mut self) {
        self.shape = Shape::Other;
    }
}

/// Returns true if `text` is one or more objects or lists, separated only by white space.
pub(crate) fn are_values(mut text: &[u8]) -> bool {
    loop {
        let mut extent = Extent::default();
        let len = extent.advance(text);
        if !extent.is_closed() {
            return false;
        }
        text = text[len..].trim_ascii();
        if text.is_empty() {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn closed(pieces: &[&[u8]]) -> bool {
        let mut extent = Extent::default();
        pieces.iter().for_each(|piece| extent.push(piece));
        extent.is_closed()
    }

    #[test]
    fn a_value_ends_with_its_last_bracket() {
        for whole in ["{}", " [1, {\"a\": \"}\"}] \n", "{\"a\\\"}\": \"\\\\\"}"] {
            assert!(closed(&[whole.as_bytes()]), "{whole}");
            let bytes: Vec<_> = whole.as_bytes().chunks(1).collect();
            assert!(closed(&bytes), "{whole}");
        }
        for other in ["", " ", "{", "{\"}", "{}x", "{}{}", "7", "\"{}\"", "[DONE] {}", "{\"a\\\"}"] {
            assert!(!closed(&[other.as_bytes()]), "{other}");
        }
    }

    #[test]
    fn values_are_objects_and_lists_without_other_text() {
        for all in ["{}", "{\"a\":NaN} [1]", "{}{} "] {
            assert!(are_values(all.as_bytes()), "{all}");
        }
        for other in ["", "{", "{}x", "{},{}", "7", "{\"}"] {
            assert!(!are_values(other.as_bytes()), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_end(
            text in "[\\[\\]{}\",\\\\a ]{0,12}",
            at in any::<prop::sample::Index>(),
        ) {
            let (head, tail) = text.as_bytes().split_at(at.index(text.len() + 1));
            prop_assert_eq!(closed(&[head, tail]), closed(&[text.as_bytes()]));
        }
    }
}
