//! Finds the end of a JSON value without reading it.

use super::MAX_DEPTH;

/// The reason why a value has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// The text ends within the value.
    Cut,
    /// Not JSON from this offset on.
    Invalid(usize),
}

#[derive(Clone, Copy, PartialEq)]
enum Expect {
    Value,
    ItemOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
}

/// The offset after the object or array that begins at `at`. Control characters within its strings, which
/// models write unescaped, are accepted.
pub(super) fn end(text: &str, at: usize) -> Result<usize, Stop> {
    let bytes = text.as_bytes();
    let (mut at, mut expect) = (at, Expect::Value);
    // The bit of each open container is set if it is an object.
    let (mut objects, mut depth) = (0u128, 0usize);
    loop {
        at += bytes[at..].iter().take_while(|b| b.is_ascii_whitespace()).count();
        let Some(&byte) = bytes.get(at) else { return Err(Stop::Cut) };
        let in_object = objects & 1 == 1;
        match (byte, expect) {
            (b'{' | b'[', Expect::Value | Expect::ItemOrEnd) if depth < MAX_DEPTH => {
                objects = objects << 1 | u128::from(byte == b'{');
                depth += 1;
                expect = if byte == b'{' { Expect::KeyOrEnd } else { Expect::ItemOrEnd };
                at += 1;
                continue;
            }
            (b'}', Expect::KeyOrEnd | Expect::CommaOrEnd) if in_object => {}
            (b']', Expect::ItemOrEnd | Expect::CommaOrEnd) if !in_object => {}
            (b',', Expect::CommaOrEnd) => {
                expect = if in_object { Expect::Key } else { Expect::Value };
                at += 1;
                continue;
            }
            (b':', Expect::Colon) => {
                expect = Expect::Value;
                at += 1;
                continue;
            }
            (b'"', Expect::Key | Expect::KeyOrEnd) => {
                at = string_end(bytes, at)?;
                expect = Expect::Colon;
                continue;
            }
            (_, Expect::Value | Expect::ItemOrEnd) => {
                at = scalar_end(text, at)?;
                expect = Expect::CommaOrEnd;
                continue;
            }
            _ => return Err(Stop::Invalid(at)),
        }
        at += 1;
        depth -= 1;
        objects >>= 1;
        if depth == 0 {
            return Ok(at);
        }
        expect = Expect::CommaOrEnd;
    }
}

/// The offset after the string that begins at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> Result<usize, Stop> {
    at += 1;
    loop {
        match bytes.get(at) {
            None => return Err(Stop::Cut),
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => match bytes.get(at + 1) {
                None => return Err(Stop::Cut),
                Some(b'u') => {
                    let digits = &bytes[at + 2..bytes.len().min(at + 6)];
                    if !digits.iter().all(u8::is_ascii_hexdigit) {
                        return Err(Stop::Invalid(at));
                    }
                    at += 6;
                }
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at += 2,
                Some(_) => return Err(Stop::Invalid(at)),
            },
            Some(_) => at += 1,
        }
    }
}

/// The offset after the string, number or literal that begins at `at`.
fn scalar_end(text: &str, at: usize) -> Result<usize, Stop> {
    let bytes = text.as_bytes();
    match bytes[at] {
        b'"' => string_end(bytes, at),
        b'-' | b'0'..=b'9' => {
            let in_number = |b: &&u8| matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
            let end = at + bytes[at..].iter().take_while(in_number).count();
            match serde_json::from_str::<serde_json::Number>(&text[at..end]) {
                Ok(_) => Ok(end),
                Err(_) if end == bytes.len() => Err(Stop::Cut),
                Err(_) => Err(Stop::Invalid(at)),
            }
        }
        _ => {
            let rest = &text[at..];
            for word in ["true", "false", "null"] {
                if rest.starts_with(word) {
                    return Ok(at + word.len());
                }
                if word.starts_with(rest) {
                    return Err(Stop::Cut);
                }
            }
            Err(Stop::Invalid(at))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;

    use super::*;

    #[test]
    fn the_end_of_a_value_is_found() {
        assert_eq!(end("x {\"a\": [1, {}, \"}\\\"\", null]} y", 2), Ok(29));
        assert_eq!(end("[\"a\nb\"]", 0), Ok(7));
        assert_eq!(end("[1, x]", 0), Err(Stop::Invalid(4)));
        assert_eq!(end("{\"a\" 1}", 0), Err(Stop::Invalid(5)));
        for cut in ["{", "[\"", "[tru", "[1", "[-", "{\"a\"", "{\"a\":", "[1,", "[\"\\", "[\"\\u00"] {
            assert_eq!(end(cut, 0), Err(Stop::Cut), "{cut}");
        }
        assert_eq!(end(&"[".repeat(200), 0), Err(Stop::Invalid(127)));
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_parser(text in "[\\[{]([\\[\\]{}:,\"a1 -]|true|\"a\":|\\\\n|\\\\x){0,12}") {
            let valid = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            prop_assert_eq!(end(&text, 0) == Ok(text.trim_end().len()), valid);
        }
    }
}
