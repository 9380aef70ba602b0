//! The steps of a chain file as those of a dag.

use std::sync::Arc;

use serde_json::{Value, json};

use super::asserts::Asserted;
use super::check;
use super::spec::{Shape, Step};
use crate::{
    Chain, DagStep, Message, Model, Parameters, Prompt, ResponseFormat, Role, Template, Vars, chain,
    json as json_value, lines, step, text,
};

/// A step that fills in the messages of a call.
pub(super) fn prompt(
    roles: Vec<Role>,
    templates: Vec<Template>,
    mut parameters: Parameters,
    spec: &Step,
    output: &Shape,
) -> Chain<Vars, Prompt> {
    if let Shape::Schema(schema) = output {
        let (schema, _) = wrapped(schema);
        parameters.format =
            Some(ResponseFormat::JsonSchema { name: spec.name.value.clone(), schema, strict: true });
    }
    let templates = Arc::new((roles, templates, parameters));
    step(move |vars: Vars, cx| {
        let templates = templates.clone();
        async move {
            let (roles, templates, parameters) = &*templates;
            let mut messages = Vec::with_capacity(templates.len());
            for (role, template) in roles.iter().zip(templates) {
                messages.push(Message::new(*role, template.render_prompt(&vars, &cx).await?));
            }
            let mut prompt = Prompt::new(messages);
            prompt.parameters = parameters.clone();
            Ok(prompt)
        }
    })
}

pub(super) fn into_chain(model: Model) -> Chain<Prompt, Message> {
    chain(model)
}

/// A step that collects the outputs of the steps `names` in an object.
pub(super) fn outputs_step(own: &str, names: &[&str]) -> DagStep {
    let all: Arc<[String]> = names.iter().map(|name| (*name).to_owned()).collect();
    let collect = step(move |vars: Vars, _| {
        let all = all.clone();
        async move {
            let output = |name: &String| {
                let output = vars.get("steps").and_then(|steps| steps.get(name)?.get("output"));
                (name.clone(), output.cloned().unwrap_or_default())
            };
            Ok(Value::Object(all.iter().map(output).collect()))
        }
    });
    let reads = names.iter().map(|name| format!("steps.{name}.output"));
    DagStep::new(own, collect).needs(names.iter().copied()).reads(reads)
}

/// A step whose output must fulfil its conditions.
pub(super) fn asserted(spec: &Step, checked: &check::Checked, step: Chain<Vars, Value>) -> DagStep {
    let conditions = checked.asserts.iter().cloned().collect();
    let name = checked.source.is_none().then(|| spec.name.value.as_str().into());
    DagStep::new(spec.name.value.as_str(), chain(Asserted { step, name, conditions }))
}

/// A call with the parser of its answer.
pub(super) fn action(
    call: Chain<Vars, Message>,
    spec: &Step,
    checked: &check::Checked,
    output: &Shape,
) -> DagStep {
    let name = spec.name.value.as_str();
    let call = match spec.timeout {
        Some(limit) => call.timeout(limit),
        None => call,
    };
    if !checked.asserts.is_empty() {
        // All of the output is needed, also of a list.
        let value = match output {
            Shape::Text => call | text() | step(|text: String, _| async move { Ok(Value::String(text)) }),
            Shape::Lines => {
                call | lines() | step(|lines: Vec<String>, _| async move { Ok(Value::from(lines)) })
            }
            Shape::Json => call | json_value(),
            Shape::Schema(schema) => call | json_value() | unwrapped(wrapped(schema).1),
        };
        return asserted(spec, checked, value);
    }
    match output {
        Shape::Text => DagStep::new(name, call | text()),
        Shape::Lines => DagStep::items(name, call.clone().lines()).or_whole(call | lines()),
        Shape::Json => DagStep::new(name, call | json_value()),
        Shape::Schema(schema) => {
            let (_, field) = wrapped(schema);
            let whole = call.clone() | json_value() | unwrapped(field);
            match output.is_list() {
                Some(true) => DagStep::items(name, call.items::<Value>()).or_whole(whole),
                _ => DagStep::new(name, whole),
            }
        }
    }
}

/// Wraps schemas of other types in an object, since providers require one at the top level.
fn wrapped(schema: &Value) -> (Value, Option<&'static str>) {
    let field = match schema["type"].as_str() {
        Some("array") => "items",
        Some("object") | None => return (schema.clone(), None),
        Some(_) => "value",
    };
    let wrapped = json!({
        "type": "object",
        "properties": { field: schema },
        "required": [field],
        "additionalProperties": false,
    });
    (wrapped, Some(field))
}

/// Unwraps the value from the object. Accepts answers without the object as well.
fn unwrapped(field: Option<&'static str>) -> Chain<Value, Value> {
    step(move |value: Value, _| async move {
        Ok(match (field, value) {
            (Some(field), Value::Object(mut object)) => object.remove(field).unwrap_or(Value::Object(object)),
            (_, value) => value,
        })
    })
}
