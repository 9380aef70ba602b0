//! One step of a dag.

use std::any::TypeId;
use std::fmt;
use std::sync::Arc;

use crate::chain::Chain;
use crate::item::{FromItem, IntoItem};
use crate::many::Many;
use crate::{IntoChain, Item, Message, Result, Runnable, Template, Vars};

/// A step of a [`dag`](crate::dag): a name, what it runs, and when.
///
/// The variables of a step are the inputs, as `topic` and `inputs.topic`, the outputs of earlier steps, as
/// `steps.outline.output`, and in a fan-out `item` and `index`, which counts from 1. A message is its text
/// there; a [foreign](Item::Foreign) value is left to [`of`](Self::of).
///
/// ```
/// use fanweave::crates::serde_json;
/// use fanweave::{Context, Result, Vars, compose::{DagStep, OnError}, dag, vars};
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// let inverses = dag()
///     .input("numbers")
///     .step(
///         DagStep::of("inverse", "item", |n: f64, _: Context| async move { Ok(1.0 / n) })
///             .for_each("numbers")
///             .when(|vars: Vars, _: Context| async move { Ok(vars.get("item").is_some_and(|n| *n != 0)) })
///             .on_error(OnError::Skip),
///     )
///     .build()?;
/// let output = inverses.invoke(vars! { numbers: [2, 0, 4] }).await?;
/// assert_eq!(output.to_value()?, serde_json::json!([0.5, 0.25]));
/// # Ok(())
/// # }) }
/// ```
#[must_use]
#[derive(Clone)]
pub struct DagStep {
    pub(super) name: Arc<str>,
    pub(super) action: Action,
    pub(super) for_each: Option<Arc<str>>,
    pub(super) needs: Vec<Arc<str>>,
    pub(super) when: Option<Chain<Vars, bool>>,
    pub(super) on_error: OnError,
    /// The paths of the variables that it is known to read.
    pub(super) reads: Vec<String>,
    /// Set if it reads no other variables.
    pub(super) reads_are_complete: bool,
    /// Set if [`reads`](Self::reads) says so, for the condition as well.
    pub(super) reads_are_set: bool,
}

/// The work of a step.
#[derive(Clone)]
pub(super) enum Action {
    /// A chain over the variables.
    Vars {
        chain: Chain<Vars, Item>,
        /// Set if its output is a text, which can be read while it arrives.
        is_text: bool,
    },
    /// A list that can be read item by item, and a chain for when nothing reads it so.
    Items(Many<Vars, Item>, Chain<Vars, Item>),
    /// A chain over one value: its path, and the chain.
    Of(Arc<str>, Chain<Item, Item>),
    Template(Template, Arc<str>),
}

/// The effect of a failed step. A run that is cancelled always fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnError {
    /// The run fails, and the work of the other steps is dropped.
    #[default]
    Fail,
    /// The item of a fan-out is skipped. Without a fan-out, the step and the steps that depend on it are.
    Skip,
    /// The output, or that of the item, is null.
    Null,
}

impl DagStep {
    /// A step over the variables: a chain, or an async closure of [`Vars`] and a [`Context`](crate::Context).
    ///
    /// The variables that its prompt reads determine which steps it waits for. A step without a prompt at its
    /// beginning, such as a closure, waits for the steps that it [needs](Self::needs).
    pub fn new<O, M>(name: impl Into<Arc<str>>, chain: impl IntoChain<Vars, O, M>) -> Self
    where
        O: IntoItem + Send + 'static,
    {
        let chain = chain.into_chain();
        let reads = chain.describe().reads();
        let is_text = [TypeId::of::<String>(), TypeId::of::<Message>()].contains(&TypeId::of::<O>());
        Self::with(name, Action::Vars { chain: chain.with_item_output(), is_text }, reads)
    }

