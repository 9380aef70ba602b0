//! Removes nulls of optional properties.
//!
//! Strict modes require every property, so models write `null` instead of omitting one. A field with a
//! default may be omitted but may not be null.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::json::is_any;
use super::{path_message, schema};

/// Maximum chain of references without a value in between.
const MAX_HOPS: usize = 16;

/// Maximum schemas visited for one value: nested alternatives multiply.
const MAX_VISITS: usize = 100_000;

/// Deserialises a value that a model wrote by `schema`, with `root` for references. If it does not fit
/// unchanged, nulls of properties that the schema does not require are removed. If it still does not, it is
/// changed to what the schema asks for: see [`schema::coerce`], whose `name` is that of the tool or schema.
///
/// # Errors
/// The problem of the original value, with its path.
pub(crate) fn read<T: DeserializeOwned>(
    mut value: Value,
    schema: &Value,
    root: &Value,
    name: &str,
) -> Result<T, String> {
    let error = match T::deserialize(&value) {
        // Any value is valid: whether it was asked for depends on the schema.
        Ok(read) if !is_any::<T>() || schema::problems(&value, schema, root).is_empty() => return Ok(read),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    let original = value.clone();
    if value.is_null() && schema.get("type").is_some_and(|kind| kind == "object") {
        value = Value::Object(serde_json::Map::new());
    } else {
        remove_nulls(&mut value, schema, root, 0, &mut { MAX_VISITS });
    }
    let fits = |value: &Value| !is_any::<T>() || schema::problems(value, schema, root).is_empty();
    if fits(&value)
        && let Ok(read) = T::deserialize(&value)
    {
        return Ok(read);
    }
    if schema::coerce(&mut value, schema, root, name)
        && fits(&value)
        && let Ok(read) = T::deserialize(&value)
    {
        tracing::debug!(target: "fanweave", name, "changed a value to its schema");
        return Ok(read);
    }
    // The problems of the original value are more helpful, and all of them more than the first one.
    let problems = schema::problems(&original, schema, root);
    match error {
        Some(error) if problems.is_empty() => Err(path_message::<T>(&original, &error)),
        _ => Err(problems.join("; ")),
    }
}

/// Removes the nulls.
fn remove_nulls(value: &mut Value, schema: &Value, root: &Value, hops: usize, visits: &mut usize) {
    let Some(remaining) = visits.checked_sub(1) else { return };
    *visits = remaining;
    if let Some(target) = schema::target(schema, root).filter(|_| hops < MAX_HOPS) {
        remove_nulls(value, target, root, hops + 1, visits);
    }
    for alternative in alternatives(schema) {
        remove_nulls(value, alternative, root, hops + 1, visits);
    }
    match value {
        Value::Object(fields) => {
            let is_required = |name: &String| schema::required(schema).any(|one| one == name);
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                match fields.get_mut(name) {
                    Some(Value::Null) if !is_required(name) && !takes_null(property, root, 0) => {
                        fields.remove(name);
                    }
                    Some(field) => remove_nulls(field, property, root, 0, visits),
                    None => {}
                }
            }
            if let Some(more @ Value::Object(_)) = schema.get("additionalProperties") {
                let is_named = |name: &String| properties.is_some_and(|named| named.contains_key(name));
                for (_, field) in fields.iter_mut().filter(|(name, _)| !is_named(name)) {
                    remove_nulls(field, more, root, 0, visits);
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                if let Some(of) = schema::of_item(schema, at) {
                    remove_nulls(item, of, root, 0, visits);
                }
            }
        }
        _ => {}
    }
}

fn alternatives(schema: &Value) -> impl Iterator<Item = &Value> {
    let lists = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|name| schema.get(name)?.as_array());
    lists.flatten()
}

/// Returns true if `null` is a value of the schema.
fn takes_null(schema: &Value, root: &Value, hops: usize) -> bool {
    if let Some(target) = schema::target(schema, root) {
        return hops < MAX_HOPS && takes_null(target, root, hops + 1);
    }
    if alternatives(schema).next().is_some() {
        return hops < MAX_HOPS && alternatives(schema).any(|one| takes_null(one, root, hops + 1));
    }
    match (schema.get("enum"), schema.get("type")) {
        (Some(Value::Array(values)), _) => values.contains(&Value::Null),
        (_, Some(Value::String(kind))) => kind == "null",
        (_, Some(Value::Array(kinds))) => kinds.iter().any(|kind| kind == "null"),
        _ => schema.get("const").is_none_or(Value::is_null),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn recursive_alternatives_terminate() {
        let of =
            json!({ "type": "object", "properties": { "a": { "$ref": "#" }, "n": { "type": "integer" } } });
        let schema = json!({ "anyOf": [of, of, of, of, { "$ref": "#" }] });
        let deep = (0..100).fold(json!({ "n": null }), |inner, _| json!({ "a": inner }));
        assert!(read::<u8>(deep, &schema, &schema, "").is_err());
        assert_eq!(read::<Value>(json!({ "n": null }), &schema, &schema, "").unwrap(), json!({ "n": null }));
    }
}
