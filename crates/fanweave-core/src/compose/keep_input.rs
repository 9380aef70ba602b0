//! Keeps the input of a chain next to its output.

use crate::chain::{Chain, chain};
use crate::{Context, Node, Result, Runnable};

impl<I: Clone + Send + 'static, O: Send + 'static> Chain<I, O> {
    /// Keeps the input together with the output: `join` combines them into one value.
    ///
    /// ```
    /// use fanweave::step;
    ///
    /// struct Report {
    ///     article: String,
    ///     words: usize,
    /// }
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let count = step(|article: String, _| async move { Ok(article.split(' ').count()) });
    /// let report = count.keep_input(|article, words| Report { article, words }).invoke("tides turn").await?;
    /// assert_eq!((report.article.as_str(), report.words), ("tides turn", 2));
    /// # Ok(())
    /// # }) }
    /// ```
    pub fn keep_input<N: Send + 'static>(
        self,
        join: impl Fn(I, O) -> N + Send + Sync + 'static,
    ) -> Chain<I, N> {
        chain(KeepInput { inner: self, join })
    }
}

struct KeepInput<I, O, F> {
    inner: Chain<I, O>,
    join: F,
}

impl<I, O, N, F> Runnable for KeepInput<I, O, F>
where
    I: Clone + Send + 'static,
    O: Send + 'static,
    N: Send + 'static,
    F: Fn(I, O) -> N + Send + Sync + 'static,
{
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = N;

    async fn run(&self, input: I, cx: &Context) -> Result<N> {
        let output = self.inner.run(input.clone(), cx).await?;
        Ok((self.join)(input, output))
    }

    fn describe(&self) -> Node {
        self.inner.describe()
    }
}
