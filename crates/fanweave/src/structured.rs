//! Structured answers, with the schema of a type.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::{Message, Prompt, Runnable, Structured, structured_as};

/// Maximum length of the name of a schema. Source: OpenAI's limit.
const MAX_NAME_LEN: usize = 64;

/// A model whose answers are values of `T`: a step from [`Prompt`]. The schema comes from the type and its
/// doc comments.
///
/// ```
/// use fanweave::{chain, model, structured};
///
/// /// A book to read.
/// #[fanweave::schema]
/// #[derive(Debug)]
/// struct Book {
///     title: String,
///     /// First and last name.
///     author: String,
///     year: Option<u16>,
/// }
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let book = structured::<Book>(model("sim/writer")?).check(|book| match book.title.as_str() {
///     "" => Err("the title is empty".to_owned()),
///     _ => Ok(()),
/// });
/// println!("{:?}", chain(book).invoke("Recommend a book.").await?);
/// # Ok(())
/// # }) }
/// ```
///
/// `T` may be any type with a schema, also a list (`Vec<Book>`): what is not an object is wrapped in one for
/// the provider.
///
/// See [`Structured`] for answers that do not match. The schema is adapted to each provider: constraints that
/// it does not support are moved to the description, and types that its strict mode cannot express, such as
/// maps, are sent without strict mode or in words. The answer is always validated here.
pub fn structured<T>(model: impl Runnable<Input = Prompt, Output = Message>) -> Structured<T>
where
    T: DeserializeOwned + JsonSchema + Send + 'static,
{
    structured_as(model, name_of::<T>(), schema_of::<T>())
}

/// The schema of a type, with nested types inlined, because not every provider supports references.
///
/// It is rewritten to equivalent keywords that more providers support.
pub(crate) fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let settings = settings.with_transform(RecursiveTransform(plain));
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// Rewrites one schema to the keywords that most providers support.
fn plain(schema: &mut Schema) {
    if schema.as_bool() == Some(true) {
        // Some providers require an object here.
        *schema = Schema::default();
    }
    let Some(object) = schema.as_object_mut() else { return };
    spread(object);
    let with_first = object.get("prefixItems").and_then(Value::as_array);
    if let Some(first) = with_first.filter(|_| !object.contains_key("items")) {
        // Arrays without `items` are rejected. A tuple has no other items, so this allows nothing more.
        let mut kinds: Vec<Value> = Vec::new();
        for kind in first {
            if !kinds.contains(kind) {
                kinds.push(kind.clone());
            }
        }
        let items = if kinds.len() == 1 { kinds.remove(0) } else { json!({ "anyOf": kinds }) };
        object.insert("items".to_owned(), items);
    }
    if object.contains_key("$ref") && object.keys().any(|keyword| !keyword.starts_with('$')) {
        // A reference must have no siblings.
        let reference = object.remove("$ref");
        object.insert("anyOf".to_owned(), json!([{ "$ref": reference }]));
    }
}

/// Moves the properties of an object into each of its alternatives, as with an enum that is flattened into a
/// struct. Some providers ignore properties beside alternatives, and those that require closed objects cannot
/// express them.
fn spread(object: &mut Map<String, Value>) {
    let lists: Vec<_> =
        ["oneOf", "anyOf", "allOf"].into_iter().filter(|name| object.contains_key(*name)).collect();
    let [list @ ("oneOf" | "anyOf")] = lists.as_slice() else { return };
    let is_object = |schema: &Value| {
        let nested = ["oneOf", "anyOf", "allOf", "$ref"].iter().any(|keyword| schema.get(keyword).is_some());
        !nested && schema["type"] == "object" && schema["properties"].is_object()
    };
    let alternatives = object[*list].as_array();
    if !object.contains_key("properties")
        || object.contains_key("additionalProperties")
        || !alternatives.is_some_and(|all| all.iter().all(is_object))
    {
        return;
    }
    let (own, required) = (object.remove("properties"), object.remove("required"));
    object.remove("type");
    for alternative in object[*list].as_array_mut().into_iter().flatten() {
        let mut properties = own.clone().unwrap_or_default();
        let mut all = required.clone().unwrap_or_else(|| json!([]));
        if let (Value::Object(properties), Value::Object(more)) =
            (&mut properties, alternative["properties"].take())
        {
            properties.extend(more);
        }
        if let (Value::Array(all), Value::Array(more)) = (&mut all, alternative["required"].take()) {
            all.extend(more);
        }
        alternative["properties"] = properties;
        alternative["required"] = all;
    }
}

/// The name of a type in the characters that providers accept.
fn name_of<T: JsonSchema>() -> String {
    let name = T::schema_name();
    let plain = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' });
    plain.take(MAX_NAME_LEN).collect()
}

#[cfg(test)]
#[cfg(feature = "macros")]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[derive(serde::Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "its schema is what counts")]
    enum Cover {
        Paper,
        Cloth { colour: String },
    }

    #[derive(serde::Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "its schema is what counts")]
    struct Shelf {
        /// All of them.
        books: Vec<(String, Option<Cover>)>,
        by_year: BTreeMap<String, u32>,
        #[schemars(extend("format" = "date"))]
        since: String,
    }

    #[derive(serde::Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "its schema is what counts")]
    struct Flat {
        id: u64,
        #[serde(flatten)]
        shape: Shape,
    }

    #[derive(serde::Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "its schema is what counts")]
    enum Shape {
        Circle { radius: f64 },
        Square { side: f64 },
    }

    #[derive(serde::Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "its schema is what counts")]
    struct Tree {
        root: Node,
    }

    #[derive(serde::Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "its schema is what counts")]
    enum Node {
        Leaf(f64),
        Neg {
            /// The negated node.
            of: Box<Node>,
        },
    }

    #[test]
    fn schemas_come_from_types_and_doc_comments() {
        insta::assert_json_snapshot!(schema_of::<Shelf>());
        assert_eq!(name_of::<Vec<Option<Shelf>>>(), "Array_of_Nullable_Shelf");
    }

    #[test]
    fn what_providers_refuse_or_overlook_is_said_in_other_words() {
        let flat = schema_of::<Flat>();
        let both = flat["oneOf"].as_array().unwrap();
        for (alternative, own) in both.iter().zip(["Circle", "Square"]) {
            assert_eq!(alternative["required"], json!(["id", own]), "{flat}");
            assert_eq!(alternative["properties"]["id"]["type"], "integer");
            assert!(alternative["properties"][own].is_object());
        }
        assert!(flat.get("properties").is_none());
        let arguments = crate::tool_macro::parameters::<Flat>();
        assert_eq!((&arguments["type"], &arguments["oneOf"]), (&json!("object"), &flat["oneOf"]));
        // A reference has no siblings.
        let nested = schema_of::<Tree>()["$defs"]["Node"].clone();
        assert_eq!(
            nested["oneOf"][1]["properties"]["Neg"]["properties"]["of"]["anyOf"],
            json!([{ "$ref": "#/$defs/Node" }])
        );
        assert_eq!(schema_of::<Vec<Value>>()["items"], json!({}));
    }
}
