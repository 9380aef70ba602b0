//! Another step where the first one fails.

use std::sync::Arc;

use crate::run::heard;
use crate::runnable::{Chain, chain};
use crate::{Context, Error, ErrorKind, Node, Result, Runnable, Streaming};

/// Tries one chain after the other until one succeeds.
///
/// Made by [`Chain::fallback`].
///
/// ```
/// use fanweave_core::{Error, ErrorKind, chain, model::fake::Fake, text};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> fanweave_core::Result<()> {
/// let down = Fake::script([Err::<&str, _>(Error::new(ErrorKind::Overloaded, "too busy"))]);
/// let answer = chain(down).fallback([chain(Fake::echo())]) | text();
/// assert_eq!(answer.invoke("hello").await?, "hello");
/// # Ok(())
/// # }
/// ```
pub struct Fallback<I, O> {
    /// The first one and what follows it.
    chains: Vec<Chain<I, O>>,
    falls_back: Arc<dyn Fn(&Error) -> bool + Send + Sync>,
}

impl<I: Clone + Send + 'static, O: Send + 'static> Runnable for Fallback<I, O> {
    type Input = I;
    type Output = O;

    async fn run(&self, input: I, cx: &Context) -> Result<O> {
        let mut errors = Vec::new();
        for chain in &self.chains {
            let cx = cx.clone().listened_to();
            match heard(chain, input.clone(), &cx).await {
                Ok(output) => return Ok(output),
                // What the reader has heard cannot be taken back.
                Err(error) if cx.was_heard() || error.kind() == ErrorKind::Cancelled => return Err(error),
                Err(error) => {
                    let goes_on = (self.falls_back)(&error);
                    errors.push(error);
                    if !goes_on {
                        break;
                    }
                }
            }
        }
        Err(all_failed(&errors))
    }

    fn streaming(&self) -> Streaming {
        Streaming::Pieces
    }

    fn describe(&self) -> Node {
        let chains = self.chains.iter().enumerate();
        let name = |i: usize| if i == 0 { "first".to_owned() } else { format!("else {i}") };
        Node::one_of("fallback", chains.map(|(i, chain)| (name(i), chain.describe())))
    }
}

/// One error for all: the last one's kind, and what each of them says.
fn all_failed(errors: &[Error]) -> Error {
    let last = errors.last().expect("a fallback has at least one chain");
    if errors.len() == 1 {
        return last.clone();
    }
    let each: Vec<_> = errors.iter().enumerate().map(|(i, error)| format!("{}: {error}", i + 1)).collect();
    let message = format!("all {} alternatives failed: {}", errors.len(), each.join("; "));
    Error::new(last.kind(), message).with_retryable(last.is_retryable()).with_source(last.clone())
}

impl<I: Clone + Send + 'static, O: Send + 'static> Chain<I, O> {
    /// Runs the next of `others` where this chain fails, and so on. Where all fail, the error tells of each.
    ///
    /// A stream falls back until its first piece has been handed out, not after. A cancelled run does not fall
    /// back.
    #[must_use]
    pub fn fallback(self, others: impl IntoIterator<Item = Chain<I, O>>) -> Self {
        self.fallback_if(others, |_| true)
    }

