//! Objects and arrays.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{MAX_WORK, Maker, ROOMY_DEPTH};

/// Default number of items of an array, if neither schema nor prompt specify one.
const DEFAULT_ITEMS: usize = 3;

/// Maximum items of an array, unless its schema requires more.
const MAX_ITEMS: usize = 50;

/// Keys of an object without named properties.
const ANY_KEYS: [&str; 2] = ["first", "second"];

/// The required names of an object.
pub(super) fn required(keywords: &Map<String, Value>) -> impl Iterator<Item = &str> {
    keywords.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// A keyword whose value is a count.
pub(super) fn bound(keywords: &Map<String, Value>, name: &str) -> Option<usize> {
    let value = keywords.get(name)?;
    value.as_u64().and_then(|count| usize::try_from(count).ok()).or_else(|| Some(value.as_f64()? as usize))
}

impl<'a> Maker<'a> {
    /// An object with all its properties; at great depth, with the required ones only.
    pub(super) fn object(&mut self, keywords: &'a Map<String, Value>, depth: usize) -> Option<Value> {
        let mut object = Map::new();
        let required: Vec<&str> = required(keywords).collect();
        for (name, schema) in keywords.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let is_required = required.contains(&&**name);
            if !is_required && depth >= ROOMY_DEPTH {
                continue;
            }
            self.take(name.len())?;
            match self.make(schema, name, depth + 1) {
                Some(value) => drop(object.insert(name.clone(), value)),
                None if is_required => return None,
                None => {}
            }
        }
        let any = keywords.get("additionalProperties").unwrap_or(&Value::Bool(true));
        for name in required {
            if !object.contains_key(name) {
                self.take(name.len())?;
                object.insert(name.to_owned(), self.make(any, name, depth + 1)?);
            }
        }
        let is_map = any.is_object() && !keywords.contains_key("properties") && depth < ROOMY_DEPTH;
        let min = bound(keywords, "minProperties").unwrap_or(0).max(if is_map { ANY_KEYS.len() } else { 0 });
        let max = bound(keywords, "maxProperties").unwrap_or(usize::MAX);
        let more =
            ANY_KEYS.iter().map(|key| (*key).to_owned()).chain((3..).map(|number| format!("key{number}")));
        // The work limit also bounds the number of keys.
        for name in more.take(min.min(MAX_WORK as usize)) {
            if object.len() >= min.min(max) {
                break;
            }
            if let Some(value) = self.make(any, &name, depth + 1) {
                object.insert(name, value);
            }
        }
        Some(Value::Object(object))
    }

    /// An array with the number of items that the prompt requests, else a few, within the bounds of the
    /// schema.
    pub(super) fn array(
        &mut self,
        keywords: &'a Map<String, Value>,
        key: &str,
        depth: usize,
    ) -> Option<Value> {
        static ANYTHING: Value = Value::Bool(true);
        let min = bound(keywords, "minItems").unwrap_or(0);
        let max = bound(keywords, "maxItems").unwrap_or(usize::MAX);
        let wanted = match self.hints.count {
            _ if depth >= ROOMY_DEPTH => 0,
            // The count in the prompt refers to the outer list, not to lists inside it.
            Some(count) if depth <= 1 => count.min(MAX_ITEMS),
            _ => DEFAULT_ITEMS,
        };
        let is_unique = keywords.get("uniqueItems") == Some(&Value::Bool(true));
        let prefix = keywords.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let rest = match keywords.get("items") {
            Some(Value::Bool(false)) => None,
            Some(items) => Some(items),
            None if prefix.is_empty() => Some(&ANYTHING),
            None => None,
        };
        // A tuple is complete with its prefix.
        let wanted = if prefix.is_empty() { wanted } else { prefix.len() };
        let wanted = wanted.min(max).max(min);
        let schemas = prefix.iter().chain(rest.into_iter().cycle());
        let singular = key.strip_suffix('s').unwrap_or(key);
        let (mut items, mut seen): (Vec<Value>, HashSet<Value>) = Default::default();
        // Unique items may take several draws each.
        for schema in schemas.take(if is_unique { wanted.saturating_mul(8) } else { wanted }) {
            let Some(item) = self.make(schema, singular, depth + 1) else { break };
            if !is_unique {
                items.push(item);
            } else if let Some(item) = distinct(item, schema, &seen) {
                seen.insert(item.clone());
                items.push(item);
            }
            if items.len() == wanted {
                break;
            }
        }
        (items.len() >= min).then_some(Value::Array(items))
    }
}

/// Number of items beyond which a text is not numbered from the beginning.
const FEW: usize = 64;

/// `item`, or a numbered variant if `item` is already in `seen` and `schema` allows any text.
fn distinct(item: Value, schema: &Value, seen: &HashSet<Value>) -> Option<Value> {
    if !seen.contains(&item) {
        return Some(item);
    }
    let is_any_text = schema.as_object().is_some_and(|keywords| {
        keywords.keys().all(|name| matches!(&**name, "type" | "title" | "description"))
    });
    let (true, Value::String(text)) = (is_any_text, item) else { return None };
    // Numbering each item from the beginning would take quadratic time.
    let first = if seen.len() < FEW { 2 } else { seen.len() };
    let numbered = (first..).map(|number| Value::String(format!("{text} {number}")));
    numbered.take(seen.len() + 1).find(|candidate| !seen.contains(candidate))
}
