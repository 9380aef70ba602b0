//! Keys: never printed, and redacted from every text that a server returns.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Weak};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use fanweave_core::{Error, ErrorKind, Result};
use http::{HeaderName, HeaderValue};
use memchr::memchr_iter;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// Replacement for a redacted key.
pub const REDACTED: &str = "[redacted]";

/// Shorter texts are placeholders such as `test` or `x`, which occur in any sentence.
const MIN_KEY_LEN: usize = 8;

/// An API key. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Secret(Arc<Inner>);

pub(super) struct Inner {
    key: SecretString,
    /// Base64 fragments and hexadecimal digits that may represent the key, longest first.
    forms: Vec<SecretString>,
    beginnings: Beginnings,
    /// Offset of a byte of the key that is rare in texts.
    rare: usize,
}

impl Secret {
    pub(crate) fn new(key: String) -> Self {
        let forms = forms(&key);
        let beginnings = Beginnings::of(&key, &forms);
        let rare = rarest(key.as_bytes());
        Self(Arc::new(Inner { key: key.into(), forms, beginnings, rare }))
    }

    /// The secret part of a header value: without the scheme before it, as in `Bearer KEY`.
    pub(crate) fn of_header(name: &HeaderName, value: &HeaderValue) -> Option<Self> {
        let is_secret = ["auth", "key", "token", "secret", "cookie", "credential", "passw", "session"]
            .iter()
            .any(|part| name.as_str().contains(part));
        let value = value.to_str().ok().filter(|_| is_secret)?.trim();
        Some(Self::new(value.rsplit(' ').next().unwrap_or(value).to_owned()))
    }

