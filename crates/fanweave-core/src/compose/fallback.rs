//! Runs another step if the first one fails.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::sleep;

use crate::chain::{Chain, chain};
use crate::run::run_streamed;
use crate::{Context, Error, ErrorKind, IntoChain, Node, Result, Runnable, Streaming};

/// Pause before unavailable alternatives are retried while all of them are unavailable. It doubles up to
/// [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Runs chains in order until one succeeds.
///
/// Made by [`Chain::fallback`].
///
/// ```
/// use fanweave::{Error, ErrorKind, chain, testing::Fake, text};
///
/// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
/// let down = Fake::script([Err::<&str, _>(Error::new(ErrorKind::Overloaded, "too busy"))]);
/// let answer = chain(down).fallback([chain(Fake::echo())]) | text();
/// assert_eq!(answer.invoke("hello").await?, "hello");
/// # Ok(())
/// # }) }
/// ```
pub struct Fallback<I, O> {
    /// The first chain and its alternatives.
    chains: Vec<Chain<I, O>>,
    falls_back: Arc<dyn Fn(&Error) -> bool + Send + Sync>,
    /// Set if an outage is a reason to fall back. If not, the chain waits for its end.
    on_outage: bool,
}

impl<I: Clone + Send + 'static, O: Send + 'static> Runnable for Fallback<I, O> {
    type Input = I;

    const DRIVES_CALLS: bool = true;
    type Output = O;

    async fn run(&self, input: I, cx: &Context) -> Result<O> {
        let (mut errors, mut unavailable) = (Vec::new(), Vec::new());
        let last = self.chains.len() - 1;
        for (i, chain) in self.chains.iter().enumerate() {
            // The last one waits for the end of its outage, unless the outage of an earlier one may end
            // sooner.
            let has_others = self.on_outage && (i < last || !unavailable.is_empty());
            let mut own = cx.clone().with_alternatives(has_others || cx.has_alternatives()).track_emitted();
            let mut done = run_streamed(chain, input.clone(), &own).await;
            if own.has_alternatives()
                && !cx.has_alternatives()
                && done
                    .as_ref()
                    .is_err_and(|error| error.kind() == ErrorKind::Unavailable && !self.falls_back(error))
            {
                // `falls_back` rejects the outage, so no other chain runs: this one waits for its end.
                own = cx.clone().track_emitted();
                done = run_streamed(chain, input.clone(), &own).await;
            }
            match done {
                Ok(output) => return Ok(output),
                // Deltas that the reader has received cannot be taken back.
                Err(error) if own.reader_got_delta() || error.kind() == ErrorKind::Cancelled => {
                    return Err(error);
                }
                Err(error) => {
                    let falls_back = self.falls_back(&error);
                    if error.kind() == ErrorKind::Unavailable && falls_back {
                        unavailable.push(i);
                    }
                    errors.push(error);
                    if !falls_back {
                        break;
                    }
                }
            }
        }
        let waits = unavailable.len() > 1 && unavailable.last() == Some(&last) && !cx.has_alternatives();
        if waits {
            self.whichever_recovers(input, cx, unavailable, errors).await
        } else {
            Err(all_failed(&errors))
        }
    }

    fn streaming(&self) -> Streaming {
        Streaming::Deltas
    }

    fn describe(&self) -> Node {
        let chains = self.chains.iter().enumerate();
        let name = |i: usize| if i == 0 { "first".to_owned() } else { format!("else {i}") };
        Node::one_of("fallback", chains.map(|(i, chain)| (name(i), chain.describe())))
    }
}

