//! A YAML or TOML document as a tree of values with their byte offsets.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems};

/// A value and its offset.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    /// Byte offset in the document.
    pub(crate) at: usize,
    pub(crate) value: Tree,
}

/// A value of a document.
#[derive(Debug, Clone)]
pub(crate) enum Tree {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// The name of a field, and its offset.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) at: usize,
    pub(crate) name: String,
}

/// Language of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Yaml,
    Toml,
}

impl Node {
    /// Reads a document.
    pub(crate) fn parse(text: &str, language: Language) -> Result<Self, Problems> {
        match language {
            Language::Yaml => yaml(text),
            Language::Toml => toml(text),
        }
    }

    /// Kind of the value, for error messages.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Tree::Null => "nothing",
            Tree::Bool(_) => "true or false",
            Tree::Number(_) => "a number",
            Tree::Text(_) => "a string",
            Tree::List(_) => "a list",
            Tree::Map(_) => "a table",
        }
    }

    /// The value without offsets.
    pub(crate) fn to_json(&self) -> Value {
        match &self.value {
            Tree::Null => Value::Null,
            Tree::Bool(b) => Value::Bool(*b),
            Tree::Number(n) => Value::Number(n.clone()),
            Tree::Text(text) => Value::String(text.clone()),
            Tree::List(items) => items.iter().map(Node::to_json).collect(),
            Tree::Map(fields) => Value::Object(
                fields.iter().map(|(key, node)| (key.name.clone(), node.to_json())).collect::<Map<_, _>>(),
            ),
        }
    }
}

fn yaml(text: &str) -> Result<Node, Problems> {
    // `y` and `no` are strings, as in YAML 1.2.
    let options = serde_saphyr::options! { strict_booleans: true };
    let read: Result<Spanned<Yaml>, _> = serde_saphyr::from_str_with_options(text, options);
    match read {
        Ok(spanned) => Ok(from_yaml(spanned, text)),
        Err(error) => {
            let at = error.location().map_or(0, |location| byte(text, location));
            let whole = error.without_snippet().to_string();
            // `Problem` adds the location in the same form for all messages.
            let message = whole.split(" at line ").next().unwrap_or(&whole);
            Err(Problem::at(at, explained(message, text, at)).into())
        }
    }
}

/// Byte offset of a parser location, some of which have only a line and a column.
fn byte(text: &str, location: serde_saphyr::Location) -> usize {
    if let Some(offset) = location.span().byte_offset() {
        return at_byte(offset);
    }
    let before = at_byte(location.line().saturating_sub(1));
    let start: usize = text.split_inclusive('\n').take(before).map(str::len).sum();
    let line = text[start..].lines().next().unwrap_or_default();
    let column = at_byte(location.column().saturating_sub(1));
    start + line.char_indices().nth(column).map_or(line.len(), |(byte, _)| byte)
}

/// Rewrites a message of the parser for the author of a chain.
fn explained(message: &str, text: &str, at: usize) -> String {
    if text.get(at.saturating_sub(1)..).is_some_and(|rest| rest.starts_with("{{")) {
        return "a value that begins with `{{` must be quoted".to_owned();
    }
    let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
    // Only an unquoted `{{` before the offset is wrong.
    let until = text.get(start..(at + 2).min(text.len())).unwrap_or_default();
    let quotes = |c: char| matches!(c, '"' | '\'');
    let is_bare = |open: usize| until[..open].matches(quotes).count().is_multiple_of(2);
    if message.contains("flow mapping") && until.rfind("{{").is_some_and(is_bare) {
        return "a value that contains `{{` must be quoted inside `{ }`".to_owned();
    }
    if let Some(key) = message.strip_prefix("duplicate mapping key: ") {
        let key = key.split(", set").next().unwrap_or(key);
        return format!("duplicate key `{key}`");
    }
    // The parser's own hint is for programmers.
    if message.starts_with("multiple YAML documents") {
        return "a second document begins here, but a file holds only one: remove the `---`".to_owned();
    }
    if message.contains("null into string") {
        return "a name must be a string: put it in quotes".to_owned();
    }
    format!("invalid YAML: {message}")
}

