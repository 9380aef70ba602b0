//! A step that changes nothing.

use crate::chain::{Chain, chain};
use crate::{Context, Node, Result, Runnable};

/// A step that returns its input.
///
/// ```
/// use fanweave::compose::passthrough;
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// assert_eq!(passthrough::<u32>().invoke(7u32).await?, 7);
/// # Ok(())
/// # }) }
/// ```
pub fn passthrough<T: Send + 'static>() -> Chain<T, T> {
    chain(Passthrough(std::marker::PhantomData))
}

struct Passthrough<T>(std::marker::PhantomData<fn(T)>);

impl<T: Send + 'static> Runnable for Passthrough<T> {
    const DRIVES_CALLS: bool = true;

    type Input = T;
    type Output = T;

    async fn run(&self, input: T, _: &Context) -> Result<T> {
        Ok(input)
    }

    fn describe(&self) -> Node {
        Node::step("passthrough")
    }
}
