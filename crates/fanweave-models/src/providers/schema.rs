//! Reduces JSON schemas to the subset that a provider supports.
//!
//! Each provider constrains its models to a subset of JSON Schema and rejects everything else. An unsupported
//! constraint is moved into the description, which the model still reads; the rest of the schema is
//! unchanged.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

/// The subset that a provider supports.
pub(super) struct Subset {
    /// Supported keywords that constrain values.
    pub(super) constraints: &'static [&'static str],
    /// Supported values of `format`.
    pub(super) formats: &'static [&'static str],
    /// Set if every object must have `additionalProperties: false`.
    pub(super) closed: bool,
    /// Set if every property must be required. Optional properties then become nullable.
    pub(super) all_required: bool,
}

/// OpenAI's strict mode. Source: its list of supported schemas.
pub(super) const STRICT: Subset = Subset {
    constraints: &[
        "pattern",
        "format",
        "multipleOf",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "minItems",
        "maxItems",
    ],
    formats: &["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"],
    closed: true,
    all_required: true,
};

/// Maximum nesting depth of objects in OpenAI's strict mode. Source: its list of limitations.
const STRICT_LEVELS: usize = 10;

/// Formats of numbers, which their bounds already express.
const NUMBERS: &[&str] = &[
    "int8", "int16", "int32", "int64", "int", "uint8", "uint16", "uint32", "uint64", "uint", "float",
    "double",
];

/// Keywords that every provider supports, or that do not constrain values.
const COMMON: &[&str] = &[
    "$ref",
    "$defs",
    "definitions",
    "$id",
    "$anchor",
    "type",
    "title",
    "description",
    "enum",
    "const",
    "items",
    "anyOf",
    "properties",
    "required",
    "additionalProperties",
];

/// Keywords that have no meaning for a model.
const IDLE: &[&str] = &["$schema", "$comment", "default", "examples", "readOnly", "writeOnly", "deprecated"];

/// Reduces `schema` to the subset of the provider.
pub(super) fn within(schema: &Value, subset: &Subset) -> Value {
    match schema {
        Value::Object(object) => Value::Object(subset.object(object)),
        // Any value. Providers require an object here as well.
        Value::Bool(true) => json!({}),
        other => other.clone(),
    }
}

/// Returns true if all objects have named properties only: no maps, and no values of any type.
pub(super) fn is_closed(schema: &Value) -> bool {
    let Value::Object(object) = schema else { return false };
    let has = |keyword: &str| object.contains_key(keyword);
    let is_open = match object.get("additionalProperties") {
        None => is_of(object, "object") && !has("properties"),
        Some(more) => *more != Value::Bool(false),
    };
    let is_of_anything = is_of(object, "array") && !has("items");
    // Properties next to alternatives do not belong to them, and the alternatives must not have further
    // properties.
    let is_divided = has("properties") && ["anyOf", "oneOf", "allOf"].iter().any(|k| has(k));
    let is_anything =
        !["type", "enum", "const", "$ref", "anyOf", "oneOf", "allOf", "properties"].iter().any(|k| has(k));
    let named =
        ["properties", "$defs", "definitions"].iter().filter_map(|name| object.get(*name)?.as_object());
    let listed =
        ["anyOf", "oneOf", "allOf", "prefixItems"].iter().filter_map(|name| object.get(*name)?.as_array());
    !is_open
        && !is_anything
        && !is_of_anything
        && !is_divided
        && !has("patternProperties")
        && named.flat_map(Map::values).all(is_closed)
        && listed.flatten().all(is_closed)
        && object.get("items").is_none_or(is_closed)
}

/// Returns true if OpenAI's strict mode supports the schema.
pub(super) fn can_be_strict(schema: &Value) -> bool {
    is_closed(schema) && levels(schema) <= STRICT_LEVELS
}

/// Nesting depth of objects in a schema, not counting references.
fn levels(schema: &Value) -> usize {
    let Value::Object(object) = schema else { return 0 };
    let named = object.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::values);
    let listed = ["anyOf", "oneOf", "allOf", "prefixItems"].into_iter();
    let listed = listed.filter_map(|name| object.get(name)?.as_array()).flatten();
    let inner = named.chain(listed).chain(object.get("items")).map(levels).max().unwrap_or_default();
    inner + usize::from(is_of(object, "object") || object.contains_key("properties"))
}

