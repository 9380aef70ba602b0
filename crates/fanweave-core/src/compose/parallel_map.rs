//! Runs several chains on the same input, and returns their outputs by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::try_join_all;

use crate::chain::{Chain, chain};
use crate::run::run_streamed;
use crate::{Context, Node, Result, Runnable, Streaming};

/// Runs several chains on the same input concurrently, and returns their outputs by name. For a fixed number
/// of outputs of different types use [`parallel`](crate::parallel).
///
/// The first one that fails cancels the others, and its name is in the path of its error. Deltas of a stream
/// carry the name of the chain that they come from. Model calls obey the run's concurrency.
///
/// ```
/// use fanweave::{compose::parallel_map, prompt, testing::Fake, text, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let model = Fake::echo().model();
/// let texts = parallel_map(["joke", "poem"].map(|kind| {
///     (kind, prompt(format!("A {kind} about {{{{ topic }}}}.")) | &model | text())
/// }));
/// let texts = texts.invoke(vars! { topic: "bears" }).await?;
/// assert_eq!(texts["poem"], "A poem about bears.");
/// # Ok(())
/// # }) }
/// ```
pub fn parallel_map<I, O, N>(
    chains: impl IntoIterator<Item = (N, Chain<I, O>)>,
) -> Chain<I, BTreeMap<String, O>>
where
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
    N: Into<Arc<str>>,
{
    chain(ParallelMap::new(chains))
}

/// Runs several chains on the same input. Made by [`parallel_map`].
pub struct ParallelMap<I, O> {
    branches: Vec<(Arc<str>, Chain<I, O>)>,
}

impl<I, O> ParallelMap<I, O> {
    pub(crate) fn new<N: Into<Arc<str>>>(chains: impl IntoIterator<Item = (N, Chain<I, O>)>) -> Self {
        Self { branches: chains.into_iter().map(|(name, chain)| (name.into(), chain)).collect() }
    }
}

impl<I: Clone + Send + Sync + 'static, O: Send + 'static> Runnable for ParallelMap<I, O> {
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = BTreeMap<String, O>;

    async fn run(&self, input: I, cx: &Context) -> Result<BTreeMap<String, O>> {
        let outputs = self.branches.iter().enumerate().map(async |(part, (name, chain))| {
            let output = run_streamed(chain, input.clone(), &cx.branch(part, name.clone())).await;
            output
                .map(|output| (name.to_string(), output))
                .map_err(|error| error.with_step(format!("branch {name}")))
        });
        Ok(try_join_all(outputs).await?.into_iter().collect())
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        Node::all_of(
            "parallel",
            self.branches.iter().map(|(name, chain)| (name.to_string(), chain.describe())),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::{Error, ErrorKind, step};

    #[tokio::test(start_paused = true)]
    async fn the_first_failure_cancels_the_others_and_names_its_branch() {
        let wait = |ms: u64, fails: bool| {
            step(move |(): (), _| async move {
                sleep(Duration::from_millis(ms)).await;
                if fails { Err(Error::new(ErrorKind::Step, "no")) } else { Ok(ms) }
            })
        };
        let started = Instant::now();
        let error =
            parallel_map([("slow", wait(900, false)), ("bad", wait(10, true))]).invoke(()).await.unwrap_err();
        assert_eq!((error.to_string().as_str(), started.elapsed().as_millis()), ("step branch bad: no", 10));
        let all = parallel_map([("b", wait(20, false)), ("a", wait(10, false))]).invoke(()).await.unwrap();
        assert_eq!(all, BTreeMap::from([("a".to_owned(), 10), ("b".to_owned(), 20)]));
    }
}
