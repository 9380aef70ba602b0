//! A combinator: runs a step several times at once and returns the output that most runs agree on.

use std::collections::BTreeMap;

use fanweave::{Chain, Context, Error, ErrorKind, Result, Runnable, chain, compose::Node};
use futures::future::join_all;

/// Runs `step` `runs` times for each input.
///
/// # Errors
/// The error of the last failed run if no run succeeds.
pub fn majority<I, O>(step: Chain<I, O>, runs: usize) -> Chain<I, O>
where
    I: Clone + Send + Sync + 'static,
    O: Ord + Send + Sync + 'static,
{
    chain(Majority { step, runs })
}

struct Majority<I, O> {
    step: Chain<I, O>,
    runs: usize,
}

impl<I, O> Runnable for Majority<I, O>
where
    I: Clone + Send + Sync + 'static,
    O: Ord + Send + Sync + 'static,
{
    type Input = I;
    type Output = O;

    async fn run(&self, input: I, cx: &Context) -> Result<O> {
        // The runs do not stream: their deltas belong to different answers.
        let cx = &cx.without_deltas();
        let runs = join_all((0..self.runs).map(|_| self.step.run(input.clone(), cx))).await;
        let mut votes = BTreeMap::new();
        let mut failed = Error::new(ErrorKind::Config, "a majority needs at least one run");
        for run in runs {
            match run {
                Ok(output) => *votes.entry(output).or_insert(0) += 1,
                Err(error) => failed = error,
            }
        }
        // Of equal votes, the first output in order.
        let max = votes.values().max().copied();
        votes.into_iter().find(|(_, votes)| Some(*votes) == max).map(|(output, _)| output).ok_or(failed)
    }

    fn describe(&self) -> Node {
        Node::around(format!("majority of {}", self.runs), [self.step.describe()])
    }
}
