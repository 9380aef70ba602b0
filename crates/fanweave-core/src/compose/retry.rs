//! Retries a step that fails.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::chain::{Chain, chain};
use crate::{Context, Error, EventKind, Node, Result, Runnable, Streaming};

/// Backoff and limits for retries.
///
/// ```
/// use std::time::Duration;
/// use fanweave::compose::RetryPolicy;
///
/// let hasty = RetryPolicy::new().initial_backoff(Duration::from_millis(50));
/// assert_eq!(hasty.max_attempts.get(), 6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Maximum attempts, including the first. Default 6.
    pub max_attempts: NonZeroU32,
    /// Maximum wait before the second attempt; it doubles with each further one. The wait is drawn uniformly
    /// from zero to that maximum. Default 500 ms.
    pub initial_backoff: Duration,
    /// Upper bound of the doubling backoff. Default 30 s.
    pub max_backoff: Duration,
    /// Maximum wait that a server may ask for. A call that is rejected with 429 and asked to wait longer
    /// fails immediately. If the server fails (5xx), a longer wait is ignored. Default 120 s.
    pub max_retry_after: Duration,
    /// For models only; [`Chain::retry`] counts a rate limit as any other failure. Maximum total time that
    /// one model call waits for rate limits. A rate limit (429) is not a failure of
    /// the request and uses up none of the `max_attempts`. A wait counts as at least 250 ms, even if the
    /// server asks for less. Default 10 minutes.
    ///
    /// If the account accepted no request in that time, the calls of a batch fail with
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable). A call that was rejected twelve times while
    /// others were accepted fails earlier.
    pub max_rate_limit_wait: Duration,
    /// Maximum time that a call waits for the end of a provider outage before it fails with
    /// [`ErrorKind::Unavailable`](crate::ErrorKind::Unavailable). Waiting for an outage uses up none of the
    /// `max_attempts`.
    ///
    /// Default `None`: 10 minutes for calls of batches; for others 30 s or the deadline of the run, whichever
    /// is earlier. Until the account has answered for the first time, 30 s for calls of batches and 5 s for
    /// others.
    pub outage_timeout: Option<Duration>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: NonZeroU32::new(6).expect("6 is not 0"),
            initial_backoff: Duration::from_millis(500),
            max_backoff: Duration::from_secs(30),
            max_retry_after: Duration::from_secs(120),
            max_rate_limit_wait: Duration::from_secs(600),
            outage_timeout: None,
        }
    }
}

impl RetryPolicy {
    /// The default policy: each field says its value.
    pub fn new() -> Self {
        Self::default()
    }

    /// A single attempt, without retries.
    ///
    /// A request on an idle connection that the server was closing at the same time does not count as an
    /// attempt: the server has not processed it, and models behind HTTP resend it.
    pub fn never() -> Self {
        Self {
            max_attempts: NonZeroU32::MIN,
            max_rate_limit_wait: Duration::ZERO,
            outage_timeout: Some(Duration::ZERO),
            ..Self::default()
        }
    }

    /// Sets the maximum attempts, including the first.
    #[must_use]
    pub fn max_attempts(self, max_attempts: NonZeroU32) -> Self {
        Self { max_attempts, ..self }
    }

    /// Sets the maximum wait before the second attempt.
    #[must_use]
    pub fn initial_backoff(self, initial_backoff: Duration) -> Self {
        Self { initial_backoff, ..self }
    }

    /// Sets the upper bound of the doubling backoff.
    #[must_use]
    pub fn max_backoff(self, max_backoff: Duration) -> Self {
        Self { max_backoff, ..self }
    }

    /// Sets the maximum wait that a server may ask for.
    #[must_use]
    pub fn max_retry_after(self, max_retry_after: Duration) -> Self {
        Self { max_retry_after, ..self }
    }

    /// Sets the maximum total time that one model call waits for rate limits.
    #[must_use]
    pub fn max_rate_limit_wait(self, max_rate_limit_wait: Duration) -> Self {
        Self { max_rate_limit_wait, ..self }
    }

    /// Sets the maximum time that a call waits for the end of a provider outage.
    #[must_use]
    pub fn outage_timeout(self, outage_timeout: Duration) -> Self {
        Self { outage_timeout: Some(outage_timeout), ..self }
    }

    /// The wait before attempt `n + 2`, with full jitter: uniform from zero to `initial_backoff` doubled `n`
    /// times.
    pub fn backoff(&self, n: u32) -> Duration {
        let max = self.initial_backoff.saturating_mul(2u32.saturating_pow(n)).min(self.max_backoff);
        max.mul_f64(fastrand::f64())
    }
}

