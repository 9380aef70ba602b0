//! Identity of a row across runs: a hash of its request and of its `custom_id`, if it has one.
//!
//! The position in the file is not part of it, so a row keeps its result when others are inserted before it.
//! The `custom_id` alone is not enough: a row whose prompt was edited must be rerun. The request is hashed in
//! a canonical form that ignores whitespace and the order of fields.

use std::collections::HashMap;
use std::fmt;

use fanweave_core::Prompt;
use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// First 16 bytes of a SHA-256 hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key([u8; 16]);

impl Key {
    /// A key that is not a hash.
    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Key of a list of parts. The parts are delimited by their lengths.
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut digest = Digest::default();
        if let [one] = parts {
            digest.update(one);
            return digest.finish();
        }
        for part in parts {
            digest.update(&(part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.finish()
    }

    /// Key of a JSON object. The order of its fields does not matter.
    pub(crate) fn of_object(object: &Map<String, Value>) -> Self {
        let mut text = Vec::with_capacity(256);
        write_sorted_object(object, &mut text);
        Self::of(&[&text])
    }

    /// Key of any JSON value. The order of fields does not matter.
    pub(crate) fn of_value(value: &Value) -> Self {
        let mut text = Vec::with_capacity(256);
        write_sorted(value, &mut text);
        Self::of(&[&text])
    }

    /// Key of a row with this prompt. The [body](Prompt::body) is not part of it: it was not in earlier
    /// versions, whose journals are resumed.
    pub(crate) fn of_prompt(prompt: &Prompt) -> Self {
        Self::of_value(&serde_json::to_value(prompt).expect("a prompt has string keys"))
    }

    /// Key of the request that a prompt makes, with all that its body has.
    pub(crate) fn of_request(prompt: &Prompt) -> Self {
        let key = Self::of_prompt(prompt);
        match &prompt.body {
            Some(body) => key.and(&Self::of(&[body.canonical().as_bytes()])),
            None => key,
        }
    }

    /// Key of this key and another.
    pub(crate) fn and(&self, other: &Key) -> Self {
        Self::of(&[&self.0, &other.0])
    }
}

/// Writes JSON with the fields of every object sorted by name.
fn write_sorted(value: &Value, text: &mut Vec<u8>) {
    match value {
        Value::Object(object) => write_sorted_object(object, text),
        Value::Array(items) => {
            text.push(b'[');
            for item in items {
                write_sorted(item, text);
                text.push(b',');
            }
            text.push(b']');
        }
        plain => serde_json::to_writer(text, plain).expect("writing to a Vec cannot fail"),
    }
}

fn write_sorted_object(object: &Map<String, Value>, text: &mut Vec<u8>) {
    let mut fields: Vec<_> = object.iter().collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    text.push(b'{');
    for (name, value) in fields {
        serde_json::to_writer(&mut *text, name).expect("writing to a Vec cannot fail");
        text.push(b':');
        write_sorted(value, text);
        text.push(b',');
    }
    text.push(b'}');
}

/// A hash in progress.
#[derive(Default)]
pub(crate) struct Digest(Sha256);

impl Digest {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Key {
        let hash = self.0.finalize();
        let mut key = [0; 16];
        key.copy_from_slice(&hash[..16]);
        Key(key)
    }
}

impl std::io::Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Distinguishes equal rows: each further occurrence gets its own key, which is the same in every run.
#[derive(Default)]
pub(crate) struct Occurrences(HashMap<Key, u32>);

impl Occurrences {
    /// Key of the next row with this content.
    pub(crate) fn next(&mut self, content: Key) -> Key {
        let seen = self.0.entry(content).or_default();
        let nth = *seen;
        *seen += 1;
        match nth {
            0 => content,
            n => Key::of(&[&content.0, &n.to_le_bytes()]),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        let number = u128::from_str_radix(&text, 16).map_err(D::Error::custom)?;
        Ok(Self(number.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_delimited() {
        assert_ne!(Key::of(&[b"ab", b"c"]), Key::of(&[b"a", b"bc"]));
    }

    #[test]
    fn equal_rows_get_distinct_keys_that_are_the_same_in_every_run() {
        let keys = || {
            let mut seen = Occurrences::default();
            [b"a", b"b", b"a", b"a"].map(|row| seen.next(Key::of(&[row])))
        };
        let [a, b, second, third] = keys();
        assert!(a != b && a != second && second != third);
        assert_eq!(keys(), [a, b, second, third]);
    }

    #[test]
    fn a_key_depends_on_the_values_of_fields_but_not_on_their_order() {
        let key = |text: &str| Key::of_object(&serde_json::from_str(text).unwrap());
        assert_eq!(
            key(r#"{"a":1,"b":{"c":[2,{"e":3,"d":4}]}}"#),
            key(r#"{ "b":{"c":[2,{"d":4,"e":3}]}, "a":1 }"#)
        );
        assert!(key(r#"{"a":1}"#) != key(r#"{"a":"1"}"#) && key(r#"{"a":[1,2]}"#) != key(r#"{"a":[2,1]}"#));
    }

    #[test]
    fn a_key_survives_json() {
        let key = Key::of(&[b"x"]);
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<Key>(&json).unwrap(), key);
    }
}
