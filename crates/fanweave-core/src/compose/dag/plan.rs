//! A dag whose references are resolved.

use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

use serde_json::Value;

use super::Dag;
use super::segment::{Segment, segments};
use super::step::{Action, DagStep, OnError};
use crate::chain::Chain;
use crate::context::memory::MAX_RUN_BYTES;
use crate::many::Many;
use crate::{Concurrency, Error, ErrorKind, Item, Result, Template, Vars, closest};

/// A dag that can run.
pub(super) struct Plan {
    pub(super) inputs: Vec<(Arc<str>, Option<Value>)>,
    pub(super) steps: Vec<PlannedStep>,
    /// The step whose output is that of the dag.
    pub(super) output: usize,
    /// The segments by which the text of the output is streamed. `None` if it cannot be streamed.
    pub(super) segments: Option<Vec<Segment>>,
    pub(super) concurrency: Option<NonZeroUsize>,
    /// Maximum memory for the values of a run, in bytes.
    pub(super) max_memory: u64,
}

pub(super) struct PlannedStep {
    pub(super) name: Arc<str>,
    /// The branch of its calls. From its name, so that other steps may be added and removed.
    pub(super) branch: u64,
    pub(super) action: PlannedAction,
    /// The list of a fan-out.
    pub(super) for_each: Option<Source>,
    /// Steps that must finish first, in the order in which they were added.
    pub(super) waits_for: Vec<usize>,
    pub(super) when: Option<Chain<Vars, bool>>,
    pub(super) reads: Reads,
    pub(super) on_error: OnError,
    /// Set if a fan-out reads its items while they arrive.
    pub(super) has_item_readers: bool,
    /// Set if its output is streamed as part of that of the dag.
    pub(super) is_in_text: bool,
}

impl PlannedStep {
    /// The steps that must finish or have begun before this one begins.
    pub(super) fn before(&self) -> impl Iterator<Item = usize> {
        let source = match self.for_each {
            Some(Source::Step(index, _)) => Some(index),
            _ => None,
        };
        self.waits_for.iter().copied().chain(source)
    }
}

/// The work of a step, whose references are resolved.
pub(super) enum PlannedAction {
    Vars { chain: Chain<Vars, Item>, is_text: bool },
    Items { items: Many<Vars, Item>, whole: Chain<Vars, Item> },
    Of(Operand, Chain<Item, Item>),
    Template(Template),
}

/// The variables that a step reads.
pub(super) enum Reads {
    /// All inputs, and the outputs of all steps that it waits for.
    All,
    /// These paths.
    Paths(Paths),
}

/// Paths such as `steps.outline.output`.
pub(super) struct Paths {
    whole: HashSet<String>,
    /// The paths, and all that lead to them.
    prefixes: HashSet<String>,
}

impl Reads {
    pub(super) fn paths(paths: impl IntoIterator<Item = String>) -> Self {
        let whole: HashSet<_> = paths.into_iter().collect();
        let ends =
            |path: &str| path.match_indices('.').map(|(at, _)| at).chain([path.len()]).collect::<Vec<_>>();
        let prefixes = whole.iter().flat_map(|path| ends(path).into_iter().map(|end| path[..end].to_owned()));
        Reads::Paths(Paths { prefixes: prefixes.collect(), whole })
    }

    /// Returns true if the step reads this path, or a field of it.
    pub(super) fn has(&self, path: &str) -> bool {
        match self {
            Reads::All => true,
            Reads::Paths(paths) => paths.prefixes.contains(path),
        }
    }

    /// Like [`has`](Self::has), or the whole of which it is a field.
    pub(super) fn has_within(&self, whole: &str, name: &str) -> bool {
        match self {
            Reads::All => true,
            Reads::Paths(paths) => {
                paths.whole.contains(whole)
                    || (paths.prefixes.contains(whole) && paths.prefixes.contains(&format!("{whole}.{name}")))
            }
        }
    }
}

/// A value that exists before a step runs, and the path of a field in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// The output of a step.
    Step(usize, Vec<String>),
    /// An input.
    Input(Arc<str>, Vec<String>),
}

/// The value that a step over one value reads.
pub(super) enum Operand {
    Source(Source),
    /// The item of its fan-out, and the path of a field in it.
    Item(Vec<String>),
    /// The number of the item.
    Index,
}

/// Names that are reserved for variables.
const RESERVED: [&str; 4] = ["steps", "inputs", "item", "index"];

