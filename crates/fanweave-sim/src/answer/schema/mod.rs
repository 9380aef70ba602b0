//! Instances of JSON schemas: conforming values, with contents that fit the prompt.
//!
//! Supported are the keywords of structured output and tools: `type` (also as a list), `enum`, `const`,
//! `$ref` into the same document, `anyOf`, `oneOf`, `allOf`, `properties`, `required`,
//! `additionalProperties`, `items`, `prefixItems`, `minItems`, `maxItems`, `uniqueItems`, and the bounds of
//! numbers and strings with `format` and `pattern`. Others, such as `not`, are ignored. An instance of
//! `oneOf` conforms to one alternative; the others are not checked.

mod number;
mod object;
mod text;

use std::cell::Cell;

use serde_json::{Map, Value};

use super::form::Form;
use super::prose::Topic;
use super::{ChatRequest, words, writer};
use crate::draw::Rng;

/// Nesting depth beyond which optional properties and items are omitted.
const ROOMY_DEPTH: usize = 5;

/// Maximum nesting depth of an instance.
const MAX_DEPTH: usize = 48;

/// Maximum number of (sub)schemas visited per instance, so that a hostile schema costs milliseconds.
const MAX_WORK: u32 = 50_000;

/// Maximum bytes of strings and names per instance: a one-line schema can require more than any machine's
/// memory.
const MAX_BYTES: usize = 1 << 20;

/// An instance of `schema`, or `null` if none exists within the limits on depth, work and size.
pub(super) fn instance(schema: &Value, hints: &Hints, rng: &mut Rng) -> Value {
    let mut maker = Maker {
        root: schema,
        hints,
        rng,
        fuel: Cell::new(MAX_WORK),
        room: Cell::new(MAX_BYTES),
        numbers_used: 0,
    };
    maker.make(schema, "", 0).unwrap_or(Value::Null)
}

/// Values in the prompt with which to fill an instance.
#[derive(Clone, Debug)]
pub(super) struct Hints {
    pub(super) topic: Topic,
    /// Proper names in the prompt: `Paris`.
    names: Vec<String>,
    /// Numbers in the prompt.
    numbers: Vec<f64>,
    /// Number of items that the prompt requests.
    count: Option<usize>,
}

impl Hints {
    pub(super) fn of(request: &ChatRequest<'_>) -> Self {
        let count = match writer::form_of(request) {
            Some(Form::Items { count, .. }) if count > 1 => Some(count),
            _ => None,
        };
        let prompt = request.last_user_text();
        let numbers = prompt
            .split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')' | '*' | '+' | '='))
            .filter_map(|word| word.trim_end_matches(['.', '?', '!', ':']).parse::<f64>().ok())
            // "List 5 books": the five is a count, not a value.
            .filter(|number| number.is_finite() && count.is_none_or(|count| *number != count as f64))
            .collect();
        Self { topic: writer::topic_of(request), names: proper_names(prompt), numbers, count }
    }

    /// Moves the next proper name to the front, for a second call about another subject.
    pub(super) fn next_name(&mut self) {
        if !self.names.is_empty() {
            self.names.rotate_left(1);
        }
    }
}

/// Runs of capitalised words, except at the start of a sentence.
fn proper_names(prompt: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for sentence in words::sentences(prompt) {
        let mut continues = false;
        for (index, raw) in sentence.split_whitespace().enumerate() {
            let word = raw.trim_matches(|c: char| !c.is_alphanumeric());
            let word = word.strip_suffix("'s").or(word.strip_suffix("’s")).unwrap_or(word);
            let is_name = index > 0 && word.len() > 1 && word.starts_with(char::is_uppercase);
            match names.last_mut() {
                Some(name) if is_name && continues => *name = format!("{name} {word}"),
                _ if is_name => names.push(word.to_owned()),
                _ => {}
            }
            continues = is_name && raw.ends_with(char::is_alphanumeric);
        }
    }
    names
}

/// An instance under construction.
struct Maker<'a> {
    root: &'a Value,
    hints: &'a Hints,
    rng: &'a mut Rng,
    fuel: Cell<u32>,
    /// Remaining bytes.
    room: Cell<usize>,
    /// Number of the prompt's numbers that are already in the instance.
    numbers_used: usize,
}

