//! Filters for searches by metadata.

use std::cmp::Ordering;
use std::ops::{BitAnd, BitOr};

use serde_json::{Map, Value};

/// Restricts a search to documents with matching metadata.
///
/// A missing field equals nothing: `ne` and `not_in` are true for it, all others false. Order is defined
/// between numbers and between texts.
///
/// ```
/// use fanweave::retrieval::{Document, Filter};
///
/// let recent = Filter::eq("kind", "report") & Filter::ge("year", 2020);
/// assert!(recent.allows(&Document::new("..").with("kind", "report").with("year", 2024).metadata));
/// assert!(!recent.allows(&Document::new("..").with("kind", "report").metadata));
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// The field equals the value.
    Eq(String, Value),
    /// The field differs from the value.
    Ne(String, Value),
    /// The field is less than the value.
    Lt(String, Value),
    /// The field is less than or equal to the value.
    Le(String, Value),
    /// The field is greater than the value.
    Gt(String, Value),
    /// The field is greater than or equal to the value.
    Ge(String, Value),
    /// The field equals one of the values.
    In(String, Vec<Value>),
    /// The field equals none of the values.
    NotIn(String, Vec<Value>),
    /// All of them match.
    All(Vec<Filter>),
    /// At least one of them matches.
    Any(Vec<Filter>),
}

macro_rules! comparisons {
    ($($(#[$doc:meta])* $name:ident $variant:ident;)+) => {
        impl Filter {$(
            $(#[$doc])*
            pub fn $name(field: impl Into<String>, value: impl Into<Value>) -> Self {
                Filter::$variant(field.into(), value.into())
            }
        )+}
    };
}

comparisons! {
    /// `field` equals `value`.
    eq Eq;
    /// `field` differs from `value`.
    ne Ne;
    /// `field` is less than `value`.
    lt Lt;
    /// `field` is less than or equal to `value`.
    le Le;
    /// `field` is greater than `value`.
    gt Gt;
    /// `field` is greater than or equal to `value`.
    ge Ge;
}

impl Filter {
    /// `field` equals one of `values`.
    pub fn one_of<V: Into<Value>>(field: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        Filter::In(field.into(), values.into_iter().map(Into::into).collect())
    }

    /// `field` equals none of `values`.
    pub fn none_of<V: Into<Value>>(field: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        Filter::NotIn(field.into(), values.into_iter().map(Into::into).collect())
    }

    /// Returns true if a document with this metadata may be found.
    pub fn allows(&self, metadata: &Map<String, Value>) -> bool {
        let is = |field: &str, value: &Value| metadata.get(field).is_some_and(|own| is_equal(own, value));
        let ordered = |field: &str, value: &Value, holds: fn(Ordering) -> bool| {
            metadata.get(field).and_then(|own| order(own, value)).is_some_and(holds)
        };
        match self {
            Filter::Eq(field, value) => is(field, value),
            Filter::Ne(field, value) => !is(field, value),
            Filter::Lt(field, value) => ordered(field, value, Ordering::is_lt),
            Filter::Le(field, value) => ordered(field, value, Ordering::is_le),
            Filter::Gt(field, value) => ordered(field, value, Ordering::is_gt),
            Filter::Ge(field, value) => ordered(field, value, Ordering::is_ge),
            Filter::In(field, values) => values.iter().any(|value| is(field, value)),
            Filter::NotIn(field, values) => !values.iter().any(|value| is(field, value)),
            Filter::All(filters) => filters.iter().all(|filter| filter.allows(metadata)),
            Filter::Any(filters) => filters.iter().any(|filter| filter.allows(metadata)),
        }
    }
}

/// 1 and 1.0 are equal.
fn is_equal(a: &Value, b: &Value) -> bool {
    a == b || order(a, b) == Some(Ordering::Equal)
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
            (Some(x), Some(y)) => Some(x.cmp(&y)),
            _ => x.as_f64()?.partial_cmp(&y.as_f64()?),
        },
        (Value::String(x), Value::String(y)) => Some(x.cmp(y)),
        _ => None,
    }
}

impl BitAnd for Filter {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        match (self, other) {
            (Filter::All(mut all), other) => {
                all.push(other);
                Filter::All(all)
            }
            (one, other) => Filter::All(vec![one, other]),
        }
    }
}

impl BitOr for Filter {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        match (self, other) {
            (Filter::Any(mut any), other) => {
                any.push(other);
                Filter::Any(any)
            }
            (one, other) => Filter::Any(vec![one, other]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retrieve::Document;

    #[test]
    fn filters_say_which_metadata_they_allow() {
        let page = Document::new("").with("page", 3).with("lang", "en").with("score", 0.5).metadata;
        for (filter, expected) in [
            (Filter::eq("page", 3), true),
            (Filter::eq("page", 3.0), true),
            (Filter::eq("page", "3"), false),
            (Filter::ne("page", 4), true),
            (Filter::ne("missing", 4), true),
            (Filter::eq("missing", Value::Null), false),
            (Filter::lt("page", 3), false),
            (Filter::le("page", 3), true),
            (Filter::gt("score", 0), true),
            (Filter::ge("lang", "de"), true),
            (Filter::lt("lang", 7), false),
            (Filter::one_of("lang", ["de", "en"]), true),
            (Filter::none_of("lang", ["de", "en"]), false),
            (Filter::none_of("missing", ["de"]), true),
            (Filter::eq("page", 3) & Filter::eq("lang", "de"), false),
            (Filter::eq("page", 4) | Filter::eq("lang", "en"), true),
            (Filter::All(vec![]), true),
            (Filter::Any(vec![]), false),
        ] {
            assert_eq!(filter.allows(&page), expected, "{filter:?}");
        }
    }
}
