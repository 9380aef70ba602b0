//! The core abstraction: [`Runnable`], the trait that authors implement.

use std::future::Future;

use futures::future::{BoxFuture, Either};

#[doc(no_inline)]
pub use crate::chain::{Chain, chain};
use crate::context::NewChoices;
pub use crate::delta::DeltaMap;
use crate::{Context, Error, ErrorKind, Node, Result, closest};

/// A step: one input, one output.
///
/// An author implements only `run`. Everything else, including batches and streams, is derived from it.
///
/// ```
/// use fanweave::{Context, Result, Runnable, chain};
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
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// assert_eq!(chain(Shout).invoke("hello").await?, "HELLO");
/// # Ok(())
/// # }) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a step of a chain",
    note = "wrap a closure with `step(|input, cx| async move {{ .. }})`",
    note = "end a `Result`, such as that of `model(..)`, with `?`, and a `Branch` with `.otherwise(..)`",
    note = "use `parallel_map` for more than six branches of `parallel`",
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

pub(crate) async fn run_undriven<R: Runnable>(step: &R, input: R::Input, cx: &Context) -> Result<R::Output> {
    step.run(input, &cx.clone().undriven()).await
}

/// A whole run, which fails if `cx` has choices for parts that the chain does not have.
pub(crate) async fn run_whole<R: Runnable>(chain: &R, input: R::Input, cx: &Context) -> Result<R::Output> {
    match cx.checking_choices() {
        None => chain.run(input, cx).await,
        Some((cx, choices)) => {
            let run: BoxFuture<'_, Result<R::Output>> = Box::pin(run_with_choices(chain, input, cx, choices));
            run.await
        }
    }
}

async fn run_with_choices<R: Runnable>(
    chain: &R,
    input: R::Input,
    cx: Context,
    choices: NewChoices,
) -> Result<R::Output> {
    let node = chain.describe();
    let parts: Vec<String> = node.configurable().into_iter().map(str::to_owned).collect();
    if let Some((part, near)) =
        unknown(&choices, &parts).find_map(|part| Some((part, closest(part, &parts)?)))
    {
        let message = format!("the chain has no part `{part}` to choose: did you mean `{near}`?");
        return Err(Error::new(ErrorKind::Config, message));
    }
    let output = chain.run(input, &cx).await?;
    let Some(part) = unknown(&choices, &parts).next() else { return Ok(output) };
    let known = match parts.as_slice() {
        [] => "it has no configurable parts".to_owned(),
        parts => format!("its parts are {}", parts.join(", ")),
    };
    Err(Error::new(ErrorKind::Config, format!("the chain has no part `{part}` to choose: {known}")))
}

/// The choices of no part in the list that no part has asked for.
fn unknown<'a>(choices: &'a NewChoices, parts: &'a [String]) -> impl Iterator<Item = &'a str> {
    choices.unused().filter(|part| !parts.iter().any(|known| known == part))
}
