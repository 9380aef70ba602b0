//! The schema of the answers in a request: where each dialect has it, what its refusals are called, and the
//! request with the schema in its prompt instead.

use fanweave_core::Result;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::providers::splice::Splice;

/// The field of a dialect with the schema.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SchemaField {
    /// The field of the request.
    pub(super) field: &'static str,
    /// Path of the schema in the field.
    path: &'static str,
    /// Names of it in the sentences of servers, in lower case.
    names: &'static [&'static str],
}

/// The fields of all dialects.
static FIELDS: [SchemaField; 6] = [
    SchemaField {
        field: "response_format",
        path: "/json_schema/schema",
        names: &["response_format", "json_schema", "structured output"],
    },
    // Responses.
    SchemaField {
        field: "text",
        path: "/format/schema",
        names: &["text.format", "'text'", "response_format", "json_schema", "structured output"],
    },
    SchemaField { field: GENERATION, path: "/responseJsonSchema", names: &GEMINI },
    SchemaField { field: GENERATION, path: "/responseSchema", names: &GEMINI },
    // Anthropic.
    SchemaField {
        field: "output_config",
        path: "/format/schema",
        names: &["output_config", "output_format", "output format", "json_schema", "structured output"],
    },
    // Ollama. A schema is an object.
    SchemaField {
        field: "format",
        path: "",
        names: &["format", "json_schema", "schema", "structured output"],
    },
];

const GENERATION: &str = "generationConfig";

/// Gemini writes the names in both cases: "JSON mode is not enabled for models/gemma-3".
const GEMINI: [&str; 8] = [
    "response_schema",
    "responseschema",
    "response_json_schema",
    "responsejsonschema",
    "response_mime_type",
    "responsemimetype",
    "json mode",
    "structured output",
];

impl SchemaField {
    /// The field of a request with its schema. `None` without a schema.
    pub(super) fn of(body: &Splice<'_>) -> Option<&'static Self> {
        FIELDS.iter().find(|field| field.schema(body).is_some())
    }

    fn schema(&self, body: &Splice<'_>) -> Option<Value> {
        let field: Value = serde_json::from_str(body.get(self.field)?).ok()?;
        field.pointer(self.path).filter(|schema| schema.is_object()).cloned()
    }

    /// Returns true if a sentence, or the field `param` that its body names, is about the schema.
    pub(super) fn is_named(&self, text: &str, param: Option<&str>) -> bool {
        let is_within = |param: &str| param == self.field || param.starts_with(&format!("{}.", self.field));
        self.names.iter().any(|name| text.contains(name)) || param.is_some_and(is_within)
    }
}

/// Replaces a JSON schema by any JSON, and puts the schema into the prompt.
pub(super) fn loosen(body: &mut Splice<'_>) -> Result<()> {
    let Some(found) = SchemaField::of(body) else { return Ok(()) };
    let Some(schema) = found.schema(body) else { return Ok(()) };
    let text = format!("Answer only with a JSON object that matches this JSON schema:\n{schema}");
    let none: &[Value] = &[];
    match found.field {
        "text" => {
            // In the input: the server wants the word JSON there.
            let messages = [json!({ "role": "system", "content": text })];
            match body.get("input").filter(|input| input.starts_with('"')).map(str::to_owned) {
                Some(input) => {
                    let input = RawValue::from_string(format!("{{\"role\":\"user\",\"content\":{input}}}"));
                    body.set("input", Some([input.expect("an object")]))?;
                    body.extend("input", &messages, none)?;
                }
                None => body.extend("input", &messages, none)?,
            }
            set_within(body, "text", &[("format", Some(json!({ "type": "json_object" })))])
        }
        GENERATION => {
            // Models without schemas have no JSON mode either, and often no system instruction.
            let content = json!({ "role": "user", "parts": [{ "text": text }] });
            body.extend("contents", &[content], none)?;
            let fields = ["responseJsonSchema", "responseSchema", "responseMimeType"];
            set_within(body, GENERATION, &fields.map(|name| (name, None)))
        }
        "output_config" => {
            match body.get("system").and_then(|system| serde_json::from_str(system).ok()) {
                Some(Value::String(system)) => body.set("system", Some(format!("{system}\n\n{text}")))?,
                Some(Value::Array(_)) => {
                    body.extend("system", none, &[json!({ "type": "text", "text": text })])?;
                }
                _ => body.set("system", Some(text))?,
            }
            set_within(body, "output_config", &[("format", None)])
        }
        field => {
            body.extend("messages", &[json!({ "role": "system", "content": text })], none)?;
            match field {
                "format" => body.set(field, Some("json")),
                field => body.set(field, Some(json!({ "type": "json_object" }))),
            }
        }
    }
}

/// Sets fields of an object of the request. `None` removes one. An object without fields is removed.
pub(super) fn set_within(
    body: &mut Splice<'_>,
    container: &str,
    fields: &[(&str, Option<Value>)],
) -> Result<()> {
    let Some(json) = body.get(container).filter(|json| json.starts_with('{')).map(str::to_owned) else {
        return Ok(());
    };
    let mut inner = Splice::new(&json)?;
    for (name, value) in fields {
        inner.set(name, value.as_ref())?;
    }
    let inner = String::from_utf8(inner.finish()).expect("a part of a text, or names and texts");
    match &*inner {
        "{}" => body.set(container, None::<()>),
        _ => body.set(container, Some(RawValue::from_string(inner).expect("an object"))),
    }
}
