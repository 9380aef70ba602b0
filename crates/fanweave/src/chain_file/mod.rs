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
//! The templates determine the order: a step waits for the steps whose output it reads. Independent steps run
//! concurrently, and a fan-out (`for_each`) starts on the first item while its source is still being
//! generated.

mod asserts;
mod check;
#[cfg(test)]
mod dag_events;
pub(crate) mod fields;
mod files;
#[cfg(feature = "batch")]
mod fingerprint;
mod only;
pub(crate) mod problem;
pub(crate) mod spanned;
mod spec;
mod steps;
#[cfg(test)]
mod tests;
pub(crate) mod tree;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::model::fake::Fake;
use crate::{
    Chain, Context, Dag, DagStep, Error, ErrorKind, Graph, Model, Parameters, Result, Template, Vars, chain,
    closest, dag, step,
};
use check::Source;
use files::Files;
pub use problem::{Problem, Problems};
use spanned::Spanned;
use spec::{Action, Spec, Step, Terms};
use steps::{action, asserted, into_chain, outputs_step, prompt};
use tree::{Language, Node};

/// The offset of values that are not in the file.
const ELSEWHERE: usize = usize::MAX;

/// Default maximum memory of a run for its prompts and outputs, as that of [`Dag::max_memory_bytes`].
const MAX_RUN_MEMORY_MIB: u32 = 512;

/// A chain that was read from a file and checked: all variables, steps and types that it refers to exist.
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
///     prompt: Say hello to {{ name }}.
/// ",
/// )?;
/// # fanweave::blocking::wait(async {
/// let greet = file.chain(|name| model(name.unwrap_or("sim/echo")))?;
/// let answer = greet.invoke(vars! { name: "Ada" }).await?;
/// assert!(answer.as_str().unwrap().contains("Say hello to Ada."));
/// # Ok::<_, fanweave::Error>(())
/// # })?;
/// # Ok::<_, fanweave::Error>(())
/// ```
pub struct ChainFile {
    name: String,
    /// Name of the file in problems.
    file: String,
    text: String,
    spec: Spec,
    output: usize,
    /// Maximum of `run_memory_mib`.
    max_run_memory_mib: u32,
}

/// The model that a step of a chain file calls.
///
/// ```
/// use fanweave::{ChainFile, model};
///
/// let file = ChainFile::parse("a.yaml", "steps: { a: { prompt: Hello, model: sim/echo, retries: 2 } }")?;
/// let chain = file.chain_with(|step| {
///     assert_eq!((step.name, step.retries, step.is_cached), (Some("sim/echo"), Some(2), true));
///     model(step.name.unwrap_or("sim/echo"))
/// })?;
/// # drop(chain);
/// # Ok::<_, fanweave::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StepModel<'a> {
    /// Name of the model. `None` if neither the step nor the file names one.
    pub name: Option<&'a str>,
    /// Maximum retries per request. Default: that of the [limits](ChainFile::limits).
    pub retries: Option<u32>,
    /// Set unless the step forbids answers from a cache.
    pub is_cached: bool,
}

/// The fields of a [`StepModel`], which distinguish models.
type ModelKey = (Option<String>, Option<u32>, bool);

/// Limits that a chain file sets for each of its runs.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct FileLimits {
    /// Maximum concurrent model calls. Default: none.
    pub concurrency: Option<NonZeroUsize>,
    /// Timeout of a run. Default: none.
    pub timeout: Option<Duration>,
    /// Maximum retries of a failed request. Default: that of the model.
    pub retries: Option<u32>,
    /// Maximum requests per minute. Default: none.
    pub rpm: Option<u32>,
    /// Budget for all calls, in US dollars. Default: none.
    pub budget_usd: Option<f64>,
    /// Maximum memory for rendering one template, in MiB. The templates apply it themselves. Default: that of
    /// [`RenderLimits`](crate::prompts::RenderLimits), which this cannot exceed.
    pub template_memory_mib: Option<u32>,
    /// Maximum memory of a run for its prompts and outputs, in MiB. The chain applies it itself. Default:
    /// that of [`Dag::max_memory_bytes`], which this cannot exceed.
    pub run_memory_mib: Option<u32>,
}

