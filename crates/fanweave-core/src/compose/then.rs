//! Runs one step after another.

use std::ops::BitOr;

use crate::chain::{Chain, chain};
use crate::runnable::{DeltaMap, run_within};
use crate::{Context, Delta, IntoChain, Node, Result, Runnable, Streaming};

/// Passes the output of `A` to `B`.
///
/// Made by [`Chain::then`] and by `|`. If `B` can read its input delta by delta, the
/// chain streams through it.
///
/// ```
/// use fanweave::step;
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let double = step(|n: u32, _| async move { Ok(n * 2) });
/// let shown = step(|n: u32, _| async move { Ok(format!("{n}!")) });
/// assert_eq!((double | shown).invoke(21u32).await?, "42!");
/// # Ok(())
/// # }) }
/// ```
pub struct Then<A, B> {
    first: A,
    next: B,
}

impl<A, B> Then<A, B> {
    pub(crate) fn new(first: A, next: B) -> Self {
        Self { first, next }
    }
}

impl<A: Runnable, B: Runnable<Input = A::Output>> Then<A, B> {
    /// Runs the first step of a stream.
    async fn stream_first(&self, input: A::Input, cx: &Context) -> Result<A::Output> {
        let cx = match self.next.streaming() {
            Streaming::Through(map) => cx.mapped(map),
            // The deltas of the first step are not deltas of this answer.
            Streaming::Whole | Streaming::Deltas => cx.without_deltas(),
        };
        self.first.run(input, &cx).await
    }
}

impl<A: Runnable, B: Runnable<Input = A::Output>> Runnable for Then<A, B> {
    const DRIVES_CALLS: bool = true;

    type Input = A::Input;
    type Output = B::Output;

    async fn run(&self, input: A::Input, cx: &Context) -> Result<B::Output> {
        let middle = match cx.has_delta_reader() {
            // Boxed: most runs do not stream, and their futures should not be as large as those that do.
            true => Box::pin(self.stream_first(input, cx)).await?,
            false => self.first.run(input, cx).await?,
        };
        // Like `run_within`, but in this future: nearly all steps drive their calls.
        if !B::DRIVES_CALLS && cx.is_driven() {
            return Box::pin(run_within(&self.next, middle, cx)).await;
        }
        self.next.run(middle, cx).await
    }

    fn streaming(&self) -> Streaming {
        match (self.first.streaming(), self.next.streaming()) {
            (Streaming::Through(first), Streaming::Through(next)) => {
                Streaming::Through(Box::new(Composed { first, next }))
            }
            (first, Streaming::Through(_)) => first,
            (_, next) => next,
        }
    }

    fn describe(&self) -> Node {
        Node::sequence([self.first.describe(), self.next.describe()])
    }
}

/// Applies one map after another.
struct Composed {
    first: Box<dyn DeltaMap>,
    next: Box<dyn DeltaMap>,
}

impl DeltaMap for Composed {
    fn map(&mut self, delta: Delta) -> Option<Delta> {
        self.next.map(self.first.map(delta)?)
    }
}

impl<I: Send + 'static, O: Send + 'static> Chain<I, O> {
    /// Passes the output to `next`. Like the operator `|`, which does not take closures and mappings.
    pub fn then<P: Send + 'static, M>(self, next: impl IntoChain<O, P, M>) -> Chain<I, P> {
        chain(Then::new(self, next.into_step()))
    }
}

/// Implemented by each type for itself. As a bound of the operator `|`, it explains a step that takes another
/// type than the chain before it returns.
///
/// ```
/// use fanweave::compose::{Chain, Runnable, SameAs};
///
/// fn count<R>(text: Chain<String, String>, step: R) -> Chain<String, R::Output>
/// where
///     R: Runnable<Input = String>,
///     R::Input: SameAs<String>,
/// {
///     text | step
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "this step takes `{Self}`, but the chain before it returns `{T}`",
    label = "takes `{Self}`, not `{T}`",
    note = "a parser such as `text()` takes the `Message` of a model, so that a chain that ends with a prompt \
            needs a model before it: `prompt(..) | model(..)? | text()`",
    note = "other types are converted with `.map(..)` before the step"
)]
pub trait SameAs<T> {}

impl<T> SameAs<T> for T {}

impl<I, O, R> BitOr<R> for Chain<I, O>
where
    I: Send + 'static,
    O: Send + 'static,
    R: Runnable<Input = O>,
    R::Input: SameAs<O>,
{
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