impl<'a> Maker<'a> {
    /// An instance of `schema`, for the property `key`. `None` if there is no such instance.
    fn make(&mut self, schema: &'a Value, key: &str, depth: usize) -> Option<Value> {
        self.burn()?;
        if depth > MAX_DEPTH {
            return None;
        }
        let Value::Object(keywords) = schema else {
            return (*schema != Value::Bool(false)).then(|| Value::from(self.hints.topic.phrase()));
        };
        if let Some(constant) = keywords.get("const") {
            return self.copy(constant);
        }
        if let Some(Value::Array(values)) = keywords.get("enum") {
            return (!values.is_empty())
                .then(|| self.rng.below(values.len()))
                .and_then(|i| self.copy(&values[i]));
        }
        if let Some(target) = self.target(keywords) {
            return self.make(target, key, depth + 1);
        }
        if let Some(parts) = keywords.get("allOf").and_then(Value::as_array) {
            return self.make_merged(keywords, parts, key, depth);
        }
        if let Some(alternatives) = alternatives(keywords) {
            return self
                .ordered(alternatives, depth)
                .into_iter()
                .find_map(|schema| self.make(schema, key, depth + 1));
        }
        self.make_typed(type_of(keywords, depth), keywords, key, depth)
    }

    fn make_typed(
        &mut self,
        kind: &str,
        keywords: &'a Map<String, Value>,
        key: &str,
        depth: usize,
    ) -> Option<Value> {
        match kind {
            "null" => Some(Value::Null),
            "boolean" => Some(Value::Bool(self.rng.below(4) != 0)),
            "integer" | "number" => {
                let hint = self.hints.numbers.get(self.numbers_used).copied();
                let (number, used_hint) = number::instance(keywords, kind == "integer", key, hint, self.rng)?;
                self.numbers_used += usize::from(used_hint);
                Some(number)
            }
            "array" => self.array(keywords, key, depth),
            "object" => self.object(keywords, depth),
            _ => {
                let text = text::instance(keywords, key, self.room.get(), self.hints, self.rng)?;
                self.take(text.len())?;
                Some(text.into())
            }
        }
    }

    /// A copy of a value in the schema.
    fn copy(&self, value: &Value) -> Option<Value> {
        self.take(length(value))?;
        Some(value.clone())
    }

    /// Takes a number of bytes from the remaining ones; `None` if too few remain.
    fn take(&self, bytes: usize) -> Option<()> {
        self.room.set(self.room.get().checked_sub(bytes)?);
        Some(())
    }

    /// Spends one unit of work; `None` if none remains.
    fn burn(&self) -> Option<()> {
        self.fuel.set(self.fuel.get().checked_sub(1)?);
        Some(())
    }

