//! Rules by which providers reject schemas for structured output.

use serde_json::{Map, Value};

use super::problem::Problem;

/// The rules of one provider.
pub(super) struct Rules {
    /// Supported keywords.
    keywords: &'static [&'static str],
    /// Supported formats.
    formats: &'static [&'static str],
    /// Set if every object must have `additionalProperties: false`.
    is_closed: bool,
    /// Set if every property must be required.
    all_required: bool,
    /// Maximum nesting depth of objects, and maximum number of properties in total.
    depth: usize,
    properties: usize,
}

/// OpenAI's strict mode. Source: its guide on structured outputs.
pub(super) const STRICT: Rules = Rules {
    keywords: &[
        "$schema",
        "$id",
        "type",
        "enum",
        "const",
        "anyOf",
        "$ref",
        "$defs",
        "definitions",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "title",
        "description",
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
    is_closed: true,
    all_required: true,
    depth: 10,
    properties: 5000,
};

/// Anthropic's structured outputs. Source: its list of limitations.
pub(super) const ANTHROPIC: Rules = Rules {
    keywords: &[
        "type",
        "enum",
        "const",
        "anyOf",
        "allOf",
        "$ref",
        "$defs",
        "definitions",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "title",
        "description",
        "format",
        "default",
    ],
    formats: &["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"],
    is_closed: true,
    all_required: false,
    depth: usize::MAX,
    properties: usize::MAX,
};

/// Gemini's `responseJsonSchema`. Source: the list in its reference.
pub(super) const GEMINI: Rules = Rules {
    keywords: &[
        "$id",
        "$defs",
        "$ref",
        "$anchor",
        "type",
        "format",
        "title",
        "description",
        "enum",
        "const",
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "anyOf",
        "oneOf",
        "properties",
        "additionalProperties",
        "required",
        "propertyOrdering",
    ],
    formats: &["date-time", "date", "time"],
    is_closed: false,
    all_required: false,
    depth: usize::MAX,
    properties: usize::MAX,
};

impl Rules {
    /// Rejects a schema that violates a rule.
    pub(super) fn check(&self, schema: &Value, param: &'static str) -> Result<(), Problem> {
        let mut remaining = self.properties;
        let root = if self.all_required && schema["type"] != "object" {
            Err("schema must be a JSON Schema of 'type: \"object\"'".to_owned())
        } else {
            self.walk(schema, "", 0, &mut remaining)
        };
        root.map_err(|why| Problem::invalid(format!("Invalid schema: {why}"), Some(param)))
    }

    fn walk(&self, schema: &Value, path: &str, depth: usize, remaining: &mut usize) -> Result<(), String> {
        let Value::Object(schema) = schema else {
            return Err(format!("in context={path}, a schema is an object"));
        };
        for (keyword, value) in schema {
            if !self.keywords.contains(&keyword.as_str()) {
                return Err(format!("in context={path}, '{keyword}' is not permitted"));
            }
            if keyword == "format" && !value.as_str().is_some_and(|format| self.formats.contains(&format)) {
                return Err(format!("in context={path}, {value} is not a valid format"));
            }
        }
        let is_of = |name: &str| match schema.get("type") {
            Some(Value::Array(types)) => types.iter().any(|one| one == name),
            Some(one) => one == name,
            None => false,
        };
        if schema.contains_key("$ref")
            && let Some(sibling) = schema.keys().find(|keyword| !keyword.starts_with('$'))
        {
            return Err(format!("in context={path}, $ref cannot have keywords {{'{sibling}'}}"));
        }
        if self.all_required && is_of("array") && !schema.contains_key("items") {
            return Err(format!("in context={path}, array schema missing items"));
        }
        if is_of("object") || schema.contains_key("properties") {
            self.object(schema, path, depth, remaining)?;
        }
        for name in ["$defs", "definitions"] {
            for (key, inner) in schema.get(name).and_then(Value::as_object).into_iter().flatten() {
                self.walk(inner, &format!("{path}/{name}/{key}"), depth, remaining)?;
            }
        }
        for name in ["anyOf", "allOf", "oneOf", "prefixItems"] {
            for inner in schema.get(name).and_then(Value::as_array).into_iter().flatten() {
                self.walk(inner, &format!("{path}/{name}"), depth, remaining)?;
            }
        }
        match schema.get("items") {
            Some(items) => self.walk(items, &format!("{path}/items"), depth, remaining),
            None => Ok(()),
        }
    }

    fn object(
        &self,
        schema: &Map<String, Value>,
        path: &str,
        depth: usize,
        remaining: &mut usize,
    ) -> Result<(), String> {
        if self.is_closed && schema.get("additionalProperties") != Some(&Value::Bool(false)) {
            return Err(format!(
                "in context={path}, 'additionalProperties' is required to be supplied and to be false"
            ));
        }
        if depth >= self.depth {
            return Err(format!("in context={path}, objects nest deeper than {} levels", self.depth));
        }
        let required = schema.get("required").and_then(Value::as_array);
        for (name, inner) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            *remaining = remaining
                .checked_sub(1)
                .ok_or_else(|| format!("more than {} properties", self.properties))?;
            if self.all_required && !required.is_some_and(|all| all.iter().any(|one| one == name)) {
                return Err(format!(
                    "in context={path}, 'required' is required to be supplied and to be an array including every key in \
                     properties; missing '{name}'"
                ));
            }
            self.walk(inner, &format!("{path}/{name}"), depth + 1, remaining)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_strict_mode_does_not_take_is_refused() {
        let object = |of: Value| json!({ "type": "object", "properties": { "a": of }, "required": ["a"], "additionalProperties": false });
        assert!(STRICT.check(&object(object(json!({ "type": ["string", "null"] }))), "x").is_ok());
        let deep = (0..10).fold(json!({ "type": "string" }), |inner, _| object(inner));
        assert!(STRICT.check(&deep, "x").is_ok());
        for wrong in [
            json!({ "type": "string" }),
            json!({ "type": "object", "properties": {} }),
            json!({ "type": "object", "properties": { "a": { "type": "string" } }, "additionalProperties": false }),
            object(json!({ "type": "string", "minLength": 1 })),
            object(json!({ "type": "integer", "format": "uint8" })),
            object(json!({ "oneOf": [] })),
            object(json!({ "type": "array" })),
            object(json!({ "type": ["object", "null"] })),
            object(json!({ "$ref": "#", "description": "Again." })),
            object(json!(true)),
            object(json!({ "type": "object", "additionalProperties": { "type": "string" } })),
            object(deep),
        ] {
            assert!(STRICT.check(&wrong, "x").is_err(), "{wrong}");
        }
    }
}