    /// A step over one value: an input or a field of it, such as `topic`, the output of a step or a field of
    /// it, such as `steps.outline.output`, or in a fan-out `item`. Messages and foreign values arrive as they
    /// are.
    ///
    /// # Errors
    /// A run fails with [`ErrorKind::Input`](crate::ErrorKind::Input) if the value is not of the type that
    /// the chain expects.
    pub fn of<T, O, M>(name: impl Into<Arc<str>>, source: &str, chain: impl IntoChain<T, O, M>) -> Self
    where
        T: FromItem + Send + 'static,
        O: IntoItem + Send + 'static,
    {
        let action = Action::Of(source.into(), chain.into_chain().erased());
        Self::with(name, action, (Vec::new(), true))
    }

    /// A step whose output is a list. A fan-out over it starts while the list is still arriving.
    pub fn items<T>(name: impl Into<Arc<str>>, items: Many<Vars, T>) -> Self
    where
        T: IntoItem + Send + 'static,
    {
        let reads = items.describe().reads();
        let items = items.try_map(IntoItem::into_item);
        let whole = items.clone().collect().with_item_output();
        Self::with(name, Action::Items(items, whole), reads)
    }

    /// Sets the chain that runs in place of the items of [`items`](Self::items) if no fan-out reads them
    /// while they arrive. Default: one that collects the items. No effect on other steps.
    pub fn or_whole<O, M>(mut self, chain: impl IntoChain<Vars, O, M>) -> Self
    where
        O: IntoItem + Send + 'static,
    {
        if let Action::Items(_, whole) = &mut self.action {
            *whole = chain.into_chain().with_item_output();
        }
        self
    }

    /// A step that fills in a template. If it is the output of the dag, its text is streamed while its parts
    /// arrive.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if the template is not valid.
    pub fn template(name: impl Into<Arc<str>>, text: &str) -> Result<Self> {
        let template = Template::parse(text)?;
        let reads = template.paths();
        Ok(Self::with(name, Action::Template(template, text.into()), (reads, true)))
    }

    fn with(
        name: impl Into<Arc<str>>,
        action: Action,
        (reads, reads_are_complete): (Vec<String>, bool),
    ) -> Self {
        Self {
            name: name.into(),
            action,
            for_each: None,
            needs: Vec::new(),
            when: None,
            on_error: OnError::default(),
            reads,
            reads_are_complete,
            reads_are_set: false,
        }
    }

    /// Runs the step for each item of a list: an input, or the output of a step, such as
    /// `steps.outline.output`, or a field of one. The output is the list of the outputs, in order.
    ///
    /// At most 64 items run concurrently, in the task of the run, unless [`Dag::concurrency`] sets another
    /// number. The list is read further meanwhile. Null is an empty list.
    ///
    /// [`Dag::concurrency`]: crate::Dag::concurrency
    pub fn for_each(mut self, source: &str) -> Self {
        self.for_each = Some(source.into());
        self
    }

    /// Waits for these steps, in addition to those whose outputs it reads.
    pub fn needs<N: Into<Arc<str>>>(mut self, steps: impl IntoIterator<Item = N>) -> Self {
        self.needs.extend(steps.into_iter().map(Into::into));
        self
    }

    /// Runs the step, or an item of its fan-out, only if `condition` returns true for its variables. If not,
    /// the output is null, and an item is skipped.
    ///
    /// All inputs and the outputs of all steps that the step waits for are then variables, unless
    /// [`reads`](Self::reads) names them.
    pub fn when<M>(mut self, condition: impl IntoChain<Vars, bool, M>) -> Self {
        self.when = Some(condition.into_chain());
        self
    }

    /// Sets what happens if the step, or an item of its fan-out, fails. Default: [`OnError::Fail`].
    pub fn on_error(mut self, policy: OnError) -> Self {
        self.on_error = policy;
        self
    }

    /// Sets the paths of all variables that the step and its condition read, such as `topic` or
    /// `steps.outline.output`. The step waits for the steps among them. Default: those of its prompt or
    /// template; without one, all inputs and the outputs of the steps that it needs.
    pub fn reads<P: Into<String>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.reads = paths.into_iter().map(Into::into).collect();
        (self.reads_are_complete, self.reads_are_set) = (true, true);
        self
    }
}

impl fmt::Debug for DagStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DagStep")
            .field("name", &self.name)
            .field("for_each", &self.for_each)
            .finish_non_exhaustive()
    }
}