impl Plan {
    pub(super) fn new(dag: &Dag) -> Result<Self> {
        let names: Vec<_> = dag.steps.iter().map(|step| step.name.clone()).collect();
        let resolver = Resolver {
            names: &names,
            indices: names.iter().zip(0..).map(|(name, index)| (&**name, index)).collect(),
            inputs: dag.inputs.iter().map(|(name, _)| name.clone()).collect(),
            known_inputs: dag.inputs.iter().map(|(name, _)| name.clone()).collect(),
        };
        resolver.check_names()?;
        let output = match &dag.output {
            Some(name) => resolver.index(name)?,
            None => names.len().checked_sub(1).ok_or_else(|| config("a dag needs at least one step"))?,
        };
        let segments = streamed(&dag.steps[output], &names);
        let mut steps = dag.steps.iter().map(|step| resolver.step(step)).collect::<Result<Vec<_>>>()?;
        if let Some(cycle) = find_cycle(steps.len(), |step| steps[step].before().collect()) {
            let cycle: Vec<_> = cycle.iter().map(|step| format!("`{}`", names[*step])).collect();
            return Err(config(format!("the steps form a cycle: {}", cycle.join(" waits for "))));
        }
        let read_by_item: HashSet<_> = steps
            .iter()
            .filter_map(|step| match &step.for_each {
                Some(Source::Step(index, words)) if words.is_empty() => Some(*index),
                _ => None,
            })
            .collect();
        let in_text: HashSet<_> = segments.iter().flatten().filter_map(Segment::step).collect();
        for (index, step) in steps.iter_mut().enumerate() {
            step.has_item_readers = read_by_item.contains(&index);
            step.is_in_text = in_text.contains(&index);
        }
        let concurrency = dag.concurrency.map(Concurrency::checked).transpose()?;
        let max_memory = dag.max_memory.unwrap_or(MAX_RUN_BYTES);
        Ok(Self { inputs: dag.inputs.clone(), steps, output, segments, concurrency, max_memory })
    }
}

/// The segments by which the text of a step is streamed.
fn streamed(step: &DagStep, names: &[Arc<str>]) -> Option<Vec<Segment>> {
    if step.for_each.is_some() || step.when.is_some() {
        return None;
    }
    match &step.action {
        Action::Template(_, text) => segments(text, names),
        Action::Vars { is_text: true, .. } => {
            segments(&format!("{{{{ steps.{}.output }}}}", step.name), names)
        }
        _ => None,
    }
}

/// The same in every build and process: FNV-1a.
fn hash(name: &str) -> u64 {
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

fn config(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message)
}

struct Resolver<'a> {
    names: &'a [Arc<str>],
    /// The index of each step, by its name.
    indices: HashMap<&'a str, usize>,
    inputs: Vec<Arc<str>>,
    known_inputs: HashSet<Arc<str>>,
}

