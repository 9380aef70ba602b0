//! Every instance conforms: over generated schemas, and over the forms that SDKs send.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Hints, instance};
use crate::answer::ChatRequest;
use crate::draw::Rng;

fn make(schema: &Value, prompt: &str, seed: u64) -> Value {
    instance(schema, &Hints::of(&ChatRequest::new("sim/writer", prompt)), &mut Rng::new(seed))
}

fn assert_conforms(schema: &Value, made: &Value) {
    let validator = jsonschema::options().should_validate_formats(true).build(schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(made).map(|error| format!("{error} at {}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:?}\nschema   {schema}\ninstance {made}");
}

/// Schemas of everything that is understood, without contradictions.
fn schemas() -> impl Strategy<Value = Value> {
    let formats = prop::sample::select(vec![
        "date",
        "date-time",
        "time",
        "email",
        "uri",
        "uuid",
        "ipv4",
        "ipv6",
        "hostname",
    ]);
    let leaf = prop_oneof![
        Just(json!({ "type": "boolean" })),
        Just(json!({ "type": "null" })),
        Just(json!({ "type": "string" })),
        Just(json!({ "type": ["null", "integer"] })),
        Just(json!({ "enum": ["red", 7, null, { "deep": true }] })),
        Just(json!({ "const": "fixed" })),
        (-1000i64..1000, 0i64..500)
            .prop_map(|(low, span)| json!({ "type": "integer", "minimum": low, "maximum": low + span })),
        (-50i64..50, 2i64..40).prop_map(|(low, span)| {
            json!({ "type": "integer", "exclusiveMinimum": low, "exclusiveMaximum": low + span })
        }),
        (-1e3..1e3f64, 1e-3..1e3f64)
            .prop_map(|(low, span)| json!({ "type": "number", "minimum": low, "maximum": low + span })),
        (1i64..40, -100i64..100).prop_map(|(step, low)| {
            json!({ "type": "integer", "multipleOf": step, "minimum": low, "maximum": low + 2 * step })
        }),
        (0usize..80, 0usize..80)
            .prop_map(|(low, span)| json!({ "type": "string", "minLength": low, "maxLength": low + span })),
        formats.prop_map(|format| json!({ "type": "string", "format": format })),
        prop::sample::select(vec![
            "^[A-Z]{2,3}-\\d{4}$",
            "^(cat|dog)s?$",
            "[0-9a-f]+",
            "^\\+?[1-9]\\d{1,14}$"
        ])
        .prop_map(|pattern| json!({ "type": "string", "pattern": pattern })),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            (inner.clone(), 0usize..4, 0usize..4)
                .prop_map(|(items, low, span)| json!({ "type": "array", "items": items, "minItems": low, "maxItems": low + span })),
            prop::collection::vec(inner.clone(), 1..4).prop_map(|any| json!({ "anyOf": any })),
            prop::collection::vec(inner.clone(), 1..3).prop_map(|items| json!({ "type": "array", "prefixItems": items, "items": false })),
            inner.clone().prop_map(|value| json!({ "type": "object", "additionalProperties": value, "minProperties": 1 })),
            (prop::collection::btree_map("[a-z_]{1,8}", inner, 0..5), any::<u64>()).prop_map(|(properties, choice)| {
                let required: Vec<_> = properties.keys().enumerate().filter(|(at, _)| choice >> at & 1 == 1).map(|(_, name)| name.clone()).collect();
                json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_instance_conforms_to_its_schema(schema in schemas(), prompt in ".{0,40}", seed in any::<u64>()) {
        assert_conforms(&schema, &make(&schema, &prompt, seed));
    }
}

#[test]
fn references_unions_and_merged_schemas_are_met() {
    for schema in [
        json!({
            "$defs": {
                "Step": { "type": "object", "properties": { "explanation": { "type": "string" }, "output": { "type": "string" } }, "required": ["explanation", "output"], "additionalProperties": false }
            },
            "type": "object",
            "properties": { "steps": { "type": "array", "items": { "$ref": "#/$defs/Step" } }, "final_answer": { "type": "string" } },
            "required": ["steps", "final_answer"], "additionalProperties": false
        }),
        json!({
            "definitions": { "Id": { "type": "integer", "minimum": 3 } },
            "allOf": [
                { "type": "object", "properties": { "id": { "$ref": "#/definitions/Id" } }, "required": ["id"] },
                { "properties": { "kind": { "enum": ["a", "b"] } }, "required": ["kind"] }
            ]
        }),
        json!({ "oneOf": [
            { "type": "object", "properties": { "kind": { "const": "circle" }, "radius": { "type": "number", "exclusiveMinimum": 0 } }, "required": ["kind", "radius"] },
            { "type": "object", "properties": { "kind": { "const": "square" } }, "required": ["kind"] }
        ] }),
        json!({ "type": "array", "items": { "enum": ["a", "b", "c"] }, "uniqueItems": true, "minItems": 3 }),
        json!({ "type": "array", "items": { "type": "string" }, "uniqueItems": true, "minItems": 30 }),
        json!({ "type": "integer", "minimum": 9_007_199_254_740_993_i64, "maximum": 9_007_199_254_740_993_i64 }),
        json!({ "type": "object", "required": ["anything"] }),
        json!(true),
    ] {
        for seed in 0..20 {
            assert_conforms(&schema, &make(&schema, "Explain tides.", seed));
        }
    }
}

#[test]
fn recursive_schemas_end() {
    let tree = json!({
        "$defs": { "Node": { "type": "object", "properties": {
            "value": { "type": "string" },
            "next": { "anyOf": [{ "$ref": "#/$defs/Node" }, { "type": "null" }] },
            "children": { "type": "array", "items": { "$ref": "#/$defs/Node" } }
        }, "required": ["value", "next", "children"], "additionalProperties": false } },
        "$ref": "#/$defs/Node"
    });
    let sum = json!({
        "$defs": { "Term": { "anyOf": [
            { "type": "object", "properties": { "left": { "$ref": "#/$defs/Term" }, "right": { "$ref": "#/$defs/Term" } }, "required": ["left", "right"] },
            { "type": "object", "properties": { "number": { "type": "number" } }, "required": ["number"] }
        ] } },
        "$ref": "#/$defs/Term"
    });
    for schema in [tree, sum] {
        let made = make(&schema, "Plan a garden.", 1);
        assert_conforms(&schema, &made);
        assert!(made.to_string().len() < 200_000, "{} bytes", made.to_string().len());
    }
}

#[test]
fn a_schema_that_nothing_can_meet_gives_null_soon() {
    let endless = json!({ "type": "object", "properties": { "a": { "$ref": "#" }, "b": { "$ref": "#" } }, "required": ["a", "b"] });
    assert_eq!(make(&endless, "", 1), Value::Null);
    assert_eq!(make(&json!(false), "", 1), Value::Null);
}

#[test]
fn contents_come_from_the_prompt() {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" }, "days": { "type": "integer" } } });
    assert_eq!(
        make(&schema, "What is the weather in New York for 4 days?", 1),
        json!({ "city": "New York", "days": 4 })
    );
    let list = json!({ "type": "object", "properties": { "titles": { "type": "array", "items": { "type": "string" } } } });
    assert_eq!(make(&list, "List 7 titles about tides.", 1)["titles"].as_array().unwrap().len(), 7);
}

#[test]
fn a_schema_that_asks_for_more_than_a_machine_holds_gets_null_at_once() {
    let huge = 1_000_000_000_000_u64;
    let long = "x".repeat(100_000);
    let text = json!({ "type": "string" });
    let pattern = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    let began = std::time::Instant::now();
    for schema in [
        json!({ "type": "string", "minLength": huge }),
        json!({ "type": "array", "minItems": huge, "items": text }),
        json!({ "type": "array", "minItems": huge, "items": text, "uniqueItems": true }),
        json!({ "type": "array", "minItems": u64::MAX, "uniqueItems": true }),
        json!({ "type": "array", "minItems": 20_000, "items": { "const": long } }),
        json!({ "type": "array", "minItems": 20_000, "items": { "enum": [[long]] } }),
        json!({ "type": "array", "minItems": 20_000, "items": { "type": "string", "minLength": 10_000 } }),
        json!({ "type": "array", "minItems": 20_000, "items": { "type": "object", "required": [long] } }),
        json!({ "allOf": [{ "type": "string", "minLength": huge }] }),
        pattern("(((a{1000}){1000}){1000}){1000}"),
        pattern("^(a|b?){4000000000}$"),
        json!({ "type": "string", "pattern": "^(\\w+ )*$", "minLength": huge }),
        pattern("^\\w{2000000}$"),
    ] {
        let made = make(&schema, "Tell me about tides.", 1);
        assert_eq!(made, Value::Null, "{:.200}", schema.to_string());
    }
    // An object has as many names as there is work for.
    let wide = make(&json!({ "type": "object", "minProperties": huge }), "Tell me about tides.", 1);
    assert!(wide.to_string().len() < 4 << 20, "{} bytes", wide.to_string().len());
    assert!(began.elapsed() < std::time::Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn many_unique_texts_are_made_without_a_look_at_all_others_for_each() {
    let schema =
        json!({ "type": "array", "minItems": 5_000, "uniqueItems": true, "items": { "type": "string" } });
    let made = make(&schema, "Tell me about tides.", 1);
    assert_conforms(&schema, &made);
    assert_eq!(made.as_array().map(Vec::len), Some(5_000));
}