impl ChainFile {
    /// Loads a file: TOML if its name ends with `.toml`, otherwise YAML. Files that it refers to must be in
    /// its folder or a subfolder.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with all problems of the file, each with file name, line and column. See
    /// [`Problems`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = path.display().to_string();
        let text = crate::regular::read(path)
            .map_err(|e| Error::new(ErrorKind::Config, format!("cannot read {file}: {e}")).with_source(e))?;
        let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::read(file, text, Files::Below(folder))
    }

    /// Like [`load`](Self::load), from a string. `file` is the name for errors; its extension selects the
    /// language.
    ///
    /// # Errors
    /// Those of `load`. A chain from a string cannot refer to files: use [`parse_with`](Self::parse_with).
    pub fn parse(file: impl Into<String>, text: impl Into<String>) -> Result<Self> {
        Self::read(file.into(), text.into(), Files::None)
    }

    /// Like [`parse`](Self::parse), with the texts of the files that the chain file refers to, by the path as
    /// written in it. Reads no file: the same chain can be built where these files do not exist. Files that
    /// the chain file does not refer to are ignored.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use fanweave::ChainFile;
    ///
    /// let text = "steps: { greet: { prompt: { file: prompts/greet.txt } } }";
    /// assert_eq!(ChainFile::paths_in("greet.yaml", text)?, ["prompts/greet.txt"]);
    ///
    /// let files = BTreeMap::from([("prompts/greet.txt".to_owned(), "Say hello.".to_owned())]);
    /// let file = ChainFile::parse_with("greet.yaml", text, &files)?;
    /// assert_eq!(file.files().next(), Some(("prompts/greet.txt", "Say hello.")));
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of `load`. A file that is not in `files`, or is longer than 1 MiB, is a problem.
    pub fn parse_with(
        file: impl Into<String>,
        text: impl Into<String>,
        files: &BTreeMap<String, String>,
    ) -> Result<Self> {
        Self::read(file.into(), text.into(), Files::Given(files))
    }

    /// The paths that a chain file refers to, as written, each once, sorted. Reads no file.
    /// Read them relative to the folder of the chain file, and pass the texts to
    /// [`parse_with`](Self::parse_with).
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the problems of the file. Its templates are not checked.
    pub fn paths_in(file: &str, text: &str) -> Result<Vec<String>> {
        let paths = RefCell::default();
        let read = || Spec::read(&Node::parse(text, language(file))?, Files::Listed(&paths));
        read().map_err(|problems: Problems| problems.placed(file, text))?;
        Ok(paths.into_inner().into_iter().collect())
    }

    fn read(file: String, text: String, files: Files<'_>) -> Result<Self> {
        let read = || {
            let spec = Spec::read(&Node::parse(&text, language(&file))?, files)?;
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
        Ok(Self { name, file, text, spec, output, max_run_memory_mib: MAX_RUN_MEMORY_MIB })
    }

    /// Replaces the model of the steps that do not name one.
    #[must_use]
    pub fn with_model(mut self, name: impl Into<String>) -> Self {
        self.spec.model = Some(Spanned::new(ELSEWHERE, name.into()));
        self
    }

    /// Sets the maximum memory of a run for its prompts and outputs, in MiB. The file may set less, by
    /// `run_memory_mib`. Default 512. See [`Dag::max_memory_bytes`].
    ///
    /// ```
    /// use fanweave::{ChainFile, model, vars};
    ///
    /// let text = "
    /// steps:
    ///   page: { for_each: inputs.names, template: '{{ item * 100000 }}' }
    /// inputs: { names: [to, too, two, a longer name] }
    /// ";
    /// # fanweave::blocking::wait(async {
    /// let file = ChainFile::parse("pages.yaml", text)?.with_max_run_memory(1);
    /// let chain = file.chain(|name| model(name.unwrap_or("sim/echo")))?;
    /// let error = chain.invoke(vars! {}).await.unwrap_err();
    /// assert!(error.message().contains("more than its limit of 1 MiB"), "{error}");
    /// # Ok::<_, fanweave::Error>(())
    /// # })?;
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    #[must_use]
    pub fn with_max_run_memory(mut self, mib: u32) -> Self {
        self.max_run_memory_mib = mib;
        self
    }

    /// The graph of the chain. No model is needed.
    pub fn graph(&self) -> Graph {
        let dag = self.dag(|_| Ok(Fake::echo().model()));
        dag.and_then(|dag| dag.graph()).expect("the file was checked when it was read")
    }

    fn checked(&self) -> Vec<check::Checked> {
        check::check(&self.spec, &self.text).expect("the file was checked when it was read")
    }

    /// The name of the chain. Default: the file name without its extension.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of steps that call a model. A run makes at least this many calls unless steps are skipped or
    /// lists are empty; a step with `for_each` makes one for each item.
    pub fn calls(&self) -> usize {
        self.spec.steps.iter().filter(|step| matches!(step.action, Action::Call { .. })).count()
    }

    /// The text of the chain file. See [`files`](Self::files) for the files that it refers to.
    pub fn source(&self) -> &str {
        &self.text
    }

    /// The files that the chain file refers to: the path as written, and the text.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        let texts = self.spec.steps.iter().flat_map(|step| match &step.action {
            Action::Call { messages, .. } => messages.iter().map(|(_, text)| text).collect(),
            Action::Template(text) => vec![text],
        });
        texts.filter_map(|text| Some((text.file.as_deref()?, text.value.as_str())))
    }

    /// The limits of the file. The chain applies concurrency and timeout itself. Apply retries, requests per
    /// minute and the budget when you build the models; see [`Budget`](crate::models::Budget).
    pub fn limits(&self) -> FileLimits {
        FileLimits {
            concurrency: self.spec.limits.concurrency.and_then(NonZeroUsize::new),
            timeout: self.spec.limits.timeout,
            retries: self.spec.limits.retries,
            rpm: self.spec.limits.rpm,
            budget_usd: self.spec.limits.budget_usd,
            template_memory_mib: self.spec.limits.template_memory_mib,
            run_memory_mib: self.spec.limits.run_memory_mib,
        }
    }

    /// The file of cached responses, relative to the folder of the chain file. The caller applies it.
    pub fn cache(&self) -> Option<&str> {
        self.spec.cache.as_deref()
    }

    /// The names of the steps, in the order of the file.
    pub fn steps(&self) -> impl Iterator<Item = &str> {
        self.spec.steps.iter().map(|step| step.name.value.as_str())
    }

    /// The steps whose outputs are the fields of the chain's output. Empty if it is the output of one step.
    pub fn outputs(&self) -> impl Iterator<Item = &str> {
        self.spec.outputs.iter().map(|step| step.value.as_str())
    }

    /// Makes the outputs of all steps the fields of the chain's output.
    #[must_use]
    pub fn with_all_outputs(mut self) -> Self {
        self.spec.outputs =
            self.spec.steps.iter().map(|step| Spanned::new(ELSEWHERE, step.name.value.clone())).collect();
        self
    }

    /// Sets the fallback models of all steps that have none of their own, in place of those of the file.
    ///
    /// ```
    /// use fanweave::ChainFile;
    ///
    /// let file = ChainFile::parse("a.yaml", "steps: { a: { prompt: Hello, model: sim/echo } }")?;
    /// let file = file.with_fallback(["sim/writer"]);
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    #[must_use]
    pub fn with_fallback(mut self, models: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.spec.fallback = models.into_iter().map(|model| Spanned::new(ELSEWHERE, model.into())).collect();
        self
    }

    /// The calls of the chain: the model of each, as [`StepModel`], and the maximum tokens of its answer.
    pub fn step_models(&self) -> impl Iterator<Item = (StepModel<'_>, Option<u32>)> {
        self.spec.steps.iter().filter_map(|step| match &step.action {
            Action::Call { model, parameters, terms, .. } => {
                Some((self.step_model(model.as_ref(), terms), parameters.max_tokens))
            }
            Action::Template(_) => None,
        })
    }

    /// The calls of the chain, each with the name of its step, its models, beginning with that which is
    /// called first, and the parameters that the step sets.
    ///
    /// ```
    /// use fanweave::ChainFile;
    ///
    /// let text = "steps: { a: { prompt: Hello, model: sim/echo, temperature: 0.5 } }";
    /// let file = ChainFile::parse("a.yaml", text)?;
    /// let (step, models, parameters) = file.step_parameters().next().expect("a call");
    /// assert_eq!((step, models, parameters.temperature), ("a", vec![Some("sim/echo")], Some(0.5)));
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    pub fn step_parameters(&self) -> impl Iterator<Item = (&str, Vec<Option<&str>>, &Parameters)> {
        self.spec.steps.iter().filter_map(|step| match &step.action {
            Action::Call { model, parameters, terms, .. } => {
                let first = model.as_ref().or(self.spec.model.as_ref()).map(|name| name.value.as_str());
                let others = terms.fallback.as_ref().unwrap_or(&self.spec.fallback);
                let others = others.iter().map(|name| Some(name.value.as_str()));
                Some((step.name.value.as_str(), [first].into_iter().chain(others).collect(), &**parameters))
            }
            Action::Template(_) => None,
        })
    }

    fn step_model<'a>(&'a self, named: Option<&'a Spanned<String>>, terms: &Terms) -> StepModel<'a> {
        let name = named.or(self.spec.model.as_ref()).map(|name| name.value.as_str());
        StepModel { name, retries: terms.retries, is_cached: !terms.is_uncached }
    }

    /// The names of the inputs, in the order of the file, with their defaults.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, Option<&Value>)> {
        self.spec.inputs.iter().map(|input| (input.name.as_str(), input.default.as_ref()))
    }

    /// Converts `text` to a value of the input `name`: parses it as JSON unless the default is a string or
    /// null.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] if there is no such input, or the text does not have the type of its default.
    pub fn input(&self, name: &str, text: &str) -> Result<Value> {
        let Some(input) = self.spec.input(name) else {
            let names: Vec<_> = self.spec.inputs.iter().map(|input| input.name.as_str()).collect();
            let hint = match closest(name, names.iter()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.is_empty() => "it has no inputs".to_owned(),
                None => format!("the inputs are `{}`", names.join("`, `")),
            };
            let message = format!("{} has no input `{name}`: {hint}", self.file);
            return Err(Error::new(ErrorKind::Input, message));
        };
        let (kind, fits): (_, fn(&Value) -> bool) = match &input.default {
            None | Some(Value::Null | Value::String(_)) => return Ok(Value::String(text.to_owned())),
            Some(Value::Bool(_)) => ("true or false", Value::is_boolean),
            Some(Value::Number(_)) => ("a number", Value::is_number),
            Some(Value::Array(_)) => ("a JSON list, such as [\"a\", \"b\"]", Value::is_array),
            Some(Value::Object(_)) => ("a JSON object", Value::is_object),
        };
        serde_json::from_str(text).ok().filter(fits).ok_or_else(|| {
            let shown = crate::excerpt(text, 60);
            Error::new(ErrorKind::Input, format!("the input `{name}` must be {kind}, got `{shown}`"))
        })
    }

    /// Builds the chain. Its output is that of the step named by `output`, or of the last step.
    ///
    /// `models` creates the models. It is called once for every model name in the file, and with `None` if
    /// steps have no model and the file names no default.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the location of each model that cannot be created.
    pub fn chain(&self, mut models: impl FnMut(Option<&str>) -> Result<Model>) -> Result<Chain<Vars, Value>> {
        self.chain_with(|step| models(step.name))
    }

    /// Like [`chain`](Self::chain), for models that depend on more than their names. `models` is called once
    /// for all steps whose [`StepModel`] is the same.
    ///
    /// # Errors
    /// Those of `chain`.
    pub fn chain_with(
        &self,
        models: impl FnMut(StepModel<'_>) -> Result<Model>,
    ) -> Result<Chain<Vars, Value>> {
        let chain = self.dag_with(models)?.build()?.output_as();
        Ok(match self.spec.limits.timeout {
            Some(limit) => chain.timeout(limit),
            None => chain,
        })
    }

    /// The steps of the chain as a [`Dag`], to which further steps can be added. The timeout of the file does
    /// not apply to it.
    ///
    /// ```
    /// use fanweave::{ChainFile, compose::DagStep, model, vars};
    ///
    /// let file = ChainFile::parse(
    ///     "greet.yaml",
    ///     "
    /// inputs: { name: World }
    /// steps:
    ///   greeting: { template: 'Hello {{ name }}' }
    /// ",
    /// )?;
    /// # fanweave::blocking::wait(async {
    /// let dag = file.dag(|name| model(name.unwrap_or("sim/echo")))?;
    /// let louder = dag.step(DagStep::template("louder", "{{ steps.greeting.output }}!")?).output("louder");
    /// assert_eq!(louder.build()?.invoke(vars! {}).await?.into_text()?, "Hello World!");
    /// # Ok::<_, fanweave::Error>(())
    /// # })?;
    /// # Ok::<_, fanweave::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`chain`](Self::chain).
    pub fn dag(&self, mut models: impl FnMut(Option<&str>) -> Result<Model>) -> Result<Dag> {
        self.dag_with(|step| models(step.name))
    }

    fn dag_with(&self, mut models: impl FnMut(StepModel<'_>) -> Result<Model>) -> Result<Dag> {
        let checked = self.checked();
        let mut found = Vec::new();
        let mut built: Vec<(ModelKey, Model)> = Vec::new();
        let mut one = |wanted: StepModel<'_>, at: usize| {
            let key = (wanted.name.map(str::to_owned), wanted.retries, wanted.is_cached);
            if let Some((_, model)) = built.iter().find(|(known, _)| *known == key) {
                return Some(model.clone());
            }
            match models(wanted) {
                Ok(model) => {
                    built.push((key, model.clone()));
                    Some(model)
                }
                Err(error) => {
                    found.push((at, error));
                    None
                }
            }
        };
        // The model of a step, followed by those that are called when it fails.
        let mut model = |step: &Step, named: Option<&Spanned<String>>, terms: &Terms| {
            let wanted = self.step_model(named, terms);
            let at = named.or(self.spec.model.as_ref()).map_or(step.name.at, |name| name.at);
            let first = one(wanted, at);
            let others = terms.fallback.as_ref().unwrap_or(&self.spec.fallback);
            let others: Option<Vec<_>> = others
                .iter()
                .map(|name| one(StepModel { name: Some(&name.value), ..wanted }, name.at).map(into_chain))
                .collect();
            let first = into_chain(first?);
            let others = others?;
            Some(if others.is_empty() { first } else { first.fallback(others) })
        };
        let names = self.spec.outputs.iter().map(|name| name.value.as_str());
        let outputs: Vec<&str> = names.collect();
        let output = match outputs.is_empty() {
            true => self.spec.steps[self.output].name.value.clone(),
            false => self.name_of_outputs(),
        };
        let max = self.max_run_memory_mib;
        let memory_mib = self.spec.limits.run_memory_mib.map_or(max, |of_file| of_file.min(max));
        let mut dag = dag().output(output.as_str()).max_memory_bytes(u64::from(memory_mib) << 20);
        for input in &self.spec.inputs {
            dag = match &input.default {
                Some(default) => dag.input_or(input.name.as_str(), default.clone()),
                None => dag.input(input.name.as_str()),
            };
        }
        if let Some(max) = self.limits().concurrency {
            dag = dag.concurrency(max);
        }
        for (spec, checked) in self.spec.steps.iter().zip(&checked) {
            let action = match &spec.action {
                Action::Template(text) if checked.asserts.is_empty() => {
                    Some(DagStep::template(spec.name.value.as_str(), &text.value)?)
                }
                Action::Template(_) => {
                    let template = checked.templates[0].clone();
                    let filled = step(move |vars: Vars, _| {
                        let template = template.clone();
                        async move { Ok(Value::String(template.render_async(&vars).await?)) }
                    });
                    Some(asserted(spec, checked, chain(filled)))
                }
                Action::Call { messages, model: named, parameters, output, terms } => {
                    model(spec, named.as_ref(), terms).map(|model| {
                        let roles: Vec<_> = messages.iter().map(|(role, _)| *role).collect();
                        let prompt =
                            prompt(roles, checked.templates.clone(), (**parameters).clone(), spec, output);
                        action(prompt | model, spec, checked, output)
                    })
                }
            };
            if let Some(step) = action {
                dag = dag.step(self.conditions(step, spec, checked));
            }
        }
        if !outputs.is_empty() {
            dag = dag.step(outputs_step(&output, &outputs));
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
        Ok(dag)
    }

    /// Name of the step that collects the outputs, which no other step has.
    fn name_of_outputs(&self) -> String {
        let mut name = "outputs".to_owned();
        while self.spec.steps.iter().any(|step| step.name.value == name) {
            name.push('_');
        }
        name
    }

    /// Sets when a step runs, and what it reads.
    fn conditions(&self, mut step: DagStep, spec: &Step, checked: &check::Checked) -> DagStep {
        if let Some(source) = &checked.source {
            step = step.for_each(&self.path(source));
        }
        if let Some(condition) = checked.when.clone() {
            step = step.when(move |vars: Vars, _: Context| {
                let condition = condition.clone();
                async move { Ok(!condition.render_async(&vars).await?.is_empty()) }
            });
        }
        let needs = spec.needs.iter().map(|need| need.value.as_str());
        let conditions = checked.asserts.iter().map(|(_, template)| template);
        let reads = checked.templates.iter().chain(&checked.when).chain(conditions).flat_map(Template::paths);
        let is_own = |path: &String| path.split('.').next() == Some(asserts::OUTPUT);
        let reads = reads.filter(|path| checked.asserts.is_empty() || !is_own(path));
        step.needs(needs).reads(reads).on_error(spec.on_error)
    }

    /// The path of the list of a fan-out.
    fn path(&self, source: &Source) -> String {
        let (first, words) = match source {
            Source::Step(step, words) => {
                (format!("steps.{}.output", self.spec.steps[*step].name.value), words)
            }
            Source::Input(name, words) => (format!("inputs.{name}"), words),
        };
        std::iter::once(&first).chain(words).map(String::as_str).collect::<Vec<_>>().join(".")
    }
}

/// The language of a file, by its name.
fn language(file: &str) -> Language {
    if file.ends_with(".toml") { Language::Toml } else { Language::Yaml }
}

impl fmt::Debug for ChainFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChainFile")
            .field("name", &self.name)
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}
