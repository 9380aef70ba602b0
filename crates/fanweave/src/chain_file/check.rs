//! Checks a chain file as a whole: resolves the outputs and inputs that each step reads.

use std::collections::HashMap;

use serde_json::Value;

use super::asserts::OUTPUT;
use super::problem::{Problem, Problems};
use super::spanned::Spanned;
use super::spec::{Action, Spec, Step, names_like, unknown_step};
use crate::Template;
use fanweave_core::__private::find_cycle;

/// A step with its parsed templates and its dependencies.
pub(super) struct Checked {
    /// The messages of a call, or the one template of a template step.
    pub(super) templates: Vec<Template>,
    pub(super) when: Option<Template>,
    /// Conditions on the output, as they are written and as templates.
    pub(super) asserts: Vec<(String, Template)>,
    pub(super) source: Option<Source>,
    /// Steps that must finish first, because their whole output is read or by `needs`; in the order of the
    /// file.
    pub(super) waits_for: Vec<usize>,
}

impl Checked {
    /// The paths of all variables that the step reads.
    pub(super) fn reads(&self) -> impl Iterator<Item = String> {
        let conditions = self.asserts.iter().map(|(_, template)| template);
        let read = self.templates.iter().chain(&self.when).chain(conditions).flat_map(Template::paths);
        let source = match &self.source {
            Some(Source::Input(name, _)) => Some(format!("inputs.{name}")),
            _ => None,
        };
        read.chain(source)
    }
}

/// The list that a fan-out iterates over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// The output of a step, and the path of a field in it.
    Step(usize, Vec<String>),
    /// An input, and the path of a field in it.
    Input(String, Vec<String>),
}

/// Checks the references between the steps. `text` is the whole file.
pub(super) fn check(spec: &Spec, text: &str) -> Result<Vec<Checked>, Problems> {
    let names: Vec<_> = spec.steps.iter().map(|step| step.name.value.clone()).collect();
    let indices = names.iter().cloned().zip(0..).collect();
    let mut checker = Checker { spec, text, names, indices, found: Vec::new(), has_output: false };
    let checked: Vec<_> = spec.steps.iter().map(|step| checker.step(step)).collect();
    if let Some(output) = &spec.output
        && !checker.names.contains(&output.value)
    {
        let message = unknown_step(&output.value, &checker.names);
        checker.found.push(Problem::at(output.at, message));
    }
    for name in spec.outputs.iter().filter(|name| !checker.indices.contains_key(&name.value)) {
        checker.found.push(Problem::at(name.at, unknown_step(&name.value, &checker.names)));
    }
    if checker.found.is_empty() {
        checker.found.extend(cycle(spec, &checked));
    }
    Problems::check(checker.found)?;
    Ok(checked)
}

struct Checker<'a> {
    spec: &'a Spec,
    text: &'a str,
    names: Vec<String>,
    /// The index of each step, by its name.
    indices: HashMap<String, usize>,
    found: Vec<Problem>,
    /// Set while assertions are checked, which have the output of their step.
    has_output: bool,
}