    /// The target of `$ref`, within this document.
    fn target(&self, keywords: &Map<String, Value>) -> Option<&'a Value> {
        let reference = keywords.get("$ref")?.as_str()?.strip_prefix('#')?;
        self.root.pointer(reference)
    }

    /// An instance of all `parts` of an `allOf` and of its sibling keywords.
    fn make_merged(
        &mut self,
        keywords: &Map<String, Value>,
        parts: &[Value],
        key: &str,
        depth: usize,
    ) -> Option<Value> {
        let mut merged = keywords.clone();
        merged.remove("allOf");
        for part in parts {
            let part = part.as_object().and_then(|part| self.target(part)).unwrap_or(part);
            merge(&mut merged, part.as_object()?);
        }
        for definitions in ["$defs", "definitions"] {
            if let Some(shared) = self.root.get(definitions) {
                merged.insert(definitions.to_owned(), shared.clone());
            }
        }
        let merged = Value::Object(merged);
        let mut maker = Maker {
            root: &merged,
            hints: self.hints,
            rng: &mut *self.rng,
            fuel: Cell::new(self.fuel.get()),
            room: Cell::new(self.room.get()),
            numbers_used: self.numbers_used,
        };
        let made = maker.make(&merged, key, depth + 1);
        let (fuel, room, numbers_used) = (maker.fuel.get(), maker.room.get(), maker.numbers_used);
        self.fuel.set(fuel);
        self.room.set(room);
        self.numbers_used = numbers_used;
        made
    }

    /// The alternatives in the order in which to try them: as listed, or at great depth the shallowest ones
    /// first.
    fn ordered(&self, alternatives: &'a [Value], depth: usize) -> Vec<&'a Value> {
        let mut ordered: Vec<&Value> = alternatives.iter().collect();
        if depth >= ROOMY_DEPTH {
            ordered.sort_by_cached_key(|schema| self.height(schema));
        } else {
            // `null` conforms, but other alternatives come first.
            ordered.sort_by_key(|schema| schema["type"] == "null");
        }
        ordered
    }

    /// Levels of the shallowest instance of `schema`, up to the depth that matters.
    fn height(&self, schema: &'a Value) -> usize {
        const ENOUGH: usize = 10;
        (0..ENOUGH).find(|levels| self.fits(schema, *levels)).unwrap_or(ENOUGH)
    }

    /// Returns true if some instance of `schema` has at most this number of levels.
    fn fits(&self, schema: &'a Value, levels: usize) -> bool {
        let (Some(()), Value::Object(keywords)) = (self.burn(), schema) else { return true };
        let below = |schema| levels > 0 && self.fits(schema, levels - 1);
        if keywords.contains_key("const") || keywords.contains_key("enum") {
            return true;
        }
        if let Some(target) = self.target(keywords) {
            return below(target);
        }
        if let Some(alternatives) = alternatives(keywords) {
            return alternatives.iter().any(below);
        }
        match type_of(keywords, ROOMY_DEPTH) {
            "object" => {
                object::required(keywords).all(|name| keywords["properties"].get(name).is_none_or(below))
            }
            "array" => match keywords.get("items") {
                Some(items) if object::bound(keywords, "minItems").is_some_and(|least| least > 0) => {
                    below(items)
                }
                _ => true,
            },
            _ => true,
        }
    }
}

/// Approximate size of a value, in bytes.
fn length(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(length).sum::<usize>() + items.len(),
        Value::Object(map) => map.iter().map(|(name, value)| name.len() + length(value)).sum(),
        _ => 4,
    }
}

/// The schemas of `anyOf` or `oneOf`.
fn alternatives(keywords: &Map<String, Value>) -> Option<&[Value]> {
    let alternatives = keywords.get("anyOf").or_else(|| keywords.get("oneOf"))?.as_array()?;
    (!alternatives.is_empty()).then_some(alternatives)
}

/// The type of the instance: the first that is not `null`, at great depth `null`. Without `type` it is
/// inferred from the other keywords.
fn type_of(keywords: &Map<String, Value>, depth: usize) -> &str {
    match keywords.get("type") {
        Some(Value::String(name)) => name,
        Some(Value::Array(names)) => {
            let mut names = names.iter().filter_map(Value::as_str);
            let wants_null = depth >= ROOMY_DEPTH;
            names
                .clone()
                .find(|name| (*name == "null") == wants_null)
                .or_else(|| names.next())
                .unwrap_or("null")
        }
        _ => {
            let has = |names: &[&str]| names.iter().any(|name| keywords.contains_key(*name));
            if has(&["properties", "required", "additionalProperties"]) {
                "object"
            } else if has(&["items", "prefixItems", "minItems"]) {
                "array"
            } else if has(&["minimum", "maximum", "multipleOf"]) {
                "number"
            } else {
                "string"
            }
        }
    }
}

/// Adds the keywords of `part`. Properties and required names are combined; other keywords are replaced.
fn merge(merged: &mut Map<String, Value>, part: &Map<String, Value>) {
    for (keyword, value) in part {
        match (merged.get_mut(keyword), value) {
            (Some(Value::Object(before)), Value::Object(more)) => before.extend(more.clone()),
            (Some(Value::Array(before)), Value::Array(more)) if keyword == "required" => {
                before.extend(more.clone());
            }
            _ => {
                merged.insert(keyword.clone(), value.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests;
