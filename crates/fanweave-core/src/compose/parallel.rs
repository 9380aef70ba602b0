//! Runs several steps on the same input concurrently.

use crate::chain::{Chain, chain};
use crate::run::run_streamed;
use crate::{Context, Node, Result, Runnable, Streaming};

/// Runs all branches concurrently on clones of the input.
///
/// Made by [`parallel`].
pub struct Parallel<T> {
    branches: T,
}

/// Runs several steps on the same input concurrently, and returns the tuple of their outputs.
///
/// The first branch that fails cancels the others; its number, from 0, is in the path of its error. Deltas of
/// a stream carry the branch that they come from ([`Delta::Branch`](crate::Delta::Branch)). Model calls obey
/// the run's concurrency.
///
/// ```
/// use fanweave::{parallel, prompt, testing::Fake, text, vars};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let model = Fake::echo().model();
/// let both = parallel((
///     prompt("A joke about {{ topic }}.") | &model | text(),
///     prompt("A poem about {{ topic }}.") | &model | text(),
/// ));
/// let (joke, poem) = both.invoke(vars! { topic: "bears" }).await?;
/// assert_eq!((joke.as_str(), poem.as_str()), ("A joke about bears.", "A poem about bears."));
/// # Ok(())
/// # }) }
/// ```
pub fn parallel<T>(branches: T) -> Chain<<Parallel<T> as Runnable>::Input, <Parallel<T> as Runnable>::Output>
where
    Parallel<T>: Runnable,
{
    chain(Parallel { branches })
}

/// Runs one branch. Its deltas and its errors carry its name.
async fn branch<R: Runnable>(
    step: &R,
    part: usize,
    name: &'static str,
    input: R::Input,
    cx: &Context,
) -> Result<R::Output> {
    let result = run_streamed(step, input, &cx.branch(part, name)).await;
    result.map_err(|error| error.with_step(format!("branch {name}")))
}

macro_rules! tuples {
    ($(($first:ident $(, $more:ident)+): $($index:tt $name:literal),+;)+) => {$(
        impl<$first, $($more),+> Runnable for Parallel<($first, $($more),+)>
        where
            $first: Runnable,
            $first::Input: Clone + Sync,
            $($more: Runnable<Input = $first::Input>),+
        {
            const DRIVES_CALLS: bool = true;

            type Input = $first::Input;
            type Output = ($first::Output, $($more::Output),+);

            async fn run(&self, input: Self::Input, cx: &Context) -> Result<Self::Output> {
                futures::try_join!($(branch(&self.branches.$index, $index, $name, input.clone(), cx)),+)
            }

            fn streaming(&self) -> Streaming {
                Streaming::Deltas
            }

            fn describe(&self) -> Node {
                Node::all_of("parallel", [$(($name.to_owned(), self.branches.$index.describe())),+])
            }
        }
    )+};
}

tuples! {
    (A, B): 0 "0", 1 "1";
    (A, B, C): 0 "0", 1 "1", 2 "2";
    (A, B, C, D): 0 "0", 1 "1", 2 "2", 3 "3";
    (A, B, C, D, E): 0 "0", 1 "1", 2 "2", 3 "3", 4 "4";
    (A, B, C, D, E, F): 0 "0", 1 "1", 2 "2", 3 "3", 4 "4", 5 "5";
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt;
    use tokio::time::Instant;

    use crate::model::fake::Fake;
    use crate::{Delta, Error, ErrorKind, chain, parallel, step, text};

    #[tokio::test(start_paused = true)]
    async fn branches_run_at_the_same_time() {
        let slow = || chain(Fake::echo().latency(Duration::from_secs(1)));
        let started = Instant::now();
        parallel((slow(), slow(), slow())).invoke("x").await.unwrap();
        assert_eq!(started.elapsed().as_millis(), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_failure_cancels_the_others_and_names_its_branch() {
        let fails = step(|_: crate::Prompt, _| async { Err::<(), _>(Error::new(ErrorKind::Step, "no")) });
        let slow = chain(Fake::echo().latency(Duration::from_secs(60)));
        let started = Instant::now();
        let error = parallel((slow, fails)).invoke("x").await.unwrap_err();
        assert_eq!(error.to_string(), "step branch 1: no");
        assert_eq!(started.elapsed().as_millis(), 0);
    }

    #[tokio::test]
    async fn deltas_carry_the_branch_that_they_come_from() {
        let shout = step(|s: String, _| async move { Ok(s.to_uppercase()) });
        let both = parallel((chain(Fake::echo()) | text(), chain(Fake::echo()) | text() | shout));
        let run = both.stream("a b");
        let mut deltas: Vec<_> = run
            .map(|delta| match delta.unwrap() {
                Delta::Branch { branch, delta } => format!("{branch}: {delta}"),
                other => panic!("a delta without a branch: {other:?}"),
            })
            .collect()
            .await;
        deltas.sort();
        assert_eq!(deltas, ["0: a ", "0: b", "1: A B"]);
    }
}
