//! The core abstraction: [`Runnable`], which authors implement, and [`Chain`], which users hold.

use std::fmt;
use std::future::Future;
use std::ops::BitOr;
use std::sync::Arc;

use futures::future::{BoxFuture, Either};

use crate::batch::Batch;
use crate::compose::named::Named;
use crate::compose::then::Then;
use crate::event::Event;
use crate::run::{EventRun, Run};
use crate::{Context, Delta, Graph, Node, Result};

/// A step: one input, one output.
///
/// An author implements only `run`. Everything else, including batches and streams, is derived from it.
///
/// ```
/// use fanweave_core::{Context, Result, Runnable, chain};
///
/// struct Shout;
///
/// impl Runnable for Shout {
///     type Input = String;
///     type Output = String;
///
///     async fn run(&self, input: String, _cx: &Context) -> Result<String> {
///         Ok(input.to_uppercase())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<()> {
/// assert_eq!(chain(Shout).invoke("hello").await?, "HELLO");
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a step of a chain",
    note = "wrap a closure with `step(|input, cx| async move {{ .. }})`",
    note = "or implement `Runnable` for the type"
)]
pub trait Runnable: Send + Sync + 'static {
    /// Set if each poll of the step's future polls the futures of all calls that it makes. A call of a batch
    /// row can then hold its permit in the task of the row. Always correct if not set.
    #[doc(hidden)]
    const DRIVES_CALLS: bool = false;

    /// Input of the step.
    type Input: Send + 'static;
    /// Output of the step.
    type Output: Send + 'static;

    /// Runs the step as part of the run of `cx`.
    ///
    /// # Cancellation
    /// Dropping the future ends the work and closes its sockets. The provider may still bill the call.
    fn run(&self, input: Self::Input, cx: &Context) -> impl Future<Output = Result<Self::Output>> + Send;

    /// The role of the step in a stream. By default it emits its answer as one delta.
    fn streaming(&self) -> Streaming {
        Streaming::Whole
    }

    /// The node of the step in a diagram. Default: the name of its type.
    fn describe(&self) -> Node {
        Node::of_type::<Self>()
    }
}

/// The role of a step in a stream.
#[non_exhaustive]
pub enum Streaming {
    /// Its answer arrives as one delta, and no earlier delta can be part of that answer.
    Whole,
    /// It emits deltas of its answer with [`Context::delta`] while it runs.
    Deltas,
    /// It maps deltas of the previous step to deltas of its own answer, one by one.
    Through(Box<dyn DeltaMap>),
}

/// Maps deltas of one step's answer to deltas of the next one's.
pub trait DeltaMap: Send + 'static {
    /// The delta that `delta` completes, if it completes one.
    fn map(&mut self, delta: Delta) -> Option<Delta>;
}

impl<F: FnMut(Delta) -> Option<Delta> + Send + 'static> DeltaMap for F {
    fn map(&mut self, delta: Delta) -> Option<Delta> {
        self(delta)
    }
}

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

/// Runs a step within the run of an enclosing one: see [`Runnable::DRIVES_CALLS`].
pub(crate) fn run_within<'a, R: Runnable>(
    step: &'a R,
    input: R::Input,
    cx: &'a Context,
) -> impl Future<Output = Result<R::Output>> + Send + 'a {
    match !R::DRIVES_CALLS && cx.is_driven() {
        true => Either::Left(Box::pin(run_undriven(step, input, cx))),
        false => Either::Right(step.run(input, cx)),
    }
}

async fn run_undriven<R: Runnable>(step: &R, input: R::Input, cx: &Context) -> Result<R::Output> {
    step.run(input, &cx.clone().undriven()).await
}

/// A chain of steps from `I` to `O`, which can be named, stored, cloned and shared between tasks.
///
/// ```
/// use fanweave_core::{Chain, Vars, model::fake::Fake, prompt, text, vars};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> fanweave_core::Result<()> {
/// let joke: Chain<Vars, String> = prompt("A joke about {{ topic }}.") | Fake::echo() | text();
/// let (bears, cats) =
///     tokio::try_join!(joke.invoke(vars! { topic: "bears" }), joke.invoke(vars! { topic: "cats" }))?;
/// assert_eq!((bears.as_str(), cats.as_str()), ("A joke about bears.", "A joke about cats."));
/// # Ok(())
/// # }
/// ```
pub struct Chain<I, O>(Arc<dyn DynRunnable<I, O>>);

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

/// A chain with one step.
pub fn chain<R: Runnable>(step: R) -> Chain<R::Input, R::Output> {
    Chain(Arc::new(step))
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
    pub async fn invoke(&self, input: impl Into<I> + Send) -> Result<O> {
        self.0.run(input.into(), &Context::new()).await
    }

    /// Like [`invoke`](Self::invoke), with a context: a deadline, cancellation, observers or a limit.
    ///
    /// # Errors
    /// Like `invoke`, and `Timeout` or `Cancelled` if `cx` ends the run.
    pub async fn invoke_in(&self, input: impl Into<I> + Send, cx: &Context) -> Result<O> {
        cx.guard(self.0.run(input.into(), cx)).await
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
    pub fn stream(&self, input: impl Into<I>) -> Run<O> {
        self.stream_in(input, &Context::new())
    }

    /// Like [`stream`](Self::stream), within `cx`.
    pub fn stream_in(&self, input: impl Into<I>, cx: &Context) -> Run<O> {
        Run::new(self, input.into(), cx.clone())
    }

    /// Runs the chain once and emits its [`Event`]s. See [`EventRun`].
    pub fn events(&self, input: impl Into<I>) -> EventRun<O> {
        self.events_in(input, &Context::new())
    }

    /// Like [`events`](Self::events), within `cx`.
    pub fn events_in(&self, input: impl Into<I>, cx: &Context) -> EventRun<O> {
        EventRun::new(self, input.into(), cx.clone())
    }

    /// The chain as a diagram, with the schemas of its input and output.
    pub fn graph(&self) -> Graph {
        Graph::of::<I, O>(self.0.describe())
    }

    /// Passes the output to `next`. Same as the operator `|`.
    pub fn then<R: Runnable<Input = O>>(self, next: R) -> Chain<I, R::Output> {
        chain(Then::new(self, next))
    }

    /// Names the chain, for events and the path of errors.
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        chain(Named::new(self, name.into()))
    }
}

impl<I: Send + 'static, O: Send + 'static, R: Runnable<Input = O>> BitOr<R> for Chain<I, O> {
    type Output = Chain<I, R::Output>;

    fn bitor(self, next: R) -> Self::Output {
        self.then(next)
    }
}

impl<I, O, P> BitOr<&Chain<O, P>> for Chain<I, O>
where
    I: Send + 'static,
    O: Send + 'static,
    P: Send + 'static,
{
    type Output = Chain<I, P>;

    fn bitor(self, next: &Chain<O, P>) -> Self::Output {
        self.then(next.clone())
    }
}

const _: () = {
    const fn shared_between_tasks<T: Send + Sync + Clone>() {}
    shared_between_tasks::<Chain<String, String>>();
    shared_between_tasks::<Event>();
};
