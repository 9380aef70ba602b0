//! Reads values that models wrote by their JSON schema, and names what does not fit.

use serde_json::{Map, Value};

use super::lenient;
use crate::excerpt;

/// Maximum chain of references without a value in between.
const MAX_HOPS: usize = 16;

/// Maximum schemas visited for one value: nested alternatives multiply.
const MAX_VISITS: usize = 20_000;

/// Allowed values of an enumeration that take as long as one visit.
const VALUES_OF_VISIT: usize = 64;

/// Maximum problems that an error names.
const MAX_PROBLEMS: usize = 8;

/// Maximum times that a value may be encoded as text.
const MAX_ENCODED: usize = 3;

/// Maximum bytes of a value that an error shows.
const MAX_SHOWN_BYTES: usize = 60;

/// Keys under which models wrap the whole value.
const WRAPPERS: [&str; 8] =
    ["arguments", "parameters", "args", "input", "properties", "answer", "items", "value"];

/// Everything in `value` that its schema does not allow, as `path: expected .., got ..`, at most eight.
/// `root` is where references point.
///
/// Checked are types, enums, constants, required and forbidden properties, and those of their parts. Keywords
/// that are not known allow everything.
pub(crate) fn problems(value: &Value, schema: &Value, root: &Value) -> Vec<String> {
    let mut check = Check { root, visits: MAX_VISITS, path: String::new(), found: Vec::new() };
    check.value(value, schema, 0);
    check.found
}

struct Check<'a> {
    root: &'a Value,
    visits: usize,
    path: String,
    found: Vec<String>,
}

impl Check<'_> {
    fn report(&mut self, message: &str) {
        let path = self.path.trim_start_matches('.');
        self.found.push(if path.is_empty() { message.to_owned() } else { format!("{path}: {message}") });
    }

    fn within(&mut self, name: &str, value: &Value, schema: &Value) {
        let len = self.path.len();
        self.path += name;
        self.value(value, schema, 0);
        self.path.truncate(len);
    }

    fn value(&mut self, value: &Value, schema: &Value, hops: usize) {
        let Some(visits) = self.visits.checked_sub(1) else { return };
        self.visits = visits;
        if self.found.len() >= MAX_PROBLEMS || hops > MAX_HOPS {
            return;
        }
        if let Some(target) = target(schema, self.root) {
            self.value(value, target, hops + 1);
        }
        for all in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            self.value(value, all, hops + 1);
        }
        for keyword in ["anyOf", "oneOf"] {
            let Some(alternatives) = schema.get(keyword).and_then(Value::as_array) else { continue };
            let before = self.found.len();
            let mut closest: Option<Vec<String>> = None;
            for alternative in alternatives {
                self.value(value, alternative, hops + 1);
                let of_one = self.found.split_off(before);
                // The alternative that the value comes closest to names the deepest path.
                let depth =
                    |all: &[String]| all.iter().map(|one| one.find(": ").unwrap_or(0)).max().unwrap_or(0);
                if closest.as_ref().is_none_or(|closest| of_one.is_empty() || depth(&of_one) > depth(closest))
                {
                    closest = Some(of_one);
                }
                if closest.as_ref().is_some_and(Vec::is_empty) {
                    break;
                }
            }
            self.found.extend(closest.unwrap_or_default());
        }
        let kinds = kinds(schema);
        if !kinds.is_empty() && !kinds.iter().any(|kind| is_of(value, kind)) {
            return self.report(&format!("expected {}, got {}", kinds.join(" or "), shown(value)));
        }
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
            && !allowed.contains(value)
        {
            let allowed: Vec<_> = allowed.iter().take(20).map(Value::to_string).collect();
            return self.report(&format!("expected one of {}, got {}", allowed.join(", "), shown(value)));
        }
        if let Some(constant) = schema.get("const").filter(|constant| *constant != value) {
            return self.report(&format!("expected {constant}, got {}", shown(value)));
        }
        match value {
            Value::Object(fields) => self.fields(fields, schema),
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    if let Some(of) = of_item(schema, at) {
                        self.within(&format!("[{at}]"), item, of);
                    }
                }
            }
            _ => {}
        }
    }

    fn fields(&mut self, fields: &Map<String, Value>, schema: &Value) {
        let properties = schema.get("properties").and_then(Value::as_object);
        for name in required(schema).filter(|name| !fields.contains_key(*name)) {
            self.report(&format!("missing field `{name}`"));
        }
        for (name, value) in fields {
            let path = format!(".{name}");
            match (properties.and_then(|properties| properties.get(name)), schema.get("additionalProperties"))
            {
                (Some(property), _) => self.within(&path, value, property),
                (None, Some(Value::Bool(false))) => {
                    let known: Vec<&str> =
                        properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
                    let near = crate::closest::closest(name, known.iter().copied());
                    let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                    self.report(&format!("unknown field `{}`{near}", excerpt(name, MAX_SHOWN_BYTES)));
                }
                (None, Some(more @ Value::Object(_))) => self.within(&path, value, more),
                _ => {}
            }
        }
    }
}

