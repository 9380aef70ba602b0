//! Objects and arrays.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{FUEL, Maker, ROOMY_DEPTH};

/// Items of an array whose schema and prompt do not say how many.
const USUAL_ITEMS: usize = 3;

/// Most items of an array, unless its schema insists on more.
const MAX_ITEMS: usize = 50;

/// Keys of an object that may have any.
const ANY_KEYS: [&str; 2] = ["first", "second"];

/// The names that an object must have.
pub(super) fn required(keywords: &Map<String, Value>) -> impl Iterator<Item = &str> {
    keywords.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// A keyword whose value is a count.
pub(super) fn bound(keywords: &Map<String, Value>, name: &str) -> Option<usize> {
    let value = keywords.get(name)?;
    value.as_u64().and_then(|count| usize::try_from(count).ok()).or_else(|| Some(value.as_f64()? as usize))
}

impl<'a> Maker<'a> {
    /// An object with all its properties; deep down, with the required ones only.
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
        let least =
            bound(keywords, "minProperties").unwrap_or(0).max(if is_map { ANY_KEYS.len() } else { 0 });
        let most = bound(keywords, "maxProperties").unwrap_or(usize::MAX);
        let more =
            ANY_KEYS.iter().map(|key| (*key).to_owned()).chain((3..).map(|place| format!("key{place}")));
        // There are no more than there is work for.
        for name in more.take(least.min(FUEL as usize)) {
            if object.len() >= least.min(most) {
                break;
            }
            if let Some(value) = self.make(any, &name, depth + 1) {
                object.insert(name, value);
            }
        }
        Some(Value::Object(object))
    }

    /// An array of as many items as the prompt asks for, else of a few, within the bounds of the schema.
    pub(super) fn array(
        &mut self,
        keywords: &'a Map<String, Value>,
        key: &str,
        depth: usize,
    ) -> Option<Value> {
        static ANYTHING: Value = Value::Bool(true);
        let least = bound(keywords, "minItems").unwrap_or(0);
        let most = bound(keywords, "maxItems").unwrap_or(usize::MAX);
        let wanted = match self.hints.count {
            _ if depth >= ROOMY_DEPTH => 0,
            // An outer list is what the prompt counts; lists inside it are not.
            Some(count) if depth <= 1 => count.min(MAX_ITEMS),
            _ => USUAL_ITEMS,
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
        let wanted = wanted.min(most).max(least);
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
        (items.len() >= least).then_some(Value::Array(items))
    }
}

/// Items beyond which a text is not numbered from the beginning.
const FEW: usize = 64;

/// `item`, or where it is among those `seen` a text like it that is not, where `schema` lets it be any text.
fn distinct(item: Value, schema: &Value, seen: &HashSet<Value>) -> Option<Value> {
    if !seen.contains(&item) {
        return Some(item);
    }
    let is_any_text = schema.as_object().is_some_and(|keywords| {
        keywords.keys().all(|name| matches!(&**name, "type" | "title" | "description"))
    });
    let (true, Value::String(text)) = (is_any_text, item) else { return None };
    // From the beginning each time, many items would take the square of their number.
    let first = if seen.len() < FEW { 2 } else { seen.len() };
    let numbered = (first..).map(|place| Value::String(format!("{text} {place}")));
    numbered.take(seen.len() + 1).find(|candidate| !seen.contains(candidate))
}
