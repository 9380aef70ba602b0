//! Chain files: a chain of calls written in YAML or TOML.
//!
//! ```yaml
//! name: article
//! inputs: { topic: tidal power }
//! steps:
//!   outline:
//!     prompt: "List five section titles for an article about {{ topic }}."
//!     output: lines
//!   section:
//!     for_each: steps.outline.output
//!     prompt: "Write section {{ index }}, '{{ item }}', of an article about {{ topic }}."
//!   article:
//!     template: "{{ steps.section.output | join('\n\n') }}"
//! ```
//!
//! Which step waits for which follows from the templates. Steps that do not wait for each other run at once, and a
//! fan-out (`for_each`) starts on the first item while its source is still being written.

mod check;
pub(crate) mod fields;
mod graph;
mod outcome;
pub(crate) mod problem;
mod run;
mod segment;
pub(crate) mod spec;
#[cfg(test)]
mod tests;
pub(crate) mod tree;

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    Chain, Error, ErrorKind, Graph, Message, Model, Parameters, Prompt, ResponseFormat, Result, Role,
    Template, Vars, chain, closest, json as json_value, lines, step, text,
};
use check::Source;
pub use problem::{Problem, Problems};
use run::{CompiledChain, PlannedStep, StepAction};
use segment::{Segment, segments};
use spec::{Action, Shape, Spanned, Spec, Step};
use tree::{Language, Node};

/// The place of what does not stand in the file.
const ELSEWHERE: usize = usize::MAX;

/// A chain that was read from a file and checked: every variable, step and type in it is there.
///
/// ```
/// use fanweave::{ChainFile, model, vars};
///
/// let file = ChainFile::parse(
///     "greet.yaml",
///     "
/// inputs: { name: World }
/// steps:
///   greeting:
///     prompt: ConversationInput hello to {{ name }}.
/// ",
/// )?;
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
/// let greet = file.chain(|name| model(name.unwrap_or("sim/echo")))?;
/// let answer = greet.invoke(vars! { name: "Ada" }).await?;
/// assert!(answer.as_str().unwrap().contains("ConversationInput hello to Ada."));
/// # Ok::<_, fanweave::Error>(())
/// # })?;
/// # Ok::<_, fanweave::Error>(())
/// ```
pub struct ChainFile {
    name: String,
    /// What the file is called, for problems.
    file: String,
    text: String,
    spec: Spec,
    output: usize,
}

/// Limits that a chain file sets for each of its runs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct FileLimits {
    /// Most model calls at once. Default none.
    pub concurrency: Option<NonZeroUsize>,
    /// Longest time for a run. Default none.
    pub timeout: Option<Duration>,
    /// Tries after a failed one. Default that of the model.
    pub retries: Option<u32>,
    /// Most requests a minute. Default none.
    pub rpm: Option<u32>,
    /// Most US dollars for all calls together. Default none.
    pub budget_usd: Option<f64>,
}