/// Returns true if values may have this type.
fn is_of(schema: &Map<String, Value>, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::Array(types)) => types.iter().any(|one| one == name),
        Some(one) => one == name,
        None => false,
    }
}

/// Returns true if a schema refers to itself.
pub(super) fn is_recursive(schema: &Value) -> bool {
    /// `done` has the references that do not come back to themselves: each is followed once.
    fn refers<'a>(
        at: &'a Value,
        root: &'a Value,
        path: &mut Vec<&'a str>,
        done: &mut HashSet<&'a str>,
    ) -> bool {
        match at {
            Value::Array(all) => all.iter().any(|inner| refers(inner, root, path, done)),
            Value::Object(object) => {
                let to = object.get("$ref").and_then(Value::as_str);
                if let Some(to) = to.filter(|to| !done.contains(to)) {
                    if path.contains(&to) {
                        return true;
                    }
                    let Some(target) = to.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) else {
                        return false;
                    };
                    path.push(to);
                    let comes_back = refers(target, root, path, done);
                    path.pop();
                    if comes_back {
                        return true;
                    }
                    done.insert(to);
                }
                let inner =
                    object.iter().filter(|(name, _)| !["$defs", "definitions"].contains(&name.as_str()));
                inner.into_iter().any(|(_, inner)| refers(inner, root, path, done))
            }
            _ => false,
        }
    }
    refers(schema, schema, &mut vec!["#"], &mut HashSet::new())
}

impl Subset {
    fn object(&self, schema: &Map<String, Value>) -> Map<String, Value> {
        let mut supported = Map::new();
        let mut moved = Vec::new();
        for (keyword, value) in schema {
            let value = match (keyword.as_str(), value) {
                ("properties" | "$defs" | "definitions", Value::Object(schemas)) => {
                    let schemas = schemas.iter().map(|(name, schema)| (name.clone(), within(schema, self)));
                    Value::Object(schemas.collect())
                }
                ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(schemas)) => {
                    schemas.iter().map(|schema| within(schema, self)).collect()
                }
                ("items" | "additionalProperties" | "not", schema @ Value::Object(_)) => within(schema, self),
                _ => value.clone(),
            };
            let keyword = keyword.as_str();
            let format = value.as_str().filter(|_| keyword == "format");
            if format.is_some_and(|format| NUMBERS.contains(&format)) {
                continue;
            }
            if format.is_some_and(|format| !self.formats.contains(&format)) {
                moved.push(format!("{keyword}: {value}"));
                continue;
            }
            if COMMON.contains(&keyword) || self.constraints.contains(&keyword) {
                supported.insert(keyword.to_owned(), value);
            } else if keyword == "oneOf" && !schema.contains_key("anyOf") {
                // An approximation: alternatives nearly always differ by a constant.
                supported.insert("anyOf".to_owned(), value);
            } else if let ("allOf", Value::Array(schemas), false) =
                (keyword, &value, ["$ref", "properties"].iter().any(|taken| schema.contains_key(*taken)))
                && let [Value::Object(only)] = schemas.as_slice()
            {
                // Generators attach a description to a reference in this way.
                supported.extend(only.clone());
            } else if !IDLE.contains(&keyword) {
                moved.push(format!("{keyword}: {value}"));
            }
        }
        self.settle(&mut supported);
        if !moved.is_empty() {
            let text = supported.get("description").and_then(Value::as_str).map(|text| format!("{text} "));
            let description = format!("{}({})", text.unwrap_or_default(), moved.join(", "));
            supported.insert("description".to_owned(), Value::String(description));
        }
        if supported.contains_key("$ref") && supported.keys().any(|keyword| !keyword.starts_with('$')) {
            // A reference must not have sibling keywords.
            let reference = supported.remove("$ref");
            supported.insert("anyOf".to_owned(), json!([{ "$ref": reference }]));
        }
        supported
    }

    fn settle(&self, object: &mut Map<String, Value>) {
        if !is_of(object, "object") && !object.contains_key("properties") {
            return;
        }
        if self.closed {
            object.insert("additionalProperties".to_owned(), Value::Bool(false));
        }
        if !self.all_required {
            return;
        }
        let required = object.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let Some(Value::Object(properties)) = object.get_mut("properties") else { return };
        let names: Vec<Value> = properties.keys().map(|name| Value::String(name.clone())).collect();
        for (name, property) in properties {
            if !required.iter().any(|required| required == name) {
                make_nullable(property);
            }
        }
        object.insert("required".to_owned(), Value::Array(names));
    }
}

