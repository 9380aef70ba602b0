//! `--schema`: the schema of structured answers, as a JSON schema or in a short form.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use fanweave::batch::{Answer, Content};
use fanweave::messages::Reply;
use fanweave::parsers::structured_value;
use fanweave::{Chain, Context, Message, Prompt, chain, step};
use serde_json::{Map, Value, json};

use crate::exit::Failure;
use crate::text_file::read_text;

/// Name of the schema in requests.
const NAME: &str = "answer";

const HINT: &str =
    "write fields such as 'name, age int, tags list, mood good|bad', or the path of a JSON schema";

/// Reads the schema of the flag: a JSON schema, the path of a file, or the short form.
pub(crate) fn read(flag: &str) -> Result<Value, Failure> {
    let text = flag.trim();
    if text.starts_with('{') {
        return json_schema("--schema", text);
    }
    let named = text.strip_prefix('@');
    let is_path = |text: &str| {
        Path::new(text).extension().is_some_and(|e| e.eq_ignore_ascii_case("json"))
            || Path::new(text).is_file()
    };
    match named.or_else(|| is_path(text).then_some(text)) {
        Some(path) => {
            let content = read_text("--schema", path)?;
            match content.trim_start().starts_with(['{', '[']) {
                true => json_schema(&format!("--schema {path}"), &content),
                false => short_form(content.trim()),
            }
        }
        None => short_form(text),
    }
}

fn json_schema(source: &str, text: &str) -> Result<Value, Failure> {
    let schema: Value = serde_json::from_str(text).map_err(|e| Failure::usage(format!("{source}: {e}")))?;
    let keywords = ["type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"];
    if !keywords.iter().any(|keyword| schema.get(keyword).is_some()) {
        return Err(Failure::usage(format!(
            "{source}: not a JSON schema: it has no `type` and no `properties`"
        )));
    }
    check(&schema, "").map_err(|why| Failure::usage(format!("{source}: not a valid JSON schema: {why}")))?;
    Ok(with_types(schema))
}

/// Checks the keywords that decide the form of answers, before any call is paid for. The error names the
/// keyword that is wrong.
fn check(schema: &Value, at: &str) -> Result<(), String> {
    const TYPES: [&str; 7] = ["string", "number", "integer", "boolean", "object", "array", "null"];
    let fields = match schema {
        Value::Object(fields) => fields,
        Value::Bool(_) => return Ok(()),
        other => return Err(format!("`{at}` must be a schema, got {}", shown(other))),
    };
    for (name, value) in fields {
        let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        match (name.as_str(), value) {
            ("type", Value::String(kind)) if TYPES.contains(&kind.as_str()) => {}
            ("type", Value::Array(kinds))
                if kinds.iter().all(|kind| kind.as_str().is_some_and(|kind| TYPES.contains(&kind))) => {}
            ("type", other) => {
                return Err(format!("`{at}` must be one of {}, got {}", TYPES.join(", "), shown(other)));
            }
            ("properties" | "$defs" | "definitions" | "patternProperties", Value::Object(schemas)) => {
                schemas.iter().try_for_each(|(name, schema)| check(schema, &format!("{at}.{name}")))?;
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems", Value::Array(schemas)) => {
                schemas
                    .iter()
                    .enumerate()
                    .try_for_each(|(i, schema)| check(schema, &format!("{at}[{i}]")))?;
            }
            ("items" | "additionalProperties" | "not" | "contains", schema) => check(schema, &at)?,
            ("required", Value::Array(names)) if names.iter().all(Value::is_string) => {}
            ("enum", Value::Array(values)) if !values.is_empty() => {}
            ("properties" | "$defs" | "definitions" | "patternProperties", other) => {
                return Err(format!("`{at}` must be an object of schemas, got {}", shown(other)));
            }
            ("anyOf" | "oneOf" | "allOf" | "prefixItems" | "required" | "enum", other) => {
                return Err(format!("`{at}` must be a list, got {}", shown(other)));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The beginning of a value.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("`{}..`", &text[..end]),
        None => format!("`{text}`"),
    }
}

/// Adds the type of an object that is described without it.
fn with_types(mut schema: Value) -> Value {
    if let Value::Object(fields) = &mut schema
        && fields.contains_key("properties")
        && !fields.contains_key("type")
    {
        fields.insert("type".to_owned(), "object".into());
    }
    schema
}

/// Reads `name, age int, tags list`: fields with their types. Default type: text.
fn short_form(text: &str) -> Result<Value, Failure> {
    let invalid = |why: String| Failure::usage(format!("--schema: {why}")).with_hint(HINT);
    let mut properties = Map::new();
    for field in text.split(',').map(str::trim) {
        let (field, description) = match field.split_once(':') {
            Some((field, description)) => (field.trim(), Some(description.trim())),
            None => (field, None),
        };
        let (name, kind) = field.split_once(char::is_whitespace).unwrap_or((field, "text"));
        let (name, is_optional) = match name.strip_suffix('?') {
            Some(name) => (name, true),
            None => (name, false),
        };
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || "_-".contains(c)) {
            return Err(invalid(format!("`{field}` does not begin with the name of a field")));
        }
        let mut schema = kind_of(kind.trim()).ok_or_else(|| {
            invalid(format!(
                "`{}` is not a type; valid types: text, int, number, bool, list, a|b",
                kind.trim()
            ))
        })?;
        if is_optional {
            schema = json!({ "anyOf": [schema, { "type": "null" }] });
        }
        if let Some(description) = description.filter(|text| !text.is_empty()) {
            schema["description"] = description.into();
        }
        if properties.insert(name.to_owned(), schema).is_some() {
            return Err(invalid(format!("the field `{name}` is named twice")));
        }
    }
    let required: Vec<_> = properties.keys().cloned().collect();
    Ok(json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    }))
}