impl Checker<'_> {
    fn step(&mut self, step: &Step) -> Checked {
        let mut reads = Vec::new();
        let texts: Vec<&Spanned<String>> = match &step.action {
            Action::Call { messages, .. } => messages.iter().map(|(_, text)| text).collect(),
            Action::Template(text) => vec![text],
        };
        let templates =
            texts.into_iter().filter_map(|text| self.template(step, text, true, &mut reads)).collect();
        let when = step.when.as_ref().and_then(|when| {
            let condition = Spanned::new(when.at, as_condition(&when.value));
            self.template(step, &condition, false, &mut reads)
        });
        self.has_output = true;
        let asserts = step.asserts.iter().filter_map(|text| {
            let condition = Spanned::new(text.at, as_condition(&text.value));
            let template = self.template(step, &condition, false, &mut reads)?;
            Some((text.value.clone(), template))
        });
        let asserts = asserts.collect();
        self.has_output = false;
        let source = step.for_each.as_ref().and_then(|path| self.source(step, path));
        for need in &step.needs {
            reads.extend(self.indices.get(&need.value));
            if need.value == step.name.value {
                self.found.push(Problem::at(need.at, format!("step `{}` depends on itself", need.value)));
            }
        }
        reads.sort_unstable();
        reads.dedup();
        Checked { templates, when, asserts, source, waits_for: reads }
    }

    /// Parses a template and checks its variables. `in_tags` is set if the variables are inside template tags
    /// in the file.
    fn template(
        &mut self,
        step: &Step,
        text: &Spanned<String>,
        in_tags: bool,
        reads: &mut Vec<usize>,
    ) -> Option<Template> {
        let template = match Template::parse(text.value.clone()) {
            Ok(template) => self.limited(template),
            Err(error) => {
                let file = text.file.as_ref().map(|file| format!("`{file}`: ")).unwrap_or_default();
                self.found.push(Problem::at(text.at, format!("{file}{}", error.message())));
                return None;
            }
        };
        for path in template.paths() {
            self.path(step, text, in_tags, &path, reads);
        }
        Some(template)
    }

    /// The template with the limits of the file, which never raise those of the process.
    fn limited(&self, template: Template) -> Template {
        let Some(mib) = self.spec.limits.template_memory_mib else { return template };
        let limits = template.limits();
        template.with_limits(limits.max_memory_bytes(limits.memory_bytes.min(u64::from(mib) << 20)))
    }

    /// Checks one variable of a template.
    fn path(
        &mut self,
        step: &Step,
        text: &Spanned<String>,
        in_tags: bool,
        path: &str,
        reads: &mut Vec<usize>,
    ) {
        let mut words = path.split('.');
        let problem = match (words.next().unwrap_or_default(), words.next(), words.next()) {
            ("steps", Some(name), field) => match self.indices.get(name).copied() {
                None => Some((format!("steps.{name}"), unknown_step(name, &self.names))),
                Some(_) if name == step.name.value => {
                    Some((format!("steps.{name}"), format!("step `{name}` reads its own output")))
                }
                Some(_) if field != Some("output") => Some((
                    format!("steps.{name}"),
                    format!("a step has no field other than its output: write `steps.{name}.output`"),
                )),
                Some(index) => {
                    reads.push(index);
                    None
                }
            },
            ("steps", None, _) => {
                let message = "the step is not named: write `steps.NAME.output`".to_owned();
                Some(("steps".to_owned(), message))
            }
            (OUTPUT, _, _) if self.has_output => None,
            ("item" | "index", _, _) if step.for_each.is_some() => None,
            (word @ ("item" | "index"), _, _) => Some((
                word.to_owned(),
                format!(
                    "`{word}` is only available with `for_each`, which step `{}` does not have",
                    step.name.value
                ),
            )),
            ("inputs", Some(name), _) => {
                (!self.is_input(name)).then(|| (format!("inputs.{name}"), self.unknown_variable(name)))
            }
            ("inputs", None, _) => None,
            (name, _, _) => (!self.is_input(name)).then(|| (name.to_owned(), self.unknown_variable(name))),
        };
        if let Some((word, message)) = problem {
            let problem = match &text.file {
                // The problem points at the file name in the chain file; its message names the line in that
                // file.
                Some(file) => {
                    let before = &text.value[..find(&word, &text.value, in_tags).unwrap_or(0)];
                    let line = before.matches('\n').count() + 1;
                    Problem::at(text.at, format!("`{file}`: line {line}: {message}"))
                }
                None => {
                    let rest = self.text.get(text.at..).unwrap_or_default();
                    Problem::at(text.at + find(&word, rest, in_tags).unwrap_or(0), message)
                }
            };
            self.found.push(problem);
        }
    }

    fn is_input(&self, name: &str) -> bool {
        self.spec.input(name).is_some()
    }

    fn unknown_variable(&self, name: &str) -> String {
        if self.indices.contains_key(name) {
            return format!("unknown variable `{name}`: did you mean `steps.{name}.output`?");
        }
        let inputs: Vec<_> = self.spec.inputs.iter().map(|input| input.name.as_str()).collect();
        if inputs.is_empty() {
            return format!("unknown variable `{name}`: the file has no `inputs`");
        }
        format!("unknown variable `{name}`: {}", names_like(name, "inputs", &inputs))
    }

    fn source(&mut self, step: &Step, path: &Spanned<String>) -> Option<Source> {
        let bare = path.value.trim();
        let bare = bare.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")).unwrap_or(bare).trim();
        let words: Vec<_> = bare.split('.').map(str::to_owned).collect();
        if bare.is_empty() || !words.iter().all(|word| is_word(word)) {
            let message = "`for_each` must name a list, such as `steps.outline.output` or an input";
            self.found.push(Problem::at(path.at, message.to_owned()));
            return None;
        }
        let mut reads = Vec::new();
        let before = self.found.len();
        match words[0].as_str() {
            "item" | "index" => {
                let message =
                    format!("`for_each` cannot iterate over `{bare}`: it exists only inside the fan-out");
                self.found.push(Problem::at(path.at, message));
            }
            _ => self.path(step, path, false, bare, &mut reads),
        }
        if self.found.len() > before {
            return None;
        }
        let is_list = match reads.first() {
            Some(index) if words.len() == 2 + 1 => self.makes_list(&self.spec.steps[*index]),
            Some(_) => None,
            None => self.input(&words).map(Value::is_array),
        };
        if is_list == Some(false) {
            let message = match reads.first() {
                Some(index) => format!(
                    "`for_each` needs a list, but step `{}` produces text: add `output: lines` to that step",
                    self.names[*index]
                ),
                None => format!("`for_each` needs a list, but the default of `{bare}` is not one"),
            };
            self.found.push(Problem::at(path.at, message));
            return None;
        }
        Some(match reads.first() {
            Some(index) => Source::Step(*index, words[3..].to_vec()),
            None if words[0] == "inputs" => Source::Input(words.get(1)?.clone(), words[2..].to_vec()),
            None => Source::Input(words[0].clone(), words[1..].to_vec()),
        })
    }

    /// Returns whether the output of a step is a list, if that is known before the run.
    fn makes_list(&self, step: &Step) -> Option<bool> {
        match &step.action {
            _ if step.for_each.is_some() => Some(true),
            Action::Call { output, .. } => output.is_list(),
            Action::Template(_) => Some(false),
        }
    }

    /// The default of an input, or of a field of it.
    fn input(&self, words: &[String]) -> Option<&Value> {
        let words = if words[0] == "inputs" { &words[1..] } else { words };
        let input = self.spec.input(words.first()?)?;
        words[1..].iter().try_fold(input.default.as_ref()?, |value, word| value.get(word))
    }
}

