//! The contents of a chain file, parsed but not yet checked as a whole.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use super::fields::Fields;
use super::files::{Files, text_or_file};
use super::problem::{Problem, Problems};
use super::spanned::Spanned;
use super::tree::{Key, Node, Tree};
use crate::{OnError, Parameters, Role, closest};

/// A parsed chain file.
#[derive(Debug)]
pub(super) struct Spec {
    pub(super) name: Option<String>,
    pub(super) model: Option<Spanned<String>>,
    pub(super) inputs: Vec<Input>,
    /// The index of each input, by its name.
    pub(super) input_indices: HashMap<String, usize>,
    pub(super) limits: Limits,
    pub(super) steps: Vec<Step>,
    /// The step whose output is that of the chain. Default: the last step.
    pub(super) output: Option<Spanned<String>>,
    /// The steps whose outputs are fields of that of the chain, in place of one step.
    pub(super) outputs: Vec<Spanned<String>>,
    /// Models that are called when that of a step fails, for steps that name none.
    pub(super) fallback: Vec<Spanned<String>>,
    /// File of cached responses, in the folder of the chain file.
    pub(super) cache: Option<String>,
}

/// A variable that the caller sets.
#[derive(Debug, Clone)]
pub(super) struct Input {
    pub(super) name: String,
    /// `None` if the input is required.
    pub(super) default: Option<Value>,
}

/// Limits of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Limits {
    pub(super) concurrency: Option<usize>,
    pub(super) timeout: Option<Duration>,
    pub(super) retries: Option<u32>,
    pub(super) rpm: Option<u32>,
    pub(super) budget_usd: Option<f64>,
    pub(super) template_memory_mib: Option<u32>,
    pub(super) run_memory_mib: Option<u32>,
}

#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: Spanned<String>,
    pub(super) action: Action,
    pub(super) for_each: Option<Spanned<String>>,
    pub(super) needs: Vec<Spanned<String>>,
    pub(super) when: Option<Spanned<String>>,
    pub(super) on_error: OnError,
    pub(super) timeout: Option<Duration>,
    /// Conditions on its output.
    pub(super) asserts: Vec<Spanned<String>>,
}

/// The action of a step.
#[derive(Debug)]
pub(super) enum Action {
    /// Calls a model.
    Call {
        messages: Vec<(Role, Spanned<String>)>,
        model: Option<Spanned<String>>,
        parameters: Box<Parameters>,
        output: Shape,
        terms: Terms,
    },
    /// Fills a template, without a call.
    Template(Spanned<String>),
}

/// Terms of the calls of a step.
#[derive(Debug, Default)]
pub(super) struct Terms {
    /// Models that are called when the model fails. `None` for those of the file.
    pub(super) fallback: Option<Vec<Spanned<String>>>,
    pub(super) retries: Option<u32>,
    /// Set if its answers do not come from a cache.
    pub(super) is_uncached: bool,
}

/// Format of the answer of a call.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    Text,
    /// A list with a string for each line.
    Lines,
    /// Any JSON.
    Json,
    /// JSON with this schema.
    Schema(Value),
}

impl Shape {
    /// Returns whether the output is a list. `None` if unknown.
    pub(super) fn is_list(&self) -> Option<bool> {
        match self {
            Shape::Text => Some(false),
            Shape::Lines => Some(true),
            Shape::Json => None,
            Shape::Schema(schema) => match &schema["type"] {
                Value::String(kind) => Some(kind == "array"),
                _ => None,
            },
        }
    }
}

impl Spec {
    /// The input of that name.
    pub(super) fn input(&self, name: &str) -> Option<&Input> {
        self.inputs.get(*self.input_indices.get(name)?)
    }

    /// Reads the tree. Files that it refers to come from `files`.
    pub(super) fn read(tree: &Node, files: Files<'_>) -> Result<Self, Problems> {
        let mut found = Vec::new();
        let spec = read(tree, files, &mut found);
        Problems::check(found)?;
        spec.ok_or_else(|| Problem::at(tree.at, "the file is empty: `steps` is required".to_owned()).into())
    }
}