fn kind_of(kind: &str) -> Option<Value> {
    if kind.contains('|') {
        let values: Vec<_> = kind.split('|').map(str::trim).collect();
        return values
            .iter()
            .all(|value| !value.is_empty())
            .then(|| json!({ "type": "string", "enum": values }));
    }
    Some(match kind {
        "text" | "str" | "string" => json!({ "type": "string" }),
        "int" | "integer" => json!({ "type": "integer" }),
        "number" | "float" => json!({ "type": "number" }),
        "bool" | "boolean" => json!({ "type": "boolean" }),
        "list" => json!({ "type": "array", "items": { "type": "string" } }),
        list => {
            let items = list.strip_prefix("list")?.trim();
            let items = items.strip_prefix('[').and_then(|items| items.strip_suffix(']')).unwrap_or(items);
            json!({ "type": "array", "items": kind_of(items.strip_prefix("of ").unwrap_or(items).trim())? })
        }
    })
}

/// The reply of the last call of a row.
#[derive(Default)]
struct LastReply(Mutex<Option<Reply>>);

/// Models whose answers are values of a schema. An answer that does not fit is sent back with the error, at
/// most twice.
pub(crate) fn structured(models: &Chain<Prompt, Message>, schema: &Value) -> Chain<Prompt, Answer> {
    let models = models.clone();
    let noted = step(move |prompt: Prompt, cx: Context| {
        let models = models.clone();
        async move {
            let message = models.invoke_in(prompt, &cx).await?;
            if let Some(last) = cx.extension::<LastReply>() {
                *last.0.lock().unwrap_or_else(PoisonError::into_inner) = message.reply.as_deref().cloned();
            }
            Ok(message)
        }
    });
    let values = chain(structured_value(noted, NAME, schema.clone()));
    let answers = step(move |prompt: Prompt, cx: Context| {
        let values = values.clone();
        async move {
            let last = Arc::new(LastReply::default());
            let value = values.invoke_in(prompt, &cx.with_extension(last.clone())).await?;
            let mut answer = Answer::new(Content::Json(value));
            if let Some(reply) = last.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
                answer.finish_reason = reply.finish_reason.as_ref().map(|reason| reason.as_str().to_owned());
                (answer.model, answer.answer_id, answer.request_id) =
                    (reply.model, reply.id, reply.request_id);
                answer.attempts = reply.attempts;
                answer.usage = reply.usage;
            }
            Ok(answer)
        }
    });
    chain(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_names_fields_and_their_types() {
        let schema =
            read("name, age int, tags list, mood good|bad : of the text, score? number, ids list of int")
                .unwrap();
        let expected = json!({
            "type": "object",
            "properties": {
                "name": { "type": "string" },
                "age": { "type": "integer" },
                "tags": { "type": "array", "items": { "type": "string" } },
                "mood": { "type": "string", "enum": ["good", "bad"], "description": "of the text" },
                "score": { "anyOf": [{ "type": "number" }, { "type": "null" }] },
                "ids": { "type": "array", "items": { "type": "integer" } },
            },
            "required": ["name", "age", "tags", "mood", "score", "ids"],
            "additionalProperties": false,
        });
        assert_eq!(schema, expected);
    }

    #[test]
    fn a_schema_is_read_from_a_file_or_from_the_argument() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mood.json");
        let schema = r#"{"properties": {"mood": {"type": "string"}}}"#;
        std::fs::write(&path, schema).unwrap();
        let expected = json!({ "properties": { "mood": { "type": "string" } }, "type": "object" });
        let path = path.to_str().unwrap();
        for flag in [schema, path, &format!("@{path}")] {
            assert_eq!(read(flag).unwrap(), expected, "{flag}");
        }
        std::fs::write(path, "mood, age int\n").unwrap();
        assert_eq!(read(path).unwrap()["required"], json!(["mood", "age"]));
    }

    #[test]
    fn an_invalid_schema_is_an_error_that_says_why() {
        let why = |flag: &str| read(flag).unwrap_err().message().to_owned();
        assert!(why("age years").starts_with("--schema: `years` is not a type; valid types: text"));
        assert_eq!(why("a, a int"), "--schema: the field `a` is named twice");
        assert_eq!(why("a,,b"), "--schema: `` does not begin with the name of a field");
        assert!(why("{\"a\": 1}").contains("not a JSON schema"));
        assert!(why("{\"type\": ").contains("EOF"));
        assert!(why("no/such.json").contains("cannot read no/such.json"));
        assert_eq!(
            why(r#"{"properties": {"a": {"type": "objekt"}}}"#),
            "--schema: not a valid JSON schema: `properties.a.type` must be one of string, number, integer, boolean, \
             object, array, null, got `\"objekt\"`"
        );
        assert!(why(r#"{"properties": ["a"]}"#).contains("`properties` must be an object of schemas"));
        assert!(why(r#"{"anyOf": [{"items": 7}]}"#).contains("`anyOf[0].items` must be a schema, got `7`"));
        assert!(
            read(r#"{"type": ["object", "null"], "properties": {"type": {"enum": ["x"]}, "b": true}}"#)
                .is_ok()
        );
    }
}