/// Byte offset of `word` in `text`, for a problem to point at. With `in_tags`, only matches inside template
/// tags count.
fn find(word: &str, text: &str, in_tags: bool) -> Option<usize> {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let is_in_tag = |before: &str| {
        let opened = before.rfind("{{").max(before.rfind("{%"));
        opened.is_some() && opened > before.rfind("}}").max(before.rfind("%}"))
    };
    let (mut start, mut tag) = (0, 0);
    while let Some(at) = text[start..].find(word).map(|at| start + at) {
        start = at + word.len();
        if part(text[..at].chars().next_back()) || part(text[start..].chars().next()) {
            continue;
        }
        if !in_tags || is_in_tag(&text[tag..at]) {
            return Some(at);
        }
        // No tag is open here, so a tag that is open later begins after this offset.
        tag = at;
    }
    None
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// A condition as a template whose output is non-empty if the condition is true.
fn as_condition(text: &str) -> String {
    let bare = text.trim();
    let bare = bare.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")).unwrap_or(bare);
    format!("{{% if {bare} %}}yes{{% endif %}}")
}

/// A problem that names the steps of a dependency cycle, if there is one.
fn cycle(spec: &Spec, checked: &[Checked]) -> Option<Problem> {
    let next = |step: usize| {
        let source = match checked[step].source {
            Some(Source::Step(index, _)) => Some(index),
            _ => None,
        };
        checked[step].waits_for.iter().copied().chain(source).collect::<Vec<_>>()
    };
    let cycle = find_cycle(checked.len(), next)?;
    let names: Vec<_> = cycle.iter().map(|step| format!("`{}`", spec.steps[*step].name.value)).collect();
    let message = format!("the steps form a cycle: {}", names.join(" waits for "));
    Some(Problem::at(spec.steps[cycle[0]].name.at, message))
}