fn read(tree: &Node, files: Files<'_>, found: &mut Vec<Problem>) -> Option<Spec> {
    if let Tree::Null = tree.value {
        return None;
    }
    let mut file = Fields::of(tree, "the file", found)?;
    if let Some(version) = file.take("version")
        && version.to_json() != 1
    {
        file.problem(
            version.at,
            "unsupported version: this fanweave reads version 1 of chain files; write `version: 1`",
        );
    }
    let name = file.text("name").map(|text| text.value);
    file.text("description");
    let model = file.text("model");
    let inputs = file.take("inputs").map(|node| inputs(node, file.found)).unwrap_or_default();
    let limits = file.take("limits").and_then(|node| limits(node, file.found)).unwrap_or_default();
    let output = file.text("output");
    let outputs = file.take("outputs").map(|node| names_of(&mut file, "outputs", node)).unwrap_or_default();
    if let (Some(_), Some(second)) = (&output, outputs.first()) {
        file.problem(second.at, "`output` names one step and `outputs` several: keep only one of them");
    }
    let fallback =
        file.take("fallback").map(|node| names_of(&mut file, "fallback", node)).unwrap_or_default();
    let cache = file.text("cache").and_then(|path| cache(&mut file, path));
    let params = file.take("params").and_then(|node| params(&mut file, node)).unwrap_or_default();
    let steps = match file.take("steps") {
        Some(Node { value: Tree::Map(steps), at }) => {
            if steps.is_empty() {
                file.problem(*at, "`steps` is empty: a chain needs at least one step");
            }
            let names: Vec<_> = steps.iter().map(|(key, _)| key.name.clone()).collect();
            let names = Names { known: names.iter().cloned().collect(), all: names };
            let read = |(key, node): &(Key, Node)| step(key, node, files, &names, &params, file.found);
            steps.iter().filter_map(read).collect()
        }
        Some(other) => {
            let message = format!("`steps` must be a table of steps by name, got {}", other.kind());
            file.problem(other.at, message);
            Vec::new()
        }
        None => {
            file.problem(tree.at, "`steps` is missing: a chain needs at least one step");
            Vec::new()
        }
    };
    file.end();
    let input_indices = inputs.iter().map(|input| input.name.clone()).zip(0..).collect();
    Some(Spec { name, model, inputs, input_indices, limits, steps, output, outputs, fallback, cache })
}

/// A name or a list of names, each with its offset.
fn names_of(fields: &mut Fields<'_, '_>, name: &str, node: &Node) -> Vec<Spanned<String>> {
    let nodes: Vec<&Node> = match &node.value {
        Tree::List(items) => items.iter().collect(),
        _ => vec![node],
    };
    nodes.into_iter().filter_map(|node| fields.as_text(name, node)).collect()
}

/// The path of a cache, which must be in the folder of the chain file.
fn cache(fields: &mut Fields<'_, '_>, path: Spanned<String>) -> Option<String> {
    use std::path::Component;

    let is_below = Path::new(&path.value).components().all(|part| matches!(part, Component::Normal(_)));
    if path.value.is_empty() || !is_below {
        fields.problem(path.at, "`cache` must be a file in the folder of the chain file, such as answers.db");
        return None;
    }
    Some(path.value)
}

/// Fields of requests that the program writes itself.
const OWN_FIELDS: [&str; 8] =
    ["model", "messages", "prompt", "input", "contents", "system", "stream", "stream_options"];

/// Further parameters of requests, as they are.
fn params(fields: &mut Fields<'_, '_>, node: &Node) -> Option<Map<String, Value>> {
    let Tree::Map(pairs) = &node.value else {
        let message = format!("`params` must be a table of parameters, got {}", node.kind());
        fields.problem(node.at, message);
        return None;
    };
    let mut params = Map::new();
    for (key, value) in pairs {
        if OWN_FIELDS.contains(&key.name.as_str()) {
            let message = format!("`{}` is not a parameter: other fields of the file set it", key.name);
            fields.problem(key.at, message);
        } else if FIELDS_OF_STEPS.contains(&key.name.as_str()) {
            fields.problem(key.at, format!("write `{}` in the step itself, not in `params`", key.name));
        } else {
            params.insert(key.name.clone(), value.to_json());
        }
    }
    Some(params)
}

