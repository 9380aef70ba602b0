//! Maps the output of a chain with a function.

use crate::chain::{Chain, chain};
use crate::{Context, Node, Result, Runnable};

impl<I: Send + 'static, O: Send + 'static> Chain<I, O> {
    /// Maps the output with a function.
    ///
    /// ```
    /// use fanweave::step;
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let double = step(|n: u32, _| async move { Ok(n * 2) });
    /// assert_eq!(double.map(|n| n.to_string()).invoke(21u32).await?, "42");
    /// # Ok(())
    /// # }) }
    /// ```
    pub fn map<N: Send + 'static>(self, f: impl Fn(O) -> N + Send + Sync + 'static) -> Chain<I, N> {
        chain(Map { inner: self, f })
    }
}

struct Map<I, O, F> {
    inner: Chain<I, O>,
    f: F,
}

impl<I, O, N, F> Runnable for Map<I, O, F>
where
    I: Send + 'static,
    O: Send + 'static,
    N: Send + 'static,
    F: Fn(O) -> N + Send + Sync + 'static,
{
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = N;

    async fn run(&self, input: I, cx: &Context) -> Result<N> {
        self.inner.run(input, cx).await.map(&self.f)
    }

    fn describe(&self) -> Node {
        self.inner.describe()
    }
}
