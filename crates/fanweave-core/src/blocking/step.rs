//! Blocking code as a step.

use std::marker::PhantomData;
use std::sync::Arc;

use super::Pool;
use crate::chain::{Chain, chain};
use crate::runnable::Runnable;
use crate::{Context, Node, Result};

/// Makes a step from a blocking function. It runs on the [shared pool](Pool::shared) of threads.
///
/// The function receives the context of the run. To run another chain in it, use
/// [`chain.blocking()`](Chain::blocking).
///
/// ```
/// use fanweave::{Error, blocking::blocking_step};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let read = blocking_step(|path: String, _cx| std::fs::read_to_string(path).map_err(Error::step));
/// assert_eq!(read.invoke("/dev/null").await?, "");
/// # Ok(())
/// # }) }
/// ```
///
/// # Cancellation
/// A function that has started cannot be stopped: it runs to its end, and its result is dropped.
pub fn blocking_step<I, O>(function: impl Fn(I, Context) -> Result<O> + Send + Sync + 'static) -> Chain<I, O>
where
    I: Send + 'static,
    O: Send + 'static,
{
    blocking_step_on(Pool::shared(), function)
}

/// Like [`blocking_step`], on another pool.
///
/// ```
/// use std::num::NonZeroUsize;
/// use fanweave::blocking::{Pool, blocking_step_on};
///
/// let one_at_a_time = Pool::new(NonZeroUsize::MIN);
/// let write = blocking_step_on(&one_at_a_time, |line: String, _cx| Ok(println!("{line}")));
/// write.blocking().invoke("hello")?;
/// # Ok::<_, fanweave::Error>(())
/// ```
pub fn blocking_step_on<I, O>(
    pool: &Pool,
    function: impl Fn(I, Context) -> Result<O> + Send + Sync + 'static,
) -> Chain<I, O>
where
    I: Send + 'static,
    O: Send + 'static,
{
    chain(BlockingStep { pool: pool.clone(), function: Arc::new(function), types: PhantomData })
}

struct BlockingStep<F, I, O> {
    pool: Pool,
    function: Arc<F>,
    types: PhantomData<fn(I) -> O>,
}

impl<F, I, O> Runnable for BlockingStep<F, I, O>
where
    F: Fn(I, Context) -> Result<O> + Send + Sync + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = O;

    async fn run(&self, input: I, cx: &Context) -> Result<O> {
        let (function, cx) = (self.function.clone(), cx.clone().undriven());
        self.pool.run(move || function(input, cx)).await?
    }

    fn describe(&self) -> Node {
        Node::of_type::<F>()
    }
}
