//! Values of any type where a string, a number, an object or a list was expected.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

use crate::providers::json::{self, AnyJson};
use crate::transport::caps::{Cap, PARTS};

/// A string. A number is formatted, and a list or object with elements is written as JSON. Anything else is
/// empty.
#[derive(Debug, Clone, Default)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_string(self) -> String {
        self.0.into_owned()
    }

    pub(super) fn into_option(self) -> Option<String> {
        (!self.0.is_empty()).then(|| self.0.into_owned())
    }
}

/// The arguments of a tool call: JSON in a string, or plain JSON.
#[derive(Debug, Clone, Default)]
pub(super) struct Arguments<'a>(pub(super) Text<'a>);

/// The index of a tool call. `None` if it is missing or no number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Index(pub(super) Option<u32>);

/// An object. `None` for a value of another type.
pub(super) struct Maybe<T>(pub(super) Option<T>);

/// The objects of a list, without values of other types. A single object counts as a list of one. `None` for
/// any other value.
pub(super) struct Many<T>(pub(super) Option<Vec<T>>);

/// The parts of an answer of which there is a maximum.
pub(super) trait Counted {
    const CAP: Cap;
}

impl<T> Default for Maybe<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Default for Many<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Many<T> {
    pub(super) fn into_vec(self) -> Vec<T> {
        self.0.unwrap_or_default()
    }
}

/// Content: a string, or a list of parts.
pub(super) enum Content<'a> {
    Text(Text<'a>),
    Parts(Vec<Value>),
}

impl Content<'_> {
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Content::Text(text) => text.is_empty(),
            Content::Parts(parts) => parts.is_empty(),
        }
    }
}

impl Default for Content<'_> {
    fn default() -> Self {
        Content::Text(Text::default())
    }
}

/// A count. Null, negative numbers and other values are 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Count(pub(super) u64);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        match json.deserialize_any(Lenient(DATA))? {
            Scalar::Text(text) => Ok(Text(text)),
            Scalar::Number(n) => Ok(Text(n.to_string().into())),
            Scalar::Json(value) => Ok(Text(json::text(&value).into())),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Arguments<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        match json.deserialize_any(Lenient(DATA))? {
            Scalar::Text(text) => Ok(Self(Text(text))),
            Scalar::Number(n) => Ok(Self(Text(n.to_string().into()))),
            Scalar::Json(value) => Ok(Self(Text(json::written(&value).into()))),
        }
    }
}

impl<'de> Deserialize<'de> for Index {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let number = match json.deserialize_any(Lenient(DATA))? {
            Scalar::Number(n) => n.as_f64(),
            Scalar::Text(text) => text.parse().ok(),
            Scalar::Json(_) => None,
        };
        Ok(Self(number.map(|number: f64| number as u32)))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        match json.deserialize_any(Lenient(AnyJson { cap: Some(PARTS), is_data: false }))? {
            Scalar::Text(text) => Ok(Content::Text(Text(text))),
            Scalar::Number(n) => Ok(Content::Text(Text(n.to_string().into()))),
            Scalar::Json(Value::Array(mut parts)) => {
                parts.retain(|part| !part.is_null());
                Ok(Content::Parts(parts))
            }
            Scalar::Json(other) if json::is_empty(&other) || other.is_boolean() => Ok(Content::default()),
            Scalar::Json(other) => Ok(Content::Parts(vec![other])),
        }
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        let number = match json.deserialize_any(Lenient(DATA))? {
            // Exact up to 2^53, far above any count of tokens.
            Scalar::Number(n) => n.as_f64().unwrap_or_default(),
            Scalar::Text(text) => text.trim().parse().unwrap_or_default(),
            Scalar::Json(_) => 0.0,
        };
        // The cast saturates: below zero is 0.
        Ok(Count(number as u64))
    }
}

/// Any value in the position of a string or a number.
enum Scalar<'a> {
    Text(Cow<'a, str>),
    Number(Number),
    Json(Value),
}

struct Lenient(AnyJson);

/// Values whose lists may have any length.
const DATA: AnyJson = AnyJson { cap: None, is_data: true };

impl<'de> Visitor<'de> for Lenient {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed("")))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Json(Value::Bool(value)))
    }

    fn visit_u64<E>(self, n: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(n.into()))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(n.into()))
    }

    fn visit_f64<E>(self, n: f64) -> Result<Self::Value, E> {
        Ok(Number::from_f64(n).map_or(Scalar::Json(Value::Null), Scalar::Number))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        self.0.visit_seq(seq).map(Scalar::Json)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        self.0.visit_map(map).map(Scalar::Json)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(Object(PhantomData)).map(Self)
    }
}

impl<'de, T: Deserialize<'de> + Counted> Deserialize<'de> for Many<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(Objects(PhantomData)).map(Self)
    }
}

struct Object<T>(PhantomData<T>);
struct Objects<T>(PhantomData<T>);

/// Visits of scalar values.
macro_rules! nothing {
    () => {
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any JSON")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
            Ok(None)
        }
    };
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
    type Value = Option<T>;

    nothing!();

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }
}

impl<'de, T: Deserialize<'de> + Counted> Visitor<'de> for Objects<T> {
    type Value = Option<Vec<T>>;

    nothing!();

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Maybe(element)) = seq.next_element()? {
            if list.len() == T::CAP.max {
                return Err(A::Error::custom(T::CAP.message()));
            }
            list.extend(element);
        }
        Ok(Some(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(|one| Some(vec![one]))
    }
}
