//! Instances of JSON schemas: a value that conforms, with contents that fit the prompt.
//!
//! Understood are the keywords that structured output and tools use: `type` (also as a list), `enum`, `const`, `$ref`
//! into the same document, `anyOf`, `oneOf`, `allOf`, `properties`, `required`, `additionalProperties`, `items`,
//! `prefixItems`, `minItems`, `maxItems`, `uniqueItems`, and the bounds of numbers and strings with `format` and
//! `pattern`. Others, such as `not`, are ignored, and of `oneOf` one alternative is met without a look at the others.

mod number;
mod object;
mod text;

use std::cell::Cell;

use serde_json::{Map, Value};

use super::form::Form;
use super::prose::Topic;
use super::{ChatRequest, words, writer};
use crate::draw::Rng;

/// Where nesting becomes frugal: deeper than this, optional properties and items are left out.
const ROOMY_DEPTH: usize = 5;

/// Deepest nesting of an instance.
const DEEPEST: usize = 48;

/// Most (sub)schemas visited for one instance, so that a hostile schema costs milliseconds.
const FUEL: u32 = 50_000;

/// Most bytes of texts and names in one instance: a schema of a line can ask for more than any machine holds.
const ROOM: usize = 1 << 20;

/// An instance of `schema`, or `null` if there is none within the bounds on depth, work and length.
pub(super) fn instance(schema: &Value, hints: &Hints, rng: &mut Rng) -> Value {
    let mut maker =
        Maker { root: schema, hints, rng, fuel: Cell::new(FUEL), room: Cell::new(ROOM), numbers_used: 0 };
    maker.make(schema, "", 0).unwrap_or(Value::Null)
}

/// What the prompt offers to fill an instance with.
#[derive(Clone, Debug)]
pub(super) struct Hints {
    pub(super) topic: Topic,
    /// Proper names in the prompt: `Paris`.
    names: Vec<String>,
    /// Numbers in the prompt.
    numbers: Vec<f64>,
    /// How many items the prompt asks for.
    count: Option<usize>,
}

impl Hints {
    pub(super) fn of(ask: &ChatRequest<'_>) -> Self {
        let count = match writer::form_of(ask) {
            Some(Form::Items { count, .. }) if count > 1 => Some(count),
            _ => None,
        };
        let prompt = ask.last_user_text();
        let numbers = prompt
            .split(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | '(' | ')' | '*' | '+' | '='))
            .filter_map(|word| word.trim_end_matches(['.', '?', '!', ':']).parse::<f64>().ok())
            // "List 5 books": the five is no datum.
            .filter(|number| number.is_finite() && count.is_none_or(|count| *number != count as f64))
            .collect();
        Self { topic: writer::topic_of(ask), names: proper_names(prompt), numbers, count }
    }

    /// Brings the next proper name to the front, for a second call about something else.
    pub(super) fn next_name(&mut self) {
        if !self.names.is_empty() {
            self.names.rotate_left(1);
        }
    }
}

/// Runs of capitalised words that do not merely start a sentence.
fn proper_names(prompt: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for sentence in words::sentences(prompt) {
        let mut continues = false;
        for (place, raw) in sentence.split_whitespace().enumerate() {
            let word = raw.trim_matches(|c: char| !c.is_alphanumeric());
            let word = word.strip_suffix("'s").or(word.strip_suffix("’s")).unwrap_or(word);
            let is_name = place > 0 && word.len() > 1 && word.starts_with(char::is_uppercase);
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

/// One instance in the making.
struct Maker<'a> {
    root: &'a Value,
    hints: &'a Hints,
    rng: &'a mut Rng,
    fuel: Cell<u32>,
    /// Bytes that may still be written.
    room: Cell<usize>,
    /// How many of the prompt's numbers are already in the instance.
    numbers_used: usize,
}

impl<'a> Maker<'a> {
    /// An instance of `schema`, which stands under the property `key`. `None` if there is none.
    fn make(&mut self, schema: &'a Value, key: &str, depth: usize) -> Option<Value> {
        self.burn()?;
        if depth > DEEPEST {
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

    /// A copy of a value that the schema has.
    fn copy(&self, value: &Value) -> Option<Value> {
        self.take(length(value))?;
        Some(value.clone())
    }

    /// Takes so many bytes of what may be written; `None` if there are not as many left.
    fn take(&self, bytes: usize) -> Option<()> {
        self.room.set(self.room.get().checked_sub(bytes)?);
        Some(())
    }

    /// Spends one unit of work; `None` if none is left.
    fn burn(&self) -> Option<()> {
        self.fuel.set(self.fuel.get().checked_sub(1)?);
        Some(())
    }

    /// What `$ref` points at, within this document.
    fn target(&self, keywords: &Map<String, Value>) -> Option<&'a Value> {
        let reference = keywords.get("$ref")?.as_str()?.strip_prefix('#')?;
        self.root.pointer(reference)
    }

    /// An instance of all `parts` of an `allOf` and of the keywords beside it.
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

    /// The alternatives in the order in which to try them: the first ones first, or deep down the shallowest ones.
    fn ordered(&self, alternatives: &'a [Value], depth: usize) -> Vec<&'a Value> {
        let mut ordered: Vec<&Value> = alternatives.iter().collect();
        if depth >= ROOMY_DEPTH {
            ordered.sort_by_cached_key(|schema| self.height(schema));
        } else {
            // "Nothing" is an answer, but not the one to show first.
            ordered.sort_by_key(|schema| schema["type"] == "null");
        }
        ordered
    }

    /// How many levels the shallowest instance of `schema` has, as far as it matters.
    fn height(&self, schema: &'a Value) -> usize {
        const ENOUGH: usize = 10;
        (0..ENOUGH).find(|levels| self.fits(schema, *levels)).unwrap_or(ENOUGH)
    }

    /// Whether some instance of `schema` has at most so many levels.
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

/// About how many bytes a value takes.
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

/// The type to make: the first that is not `null`, deep down `null`, and without `type` what the keywords suggest.
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

/// Adds the keywords of `part`: properties and required names are united, of all else the later wins.
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
