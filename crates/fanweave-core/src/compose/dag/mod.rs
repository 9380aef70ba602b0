//! Runs named steps as soon as the steps that they read have finished.

mod layers;
mod outcome;
mod plan;
mod run;
mod segment;
mod step;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;

#[doc(hidden)]
pub use plan::find_cycle;
pub use step::{DagStep, OnError};

use crate::chain::{Chain, chain};
use crate::{Concurrency, Graph, Item, Result, Vars};
use plan::Plan;

/// Starts a dag: named steps that read inputs and the outputs of other steps.
///
/// ```
/// use fanweave::{chain, compose::DagStep, dag, prompt, testing::Fake, text, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let model = Fake::echo().model();
/// let article = dag()
///     .input_or("topic", "tides")
///     .step(DagStep::items("outline", (prompt("1. {{ topic }}\n2. costs") | &model).lines()))
///     .step(
///         DagStep::new("section", prompt("About {{ item }}.") | &model | text())
///             .for_each("steps.outline.output"),
///     )
///     .step(DagStep::template("article", "{{ steps.section.output | join('\n') }}")?)
///     .build()?;
/// let text = article.invoke(vars! { topic: "moons" }).await?.into_text()?;
/// assert_eq!(text, "About moons.\nAbout costs.");
/// # Ok(())
/// # }) }
/// ```
///
/// Steps that do not depend on each other run concurrently. A step that fails ends the run and drops the
/// others, unless it has another [`OnError`]. Values pass between steps as [`Item`]s. If the output is a
/// text, it is streamed while its parts arrive.
pub fn dag() -> Dag {
    Dag::default()
}

/// A dag that is being built. Made by [`dag`].
#[must_use]
#[derive(Debug, Clone, Default)]
pub struct Dag {
    inputs: Vec<(Arc<str>, Option<Value>)>,
    steps: Vec<DagStep>,
    output: Option<Arc<str>>,
    concurrency: Option<Concurrency>,
    max_memory: Option<u64>,
}

impl Dag {
    /// Adds an input that every run must set.
    pub fn input(mut self, name: impl Into<Arc<str>>) -> Self {
        self.inputs.push((name.into(), None));
        self
    }

    /// Adds an input with a default.
    pub fn input_or(mut self, name: impl Into<Arc<str>>, default: impl Into<Value>) -> Self {
        self.inputs.push((name.into(), Some(default.into())));
        self
    }

    /// Adds a step. Its position among the steps does not matter.
    pub fn step(mut self, step: DagStep) -> Self {
        self.steps.push(step);
        self
    }

    /// Sets the step whose output is that of the dag. Default: the last one that was added.
    pub fn output(mut self, step: impl Into<Arc<str>>) -> Self {
        self.output = Some(step.into());
        self
    }

    /// Sets the maximum of concurrent model calls, and of items of one fan-out, of a run. Default: no limit
    /// of calls, and 64 items. A limit of the caller takes precedence for the calls, because it applies to
    /// all runs together.
    pub fn concurrency(mut self, max: impl Into<Concurrency>) -> Self {
        self.concurrency = Some(max.into());
        self
    }

    /// Sets the maximum memory of a run for its values, in bytes. Default 512 MiB. A limit of the caller, by
    /// [`Context::with_max_memory`](crate::Context::with_max_memory), takes precedence.
    ///
    /// Counted are the inputs and the outputs of all steps until the run ends, the output of the run three
    /// times, the variables of a step while it runs three times, since templates copy them, and the prompts
    /// of calls in flight twice. A step that exceeds the limit fails with
    /// [`ErrorKind::Input`](crate::ErrorKind::Input). See [`RenderLimits`](crate::prompt::RenderLimits) for
    /// the memory of a template while it is rendered.
    ///
    /// ```
    /// use fanweave::{compose::DagStep, dag, vars};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let pages = dag()
    ///     .input("names")
    ///     .step(DagStep::template("page", "{{ item * 100000 }}")?.for_each("names"))
    ///     .max_memory_bytes(1 << 20)
    ///     .build()?;
    /// let error = pages.invoke(vars! { names: ["a", "b", "c", "a longer name"] }).await.unwrap_err();
    /// assert!(error.to_string().starts_with("step item 4 > page: the prompts and outputs of the run need"));
    /// # Ok(())
    /// # }) }
    /// ```
    pub fn max_memory_bytes(mut self, bytes: u64) -> Self {
        self.max_memory = Some(bytes);
        self
    }

    /// Builds the chain. If the step of the output is skipped, the output is null.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if the dag is empty, two steps have the same name, the
    /// steps form a cycle, or a step reads an input or a step that does not exist.
    pub fn build(&self) -> Result<Chain<Vars, Item>> {
        Plan::new(self).map(chain)
    }

    /// The steps in layers: those of a layer run concurrently.
    ///
    /// # Errors
    /// Those of [`build`](Self::build).
    pub fn graph(&self) -> Result<Graph> {
        let plan = Plan::new(self)?;
        Ok(Graph::of::<Vars, Item>(layers::sequence(&plan)))
    }
}
