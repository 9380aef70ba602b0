//! [`Chain`], the handle of steps that users hold, and its verbs.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::batch::Batch;
use crate::event::Event;
use crate::run::{EventRun, Run};
use crate::runnable::{run_undriven, run_whole};
use crate::{Context, Graph, IntoChain, Node, Result, Runnable, Streaming};

/// Dyn-compatible counterpart of [`Runnable`].
trait DynRunnable<I, O>: Send + Sync {
    fn run<'a>(&'a self, input: I, cx: &'a Context) -> BoxFuture<'a, Result<O>>;
    fn streaming(&self) -> Streaming;
    fn describe(&self) -> Node;
}

impl<R: Runnable> DynRunnable<R::Input, R::Output> for R {
    fn run<'a>(&'a self, input: R::Input, cx: &'a Context) -> BoxFuture<'a, Result<R::Output>> {
        if !R::DRIVES_CALLS && cx.is_driven() {
            return Box::pin(run_undriven(self, input, cx));
        }
        Box::pin(Runnable::run(self, input, cx))
    }

    fn streaming(&self) -> Streaming {
        Runnable::streaming(self)
    }

    fn describe(&self) -> Node {
        Runnable::describe(self)
    }
}

/// A chain of steps from `I` to `O`, which can be named, stored, cloned and shared between tasks.
///
/// ```
/// use fanweave::crates::futures;
/// use fanweave::{Chain, Vars, prompt, testing::Fake, text, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let joke: Chain<Vars, String> = prompt("A joke about {{ topic }}.") | Fake::echo() | text();
/// let (bears, cats) =
///     futures::try_join!(joke.invoke(vars! { topic: "bears" }), joke.invoke(vars! { topic: "cats" }))?;
/// assert_eq!((bears.as_str(), cats.as_str()), ("A joke about bears.", "A joke about cats."));
/// # Ok(())
/// # }) }
/// ```
pub struct Chain<I, O>(Arc<dyn DynRunnable<I, O>>);

impl<I, O> Chain<I, O> {
    pub(crate) fn of(step: impl Runnable<Input = I, Output = O>) -> Self {
        Self(Arc::new(step))
    }
}

impl<I, O> Clone for Chain<I, O> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<I, O> fmt::Debug for Chain<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain({})", self.0.describe().title())
    }
}

/// A chain with one step: a model, prompt, parser or chain, an async closure, or a mapping of names to
/// chains. See [`IntoChain`].
pub fn chain<I, O, M>(step: impl IntoChain<I, O, M>) -> Chain<I, O> {
    step.into_chain()
}

/// An input of a chain: its input type, or a type that converts [into](Into) it.
///
/// ```
/// use fanweave::{Result, prompt, testing::Fake, text, vars};
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// let joke = prompt("A joke about {{ input }}.") | Fake::echo() | text();
/// assert_eq!(joke.invoke("bears").await?, joke.invoke(vars! { input: "bears" }).await?);
/// # Ok(())
/// # }) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an input of this chain, which takes `{I}`",
    label = "not `{I}`, nor converted into it",
    note = "variables of a prompt are `vars! {{ topic: \"bears\" }}`, a text, or `Vars::from_serialize(..)?` of \
            a struct",
    note = "a chain that begins with `fanweave::prompt!(Type => \"..\")` takes a struct as it is"
)]
pub trait IntoInput<I> {
    /// The input.
    fn into_input(self) -> I;
}

#[diagnostic::do_not_recommend]
impl<I, T: Into<I>> IntoInput<I> for T {
    fn into_input(self) -> I {
        self.into()
    }
}

impl<I: Send + 'static, O: Send + 'static> Runnable for Chain<I, O> {
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = O;

    async fn run(&self, input: I, cx: &Context) -> Result<O> {
        self.0.run(input, cx).await
    }

    fn streaming(&self) -> Streaming {
        self.0.streaming()
    }

    fn describe(&self) -> Node {
        self.0.describe()
    }
}

impl<I: Send + 'static, O: Send + 'static> Chain<I, O> {
    /// Runs the chain once.
    ///
    /// # Errors
    /// The error of the step that failed, with its path.
    pub async fn invoke(&self, input: impl IntoInput<I> + Send) -> Result<O> {
        self.0.run(input.into_input(), &Context::new()).await
    }

    /// Like [`invoke`](Self::invoke), with a context: a deadline, cancellation, observers or a limit.
    ///
    /// # Errors
    /// Like `invoke`, and `Timeout` or `Cancelled` if `cx` ends the run.
    pub async fn invoke_in(&self, input: impl IntoInput<I> + Send, cx: &Context) -> Result<O> {
        cx.guard(run_whole(self, input.into_input(), cx)).await
    }

    /// Runs the chain over many inputs concurrently. See [`Batch`].
    pub fn batch<T: Into<I> + 'static, Rows>(&self, inputs: Rows) -> Batch<I, O>
    where
        Rows: IntoIterator<Item = T>,
        Rows::IntoIter: Send + 'static,
    {
        Batch::new(self.clone(), inputs.into_iter().map(Into::into))
    }

    /// Runs the chain once and emits deltas of its answer as they arrive. See [`Run`].
    pub fn stream(&self, input: impl IntoInput<I>) -> Run<O> {
        self.stream_in(input, &Context::new())
    }

    /// Like [`stream`](Self::stream), within `cx`.
    pub fn stream_in(&self, input: impl IntoInput<I>, cx: &Context) -> Run<O> {
        Run::new(self.clone(), input.into_input(), cx.clone())
    }

    /// Runs the chain once and emits its [`Event`]s. See [`EventRun`].
    pub fn events(&self, input: impl IntoInput<I>) -> EventRun<O> {
        self.events_in(input, &Context::new())
    }

    /// Like [`events`](Self::events), within `cx`.
    pub fn events_in(&self, input: impl IntoInput<I>, cx: &Context) -> EventRun<O> {
        EventRun::new(self.clone(), input.into_input(), cx.clone())
    }

    /// The chain as a diagram, with the schemas of its input and output.
    pub fn graph(&self) -> Graph {
        Graph::of::<I, O>(self.0.describe())
    }
}

const _: () = {
    const fn shared_between_tasks<T: Send + Sync + Clone>() {}
    shared_between_tasks::<Chain<String, String>>();
    shared_between_tasks::<Event>();
};