/// The names of the types that a schema allows. Empty: all.
fn kinds(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The schema of the item at this index of a list.
pub(super) fn of_item(schema: &Value, at: usize) -> Option<&Value> {
    schema.get("prefixItems").and_then(|first| first.get(at)).or(schema.get("items"))
}

/// The names of the properties that must be present.
pub(super) fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        // A whole float is one too, but the types that are read are not: it is changed to an integer.
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "object" => value.is_object(),
        "array" => value.is_array(),
        "null" => value.is_null(),
        _ => true,
    }
}

/// The beginning of a value, for an error.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        // The rest of a long value is not written.
        Value::String(text) => format!("{:?}", excerpt(text, MAX_SHOWN_BYTES)),
        Value::Array(items) if items.len() > 8 => format!("a list of {} items", items.len()),
        Value::Object(fields) if fields.len() > 8 => format!("an object of {} fields", fields.len()),
        other => excerpt(&other.to_string(), MAX_SHOWN_BYTES),
    }
}

/// Changes a value that a model wrote to what its schema asks for, where only one reading is possible:
/// numbers and booleans in texts, whole floats for integers, objects and lists encoded as text, one item in
/// place of a list, enums and keys in another case, nulls and empty texts of optional properties, missing
/// properties that may be null, and a wrapper around the whole value, such as `{"arguments": ..}` or an
/// object with the key `name`. Returns true if it changed anything.
pub(crate) fn coerce(value: &mut Value, schema: &Value, root: &Value, name: &str) -> bool {
    let mut coerce = Coerce { root, visits: MAX_VISITS };
    let is_changed = coerce.value(value, schema, 0);
    if problems(value, schema, root).is_empty() {
        return is_changed;
    }
    let Value::Object(fields) = &*value else { return is_changed };
    let known = schema.get("properties").and_then(Value::as_object);
    let inside = match fields.iter().next() {
        Some((key, inside)) if fields.len() == 1 && known.is_none_or(|known| !known.contains_key(key)) => {
            (WRAPPERS.contains(&key.as_str()) || key == name).then(|| inside.clone())
        }
        _ => None,
    };
    let Some(mut inside) = inside else { return is_changed };
    coerce.value(&mut inside, schema, 0);
    let fits = problems(&inside, schema, root).is_empty();
    if fits {
        *value = inside;
    }
    fits || is_changed
}

struct Coerce<'a> {
    root: &'a Value,
    visits: usize,
}

