//! Selects one of several chains by a condition.

use std::sync::Arc;

use crate::chain::{Chain, chain};
use crate::run::run_streamed;
use crate::{Context, IntoChain, Node, Result, Runnable, Streaming};

/// Starts a choice between chains. Conditions are evaluated in order, each at most once per run, and the
/// chain of the first one that is true runs; if none is, that of [`otherwise`](Branch::otherwise).
///
/// ```
/// use fanweave::{branch, step};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let short = step(|text: String, _| async move { Ok(text) });
/// let long = step(|text: String, _| async move { Ok(format!("{}..", &text[..8])) });
/// let title = branch().when(|text: &String| text.len() <= 10, short).otherwise(long);
/// assert_eq!(title.invoke("Tides").await?, "Tides");
/// assert_eq!(title.invoke("Tides and turbines").await?, "Tides an..");
/// # Ok(())
/// # }) }
/// ```
pub fn branch<I, O>() -> Branch<I, O> {
    Branch { arms: Vec::new() }
}

/// A choice without its default chain. Made by [`branch`].
pub struct Branch<I, O> {
    arms: Vec<(Condition<I>, Chain<I, O>)>,
}

impl<I, O> std::fmt::Debug for Branch<I, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.arms.iter().map(|(_, chain)| chain)).finish()
    }
}

type Condition<I> = Arc<dyn Fn(&I) -> bool + Send + Sync>;

impl<I: Send + 'static, O: Send + 'static> Branch<I, O> {
    /// Runs `then` if `condition` is true and no earlier one was.
    #[must_use]
    pub fn when<M>(
        mut self,
        condition: impl Fn(&I) -> bool + Send + Sync + 'static,
        then: impl IntoChain<I, O, M>,
    ) -> Self {
        self.arms.push((Arc::new(condition), chain(then)));
        self
    }

    /// Runs `default` if no condition is true.
    pub fn otherwise<M>(self, default: impl IntoChain<I, O, M>) -> Chain<I, O> {
        chain(Choice { arms: self.arms, default: chain(default) })
    }
}

struct Choice<I, O> {
    arms: Vec<(Condition<I>, Chain<I, O>)>,
    default: Chain<I, O>,
}

impl<I: Send + 'static, O: Send + 'static> Runnable for Choice<I, O> {
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = O;

    async fn run(&self, input: I, cx: &Context) -> Result<O> {
        let arm = self.arms.iter().find(|(condition, _)| condition(&input)).map(|(_, chain)| chain);
        run_streamed(arm.unwrap_or(&self.default), input, cx).await
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        let arms =
            self.arms.iter().enumerate().map(|(i, (_, chain))| (format!("case {}", i + 1), chain.describe()));
        Node::one_of("branch", arms.chain([("otherwise".to_owned(), self.default.describe())]))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::StreamExt;

    use super::*;
    use crate::model::fake::Fake;
    use crate::{step, text};

    #[tokio::test]
    async fn branch_evaluates_each_condition_once_up_to_the_first_true_one() {
        let evaluated = Arc::new([const { AtomicUsize::new(0) }; 3]);
        let run = |i: usize, limit: u32| {
            let evaluated = evaluated.clone();
            move |n: &u32| {
                evaluated[i].fetch_add(1, Ordering::SeqCst);
                *n < limit
            }
        };
        let constant = |word: &'static str| step(move |_: u32, _| async move { Ok(word) });
        let size = branch()
            .when(run(0, 10), constant("small"))
            .when(run(1, 100), constant("medium"))
            .when(run(2, 1000), constant("large"))
            .otherwise(constant("huge"));
        assert_eq!(size.invoke(50u32).await.unwrap(), "medium");
        assert_eq!(evaluated.each_ref().map(|n| n.load(Ordering::SeqCst)), [1, 1, 0]);
        assert_eq!(size.invoke(5000u32).await.unwrap(), "huge");
        assert_eq!(evaluated.each_ref().map(|n| n.load(Ordering::SeqCst)), [2, 2, 1]);
    }

    #[tokio::test]
    async fn the_chosen_chain_emits_deltas_even_if_it_does_not_stream() {
        let streams = chain(Fake::echo()) | text();
        let whole = chain(Fake::echo()) | text() | step(|s: String, _| async move { Ok(s.to_uppercase()) });
        let either =
            branch().when(|p: &crate::Prompt| p.last_user_text().starts_with('a'), streams).otherwise(whole);
        let deltas = async |input: &str| {
            either.stream(input).map(|delta| delta.unwrap().to_string()).collect::<Vec<_>>().await
        };
        assert_eq!(deltas("a b").await, ["a ", "b"]);
        assert_eq!(deltas("b c").await, ["B C"]);
    }
}