    /// As [`fallback`](Self::fallback), after the errors that `falls_back` accepts: any other one is the error of the
    /// run at once.
    ///
    /// ```
    /// use fanweave_core::{Error, ErrorKind, chain, model::fake::Fake};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let refused = Fake::script([Err::<&str, _>(Error::new(ErrorKind::ContentFilter, "not this"))]);
    /// let answer = chain(refused).fallback_if([chain(Fake::echo())], |e| e.kind() != ErrorKind::ContentFilter);
    /// assert_eq!(answer.invoke("hello").await.unwrap_err().kind(), ErrorKind::ContentFilter);
    /// # }
    /// ```
    #[must_use]
    pub fn fallback_if(
        self,
        others: impl IntoIterator<Item = Chain<I, O>>,
        falls_back: impl Fn(&Error) -> bool + Send + Sync + 'static,
    ) -> Self {
        let chains = std::iter::once(self).chain(others).collect();
        chain(Fallback { chains, falls_back: Arc::new(falls_back) })
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use crate::model::fake::Fake;
    use crate::{ChatModel, Context, Delta, Error, ErrorKind, Message, Model, Prompt, Result, chain, step};

    fn down(message: &str) -> crate::Chain<Prompt, Message> {
        chain(Fake::script([Err::<&str, _>(Error::new(ErrorKind::Overloaded, message))]))
    }

    #[tokio::test]
    async fn a_stream_that_breaks_before_the_reader_heard_of_it_falls_back_and_is_tried_again() {
        struct Breaks;
        impl ChatModel for Breaks {
            fn name(&self) -> &str {
                "test/breaks"
            }
            async fn generate(&self, _: Prompt, cx: &Context) -> Result<Message> {
                cx.delta(Delta::Started { id: None, model: Some("breaks".into()) }).await;
                cx.delta(Delta::Usage(crate::Usage::default())).await;
                Err(Error::new(ErrorKind::StreamIncomplete, "it broke"))
            }
        }
        let breaks = || chain(Model::new(Breaks));
        let other = breaks().fallback([chain(Fake::echo())]) | crate::text();
        assert_eq!(other.stream("x").output().await.unwrap(), "x");
        let policy = crate::RetryPolicy { base: std::time::Duration::ZERO, ..crate::RetryPolicy::default() };
        let tries = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = tries.clone();
        let again = breaks().retry_if(policy, move |_| {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            true
        }) | crate::text();
        assert!(again.stream("x").output().await.is_err());
        assert_eq!(tries.load(std::sync::atomic::Ordering::Relaxed), 6);
        // Whoever reads the pieces of the model has heard of it.
        assert!(breaks().fallback([chain(Fake::echo())]).stream("x").output().await.is_err());
    }

    #[tokio::test]
    async fn where_all_fail_the_error_tells_of_each() {
        let error = down("busy").fallback([down("full")]).invoke("x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        assert_eq!(
            error.to_string(),
            "all 2 alternatives failed: 1: step fake/script: busy; 2: step fake/script: full"
        );
    }

    /// Says half of its answer and fails.
    struct BreaksOff;

    impl ChatModel for BreaksOff {
        fn name(&self) -> &str {
            "test/breaks-off"
        }

        async fn generate(&self, _: Prompt, cx: &Context) -> Result<Message> {
            cx.delta(Delta::text("half ")).await;
            Err(Error::new(ErrorKind::StreamIncomplete, "the stream ended early"))
        }
    }

    #[tokio::test]
    async fn fallback_after_the_first_piece_is_refused() {
        let breaks_off = chain(Model::new(BreaksOff));
        let chain = breaks_off.fallback([chain(Fake::echo())]);
        let mut run = chain.stream("x");
        assert_eq!(run.next().await.unwrap().unwrap().to_string(), "half ");
        assert_eq!(run.output().await.unwrap_err().kind(), ErrorKind::StreamIncomplete);
        // Without a reader nothing has been heard, and the second one may answer.
        assert_eq!(chain.invoke("x").await.unwrap().text(), "x");
    }

    /// Models hand out pieces to whoever watches the events, also where they are no pieces of the answer.
    #[tokio::test]
    async fn who_watches_does_not_change_whether_a_chain_falls_back() {
        let failing = Fake::script([Err::<&str, _>(Error::new(ErrorKind::Server, "down"))]);
        let draft = chain(Fake::echo()) | step(|m: Message, _| async move { Ok(Prompt::from(m)) });
        let lines = (draft | failing.model()).fallback([chain(Fake::echo())]).lines().collect();
        assert_eq!(lines.invoke("hello").await.unwrap(), ["hello"]);
        assert_eq!(lines.events("hello").output().await.unwrap(), ["hello"]);
    }
}