impl Coerce<'_> {
    fn value(&mut self, value: &mut Value, schema: &Value, hops: usize) -> bool {
        let Some(visits) = self.visits.checked_sub(1) else { return false };
        self.visits = visits;
        if hops > MAX_HOPS {
            return false;
        }
        let mut is_changed = false;
        if let Some(target) = target(schema, self.root) {
            is_changed |= self.value(value, target, hops + 1);
        }
        for all in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            is_changed |= self.value(value, all, hops + 1);
        }
        for keyword in ["anyOf", "oneOf"] {
            let Some(alternatives) = schema.get(keyword).and_then(Value::as_array) else { continue };
            if let Some(fitting) = alternatives.iter().find(|one| problems(value, one, self.root).is_empty())
            {
                // A whole float fits an integer, but not the type that is read.
                is_changed |= self.value(value, fitting, hops + 1);
                continue;
            }
            for alternative in alternatives {
                let mut changed = value.clone();
                if self.value(&mut changed, alternative, hops + 1)
                    && problems(&changed, alternative, self.root).is_empty()
                {
                    *value = changed;
                    is_changed = true;
                    break;
                }
            }
        }
        let kinds = kinds(schema);
        if !kinds.is_empty()
            && let Some(changed) = self.kind(value, &kinds, schema)
        {
            *value = changed;
            is_changed = true;
        }
        if let (Some(allowed), Value::String(text)) = (schema.get("enum").and_then(Value::as_array), &*value)
            && !allowed.iter().any(|one| one == text.as_str())
        {
            // Each of many values would be compared with each item of a long list.
            self.visits = self.visits.saturating_sub(allowed.len() / VALUES_OF_VISIT);
            let text = text.trim().to_lowercase();
            // Lower case has a different length for few letters only.
            let can_be = |one: &&str| one.len() <= 3 * text.len() && text.len() <= 3 * one.len();
            let is_meant =
                |one: &&Value| one.as_str().filter(can_be).is_some_and(|one| one.to_lowercase() == text);
            let mut meant = allowed.iter().filter(is_meant);
            if let (Some(one), None) = (meant.next(), meant.next()) {
                *value = one.clone();
                is_changed = true;
            }
        }
        match value {
            Value::Object(fields) => is_changed |= self.fields(fields, schema),
            Value::Array(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    if let Some(of) = of_item(schema, at) {
                        is_changed |= self.value(item, of, 0);
                    }
                }
            }
            _ => {}
        }
        is_changed
    }

    /// The value as one of the kinds, if it is not of any of them.
    fn kind(&mut self, value: &Value, kinds: &[&str], schema: &Value) -> Option<Value> {
        if kinds.contains(&"integer") && !kinds.contains(&"number") && value.is_f64() {
            return whole(value.as_f64()?);
        }
        if kinds.iter().any(|kind| is_of(value, kind)) {
            return None;
        }
        kinds
            .iter()
            .find_map(|kind| match (*kind, value) {
                ("integer", Value::String(text)) => {
                    let text = text.trim();
                    let number: serde_json::Number = serde_json::from_str(text).ok()?;
                    if number.is_f64() { whole(number.as_f64()?) } else { Some(Value::Number(number)) }
                }
                ("number", Value::String(text)) => serde_json::from_str(text.trim()).ok().map(Value::Number),
                ("boolean", Value::String(text)) => match text.trim().to_ascii_lowercase().as_str() {
                    "true" => Some(Value::Bool(true)),
                    "false" => Some(Value::Bool(false)),
                    _ => None,
                },
                ("string", Value::Number(number)) => Some(Value::String(number.to_string())),
                ("string", Value::Bool(flag)) => Some(Value::String(flag.to_string())),
                ("null", Value::String(text)) if matches!(text.trim(), "null" | "None") => Some(Value::Null),
                ("object" | "array", Value::String(text)) => {
                    let mut decoded = decode(text)?;
                    for _ in 1..MAX_ENCODED {
                        let Value::String(text) = &decoded else { break };
                        decoded = decode(text)?;
                    }
                    is_of(&decoded, kind).then_some(decoded).or_else(|| self.list_of_one(value, kind, schema))
                }
                ("array", _) => self.list_of_one(value, kind, schema),
                _ => None,
            })
            .or_else(|| kinds.iter().find_map(|kind| self.list_of_one(value, kind, schema)))
    }

    /// A list of the value, if it is a valid item.
    fn list_of_one(&mut self, value: &Value, kind: &str, schema: &Value) -> Option<Value> {
        let of = schema.get("items").filter(|_| kind == "array" && !value.is_null())?;
        let mut item = value.clone();
        self.value(&mut item, of, 0);
        problems(&item, of, self.root).is_empty().then(|| Value::Array(vec![item]))
    }

    fn fields(&mut self, fields: &mut Map<String, Value>, schema: &Value) -> bool {
        let mut is_changed = false;
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            if let Some(more @ Value::Object(_)) = schema.get("additionalProperties") {
                return fields
                    .values_mut()
                    .fold(false, |changed, value| self.value(value, more, 0) | changed);
            }
            return false;
        };
        // Keys in another case, or with other separators.
        let plain = |name: &str| {
            name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
        };
        let unknown: Vec<String> =
            fields.keys().filter(|key| !properties.contains_key(*key)).cloned().collect();
        for key in unknown {
            let mut meant =
                properties.keys().filter(|name| !fields.contains_key(*name) && plain(name) == plain(&key));
            if let (Some(name), None) = (meant.next(), meant.next())
                && !plain(&key).is_empty()
                && let Some(value) = fields.remove(&key)
            {
                fields.insert(name.clone(), value);
                is_changed = true;
            }
        }
        for (name, property) in properties {
            let Some(value) = fields.get_mut(name) else {
                // Strict modes require all properties, and optional ones may be null.
                if names_null(property) && required(schema).any(|one| one == name) {
                    fields.insert(name.clone(), Value::Null);
                    is_changed = true;
                }
                continue;
            };
            is_changed |= self.value(value, property, 0);
            let is_blank =
                value.is_null() || value.as_str().is_some_and(|text| matches!(text, "" | "null" | "None"));
            if is_blank
                && !required(schema).any(|one| one == name)
                && !problems(value, property, self.root).is_empty()
            {
                fields.remove(name);
                is_changed = true;
            }
        }
        if let Some(more @ Value::Object(_)) = schema.get("additionalProperties") {
            for (_, value) in fields.iter_mut().filter(|(name, _)| !properties.contains_key(*name)) {
                is_changed |= self.value(value, more, 0);
            }
        }
        is_changed
    }
}