impl Resolver<'_> {
    fn check_names(&self) -> Result<()> {
        for (what, names) in [("step", self.names), ("input", &self.inputs)] {
            let mut known = HashSet::new();
            for name in names {
                if !known.insert(name) {
                    return Err(config(format!("the dag has two {what}s named `{name}`")));
                }
                if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
                    let message =
                        format!("`{name}` is not a valid name of a {what}: use letters, digits and _");
                    return Err(config(message));
                }
            }
        }
        match self.inputs.iter().find(|name| RESERVED.contains(&&***name)) {
            Some(name) => {
                Err(config(format!("`{name}` is a reserved name of variables: choose another name")))
            }
            None => Ok(()),
        }
    }

    fn index(&self, name: &str) -> Result<usize> {
        self.indices.get(name).copied().ok_or_else(|| {
            let hint = match closest(name, self.names.iter()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the steps are `{}`", self.names.join("`, `")),
            };
            config(format!("unknown step `{name}`: {hint}"))
        })
    }

    fn step(&self, step: &DagStep) -> Result<PlannedStep> {
        self.resolve(step).map_err(|error| error.with_step(step.name.clone()))
    }

    fn resolve(&self, step: &DagStep) -> Result<PlannedStep> {
        let mut waits_for = Vec::new();
        for need in &step.needs {
            waits_for.push(self.index(need)?);
        }
        let action = match &step.action {
            Action::Of(path, chain) => PlannedAction::Of(self.operand(step, path)?, chain.clone()),
            Action::Vars { chain, is_text } => {
                PlannedAction::Vars { chain: chain.clone(), is_text: *is_text }
            }
            Action::Items(items, whole) => {
                PlannedAction::Items { items: items.clone(), whole: whole.clone() }
            }
            Action::Template(template, _) => PlannedAction::Template(template.clone()),
        };
        if let PlannedAction::Of(Operand::Source(Source::Step(index, _)), _) = action {
            waits_for.push(index);
        }
        for path in &step.reads {
            match self.operand(step, path) {
                Ok(Operand::Source(Source::Step(index, _))) => waits_for.push(index),
                Ok(_) => {}
                // The other steps of its chain may set variables that are not known here.
                Err(_) if !step.reads_are_complete => {}
                Err(error) => return Err(error),
            }
        }
        waits_for.sort_unstable();
        waits_for.dedup();
        if waits_for.iter().any(|other| self.names[*other] == step.name) {
            return Err(config(format!("step `{}` depends on itself", step.name)));
        }
        let for_each = match step.for_each.as_deref().map(|path| self.operand(step, path)).transpose()? {
            Some(Operand::Source(source)) => Some(source),
            None => None,
            Some(_) => return Err(config("`for_each` cannot iterate over an item of itself: name a list")),
        };
        let is_complete = step.reads_are_complete && (step.when.is_none() || step.reads_are_set);
        Ok(PlannedStep {
            name: step.name.clone(),
            branch: hash(&step.name),
            action,
            for_each,
            waits_for,
            when: step.when.clone(),
            reads: if is_complete { Reads::paths(step.reads.iter().cloned()) } else { Reads::All },
            on_error: step.on_error,
            has_item_readers: false,
            is_in_text: false,
        })
    }

    /// The value at a path.
    fn operand(&self, step: &DagStep, path: &str) -> Result<Operand> {
        let rest = |words: Option<std::str::Split<'_, char>>| {
            words.into_iter().flatten().map(str::to_owned).collect::<Vec<_>>()
        };
        let (first, words) = match path.split_once('.') {
            Some((first, words)) => (first, Some(words.split('.'))),
            None => (path, None),
        };
        Ok(match first {
            "item" if step.for_each.is_some() => Operand::Item(rest(words)),
            "index" if step.for_each.is_some() => Operand::Index,
            "item" | "index" => {
                let message =
                    format!("`{first}` is only available with `for_each`, which the step does not have");
                return Err(config(message));
            }
            "steps" => {
                let mut words =
                    words.ok_or_else(|| config("the step is not named: write `steps.NAME.output`"))?;
                let name = words.next().unwrap_or_default();
                let index = self.index(name)?;
                if words.next() != Some("output") {
                    let message =
                        format!("a step has no field other than its output: write `steps.{name}.output`");
                    return Err(config(message));
                }
                Operand::Source(Source::Step(index, rest(Some(words))))
            }
            // All inputs together.
            "inputs" if words.is_none() => Operand::Source(Source::Input("inputs".into(), Vec::new())),
            "inputs" => {
                let mut words = words;
                let name = words.as_mut().and_then(Iterator::next).unwrap_or_default();
                Operand::Source(Source::Input(self.input(name)?, rest(words)))
            }
            name => Operand::Source(Source::Input(self.input(name)?, rest(words))),
        })
    }

    fn input(&self, name: &str) -> Result<Arc<str>> {
        if let Some(known) = self.known_inputs.get(name) {
            return Ok(known.clone());
        }
        let hint = match closest(name, self.inputs.iter()) {
            _ if self.indices.contains_key(name) => format!("did you mean `steps.{name}.output`?"),
            Some(near) => format!("did you mean `{near}`?"),
            None if self.inputs.is_empty() => "the dag has no inputs".to_owned(),
            None => format!("the inputs are `{}`", self.inputs.join("`, `")),
        };
        Err(config(format!("unknown variable `{name}`: {hint}")))
    }
}

/// The steps of a cycle, from one step back to that step, if there is one. `next` are the steps that a step
/// waits for.
pub fn find_cycle(steps: usize, next: impl Fn(usize) -> Vec<usize>) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; steps];
    for first in 0..steps {
        if marks[first] != Mark::New {
            continue;
        }
        marks[first] = Mark::Open;
        // Depth-first search with an explicit stack, since there may be many steps: each entry holds a step
        // and its unvisited dependencies.
        let mut stack = vec![(first, next(first))];
        while let Some((step, rest)) = stack.last_mut() {
            let step = *step;
            match rest.pop() {
                None => {
                    marks[step] = Mark::Done;
                    stack.pop();
                }
                Some(other) if marks[other] == Mark::New => {
                    marks[other] = Mark::Open;
                    stack.push((other, next(other)));
                }
                Some(other) if marks[other] == Mark::Open => {
                    let from = stack.iter().position(|(step, _)| *step == other).unwrap_or_default();
                    return Some(stack[from..].iter().map(|(step, _)| *step).chain([other]).collect());
                }
                Some(_) => {}
            }
        }
    }
    None
}