fn make_nullable(property: &mut Value) {
    let null = json!("null");
    if let Some(variants) = property.get_mut("enum").and_then(Value::as_array_mut)
        && !variants.contains(&Value::Null)
    {
        variants.push(Value::Null);
    }
    match property.get_mut("type") {
        Some(Value::Array(types)) if types.contains(&null) => {}
        Some(Value::Array(types)) => types.push(null),
        Some(name @ Value::String(_)) if *name != null => *name = Value::Array(vec![name.take(), null]),
        Some(_) => {}
        None => match property.get_mut("anyOf").and_then(Value::as_array_mut) {
            Some(variants) if variants.contains(&json!({ "type": "null" })) => {}
            Some(variants) => variants.push(json!({ "type": "null" })),
            None => *property = json!({ "anyOf": [property.take(), { "type": "null" }] }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOSE: Subset = Subset { constraints: &[], formats: &[], closed: false, all_required: false };

    #[test]
    fn constraints_that_are_not_known_move_into_the_description() {
        let schema = json!({
            "$schema": "x", "type": "object", "properties": {
                "age": { "type": "integer", "description": "In years.", "minimum": 0, "multipleOf": 2, "default": 4 },
            },
        });
        assert_eq!(
            within(&schema, &LOOSE)["properties"]["age"],
            json!({ "type": "integer", "description": "In years. (minimum: 0, multipleOf: 2)" })
        );
        assert_eq!(within(&schema, &STRICT)["properties"]["age"]["minimum"], 0);
    }

    #[test]
    fn formats_that_are_not_known_move_into_the_description_and_those_of_numbers_say_nothing() {
        let of = |schema: Value| within(&schema, &STRICT);
        let date = json!({ "type": "string", "format": "date" });
        assert_eq!(of(date.clone()), date);
        assert_eq!(of(json!({ "type": "integer", "format": "uint8" })), json!({ "type": "integer" }));
        assert_eq!(
            of(json!({ "type": "string", "format": "iri" })),
            json!({ "type": "string", "description": "(format: \"iri\")" })
        );
    }

    #[test]
    fn a_strict_object_is_closed_and_its_optional_properties_may_be_null() {
        let schema = json!({
            "type": "object",
            "properties": {
                "a": { "type": "string" },
                "b": { "type": "string" },
                "c": { "$ref": "#/$defs/c" },
                "d": { "type": "string", "enum": ["x"] },
                "e": { "type": ["integer", "null"] },
            },
            "required": ["a"],
            "$defs": { "c": { "type": "object", "properties": {} } },
        });
        assert_eq!(
            within(&schema, &STRICT),
            json!({
                "type": "object",
                "properties": {
                    "a": { "type": "string" },
                    "b": { "type": ["string", "null"] },
                    "c": { "anyOf": [{ "$ref": "#/$defs/c" }, { "type": "null" }] },
                    "d": { "type": ["string", "null"], "enum": ["x", null] },
                    "e": { "type": ["integer", "null"] },
                },
                "required": ["a", "b", "c", "d", "e"],
                "$defs": { "c": {
                    "type": "object", "properties": {}, "required": [], "additionalProperties": false,
                } },
                "additionalProperties": false,
            })
        );
    }

    #[test]
    fn maps_and_what_may_be_anything_are_not_closed() {
        let object = |of: Value| json!({ "type": "object", "properties": { "a": of } });
        for (of, closed) in [
            (json!({ "type": "string" }), true),
            (json!({ "type": "array", "items": { "type": "object", "properties": {} } }), true),
            (json!({ "anyOf": [{ "$ref": "#/$defs/b" }, { "type": "null" }] }), true),
            (json!({ "type": "object", "additionalProperties": { "type": "integer" } }), false),
            (json!({ "type": "array", "items": { "type": "object" } }), false),
            (json!({ "anyOf": [{ "type": "string" }, {}] }), false),
            (json!(true), false),
            (json!({ "type": ["object", "null"] }), false),
            (json!({ "type": "array", "prefixItems": [{ "type": "string" }] }), false),
            (
                json!({ "type": "object", "properties": {}, "oneOf": [{ "type": "object", "properties": {} }] }),
                false,
            ),
            (json!({ "description": "Anything." }), false),
        ] {
            assert_eq!(is_closed(&object(of.clone())), closed, "{of}");
        }
    }

    #[test]
    fn what_nests_deeper_than_the_strict_mode_goes_is_not_said_in_it() {
        let object = |of: Value| json!({ "type": "object", "properties": { "a": { "type": ["array", "null"], "items": of } } });
        let ten = (0..10).fold(json!({ "type": "string" }), |inner, _| object(inner));
        assert!(can_be_strict(&ten));
        assert!(!can_be_strict(&object(json!({ "anyOf": [ten, { "type": "null" }] }))));
        assert!(!can_be_strict(&json!({ "type": "object" })));
    }

    #[test]
    fn a_schema_that_comes_back_to_itself_is_recursive() {
        let of = |to: &str, inner: Value| json!({ "properties": { "a": { "$ref": to } }, "$defs": { "b": inner, "c": { "type": "string" } } });
        assert!(is_recursive(&of("#", json!({}))));
        assert!(is_recursive(&of("#/$defs/b", json!({ "items": { "$ref": "#/$defs/b" } }))));
        let twice = json!({ "properties": { "x": { "$ref": "#/$defs/c" }, "y": { "$ref": "#/$defs/c" } } });
        assert!(!is_recursive(&of("#/$defs/b", twice)));
        // Each level refers to the next one three times: 3^40 paths.
        let level = |n: usize| {
            let to = json!({ "$ref": format!("#/$defs/l{}", n + 1) });
            (format!("l{n}"), json!({ "properties": { "x": to, "y": to, "z": to } }))
        };
        let mut levels: Map<_, _> = (0..40).map(level).collect();
        levels.insert("l40".to_owned(), json!({ "type": "string" }));
        assert!(!is_recursive(&json!({ "$ref": "#/$defs/l0", "$defs": levels })));
        assert!(!is_recursive(&of("elsewhere", json!({ "items": { "$ref": "#/$defs/b" } }))));
    }

    #[test]
    fn a_property_may_be_called_like_a_keyword() {
        let schema = json!({ "type": "object", "properties": { "pattern": { "type": "string" } } });
        assert_eq!(within(&schema, &LOOSE), schema);
    }

    #[test]
    fn a_reference_has_no_sibling_keywords() {
        let schema = json!({ "$ref": "#/$defs/a", "description": "An a.", "default": {} });
        for subset in [&STRICT, &LOOSE] {
            let wanted = json!({ "anyOf": [{ "$ref": "#/$defs/a" }], "description": "An a." });
            assert_eq!(within(&schema, subset), wanted);
        }
        assert_eq!(within(&json!({ "$ref": "#", "default": 1 }), &STRICT), json!({ "$ref": "#" }));
    }

    #[test]
    fn an_object_that_may_be_null_is_closed_too() {
        let schema = json!({ "type": ["object", "null"], "properties": {} });
        assert_eq!(within(&schema, &STRICT)["additionalProperties"], false);
    }

    #[test]
    fn alternatives_and_lone_references_are_kept() {
        let schema =
            json!({ "oneOf": [{ "allOf": [{ "$ref": "#/$defs/a" }], "description": "An a." }, true] });
        assert_eq!(
            within(&schema, &LOOSE),
            json!({ "anyOf": [{ "anyOf": [{ "$ref": "#/$defs/a" }], "description": "An a." }, {}] })
        );
    }

    #[test]
    fn a_schema_that_is_already_in_the_subset_stays_as_it_is() {
        let once = within(&json!({ "type": "object", "properties": { "b": { "type": "string" } } }), &STRICT);
        assert_eq!(within(&once, &STRICT), once);
    }
}