/// Parameters that are fields of a step.
const FIELDS_OF_STEPS: [&str; 8] = [
    "temperature",
    "top_p",
    "max_tokens",
    "seed",
    "stop",
    "reasoning_effort",
    "reasoning_budget",
    "reasoning_summary",
];

fn inputs(node: &Node, found: &mut Vec<Problem>) -> Vec<Input> {
    let Tree::Map(fields) = &node.value else {
        let message = format!("`inputs` must be a table of names and defaults, got {}", node.kind());
        found.push(Problem::at(node.at, message));
        return Vec::new();
    };
    let mut inputs = Vec::new();
    for (key, value) in fields {
        if !is_name(&key.name) {
            found.push(Problem::at(key.at, bad_name(&key.name)));
        } else if RESERVED.contains(&key.name.as_str()) {
            found.push(Problem::at(
                key.at,
                format!("`{}` is a reserved name in templates: choose another name", key.name),
            ));
        }
        let default = Some(value.to_json()).filter(|value| !value.is_null());
        inputs.push(Input { name: key.name.clone(), default });
    }
    inputs
}

/// Names that are reserved in templates.
const RESERVED: [&str; 4] = ["steps", "inputs", "item", "index"];

fn limits(node: &Node, found: &mut Vec<Problem>) -> Option<Limits> {
    let mut fields = Fields::of(node, "`limits`", found)?;
    let limits = Limits {
        concurrency: fields.at_least("concurrency", 1).and_then(|n| usize::try_from(n).ok()),
        retries: fields.at_least("retries", 0),
        rpm: fields.at_least("rpm", 1),
        budget_usd: fields.dollars("budget_usd"),
        timeout: fields.duration("timeout"),
        template_memory_mib: fields.at_least("template_memory_mib", 1),
        run_memory_mib: fields.at_least("run_memory_mib", 1),
    };
    fields.end();
    Some(limits)
}

fn step(
    key: &Key,
    node: &Node,
    files: Files<'_>,
    names: &Names,
    common: &Map<String, Value>,
    found: &mut Vec<Problem>,
) -> Option<Step> {
    if !is_name(&key.name) {
        found.push(Problem::at(key.at, bad_name(&key.name)));
    }
    let label = format!("step `{}`", key.name);
    let mut fields = Fields::of(node, &label, found)?;
    let action = action(&mut fields, key, files, common);
    let for_each = match fields.take("for_each") {
        Some(Node { at, value: Tree::List(_) }) => {
            fields.problem(
                *at,
                "`for_each` takes the name of a list: move this list to `inputs` and write its name here",
            );
            None
        }
        Some(node) => fields.as_text("for_each", node),
        None => None,
    };
    let needs = needs(&mut fields, names);
    let when = match fields.take("when") {
        Some(Node { at, value: Tree::Bool(b) }) => Some(Spanned::new(*at, b.to_string())),
        Some(node) => fields.as_text("when", node),
        None => None,
    };
    let on_error = fields
        .choice("on_error", &[("fail", OnError::Fail), ("skip", OnError::Skip), ("null", OnError::Null)])
        .unwrap_or_default();
    let timeout = fields.duration("timeout");
    let asserts = fields.take("assert").map(|node| names_of(&mut fields, "assert", node)).unwrap_or_default();
    fields.end();
    let name = Spanned::new(key.at, key.name.clone());
    Some(Step { name, action: action?, for_each, needs, when, on_error, timeout, asserts })
}