/// Retries a chain that fails. Made by [`Chain::retry`].
pub struct Retry<I, O> {
    inner: Chain<I, O>,
    policy: RetryPolicy,
    should_retry: Arc<dyn Fn(&Error) -> bool + Send + Sync>,
}

impl<I: Clone + Send + 'static, O: Send + 'static> Runnable for Retry<I, O> {
    type Input = I;

    const DRIVES_CALLS: bool = true;
    type Output = O;

    async fn run(&self, input: I, cx: &Context) -> Result<O> {
        let mut attempt = 1;
        loop {
            let listened = cx.clone().track_emitted();
            let error = match self.inner.run(input.clone(), &listened).await {
                // Deltas that the reader has received cannot be taken back.
                Err(error) if !listened.reader_got_delta() && (self.should_retry)(&error) => error,
                done => return done,
            };
            let retry_after = error.retry_after();
            let wait = retry_after.unwrap_or_else(|| self.policy.backoff(attempt - 1));
            let too_late = cx
                .deadline()
                .is_some_and(|at| Instant::from_std(at).saturating_duration_since(Instant::now()) <= wait);
            if attempt >= self.policy.max_attempts.get()
                || retry_after.is_some_and(|wait| wait > self.policy.max_retry_after)
                || too_late
            {
                return Err(error);
            }
            cx.emit(EventKind::Retrying { attempt, wait, error }).await;
            tokio::select! {
                biased;
                stopping = cx.draining() => return Err(stopping),
                () = sleep(wait) => {}
            }
            attempt += 1;
        }
    }

    fn streaming(&self) -> Streaming {
        self.inner.streaming()
    }

    fn describe(&self) -> Node {
        Node::around(format!("retry, at most {} times", self.policy.max_attempts), [self.inner.describe()])
    }
}

