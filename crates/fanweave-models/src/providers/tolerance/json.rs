//! Odd JSON: repeated keys, values of other types, and characters that JSON forbids.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::streams::{DIALECTS, Event, events, rich, text, whole, wire};
use super::{expected, protocol, seen, streamed};

/// Checks that every answer is read like its original after `change`.
fn costs_nothing(change: impl Fn(&str) -> String) {
    for dialect in DIALECTS {
        for original in [text(), rich(dialect)] {
            let changed = |Event { name, data }| Event { name, data: change(&data) };
            let stream =
                wire(dialect, &events(dialect, &original).into_iter().map(changed).collect::<Vec<_>>());
            let read = streamed(dialect, &stream);
            assert_eq!(read.expect(&stream), expected(&original), "{dialect}: {stream}");
            let body = change(&whole(dialect, &original));
            let message = protocol(dialect).response(body.as_bytes()).expect(&body);
            assert_eq!(seen(&message), expected(&original), "{dialect}: {body}");
        }
    }
}

/// Writes JSON whose objects have `fields` for each of their own. Arguments of tools stay as they are:
/// repeated keys in them are the model's.
pub(super) fn with_fields(json: &str, fields: fn(&str, &str) -> String) -> String {
    fn write(value: &Value, fields: fn(&str, &str) -> String) -> String {
        match value {
            Value::Object(object) => {
                let own = |(name, value): (&String, &Value)| match &**name {
                    "args" | "input" | "arguments" => format!("\"{name}\":{value}"),
                    name => fields(name, &write(value, fields)),
                };
                format!("{{{}}}", object.iter().map(own).collect::<Vec<_>>().join(","))
            }
            Value::Array(list) => {
                format!("[{}]", list.iter().map(|v| write(v, fields)).collect::<Vec<_>>().join(","))
            }
            other => other.to_string(),
        }
    }
    serde_json::from_str(json).map_or_else(|_| json.to_owned(), |value| write(&value, fields))
}

#[test]
fn the_last_value_that_is_not_null_counts_in_every_dialect() {
    costs_nothing(|json| with_fields(json, |name, value| format!("\"{name}\":{value},\"{name}\":null")));
    costs_nothing(|json| with_fields(json, |name, value| format!("\"{name}\":null,\"{name}\":{value}")));
    costs_nothing(|json| with_fields(json, |name, value| format!("\"{name}\":{value},\"{name}\":{value}")));
}

#[test]
fn odd_literals_and_characters_cost_nothing_in_any_dialect() {
    for odd in ["NaN", "-Infinity", "Infinity", "undefined", "None", "\"a\tb\x01\"", "\"\\ud83d\"", "[1,]"] {
        costs_nothing(|json| match json.strip_prefix('{') {
            Some("}") => format!("{{\"odd\":{odd}}}"),
            Some(rest) => format!("{{\"odd\":{odd},{rest}"),
            None => json.to_owned(),
        });
    }
}

/// The objects of `value`, with their paths. An element of a list has the path of the list.
fn objects(value: &Value, path: &str, each: &mut impl FnMut(&str, &Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            each(path, object);
            object.iter().for_each(|(name, value)| objects(value, &format!("{path}/{name}"), each));
        }
        Value::Array(list) => list.iter().for_each(|value| objects(value, path, each)),
        _ => {}
    }
}

/// Sets `field` of every object at `target` without one.
fn set(value: &mut Value, path: &str, target: &str, field: &str, odd: &Value) {
    match value {
        Value::Object(object) => {
            if path == target {
                object.entry(field).or_insert_with(|| odd.clone());
            }
            for (name, value) in object {
                set(value, &format!("{path}/{name}"), target, field, odd);
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| set(value, path, target, field, odd)),
        _ => {}
    }
}

#[test]
fn whatever_stands_where_a_list_or_text_was_expected_costs_nothing() {
    let (mut checked, mut lost) = (0, Vec::new());
    for dialect in DIALECTS {
        let original = rich(dialect);
        let plain = events(dialect, &original);
        // The fields of the objects of all events, by path: each may be present and empty elsewhere.
        let mut fields: BTreeMap<String, BTreeMap<String, bool>> = BTreeMap::new();
        for event in &plain {
            let Ok(value) = serde_json::from_str::<Value>(&event.data) else { continue };
            objects(&value, "", &mut |path, object| {
                let known = fields.entry(path.to_owned()).or_default();
                known.extend(object.iter().map(|(name, value)| (name.clone(), value.is_number())));
                known.extend(
                    ["error", "refusal", "tool_calls", "function_call"].map(|name| (name.into(), false)),
                );
            });
        }
        for (path, known) in &fields {
            let is_models_own = ["args", "input", "arguments"].iter().any(|name| path.ends_with(name));
            // The type of an item or event is what says which fields it has.
            let known = known.iter().filter(|(name, _)| !is_models_own && *name != "type");
            for (field, is_number) in known {
                let mut odd = vec![json!(null), json!(""), json!({}), json!([]), json!(false)];
                odd.extend(is_number.then(|| json!(0)));
                for odd in odd {
                    let changed = |event: &Event| match serde_json::from_str::<Value>(&event.data) {
                        Ok(mut value) => {
                            set(&mut value, "", path, field, &odd);
                            Event { name: event.name, data: value.to_string() }
                        }
                        Err(_) => event.clone(),
                    };
                    let stream = wire(dialect, &plain.iter().map(changed).collect::<Vec<_>>());
                    let read = streamed(dialect, &stream).map_err(|e| e.to_string());
                    if read != Ok(expected(&original)) {
                        lost.push(format!("{dialect}: {path}/{field} = {odd}: {read:?}"));
                    }
                    checked += 1;
                }
            }
        }
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
    assert!(checked > 300, "{checked}");
}
