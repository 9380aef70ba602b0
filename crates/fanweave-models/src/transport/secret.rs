//! Keys: never printed, and redacted from every text that a server returns.

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use fanweave_core::{Error, ErrorKind, Result};
use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

/// Replacement for a redacted key.
const REDACTED: &str = "[redacted]";

/// Shorter texts are placeholders such as `test` or `x`, which occur in any sentence.
const MIN_KEY_LEN: usize = 8;

/// An API key. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Secret(Arc<Inner>);

struct Inner {
    key: SecretString,
    /// Base64 fragments that may represent the key, longest first.
    forms: Vec<SecretString>,
}

impl Secret {
    pub(crate) fn new(key: String) -> Self {
        let forms = forms(&key);
        Self(Arc::new(Inner { key: key.into(), forms }))
    }

    /// The secret part of a header value: without the scheme before it, as in `Bearer KEY`.
    pub(crate) fn of_header(name: &HeaderName, value: &HeaderValue) -> Option<Self> {
        let is_secret = ["auth", "key", "token", "secret"].iter().any(|part| name.as_str().contains(part));
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

    /// Returns true if there is a handle on it apart from the list of recent keys.
    pub(crate) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Redacts the key in `text`, also in base64 and with URL, JSON or HTML escapes.
    pub(crate) fn redact<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut text = match without_key(text, self.0.key.expose_secret()) {
            Some(redacted) => Cow::Owned(redacted),
            None => Cow::Borrowed(text),
        };
        for form in &self.0.forms {
            if let Some(redacted) = without(&text, form.expose_secret()) {
                text = Cow::Owned(redacted);
            }
        }
        text
    }

    /// A number that identifies the key within this process and reveals nothing about it.
    pub(crate) fn fingerprint(&self) -> u64 {
        // Without a lock, which a fork could leave locked, and the same in a forked child.
        static SEED: AtomicU64 = AtomicU64::new(0);
        let mut seed = SEED.load(Ordering::Relaxed);
        if seed == 0 {
            let random = RandomState::new().hash_one(0) | 1;
            let set = SEED.compare_exchange(0, random, Ordering::Relaxed, Ordering::Relaxed);
            seed = set.map_or_else(|other| other, |_| random);
        }
        let mut hasher = DefaultHasher::new();
        (seed, self.0.key.expose_secret()).hash(&mut hasher);
        hasher.finish()
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
    forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
    forms.dedup();
    forms.into_iter().map(SecretString::from).collect()
}

/// Returns `text` without `key` if it contains it, however its characters are escaped.
fn without_key(text: &str, key: &str) -> Option<String> {
    if key.len() < MIN_KEY_LEN {
        return None;
    }
    let (mut rest, mut at) = (0, 0);
    let mut redacted = String::new();
    while at < text.len() {
        match key_at(&text.as_bytes()[at..], key.as_bytes()) {
            Some(length) if text.is_char_boundary(at) && text.is_char_boundary(at + length) => {
                redacted.extend([&text[rest..at], REDACTED]);
                at += length;
                rest = at;
            }
            _ => at += 1,
        }
    }
    (rest > 0).then(|| redacted + &text[rest..])
}

/// Returns the number of bytes that the key takes at the start of `text`, if it is there.
fn key_at(text: &[u8], key: &[u8]) -> Option<usize> {
    key.iter().try_fold(0, |at, byte| Some(at + byte_at(&text[at..], *byte)?))
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
        b'\\' if rest.first() == Some(&byte) => Some(2),
        b'\\' if rest.first() == Some(&b'u') => number(rest.get(1..5)?, 16).map(|_| 6),
        b'%' => number(rest.get(..2)?, 16).map(|_| 3),
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

/// Returns `text` without `form` if it contains it. Case is ignored.
fn without(text: &str, form: &str) -> Option<String> {
    // Lower-casing ASCII keeps the byte lengths.
    let (lower, form) = (text.to_ascii_lowercase(), form.to_ascii_lowercase());
    let mut rest = 0;
    let mut redacted = String::new();
    for (at, found) in lower.match_indices(&form) {
        redacted.extend([&text[rest..at], REDACTED]);
        rest = at + found.len();
    }
    (rest > 0).then(|| redacted + &text[rest..])
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
        texts.push(KEY.replace('/', "%2F"));
        texts.push(KEY.replace('/', "&#x2F;").replace('+', "&#43;"));
        for text in texts {
            let said = format!("no such key: {text}!");
            let redacted = secret.redact(&said);
            assert!(redacted.contains(REDACTED), "{redacted}");
            assert!(redacted.starts_with("no such key: ") && redacted.ends_with('!'), "{redacted}");
        }
    }

    #[test]
    fn a_text_without_the_key_is_unchanged() {
        assert!(matches!(Secret::new(KEY.into()).redact("nothing here"), Cow::Borrowed("nothing here")));
        assert_eq!(Secret::new("test".into()).redact("a test"), "a test");
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