fn at_byte(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

/// A YAML value as serde deserializes it, with offsets.
enum Yaml {
    Scalar(Tree),
    List(Vec<Spanned<Yaml>>),
    Map(Vec<(Spanned<String>, Spanned<Yaml>)>),
}

fn from_yaml(spanned: Spanned<Yaml>, text: &str) -> Node {
    let offset =
        |location: serde_saphyr::Location| at_byte(location.span().byte_offset().unwrap_or_default());
    let value = match spanned.value {
        Yaml::Scalar(Tree::Number(n)) if n.is_f64() => {
            // An alias is used here, and defined elsewhere.
            let written = text.get(offset(spanned.defined)..).unwrap_or_default();
            digits(written).map_or(Tree::Number(n), |digits| Tree::Text(digits.to_owned()))
        }
        Yaml::Scalar(tree) => tree,
        Yaml::List(items) => Tree::List(items.into_iter().map(|item| from_yaml(item, text)).collect()),
        Yaml::Map(fields) => {
            let field = |(key, node): (Spanned<String>, _)| {
                (Key { at: offset(key.referenced), name: key.value }, from_yaml(node, text))
            };
            Tree::Map(fields.into_iter().map(field).collect())
        }
    };
    Node { at: offset(spanned.referenced), value }
}

/// The number at the start of `text`, if it is a code rather than a fraction: it has a leading zero, such as
/// `0123`, or more digits than an integer can hold. A float would lose its zeros or its last digits.
fn digits(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && !"+-._".contains(c)).unwrap_or(text.len());
    let written = &text[..end];
    let digits = written.trim_start_matches(['+', '-']);
    let is_digit = |c: char| c.is_ascii_digit();
    let begins_with_zero = digits.strip_prefix('0').is_some_and(|rest| rest.starts_with(is_digit));
    let is_whole = digits.starts_with(is_digit) && digits.chars().all(|c| is_digit(c) || c == '_');
    (begins_with_zero || is_whole).then_some(written)
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Yaml;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_unit<E>(self) -> Result<Yaml, E> {
                Ok(Yaml::Scalar(Tree::Null))
            }

            fn visit_bool<E>(self, b: bool) -> Result<Yaml, E> {
                Ok(Yaml::Scalar(Tree::Bool(b)))
            }

            fn visit_i64<E>(self, n: i64) -> Result<Yaml, E> {
                Ok(Yaml::Scalar(Tree::Number(n.into())))
            }

            fn visit_u64<E>(self, n: u64) -> Result<Yaml, E> {
                Ok(Yaml::Scalar(Tree::Number(n.into())))
            }

            fn visit_f64<E: serde::de::Error>(self, n: f64) -> Result<Yaml, E> {
                let number = Number::from_f64(n).ok_or_else(|| E::custom("a number must be finite"))?;
                Ok(Yaml::Scalar(Tree::Number(number)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Yaml, E> {
                Ok(Yaml::Scalar(Tree::Text(text.to_owned())))
            }

            fn visit_string<E>(self, text: String) -> Result<Yaml, E> {
                Ok(Yaml::Scalar(Tree::Text(text)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Yaml, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Yaml::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Yaml, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Yaml::Map(fields))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

fn toml(text: &str) -> Result<Node, Problems> {
    match DeTable::parse(text) {
        Ok(table) => {
            let at = table.span().start;
            Ok(Node { at, value: from_table(table.get_ref())? })
        }
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            Err(Problem::at(at, format!("invalid TOML: {}", error.message())).into())
        }
    }
}

fn from_table(table: &DeTable<'_>) -> Result<Tree, Problems> {
    let fields = table.iter().map(|(key, value)| {
        let key = Key { at: key.span().start, name: key.get_ref().clone().into_owned() };
        Ok((key, from_toml(value.get_ref(), value.span().start)?))
    });
    fields.collect::<Result<_, Problems>>().map(Tree::Map)
}

fn from_toml(value: &DeValue<'_>, at: usize) -> Result<Node, Problems> {
    let number = |text: &str| {
        // JSON has no plus sign.
        serde_json::from_str::<Number>(text.trim_start_matches('+'))
            .map_err(|_| Problems::from(Problem::at(at, format!("`{text}` is not a supported number"))))
    };
    let value = match value {
        DeValue::String(text) => Tree::Text(text.clone().into_owned()),
        DeValue::Integer(n) => {
            let whole = i64::from_str_radix(n.as_str(), n.radix()).map_err(|_| {
                Problems::from(Problem::at(
                    at,
                    "the number is too large: put it in quotes to make it a string".to_owned(),
                ))
            })?;
            Tree::Number(whole.into())
        }
        DeValue::Float(n) => Tree::Number(number(n.as_str())?),
        DeValue::Boolean(b) => Tree::Bool(*b),
        DeValue::Datetime(time) => Tree::Text(time.to_string()),
        DeValue::Array(items) => Tree::List(
            items
                .iter()
                .map(|item| from_toml(item.get_ref(), item.span().start))
                .collect::<Result<_, _>>()?,
        ),
        DeValue::Table(table) => from_table(table)?,
    };
    Ok(Node { at, value })
}
