//! Requests of rows in their own dialect: sent as they are, except for the fields that have changed.

use std::borrow::Cow;
use std::fmt;

use fanweave_core::{Error, ErrorKind, Result};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// A JSON object whose fields are replaced, added and removed. All others keep their text.
pub(crate) struct Splice<'a> {
    json: &'a str,
    fields: Fields<'a>,
    is_changed: bool,
}

/// The fields of an object in order, with their JSON texts. A name may be repeated.
struct Fields<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Splice<'a> {
    /// # Errors
    /// [`ErrorKind::Input`] if `json` is not an object.
    pub(crate) fn new(json: &'a str) -> Result<Self> {
        let fields = serde_json::from_str(json)
            .map_err(|e| Error::new(ErrorKind::Input, format!("the request is not a JSON object: {e}")))?;
        Ok(Self { json, fields, is_changed: false })
    }

    /// The JSON text of a field. Of a repeated field, the last one.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.fields.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// Sets a field in its place, or at the end. `None` removes it.
    pub(crate) fn set(&mut self, name: &str, value: Option<impl Serialize>) -> Result<()> {
        let Some(value) = value else {
            let before = self.fields.0.len();
            self.fields.0.retain(|(known, _)| known != name);
            self.is_changed |= self.fields.0.len() != before;
            return Ok(());
        };
        let value = serde_json::to_string(&value).map_err(|e| {
            Error::new(ErrorKind::Input, format!("`{name}` cannot be written as JSON")).with_source(e)
        })?;
        if self.get(name) == Some(&*value) {
            return Ok(());
        }
        self.is_changed = true;
        let mut positions = self.fields.0.iter().enumerate().filter(|(_, (known, _))| known == name);
        let Some(first) = positions.next().map(|(at, _)| at) else {
            self.fields.0.push((Cow::Owned(name.to_owned()), Cow::Owned(value)));
            return Ok(());
        };
        self.fields.0[first].1 = Cow::Owned(value);
        let mut at = 0;
        self.fields.0.retain(|(known, _)| {
            at += 1;
            known != name || at == first + 1
        });
        Ok(())
    }

    /// Gives a field another name in its place, unless the object has a field of that name.
    pub(crate) fn rename(&mut self, name: &str, to: &str) {
        if self.get(to).is_some() {
            return;
        }
        for (known, _) in self.fields.0.iter_mut().filter(|(known, _)| known == name) {
            *known = Cow::Owned(to.to_owned());
            self.is_changed = true;
        }
    }

    /// Adds values before and after those of a list, which keep their texts.
    pub(crate) fn extend(
        &mut self,
        name: &str,
        before: &[impl Serialize],
        after: &[impl Serialize],
    ) -> Result<()> {
        let list = self.get(name).unwrap_or("[]").to_owned();
        let own: Vec<&RawValue> = serde_json::from_str(&list)
            .map_err(|e| Error::new(ErrorKind::Input, format!("`{name}` is not a list: {e}")))?;
        let values = before.iter().map(Either::Left);
        let values = values.chain(own.iter().map(Either::Own)).chain(after.iter().map(Either::Right));
        let values: Vec<_> = values.collect();
        self.set(name, Some(values))
    }

    /// The object. Its own text if nothing has changed.
    pub(crate) fn finish(self) -> Vec<u8> {
        if !self.is_changed {
            return self.json.into();
        }
        let mut json = Vec::with_capacity(self.json.len() + 64);
        json.push(b'{');
        for (i, (name, value)) in self.fields.0.iter().enumerate() {
            if i > 0 {
                json.push(b',');
            }
            serde_json::to_writer(&mut json, name).expect("writing to a Vec cannot fail");
            json.push(b':');
            json.extend_from_slice(value.as_bytes());
        }
        json.push(b'}');
        json
    }
}

/// A value of a list that is added, or one that was there.
enum Either<'a, A, B, C> {
    Left(&'a A),
    Own(&'a B),
    Right(&'a C),
}

impl<A: Serialize, B: Serialize, C: Serialize> Serialize for Either<'_, A, B, C> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Left(value) => value.serialize(to),
            Self::Own(value) => value.serialize(to),
            Self::Right(value) => value.serialize(to),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    fields.push((Cow::Owned(name), Cow::Borrowed(value.get())));
                }
                Ok(Fields(fields))
            }
        }
        json.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spliced(json: &str, change: impl FnOnce(&mut Splice<'_>) -> Result<()>) -> String {
        let mut splice = Splice::new(json).unwrap();
        change(&mut splice).unwrap();
        String::from_utf8(splice.finish()).unwrap()
    }

    #[test]
    fn only_changed_fields_are_replaced() {
        let json = r#"{ "a": 1.0, "b" : [12345678901234567890123 ], "a": 2 }"#;
        assert_eq!(spliced(json, |_| Ok(())), json);
        assert_eq!(spliced(json, |s| s.set("a", Some(2))), json, "the last one counts");
        assert_eq!(spliced(json, |s| s.set("a", Some(3))), r#"{"a":3,"b":[12345678901234567890123 ]}"#);
        assert_eq!(spliced(json, |s| s.set("a", None::<u8>)), r#"{"b":[12345678901234567890123 ]}"#);
        assert_eq!(spliced("{}", |s| s.set("é", Some("x"))), r#"{"é":"x"}"#);
        assert_eq!(
            spliced(json, |s| s.extend("b", &[0], &["y"])),
            r#"{"a":1.0,"b":[0,12345678901234567890123,"y"],"a":2}"#
        );
    }
}