impl<I: Clone + Send + 'static, O: Send + 'static> Fallback<I, O> {
    fn falls_back(&self, error: &Error) -> bool {
        if error.kind() != ErrorKind::Unavailable {
            return (self.falls_back)(error);
        }
        // A caller that falls back from the failure also falls back from an outage of such failures.
        let cause = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Error>());
        self.on_outage && ((self.falls_back)(error) || cause.is_some_and(|cause| (self.falls_back)(cause)))
    }

    /// Waits for the last alternative and retries the others meanwhile, when all are unavailable. The first
    /// success wins, and the remaining requests are dropped.
    async fn whichever_recovers(
        &self,
        input: I,
        cx: &Context,
        mut unavailable: Vec<usize>,
        mut errors: Vec<Error>,
    ) -> Result<O> {
        let last = unavailable.pop().and_then(|last| self.chains.get(last)).expect("it was unavailable");
        let waiting_cx = cx.clone().track_emitted();
        let others_cx = cx.clone().with_alternatives(true).track_emitted();
        let mut waiting = Some(Box::pin(run_streamed(last, input.clone(), &waiting_cx)));
        let mut others = Some(Box::pin(self.retry_unavailable(input, &others_cx, unavailable)));
        let done = poll_fn(|task| {
            if let Some(Poll::Ready(done)) = waiting.as_mut().map(|waiting| waiting.as_mut().poll(task)) {
                return Poll::Ready(done);
            }
            // The reader receives deltas of one of them only: two answers would get mixed up.
            if waiting_cx.reader_got_delta() {
                others = None;
            }
            if let Some(Poll::Ready(done)) = others.as_mut().map(|others| others.as_mut().poll(task)) {
                return Poll::Ready(done);
            }
            if others_cx.reader_got_delta() {
                waiting = None;
            }
            Poll::Pending
        });
        match done.await {
            Err(error)
                if !waiting_cx.reader_got_delta()
                    && !others_cx.reader_got_delta()
                    && error.kind() != ErrorKind::Cancelled =>
            {
                errors.pop();
                errors.push(error);
                Err(all_failed(&errors))
            }
            done => done,
        }
    }

    /// Retries alternatives until one succeeds. One that fails for another reason is not retried.
    async fn retry_unavailable(&self, input: I, cx: &Context, mut unavailable: Vec<usize>) -> Result<O> {
        let mut pause = FIRST_PAUSE;
        while !unavailable.is_empty() {
            sleep(pause).await;
            pause = MAX_PAUSE.min(pause * 2);
            let mut still = Vec::new();
            for i in unavailable {
                match run_streamed(&self.chains[i], input.clone(), cx).await {
                    Err(error) if !cx.reader_got_delta() && error.kind() != ErrorKind::Cancelled => {
                        still.extend((error.kind() == ErrorKind::Unavailable).then_some(i));
                    }
                    done => return done,
                }
            }
            unavailable = still;
        }
        std::future::pending().await
    }
}

/// One error for all: the kind of the last one, and the message of each.
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
    /// Runs the next of `others` if this chain fails, and so on. If all fail, the error contains the message
    /// of each.
    ///
    /// A stream falls back until its first delta has been emitted, not after. A cancelled run does not fall
    /// back.
    ///
    /// The chain does not wait for a model whose provider is failing: the call ends with
    /// [`Unavailable`](ErrorKind::Unavailable), and the next chain runs. If all are unavailable, the first
    /// one to recover answers. See [`fallback_except_outages`](Self::fallback_except_outages).
    #[must_use]
    pub fn fallback<M>(self, others: impl IntoIterator<Item = impl IntoChain<I, O, M>>) -> Self {
        self.fallback_if(others, |_| true)
    }

    /// Like [`fallback`](Self::fallback), but waits for the end of an outage instead of running the next
    /// chain.
    ///
    /// ```
    /// use fanweave::{Error, ErrorKind, chain, testing::Fake};
    ///
    /// # fn main() { fanweave::blocking::wait(async {
    /// let failing = || Fake::script([Err::<&str, _>(Error::new(ErrorKind::Unavailable, "failing"))]);
    /// let answer = chain(failing()).fallback_except_outages([chain(Fake::echo())]);
    /// assert_eq!(answer.invoke("hello").await.unwrap_err().kind(), ErrorKind::Unavailable);
    /// # }) }
    /// ```
    #[must_use]
    pub fn fallback_except_outages<M>(
        self,
        others: impl IntoIterator<Item = impl IntoChain<I, O, M>>,
    ) -> Self {
        let chains = std::iter::once(self).chain(others.into_iter().map(IntoChain::into_chain)).collect();
        chain(Fallback { chains, falls_back: Arc::new(|_| true), on_outage: false })
    }

    /// Like [`fallback`](Self::fallback), but only after errors that `falls_back` accepts: any other error
    /// fails the run immediately. For an outage it is called twice: with the error of the kind
    /// [`Unavailable`](ErrorKind::Unavailable), and with the failure behind it.
    ///
    /// ```
    /// use fanweave::{Error, ErrorKind, chain, testing::Fake};
    ///
    /// # fn main() { fanweave::blocking::wait(async {
    /// let refused = Fake::script([Err::<&str, _>(Error::new(ErrorKind::ContentFilter, "not this"))]);
    /// let falls_back = |e: &Error| e.kind() != ErrorKind::ContentFilter;
    /// let answer = chain(refused).fallback_if([chain(Fake::echo())], falls_back);
    /// assert_eq!(answer.invoke("hello").await.unwrap_err().kind(), ErrorKind::ContentFilter);
    /// # }) }
    /// ```
    #[must_use]
    pub fn fallback_if<M>(
        self,
        others: impl IntoIterator<Item = impl IntoChain<I, O, M>>,
        falls_back: impl Fn(&Error) -> bool + Send + Sync + 'static,
    ) -> Self {
        let chains = std::iter::once(self).chain(others.into_iter().map(IntoChain::into_chain)).collect();
        chain(Fallback { chains, falls_back: Arc::new(falls_back), on_outage: true })
    }
}