/// Returns true if null is one of the types of a schema.
fn names_null(schema: &Value) -> bool {
    let lists = ["anyOf", "oneOf"].into_iter().filter_map(|name| schema.get(name)?.as_array());
    kinds(schema).contains(&"null") || lists.flatten().any(|one| kinds(one) == ["null"])
}

/// A whole float as an integer.
fn whole(number: f64) -> Option<Value> {
    // Larger floats are not exact integers.
    #[expect(clippy::cast_possible_truncation, reason = "the number is whole, and within 2^53")]
    let integer = (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64);
    integer.map(Value::from)
}

/// The JSON that a text consists of.
fn decode(text: &str) -> Option<Value> {
    let text = text.trim();
    if !text.starts_with(['{', '[', '"']) {
        return None;
    }
    serde_json::from_str(text).ok().or_else(|| lenient::whole(text))
}

/// The schema that a reference points to.
pub(super) fn target<'a>(schema: &Value, root: &'a Value) -> Option<&'a Value> {
    root.pointer(schema.get("$ref")?.as_str()?.strip_prefix('#')?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn many_items_are_not_all_compared_with_many_allowed_values() {
        let allowed: Vec<_> = (0..5_000).map(|n| format!("VALUE {n}")).collect();
        let schema = json!({ "items": { "enum": allowed } });
        let mut items = json!(vec!["value 7"; 60_000]);
        assert!(coerce(&mut items, &schema, &schema, "answer"));
        assert_eq!((&items[0], &items[59_999]), (&json!("VALUE 7"), &json!("value 7")));
    }

    #[test]
    fn every_problem_has_a_path_and_the_value() {
        let schema = json!({
            "type": "object",
            "properties": {
                "tags": { "type": "array", "items": { "$ref": "#/$defs/tag" } },
                "kind": { "enum": ["low", "high"] },
                "at": { "anyOf": [{ "type": "null" }, { "type": "object", "properties": { "x": { "type": "number" } }, "required": ["x"] }] },
            },
            "required": ["tags", "id"],
            "additionalProperties": false,
            "$defs": { "tag": { "type": "object", "properties": { "name": { "type": "integer" } } } },
        });
        let value = json!({ "tags": [{ "name": 1 }, { "name": "five" }], "kind": "middle", "at": { "x": "y" }, "kin": 1 });
        assert_eq!(
            problems(&value, &schema, &schema),
            [
                "missing field `id`",
                "tags[1].name: expected integer, got \"five\"",
                "kind: expected one of \"low\", \"high\", got \"middle\"",
                "at.x: expected number, got \"y\"",
                "unknown field `kin`; did you mean `kind`?",
            ]
        );
        let many = json!(vec!["x"; 100]);
        assert_eq!(
            problems(&many, &json!({ "items": { "type": "null" } }), &Value::Null).len(),
            MAX_PROBLEMS
        );
    }

    #[test]
    fn recursive_alternatives_terminate() {
        let of =
            json!({ "type": "object", "properties": { "a": { "$ref": "#" }, "n": { "type": "integer" } } });
        let schema = json!({ "anyOf": [of, of, of, of, { "$ref": "#" }] });
        let mut deep = (0..100).fold(json!({ "n": "x" }), |inner, _| json!({ "a": inner }));
        coerce(&mut deep, &schema, &schema, "");
    }

    #[test]
    fn a_value_that_fits_is_not_changed() {
        let schema = json!({ "properties": { "id": { "type": ["string", "integer"] }, "x": {}, "n": { "type": ["number", "null"] } } });
        for value in [
            json!({ "id": "007", "x": "5", "n": 5.0 }),
            json!({ "id": 7, "n": null }),
            json!("5"),
            json!(null),
        ] {
            let mut changed = value.clone();
            assert!(!coerce(&mut changed, &schema, &schema, ""), "{value}");
            assert_eq!(changed, value);
        }
    }

    #[test]
    fn a_missing_property_that_may_be_null_is_null() {
        let maybe = json!({ "anyOf": [{ "type": "number" }, { "type": "null" }] });
        let properties =
            json!({ "a": { "type": "integer" }, "b": maybe, "c": { "type": ["string", "null"] }, "d": {} });
        let schema =
            |required: Value| json!({ "type": "object", "properties": properties, "required": required });
        let coerced = |value: Value, schema: &Value| {
            let mut value = value;
            coerce(&mut value, schema, schema, "");
            (problems(&value, schema, schema).is_empty(), value)
        };
        let value = json!({ "a": 4.0, "b": null, "c": null });
        let expected = json!({ "a": 4, "b": null, "c": null });
        assert_eq!(coerced(json!({ "a": 4.0 }), &schema(json!(["a", "b", "c"]))), (true, expected.clone()));
        assert_eq!(coerced(value, &schema(json!(["a"]))), (true, expected));
        assert!(!coerced(json!({ "b": 1 }), &schema(json!(["a", "b"]))).0, "an integer");
        assert!(!coerced(json!({ "a": 1 }), &schema(json!(["d"]))).0, "any value");
        assert_eq!(coerced(json!({ "a": 1 }), &schema(json!(["a"]))), (true, json!({ "a": 1 })));
    }
}