fn action(
    fields: &mut Fields<'_, '_>,
    key: &Key,
    files: Files<'_>,
    common: &Map<String, Value>,
) -> Option<Action> {
    let prompt = fields.take("prompt").and_then(|node| text_or_file(fields, "prompt", node, files));
    let system = fields.take("system").and_then(|node| text_or_file(fields, "system", node, files));
    let messages = fields.take("messages").map(|node| messages(fields, node, files));
    let template = fields.take("template").and_then(|node| text_or_file(fields, "template", node, files));
    let given =
        [("prompt", prompt.is_some()), ("messages", messages.is_some()), ("template", template.is_some())];
    let given: Vec<_> = given.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect();
    match given.as_slice() {
        [_] => {}
        [] => {
            let message = format!(
                "step `{}` does nothing: add `prompt` or `messages` to call a model, or `template` to fill in a text",
                key.name
            );
            // An invalid field of that name has been reported already.
            if !fields.named(&["prompt", "messages", "template"]) {
                fields.problem(key.at, message);
            }
        }
        several => {
            let message =
                format!("step `{}` has `{}`: keep only one of them", key.name, several.join("` and `"));
            fields.problem(key.at, message);
        }
    }
    if let Some(template) = template {
        for name in CALL_FIELDS {
            if let Some(at) = fields.offset(name) {
                fields.problem(
                    at,
                    format!("`{name}` is not allowed here: a `template` step does not call a model"),
                );
            }
        }
        return Some(Action::Template(template));
    }
    let model = fields.text("model");
    let output = fields.take("output").map_or(Some(Shape::Text), |node| shape(fields, node));
    let mut parameters = Box::new(Parameters::new());
    parameters.temperature = fields.number("temperature", 0.0..=2.0);
    parameters.top_p = fields.number("top_p", 0.0..=1.0);
    parameters.max_tokens = fields.at_least("max_tokens", 1);
    parameters.seed = fields.take("seed").and_then(|node| fields.whole("seed", node));
    parameters.reasoning_effort = fields.text("reasoning_effort").map(|level| level.value);
    parameters.reasoning_budget = fields.at_least("reasoning_budget", 0);
    parameters.reasoning_summary = fields.flag("reasoning_summary").unwrap_or_default();
    if parameters.reasoning_effort.is_some()
        && parameters.reasoning_budget.is_some()
        && let Some(at) = fields.offset("reasoning_budget")
    {
        fields.problem(at, "`reasoning_effort` is set too: keep one of them");
    }
    parameters.stop = fields.take("stop").map(|node| fields.texts("stop", node)).unwrap_or_default();
    parameters.extra.clone_from(common);
    let own = fields.take("params").and_then(|node| params(fields, node)).unwrap_or_default();
    parameters.extra.extend(own);
    let fallback = fields.take("fallback").map(|node| names_of(fields, "fallback", node));
    let retries = fields.at_least("retries", 0);
    let is_uncached = match fields.take("cache") {
        None | Some(Node { value: Tree::Bool(true), .. }) => false,
        Some(Node { value: Tree::Bool(false), .. }) => true,
        Some(other) => {
            fields.problem(
                other.at,
                "`cache` of a step must be true or false; the file of the cache is at the top",
            );
            false
        }
    };
    let terms = Terms { fallback, retries, is_uncached };
    let mut all: Vec<_> = system.into_iter().map(|text| (Role::System, text)).collect();
    all.extend(messages.into_iter().flatten());
    all.extend(prompt.map(|text| (Role::User, text)));
    Some(Action::Call { messages: all, model, parameters, output: output?, terms })
}

/// Fields of a step that calls a model.
const CALL_FIELDS: [&str; 16] = [
    "system",
    "model",
    "output",
    "temperature",
    "top_p",
    "max_tokens",
    "seed",
    "stop",
    "reasoning_effort",
    "reasoning_budget",
    "reasoning_summary",
    "timeout",
    "fallback",
    "retries",
    "cache",
    "params",
];

