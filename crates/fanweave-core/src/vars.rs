//! The variables of a prompt template.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Error, ErrorKind, Result};

/// Named values for a template: a JSON object.
///
/// A bare string becomes the variable `input`, so that chains over plain texts need no wrapping.
///
/// ```
/// use fanweave::{Vars, vars};
///
/// let vars = vars! { topic: "bears", count: 3 };
/// assert_eq!(vars.get("topic").unwrap(), "bears");
/// assert_eq!(Vars::from("hello").get("input").unwrap(), "hello");
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Vars {
    map: Map<String, Value>,
    /// The JSON that the values were read from, if it has numbers that are not written like theirs.
    #[serde(skip)]
    json: Option<Arc<str>>,
}

impl Vars {
    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    /// The fields of a value that serialises to an object.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] if it serialises to anything else.
    pub fn from_serialize(value: impl Serialize) -> Result<Self> {
        match serde_json::to_value(value) {
            Ok(Value::Object(map)) => Ok(map.into()),
            Ok(other) => Err(Error::new(
                ErrorKind::Input,
                format!("template variables must be a struct or a map (got {})", kind_of(&other)),
            )),
            Err(e) => Err(Error::new(ErrorKind::Input, "cannot read template variables").with_source(e)),
        }
    }

    /// Sets `name`, and returns its previous value.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        self.json = None;
        self.map.insert(name.into(), value.into())
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.map.get(name)
    }

    /// The names, in the order in which they were set.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.map.keys().map(String::as_str)
    }

    /// The values as a JSON object, without a copy.
    pub fn into_map(self) -> Map<String, Value> {
        self.map
    }

    /// The values as a JSON object.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.map
    }

    /// Keeps the JSON of the values, which has numbers that are not written like theirs.
    #[doc(hidden)]
    #[must_use]
    pub fn with_json(self, json: &str) -> Self {
        Self { json: Some(json.into()), ..self }
    }

    /// The JSON of the values, if it has numbers that are not written like theirs.
    #[doc(hidden)]
    pub fn json(&self) -> Option<&str> {
        self.json.as_deref()
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

impl From<Map<String, Value>> for Vars {
    fn from(map: Map<String, Value>) -> Self {
        Self { map, json: None }
    }
}

impl From<String> for Vars {
    fn from(input: String) -> Self {
        Map::from_iter([("input".to_owned(), Value::String(input))]).into()
    }
}

impl From<&str> for Vars {
    fn from(input: &str) -> Self {
        input.to_owned().into()
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Vars {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(pairs: T) -> Self {
        pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect::<Map<_, _>>().into()
    }
}

/// Makes [`Vars`] from names and all values that `serde_json::json!` accepts. A name that is not an
/// identifier is written as a text.
///
/// ```
/// let vars = fanweave::vars! { topic: "bears", tags: ["a", "b"], "by-year": { "1815": null } };
/// assert_eq!(vars.names().collect::<Vec<_>>(), ["topic", "tags", "by-year"]);
/// ```
#[macro_export]
macro_rules! vars {
    (@of [$($done:tt)*]) => {
        <$crate::Vars as ::std::iter::FromIterator<(&'static str, $crate::__private::Value)>>::from_iter([$($done)*])
    };
    (@of [$($done:tt)*] $name:tt : null $(, $($rest:tt)*)?) => {
        $crate::vars!(@of [$($done)* ($crate::vars!(@name $name), $crate::__private::Value::Null),] $($($rest)*)?)
    };
    (@of [$($done:tt)*] $name:tt : [$($list:tt)*] $(, $($rest:tt)*)?) => {
        $crate::vars!(@of [$($done)* ($crate::vars!(@name $name), $crate::__private::json!([$($list)*])),] $($($rest)*)?)
    };
    (@of [$($done:tt)*] $name:tt : {$($object:tt)*} $(, $($rest:tt)*)?) => {
        $crate::vars!(@of [$($done)* ($crate::vars!(@name $name), $crate::__private::json!({$($object)*})),] $($($rest)*)?)
    };
    (@of [$($done:tt)*] $name:tt : $value:expr $(, $($rest:tt)*)?) => {
        $crate::vars!(@of [$($done)* ($crate::vars!(@name $name), $crate::__private::json!($value)),] $($($rest)*)?)
    };
    (@name $name:ident) => { stringify!($name).trim_start_matches("r#") };
    (@name $name:literal) => { $name };
    ($($entries:tt)*) => { $crate::vars!(@of [] $($entries)*) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_a_keyword_is_written_with_and_without_its_prefix() {
        assert_eq!(crate::vars! { r#type: "song", move: 4 }.names().collect::<Vec<_>>(), ["type", "move"]);
    }

    #[test]
    fn values_are_all_that_json_accepts() {
        let n = 2;
        let vars = crate::vars! {
            a: { "b": null, "c-d": [1, { "e": n + 1 }] }, "x y": null,
            list: [[], {}, null, n], length: [1, 2].len(), sum: n + Vec::<(u8, u8)>::new().len(),
        };
        let json = serde_json::json!({
            "a": { "b": null, "c-d": [1, { "e": 3 }] }, "x y": null,
            "list": [[], {}, null, 2], "length": 2, "sum": 2,
        });
        assert_eq!(Value::Object(vars.into_map()), json);
    }

    #[test]
    fn structs_become_variables_and_scalars_are_refused() {
        #[derive(Serialize)]
        struct Row {
            topic: &'static str,
        }
        let vars = Vars::from_serialize(Row { topic: "bears" }).unwrap();
        assert_eq!(vars.get("topic").unwrap(), "bears");
        let error = Vars::from_serialize(3).unwrap_err();
        assert_eq!(error.to_string(), "template variables must be a struct or a map (got a number)");
    }
}