impl<I: Clone + Send + 'static, O: Send + 'static> Chain<I, O> {
    /// Retries the chain if it fails with an error that [may pass](Error::is_retryable). A wait that the
    /// provider asks for overrides the policy's own backoff. The waits hold no permit of the run.
    ///
    /// Models retry failed requests themselves, up to six attempts: around a model, the attempts multiply,
    /// unless the model is built with [`RetryPolicy::never`]. This is for custom steps, and for chains that
    /// have to start from the beginning. Of the policy, the attempts, the backoffs and `max_retry_after`
    /// apply. A stream is retried until its first delta has been emitted, not after.
    ///
    /// The [kinds](crate::ErrorKind::is_retryable) `Step` and `Parse` are not retried: a step that may
    /// succeed later says so by [`Error::with_retryable`], or the chain is retried by
    /// [`retry_if`](Self::retry_if).
    ///
    /// ```
    /// use std::num::NonZeroU32;
    /// use std::time::Duration;
    /// use fanweave::{Error, ErrorKind, chain, compose::RetryPolicy, testing::Fake, text};
    ///
    /// # fn main() -> fanweave::Result<()> { fanweave::blocking::wait(async {
    /// let shaky = Fake::script([Err(Error::new(ErrorKind::Overloaded, "too busy")), Ok("hello")]);
    /// let answer = chain(shaky).retry(RetryPolicy::default()) | text();
    /// assert_eq!(answer.invoke("hi").await?, "hello");
    ///
    /// // Four attempts, then another model.
    /// let error = || Error::new(ErrorKind::Overloaded, "too busy");
    /// let busy = Fake::answer_with(move |_| Err::<String, _>(error()).into());
    /// let policy = RetryPolicy::new().max_attempts(NonZeroU32::new(4).unwrap());
    /// let policy = policy.initial_backoff(Duration::from_millis(1));
    /// let other = chain(Fake::script(["hello, too"]));
    /// let answer = chain(busy).retry(policy).fallback([other]) | text();
    /// assert_eq!(answer.invoke("hi").await?, "hello, too");
    /// # Ok(())
    /// # }) }
    /// ```
    ///
    /// # Errors
    /// The error of the last attempt.
    #[must_use]
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.retry_if(policy, Error::is_retryable)
    }

    /// Like [`retry`](Self::retry), but only for errors that `should_retry` accepts.
    #[must_use]
    pub fn retry_if(
        self,
        policy: RetryPolicy,
        should_retry: impl Fn(&Error) -> bool + Send + Sync + 'static,
    ) -> Self {
        chain(Retry { inner: self, policy, should_retry: Arc::new(should_retry) })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use futures::StreamExt;
    use proptest::prelude::*;

    use super::*;
    use crate::{Delta, ErrorKind, Message, Model, Prompt, step};

    fn hasty(max_attempts: u32) -> RetryPolicy {
        let max_attempts = NonZeroU32::new(max_attempts).unwrap();
        RetryPolicy { max_attempts, initial_backoff: Duration::from_millis(1), ..RetryPolicy::default() }
    }

    /// Fails the given number of times for each input before it answers with it.
    fn shaky(kind: ErrorKind, fails: u32) -> Chain<u32, u32> {
        let attempts = Arc::new(Mutex::new(HashMap::<u32, u32>::new()));
        step(move |n: u32, _| {
            let attempts = attempts.clone();
            async move {
                sleep(Duration::from_millis(u64::from(n * 7919 % 50))).await;
                let mut attempts = attempts.lock().unwrap();
                let tried = attempts.entry(n).or_default();
                *tried += 1;
                if *tried > fails { Ok(n) } else { Err(Error::new(kind, format!("{n} failed"))) }
            }
        })
    }

    #[tokio::test(start_paused = true)]
    async fn only_retryable_errors_are_retried() {
        assert_eq!(shaky(ErrorKind::Server, 2).retry(hasty(3)).invoke(7u32).await.unwrap(), 7);
        assert!(shaky(ErrorKind::Server, 3).retry(hasty(3)).invoke(7u32).await.is_err());
        assert!(shaky(ErrorKind::BadRequest, 1).retry(hasty(3)).invoke(7u32).await.is_err());
        let all = |_: &Error| true;
        assert_eq!(shaky(ErrorKind::BadRequest, 1).retry_if(hasty(3), all).invoke(7u32).await.unwrap(), 7);
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_overrides_the_backoff_and_the_deadline_overrides_both() {
        let limited = || {
            let tried = Mutex::new(false);
            step(move |(): (), _| {
                let first = !std::mem::replace(&mut *tried.lock().unwrap(), true);
                async move {
                    let limited = Error::new(ErrorKind::RateLimited, "slow down");
                    if first { Err(limited.with_retry_after(Duration::from_secs(20))) } else { Ok(()) }
                }
            })
        };
        let started = Instant::now();
        limited().retry(hasty(2)).invoke(()).await.unwrap();
        assert_eq!(started.elapsed().as_secs(), 20);
        let cx = Context::new().with_timeout(Duration::from_secs(10));
        let started = Instant::now();
        let error = limited().retry(hasty(2)).invoke_in((), &cx).await.unwrap_err();
        assert_eq!((error.kind(), started.elapsed().as_secs()), (ErrorKind::RateLimited, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_retried_until_its_first_delta_and_not_after() {
        struct Breaks(Mutex<u32>, bool);
        impl crate::ChatModel for Breaks {
            fn name(&self) -> &str {
                "test/breaks"
            }
            async fn generate(&self, _: Prompt, cx: &Context) -> Result<Message> {
                let tried = {
                    let mut tried = self.0.lock().unwrap();
                    *tried += 1;
                    *tried
                };
                if tried > 1 {
                    return Ok(Message::assistant("well"));
                }
                if self.1 {
                    cx.delta(Delta::text("half ")).await;
                }
                Err(Error::new(ErrorKind::StreamIncomplete, "cut off"))
            }
        }
        let stream = async |sends_delta: bool| {
            let model = Model::new(Breaks(Mutex::default(), sends_delta));
            let run = crate::chain(model).retry(hasty(3)).stream("x");
            run.map(|delta| delta.map(|p| p.to_string()).map_err(|e| e.kind())).collect::<Vec<_>>().await
        };
        assert_eq!(stream(false).await, [Ok("well".to_owned())]);
        assert_eq!(stream(true).await, [Ok("half ".to_owned()), Err(ErrorKind::StreamIncomplete)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_that_winds_down_ends_the_wait() {
        let drain = crate::context::CancellationToken::new();
        let cx = Context::new().with_draining(drain.clone());
        let busy = step(|(): (), _| async {
            let limited = Error::new(ErrorKind::RateLimited, "slow down");
            Err::<(), _>(limited.with_retry_after(Duration::from_secs(100)))
        });
        let started = Instant::now();
        let chain = busy.retry(hasty(9));
        let stopping = async {
            sleep(Duration::from_secs(7)).await;
            drain.cancel();
        };
        let (done, ()) = tokio::join!(chain.invoke_in((), &cx), stopping);
        assert_eq!((done.unwrap_err().kind(), started.elapsed().as_secs()), (ErrorKind::Cancelled, 7));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn retry_keeps_order_and_never_mixes_rows(fails in 0u32..4, rows in 1u32..60, width in 1usize..40) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
            let results = runtime.block_on(
                shaky(ErrorKind::Server, fails).retry(hasty(4)).batch(0..rows).concurrency(width).collect()
            );
            let values: Vec<_> = results.into_iter().map(Result::unwrap).collect();
            prop_assert_eq!(values, (0..rows).collect::<Vec<_>>());
        }
    }
}
