//! A step that decides what runs next.

use std::future::Future;
use std::marker::PhantomData;

use crate::chain::{Chain, chain};
use crate::run::{as_single_delta, run_streamed};
use crate::runnable::Runnable;
use crate::{Context, Error, ErrorKind, Node, Result, Streaming};

/// The decision of a [`dynamic`] step.
pub enum Next<I, O> {
    /// This value is the answer.
    Done(O),
    /// Run the step again with this input.
    Repeat(I),
    /// Run this chain with this input; its output is the answer.
    Run(Chain<I, O>, I),
}

/// A step whose function decides what runs next: nothing more, the step itself again, or a chain.
/// [`Next::Repeat`] is an async loop, not a recursion.
///
/// In a stream, the deltas are those of the chosen chain, or a [`Next::Done`] as one delta.
///
/// Decisions are counted through the whole run, across nested chains, up to 25, so that the cost of a model
/// that never finishes is bounded. [`Context::with_recursion_limit`] changes the limit.
///
/// ```
/// use fanweave::compose::{Next, dynamic};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let halve = dynamic(|n: u32, _cx| async move {
///     Ok(if n % 2 == 0 { Next::Repeat(n / 2) } else { Next::Done(n) })
/// });
/// assert_eq!(halve.invoke(40u32).await?, 5);
/// # Ok(())
/// # }) }
/// ```
///
/// # Errors
/// A run fails with [`ErrorKind::RecursionLimit`] when it exceeds the limit.
pub fn dynamic<F, Fut, I, O>(decide: F) -> Chain<I, O>
where
    F: Fn(I, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Next<I, O>>> + Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    chain(Dynamic { decide, output: PhantomData })
}

struct Dynamic<F, I, O> {
    decide: F,
    output: PhantomData<fn(I) -> O>,
}

impl<F, Fut, I, O> Runnable for Dynamic<F, I, O>
where
    F: Fn(I, Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Next<I, O>>> + Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
{
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = O;

    async fn run(&self, mut input: I, cx: &Context) -> Result<O> {
        let mut cx = cx.clone();
        loop {
            cx = cx.deeper().map_err(|limit| {
                let message = format!(
                    "dynamic steps returned further steps {limit} times without finishing; raise the limit with \
                     Context::with_recursion_limit"
                );
                Error::new(ErrorKind::RecursionLimit, message)
            })?;
            match (self.decide)(input, cx.without_deltas().undriven()).await? {
                Next::Done(output) => {
                    if cx.has_delta_reader()
                        && let Some(whole) = as_single_delta(&output)
                    {
                        cx.delta(whole).await;
                    }
                    return Ok(output);
                }
                Next::Repeat(next) => input = next,
                Next::Run(chain, input) => return run_streamed(&chain, input, &cx).await,
            }
        }
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        Node::step("dynamic")
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::*;
    use crate::step;

    #[tokio::test(start_paused = true)]
    async fn step_returning_a_chain_stays_async() {
        let slow = step(|ms: u64, _| async move {
            sleep(Duration::from_millis(ms)).await;
            Ok(ms)
        });
        let chosen = dynamic(move |ms: u64, _| {
            let slow = slow.clone();
            async move { Ok(Next::Run(slow, ms)) }
        });
        let started = Instant::now();
        let rows = chosen.batch([100u64, 100, 100]).collect().await;
        assert!(rows.iter().all(Result::is_ok));
        // On one thread: if a row blocked, they would run sequentially.
        assert_eq!(started.elapsed().as_millis(), 100);
    }

    #[tokio::test]
    async fn the_chosen_chain_streams_and_so_does_a_value() {
        let echo = chain(crate::model::fake::Fake::echo()) | crate::text();
        let chosen = dynamic(move |question: crate::Prompt, _| {
            let echo = echo.clone();
            async move {
                Ok(match question.last_user_text().as_str() {
                    "short" => Next::Done("done".to_owned()),
                    _ => Next::Run(echo, question),
                })
            }
        });
        let deltas = async |text: &str| {
            let run = chosen.stream(text);
            futures::StreamExt::map(run, |delta| delta.unwrap().to_string())
        };
        let all = async |text: &str| futures::StreamExt::collect::<Vec<_>>(deltas(text).await).await;
        assert_eq!(all("two words").await, ["two ", "words"]);
        assert_eq!(all("short").await, ["done"]);
    }

    /// Chooses itself, nested one level deeper each time.
    fn nested(depth: u32) -> Chain<u32, u32> {
        dynamic(move |left: u32, _| async move {
            Ok(if left == 0 { Next::Done(depth) } else { Next::Run(nested(depth + 1), left - 1) })
        })
    }

    #[tokio::test]
    async fn recursion_limit() {
        let forever = dynamic(|n: u32, _| async move { Ok(Next::<u32, ()>::Repeat(n + 1)) });
        assert_eq!(forever.invoke(0u32).await.unwrap_err().kind(), ErrorKind::RecursionLimit);
        assert_eq!(nested(0).invoke(24u32).await.unwrap(), 24);
        assert_eq!(nested(0).invoke(25u32).await.unwrap_err().kind(), ErrorKind::RecursionLimit);
        let cx = Context::new().with_recursion_limit(NonZeroU32::new(3).unwrap());
        let error = nested(0).invoke_in(3u32, &cx).await.unwrap_err();
        assert!(error.to_string().contains("3 times"), "{error}");
        assert_eq!(nested(0).invoke_in(2u32, &cx).await.unwrap(), 2);
    }
}
