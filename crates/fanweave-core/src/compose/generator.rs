//! Steps whose answer is produced by a function of streams.

use std::marker::PhantomData;
use std::pin::pin;

use futures::{Stream, StreamExt};

use crate::chain::{Chain, chain};
use crate::run::Run;
use crate::{Context, Delta, Error, ErrorKind, Node, Result, Runnable, Streaming};

/// A step from an input to a stream of texts: they are emitted as they arrive, and together they are its
/// answer.
///
/// ```
/// use fanweave::compose::generator;
/// use fanweave::crates::futures::stream;
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let count = generator(|n: u32, _cx| stream::iter((1..=n).map(|i| Ok(format!("{i} ")))));
/// assert_eq!(count.invoke(3u32).await?, "1 2 3 ");
/// # Ok(())
/// # }) }
/// ```
///
/// # Errors
/// A run fails with the first error of the stream, or with [`ErrorKind::Empty`] if it yields nothing.
pub fn generator<F, S, I>(function: F) -> Chain<I, String>
where
    F: Fn(I, Context) -> S + Send + Sync + 'static,
    S: Stream<Item = Result<String>> + Send + 'static,
    I: Send + 'static,
{
    chain(Generator { function, input: PhantomData })
}

struct Generator<F, I> {
    function: F,
    input: PhantomData<fn(I)>,
}

impl<F, S, I> Runnable for Generator<F, I>
where
    F: Fn(I, Context) -> S + Send + Sync + 'static,
    S: Stream<Item = Result<String>> + Send + 'static,
    I: Send + 'static,
{
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = String;

    async fn run(&self, input: I, cx: &Context) -> Result<String> {
        say((self.function)(input, cx.without_deltas().undriven()), cx).await
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        Node::step("generator")
    }
}

impl<I: Send + 'static, O: Send + 'static> Chain<I, O> {
    /// Transforms the answer as a stream: `function` receives the running chain and yields texts, which are
    /// emitted as they arrive.
    ///
    /// ```
    /// use fanweave::{prompt, testing::Fake, text, vars};
    /// use fanweave::prelude::StreamExt;
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let words = prompt("{{ x }}") | Fake::echo() | text();
    /// let loud = words.through(|run| run.map(|delta| Ok(delta?.to_string().to_uppercase())));
    /// assert_eq!(loud.invoke(vars! { x: "bread and butter" }).await?, "BREAD AND BUTTER");
    /// # Ok(())
    /// # }) }
    /// ```
    ///
    /// # Errors
    /// Like [`generator`].
    pub fn through<F, S>(self, function: F) -> Chain<I, String>
    where
        F: Fn(Run<O>) -> S + Send + Sync + 'static,
        S: Stream<Item = Result<String>> + Send + 'static,
    {
        let inner = self.describe();
        let through = generator(move |input, cx| function(self.stream_in(input, &cx)));
        chain(Described { inner: through, node: Node::around("through", [inner]) })
    }
}

/// A chain with its own node in a diagram.
struct Described<I, O> {
    inner: Chain<I, O>,
    node: Node,
}

impl<I: Send + 'static, O: Send + 'static> Runnable for Described<I, O> {
    const DRIVES_CALLS: bool = true;

    type Input = I;
    type Output = O;

    async fn run(&self, input: I, cx: &Context) -> Result<O> {
        self.inner.run(input, cx).await
    }

    fn streaming(&self) -> Streaming {
        self.inner.streaming()
    }

    fn describe(&self) -> Node {
        self.node.clone()
    }
}

/// Emits the texts of a stream, and returns the whole.
async fn say(texts: impl Stream<Item = Result<String>>, cx: &Context) -> Result<String> {
    let mut texts = pin!(texts);
    let (mut whole, mut is_empty) = (String::new(), true);
    while let Some(text) = texts.next().await {
        let text = text?;
        is_empty = false;
        whole.push_str(&text);
        cx.delta(Delta::text(text)).await;
    }
    if is_empty {
        return Err(Error::new(ErrorKind::Empty, "the stream ended without a delta"));
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn an_empty_stream_is_an_error_of_kind_empty() {
        let calls = Arc::new(AtomicUsize::new(0));
        let empty = || {
            let calls = calls.clone();
            generator(move |_: u32, _| {
                calls.fetch_add(1, Ordering::SeqCst);
                stream::empty()
            })
        };
        let error = empty().fallback([empty(), empty()]).invoke(1u32).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Empty);
        assert_eq!(calls.load(Ordering::SeqCst), 3);
        let deltas: Vec<_> = empty().stream(1u32).collect().await;
        assert_eq!(deltas.len(), 1);
        assert_eq!(deltas[0].as_ref().unwrap_err().kind(), ErrorKind::Empty);
    }

    #[tokio::test]
    async fn deltas_pass_through_one_by_one() {
        let words = generator(|text: String, _| {
            stream::iter(text.split_inclusive(' ').map(|w| Ok(w.to_owned())).collect::<Vec<_>>())
        });
        let loud = words.through(|run| run.map(|delta| Ok(delta?.to_string().to_uppercase())));
        let deltas: Vec<_> = loud.stream("a b c").map(|delta| delta.unwrap().to_string()).collect().await;
        assert_eq!(deltas, ["A ", "B ", "C"]);
    }
}