impl ChainFile {
    /// Reads a file: TOML where its name ends with `.toml`, or else YAML. Texts that it names are read from its own
    /// folder or below.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with all that is wrong, each with file, line and column. See [`Problems`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path)
            .map_err(|e| Error::new(ErrorKind::Config, format!("cannot read {file}: {e}")).with_source(e))?;
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::read(file, text, Some(folder))
    }

    /// As [`load`](Self::load), of a text. `file` is what it is called in errors, and its ending tells the language.
    ///
    /// # Errors
    /// As `load`. Such a chain cannot name files.
    pub fn parse(file: impl Into<String>, text: impl Into<String>) -> Result<Self> {
        Self::read(file.into(), text.into(), None)
    }

    fn read(file: String, text: String, folder: Option<&Path>) -> Result<Self> {
        let language = if file.ends_with(".toml") { Language::Toml } else { Language::Yaml };
        let read = || {
            let spec = Spec::read(&Node::parse(&text, language)?, folder)?;
            check::check(&spec, &text)?;
            Ok(spec)
        };
        let spec = read().map_err(|problems: Problems| problems.placed(&file, &text))?;
        let output = match &spec.output {
            Some(name) => spec.steps.iter().position(|step| step.name.value == name.value),
            None => spec.steps.len().checked_sub(1),
        };
        let output = output.expect("a checked file has steps, and its output is one of them");
        let stem = || Path::new(&file).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = spec.name.clone().or_else(stem).unwrap_or_default();
        Ok(Self { name, file, text, spec, output })
    }

    /// The same file with another model for the steps that name none of their own.
    #[must_use]
    pub fn with_model(mut self, name: impl Into<String>) -> Self {
        self.spec.model = Some(Spanned::new(ELSEWHERE, name.into()));
        self
    }

    /// The chain as a picture. No model is asked for.
    pub fn graph(&self) -> Graph {
        graph::of(&self.spec, &self.checked())
    }

    fn checked(&self) -> Vec<check::Checked> {
        check::check(&self.spec, &self.text).expect("the file was checked when it was read")
    }

    /// The name of the chain: that of the file where it gives itself none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many steps ask a model: a run makes so many calls, or more where a step goes over a list.
    pub fn calls(&self) -> usize {
        self.spec.steps.iter().filter(|step| matches!(step.action, Action::Call { .. })).count()
    }

    /// The text of the file, for a fingerprint of what was run. See [`files`](Self::files) for the rest of it.
    pub fn source(&self) -> &str {
        &self.text
    }

    /// The texts that were read from other files, each with the path that the file names it by.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        let texts = self.spec.steps.iter().flat_map(|step| match &step.action {
            Action::Call { messages, .. } => messages.iter().map(|(_, text)| text).collect(),
            Action::Template(text) => vec![text],
        });
        texts.filter_map(|text| Some((text.file.as_deref()?, text.value.as_str())))
    }

    /// The limits of the file. Concurrency and timeout hold for its chain as it is; retries, requests a
    /// minute and the budget are for whoever makes the models, with [`Budget`](crate::models::Budget) for the last.
    pub fn limits(&self) -> FileLimits {
        FileLimits {
            concurrency: self.spec.limits.concurrency.and_then(NonZeroUsize::new),
            timeout: self.spec.limits.timeout,
            retries: self.spec.limits.retries,
            rpm: self.spec.limits.rpm,
            budget_usd: self.spec.limits.budget_usd,
        }
    }

    /// The names of the inputs, in the order of the file, with their defaults.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, Option<&Value>)> {
        self.spec.inputs.iter().map(|input| (input.name.as_str(), input.default.as_ref()))
    }

    /// The value that `text` stands for as the input `name`: read as JSON where the default is no text.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] where there is no such input, or the text is not what it needs.
    pub fn input(&self, name: &str, text: &str) -> Result<Value> {
        let Some(input) = self.spec.inputs.iter().find(|input| input.name == name) else {
            let names: Vec<_> = self.spec.inputs.iter().map(|input| input.name.as_str()).collect();
            let hint = match closest(name, names.iter()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.is_empty() => "it has none".to_owned(),
                None => format!("they are {}", names.join(", ")),
            };
            let message = format!("{} has no input `{name}`: {hint}", self.file);
            return Err(Error::new(ErrorKind::Input, message));
        };
        let (kind, fits): (_, fn(&Value) -> bool) = match &input.default {
            None | Some(Value::Null | Value::String(_)) => return Ok(Value::String(text.to_owned())),
            Some(Value::Bool(_)) => ("true or false", Value::is_boolean),
            Some(Value::Number(_)) => ("a number", Value::is_number),
            Some(Value::Array(_)) => ("a list in JSON, as in [\"a\", \"b\"]", Value::is_array),
            Some(Value::Object(_)) => ("an object in JSON", Value::is_object),
        };
        serde_json::from_str(text).ok().filter(fits).ok_or_else(|| {
            let shown = crate::excerpt(text, 60);
            Error::new(ErrorKind::Input, format!("the input `{name}` is {kind}, and `{shown}` is none"))
        })
    }

    /// The chain: inputs in, the output of the last step out, or of the one that the file names as `output`.
    ///
    /// `models` makes the models: it is asked once for every name in the file, and with `None` for the steps that
    /// name none where the file names none either.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the place of each model that cannot be made.
    pub fn chain(&self, models: impl Fn(Option<&str>) -> Result<Model>) -> Result<Chain<Vars, Value>> {
        let checked = self.checked();
        let mut found = Vec::new();
        let mut made: Vec<(Option<String>, Model)> = Vec::new();
        let mut model = |step: &Step, named: Option<&Spanned<String>>| {
            let named = named.or(self.spec.model.as_ref());
            let name = named.map(|name| name.value.clone());
            if let Some((_, model)) = made.iter().find(|(known, _)| *known == name) {
                return Some(model.clone());
            }
            match models(name.as_deref()) {
                Ok(model) => {
                    made.push((name, model.clone()));
                    Some(model)
                }
                Err(error) => {
                    let at = named.map_or(step.name.at, |name| name.at);
                    found.push((at, error));
                    None
                }
            }
        };
        let streamed_text = self.streamed_text();
        let heard = |index: usize| {
            let name = &self.spec.steps[index].name.value;
            checked.iter().any(|other| matches!(&other.source, Some(Source::Step(i, w)) if *i == index && w.is_empty()))
                || streamed_text.iter().flatten().any(|segment| {
                    matches!(segment, Segment::Output { step, .. } | Segment::Joined { step, .. } if step == name)
                })
        };
        let mut steps = Vec::new();
        for (index, (spec, checked)) in self.spec.steps.iter().zip(&checked).enumerate() {
            let work = match &spec.action {
                Action::Template(_) => Some(filled(&checked.templates[0])),
                Action::Call { messages, model: named, parameters, output } => model(spec, named.as_ref())
                    .map(|model| {
                        let roles: Vec<_> = messages.iter().map(|(role, _)| *role).collect();
                        let ask = ask(roles, checked.templates.clone(), (**parameters).clone(), spec, output);
                        work(ask | model, spec, output)
                    }),
            };
            steps.extend(work.map(|work| PlannedStep {
                name: spec.name.value.as_str().into(),
                work,
                source: checked.source.clone(),
                waits_for: checked.waits_for.clone(),
                when: checked.when.clone(),
                reads: checked.templates.iter().chain(&checked.when).flat_map(Template::paths).collect(),
                on_error: spec.on_error,
                is_streamed: heard(index),
            }));
        }
        if let Some((_, error)) = found.iter().find(|(at, _)| *at == ELSEWHERE) {
            return Err(error.clone());
        }
        if let Some((_, first)) = found.first() {
            let kind = first.kind();
            let problems =
                found.iter().map(|(at, error)| Problem::at(*at, error.message().to_owned())).collect();
            let problems = Problems::check(problems).expect_err("there is at least one");
            return Err(Error::new(kind, problems.placed(&self.file, &self.text).to_string()));
        }
        let weave = CompiledChain {
            inputs: self.spec.inputs.clone(),
            limits: self.spec.limits,
            steps,
            output: self.output,
            streamed_text,
        };
        let weave = chain(weave);
        Ok(match self.spec.limits.timeout {
            Some(limit) => weave.timeout(limit),
            None => weave,
        })
    }

    /// How the text of the chain can be handed out while it grows.
    fn streamed_text(&self) -> Option<Vec<Segment>> {
        let step = &self.spec.steps[self.output];
        if step.for_each.is_some() || step.when.is_some() {
            return None;
        }
        match &step.action {
            Action::Template(text) => segments(text),
            Action::Call { output: Shape::Text, .. } => {
                let name = &step.name.value;
                segments(&Spanned::new(0, format!("{{{{ steps.{name}.output }}}}")))
            }
            Action::Call { .. } => None,
        }
    }
}