    /// The header value of `prefix` and the key.
    ///
    /// # Errors
    /// [`ErrorKind::Authentication`] if the key is not a valid header value. The message does not contain it.
    pub(crate) fn header(&self, prefix: &str) -> Result<HeaderValue> {
        let value = format!("{prefix}{}", self.0.key.expose_secret());
        let mut value = HeaderValue::try_from(value).map_err(|_| {
            let message = "the API key contains a character that is invalid in an HTTP header, such as a line break: \
                           check how it was copied";
            Error::new(ErrorKind::Authentication, message)
        })?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// Returns true if this is the given key.
    pub(crate) fn is(&self, key: &str) -> bool {
        self.0.key.expose_secret() == key
    }

    /// The key itself, to search for it.
    pub(super) fn expose(&self) -> &str {
        self.0.key.expose_secret()
    }

    /// Returns true if the key is long enough to be searched for in texts.
    pub(super) fn is_long_enough(&self) -> bool {
        self.expose().len() >= MIN_KEY_LEN
    }

    pub(super) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.0)
    }

    pub(super) fn from_inner(inner: Arc<Inner>) -> Self {
        Self(inner)
    }

    /// Returns true if this is the same handle.
    pub(super) fn is_handle_of(&self, other: &Arc<Inner>) -> bool {
        Arc::ptr_eq(&self.0, other)
    }

    /// Returns true if the key is in `text`, in exactly this form.
    pub(super) fn is_in(&self, text: &str) -> bool {
        let (text, key, rare) = (text.as_bytes(), self.expose().as_bytes(), self.0.rare);
        let (Some(byte), Some(last)) = (key.get(rare), text.len().checked_sub(key.len())) else {
            return false;
        };
        memchr_iter(*byte, &text[rare..=last + rare]).any(|at| text[at..].starts_with(key))
    }

    /// Returns true if both are handles of one secret.
    pub(super) fn is_handle_to(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Returns true if there is a handle on it apart from the list of recent keys.
    pub(crate) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Redacts the key in `text`: also in base64 and hexadecimal, even with colons or dashes within, with
    /// URL, JSON or HTML escapes, broken over lines, and each half of a long key.
    pub(crate) fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if !self.may_be_in(text) {
            return Cow::Borrowed(text);
        }
        let mut text = match without_key(text, self.0.key.expose_secret()) {
            Some(redacted) => Cow::Owned(redacted),
            None => Cow::Borrowed(text),
        };
        for form in &self.0.forms {
            if let Some(redacted) = without_form(&text, form.expose_secret()) {
                text = Cow::Owned(redacted);
            }
        }
        text
    }

    /// Returns false if `text` contains the key in no form: nearly always, after one pass.
    fn may_be_in(&self, text: &str) -> bool {
        let (bytes, key) = (text.as_bytes(), self.expose().as_bytes());
        let (min, half) = bounds(self.expose());
        // Every other form is longer, and short keys are not searched for.
        if bytes.len() < min || !self.is_long_enough() {
            return false;
        }
        (0..bytes.len().saturating_sub(1)).filter(|at| self.0.beginnings.contains(&bytes[*at..])).any(|at| {
            begins_with(&bytes[at..], key)
                || half.is_some_and(|half| begins_with(&bytes[at..], &key[half..]))
                || self
                    .0
                    .forms
                    .iter()
                    .any(|form| form_at(bytes, form.expose_secret().as_bytes(), at).is_some())
        })
    }

    /// A number that identifies the key, also in other processes. A hash that cannot be inverted.
    pub(crate) fn fingerprint(&self) -> u64 {
        let hash = Sha256::new().chain_update(b"fanweave account 1\0").chain_update(self.expose()).finalize();
        hash.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

fn forms(key: &str) -> Vec<SecretString> {
    if key.len() < MIN_KEY_LEN {
        return Vec::new();
    }
    let mut forms = Vec::new();
    // In the base64 of a longer text the key may start at any of three offsets. Characters that share bits
    // with a byte before or after the key are cut off.
    for before in 0..3 {
        let padded = [&b"..."[..before], key.as_bytes()].concat();
        let (from, to) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        forms.push(STANDARD_NO_PAD.encode(&padded)[from..to].to_owned());
        forms.push(URL_SAFE_NO_PAD.encode(&padded)[from..to].to_owned());
    }
    forms.push(key.bytes().map(|byte| format!("{byte:02x}")).collect());
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    forms.into_iter().map(SecretString::from).collect()
}

/// Offset of the byte of `key` that is probably the rarest in texts. 0 for an empty key.
fn rarest(key: &[u8]) -> usize {
    let is_rare: [fn(&u8) -> bool; 3] = [
        |byte| matches!(byte, b'_' | b'Q' | b'X' | b'Z' | b'J' | b'K' | b'q' | b'z'),
        u8::is_ascii_uppercase,
        |byte| byte.is_ascii_digit() || matches!(byte, b'j' | b'x' | b'k'),
    ];
    is_rare.iter().find_map(|is_rare| key.iter().position(is_rare)).unwrap_or(0)
}

/// Returns how many bytes of `key` are redacted at least, and where its second half begins, if that alone is
/// redacted too.
fn bounds(key: &str) -> (usize, Option<usize>) {
    let half = key.len() / 2;
    // A shorter half is a common word.
    if half >= MIN_KEY_LEN { (half, Some(half)) } else { (key.len(), None) }
}

/// Returns true if the first four bytes of `key`, which has more, are at the start of `text`.
fn begins_with(text: &[u8], key: &[u8]) -> bool {
    key_at(text, &key[..4]).0 == 4
}

/// The pairs of bytes with which a key may begin in a text, as a set of hashes that may contain more.
struct Beginnings([u64; Self::WORDS]);

impl Beginnings {
    /// 1 KiB: of random pairs, one in 40 is in the set of a key with its seven forms.
    const WORDS: usize = 128;

    fn of(key: &str, forms: &[SecretString]) -> Self {
        let mut set = Self([0; Self::WORDS]);
        if key.len() < MIN_KEY_LEN {
            return set;
        }
        let (_, second) = bounds(key);
        let bytes = key.as_bytes();
        let starts = [Some(bytes), second.map(|at| &bytes[at..])];
        let forms = forms.iter().map(|form| form.expose_secret().as_bytes());
        for start in starts.into_iter().flatten().chain(forms) {
            let [first, second, ..] = *start else { continue };
            for first in [first.to_ascii_lowercase(), first.to_ascii_uppercase()] {
                // White space and escapes may follow any byte.
                let after = [second.to_ascii_lowercase(), second.to_ascii_uppercase()];
                after.iter().chain(b" \t\r\n=\\%&").for_each(|second| set.insert(first, *second));
            }
        }
        // The first byte itself may be escaped.
        for first in *b"\\%&" {
            (0..=u8::MAX).for_each(|second| set.insert(first, second));
        }
        set
    }

    fn insert(&mut self, first: u8, second: u8) {
        let (word, bit) = Self::position(first, second);
        self.0[word] |= 1 << bit;
    }

    /// Returns true if a key may begin at the start of `text`, which has at least two bytes.
    fn contains(&self, text: &[u8]) -> bool {
        let (word, bit) = Self::position(text[0], text[1]);
        self.0[word] & (1 << bit) != 0
    }

    fn position(first: u8, second: u8) -> (usize, usize) {
        let pair = (usize::from(first) << 5) ^ usize::from(second).wrapping_mul(37);
        (pair / 64 % Self::WORDS, pair % 64)
    }
}

/// Returns `text` without `key` if it contains it, however its characters are escaped, or one of its halves.
fn without_key(text: &str, key: &str) -> Option<String> {
    if key.len() < MIN_KEY_LEN {
        return None;
    }
    let (min, second) = bounds(key);
    let (bytes, key) = (text.as_bytes(), key.as_bytes());
    let half = key.len() / 2;
    let second = second.map(|at| &key[at..]);
    let firsts = [Some(key[0]), second.map(|second| second[0])];
    replaced(text, |at, rest| {
        // Nearly all positions end here.
        let byte = bytes[at];
        let may_begin = |first: &Option<u8>| first.is_some_and(|first| first.eq_ignore_ascii_case(&byte));
        if !matches!(byte, b'\\' | b'%' | b'&') && !firsts.iter().any(may_begin) {
            return None;
        }
        let (matched, length) = key_at(&bytes[at..], key);
        if matched >= min {
            return Some((at, length));
        }
        let (matched, length) = key_at(&bytes[at..], second?);
        if matched < second?.len() {
            return None;
        }
        // The part of the first half before it, too.
        let before = key[..half].iter().rev().zip(bytes[rest..at].iter().rev());
        Some((at - before.take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count(), length))
    })
}

/// Returns `text` with all that `find` finds replaced, if there is any. `find` gets an offset and the end of
/// the last match, and returns the start of the text to replace, not before that end, and the length after
/// the offset.
fn replaced(text: &str, find: impl Fn(usize, usize) -> Option<(usize, usize)>) -> Option<String> {
    let (mut rest, mut at) = (0, 0);
    let mut redacted = String::new();
    while at < text.len() {
        match find(at, rest) {
            Some((from, length)) if text.is_char_boundary(from) && text.is_char_boundary(at + length) => {
                redacted.extend([&text[rest..from], REDACTED]);
                at += length;
                rest = at;
            }
            _ => at += 1,
        }
    }
    (rest > 0).then(|| redacted + &text[rest..])
}

/// Returns how many bytes of `key` are at the start of `text`, and the number of bytes that they take. White
/// space between them is ignored.
fn key_at(text: &[u8], key: &[u8]) -> (usize, usize) {
    let mut length = 0;
    for (matched, byte) in key.iter().enumerate() {
        // A key may contain an escape itself.
        let gap =
            if byte_at(&text[length..], *byte).is_none() { gap_at(&text[length..], matched) } else { 0 };
        match byte_at(&text[length + gap..], *byte) {
            Some(taken) => length += gap + taken,
            None => return (matched, length),
        }
    }
    (key.len(), length)
}

/// Returns the number of backslashes at the start of `text`, at most 8.
fn backslashes(text: &[u8]) -> usize {
    text.iter().take(8).take_while(|byte| **byte == b'\\').count()
}

/// Returns the number of bytes of white space at the start of `text`, also escaped and as a soft line break.
/// White space before the first byte of a key does not count.
fn gap_at(text: &[u8], matched: usize) -> usize {
    let mut length = 0;
    if matched == 0 {
        return length;
    }
    loop {
        length += match &text[length..] {
            [b' ' | b'\t' | b'\r' | b'\n', ..] => 1,
            [b'=', b'\r' | b'\n', ..] => 2,
            text @ [b'\\', ..] => match text.get(backslashes(text)) {
                Some(b'n' | b'r' | b't') => backslashes(text) + 1,
                _ => return length,
            },
            _ => return length,
        };
    }
}

/// Returns the number of bytes that one byte of a key takes at the start of `text`: verbatim, after a
/// backslash, or as a number such as `%2F`, `\u002f`, `&#x2f;` or `&#47;`. Case is ignored.
fn byte_at(text: &[u8], byte: u8) -> Option<usize> {
    // Escaped forms first: a key may contain a `%` or a backslash itself.
    escaped_at(text, byte).or_else(|| text.first()?.eq_ignore_ascii_case(&byte).then_some(1))
}

fn escaped_at(text: &[u8], byte: u8) -> Option<usize> {
    let (first, rest) = text.split_first()?;
    let number = |digits: &[u8], radix: u32| {
        let digits = std::str::from_utf8(digits).ok()?;
        u8::from_str_radix(digits, radix).ok().filter(|number| *number == byte)
    };
    match first {
        b'\\' if byte == b'\\' && rest.first() == Some(&byte) => Some(2),
        b'\\' => {
            // Several, if it was escaped again.
            let slashes = backslashes(text);
            match text.get(slashes)? {
                b'u' if byte != b'u' => number(text.get(slashes + 1..slashes + 5)?, 16).map(|_| slashes + 5),
                next => (*next == byte).then_some(slashes + 1),
            }
        }
        b'%' => {
            // A percent sign that was encoded again, at most three times.
            let encoded = rest.chunks(2).take_while(|digits| *digits == b"25").take(3).count() * 2;
            let digits = |from: usize| number(rest.get(from..from + 2)?, 16).map(|_| from + 3);
            digits(0).or_else(|| digits(encoded))
        }
        b'&' => {
            let end = rest.iter().take(8).position(|byte| *byte == b';')?;
            let digits = rest[..end].strip_prefix(b"#")?;
            let number = match digits {
                [b'x' | b'X', digits @ ..] => number(digits, 16),
                digits => number(digits, 10),
            };
            number.map(|_| end + 2)
        }
        _ => None,
    }
}

/// Returns `text` without `form` if it contains it. Case and line breaks are ignored.
fn without_form(text: &str, form: &str) -> Option<String> {
    let (bytes, form) = (text.as_bytes(), form.as_bytes());
    replaced(text, |at, _| Some((at, form_at(bytes, form, at)?)))
}

/// Returns the number of bytes that `form` takes at the offset `at`, if it is there. A colon or a dash
/// between two of its characters is ignored, as in `73:6b:2d`.
fn form_at(bytes: &[u8], form: &[u8], at: usize) -> Option<usize> {
    let mut length = 0;
    for (matched, byte) in form.iter().enumerate() {
        length += gap_at(&bytes[at + length..], matched);
        let is_next = |length: usize| Some(bytes.get(at + length)?.eq_ignore_ascii_case(byte));
        if !is_next(length)? {
            // A form may contain a dash itself.
            if matched < 2 || !matches!(bytes[at + length], b':' | b'-') || !is_next(length + 1)? {
                return None;
            }
            length += 1;
        }
        length += 1;
    }
    Some(length)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

    use super::*;

    const KEY: &str = "sk-canary+/5f3a~9";

    /// Common programs do not encode characters that need no encoding in a URL.
    const UNRESERVED_KEPT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

    #[test]
    fn a_key_is_found_wherever_it_is() {
        for key in ["sk-aaaaaaa", "aaaaaaaaaa", "sk-proj-9Z", "sk_aXaXaXb"] {
            let secret = Secret::new(key.into());
            for (before, after) in [("", ""), ("aXaX", ""), ("", "sk-"), ("sk_aXaX ", " é")] {
                assert!(secret.is_in(&format!("{before}{key}{after}")), "{key}");
                assert!(!secret.is_in(&format!("{before}{}{after}", &key[1..])) || key.starts_with("aa"));
            }
            assert!(!secret.is_in(&key[1..]) && !secret.is_in(""));
        }
        assert!(!Secret::new(String::new()).is_in("text"));
    }

    #[test]
    fn a_key_is_redacted_in_every_form() {
        let secret = Secret::new(KEY.into());
        let mut texts = vec![KEY.to_owned(), utf8_percent_encode(KEY, NON_ALPHANUMERIC).to_string()];
        let kept = utf8_percent_encode(KEY, &UNRESERVED_KEPT).to_string();
        texts.push(kept.replace("%2B", "%2b"));
        texts.push(kept);
        for around in ["", "a", "ab", "user:"] {
            texts.push(STANDARD.encode(format!("{around}{KEY}")));
            texts.push(STANDARD.encode(format!("{around}{KEY}{around}")));
        }
        // As encoders of JSON and HTML write it, each with its own escapes.
        texts.push(KEY.replace('/', "\\/"));
        texts.push(KEY.replace('+', "\\u002B").replace('~', "\\u007e"));
        texts.push(KEY.replace('/', "\\\\/").replace('+', "\\\\u002b"));
        texts.push(KEY.replace('/', "%2F"));
        texts.push(KEY.replace('/', "&#x2F;").replace('+', "&#43;"));
        // Encoded twice and more often.
        let twice = utf8_percent_encode(KEY, NON_ALPHANUMERIC).to_string().replace('%', "%25");
        texts.extend([twice.replace('%', "%25"), twice]);
        let hex: String = KEY.bytes().map(|byte| format!("{byte:02x}")).collect();
        for separator in [":", "-", " "] {
            let pairs: Vec<_> = KEY.bytes().map(|byte| format!("{byte:02x}")).collect();
            texts.push(pairs.join(separator));
            texts.push(format!("{}{separator}{}", &hex[..KEY.len()], &hex[KEY.len()..]));
            let base64 = STANDARD.encode(format!("user:{KEY}"));
            texts.push(format!("{}{separator}{}", &base64[..15], &base64[15..]));
        }
        texts.extend([hex.to_uppercase(), hex]);
        // Broken over lines, as mail and PEM do.
        for gap in ["\n", "\r\n", "\\n", "=\r\n", " "] {
            texts.push(format!("{}{gap}{}", &KEY[..7], &KEY[7..]));
            let base64 = STANDARD.encode(format!("user:{KEY}"));
            texts.push(format!("{}{gap}{}", &base64[..11], &base64[11..]));
        }
        texts.push(KEY.chars().map(|c| format!("{c}\n")).collect::<String>().trim_end().to_owned());
        // Halves of a long key, and more than a half.
        let half = KEY.len() / 2;
        texts.extend([&KEY[..half], &KEY[half..], &KEY[..half + 2], &KEY[3..]].map(str::to_owned));
        for text in texts {
            let said = format!("no such key: {text}!");
            let redacted = secret.redact(&said);
            assert!(redacted.contains(REDACTED), "{redacted}");
            assert!(redacted.starts_with("no such key: ") && redacted.ends_with('!'), "{redacted}");
        }
    }

    #[test]
    fn a_text_without_the_key_is_unchanged() {
        for text in [&KEY[..7], "sk-cana sk-...9", "c2stY2FuYXJ5", "%2525", "%", "\\", "s\nk", "&#"] {
            assert_eq!(Secret::new(KEY.into()).redact(text), text);
        }
        assert!(matches!(Secret::new(KEY.into()).redact("nothing here"), Cow::Borrowed("nothing here")));
        assert_eq!(Secret::new("test".into()).redact("a test"), "a test");
    }

    #[test]
    fn a_fingerprint_differs_for_each_key_and_is_the_same_in_all_processes() {
        let of = |key: &str| Secret::new(key.into()).fingerprint();
        assert_eq!(of(KEY), 0x5967_246f_69ae_d7f2);
        assert_ne!(of(KEY), of("sk-other"));
    }

    #[test]
    fn debug_shows_neither_key_nor_header() {
        let secret = Secret::new(KEY.into());
        assert_eq!(format!("{secret:?} {:?}", secret.header("Bearer ").unwrap()), "[redacted] Sensitive");
    }

    #[test]
    fn a_key_with_a_line_break_is_rejected_without_showing_it() {
        let error = Secret::new(format!("{KEY}\n")).header("Bearer ").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(!format!("{error:?}").contains("canary"));
    }
}
