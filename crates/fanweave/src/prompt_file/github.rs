//! `.prompt.yml`, the format of GitHub Models.

use serde_json::{Map, Value};

use super::PromptFile;
use crate::chain_file::fields::Fields;
use crate::chain_file::problem::{Problem, Problems};
use crate::chain_file::tree::{Language, Node, Tree};
use crate::{Chat, Parameters, ResponseFormat, Template, chat};

pub(super) fn read(text: &str) -> Result<PromptFile, Problems> {
    let tree = Node::parse(text, Language::Yaml)?;
    let mut found = Vec::new();
    let file = file(&tree, &mut found);
    Problems::check(found)?;
    file.ok_or_else(|| Problem::at(0, "the file is empty: `messages` is required".to_owned()).into())
}

fn file(tree: &Node, found: &mut Vec<Problem>) -> Option<PromptFile> {
    if let Tree::Null = tree.value {
        return None;
    }
    let mut fields = Fields::of(tree, "the file", found)?;
    let name = fields.text("name").map(|name| name.value);
    fields.text("description");
    let model = fields.text("model").map(|model| model.value);
    let mut parameters =
        fields.take("modelParameters").map(|node| parameters(node, fields.found)).unwrap_or_default();
    parameters.format = format(&mut fields);
    let chat = match fields.take("messages") {
        Some(node) => messages(node, fields.found),
        None => {
            fields.problem(tree.at, "`messages` is missing: a prompt needs at least one message");
            chat()
        }
    };
    // Test data and evaluators are for other programs.
    for other in ["testData", "evaluators"] {
        fields.take(other);
    }
    fields.end();
    Some(PromptFile { name, model, parameters, defaults: Map::new(), chat })
}

fn parameters(node: &Node, found: &mut Vec<Problem>) -> Parameters {
    let Some(mut fields) = Fields::of(node, "`modelParameters`", found) else { return Parameters::default() };
    let mut parameters = Parameters::new();
    parameters.temperature = fields.number("temperature", 0.0..=2.0);
    parameters.top_p = fields.number("topP", 0.0..=1.0);
    parameters.max_tokens =
        fields.at_least("maxTokens", 1).or_else(|| fields.at_least("maxCompletionTokens", 1));
    parameters.seed = fields.take("seed").and_then(|node| fields.whole("seed", node));
    parameters.stop = fields.take("stop").map(|node| fields.texts("stop", node)).unwrap_or_default();
    fields.end();
    parameters
}

fn format(fields: &mut Fields<'_, '_>) -> Option<ResponseFormat> {
    let schema = fields.text("jsonSchema");
    let format = fields.text("responseFormat")?;
    match format.value.as_str() {
        "text" => Some(ResponseFormat::Text),
        "json_object" => Some(ResponseFormat::JsonObject),
        "json_schema" => {
            let Some(schema) = schema else {
                fields.problem(format.at, "`responseFormat: json_schema` needs a `jsonSchema`");
                return None;
            };
            let Ok(Value::Object(read)) = serde_json::from_str(&schema.value) else {
                fields.problem(schema.at, "`jsonSchema` must be a JSON object in a string");
                return None;
            };
            // The schema itself, or the `json_schema` object of a request.
            let name = read.get("name").and_then(Value::as_str).unwrap_or("answer").to_owned();
            let strict = read.get("strict").and_then(Value::as_bool).unwrap_or(true);
            let schema = read.get("schema").cloned().unwrap_or(Value::Object(read));
            Some(ResponseFormat::JsonSchema { name, schema, strict })
        }
        other => {
            let message =
                format!("unknown `responseFormat` `{other}`: must be text, json_object or json_schema");
            fields.problem(format.at, message);
            None
        }
    }
}

fn messages(node: &Node, found: &mut Vec<Problem>) -> Chat {
    let mut all = chat();
    let Tree::List(items) = &node.value else {
        found.push(Problem::at(node.at, format!("`messages` must be a list, got {}", node.kind())));
        return all;
    };
    if items.is_empty() {
        found.push(Problem::at(
            node.at,
            "`messages` is empty: a prompt needs at least one message".to_owned(),
        ));
    }
    for item in items {
        let Some(mut fields) = Fields::of(item, "a message", found) else { continue };
        let (role, content) = (fields.text("role"), fields.text("content"));
        if role.is_none() && !fields.named(&["role"]) {
            fields.problem(item.at, "a message needs a `role`");
        }
        if content.is_none() && !fields.named(&["content"]) {
            fields.problem(item.at, "a message needs a `content`");
        }
        if let (Some(role), Some(content)) = (role, content) {
            if let Err(error) = Template::parse(content.value.clone()) {
                fields.problem(content.at, error.message());
            }
            all = match role.value.as_str() {
                "system" | "developer" => all.system(content.value),
                "user" => all.user(content.value),
                "assistant" => all.assistant(content.value),
                other => {
                    let message = format!("unknown role `{other}`: the roles are system, user, assistant");
                    fields.problem(role.at, message);
                    all
                }
            };
        }
        fields.end();
    }
    all
}
