//! Makes a step from a closure or function.

use std::future::Future;
use std::marker::PhantomData;

use crate::chain::{Chain, chain};
use crate::runnable::Runnable;
use crate::{Context, Node, Result};

/// A step from a function. Made by [`step`].
pub struct Step<F, I> {
    function: F,
    input: PhantomData<fn(I)>,
}

impl<F, I> Step<F, I> {
    pub(crate) fn new(function: F) -> Self {
        Self { function, input: PhantomData }
    }
}

impl<F, Fut, I, O> Runnable for Step<F, I>
where
    F: Fn(I, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = O;

    async fn run(&self, input: I, cx: &Context) -> Result<O> {
        (self.function)(input, cx.clone().undriven()).await
    }

    fn describe(&self) -> Node {
        Node::of_type::<F>()
    }
}

/// Makes a step from an async closure or function.
///
/// The function receives the context of the run: pass it on to chains that the function runs, so that its
/// deadline, events and limits apply to them too.
///
/// ```
/// use fanweave::{Context, Error, Result, step};
///
/// async fn parse(text: String, _cx: Context) -> Result<u32> {
///     text.trim().parse().map_err(Error::step)
/// }
///
/// # fn main() -> Result<()> { fanweave::blocking::wait(async {
/// assert_eq!(step(parse).invoke(" 42 ").await?, 42);
/// # Ok(())
/// # }) }
/// ```
pub fn step<F, Fut, I, O>(function: F) -> Chain<I, O>
where
    F: Fn(I, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O>> + Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    chain(Step::new(function))
}