#[cfg(test)]
mod outages;

#[cfg(test)]
mod tests {

    use crate::model::fake::Fake;
    use crate::{ChatModel, Context, Delta, Error, ErrorKind, Message, Model, Prompt, Result, chain, step};

    fn down(message: &str) -> crate::Chain<Prompt, Message> {
        chain(Fake::script([Err::<&str, _>(Error::new(ErrorKind::Overloaded, message))]))
    }

    #[tokio::test]
    async fn a_stream_that_fails_before_its_reader_got_a_delta_falls_back_and_is_retried() {
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
        let policy = crate::RetryPolicy {
            initial_backoff: std::time::Duration::ZERO,
            ..crate::RetryPolicy::default()
        };
        let attempts = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let counted = attempts.clone();
        let retry = breaks().retry_if(policy, move |_| {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            true
        }) | crate::text();
        assert!(retry.stream("x").output().await.is_err());
        assert_eq!(attempts.load(std::sync::atomic::Ordering::Relaxed), 6);
        // A reader of the model's deltas has received it.
        assert!(breaks().fallback([chain(Fake::echo())]).stream("x").output().await.is_err());
    }

    #[tokio::test]
    async fn if_all_fail_the_error_contains_each() {
        let error = down("busy").fallback([down("full")]).invoke("x").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        assert_eq!(
            error.to_string(),
            "all 2 alternatives failed: 1: step fake/script: busy; 2: step fake/script: full"
        );
    }

    /// Emits half of its answer and fails.
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
    async fn no_fallback_after_the_first_delta() {
        let breaks_off = chain(Model::new(BreaksOff));
        let chain = breaks_off.fallback([chain(Fake::echo())]);
        let mut run = chain.stream("x");
        assert_eq!(run.next().await.unwrap().unwrap().to_string(), "half ");
        assert_eq!(run.output().await.unwrap_err().kind(), ErrorKind::StreamIncomplete);
        // Without a reader nothing was emitted, and the second one may answer.
        assert_eq!(chain.invoke("x").await.unwrap().text(), "x");
    }

    /// Models emit deltas to observers of events, even if the deltas are not part of the answer.
    #[tokio::test]
    async fn who_watches_does_not_change_whether_a_chain_falls_back() {
        let failing = Fake::script([Err::<&str, _>(Error::new(ErrorKind::Server, "down"))]);
        let draft = chain(Fake::echo()) | step(|m: Message, _| async move { Ok(Prompt::from(m)) });
        let lines = (draft | failing.model()).fallback([chain(Fake::echo())]).lines().collect();
        assert_eq!(lines.invoke("hello").await.unwrap(), ["hello"]);
        assert_eq!(lines.events("hello").output().await.unwrap(), ["hello"]);
    }
}
