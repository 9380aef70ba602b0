//! A time limit for a step.

use std::time::Duration;

use tokio::time::Instant;

use crate::chain::{Chain, chain};
use crate::deadline::until;
use crate::runnable::run_within;
use crate::{Context, Error, ErrorKind, Node, Result, Runnable, Streaming};

/// Ends a step that runs too long.
///
/// Made by [`Chain::timeout`].
///
/// ```
/// use std::time::Duration;
/// use fanweave::{ErrorKind, prompt, testing::Fake, vars};
///
/// # fn main() { fanweave::blocking::wait(async {
/// let slow = prompt("{{ x }}") | Fake::echo().latency(Duration::from_secs(60));
/// let error = slow.timeout(Duration::from_millis(50)).invoke(vars! { x: 1 }).await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Timeout);
/// # }) }
/// ```
pub struct Timeout<R> {
    inner: R,
    /// Name of the limited chain in the error.
    name: String,
    limit: Duration,
}

impl<R: Runnable> Runnable for Timeout<R> {
    const DRIVES_CALLS: bool = true;

    type Input = R::Input;
    type Output = R::Output;

    async fn run(&self, input: R::Input, cx: &Context) -> Result<R::Output> {
        // The limit is in the context too, so that the transport does not wait for an attempt that cannot end
        // in time.
        let cx = cx.clone().with_timeout(self.limit);
        let end = Instant::now().checked_add(self.limit);
        let late = || {
            let message = format!("{} timed out after {:?}", self.name, self.limit);
            Error::new(ErrorKind::Timeout, message)
        };
        until(end, late, run_within(&self.inner, input, &cx)).await
    }

    fn streaming(&self) -> Streaming {
        self.inner.streaming()
    }

    fn describe(&self) -> Node {
        Node::around(format!("within {:?}", self.limit), [self.inner.describe()])
    }
}

impl<I: Send + 'static, O: Send + 'static> Chain<I, O> {
    /// Ends a run that takes longer than `limit` with [`ErrorKind::Timeout`]. Its work is dropped and its
    /// sockets are closed; the provider may still bill the call. Applies to every run of the chain; for one
    /// run, see [`Context::with_timeout`](crate::Context::with_timeout).
    #[must_use]
    pub fn timeout(self, limit: Duration) -> Self {
        let name = self.describe().title();
        chain(Timeout { inner: self, name, limit })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use crate::model::fake::Fake;
    use crate::{chain, prompt, step, text, vars};

    #[tokio::test(start_paused = true)]
    async fn the_error_names_the_step_that_timed_out() {
        let slow = || chain(Fake::echo().latency(Duration::from_secs(60)));
        let error_of = async |chain: crate::Chain<_, crate::Message>| {
            chain.timeout(Duration::from_secs(5)).invoke("x").await.unwrap_err().to_string()
        };
        assert_eq!(error_of(slow()).await, "fake/echo timed out after 5s");
        assert_eq!(error_of(slow().named("outline")).await, "outline timed out after 5s");
        let long = prompt("{{ x }}") | Fake::echo().latency(Duration::from_secs(60)) | text();
        let error = long.timeout(Duration::from_secs(5)).invoke(vars! { x: 1 }).await.unwrap_err();
        assert_eq!(error.to_string(), "prompt | fake/echo | text timed out after 5s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_beyond_the_range_of_the_clock_never_ends() {
        let slow = chain(Fake::echo().latency(Duration::from_secs(3600))).timeout(Duration::MAX);
        let cx = crate::Context::new().with_timeout(Duration::MAX);
        assert_eq!(slow.invoke_in("x", &cx).await.unwrap().text(), "x");
        assert_eq!(cx.deadline(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_around_other_limits_names_its_step_and_may_be_retried() {
        let attempts = Arc::new(AtomicUsize::new(0));
        let seen = attempts.clone();
        let slow = step(move |n: u32, _| {
            seen.fetch_add(1, Ordering::SeqCst);
            async move {
                tokio::time::sleep(Duration::from_secs(60)).await;
                Ok(n)
            }
        });
        let limited = slow.named("slow").scoped(|cx| cx.with_tag("x")).timeout(Duration::from_secs(5));
        let error = limited.clone().retry(crate::RetryPolicy::default()).invoke(1u32).await.unwrap_err();
        assert_eq!(error.to_string(), "slow timed out after 5s");
        assert_eq!(attempts.load(Ordering::SeqCst), 6);
        // A shorter outer limit is reported as such.
        let cx = crate::Context::new().with_timeout(Duration::from_secs(1));
        let error = limited.invoke_in(1u32, &cx).await.unwrap_err();
        assert_eq!(error.to_string(), "the run timed out after 1s");
    }
}