impl fmt::Debug for ChainFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainFile")
            .field("name", &self.name)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

/// The messages of a call, filled in.
fn ask(
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
    step(move |vars: Vars, _| {
        let templates = templates.clone();
        async move {
            let (roles, templates, parameters) = &*templates;
            let messages = roles
                .iter()
                .zip(templates)
                .map(|(role, template)| Ok(Message::new(*role, template.render(&vars)?)));
            let mut prompt = Prompt::new(messages.collect::<Result<Vec<_>>>()?);
            prompt.parameters = parameters.clone();
            Ok(prompt)
        }
    })
}

/// What becomes of the answers of a call.
fn work(call: Chain<Vars, Message>, spec: &Step, output: &Shape) -> StepAction {
    let name = spec.name.value.clone();
    let call = match spec.timeout {
        Some(limit) => call.timeout(limit),
        None => call,
    }
    .named(name);
    match output {
        Shape::Text => StepAction::Text(call | text()),
        Shape::Lines => StepAction::Items(call.clone().lines().map(Value::String), call | lines() | texts()),
        Shape::Json => StepAction::Value(call | json_value()),
        Shape::Schema(schema) => {
            let (_, field) = wrapped(schema);
            let whole = call.clone() | json_value() | unwrapped(field);
            match output.is_list() {
                Some(true) => StepAction::Items(call.items::<Value>(), whole),
                _ => StepAction::Value(whole),
            }
        }
    }
}

fn texts() -> Chain<Vec<String>, Value> {
    step(|lines: Vec<String>, _| async move { Ok(lines.into_iter().map(Value::String).collect()) })
}

/// Providers want an object at the top: anything else is put into a field of one.
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

/// Takes the value out of the object again. A model that left the object out is understood too.
fn unwrapped(field: Option<&'static str>) -> Chain<Value, Value> {
    step(move |value: Value, _| async move {
        Ok(match (field, value) {
            (Some(field), Value::Object(mut object)) => object.remove(field).unwrap_or(Value::Object(object)),
            (_, value) => value,
        })
    })
}

/// A template step.
fn filled(template: &Template) -> StepAction {
    let template = template.clone();
    StepAction::Value(step(move |vars: Vars, _| {
        let text = template.render(&vars);
        async move { text.map(Value::String) }
    }))
}