fn messages(fields: &mut Fields<'_, '_>, node: &Node, files: Files<'_>) -> Vec<(Role, Spanned<String>)> {
    let Tree::List(items) = &node.value else {
        let message = format!("`messages` must be a list of roles and texts, got {}", node.kind());
        fields.problem(node.at, message);
        return Vec::new();
    };
    if items.is_empty() {
        fields.problem(node.at, "`messages` is empty: add at least one message, such as `- user: ..`");
    }
    let roles = [("system", Role::System), ("user", Role::User), ("assistant", Role::Assistant)];
    let mut messages = Vec::new();
    for item in items {
        match &item.value {
            Tree::Map(pair) if pair.len() == 1 => {
                let (key, text) = &pair[0];
                let Some((_, role)) = roles.iter().find(|(name, _)| *name == key.name) else {
                    let meant = closest(&key.name, roles.map(|(name, _)| name));
                    let hint = meant.map_or_else(
                        || "the roles are system, user, assistant".to_owned(),
                        |name| format!("did you mean `{name}`?"),
                    );
                    let message = format!("unknown role `{}`: {hint}", key.name);
                    fields.problem(key.at, message);
                    continue;
                };
                messages.extend(text_or_file(fields, &key.name, text, files).map(|text| (*role, text)));
            }
            _ => fields.problem(item.at, "a message must be a role and a text, such as `- user: ..`"),
        }
    }
    messages
}

/// The names of all steps.
struct Names {
    all: Vec<String>,
    known: HashSet<String>,
}

fn needs(fields: &mut Fields<'_, '_>, names: &Names) -> Vec<Spanned<String>> {
    let Some(node) = fields.take("needs") else { return Vec::new() };
    let items: Vec<&Node> = match &node.value {
        Tree::List(items) => items.iter().collect(),
        _ => vec![node],
    };
    let needs: Vec<_> = items.into_iter().filter_map(|item| fields.as_text("needs", item)).collect();
    for need in &needs {
        if !names.known.contains(&need.value) {
            fields.problem(need.at, unknown_step(&need.value, &names.all));
        }
    }
    needs
}

/// Message about a step that does not exist.
pub(super) fn unknown_step(name: &str, names: &[String]) -> String {
    format!("unknown step `{name}`: {}", names_like(name, "steps", names))
}

/// Maximum names that are compared or listed for a problem: a file may have as many problems as names.
const MAX_COMPARED: usize = 200;

/// The name that is meant, or all of them.
pub(super) fn names_like<T: AsRef<str>>(name: &str, what: &str, names: &[T]) -> String {
    let compared = names.iter().map(AsRef::as_ref).take(MAX_COMPARED);
    match closest(name, compared.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => {
            let more = names.len().saturating_sub(MAX_COMPARED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("the {what} are `{}`{more}", compared.collect::<Vec<_>>().join("`, `"))
        }
    }
}

fn shape(fields: &mut Fields<'_, '_>, node: &Node) -> Option<Shape> {
    match &node.value {
        Tree::Text(word) => match word.as_str() {
            "text" => Some(Shape::Text),
            "lines" => Some(Shape::Lines),
            "json" => Some(Shape::Json),
            other => {
                let hint =
                    closest(other, ["text", "lines", "json"]).map(|near| format!(": did you mean `{near}`?"));
                let hint = hint.unwrap_or_else(|| ": must be text, lines, json or a JSON schema".to_owned());
                fields.problem(node.at, format!("unknown output `{other}`{hint}"));
                None
            }
        },
        Tree::Map(_) => {
            let schema = node.to_json();
            let kinds = ["array", "object", "string", "number", "integer", "boolean", "null"];
            if let Some(Value::String(kind)) = schema.get("type")
                && !kinds.contains(&kind.as_str())
            {
                let hint =
                    closest(kind, kinds).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                let message = format!("`{kind}` is not a valid JSON schema type{hint}");
                fields.problem(node.at, message);
                return None;
            }
            Some(Shape::Schema(schema))
        }
        _ => {
            let message = format!("`output` must be text, lines, json or a JSON schema, got {}", node.kind());
            fields.problem(node.at, message);
            None
        }
    }
}

/// Returns true for a name that is valid in templates.
fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn bad_name(name: &str) -> String {
    if name.is_empty() {
        return "the name is empty: use letters, digits and underscores".to_owned();
    }
    let fixed: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let fixed = if fixed.starts_with(|c: char| c.is_ascii_digit()) { format!("_{fixed}") } else { fixed };
    format!("`{name}` is not a valid template name; use letters, digits and underscores, such as `{fixed}`")
}
